//! Who may come in: a chain of judges on a thread of its own, beside the shards.
//!
//! A shard tells the node thread of a login (see [`Login`]) and lets the session wait. The node thread
//! hands it to the chain's thread, which asks the links one after the other: each accepts, refuses, or
//! takes its time. All must accept; the first refusal is the verdict. What comes of it goes back by the
//! node thread. Nobody on a shard waits for any of it, and a login that waits is a few hundred bytes.
//!
//! The same thread has the clients that are in, or on their way in: it runs what is to be done when they come and
//! go (see [`visits`]).
//!
//! Invariant: nothing here is called by a shard, and no link waits for anything on the chain's thread
//! but for its own files.

mod certificates;
mod chain;
mod codes;
mod deferral;
mod environment;
mod files;
mod final_check;
pub mod helper;
mod key_metadata;
mod login;
pub(in crate::node) mod manager;
mod outside;
mod passwords;
mod plugin;
mod responses;
mod rota;
mod runner;
mod script;
mod tokens;
mod visits;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

pub(in crate::node) use self::certificates::CertificateCheck;
use self::chain::{Accepted, Chain};
pub(in crate::node) use self::codes::Codes;
pub use self::environment::ServerFacts;
pub(in crate::node) use self::final_check::FinalCheck;
pub use self::helper::ScriptEnd;
pub(in crate::node) use self::key_metadata::KeyMetadataCheck;
pub(in crate::node) use self::login::MakeLink;
pub use self::login::{Judged, Link, Login, LoginAt, LoginKind, Verdict};
pub(in crate::node) use self::manager::{AskedLogin, ClientNews, Manager};
pub(in crate::node) use self::outside::OutsideLink;
pub(in crate::node) use self::passwords::Passwords;
pub(in crate::node) use self::plugin::Plugins;
use self::responses::Responses;
pub(in crate::node) use self::runner::Runner;
pub(in crate::node) use self::script::Script;
pub use self::tokens::Renewed;
pub(in crate::node) use self::tokens::Tokens;
pub(in crate::node) use self::visits::Hooks;
pub use self::visits::{Arrival, Connected, Departure, Learned};
use self::visits::{Said, Visits};
use super::logins::Backoff;
use super::message::Report;
use super::registry::Place;
use super::settings::ProfileLines;
use crate::limits::{LAST_ERRANDS, LOGINS_WAITING};
use crate::session::{ChallengeResponse, CredentialRule, LoginRules};

/// The way to the chain's thread. It ends by itself when this is gone.
#[derive(Debug)]
pub(in crate::node) struct Authentication {
    messages: Sender<Message>,
    asks: Asks,
    thread: JoinHandle<()>,
}

/// What there is to be done for logins, and for clients that come and go.
pub(in crate::node) struct Parts {
    /// Who judges them, in this order.
    pub(in crate::node) links: Vec<MakeLink>,
    /// What those look at.
    pub(in crate::node) asks: Asks,
    /// What all are told of the server.
    pub(in crate::node) facts: ServerFacts,
    /// Who is called when clients come and go.
    pub(in crate::node) hooks: Hooks,
    /// Tokens in place of passwords, if clients get some.
    pub(in crate::node) tokens: Option<Tokens>,
    /// Codes beside passwords, if users need some.
    pub(in crate::node) codes: Option<Codes>,
    /// Who has failed too often, if such logins wait.
    pub(in crate::node) backoff: Option<Backoff>,
    /// The way of news to the management interface, if there is one.
    pub(in crate::node) news: Option<Sender<ClientNews>>,
}

/// What judges look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Asks {
    /// User names and passwords.
    pub(in crate::node) credentials: bool,
    /// Each new key of a client, also without user name and password.
    pub(in crate::node) each_key: bool,
    /// The keying material that goes with it.
    pub(in crate::node) keying_material: bool,
}

impl Asks {
    /// What is left of the configured rules for sessions: nothing is asked of clients, or told of them, for nobody.
    pub(in crate::node) fn rules(self, configured: LoginRules) -> Option<LoginRules> {
        let credentials = match self.credentials {
            true => configured.credentials,
            false => CredentialRule::Unasked,
        };
        let exporter = configured.exporter.filter(|_| self.keying_material);
        (self.credentials || self.each_key).then_some(LoginRules {
            credentials,
            exporter,
        })
    }
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
    Responded(LoginAt, ChallengeResponse),
    Forget(LoginAt),
    /// A client has a place.
    Arrived(Arrival),
    /// It has the place that it keeps.
    Placed(u64, Arc<Place>),
    /// A client is gone whose login was accepted.
    Departed(Departure),
    /// Nothing more will be said: what is begun is to be ended.
    Finish,
    Answered {
        link: usize,
        at: LoginAt,
        login: u64,
        answer: Verdict,
        /// What it is to have besides, if it comes in.
        lines: Option<ProfileLines>,
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
        self.say(at, login, answer, None);
    }

    /// Tells that a link accepts a login. If the client comes in by it, it is to have what these lines say.
    fn accept(&self, at: LoginAt, login: u64, lines: Option<ProfileLines>) {
        self.say(at, login, Verdict::Accepted, lines);
    }

    /// The way of another link of the same chain.
    fn of_link(&self, link: usize) -> Self {
        let messages = self.messages.clone();
        Self { messages, link }
    }

