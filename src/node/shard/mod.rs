//! A shard: one core's sessions, peers and buffers, as a state machine.
//!
//! It has no thread, clock or descriptor of its own: packets and instructions are given to it, what
//! it wants done goes to its [`Edges`]. [`super::worker`] runs it on a ring, a simulation in steps.
//! A turn of [`Shard::serve`] takes data packets first, then control packets for a bounded time, then
//! timers. Nothing in it waits.

mod announced;
mod backlog;
mod clients;
mod connections;
mod consistency;
mod control;
mod data;
mod dialed;
mod edges;
mod half_open;
mod inactivity;
mod io;
mod lifetime;
mod logins;
mod narrate;
pub mod registration;
mod renewed;
mod statuses;
mod streams;
mod view;
pub mod wheel;

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use self::backlog::Backlog;
use self::connections::{Connections, Key};
pub use self::dialed::{Dial, DialedEvent, DialedSocket, HangUp};
pub use self::edges::{Congestion, Done, Dropped, Edges, Outgoing};
pub(in crate::node) use self::io::Io;
use self::logins::Logins;
use self::registration::Registration;
pub use self::renewed::Terms;
use self::streams::StreamStrangers;
pub use self::view::{ClientView, Load};
use self::wheel::Wheel;
use super::event::NodeEvent;
use super::message::{Instruction, Report};
use super::registry::{Announcement, Place, Tenant};
use super::rounds::Answer;
use super::settings::{Compression, KeyVolume, Offloads, SessionTimes, V4Layout};
use super::strangers::StrangerAllowance;
use crate::limits::{
    BATCH_PACKETS, DROP_REPORT_INTERVAL, IDLE_TURN, REPORTS_BEFORE_LOSS, STOP_GRACE,
};
use crate::packet::{
    Directory, DropCounters, DropReason, FragmentLimit, InboundBatch, Merging, Mssfix,
    OutboundBatch, PeerEvent, PeerTable, Pool, Surroundings,
};
use crate::random::Random;
use crate::session::{ContactLimits, Farewell, Grant, OpenVpn2, Steering, V4Grant, V6Grant};
use crate::time::{Monotonic, Now};
use crate::wire::PeerId;

/// What a shard is made of.
pub struct ShardParts {
    /// The shard's number.
    pub number: u16,
    /// How datagrams are spread over all shards; the same for each of them.
    pub steering: Steering,
    /// What the kernel does for many packets at once.
    pub offloads: Offloads,
    /// First contact, with the rules of all sessions; `None` for a node that nobody can contact.
    pub protocol: Option<OpenVpn2>,
    /// What clients are told of the network, beside their own address.
    pub network: Network,
    /// Where its randomness comes from.
    pub random: Box<dyn Random>,
}

/// What all clients of a node have in common.
#[derive(Clone, Debug)]
pub struct Network {
    /// How IPv4 addresses are laid out.
    pub v4: Option<V4Layout>,
    /// The IPv6 network's prefix length, and the server's address in it.
    pub v6: Option<(u8, Ipv6Addr)>,
    /// The tunnel's MTU; of a client's, the largest that a server may name.
    pub mtu: u16,
    /// The clamp on TCP segments.
    pub mssfix: Mssfix,
    /// How large datagrams may be, if packets are cut for it.
    pub fragment: Option<FragmentLimit>,
    /// Whether datagrams get the class of the packet inside.
    pub copies_classes: bool,
    /// At most so many clients at once.
    pub max_clients: u32,
    /// How clients are told that the server stops.
    pub farewell: Farewell,
    /// How many strangers all shards together answer and let in.
    pub contact: ContactLimits,
    /// Whether packets between clients stay inside the server.
    pub client_to_client: bool,
    /// Who answers to clients' IPv6 packets that they go nowhere, if they don't.
    pub refuses_ipv6: Option<Ipv6Addr>,
    /// How packets are framed for compression.
    pub compression: Compression,
    /// How long sessions may be silent, do nothing, and last.
    pub times: SessionTimes,
    /// How long hosts behind clients are remembered after their last packet.
    pub hosts_remembered: Duration,
    /// What a key may carry before there is another one.
    pub key_volume: KeyVolume,
    /// Who judges logins, and what clients are called then.
    pub logins: LoginTerms,
}

