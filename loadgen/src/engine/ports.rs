//! The ports that sockets are bound to: in turn, and none again soon after somebody has left it.
//!
//! The system's own choice is any port that is free, also one that was in use a moment ago. A server for which the
//! client of before is still on its way out takes the next one at that address for the same. Stock OpenVPN 2.6
//! refuses new sessions there for five seconds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringway::time::Monotonic;

/// The source ports of a run, for all its cores.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
    /// From which port of the range an address begins.
    first: u16,
    state: Mutex<State>,
}

/// Where clients send from: an address, if it is not the system's choice, and a port.
pub(crate) type Source = (Option<IpAddr>, u16);

#[derive(Debug, Default)]
struct State {
    /// How far each address is in the range.
    turns: HashMap<Option<IpAddr>, u16>,
    /// What was left lately, and when.
    resting: HashSet<Source>,
    left: VecDeque<(Monotonic, Source)>,
    /// How often there was none that had rested.
    hurried: u64,
}

impl Ports {
    /// The ports that the system gives to sockets that ask for none. `start` says with which of them it begins:
    /// generators beside one another begin in different places.
    pub(crate) fn of_system(start: u32) -> Self {
        let read = |name: &str| {
            let path = format!("/proc/sys/net/ipv4/{name}");
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let range = range_of(&read("ip_local_port_range")).unwrap_or(USUAL);
        Self::new(range, ranges_of(&read("ip_local_reserved_ports")), start)
    }

    fn new(range: RangeInclusive<u16>, reserved: Vec<RangeInclusive<u16>>, start: u32) -> Self {
        let first = (start % count(&range)) as u16;
        Self {
            range,
            reserved,
            first,
            state: Mutex::default(),
        }
    }

    /// The port whose turn it is: one that nobody of this run has left since a while. `try_out` says whether it can be
    /// had; another one is tried then. 0, for the system's choice, comes last, when all others are taken or rest.
    pub(crate) fn try_each<T>(
        &self,
        address: Option<IpAddr>,
        now: Monotonic,
        mut try_out: impl FnMut(u16) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..count(&self.range) {
            if let Some(port) = self.next(address, now)
                && let Some(made) = try_out(port)
            {
                return Some(made);
            }
        }
        self.lock().hurried += 1;
        try_out(0)
    }

    /// A socket is closed; its port rests.
    pub(crate) fn leave(&self, source: Source, now: Monotonic) {
        let mut state = self.lock();
        if state.resting.insert(source) {
            state.left.push_back((now, source));
        }
    }

    /// How often a port had to be used that had not rested.
    pub(crate) fn hurried(&self) -> u64 {
        self.lock().hurried
    }

    /// The next in turn, unless it rests or is reserved.
    fn next(&self, address: Option<IpAddr>, now: Monotonic) -> Option<u16> {
        let mut state = self.lock();
        while let Some((since, source)) = state.left.front().copied()
            && now >= since + REST
        {
            state.left.pop_front();
            state.resting.remove(&source);
        }
        let turn = state.turns.entry(address).or_insert(self.first);
        let port = self.range.start() + *turn;
        *turn = ((u32::from(*turn) + 1) % count(&self.range)) as u16;
        let reserved = self.reserved.iter().any(|range| range.contains(&port));
        (!reserved && !state.resting.contains(&(address, port))).then_some(port)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many ports a range has; at least one.
fn count(range: &RangeInclusive<u16>) -> u32 {
    u32::from(range.end().saturating_sub(*range.start())) + 1
}

/// Wire: `net.ipv4.ip_local_port_range`, as in `32768 60999`.
fn range_of(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let (from, to) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (0 < from && from <= to).then_some(from..=to)
}

/// Wire: `net.ipv4.ip_local_reserved_ports`, as in `8080,9000-9010`.
fn ranges_of(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |word: &str| {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

/// How long a port rests. Wire: a server of OpenVPN ends the session of who has said goodbye 5 s later, and forgets
/// one that is half done after `hand-window`, 60 s.
const REST: Duration = Duration::from_secs(60);
/// The kernel's own default.
const USUAL: RangeInclusive<u16> = 32_768..=60_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Monotonic {
        Monotonic::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn ports_come_in_turn_and_rest_when_they_are_left() {
        let ports = Ports::new(40_000..=40_003, vec![40_002..=40_002], 7);
        let next = |now| ports.try_each(None, seconds(now), Some);
        let taken: Vec<_> = (0..3).map(|_| next(0).unwrap()).collect();
        assert_eq!(taken, [40_003, 40_000, 40_001]);
        ports.leave((None, 40_003), seconds(1));
        ports.leave((None, 40_000), seconds(2));
        assert_eq!(next(3), Some(40_001), "the kernel says that it is taken");
        let free = |now, taken: &[u16]| {
            ports.try_each(None, seconds(now), |port| {
                (!taken.contains(&port)).then_some(port)
            })
        };
        assert_eq!(free(60, &[40_001]), Some(0));
        assert_eq!(ports.hurried(), 1);
        assert_eq!(free(61, &[40_001]), Some(40_003));
        assert_eq!(free(62, &[40_001, 40_003]), Some(40_000));
        assert_eq!(ports.hurried(), 1);
    }

    #[test]
    fn addresses_have_ports_of_their_own() {
        let ports = Ports::new(50_000..=50_001, Vec::new(), 0);
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        ports.leave((None, 50_000), seconds(1));
        assert_eq!(ports.try_each(address, seconds(1), Some), Some(50_000));
        assert_eq!(ports.try_each(None, seconds(1), Some), Some(50_001));
        assert_eq!(ports.try_each(None, seconds(1), |_| None::<u16>), None);
    }

    #[test]
    fn what_the_system_says_is_read() {
        for (text, expected) in [
            ("32768\t60999\n", Some(32_768..=60_999)),
            ("1024 1024", Some(1024..=1024)),
            ("60999 32768", None),
            ("0 5", None),
            ("", None),
            ("1 70000", None),
        ] {
            assert_eq!(range_of(text), expected, "{text:?}");
        }
        assert_eq!(ranges_of("8080,9000-9010\n"), [8080..=8080, 9000..=9010]);
        assert_eq!(ranges_of("\n"), []);
    }
}
