//! The programs of an administrator that are told of the machine's side of a tunnel (`up` and its like): each is started
//! without a shell, runs to its end while its caller waits, and has its time.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{SCRIPT_PATIENCE, SCRIPT_POLL};
use crate::node::settings::ScriptCommand;

/// Why a script did not do its work.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum ScriptError {
    /// It can't be started.
    #[error("could not execute external program ({0})")]
    Start(io::Error),
    /// It ended otherwise than with 0.
    #[error("external program {}", ended(*.0))]
    Failed(ExitStatus),
    /// It did not end in time, and was killed.
    #[error("external program was killed after {} seconds", .0.as_secs())]
    Slow(Duration),
}

/// Runs a script with further arguments to its end, with these variables and no others.
///
/// # Errors
/// It did not end well.
pub(in crate::node) fn run(
    command: &ScriptCommand,
    arguments: &[String],
    variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> Result<(), ScriptError> {
    run_within(SCRIPT_PATIENCE, command, arguments, variables)
}

fn run_within(
    patience: Duration,
    command: &ScriptCommand,
    arguments: &[String],
    variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> Result<(), ScriptError> {
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .spawn();
    let mut child = child.map_err(ScriptError::Start)?;
    match wait(&mut child, patience).map_err(ScriptError::Start)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(ScriptError::Failed(status)),
        None => Err(ScriptError::Slow(patience)),
    }
}

/// How a child ended; nothing if it had to be killed.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(SCRIPT_POLL);
    }
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exited with error status: {code}"),
        None => format!("did not exit normally ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ScriptCommand {
        ScriptCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()],
        }
    }

    #[test]
    fn a_script_has_its_arguments_its_variables_and_its_time() {
        let variables = [("dev", "tun7")];
        let arguments = ["tun7".to_owned(), "1400".to_owned()];
        let told = "test \"$1 $2 $dev\" = 'tun7 1400 tun7' && test -z \"$HOME$CARGO\"";
        let run = |script| run(&shell(script), &arguments, variables);
        assert!(run(told).is_ok());
        let failed = run("exit 3").unwrap_err().to_string();
        assert_eq!(failed, "external program exited with error status: 3");
        let killed = run("kill -9 $$").unwrap_err().to_string();
        assert!(killed.contains("did not exit normally"), "{killed}");
        let patience = Duration::from_millis(100);
        let slow = run_within(patience, &shell("exec sleep 1000"), &[], variables);
        assert!(matches!(slow, Err(ScriptError::Slow(_))), "{slow:?}");
        let nothing = ScriptCommand {
            program: "/nowhere/at/all".into(),
            arguments: Vec::new(),
        };
        let absent = super::run(&nothing, &[], variables);
        assert!(matches!(absent, Err(ScriptError::Start(_))), "{absent:?}");
    }
}
