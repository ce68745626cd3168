//! What the generator itself used, and whether that was the limit of what it measured.

use serde::{Deserialize, Serialize};

use super::Tally;

/// Processor time of one of the generator's cores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnCore {
    /// Which, as the kernel numbers them.
    pub core: usize,
    /// Seconds of processor time of its thread, over the whole run.
    pub cpu_seconds: f64,
    /// The part of each interval that its thread was running, from 0 to 1.
    pub shares: Vec<f64>,
}

impl OwnCore {
    /// The greatest part of an interval.
    pub fn busiest(&self) -> f64 {
        self.shares.iter().copied().fold(0.0, f64::max)
    }
}

/// Why the generator was itself the limit, a sentence each; none if it was not.
/// `hurried_ports` is how often a source port was used that somebody had left shortly before.
pub fn limits(cores: &[OwnCore], tally: &Tally, hurried_ports: u64) -> Vec<String> {
    let mut found = Vec::new();
    for core in cores {
        let full = core.shares.iter().filter(|it| **it > SHARE_MAX).count();
        if full > 0 {
            found.push(format!(
                "its thread on core {} was running more than {:.0} % of {full} of {} intervals, at most {:.0} %",
                core.core,
                SHARE_MAX * 100.0,
                core.shares.len(),
                core.busiest() * 100.0
            ));
        }
    }
    if tally.missed > 0 {
        found.push(format!("it left out {} sends that were due", tally.missed));
    }
    if hurried_ports > 0 {
        found.push(format!(
            "{hurried_ports} sockets had to use a source port that was left less than a minute before, where a server may \
             still have the client of then: send from more addresses (--from)"
        ));
    }
    let late = tally.lateness.above(LATE_NANOS);
    if late > LATE_PART {
        found.push(format!(
            "{:.1} % of its sends were more than {} ms late, the worst {:.1} ms",
            late * 100.0,
            LATE_NANOS / 1_000_000,
            tally.lateness.max().unwrap_or(0) as f64 / 1e6
        ));
    }
    found
}

/// Above this part of an interval a core has no room to answer in time.
const SHARE_MAX: f64 = 0.9;
const LATE_NANOS: u64 = 1_000_000;
const LATE_PART: f64 = 0.01;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_generator_with_room_says_nothing() {
        let mut tally = Tally::new(Duration::from_secs(1));
        (0..100).for_each(|_| tally.lateness.record(50_000));
        tally.lateness.record(5_000_000);
        let core = OwnCore {
            shares: vec![0.9, 0.1],
            ..OwnCore::default()
        };
        assert_eq!(limits(&[core], &tally, 0), [""; 0]);
    }

    #[test]
    fn full_cores_and_late_sends_are_told() {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.missed = 7;
        (0..98).for_each(|_| tally.lateness.record(50_000));
        (0..2).for_each(|_| tally.lateness.record(20_000_000));
        let core = OwnCore {
            core: 3,
            cpu_seconds: 2.0,
            shares: vec![0.5, 0.93, 0.97],
        };
        let found = limits(&[core], &tally, 9);
        let expected = [
            "its thread on core 3 was running more than 90 % of 2 of 3 intervals, at most 97 %",
            "it left out 7 sends that were due",
            "9 sockets had to use a source port that was left less than a minute before, where a server may \
             still have the client of then: send from more addresses (--from)",
            "2.0 % of its sends were more than 1 ms late, the worst 20.0 ms",
        ];
        assert_eq!(found, expected);
    }
}
