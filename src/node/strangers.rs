//! How many refusals of strangers are told one by one.
//!
//! Anybody can send datagrams that fail; each could cost a line of log. The rule, so that fail2ban
//! and a reader still see every offender:
//!
//! - a source (an IPv4 address, or the /64 of an IPv6 one) is told at most
//!   [`STRANGER_LINES_PER_SOURCE`] times in [`STRANGER_SOURCE_WINDOW`];
//! - all sources together at most [`STRANGER_LINES_PER_SECOND`] times a second, after a burst of as
//!   many again;
//! - what was not told is counted, and the count told at most once in [`STRANGER_SUMMARY_INTERVAL`].
//!
//! So a single flooder uses up its own allowance and no other's. A jail with a `maxretry` of up to
//! [`STRANGER_LINES_PER_SOURCE`] sees as many lines as it needs.
//!
//! The publisher asks here before it publishes, so that a flood fills no queue either.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use super::event::NodeEvent;
use crate::limits::{
    STRANGER_LINES_PER_SECOND, STRANGER_LINES_PER_SOURCE, STRANGER_SOURCE_WINDOW, STRANGER_SOURCES,
    STRANGER_SUMMARY_INTERVAL,
};
use crate::time::Monotonic;

/// The allowance of all strangers; of fixed size.
#[derive(Debug)]
pub struct StrangerAllowance {
    /// One place a source, found by hash; a newcomer takes the place of whoever has it.
    sources: Box<[Option<Source>]>,
    hasher: RandomState,
    /// Nanoseconds' worth of lines that may be told at once.
    credit: u64,
    credited: Monotonic,
    silenced: u64,
    summarized: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    prefix: u64,
    since: Monotonic,
    told: u32,
}

impl StrangerAllowance {
    /// A full allowance.
    pub fn new(now: Monotonic) -> Self {
        Self {
            sources: vec![None; STRANGER_SOURCES].into_boxed_slice(),
            hasher: RandomState::new(),
            credit: CREDIT_MAX,
            credited: now,
            silenced: 0,
            summarized: now,
        }
    }

    /// Whether a refusal of `address` may be told by itself; if not, it is counted.
    pub fn admit(&mut self, now: Monotonic, address: SocketAddr) -> bool {
        let place = self.place_of(now, source(address));
        let told = self.sources.get(place).copied().flatten();
        let may_speak = told.is_none_or(|source| source.told < STRANGER_LINES_PER_SOURCE);
        let tell = may_speak && self.take_credit(now);
        if tell {
            if let Some(Some(source)) = self.sources.get_mut(place) {
                source.told += 1;
            }
        } else {
            self.silenced = self.silenced.saturating_add(1);
        }
        tell
    }

    /// The count of what was not told, if there is one and the last is long enough ago.
    pub fn summary(&mut self, now: Monotonic) -> Option<NodeEvent> {
        if self.silenced == 0 || now.since(self.summarized) < STRANGER_SUMMARY_INTERVAL {
            return None;
        }
        self.summarized = now;
        Some(NodeEvent::StrangersSilenced {
            refusals: std::mem::take(&mut self.silenced),
        })
    }

    /// The source's place, where it has a window that is still open.
    fn place_of(&mut self, now: Monotonic, prefix: u64) -> usize {
        let place = (self.hasher.hash_one(prefix) % STRANGER_SOURCES as u64) as usize;
        if let Some(entry) = self.sources.get_mut(place) {
            let open = entry.is_some_and(|source| {
                source.prefix == prefix && now.since(source.since) < STRANGER_SOURCE_WINDOW
            });
            if !open {
                *entry = Some(Source {
                    prefix,
                    since: now,
                    told: 0,
                });
            }
        }
        place
    }

    fn take_credit(&mut self, now: Monotonic) -> bool {
        let earned = now.since(self.credited).as_nanos();
        self.credit = u64::try_from(u128::from(self.credit) + earned)
            .unwrap_or(CREDIT_MAX)
            .min(CREDIT_MAX);
        self.credited = now;
        match self.credit.checked_sub(LINE_COST) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

/// What counts as one source: an IPv4 address, or the network that one IPv6 subscriber has.
pub fn source(address: SocketAddr) -> u64 {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        // Above every IPv4 address: no global IPv6 network begins with 32 zero bits.
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

/// Nanoseconds that pay for one line.
const LINE_COST: u64 = 1_000_000_000 / STRANGER_LINES_PER_SECOND;

/// Two seconds' worth.
const CREDIT_MAX: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(millis: u64) -> Monotonic {
        Monotonic::ZERO + Duration::from_millis(millis)
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1000 + u16::from(last)))
    }

    #[test]
    fn a_flooder_uses_up_its_own_allowance_only() {
        let mut allowance = StrangerAllowance::new(at(0));
        let told = (0..100_000)
            .filter(|_| allowance.admit(at(0), v4(1)))
            .count();
        assert_eq!(told, 5);
        assert!(allowance.admit(at(0), v4(2)), "another source is heard");
    }

    #[test]
    fn a_source_that_goes_on_is_told_again_in_the_next_window() {
        let mut allowance = StrangerAllowance::new(at(0));
        let told = (0..60_000)
            .step_by(10)
            .filter(|&millis| allowance.admit(at(millis), v4(1)))
            .count();
        assert_eq!(told, 6 * 5, "five in each ten seconds of a minute");
    }

    #[test]
    fn many_sources_share_ten_lines_a_second() {
        let mut allowance = StrangerAllowance::new(at(0));
        let mut told = 0;
        for second in 0..10_u64 {
            for source in 0..=255 {
                told += u32::from(allowance.admit(at(second * 1000), v4(source)));
            }
        }
        assert_eq!(told, 20 + 9 * 10);
    }

    #[test]
    fn what_was_not_told_is_counted_once() {
        let mut allowance = StrangerAllowance::new(at(0));
        for _ in 0..12 {
            allowance.admit(at(0), v4(1));
        }
        assert_eq!(allowance.summary(at(9_999)), None);
        assert_eq!(
            allowance.summary(at(10_000)),
            Some(NodeEvent::StrangersSilenced { refusals: 7 })
        );
        assert_eq!(allowance.summary(at(30_000)), None);
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_ipv4() {
        let same =
            |one: &str, other: &str| source(one.parse().unwrap()) == source(other.parse().unwrap());
        assert!(same("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:2"));
        assert!(!same("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1"));
        assert!(same("[::ffff:192.0.2.1]:1", "192.0.2.1:2"));
    }
}
