//! Parts of packets become packets again.

use super::{Arenas, Opened};
use crate::packet::reassembly::{Part, Reassembly};
use crate::packet::{DropCounters, DropReason, PeerTable, Piece, Pool};
use crate::time::Monotonic;
use crate::wire::FragmentHeader;

/// What is behind the header of a payload, where packets are cut: itself, or the packet of which it is
/// the last part that was missing. None while others are.
pub(super) fn join(
    opened: Opened,
    peers: &mut PeerTable,
    reassembly: &mut Reassembly,
    arenas: &mut Arenas,
    (pool, drops): (&mut Pool, &mut DropCounters),
    now: Monotonic,
) -> Result<Option<Opened>, DropReason> {
    let peer = peers.peer_mut(opened.peer).ok_or(DropReason::UnknownPeer)?;
    let Some(waiting) = peer.waiting() else {
        return Ok(Some(opened));
    };
    let (header, rest) = FragmentHeader::parse(opened.bytes(arenas)).ok_or(DropReason::Fragment)?;
    if header == FragmentHeader::Whole {
        let skipped = FragmentHeader::LEN as u32;
        let piece = Piece {
            start: opened.piece.start + skipped,
            len: opened.piece.len - skipped,
        };
        return Ok(Some(Opened { piece, ..opened }));
    }
    let part = Part::new(opened.peer, header, rest).ok_or(DropReason::Fragment)?;
    let whole = reassembly.take(waiting, part, drops, now)?;
    // What was copied needs no place any more.
    if let Some(arena) = arenas.get_mut(opened.arena) {
        arena.keep(opened.piece.start as usize);
    }
    let Some(whole) = whole else {
        return Ok(None);
    };
    let (arena, target, place) = arenas
        .with_room(whole.len(), pool)
        .ok_or(DropReason::PoolEmpty)?;
    let (start, end) = (place.start, place.end);
    let out = target.bytes_mut().get_mut(place);
    out.ok_or(DropReason::PoolEmpty)?.copy_from_slice(whole);
    target.keep(end);
    let piece = Piece {
        start: start as u32,
        len: (end - start) as u32,
    };
    let peer = opened.peer;
    Ok(Some(Opened { arena, piece, peer }))
}
