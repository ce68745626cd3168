//! The clock type: monotonic time and wall-clock seconds, read together.
//!
//! Floors 0 to 4 never read a clock; a [`Now`] is an argument, so that a simulation can pass its own.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For intervals and timers; never goes back.
    pub monotonic: Monotonic,
    /// Unix seconds, for certificates and for the time field of the control-channel wrapping.
    pub unix: u64,
}

impl Now {
    /// A reading of the machine's clocks. For floors 5 and up.
    pub fn read() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            monotonic: Monotonic::read(),
            unix,
        }
    }
}

/// Nanoseconds since an origin that is fixed for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// A moment from its nanoseconds since the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    fn read() -> Self {
        use std::sync::OnceLock;
        static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Monotonic::ZERO - second, Monotonic::ZERO);
        assert_eq!(
            Monotonic::from_nanos(u64::MAX) + second,
            Monotonic::from_nanos(u64::MAX)
        );
        assert_eq!((Monotonic::ZERO + second).since(Monotonic::ZERO), second);
        assert_eq!(
            Monotonic::ZERO.since(Monotonic::ZERO + second),
            Duration::ZERO
        );
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = Now::read();
        let second = Now::read();
        assert!(second.monotonic >= first.monotonic);
    }
}
