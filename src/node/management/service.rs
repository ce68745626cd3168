//! The thread of the management interface.
//!
//! It waits for its sockets, and looks at the event bus a few times a second while somebody is
//! connected. Who reads nothing of what waits for it is dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, TryRecvError, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use zeroize::Zeroizing;

use super::conversation::{Conversation, NEEDS_PASSWORD, Notice, WRONG_PASSWORD};
use super::desk::{Backend, Desk, Waits};
use super::listener::{ManagementListener, Stream};
use super::order::{Killed, ManagementOrder};
use crate::limits::{CONTROL_ANSWER_PATIENCE, MANAGEMENT_WRITE_PATIENCE};
use crate::node::auth::ClientNews;
use crate::node::bus::{Delivery, Subscription};
use crate::node::counters::NodeReport;
use crate::node::event::{NodeEvent, Printable, StopSignal};
use crate::node::log::LogOptions;
use crate::node::log::line::{Severity, lines};
use crate::node::message::Report;
use crate::node::privileges::renounce;
use crate::node::settings::RestartSignal;
use crate::time::Now;

/// What the thread is made of.
pub(in crate::node) struct Starter {
    /// Where who connects is heard.
    pub(in crate::node) listener: ManagementListener,
    /// What happens.
    pub(in crate::node) events: Subscription,
    /// Clients that want to come in, come and go.
    pub(in crate::node) clients: Receiver<ClientNews>,
    /// The node thread.
    pub(in crate::node) reports: Sender<Report>,
    /// How much is logged.
    pub(in crate::node) log: LogOptions,
    /// What SIGUSR1 is taken for.
    pub(in crate::node) restart: RestartSignal,
}

/// The thread; dropping it ends it, and everybody who is connected is let go.
pub(in crate::node) struct ManagementThread {
    alive: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
    /// What is said to a start that waits.
    said: Receiver<Said>,
}

/// How the wait for a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Released {
    /// The server goes on.
    GoesOn,
    /// It ends.
    Ends,
}

/// What somebody says to a server that waits at its start.
enum Said {
    Release,
    Password(Zeroizing<String>),
    End,
}

impl Starter {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread could be started.
    pub(in crate::node) fn start(self) -> io::Result<ManagementThread> {
        let (alive, end) = channel::bounded(0);
        let (to_start, said) = channel::bounded(4);
        let mut desk = Desk::new(self.listener.settings.log_lines);
        desk.hold = self.listener.settings.hold;
        if desk.hold {
            desk.waits = Waits::Release;
        }
        desk.verb = self.log.verb;
        desk.mute = self.log.mute.map_or(0, std::num::NonZeroU32::get);
        if self.restart == RestartSignal::Terminate {
            desk.restart = "SIGTERM";
        }
        let service = Service {
            listener: self.listener,
            events: self.events,
            clients: self.clients,
            end: end.clone(),
            node: Node {
                reports: self.reports,
                end,
                to_start,
            },
            desk,
            connected: Vec::new(),
            addresses: (None, None),
        };
        let thread = thread::Builder::new()
            .name("management".to_owned())
            .spawn(move || service.run())?;
        Ok(ManagementThread {
            alive: Some(alive),
            thread: Some(thread),
            said,
        })
    }
}

impl ManagementThread {
    /// Waits until somebody says that the server is to go on, or to end.
    pub(in crate::node) fn wait(&self) -> Released {
        loop {
            match self.said.recv() {
                Ok(Said::Release) => return Released::GoesOn,
                Ok(Said::Password(_)) => {}
                Ok(Said::End) | Err(_) => return Released::Ends,
            }
        }
    }

    /// Waits until somebody says a password; nothing if the server is to end.
    pub(in crate::node) fn wait_for_password(&self) -> Option<Zeroizing<String>> {
        loop {
            match self.said.recv() {
                Ok(Said::Password(password)) => return Some(password),
                Ok(Said::Release) => {}
                Ok(Said::End) | Err(_) => return None,
            }
        }
    }
}

impl Drop for ManagementThread {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}

