//! Clients that do nothing are ended (`inactive`).
//!
//! What a client does is looked at several times in the time that it has, so it may stay an eighth of
//! that longer.

use std::time::Duration;

use super::Shard;
use super::connections::{Key, Rest, Standing};
use super::edges::Edges;
use crate::session::{Farewell, LeaveReason};
use crate::time::{Monotonic, Now};

impl<E: Edges> Shard<E> {
    /// When it is to be looked again at what a client does.
    pub(super) fn look_for_activity(&self, key: Key, now: Now) -> Option<Monotonic> {
        let inactivity = self.network.inactivity?;
        let connection = self.connections.get(key)?;
        matches!(connection.standing, Standing::Client(_))
            .then(|| now.monotonic + (inactivity.patience / LOOKS).max(LOOK_MIN))
    }

    /// Ends a client that has done too little for too long. Wire: as in 2.6 without a word to it.
    pub(super) fn end_if_inactive(&mut self, key: Key, now: Now) {
        let Some(inactivity) = self.network.inactivity else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Standing::Client(client) = &mut connection.standing else {
            return;
        };
        let peer = self.peers.peer(client.tunnel.peer);
        let inner_bytes = peer.map_or(0, |peer| peer.inner_bytes);
        let done = inner_bytes.saturating_sub(client.rest.inner_bytes);
        if done >= inactivity.bytes.max(1) {
            client.rest = Rest {
                since: now.monotonic,
                inner_bytes,
            };
        } else if now.monotonic >= client.rest.since + inactivity.patience {
            connection
                .session
                .close(now, Farewell::Silent, LeaveReason::Inactive);
        }
    }
}

const LOOKS: u32 = 8;
const LOOK_MIN: Duration = Duration::from_secs(1);