/// How a shard treats the logins of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginTerms {
    /// Whether somebody judges them, beyond the certificates.
    pub judged: bool,
    /// Whether a client is called by its user's name.
    pub username_as_common_name: bool,
}

impl Network {
    /// What a client is told of its place in the network.
    fn grant(&self, peer_id: PeerId, place: &Place) -> Grant {
        let own = &place.own;
        let v4 = place.v4(self.v4).filter(|_| !own.withheld.v4);
        let v6 = place.v6(self.v6).filter(|_| !own.withheld.v6);
        Grant {
            peer_id,
            v4: v4.map(|(address, second)| V4Grant { address, second }),
            v6: v6.map(|(address, prefix, server)| V6Grant {
                address,
                prefix,
                server,
            }),
            push: own.push.clone(),
            keepalive: own.times.map(|times| times.keepalive),
        }
    }
}

/// One core's share of a node.
pub struct Shard<E> {
    pub(super) io: Io<E>,
    protocol: Option<OpenVpn2>,
    network: Network,
    connections: Connections,
    peers: PeerTable,
    registration: Registration<Key>,
    logins: Logins,
    surroundings: Surroundings,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    /// The drops that were published, and when the next count is.
    told_drops: DropCounters,
    next_drop_report: Monotonic,
    backlog: Backlog,
    wheel: Wheel<Key>,
    /// The lines about strangers that were refused, and about those that have just come.
    strangers: StrangerAllowance,
    newcomers: StrangerAllowance,
    stream_strangers: StreamStrangers,
    random: Box<dyn Random>,
    /// What the node thread has no room for yet: answers to it, and events up to a bound.
    unreported: VecDeque<Report>,
    lost_events: u64,
    peer_events: Vec<PeerEvent>,
    due: Vec<Key>,
    scratch: Vec<u8>,
    /// Sessions that have not been told that the shard stops.
    farewells: Vec<Key>,
    state: State,
}

/// Whether the shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// Clients have been told; their acknowledgements are waited for until then.
    Stopping(Monotonic),
}

impl<E: Edges> Shard<E> {
    /// A shard without sessions. All buffers that it will ever need are in `pool`, or lent to
    /// `edges`.
    pub fn new(parts: ShardParts, mut edges: E, pool: Pool) -> Self {
        let now = edges.now().monotonic;
        let mut random = parts.random;
        let shards = parts.steering.shards();
        let clients_max = parts.network.max_clients;
        let surroundings = Surroundings {
            own: parts.number,
            steering: parts.steering,
            directory: Directory::new(clients_max, &mut *random),
            client_to_client: parts.network.client_to_client,
            refuses_ipv6: parts.network.refuses_ipv6,
        };
        let (number, of) = (u32::from(parts.number), u32::from(shards));
        let peers = PeerTable::new(number, of, clients_max, &mut *random);
        let (inbound, outbound) = batches(parts.offloads, &parts.network);
        Self {
            io: Io::new(edges, pool),
            protocol: parts
                .protocol
                .map(|protocol| protocol.with_limits(parts.network.contact, shards)),
            connections: Connections::new(shards),
            peers,
            registration: Registration::new(parts.number, clients_max as usize),
            logins: Logins::default(),
            surroundings,
            network: parts.network,
            inbound,
            outbound,
            told_drops: DropCounters::new(),
            next_drop_report: now + DROP_REPORT_INTERVAL,
            backlog: Backlog::new(),
            wheel: Wheel::new(now),
            strangers: StrangerAllowance::new(now),
            newcomers: StrangerAllowance::new(now),
            stream_strangers: StreamStrangers::new(shards),
            random,
            unreported: VecDeque::new(),
            lost_events: 0,
            peer_events: Vec::new(),
            due: Vec::new(),
            scratch: Vec::new(),
            farewells: Vec::new(),
            state: State::Serving,
        }
    }

