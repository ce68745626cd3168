//! One core: a ring, and the clients whose sockets are on it.
//!
//! A turn waits in the ring, takes what came in, does what is due, and never waits anywhere else.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loadgen::arrivals::Arrivals;
use loadgen::lan::caller::Caller;
use loadgen::limits::PACKET_MAX;
use loadgen::pace::Share;
use loadgen::result::{FarSide, OwnCore, Tally, Traffic};
use ringway::limits::BATCH_PACKETS;
use ringway::node::shard::wheel::Wheel;
use ringway::packet::{
    Directory, DropCounters, InboundBatch, Merging, OutboundBatch, PeerIndex, PeerTable, Received,
    Surroundings,
};
use ringway::random::SystemRandom;
use ringway::reactor::RingError;
use ringway::session::Steering;
use ringway::time::{Monotonic, Now};
use slab::Slab;

use super::client::Client;
use super::link::{Link, LinkEvent};
use super::own_time::OwnTime;
use super::progress::{Place, Seen};
use super::sockets::Sockets;
use super::work::{Work, own_part};
use super::{Run, Stage};

/// A core's clients, and everything that they share.
pub(super) struct Core {
    pub(super) run: Arc<Run>,
    pub(super) share: Share,
    pub(super) link: Link,
    pub(super) peers: PeerTable,
    pub(super) inbound: InboundBatch,
    pub(super) outbound: OutboundBatch,
    pub(super) drops: DropCounters,
    pub(super) surroundings: Surroundings,
    pub(super) random: SystemRandom,
    pub(super) clients: Slab<Client>,
    /// Who they are by their sockets, and by what the data path knows.
    pub(super) sockets: Sockets,
    pub(super) by_peer: HashMap<PeerIndex, usize>,
    pub(super) by_address: HashMap<IpAddr, usize>,
    /// Those that carry data, in the order in which it is their turn.
    pub(super) carriers: Vec<usize>,
    pub(super) turn_of: usize,
    /// All that have a place at the server: those that are held, then those that come and leave.
    pub(super) users: Vec<User>,
    pub(super) held_max: usize,
    /// Users below this number are held at present.
    pub(super) held: usize,
    /// Those to be dialed, and when, if that moment is one that a plan names.
    pub(super) wanting: VecDeque<(usize, Option<Monotonic>)>,
    pub(super) returning: VecDeque<(Monotonic, usize)>,
    pub(super) visitors: VecDeque<usize>,
    pub(super) connecting: usize,
    pub(super) established: u64,
    pub(super) wheel: Wheel<usize>,
    pub(super) control: VecDeque<(usize, Vec<u8>)>,
    pub(super) tally: Tally,
    pub(super) scratch: Vec<u8>,
    /// The inner packet that is put together.
    pub(super) packet: Vec<u8>,
    pub(super) stage: Stage,
    /// The phase in which this core has nothing left to do.
    pub(super) done_with: Option<usize>,
    pub(super) work: Work,
    /// Clients that are about to leave.
    pub(super) farewells: Vec<usize>,
    /// Users with an order that has no answer yet, and when the first of them asks again.
    pub(super) calling: Vec<usize>,
    pub(super) next_call: Option<Monotonic>,
    /// When the LAN host is told of a rate that has changed.
    pub(super) reorder: Option<Monotonic>,
    pub(super) far: FarSide,
    /// Inner packets that were sealed since they were last counted.
    pub(super) sent: Traffic,
    events: Vec<LinkEvent>,
    due: Vec<usize>,
    own_time: OwnTime,
}

/// A number at the server, and what became of its packets in all its sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    /// Its session, if it has one.
    pub(super) client: Option<usize>,
    /// Since when it should be connected.
    pub(super) since: Option<Monotonic>,
    /// Packets sent, and requests.
    pub(super) up: u64,
    pub(super) requests: u64,
    /// Packets of the LAN host's own, and replies.
    pub(super) down: Arrivals,
    pub(super) replies: Arrivals,
    /// Since when its first packet is awaited.
    pub(super) first_packet: Option<Monotonic>,
    /// Its talk with the LAN host, and what that says it has sent.
    pub(super) caller: Option<Box<Caller>>,
    pub(super) down_sent: Option<u64>,
}

