//! A histogram of lengths of time that a report can carry and read back.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::de::{self, Error as _};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Deserializer, Serialize};

/// Times in nanoseconds, to three digits, from about 100 ns to [`Durations::LONGEST`].
///
/// In JSON it is its percentiles, for people, and its buckets, from which it is read back: pairs of the
/// greatest time that falls into a bucket and how many did.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    histogram: Histogram<u64>,
}

impl Durations {
    /// What is longer counts as this.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// None yet. Recording allocates nothing later.
    pub fn new() -> Self {
        // Bounds and digits are constants that the crate accepts.
        #[allow(clippy::expect_used)]
        let histogram = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS)
            .expect("constant bounds make a histogram");
        Self { histogram }
    }

    /// Records one, in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time that `part` of all did not exceed, from 0 to 1, in nanoseconds; `None` if there is none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        (!self.histogram.is_empty()).then(|| self.histogram.value_at_quantile(part))
    }

    /// The longest, in nanoseconds.
    pub fn max(&self) -> Option<u64> {
        (!self.histogram.is_empty()).then(|| self.histogram.max())
    }

    /// The mean, in nanoseconds.
    pub fn mean(&self) -> Option<f64> {
        (!self.histogram.is_empty()).then(|| self.histogram.mean())
    }

    /// The part of all that was longer than `nanos`.
    pub fn above(&self, nanos: u64) -> f64 {
        match self.histogram.is_empty() {
            true => 0.0,
            false => 1.0 - self.histogram.quantile_below(nanos),
        }
    }

    /// Adds those of another core or run.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing is out of range.
        let _infallible = self.histogram.add(&other.histogram);
    }

    fn buckets(&self) -> Vec<(u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded
            .map(|it| (it.value_iterated_to(), it.count_at_value()))
            .collect()
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Durations", QUANTILES.len() + 4)?;
        object.serialize_field("count", &self.count())?;
        object.serialize_field("mean_ns", &self.mean())?;
        for (name, part) in QUANTILES {
            object.serialize_field(name, &self.quantile(part))?;
        }
        object.serialize_field("max_ns", &self.max())?;
        object.serialize_field("buckets", &self.buckets())?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Durations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            buckets: Vec<(u64, u64)>,
        }

        let Written { buckets } = Written::deserialize(deserializer)?;
        let mut durations = Self::new();
        let mut total = 0_u64;
        for (nanos, count) in buckets {
            total = total.checked_add(count).ok_or_else(|| {
                D::Error::invalid_value(de::Unexpected::Unsigned(count), &"fewer than 2^64 in all")
            })?;
            durations.histogram.saturating_record_n(nanos, count);
        }
        Ok(durations)
    }
}

/// The percentiles that JSON has by name.
const QUANTILES: [(&str, f64); 7] = [
    ("p50_ns", 0.5),
    ("p75_ns", 0.75),
    ("p90_ns", 0.9),
    ("p95_ns", 0.95),
    ("p99_ns", 0.99),
    ("p99_9_ns", 0.999),
    ("p99_99_ns", 0.9999),
];

const SHORTEST: u64 = 100;
const LONGEST: u64 = Durations::LONGEST.as_nanos() as u64;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 to 10,000 microseconds.
    fn even() -> Durations {
        let mut durations = Durations::new();
        (1..=10_000).for_each(|micros| durations.record(micros * 1000));
        durations
    }

    fn near(value: Option<u64>, expected: u64) -> bool {
        value.unwrap().abs_diff(expected) <= expected / 1000
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let durations = even();
        for (part, micros) in [(0.5, 5000), (0.99, 9900), (0.9999, 9999)] {
            assert!(near(durations.quantile(part), micros * 1000), "{part}");
        }
        assert!(near(durations.max(), 10_000_000));
        assert!((durations.above(9_000_000) - 0.1).abs() < 0.001);
        let none = Durations::new();
        assert_eq!(
            (none.quantile(0.5), none.max(), none.mean()),
            (None, None, None)
        );
        assert_eq!(none.above(0), 0.0);
    }

    #[test]
    fn json_gives_back_the_very_histogram() {
        let mut durations = even();
        durations.record(0);
        durations.record(u64::MAX);
        let json = serde_json::to_value(&durations).unwrap();
        assert_eq!(json["count"], 10_002);
        assert!(near(json["p99_ns"].as_u64(), 9_900_000));
        let read: Durations = serde_json::from_value(json).unwrap();
        assert_eq!(read, durations);
        let none = serde_json::to_value(Durations::new()).unwrap();
        assert!(none["p50_ns"].is_null());
        assert_eq!(
            serde_json::from_value::<Durations>(none).unwrap(),
            Durations::new()
        );
    }

    #[test]
    fn sums_are_as_if_one_had_recorded_all() {
        let (mut all, mut first, mut second) =
            (Durations::new(), Durations::new(), Durations::new());
        for value in 0..2000_u64 {
            all.record(value * value);
            let part = if value % 3 == 0 {
                &mut first
            } else {
                &mut second
            };
            part.record(value * value);
        }
        first.add(&second);
        assert_eq!(first, all);
    }

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        let text = format!(r#"{{"buckets":[[1,{0}],[2,{0}]]}}"#, u64::MAX);
        assert!(serde_json::from_str::<Durations>(&text).is_err());
        assert!(serde_json::from_str::<Durations>(r#"{"buckets":[[1]]}"#).is_err());
    }
}
