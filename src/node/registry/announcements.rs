//! What all shards are told about who has which addresses and networks.
//!
//! Whoever is admitted has a seat, and what is told of it is told by that number. Each change has a
//! number, and each seat is listed with its last change only, so the list is never longer than the
//! most clients that ever were there at once, however long a shard is busy. A shard is told what is behind the
//! last number that it acknowledged, so many at once, and again when it says nothing for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use crate::limits::{ANNOUNCEMENTS_IN_FLIGHT, REGISTRY_REPEAT};
use crate::node::leases::Addresses;
use crate::packet::{ClientPath, Owner};
use crate::time::Monotonic;

/// The changes, and how far each shard has heard them.
#[derive(Debug)]
pub(super) struct Announcements {
    seats: HashMap<u32, Seat>,
    /// The last change of each seat.
    by_number: BTreeMap<u64, u32>,
    number: u64,
    listeners: Vec<Listener>,
}

/// Who has one seat now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The number of the change.
    pub number: u64,
    /// The number of the one that comes before it; a shard that does not know that one has missed
    /// something and leaves this one aside.
    pub after: u64,
    /// The seat.
    pub seat: u32,
    /// Who has it; `None` when nobody does.
    pub tenant: Option<Arc<Tenant>>,
}

/// The client that has a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The shard that its session is on.
    pub shard: u16,
    /// What that shard calls the session.
    pub session: u64,
    /// Its number.
    pub client_id: u64,
    /// Where its data packets come from, if they carry no peer id.
    pub path: ClientPath,
    /// Its addresses.
    pub addresses: Addresses,
    /// The networks behind it.
    pub networks: Vec<IpNet>,
}

impl Tenant {
    /// As a directory calls it.
    pub fn owner(&self) -> Owner {
        Owner {
            shard: self.shard,
            client_id: self.client_id,
        }
    }
}

#[derive(Clone, Debug)]
struct Seat {
    number: u64,
    tenant: Option<Arc<Tenant>>,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, Default)]
struct Listener {
    /// All changes up to here are acknowledged.
    acknowledged: u64,
    /// All changes up to here have been told.
    told: u64,
    /// When to begin again behind what is acknowledged, while something is not.
    repeat_at: Option<Monotonic>,
    /// It left something unanswered, and is told one at a time until it answers.
    silent: bool,
    /// It has ended and hears nothing.
    ended: bool,
}

impl Announcements {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            seats: HashMap::new(),
            by_number: BTreeMap::new(),
            number: 0,
            listeners: vec![Listener::default(); usize::from(shards)],
        }
    }

    /// A seat has another tenant, or none.
    pub(super) fn change(&mut self, seat: u32, tenant: Option<Arc<Tenant>>) {
        self.number += 1;
        let number = self.number;
        if let Some(former) = self.seats.insert(seat, Seat { number, tenant }) {
            self.by_number.remove(&former.number);
        }
        self.by_number.insert(number, seat);
    }

    /// A shard knows all changes up to `number`.
    pub(super) fn acknowledge(&mut self, shard: u16, number: u64, now: Monotonic) {
        let Some(listener) = self.listeners.get_mut(usize::from(shard)) else {
            return;
        };
        if number > listener.acknowledged && number <= self.number {
            listener.acknowledged = number;
            listener.told = listener.told.max(number);
            listener.silent = false;
            let behind = listener.told > number;
            listener.repeat_at = behind.then(|| now + REGISTRY_REPEAT);
        }
    }

    /// A shard hears nothing any more.
    pub(super) fn shard_ended(&mut self, shard: u16) {
        if let Some(listener) = self.listeners.get_mut(usize::from(shard)) {
            listener.ended = true;
            listener.repeat_at = None;
        }
    }

    /// What to tell `shard` next, if there is something and it has not been told too much at once.
    pub(super) fn next_for(&mut self, shard: u16, now: Monotonic) -> Option<Announcement> {
        let listener = self.listeners.get_mut(usize::from(shard))?;
        if listener.ended {
            return None;
        }
        if listener.repeat_at.is_some_and(|at| at <= now) {
            listener.told = listener.acknowledged;
            listener.repeat_at = None;
            listener.silent = true;
        }
        let after = listener.told;
        if after == self.number {
            return None;
        }
        let (&number, &seat) = self.by_number.range(after + 1..).next()?;
        if after > listener.acknowledged && number - listener.acknowledged > listener.window() {
            return None;
        }
        listener.told = number;
        listener.repeat_at.get_or_insert(now + REGISTRY_REPEAT);
        Some(Announcement {
            number,
            after,
            seat,
            tenant: self.seats.get(&seat)?.tenant.clone(),
        })
    }

    /// When something is to be told again.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.repeat_at)
            .min()
    }
}

