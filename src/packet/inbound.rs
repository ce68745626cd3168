//! From datagrams to inner packets: what peers send, on its way to the tun device.

use std::net::IpAddr;

use super::{
    Batch, Buffer, DropCounters, DropReason, Packet, PeerEvent, PeerIndex, PeerTable, Pool,
    Received, Refusal,
};
use crate::crypto::OpenError;
use crate::limits;
use crate::time::Monotonic;
use crate::wire::{self, DataHeader, InnerPacket, KeyId, OccMessage, PeerId};

/// One turn of the inbound path: what came in, and what became of it.
///
/// The caller fills `received`, runs [`inbound`] and drains the others.
#[derive(Debug)]
pub struct InboundBatch {
    /// Input: datagrams of either channel, in receive buffers.
    pub received: Batch<Received>,
    /// Output: the datagrams that are not of the data channel, untouched.
    pub control: Batch<Received>,
    /// Output: inner packets in pool buffers, each with [`limits::INNER_HEADROOM`] free before it.
    pub to_tun: Batch<Packet>,
    /// Output: receive buffers that are free again.
    pub consumed: Batch<Buffer>,
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
            consumed: Batch::new(size),
            events: Batch::new(size * EVENTS_PER_DATAGRAM),
            addressed: Batch::new(size),
            opened: Batch::new(size),
        }
    }

    /// How many datagrams every output has room for.
    fn room(&self) -> usize {
        let events = self.events.room() / EVENTS_PER_DATAGRAM;
        let packets = self.to_tun.room().min(self.control.room());
        packets.min(self.consumed.room()).min(events)
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
    now: Monotonic,
) {
    classify(batch, peers, drops);
    open(batch, peers, pool, drops, now);
    take_special_payloads(batch, pool);
    check_sources(batch, peers, pool, drops);
    clamp_segments(batch, peers);
    deliver(batch);
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
    /// Found by peer id: such a packet may come from a new address.
    may_float: bool,
}

/// An authenticated payload.
#[derive(Debug)]
struct Opened {
    packet: Packet,
    peer: PeerIndex,
}

/// Tells control from data, and finds the peer of a data datagram.
fn classify(batch: &mut InboundBatch, peers: &PeerTable, drops: &mut DropCounters) {
    let room = batch.room();
    for received in batch.received.drain_first(room) {
        match claim(&received, peers) {
            Ok(Some(claim)) => batch.addressed.put(Addressed { received, claim }),
            Ok(None) => batch.control.put(received),
            Err(reason) => {
                drops.count(reason);
                batch.consumed.put(received.packet.buffer);
            }
        }
    }
}

/// The claim of a data datagram, `None` for one of the control channel.
fn claim(received: &Received, peers: &PeerTable) -> Result<Option<Claim>, DropReason> {
    let datagram = received.packet.bytes();
    if datagram.is_empty() {
        return Err(DropReason::Empty);
    }
    let (opcode, _) = wire::parse_first_byte(datagram).map_err(|_| DropReason::Malformed)?;
    if !opcode.is_data() {
        return Ok(None);
    }
    let header = DataHeader::parse(datagram).map_err(|_| DropReason::Malformed)?;
    let (peer, may_float) = match header {
        DataHeader::V2 { peer_id, .. } if peer_id != PeerId::NONE => {
            (peers.by_peer_id(peer_id), true)
        }
        _ => (peers.by_path(&received.path), false),
    };
    Ok(Some(Claim {
        peer: peer.ok_or(DropReason::UnknownPeer)?,
        key_id: header.key_id(),
        may_float,
    }))
}

/// Opens each datagram into a pool buffer, and notes on its peer that it spoke.
fn open(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    now: Monotonic,
) {
    for Addressed { received, claim } in batch.addressed.drain() {
        match open_one(&received, claim, peers, pool, &mut batch.events, now) {
            Ok(packet) => {
                note_received(&received, claim, peers, &mut batch.events, now);
                let peer = claim.peer;
                batch.opened.put(Opened { packet, peer });
            }
            Err(reason) => {
                drops.count(reason);
                if let Some(refusal) = refusal(reason, received.packet.bytes()) {
                    let peer = claim.peer;
                    batch.events.put(PeerEvent::Refused { peer, refusal });
                }
            }
        }
        batch.consumed.put(received.packet.buffer);
    }
}

fn open_one(
    received: &Received,
    claim: Claim,
    peers: &mut PeerTable,
    pool: &mut Pool,
    events: &mut Batch<PeerEvent>,
    now: Monotonic,
) -> Result<Packet, DropReason> {
    let Claim { peer, key_id, .. } = claim;
    let slot = peers
        .peer_mut(peer)
        .ok_or(DropReason::UnknownPeer)?
        .keys
        .opening(key_id)
        .ok_or(DropReason::UnknownKey)?;
    let mut buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
    let out = &mut buffer.bytes_mut()[limits::INNER_HEADROOM..];
    let opened = slot.keys.open.open(now, received.packet.bytes(), out);
    if slot.tells_near_limit() {
        events.put(PeerEvent::KeyNearLimit { peer, key_id });
    }
    match opened {
        Ok(len) => {
            if !std::mem::replace(&mut slot.opened, true) {
                events.put(PeerEvent::FirstData { peer, key_id });
            }
            let start = limits::INNER_HEADROOM as u32;
            Ok(Packet::single(buffer, start, len as u32))
        }
        Err(error) => {
            pool.give(buffer);
            Err(drop_reason(error))
        }
    }
}

