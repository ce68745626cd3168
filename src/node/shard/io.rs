//! The edges of a shard with its buffers and the counts of what was dropped: who moves a packet
//! across an edge never loses its buffer, and never forgets to count.

use super::Edges;
use crate::packet::{Buffer, DropCounters, DropReason, Packet, Path, Pool};

/// A shard's edges, pool and drop counters.
pub(in crate::node) struct Io<E> {
    pub(in crate::node) edges: E,
    pub(super) pool: Pool,
    pub(super) drops: DropCounters,
}

impl<E: Edges> Io<E> {
    pub(super) fn new(edges: E, pool: Pool) -> Self {
        Self {
            edges,
            pool,
            drops: DropCounters::new(),
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

    /// Lends a buffer to the sockets again. They have room for all that they lent out; should they
    /// not, the pool takes it.
    pub(super) fn return_receive_buffer(&mut self, buffer: Buffer) {
        if let Err(buffer) = self.edges.return_receive_buffer(buffer) {
            self.pool.give(buffer);
        }
    }

    /// Lends a buffer to the tun queue again.
    pub(super) fn return_tun_buffer(&mut self, buffer: Buffer) {
        if let Err(buffer) = self.edges.return_tun_buffer(buffer) {
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
