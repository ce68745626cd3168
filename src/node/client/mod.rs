//! A node as a client: it dials servers, follows what they say, and keeps a tunnel up.
//!
//! The node thread hears and does; nothing here waits. Names are resolved, and the machine is
//! changed, on threads of their own ([`Resolver`], [`Tunnel`]). Which server is next says the
//! [`Dialer`], and a shard has the session.

mod causes;
pub mod dialer;
mod environment;
mod peer_info;
mod plan;
mod resolver;
mod tunnel;
mod updated;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;

use crossbeam::channel::Sender;

use self::causes::{After, Circumstances, Consequence};
use self::dialer::{Attempt, DialRules, Dialer, Next, RemoteRules, Step};
pub(super) use self::peer_info::peer_info;
pub use self::resolver::Resolved;
use self::resolver::Resolver;
pub use self::tunnel::TunnelReport;
use self::tunnel::{Job, Wanted};
pub(super) use self::tunnel::{Tunnel, TunnelRules};
use self::updated::Updated;
use super::event::{NodeEvent, Text, TunnelEvent};
use super::message::{Instruction, Report};
use super::settings::{
    AuthToken, ClientSettings, FilterAction, ListenerTransport, Login, PullRules, RemoteSettings,
    RestartSignal, TunnelSettings,
};
use super::shard::{Dial, DialedEvent, DialedSocket, HangUp};
use crate::limits::{RECEIVE_BUFFER, SEND_BUFFER};
use crate::random::Random;
use crate::reactor::{Family, Listen, TcpError, TcpStream, UdpError, UdpSocket};
use crate::session::{Credentials, Farewell, LeaveReason, PullFilter, SessionSettings};
use crate::time::Monotonic;

/// The client's side of a node.
pub(super) struct Client {
    settings: ClientSettings,
    session: Arc<SessionSettings>,
    stream_session: Arc<SessionSettings>,
    receive_offload: bool,
    /// What sessions follow of what is pushed.
    filter: PullFilter,
    /// Since when no name was found.
    unresolved_since: Option<Monotonic>,
    dialer: Dialer,
    resolver: Resolver,
    tunnel: Tunnel,
    /// Questions to the resolver so far.
    questions: u64,
    token: Option<AuthToken>,
    /// What the present tunnel has been configured with.
    present: Present,
    /// The server whose tunnel is up on the machine.
    up: Option<IpAddr>,
    /// An attempt that waits until that tunnel is down.
    held: Option<Attempt>,
    life: Life,
    errands: VecDeque<Errand>,
}

/// What a client is told at its start.
pub(super) struct ClientRules {
    pub(super) settings: ClientSettings,
    /// The rules of its sessions.
    pub(super) session: Arc<SessionSettings>,
    /// Those of its sessions over TCP.
    pub(super) stream_session: Arc<SessionSettings>,
    /// Whether its sockets take super-packets (`UDP_GRO`).
    pub(super) receive_offload: bool,
}

/// What the node thread has to do for the client.
pub(super) enum Errand {
    /// Tell it.
    Publish(NodeEvent),
    /// Tell the client's shard.
    Instruct(Instruction),
    /// End the shards, and with them the node: nothing of the client is left on the machine.
    Stop,
}

/// How a client ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Why, in the word of the log.
    pub(super) cause: Text,
    /// Whether that is a failure of the process.
    pub(super) failed: bool,
}

/// What is known of the tunnel, or of the attempt at one.
#[derive(Clone, Debug, Default)]
struct Present {
    /// Whether the login was by the server's token.
    by_token: bool,
    exit_when_silent: bool,
    explicit_exit: Option<NonZeroU8>,
    server: Option<Text>,
    /// The address that the attempt leaves from, if the configuration says one.
    local: Option<SocketAddr>,
    /// What it has pushed, and changed since.
    options: Vec<String>,
}

/// How far the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// The tunnel is taken down; then the node ends.
    Ending(Option<Ending>),
    Over(Option<Ending>),
}

