//! A shard: one core's reactor, sessions, peers and buffers, and the loop that turns them.
//!
//! A turn collects what the kernel has done, then serves data packets, then control packets for a
//! bounded time, then timers and what the node thread says. Nothing in it waits but the ring.

mod clients;
mod connections;
mod control;
mod data;
mod edges;
mod half_open;
mod narrate;
mod sends;
mod statuses;
mod wheel;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};

use self::connections::{Connections, Key};
use self::control::Backlog;
use self::edges::Edges;
use self::wheel::Wheel;
use super::event::NodeEvent;
use super::leases::Addresses;
use super::message::{Instruction, Report};
use super::strangers::StrangerAllowance;
use crate::limits::{
    BATCH_PACKETS, DROP_REPORT_INTERVAL, IDLE_TURN, REPORTS_BEFORE_LOSS, STOP_GRACE,
};
use crate::packet::{
    DropCounters, DropReason, InboundBatch, Mssfix, OutboundBatch, PeerEvent, PeerTable,
};
use crate::random::SystemRandom;
use crate::reactor::{Completion, Receiver, RingError, Tun, UdpSocket, Waker};
use crate::session::{Farewell, Grant, OpenVpn2, V4Grant, V6Grant};
use crate::time::{Monotonic, Now};
use crate::wire::PeerId;

/// What a shard is made of; sent to its thread, where it becomes a [`Shard`].
pub(super) struct Parts {
    /// The shard's number.
    pub(super) number: u16,
    /// How many shards there are.
    pub(super) shards: u16,
    /// One socket a listener, in the order of the listeners.
    pub(super) sockets: Vec<UdpSocket>,
    /// The shard's queue of the tun device.
    pub(super) tun: Tun,
    /// Wakes the shard.
    pub(super) waker: Waker,
    /// What the node thread says.
    pub(super) instructions: Receiver<Instruction>,
    /// What the node thread is told.
    pub(super) reports: Sender<Report>,
    /// First contact, with the rules of all sessions.
    pub(super) protocol: OpenVpn2,
    /// What clients are told of the network, beside their own address.
    pub(super) network: Network,
}

/// What all clients of a node have in common.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// The IPv4 network's mask.
    pub(super) v4_netmask: Option<Ipv4Addr>,
    /// The IPv6 network's prefix length, and the server's address in it.
    pub(super) v6: Option<(u8, Ipv6Addr)>,
    /// The tunnel's MTU.
    pub(super) mtu: u16,
    /// The clamp on TCP segments.
    pub(super) mssfix: Mssfix,
    /// At most so many clients at once.
    pub(super) max_clients: u32,
    /// How clients are told that the server stops.
    pub(super) farewell: Farewell,
}

impl Network {
    /// What a client is told of its place in the network.
    fn grant(&self, peer_id: PeerId, addresses: Addresses) -> Grant {
        let v4 = addresses.v4.zip(self.v4_netmask);
        let v6 = addresses.v6.zip(self.v6);
        Grant {
            peer_id,
            v4: v4.map(|(address, netmask)| V4Grant { address, netmask }),
            v6: v6.map(|(address, (prefix, server))| V6Grant {
                address,
                prefix,
                server,
            }),
        }
    }
}

/// One core's share of a node.
pub(super) struct Shard {
    number: u16,
    edges: Edges,
    protocol: OpenVpn2,
    network: Network,
    connections: Connections,
    peers: PeerTable,
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
    random: SystemRandom,
    instructions: Receiver<Instruction>,
    reports: Sender<Report>,
    /// What the node thread has no room for yet: what it must hear, at most a few a session, and
    /// events up to a bound.
    unreported: VecDeque<Report>,
    lost_events: u64,
    completions: Vec<Completion>,
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

impl Shard {
    /// Builds the shard on its own thread.
    ///
    /// # Errors
    /// io_uring is forbidden or lacks something.
    pub(super) fn new(parts: Parts) -> Result<Self, RingError> {
        let now = Now::read().monotonic;
        let mut random = SystemRandom;
        let edges = Edges::new(parts.sockets, parts.tun, parts.waker)?;
        let (number, shards) = (u32::from(parts.number), u32::from(parts.shards));
        let peers = PeerTable::new(number, shards, parts.network.max_clients, &mut random);
        Ok(Self {
            number: parts.number,
            edges,
            protocol: parts.protocol,
            connections: Connections::new(),
            peers,
            network: parts.network,
            inbound: InboundBatch::new(BATCH_PACKETS),
            outbound: OutboundBatch::new(BATCH_PACKETS),
            told_drops: DropCounters::new(),
            next_drop_report: now + DROP_REPORT_INTERVAL,
            backlog: Backlog::new(),
            wheel: Wheel::new(now),
            strangers: StrangerAllowance::new(now),
            newcomers: StrangerAllowance::new(now),
            random,
            instructions: parts.instructions,
            reports: parts.reports,
            unreported: VecDeque::new(),
            lost_events: 0,
            completions: Vec::new(),
            peer_events: Vec::new(),
            due: Vec::new(),
            scratch: Vec::new(),
            farewells: Vec::new(),
            state: State::Serving,
        })
    }

