//! Sessions that do nothing are ended (`inactive`).
//!
//! What a session does is looked at several times in the time that it has, so it may stay an eighth of
//! that longer.

use std::time::Duration;

use super::Shard;
use super::connections::{Key, Rest, Standing};
use super::dialed::DialedEvent;
use super::edges::Edges;
use crate::session::{Farewell, LeaveReason};
use crate::time::{Monotonic, Now};

impl<E: Edges> Shard<E> {
    /// When it is to be looked again at what a session does.
    pub(super) fn look_for_activity(&self, key: Key, now: Now) -> Option<Monotonic> {
        let tunnel = self.connections.get(key)?.standing.tunnel()?;
        let inactivity = tunnel.times.inactivity?;
        Some(now.monotonic + (inactivity.patience / LOOKS).max(LOOK_MIN))
    }

    /// Ends a session that has done too little for too long. Wire: as in 2.6 without a word to a client; a
    /// server is told what it always is when its client ends.
    pub(super) fn end_if_inactive(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(tunnel) = connection.standing.tunnel_mut() else {
            return;
        };
        let Some(inactivity) = tunnel.times.inactivity else {
            return;
        };
        let peer = self.peers.peer(tunnel.peer);
        let inner_bytes = peer.map_or(0, |peer| peer.inner_bytes);
        let done = inner_bytes.saturating_sub(tunnel.rest.inner_bytes);
        if done >= inactivity.bytes.max(1) {
            tunnel.rest = Rest {
                since: now.monotonic,
                inner_bytes,
            };
            return;
        }
        if now.monotonic < tunnel.rest.since + inactivity.patience {
            return;
        }
        // Once: the node thread hangs up, and the whole client ends.
        tunnel.times.inactivity = None;
        match (&connection.standing, connection.dialed) {
            (Standing::Client(_), _) => {
                let reason = LeaveReason::Inactive;
                connection.session.close(now, Farewell::Silent, reason);
            }
            (_, Some(dialed)) => {
                let left = DialedEvent::Left(LeaveReason::Inactive);
                self.report_dialed(dialed.attempt, left);
            }
            _ => {}
        }
    }
}

const LOOKS: u32 = 8;
const LOOK_MIN: Duration = Duration::from_secs(1);
