//! What ends the generator before it has a result.

use std::path::PathBuf;

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
}
