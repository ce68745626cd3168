//! A running node, as its own thread sees it: what shards report goes to the registry and the bus,
//! what the registry orders goes to the shards.

mod ending;
mod reloading;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use signal_hook::iterator::Signals as Caught;

use self::reloading::Reloading;
pub use self::reloading::{ReloadWanted, Reread, Restart};
use super::auth::{Authentication, Connected, Judged, Login, LoginKind, Verdict};
use super::bus::Bus;
use super::client::{Client, Errand};
use super::client_files::{ProfileAnswer, Profiles};
use super::counters::Counters;
use super::event::{AdmissionRefusal, NodeEvent, StopSignal};
use super::lease_file::LeaseWriter;
use super::log::Log;
use super::management::{ManagementOrder, ManagementThread};
use super::message::{Instruction, Report};
use super::porter::Porter;
use super::registry::{Order, Registry, Steered};
use super::reload::ConfigurationReader;
use super::reporting::Reporting;
use super::revocations::RevocationWatch;
use super::settings::{RestartSignal, Settings};
use super::start::{DeviceScripts, StartError};
use crate::limits::INSTRUCTIONS_WAITING;
use crate::reactor::{self, TunSteering};
use crate::time::Now;

/// A server that clients can connect to. [`Node::run`] is its life.
pub struct Node {
    bus: Bus,
    log: Log,
    registry: Registry,
    /// For a server whose clients' logins somebody judges.
    authentication: Option<Authentication>,
    /// For a server whose clients have files of their own.
    profiles: Option<Profiles>,
    device_scripts: Option<DeviceScripts>,
    /// For a server that keeps addresses over a restart.
    leases: Option<LeaseWriter>,
    /// Ends with the node.
    revocations: Vec<RevocationWatch>,
    /// Where the kernel brings inner packets by a program of ours.
    tun_steering: Option<TunSteering>,
    /// Before the shards, as fields are dropped in their order: a shard's last report then waits
    /// for nobody.
    reports: Receiver<Report>,
    reporter: Sender<Report>,
    shards: Vec<ShardHandle>,
    /// For a server that shares its port with a web server.
    _porter: Option<Porter>,
    reporting: Reporting,
    management: Option<ManagementThread>,
    /// For a node that dials.
    client: Option<Client>,
    /// For a server.
    reloading: Option<Reloading>,
    /// Signals that came before it ran.
    signals: Option<Caught>,
    state: State,
}

/// How a node's life ended.
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It is to begin again: [`Node::restart`].
    Restart(Box<Restart>),
}

/// What a start puts together, beside bus and log.
pub(super) struct Assembled {
    pub(super) registry: Registry,
    pub(super) authentication: Option<Authentication>,
    pub(super) profiles: Option<Profiles>,
    /// Those of a server.
    pub(super) device_scripts: Option<DeviceScripts>,
    pub(super) leases: Option<LeaseWriter>,
    pub(super) revocations: Vec<RevocationWatch>,
    pub(super) tun_steering: Option<TunSteering>,
    pub(super) shards: Vec<ShardHandle>,
    pub(super) porter: Option<Porter>,
    pub(super) reports: Receiver<Report>,
    pub(super) reporter: Sender<Report>,
    pub(super) reporting: Reporting,
    pub(super) management: Option<ManagementThread>,
    pub(super) client: Option<Client>,
}

/// A shard, from outside. Dropping it ends the shard and waits for that.
pub(super) struct ShardHandle {
    instructions: reactor::Sender<Instruction>,
    /// What the mailbox had no room for.
    waiting: VecDeque<Instruction>,
    thread: Option<JoinHandle<()>>,
}

/// How far the node is.
#[derive(Debug)]
enum State {
    Serving,
    Stopping(StopSignal),
    /// With the signals that come until the next node runs.
    Restarting(Caught),
    Failed(String),
}

impl Node {
    pub(super) fn new(bus: Bus, log: Log, assembled: Assembled) -> Self {
        let Assembled {
            registry,
            authentication,
            profiles,
            device_scripts,
            leases,
            revocations,
            tun_steering,
            shards,
            porter,
            reports,
            reporter,
            reporting,
            management,
            client,
        } = assembled;
        let state = State::Serving;
        Self {
            bus,
            log,
            registry,
            authentication,
            profiles,
            device_scripts,
            leases,
            revocations,
            tun_steering,
            shards,
            _porter: porter,
            reports,
            reporter,
            reporting,
            management,
            client,
            reloading: None,
            signals: None,
            state,
        }
    }