/// What an authenticated datagram changes on its peer.
fn note_received(
    received: &Received,
    claim: Claim,
    peers: &mut PeerTable,
    events: &mut Batch<PeerEvent>,
    now: Monotonic,
) {
    let Some(peer) = peers.peer_mut(claim.peer) else {
        return;
    };
    peer.last_received = now;
    peer.traffic.received_packets += 1;
    peer.traffic.received_bytes += u64::from(received.packet.len);
    // Wire: wire.md section 13, only packets with a peer id move a session.
    let (from, to) = (peer.path, received.path);
    if claim.may_float && from.four_tuple() != to.four_tuple() {
        peers.float(claim.peer, to);
        let peer = claim.peer;
        events.put(PeerEvent::Floated { peer, from, to });
    }
}

/// Pings have done their work by being authentic; messages about the channel never reach the tun
/// device. Wire: wire.md section 9.3.
fn take_special_payloads(batch: &mut InboundBatch, pool: &mut Pool) {
    let events = &mut batch.events;
    let specials = batch.opened.extract(|opened| {
        let payload = opened.packet.bytes();
        if payload == wire::PING {
            return true;
        }
        match OccMessage::parse(payload) {
            None => false,
            Some(OccMessage::Exit) => {
                let peer = opened.peer;
                events.put(PeerEvent::ExitNotice { peer });
                true
            }
            // Answers to options checks are optional under TLS; MTU tests are not offered.
            Some(_) => true,
        }
    });
    for special in specials {
        pool.give(special.packet.buffer);
    }
}

/// Lets pass what is an IP packet from an address of its peer. Wire: wire.md section 16.
fn check_sources(
    batch: &mut InboundBatch,
    peers: &PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
) {
    let events = &mut batch.events;
    let refused = batch.opened.extract(|opened| {
        let peer = opened.peer;
        match check_source(opened.packet.bytes(), peer, peers) {
            Ok(len) => {
                opened.packet.truncate(len);
                false
            }
            Err(reason) => {
                drops.count(reason);
                if reason == DropReason::SourceAddress
                    && let Ok(inner) = InnerPacket::parse(opened.packet.bytes())
                {
                    let refusal = Refusal::Source(inner.source());
                    events.put(PeerEvent::Refused { peer, refusal });
                }
                true
            }
        }
    });
    for refused in refused {
        pool.give(refused.packet.buffer);
    }
}

/// The length of the IP packet at the start of a payload, if it may pass.
fn check_source(payload: &[u8], from: PeerIndex, peers: &PeerTable) -> Result<usize, DropReason> {
    let inner = InnerPacket::parse(payload).map_err(|_| DropReason::InnerMalformed)?;
    let source = inner.source();
    let peer = peers.peer(from).ok_or(DropReason::UnknownPeer)?;
    if peer.addresses.contain(source) || peers.by_inner_address(source) == Some(from) {
        return Ok(inner.bytes().len());
    }
    match source {
        // Wire: wire.md section 20, trap 20: a new client solicits routers and probes its address.
        IpAddr::V6(source) if source.is_unicast_link_local() || source.is_unspecified() => {
            Err(DropReason::LinkLocalSource)
        }
        _ => Err(DropReason::SourceAddress),
    }
}

/// Keeps the peer's TCP connections to segments that fit the tunnel.
fn clamp_segments(batch: &mut InboundBatch, peers: &PeerTable) {
    for opened in batch.opened.iter_mut() {
        if let Some(peer) = peers.peer(opened.peer) {
            peer.clamp_segments(opened.packet.bytes_mut());
        }
    }
}

fn deliver(batch: &mut InboundBatch) {
    for opened in batch.opened.drain() {
        batch.to_tun.put(opened.packet);
    }
}

/// What there is to tell of a datagram that does not open.
fn refusal(reason: DropReason, datagram: &[u8]) -> Option<Refusal> {
    match reason {
        DropReason::Authentication => Some(Refusal::NotAuthentic),
        DropReason::Replay => {
            let header = DataHeader::parse(datagram).ok()?;
            let packet_id = datagram.get(header.len()..)?.first_chunk()?;
            let packet_id = u32::from_be_bytes(*packet_id);
            Some(Refusal::Replay { packet_id })
        }
        _ => None,
    }
}

const fn drop_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Malformed => DropReason::Malformed,
        OpenError::TooSmall => DropReason::Oversized,
        OpenError::Authentication => DropReason::Authentication,
        OpenError::Replay => DropReason::Replay,
        OpenError::Exhausted => DropReason::KeyExhausted,
    }
}

/// A datagram can at most be the first under its key, bring it near its limit, come from a new
/// address, and say goodbye or have a bad source; one that does not open can bring its key near the
/// limit.
const EVENTS_PER_DATAGRAM: usize = 4;
