//! The rules of the house, read from the sources: imports go down the floors, and what belongs to
//! one floor is not found on another.
//!
//! - A floor imports floors below it, and itself: `limits`, `time` and `random` are floor 0,
//!   `wire` 1, `crypto` 2, `session` 3, `packet` 4, `reactor` 5, `node` 6, `cli` and `config` 7.
//! - Floors 0 to 4 have no clock, socket, thread or environment. `src/time.rs` reads the clock for
//!   everybody. Test code may.
//! - `unsafe` stands in `reactor` alone, and in the interface of the plug-in host.
//! - Nobody outside `wire`, `crypto` and `session` names an opcode.
//! - A file of more than 800 lines holds a second thing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::fs;
use std::path::Path;

#[test]
fn the_sources_keep_the_rules() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = check_folder(root, &root.join("src"), &mut found)
        + check_folder(root, &root.join("plugin-host"), &mut found);
    assert!(files > 10, "only {files} files were read");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn check_folder(root: &Path, folder: &Path, found: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files += check_folder(root, &path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.extend(violations(name, &fs::read_to_string(&path).unwrap()));
            files += 1;
        }
    }
    files
}

/// What is wrong with the source file `name` (`src/wire/opcode.rs`), a sentence each.
fn violations(name: &str, text: &str) -> Vec<String> {
    let file = File::new(name, text);
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        found.push(format!(
            "{name}: {lines} lines, at most {MAX_LINES}: what is the second thing in it?"
        ));
    }
    for token in &file.tokens {
        let fenced = file.is_in(&["reactor"]) || name == "plugin-host/interface.rs";
        if token.text == "unsafe" && !fenced {
            found.push(format!(
                "{name}:{}: `unsafe` stands in src/reactor and plugin-host/interface.rs alone",
                token.line
            ));
        }
    }
    for path in paths(&file.tokens) {
        if let Some(problem) = file.judge(&path) {
            found.push(format!(
                "{name}:{}: `{}`: {problem}",
                path.line,
                path.names.join("::")
            ));
        }
    }
    found
}

/// One source file: where it stands, and its tokens without comments and literals.
struct File {
    /// The module path, `["wire", "opcode"]`.
    module: Vec<String>,
    tokens: Vec<Token>,
    test_only: bool,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let inside = name.strip_prefix("src/").unwrap_or(name);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        let test_only = module.iter().any(|it| it == "tests" || it == "testing");
        if matches!(
            module.last().map(String::as_str),
            Some("mod" | "lib" | "main")
        ) {
            module.pop();
        }
        let mut tokens = tokens(text);
        mark_test_modules(&mut tokens);
        Self {
            module,
            tokens,
            test_only,
        }
    }

    fn is_in(&self, modules: &[&str]) -> bool {
        self.module
            .first()
            .is_some_and(|first| modules.contains(&first.as_str()))
    }

    /// Why a path may not stand in this file.
    fn judge(&self, path: &Named) -> Option<String> {
        let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
        if names
            .windows(2)
            .any(|pair| pair[0] == "Opcode" || pair[1] == "Opcode" && pair[0] == "wire")
            && !self.is_in(&["wire", "crypto", "session"])
        {
            return Some("opcodes are named in wire, crypto and session alone".to_owned());
        }
        let own = floor(self.module.first()?)?;
        if let Some(target) = self.imported_module(&names)
            && let Some(other) = floor(target)
            && other > own
        {
            return Some(format!(
                "floor {own} imports floor {other}: imports go down"
            ));
        }
        let excused = path.in_test || self.test_only || self.module == ["time"];
        if own <= LAST_FLOOR_WITHOUT_SYSTEM && !excused {
            return system(&names).map(|what| format!("floor {own} has no {what}"));
        }
        None
    }

    /// The top-level module that a path names from the root of the crate.
    fn imported_module<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        if names.first() == Some(&"crate") {
            return names.get(1).copied();
        }
        let ups = names.iter().take_while(|it| **it == "super").count();
        (ups > 0 && ups >= self.module.len())
            .then(|| names.get(ups).copied())
            .flatten()
    }
}

/// The floor of a top-level module.
fn floor(module: &str) -> Option<u8> {
    let floors = FLOORS.iter().find(|(_, modules)| modules.contains(&module));
    floors.map(|(floor, _)| *floor)
}