    /// Turns until the node thread says stop and the clients know it.
    ///
    /// # Errors
    /// The ring is unusable, or the tun device or a socket is gone.
    pub(super) fn run(&mut self) -> Result<(), ShardError> {
        loop {
            let now = Now::read();
            if let State::Stopping(until) = self.state
                && (now.monotonic >= until || self.is_done())
            {
                self.report_drops();
                self.flush_reports();
                return Ok(());
            }
            self.turn(now)?;
        }
    }

    fn turn(&mut self, now: Now) -> Result<(), ShardError> {
        let timeout = self.timeout(now.monotonic);
        let mut completions = std::mem::take(&mut self.completions);
        let turned = self.edges.reactor.turn(Some(timeout), &mut completions);
        let now = Now::read();
        self.edges.sends.begin_turn();
        for completion in completions.drain(..) {
            self.complete(completion, now)?;
        }
        self.completions = completions;
        turned?;
        self.serve_data(now);
        self.serve_control();
        self.serve_timers();
        self.follow_instructions();
        self.edges.send_waiting();
        self.say_goodbye();
        if now.monotonic >= self.next_drop_report {
            self.next_drop_report = now.monotonic + DROP_REPORT_INTERVAL;
            self.report_drops();
        }
        self.flush_reports();
        Ok(())
    }

    /// How long the ring may wait: not at all while work is left over.
    fn timeout(&self, now: Monotonic) -> Duration {
        let idle = self.backlog.is_empty() && self.farewells.is_empty();
        if !idle || !self.instructions.is_empty() {
            return Duration::ZERO;
        }
        if self.edges.sends.is_waiting() || !self.unreported.is_empty() {
            return RETRY;
        }
        let timer = self.wheel.next().map_or(IDLE_TURN, |at| at.since(now));
        let stop = match self.state {
            State::Serving => IDLE_TURN,
            State::Stopping(until) => until.since(now),
        };
        timer.min(stop).min(IDLE_TURN)
    }

    fn serve_timers(&mut self) {
        let now = Now::read();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.monotonic, &mut due);
        for key in due.drain(..) {
            self.timer_fired(key, now);
        }
        self.due = due;
    }

    fn follow_instructions(&mut self) {
        while let Some(instruction) = self.instructions.take() {
            let now = Now::read();
            match instruction {
                Instruction::Grant {
                    session,
                    client_id,
                    addresses,
                } => {
                    self.admit(session, client_id, addresses, now);
                }
                Instruction::Refuse { session, refusal } => self.refuse(session, refusal, now),
                Instruction::Release { session } => self.release(session, now),
                Instruction::ReportClients => {
                    let clients = self.client_statuses(now);
                    self.report(Report::Clients { clients });
                }
                Instruction::Stop => {
                    self.farewells = self.connections.keys();
                    self.state = State::Stopping(now.monotonic + STOP_GRACE);
                }
            }
        }
    }

    /// Tells what was dropped since the last time.
    fn report_drops(&mut self) {
        for reason in DropReason::ALL {
            let packets = self.edges.drops.of(reason) - self.told_drops.of(reason);
            if packets > 0 {
                self.publish(NodeEvent::Dropped { reason, packets });
            }
        }
        self.told_drops = self.edges.drops.clone();
        if let Some(summary) = self.strangers.summary(Now::read().monotonic) {
            self.publish(summary);
        }
    }

    /// True when nothing is left that a client should still get.
    fn is_done(&self) -> bool {
        self.farewells.is_empty()
            && self.connections.all_quiet()
            && self.edges.sends.is_idle()
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

    fn flush_reports(&mut self) {
        while let Some(report) = self.unreported.pop_front() {
            match self.reports.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => {
                    self.unreported.push_front(report);
                    return;
                }
                // The node thread is gone; nobody is left to tell.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }
}

/// Why a shard ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShardError {
    /// The ring is unusable.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The tun device was removed.
    #[error("the tun device is gone: {0}")]
    TunLost(std::io::Error),
    /// A socket receives no more.
    #[error("a listening socket is gone: {0}")]
    SocketLost(std::io::Error),
}

/// How soon a send that the kernel did not take, or a report that had no room, is tried again.
const RETRY: Duration = Duration::from_millis(1);
