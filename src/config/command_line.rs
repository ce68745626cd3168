//! Words from the command line and from files to one sequence of lines, in the order in which
//! they take effect.
//!
//! `--directive value...` is a line; `--config FILE` and a `config FILE` line are replaced by the
//! lines of the file, where they stand. A single argument without dashes is a configuration file.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use zeroize::Zeroizing;

use super::diagnostics::{Diagnostic, Reason, Severity};
use super::lexer::{Line, Location, SyntaxError, lex};
use super::pki::read_bounded;
use crate::limits;

/// Reads the words of a command line, without the program's name, and every file they include.
/// Relative names start from `directory`.
pub(super) fn read(arguments: &[String], directory: &Path) -> Vec<Result<Line, Diagnostic>> {
    let mut reader = Reader {
        directory: directory.to_owned(),
        read: Vec::new(),
    };
    for line in lines_of(arguments) {
        match line {
            Ok(line) => reader.take(line, 0),
            Err(diagnostic) => reader.read.push(Err(diagnostic)),
        }
    }
    reader.read
}

/// Reads a file and all that it includes. Relative names of those start from `directory`.
pub(super) fn include(file: &Path, directory: &Path) -> Vec<Result<Line, Diagnostic>> {
    let at = Location {
        file: Rc::from(COMMAND_LINE),
        line: 1,
    };
    let mut reader = Reader {
        directory: directory.to_owned(),
        read: Vec::new(),
    };
    let name = file.display().to_string();
    let words = vec!["config".to_owned(), name.clone()];
    if let Some(line) = Line::from_words(at, words) {
        reader.include(&name, &line, 0);
    }
    reader.read
}

/// Reads a text of that name and all that it includes, as [`include`] does.
pub(super) fn include_text(
    name: &str,
    text: &str,
    directory: &Path,
) -> Vec<Result<Line, Diagnostic>> {
    let mut reader = Reader {
        directory: directory.to_owned(),
        read: Vec::new(),
    };
    reader.take_text(name, text, 0);
    reader.read
}

struct Reader {
    directory: PathBuf,
    read: Vec<Result<Line, Diagnostic>>,
}

impl Reader {
    fn take(&mut self, line: Line, level: usize) {
        match (line.name.as_str(), line.arguments.as_slice(), &line.block) {
            ("cd", [directory], None) => self.directory.push(directory),
            ("config", [file], None) => return self.include(file, &line, level + 1),
            _ => {}
        }
        self.read.push(Ok(line));
    }

    fn include(&mut self, file: &str, line: &Line, level: usize) {
        if level > limits::CONFIG_LEVELS_MAX {
            let why = format!(
                "more than {} files include one another",
                limits::CONFIG_LEVELS_MAX
            );
            return self.read.push(Err(error(line.at.clone(), "config", why)));
        }
        let text = match read_bounded(&self.directory.join(file)) {
            Ok(bytes) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
            Err(why) => {
                let why = format!("error opening configuration file: {file}: {why}");
                return self.read.push(Err(error(line.at.clone(), "config", why)));
            }
        };
        self.take_text(file, &text, level);
    }

    fn take_text(&mut self, name: &str, text: &str, level: usize) {
        let (mut lines, mut faults) = lex(name, text);
        // Both are in the order of the file; merge them into it.
        while let Some(at) = [
            lines.first().map(|l| l.at.line),
            faults.first().map(|f| f.at.line),
        ]
        .into_iter()
        .flatten()
        .min()
        {
            match faults.first() {
                Some(fault) if fault.at.line == at => {
                    let SyntaxError { at, what } = faults.remove(0);
                    self.read.push(Err(error(at, SYNTAX, what.to_string())));
                }
                _ => self.take(lines.remove(0), level),
            }
        }
    }
}

