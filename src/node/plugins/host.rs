//! The plug-in host as the node sees it: a program that answers one question at a time, and that may
//! be gone at any moment.
//!
//! Plug-ins are called one after the other, so only one call is ever under way: the others wait
//! here, where they can be taken back, and the socket never fills. Who asks waits for nothing: the
//! answer comes to the closure that was given with the question, on the thread that reads from the
//! host.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair, sockopt,
};
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

use super::message::{
    Call, FromHost, Hook, Level, MESSAGE_MAX, Opening, Outcome, ToHost, decode, encode,
};
use crate::limits::{PLUGIN_CALLS_WAITING, PLUGIN_OPENING};

/// The program that runs the plug-ins. Dropping this ends it.
#[derive(Debug)]
pub struct PluginHost {
    desk: Arc<Desk>,
    process: Child,
    opening: Opening,
    reader: Option<JoinHandle<()>>,
    hooks: Vec<u32>,
}

/// What is asked of the plug-ins.
#[derive(Debug)]
pub struct Question {
    /// Who is called.
    pub hook: Hook,
    /// The client that it is about, if it is about one. Plug-ins may keep something for it until
    /// [`PluginHost::forget`].
    pub client: Option<u64>,
    /// Arguments behind the plug-in's own name.
    pub arguments: Vec<String>,
    /// `name=value`.
    pub environment: Vec<String>,
    /// Seconds after which plug-ins that have not returned are killed.
    pub limit: u32,
}

impl Question {
    /// A call of those that asked for this hook, which may take so long each.
    pub fn new(hook: Hook, patience: Duration) -> Self {
        Self {
            hook,
            client: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            limit: patience.as_secs().try_into().unwrap_or(u32::MAX),
        }
    }

    /// It is about this client.
    #[must_use]
    pub fn about(self, client: u64) -> Self {
        let client = Some(client);
        Self { client, ..self }
    }

    /// With these arguments.
    #[must_use]
    pub fn with_arguments(self, arguments: Vec<String>) -> Self {
        Self { arguments, ..self }
    }

    /// With these variables, names and values, behind those that it has.
    #[must_use]
    pub fn knowing<N: Display, V: Display>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.environment
            .extend(variables.map(|(name, value)| format!("{name}={value}")));
        self
    }
}

/// What came of a question, with what the plug-ins gave back: names and values.
pub type Answer = Result<(Outcome, Vec<(String, String)>), NoAnswer>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The host is gone, and is not there again.
    #[error("the plug-in host is not there")]
    Down,
    /// Too many questions wait.
    #[error("too many calls of plug-ins wait")]
    Busy,
    /// The question is longer than a message may be.
    #[error("the environment is longer than a plug-in is told")]
    TooLong,
}

/// What there is to tell of the plug-ins besides answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A line of a plug-in, or about one.
    Said {
        /// How much it matters.
        level: Level,
        /// The line.
        text: String,
    },
    /// The host is gone; until it is back nobody can be asked.
    Died {
        /// How it ended.
        reason: String,
        /// Seconds until it is started again.
        pause: u32,
    },
    /// The host is gone for good, with the program that watched over it.
    Gone,
    /// It is back, and its plug-ins are open.
    Back,
    /// It is back, but its plug-ins can't be opened: it will be tried again.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why there are no plug-ins.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The program can't be started.
    #[error("the plug-in host '{}' can't be started: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A plug-in can't be loaded or opened.
    #[error("{0}")]
    Refused(String),
    /// The host ended while it opened them.
    #[error("the plug-in host ended while it opened its plug-ins: {0}")]
    Died(String),
    /// It did not open them in time.
    #[error("plug-ins were not open after {} seconds", .0.as_secs())]
    Late(Duration),
}

