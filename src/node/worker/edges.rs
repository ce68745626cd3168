//! The edges of a shard in a running node: a ring with sockets and a tun queue, and the report queue
//! of the node thread.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};

use super::exchange::Exchange;
use super::lanes::Lanes;
use super::losses::Losses;
use super::sends::Sends;
use super::streams::{Accepted, OpeningRules, StreamRules, Streams, Whose};
use crate::limits::{FIRST_STREAM, POOL_BUFFERS, RECEIVE_BUFFERS, STREAM_BUFFERS, TUN_BUFFERS};
use crate::node::counters::Counters;
use crate::node::message::Report;
use crate::node::porter::PorterDoor;
use crate::node::shard::{Congestion, Done, Dropped, Edges, Outgoing};
use crate::packet::{
    Buffer, DropReason, FullStreams, Gathered, Parcel, Path, Piece, Pool, Received,
};
use crate::reactor::{
    Completion, Lending, Reactor, ReactorConfig, Refused, RingError, SocketId, TcpListener,
    TcpStream, Tun, TunId, UdpSocket, Waker,
};
use crate::time::{Monotonic, Now};
use crate::wire::BadLength;

/// A shard's side of the kernel.
pub(super) struct RingEdges {
    reactor: Reactor,
    sends: Sends,
    streams: Streams,
    losses: Losses,
    receive: Lending,
    tun_read: Lending,
    tun: TunId,
    exchange: Exchange,
    reports: Sender<Report>,
    /// What the kernel is done with, until the shard takes it.
    done: VecDeque<Done>,
    /// What the kernel did while the shard was at work, until the next turn.
    completed: Vec<Completion>,
    /// Keeps its memory.
    spare: Vec<Completion>,
}

impl RingEdges {
    /// A ring with the sockets of these listeners and this tun queue, and the pool of all buffers that
    /// are not lent to it.
    ///
    /// # Errors
    /// io_uring is forbidden or lacks something.
    pub(super) fn new(
        config: ReactorConfig,
        listeners: Vec<ListenerSockets>,
        streams: StreamListeners,
        tun: Tun,
        waker: Waker,
        exchange: Exchange,
        reports: Sender<Report>,
    ) -> Result<(Self, Pool), RingError> {
        let mut reactor = Reactor::new(config, waker)?;
        let spare = match config.streams {
            0 => 0,
            _ => STREAM_BUFFERS,
        };
        let mut pool = Pool::new((POOL_BUFFERS + RECEIVE_BUFFERS + TUN_BUFFERS + spare) as u32);
        let waiting = some(&mut pool, spare);
        let receive = Lending::new(some(&mut pool, RECEIVE_BUFFERS));
        let tun_read = Lending::new(some(&mut pool, TUN_BUFFERS));
        let lanes = add_sockets(&mut reactor, listeners)?;
        let mut openings = Vec::new();
        for (listener, rules) in streams.listeners {
            openings.push((reactor.add_listener(listener)?, rules));
        }
        let tun = reactor.add_tun(tun)?;
        let mut edges = Self {
            reactor,
            sends: Sends::new(lanes),
            streams: Streams::new(streams.rules, openings, streams.porter, waiting),
            losses: Losses::new(),
            receive,
            tun_read,
            tun,
            exchange,
            reports,
            done: VecDeque::with_capacity(POOL_BUFFERS),
            completed: Vec::new(),
            spare: Vec::new(),
        };
        edges.lend();
        Ok((edges, pool))
    }

    /// Lends the kernel the buffers that it should have.
    fn lend(&mut self) {
        let Self {
            reactor,
            receive,
            tun_read,
            ..
        } = self;
        while let Some(buffer) = receive.take(reactor.lent().0) {
            if let Err(buffer) = reactor.return_receive_buffer(buffer) {
                receive.give(buffer);
                break;
            }
        }
        while let Some(buffer) = tun_read.take(reactor.lent().1) {
            if let Err(buffer) = reactor.return_tun_buffer(buffer) {
                tun_read.give(buffer);
                break;
            }
        }
    }