    /// Serves what was given to it since the last time, and what is due.
    pub fn serve(&mut self) {
        let now = self.io.edges.now();
        self.reclaim(now);
        self.serve_data(now);
        if !self.backlog.is_empty() {
            self.io.edges.begin();
        }
        self.serve_control();
        self.serve_timers();
        self.expire_streams();
        self.say_goodbye();
        if now.monotonic >= self.next_drop_report {
            self.next_drop_report = now.monotonic + DROP_REPORT_INTERVAL;
            self.report_drops();
        }
        self.notify_registry();
    }

    /// Follows what the node thread says.
    pub fn obey(&mut self, instruction: Instruction) {
        let now = self.io.edges.now();
        match instruction {
            Instruction::Grant {
                session,
                client_id,
                place,
            } => self.admit(session, client_id, &place, now),
            Instruction::Refuse { session, refusal } => self.refuse(session, refusal, now),
            Instruction::Release { session, cause } => self.release(session, cause, now),
            Instruction::Judge(judged) => self.judged(judged, now),
            Instruction::Renew(renewed) => self.renew_token(renewed, now),
            Instruction::Kill { session, how } => self.kill(session, &how, now),
            Instruction::Forget { session } => self.registration.forget(session),
            Instruction::Follow(terms) => self.follow_terms(*terms, now),
            Instruction::Dial(dial) => self.dial(*dial, now),
            Instruction::HangUp(hang_up) => self.hang_up(hang_up, now),
            Instruction::Announce(announcement) => self.follow(&announcement),
            Instruction::ReportStatus => {
                let answer = Box::new(Answer {
                    clients: self.client_statuses(now),
                    counters: self.counters(),
                });
                let shard = self.surroundings.own;
                self.report(Report::Status { shard, answer });
            }
            Instruction::Stop => {
                self.farewells = self.connections.keys();
                self.state = State::Stopping(now.monotonic + STOP_GRACE);
            }
        }
    }

    /// Notes in the directory who has which addresses and networks.
    fn follow(&mut self, announcement: &Announcement) {
        let Some(change) = self.registration.announced(announcement) else {
            return;
        };
        if let Some(former) = change.former {
            announced::withdraw(&mut self.surroundings.directory, &former);
        }
        let Some(present) = change.present else {
            return;
        };
        if let Err(full) = announced::announce(&mut self.surroundings.directory, &present) {
            // There is room for each client, and the registry counts the networks.
            let text = format!("{full}: packets that come in on another core are lost");
            let text = text.as_str().into();
            self.publish(NodeEvent::Warned { text });
        }
        self.follow_networks(&present);
    }

    /// Leads networks in the own table to their client, or to nobody here if it is on another shard:
    /// they may have led to a client of this one before.
    fn follow_networks(&mut self, present: &Tenant) {
        let own = present.shard == self.surroundings.own;
        let key = self.registration.client(present.session).filter(|_| own);
        if let Some(peer) = key.and_then(|key| self.peer_of(key)) {
            // What has no room is told of by the directory, which has as much.
            let _has_room = self.peers.set_prefixes(peer, &present.networks);
            return;
        }
        for &network in &present.networks {
            self.peers.remove_prefix(network);
        }
    }

    /// How long there is nothing to serve unless something is given to it.
    pub fn patience(&self, now: Monotonic) -> Duration {
        if !self.backlog.is_empty() || !self.farewells.is_empty() {
            return Duration::ZERO;
        }
        if self.io.edges.congestion() == Congestion::Waiting || !self.unreported.is_empty() {
            return RETRY;
        }
        let (session, notice) = (self.wheel.next(), self.registration.next_timeout());
        let stream = self.stream_strangers.next_timeout();
        let timers = session.into_iter().chain(notice).chain(stream);
        let timer = timers.min();
        let timer = timer.map_or(IDLE_TURN, |at| at.since(now));
        let stop = match self.state {
            State::Serving => IDLE_TURN,
            State::Stopping(until) => until.since(now),
        };
        timer.min(stop).min(IDLE_TURN)
    }