    /// The settings of a server, for when they are read again.
    pub(super) fn with_settings(mut self, settings: Settings) -> Self {
        self.reloading = Some(Reloading::new(settings));
        self
    }

    /// The signals that have come already are among these.
    pub(super) fn with_signals(mut self, signals: Caught) -> Self {
        self.signals = Some(signals);
        self
    }

    /// How its configuration is read again, on SIGHUP and when the control socket says so. Nothing
    /// changes for a client.
    #[must_use]
    pub fn read_again_by(mut self, reader: Arc<dyn ConfigurationReader>) -> Self {
        if let Some(reloading) = &mut self.reloading {
            reloading.read_by(reader);
        }
        self
    }

    /// Serves until SIGTERM or SIGINT, then tells the clients and ends in order. It ends too when a
    /// new configuration needs a restart, and that is wanted.
    ///
    /// # Errors
    /// A shard ended by itself, or signals can't be received.
    pub fn run(mut self) -> Result<Ended, StartError> {
        let caught = self.signals.take().map_or_else(|| Caught::new(SIGNALS), Ok);
        let signals = caught.and_then(|caught| Signals::listen(caught, self.reporter.clone()));
        let signals = signals.map_err(StartError::Thread)?;
        if self.client.is_none() {
            self.publish(NodeEvent::InitializationComplete);
        }
        let mut running = self.shards.len();
        while running > 0 {
            let patience = self.patience();
            match self.reports.recv_timeout(patience) {
                Ok(Report::Ended { shard, failure }) => {
                    running -= 1;
                    self.shard_ended(shard, failure);
                }
                Ok(report) => self.take(report),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.serve_registry();
            self.serve_client();
            self.keep_leases();
            self.flush();
            self.tell_of_itself();
        }
        signals.finish();
        self.end()
    }

    /// How long there is nothing to do without a report.
    fn patience(&self) -> Duration {
        if self.shards.iter().any(|shard| !shard.waiting.is_empty()) {
            return RETRY;
        }
        let now = Now::read().monotonic;
        let client = self.client.as_ref().and_then(Client::next_timeout);
        let timers = self.registry.next_timeout().into_iter().chain(client);
        let timer = timers.min().map(|at| at.since(now));
        let soon = Instant::now();
        let leases = self.leases.as_ref().map(LeaseWriter::next_timeout);
        let files = self.reporting.next_timeout().into_iter().chain(leases);
        let files = files.min().map(|at| at.saturating_duration_since(soon));
        timer.into_iter().chain(files).min().unwrap_or(IDLE)
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Event(event) => self.publish(event),
            Report::Registry(notice) => {
                self.registry.hear(*notice, Now::read().monotonic);
                self.carry_out_orders();
            }
            Report::Login(login) => self.judge(login),
            Report::ChallengeAnswered(at, response) => {
                if let Some(authentication) = &self.authentication {
                    authentication.responded(at, response);
                }
            }
            Report::LoginGone(at) => {
                if let Some(authentication) = &self.authentication {
                    authentication.forget(at);
                }
            }
            Report::ClientGone(departure) => {
                if let Some(authentication) = &self.authentication {
                    authentication.departed(departure);
                }
            }
            Report::Connected(connected) => self.connected(*connected),
            Report::Learned(learned) => {
                let now = Now::read().monotonic;
                self.registry.learned(learned.of, &learned.refused, now);
                self.carry_out_orders();
            }
            Report::Judged(judged) => self.judged(judged),
            Report::Renewed(renewed) => {
                if let Some(shard) = self.shards.get_mut(usize::from(renewed.shard)) {
                    shard.tell(Instruction::Renew(renewed));
                }
            }
            Report::Profile(answer) => self.profile_read(*answer),
            Report::AddressesNamed(named) => {
                for address in named {
                    self.registry.reserve(address);
                }
            }
            Report::Status { shard, answer } => self.reporting.answered(shard, *answer),
            Report::Asked { asker } => self.reporting.want(asker),
            Report::Reload(wanted) => self.reload(wanted),
            Report::Reread(reread) => self.reread(*reread),
            Report::Dialed { attempt, event } => {
                if let Some(client) = &mut self.client {
                    client.hear(attempt, *event, Now::read().monotonic);
                }
            }
            Report::Resolved(resolved) => {
                if let Some(client) = &mut self.client {
                    client.resolved(resolved, Now::read().monotonic);
                }
            }
            Report::Tunnel(report) => {
                if let Some(client) = &mut self.client {
                    client.tunnel_reported(&report, Now::read().monotonic);
                }
            }
            Report::Managed(order) => self.manage(order),
            Report::Signal(signal) => self.signalled(signal),
            // Counted by `run` and by the start.
            Report::Ready | Report::Ended { .. } => {}
        }
    }

