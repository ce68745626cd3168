//! How far a run is, for who watches it.

use std::sync::{Mutex, PoisonError};

use loadgen::result::{Moment, Traffic};

/// What each core has said last; about once a second.
#[derive(Debug)]
pub(crate) struct Progress {
    cores: Vec<Mutex<Seen>>,
}

/// Where a core is in the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// What the phase of this number begins with comes up.
    Before(usize),
    /// In the phase of this number.
    In(usize),
    /// All phases are over.
    #[default]
    Behind,
}

/// Counts so far, of a core or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where in the plan; of several cores that which is the least far.
    pub(crate) place: Place,
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
    /// Round trips, and how long all of them took.
    pub(crate) round_trips: u64,
    pub(crate) round_trip_sum_ns: u64,
    /// The longest of this interval and the one before.
    pub(crate) round_trip_max_ns: u64,
}

impl Place {
    /// How far that is.
    const fn order(self) -> (usize, bool) {
        match self {
            Self::Before(phase) => (phase, false),
            Self::In(phase) => (phase, true),
            Self::Behind => (usize::MAX, true),
        }
    }
}

impl Seen {
    /// Nothing yet.
    fn at_the_start() -> Self {
        Self {
            place: Place::Before(0),
            ..Self::default()
        }
    }

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
            round_trips: self.round_trips.saturating_sub(earlier.round_trips),
            round_trip_max_ns: self.round_trip_max_ns,
            round_trip_sum_ns: self
                .round_trip_sum_ns
                .saturating_sub(earlier.round_trip_sum_ns),
        }
    }
}

impl Progress {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: std::iter::repeat_with(|| Mutex::new(Seen::at_the_start()))
                .take(cores)
                .collect(),
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
            all.round_trips += seen.round_trips;
            all.round_trip_sum_ns += seen.round_trip_sum_ns;
            all.round_trip_max_ns = all.round_trip_max_ns.max(seen.round_trip_max_ns);
            if seen.place.order() < all.place.order() {
                all.place = seen.place;
            }
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
            round_trips: count,
            round_trip_sum_ns: 100 * count,
            round_trip_max_ns: 7 * count,
            ..Seen::default()
        };
        let moment = seen(10).since(&seen(4));
        assert_eq!(
            (moment.sessions, moment.handshakes, moment.failures),
            (10, 12, 18)
        );
        assert_eq!((moment.up, moment.down), (traffic(24), traffic(30)));
        assert_eq!((moment.round_trips, moment.round_trip_sum_ns), (6, 600));
        assert_eq!(moment.round_trip_max_ns, 70, "of the later ones");
    }

    #[test]
    fn what_was_said_last_counts_and_is_added_up() {
        let progress = Progress::new(2);
        let seen = |sessions| Seen {
            sessions,
            handshakes: 2 * sessions,
            round_trip_max_ns: sessions,
            ..Seen::default()
        };
        for (core, sessions) in [(0, 5), (1, 7), (0, 6), (2, 100)] {
            progress.publish(core, seen(sessions));
        }
        let expected = Seen {
            round_trip_max_ns: 7,
            ..seen(13)
        };
        assert_eq!(progress.seen(), expected);
    }

    #[test]
    fn who_is_the_least_far_says_where_all_are() {
        let progress = Progress::new(2);
        assert_eq!(
            progress.seen().place,
            Place::Before(0),
            "before anybody has begun"
        );
        let at = |place| Seen {
            place,
            ..Seen::default()
        };
        for (core, place, expected) in [
            (0, Place::In(0), Place::Before(0)),
            (1, Place::In(0), Place::In(0)),
            (0, Place::Before(1), Place::In(0)),
            (1, Place::Behind, Place::Before(1)),
            (0, Place::Behind, Place::Behind),
        ] {
            progress.publish(core, at(place));
            assert_eq!(progress.seen().place, expected);
        }
    }
}
