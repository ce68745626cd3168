//! The priority that a node asks of the machine for itself (`nice`).
//!
//! It is asked before privileges are given up, and before there are the threads that do the work: these
//! have that of the thread that starts them.

use std::io;

use super::settings::ProcessSettings;

/// The machine did not give it.
#[derive(Debug, thiserror::Error)]
#[error("`nice {nice}` is refused: {error}")]
pub struct PriorityError {
    nice: i32,
    error: io::Error,
}

/// Asks for what the settings want.
///
/// # Errors
/// See [`PriorityError`].
pub(super) fn ask(process: &ProcessSettings) -> Result<(), PriorityError> {
    if let Some(nice) = process.nice {
        rustix::process::nice(nice).map_err(|error| PriorityError {
            nice,
            error: error.into(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel counts it for the thread that asks; 19th behind the name in brackets.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind = stat.rsplit(')').next().unwrap();
        behind.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn the_thread_that_asks_has_another_priority() {
        let process = ProcessSettings {
            nice: Some(3),
            ..ProcessSettings::default()
        };
        std::thread::spawn(move || {
            let before = niceness();
            ask(&ProcessSettings::default()).unwrap();
            assert_eq!(niceness(), before);
            ask(&process).unwrap();
            assert_eq!(niceness(), (before + 3).min(19));
            let started_later = std::thread::spawn(niceness).join();
            assert_eq!(started_later.unwrap(), (before + 3).min(19));
        })
        .join()
        .unwrap();
    }
}