    /// Waits for the kernel, at most so long, and collects what it has done.
    ///
    /// # Errors
    /// The ring is unusable.
    pub(super) fn turn(
        &mut self,
        patience: Duration,
        completions: &mut Vec<Completion>,
    ) -> Result<(), RingError> {
        self.sends.begin_turn();
        self.lend();
        self.exchange.wake();
        let goes_on = self.exchange.has_parcels()
            || self.sends.can_go_on()
            || self.streams.can_go_on()
            || !self.completed.is_empty();
        let patience = match (goes_on, self.streams.next_timeout()) {
            (true, _) => Duration::ZERO,
            (false, None) => patience,
            (false, Some(at)) => patience.min(at.since(Now::read().monotonic)),
        };
        completions.append(&mut self.completed);
        let turned = self.reactor.turn(Some(patience), completions);
        self.settle_streams(completions);
        turned
    }

    /// Settles the sends of streams before anything else is looked at, which could lead to the next one:
    /// what was not sent whole comes before that.
    fn settle_streams(&mut self, completions: &mut Vec<Completion>) {
        if self.streams.len() == 0 {
            return;
        }
        let is_theirs = |completion: &mut Completion| matches!(completion, Completion::Sent(sent) if Streams::is_theirs(sent));
        for completion in completions.extract_if(.., is_theirs) {
            if let Completion::Sent(sent) = completion {
                self.streams
                    .complete(&mut self.reactor, sent, &mut self.done);
            }
        }
    }

    /// Takes a connection that was accepted, if it may come and there is a place for it.
    pub(super) fn accept_stream(&mut self, listener: SocketId, stream: TcpStream) -> Accepted {
        self.streams.accept(&mut self.reactor, listener, stream)
    }

    /// Looks at what a stream has brought, as long as it is not known whose it is.
    pub(super) fn look_at_stream(
        &mut self,
        stream: SocketId,
        buffer: Buffer,
        range: std::ops::Range<usize>,
    ) -> (Option<Path>, Whose) {
        let opened = self.streams.look(&mut self.reactor, stream, buffer, range);
        if let Some(free) = opened.free {
            self.receive.give(free);
        }
        (opened.named, opened.whose)
    }

    /// Whether nobody was ever at the other end of a stream.
    pub(super) fn is_connecting(&mut self, stream: SocketId) -> bool {
        self.streams.is_connecting(stream)
    }

    /// A listener accepts nobody for a while.
    pub(super) fn rest(&mut self, listener: SocketId) {
        self.streams.rest(listener, Now::read().monotonic);
    }

    /// A stream brings nothing more.
    pub(super) fn stream_has_ended(&mut self, stream: SocketId) {
        self.streams.has_ended(stream);
    }

    /// The path of a stream.
    pub(super) fn path_of(&mut self, stream: SocketId) -> Option<Path> {
        self.streams.path_of(stream)
    }

    /// Gives the packets that a stream has brought to `out`.
    ///
    /// # Errors
    /// A length that no packet has: nothing more can be read from this stream.
    pub(super) fn take_stream_bytes(
        &mut self,
        stream: SocketId,
        buffer: Buffer,
        range: std::ops::Range<usize>,
        pool: &mut Pool,
        out: &mut Vec<Received>,
    ) -> Result<(), BadLength> {
        self.receive.note(range.len());
        let (free, packets, taken) = self.streams.receive(stream, buffer, range, pool, out);
        if let Some(buffer) = free {
            self.receive.give(buffer);
        }
        if packets > 0 {
            self.done.push_back(Done::Dropped(Dropped {
                buffer: None,
                reason: DropReason::PoolEmpty,
                packets,
            }));
        }
        taken
    }

    /// Lets the kernel begin what is queued in the middle of the shard's work, as when the queue is full.
    /// What was sent and written is done then; what came in is kept until the next turn.
    fn make_room(&mut self) {
        let mut completions = std::mem::take(&mut self.spare);
        // A ring that is unusable says so again in the next turn.
        let _again = self.reactor.turn(Some(Duration::ZERO), &mut completions);
        for completion in completions.drain(..) {
            if let Some(other) = self.settle(completion) {
                self.completed.push(other);
            }
        }
        self.spare = completions;
    }

    /// The number by which the data path knows the socket that a datagram came in by.
    pub(super) fn number_of(&self, socket: SocketId) -> u16 {
        self.sends.lanes().number_of(socket)
    }

