//! What became of numbered packets: received, lost, duplicated, reordered, in bounded memory.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The packets of one session and one flow, in the order in which they arrive.
///
/// The last [`Arrivals::WINDOW`] numbers are known one by one. What comes later than that can be a
/// duplicate or just very late, and is counted as neither ([`Arrival::Late`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Bit `n`: number `next - 1 - n` has come.
    seen: u128,
    /// One above the greatest number that has come.
    next: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
    late: u64,
}

/// What one packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Greater than all before it.
    Next,
    /// New, after a greater one.
    Reordered,
    /// It has come before.
    Duplicate,
    /// Too far behind the greatest to tell.
    Late,
}

impl Arrivals {
    /// How far behind the greatest number a packet is still told from its duplicate.
    pub const WINDOW: u64 = 128;

    /// Counts the arrival of `sequence`.
    pub const fn note(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            let ahead = sequence - self.next;
            self.seen = match ahead {
                // By one more than `ahead`, in two steps: 128 at once would be one too many.
                0..Self::WINDOW => self.seen << ahead << 1 | 1,
                _ => 1,
            };
            self.next = sequence.saturating_add(1);
            self.received += 1;
            return Arrival::Next;
        }
        let behind = self.next - 1 - sequence;
        if behind >= Self::WINDOW {
            self.late += 1;
            return Arrival::Late;
        }
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            self.duplicated += 1;
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        self.received += 1;
        self.reordered += 1;
        Arrival::Reordered
    }

    /// The counts, of `sent` packets if the sender's number is known. Without it those before the
    /// greatest that came are taken for sent: what was lost at the end does not show.
    pub fn delivery(&self, sent: Option<u64>) -> Delivery {
        let arrived = Delivery {
            received: self.received,
            duplicated: self.duplicated,
            reordered: self.reordered,
            late: self.late,
            ..Delivery::default()
        };
        arrived.of(sent.unwrap_or(self.next))
    }
}

/// What became of the packets of one direction, of one session or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Different packets that left, as far as is known.
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Those that did not: `sent` less `received`.
    pub lost: u64,
    /// Arrivals of a packet that had arrived before.
    pub duplicated: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
    /// Arrivals so far behind that they may be duplicates; their packets count as lost.
    pub late: u64,
}

impl Delivery {
    /// What arrived as part of `sent` packets, or of more if more arrived.
    #[must_use]
    pub fn of(self, sent: u64) -> Self {
        let sent = sent.max(self.received);
        Self {
            sent,
            lost: sent - self.received,
            ..self
        }
    }

    /// The part of what was sent that was lost, from 0 to 1.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

impl AddAssign for Delivery {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.late += other.late;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_arrival_is_what_it_is() {
        use Arrival::{Duplicate, Late, Next, Reordered};
        for (sequences, expected, [received, lost, duplicated, reordered, late]) in [
            (&[0, 1, 2][..], &[Next, Next, Next][..], [3, 0, 0, 0, 0]),
            (&[0, 2, 1], &[Next, Next, Reordered], [3, 0, 0, 1, 0]),
            (&[0, 0], &[Next, Duplicate], [1, 0, 1, 0, 0]),
            (
                &[1, 0, 0, 1],
                &[Next, Reordered, Duplicate, Duplicate],
                [2, 0, 2, 1, 0],
            ),
            // The first ones can be lost, too.
            (&[5], &[Next], [1, 5, 0, 0, 0]),
            (&[0, 127, 0], &[Next, Next, Duplicate], [2, 126, 1, 0, 0]),
            (
                &[0, 128, 0, 1],
                &[Next, Next, Late, Reordered],
                [3, 126, 0, 1, 1],
            ),
            (&[0, 129, 1], &[Next, Next, Late], [2, 128, 0, 0, 1]),
            (
                &[3, 1_000_000, 999_999],
                &[Next, Next, Reordered],
                [3, 999_998, 0, 1, 0],
            ),
        ] {
            let mut arrivals = Arrivals::default();
            let verdicts: Vec<_> = sequences.iter().map(|it| arrivals.note(*it)).collect();
            assert_eq!(verdicts, expected, "{sequences:?}");
            let sent = received + lost;
            let expected = Delivery {
                sent,
                received,
                lost,
                duplicated,
                reordered,
                late,
            };
            assert_eq!(arrivals.delivery(None), expected, "{sequences:?}");
        }
    }

    #[test]
    fn what_the_sender_says_shows_the_loss_at_the_end() {
        let mut arrivals = Arrivals::default();
        for sequence in 0..90 {
            arrivals.note(sequence);
        }
        assert_eq!(arrivals.delivery(None).lost, 0);
        let delivery = arrivals.delivery(Some(100));
        assert_eq!((delivery.sent, delivery.lost), (100, 10));
        assert_eq!(delivery.loss(), 0.1);
        // A sender that miscounts does not make losses negative.
        assert_eq!(arrivals.delivery(Some(80)).lost, 0);
        assert_eq!(Delivery::default().loss(), 0.0);

        let mut sum = delivery;
        sum += delivery;
        assert_eq!((sum.sent, sum.received, sum.lost), (200, 180, 20));
    }

    #[test]
    fn the_greatest_number_breaks_nothing() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.note(u64::MAX - 1), Arrival::Next);
        assert_eq!(arrivals.note(u64::MAX - 2), Arrival::Reordered);
        assert_eq!(arrivals.note(0), Arrival::Late);
        assert_eq!(arrivals.note(u64::MAX), Arrival::Next);
        assert_eq!(arrivals.delivery(None).received, 3);
    }

    /// All numbers that have come, for ever.
    #[derive(Default)]
    struct Naive {
        seen: BTreeSet<u64>,
    }

    impl Naive {
        fn note(&mut self, sequence: u64) -> Arrival {
            let greatest = self.seen.last().copied();
            match greatest {
                Some(greatest) if greatest >= sequence + Arrivals::WINDOW => Arrival::Late,
                _ if !self.seen.insert(sequence) => Arrival::Duplicate,
                Some(greatest) if greatest > sequence => Arrival::Reordered,
                _ => Arrival::Next,
            }
        }
    }

    proptest! {
        #[test]
        fn a_window_counts_as_a_full_memory_does(
            steps in prop::collection::vec((-200_i64..200, 0_u8..8), 1..400)
        ) {
            let (mut arrivals, mut naive) = (Arrivals::default(), Naive::default());
            let mut at = 300_i64;
            let mut counts = [0; 4];
            for (jump, kind) in steps {
                // Mostly in order, as packets are.
                at = if kind < 5 { at + 1 } else { (at + jump).max(0) };
                let verdict = arrivals.note(at as u64);
                prop_assert_eq!(verdict, naive.note(at as u64));
                counts[verdict as usize] += 1;
            }
            let delivery = arrivals.delivery(None);
            let [next, reordered, duplicated, late] = counts;
            prop_assert_eq!(delivery.received, next + reordered);
            prop_assert_eq!(delivery.received, naive.seen.len() as u64);
            prop_assert_eq!(
                (delivery.reordered, delivery.duplicated, delivery.late),
                (reordered, duplicated, late)
            );
            let sent = naive.seen.last().unwrap() + 1;
            prop_assert_eq!(delivery.lost, sent - naive.seen.len() as u64);
        }
    }
}