/// What of the system a path names.
fn system(names: &[&str]) -> Option<&'static str> {
    let names = if matches!(names.first(), Some(&"std" | &"core")) {
        &names[1..]
    } else {
        names
    };
    match names {
        ["time", "Instant" | "SystemTime", ..] | ["Instant" | "SystemTime", "now", ..] => {
            Some("clock: take a `Now` or a `Monotonic`")
        }
        ["net", "UdpSocket" | "TcpStream" | "TcpListener", ..]
        | ["UdpSocket" | "TcpStream" | "TcpListener", ..]
        | ["os", "unix", "net", ..] => Some("socket"),
        [
            "thread",
            "spawn" | "sleep" | "scope" | "Builder" | "current" | "park",
            ..,
        ]
        | ["thread"] => Some("thread"),
        [
            "env",
            "var" | "var_os" | "vars" | "args" | "args_os" | "current_dir",
            ..,
        ]
        | ["env"] => Some("environment"),
        ["process", "Command" | "exit" | "id", ..] => Some("process"),
        ["fs", ..] => Some("files"),
        _ => None,
    }
}

/// A path in the source, `use` groups spelled out.
struct Named {
    names: Vec<String>,
    line: usize,
    in_test: bool,
}

/// All paths of more than one name.
fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is_name() {
            at = follow(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found.retain(|path| path.names.len() > 1);
    found
}

/// Reads the path that begins at `at` behind `prefix`, and gives back where it ends.
fn follow(tokens: &[Token], at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|it| it.text == text);
    let mut names = prefix.to_vec();
    let mut at = at;
    let first = &tokens[at];
    while let Some(token) = tokens.get(at) {
        if token.is_name() {
            names.push(token.text.clone());
            at += 1;
            if !is(at, "::") {
                break;
            }
            at += 1;
        } else if token.text == "{" && !names.is_empty() {
            at += 1;
            while at < tokens.len() && !is(at, "}") {
                let begins = tokens[at].is_name();
                at = if begins {
                    follow(tokens, at, &names, found)
                } else {
                    at + 1
                };
            }
            return at + 1;
        } else {
            break;
        }
    }
    found.push(Named {
        names,
        line: first.line,
        in_test: first.in_test,
    });
    at
}

/// A name, `::`, or one other character.
struct Token {
    text: String,
    line: usize,
    in_test: bool,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|it: char| it.is_alphabetic() || it == '_')
    }
}

/// The tokens of a source file, without comments, strings, characters and numbers.
fn tokens(text: &str) -> Vec<Token> {
    let bytes: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let end = token_end(&bytes, at);
        let word: String = bytes[at..end].iter().collect();
        let first = bytes[at];
        let literal = first == '"'
            || first == '\''
            || word.contains('"')
            || word.contains("//")
            || word.starts_with("/*")
            || first.is_numeric()
            || first.is_whitespace();
        if !literal {
            tokens.push(Token {
                text: word.clone(),
                line,
                in_test: false,
            });
        }
        line += word.matches('\n').count();
        at = end;
    }
    tokens
}

/// Where the token that begins at `at` ends.
fn token_end(text: &[char], at: usize) -> usize {
    let starts = |with: &str| {
        text[at..]
            .iter()
            .copied()
            .zip(with.chars())
            .filter(|(a, b)| a == b)
            .count()
            == with.len()
    };
    let until = |from: usize, stop: &dyn Fn(usize) -> bool| {
        (from..text.len())
            .find(|it| stop(*it))
            .unwrap_or(text.len())
    };
    if starts("//") {
        return until(at, &|it| text[it] == '\n');
    }
    if starts("/*") {
        return block_comment_end(text, at);
    }
    if let Some(end) = raw_string_end(text, at) {
        return end;
    }
    let string = if starts("b\"") || starts("c\"") {
        at + 1
    } else {
        at
    };
    if text[string] == '"' {
        return quoted_end(text, string, '"');
    }
    if text[at] == '\'' {
        // A lifetime has no closing quote.
        let character = text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'');
        return if character {
            quoted_end(text, at, '\'')
        } else {
            at + 1
        };
    }
    if text[at].is_alphanumeric() || text[at] == '_' {
        return until(at, &|it| !(text[it].is_alphanumeric() || text[it] == '_'));
    }
    if starts("::") { at + 2 } else { at + 1 }
}

