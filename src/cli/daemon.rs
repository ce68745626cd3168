//! What the process does with itself around the start: working directory, background, process id.
//!
//! A daemon is forked off before anything is opened, for threads do not live through a fork. The
//! first process stays until the server is ready or has failed, and ends with that: who started it
//! learns from the exit code, and reads the reason where a foreground server would print it.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use fork::Fork;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, Pid};

use crate::config::settings::ProcessSettings;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
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

/// Which process this is.
#[derive(Debug)]
pub(super) enum Side {
    /// The one that serves.
    Server(Starting),
    /// The one that was started, and waited for the one in the background: its exit code.
    Waited(ExitCode),
}

/// A server on its way, which somebody may be waiting for.
#[derive(Debug)]
pub(super) struct Starting {
    pid_file: Option<PidFile>,
    waiting: Option<Waiting>,
}

/// The file for the process id, open before the process gives up its right to open it.
#[derive(Debug)]
struct PidFile {
    file: File,
    path: PathBuf,
    /// Whether it is ours and still empty: a server that does not start takes it away again.
    is_new: bool,
}

/// The process that waits for this one, and what the standard streams will be when it has gone.
#[derive(Debug)]
struct Waiting {
    told: PipeWriter,
    nowhere: File,
}

impl Side {
    /// Enters the working directory, and forks if the server belongs in the background. There must
    /// be no other thread.
    pub(super) fn choose(process: &ProcessSettings) -> Result<Self, ProcessError> {
        if let Some(directory) = &process.directory {
            std::env::set_current_dir(directory).map_err(|error| ProcessError::Directory {
                directory: directory.clone(),
                error,
            })?;
        }
        let open = || process.pid_file.clone().map(PidFile::open).transpose();
        if !process.daemon {
            let (pid_file, waiting) = (open()?, None);
            return Ok(Self::Server(Starting { pid_file, waiting }));
        }
        let nowhere = File::options().read(true).write(true).open("/dev/null");
        let nowhere = nowhere.map_err(ProcessError::Daemon)?;
        let (reader, writer) = io::pipe().map_err(ProcessError::Daemon)?;
        match fork::fork().map_err(ProcessError::Daemon)? {
            Fork::Child => {
                let told = writer;
                let waiting = Some(Waiting { told, nowhere });
                let pid_file = open()?;
                Ok(Self::Server(Starting { pid_file, waiting }))
            }
            Fork::Parent(child) => {
                drop(writer);
                Ok(Self::Waited(wait(reader, Pid::from_raw(child))))
            }
        }
    }
}

impl Starting {
    /// Clients can connect: writes the process id; a daemon leaves its terminal and tells the
    /// process that waits. Its standard streams lead nowhere from then on.
    pub(super) fn ready(self) -> Result<(), ProcessError> {
        if let Some(mut file) = self.pid_file {
            file.write()?;
        }
        self.waiting
            .map_or(Ok(()), Waiting::leave_terminal)
            .map_err(ProcessError::Daemon)
    }
}

impl PidFile {
    /// Leaves what stands in it, which may be the process id of a server that runs.
    fn open(path: PathBuf) -> Result<Self, ProcessError> {
        let made = File::options().write(true).create_new(true).open(&path);
        let is_new = made.is_ok();
        let opened = made.or_else(|_| File::options().write(true).open(&path));
        match opened {
            Ok(file) => Ok(Self { file, path, is_new }),
            Err(error) => Err(ProcessError::PidFile { file: path, error }),
        }
    }

    fn write(&mut self) -> Result<(), ProcessError> {
        let text = format!("{}\n", std::process::id());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()));
        self.is_new = false;
        written.map_err(|error| ProcessError::PidFile {
            file: self.path.clone(),
            error,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_new {
            let _may_not = fs::remove_file(&self.path);
        }
    }
}

impl Waiting {
    fn leave_terminal(mut self) -> io::Result<()> {
        unistd::setsid()?;
        unistd::dup2_stdin(&self.nowhere)?;
        unistd::dup2_stdout(&self.nowhere)?;
        unistd::dup2_stderr(&self.nowhere)?;
        // If nobody waits any more, the server serves all the same.
        let _gone = self.told.write_all(READY);
        Ok(())
    }
}

/// Waits until the server is ready, or has ended and said why.
fn wait(mut reader: PipeReader, child: Pid) -> ExitCode {
    let mut told = Vec::new();
    if reader.read_to_end(&mut told).is_ok() && told == READY {
        return ExitCode::SUCCESS;
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).map_or(ExitCode::FAILURE, Into::into),
        ended => {
            eprintln!("the server ended while it started: {ended:?}");
            ExitCode::FAILURE
        }
    }
}

/// What goes through the pipe when clients can connect.
const READY: &[u8] = b"ready";

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(process: &ProcessSettings) -> Starting {
        match Side::choose(process).unwrap() {
            Side::Server(starting) => starting,
            Side::Waited(code) => panic!("nothing was to be waited for: {code:?}"),
        }
    }

    #[test]
    fn the_process_id_is_written_when_clients_can_connect() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        fs::write(&file, "of another\n").unwrap();
        let process = ProcessSettings {
            pid_file: Some(file.clone()),
            ..ProcessSettings::default()
        };
        let starting = starting(&process);
        assert_eq!(fs::read_to_string(&file).unwrap(), "of another\n");
        starting.ready().unwrap();
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            format!("{}\n", std::process::id())
        );
    }

    #[test]
    fn a_server_that_does_not_start_leaves_no_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let process = ProcessSettings {
            pid_file: Some(file.clone()),
            ..ProcessSettings::default()
        };
        drop(starting(&process));
        assert!(!file.exists());
        fs::write(&file, "of another\n").unwrap();
        drop(starting(&process));
        assert_eq!(fs::read_to_string(&file).unwrap(), "of another\n");
    }

    #[test]
    fn a_failure_names_its_file() {
        let process = ProcessSettings {
            pid_file: Some(PathBuf::from("/nonexistent/pid")),
            ..ProcessSettings::default()
        };
        let error = Side::choose(&process).unwrap_err().to_string();
        assert!(
            error.starts_with("writepid: cannot write '/nonexistent/pid': "),
            "{error}"
        );
    }
}
