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

    /// How many more it takes.
    pub(super) fn room(&self) -> usize {
        Self::CAPACITY - self.datagrams.len()
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

    /// Datagrams in a row that are for the same receiver and equally long, the last of each run perhaps shorter:
    /// what the kernel takes as one.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut datagrams = self.iter().peekable();
        let mut begin = 0;
        std::iter::from_fn(move || {
            let (to, first) = datagrams.next()?;
            let (segment, mut length, mut count) = (first.len(), first.len(), 1);
            while length == count * segment
                && count < SEGMENTS_MAX
                && let Some((_, next)) = datagrams.next_if(|(other, next)| {
                    *other == to && next.len() <= segment && length + next.len() <= RUN_MAX
                })
            {
                length += next.len();
                count += 1;
            }
            let bytes = self.bytes.get(begin..begin + length).unwrap_or_default();
            begin += length;
            Some(Run {
                to,
                bytes,
                segment,
                count,
            })
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

/// Datagrams to one receiver, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) to: SocketAddr,
    pub(super) bytes: &'a [u8],
    /// Bytes of each but the last.
    pub(super) segment: usize,
    pub(super) count: usize,
}

/// As many as any kernel takes as one. Source: UDP_MAX_SEGMENTS of Linux before 6.9.
const SEGMENTS_MAX: usize = 64;
/// An IP packet with its headers has 65,535 bytes.
const RUN_MAX: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_for_one_receiver_and_only_its_last_is_shorter() {
        let [first, second] = ["10.0.0.1:1", "10.0.0.2:1"].map(|it| it.parse().unwrap());
        let mut outbox = Outbox::new();
        assert_eq!(outbox.runs().count(), 0);
        let pushed = [
            (first, 100),
            (first, 100),
            (first, 40),
            (first, 100),
            (second, 100),
            (second, 101),
        ];
        for (to, length) in pushed {
            assert!(outbox.push(to, b"x", length));
        }
        let runs: Vec<_> = outbox.runs().collect();
        let shapes: Vec<_> = runs
            .iter()
            .map(|run| (run.to, run.segment, run.count, run.bytes.len()))
            .collect();
        let expected = [
            (first, 100, 3, 240),
            (first, 100, 1, 100),
            (second, 100, 1, 100),
            (second, 101, 1, 101),
        ];
        assert_eq!(shapes, expected);
        let singles: Vec<_> = outbox.iter().flat_map(|(_, bytes)| bytes).collect();
        let together: Vec<_> = runs.iter().flat_map(|run| run.bytes).collect();
        assert_eq!(singles, together);
    }

    #[test]
    fn a_run_is_no_longer_than_the_kernel_takes() {
        let to = "10.0.0.1:1".parse().unwrap();
        for (length, longest) in [(1, SEGMENTS_MAX), (1372, RUN_MAX / 1372)] {
            let mut outbox = Outbox::new();
            while outbox.push(to, b"x", length) {}
            let counts: Vec<_> = outbox.runs().map(|run| run.count).collect();
            assert_eq!(counts.iter().sum::<usize>(), Outbox::CAPACITY);
            assert_eq!(counts.iter().max(), Some(&longest));
        }
    }

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