    /// Whether it was told to stop, and all that a client should still get is sent or the time for
    /// that is up.
    pub fn has_stopped(&self, now: Monotonic) -> bool {
        match self.state {
            State::Serving => false,
            State::Stopping(until) => now >= until || self.is_done(),
        }
    }

    /// The last words of a shard that has stopped.
    pub fn finish(&mut self) {
        let now = self.io.edges.now();
        self.reclaim(now);
        self.report_drops();
        self.notify_registry();
    }

    /// Takes back what the world is done with.
    fn reclaim(&mut self, now: Now) {
        let peers = &mut self.peers;
        self.io.reclaim(|peer| {
            if let Some(peer) = peers.peer_mut(peer) {
                peer.refuse_runs(now.monotonic);
            }
        });
    }

    fn serve_timers(&mut self) {
        let now = self.io.edges.now();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.monotonic, &mut due);
        for key in due.drain(..) {
            self.timer_fired(key, now);
        }
        self.due = due;
    }

    /// Tells what was dropped since the last time.
    fn report_drops(&mut self) {
        for reason in DropReason::ALL {
            let packets = self.io.drops.of(reason) - self.told_drops.of(reason);
            if packets > 0 {
                self.publish(NodeEvent::Dropped { reason, packets });
            }
        }
        self.told_drops = self.io.drops.clone();
        let now = self.io.edges.now().monotonic;
        if let Some(summary) = self.strangers.summary(now) {
            self.publish(summary);
        }
    }

    /// True when nothing is left that a client should still get.
    fn is_done(&self) -> bool {
        self.farewells.is_empty()
            && self.connections.all_quiet()
            && self.io.edges.congestion() == Congestion::Idle
            && self.unreported.is_empty()
    }

    /// Tells the node thread something that it must hear.
    fn report(&mut self, report: Report) {
        self.unreported.push_back(report);
        self.flush_reports();
    }

    /// Publishes an event, behind what the node thread has not heard yet. When it is that far
    /// behind that the event is lost, this is told as soon as it can be.
    fn publish(&mut self, event: NodeEvent) {
        if self.unreported.len() >= REPORTS_BEFORE_LOSS {
            self.lost_events += 1;
            return;
        }
        if self.lost_events > 0 {
            let text = format!(
                "{} events lost: the node thread was too busy",
                self.lost_events
            );
            self.lost_events = 0;
            let text = text.into();
            self.unreported
                .push_back(Report::Event(NodeEvent::Warned { text }));
        }
        self.report(Report::Event(event));
    }

    /// Tells the registry what is due, as far as the node thread has room: what has none stays due.
    fn notify_registry(&mut self) {
        self.flush_reports();
        let now = self.io.edges.now().monotonic;
        while self.unreported.is_empty()
            && let Some(notice) = self.registration.poll_notice(now)
        {
            self.report(Report::Registry(Box::new(notice)));
        }
    }

    fn flush_reports(&mut self) {
        while let Some(report) = self.unreported.pop_front() {
            if let Err(report) = self.io.edges.report(report) {
                return self.unreported.push_front(report);
            }
        }
    }
}

/// The batches of both directions, which make use of these offloads.
fn batches(offloads: Offloads, network: &Network) -> (InboundBatch, OutboundBatch) {
    let merging = Merging {
        tcp: offloads.tun_merge,
        // A kernel that cuts UDP for us takes it in one as well.
        udp: offloads.tun_merge && offloads.tun_uso,
    };
    let mut inbound = InboundBatch::new(BATCH_PACKETS, merging);
    if network.fragment.is_some() {
        inbound = inbound.joining(usize::from(network.mtu) + FRAME_MAX);
    }
    let mut outbound = OutboundBatch::new(BATCH_PACKETS);
    inbound.copy_classes(network.copies_classes);
    outbound.copy_classes(network.copies_classes);
    match offloads.udp_gso {
        true => (inbound, outbound),
        false => (inbound.sending_one_by_one(), outbound.sending_one_by_one()),
    }
}

/// More than any frame around an inner packet has.
const FRAME_MAX: usize = 16;

/// How soon a send that the kernel did not take, or a report that had no room, is tried again.
const RETRY: Duration = Duration::from_millis(1);
