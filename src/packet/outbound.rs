//! From inner packets to datagrams: what the tun device and other shards have for peers.

use std::collections::VecDeque;

use super::runs::Runs;
use super::segment::Split;
use super::segment::checksum::complete;
use super::{
    Batch, Datagram, Destination, DropCounters, DropReason, Inner, InnerSource, Offload, Packet,
    Parcel, ParcelContent, Peer, PeerEvent, PeerIndex, PeerTable, Pool, Spent, Surroundings,
    TrafficClass,
};
use crate::limits::TUN_SEGMENTS_MAX;
use crate::time::Monotonic;
use crate::wire::InnerPacket;

/// One turn of the outbound path: inner packets, and the datagrams they became.
///
/// The caller fills `inner`, runs [`outbound`] and drains the others.
#[derive(Debug)]
pub struct OutboundBatch {
    /// Input: IP packets and super-packets.
    pub inner: Batch<Inner>,
    /// Output: sealed datagrams in pool buffers, those of one peer that are equally long in one.
    pub datagrams: Batch<Datagram>,
    /// Output: what clients of other shards get, in pool buffers, with the shard.
    pub elsewhere: Batch<(u16, Parcel)>,
    /// Output: buffers of `inner` that are free again.
    pub consumed: Batch<Spent>,
    /// Output: what sessions must know.
    pub events: Batch<PeerEvent>,
    routed: VecDeque<Routed>,
    runs: Runs,
}

impl OutboundBatch {
    /// A batch of up to `size` packets.
    pub fn new(size: usize) -> Self {
        Self {
            inner: Batch::new(size),
            // The runs that are open at the end, and those that one super-packet has closed.
            datagrams: Batch::new(size + TUN_SEGMENTS_MAX),
            elsewhere: Batch::new(size),
            consumed: Batch::new(size),
            events: Batch::new(size),
            routed: VecDeque::with_capacity(size),
            runs: Runs::new(size),
        }
    }

    /// Lets each datagram leave by itself.
    #[must_use]
    pub fn sending_one_by_one(mut self) -> Self {
        self.runs.one_by_one();
        self
    }

    /// Whether datagrams get the class of the packet inside (`passtos`).
    pub fn copy_classes(&mut self, copies: bool) {
        self.runs.copy_classes(copies);
    }

    /// Seals one inner packet for a peer that the caller knows, behind the peer's other datagrams of this
    /// batch. What it closes stands in `datagrams`, where there must be room; the rest comes with
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// The reason why there is no datagram; the caller counts it. [`DropReason::QueueFull`] when
    /// `datagrams` is to be drained first.
    pub fn seal_for(
        &mut self,
        peers: &mut PeerTable,
        peer: PeerIndex,
        packet: &[u8],
        pool: &mut Pool,
        now: Monotonic,
    ) -> Result<(), DropReason> {
        if self.datagrams.room() <= self.runs.len() || self.events.is_full() {
            return Err(DropReason::QueueFull);
        }
        check_room(packet.len(), peer, peers)?;
        self.runs
            .seal(peers, peer, packet, pool, &mut self.datagrams, now)?;
        if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
            self.events.put(PeerEvent::KeyNearLimit { peer, key_id });
        }
        Ok(())
    }

    /// Has all that was sealed leave: nothing is added to what is open.
    pub fn finish(&mut self, peers: &mut PeerTable, pool: &mut Pool) {
        self.runs.finish(peers, pool, &mut self.datagrams);
    }

    /// True when nothing is left to work on.
    pub fn is_done(&self) -> bool {
        self.inner.is_empty() && self.routed.is_empty()
    }

    /// How many packets can be routed.
    fn room(&self) -> usize {
        let rooms = [
            self.routed.capacity() - self.routed.len(),
            self.elsewhere.room(),
            self.consumed.room().saturating_sub(self.routed.len()),
            self.events.room().saturating_sub(self.routed.len()),
        ];
        rooms.into_iter().fold(usize::MAX, usize::min)
    }

    /// Whether a packet can be sealed: each of its segments may close a run.
    fn can_seal(&self) -> bool {
        self.datagrams.room() >= TUN_SEGMENTS_MAX + self.runs.len()
    }
}

/// Routes and seals inner packets, as many as the outputs have room for; the others stay until the
/// next time, and [`OutboundBatch::is_done`] says so. Every buffer is afterwards in the batch or in `pool`.
pub fn outbound(
    batch: &mut OutboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    let routed = batch.routed.len();
    route(batch, peers, pool, drops, surroundings);
    prepare(batch, routed, peers);
    seal(batch, peers, pool, drops, now);
}