    /// Lets the registry say again what has had no answer.
    fn serve_registry(&mut self) {
        let now = Now::read().monotonic;
        if self.registry.next_timeout().is_some_and(|at| at <= now) {
            self.registry.handle_timeout(now);
            self.carry_out_orders();
        }
    }

    /// Has the leases written, when it is time.
    fn keep_leases(&mut self) {
        if let Some(file) = &mut self.leases {
            let leases = self.registry.leases();
            file.keep(Instant::now(), leases.changes(), || leases.names());
        }
    }

    /// Lets the client do what is due, and does what it wants.
    fn serve_client(&mut self) {
        let now = Now::read().monotonic;
        let Some(client) = &mut self.client else {
            return;
        };
        client.handle_timeout(now);
        while let Some(errand) = self.client.as_mut().and_then(Client::poll_errand) {
            match errand {
                Errand::Publish(event) => self.publish(event),
                Errand::Instruct(instruction) => {
                    if let Some(shard) = self.shards.get_mut(CLIENT_SHARD) {
                        shard.tell(instruction);
                    }
                }
                Errand::Stop => self.stop_shards(),
            }
        }
    }

    /// Carries out what the registry wants, in its order: see [`Order`].
    fn carry_out_orders(&mut self) {
        while let Some(order) = self.registry.poll_order() {
            match order {
                Order::Steer { what, shard } => self.steer(what, shard),
                Order::ReadProfile { of, client } => {
                    if let Some(profiles) = &mut self.profiles {
                        profiles.ask(of, client, Arc::new([]));
                    }
                }
                Order::Connect(arrival) => {
                    if let Some(authentication) = &self.authentication {
                        authentication.arrived(arrival);
                    }
                }
                Order::Learn { client_id, place } => {
                    if let Some(authentication) = &self.authentication {
                        authentication.placed(client_id, place);
                    }
                }
                order => {
                    if let Some((shard, instruction)) = Instruction::of(order)
                        && let Some(shard) = self.shards.get_mut(usize::from(shard))
                    {
                        shard.offer(instruction);
                    }
                }
            }
        }
    }

    /// Has a login judged, by a number that the client keeps.
    fn judge(&mut self, mut login: Box<Login>) {
        if login.kind == LoginKind::Connect {
            login.client_id = self.registry.number_client();
        }
        login.clients = self.registry.len();
        let refused = Judged {
            at: login.at,
            login: login.login,
            client_id: login.client_id,
            verdict: Verdict::Refused {
                reason: String::new(),
                why: "too many logins wait".into(),
            },
            token: None,
        };
        let begun = self.authentication.as_ref().map(|it| it.begin(login));
        if !matches!(begun, Some(Ok(()))) {
            self.judged(refused);
        }
    }

    fn judged(&mut self, judged: Judged) {
        if let Some(shard) = self.shards.get_mut(usize::from(judged.at.shard)) {
            shard.tell(Instruction::Judge(judged));
        }
    }

    /// Whoever is asked when a client connects has said what they have to say.
    fn connected(&mut self, connected: Connected) {
        let Connected { arrival, lines } = connected;
        let answer = match (lines, &mut self.profiles) {
            (None, _) => Err(AdmissionRefusal::Hook),
            (Some(lines), Some(profiles)) if !lines.is_empty() => {
                return profiles.ask(arrival.of, arrival.client, lines);
            }
            (Some(_), _) => Ok(None),
        };
        let now = Now::read().monotonic;
        self.registry.connected(arrival.of, answer, now);
        self.carry_out_orders();
    }

    /// A client's file has been read.
    fn profile_read(&mut self, answer: ProfileAnswer) {
        let ProfileAnswer {
            of,
            client,
            with_lines,
            told,
            profile,
        } = answer;
        if let Some(profiles) = &mut self.profiles {
            profiles.answered(of);
        }
        for event in told {
            self.publish(NodeEvent::client(client.clone(), event));
        }
        let now = Now::read().monotonic;
        match with_lines {
            true => self.registry.connected(of, profile.map(Some), now),
            false => self.registry.profile_read(of, profile, now),
        }
        self.carry_out_orders();
    }

