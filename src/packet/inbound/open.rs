//! The second stage: what is authentic, and what that changes on its peer.

use super::{Addressed, Claim, InboundBatch, Opened};
use crate::crypto::OpenError;
use crate::limits;
use crate::packet::peer::Recognised;
use crate::packet::{
    Batch, DropCounters, DropReason, Packet, PeerEvent, PeerTable, Pool, Received, Refusal,
    Surroundings,
};
use crate::time::Monotonic;
use crate::wire::DataHeader;

/// Opens each datagram into a pool buffer, and notes on its peer that it spoke, and from where.
pub(super) fn open(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    let events = &mut batch.events;
    for Addressed { received, claim } in batch.addressed.drain() {
        let peer = claim.peer;
        let opened = open_one(&received, claim, peers, pool, events, now).and_then(|opened| {
            let (packet, newest) = opened;
            note_received(&received, claim, peers, events, now);
            match follow(&received, claim, newest, peers, surroundings, events) {
                Ok(()) => Ok(packet),
                Err(reason) => {
                    pool.give(packet.buffer);
                    Err(reason)
                }
            }
        });
        match opened {
            Ok(packet) => batch.opened.put(Opened { packet, peer }),
            Err(reason) => {
                drops.count(reason);
                if let Some(refusal) = refusal(reason, &received) {
                    events.put(PeerEvent::Refused { peer, refusal });
                }
            }
        }
        batch.consumed.put(received.spent());
    }
}

/// The payload, and whether its packet id is the highest of its key so far.
fn open_one(
    received: &Received,
    claim: Claim,
    peers: &mut PeerTable,
    pool: &mut Pool,
    events: &mut Batch<PeerEvent>,
    now: Monotonic,
) -> Result<(Packet, bool), DropReason> {
    let Claim { peer, key_id, .. } = claim;
    let slot = peers
        .peer_mut(peer)
        .ok_or(DropReason::UnknownPeer)?
        .keys
        .opening(key_id)
        .ok_or(DropReason::UnknownKey)?;
    let mut buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
    let out = &mut buffer.bytes_mut()[limits::INNER_HEADROOM..];
    let highest = slot.keys.open.highest();
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
            let packet = Packet::single(buffer, start, len as u32);
            Ok((packet, slot.keys.open.highest() > highest))
        }
        Err(error) => {
            pool.give(buffer);
            Err(drop_reason(error))
        }
    }
}

/// What an authentic datagram changes on its peer, wherever it came from.
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
    match (claim.numbered, peer.recognised) {
        (true, Recognised::ByPeerId)
        | (false, Recognised::ByPath | Recognised::ByPeerId)
        | (_, Recognised::BySocket) => {}
        (true, _) => peers.sends_peer_id(claim.peer),
        (false, Recognised::NotYet) => {
            peer.recognised = Recognised::ByPath;
            let peer = claim.peer;
            events.put(PeerEvent::IgnoresPeerId { peer });
        }
    }
}

/// Moves the peer to where its datagram came from.
///
/// Wire: wire.md section 13. Only a packet with a peer id moves its peer, and only one that is newer
/// than all before, or one that was late would move it back; a late one is taken and moves nobody.
/// Where a client is that is known by its path nobody else moves to, and the packet is dropped, as
/// stock drops it where another client is.
fn follow(
    received: &Received,
    claim: Claim,
    newest: bool,
    peers: &mut PeerTable,
    surroundings: &Surroundings,
    events: &mut Batch<PeerEvent>,
) -> Result<(), DropReason> {
    let Some(peer) = peers.peer(claim.peer).filter(|_| claim.numbered) else {
        return Ok(());
    };
    let (from, to) = (peer.path, received.path);
    if from.four_tuple() == to.four_tuple() || !newest || peer.keys.newer_opened(claim.key_id) {
        return Ok(());
    }
    if surroundings.is_taken(&to, claim.peer, peers) {
        return Err(DropReason::FloatTaken);
    }
    peers.float(claim.peer, to);
    let peer = claim.peer;
    events.put(PeerEvent::Floated { peer, from, to });
    Ok(())
}

/// What there is to tell of a datagram that is refused.
fn refusal(reason: DropReason, received: &Received) -> Option<Refusal> {
    match reason {
        DropReason::Authentication => Some(Refusal::NotAuthentic),
        DropReason::FloatTaken => Some(Refusal::Taken(received.path.remote)),
        DropReason::Replay => {
            let datagram = received.packet.bytes();
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