struct Service {
    listener: ManagementListener,
    events: Subscription,
    clients: Receiver<ClientNews>,
    /// Closed at the end.
    end: Receiver<Infallible>,
    node: Node,
    desk: Desk,
    connected: Vec<Connected>,
    /// The server's own addresses inside the tunnel.
    addresses: (Option<Ipv4Addr>, Option<Ipv6Addr>),
}

struct Connected {
    stream: Stream,
    conversation: Conversation,
    /// When it last took something, or nothing waited for it.
    read_at: Instant,
    /// When it is told next who has moved how many bytes, and what it was told.
    next_count: Instant,
    counted: HashMap<u64, (u64, u64)>,
    gone: bool,
}

impl Service {
    fn run(mut self) {
        let line = self.listener.describe();
        self.note(&line);
        loop {
            self.take_events();
            self.take_clients();
            if self.end.try_recv() == Err(TryRecvError::Disconnected) {
                self.take_events();
                self.take_clients();
                self.connected.iter_mut().for_each(Connected::send);
                return;
            }
            self.count_bytes();
            self.serve();
            self.wait();
            self.admit();
        }
    }

    /// Waits for the sockets, or until it is time to look at the events.
    fn wait(&self) {
        let mut waits = Vec::with_capacity(self.connected.len() + 1);
        for connected in &self.connected {
            let mut flags = PollFlags::empty();
            if connected.conversation.listens() {
                flags |= PollFlags::IN;
            }
            if !connected.conversation.output().is_empty() {
                flags |= PollFlags::OUT;
            }
            waits.push(PollFd::new(&connected.stream, flags));
        }
        if self.connected.len() < self.listener.capacity() {
            waits.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let nanoseconds = match self.connected.is_empty() {
            true => LONELY,
            false => TICK,
        };
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds.as_nanos() as i64,
        };
        // Whatever it was, everybody is looked at.
        let _interrupted = poll(&mut waits, Some(&patience));
    }

    /// Lets in who waits at the door.
    fn admit(&mut self) {
        while self.connected.len() < self.listener.capacity() {
            let Ok((accepted, told)) = self.listener.accept() else {
                return;
            };
            match accepted {
                Err(why) => self.note(&why),
                Ok(stream) => {
                    self.note(&told);
                    let password = self.listener.settings.password.clone();
                    let conversation = Conversation::new(password, &self.desk);
                    let now = Instant::now();
                    self.connected.push(Connected {
                        stream,
                        conversation,
                        read_at: now,
                        next_count: now,
                        counted: HashMap::new(),
                        gone: false,
                    });
                }
            }
        }
    }

    /// Hears and answers everybody.
    fn serve(&mut self) {
        for connected in &mut self.connected {
            connected.send();
            connected.receive(&mut self.desk, &mut self.node);
            connected.send();
        }
        let before = self.connected.len();
        self.connected.retain(|connected| !connected.gone);
        for _ in self.connected.len()..before {
            self.note("MANAGEMENT: Client disconnected");
            if self.listener.settings.forgets {
                self.node.forget_passwords();
            }
            if self.listener.settings.signal {
                self.node.signal(libc::SIGUSR1);
            }
        }
    }

    /// Remembers and tells what has happened.
    fn take_events(&mut self) {
        while let Delivery::Event(published) = self.events.next(Duration::ZERO) {
            let unix = published.unix;
            match &published.event {
                // Remembered when it was said.
                NodeEvent::Management { .. } => continue,
                NodeEvent::Confined { .. } => {
                    // This thread is older than that, as the log's is.
                    let _unchanged = renounce();
                }
                _ => {}
            }
            for line in lines(&published.event, self.desk.verb) {
                let flag = match line.level.severity {
                    Severity::Warning => "W",
                    Severity::Info => "I",
                    Severity::Debug => "D",
                };
                let entry = format!("{unix},{flag},{}", Printable(&line.text));
                self.tell(&Notice::Log(entry.clone()));
                self.desk.log.push(entry);
            }
            self.follow(unix, &published.event);
        }
        let lost = self.events.take_lost();
        if lost > 0 {
            self.note(&format!("MANAGEMENT: {lost} events lost"));
        }
    }

