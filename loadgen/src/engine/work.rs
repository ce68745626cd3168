//! What one core has to do in a phase: its part of what all of them do.

use std::time::Duration;

use loadgen::pace::{Pace, Share, Spacing};
use loadgen::plan::Phase;
use loadgen::ramp::Ramp;
use loadgen::scenario::{Direction, Scenario, imix_size};

/// A core's part of a phase. Its moments count from the begin of the phase, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// How long the phase lasts.
    pub(super) length: Duration,
    /// Whether all sessions begin at once.
    pub(super) storm: bool,
    /// Whether the phase is over when all sessions are up.
    pub(super) ends_when_up: bool,
    /// Clients that come and leave.
    pub(super) arrivals: Option<Pace>,
    /// Sessions that leave and return.
    pub(super) departures: Option<Pace>,
    /// Sessions that change their socket.
    pub(super) moves: Option<Pace>,
    /// Sessions that renew their keys.
    pub(super) renewals: Option<Pace>,
    /// Packets to the LAN host.
    pub(super) up: Vec<Stream>,
    /// Requests to it.
    pub(super) echo: Vec<Stream>,
    /// Packets from it.
    pub(super) down: Option<Down>,
    sessions: Option<Ramp>,
    share: Share,
}

/// What the LAN host is to send to all sessions together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Down {
    /// Length of each packet; `None` for IMIX.
    pub(super) size: Option<u16>,
    /// Packets a second; as fast as it sends without one.
    rate: Option<Ramp>,
}

/// Packets that go out one after the other, over all sessions in turn.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// When each is due; as fast as it goes without one.
    pub(super) pace: Option<Pace>,
    pub(super) size: Size,
    /// Packets so far.
    pub(super) sent: u64,
    /// The client whose turn it is, and for how many packets more.
    pub(super) turn: Option<(usize, usize)>,
}

/// How long packets are, headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Fixed(u16),
    Imix,
}

impl Work {
    /// The part of one core. Arrivals come as independent clients do, from `seed`.
    pub(super) fn new(phase: &Phase, share: Share, seed: u64) -> Self {
        let holds = phase.run.iter().any(Scenario::holds_sessions);
        let mut work = Self {
            length: phase.duration.duration(),
            storm: false,
            ends_when_up: phase.run.iter().all(Scenario::is_storm),
            arrivals: None,
            departures: None,
            moves: None,
            renewals: None,
            up: Vec::new(),
            echo: Vec::new(),
            down: None,
            sessions: holds.then_some(phase.sessions),
            share,
        };
        for element in phase.run.iter().flat_map(Scenario::elements) {
            work.take(&element, phase.sessions, seed);
        }
        work
    }

    fn take(&mut self, element: &Scenario, sessions: Ramp, seed: u64) {
        let per_session = |interval: Duration| Ramp {
            from: sessions.from / interval.as_secs_f64(),
            to: sessions.to / interval.as_secs_f64(),
        };
        match element {
            Scenario::Handshake { rate } => {
                self.arrivals = Some(self.pace(*rate, Spacing::Poisson(seed)));
            }
            Scenario::Churn { rate } => {
                self.departures = Some(self.pace(*rate, Spacing::Poisson(seed ^ 1)));
            }
            Scenario::Roam { interval } => {
                self.moves = Some(self.pace(per_session(interval.duration()), Spacing::Even));
            }
            Scenario::Reneg { interval } => {
                self.renewals = Some(self.pace(per_session(interval.duration()), Spacing::Even));
            }
            Scenario::Storm {} => self.storm = true,
            Scenario::BulkUp { size, rate } => {
                let stream = self.stream(*rate, Size::Fixed(*size));
                self.up.push(stream);
            }
            Scenario::Imix { direction, rate } => {
                if *direction != Direction::Down {
                    let stream = self.stream(*rate, Size::Imix);
                    self.up.push(stream);
                }
                if *direction != Direction::Up {
                    let (size, rate) = (None, *rate);
                    self.down = Some(Down { size, rate });
                }
            }
            Scenario::BulkDown { size, rate } => {
                let (size, rate) = (Some(*size), *rate);
                self.down = Some(Down { size, rate });
            }
            Scenario::Latency { rate, size } => {
                let stream = self.stream(Some(*rate), Size::Fixed(*size));
                self.echo.push(stream);
            }
            // Names for others, which are here beside them, and nothing to do.
            Scenario::Bidirectional { .. } | Scenario::Soak { .. } | Scenario::Idle {} => {}
        }
    }

    /// How many sessions this core holds when so much of the phase is over.
    pub(super) fn sessions_at(&self, since: Duration) -> usize {
        let part = since.as_secs_f64() / self.length.as_secs_f64();
        let all = self.sessions.map_or(0, |ramp| ramp.at(part).round() as u32);
        own_part(all, self.share)
    }

    /// Packets in 1,000 seconds that the LAN host is to send to each session now; 0 for as fast as it
    /// can.
    pub(super) fn down_rate_milli(&self, since: Duration) -> u64 {
        let part = since.as_secs_f64() / self.length.as_secs_f64();
        let rate = self.down.and_then(|down| down.rate);
        let sessions = self.sessions.map_or(1.0, |ramp| ramp.at(part).max(1.0));
        rate.map_or(0, |rate| (rate.at(part) * 1000.0 / sessions).ceil() as u64)
    }