impl Client {
    /// A client that begins at once.
    ///
    /// # Errors
    /// A thread can't be had.
    pub(super) fn start(
        rules: ClientRules,
        tunnel: Tunnel,
        reports: &Sender<Report>,
        random: &mut dyn Random,
        now: Monotonic,
    ) -> io::Result<Self> {
        let ClientRules {
            mut settings,
            session,
            stream_session,
            receive_offload,
        } = rules;
        if settings.shuffle_remotes {
            dialer::shuffle(&mut settings.remotes, random);
        }
        let rules = |remote: &RemoteSettings| RemoteRules {
            timeout: remote.timeout,
            pause: remote.pause,
        };
        let rules = DialRules {
            remotes: settings.remotes.iter().map(rules).collect(),
            rounds: settings.rounds.map(NonZeroU32::get),
        };
        Ok(Self {
            session,
            stream_session,
            dialer: Dialer::new(rules, now),
            resolver: Resolver::start(reports.clone())?,
            tunnel,
            receive_offload,
            filter: filter(settings.pull.clone()),
            unresolved_since: None,
            questions: 0,
            token: None,
            present: Present::default(),
            up: None,
            held: None,
            life: Life::Running,
            errands: VecDeque::new(),
            settings,
        })
    }

    /// What is to be done next.
    pub(super) fn poll_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// When [`Client::handle_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        self.dialer.next_timeout()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Monotonic) {
        self.dialer.handle_timeout(now);
        self.take_steps(now);
    }

    /// The resolver has an answer.
    pub(super) fn resolved(&mut self, resolved: Resolved, now: Monotonic) {
        if resolved.number != self.questions {
            return;
        }
        let addresses = resolved.addresses.unwrap_or_else(|why| {
            let next = self.asked_remote();
            if let Some((host, port)) = next {
                let why = why.as_str().into();
                self.tell(TunnelEvent::Unresolved { host, port, why });
            }
            Vec::new()
        });
        if addresses.is_empty() {
            let since = *self.unresolved_since.get_or_insert(now);
            let patience = self.settings.resolve_patience;
            if patience.is_some_and(|patience| now.since(since) >= patience) {
                let (cause, failed) = ("resolv-retry".into(), true);
                return self.stop(Some(Ending { cause, failed }));
            }
        } else {
            self.unresolved_since = None;
        }
        self.dialer.resolved(addresses, now);
        self.take_steps(now);
    }

    /// Something has happened to a tunnel that was dialed.
    pub(super) fn hear(&mut self, attempt: u64, event: DialedEvent, now: Monotonic) {
        let current = self.dialer.attempt();
        let Some(current) = current.filter(|current| current.number == attempt) else {
            return;
        };
        match event {
            DialedEvent::Connected => self.tell_dialed(current),
            DialedEvent::Answered => self.dialer.answered(attempt),
            DialedEvent::Configured { server, options } => {
                self.configured(current, server, &options, now);
            }
            DialedEvent::Updated(items) => self.updated(current, &items, now),
            DialedEvent::Left(reason) => self.left(attempt, &reason, now),
            DialedEvent::Failed(why) => {
                self.tell_undialable(current, &why);
                self.restart(attempt, "connection-failed", After::default(), now);
            }
        }
        self.take_steps(now);
    }

    /// The tunnel is up on the machine, or not.
    pub(super) fn tunnel_reported(&mut self, report: &TunnelReport, now: Monotonic) {
        match *report {
            TunnelReport::Up(attempt) => {
                let current = self.dialer.attempt();
                if current.is_some_and(|current| current.number == attempt) {
                    self.dialer.connected(attempt);
                    self.up = current.map(|current| current.address.ip());
                    self.publish(NodeEvent::InitializationComplete);
                }
            }
            TunnelReport::Failed(attempt) => {
                self.up = None;
                self.hang_up(attempt);
                self.restart(attempt, "tunnel-setup-failed", After::default(), now);
            }
            TunnelReport::Down => {
                self.up = None;
                if let Some(attempt) = self.held.take() {
                    self.dial(attempt, now);
                }
                if let Life::Ending(ending) = &self.life {
                    self.life = Life::Over(ending.clone());
                    self.errands.push_back(Errand::Stop);
                }
            }
        }
        self.take_steps(now);
    }

    /// What SIGUSR1, and each new beginning, is taken for.
    pub(super) const fn restart_signal(&self) -> RestartSignal {
        self.settings.node.process.restart
    }

    /// SIGUSR1: the connection is begun anew.
    pub(super) fn reconnect(&mut self, now: Monotonic) {
        let cause = "sigusr1";
        match self.dialer.attempt() {
            Some(attempt) => {
                self.hang_up(attempt.number);
                self.restart(attempt.number, cause, After::default(), now);
            }
            None => self.tell(TunnelEvent::Restarting {
                cause: cause.into(),
            }),
        }
        self.take_steps(now);
    }

    /// Ends: the tunnel is taken down, then the server is told.
    pub(super) fn stop(&mut self, ending: Option<Ending>) {
        if self.life != Life::Running {
            return;
        }
        self.life = Life::Ending(ending);
        self.hang_up_at_end();
        self.dialer.stop();
        if !self.tunnel.give(Job::Down) {
            // It is taken down with the thread at the latest.
            self.errands.push_back(Errand::Stop);
        }
    }

    /// How it ended, if it did so by itself.
    pub(super) fn ending(&self) -> Option<&Ending> {
        match &self.life {
            Life::Running => None,
            Life::Ending(ending) | Life::Over(ending) => ending.as_ref(),
        }
    }

    fn take_steps(&mut self, now: Monotonic) {
        while let Some(step) = self.dialer.poll_step() {
            match step {
                Step::Resolve(remote) => self.resolve(remote, now),
                Step::Dial(attempt) => self.dial(attempt, now),
                Step::GiveUp(attempt) => {
                    self.hang_up(attempt.number);
                    self.tell(TunnelEvent::Unanswered);
                    let cause = "server_poll".into();
                    self.tell(TunnelEvent::Restarting { cause });
                }
                Step::Pause(pause) => self.tell(TunnelEvent::Pausing(pause)),
                Step::End => {
                    let rounds = self.settings.rounds.map_or(0, NonZeroU32::get);
                    self.tell(TunnelEvent::Exhausted { rounds });
                    let cause = "connect-retry-max".into();
                    let failed = true;
                    self.stop(Some(Ending { cause, failed }));
                }
            }
        }
    }

    fn resolve(&mut self, remote: usize, now: Monotonic) {
        let Some(remote) = self.settings.remotes.get(remote) else {
            return;
        };
        if let Some(addresses) = resolver::written(remote) {
            return self.dialer.resolved(addresses, now);
        }
        self.questions += 1;
        // One that still waits will be answered, or its time ends: then this one is asked again.
        let _asked = self.resolver.ask(self.questions, remote.clone());
    }

    fn dial(&mut self, attempt: Attempt, now: Monotonic) {
        if self.dialer.attempt() != Some(attempt) {
            return;
        }
        // The routes of a tunnel lead past its own server alone: another one would be looked for inside.
        if self.up.is_some_and(|up| up != attempt.address.ip()) && self.tunnel.give(Job::Down) {
            self.held = Some(attempt);
            return;
        }
        let Some(remote) = self.settings.remotes.get(attempt.remote).cloned() else {
            return;
        };
        let address = attempt.address;
        if remote.transport == ListenerTransport::Tcp {
            let remote = address;
            self.tell(TunnelEvent::Connecting { remote });
        }
        let socket = match self.socket(&remote, address) {
            Ok(socket) => socket,
            Err(error) => {
                self.tell_undialable(attempt, &error);
                let cause = "connection-failed";
                return self.restart(attempt.number, cause, After::default(), now);
            }
        };
        let bound = remote.local.is_some() || remote.local_port != 0;
        let local = match &socket {
            DialedSocket::Datagrams(socket) => socket.local_address().ok(),
            DialedSocket::Stream(stream) => stream.bound(),
        };
        self.present = Present {
            local: local.filter(|_| bound),
            by_token: self.token.is_some(),
            exit_when_silent: self.settings.exit_when_silent,
            explicit_exit: self.settings.explicit_exit,
            server: None,
            options: Vec::new(),
        };
        let settings = match socket {
            DialedSocket::Datagrams(_) => {
                self.tell_dialed(attempt);
                &self.session
            }
            // That it is connected is told when it is.
            DialedSocket::Stream(_) => &self.stream_session,
        };
        self.instruct(Instruction::Dial(Box::new(Dial {
            attempt: attempt.number,
            socket,
            remote: address,
            settings: Arc::clone(settings),
            credentials: credentials(self.settings.login.as_ref(), self.token.as_ref()),
            filter: self.filter.clone(),
            mssfix: self.settings.node.mssfix,
        })));
    }

    fn tell_dialed(&mut self, attempt: Attempt) {
        let (local, remote) = (self.present.local, attempt.address);
        let transport = self.transport_of(attempt);
        self.tell(TunnelEvent::Dialing {
            transport,
            local,
            remote,
        });
    }

    /// Tells that there is no way to a server, as the system says it.
    fn tell_undialable(&mut self, attempt: Attempt, why: &str) {
        let (remote, why) = (attempt.address, why.into());
        let transport = self.transport_of(attempt);
        self.tell(TunnelEvent::Undialable {
            transport,
            remote,
            why,
        });
    }

    fn transport_of(&self, attempt: Attempt) -> ListenerTransport {
        let remote = self.settings.remotes.get(attempt.remote);
        remote.map_or_else(Default::default, |remote| remote.transport)
    }

    /// What leads to a server; or why nothing does, as the system says it.
    fn socket(&self, remote: &RemoteSettings, address: SocketAddr) -> Result<DialedSocket, String> {
        let bytes = |size: Option<NonZeroU32>| size.map_or(0, |size| size.get() as usize);
        let listen = Listen {
            family: match address {
                SocketAddr::V4(_) => Family::V4,
                SocketAddr::V6(_) => Family::V6,
            },
            address: remote.local,
            port: remote.local_port,
            send_buffer: bytes(self.settings.send_buffer),
            receive_buffer: bytes(self.settings.receive_buffer),
            receive_offload: self.receive_offload,
            routing: self.settings.node.routing.clone(),
        };
        match remote.transport {
            ListenerTransport::Udp => {
                let socket = self.datagrams(&listen, address);
                let socket = socket.map_err(|error| error.to_string())?;
                Ok(DialedSocket::Datagrams(socket))
            }
            ListenerTransport::Tcp => match TcpStream::connect(&listen, address) {
                Ok(stream) => Ok(DialedSocket::Stream(stream)),
                Err(TcpError::Connect { source, .. }) => Err(source.to_string()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn datagrams(&self, listen: &Listen, address: SocketAddr) -> Result<UdpSocket, UdpError> {
        let mut socket = UdpSocket::bind(listen)?;
        if self.settings.receive_buffer.is_none() {
            socket.widen_receive_buffer(RECEIVE_BUFFER)?;
        }
        if self.settings.send_buffer.is_none() {
            socket.widen_send_buffer(SEND_BUFFER)?;
        }
        if let Some(how) = self.settings.path_mtu {
            socket.treat_path_mtu(how)?;
        }
        socket.connect(address)?;
        Ok(socket)
    }

    fn configured(&mut self, attempt: Attempt, server: Text, options: &[String], now: Monotonic) {
        let told = causes::without_secrets(options);
        self.tell(TunnelEvent::Pushed {
            options: told.as_str().into(),
        });
        self.present.server = Some(server);
        self.present.options = options.to_vec();
        self.set_up(attempt, now);
    }

    /// The server has changed what it has pushed.
    fn updated(&mut self, attempt: Attempt, items: &[String], now: Monotonic) {
        let told = causes::without_secrets(items);
        self.tell(TunnelEvent::PushUpdated {
            items: told.as_str().into(),
        });
        match Updated::by(&self.present.options, items, &self.settings.pull) {
            Ok(Updated { options, ignored }) => {
                for why in ignored {
                    self.warn(&why);
                }
                if options != self.present.options {
                    self.present.options = options;
                    self.set_up(attempt, now);
                }
            }
            Err(why) => {
                self.warn(&why);
                self.hang_up(attempt.number);
                self.restart(attempt.number, OFFENDING_OPTION, After::default(), now);
            }
        }
    }

    /// Has the tunnel set up as the server wants it now.
    fn set_up(&mut self, attempt: Attempt, now: Monotonic) {
        let options = &self.present.options;
        let pushed = match TunnelSettings::from_push(&self.settings, options) {
            Ok(pushed) => pushed,
            Err(refused) => {
                let text = refused.to_string();
                self.warn(&text);
                self.hang_up(attempt.number);
                let cause = "process-push-msg-failed";
                return self.restart(attempt.number, cause, After::default(), now);
            }
        };
        for warning in &pushed.warnings {
            self.warn(warning);
        }
        if pushed.token.is_some() {
            self.token = pushed.token;
        }
        self.present.exit_when_silent = pushed.tunnel.exit_when_silent;
        self.present.explicit_exit = pushed.tunnel.explicit_exit;
        let wanted = Wanted {
            attempt: attempt.number,
            remote: attempt.address,
            server: self.present.server.clone().unwrap_or_default(),
            settings: pushed.tunnel,
        };
        if !self.tunnel.give(Job::Up(Box::new(wanted))) {
            self.warn("the tunnel before this one is still being set up");
            self.hang_up(attempt.number);
            self.restart(attempt.number, "tunnel-busy", After::default(), now);
        }
    }

    fn left(&mut self, attempt: u64, reason: &LeaveReason, now: Monotonic) {
        let server = self
            .present
            .server
            .clone()
            .unwrap_or_else(|| "UNDEF".into());
        let exits = self.present.exit_when_silent;
        if let Some(event) = causes::told(reason, server, exits) {
            self.tell(event);
        }
        let given = Circumstances {
            after_refusal: self.settings.after_refusal,
            by_token: self.present.by_token,
            exits_when_silent: exits,
            exits_on_tls_error: self.settings.exits_on_tls_error,
        };
        match causes::consequence(reason, given) {
            Consequence::Restart { cause, after } => self.restart(attempt, cause, after, now),
            Consequence::WithoutToken { cause } => {
                self.token = None;
                let after = After {
                    next: Next::Same,
                    pause: None,
                };
                self.restart(attempt, cause, after, now);
            }
            Consequence::End { cause } => {
                let (cause, failed) = (cause.into(), false);
                self.stop(Some(Ending { cause, failed }));
            }
            Consequence::Nothing => {}
        }
    }

    fn restart(&mut self, attempt: u64, cause: &str, after: After, now: Monotonic) {
        let cause = cause.into();
        if self.restart_signal() == RestartSignal::Terminate {
            let failed = false;
            return self.stop(Some(Ending { cause, failed }));
        }
        self.tell(TunnelEvent::Restarting { cause });
        self.dialer.lost(attempt, after.next, after.pause, now);
    }

    fn hang_up(&mut self, attempt: u64) {
        self.instruct(Instruction::HangUp(HangUp {
            attempt,
            farewell: Farewell::Silent,
            exit_notices: 0,
        }));
    }

    fn hang_up_at_end(&mut self) {
        if let Some(attempt) = self.dialer.attempt() {
            let notices = self.present.explicit_exit;
            // Wire: over TCP 2.6 says nothing; its server hears that the connection is closed.
            let says =
                self.dialer.is_connected() && self.transport_of(attempt) == ListenerTransport::Udp;
            let notices = notices.filter(|_| says);
            self.instruct(Instruction::HangUp(HangUp {
                attempt: attempt.number,
                farewell: match notices {
                    Some(_) => Farewell::Exit,
                    None => Farewell::Silent,
                },
                exit_notices: notices.map_or(0, NonZeroU8::get),
            }));
        }
    }

    /// The remote whose addresses were asked for last.
    fn asked_remote(&self) -> Option<(Text, u16)> {
        let remote = self.settings.remotes.get(self.dialer.current_remote())?;
        Some((remote.host.as_str().into(), remote.port))
    }

    fn instruct(&mut self, instruction: Instruction) {
        self.errands.push_back(Errand::Instruct(instruction));
    }

    fn tell(&mut self, event: TunnelEvent) {
        self.publish(NodeEvent::Tunnel(event));
    }

    fn warn(&mut self, text: &str) {
        self.publish(NodeEvent::Warned { text: text.into() });
    }

    fn publish(&mut self, event: NodeEvent) {
        self.errands.push_back(Errand::Publish(event));
    }
}

/// Why a connection begins anew whose server insists on what can't be had; the words are OpenVPN's.
const OFFENDING_OPTION: &str = "Offending option received from server";

/// What passes the `pull-filter` lines.
fn filter(rules: PullRules) -> PullFilter {
    Arc::new(move |option| rules.action(option) == FilterAction::Accept)
}

/// What to log in with: the server's token in place of the password, where there is one.
fn credentials(login: Option<&Login>, token: Option<&AuthToken>) -> Option<Credentials> {
    let username = login.map(|login| login.username.clone());
    if let Some(AuthToken {
        username: renamed,
        token,
    }) = token
    {
        return Some(Credentials {
            username: renamed.clone().or(username).unwrap_or_default(),
            password: token.clone(),
        });
    }
    login.map(|login| Credentials {
        username: login.username.clone(),
        password: login.password.clone(),
    })
}
