//! Who has failed to log in waits before the next attempt is looked at: longer each time, by address
//! and by name.
//!
//! A stranger can make entries, so their number is fixed; names are kept as numbers made with a key
//! that nobody knows. Whoever fails under a name of somebody else makes that name wait too, but never
//! where it logged in last, and never for long.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::limits::LOGIN_FAILURES;
use crate::time::Monotonic;

/// Where a login comes from: an IPv4 address, or the /64 that an IPv6 address is in, since that is
/// what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Failures of the last time, by source and by name.
#[derive(Debug)]
pub struct Backoff {
    hasher: RandomState,
    entries: HashMap<Key, Entry>,
    room: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Source(Source),
    Name(u64),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Failures since the last success.
    failures: u32,
    /// When the last one was.
    last: Monotonic,
    /// Of a name: where it logged in last.
    home: Option<Source>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::with_room(LOGIN_FAILURES)
    }
}

impl Backoff {
    fn with_room(room: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            entries: HashMap::new(),
            room,
        }
    }

    /// How long this login has to wait; `None` if it may be looked at.
    pub fn wait(&self, now: Monotonic, source: Source, name: &str) -> Option<Duration> {
        let by_source = self.entries.get(&Key::Source(source));
        let by_source = by_source.and_then(|entry| entry.wait(now, LONGEST));
        let by_name = self.entries.get(&self.key(name));
        let by_name = by_name.filter(|entry| entry.home != Some(source));
        let by_name = by_name.and_then(|entry| entry.wait(now, LONGEST_OF_A_NAME));
        by_source.max(by_name)
    }

    /// Whether that name logged in from there last.
    pub fn is_home(&self, source: Source, name: &str) -> bool {
        let entry = self.entries.get(&self.key(name));
        entry.is_some_and(|entry| entry.home == Some(source))
    }

    /// A login was refused.
    pub fn failed(&mut self, now: Monotonic, source: Source, name: &str) {
        for key in [Key::Source(source), self.key(name)] {
            self.make_room(now, key);
            let entry = self.entries.entry(key).or_insert(Entry {
                failures: 0,
                last: now,
                home: None,
            });
            if entry.is_forgiven(now) {
                entry.failures = 0;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.last = now;
        }
    }

    /// A login was accepted: what was before is forgiven.
    pub fn succeeded(&mut self, now: Monotonic, source: Source, name: &str) {
        self.entries.remove(&Key::Source(source));
        let key = self.key(name);
        self.make_room(now, key);
        let home = Some(source);
        self.entries.insert(
            key,
            Entry {
                failures: 0,
                last: now,
                home,
            },
        );
    }

    fn key(&self, name: &str) -> Key {
        Key::Name(self.hasher.hash_one(name))
    }

    /// When there are too many entries, those leave that are forgiven, and else the tenth with the
    /// fewest failures, of those the oldest: who has tried often is not forgotten for many who have
    /// tried once.
    fn make_room(&mut self, now: Monotonic, key: Key) {
        if self.entries.len() < self.room || self.entries.contains_key(&key) {
            return;
        }
        self.entries.retain(|_, entry| !entry.is_forgiven(now));
        if self.entries.len() < self.room {
            return;
        }
        let ranks = self.entries.values().map(Entry::rank);
        let mut ranks: Vec<_> = ranks.collect();
        let (_, limit, _) = ranks.select_nth_unstable(self.room / 10);
        let limit = *limit;
        self.entries.retain(|_, entry| entry.rank() > limit);
    }
}

impl Entry {
    fn wait(&self, now: Monotonic, longest: Duration) -> Option<Duration> {
        let beyond = self.failures.checked_sub(FREE)?;
        let pause = FIRST.saturating_mul(1 << beyond.min(16)).min(longest);
        let left = pause.checked_sub(now.since(self.last))?;
        (left > Duration::ZERO).then_some(left)
    }

    /// The lowest leave first.
    fn rank(&self) -> (u32, Monotonic) {
        (self.failures, self.last)
    }

    fn is_forgiven(&self, now: Monotonic) -> bool {
        now.since(self.last) >= FORGIVEN
    }
}

/// The failure that the first pause is behind: those before it are slips.
const FREE: u32 = 3;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause of a source.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The longest pause of a name, wherever it comes from.
const LONGEST_OF_A_NAME: Duration = Duration::from_secs(15);

/// Without a failure for so long, all is as if there had been none.
const FORGIVEN: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::ZERO + Duration::from_secs(seconds)
    }

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn pauses_grow_to_their_longest_and_a_success_ends_them() {
        let (mut backoff, here) = (Backoff::default(), source("192.0.2.1"));
        let mut pauses = Vec::new();
        for _ in 0..14 {
            backoff.failed(at(0), here, "anna");
            pauses.push(
                backoff
                    .wait(at(0), here, "carl")
                    .map_or(0, |it| it.as_secs()),
            );
        }
        assert_eq!(
            pauses,
            [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        );
        assert_eq!(
            backoff.wait(at(299), here, "carl"),
            Some(Duration::from_secs(1))
        );
        assert_eq!(backoff.wait(at(300), here, "carl"), None);
        backoff.succeeded(at(300), here, "carl");
        backoff.failed(at(300), here, "carl");
        assert_eq!(
            backoff.wait(at(300), here, "carl"),
            None,
            "all is forgotten"
        );
    }

    #[test]
    fn a_quarter_of_an_hour_forgives() {
        let (mut backoff, here) = (Backoff::default(), source("192.0.2.1"));
        for _ in 0..20 {
            backoff.failed(at(0), here, "anna");
        }
        backoff.failed(at(900), here, "anna");
        assert_eq!(backoff.wait(at(900), here, "anna"), None);
    }

    #[test]
    fn a_name_waits_wherever_it_comes_from_but_not_at_home_and_not_long() {
        let (mut backoff, home) = (Backoff::default(), source("192.0.2.1"));
        backoff.succeeded(at(0), home, "anna");
        // Somebody else tries from everywhere.
        for host in 0..50 {
            backoff.failed(at(0), source(&format!("198.51.100.{host}")), "anna");
        }
        let elsewhere = source("203.0.113.1");
        let longest = Some(Duration::from_secs(15));
        assert_eq!(backoff.wait(at(0), elsewhere, "anna"), longest);
        assert_eq!(backoff.wait(at(0), elsewhere, "bert"), None);
        assert_eq!(backoff.wait(at(0), home, "anna"), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (mut backoff, one) = (Backoff::default(), source("2001:db8:1:2::1"));
        for _ in 0..4 {
            backoff.failed(at(0), one, "anna");
        }
        let two = Some(Duration::from_secs(2));
        assert_eq!(
            backoff.wait(at(0), source("2001:db8:1:2:ffff::9"), "bert"),
            two
        );
        assert_eq!(backoff.wait(at(0), source("2001:db8:1:3::1"), "bert"), None);
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn strangers_make_no_more_entries_than_there_is_room_for() {
        let (mut backoff, known) = (Backoff::with_room(100), source("192.0.2.1"));
        for number in 0_u32..10_000 {
            let now = Monotonic::from_nanos(u64::from(number));
            let other = Source(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
            backoff.failed(now, other, &format!("name {number}"));
            assert!(backoff.entries.len() <= 100);
            // Who fails again and again is not forgotten for them.
            backoff.failed(now, known, "anna");
        }
        assert!(backoff.wait(at(99), known, "carl").is_some(), "still");
    }
}
