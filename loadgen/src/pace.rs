//! When things are due: an open-loop schedule from a rate and a seed, whatever becomes of them.

use ringway::random::{Random, SeededRandom};

use crate::ramp::Ramp;

/// The moments at which one core's part of a phase's events are due, in nanoseconds since the phase began.
///
/// Of the rate `r(t)` over the phase, the `n`th event is due when its integral reaches `n`: a ramp is as
/// exact as a steady rate. With [`Spacing::Poisson`] it is due when the integral reaches the sum of `n`
/// exponential draws instead, which makes a Poisson process of that rate.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Events a nanosecond at the beginning.
    from: f64,
    /// By how much that grows in a nanosecond.
    slope: f64,
    /// Nanoseconds.
    length: f64,
    /// The integral at which the next one is due.
    level: f64,
    step: f64,
    random: Option<SeededRandom>,
    next: Option<u64>,
}

/// How far apart events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly.
    Even,
    /// As independent clients come, from this seed.
    Poisson(u64),
}

/// The part of one core: every `of`th event, from the `index`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub index: u32,
    /// How many cores there are.
    pub of: u32,
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };
}

impl Pace {
    /// Events at `rate` a second over `length` nanoseconds.
    pub fn new(rate: Ramp, length: u64, spacing: Spacing, share: Share) -> Self {
        let nanos = length.max(1) as f64;
        let mut pace = Self {
            from: rate.from / NANOS,
            slope: (rate.to - rate.from) / NANOS / nanos,
            length: length as f64,
            level: 0.0,
            step: f64::from(share.of.max(1)),
            random: match spacing {
                Spacing::Even => None,
                Spacing::Poisson(seed) => {
                    let stream = u64::from(share.index) << 32 | u64::from(share.of);
                    Some(SeededRandom::new(seed ^ stream.wrapping_mul(STREAMS)))
                }
            },
            next: None,
        };
        pace.level = match &mut pace.random {
            None => f64::from(share.index),
            Some(random) => exponential(random) * pace.step,
        };
        pace.next = pace.moment();
        pace
    }

    /// When the next event is due; `None` if there is none any more.
    pub const fn next(&self) -> Option<u64> {
        self.next
    }

    /// The next event if it is due at `now`, and goes on to the one behind it.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        let due = self.next.filter(|next| *next <= now)?;
        self.level += match &mut self.random {
            None => self.step,
            Some(random) => exponential(random) * self.step,
        };
        self.next = self.moment();
        Some(due)
    }

    /// When the integral of the rate reaches `level`.
    fn moment(&self) -> Option<u64> {
        let Self {
            from, slope, level, ..
        } = *self;
        // level = from t + slope t² / 2, solved so that nothing cancels when the slope is small.
        let root = (from * from + 2.0 * slope * level).max(0.0).sqrt();
        let time = match level == 0.0 {
            // Also for a ramp that begins at a rate of 0, where this would be 0 / 0.
            true => 0.0,
            false => 2.0 * level / (from + root),
        };
        let time = time.round();
        let reached = from * from + 2.0 * slope * level >= 0.0;
        (reached && time < self.length).then_some(time as u64)
    }
}

/// A draw with mean 1.
fn exponential(random: &mut SeededRandom) -> f64 {
    // 53 random bits, never 0.
    let uniform = ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln()
}

const NANOS: f64 = 1e9;
/// Odd, so that each share has a stream of its own.
const STREAMS: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn all(mut pace: Pace) -> Vec<u64> {
        std::iter::from_fn(|| pace.due(u64::MAX)).collect()
    }

    #[test]
    fn a_steady_rate_is_even() {
        let pace = || Pace::new(Ramp::steady(4.0), SECOND, Spacing::Even, Share::WHOLE);
        let quarters = [0, SECOND / 4, SECOND / 2, SECOND / 4 * 3];
        assert_eq!(all(pace()), quarters);

        // Nothing is due early, and what was missed is due at the moment at which it was.
        let mut pace = pace();
        assert_eq!(pace.due(0), Some(0));
        assert_eq!(pace.due(SECOND / 4 - 1), None);
        assert_eq!(pace.due(SECOND * 9), Some(SECOND / 4));
        assert_eq!(pace.next(), Some(SECOND / 2));
    }

    #[test]
    fn a_ramp_has_the_area_of_its_triangle() {
        let up = Ramp {
            from: 0.0,
            to: 1000.0,
        };
        let down = Ramp {
            from: 1000.0,
            to: 0.0,
        };
        for (ramp, half) in [(up, 1250), (down, 3750)] {
            let times = all(Pace::new(ramp, 10 * SECOND, Spacing::Even, Share::WHOLE));
            assert_eq!(times.len(), 5000);
            // The one that is due in the middle may fall on either side.
            let first_half = times.iter().filter(|it| **it < 5 * SECOND).count();
            assert!(first_half.abs_diff(half) <= 1, "{first_half}");
            assert!(times.is_sorted());
        }
    }

    #[test]
    fn shares_are_the_whole_dealt_out() {
        let ramp = Ramp {
            from: 50.0,
            to: 300.0,
        };
        let whole = all(Pace::new(ramp, 3 * SECOND, Spacing::Even, Share::WHOLE));
        let mut dealt: Vec<u64> = (0..4)
            .flat_map(|index| {
                let share = Share { index, of: 4 };
                all(Pace::new(ramp, 3 * SECOND, Spacing::Even, share))
            })
            .collect();
        dealt.sort_unstable();
        assert_eq!(dealt, whole);
    }

    #[test]
    fn poisson_has_the_rate_the_spread_and_its_seed() {
        let pace = |seed, index| {
            let share = Share { index, of: 2 };
            all(Pace::new(
                Ramp::steady(2000.0),
                50 * SECOND,
                Spacing::Poisson(seed),
                share,
            ))
        };
        let times = pace(7, 0);
        assert_eq!(times, pace(7, 0));
        assert_ne!(times, pace(8, 0));
        assert_ne!(times, pace(7, 1));
        // Half of 100,000, of which the standard deviation is 224.
        assert!(
            (times.len() as i64 - 50_000).abs() < 2_000,
            "{}",
            times.len()
        );
        // The gaps of a Poisson process have a deviation as large as their mean.
        let gaps: Vec<f64> = times.windows(2).map(|it| (it[1] - it[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let ratio = variance.sqrt() / mean;
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }

    #[test]
    fn nothing_and_no_time_are_no_events() {
        for (rate, length) in [(0.5, 0), (1.0, 0)] {
            let pace = Pace::new(Ramp::steady(rate), length, Spacing::Even, Share::WHOLE);
            assert_eq!(pace.next(), None);
        }
        let share = Share { index: 3, of: 4 };
        let pace = Pace::new(Ramp::steady(2.0), SECOND, Spacing::Even, share);
        assert_eq!(pace.next(), None);
    }
}
