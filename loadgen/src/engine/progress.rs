//! How far a run is, for who watches it.

use std::sync::{Mutex, PoisonError};

use loadgen::result::{Moment, Traffic};

/// What each core has said last; about once a second.
#[derive(Debug)]
pub(crate) struct Progress {
    cores: Vec<Mutex<Seen>>,
}

/// Counts so far, of a core or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Sessions that are established now.
    pub(crate) sessions: u64,
    /// Handshakes.
    pub(crate) handshakes: u64,
    /// Failures.
    pub(crate) failures: u64,
    /// Inner packets to the server.
    pub(crate) up: Traffic,
    /// Inner packets from it.
    pub(crate) down: Traffic,
}

impl Seen {
    /// What was counted since `earlier`.
    pub(crate) const fn since(&self, earlier: &Self) -> Moment {
        const fn less(now: Traffic, then: Traffic) -> Traffic {
            Traffic {
                packets: now.packets.saturating_sub(then.packets),
                bytes: now.bytes.saturating_sub(then.bytes),
            }
        }
        Moment {
            handshakes: self.handshakes.saturating_sub(earlier.handshakes),
            failures: self.failures.saturating_sub(earlier.failures),
            sessions: self.sessions,
            up: less(self.up, earlier.up),
            down: less(self.down, earlier.down),
            round_trips: 0,
            round_trip_max_ns: 0,
            round_trip_sum_ns: 0,
        }
    }
}

impl Progress {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: std::iter::repeat_with(Mutex::default).take(cores).collect(),
        }
    }

    /// A core says how far it is.
    pub(super) fn publish(&self, core: u32, seen: Seen) {
        if let Some(place) = self.cores.get(core as usize) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    /// What all have said.
    pub(crate) fn seen(&self) -> Seen {
        let mut all = Seen::default();
        for core in &self.cores {
            let seen = *core.lock().unwrap_or_else(PoisonError::into_inner);
            all.sessions += seen.sessions;
            all.handshakes += seen.handshakes;
            all.failures += seen.failures;
            all.up += seen.up;
            all.down += seen.down;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_since_is_the_difference() {
        let traffic = |packets| Traffic {
            packets,
            bytes: 100 * packets,
        };
        let seen = |count| Seen {
            sessions: count,
            handshakes: 2 * count,
            failures: 3 * count,
            up: traffic(4 * count),
            down: traffic(5 * count),
        };
        let moment = seen(10).since(&seen(4));
        assert_eq!(
            (moment.sessions, moment.handshakes, moment.failures),
            (10, 12, 18)
        );
        assert_eq!((moment.up, moment.down), (traffic(24), traffic(30)));
    }

    #[test]
    fn what_was_said_last_counts_and_is_added_up() {
        let progress = Progress::new(2);
        let seen = |sessions| Seen {
            sessions,
            handshakes: 2 * sessions,
            ..Seen::default()
        };
        for (core, sessions) in [(0, 5), (1, 7), (0, 6), (2, 100)] {
            progress.publish(core, seen(sessions));
        }
        assert_eq!(progress.seen(), seen(13));
    }
}