/// Seals one payload with the peer's sending key to one datagram: an inner packet, a ping or an exit notice.
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
    let path = peers.peer(index).map(Peer::path);
    if path.is_some_and(|path| peers.full_streams.contains(path)) {
        return Err(DropReason::StreamFull);
    }
    let peer = peers.peer_mut(index).ok_or(DropReason::NotConnected)?;
    peer.sealed_len(payload.len())?;
    let cut = peer.cut(payload.len())?;
    if cut.as_ref().is_some_and(|cut| cut.parts() > 1) {
        return Err(DropReason::TooLarge);
    }
    let mut buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
    let sealed = match cut {
        None => peer.seal_framed(payload, buffer.bytes_mut(), now),
        Some(cut) => peer.seal_part(payload, (&cut, 0), buffer.bytes_mut(), now),
    };
    match sealed {
        Ok(len) => Ok(Datagram {
            packet: Packet::single(buffer, 0, len as u32),
            path: *peer.path(),
            class: TrafficClass::DEFAULT,
            peer: index,
        }),
        Err(reason) => {
            pool.give(buffer);
            Err(reason)
        }
    }
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
                batch.routed.push_back(Routed { inner, peer });
                continue;
            }
            Ok(Place::Shard(shard)) => {
                let content = ParcelContent::Inner(InnerSource::Tun, inner.offload);
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
    if surroundings.refuses_ipv6.is_some() && parsed.version() == 6 {
        return Err(DropReason::Ipv6Refused);
    }
    match surroundings.destination(parsed.destination(), peers) {
        Destination::Peer(peer) => Ok(Place::Peer(peer)),
        Destination::Shard(_) if inner.origin.is_other_shard() => Err(DropReason::HandedOnTwice),
        Destination::Shard(shard) => Ok(Place::Shard(shard)),
        Destination::Nobody => Err(DropReason::NoRoute),
    }
}

/// The peer, if a packet of so many bytes fits its tunnel, and there is room for it on the way.
pub(super) fn check_room(
    len: usize,
    to: PeerIndex,
    peers: &PeerTable,
) -> Result<&Peer, DropReason> {
    let peer = peers.peer(to).ok_or(DropReason::NoRoute)?;
    if len > usize::from(peer.mtu()) {
        return Err(DropReason::TooLarge);
    }
    match peers.full_streams.contains(peer.path()) {
        true => Err(DropReason::StreamFull),
        false => Ok(peer),
    }
}

/// Makes single packets what they will be on the wire: their checksums are completed, and TCP connections
/// to the peer kept to segments that fit the tunnel. Super-packets come later, a segment at a time.
fn prepare(batch: &mut OutboundBatch, from: usize, peers: &PeerTable) {
    for Routed { inner, peer } in batch.routed.iter_mut().skip(from) {
        let packet = inner.packet.bytes_mut();
        match inner.offload {
            Offload::Segments(_) => continue,
            Offload::None => {}
            Offload::Checksum { start, offset } => {
                // One that says nonsense has no checksum that could be completed.
                let _nonsense = complete(packet, start, offset);
                inner.offload = Offload::None;
            }
        }
        if let Some(peer) = peers.peer(*peer) {
            peer.clamp_segments(packet);
        }
    }
}

/// Splits each packet and seals its segments behind the other datagrams of its peer.
fn seal(
    batch: &mut OutboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    now: Monotonic,
) {
    while batch.can_seal()
        && let Some(Routed { mut inner, peer }) = batch.routed.pop_front()
    {
        let (range, bytes) = (inner.packet.range(), inner.packet.buffer.bytes_mut());
        match Split::new(bytes, range, inner.offload) {
            Ok(mut split) => {
                while let Some(range) = split.next(bytes) {
                    let segment = bytes.get(range).unwrap_or_default();
                    let (runs, closed) = (&mut batch.runs, &mut batch.datagrams);
                    let sealed = check_room(segment.len(), peer, peers)
                        .map(drop)
                        .and_then(|()| runs.seal(peers, peer, segment, pool, closed, now));
                    if let Err(reason) = sealed {
                        drops.count(reason);
                    }
                }
            }
            Err(_) => drops.count(DropReason::InnerMalformed),
        }
        if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
            batch.events.put(PeerEvent::KeyNearLimit { peer, key_id });
        }
        batch.consumed.put(inner.spent());
    }
    batch.runs.finish(peers, pool, &mut batch.datagrams);
}