    /// Notes what the kernel has done with what it was given; gives everything else back.
    pub(super) fn settle(&mut self, completion: Completion) -> Option<Completion> {
        match completion {
            Completion::Sent(sent) if Streams::is_theirs(&sent) => {
                self.streams
                    .complete(&mut self.reactor, sent, &mut self.done);
            }
            Completion::Sent(sent) => {
                let done = self.sends.complete(&mut self.reactor, sent);
                self.done.extend(done);
            }
            Completion::TunWritten {
                buffer,
                segments,
                result,
                ..
            } => self.tun_written(buffer, segments, result),
            Completion::Writable(socket) if Streams::is_stream(socket) => {
                if self.streams.has_room(&self.reactor, socket) {
                    return Some(completion);
                }
            }
            Completion::Writable(socket) => self.sends.has_room(socket),
            other => {
                self.note_length(&other);
                return Some(other);
            }
        }
        None
    }

    fn note_length(&mut self, completion: &Completion) {
        match completion {
            Completion::Datagram(datagram) => self.receive.note(datagram.range.len()),
            Completion::TunPacket { range, .. } => self.tun_read.note(range.len()),
            _ => {}
        }
    }

    /// What was lost on the way to the shard, once in a while.
    pub(super) fn losses(&mut self, now: Monotonic) -> Option<[(DropReason, u64); 3]> {
        let sockets = self.sends.lanes().sockets();
        self.losses.look(now, &self.reactor, sockets)
    }

    /// A packet that another shard has handed over.
    pub(super) fn take_parcel(&mut self) -> Option<Parcel> {
        self.exchange.take()
    }

    /// A write to the tun device that the kernel is done with.
    fn tun_written(
        &mut self,
        buffer: Option<Buffer>,
        segments: u32,
        result: std::io::Result<usize>,
    ) {
        self.done.extend(match (result, buffer) {
            (Ok(_), buffer) => buffer.map(Done::Free),
            (Err(error), buffer) => Some(Done::Dropped(Dropped {
                buffer,
                reason: match error.kind() {
                    std::io::ErrorKind::WouldBlock => DropReason::TunFull,
                    _ => DropReason::TunError,
                },
                packets: segments.into(),
            })),
        });
    }

    /// Tries the sends again that the kernel had no room for.
    pub(super) fn send_waiting(&mut self) {
        let done = &mut self.done;
        self.sends
            .send_waiting(&mut self.reactor, |it| done.push_back(it));
        self.streams.go_on(&mut self.reactor, Now::read().monotonic);
    }
}

impl Edges for RingEdges {
    fn now(&mut self) -> Now {
        Now::read()
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Dropped> {
        if self.reactor.room().0 == 0 {
            self.make_room();
        }
        if outgoing.path.is_stream() {
            return self
                .streams
                .send(&mut self.reactor, outgoing, &mut self.done);
        }
        self.sends.send(&mut self.reactor, outgoing)
    }

    fn congestion(&self) -> Congestion {
        self.sends.congestion()
    }

    fn write_tun(
        &mut self,
        buffer: Buffer,
        packets: &[Gathered],
        pieces: &[Piece],
    ) -> Result<(), Dropped> {
        if self.reactor.room().1 < packets.len() {
            self.make_room();
        }
        let written = self.reactor.write_tun(self.tun, buffer, packets, pieces);
        let refused = packets.get(written.begun..).unwrap_or_default();
        if refused.is_empty() {
            return Ok(());
        }
        let reason = match written.refused {
            Some(Refused::QueueFull(_)) => DropReason::TunFull,
            _ => DropReason::TunError,
        };
        Err(Dropped {
            buffer: written.buffer,
            reason,
            packets: refused.iter().map(|it| u64::from(it.segments)).sum(),
        })
    }

    fn return_receive_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.receive.give(buffer);
        Ok(())
    }

