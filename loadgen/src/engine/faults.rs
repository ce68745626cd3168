//! Faults on the way, applied to the datagrams of both directions: loss, doubles, order, delay.
//!
//! All of it comes from one seed, so that a run with faults can be had again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ringway::random::{Random, SeededRandom};
use ringway::time::Monotonic;

/// What is to happen to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct FaultRules {
    /// The part that is lost, from 0 to 1.
    pub(crate) loss: f64,
    /// The part that comes twice.
    pub(crate) duplicate: f64,
    /// The part that is overtaken by what follows within [`OVERTAKEN`].
    pub(crate) reorder: f64,
    /// How much later each one comes.
    pub(crate) delay: Duration,
}

impl FaultRules {
    /// True when nothing is to happen.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The way between a core and its server, for values of type `D`.
#[derive(Debug)]
pub(super) struct Faults<D> {
    rules: FaultRules,
    random: SeededRandom,
    waiting: BinaryHeap<Reverse<Waiting<D>>>,
    order: u64,
    /// Datagrams that were lost, and that came twice.
    pub(super) lost: u64,
    pub(super) doubled: u64,
}

#[derive(Debug)]
struct Waiting<D> {
    due: Monotonic,
    order: u64,
    datagram: D,
}

impl<D: Clone> Faults<D> {
    /// Faults by these rules; each core has a seed of its own.
    pub(super) fn new(rules: FaultRules, seed: u64) -> Self {
        Self {
            rules,
            random: SeededRandom::new(seed),
            waiting: BinaryHeap::new(),
            order: 0,
            lost: 0,
            doubled: 0,
        }
    }

    /// Sends a datagram on its way.
    pub(super) fn take(&mut self, datagram: D, now: Monotonic) {
        if self.happens(self.rules.loss) {
            self.lost += 1;
            return;
        }
        let mut due = now + self.rules.delay;
        if self.happens(self.rules.reorder) {
            due = due + OVERTAKEN;
        }
        if self.happens(self.rules.duplicate) {
            self.doubled += 1;
            self.put(datagram.clone(), due);
        }
        self.put(datagram, due);
    }

    /// The next datagram that has arrived.
    pub(super) fn arrived(&mut self, now: Monotonic) -> Option<D> {
        let Reverse(first) = self.waiting.peek()?;
        if first.due > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(first)| first.datagram)
    }

    /// When the next one arrives.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.waiting.peek().map(|Reverse(first)| first.due)
    }

    fn put(&mut self, datagram: D, due: Monotonic) {
        self.order += 1;
        self.waiting.push(Reverse(Waiting {
            due,
            order: self.order,
            datagram,
        }));
    }

    fn happens(&mut self, part: f64) -> bool {
        part > 0.0 && (self.random.next_u64() >> 11) as f64 / ((1_u64 << 53) as f64) < part
    }
}

impl<D> Waiting<D> {
    fn key(&self) -> (Monotonic, u64) {
        (self.due, self.order)
    }
}

impl<D> PartialEq for Waiting<D> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<D> Eq for Waiting<D> {}

impl<D> PartialOrd for Waiting<D> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<D> Ord for Waiting<D> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// How long a datagram that is to be overtaken is held back.
const OVERTAKEN: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Monotonic = Monotonic::from_nanos(1_000_000_000);

    /// What arrives of a thousand datagrams that leave a tenth of a millisecond apart.
    fn arrivals(rules: FaultRules, seed: u64) -> Vec<u32> {
        let mut faults = Faults::new(rules, seed);
        let mut arrived = Vec::new();
        for number in 0..1000 + 1000 {
            let now = START + Duration::from_micros(u64::from(number) * 100);
            if number < 1000 {
                faults.take(number, now);
            }
            arrived.extend(std::iter::from_fn(|| faults.arrived(now)));
        }
        assert_eq!(faults.next(), None);
        arrived
    }

    #[test]
    fn without_faults_all_arrive_at_once_and_in_order() {
        let all: Vec<u32> = (0..1000).collect();
        assert_eq!(arrivals(FaultRules::default(), 1), all);
        let late = FaultRules {
            delay: Duration::from_millis(20),
            ..FaultRules::default()
        };
        assert_eq!(arrivals(late, 1), all);
        let mut faults = Faults::new(late, 1);
        faults.take(7, START);
        assert_eq!(faults.next(), Some(START + Duration::from_millis(20)));
        assert_eq!(faults.arrived(START + Duration::from_millis(19)), None);
    }

    #[test]
    fn each_fault_happens_as_often_as_it_was_asked_for_and_the_seed_repeats_it() {
        let lossy = FaultRules {
            loss: 0.1,
            ..FaultRules::default()
        };
        let left = arrivals(lossy, 5);
        assert!((860..940).contains(&left.len()), "{}", left.len());
        assert!(left.is_sorted());
        assert_eq!(left, arrivals(lossy, 5));
        assert_ne!(left, arrivals(lossy, 6));

        let doubling = FaultRules {
            duplicate: 0.2,
            ..FaultRules::default()
        };
        let all = arrivals(doubling, 5);
        assert!((1150..1250).contains(&all.len()), "{}", all.len());

        let mixing = FaultRules {
            reorder: 0.05,
            ..FaultRules::default()
        };
        let mut mixed = arrivals(mixing, 5);
        let overtaken = mixed.windows(2).filter(|it| it[1] < it[0]).count();
        assert!((25..80).contains(&overtaken), "{overtaken}");
        mixed.sort_unstable();
        assert_eq!(mixed, (0..1000).collect::<Vec<u32>>());
    }
}
