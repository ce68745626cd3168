//! What all rounds together say of a contender at a work over a link.

use std::collections::BTreeMap;

use super::contender::Contender;
use super::counters::Segments;
use super::network::Link;
use super::work::{Sample, Work};
use crate::spread::Spread;

/// All measurements of a comparison.
#[derive(Default)]
pub(super) struct Results {
    /// By round, for each link, work and contender.
    samples: Vec<(Key, BTreeMap<usize, Sample>)>,
    /// The last failure of each.
    failures: Vec<(Key, String)>,
}

/// What a measurement is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) link: Link,
    pub(super) work: Work,
    pub(super) contender: Contender,
}

/// The rounds of one key, summed up.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) key: Key,
    /// The value of each round, in their order.
    pub(super) values: Vec<f64>,
    pub(super) spread: Spread,
    /// Medians of the rounds.
    pub(super) loss: Option<f64>,
    pub(super) p99: Option<f64>,
    /// Median of the ratios to the same round of OpenVPN.
    pub(super) to_openvpn: Option<f64>,
    /// The same, of no VPN.
    pub(super) to_no_vpn: Option<f64>,
    /// Milliseconds that the server's core was not idle, for each gigabit.
    pub(super) core: Option<f64>,
    /// Milliseconds that the server's process used, for each gigabit.
    pub(super) process: Option<f64>,
    pub(super) server: Segments,
    pub(super) client: Segments,
}

impl Results {
    /// Adds the measurement of a round.
    pub(super) fn add(&mut self, key: Key, round: usize, sample: Sample) {
        match self.samples.iter_mut().find(|(found, _)| *found == key) {
            Some((_, rounds)) => {
                rounds.insert(round, sample);
            }
            None => self.samples.push((key, BTreeMap::from([(round, sample)]))),
        }
    }

    /// Notes that a measurement failed.
    pub(super) fn fail(&mut self, key: Key, reason: &str) {
        self.failures.retain(|(found, _)| *found != key);
        self.failures.push((key, reason.to_owned()));
    }

    /// Why the last failed measurement of this key failed.
    pub(super) fn failure(&self, key: Key) -> Option<&str> {
        let found = self.failures.iter().find(|(found, _)| *found == key);
        found.map(|(_, reason)| reason.as_str())
    }

    /// The rounds of a key, if one of them was measured.
    pub(super) fn row(&self, key: Key) -> Option<Row> {
        let rounds = self.rounds(key)?;
        let median = |of: &dyn Fn(&Sample) -> Option<f64>| {
            let spread = Spread::of(rounds.values().filter_map(of));
            spread.map(|spread| spread.median)
        };
        let ratio = |contender| {
            let others = self.rounds(Key { contender, ..key })?;
            let ratios = rounds
                .iter()
                .filter_map(|(round, sample)| Some(sample.value / others.get(round)?.value));
            Spread::of(ratios).map(|spread| spread.median)
        };
        let per_gigabit = |duration: std::time::Duration, sample: &Sample| {
            let much = key.work.carries_much() && sample.gigabits > 0.0;
            much.then(|| duration.as_secs_f64() * 1e3 / sample.gigabits)
        };
        let segments = |of: &dyn Fn(&Sample) -> Segments| Segments {
            send: median(&|sample| of(sample).send),
            receive: median(&|sample| of(sample).receive),
            tun_write: median(&|sample| of(sample).tun_write),
            tun_read: median(&|sample| of(sample).tun_read),
        };
        Some(Row {
            key,
            values: rounds.values().map(|sample| sample.value).collect(),
            spread: Spread::of(rounds.values().map(|sample| sample.value))?,
            loss: median(&|sample| sample.loss),
            p99: median(&|sample| sample.p99),
            to_openvpn: ratio(Contender::OpenVpn),
            to_no_vpn: ratio(Contender::NoVpn),
            core: median(&|sample| per_gigabit(sample.usage.core, sample)),
            process: median(&|sample| per_gigabit(sample.usage.process?, sample)),
            server: segments(&|sample| sample.server),
            client: segments(&|sample| sample.client),
        })
    }

    fn rounds(&self, key: Key) -> Option<&BTreeMap<usize, Sample>> {
        let found = self.samples.iter().find(|(found, _)| *found == key);
        found.map(|(_, rounds)| rounds)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::iperf::Direction;
    use super::super::usage::Usage;
    use super::*;

    pub(in super::super) fn key(contender: Contender) -> Key {
        Key {
            link: Link::Whole,
            work: Work::Tcp {
                streams: 1,
                direction: Direction::Up,
            },
            contender,
        }
    }

    pub(in super::super) fn sample(value: f64) -> Sample {
        Sample {
            value,
            loss: Some(0.25),
            p99: None,
            gigabits: 2.0 * value,
            usage: Usage {
                core: Duration::from_secs(4),
                process: Some(Duration::from_secs(1)),
            },
            server: Segments {
                send: Some(value),
                ..Segments::default()
            },
            client: Segments::default(),
        }
    }

    #[test]
    fn a_row_has_medians_and_the_medians_of_the_rounds_ratios() {
        let mut results = Results::default();
        for (round, [ours, theirs]) in [[10.0, 1.0], [40.0, 2.0], [30.0, 10.0]].iter().enumerate() {
            results.add(key(Contender::Ringway), round, sample(*ours));
            results.add(key(Contender::OpenVpn), round, sample(*theirs));
        }
        let row = results.row(key(Contender::Ringway)).unwrap();
        let [min, median, max] = [10.0, 30.0, 40.0];
        assert_eq!(row.values, [10.0, 40.0, 30.0]);
        assert_eq!(row.spread, Spread { min, median, max });
        // Of 10, 20 and 3; the ratio of the medians would be 15.
        assert_eq!(row.to_openvpn, Some(10.0));
        assert_eq!(row.to_no_vpn, None);
        assert_eq!(row.loss, Some(0.25));
        assert_eq!(row.p99, None);
        assert_eq!(row.server.send, Some(30.0));
        // 4,000 ms for 60 gigabits.
        let core = row.core.unwrap();
        assert!((core - 4000.0 / 60.0).abs() < 1e-9, "{core}");
        let process = row.process.unwrap();
        assert!((process - 1000.0 / 60.0).abs() < 1e-9, "{process}");
    }

    #[test]
    fn a_round_that_others_lack_has_no_ratio() {
        let mut results = Results::default();
        results.add(key(Contender::Ringway), 0, sample(4.0));
        results.add(key(Contender::Ringway), 1, sample(6.0));
        results.add(key(Contender::NoVpn), 1, sample(12.0));
        let row = results.row(key(Contender::Ringway)).unwrap();
        assert_eq!(row.spread.median, 5.0);
        assert_eq!(row.to_no_vpn, Some(0.5));
        assert_eq!(results.row(key(Contender::OpenVpn)), None);
    }

    #[test]
    fn the_last_failure_is_told() {
        let mut results = Results::default();
        results.fail(key(Contender::Ringway), "first");
        results.fail(key(Contender::Ringway), "second");
        assert_eq!(results.failure(key(Contender::Ringway)), Some("second"));
        assert_eq!(results.failure(key(Contender::OpenVpn)), None);
    }
}
