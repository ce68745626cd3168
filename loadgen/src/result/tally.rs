//! What one core counts while a run lasts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Durations;
use crate::arrivals::Delivery;
use crate::limits::{MOMENTS_MAX, REASONS_MAX};

/// Counts of one core, with a single writer; those of all cores are added at the end.
///
/// `at` is always the time since the run began, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Length of each element of `series`.
    pub interval_seconds: f64,
    /// Connections that were begun.
    pub attempts: u64,
    /// Sessions that were established: logged in, with an address and keys.
    pub handshakes: u64,
    /// Sessions that ended as planned: they left, or the run was over.
    pub left: u64,
    /// Changes of a session's source address or port.
    pub roams: u64,
    /// Renegotiations that gave new keys.
    pub renegotiations: u64,
    /// Inner packets sent into the tunnel.
    pub up: Traffic,
    /// Inner packets that came out of it.
    pub down: Traffic,
    /// What became of packets from the LAN host, of all sessions.
    pub down_delivery: Delivery,
    /// What became of echo requests and their replies, there and back.
    pub echoes: Delivery,
    /// Sends that were due and not made, because the generator was too far behind.
    pub missed: u64,
    /// Sessions that did not come up or did not stay, by reason.
    pub failures: BTreeMap<Cow<'static, str>, u64>,
    /// Packets that came and were not counted as anything else, by reason.
    pub drops: BTreeMap<Cow<'static, str>, u64>,
    /// From the moment at which a connection was due until it had addresses and keys.
    pub handshake: Durations,
    /// From the same moment until its first packet came through the tunnel.
    pub first_packet: Durations,
    /// From the moment at which a request was due until its reply was there.
    pub round_trip: Durations,
    /// From the moment at which something was due until it was sent.
    pub lateness: Durations,
    /// What happened in each interval, from the begin of the run on.
    pub series: Vec<Moment>,
}

/// What happened in one interval of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// Sessions established.
    pub handshakes: u64,
    /// Sessions that failed.
    pub failures: u64,
    /// Established sessions, the most that there were.
    pub sessions: u64,
    /// Sent into the tunnel.
    pub up: Traffic,
    /// Came out of it.
    pub down: Traffic,
    /// Round trips that ended.
    pub round_trips: u64,
    /// The longest of them.
    pub round_trip_max_ns: u64,
    /// Their sum, for the mean.
    pub round_trip_sum_ns: u64,
}

/// Packets and the bytes of them, as inner IP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// IP headers included.
    pub bytes: u64,
}

impl Tally {
    /// Nothing yet, of a run that lasts about `expected`: a long one has longer intervals.
    pub fn new(expected: Duration) -> Self {
        let intervals = (expected.as_secs_f64() / MOMENTS_MAX as f64 * 2.0).ceil();
        Self {
            interval_seconds: intervals.max(1.0),
            attempts: 0,
            handshakes: 0,
            left: 0,
            roams: 0,
            renegotiations: 0,
            up: Traffic::default(),
            down: Traffic::default(),
            down_delivery: Delivery::default(),
            echoes: Delivery::default(),
            missed: 0,
            failures: BTreeMap::new(),
            drops: BTreeMap::new(),
            handshake: Durations::new(),
            first_packet: Durations::new(),
            round_trip: Durations::new(),
            lateness: Durations::new(),
            series: Vec::with_capacity(expected.as_secs().min(MOMENTS_MAX as u64) as usize),
        }
    }

    /// A session is established, `took` nanoseconds after its connection was due.
    pub fn established(&mut self, at: u64, took: u64) {
        self.handshakes += 1;
        self.handshake.record(took);
        self.moment(at).handshakes += 1;
    }

    /// A session failed, or was lost.
    pub fn failed(&mut self, at: u64, reason: impl Into<Cow<'static, str>>) {
        count(&mut self.failures, reason.into());
        self.moment(at).failures += 1;
    }

    /// A packet was of no use.
    pub fn dropped(&mut self, reason: impl Into<Cow<'static, str>>) {
        count(&mut self.drops, reason.into());
    }

    /// So many sessions are established now.
    pub fn holds(&mut self, at: u64, sessions: u64) {
        let moment = self.moment(at);
        moment.sessions = moment.sessions.max(sessions);
    }

    /// Inner packets were sent into the tunnel.
    pub fn sent(&mut self, at: u64, traffic: Traffic) {
        self.up += traffic;
        self.moment(at).up += traffic;
    }

    /// Inner packets came out of the tunnel.
    pub fn received(&mut self, at: u64, traffic: Traffic) {
        self.down += traffic;
        self.moment(at).down += traffic;
    }

    /// A round trip ended, `took` nanoseconds after its request was due.
    pub fn returned(&mut self, at: u64, took: u64) {
        self.round_trip.record(took);
        let moment = self.moment(at);
        moment.round_trips += 1;
        moment.round_trip_max_ns = moment.round_trip_max_ns.max(took);
        moment.round_trip_sum_ns = moment.round_trip_sum_ns.saturating_add(took);
    }

