//! What can go wrong while measuring.

use std::path::PathBuf;

/// Why a measurement, or all of them, ended without a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Ctrl-C or SIGTERM: everything is taken down, and nothing is measured any more.
    #[error("interrupted")]
    Interrupted,
    /// This machine, this user or these options can't do it at all.
    #[error("{0}")]
    Impossible(String),
    /// A program that was started for one step failed.
    #[error("{command}: {said}")]
    Command {
        /// The program and its words.
        command: String,
        /// What it printed, or why it could not be started.
        said: String,
    },
    /// A program under test ended, or did not come up.
    #[error("{what}\n{log}")]
    Contender {
        /// What happened.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A tool printed what nobody expects of it.
    #[error("{tool} printed something unexpected: {said}")]
    Unexpected {
        /// Which.
        tool: &'static str,
        /// What.
        said: String,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    /// The system's refusal of something done to a file.
    pub(crate) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::System {
            doing: path.into().display().to_string(),
            source,
        }
    }

    /// The system's refusal of `doing`.
    pub(crate) fn system(doing: &str, source: impl Into<std::io::Error>) -> Self {
        Self::System {
            doing: doing.to_owned(),
            source: source.into(),
        }
    }
}
