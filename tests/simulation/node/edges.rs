//! The world as a shard sees it, without a kernel: lists of what it wants done.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ringway::node::counters::Counters;
use ringway::node::message::Report;
use ringway::node::shard::{Congestion, Done, Dropped, Edges, Outgoing};
use ringway::packet::{
    Buffer, DropReason, Gathered, Packet, Parcel, Path, PeerIndex, Piece, Pool, Split,
};
use ringway::random::{Random, SeededRandom};
use ringway::reactor::{RingError, TcpStream, UdpSocket};
use ringway::time::{Monotonic, Now};

use super::plan::{Plan, happens};

/// One shard's sockets, tun queue and report box.
pub(crate) struct SimulatedEdges {
    now: Monotonic,
    random: SeededRandom,
    sockets: Lent,
    tun: Lent,
    /// Sends and writes that the kernel works on.
    sending: VecDeque<Done>,
    writing: VecDeque<Done>,
    /// No more than so many sends, and so many writes.
    pub(crate) in_flight_max: usize,
    /// It has finished everything by the next turn.
    pub(crate) is_brisk: bool,
    done: VecDeque<Done>,
    /// What has left since the world looked last.
    pub(crate) sent: Vec<(Path, Vec<u8>)>,
    pub(crate) written: Vec<Vec<u8>>,
    /// Packets for other shards, and buffers of theirs on the way back.
    pub(crate) parcels: Vec<(u16, Parcel)>,
    pub(crate) spent: Vec<(u16, Buffer)>,
    pub(crate) hand_off_room: usize,
    /// Buffers of this shard that others have, by shard; and those that come back, with their time.
    away: Vec<usize>,
    returning: VecDeque<(Monotonic, u16, Buffer)>,
    /// What the node thread has not taken.
    pub(crate) reports: VecDeque<(Monotonic, Report)>,
    pub(crate) report_room: usize,
    /// The sockets of its own that it has opened and not closed.
    pub(crate) opened: Vec<Option<UdpSocket>>,
    /// The kernel refuses so many sends and writes.
    pub(crate) refusals: f64,
}

/// Buffers that wait in the kernel for packets.
struct Lent {
    buffers: Vec<Buffer>,
    room: usize,
}

impl SimulatedEdges {
    /// Takes what it can lend out of `pool`.
    pub(crate) fn new(now: Monotonic, seed: u64, plan: &Plan, pool: &mut Pool) -> Self {
        Self {
            now,
            random: SeededRandom::new(seed),
            sockets: Lent::new(plan.lent, pool),
            tun: Lent::new(plan.lent, pool),
            sending: VecDeque::new(),
            writing: VecDeque::new(),
            in_flight_max: plan.in_flight,
            is_brisk: false,
            done: VecDeque::new(),
            sent: Vec::new(),
            written: Vec::new(),
            reports: VecDeque::new(),
            parcels: Vec::new(),
            spent: Vec::new(),
            hand_off_room: plan.mail.room,
            away: vec![0; usize::from(plan.shards)],
            returning: VecDeque::new(),
            report_room: usize::MAX,
            opened: Vec::new(),
            refusals: plan.refusals,
        }
    }

    /// The kernel has finished some of what it had to do, and the time is now.
    pub(crate) fn begin_turn(&mut self, now: Monotonic) {
        self.now = now;
        for queue in [&mut self.sending, &mut self.writing] {
            // What comes back does so with all that was to follow it.
            let comes_back = queue.iter().any(|done| matches!(done, Done::RunRefused(_)));
            let finished = match self.is_brisk || comes_back {
                true => queue.len(),
                false => self.random.below(queue.len() as u64 + 2) as usize,
            };
            self.done.extend(queue.drain(..finished.min(queue.len())));
        }
        while let Some((_, by, buffer)) = self.returning.pop_front_if(|(at, ..)| *at <= now) {
            self.away[usize::from(by)] -= 1;
            self.done.push_back(Done::Free(buffer));
        }
    }

    /// A buffer comes back from another shard.
    pub(crate) fn bring_back(&mut self, at: Monotonic, by: u16, buffer: Buffer) {
        self.returning.push_back((at, by, buffer));
    }

    /// Buffers that other shards have, or that come back from there.
    pub(crate) fn away(&self) -> usize {
        self.away.iter().sum()
    }

    /// Those of them that come back.
    pub(crate) fn returning(&self) -> usize {
        self.returning.len()
    }

    /// When the shard is done with what it does.
    pub(crate) fn end_turn(&self) -> Monotonic {
        self.now
    }

    /// A buffer that holds a datagram, if there is one for it.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Option<Packet> {
        self.sockets.fill(bytes)
    }

    /// A buffer that holds an inner packet, if there is one for it.
    pub(crate) fn read_tun(&mut self, bytes: &[u8]) -> Option<Packet> {
        self.tun.fill(bytes)
    }

    /// All buffers that the shard does not have.
    pub(crate) fn buffers(&self) -> usize {
        let lent = self.sockets.buffers.len() + self.tun.buffers.len();
        lent + self.sending.len() + self.writing.len() + self.done.len() + self.away()
    }

    /// Whether a send to this peer is coming back.
    fn waits_for_the_shard(&self, peer: Option<PeerIndex>) -> bool {
        let mut pending = self.sending.iter();
        pending.any(|done| matches!(done, Done::RunRefused(run) if run.peer == peer))
    }

    /// Whether the kernel has still to finish something, which would wake the shard.
    pub(crate) fn is_busy(&self) -> bool {
        !self.sending.is_empty() || !self.writing.is_empty()
    }
}

