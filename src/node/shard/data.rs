//! A shard's data path: from completions to batches and back to the kernel.

use super::{Shard, ShardError};
use crate::packet::{self, Packet, Path, PeerEvent, Received};
use crate::reactor::{self, Completion};
use crate::time::Now;

impl Shard {
    /// Sorts one thing that the kernel finished.
    pub(super) fn complete(&mut self, completion: Completion, now: Now) -> Result<(), ShardError> {
        match completion {
            Completion::Datagram(datagram) => self.received(datagram, now),
            Completion::TunPacket { buffer, range, .. } => {
                let packet = Packet::single(buffer, range.start as u32, range.len() as u32);
                if self.outbound.inner.is_full() {
                    self.serve_outbound(now);
                }
                if let Err(packet) = self.outbound.inner.push(packet) {
                    self.edges.return_tun_buffer(packet.buffer);
                }
            }
            Completion::Sent(sent) => self.edges.sent(sent),
            Completion::TunWritten { buffer, result, .. } => self.edges.tun_written(buffer, result),
            // The mailbox is looked at in every turn.
            Completion::Woken => {}
            Completion::SocketLost { error, .. } => return Err(ShardError::SocketLost(error)),
            Completion::TunLost { error, .. } => return Err(ShardError::TunLost(error)),
        }
        Ok(())
    }

    fn received(&mut self, datagram: reactor::Datagram, now: Now) {
        let received = Received {
            packet: Packet {
                buffer: datagram.buffer,
                start: datagram.range.start as u32,
                len: datagram.range.len() as u32,
                segment_size: datagram.segment_size as u32,
            },
            path: Path {
                remote: datagram.from,
                local: datagram.local,
                socket: datagram.socket.index() as u16,
            },
        };
        if self.inbound.received.is_full() {
            self.serve_inbound(now);
        }
        if let Err(received) = self.inbound.received.push(received) {
            self.edges.return_receive_buffer(received.packet.buffer);
        }
    }

    /// Runs both directions until nothing is left in hand.
    pub(super) fn serve_data(&mut self, now: Now) {
        self.serve_inbound(now);
        self.serve_outbound(now);
    }

    fn serve_inbound(&mut self, now: Now) {
        while !self.inbound.received.is_empty() {
            let (batch, edges) = (&mut self.inbound, &mut self.edges);
            packet::inbound(
                batch,
                &mut self.peers,
                &mut edges.pool,
                &mut edges.drops,
                now.monotonic,
            );
            for packet in batch.to_tun.drain() {
                edges.write_tun(packet);
            }
            for received in batch.control.drain() {
                if let Err(reason) = self.backlog.push(&received) {
                    edges.drops.count(reason);
                }
                edges.return_receive_buffer(received.packet.buffer);
            }
            for buffer in batch.consumed.drain() {
                edges.return_receive_buffer(buffer);
            }
            self.peer_events.extend(batch.events.drain());
        }
        self.serve_peer_events(now);
    }

    fn serve_outbound(&mut self, now: Now) {
        while !self.outbound.inner.is_empty() {
            let (batch, edges) = (&mut self.outbound, &mut self.edges);
            packet::outbound(
                batch,
                &mut self.peers,
                &mut edges.pool,
                &mut edges.drops,
                now.monotonic,
            );
            for datagram in batch.datagrams.drain() {
                edges.send(datagram.packet, datagram.path);
            }
            for buffer in batch.consumed.drain() {
                edges.return_tun_buffer(buffer);
            }
            self.peer_events.extend(batch.events.drain());
        }
        self.serve_peer_events(now);
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
            if let PeerEvent::Floated { to, .. } = event {
                self.floated(key, to);
            }
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            match event {
                PeerEvent::Floated { .. } | PeerEvent::Refused { .. } => {}
                PeerEvent::ExitNotice { .. } => connection.session.peer_exits(now),
                PeerEvent::KeyNearLimit { .. } => connection.session.renegotiate_soon(now),
                PeerEvent::FirstData { key_id, .. } => connection.session.peer_uses(key_id),
            }
            self.service(key, now);
        }
        self.peer_events = events;
    }
}
