//! The watch: starts the program that runs the plug-ins, ends it when a plug-in takes too long, says
//! so when it is gone, and starts the next one after a pause.
//!
//! It keeps the privileges that the server had, since a plug-in may need them to be opened. So it
//! listens to nobody: what the host tells it is how long the call may take that it begins.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ringway::node::plugins::FromHost;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// Starts hosts until the server is gone.
pub(crate) fn run(socket: &OwnedFd) -> io::Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let reason = match Host::start(socket)?.watch(socket)? {
            Ending::ServerGone => return Ok(()),
            Ending::Died(reason) => reason,
        };
        if started.elapsed() > LONG_LIFE {
            pause = FIRST_PAUSE;
        }
        let seconds = u32::try_from(pause.as_secs()).unwrap_or(u32::MAX);
        let died = FromHost::Died {
            reason,
            pause: seconds,
        };
        if super::tell(socket, &died).is_err() || is_gone(socket, pause)? {
            return Ok(());
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// How a host ended.
enum Ending {
    /// With the server.
    ServerGone,
    /// Any other way, also when a plug-in can't be used, which the server knows.
    Died(String),
}

/// One host, in a process group of its own with all that its plug-ins start.
struct Host {
    process: Child,
    group: Pid,
    gone: OwnedFd,
    /// Seconds for the call that begins, zero at its end; four bytes each.
    calls: ChildStdout,
}

impl Host {
    fn start(socket: &OwnedFd) -> io::Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .arg(super::HOST)
            .process_group(0)
            .stdin(socket.try_clone()?)
            .stdout(Stdio::piped())
            .spawn()?;
        let calls = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let group = Pid::from_child(&process);
        let gone = pidfd_open(group, PidfdFlags::empty())?;
        Ok(Self {
            process,
            group,
            gone,
            calls,
        })
    }

    /// Waits until it ends, and ends it when a call takes too long or the server is gone.
    fn watch(mut self, socket: &OwnedFd) -> io::Result<Ending> {
        let mut limit: Option<(Instant, u32)> = None;
        loop {
            let mut ready = [
                PollFd::new(&self.gone, PollFlags::IN),
                PollFd::new(&self.calls, PollFlags::IN),
                // Without a wish: the end is told in any case.
                PollFd::new(socket, PollFlags::empty()),
            ];
            wait(&mut ready, limit.map(|(end, _)| end))?;
            let [gone, calls, server] = ready.map(|it| it.revents());
            if server.contains(PollFlags::HUP) {
                self.leave_alone()?;
                return Ok(Ending::ServerGone);
            }
            if !gone.is_empty() {
                return self.ending(None);
            }
            if !calls.is_empty() {
                limit = match self.call()? {
                    Some(0) => None,
                    Some(seconds) => {
                        let end = Instant::now() + Duration::from_secs(seconds.into());
                        Some((end, seconds))
                    }
                    // It is about to be gone.
                    None => {
                        self.kill();
                        return self.ending(None);
                    }
                };
            }
            if let Some((end, seconds)) = limit
                && Instant::now() >= end
            {
                self.kill();
                return self.ending(Some(seconds));
            }
        }
    }

    /// What the host says of its calls; `None` if it will say nothing more.
    fn call(&mut self) -> io::Result<Option<u32>> {
        let mut seconds = [0; 4];
        match self.calls.read_exact(&mut seconds) {
            Ok(()) => Ok(Some(u32::from_le_bytes(seconds))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a host whose server is gone the time to close its plug-ins.
    fn leave_alone(mut self) -> io::Result<()> {
        let mut gone = [PollFd::new(&self.gone, PollFlags::IN)];
        wait(&mut gone, Some(Instant::now() + CLOSING))?;
        self.kill();
        self.process.wait().map(drop)
    }

    /// Ends it with everything that its plug-ins have started.
    fn kill(&self) {
        let _gone_already = kill_process_group(self.group, Signal::KILL);
    }

    fn ending(mut self, exceeded: Option<u32>) -> io::Result<Ending> {
        let status = self.process.wait()?;
        self.kill();
        Ok(Ending::Died(match exceeded {
            Some(seconds) => format!("a plug-in did not return within {seconds} seconds"),
            None => in_words(status),
        }))
    }
}

/// Waits for one of these, at most until `end`.
fn wait(ready: &mut [PollFd<'_>], end: Option<Instant>) -> io::Result<()> {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    // A part of a nanosecond short of the end would be a turn for nothing.
    let left = left.map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(ready, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the server goes away within this time.
fn is_gone(socket: &OwnedFd, pause: Duration) -> io::Result<bool> {
    let end = Instant::now() + pause;
    loop {
        let mut server = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty())];
        wait(&mut server, Some(end))?;
        let [server] = server;
        if server.revents().contains(PollFlags::HUP) {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The pause before the second host.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: each is twice the one before.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Who has lived so long begins with the shortest pause again.
const LONG_LIFE: Duration = Duration::from_secs(120);

/// How long plug-ins have for their end when the server is gone.
const CLOSING: Duration = Duration::from_secs(5);
