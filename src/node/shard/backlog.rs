//! Control datagrams that wait for their turn, copied out of their receive buffers.
//!
//! There is a queue for each kind of sender, with a bound of its own: a flood of strangers pushes out
//! other strangers only, and sessions that a stranger can make push out no client's renegotiation.
//! Clients are served before handshakes and those before strangers, so that what has begun is
//! finished before more begins. That none waits for ever, each queue has its part of the turns.

use std::collections::VecDeque;

use super::connections::Sender;
use crate::limits::{CLIENT_BACKLOG, CONTROL_DATAGRAM_MAX, HALF_OPEN_BACKLOG, STRANGER_BACKLOG};
use crate::packet::{DropReason, Path};

/// The control datagrams that wait in a shard.
#[derive(Debug)]
pub(super) struct Backlog {
    clients: VecDeque<Waiting>,
    half_open: VecDeque<Waiting>,
    strangers: VecDeque<Waiting>,
    /// Counts datagrams that were taken out.
    taken: usize,
}

/// A control datagram and where it came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) path: Path,
    pub(super) datagram: Vec<u8>,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            clients: VecDeque::new(),
            half_open: VecDeque::new(),
            strangers: VecDeque::new(),
            taken: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.half_open.is_empty() && self.strangers.is_empty()
    }

    /// Datagrams that wait.
    pub(super) fn len(&self) -> usize {
        self.clients.len() + self.half_open.len() + self.strangers.len()
    }

    /// Copies a datagram.
    ///
    /// # Errors
    /// Why it is dropped.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        path: Path,
        sender: Sender,
    ) -> Result<(), DropReason> {
        if bytes.len() > CONTROL_DATAGRAM_MAX {
            return Err(DropReason::Oversized);
        }
        let (bound, full) = match sender {
            Sender::Client => (CLIENT_BACKLOG, DropReason::QueueFull),
            Sender::HalfOpen => (HALF_OPEN_BACKLOG, DropReason::HandshakeBacklog),
            Sender::Stranger => (STRANGER_BACKLOG, DropReason::StrangerBacklog),
        };
        let queue = self.queue(sender);
        if queue.len() >= bound {
            return Err(full);
        }
        queue.push_back(Waiting {
            path,
            datagram: bytes.to_vec(),
        });
        Ok(())
    }

    /// Takes the datagram that is served next.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let turn = TURNS[self.taken % TURNS.len()];
        self.taken = self.taken.wrapping_add(1);
        let in_order = [turn, Sender::Client, Sender::HalfOpen, Sender::Stranger];
        in_order
            .into_iter()
            .find_map(|sender| self.queue(sender).pop_front())
    }

    /// Forgets what came by a stream that is gone.
    pub(super) fn forget(&mut self, stream: u16) {
        for sender in [Sender::Client, Sender::HalfOpen, Sender::Stranger] {
            let queue = self.queue(sender);
            queue.retain(|waiting| waiting.path.socket != stream);
        }
    }

    fn queue(&mut self, sender: Sender) -> &mut VecDeque<Waiting> {
        match sender {
            Sender::Client => &mut self.clients,
            Sender::HalfOpen => &mut self.half_open,
            Sender::Stranger => &mut self.strangers,
        }
    }
}

/// Whose turn it is; where nothing waits there, the queues are looked at in their order.
const TURNS: [Sender; 8] = [
    Sender::Client,
    Sender::HalfOpen,
    Sender::Client,
    Sender::HalfOpen,
    Sender::Client,
    Sender::HalfOpen,
    Sender::Client,
    Sender::Stranger,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A backlog into which so many were pushed of each kind, each marked with its sender and place.
    fn filled(counts: [(Sender, usize); 3]) -> (Backlog, Vec<DropReason>) {
        let (mut backlog, mut drops) = (Backlog::new(), Vec::new());
        for (sender, count) in counts {
            for place in 0..count {
                drops.extend(push(&mut backlog, sender, &mark(sender, place)).err());
            }
        }
        (backlog, drops)
    }

    fn push(backlog: &mut Backlog, sender: Sender, bytes: &[u8]) -> Result<(), DropReason> {
        let path = Path {
            remote: "192.0.2.1:1194".parse().expect("an address"),
            local: None,
            socket: 0,
        };
        backlog.push(bytes, path, sender)
    }

    fn mark(sender: Sender, place: usize) -> [u8; 3] {
        let [.., high, low] = place.to_be_bytes();
        [sender as u8, high, low]
    }

    fn served(backlog: &mut Backlog, count: usize) -> Vec<u8> {
        let next = || backlog.pop().map(|waiting| waiting.datagram[0]);
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn a_flood_pushes_out_its_own_kind_only() {
        for (flooder, full) in [
            (Sender::Stranger, DropReason::StrangerBacklog),
            (Sender::HalfOpen, DropReason::HandshakeBacklog),
            (Sender::Client, DropReason::QueueFull),
        ] {
            let kinds = [Sender::Stranger, Sender::HalfOpen, Sender::Client];
            let (mut backlog, drops) = filled(kinds.map(|sender| {
                let flood = sender == flooder;
                (sender, if flood { 10_000 } else { 100 })
            }));
            assert!(drops.iter().all(|&reason| reason == full), "{flooder:?}");
            assert_eq!(drops.len(), 10_000 - 512, "{flooder:?}");
            let all = served(&mut backlog, usize::MAX);
            for sender in kinds {
                let of_sender = all.iter().filter(|&&of| of == sender as u8).count();
                let expected = if sender == flooder { 512 } else { 100 };
                assert_eq!(of_sender, expected, "{flooder:?}: {sender:?}");
            }
            assert!(backlog.is_empty());
        }
    }

    #[test]
    fn clients_come_first_and_strangers_have_their_part() {
        let all = [Sender::Client, Sender::HalfOpen, Sender::Stranger];
        let [client, half_open, stranger] = all.map(|sender| sender as u8);
        let count = |served: &[u8]| all.map(|of| served.iter().filter(|&&s| s == of as u8).count());
        let (mut backlog, _) = filled(all.map(|sender| (sender, 400)));
        assert_eq!(count(&served(&mut backlog, 800)), [400, 300, 100]);
        let (mut backlog, _) = filled([
            (Sender::Client, 1),
            (Sender::HalfOpen, 2),
            (Sender::Stranger, 3),
        ]);
        assert_eq!(
            served(&mut backlog, 9),
            [client, half_open, half_open, stranger, stranger, stranger]
        );
    }

    #[test]
    fn datagrams_of_one_kind_keep_their_order() {
        let (mut backlog, _) = filled([
            (Sender::Stranger, 300),
            (Sender::HalfOpen, 0),
            (Sender::Client, 0),
        ]);
        for place in 0..300 {
            let waiting = backlog.pop().expect("one more");
            assert_eq!(waiting.datagram, mark(Sender::Stranger, place));
        }
        assert_eq!(backlog.pop(), None);
    }

    #[test]
    fn what_is_too_long_does_not_wait() {
        let mut backlog = Backlog::new();
        for (length, verdict) in [(2_048, Ok(())), (2_049, Err(DropReason::Oversized))] {
            let pushed = push(&mut backlog, Sender::Client, &vec![0; length]);
            assert_eq!(pushed, verdict, "{length}");
        }
    }
}