impl Listener {
    /// The numbers that may be under way.
    fn window(&self) -> u64 {
        if self.silent {
            1
        } else {
            ANNOUNCEMENTS_IN_FLIGHT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shard: u16) -> Option<Arc<Tenant>> {
        Some(Arc::new(Tenant {
            shard,
            session: 1,
            client_id: 0,
            path: crate::node::registry::tests::PATH,
            addresses: Addresses { v4: None, v6: None },
            networks: vec!["10.1.0.0/16".parse().unwrap()],
        }))
    }

    fn told(announcements: &mut Announcements, now: Monotonic) -> Vec<(u64, u64, u32)> {
        std::iter::from_fn(|| announcements.next_for(0, now))
            .map(|told| (told.after, told.number, told.seat))
            .collect()
    }

    #[test]
    fn a_shard_is_told_every_seat_once_by_its_last_change() {
        let mut announcements = Announcements::new(1);
        for (slot, tenant) in [(5, at(1)), (6, at(1)), (5, None), (6, at(2)), (7, at(0))] {
            announcements.change(slot, tenant);
        }
        let now = Monotonic::ZERO;
        assert_eq!(
            told(&mut announcements, now),
            [(0, 3, 5), (3, 4, 6), (4, 5, 7)]
        );
        assert_eq!(announcements.seats[&6].tenant, at(2));
        assert_eq!(announcements.seats[&5].tenant, None);
        announcements.acknowledge(0, 5, now);
        assert_eq!(announcements.next_timeout(), None);
        announcements.change(9, at(3));
        assert_eq!(told(&mut announcements, now), [(5, 6, 9)]);
    }

    #[test]
    fn what_is_not_acknowledged_is_told_again_from_where_it_is_missing() {
        let mut announcements = Announcements::new(1);
        for slot in 0..4 {
            announcements.change(slot, at(1));
        }
        let start = Monotonic::ZERO;
        assert_eq!(told(&mut announcements, start).len(), 4);
        announcements.acknowledge(0, 2, start);
        assert!(told(&mut announcements, start).is_empty());
        let later = start + REGISTRY_REPEAT;
        assert_eq!(announcements.next_timeout(), Some(later));
        assert_eq!(
            told(&mut announcements, later),
            [(2, 3, 2)],
            "one, to begin with"
        );
        announcements.acknowledge(0, 1, later);
        announcements.acknowledge(0, 77, later);
        assert_eq!(
            announcements.next_timeout(),
            Some(later + REGISTRY_REPEAT),
            "an acknowledgement from the past, or of what was never told, says nothing"
        );
        announcements.acknowledge(0, 3, later);
        assert_eq!(told(&mut announcements, later), [(3, 4, 3)]);
        announcements.acknowledge(0, 4, later);
        assert_eq!(announcements.next_timeout(), None);
    }

    #[test]
    fn a_busy_shard_is_told_so_many_at_once() {
        let mut announcements = Announcements::new(1);
        let many = ANNOUNCEMENTS_IN_FLIGHT as u32 * 3;
        for slot in 0..many {
            announcements.change(slot, at(1));
        }
        let now = Monotonic::ZERO;
        let mut heard = 0;
        let mut rounds = 0;
        loop {
            let round = told(&mut announcements, now);
            assert!(round.len() as u64 <= ANNOUNCEMENTS_IN_FLIGHT);
            let Some(&(_, last, _)) = round.last() else {
                break;
            };
            heard += round.len();
            rounds += 1;
            announcements.acknowledge(0, last, now);
        }
        assert_eq!((heard, rounds), (many as usize, 3));
        for slot in 0..many {
            announcements.change(slot, None);
        }
        // Numbers that were never told lie between; the window must not wait for them.
        announcements.change(0, at(1));
        assert!(!told(&mut announcements, now).is_empty());
        assert_eq!(announcements.by_number.len(), many as usize);
    }

    #[test]
    fn a_shard_that_has_ended_is_told_nothing() {
        let mut announcements = Announcements::new(2);
        announcements.change(0, at(0));
        assert!(announcements.next_for(1, Monotonic::ZERO).is_some());
        announcements.shard_ended(1);
        announcements.change(1, at(0));
        assert_eq!(announcements.next_for(1, Monotonic::ZERO), None);
        assert_eq!(announcements.next_timeout(), None);
        assert!(announcements.next_for(0, Monotonic::ZERO).is_some());
        assert_eq!(announcements.next_for(2, Monotonic::ZERO), None);
    }
}
