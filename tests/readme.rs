//! The documents name what is there: the code map of README.md, the names in docs/architecture.md, the
//! tests in docs/traps.md, and the links of all documents.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_code_map_names_what_exists_and_leaves_nothing_out() {
    let map = code_map(&read("README.md"));
    assert!(map.len() > 20, "{map:?}");
    let wrong: Vec<_> = map
        .iter()
        .filter(|path| match path.strip_suffix('/') {
            Some(folder) => !root().join(folder).is_dir(),
            None => !root().join(path).is_file(),
        })
        .collect();
    assert!(wrong.is_empty(), "not there: {wrong:?}");
    let missing: Vec<_> = modules()
        .into_iter()
        .filter(|module| !map.contains(module))
        .collect();
    assert!(missing.is_empty(), "not in the code map: {missing:?}");
}

#[test]
fn modules_stand_on_the_floors_that_the_library_says() {
    let readme = read("README.md");
    let library = read("src/lib.rs");
    let rows: Vec<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|row| row.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        for module in cells[1].split(", ") {
            let module = module.trim_start_matches("[`").trim_end_matches("`]");
            let row = [".rs", "/"].map(|end| format!("| `src/{module}{end}` | {} |", cells[0]));
            let found = row.iter().any(|row| readme.contains(row));
            assert!(found, "README.md has neither of {row:?}");
        }
    }
}

#[test]
fn the_architecture_names_what_is_in_the_code() {
    let code = sources(&root().join("src"));
    let text = read("docs/architecture.md");
    let names: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|span| span.split_once("::"))
        .collect();
    assert!(names.len() > 50, "only {} names were read", names.len());
    let gone: Vec<_> = names
        .iter()
        .filter(|(owner, name)| !is_owner(&code, owner) || !is_name(&code, name))
        .collect();
    assert!(gone.is_empty(), "not in the code: {gone:?}");
}

#[test]
fn each_trap_has_its_tests_and_each_of_these_its_trap() {
    let code = sources(&root().join("src")) + &sources(&root().join("tests"));
    let text = read("docs/traps.md");
    let rows = text.lines().filter_map(|line| {
        let (number, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        Some((number.parse::<u32>().ok()?, rest))
    });
    let mut named = Vec::new();
    let mut numbers = Vec::new();
    for (number, rest) in rows {
        numbers.push(number);
        let tests: Vec<_> = rest
            .split('`')
            .filter(|span| span.starts_with("trap_"))
            .collect();
        assert!(!tests.is_empty(), "trap {number}");
        for test in tests {
            assert!(test.starts_with(&format!("trap_{number:02}_")), "{test}");
            let is_there = code.contains(&format!("fn {test}()"));
            assert!(is_there, "no test is called {test}");
            named.push(test);
        }
    }
    assert_eq!(numbers, (1..=28).collect::<Vec<_>>());
    let in_code = code.matches(&["fn ", "trap_"].concat()).count();
    assert_eq!(named.len(), in_code, "a test has a trap's name and no row");
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in targets(&text) {
            let file = document.parent().unwrap().join(&link);
            assert!(file.exists(), "{}: {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links were read");
}

#[test]
fn links_are_found() {
    let text = "[a](b/c.md), [d](https://example.net/), `x[1](y)`\n[e](f.md#g) (h)";
    assert_eq!(targets(text), ["b/c.md", "f.md"]);
}

/// The paths in the first column of the code map; folders end with a slash.
fn code_map(readme: &str) -> Vec<String> {
    let (_, rest) = readme.split_once("\n## Code map\n").expect("a code map");
    let (section, _) = rest.split_once("\n## ").expect("a section after it");
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(path, _)| path.to_owned())
        .collect()
}

/// What stands directly under `src/`.
fn modules() -> Vec<String> {
    let entries = fs::read_dir(root().join("src")).unwrap();
    entries
        .map(Result::unwrap)
        .map(|entry| {
            let end = if entry.path().is_dir() { "/" } else { "" };
            format!("src/{}{end}", entry.file_name().to_str().unwrap())
        })
        .collect()
}

/// Whether a type or module of this name is defined.
fn is_owner(code: &str, name: &str) -> bool {
    let of_crate = modules().iter().any(|module| {
        module.trim_end_matches('/').trim_end_matches(".rs") == format!("src/{name}")
    });
    let defined = ["struct", "enum", "trait"].iter().any(|kind| {
        code.contains(&format!("{kind} {name} ")) || code.contains(&format!("{kind} {name}("))
    });
    let generic = code.contains(&format!("struct {name}<"));
    of_crate || defined || generic
}

/// Whether a function of this name is defined, or there is a variant of it.
fn is_name(code: &str, name: &str) -> bool {
    if name.starts_with(char::is_uppercase) {
        let variant = [",", " {", "("].map(|end| format!("\n    {name}{end}"));
        return variant.iter().any(|variant| code.contains(variant));
    }
    code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"))
}

/// All source files under a folder, one behind the other.
fn sources(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code.push_str(&sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    code
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for folder in ["", "docs", "tuning", "container", "fuzz", "tests/vectors"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// The relative targets of a text's links, without fragments. Code spans have none.
fn targets(text: &str) -> Vec<String> {
    let outside_code: String = text.split('`').step_by(2).collect();
    outside_code
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
