//! How long a session may last (`session-timeout`), and how much a key may carry (`reneg-bytes`,
//! `reneg-pkts`).
//!
//! What a key has carried is looked at every second, so it may be a second's more.

use std::time::Duration;

use super::Shard;
use super::connections::{Key, Standing};
use super::dialed::DialedEvent;
use super::edges::Edges;
use crate::packet::Traffic;
use crate::session::{Farewell, LeaveReason};
use crate::time::{Monotonic, Now};

impl<E: Edges> Shard<E> {
    /// When a session ends, or its key is to be looked at again.
    pub(super) fn look_for_life(&self, key: Key, now: Now) -> Option<Monotonic> {
        let tunnel = self.connections.get(key)?.standing.tunnel()?;
        let volume = self.network.key_volume.is_limited();
        let look = volume.then(|| now.monotonic + LOOK);
        look.into_iter().chain(tunnel.expires).min()
    }

    /// Ends a session that has lasted as long as it may. Wire: as in 2.6 without a word to a client; a
    /// server is told what it always is when its client ends.
    pub(super) fn end_in_time(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(tunnel) = connection.standing.tunnel_mut() else {
            return;
        };
        let expired = tunnel.expires.take_if(|at| *at <= now.monotonic);
        if expired.is_none() {
            return;
        }
        match (&connection.standing, connection.dialed) {
            (Standing::Client(_), _) => {
                let reason = LeaveReason::SessionTimeout;
                connection.session.close(now, Farewell::Silent, reason);
            }
            // The node thread hangs up: the whole client ends.
            (_, Some(dialed)) => {
                let left = DialedEvent::Left(LeaveReason::SessionTimeout);
                self.report_dialed(dialed.attempt, left);
            }
            _ => {}
        }
    }

    /// Asks for a new key in place of one that has carried as much as it may.
    pub(super) fn replace_worn_key(&mut self, key: Key, now: Now) {
        let volume = self.network.key_volume;
        if !volume.is_limited() {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(tunnel) = connection.standing.tunnel() else {
            return;
        };
        let Some(peer) = self.peers.peer(tunnel.peer) else {
            return;
        };
        let bytes = sum_bytes(&peer.traffic) - sum_bytes(&tunnel.key_traffic);
        let packets = sum_packets(&peer.traffic) - sum_packets(&tunnel.key_traffic);
        if volume.is_reached(bytes, packets) {
            connection.session.renegotiate_soon(now);
        }
    }
}

/// Payload bytes of both directions.
pub(super) const fn sum_bytes(traffic: &Traffic) -> u64 {
    traffic.received_bytes + traffic.sent_bytes
}

/// Packets of both directions.
pub(super) const fn sum_packets(traffic: &Traffic) -> u64 {
    traffic.received_packets + traffic.sent_packets
}

const LOOK: Duration = Duration::from_secs(1);