/// What a core leaves behind.
pub(super) struct CoreEnd {
    pub(super) tally: Tally,
    pub(super) own: OwnCore,
    pub(super) far: FarSide,
}

impl Core {
    /// A core without clients, for the thread that calls.
    ///
    /// # Errors
    /// io_uring is forbidden, lacks something, or is too small.
    pub(super) fn new(run: Arc<Run>, share: Share, core: usize) -> Result<Self, RingError> {
        let held_max = own_part(run.settings.plan.sessions_max(), share);
        let held_max = if run.holds() { held_max } else { 0 };
        let users = held_max + own_part(run.settings.visitors, share);
        let now = Now::read().monotonic;
        let mut random = SystemRandom;
        let seed = run.settings.seed ^ (u64::from(share.index) + 1).wrapping_mul(SEEDS);
        let places = users.div_ceil(run.settings.sharing as usize) + SOCKETS_SPARE;
        let link = Link::new(places, run.settings.faults, seed)?;
        let merging = Merging {
            tcp: false,
            udp: false,
        };
        let outbound = OutboundBatch::new(BATCH_PACKETS);
        let outbound = match link.is_faulty() {
            true => outbound.sending_one_by_one(),
            false => outbound,
        };
        let work = run.work(0, share);
        Ok(Self {
            peers: PeerTable::new(0, 1, users as u32, &mut random),
            inbound: InboundBatch::new(BATCH_PACKETS, merging),
            outbound,
            drops: DropCounters::new(),
            surroundings: Surroundings {
                own: 0,
                steering: Steering::new(1, &mut random),
                directory: Directory::new(0, &mut random),
                client_to_client: false,
                refuses_ipv6: None,
            },
            random,
            clients: Slab::with_capacity(users),
            sockets: Sockets::new(places, run.settings.sharing as usize),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            carriers: Vec::new(),
            turn_of: 0,
            users: vec![User::default(); users],
            held_max,
            held: 0,
            wanting: VecDeque::new(),
            returning: VecDeque::new(),
            visitors: (held_max..users).collect(),
            connecting: 0,
            established: 0,
            wheel: Wheel::new(now),
            control: VecDeque::new(),
            tally: Tally::new(run.settings.plan.duration()),
            scratch: Vec::new(),
            packet: vec![0; usize::from(PACKET_MAX)],
            stage: Stage::Filling(0),
            done_with: None,
            work,
            farewells: Vec::new(),
            calling: Vec::new(),
            next_call: None,
            reorder: None,
            far: FarSide::default(),
            sent: Traffic::default(),
            events: Vec::new(),
            due: Vec::new(),
            own_time: OwnTime::new(core, now),
            link,
            share,
            run,
        })
    }

    /// Turns until the plan is done, or somebody stops it.
    ///
    /// # Errors
    /// The ring is unusable. What was counted is there all the same.
    pub(super) fn work(mut self) -> (CoreEnd, Result<(), RingError>) {
        let mut result = Ok(());
        while self.stage != Stage::Over {
            if let Err(error) = self.turn() {
                self.run.settings.stop.store(true, Ordering::Relaxed);
                result = Err(error);
                break;
            }
        }
        self.far.silent += self.calling.len() as u64;
        for user in &self.users {
            self.tally.down_delivery += user.down.delivery(user.down_sent);
            self.tally.echoes += user.replies.delivery(Some(user.requests));
        }
        for (reason, packets) in self.drops.iter().filter(|(_, packets)| *packets > 0) {
            *self.tally.drops.entry(reason.name().into()).or_default() += packets;
        }
        if self.link.unsent > 0 {
            self.tally.drops.insert(UNSENT.into(), self.link.unsent);
        }
        let end = CoreEnd {
            tally: self.tally,
            far: self.far,
            own: self.own_time.finish(Now::read().monotonic),
        };
        (end, result)
    }