/// Each `--name` with the words up to the next one.
fn lines_of(arguments: &[String]) -> Vec<Result<Line, Diagnostic>> {
    let at = Location {
        file: Rc::from(COMMAND_LINE),
        line: 1,
    };
    if let [file] = arguments
        && !file.starts_with("--")
    {
        let words = vec!["config".to_owned(), file.clone()];
        return Line::from_words(at, words).map(Ok).into_iter().collect();
    }
    let mut lines = Vec::new();
    let mut rest = arguments;
    while let Some((first, after)) = rest.split_first() {
        let values = after
            .iter()
            .take_while(|word| !word.starts_with("--"))
            .count();
        let (values, next) = after.split_at(values);
        rest = next;
        if !first.starts_with("--") {
            let why = "only a file that is the one word of the command line needs no `--`";
            lines.push(Err(Diagnostic {
                instead: Some(format!("write `--config {first}`")),
                ..error(at.clone(), first, why.into())
            }));
            continue;
        }
        let words = std::iter::once(first).chain(values).cloned().collect();
        lines.extend(Line::from_words(at.clone(), words).map(Ok));
    }
    lines
}

fn error(at: Location, directive: &str, why: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        at: Some(at),
        directive: directive.to_owned(),
        reason: Reason::Because(why),
        instead: None,
    }
}

/// What a fault of a file's form is remarked under; its other lines were read.
pub(super) const SYNTAX: &str = "syntax";

/// The place of words that are in no file. Wire: OpenVPN's name for it.
const COMMAND_LINE: &str = "[CMD-LINE]";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shown(arguments: &[&str], directory: &Path) -> Vec<String> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        read(&arguments, directory)
            .into_iter()
            .map(|line| match line {
                Ok(line) => format!("{} {} {}", line.at, line.name, line.arguments.join(" ")),
                Err(diagnostic) => diagnostic.to_string(),
            })
            .collect()
    }

    #[test]
    fn a_file_stands_where_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("a.conf"),
            "port 1\nconfig b.conf\nverb 3\n",
        )
        .unwrap();
        fs::write(directory.path().join("b.conf"), "\nport 2\n").unwrap();
        let words = [
            "--status", "s", "10", "--config", "a.conf", "--port", "3", "--daemon",
        ];
        assert_eq!(
            shown(&words, directory.path()),
            [
                "[CMD-LINE]:1 status s 10",
                "a.conf:1 port 1",
                "b.conf:2 port 2",
                "a.conf:3 verb 3",
                "[CMD-LINE]:1 port 3",
                "[CMD-LINE]:1 daemon ",
            ]
        );
    }

    #[test]
    fn one_word_is_a_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.conf"), "verb 3\n").unwrap();
        assert_eq!(shown(&["a.conf"], directory.path()), ["a.conf:1 verb 3"]);
    }

    #[test]
    fn cd_leads_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/a.conf"), "verb 3\n").unwrap();
        assert_eq!(
            shown(&["--cd", "etc", "--config", "a.conf"], directory.path()),
            ["[CMD-LINE]:1 cd etc", "a.conf:1 verb 3"]
        );
    }

    #[test]
    fn a_word_without_dashes_is_remarked_upon() {
        assert_eq!(
            shown(&["server.conf", "--verb", "3"], Path::new("/")),
            [
                "[CMD-LINE]:1: error: server.conf: only a file that is the one word of the command \
                 line needs no `--`; write `--config server.conf`",
                "[CMD-LINE]:1 verb 3"
            ]
        );
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.conf"), "config a.conf\n").unwrap();
        assert_eq!(
            shown(&["a.conf"], directory.path()),
            ["a.conf:1: error: config: more than 10 files include one another"]
        );
    }

    #[test]
    fn faults_stand_between_the_lines() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("a.conf"),
            "verb 3\npush \"x\nport 1\n",
        )
        .unwrap();
        assert_eq!(
            shown(&["a.conf"], directory.path()),
            [
                "a.conf:1 verb 3",
                "a.conf:2: error: syntax: no closing quotation (\")",
                "a.conf:3 port 1"
            ]
        );
    }
}