    /// The moments at which this core has something to do next.
    pub(super) fn next(&self) -> Option<u64> {
        let single = [
            &self.arrivals,
            &self.departures,
            &self.moves,
            &self.renewals,
        ];
        let streams = self.up.iter().chain(&self.echo).map(|it| &it.pace);
        let paces = single.into_iter().chain(streams).flatten();
        paces.filter_map(Pace::next).min()
    }

    /// Whether something is sent as fast as it goes.
    pub(super) fn is_greedy(&self) -> bool {
        self.up.iter().any(|stream| stream.pace.is_none())
    }

    fn pace(&self, rate: Ramp, spacing: Spacing) -> Pace {
        let length = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        Pace::new(rate, length, spacing, self.share)
    }

    fn stream(&self, rate: Option<Ramp>, size: Size) -> Stream {
        Stream {
            pace: rate.map(|rate| self.pace(rate, Spacing::Even)),
            size,
            sent: 0,
            turn: None,
        }
    }
}

impl Down {
    /// Whether the rate is another one later.
    pub(super) fn changes(&self) -> bool {
        self.rate.is_some_and(|rate| rate.from != rate.to)
    }
}

impl Stream {
    /// The length of the next packet.
    pub(super) const fn next_size(&mut self) -> usize {
        let number = self.sent;
        self.sent += 1;
        match self.size {
            Size::Fixed(size) => size as usize,
            Size::Imix => imix_size(number) as usize,
        }
    }
}

/// Of so many numbers from 0 on, those that a core has: every so manieth.
pub(super) const fn own_part(all: u32, share: Share) -> usize {
    let before = share.of - 1 - share.index;
    ((all + before) / share.of) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use loadgen::plan::Plan;

    fn phase(words: &str, sessions: u32) -> Phase {
        let plan = Plan::from_words(words, sessions, "10s".parse().unwrap()).unwrap();
        plan.phases.into_iter().next().unwrap()
    }

    #[test]
    fn cores_share_the_sessions_and_leave_none_out() {
        for (all, of) in [(0, 1), (1, 2), (10, 3), (11, 3), (12, 3)] {
            let parts: usize = (0..of)
                .map(|index| own_part(all, Share { index, of }))
                .sum();
            assert_eq!(parts, all as usize);
        }
        let second = Share { index: 1, of: 2 };
        let work = Work::new(&phase("idle", 5), second, 1);
        assert_eq!(work.sessions_at(Duration::ZERO), 2);
        assert_eq!((work.next(), work.is_greedy()), (None, false));
    }

    #[test]
    fn who_only_comes_and_leaves_is_not_held() {
        let work = Work::new(&phase("handshake:rate=10", 50), Share::WHOLE, 1);
        assert_eq!(work.sessions_at(Duration::ZERO), 0);
        assert!(work.arrivals.is_some() && work.next().is_some());
        let both = Work::new(&phase("handshake+latency", 50), Share::WHOLE, 1);
        assert_eq!(both.sessions_at(Duration::ZERO), 50);
        assert_eq!((both.echo.len(), both.up.len()), (1, 0));
    }

    #[test]
    fn a_storm_alone_is_over_when_all_are_up() {
        for (words, expected) in [("storm", true), ("storm+latency", false), ("idle", false)] {
            let work = Work::new(&phase(words, 3), Share::WHOLE, 1);
            assert_eq!(work.ends_when_up, expected, "{words}");
        }
    }

    #[test]
    fn intervals_of_one_session_are_a_rate_of_all() {
        let mut work = Work::new(&phase("roam:interval=2s", 6), Share::WHOLE, 1);
        let moves = work.moves.as_mut().unwrap();
        let times: Vec<u64> = std::iter::from_fn(|| moves.due(u64::MAX)).collect();
        assert_eq!(times.len(), 30, "six sessions, five times each");
    }

    #[test]
    fn a_mix_has_all_sizes_and_a_stream_without_rate_is_greedy() {
        let mut work = Work::new(&phase("imix:direction=up", 6), Share::WHOLE, 1);
        assert!(work.is_greedy());
        let stream = &mut work.up[0];
        let sizes: Vec<usize> = (0..12).map(|_| stream.next_size()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 7 * 64 + 4 * 576 + 1400);
        let down = Work::new(&phase("imix:direction=down", 6), Share::WHOLE, 1);
        assert!(down.up.is_empty() && down.down.is_some());
    }

    #[test]
    fn each_session_is_to_get_its_part_of_the_rate() {
        let rate = |words: &str, seconds| {
            let work = Work::new(&phase(words, 4), Share::WHOLE, 1);
            let changes = work.down.is_some_and(|down| down.changes());
            (work.down_rate_milli(Duration::from_secs(seconds)), changes)
        };
        assert_eq!(rate("bulk-down", 0), (0, false));
        assert_eq!(rate("bulk-down:rate=100", 9), (25_000, false));
        assert_eq!(rate("imix:rate=0..100", 5), (12_500, true));
    }
}
