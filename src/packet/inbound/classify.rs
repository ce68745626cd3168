//! The first stage: control or data, of which peer, or of another shard.

use super::{Addressed, Claim, InboundBatch, Segment};
use crate::limits::SEGMENTS_MAX;
use crate::packet::{
    DropCounters, DropReason, Parcel, ParcelContent, PeerIndex, PeerTable, Pool, Received,
    Surroundings,
};
use crate::wire::{self, DataHeader, PeerId};

/// Tells control from data, finds the peer of each data datagram, and copies what another shard owns
/// into a parcel. Which socket the kernel chose is not relied on: it looked at the first datagram of
/// a receive only.
pub(super) fn classify(
    batch: &mut InboundBatch,
    peers: &PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
) {
    let first = batch.held.len();
    let count = receives_with_room(batch);
    for received in batch.received.drain_first(count) {
        batch.held.put(received);
    }
    for (received, number) in batch.held.iter().zip(0..).skip(first) {
        let dialed = peers.by_socket(received.path.socket).is_some();
        let mut former = Former::default();
        for piece in received.pieces().take(SEGMENTS_MAX) {
            let segment = Segment {
                received: number,
                piece,
            };
            let datagram = segment.bytes(received);
            let find = || place(datagram, received, peers, surroundings);
            let place = former.place(datagram, dialed, find);
            let dropped = match place {
                Ok(Place::Peer(claim)) => {
                    batch.addressed.put(Addressed { segment, claim });
                    continue;
                }
                Ok(Place::Control) => {
                    batch.control.put(segment);
                    continue;
                }
                Ok(Place::Shard(shard)) => {
                    let content = ParcelContent::Datagram(received.path);
                    Parcel::copied(surroundings.own, datagram, content, pool)
                        .map(|parcel| batch.elsewhere.put((shard, parcel)))
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = dropped {
                drops.count(reason);
            }
        }
        let beyond = received.segments().saturating_sub(SEGMENTS_MAX);
        drops.count_many(DropReason::Malformed, beyond as u64);
    }
}

/// How many receives, from the first on, the outputs have room for.
fn receives_with_room(batch: &InboundBatch) -> usize {
    let (mut segments, mut bytes) = (batch.room(), batch.room_in_arenas());
    let fits = |received: &&Received| {
        let length = received.packet.len as usize;
        let has = (received.segments().min(SEGMENTS_MAX), length);
        let left = segments.checked_sub(has.0).zip(bytes.checked_sub(has.1));
        left.map(|left| (segments, bytes) = left).is_some()
    };
    let count = batch.received.iter().take_while(fits).count();
    count.min(batch.held.room())
}

/// What was found for the datagram before in the same receive: mostly it goes for the next one, too.
#[derive(Default)]
struct Former {
    /// The header of a data packet with a peer id, and where it belongs.
    found: Option<([u8; DataHeader::LEN_MAX], Place)>,
}

impl Former {
    fn place(
        &mut self,
        datagram: &[u8],
        dialed: bool,
        find: impl FnOnce() -> Result<Place, DropReason>,
    ) -> Result<Place, DropReason> {
        let header = datagram.first_chunk().copied();
        if let (Some(header), Some((former, place))) = (header, self.found)
            && header == former
        {
            return Ok(place);
        }
        let place = find()?;
        // What the first four bytes do not decide is looked at each time.
        let decided = matches!(place, Place::Peer(Claim { numbered, .. }) if numbered || dialed);
        self.found = header.filter(|_| decided).map(|header| (header, place));
        Ok(place)
    }
}

/// Where a datagram belongs.
#[derive(Clone, Copy)]
enum Place {
    Peer(Claim),
    Control,
    Shard(u16),
}

fn place(
    datagram: &[u8],
    received: &Received,
    peers: &PeerTable,
    surroundings: &Surroundings,
) -> Result<Place, DropReason> {
    // Who is there by itself needs no other way to be found; on a stream nobody else ever is.
    let peer = peers.by_socket(received.path.socket);
    if peer.is_some() || received.path.is_stream() {
        return match claim_of(datagram, |_| Some((peer?, false)))? {
            Some(claim) => Ok(Place::Peer(claim)),
            None => Ok(Place::Control),
        };
    }
    let other = surroundings.other_shard_of(datagram, &received.path);
    if let Some(shard) = other
        && !received.origin.is_other_shard()
    {
        return Ok(Place::Shard(shard));
    }
    match (claim(datagram, received, peers), other) {
        // It was handed over, and only a peer that is here has a use for it.
        (Ok(None) | Err(DropReason::UnknownPeer), Some(_)) => Err(DropReason::HandedOnTwice),
        (Ok(None), None) => Ok(Place::Control),
        (Ok(Some(claim)), _) => Ok(Place::Peer(claim)),
        (Err(reason), _) => Err(reason),
    }
}

/// The claim of a data datagram, `None` for one of the control channel.
fn claim(
    datagram: &[u8],
    received: &Received,
    peers: &PeerTable,
) -> Result<Option<Claim>, DropReason> {
    claim_of(datagram, |header| match header {
        DataHeader::V2 { peer_id, .. } if peer_id != PeerId::NONE => {
            match peers.dialed_as(received.path.socket, peer_id) {
                Some(peer) => Some((peer, false)),
                None => Some((peers.by_peer_id(peer_id)?, true)),
            }
        }
        _ => Some((peers.by_path(&received.path)?, false)),
    })
}

/// The same, with the peer that `find` says, and whether it is found by its peer id.
fn claim_of(
    datagram: &[u8],
    find: impl FnOnce(DataHeader) -> Option<(PeerIndex, bool)>,
) -> Result<Option<Claim>, DropReason> {
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