impl Edges for SimulatedEdges {
    fn now(&mut self) -> Now {
        // Whoever looks has done something since the last time.
        self.now = self.now + Duration::from_micros(self.random.below(40));
        wall(self.now)
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Dropped> {
        let Outgoing { packet, path, .. } = &outgoing;
        let drop = |outgoing: Outgoing, reason| Dropped {
            packets: outgoing.packet.segments() as u64,
            buffer: Some(outgoing.packet.buffer),
            reason,
        };
        if self.sending.len() >= self.in_flight_max {
            return Err(drop(outgoing, DropReason::QueueFull));
        }
        let refused = happens(&mut self.random, self.refusals);
        let comes_back = refused && packet.segments() > 1 && happens(&mut self.random, 0.5);
        // What was to follow one that comes back does so, too: nothing overtakes it.
        if comes_back || self.waits_for_the_shard(outgoing.peer) {
            self.sending.push_back(Done::RunRefused(outgoing));
            return Ok(());
        }
        if refused {
            let dropped = drop(outgoing, DropReason::SendError);
            self.sending.push_back(Done::Dropped(dropped));
            return Ok(());
        }
        for piece in packet.pieces() {
            let datagram = packet.buffer.bytes()[piece.range()].to_vec();
            self.sent.push((*path, datagram));
        }
        self.sending.push_back(Done::Free(outgoing.packet.buffer));
        Ok(())
    }

    fn begin(&mut self) {
        // What was sent is on its way already; the world may have taken it meanwhile, or not.
    }

    fn congestion(&self) -> Congestion {
        match self.sending.len() {
            0 => Congestion::Idle,
            busy if busy < self.in_flight_max => Congestion::Flowing,
            _ => Congestion::Full,
        }
    }

    fn write_tun(
        &mut self,
        buffer: Buffer,
        packets: &[Gathered],
        pieces: &[Piece],
    ) -> Result<(), Dropped> {
        let drop = |buffer, reason, packets: &[Gathered]| Dropped {
            buffer: Some(buffer),
            reason,
            packets: packets.iter().map(|it| u64::from(it.segments)).sum(),
        };
        if self.writing.len() >= self.in_flight_max {
            return Err(drop(buffer, DropReason::TunFull, packets));
        }
        if happens(&mut self.random, self.refusals) {
            let dropped = drop(buffer, DropReason::TunFull, packets);
            self.writing.push_back(Done::Dropped(dropped));
            return Ok(());
        }
        for packet in packets {
            self.written.extend(split(packet, &buffer, pieces));
        }
        self.writing.push_back(Done::Free(buffer));
        Ok(())
    }

    fn return_receive_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.sockets.take_back(buffer)
    }

    fn return_tun_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.tun.take_back(buffer)
    }

    fn hand_off(&mut self, to: u16, parcel: Parcel) -> Result<(), Parcel> {
        let room = self.hand_off_room;
        match self.away.get_mut(usize::from(to)) {
            Some(away) if *away < room => *away += 1,
            _ => return Err(parcel),
        }
        self.parcels.push((to, parcel));
        Ok(())
    }

    fn give_back(&mut self, from: u16, buffer: Buffer) {
        self.spent.push((from, buffer));
    }

    fn reclaim(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    fn open_socket(&mut self, socket: UdpSocket) -> Result<u16, RingError> {
        self.opened.push(Some(socket));
        Ok(LISTENERS + self.opened.len() as u16 - 1)
    }

    fn open_stream(&mut self, _: TcpStream, _: SocketAddr) -> Result<Path, RingError> {
        Err(RingError::Full("stream"))
    }

    fn close_socket(&mut self, socket: u16) {
        let own = usize::from(socket - LISTENERS);
        assert!(self.opened[own].take().is_some(), "closed twice: {socket}");
    }

    fn counters(&self, counters: Counters) -> Counters {
        counters
    }

    fn report(&mut self, report: Report) -> Result<(), Report> {
        if self.reports.len() >= self.report_room {
            return Err(report);
        }
        self.reports.push_back((self.now, report));
        Ok(())
    }
}

impl Lent {
    fn new(room: usize, pool: &mut Pool) -> Self {
        let buffers = (0..room).map_while(|_| pool.take()).collect();
        Self { buffers, room }
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<Packet> {
        let mut buffer = self.buffers.pop()?;
        buffer.bytes_mut()[OFFSET..][..bytes.len()].copy_from_slice(bytes);
        Some(Packet::single(buffer, OFFSET as u32, bytes.len() as u32))
    }

    fn take_back(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        if self.buffers.len() >= self.room {
            return Err(buffer);
        }
        self.buffers.push(buffer);
        Ok(())
    }
}

/// The packets that were merged into one, as the kernel would cut it.
fn split(packet: &Gathered, buffer: &Buffer, pieces: &[Piece]) -> Vec<Vec<u8>> {
    let whole: Vec<_> = packet.bytes(buffer, pieces).collect();
    let mut whole = whole.concat();
    let range = 0..whole.len();
    let mut cursor = Split::new(&mut whole, range, packet.offload).expect("what we merged");
    let mut packets = Vec::new();
    while let Some(range) = cursor.next(&mut whole) {
        packets.push(whole[range].to_vec());
    }
    packets
}

/// The time with its calendar.
pub(crate) fn wall(monotonic: Monotonic) -> Now {
    Now {
        monotonic,
        unix: 1_795_000_000 + monotonic.as_nanos() / 1_000_000_000,
    }
}

/// Sockets that are there from the beginning.
const LISTENERS: u16 = 1;

/// Where packets stand in a lent buffer.
const OFFSET: usize = 128;
