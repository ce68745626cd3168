//! What the process does with itself before it serves.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::config::settings::ProcessSettings;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("cd to '{}' failed: {error}", directory.display())]
    Directory {
        directory: PathBuf,
        error: io::Error,
    },
    #[error("going to the background failed: {0}")]
    Daemon(io::Error),
    #[error("writepid: cannot write '{}': {error}", file.display())]
    PidFile { file: PathBuf, error: io::Error },
}

/// Enters the working directory, goes to the background, writes the process id.
///
/// The standard streams of a daemon lead nowhere from then on. There must be no other thread.
pub(super) fn prepare(process: &ProcessSettings) -> Result<(), PrepareError> {
    if let Some(directory) = &process.directory {
        std::env::set_current_dir(directory).map_err(|error| PrepareError::Directory {
            directory: directory.clone(),
            error,
        })?;
    }
    if process.daemon {
        nix::unistd::daemon(true, false).map_err(|errno| PrepareError::Daemon(errno.into()))?;
    }
    if let Some(file) = &process.pid_file {
        fs::write(file, format!("{}\n", std::process::id())).map_err(|error| {
            PrepareError::PidFile {
                file: file.clone(),
                error,
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let process = ProcessSettings {
            pid_file: Some(file.clone()),
            ..ProcessSettings::default()
        };
        prepare(&process).unwrap();
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            format!("{}\n", std::process::id())
        );
    }

    #[test]
    fn a_failure_names_its_file() {
        let file = Some(PathBuf::from("/nonexistent/pid"));
        let process = ProcessSettings {
            pid_file: file,
            ..ProcessSettings::default()
        };
        let error = prepare(&process).unwrap_err().to_string();
        assert!(
            error.starts_with("writepid: cannot write '/nonexistent/pid': "),
            "{error}"
        );
    }
}