    /// Tells of clients that come and go, and of logins as soon as there is somebody to be told.
    fn take_clients(&mut self) {
        while let Ok(news) = self.clients.try_recv() {
            if let Some(block) = self.desk.logins.take(news) {
                self.tell(&Notice::Client(block));
            }
            self.tell_logins();
        }
        self.tell_logins();
    }

    fn tell_logins(&mut self) {
        let is_heard = |it: &Connected| it.conversation.is_welcome() && !it.gone;
        while self.connected.iter().any(is_heard)
            && let Some(block) = self.desk.logins.next_untold()
        {
            self.tell(&Notice::Client(block));
        }
    }

    /// What an event means for the state of the server.
    fn follow(&mut self, unix: u64, event: &NodeEvent) {
        let (v4, v6) = self.addresses;
        let v4 = v4.map_or_else(String::new, |v4| v4.to_string());
        let v6 = v6.map_or_else(String::new, |v6| format!(",{v6}"));
        match event {
            NodeEvent::PoolOpened { .. } => {
                self.state(format!("{unix},CONNECTING,,,,,,"));
                self.state(format!("{unix},ASSIGN_IP,,{v4},,,,{v6}"));
            }
            NodeEvent::InitializationComplete => {
                self.state(format!("{unix},CONNECTED,SUCCESS,{v4},,,,{v6}"));
            }
            NodeEvent::Stopping { signal } => {
                let signal = match signal {
                    StopSignal::Terminate => "SIGTERM",
                    StopSignal::Interrupt => "SIGINT",
                    StopSignal::HangUp => "SIGHUP",
                };
                self.state(format!("{unix},EXITING,{signal},,,,,"));
            }
            NodeEvent::Echoed { text } => {
                let entry = format!("{unix},{}", Printable(text));
                self.tell(&Notice::Echo(entry.clone()));
                self.desk.echo.push(entry);
            }
            NodeEvent::PasswordAwaited { again } => {
                if *again {
                    self.tell(&Notice::All(WRONG_PASSWORD.to_owned()));
                }
                self.desk.waits = Waits::Password;
                self.tell(&Notice::All(NEEDS_PASSWORD.to_owned()));
            }
            NodeEvent::StartFailed { reason } => {
                self.tell(&Notice::All(format!(">FATAL:{}", Printable(reason))));
            }
            NodeEvent::TunAddressed { address, .. } => match address.addr() {
                std::net::IpAddr::V4(address) => self.addresses.0 = Some(address),
                std::net::IpAddr::V6(address) => self.addresses.1 = Some(address),
            },
            _ => {}
        }
    }

    fn state(&mut self, entry: String) {
        self.tell(&Notice::State(entry.clone()));
        self.desk.state.push(entry);
    }

    /// A line about this interface.
    fn note(&mut self, text: &str) {
        if self.desk.verb >= NOTES_VERB {
            let entry = format!("{},D,{text}", self.node.unix());
            self.tell(&Notice::Log(entry.clone()));
            self.desk.log.push(entry);
        }
        self.node.note(text);
    }

    /// Everybody who wants to know is told.
    fn tell(&mut self, notice: &Notice) {
        for connected in &mut self.connected {
            connected.gone |= !connected.conversation.notice(notice);
        }
    }

    /// Tells who has moved how many bytes, to those who want it and whose time it is.
    fn count_bytes(&mut self) {
        let now = Instant::now();
        let is_due = |it: &Connected| it.conversation.bytecount > 0 && it.next_count <= now;
        if self.desk.waits != Waits::Nothing || !self.connected.iter().any(is_due) {
            return;
        }
        let Some(report) = self.node.report() else {
            return;
        };
        for connected in self.connected.iter_mut().filter(|it| is_due(it)) {
            let seconds = connected.conversation.bytecount;
            connected.next_count = now + Duration::from_secs(seconds.into());
            let mut counted = HashMap::new();
            for client in &report.status.clients {
                let bytes = (client.bytes_received, client.bytes_sent);
                // 2.6 tells of those alone who have moved something.
                if connected.counted.get(&client.client_id) != Some(&bytes) {
                    let (id, (received, sent)) = (client.client_id, bytes);
                    let line = format!(">BYTECOUNT_CLI:{id},{received},{sent}");
                    connected.gone |= !connected.conversation.notice(&Notice::All(line));
                }
                counted.insert(client.client_id, bytes);
            }
            connected.counted = counted;
        }
    }
}

