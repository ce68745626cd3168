//! The edges of a shard with its buffers and the counts of what was dropped and handed over: who moves a packet
//! across an edge never loses its buffer, and never forgets to count.

use std::collections::VecDeque;

use super::Edges;
use super::edges::{Done, Dropped, Outgoing};
use crate::packet::{
    Buffer, Datagram, DropCounters, DropReason, Gathered, HandOffCounters, Origin, Packet, Parcel,
    Path, PeerIndex, Piece, Pool, Spent, TrafficClass,
};
use crate::wire::stream_header;

/// A shard's edges, pool and counters.
pub(in crate::node) struct Io<E> {
    pub(in crate::node) edges: E,
    pub(in crate::node) pool: Pool,
    pub(in crate::node) drops: DropCounters,
    pub(super) hand_offs: HandOffCounters,
    /// Runs that came back, and what was to follow them.
    refused: VecDeque<Outgoing>,
}

impl<E: Edges> Io<E> {
    pub(in crate::node) fn new(edges: E, pool: Pool) -> Self {
        Self {
            edges,
            pool,
            drops: DropCounters::new(),
            hand_offs: HandOffCounters::new(),
            refused: VecDeque::new(),
        }
    }

    /// Sends datagrams of a peer, or counts why not.
    pub(in crate::node) fn send(&mut self, datagram: Datagram) {
        self.send_outgoing(Outgoing {
            packet: datagram.packet,
            path: datagram.path,
            class: datagram.class,
            peer: Some(datagram.peer),
        });
    }

    /// Copies a datagram into a buffer and sends it, or counts why not.
    pub(super) fn send_bytes(&mut self, bytes: &[u8], path: Path, peer: Option<PeerIndex>) {
        self.send_classed(bytes, path, TrafficClass::DEFAULT, peer);
    }

    fn send_classed(
        &mut self,
        bytes: &[u8],
        path: Path,
        class: TrafficClass,
        peer: Option<PeerIndex>,
    ) {
        let Some(mut buffer) = self.pool.take() else {
            return self.drops.count(DropReason::PoolEmpty);
        };
        let frame = stream_header(bytes.len()).filter(|_| path.is_stream());
        let frame: &[u8] = frame.as_ref().map_or(&[], |frame| frame);
        let length = frame.len() + bytes.len();
        let Some(room) = buffer.bytes_mut().get_mut(..length) else {
            return self.drop_buffer(buffer, DropReason::Oversized);
        };
        let (before, room) = room.split_at_mut(frame.len());
        before.copy_from_slice(frame);
        room.copy_from_slice(bytes);
        let packet = Packet::single(buffer, 0, length as u32);
        self.send_outgoing(Outgoing {
            packet,
            path,
            class,
            peer,
        });
    }

    fn send_outgoing(&mut self, outgoing: Outgoing) {
        if let Err(dropped) = self.edges.send(outgoing) {
            self.note_dropped(dropped);
        }
    }

    /// Writes inner packets to the tun queue, or counts why not.
    pub(super) fn write_tun(&mut self, buffer: Buffer, packets: &[Gathered], pieces: &[Piece]) {
        if let Err(dropped) = self.edges.write_tun(buffer, packets, pieces) {
            self.note_dropped(dropped);
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
            Origin::Stream => Err(buffer),
            Origin::Shard(shard) => {
                self.edges.give_back(shard, buffer);
                Ok(())
            }
        };
        if let Err(buffer) = returned {
            self.pool.give(buffer);
        }
    }

    /// Takes back what the world is done with. `run_refused` hears of each peer for which it takes no
    /// sends of several datagrams; these leave one by one.
    pub(in crate::node) fn reclaim(&mut self, mut run_refused: impl FnMut(PeerIndex)) {
        loop {
            while let Some(done) = self.edges.reclaim() {
                match done {
                    Done::Free(buffer) => self.pool.give(buffer),
                    Done::Dropped(dropped) => self.note_dropped(dropped),
                    Done::RunRefused(outgoing) => {
                        outgoing.peer.into_iter().for_each(&mut run_refused);
                        self.refused.push_back(outgoing);
                    }
                }
            }
            // Only now that the world has nothing more of a peer does the first of them go first.
            let Some(run) = self.refused.pop_front() else {
                return;
            };
            self.send_one_by_one(run);
        }
    }

    /// Sends each datagram of a run by itself.
    fn send_one_by_one(&mut self, run: Outgoing) {
        let Outgoing {
            packet,
            path,
            class,
            peer,
        } = run;
        for piece in packet.pieces() {
            let bytes = packet.buffer.bytes().get(piece.range());
            self.send_classed(bytes.unwrap_or_default(), path, class, peer);
        }
        self.pool.give(packet.buffer);
    }

    /// Counts packets that were lost before they came here.
    pub(in crate::node) fn lost(&mut self, reason: DropReason, packets: u64) {
        self.drops.count_many(reason, packets);
    }

    fn note_dropped(&mut self, dropped: Dropped) {
        self.drops.count_many(dropped.reason, dropped.packets);
        if let Some(buffer) = dropped.buffer {
            self.pool.give(buffer);
        }
    }

    fn drop_buffer(&mut self, buffer: Buffer, reason: DropReason) {
        self.drops.count(reason);
        self.pool.give(buffer);
    }
}
