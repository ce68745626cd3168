//! From datagrams to inner packets: what peers send, on its way to the tun device, to other clients
//! and to other shards.
//!
//! One receive can be many datagrams. Each is looked at by itself, and stays where the kernel put it
//! until it is opened into its place among the others that go to the tun device.

mod classify;
mod deliver;
mod join;
mod open;
mod payload;

use super::arena::Arenas;
use super::reassembly::Reassembly;
use super::runs::Runs;
use super::{
    Batch, Buffer, Datagram, DropCounters, Gathered, Merging, Parcel, Path, PeerEvent, PeerIndex,
    PeerTable, Piece, Pool, Received, Spent, Surroundings,
};
use crate::limits::{ARENAS, BUFFER_SIZE, FRAGMENTED_PER_SHARD, SEGMENTS_MAX};
use crate::time::Monotonic;
use crate::wire::KeyId;

/// One turn of the inbound path: what came in, and what became of it.
///
/// The caller fills `received`, runs [`inbound`] and takes everything out of the others.
#[derive(Debug)]
pub struct InboundBatch {
    /// Input: datagrams of either channel.
    pub received: Batch<Received>,
    /// Output: datagrams for other clients of this shard, in pool buffers.
    pub to_clients: Batch<Datagram>,
    /// Output: what other shards own, in pool buffers, with the shard.
    pub elsewhere: Batch<(u16, Parcel)>,
    /// Output: what sessions must know.
    pub events: Batch<PeerEvent>,
    /// What was received and is not yet given back.
    held: Batch<Received>,
    control: Batch<Segment>,
    addressed: Batch<Addressed>,
    opened: Batch<Opened>,
    arenas: Arenas,
    reassembly: Reassembly,
    runs: Runs,
}

impl InboundBatch {
    /// A batch of up to `size` receives, whose inner packets are merged as `merging` says.
    pub fn new(size: usize, merging: Merging) -> Self {
        let segments = size.max(SEGMENTS_MAX);
        Self {
            received: Batch::new(size),
            to_clients: Batch::new(segments),
            elsewhere: Batch::new(segments),
            events: Batch::new(segments * EVENTS_PER_DATAGRAM),
            held: Batch::new(size),
            control: Batch::new(segments),
            addressed: Batch::new(segments),
            opened: Batch::new(segments),
            arenas: Arenas::new(ARENAS, segments, merging),
            reassembly: Reassembly::new(0, 0),
            runs: Runs::new(segments),
        }
    }

    /// Keeps parts of cut packets until all are there, of packets of up to `packet_max` bytes.
    #[must_use]
    pub fn joining(mut self, packet_max: usize) -> Self {
        self.reassembly = Reassembly::new(FRAGMENTED_PER_SHARD, packet_max);
        // A packet for another client becomes several again, seldom more.
        self.to_clients = Batch::new(self.addressed.room() * 4);
        self
    }

    /// Lets each datagram to another client leave by itself.
    #[must_use]
    pub fn sending_one_by_one(mut self) -> Self {
        self.runs.one_by_one();
        self
    }

    /// Whether datagrams to other clients get the class of the packet inside (`passtos`).
    pub fn copy_classes(&mut self, copies: bool) {
        self.runs.copy_classes(copies);
    }

    /// Output: the datagrams that are not of the data channel, untouched, with their paths.
    pub fn control(&self) -> impl Iterator<Item = (&[u8], Path)> + '_ {
        self.control.iter().filter_map(|segment| {
            let received = self.held.get(segment.received as usize)?;
            Some((segment.bytes(received), received.path))
        })
    }

    /// Output: gives each pool buffer with inner packets for the tun device to `write`, in order. The
    /// buffer is the writer's from then on.
    pub fn write_tun(&mut self, write: impl FnMut(Buffer, &[Gathered], &[Piece])) {
        self.arenas.drain(write);
    }

    /// Output: buffers of `received` that are free again. What [`control`](Self::control) gave is gone then.
    pub fn spent(&mut self) -> impl ExactSizeIterator<Item = Spent> + '_ {
        self.control.clear();
        self.held.drain().map(Received::spent)
    }

    /// How many bytes can be received: as each two neighbouring arenas have more than one buffer in them,
    /// half of their bytes are always enough.
    fn room_in_arenas(&self) -> usize {
        ARENAS.saturating_sub(self.arenas.len() + 1) / 2 * BUFFER_SIZE
    }

    /// How many datagrams every output has room for.
    fn room(&self) -> usize {
        let rooms = [
            self.control.room(),
            self.addressed.room(),
            self.elsewhere.room(),
            self.to_clients.room().saturating_sub(self.runs.len()),
            self.events.room() / EVENTS_PER_DATAGRAM,
        ];
        rooms.into_iter().fold(usize::MAX, usize::min)
    }
}

/// Opens, checks and delivers received datagrams, as many as the outputs have room for; the others
/// stay in `batch.received`. Every buffer is afterwards in one of the batch's lists or in `pool`.
///
/// Nothing about a peer changes for a datagram that is not authenticated.
pub fn inbound(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    classify::classify(batch, peers, pool, drops, surroundings);
    open::open(batch, peers, pool, drops, surroundings, now);
    payload::take_special(batch);
    if let Some(from) = surroundings.refuses_ipv6 {
        payload::refuse_ipv6(batch, from, peers, pool, drops, now);
    }
    payload::check_sources(batch, peers, drops, surroundings, now);
    payload::clamp_segments(batch, peers);
    deliver::deliver(batch, peers, pool, drops, surroundings, now);
}

/// One datagram of a receive.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Its place among what is held.
    received: u32,
    piece: Piece,
}

impl Segment {
    fn bytes(self, received: &Received) -> &[u8] {
        let bytes = received.packet.buffer.bytes();
        bytes.get(self.piece.range()).unwrap_or_default()
    }
}

/// A data datagram with the peer that it claims to be from.
#[derive(Clone, Copy, Debug)]
struct Addressed {
    segment: Segment,
    claim: Claim,
}

/// What a data datagram's header says, before anything is authenticated.
#[derive(Clone, Copy, Debug)]
struct Claim {
    peer: PeerIndex,
    key_id: KeyId,
    /// Found by peer id, not by path: such a packet may come from a new address.
    numbered: bool,
}

/// An authenticated payload.
#[derive(Debug)]
struct Opened {
    /// The arena that it is in.
    arena: usize,
    piece: Piece,
    peer: PeerIndex,
}

impl Opened {
    fn bytes<'a>(&self, arenas: &'a Arenas) -> &'a [u8] {
        let arena = arenas.get(self.arena);
        let bytes = arena.and_then(|arena| arena.bytes().get(self.piece.range()));
        bytes.unwrap_or_default()
    }

    fn bytes_mut<'a>(&self, arenas: &'a mut Arenas) -> &'a mut [u8] {
        let arena = arenas.get_mut(self.arena);
        let bytes = arena.and_then(|arena| arena.bytes_mut().get_mut(self.piece.range()));
        bytes.unwrap_or_default()
    }
}

/// A datagram can at most be the first under its key, bring it near its limit, come from a new address
/// or without a peer id, and say goodbye, have a bad source or bring the key of another client near its
/// limit.
const EVENTS_PER_DATAGRAM: usize = 4;