fn block_comment_end(text: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn raw_string_end(text: &[char], at: usize) -> Option<usize> {
    let start = if text[at] == 'b' { at + 1 } else { at };
    if text.get(start) != Some(&'r') {
        return None;
    }
    let hashes = text[start + 1..]
        .iter()
        .take_while(|it| **it == '#')
        .count();
    let open = start + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let closes = |it: usize| {
        text[it] == '"'
            && text[it + 1..]
                .iter()
                .take(hashes)
                .filter(|it| **it == '#')
                .count()
                == hashes
    };
    let close = (open + 1..text.len()).find(|it| closes(*it));
    Some(close.map_or(text.len(), |it| it + 1 + hashes))
}

fn quoted_end(text: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// Marks what stands in `#[cfg(test)] mod ... { ... }`.
fn mark_test_modules(tokens: &mut [Token]) {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut at = 0;
    while at + attribute.len() < tokens.len() {
        let here = tokens[at..]
            .iter()
            .zip(attribute)
            .all(|(token, text)| token.text == text);
        if !here {
            at += 1;
            continue;
        }
        let mut depth = 0;
        while at < tokens.len() {
            tokens[at].in_test = true;
            match tokens[at].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
            at += 1;
            if depth == 0 && tokens[at - 1].text == "}" {
                break;
            }
        }
    }
}

/// The house, from the ground.
const FLOORS: [(u8, &[&str]); 8] = [
    (0, &["limits", "time", "random"]),
    (1, &["wire"]),
    (2, &["crypto"]),
    (3, &["session"]),
    (4, &["packet"]),
    (5, &["reactor"]),
    (6, &["node"]),
    (7, &["cli", "config"]),
];

const LAST_FLOOR_WITHOUT_SYSTEM: u8 = 4;
const MAX_LINES: usize = 800;

/// Samples with one violation each, and the words that the message must have.
#[test]
fn each_violation_is_found() {
    for (name, text, words) in [
        (
            "src/wire/ack.rs",
            "use crate::session::Session;",
            "floor 1 imports floor 3",
        ),
        (
            "src/limits.rs",
            "const A: usize = crate::wire::B;",
            "floor 0 imports floor 1",
        ),
        (
            "src/crypto/mod.rs",
            "use crate::{limits, node::event::NodeEvent};",
            "floor 2 imports floor 6",
        ),
        (
            "src/crypto/tls.rs",
            "use super::super::packet::Batch;",
            "floor 2 imports floor 4",
        ),
        (
            "src/crypto/mod.rs",
            "fn f() { super::packet::g() }",
            "floor 2 imports floor 4",
        ),
        (
            "src/session/mod.rs",
            "#[cfg(test)]\nmod tests { use crate::reactor::Ring; }",
            "floor 3 imports",
        ),
        (
            "src/packet/pool.rs",
            "fn f() {\n    unsafe { g() }\n}",
            "pool.rs:2: `unsafe`",
        ),
        (
            "src/node/shard.rs",
            "let a = matches!(it, Opcode::DataV2);",
            "opcodes are named",
        ),
        (
            "src/packet/mod.rs",
            "use crate::wire::{Opcode, PeerId};",
            "opcodes are named",
        ),
        (
            "src/session/timer.rs",
            "use std::time::{Duration, Instant};",
            "floor 3 has no clock",
        ),
        (
            "src/packet/a.rs",
            "let a = SystemTime::now();",
            "floor 4 has no clock",
        ),
        (
            "src/session/a.rs",
            "use std::net::{IpAddr, UdpSocket};",
            "floor 3 has no socket",
        ),
        (
            "src/crypto/a.rs",
            "std::thread::spawn(f);",
            "floor 2 has no thread",
        ),
        (
            "src/crypto/a.rs",
            "use std::{thread, fmt};",
            "floor 2 has no thread",
        ),
        (
            "src/wire/a.rs",
            "let a = std::env::var(\"A\");",
            "floor 1 has no environment",
        ),
    ] {
        let found = violations(name, text);
        assert!(
            found.len() == 1 && found[0].contains(words),
            "{name}: {text}: {found:?}"
        );
    }
    let long = "// line\n".repeat(MAX_LINES + 1);
    assert_eq!(violations("src/node/long.rs", &long).len(), 1);
}

/// What looks like a violation and is none.
#[test]
fn nothing_else_is_found() {
    for (name, text) in [
        (
            "src/session/a.rs",
            "use crate::wire::Opcode; fn f() { Opcode::AckV1; }",
        ),
        (
            "src/session/a.rs",
            "use std::time::Duration; use std::net::{IpAddr, SocketAddr};",
        ),
        (
            "src/wire/a.rs",
            "//! [`crate::session`] is above.\n/* crate::node::X */ fn f() {}",
        ),
        (
            "src/wire/a.rs",
            "const A: &str = \"crate::node::X \\\" unsafe\"; const B: char = '\"';",
        ),
        (
            "src/wire/a.rs",
            "const A: &str = r#\"unsafe \"crate::node::X\"#; fn f<'a>(_: &'a u8) {}",
        ),
        (
            "src/crypto/a.rs",
            "#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n}",
        ),
        (
            "src/crypto/a.rs",
            "mod tests { use super::super::limits::A; }",
        ),
        (
            "src/time.rs",
            "use std::time::{Instant, SystemTime}; fn f() { Instant::now(); }",
        ),
        (
            "src/reactor/ring.rs",
            "unsafe { f() }; std::thread::spawn(g);",
        ),
        (
            "src/node/a.rs",
            "use crate::{packet::Batch, session::Event};",
        ),
        ("src/lib.rs", "pub mod node; pub use crate::node::Node;"),
        ("src/main.rs", "fn main() { ringway::cli::main() }"),
    ] {
        assert_eq!(
            violations(name, text),
            Vec::<String>::new(),
            "{name}: {text}"
        );
    }
}
