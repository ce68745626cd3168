//! Programs that are started for a comparison: pinned to a core of a namespace, with a log, and ended
//! by their id however the comparison ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Interrupt;
use crate::failure::Failure;

/// A started program. Dropping it ends it the hard way.
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    interrupt: Interrupt,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The network namespace.
    pub(super) namespace: &'a str,
    /// The core that it and its threads are pinned to.
    pub(super) core: usize,
}

impl Process {
    /// Starts a program whose output goes to a file `NAME.log` in `directory`.
    pub(super) fn spawn(
        place: Place<'_>,
        name: &str,
        words: &[&str],
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|source| Failure::file(&log, source))?;
        let errors = file
            .try_clone()
            .map_err(|source| Failure::file(&log, source))?;
        let child = command(place, words)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|source| Failure::system(name, source))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            interrupt: interrupt.clone(),
        })
    }

    /// The process id: what starts the program becomes it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed.
    pub(super) fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines that it has printed.
    pub(super) fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..);
        let lines = tail.unwrap_or_default().iter();
        lines
            .map(|line| format!("    {}: {line}\n", self.name))
            .collect()
    }

    /// Fails if the program has ended.
    pub(super) fn check_running(&mut self) -> Result<(), Failure> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("ended with {status}"))),
        }
    }

    /// Waits until it has ended by itself, successfully.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<(), Failure> {
        let end = Instant::now() + limit;
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("ended with {status}"))),
                None if Instant::now() >= end => {
                    return Err(self.failure(&format!("did not end in {} s", limit.as_secs())));
                }
                None => self.interrupt.sleep(TURN)?,
            }
        }
    }

    /// Waits until it has printed `needle`.
    pub(super) fn wait_for(&mut self, needle: &str) -> Result<(), Failure> {
        let end = Instant::now() + START_LIMIT;
        while !self.output().contains(needle) {
            self.check_running()?;
            if Instant::now() >= end {
                return Err(self.failure(&format!("did not print {needle:?}")));
            }
            self.interrupt.sleep(TURN)?;
        }
        Ok(())
    }

    /// What went wrong with the program, with the end of its log.
    pub(super) fn failure(&self, what: &str) -> Failure {
        Failure::Contender {
            what: format!("{} {what}", self.name),
            log: self.tail(),
        }
    }

    /// Asks it to end, and ends it the hard way if it does not.
    pub(super) fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended meanwhile.
        let _gone = pid.map(|pid| kill_process(pid, Signal::TERM));
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(TURN);
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let status = self.child.try_wait();
        status.map_err(|source| Failure::system(&self.name, source))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended, and then there is nothing to do.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs a command to its end and gives back what it printed.
pub(super) fn run(words: &[&str]) -> Result<String, Failure> {
    let failure = |said: String| Failure::Command {
        command: words.join(" "),
        said,
    };
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| failure("no command".to_owned()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failure(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let both = [output.stdout, output.stderr].concat();
        Err(failure(String::from_utf8_lossy(&both).trim().to_owned()))
    }
}

/// A command that becomes the program, in its place, and is killed with the thread that starts it, so
/// that nothing survives a comparison that was itself killed.
fn command(place: Place<'_>, words: &[&str]) -> Command {
    let core = place.core.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "ip", "netns", "exec"]);
    command.args([place.namespace, "taskset", "--cpu-list", &core]);
    command.args(words);
    command
}

const TURN: Duration = Duration::from_millis(20);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Lines of a log that a failure shows.
const TAIL: usize = 12;
