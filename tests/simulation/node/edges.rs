//! The world as a shard sees it, without a kernel: lists of what it wants done.

use std::collections::VecDeque;
use std::time::Duration;

use ringway::node::counters::Counters;
use ringway::node::message::Report;
use ringway::node::shard::{Congestion, Edges};
use ringway::packet::{Buffer, DropReason, Packet, Parcel, Path, Pool};
use ringway::random::{Random, SeededRandom};
use ringway::reactor::{RingError, UdpSocket};
use ringway::time::{Monotonic, Now};

use super::plan::{Plan, happens};

/// One shard's sockets, tun queue and report box.
pub(crate) struct SimulatedEdges {
    now: Monotonic,
    random: SeededRandom,
    sockets: Lent,
    tun: Lent,
    /// Sends and writes that the kernel works on.
    sending: VecDeque<(Buffer, Option<DropReason>)>,
    writing: VecDeque<(Buffer, Option<DropReason>)>,
    /// No more than so many sends, and so many writes.
    pub(crate) in_flight_max: usize,
    /// It has finished everything by the next turn.
    pub(crate) is_brisk: bool,
    done: VecDeque<(Buffer, Option<DropReason>)>,
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
            let finished = match self.is_brisk {
                true => queue.len(),
                false => self.random.below(queue.len() as u64 + 2) as usize,
            };
            self.done.extend(queue.drain(..finished.min(queue.len())));
        }
        while let Some((_, by, buffer)) = self.returning.pop_front_if(|(at, ..)| *at <= now) {
            self.away[usize::from(by)] -= 1;
            self.done.push_back((buffer, None));
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

    fn send(&mut self, packet: Packet, path: Path) -> Result<(), (Buffer, DropReason)> {
        if self.sending.len() >= self.in_flight_max {
            return Err((packet.buffer, DropReason::QueueFull));
        }
        let refused = happens(&mut self.random, self.refusals);
        if !refused {
            self.sent.push((path, packet.bytes().to_vec()));
        }
        let reason = refused.then_some(DropReason::SendFull);
        self.sending.push_back((packet.buffer, reason));
        Ok(())
    }

    fn congestion(&self) -> Congestion {
        match self.sending.len() {
            0 => Congestion::Idle,
            busy if busy < self.in_flight_max => Congestion::Flowing,
            _ => Congestion::Full,
        }
    }

    fn write_tun(&mut self, packet: Packet) -> Result<(), (Buffer, DropReason)> {
        if self.writing.len() >= self.in_flight_max {
            return Err((packet.buffer, DropReason::TunFull));
        }
        let refused = happens(&mut self.random, self.refusals);
        if !refused {
            self.written.push(packet.bytes().to_vec());
        }
        let reason = refused.then_some(DropReason::TunFull);
        self.writing.push_back((packet.buffer, reason));
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

    fn reclaim(&mut self) -> Option<(Buffer, Option<DropReason>)> {
        self.done.pop_front()
    }

    fn open_socket(&mut self, socket: UdpSocket) -> Result<u16, RingError> {
        self.opened.push(Some(socket));
        Ok(LISTENERS + self.opened.len() as u16 - 1)
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