impl PluginHost {
    /// Starts the program and waits until its plug-ins are open; `notice` hears their lines. No thread is
    /// started: privileges may go behind this.
    ///
    /// # Errors
    /// The program can't be started, or a plug-in can't be opened.
    pub fn start(
        program: &Path,
        opening: Opening,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<Self, PluginError> {
        let failed = |error| PluginError::Start {
            program: program.to_owned(),
            error,
        };
        let (socket, theirs) = pair().map_err(failed)?;
        let process = Command::new(program).stdin(Stdio::from(theirs)).spawn();
        let process = process.map_err(failed)?;
        let desk = Arc::new(Desk {
            socket,
            state: Mutex::new(State::default()),
        });
        let mut host = Self {
            desk,
            process,
            opening,
            reader: None,
            hooks: Vec::new(),
        };
        host.hooks = host.open(notice)?;
        Ok(host)
    }

    /// Hears the host until the plug-ins are open.
    fn open(&self, notice: &mut dyn FnMut(Notice)) -> Result<Vec<u32>, PluginError> {
        let end = Instant::now() + PLUGIN_OPENING;
        let mut buffer = Zeroizing::new(vec![0; MESSAGE_MAX]);
        loop {
            if !self.desk.is_readable_until(end) {
                return Err(PluginError::Late(PLUGIN_OPENING));
            }
            let gone = || PluginError::Died("it is not there any more".to_owned());
            match self.desk.receive(&mut buffer).ok_or_else(gone)? {
                FromHost::Started => self
                    .desk
                    .send(&ToHost::Open(self.opening.clone()))
                    .map_err(|why| PluginError::Died(why.to_string()))?,
                FromHost::Opened { hooks } => {
                    self.desk.state().open = true;
                    return Ok(hooks);
                }
                FromHost::Refused { reason } => return Err(PluginError::Refused(reason)),
                FromHost::Died { reason, .. } => return Err(PluginError::Died(reason)),
                FromHost::Said { level, text } => notice(Notice::Said { level, text }),
                FromHost::Answered { .. } => {}
            }
        }
    }

    /// Starts the thread that hears answers. `notice` is told everything else on it, and must not wait.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn listen(&mut self, notice: impl FnMut(Notice) + Send + 'static) -> io::Result<()> {
        let reader = Reader {
            desk: Arc::clone(&self.desk),
            opening: self.opening.clone(),
            notice,
        };
        let thread = thread::Builder::new().name("plug-ins".to_owned());
        self.reader = Some(thread.spawn(move || reader.run())?);
        Ok(())
    }

    /// Whether a plug-in has asked for this hook.
    pub fn wants(&self, hook: Hook) -> bool {
        self.hooks.iter().any(|hooks| hooks & hook.bit() != 0)
    }

    /// Asks the plug-ins. `reply` is called once, possibly before this returns, and must not wait.
    /// The number takes the question back ([`PluginHost::take_back`]).
    pub fn ask(&self, question: Question, reply: impl FnOnce(Answer) + Send + 'static) -> u64 {
        let reply = Box::new(reply);
        let mut state = self.desk.state();
        let number = state.next_number;
        state.next_number += 1;
        let Question {
            hook,
            client,
            arguments,
            environment,
            limit,
        } = question;
        let call = Call {
            number,
            client,
            hook,
            arguments,
            environment,
            limit,
        };
        let refusal = match &*state {
            state if !state.open => Some(NoAnswer::Down),
            state if state.waiting.len() >= PLUGIN_CALLS_WAITING => Some(NoAnswer::Busy),
            _ => None,
        };
        if let Some(refusal) = refusal {
            drop(state);
            reply(Err(refusal));
            return number;
        }
        state.waiting.push_back(Waiting { call, reply });
        let refused = self.desk.send_next(&mut state);
        drop(state);
        refused.into_iter().for_each(Refused::tell);
        number
    }

    /// Takes a question back that is not asked yet: nobody waits for the answer any more.
    pub fn take_back(&self, number: u64) {
        let mut state = self.desk.state();
        state.waiting.retain(|it| it.call.number != number);
    }

    /// A client is gone: what plug-ins keep for it is freed.
    pub fn forget(&self, client: u64) {
        // A host that is not there keeps nothing. One that can't take the message now is being
        // killed: its plug-in has not returned for a long time.
        let _gone = self.desk.send(&ToHost::Forget { client });
    }
}

impl Drop for PluginHost {
    fn drop(&mut self) {
        self.desk.state().closing = true;
        let _gone_already = shutdown(&self.desk.socket, Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            // A panic of the thread has been reported by the panic hook.
            let _panicked = reader.join();
        }
        let _no_child = self.process.wait();
    }
}

/// What the threads share: where questions wait.
#[derive(Debug)]
struct Desk {
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether plug-ins are there to be asked.
    open: bool,
    /// Whether we end the host ourselves.
    closing: bool,
    next_number: u64,
    under_way: Option<(u64, Reply)>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    call: Call,
    reply: Box<dyn FnOnce(Answer) + Send>,
}

