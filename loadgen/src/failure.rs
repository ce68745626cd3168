//! What ends the generator before it has a result.

use std::path::PathBuf;

use loadgen::lan::LanFault;
use loadgen::merge::Unmergeable;
use loadgen::plan::PlanFault;
use loadgen::result::ReportFault;
use loadgen::server_process::NotThere;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The profile can't be used.
    #[error("{}: {why}", profile.display())]
    Profile {
        /// Its file.
        profile: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// An option can't be followed.
    #[error("{0}")]
    Option(String),
    /// There are not as many file descriptors as sessions need.
    #[error(
        "{sessions} sessions need {needed} file descriptors, and the system allows {maximum}: raise the \
         hard limit, for example with `ulimit -Hn {needed}` as root or LimitNOFILE={needed} in a unit \
         file (and fs.nr_open, if it is lower)"
    )]
    Descriptors {
        /// Asked for.
        sessions: u32,
        /// In all.
        needed: u64,
        /// The hard limit.
        maximum: u64,
    },
    /// A core can't work.
    #[error("{0}")]
    Core(String),
    /// The plan is none.
    #[error(transparent)]
    Plan(#[from] PlanFault),
    /// A report can't be read or written.
    #[error(transparent)]
    Report(#[from] ReportFault),
    /// The far side did not run.
    #[error(transparent)]
    Lan(#[from] LanFault),
    /// Reports are not parts of one measurement.
    #[error(transparent)]
    Merge(#[from] Unmergeable),
    /// What was made can't be written.
    #[error("{}: {source}", path.display())]
    Output {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server's process can't be looked at.
    #[error(transparent)]
    Server(#[from] NotThere),
    /// Signals would end the program without a report.
    #[error("watching for signals: {0}")]
    Signals(std::io::Error),
}