    /// Adds what another core counted, or another run that began `later` intervals later.
    pub fn add(&mut self, other: &Self, later: usize) {
        self.attempts += other.attempts;
        self.handshakes += other.handshakes;
        self.left += other.left;
        self.roams += other.roams;
        self.renegotiations += other.renegotiations;
        self.up += other.up;
        self.down += other.down;
        self.down_delivery += other.down_delivery;
        self.echoes += other.echoes;
        self.missed += other.missed;
        for (mine, theirs) in [
            (&mut self.failures, &other.failures),
            (&mut self.drops, &other.drops),
        ] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
        self.handshake.add(&other.handshake);
        self.first_packet.add(&other.first_packet);
        self.round_trip.add(&other.round_trip);
        self.lateness.add(&other.lateness);
        let needed = (later + other.series.len()).min(MOMENTS_MAX);
        if self.series.len() < needed {
            self.series.resize(needed, Moment::default());
        }
        for (mine, theirs) in self.series.iter_mut().skip(later).zip(&other.series) {
            *mine += *theirs;
        }
    }

    /// Sessions that failed, for any reason.
    pub fn failures_total(&self) -> u64 {
        self.failures.values().sum()
    }

    fn moment(&mut self, at: u64) -> &mut Moment {
        let index = (at as f64 / 1e9 / self.interval_seconds) as usize;
        // What is beyond the last interval counts there: a run that does not end is not drawn, but bounded.
        let index = index.min(MOMENTS_MAX - 1);
        if self.series.len() <= index {
            self.series.resize(index + 1, Moment::default());
        }
        &mut self.series[index]
    }
}

impl AddAssign for Moment {
    fn add_assign(&mut self, other: Self) {
        self.handshakes += other.handshakes;
        self.failures += other.failures;
        self.sessions += other.sessions;
        self.up += other.up;
        self.down += other.down;
        self.round_trips += other.round_trips;
        self.round_trip_max_ns = self.round_trip_max_ns.max(other.round_trip_max_ns);
        self.round_trip_sum_ns = self
            .round_trip_sum_ns
            .saturating_add(other.round_trip_sum_ns);
    }
}

impl Traffic {
    /// One packet of `length` bytes.
    pub const fn packet(length: usize) -> Self {
        Self {
            packets: 1,
            bytes: length as u64,
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// A server's words can be a reason, and servers are strangers: the number of reasons is bounded.
fn count(counts: &mut BTreeMap<Cow<'static, str>, u64>, reason: Cow<'static, str>) {
    if let Some(count) = counts.get_mut(&reason) {
        *count += 1;
    } else if counts.len() < REASONS_MAX {
        counts.insert(reason, 1);
    } else {
        *counts.entry(Cow::Borrowed(OTHER)).or_default() += 1;
    }
}

const OTHER: &str = "other reasons";

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn some() -> Tally {
        let mut tally = Tally::new(Duration::from_secs(3));
        tally.attempts = 3;
        tally.established(SECOND / 2, 7_000_000);
        tally.established(SECOND * 2, 9_000_000);
        tally.failed(SECOND * 2, "timeout");
        tally.holds(SECOND * 2, 2);
        tally.sent(SECOND * 2 + 1, Traffic::packet(100));
        tally.sent(SECOND * 2 + 2, Traffic::packet(60));
        tally.received(0, Traffic::packet(1400));
        tally.returned(SECOND, 300);
        tally.returned(SECOND, 100);
        tally
    }

    #[test]
    fn events_fall_into_their_interval() {
        let tally = some();
        let [first, second, third] = tally.series[..] else {
            panic!("{:?}", tally.series);
        };
        assert_eq!(
            (first.handshakes, first.down.bytes, first.failures),
            (1, 1400, 0)
        );
        assert_eq!((second.round_trips, second.round_trip_max_ns), (2, 300));
        assert_eq!(second.round_trip_sum_ns, 400);
        assert_eq!(
            (third.handshakes, third.failures, third.sessions),
            (1, 1, 2)
        );
        let bytes = 160;
        assert_eq!(third.up, Traffic { packets: 2, bytes });
        assert_eq!(tally.up, third.up);
        assert_eq!((tally.handshakes, tally.failures_total()), (2, 1));
        assert_eq!(tally.round_trip.count(), 2);
    }

    #[test]
    fn a_sum_has_everything_twice_and_later_runs_later() {
        let (mut sum, other) = (some(), some());
        sum.add(&other, 2);
        assert_eq!((sum.attempts, sum.handshakes), (6, 4));
        assert_eq!(sum.failures["timeout"], 2);
        assert_eq!(sum.up.bytes, 320);
        assert_eq!(sum.handshake.count(), 4);
        let handshakes: Vec<_> = sum.series.iter().map(|it| it.handshakes).collect();
        assert_eq!(handshakes, [1, 0, 2, 0, 1]);
        assert_eq!(sum.series[2].down.bytes, 1400);
    }

    #[test]
    fn long_runs_and_many_reasons_are_bounded() {
        let month = Duration::from_secs(30 * 24 * 3600);
        let mut tally = Tally::new(month);
        assert!(month.as_secs_f64() / tally.interval_seconds <= MOMENTS_MAX as f64);
        tally.established(u64::MAX, 1);
        assert_eq!(tally.series.len(), MOMENTS_MAX);
        for index in 0..2 * REASONS_MAX {
            tally.failed(0, format!("reason {index}"));
            tally.failed(0, "reason 0");
        }
        assert_eq!(tally.failures.len(), REASONS_MAX + 1);
        assert_eq!(tally.failures[OTHER], REASONS_MAX as u64);
        assert_eq!(tally.failures["reason 0"], 2 * REASONS_MAX as u64 + 1);
        assert_eq!(tally.failures_total(), 4 * REASONS_MAX as u64);
    }

    #[test]
    fn json_gives_back_the_very_tally() {
        let tally = some();
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
    }
}