    /// Has the kernel bring inner packets to a shard. Should it take no more orders, what it
    /// does becomes a bad hint: the shards hand on what comes to the wrong one.
    fn steer(&mut self, what: Steered, shard: Option<u16>) {
        let Some(steering) = &self.tun_steering else {
            return;
        };
        let set_prefix = |network, shard| match shard {
            Some(shard) => steering.add_prefix(network, shard),
            None => steering.remove_prefix(network),
        };
        let steered = match (what, shard) {
            // The pool has grown since the program was made.
            (Steered::Slot(slot), shard) if slot >= steering.slots() => {
                let addresses = self.registry.pool().addresses(slot);
                let mut addresses = addresses.iter();
                addresses.try_for_each(|address| set_prefix(address.into(), shard))
            }
            (Steered::Slot(slot), Some(shard)) => steering.assign_slot(slot, shard),
            (Steered::Slot(slot), None) => steering.clear_slot(slot),
            (Steered::Network(network), shard) => set_prefix(network, shard),
        };
        if let Err(error) = steered {
            self.tun_steering = None;
            let text = format!("tun packets are brought to no shard any more: {error}");
            self.publish(NodeEvent::Warned {
                text: text.as_str().into(),
            });
        }
    }

    /// What somebody on the management interface wants.
    fn manage(&mut self, order: ManagementOrder) {
        match order {
            ManagementOrder::Kill {
                clients,
                how,
                asker,
            } => {
                let mut killed = 0;
                for client in clients {
                    let Some(at) = self.registry.session_of(client) else {
                        continue;
                    };
                    if let Some(shard) = self.shards.get_mut(usize::from(at.shard)) {
                        let (session, how) = (at.session, how.clone());
                        shard.tell(Instruction::Kill { session, how });
                        killed += 1;
                    }
                }
                // Who asked may have given up.
                let _gone = asker.try_send(killed);
            }
            ManagementOrder::Verb(verb) => self.change_log(|log| log.verb = verb),
            ManagementOrder::Mute(lines) => {
                self.change_log(|log| log.mute = NonZeroU32::new(lines));
            }
            ManagementOrder::ForgetPasswords => {
                if let Some(reloading) = &self.reloading {
                    reloading.forget_password();
                }
            }
        }
    }

    fn signalled(&mut self, signal: i32) {
        let signal = match signal {
            libc::SIGUSR1 if self.restart_signal() == RestartSignal::Terminate => {
                StopSignal::Terminate
            }
            libc::SIGTERM => StopSignal::Terminate,
            libc::SIGINT => StopSignal::Interrupt,
            libc::SIGUSR2 => return self.reporting.want_in_log(),
            libc::SIGUSR1 if self.client.is_some() => return self.reconnect(),
            // SIGHUP, and SIGUSR1 of a server: there is nothing less that could be restarted.
            _ => return self.reload(ReloadWanted::default()),
        };
        if matches!(self.state, State::Serving) {
            self.state = State::Stopping(signal);
            self.reporting.keep_status();
            self.publish(NodeEvent::Stopping { signal });
            self.tell_closing(signal);
            match &mut self.client {
                // It undoes what it did to the machine, and then wants the shards to stop.
                Some(client) => client.stop(None),
                None => self.stop_shards(),
            }
        }
    }

    /// What SIGUSR1 is taken for.
    fn restart_signal(&self) -> RestartSignal {
        let of_client = self.client.as_ref().map(Client::restart_signal);
        let of_server = self.reloading.as_ref().map(Reloading::restart_signal);
        of_client.or(of_server).unwrap_or_default()
    }

    fn reconnect(&mut self) {
        if let Some(client) = &mut self.client
            && matches!(self.state, State::Serving)
        {
            client.reconnect(Now::read().monotonic);
        }
    }

    fn shard_ended(&mut self, shard: u16, failure: Option<String>) {
        self.registry.shard_ended(shard, Now::read().monotonic);
        self.carry_out_orders();
        if let Some(failure) = failure {
            self.publish(NodeEvent::Warned {
                text: failure.as_str().into(),
            });
            self.state = State::Failed(failure);
            self.stop_shards();
        }
    }

