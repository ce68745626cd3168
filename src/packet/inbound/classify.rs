//! The first stage: control or data, of which peer, or of another shard.

use super::{Addressed, Claim, InboundBatch};
use crate::packet::{
    DropCounters, DropReason, Parcel, ParcelContent, PeerIndex, PeerTable, Pool, Received,
    Surroundings,
};
use crate::wire::{self, DataHeader, PeerId};

/// Tells control from data, finds the peer of a data datagram, and copies what another shard owns into
/// a parcel. Which socket the kernel chose is not relied on.
pub(super) fn classify(
    batch: &mut InboundBatch,
    peers: &PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
) {
    let room = batch.room();
    for received in batch.received.drain_first(room) {
        let dropped = match place(&received, peers, surroundings) {
            Ok(Place::Peer(claim)) => {
                batch.addressed.put(Addressed { received, claim });
                continue;
            }
            Ok(Place::Control) => {
                batch.control.put(received);
                continue;
            }
            Ok(Place::Shard(shard)) => {
                let (bytes, content) = (received.packet.bytes(), content(&received));
                Parcel::copied(surroundings.own, bytes, content, pool)
                    .map(|parcel| batch.elsewhere.put((shard, parcel)))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = dropped {
            drops.count(reason);
        }
        batch.consumed.put(received.spent());
    }
}

/// Where a datagram belongs.
enum Place {
    Peer(Claim),
    Control,
    Shard(u16),
}

fn place(
    received: &Received,
    peers: &PeerTable,
    surroundings: &Surroundings,
) -> Result<Place, DropReason> {
    if let Some(peer) = peers.dialed_on(received.path.socket) {
        return match claim_of(received, |_| Some((peer, false)))? {
            Some(claim) => Ok(Place::Peer(claim)),
            None => Ok(Place::Control),
        };
    }
    let other = surroundings.other_shard_of(received.packet.bytes(), &received.path);
    if let Some(shard) = other
        && !received.origin.is_other_shard()
    {
        return Ok(Place::Shard(shard));
    }
    match (claim(received, peers), other) {
        // It was handed over, and only a peer that is here has a use for it.
        (Ok(None) | Err(DropReason::UnknownPeer), Some(_)) => Err(DropReason::HandedOnTwice),
        (Ok(None), None) => Ok(Place::Control),
        (Ok(Some(claim)), _) => Ok(Place::Peer(claim)),
        (Err(reason), _) => Err(reason),
    }
}

/// The claim of a data datagram, `None` for one of the control channel.
fn claim(received: &Received, peers: &PeerTable) -> Result<Option<Claim>, DropReason> {
    claim_of(received, |header| match header {
        DataHeader::V2 { peer_id, .. } if peer_id != PeerId::NONE => {
            Some((peers.by_peer_id(peer_id)?, true))
        }
        _ => Some((peers.by_path(&received.path)?, false)),
    })
}

/// The same, with the peer that `find` says, and whether it is found by its peer id.
fn claim_of(
    received: &Received,
    find: impl FnOnce(DataHeader) -> Option<(PeerIndex, bool)>,
) -> Result<Option<Claim>, DropReason> {
    let datagram = received.packet.bytes();
    if datagram.is_empty() {
        return Err(DropReason::Empty);
    }
    let (opcode, _) = wire::parse_first_byte(datagram).map_err(|_| DropReason::Malformed)?;
    if !opcode.is_data() {
        return Ok(None);
    }
    let header = DataHeader::parse(datagram).map_err(|_| DropReason::Malformed)?;
    let (peer, numbered) = find(header).ok_or(DropReason::UnknownPeer)?;
    Ok(Some(Claim {
        peer,
        key_id: header.key_id(),
        numbered,
    }))
}

fn content(received: &Received) -> ParcelContent {
    ParcelContent::Datagram(received.path)
}