impl Connected {
    fn receive(&mut self, desk: &mut Desk, node: &mut Node) {
        let mut buffer = [0; 4096];
        while !self.gone && self.conversation.listens() {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.gone = true,
                Ok(length) => {
                    let read = buffer.get(..length).unwrap_or_default();
                    self.conversation.receive(read, desk, node);
                }
                Err(error) => {
                    self.gone |= is_final(&error);
                    break;
                }
            }
        }
        self.conversation.go_on(desk, node);
    }

    fn send(&mut self) {
        let now = Instant::now();
        while !self.gone && !self.conversation.output().is_empty() {
            match self.stream.write(self.conversation.output()) {
                Ok(length) => {
                    self.conversation.sent(length);
                    self.read_at = now;
                }
                Err(error) => {
                    self.gone |= is_final(&error);
                    break;
                }
            }
        }
        if self.conversation.output().is_empty() {
            self.read_at = now;
            if self.conversation.is_closing() && !self.gone {
                let _gone = shutdown(&self.stream, Shutdown::Both);
                self.gone = true;
            }
        }
        self.gone |= now.duration_since(self.read_at) > MANAGEMENT_WRITE_PATIENCE;
    }
}

fn is_final(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The node thread, as this one asks it.
struct Node {
    reports: Sender<Report>,
    /// Closed at the end.
    end: Receiver<Infallible>,
    /// The start, while it waits.
    to_start: Sender<Said>,
}

impl Node {
    fn ask<T>(&self, question: Report, answer: &Receiver<T>) -> Option<T> {
        self.reports.try_send(question).ok()?;
        select! {
            recv(answer) -> answer => answer.ok(),
            recv(self.end) -> _ => answer.try_recv().ok(),
            default(CONTROL_ANSWER_PATIENCE) => None,
        }
    }

    fn order(&self, order: ManagementOrder) {
        // A node that is too busy for it stays as it is.
        let _busy = self.reports.try_send(Report::Managed(order));
    }
}

impl Backend for Node {
    fn unix(&self) -> u64 {
        Now::read().unix
    }

    fn report(&mut self) -> Option<Arc<NodeReport>> {
        let (asker, answer) = channel::bounded(1);
        self.ask(Report::Asked { asker }, &answer)
    }

    fn kill(&mut self, clients: Vec<u64>, how: Killed) -> usize {
        let (asker, answer) = channel::bounded(1);
        let order = ManagementOrder::Kill {
            clients,
            how,
            asker,
        };
        self.ask(Report::Managed(order), &answer).unwrap_or(0)
    }

    fn set_verb(&mut self, verb: u8) {
        self.order(ManagementOrder::Verb(verb));
    }

    fn set_mute(&mut self, lines: u32) {
        self.order(ManagementOrder::Mute(lines));
    }

    fn signal(&mut self, signal: i32) {
        if matches!(signal, libc::SIGTERM | libc::SIGINT) {
            // Nobody else hears it before the server runs.
            let _runs = self.to_start.try_send(Said::End);
        }
        let _busy = self.reports.try_send(Report::Signal(signal));
    }

    fn release(&mut self) {
        let _runs = self.to_start.try_send(Said::Release);
    }

    fn key_password(&mut self, password: Zeroizing<String>) {
        let _runs = self.to_start.try_send(Said::Password(password));
    }

    fn forget_passwords(&mut self) {
        self.order(ManagementOrder::ForgetPasswords);
    }

    fn note(&mut self, text: &str) {
        let text = text.into();
        let _busy = self
            .reports
            .try_send(Report::Event(NodeEvent::Management { text }));
    }
}

/// How often the events are looked at while somebody is connected.
const TICK: Duration = Duration::from_millis(50);
/// The same while nobody is.
const LONELY: Duration = Duration::from_millis(250);
/// The verbosity from which it is told who connects.
const NOTES_VERB: u8 = 3;