    fn say(&self, at: LoginAt, login: u64, answer: Verdict, lines: Option<ProfileLines>) {
        let link = self.link;
        // The chain's thread has ended with the node.
        let _nobody_listens = self.messages.send(Message::Answered {
            link,
            at,
            login,
            answer,
            lines,
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
    pub(in crate::node) fn start(parts: Parts, reports: Sender<Report>) -> io::Result<Self> {
        let Parts {
            links,
            asks,
            facts,
            hooks,
            tokens,
            codes,
            backoff,
            news,
        } = parts;
        let (messages, heard) = channel::unbounded();
        let way = |link| Answers {
            messages: messages.clone(),
            link,
        };
        let links = links.into_iter().enumerate();
        let links = links.map(|(number, make)| make(way(number)));
        let links = links.collect::<io::Result<_>>()?;
        let responses = Responses::new(&hooks, news.clone());
        let chain = Chain::new(links, facts).with_tokens(tokens);
        let chain = chain.with_responses(responses, way(0));
        let chain = chain.with_own(codes, backoff);
        let waker = messages.clone();
        let wake = move || {
            let _nobody_listens = waker.send(Message::Wake);
        };
        let desk = Desk {
            chain,
            visits: Visits::new(hooks, news, Arc::new(wake)),
        };
        let thread = thread::Builder::new()
            .name("logins".to_owned())
            .spawn(move || serve(desk, &heard, &reports))?;
        Ok(Self {
            messages,
            asks,
            thread,
        })
    }

    /// What its judges look at.
    pub(in crate::node) const fn asks(&self) -> Asks {
        self.asks
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

    /// The client of a login that is being judged has answered a challenge.
    pub(in crate::node) fn responded(&self, at: LoginAt, response: ChallengeResponse) {
        let _ended = self.messages.send(Message::Responded(at, response));
    }

    /// Nobody waits for that login any more.
    pub(in crate::node) fn forget(&self, at: LoginAt) {
        let _ended = self.messages.send(Message::Forget(at));
    }

    /// A client whose login was accepted has a place: asks whether it may come in. The answer comes as
    /// [`Report::Connected`], unless it is gone.
    pub(in crate::node) fn arrived(&self, arrival: Arrival) {
        let _ended = self.messages.send(Message::Arrived(arrival));
    }

    /// It has the place that it keeps: has told where that leads. The answer comes as [`Report::Learned`],
    /// unless it is gone.
    pub(in crate::node) fn placed(&self, client_id: u64, place: Arc<Place>) {
        let _ended = self.messages.send(Message::Placed(client_id, place));
    }

    /// A client is gone whose login was accepted.
    pub(in crate::node) fn departed(&self, departure: Departure) {
        let _ended = self.messages.send(Message::Departed(departure));
    }

    /// Ends the thread. What is to be done for clients that went is done, if it can be done in time. Meanwhile
    /// and behind that `drain` takes its reports out of the way.
    pub(in crate::node) fn finish(self, mut drain: impl FnMut()) {
        let Self {
            messages, thread, ..
        } = self;
        let _ended = messages.send(Message::Finish);
        while !thread.is_finished() {
            drain();
            thread::sleep(FINISH_POLL);
        }
        // A panic has been reported by the panic hook.
        let _panicked = thread.join();
        drain();
    }
}

const FINISH_POLL: Duration = Duration::from_millis(5);

/// What the thread has.
struct Desk {
    chain: Chain,
    visits: Visits,
}

impl Desk {
    fn take(&mut self, message: Message) {
        match message {
            Message::Begin(login) => {
                let known = self.visits.known_of(login.client_id);
                self.chain.begin(*login, known);
            }
            Message::Responded(at, response) => self.chain.responded(at, response),
            Message::Forget(at) => self.chain.forget(at),
            Message::Arrived(arrival) => self.visits.arrived(arrival),
            Message::Placed(client_id, place) => self.visits.placed(client_id, &place),
            Message::Departed(departure) => self.visits.departed(&departure),
            Message::Answered {
                link,
                at,
                login,
                answer,
                lines,
            } => self.chain.answered(link, at, login, answer, lines),
            Message::Wake => {
                self.chain.wake();
                self.visits.handle_timeout(Instant::now());
            }
            Message::Finish => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let chain = self.chain.next_timeout();
        chain.into_iter().chain(self.visits.next_timeout()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.chain.handle_timeout(now);
        if self.visits.next_timeout().is_some_and(|at| at <= now) {
            self.visits.handle_timeout(now);
        }
    }

    /// The next thing to tell the node.
    fn poll(&mut self) -> Option<Report> {
        while let Some(said) = self.visits.poll() {
            match said {
                Said::Report(report) => return Some(report),
                Said::Departed(client_id) => self.chain.left(client_id),
            }
        }
        let Some((judged, accepted)) = self.chain.poll() else {
            let renewed = self.chain.poll_renewed(Instant::now())?;
            return Some(Report::Renewed(renewed));
        };
        match accepted {
            Some(Accepted { login, lines }) if login.kind == LoginKind::Connect => {
                self.visits.accepted(login, lines);
            }
            Some(Accepted { login, .. }) => self.visits.renewed(&login),
            None => {}
        }
        Some(Report::Judged(judged))
    }
}

fn serve(mut desk: Desk, heard: &Receiver<Message>, reports: &Sender<Report>) {
    let mut finishing: Option<Instant> = None;
    loop {
        let timeout = desk.next_timeout().into_iter().chain(finishing).min();
        let message = match timeout {
            Some(at) => heard.recv_deadline(at),
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Finish) => finishing = Some(Instant::now() + LAST_ERRANDS),
            Ok(message) => desk.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        desk.handle_timeout(now);
        while let Some(report) = desk.poll() {
            if reports.send(report).is_err() {
                return;
            }
        }
        let done = heard.is_empty() && desk.visits.is_idle();
        if finishing.is_some_and(|at| done || at <= now) {
            return;
        }
    }
}
