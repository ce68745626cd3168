//! Who may come in: a chain of judges on a thread of its own, beside the shards.
//!
//! A shard tells the node thread of a login (see [`Login`]) and lets the session wait. The node thread
//! hands it to the chain's thread, which asks the links one after the other: each accepts, refuses, or
//! takes its time. All must accept; the first refusal is the verdict. What comes of it goes back by the
//! node thread. Nobody on a shard waits for any of it, and a login that waits is a few hundred bytes.
//!
//! Invariant: nothing here is called by a shard, and no link waits for anything on the chain's thread
//! but for its own files.

mod chain;
mod deferral;
mod environment;
mod files;
pub mod helper;
mod login;
mod outside;
mod plugin;
mod runner;
mod script;

use std::io;
use std::thread;
use std::time::Instant;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

use self::chain::Chain;
pub use self::environment::ServerFacts;
pub(in crate::node) use self::login::MakeLink;
pub use self::login::{Judged, Link, Login, LoginAt, LoginKind, Verdict};
pub(in crate::node) use self::outside::OutsideLink;
pub(in crate::node) use self::plugin::Plugins;
pub(in crate::node) use self::runner::Runner;
pub(in crate::node) use self::script::Script;
use super::message::Report;
use crate::limits::LOGINS_WAITING;

/// The way to the chain's thread. It ends by itself when this is gone.
#[derive(Debug)]
pub(in crate::node) struct Authentication {
    messages: Sender<Message>,
}

/// The way of a link's answer back to its chain; good on any thread, and at any time.
#[derive(Clone, Debug)]
pub struct Answers {
    messages: Sender<Message>,
    link: usize,
}

/// What the chain's thread hears.
#[derive(Debug)]
enum Message {
    Begin(Box<Login>),
    Forget(LoginAt),
    /// A client is gone.
    Left(u64),
    Answered {
        link: usize,
        at: LoginAt,
        login: u64,
        answer: Verdict,
    },
    /// A link wants to be looked at again.
    Wake,
}

/// The chain has more logins than it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Busy;

impl Answers {
    /// Tells what a link makes of a login. An answer to one that nobody waits for any more changes
    /// nothing, nor does a second one.
    pub fn answer(&self, at: LoginAt, login: u64, answer: Verdict) {
        let link = self.link;
        // The chain's thread has ended with the node.
        let _nobody_listens = self.messages.send(Message::Answered {
            link,
            at,
            login,
            answer,
        });
    }

    /// Has [`Link::handle_timeout`] called soon.
    pub fn wake(&self) {
        let _nobody_listens = self.messages.send(Message::Wake);
    }
}

impl Authentication {
    /// Starts the thread. Each link is made with the way of its answers.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(in crate::node) fn start(
        links: Vec<MakeLink>,
        facts: ServerFacts,
        reports: Sender<Report>,
    ) -> io::Result<Self> {
        let (messages, heard) = channel::unbounded();
        let way = |link| Answers {
            messages: messages.clone(),
            link,
        };
        let links = links.into_iter().enumerate();
        let links = links.map(|(number, make)| make(way(number))).collect();
        let chain = Chain::new(links, facts);
        thread::Builder::new()
            .name("logins".to_owned())
            .spawn(move || serve(chain, &heard, &reports))?;
        Ok(Self { messages })
    }

    /// Has a login judged; the verdict comes as [`Report::Judged`].
    ///
    /// # Errors
    /// Too many wait to be looked at.
    pub(in crate::node) fn begin(&self, login: Box<Login>) -> Result<(), Busy> {
        if self.messages.len() >= LOGINS_WAITING {
            return Err(Busy);
        }
        self.messages.send(Message::Begin(login)).map_err(|_| Busy)
    }

    /// Nobody waits for that login any more.
    pub(in crate::node) fn forget(&self, at: LoginAt) {
        let _ended = self.messages.send(Message::Forget(at));
    }

    /// A client is gone whose login was accepted.
    pub(in crate::node) fn left(&self, client_id: u64) {
        let _ended = self.messages.send(Message::Left(client_id));
    }
}

fn serve(mut chain: Chain, heard: &Receiver<Message>, reports: &Sender<Report>) {
    loop {
        let message = match chain.next_timeout() {
            Some(at) => heard.recv_deadline(at),
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Begin(login)) => chain.begin(*login),
            Ok(Message::Forget(at)) => chain.forget(at),
            Ok(Message::Left(client_id)) => chain.left(client_id),
            Ok(Message::Answered {
                link,
                at,
                login,
                answer,
            }) => chain.answered(link, at, login, answer),
            Ok(Message::Wake) => chain.wake(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        chain.handle_timeout(Instant::now());
        while let Some(report) = chain.poll() {
            if reports.send(report).is_err() {
                return;
            }
        }
    }
}
