//! The process that starts scripts: a small one of its own, made before privileges go and confined like
//! the server. It starts what it is told to, ends what takes too long with all of its process group, and
//! discards what is printed. The server never forks while it serves.
//!
//! It talks over a socket: requests in, an end for each out. It ends with the socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::{Zeroize, Zeroizing};

use crate::limits::{SCRIPT_POLL, SCRIPT_REQUEST_MAX, SCRIPTS_LINGERING};

/// What is to be started.
pub(super) struct Request {
    /// What its end is told by.
    pub(super) number: u64,
    /// How long it may take.
    pub(super) patience: Duration,
    /// Whether what it has started goes on when it has ended well.
    pub(super) leaves: bool,
    /// The program and its arguments.
    pub(super) words: Vec<String>,
    /// Its whole environment.
    pub(super) environment: Zeroizing<Vec<(String, String)>>,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It took too long, and was killed with all of its group.
    Slow,
    /// It could not be started.
    NotStarted(String),
}

/// The status with which a script says that its answer follows. What it has started goes on until then.
pub(super) const DEFERRED: i32 = 2;

/// A script that runs, or whose group does.
struct Running {
    number: u64,
    child: Child,
    group: Option<Pid>,
    until: Instant,
    /// What it starts goes on when it has ended well.
    leaves: bool,
    /// It has ended, and what it left behind has not.
    lingers: bool,
}

/// Starts scripts until the other side of the socket is gone.
///
/// # Errors
/// The socket fails otherwise.
pub fn serve(mut socket: UnixStream) -> io::Result<()> {
    // It never grows: what is moved stays behind, and passwords are in it.
    let mut received = Zeroizing::new(Vec::with_capacity(2 * SCRIPT_REQUEST_MAX));
    let mut running: Vec<Running> = Vec::new();
    let ended = loop {
        let patience = (!running.is_empty()).then_some(SCRIPT_POLL);
        socket.set_read_timeout(patience)?;
        let mut chunk = Zeroizing::new([0; 4096]);
        match socket.read(&mut *chunk) {
            Ok(0) => break Ok(()),
            Ok(length) => received.extend_from_slice(&chunk[..length]),
            Err(error) if is_patience(&error) => {}
            Err(error) => break Err(error),
        }
        let mut ends = Vec::new();
        while let Some(request) = take_request(&mut received)? {
            let number = request.number;
            match start(request) {
                Ok(started) => running.push(started),
                Err(error) => ends.push((number, ScriptEnd::NotStarted(error.to_string()))),
            }
        }
        look_after(&mut running, Instant::now(), &mut ends);
        let written = ends
            .iter()
            .try_for_each(|(number, end)| socket.write_all(&encode_end(*number, end)));
        if let Err(error) = written {
            break Err(error);
        }
    };
    for script in &mut running {
        finish(script);
    }
    ended
}

fn start(request: Request) -> io::Result<Running> {
    let Some((program, arguments)) = request.words.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let variables = request.environment.iter();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables.map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(Running {
        number: request.number,
        child,
        group,
        until: Instant::now() + request.patience,
        leaves: request.leaves,
        lingers: false,
    })
}

/// Notes who has ended, and ends who takes too long.
fn look_after(running: &mut Vec<Running>, now: Instant, ends: &mut Vec<(u64, ScriptEnd)>) {
    let mut lingering = running.iter().filter(|it| it.lingers).count();
    running.retain_mut(|script| {
        if script.lingers {
            // Those that were first go first.
            let stays = now < script.until && lingering <= SCRIPTS_LINGERING;
            if !stays {
                lingering -= 1;
                finish(script);
            }
            return stays;
        }
        match status_of(script) {
            Some(ScriptEnd::Exited(DEFERRED)) => {
                ends.push((script.number, ScriptEnd::Exited(DEFERRED)));
                script.lingers = true;
                true
            }
            Some(ScriptEnd::Exited(0)) if script.leaves => {
                ends.push((script.number, ScriptEnd::Exited(0)));
                let _status: io::Result<ExitStatus> = script.child.wait();
                false
            }
            Some(end) => {
                ends.push((script.number, end));
                finish(script);
                false
            }
            None if now >= script.until => {
                ends.push((script.number, ScriptEnd::Slow));
                finish(script);
                false
            }
            None => true,
        }
    });
}

/// How a script has ended, if it has. It is not waited for: while it is a zombie nobody else can have the
/// number of its group.
fn status_of(script: &mut Running) -> Option<ScriptEnd> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = match waitid(WaitId::Pid(script.group?), options) {
        Ok(status) => status?,
        Err(error) => return Some(ScriptEnd::NotStarted(error.to_string())),
    };
    let code = status.exit_status().map(ScriptEnd::Exited);
    let signal = || status.terminating_signal().map(ScriptEnd::Killed);
    Some(code.or_else(signal).unwrap_or(ScriptEnd::Killed(0)))
}

