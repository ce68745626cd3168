//! The registry: which client has which name, addresses and number. The node thread alone owns it.
//!
//! It is a state machine without clock, queue or thread: notices of shards in, orders out. A
//! session that has authenticated asks to be admitted and waits. If an older session has its name
//! (and `duplicate-cn` is off), that one's shard is told to let go, and only when it has is the
//! newcomer granted the same place and the same addresses; so no address ever has two owners.
//!
//! Any message may be lost, on any way. What keeps that from doing harm:
//! - Whoever waits for an answer asks again: a shard for its sessions that ask and for those that
//!   are gone, the registry for sessions that are to let go and for announcements.
//! - Every message may come twice. A session's name is never used again, and a shard's notices are
//!   heard in the order of their numbers or not at all, so one that comes late finds nothing.
//! - An address is free when its session's shard has said so, and not before. There is no timeout
//!   that gives an address away: a shard that is busy delays the newcomer, no more.

mod announcements;
mod notice;
mod order;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::announcements::Announcements;
pub use self::announcements::{Announcement, Tenant};
pub use self::notice::{AdmissionRequest, Notice, NoticeContent, SessionAt};
pub use self::order::Order;
use super::event::{AdmissionRefusal, Text};
use super::leases::{AddressPool, Leases};
use crate::limits::{REGISTRY_REPEAT, RELEASES_AT_ONCE};
use crate::packet::Numbering;
use crate::time::Monotonic;

/// Names, addresses and numbers of all clients of a node.
#[derive(Debug)]
pub struct Registry {
    rules: RegistryRules,
    leases: Leases,
    /// Granted and waiting sessions: at most `max_clients` of each.
    sessions: HashMap<SessionAt, Session>,
    /// Who has a name, and who waits for it; empty with `duplicate-cn`.
    names: HashMap<Text, NameHolder>,
    /// When a session is told again to let go.
    releases: BTreeSet<(Monotonic, SessionAt)>,
    announcements: Announcements,
    shards: Vec<Shard>,
    orders: VecDeque<Order>,
    /// How many of `sessions` are granted.
    granted: usize,
    next_client_id: u64,
}

/// What a registry goes by.
#[derive(Clone, Copy, Debug)]
pub struct RegistryRules {
    /// The addresses.
    pub pool: AddressPool,
    /// At most so many clients are admitted at once.
    pub max_clients: usize,
    /// Any number of clients may have one name.
    pub duplicate_cn: bool,
    /// How many shards there are.
    pub shards: u16,
}

#[derive(Debug)]
struct Session {
    request: AdmissionRequest,
    state: Admission,
}

#[derive(Clone, Copy, Debug)]
enum Admission {
    /// Until the holder of the name is gone.
    Waiting,
    Granted {
        slot: u32,
        client_id: u64,
    },
}

/// The session that has a name.
#[derive(Clone, Copy, Debug)]
struct NameHolder {
    session: SessionAt,
    order: HolderOrder,
}

#[derive(Clone, Copy, Debug)]
enum HolderOrder {
    Stay,
    /// Told to go, and told again at that time. The successor may have gone itself meanwhile.
    Go {
        successor: Option<SessionAt>,
        repeat_at: Monotonic,
    },
}

/// What is known of a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    /// The number of its last notice that was heard.
    heard: u64,
    ended: bool,
}

impl Registry {
    /// A registry without clients.
    pub fn new(rules: RegistryRules) -> Self {
        Self {
            rules,
            leases: Leases::new(rules.pool.slots),
            sessions: HashMap::new(),
            names: HashMap::new(),
            releases: BTreeSet::new(),
            announcements: Announcements::new(rules.pool, rules.shards),
            shards: vec![Shard::default(); usize::from(rules.shards)],
            orders: VecDeque::new(),
            granted: 0,
            next_client_id: 0,
        }
    }

    /// Takes what a shard has said. A notice that a later one has overtaken is not heard.
    pub fn hear(&mut self, notice: Notice, now: Monotonic) {
        let Some(shard) = self.shards.get_mut(usize::from(notice.shard)) else {
            return;
        };
        if shard.ended || notice.number <= shard.heard {
            return;
        }
        shard.heard = notice.number;
        let at = |session| SessionAt {
            shard: notice.shard,
            session,
        };
        match notice.content {
            NoticeContent::Admit { session, request } => self.admit(at(session), request, now),
            NoticeContent::Gone { session } => {
                self.gone(at(session), now);
                self.orders.push_back(Order::Forget { to: at(session) });
            }
            NoticeContent::IgnoresPeerId { session } => self.known_by_path(at(session), now),
            NoticeContent::Announced { number } => {
                self.announcements.acknowledge(notice.shard, number, now);
                self.announce_to(notice.shard, now);
            }
        }
    }

