//! The second stage: what is authentic, and what that changes on its peer.

use lz4_flex::block::decompress_into;

use super::join::join;
use super::{Addressed, Arenas, Claim, InboundBatch, Opened};
use crate::crypto::OpenError;
use crate::packet::arena::InflateError;
use crate::packet::peer::Recognised;
use crate::packet::{
    Batch, DropCounters, DropReason, Path, Peer, PeerEvent, PeerTable, Piece, Pool, Refusal,
    Surroundings,
};
use crate::time::Monotonic;
use crate::wire::{Framed, Framing, FramingError};

/// Opens each datagram into its place in an arena, and notes on its peer that it spoke, and from where.
pub(super) fn open(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    let events = &mut batch.events;
    for Addressed { segment, claim } in batch.addressed.drain() {
        let Some(received) = batch.held.get(segment.received as usize) else {
            continue;
        };
        let datagram = Claimed {
            bytes: segment.bytes(received),
            path: received.path,
            claim,
        };
        let opened = datagram
            .open(peers, &mut batch.arenas, pool, events, now)
            .and_then(|(opened, newest)| {
                datagram.note_received(peers, opened.piece.len as usize, events, now);
                datagram.follow(newest, peers, surroundings, events)?;
                if peers.peer(claim.peer).is_none_or(Peer::is_plain) {
                    return Ok(Some(opened));
                }
                let (waiting, arenas) = (&mut batch.reassembly, &mut batch.arenas);
                let Some(joined) = join(opened, peers, waiting, arenas, (pool, drops), now)? else {
                    return Ok(None);
                };
                match peers.peer(claim.peer).map(Peer::framing) {
                    None | Some(Framing::None) => Ok(joined),
                    Some(framing) => unframe(joined, framing, peers, arenas, pool),
                }
                .map(Some)
            });
        match opened {
            Ok(None) => {}
            Ok(Some(opened)) => batch.opened.put(opened),
            Err(reason) => {
                drops.count(reason);
                if let Some(refusal) = datagram.refusal(reason) {
                    let peer = claim.peer;
                    events.put(PeerEvent::Refused { peer, refusal });
                }
            }
        }
    }
}

/// Takes a payload out of its frame.
fn unframe(
    opened: Opened,
    framing: Framing,
    peers: &PeerTable,
    arenas: &mut Arenas,
    pool: &mut Pool,
) -> Result<Opened, DropReason> {
    let framed = framing.open(opened.bytes_mut(arenas));
    let framed = framed.map_err(|FramingError| DropReason::Framing)?;
    let start = opened.piece.start as usize;
    type Inflate = fn(&[u8], &mut [u8]) -> Option<usize>;
    let (inside, inflate): (_, Option<Inflate>) = match framed {
        Framed::Plain(inside) => (inside, None),
        Framed::Lz4(inside) => (inside, Some(|from, to| decompress_into(from, to).ok())),
        Framed::Lzo(inside) => (
            inside,
            Some(|from, to| lzokay::decompress::decompress(from, to).ok()),
        ),
    };
    let inside = start + inside.start..start + inside.end;
    let (arena, place) = match inflate {
        None => (opened.arena, inside),
        Some(inflate) => {
            let peer = peers.peer(opened.peer);
            let room = peer.map_or(0, |peer| usize::from(peer.mtu()));
            let inflated = arenas.inflate(opened.arena, inside, room, pool, inflate);
            inflated.map_err(|error| match error {
                InflateError::NoRoom => DropReason::PoolEmpty,
                InflateError::Unusable => DropReason::Framing,
            })?
        }
    };
    let piece = Piece {
        start: place.start as u32,
        len: place.len() as u32,
    };
    let peer = opened.peer;
    Ok(Opened { arena, piece, peer })
}

/// A data datagram, where it came from, and whose it claims to be.
struct Claimed<'a> {
    bytes: &'a [u8],
    path: Path,
    claim: Claim,
}

impl Claimed<'_> {
    /// The payload, and whether its packet id is the highest of its key so far.
    fn open(
        &self,
        peers: &mut PeerTable,
        arenas: &mut Arenas,
        pool: &mut Pool,
        events: &mut Batch<PeerEvent>,
        now: Monotonic,
    ) -> Result<(Opened, bool), DropReason> {
        let Claim { peer, key_id, .. } = self.claim;
        let slot = peers
            .peer_mut(peer)
            .ok_or(DropReason::UnknownPeer)?
            .keys
            .opening(key_id)
            .ok_or(DropReason::UnknownKey)?;
        let (number, arena, place) = arenas
            .with_room(self.bytes.len(), pool)
            .ok_or(DropReason::PoolEmpty)?;
        let start = place.start;
        let out = arena.bytes_mut().get_mut(place).unwrap_or_default();
        let highest = slot.keys.open.highest();
        let opened = slot.keys.open_datagram(now, self.bytes, out);
        if slot.tells_near_limit() {
            events.put(PeerEvent::KeyNearLimit { peer, key_id });
        }
        if let Err(OpenError::Replay { packet_id }) = opened {
            // Nobody but the key can read it in every format.
            let refusal = Refusal::Replay { packet_id };
            events.put(PeerEvent::Refused { peer, refusal });
        }
        let len = opened.map_err(drop_reason)?;
        if !std::mem::replace(&mut slot.opened, true) {
            events.put(PeerEvent::FirstData { peer, key_id });
        }
        arena.keep(start + len);
        let opened = Opened {
            arena: number,
            piece: Piece {
                start: start as u32,
                len: len as u32,
            },
            peer,
        };
        Ok((opened, slot.keys.open.highest() > highest))
    }

    /// What an authentic datagram changes on its peer, wherever it came from.
    fn note_received(
        &self,
        peers: &mut PeerTable,
        payload: usize,
        events: &mut Batch<PeerEvent>,
        now: Monotonic,
    ) {
        let claim = self.claim;
        let Some(peer) = peers.peer_mut(claim.peer) else {
            return;
        };
        peer.last_received = now;
        peer.traffic.received_packets += 1;
        peer.traffic.received_bytes += self.bytes.len() as u64;
        peer.count_opened(payload);
        match (claim.numbered, peer.recognised) {
            (true, Recognised::ByPeerId)
            | (false, Recognised::ByPath | Recognised::ByPeerId)
            | (_, Recognised::BySocket | Recognised::BySocketAndId | Recognised::ByStream) => {}
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
        &self,
        newest: bool,
        peers: &mut PeerTable,
        surroundings: &Surroundings,
        events: &mut Batch<PeerEvent>,
    ) -> Result<(), DropReason> {
        let claim = self.claim;
        let Some(peer) = peers.peer(claim.peer).filter(|_| claim.numbered) else {
            return Ok(());
        };
        let (from, to) = (peer.path, self.path);
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
    fn refusal(&self, reason: DropReason) -> Option<Refusal> {
        match reason {
            DropReason::Authentication => Some(Refusal::NotAuthentic),
            DropReason::Framing => Some(Refusal::Framing),
            DropReason::Fragment => Some(Refusal::Fragment),
            DropReason::FloatTaken => Some(Refusal::Taken(self.path.remote)),
            _ => None,
        }
    }
}

const fn drop_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Malformed => DropReason::Malformed,
        OpenError::TooSmall => DropReason::Oversized,
        OpenError::Authentication => DropReason::Authentication,
        OpenError::Replay { .. } => DropReason::Replay,
        OpenError::UnknownEpoch => DropReason::UnknownKey,
        OpenError::Exhausted => DropReason::KeyExhausted,
    }
}