/// Ends what is left of a script.
fn finish(script: &mut Running) {
    if let Some(group) = script.group {
        let _gone_already = kill_process_group(group, Signal::KILL);
    }
    let _status: io::Result<ExitStatus> = script.child.wait();
}

/// A request as bytes: the length of what follows, number, milliseconds, whether what it starts goes on, words, variables.
pub(super) fn encode(request: &Request) -> Zeroizing<Vec<u8>> {
    let strings = || {
        let variables = request.environment.iter();
        let variables = variables.flat_map(|(name, value)| [name.as_str(), value]);
        request.words.iter().map(String::as_str).chain(variables)
    };
    let size = REQUEST_HEAD + strings().map(|it| LENGTH + it.len()).sum::<usize>();
    // It never grows: what is moved stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + size));
    let patience = u64::try_from(request.patience.as_millis()).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&length(size));
    bytes.extend_from_slice(&request.number.to_be_bytes());
    bytes.extend_from_slice(&patience.to_be_bytes());
    bytes.push(request.leaves.into());
    bytes.extend_from_slice(&length(request.words.len()));
    bytes.extend_from_slice(&length(request.environment.len()));
    for string in strings() {
        bytes.extend_from_slice(&length(string.len()));
        bytes.extend_from_slice(string.as_bytes());
    }
    bytes
}

/// Takes the first request out of what has come, once it is whole.
fn take_request(received: &mut Zeroizing<Vec<u8>>) -> io::Result<Option<Request>> {
    let Some((head, rest)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes(*head) as usize;
    if size > SCRIPT_REQUEST_MAX {
        return Err(broken());
    }
    let Some(body) = rest.get(..size) else {
        return Ok(None);
    };
    let mut reader = Reader(body);
    let number = reader.number()?;
    let patience = Duration::from_millis(reader.number()?);
    let leaves = reader.flag()?;
    let (words, variables) = (reader.length()?, reader.length()?);
    let words = (0..words).map(|_| reader.string());
    let words = words.collect::<io::Result<Vec<_>>>()?;
    let environment = (0..variables).map(|_| Ok((reader.string()?, reader.string()?)));
    let environment = Zeroizing::new(environment.collect::<io::Result<Vec<_>>>()?);
    let end = head.len() + size;
    received[..end].zeroize();
    received.drain(..end);
    Ok(Some(Request {
        number,
        patience,
        leaves,
        words,
        environment,
    }))
}

/// An end as bytes: number, kind, value, length of a text, text.
fn encode_end(number: u64, end: &ScriptEnd) -> Vec<u8> {
    let (kind, value, text) = match end {
        ScriptEnd::Exited(code) => (0, *code, ""),
        ScriptEnd::Killed(signal) => (1, *signal, ""),
        ScriptEnd::Slow => (2, 0, ""),
        ScriptEnd::NotStarted(why) => (3, 0, why.as_str()),
    };
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes.extend_from_slice(&length(text.len()));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Reads the next end.
///
/// # Errors
/// The helper is gone.
pub(super) fn read_end(socket: &mut impl Read) -> io::Result<(u64, ScriptEnd)> {
    let mut head = [0; 8 + 1 + 4 + 4];
    socket.read_exact(&mut head)?;
    let mut reader = Reader(&head);
    let number = reader.number()?;
    let [kind] = reader.take()?;
    let value = i32::from_be_bytes(reader.take()?);
    let size = reader.length()?;
    if size > SCRIPT_REQUEST_MAX {
        return Err(broken());
    }
    let mut text = vec![0; size];
    socket.read_exact(&mut text)?;
    let end = match kind {
        0 => ScriptEnd::Exited(value),
        1 => ScriptEnd::Killed(value),
        2 => ScriptEnd::Slow,
        _ => ScriptEnd::NotStarted(String::from_utf8_lossy(&text).into_owned()),
    };
    Ok((number, end))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*head)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn flag(&mut self) -> io::Result<bool> {
        Ok(self.take::<1>()? != [0])
    }

    fn length(&mut self) -> io::Result<usize> {
        Ok(u32::from_be_bytes(self.take()?) as usize)
    }

    fn string(&mut self) -> io::Result<String> {
        let size = self.length()?;
        let (text, rest) = self.0.split_at_checked(size).ok_or_else(broken)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| broken())
    }
}

/// Bytes of a length, and of what a request has before its strings.
const LENGTH: usize = 4;
const REQUEST_HEAD: usize = 8 + 8 + 1 + 2 * LENGTH;

fn length(of: usize) -> [u8; LENGTH] {
    u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes()
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a request for a script")
}

fn is_patience(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

impl ScriptEnd {
    /// How an end is told in a log.
    pub(in crate::node) fn told(&self) -> String {
        match self {
            Self::Exited(code) => format!("external program exited with error status: {code}"),
            Self::Killed(signal) => {
                let status = ExitStatus::from_raw(*signal);
                format!("external program did not exit normally ({status})")
            }
            Self::Slow => "external program took too long, and was killed".to_owned(),
            Self::NotStarted(why) => format!("could not execute external program ({why})"),
        }
    }
}
