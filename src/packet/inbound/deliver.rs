//! The last stage: to the tun device or, between clients, straight on.

use super::{InboundBatch, Opened};
use crate::packet::{
    Destination, DropCounters, DropReason, InnerSource, Offload, Parcel, ParcelContent, Peer,
    PeerEvent, PeerTable, Pool, Surroundings, check_room,
};
use crate::time::Monotonic;

/// Hands inner packets on: to another client's shard or peer if clients may reach one another here,
/// else to the tun device.
pub(super) fn deliver(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    for opened in batch.opened.drain() {
        let bytes = opened.bytes_mut(&mut batch.arenas);
        let delivered = match surroundings.other_client(bytes, peers) {
            Destination::Nobody => {
                let Opened { arena, piece, .. } = opened;
                let arena = batch.arenas.get_mut(arena);
                let merged = arena.is_some_and(|arena| arena.deliver(piece.range()));
                merged.then_some(()).ok_or(DropReason::QueueFull)
            }
            Destination::Shard(shard) => {
                let content = ParcelContent::Inner(InnerSource::Client, Offload::None);
                Parcel::copied(surroundings.own, bytes, content, pool)
                    .map(|parcel| batch.elsewhere.put((shard, parcel)))
            }
            Destination::Peer(peer) => {
                let fits = check_room(bytes.len(), peer, peers);
                let sealed = fits.map(|to| to.clamp_segments(bytes)).and_then(|()| {
                    let (runs, closed) = (&mut batch.runs, &mut batch.to_clients);
                    runs.seal(peers, peer, bytes, pool, closed, now)
                });
                if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
                    batch.events.put(PeerEvent::KeyNearLimit { peer, key_id });
                }
                sealed
            }
        };
        if let Err(reason) = delivered {
            drops.count(reason);
        }
    }
    batch.runs.finish(peers, pool, &mut batch.to_clients);
    batch.arenas.finish(pool);
}
