//! How many buffers the kernel has for what comes in.
//!
//! It fills them in the order in which they were lent, so that each is as cold as there are others: all
//! of them together should fit the cache of a core. Super-packets fill a buffer, and few are enough;
//! of single packets a turn brings many, and each leaves most of its buffer untouched.

use crate::limits::{BUFFERS_LENT_MIN, BYTES_LENT};
use crate::packet::Buffer;

/// The buffers of one ring: those that are lent are counted by the ring, the others are here.
#[derive(Debug)]
pub struct Lending {
    /// Most recently used last.
    spare: Vec<Buffer>,
    /// Buffers in all, here and lent.
    size: usize,
    /// The mean length of what came lately, in bytes and [`WEIGHT`]ths of it.
    mean: usize,
}

impl Lending {
    /// All of these, of which nothing is known yet.
    pub fn new(spare: Vec<Buffer>) -> Self {
        Self {
            size: spare.len(),
            spare,
            mean: BYTES_LENT * WEIGHT,
        }
    }

    /// Notes the length of something that came, in bytes.
    pub fn note(&mut self, length: usize) {
        self.mean = self.mean - self.mean / WEIGHT + length;
    }

    /// Takes a buffer that came back.
    pub fn give(&mut self, buffer: Buffer) {
        self.spare.push(buffer);
    }

    /// The next buffer to lend, when so many are lent.
    pub fn take(&mut self, lent: usize) -> Option<Buffer> {
        let wanted = lent < self.wanted();
        wanted.then(|| self.spare.pop()).flatten()
    }

    /// Buffers that should be lent.
    fn wanted(&self) -> usize {
        let mean = (self.mean / WEIGHT).max(1);
        (BYTES_LENT / mean).max(BUFFERS_LENT_MIN).min(self.size)
    }
}

/// One packet in so many makes the mean.
const WEIGHT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SUPER_PACKET, TUN_BUFFERS};
    use crate::packet::Pool;

    fn all() -> Lending {
        let mut pool = Pool::new(TUN_BUFFERS as u32);
        Lending::new(std::iter::from_fn(|| pool.take()).collect())
    }

    /// Lends what is wanted, as a ring that has `lent` so far.
    fn lend(lending: &mut Lending, lent: &mut Vec<Buffer>) {
        while let Some(buffer) = lending.take(lent.len()) {
            lent.push(buffer);
        }
    }

    #[test]
    fn few_buffers_are_lent_for_super_packets_and_many_for_small_ones() {
        for (length, expected) in [
            (SUPER_PACKET, BUFFERS_LENT_MIN),
            (SUPER_PACKET / 2, BYTES_LENT / (SUPER_PACKET / 2)),
            (9000, BYTES_LENT / 9000),
            (1500, TUN_BUFFERS),
            (64, TUN_BUFFERS),
            (0, TUN_BUFFERS),
        ] {
            let mut lending = all();
            (0..1000).for_each(|_| lending.note(length));
            let mut lent = Vec::new();
            lend(&mut lending, &mut lent);
            // The mean is rounded down, at most by one.
            let at_most = (BYTES_LENT / length.saturating_sub(1).max(1)).clamp(1, TUN_BUFFERS);
            assert!(lent.len() >= expected, "{length}: {}", lent.len());
            assert!(
                lent.len() <= at_most.max(expected),
                "{length}: {}",
                lent.len()
            );
        }
    }

    #[test]
    fn nothing_is_known_at_first_and_all_come_back_to_be_lent_again() {
        let (mut lending, mut lent) = (all(), Vec::new());
        lend(&mut lending, &mut lent);
        assert_eq!(lent.len(), BUFFERS_LENT_MIN);

        // A few small packets are enough to make more of them.
        for _ in 0..100 {
            lending.note(64);
            lending.give(lent.remove(0));
            lend(&mut lending, &mut lent);
        }
        assert_eq!(lent.len(), TUN_BUFFERS);
        // And a few super-packets to make fewer: those that come back stay.
        for _ in 0..TUN_BUFFERS + 16 {
            lending.note(SUPER_PACKET);
            lending.give(lent.remove(0));
            lend(&mut lending, &mut lent);
        }
        assert_eq!(lent.len(), BUFFERS_LENT_MIN);
        assert_eq!(lent.len() + lending.spare.len(), TUN_BUFFERS);
    }

    #[test]
    fn the_buffer_that_was_used_last_is_lent_first() {
        let (mut lending, mut lent) = (all(), Vec::new());
        lend(&mut lending, &mut lent);
        let (first, second) = (lent.remove(0), lent.remove(0));
        let warmest = second.index();
        lending.give(first);
        lending.give(second);
        assert_eq!(
            lending.take(lent.len()).map(|buffer| buffer.index()),
            Some(warmest)
        );
    }
}
