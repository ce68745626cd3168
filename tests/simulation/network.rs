//! A network: datagrams in flight, and what happens to them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ringway::random::{Random, SeededRandom};
use ringway::time::Monotonic;

/// What a network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// Share of datagrams that are lost.
    pub(crate) loss: f64,
    /// Share of datagrams that arrive twice.
    pub(crate) duplication: f64,
    /// Share of datagrams that arrive with a bit flipped.
    pub(crate) damage: f64,
    /// The shortest way.
    pub(crate) delay: Duration,
    /// The longest way is so much longer; what overtakes what follows from it.
    pub(crate) jitter: Duration,
    /// Larger datagrams are lost.
    pub(crate) mtu: usize,
}

/// Which end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Client,
    Server,
}

/// A datagram that gets through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival<To> {
    pub(crate) to: To,
    pub(crate) bytes: Vec<u8>,
    /// Whether a bit was flipped.
    pub(crate) damaged: bool,
}

/// Datagrams on their way; `To` says to whom.
pub(crate) struct Network<To> {
    conditions: Conditions,
    random: SeededRandom,
    in_flight: BinaryHeap<Reverse<(Monotonic, u64, Arrival<To>)>>,
    sent: u64,
}

impl Conditions {
    pub(crate) fn perfect() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            damage: 0.0,
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            mtu: 1_500,
        }
    }

    /// Conditions from fine to awful.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed ^ 0xc0ff_ee00);
        let mut share = |max: f64| random.below(1_000_000) as f64 / 1e6 * max;
        let (loss, duplication, damage) = (share(0.35), share(0.2), share(0.1));
        Self {
            loss,
            duplication,
            damage,
            delay: Duration::from_millis(random.below(300)),
            jitter: Duration::from_millis(random.below(400)),
            mtu: 500 + random.below(1_000) as usize,
        }
    }
}

impl<To: Clone + Ord> Network<To> {
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Self {
        let random = SeededRandom::new(seed ^ 0x0e7e_0e7e);
        Self {
            conditions,
            random,
            in_flight: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// From now on nothing gets through.
    pub(crate) fn cut(&mut self) {
        self.conditions.loss = 1.0;
        self.in_flight.clear();
    }

    /// What is sent from now on meets other conditions.
    pub(crate) fn change(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    pub(crate) fn send(&mut self, now: Monotonic, to: To, datagram: &[u8]) {
        let copies = 1 + u32::from(self.happens(self.conditions.duplication));
        for _ in 0..copies {
            if datagram.len() > self.conditions.mtu || self.happens(self.conditions.loss) {
                continue;
            }
            let mut bytes = datagram.to_vec();
            let damaged = self.happens(self.conditions.damage);
            if damaged {
                let bit = self.random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let jitter = self
                .random
                .below(self.conditions.jitter.as_nanos() as u64 + 1);
            let arrival = now + self.conditions.delay + Duration::from_nanos(jitter);
            self.sent += 1;
            let to = to.clone();
            self.in_flight.push(Reverse((
                arrival,
                self.sent,
                Arrival { to, bytes, damaged },
            )));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Monotonic> {
        self.in_flight.peek().map(|Reverse((arrival, ..))| *arrival)
    }

    pub(crate) fn arrive(&mut self, now: Monotonic) -> Option<Arrival<To>> {
        if self.next_arrival()? > now {
            return None;
        }
        self.in_flight.pop().map(|Reverse((_, _, arrival))| arrival)
    }

    fn happens(&mut self, share: f64) -> bool {
        (self.random.below(1_000_000) as f64) < share * 1e6
    }
}
