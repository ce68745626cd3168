//! Who the LAN host knows, and what it has seen of them: in bounded memory.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::order::{Counts, Reply};
use super::stream::Sending;
use crate::arrivals::Arrivals;

/// The sessions of one thread, and those that made room for others.
#[derive(Debug)]
pub(super) struct Sessions {
    known: HashMap<Name, Session>,
    /// As many as there may be.
    max: usize,
    forgotten: ByRun,
}

/// A session of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) run: u32,
    pub(super) session: u32,
}

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Session {
    /// Where its orders come from.
    pub(super) address: SocketAddr,
    pub(super) arrivals: Arrivals,
    pub(super) up_bytes: u64,
    pub(super) echoes: u64,
    pub(super) down: Down,
    /// The number of its last order, and what was answered.
    pub(super) order: Option<(u32, Reply)>,
    pub(super) heard: u64,
}

/// What is sent to a session.
#[derive(Debug, Default)]
pub(super) struct Down {
    pub(super) sending: Option<Sending>,
    /// Grows with each stream, so that what is due of the one before is passed over.
    pub(super) generation: u32,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) missed: u64,
}

/// What is forgotten of each run.
pub(super) type ByRun = HashMap<u32, Forgotten>;

/// Sessions that are not known one by one any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) sessions: u64,
    pub(super) counts: Counts,
    pub(super) highest: u64,
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: HashMap::new(),
            max,
            forgotten: HashMap::new(),
        }
    }

    pub(super) fn get_mut(&mut self, name: Name) -> Option<&mut Session> {
        self.known.get_mut(&name)
    }

    /// The session, or a new one if there is room.
    pub(super) fn admit(&mut self, now: u64, from: SocketAddr, name: Name) -> Option<&mut Session> {
        if !self.known.contains_key(&name) {
            if self.known.len() >= self.max {
                self.forget_silent(now);
            }
            if self.known.len() >= self.max {
                return None;
            }
        }
        Some(self.known.entry(name).or_insert_with(|| Session {
            address: from,
            arrivals: Arrivals::default(),
            up_bytes: 0,
            echoes: 0,
            down: Down::default(),
            order: None,
            heard: now,
        }))
    }

    /// Makes room: what has been silent for long is only counted any more.
    fn forget_silent(&mut self, now: u64) {
        let seen = &mut self.forgotten;
        self.known.retain(|name, session| {
            let silent = now.saturating_sub(session.heard) > SILENCE;
            let goes = silent && session.down.sending.is_none();
            if goes && (seen.len() < RUNS_MAX || seen.contains_key(&name.run)) {
                let forgotten = seen.entry(name.run).or_default();
                forgotten.sessions += 1;
                forgotten.counts.add(&session.counts());
                forgotten.highest += session.arrivals.delivery(None).sent;
            }
            !goes
        });
    }

    /// Those that made room for others, and of each of the rest the packets that it sent as far as is known, and its
    /// counts.
    pub(super) fn finish(self) -> (ByRun, Vec<(Name, u64, Counts)>) {
        let sessions = self.known.iter();
        let counts = sessions
            .map(|(name, it)| (*name, it.arrivals.delivery(None).sent, it.counts()))
            .collect();
        (self.forgotten, counts)
    }
}

impl Session {
    pub(super) fn counts(&self) -> Counts {
        let up = self.arrivals.delivery(None);
        Counts {
            received: up.received,
            bytes: self.up_bytes,
            duplicated: up.duplicated,
            reordered: up.reordered,
            late: up.late,
            echoes: self.echoes,
            down_packets: self.down.packets,
            down_bytes: self.down.bytes,
            down_missed: self.down.missed,
            socket_drops: 0,
        }
    }
}

/// A session that said nothing for so long makes room for others.
const SILENCE: u64 = 30_000_000_000;
/// Runs whose forgotten sessions are counted apart.
const RUNS_MAX: usize = 1_024;