    fn turn(&mut self) -> Result<(), RingError> {
        let now = Now::read();
        let patience = self.patience(now.monotonic);
        let mut events = std::mem::take(&mut self.events);
        self.link.turn(patience, &mut events)?;
        let now = Now::read();
        for event in events.drain(..) {
            self.take_event(event, now);
        }
        self.events = events;
        self.serve_inbound(now);
        self.serve_control(now);
        self.serve_timers(now);
        self.act(Now::read());
        self.flush(Now::read().monotonic);
        if self.own_time.look(now.monotonic) {
            self.tally.holds(self.at(now.monotonic), self.established);
            self.run.progress.publish(self.share.index, self.seen());
        }
        Ok(())
    }

    fn take_event(&mut self, event: LinkEvent, now: Now) {
        match event {
            LinkEvent::Received(received) => self.take_received(received, now),
            LinkEvent::Refused(socket) => self.refused(socket, now),
            LinkEvent::RunRefused(socket) => {
                for key in self.sockets.clients_on(socket).to_vec() {
                    if let Some(peer) = self.peer_of(key) {
                        peer.refuse_runs(now.monotonic);
                    }
                }
            }
            LinkEvent::Lost(socket, error) => {
                for key in self.sockets.clients_on(socket).to_vec() {
                    self.give_up(key, &format!("socket lost: {error}"), now);
                }
            }
        }
    }

    fn take_received(&mut self, received: Received, now: Now) {
        if self.inbound.received.is_full() {
            self.serve_inbound(now);
        }
        if let Err(received) = self.inbound.received.push(received) {
            self.link.give_back(received.spent());
        }
    }

    fn serve_timers(&mut self, now: Now) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.monotonic, &mut due);
        for key in due.drain(..) {
            self.timer_fired(key, now);
        }
        self.due = due;
    }

    /// How long there is nothing to do unless something comes in.
    fn patience(&self, now: Monotonic) -> Duration {
        if !self.control.is_empty() || self.has_more_to_do() {
            return Duration::ZERO;
        }
        let next = [self.wheel.next(), self.next_act()];
        let next = next.into_iter().flatten().min();
        next.map_or(TURN_MAX, |next| next.since(now)).min(TURN_MAX)
    }

    fn seen(&self) -> Seen {
        let series = &self.tally.series;
        let latest = series.iter().rev().take(2);
        Seen {
            sessions: self.established,
            handshakes: self.tally.handshakes,
            failures: self.tally.failures_total(),
            up: self.tally.up,
            down: self.tally.down,
            place: match self.stage {
                Stage::Filling(phase) | Stage::Waiting(phase) => Place::Before(phase),
                Stage::Running(phase, _) => Place::In(phase),
                Stage::Settling(_) | Stage::Asking(_) | Stage::Leaving(_) | Stage::Over => {
                    Place::Behind
                }
            },
            round_trips: series.iter().map(|it| it.round_trips).sum(),
            round_trip_sum_ns: series.iter().map(|it| it.round_trip_sum_ns).sum(),
            round_trip_max_ns: latest.map(|it| it.round_trip_max_ns).max().unwrap_or(0),
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn at(&self, now: Monotonic) -> u64 {
        now.as_nanos().saturating_sub(self.run.begin.as_nanos())
    }

    /// The number of a user's session, as all generators count them.
    pub(super) fn number(&self, user: usize) -> u32 {
        let (of, index) = (self.share.of, self.share.index);
        self.run.settings.first + user as u32 * of + index
    }
}

/// What is dropped because the kernel took it not: its buffers were full.
const UNSENT: &str = "not sent: the kernel had no room";
/// The longest that a core sleeps: so soon it sees that it is to stop.
const TURN_MAX: Duration = Duration::from_millis(50);
/// Sockets that are on their way out while others take their places.
const SOCKETS_SPARE: usize = 128;
const SEEDS: u64 = 0x9e37_79b9_7f4a_7c15;
