//! The edges of a shard with its buffers and the counts of what was dropped and handed over: who moves a packet
//! across an edge never loses its buffer, and never forgets to count.

use super::Edges;
use crate::packet::{
    Buffer, DropCounters, DropReason, HandOffCounters, Origin, Packet, Parcel, Path, Pool, Spent,
};

/// A shard's edges, pool and counters.
pub(in crate::node) struct Io<E> {
    pub(in crate::node) edges: E,
    pub(super) pool: Pool,
    pub(super) drops: DropCounters,
    pub(super) hand_offs: HandOffCounters,
}

impl<E: Edges> Io<E> {
    pub(super) fn new(edges: E, pool: Pool) -> Self {
        Self {
            edges,
            pool,
            drops: DropCounters::new(),
            hand_offs: HandOffCounters::new(),
        }
    }

    /// Sends a datagram, or counts why not.
    pub(super) fn send(&mut self, packet: Packet, path: Path) {
        if let Err((buffer, reason)) = self.edges.send(packet, path) {
            self.drop_buffer(buffer, reason);
        }
    }

    /// Copies a datagram into a buffer and sends it, or counts why not.
    pub(super) fn send_bytes(&mut self, bytes: &[u8], path: Path) {
        let Some(mut buffer) = self.pool.take() else {
            return self.drops.count(DropReason::PoolEmpty);
        };
        let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) else {
            return self.drop_buffer(buffer, DropReason::Oversized);
        };
        room.copy_from_slice(bytes);
        self.send(Packet::single(buffer, 0, bytes.len() as u32), path);
    }

    /// Writes an inner packet to the tun queue, or counts why not.
    pub(super) fn write_tun(&mut self, packet: Packet) {
        if let Err((buffer, reason)) = self.edges.write_tun(packet) {
            self.drop_buffer(buffer, reason);
        }
    }

    /// Hands a packet to another shard, or counts why not.
    pub(super) fn hand_off(&mut self, to: u16, parcel: Parcel) {
        let kind = parcel.content.kind();
        match self.edges.hand_off(to, parcel) {
            Ok(()) => self.hand_offs.of_mut(kind).sent += 1,
            Err(parcel) => {
                self.hand_offs.of_mut(kind).refused += 1;
                self.drop_buffer(parcel.packet.buffer, DropReason::MailboxFull);
            }
        }
    }

    /// Gives a buffer back to where its packet came from. Who lent one out has room for it; should
    /// the kernel's rings not, the pool takes it.
    pub(super) fn give_back(&mut self, Spent { buffer, origin }: Spent) {
        let returned = match origin {
            Origin::Socket => self.edges.return_receive_buffer(buffer),
            Origin::Tun => self.edges.return_tun_buffer(buffer),
            Origin::Shard(shard) => {
                self.edges.give_back(shard, buffer);
                Ok(())
            }
        };
        if let Err(buffer) = returned {
            self.pool.give(buffer);
        }
    }

    /// Takes the buffers back that the world is done with.
    pub(super) fn reclaim(&mut self) {
        while let Some((buffer, dropped)) = self.edges.reclaim() {
            self.pool.give(buffer);
            if let Some(reason) = dropped {
                self.drops.count(reason);
            }
        }
    }

    /// Counts packets that were lost before they came here.
    pub(in crate::node) fn lost(&mut self, reason: DropReason, packets: u64) {
        self.drops.count_many(reason, packets);
    }

    fn drop_buffer(&mut self, buffer: Buffer, reason: DropReason) {
        self.drops.count(reason);
        self.pool.give(buffer);
    }
}
