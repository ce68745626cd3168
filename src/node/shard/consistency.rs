//! What peers ask about the channel itself: each other's options, and how large datagrams can be (`mtu-test`).
//!
//! Wire: 2.6 answers in either role (wire.md section 9.3). The sizes that it tells are those of all datagrams, here
//! they are those of the test, which are no smaller.

use super::Shard;
use super::connections::Key;
use super::edges::Edges;
use crate::packet::Question;
use crate::time::Now;
use crate::wire::{OCC_MAGIC, OccMessage};

/// The largest datagrams of a test.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    received: u16,
    sent: u16,
}

impl<E: Edges> Shard<E> {
    /// Answers a question of a peer, whoever of the two it is.
    pub(super) fn answer(&mut self, key: Key, question: Question, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let options = &connection.session.settings().options_string;
        let mut answer = Vec::new();
        if question == Question::Options {
            OccMessage::Reply(options).emit(&mut answer);
            return self.send_payload(key, &answer, now);
        }
        let Some(tunnel) = connection.standing.tunnel_mut() else {
            return;
        };
        let Some(peer) = self.peers.peer(tunnel.peer) else {
            return;
        };
        let datagram = |payload: usize| {
            let length = peer.datagram_len(payload).ok();
            length.and_then(|it| u16::try_from(it).ok()).unwrap_or(0)
        };
        let sizes = &mut tunnel.sizes;
        match question {
            Question::Options => {}
            Question::Loaded(payload) => {
                sizes.received = sizes.received.max(datagram(payload.into()));
                return;
            }
            Question::Load(wanted) => {
                let padding = peer.payload_max(wanted).saturating_sub(LOAD_HEADER);
                OccMessage::Load(padding).emit(&mut answer);
                sizes.sent = sizes.sent.max(datagram(answer.len()));
            }
            Question::Sizes => {
                let Sizes { received, sent } = *sizes;
                OccMessage::Sizes { received, sent }.emit(&mut answer);
            }
        }
        self.send_payload(key, &answer, now);
    }
}

/// What stands before the padding.
const LOAD_HEADER: usize = OCC_MAGIC.len() + 1;
