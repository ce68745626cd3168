//! From inner packets to datagrams: what the tun device and other shards have for peers.

use super::{
    Batch, Datagram, Destination, DropCounters, DropReason, Inner, InnerSource, Packet, Parcel,
    ParcelContent, Peer, PeerEvent, PeerIndex, PeerTable, Pool, Spent, Surroundings,
};
use crate::crypto::SealError;
use crate::time::Monotonic;
use crate::wire::InnerPacket;

/// One turn of the outbound path: inner packets, and the datagrams they became.
///
/// The caller fills `inner`, runs [`outbound`] and drains the others.
#[derive(Debug)]
pub struct OutboundBatch {
    /// Input: IP packets.
    pub inner: Batch<Inner>,
    /// Output: sealed datagrams in pool buffers.
    pub datagrams: Batch<Datagram>,
    /// Output: what clients of other shards get, in pool buffers, with the shard.
    pub elsewhere: Batch<(u16, Parcel)>,
    /// Output: buffers of `inner` that are free again.
    pub consumed: Batch<Spent>,
    /// Output: what sessions must know.
    pub events: Batch<PeerEvent>,
    routed: Batch<Routed>,
}

impl OutboundBatch {
    /// A batch of up to `size` packets.
    pub fn new(size: usize) -> Self {
        Self {
            inner: Batch::new(size),
            datagrams: Batch::new(size),
            elsewhere: Batch::new(size),
            consumed: Batch::new(size),
            events: Batch::new(size),
            routed: Batch::new(size),
        }
    }

    /// How many packets every output has room for.
    fn room(&self) -> usize {
        let rooms = [
            self.datagrams.room(),
            self.elsewhere.room(),
            self.consumed.room(),
            self.events.room(),
        ];
        rooms.into_iter().fold(usize::MAX, usize::min)
    }
}

/// Routes and seals inner packets, as many as the outputs have room for; the others stay in
/// `batch.inner`. Every buffer is afterwards in one of the batch's lists or in `pool`.
pub fn outbound(
    batch: &mut OutboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    route(batch, peers, pool, drops, surroundings);
    clamp_segments(batch, peers);
    seal(batch, peers, pool, drops, now);
}

/// Seals one payload with the peer's sending key: an inner packet, a ping or an exit notice.
///
/// # Errors
/// The reason why there is no datagram; the caller counts it.
pub fn seal_payload(
    peers: &mut PeerTable,
    index: PeerIndex,
    payload: &[u8],
    pool: &mut Pool,
    now: Monotonic,
) -> Result<Datagram, DropReason> {
    let peer = peers.peer_mut(index).ok_or(DropReason::NotConnected)?;
    let key_id = peer.keys.sending().ok_or(DropReason::NotConnected)?;
    let header = peer.header(key_id);
    let slot = peer.keys.opening(key_id).ok_or(DropReason::NotConnected)?;
    let mut buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
    let len = match slot.keys.seal.seal(header, payload, buffer.bytes_mut()) {
        Ok(len) => len as u32,
        Err(error) => {
            pool.give(buffer);
            return Err(drop_reason(error));
        }
    };
    peer.last_sent = now;
    peer.traffic.sent_packets += 1;
    peer.traffic.sent_bytes += u64::from(len);
    Ok(Datagram {
        packet: Packet::single(buffer, 0, len),
        path: *peer.path(),
        peer: index,
    })
}

/// Seals an inner packet from one client of this shard for another, by the rules of the other's tunnel.
///
/// # Errors
/// The reason why there is no datagram; the caller counts it.
pub(super) fn forward(
    packet: &mut Packet,
    to: PeerIndex,
    peers: &mut PeerTable,
    pool: &mut Pool,
    now: Monotonic,
) -> Result<Datagram, DropReason> {
    let peer = check_size(packet.bytes(), to, peers)?;
    peer.clamp_segments(packet.bytes_mut());
    seal_payload(peers, to, packet.bytes(), pool, now)
}

/// An inner packet whose peer is known.
#[derive(Debug)]
struct Routed {
    inner: Inner,
    peer: PeerIndex,
}

/// Finds the peer of each packet, and copies what is for a client of another shard into a parcel.
fn route(
    batch: &mut OutboundBatch,
    peers: &PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
) {
    let room = batch.room();
    for inner in batch.inner.drain_first(room) {
        let dropped = match place(&inner, peers, surroundings) {
            Ok(Place::Peer(peer)) => {
                batch.routed.put(Routed { inner, peer });
                continue;
            }
            Ok(Place::Shard(shard)) => {
                let content = ParcelContent::Inner(InnerSource::Tun);
                Parcel::copied(surroundings.own, inner.packet.bytes(), content, pool)
                    .map(|parcel| batch.elsewhere.put((shard, parcel)))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = dropped {
            drops.count(reason);
        }
        batch.consumed.put(inner.spent());
    }
}

/// Where an inner packet goes.
enum Place {
    Peer(PeerIndex),
    Shard(u16),
}

fn place(
    inner: &Inner,
    peers: &PeerTable,
    surroundings: &Surroundings,
) -> Result<Place, DropReason> {
    let packet = inner.packet.bytes();
    let parsed = InnerPacket::parse(packet).map_err(|_| DropReason::InnerMalformed)?;
    match surroundings.destination(parsed.destination(), peers) {
        Destination::Peer(peer) => {
            check_size(packet, peer, peers)?;
            Ok(Place::Peer(peer))
        }
        Destination::Shard(_) if inner.origin.is_other_shard() => Err(DropReason::HandedOnTwice),
        Destination::Shard(shard) => Ok(Place::Shard(shard)),
        Destination::Nobody => Err(DropReason::NoRoute),
    }
}

/// The peer, if the packet fits its tunnel.
fn check_size<'a>(
    packet: &[u8],
    to: PeerIndex,
    peers: &'a PeerTable,
) -> Result<&'a Peer, DropReason> {
    let peer = peers.peer(to).ok_or(DropReason::NoRoute)?;
    if packet.len() > usize::from(peer.mtu()) {
        return Err(DropReason::TooLarge);
    }
    Ok(peer)
}

/// Keeps TCP connections to the peer to segments that fit the tunnel.
fn clamp_segments(batch: &mut OutboundBatch, peers: &PeerTable) {
    for routed in batch.routed.iter_mut() {
        if let Some(peer) = peers.peer(routed.peer) {
            peer.clamp_segments(routed.inner.packet.bytes_mut());
        }
    }
}

/// Seals each packet into a pool buffer, as its peer's datagram.
fn seal(
    batch: &mut OutboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    now: Monotonic,
) {
    for Routed { inner, peer } in batch.routed.drain() {
        match seal_payload(peers, peer, inner.packet.bytes(), pool, now) {
            Ok(datagram) => batch.datagrams.put(datagram),
            Err(reason) => drops.count(reason),
        }
        if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
            batch.events.put(PeerEvent::KeyNearLimit { peer, key_id });
        }
        batch.consumed.put(inner.spent());
    }
}

const fn drop_reason(error: SealError) -> DropReason {
    match error {
        SealError::Exhausted => DropReason::KeyExhausted,
        SealError::TooSmall => DropReason::TooLarge,
        SealError::Empty => DropReason::InnerMalformed,
    }
}
