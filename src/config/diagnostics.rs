//! What is wrong with a configuration, and what to write instead.

use std::fmt;
use std::rc::Rc;

use super::lexer::Location;

/// Everything that was found, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Whether the configuration cannot be served.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.found
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    }

    /// Brings them into the order of the lines, file by file; what is about no line comes last.
    pub(super) fn sort(&mut self) {
        let mut files: Vec<Rc<str>> = Vec::new();
        for at in self.found.iter().filter_map(|one| one.at.as_ref()) {
            if !files.contains(&at.file) {
                files.push(Rc::clone(&at.file));
            }
        }
        self.found.sort_by_key(|one| match &one.at {
            Some(at) => (
                files.iter().position(|file| *file == at.file).unwrap_or(0),
                at.line,
            ),
            None => (usize::MAX, 0),
        });
    }

    /// Whether anything was said about a directive.
    pub fn mentions(&self, directive: &str) -> bool {
        self.found.iter().any(|one| one.directive == directive)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The line, `None` when a line is missing.
    pub at: Option<Location>,
    /// The directive that it is about.
    pub directive: String,
    /// Why.
    pub reason: Reason,
    /// What to write instead.
    pub instead: Option<String>,
}

/// Why a line was remarked upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name is unknown or the number of arguments wrong: one case for OpenVPN, whose sentence
    /// administrators search for. The text says which.
    Unrecognized(String),
    /// Anything else, in a sentence without a full stop.
    Because(String),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// It is served, but not as it may have been meant.
    Warning,
    /// It cannot be served.
    Error,
}

impl Diagnostic {
    /// The line that goes to the log when the server starts, in OpenVPN's form.
    pub fn log_line(&self) -> String {
        let lead = match self.severity {
            Severity::Error => "Options error: ",
            Severity::Warning => "WARNING: ",
            Severity::Note => "NOTE: ",
        };
        let at = self.at.as_ref().map(Location::to_string);
        let body = match (&self.reason, at) {
            (Reason::Unrecognized(which), Some(at)) => {
                format!("{UNRECOGNIZED} in {at}: {} ({which})", self.directive)
            }
            (Reason::Unrecognized(which), None) => {
                format!("{UNRECOGNIZED}: {} ({which})", self.directive)
            }
            (Reason::Because(why), Some(at)) => format!("{at}: {}: {why}", self.directive),
            (Reason::Because(why), None) => format!("{}: {why}", self.directive),
        };
        format!("{lead}{body}{}", self.advice())
    }

    fn advice(&self) -> String {
        self.instead
            .as_ref()
            .map(|instead| format!("; {instead}"))
            .unwrap_or_default()
    }
}

/// One line: `server.conf:12: error: dev: why; what to write instead`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        let (Reason::Unrecognized(why) | Reason::Because(why)) = &self.reason;
        write!(
            f,
            "{}: {}: {why}{}",
            self.severity,
            self.directive,
            self.advice()
        )
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// OpenVPN's words for a line it does not understand.
const UNRECOGNIZED: &str = "Unrecognized option or missing or extra parameter(s)";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Option<Location> {
        Some(Location {
            file: "server.conf".into(),
            line,
        })
    }

    #[test]
    fn an_unknown_line_keeps_the_sentence_people_search_for() {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            at: at(12),
            directive: "keysize".into(),
            reason: Reason::Unrecognized("no such directive".into()),
            instead: Some("remove it".into()),
        };
        assert_eq!(
            diagnostic.log_line(),
            "Options error: Unrecognized option or missing or extra parameter(s) in \
             server.conf:12: keysize (no such directive); remove it"
        );
        assert_eq!(
            diagnostic.to_string(),
            "server.conf:12: error: keysize: no such directive; remove it"
        );
    }

    #[test]
    fn a_missing_line_has_no_place() {
        let diagnostic = Diagnostic {
            severity: Severity::Warning,
            at: None,
            directive: "topology".into(),
            reason: Reason::Because("not written".into()),
            instead: None,
        };
        assert_eq!(diagnostic.log_line(), "WARNING: topology: not written");
        assert_eq!(diagnostic.to_string(), "warning: topology: not written");
    }
}