/// Who waits for an answer.
struct Reply(Box<dyn FnOnce(Answer) + Send>);

/// A question that can't be asked.
struct Refused(Box<dyn FnOnce(Answer) + Send>, NoAnswer);

impl Refused {
    fn tell(self) {
        (self.0)(Err(self.1));
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reply")
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(formatter)
    }
}

impl Desk {
    /// Whether there is something to read before `end`.
    fn is_readable_until(&self, end: Instant) -> bool {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut ready, Some(&left)) {
                Ok(0) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// The next message; `None` if the host is gone.
    fn receive(&self, buffer: &mut [u8]) -> Option<FromHost> {
        loop {
            let length = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return None,
                Ok((_, length)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            };
            // The host is a program of ours with strangers in it: what is no message is passed over.
            let message = decode(&buffer[..length]);
            buffer[..length].zeroize();
            if let Ok(message) = message {
                return Some(message);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &impl Serialize) -> Result<(), NoAnswer> {
        let bytes = encode(message).map_err(|_| NoAnswer::TooLong)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        send(&self.socket, &bytes, flags).map_err(|_| NoAnswer::Down)?;
        Ok(())
    }

    /// Asks the next question if none is under way; gives back those that can't be asked.
    fn send_next(&self, state: &mut State) -> Vec<Refused> {
        let mut refused = Vec::new();
        while state.open && state.under_way.is_none() {
            let Some(Waiting { call, reply }) = state.waiting.pop_front() else {
                break;
            };
            let number = call.number;
            match self.send(&ToHost::Call(call)) {
                Ok(()) => state.under_way = Some((number, Reply(reply))),
                Err(why) => refused.push(Refused(reply, why)),
            }
        }
        refused
    }
}

/// The thread that hears the host.
struct Reader<N> {
    desk: Arc<Desk>,
    opening: Opening,
    notice: N,
}

impl<N: FnMut(Notice)> Reader<N> {
    fn run(mut self) {
        let mut buffer = Zeroizing::new(vec![0; MESSAGE_MAX]);
        while let Some(message) = self.desk.receive(&mut buffer) {
            self.heard(message);
        }
        self.give_up();
        if !self.desk.state().closing {
            (self.notice)(Notice::Gone);
        }
    }

    fn heard(&mut self, message: FromHost) {
        match message {
            FromHost::Started => {
                // Should it fail, the host is gone, and the watch says so.
                let _gone = self.desk.send(&ToHost::Open(self.opening.clone()));
            }
            FromHost::Opened { .. } => {
                self.desk.state().open = true;
                (self.notice)(Notice::Back);
            }
            FromHost::Refused { reason } => (self.notice)(Notice::Refused { reason }),
            FromHost::Died { reason, pause } => {
                self.give_up();
                (self.notice)(Notice::Died { reason, pause });
            }
            FromHost::Said { level, text } => (self.notice)(Notice::Said { level, text }),
            FromHost::Answered {
                number,
                outcome,
                returned,
            } => self.answered(number, outcome, returned),
        }
    }

    fn answered(&mut self, number: u64, outcome: Outcome, returned: Vec<(String, String)>) {
        let mut state = self.desk.state();
        let reply = state.under_way.take_if(|(asked, _)| *asked == number);
        let refused = self.desk.send_next(&mut state);
        drop(state);
        if let Some((_, Reply(reply))) = reply {
            reply(Ok((outcome, returned)));
        }
        refused.into_iter().for_each(Refused::tell);
    }

    /// Nobody answers any more what was asked.
    fn give_up(&self) {
        let mut state = self.desk.state();
        state.open = false;
        let under_way = state.under_way.take().map(|(_, Reply(reply))| reply);
        let waiting: Vec<Waiting> = state.waiting.drain(..).collect();
        drop(state);
        let waiting = waiting.into_iter().map(|it| it.reply);
        for reply in under_way.into_iter().chain(waiting) {
            reply(Err(NoAnswer::Down));
        }
    }
}

/// Two ends of a socket that keeps packets apart, with room for a whole message.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_send_buffer_size(&ours, 2 * MESSAGE_MAX)?;
    Ok((ours, theirs))
}
