//! From datagrams to inner packets: what peers send, on its way to the tun device, to other clients
//! and to other shards.

mod classify;
mod deliver;
mod open;
mod payload;

use super::{
    Batch, Datagram, DropCounters, Packet, Parcel, PeerEvent, PeerIndex, PeerTable, Pool, Received,
    Spent, Surroundings,
};
use crate::time::Monotonic;
use crate::wire::KeyId;

/// One turn of the inbound path: what came in, and what became of it.
///
/// The caller fills `received`, runs [`inbound`] and drains the others.
#[derive(Debug)]
pub struct InboundBatch {
    /// Input: datagrams of either channel.
    pub received: Batch<Received>,
    /// Output: the datagrams that are not of the data channel, untouched.
    pub control: Batch<Received>,
    /// Output: inner packets in pool buffers, each with [`limits::INNER_HEADROOM`] free before it.
    ///
    /// [`limits::INNER_HEADROOM`]: crate::limits::INNER_HEADROOM
    pub to_tun: Batch<Packet>,
    /// Output: inner packets for other clients of this shard, sealed in pool buffers.
    pub to_clients: Batch<Datagram>,
    /// Output: what other shards own, in pool buffers, with the shard.
    pub elsewhere: Batch<(u16, Parcel)>,
    /// Output: buffers of `received` that are free again.
    pub consumed: Batch<Spent>,
    /// Output: what sessions must know.
    pub events: Batch<PeerEvent>,
    addressed: Batch<Addressed>,
    opened: Batch<Opened>,
}

impl InboundBatch {
    /// A batch of up to `size` datagrams.
    pub fn new(size: usize) -> Self {
        Self {
            received: Batch::new(size),
            control: Batch::new(size),
            to_tun: Batch::new(size),
            to_clients: Batch::new(size),
            elsewhere: Batch::new(size),
            consumed: Batch::new(size),
            events: Batch::new(size * EVENTS_PER_DATAGRAM),
            addressed: Batch::new(size),
            opened: Batch::new(size),
        }
    }

    /// How many datagrams every output has room for.
    fn room(&self) -> usize {
        let rooms = [
            self.control.room(),
            self.to_tun.room(),
            self.to_clients.room(),
            self.elsewhere.room(),
            self.consumed.room(),
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
    payload::take_special(batch, pool);
    payload::check_sources(batch, peers, pool, drops, surroundings);
    payload::clamp_segments(batch, peers);
    deliver::deliver(batch, peers, pool, drops, surroundings, now);
}

/// A data datagram with the peer that it claims to be from.
#[derive(Debug)]
struct Addressed {
    received: Received,
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
    packet: Packet,
    peer: PeerIndex,
}

/// A datagram can at most be the first under its key, bring it near its limit, come from a new address
/// or without a peer id, and say goodbye, have a bad source or bring the key of another client near its
/// limit.
const EVENTS_PER_DATAGRAM: usize = 4;
