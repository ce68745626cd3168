//! Text to lines of words: the syntax of OpenVPN configuration files.
//!
//! A line is [`words`]. A line of the one word `<tag>` opens a block that ends at `</tag>`.
//!
//! A line that breaks the rules becomes a [`SyntaxError`], and reading goes on with the next one,
//! so that all errors of a file are found at once.

use std::fmt;
use std::rc::Rc;

use zeroize::Zeroizing;

pub use crate::wire::{WordFault, words};

/// A line as it is written: at least one word.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub at: Location,
    /// The directive, without leading dashes.
    pub name: String,
    /// The words after it.
    pub arguments: Vec<String>,
    /// The content of a `<name>` block; then there are no arguments.
    pub block: Option<Zeroizing<String>>,
}

impl Line {
    /// A line of words, `None` when there are none. Dashes before the first word are dropped.
    pub fn from_words(at: Location, words: Vec<String>) -> Option<Self> {
        let mut words = words.into_iter();
        let first = words.next()?;
        let name = first
            .strip_prefix("--")
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&first);
        Some(Self {
            at,
            name: name.to_owned(),
            arguments: words.collect(),
            block: None,
        })
    }

    /// The argument at `index`, if it is written.
    pub fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).map(String::as_str)
    }
}

// A block may be a private key, so only its size shows.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.at, self.name, self.arguments)?;
        match &self.block {
            Some(block) => write!(f, " <{} bytes>", block.len()),
            None => Ok(()),
        }
    }
}

/// Where a line stands: a file and a line counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file's name as it was given, or `[CMD-LINE]`.
    pub file: Rc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A line that breaks the rules of the syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line.
    pub at: Location,
    /// What is wrong with it.
    pub what: SyntaxFault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    /// Its words.
    #[error(transparent)]
    Words(#[from] WordFault),
    /// A block without an end.
    #[error("the block <{0}> is never closed by </{0}>")]
    OpenBlock(String),
}

/// Reads a whole file; `name` is its name for messages.
pub fn lex(name: &str, text: &str) -> (Vec<Line>, Vec<SyntaxError>) {
    let file: Rc<str> = name.into();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut numbered = (1..).zip(text.lines());
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    while let Some((number, written)) = numbered.next() {
        let at = Location {
            file: Rc::clone(&file),
            line: number,
        };
        let words = match words(written) {
            Ok(words) => words,
            Err(fault) => {
                let what = fault.into();
                errors.push(SyntaxError { at, what });
                continue;
            }
        };
        let Some(mut line) = Line::from_words(at.clone(), words) else {
            continue;
        };
        if let Some(tag) = opens_block(&line) {
            match read_block(&tag, &mut numbered) {
                Some(block) => {
                    line.name = tag;
                    line.block = Some(block);
                }
                None => {
                    errors.push(SyntaxError {
                        at,
                        what: SyntaxFault::OpenBlock(tag),
                    });
                    continue;
                }
            }
        }
        lines.push(line);
    }
    (lines, errors)
}

/// The tag of a line that opens a block: the one word `<tag>`.
fn opens_block(line: &Line) -> Option<String> {
    let tag = line.name.strip_prefix('<')?.strip_suffix('>')?;
    (line.arguments.is_empty() && !tag.is_empty() && !tag.starts_with('/')).then(|| tag.to_owned())
}

/// The lines up to `</tag>`, which may be indented; what follows it on its line is not read.
fn read_block<'t>(
    tag: &str,
    lines: &mut impl Iterator<Item = (u32, &'t str)>,
) -> Option<Zeroizing<String>> {
    let end = format!("</{tag}>");
    let mut block = Zeroizing::new(String::new());
    for (_, line) in lines {
        if line.trim_start().starts_with(&end) {
            return Some(block);
        }
        block.push_str(line);
        block.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits;

    #[test]
    fn a_file_with_bom_crlf_dashes_and_comments() {
        let (lines, errors) = lex("f", "\u{feff}port 1194\r\n\r\n# x\r\n--dev tun\r\n-- x\n");
        assert_eq!(errors, []);
        let seen: Vec<_> = lines
            .iter()
            .map(|l| (l.at.to_string(), l.name.as_str(), l.arguments.len()))
            .collect();
        assert_eq!(
            seen,
            [
                ("f:1".into(), "port", 1),
                ("f:4".into(), "dev", 1),
                ("f:5".into(), "--", 1)
            ]
        );
    }

    #[test]
    fn a_block_keeps_its_lines() {
        let text = "<ca>  # comment\n  -----BEGIN\n# no comment \"here\n\t</ca> ignored\nverb 3\n";
        let (lines, errors) = lex("f", text);
        assert_eq!(errors, []);
        assert_eq!(lines[0].name, "ca");
        assert_eq!(
            lines[0].block.as_ref().map(|b| b.as_str()),
            Some("  -----BEGIN\n# no comment \"here\n")
        );
        assert_eq!((lines[1].name.as_str(), lines[1].at.line), ("verb", 5));
    }

    #[test]
    fn a_block_without_an_end_is_an_error_at_its_first_line() {
        let (lines, errors) = lex("f", "verb 3\n<key>\n</ca>\n");
        assert_eq!(lines.len(), 1);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].at.line, 2);
        assert_eq!(errors[0].what, SyntaxFault::OpenBlock("key".into()));
    }

    #[test]
    fn all_errors_are_found_at_once() {
        let (lines, errors) = lex("f", "a \"b\nverb 3\nc 'd\n");
        assert_eq!(lines.len(), 1);
        assert_eq!(errors.iter().map(|e| e.at.line).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_private_key_does_not_show_in_debug() {
        let (lines, _) = lex("f", "<key>\nsecret\n</key>\n");
        assert_eq!(format!("{:?}", lines[0]), "f:1: key [] <7 bytes>");
    }

    proptest! {
        #[test]
        fn any_text_is_lines_or_errors(text in "\\PC*|[<>/ca\"'\\\\#; \t\r\n-]*") {
            let written = text.lines().count();
            let (lines, errors) = lex("f", &text);
            prop_assert!(lines.len() + errors.len() <= written);
            for line in lines {
                prop_assert!(line.arguments.len() < limits::CONFIG_WORDS_MAX);
            }
        }
    }
}
