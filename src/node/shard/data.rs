//! A shard's data path: from what came in to batches, and from batches to the io.

use super::{Edges, Shard};
use crate::packet::{self, Inner, Offload, Origin, Packet, Parcel, PeerEvent, Received};
use crate::time::Now;

impl<E: Edges> Shard<E> {
    /// Takes what came from a socket in one receive, in one of the buffers that were lent there.
    pub fn take_datagram(&mut self, received: Received) {
        if self.inbound.received.is_full() {
            let now = self.io.edges.now();
            self.serve_inbound(now);
        }
        if let Err(received) = self.inbound.received.push(received) {
            self.io.give_back(received.spent());
        }
    }

    /// Takes an inner packet that came from the tun queue, in one of the buffers that were lent
    /// there, with what is left to do on it.
    pub fn take_tun_packet(&mut self, packet: Packet, offload: Offload) {
        if self.outbound.inner.is_full() {
            let now = self.io.edges.now();
            self.serve_outbound(now);
        }
        let inner = Inner {
            packet,
            origin: Origin::Tun,
            offload,
        };
        if let Err(inner) = self.outbound.inner.push(inner) {
            self.io.give_back(inner.spent());
        }
    }

    /// Takes a packet that another shard has handed over.
    pub fn take_parcel(&mut self, parcel: Parcel) {
        let kind = parcel.content.kind();
        self.io.hand_offs.of_mut(kind).received += 1;
        let Err(parcel) = parcel.unpack(&mut self.inbound, &mut self.outbound) else {
            return;
        };
        let now = self.io.edges.now();
        self.serve_data(now);
        if let Err(parcel) = parcel.unpack(&mut self.inbound, &mut self.outbound) {
            self.io.edges.give_back(parcel.from, parcel.packet.buffer);
        }
    }

    /// Runs both directions until nothing is left in hand.
    pub(super) fn serve_data(&mut self, now: Now) {
        self.serve_inbound(now);
        self.serve_outbound(now);
    }

    fn serve_inbound(&mut self, now: Now) {
        while !self.inbound.received.is_empty() {
            self.follow_streams();
            let (batch, io) = (&mut self.inbound, &mut self.io);
            packet::inbound(
                batch,
                &mut self.peers,
                &mut io.pool,
                &mut io.drops,
                &self.surroundings,
                now.monotonic,
            );
            batch.write_tun(|buffer, packets, pieces| io.write_tun(buffer, packets, pieces));
            for datagram in batch.to_clients.drain() {
                io.send(datagram);
            }
            for (shard, parcel) in batch.elsewhere.drain() {
                io.hand_off(shard, parcel);
            }
            for (datagram, path) in batch.control() {
                let sender = self.connections.sender_of(datagram, &path);
                if let Err(reason) = self.backlog.push(datagram, path, sender) {
                    io.drops.count(reason);
                }
            }
            for spent in batch.spent() {
                io.give_back(spent);
            }
            self.peer_events.extend(batch.events.drain());
        }
        self.serve_peer_events(now);
    }

    fn serve_outbound(&mut self, now: Now) {
        while !self.outbound.is_done() {
            self.follow_streams();
            let (batch, io) = (&mut self.outbound, &mut self.io);
            packet::outbound(
                batch,
                &mut self.peers,
                &mut io.pool,
                &mut io.drops,
                &self.surroundings,
                now.monotonic,
            );
            for datagram in batch.datagrams.drain() {
                io.send(datagram);
            }
            for (shard, parcel) in batch.elsewhere.drain() {
                io.hand_off(shard, parcel);
            }
            for spent in batch.consumed.drain() {
                io.give_back(spent);
            }
            self.peer_events.extend(batch.events.drain());
            // Where each packet leaves by itself, a batch has more of them than the pool has buffers.
            self.reclaim(now);
        }
        self.serve_peer_events(now);
    }

    /// Looks which streams have room before something is sealed.
    pub(super) fn follow_streams(&mut self) {
        if let Some(full) = self.io.edges.full_streams() {
            self.peers.follow_streams(full);
        }
    }

    /// What the data path tells sessions.
    fn serve_peer_events(&mut self, now: Now) {
        let mut events = std::mem::take(&mut self.peer_events);
        for event in events.drain(..) {
            let Some(key) = self.connections.by_peer(event.peer()) else {
                continue;
            };
            if let PeerEvent::Refused { refusal, .. } = event {
                self.packet_refused(key, refusal, now);
                continue;
            }
            if let PeerEvent::Asked { question, .. } = event {
                self.answer(key, question, now);
                continue;
            }
            if let PeerEvent::Floated { to, .. } = event {
                self.floated(key, to);
            }
            if let PeerEvent::IgnoresPeerId { .. } = event {
                self.ignores_peer_id(key, now);
            }
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            match event {
                PeerEvent::Floated { .. }
                | PeerEvent::IgnoresPeerId { .. }
                | PeerEvent::Asked { .. }
                | PeerEvent::Refused { .. } => {}
                PeerEvent::ExitNotice { .. } => connection.session.peer_exits(now),
                PeerEvent::KeyNearLimit { .. } => connection.session.renegotiate_soon(now),
                PeerEvent::FirstData { key_id, .. } => {
                    connection.session.peer_uses(now, &mut *self.random, key_id);
                }
            }
            self.service(key, now);
        }
        self.peer_events = events;
    }
}
