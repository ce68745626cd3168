//! The sessions that nobody has let in, or that have left: what strangers can make. There are so
//! many places for them in a shard, and so many of those for one source.
//!
//! When all are taken, the session goes that is worth least, and of equals the one that has waited
//! longest. Least is worth one that has left, then one whose client has done no more than answer the
//! cookie, then one whose client has begun TLS: that much costs us a signature, and an honest client
//! does it with its next packet. So a flood of contacts that say nothing more turns over its own
//! places and never touches a handshake that has begun, at whatever rate it comes.
//!
//! A handshake that has begun is not touched at all for [`HALF_OPEN_TENURE`], the time that it takes
//! where nothing goes wrong. Where a newcomer finds only such ones it is not let in: it repeats its
//! packet with the same cookie two seconds later. Without this, two hundred clients behind one address
//! would end each other's handshakes, and each would find out when its hand-window is over. That
//! time is not prolonged by anything that the client sends, so nobody can keep a place by chattering.
//!
//! Every question costs the same with one such session as with a thousand.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::connections::Key;
use crate::limits::{HALF_OPEN_MAX, HALF_OPEN_TENURE, half_open_per_source};
use crate::time::Monotonic;

/// Half-open sessions, the one that goes next first.
#[derive(Debug)]
pub(super) struct HalfOpen {
    /// Places of one source in this shard.
    per_source: usize,
    order: BTreeSet<(Rank, Key)>,
    by_source: BTreeSet<(Source, Rank, Key)>,
    counts: HashMap<Source, usize>,
}

/// How a session is filed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filed {
    pub(super) source: Source,
    pub(super) rank: Rank,
}

/// What a half-open session is worth: how far it has come, and since when. Less is worth less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) progress: Progress,
    pub(super) since: Monotonic,
}

/// How far a half-open session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// It has left and acknowledges what its client repeats.
    Left,
    /// Its client has answered the cookie.
    Met,
    /// Its client has begun TLS, and we have answered.
    Handshaking,
}

/// What counts as one source of sessions: the /24 of an IPv4 address, the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(u64);

/// Whether there is a place for one more session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// When this one goes.
    Displacing(Key),
    /// There is none.
    None,
}

impl HalfOpen {
    /// Nobody yet, in one of so many shards.
    pub(super) fn new(shards: u16) -> Self {
        Self {
            per_source: half_open_per_source(shards),
            order: BTreeSet::new(),
            by_source: BTreeSet::new(),
            counts: HashMap::new(),
        }
    }

    pub(super) fn insert(&mut self, key: Key, Filed { source, rank }: Filed) {
        if self.order.insert((rank, key)) {
            self.by_source.insert((source, rank, key));
            *self.counts.entry(source).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, key: Key, Filed { source, rank }: Filed) {
        if !self.order.remove(&(rank, key)) {
            return;
        }
        self.by_source.remove(&(source, rank, key));
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether `source` can have another session now.
    pub(super) fn room_for(&self, source: Source, now: Monotonic) -> Room {
        let least = if self.counts.get(&source).copied().unwrap_or(0) >= self.per_source {
            let mut of_source = self.by_source.range((source, Rank::LEAST, Key::FIRST)..);
            of_source.next().map(|&(_, rank, key)| (rank, key))
        } else if self.order.len() >= HALF_OPEN_MAX {
            self.order.first().copied()
        } else {
            return Room::Free;
        };
        match least {
            Some((rank, key)) if !rank.has_tenure(now) => Room::Displacing(key),
            _ => Room::None,
        }
    }
}

impl Rank {
    /// No rank comes before it.
    const LEAST: Self = Self {
        progress: Progress::Left,
        since: Monotonic::ZERO,
    };

    fn has_tenure(self, now: Monotonic) -> bool {
        self.progress == Progress::Handshaking && now.since(self.since) < HALF_OPEN_TENURE
    }
}

impl Source {
    /// The source of what comes from `address`.
    pub(super) fn of(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address) >> 8),
            // Above every IPv4 network: no global IPv6 network begins with 32 zero bits.
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
        })
    }
}

#[cfg(test)]
mod tests;
