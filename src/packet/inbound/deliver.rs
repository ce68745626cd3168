//! The last stage: to the tun device or, between clients, straight on.

use super::{InboundBatch, Opened};
use crate::packet::{
    Destination, DropCounters, InnerSource, Parcel, ParcelContent, Peer, PeerEvent, PeerTable,
    Pool, Surroundings, forward,
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
    for Opened { mut packet, .. } in batch.opened.drain() {
        match surroundings.other_client(packet.bytes(), peers) {
            Destination::Nobody => batch.to_tun.put(packet),
            Destination::Shard(shard) => {
                let parcel = Parcel {
                    from: surroundings.own,
                    packet,
                    content: ParcelContent::Inner(InnerSource::Client),
                };
                batch.elsewhere.put((shard, parcel));
            }
            Destination::Peer(peer) => {
                match forward(&mut packet, peer, peers, pool, now) {
                    Ok(datagram) => batch.to_clients.put(datagram),
                    Err(reason) => drops.count(reason),
                }
                if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
                    batch.events.put(PeerEvent::KeyNearLimit { peer, key_id });
                }
                pool.give(packet.buffer);
            }
        }
    }
}