    fn return_tun_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.tun_read.give(buffer);
        Ok(())
    }

    fn begin(&mut self) {
        if self.reactor.has_work() {
            self.make_room();
        }
    }

    fn reclaim(&mut self) -> Option<Done> {
        let done = self.done.pop_front();
        let done = done.or_else(|| self.sends.take_refused().map(Done::RunRefused));
        done.or_else(|| self.exchange.reclaim().map(Done::Free))
    }

    fn hand_off(&mut self, to: u16, parcel: Parcel) -> Result<(), Parcel> {
        self.exchange.hand_off(to, parcel)
    }

    fn give_back(&mut self, from: u16, buffer: Buffer) {
        self.exchange.give_back(from, buffer);
    }

    fn open_socket(&mut self, socket: UdpSocket) -> Result<u16, RingError> {
        let socket = self.reactor.add_socket(socket)?;
        Ok(self.sends.open(socket))
    }

    fn open_stream(&mut self, stream: TcpStream, remote: SocketAddr) -> Result<Path, RingError> {
        self.streams.open(&mut self.reactor, stream, remote)
    }

    fn close_socket(&mut self, socket: u16) {
        if socket >= FIRST_STREAM {
            let now = Now::read().monotonic;
            return self.streams.close(&mut self.reactor, socket, now);
        }
        if let Some(id) = self.sends.lanes().first(socket) {
            // One that is gone already is closed.
            let _closed = self.reactor.remove_socket(id);
            let done = &mut self.done;
            self.sends.closed(id, |it| done.push_back(it));
            self.losses.forget(id.index());
        }
    }

    fn full_streams(&mut self) -> Option<&FullStreams> {
        self.streams.full()
    }

    fn counters(&self, counters: Counters) -> Counters {
        let ring = self.reactor.counters();
        let mailboxes = [
            ("parcels_waiting", self.exchange.waiting() as u64),
            ("buffers_away", self.exchange.away() as u64),
        ];
        let counters = counters.with("mailboxes", mailboxes);
        let waiting = [
            ("sends_waiting", self.sends.waiting() as u64),
            ("slow_receivers", self.sends.lanes().tenants() as u64),
            ("streams", self.streams.len() as u64),
            ("stream_packets_waiting", self.streams.waiting() as u64),
            ("streams_passed_on", self.streams.passed_on() as u64),
        ];
        counters.with("queues", waiting).with(
            "ring",
            [
                ("receives", ring.receives),
                ("datagrams_received", ring.datagrams_received),
                ("sends", ring.sends),
                ("datagrams_sent", ring.datagrams_sent),
                ("connections_accepted", ring.accepted),
                ("stream_receives", ring.stream_receives),
                ("tun_reads", ring.tun_reads),
                ("tun_packets_read", ring.tun_packets_read),
                ("tun_writes", ring.tun_writes),
                ("tun_packets_written", ring.tun_packets_written),
                ("receive_errors", ring.receive_errors),
                ("receive_starved", ring.receive_starved),
                ("tun_read_errors", ring.tun_read_errors),
                ("tun_starved", ring.tun_starved),
                ("malformed_tun_packets", ring.malformed_tun_packets),
                ("armed", ring.armed),
                ("stale_completions", ring.stale_completions),
            ],
        )
    }

    fn report(&mut self, report: Report) -> Result<(), Report> {
        match self.reports.try_send(report) {
            // Nobody is left to tell when the node thread is gone.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(report)) => Err(report),
        }
    }
}

/// The sockets of one listener in one shard.
pub(in crate::node) struct ListenerSockets {
    /// The one that the steering leads to.
    pub(in crate::node) main: UdpSocket,
    /// More of them for the same address, by which datagrams leave when that one is full.
    pub(in crate::node) lanes: Vec<UdpSocket>,
}

/// The TCP listeners of one shard.
pub(in crate::node) struct StreamListeners {
    pub(in crate::node) listeners: Vec<(TcpListener, OpeningRules)>,
    pub(in crate::node) rules: StreamRules,
    pub(in crate::node) porter: Option<PorterDoor>,
}

/// Adds all sockets to the ring, first those that the data path knows.
fn add_sockets(reactor: &mut Reactor, listeners: Vec<ListenerSockets>) -> Result<Lanes, RingError> {
    let mut known = Vec::new();
    for ListenerSockets { main, lanes } in listeners {
        known.push((reactor.add_socket(main)?, lanes));
    }
    let mut all = Lanes::new();
    for (main, lanes) in known {
        let lanes = lanes.into_iter().map(|lane| reactor.add_socket(lane));
        let lanes: Result<Vec<_>, _> = std::iter::once(Ok(main)).chain(lanes).collect();
        all.add(lanes?);
    }
    Ok(all)
}

/// So many buffers of the pool.
fn some(pool: &mut Pool, count: usize) -> Vec<Buffer> {
    std::iter::from_fn(|| pool.take()).take(count).collect()
}
