//! Datagrams that wait to be sent: addresses and bytes in one buffer, allocated once.

use std::net::SocketAddr;

/// Up to [`Outbox::CAPACITY`] datagrams in the order in which they are to leave.
#[derive(Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<(SocketAddr, usize)>,
}

impl Outbox {
    /// How many datagrams it takes.
    pub(super) const CAPACITY: usize = 128;

    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            datagrams: Vec::with_capacity(Self::CAPACITY),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= Self::CAPACITY
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Adds `head` and zeros behind it up to `length`; false if it is full.
    pub(super) fn push(&mut self, to: SocketAddr, head: &[u8], length: usize) -> bool {
        if self.is_full() {
            return false;
        }
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(head);
        self.bytes.resize(begin + length.max(head.len()), 0);
        self.datagrams.push((to, self.bytes.len()));
        true
    }

    /// Each datagram with its address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let mut begin = 0;
        self.datagrams.iter().map(move |(to, end)| {
            let bytes = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            (*to, bytes)
        })
    }

    /// Takes out the first `count`, which have left.
    pub(super) fn remove(&mut self, count: usize) {
        if count >= self.datagrams.len() {
            self.datagrams.clear();
            self.bytes.clear();
            return;
        }
        let end = count
            .checked_sub(1)
            .and_then(|last| self.datagrams.get(last))
            .map_or(0, |(_, end)| *end);
        self.bytes.drain(..end);
        self.datagrams.drain(..count);
        for (_, later) in &mut self.datagrams {
            *later -= end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_in_their_order() {
        let [first, second] = ["10.0.0.1:1", "[fd00::2]:2"].map(|it| it.parse().unwrap());
        let mut outbox = Outbox::new();
        assert!(outbox.push(first, b"one", 5) && outbox.push(second, b"two", 0));
        assert!(outbox.push(first, b"three", 5));
        let all: Vec<_> = outbox.iter().collect();
        let expected = [
            (first, &b"one\0\0"[..]),
            (second, b"two"),
            (first, b"three"),
        ];
        assert_eq!(all, expected);
        outbox.remove(0);
        assert_eq!(outbox.iter().count(), 3);
        outbox.remove(2);
        assert_eq!(outbox.iter().collect::<Vec<_>>(), expected[2..]);
        outbox.remove(1);
        assert!(outbox.is_empty());
        for _ in 0..Outbox::CAPACITY {
            assert!(outbox.push(first, b"x", 1));
        }
        assert!(outbox.is_full() && !outbox.push(first, b"x", 1));
    }
}
