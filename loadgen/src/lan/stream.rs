//! Packets that the LAN host sends by itself: when each is due, and how long it is.

use super::order::Stream;
use crate::scenario::imix_size;

/// One session's stream, at its own pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    stream: Stream,
    began: u64,
    /// Packets that were due until now, sent or missed.
    passed: u64,
}

impl Sending {
    pub(super) const fn new(stream: Stream, began: u64) -> Self {
        Self {
            stream,
            began,
            passed: 0,
        }
    }

    /// When the next packet is due; `None` if the stream is over at that time. A stream without a
    /// rate is due at `now`.
    pub(super) fn next(&self, now: u64) -> Option<u64> {
        let length = u64::from(self.stream.duration_ms) * 1_000_000;
        let since = match self.stream.rate_milli {
            0 => now.saturating_sub(self.began),
            rate => {
                let nanos = u128::from(self.passed) * PER_PACKET / u128::from(rate);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        (since < length).then(|| self.began.saturating_add(since))
    }

    /// True if it goes as fast as it can.
    pub(super) const fn is_unpaced(&self) -> bool {
        self.stream.rate_milli == 0
    }

    /// How many of its packets go out in its turn, if it is unpaced. Packets of one size are bulk, which hosts send
    /// many of at once; those of a mix stand between others'.
    pub(super) const fn run(&self) -> usize {
        match self.stream.size {
            Some(_) => BULK_RUN,
            None => 1,
        }
    }

    /// The next packet was sent or missed.
    pub(super) const fn pass(&mut self) {
        self.passed += 1;
    }

    /// Length of the next packet, as an IP packet.
    pub(super) fn size(&self, session: u32) -> usize {
        // Sessions begin at different places of the mix, so that many of them are a mix at any time.
        let place = self.passed.wrapping_add(u64::from(session));
        usize::from(self.stream.size.unwrap_or_else(|| imix_size(place)))
    }

    /// Packets a second, for the sum of all.
    pub(super) fn rate(&self) -> f64 {
        self.stream.rate_milli as f64 / 1e3
    }
}

/// Of 1,400 bytes about as many as one TCP segment of 64 KiB.
const BULK_RUN: usize = 32;
/// Nanoseconds between two packets at a rate of one in 1,000 seconds.
const PER_PACKET: u128 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_at_their_rate_until_it_is_over() {
        let stream = Stream {
            size: Some(700),
            rate_milli: 4_000,
            duration_ms: 1_000,
        };
        let mut sending = Sending::new(stream, 5_000);
        let mut due = Vec::new();
        while let Some(next) = sending.next(0) {
            due.push(next);
            assert_eq!(sending.size(9), 700);
            sending.pass();
        }
        let quarter = 250_000_000;
        assert_eq!(due, [0, 1, 2, 3].map(|it| 5_000 + it * quarter));
        assert_eq!(sending.rate(), 4.0);
    }

    #[test]
    fn one_without_a_rate_is_always_due_until_it_is_over() {
        let stream = Stream {
            size: None,
            rate_milli: 0,
            duration_ms: 2,
        };
        let mut sending = Sending::new(stream, 1_000);
        assert!(sending.is_unpaced());
        for (now, due) in [
            (1_000, Some(1_000)),
            (2_000_999, Some(2_000_999)),
            (2_001_000, None),
        ] {
            assert_eq!(sending.next(now), due);
        }
        let sizes = [0; 12].map(|_| {
            sending.pass();
            sending.size(3)
        });
        assert_eq!(sizes.iter().sum::<usize>(), 7 * 64 + 4 * 576 + 1400);
    }

    #[test]
    fn extreme_orders_break_nothing() {
        let stream = Stream {
            size: None,
            rate_milli: u64::MAX,
            duration_ms: u32::MAX,
        };
        let mut sending = Sending::new(stream, u64::MAX - 1);
        assert_eq!(sending.next(0), Some(u64::MAX - 1));
        sending.passed = u64::MAX - 1;
        sending.pass();
        assert!(sending.next(u64::MAX).is_some());
        sending.stream.rate_milli = 1;
        assert_eq!(sending.next(0), None);
    }
}