    fn stop_shards(&mut self) {
        for shard in &mut self.shards {
            shard.tell(Instruction::Stop);
        }
    }

    fn flush(&mut self) {
        for shard in &mut self.shards {
            shard.flush();
        }
    }

    /// Asks the shards what somebody wants to know, and tells what they have answered.
    fn tell_of_itself(&mut self) {
        let now = Instant::now();
        let (registry, shards, reports) = (&self.registry, &self.shards, &self.reports);
        let told = self
            .reporting
            .end(now, || counters(registry, shards, reports));
        if let Some(event) = told {
            self.publish(event);
        }
        for shard in self.reporting.begin(now) {
            if let Some(shard) = self.shards.get_mut(shard) {
                shard.tell(Instruction::ReportStatus);
            }
        }
    }

    fn publish(&mut self, event: NodeEvent) {
        self.bus.publish(Now::read().unix, event);
    }
}

impl ShardHandle {
    pub(super) fn new(instructions: reactor::Sender<Instruction>, thread: JoinHandle<()>) -> Self {
        Self {
            instructions,
            waiting: VecDeque::new(),
            thread: Some(thread),
        }
    }

    /// Says something that the registry repeats if need be: a shard that has taken nothing for so
    /// long that too much waits does not get it.
    fn offer(&mut self, instruction: Instruction) {
        if self.waiting.len() < INSTRUCTIONS_WAITING {
            self.tell(instruction);
        }
    }

    /// Says something to the shard, behind what it has not taken yet.
    fn tell(&mut self, instruction: Instruction) {
        self.waiting.push_back(instruction);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(instruction) = self.waiting.pop_front() {
            if let Err(instruction) = self.instructions.send(instruction) {
                return self.waiting.push_front(instruction);
            }
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !thread.is_finished() {
            self.tell(Instruction::Stop);
        }
        while !self.waiting.is_empty() && !thread.is_finished() {
            thread::sleep(RETRY);
            self.flush();
        }
        // A panic has been reported by the panic hook, and to the node thread.
        let _panicked = thread.join();
    }
}

/// What the node thread counts.
fn counters(registry: &Registry, shards: &[ShardHandle], reports: &Receiver<Report>) -> Counters {
    let sum = |count: fn(&ShardHandle) -> u64| shards.iter().map(count).sum();
    Counters::default()
        .with(
            "clients",
            [
                ("registered", registry.len() as u64),
                ("shards", shards.len() as u64),
            ],
        )
        .with(
            "mailboxes",
            [
                ("reports_waiting", reports.len() as u64),
                ("instructions_sent", sum(|shard| shard.instructions.sent())),
                (
                    "instructions_refused",
                    sum(|shard| shard.instructions.refused()),
                ),
                (
                    "instructions_waiting",
                    sum(|shard| shard.waiting.len() as u64),
                ),
            ],
        )
}

/// Signals of the process, made into reports.
struct Signals {
    handle: signal_hook::iterator::Handle,
    thread: JoinHandle<()>,
}

impl Signals {
    /// Takes the process's signals from now on.
    fn listen(mut signals: Caught, reports: Sender<Report>) -> std::io::Result<Self> {
        let handle = signals.handle();
        let thread = thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if reports.send(Report::Signal(signal)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { handle, thread })
    }

    fn finish(self) {
        self.handle.close();
        let _panicked = self.thread.join();
    }
}

const SIGNALS: [i32; 5] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
];
/// The shard that has a client's session.
const CLIENT_SHARD: usize = 0;

const RETRY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_shard_that_takes_nothing_is_bounded() {
        let waker = reactor::Waker::new().unwrap();
        let (instructions, taken) = reactor::mailbox(8, waker);
        let mut shard = ShardHandle::new(instructions, thread::spawn(|| {}));
        let most = 8 + INSTRUCTIONS_WAITING as u64;
        for session in 0..most + 100 {
            shard.offer(Instruction::Forget { session });
        }
        assert_eq!(shard.waiting.len(), INSTRUCTIONS_WAITING);
        shard.tell(Instruction::Stop);
        let mut sessions = Vec::new();
        let stopped = loop {
            match taken.take() {
                Some(Instruction::Forget { session }) => sessions.push(session),
                other => break other,
            }
            shard.flush();
        };
        assert_eq!(sessions, (0..most).collect::<Vec<_>>());
        assert!(
            matches!(stopped, Some(Instruction::Stop)),
            "the order to stop finds room"
        );
    }
}