    /// A shard's thread has ended, and all its sessions with it. It is heard no more.
    pub fn shard_ended(&mut self, shard: u16, now: Monotonic) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.ended = true;
        }
        self.announcements.shard_ended(shard);
        let mut ended: Vec<_> = self
            .sessions
            .keys()
            .filter(|session| session.shard == shard)
            .copied()
            .collect();
        ended.sort_unstable();
        // Those that wait first: none of them is to be granted a place.
        ended.sort_by_key(|session| self.place_of(*session).is_some());
        for session in ended {
            self.gone(session, now);
        }
    }

    /// Says again what has had no answer.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        for _ in 0..RELEASES_AT_ONCE {
            let Some(&(at, session)) = self.releases.first().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.releases.remove(&(at, session));
            let name = self.sessions.get(&session).map(|held| &held.request.name);
            if let Some(holder) = name.and_then(|name| self.names.get_mut(name))
                && let HolderOrder::Go { repeat_at, .. } = &mut holder.order
            {
                *repeat_at = now + REGISTRY_REPEAT;
                self.releases.insert((*repeat_at, session));
                self.orders.push_back(Order::Release { to: session });
            }
        }
        self.announce(now);
    }

    /// When [`Registry::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Monotonic> {
        let release = self.releases.first().map(|(at, _)| *at);
        let announcement = self.announcements.next_timeout();
        release.into_iter().chain(announcement).min()
    }

    /// The next order, to be carried out before those that follow.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// How many clients are admitted.
    pub fn len(&self) -> usize {
        self.granted
    }

    /// Whether no client is admitted.
    pub fn is_empty(&self) -> bool {
        self.granted == 0
    }

    fn admit(&mut self, session: SessionAt, request: AdmissionRequest, now: Monotonic) {
        if self.sessions.contains_key(&session) {
            return self.answer_again(session);
        }
        let holder = self.names.get(&request.name).copied();
        let Some(holder) = holder.filter(|_| !self.rules.duplicate_cn) else {
            self.grant(session, request, now);
            return;
        };
        let (newest, displaced) = match holder.order {
            HolderOrder::Go {
                successor: Some(successor),
                ..
            } => (successor, Some(successor)),
            _ => (holder.session, None),
        };
        if self.came_after(newest, session, &request) {
            return self.refuse(session, AdmissionRefusal::Replaced);
        }
        self.succeed(&request.name, session, now);
        let state = Admission::Waiting;
        self.sessions.insert(session, Session { request, state });
        if let Some(displaced) = displaced {
            self.refuse(displaced, AdmissionRefusal::Replaced);
        }
    }

    /// Makes `successor` the one that waits for `name`, whose holder is told to go unless it has
    /// been told.
    fn succeed(&mut self, name: &Text, successor: SessionAt, now: Monotonic) {
        let Some(holder) = self.names.get_mut(name) else {
            return;
        };
        let repeat_at = match holder.order {
            HolderOrder::Go { repeat_at, .. } => repeat_at,
            HolderOrder::Stay => {
                let repeat_at = now + REGISTRY_REPEAT;
                self.releases.insert((repeat_at, holder.session));
                let to = holder.session;
                self.orders.push_back(Order::Release { to });
                repeat_at
            }
        };
        holder.order = HolderOrder::Go {
            successor: Some(successor),
            repeat_at,
        };
    }

    /// A session asks again: the answer that it has not got, if there is one.
    fn answer_again(&mut self, session: SessionAt) {
        let Some((slot, client_id)) = self.place_of(session) else {
            return;
        };
        let name = self.sessions.get(&session).map(|held| &held.request.name);
        let order = name
            .and_then(|name| self.names.get(name))
            .map(|holder| holder.order);
        self.orders.push_back(match order {
            Some(HolderOrder::Go { .. }) => Order::Release { to: session },
            _ => Order::Grant {
                to: session,
                client_id,
                slot,
                addresses: self.rules.pool.addresses(slot),
            },
        });
    }

    /// A session has ended, on order or by itself. One that is not known (any more) changes nothing.
    fn gone(&mut self, session: SessionAt, now: Monotonic) {
        let Some(Session { request, state }) = self.sessions.remove(&session) else {
            return;
        };
        match state {
            Admission::Waiting => {
                if let Some(holder) = self.names.get_mut(&request.name)
                    && let HolderOrder::Go { successor, .. } = &mut holder.order
                    && *successor == Some(session)
                {
                    *successor = None;
                }
            }
            Admission::Granted { slot, .. } => {
                self.leases.release(slot);
                self.granted -= 1;
                let holder = self.names.remove(&request.name).map(|holder| holder.order);
                let mut heir = None;
                if let Some(HolderOrder::Go {
                    successor,
                    repeat_at,
                }) = holder
                {
                    self.releases.remove(&(repeat_at, session));
                    heir = successor;
                }
                if self.inherit(heir, now) != Some(slot) {
                    self.vacate(slot, now);
                }
            }
        }
    }

    /// Grants the one that waited for a place; its slot, if there is one and it got one.
    fn inherit(&mut self, heir: Option<SessionAt>, now: Monotonic) -> Option<u32> {
        let heir = heir?;
        let waiting = self.sessions.remove(&heir)?;
        self.grant(heir, waiting.request, now)
    }

    /// Gives a session a place, or turns it away. Returns the slot of its place.
    fn grant(
        &mut self,
        session: SessionAt,
        request: AdmissionRequest,
        now: Monotonic,
    ) -> Option<u32> {
        let slot = match self.place(&request.name) {
            Ok(slot) => slot,
            Err(refusal) => {
                self.refuse(session, refusal);
                return None;
            }
        };
        let client_id = self.next_client_id;
        self.next_client_id += 1;
        self.granted += 1;
        if !self.rules.duplicate_cn {
            let order = HolderOrder::Stay;
            let holder = NameHolder { session, order };
            self.names.insert(request.name.clone(), holder);
        }
        let tenant = Tenant {
            shard: session.shard,
            client_id,
            path: request.path,
        };
        let state = Admission::Granted { slot, client_id };
        self.sessions.insert(session, Session { request, state });
        self.orders.push_back(Order::Steer {
            slot,
            shard: Some(tenant.shard),
        });
        self.announcements.change(slot, Some(tenant));
        self.announce(now);
        self.orders.push_back(Order::Grant {
            to: session,
            client_id,
            slot,
            addresses: self.rules.pool.addresses(slot),
        });
        Some(slot)
    }

    /// A client's packets are told apart by their path, which every shard has to know. Announced as
    /// often as it is said: its shard waits for that.
    fn known_by_path(&mut self, session: SessionAt, now: Monotonic) {
        let Some(Session { request, state }) = self.sessions.get_mut(&session) else {
            return;
        };
        let Admission::Granted { slot, client_id } = *state else {
            return;
        };
        request.path.numbering = Numbering::FourTuple;
        let tenant = Tenant {
            shard: session.shard,
            client_id,
            path: request.path,
        };
        self.announcements.change(slot, Some(tenant));
        self.announce(now);
    }

    /// Nobody has the addresses of a slot.
    fn vacate(&mut self, slot: u32, now: Monotonic) {
        self.announcements.change(slot, None);
        self.announce(now);
        self.orders.push_back(Order::Steer { slot, shard: None });
    }

    /// Tells each shard what it may be told now.
    fn announce(&mut self, now: Monotonic) {
        for to in 0..self.rules.shards {
            self.announce_to(to, now);
        }
    }

    fn announce_to(&mut self, to: u16, now: Monotonic) {
        while let Some(announcement) = self.announcements.next_for(to, now) {
            self.orders.push_back(Order::Announce { to, announcement });
        }
    }

    /// Turns a session away. If the refusal is lost it asks again, and is judged again.
    fn refuse(&mut self, session: SessionAt, refusal: AdmissionRefusal) {
        self.sessions.remove(&session);
        let to = session;
        self.orders.push_back(Order::Refuse { to, refusal });
    }

    fn place(&mut self, name: &Text) -> Result<u32, AdmissionRefusal> {
        let max = self.rules.max_clients;
        if self.granted >= max {
            return Err(AdmissionRefusal::MaxClients { max });
        }
        // Under duplicate-cn a name says nothing about who it is.
        let name = (!self.rules.duplicate_cn).then_some(name);
        self.leases
            .take(name)
            .ok_or(AdmissionRefusal::PoolExhausted)
    }

    fn place_of(&self, session: SessionAt) -> Option<(u32, u64)> {
        match self.sessions.get(&session)?.state {
            Admission::Granted { slot, client_id } => Some((slot, client_id)),
            Admission::Waiting => None,
        }
    }

    /// Whether the session `known` had authenticated after one that asks now.
    fn came_after(&self, known: SessionAt, asks: SessionAt, request: &AdmissionRequest) -> bool {
        self.sessions
            .get(&known)
            .is_some_and(|held| (held.request.since, known) > (request.since, asks))
    }
}

#[cfg(test)]
pub(super) mod tests;
