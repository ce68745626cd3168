//! From inner packets to datagrams: what the tun device has for peers.

use super::{
    Batch, Buffer, Datagram, DropCounters, DropReason, Packet, Peer, PeerEvent, PeerIndex,
    PeerTable, Pool,
};
use crate::crypto::SealError;
use crate::time::Monotonic;
use crate::wire::InnerPacket;

/// One turn of the outbound path: inner packets, and the datagrams they became.
///
/// The caller fills `inner`, runs [`outbound`] and drains the others.
#[derive(Debug)]
pub struct OutboundBatch {
    /// Input: IP packets in the buffers that the tun device was read into.
    pub inner: Batch<Packet>,
    /// Output: sealed datagrams in pool buffers.
    pub datagrams: Batch<Datagram>,
    /// Output: read buffers that are free again.
    pub consumed: Batch<Buffer>,
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
            consumed: Batch::new(size),
            events: Batch::new(size),
            routed: Batch::new(size),
        }
    }

    /// How many packets every output has room for.
    fn room(&self) -> usize {
        let buffers = self.consumed.room().min(self.datagrams.room());
        buffers.min(self.events.room())
    }
}

/// Routes and seals inner packets, as many as the outputs have room for; the others stay in
/// `batch.inner`. Every buffer is afterwards in one of the batch's lists or in `pool`.
pub fn outbound(
    batch: &mut OutboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    now: Monotonic,
) {
    route(batch, peers, drops);
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

/// An inner packet whose peer is known.
#[derive(Debug)]
struct Routed {
    packet: Packet,
    peer: PeerIndex,
}

/// Finds the peer of each packet.
fn route(batch: &mut OutboundBatch, peers: &PeerTable, drops: &mut DropCounters) {
    let room = batch.room();
    for packet in batch.inner.drain_first(room) {
        match destination(packet.bytes(), peers) {
            Ok(peer) => batch.routed.put(Routed { packet, peer }),
            Err(reason) => {
                drops.count(reason);
                batch.consumed.put(packet.buffer);
            }
        }
    }
}

fn destination(packet: &[u8], peers: &PeerTable) -> Result<PeerIndex, DropReason> {
    let inner = InnerPacket::parse(packet).map_err(|_| DropReason::InnerMalformed)?;
    let index = peers
        .by_inner_address(inner.destination())
        .ok_or(DropReason::NoRoute)?;
    let peer = peers.peer(index).ok_or(DropReason::NoRoute)?;
    if packet.len() > usize::from(peer.mtu()) {
        return Err(DropReason::TooLarge);
    }
    Ok(index)
}

/// Keeps TCP connections to the peer to segments that fit the tunnel.
fn clamp_segments(batch: &mut OutboundBatch, peers: &PeerTable) {
    for routed in batch.routed.iter_mut() {
        if let Some(peer) = peers.peer(routed.peer) {
            peer.clamp_segments(routed.packet.bytes_mut());
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
    for Routed { packet, peer } in batch.routed.drain() {
        match seal_payload(peers, peer, packet.bytes(), pool, now) {
            Ok(datagram) => batch.datagrams.put(datagram),
            Err(reason) => drops.count(reason),
        }
        if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
            batch.events.put(PeerEvent::KeyNearLimit { peer, key_id });
        }
        batch.consumed.put(packet.buffer);
    }
}

const fn drop_reason(error: SealError) -> DropReason {
    match error {
        SealError::Exhausted => DropReason::KeyExhausted,
        SealError::TooSmall => DropReason::TooLarge,
        SealError::Empty => DropReason::InnerMalformed,
    }
}
