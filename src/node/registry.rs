//! The registry: which client has which name, addresses and number. The node thread alone owns it.
//!
//! It is a state machine without clock, queue or thread: notices of shards in, orders out. A
//! session that has authenticated asks to be admitted and waits. If an older session has its name
//! (and `duplicate-cn` is off), that one's shard is told to let go, and only when it has is the
//! newcomer granted the same place and the same addresses; so no address ever has two owners. The
//! same happens to whoever has an address that the file of a newcomer names.
//!
//! Where clients have files of their own (`client-config-dir`), a newcomer's is read before anything
//! is decided. The registry only orders that, and hears what the file says.
//!
//! Any message may be lost, on any way. What keeps that from doing harm:
//! - Whoever waits for an answer asks again: a shard for its sessions that ask and for those that
//!   are gone, the registry for sessions that are to let go and for announcements.
//! - Every message may come twice. A session's name is never used again, and a shard's notices are
//!   heard in the order of their numbers or not at all, so one that comes late finds nothing.
//! - An address is free when its session's shard has said so, and not before. There is no timeout
//!   that gives an address away: a shard that is busy delays the newcomer, no more.

mod announcements;
mod entry;
mod holdings;
mod notice;
mod order;
mod place;
mod renewed;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use self::announcements::Announcements;
pub use self::announcements::{Announcement, Tenant};
use self::entry::Entry;
use self::holdings::{Holding, Holdings};
pub use self::notice::{AdmissionRequest, Notice, NoticeContent, SessionAt};
pub use self::order::{Order, Steered};
pub use self::place::{OwnTerms, Place};
use super::event::{AdmissionRefusal, ClientTag, ReleaseCause, Text};
use super::leases::{AddressPool, Leases};
use super::settings::{Access, ClientProfile};
use crate::limits::{REGISTRY_REPEAT, RELEASES_AT_ONCE, ROUTES_PER_CLIENT};
use crate::packet::Numbering;
use crate::time::Monotonic;

/// Names, addresses and numbers of all clients of a node.
#[derive(Debug)]
pub struct Registry {
    rules: RegistryRules,
    holdings: Holdings,
    /// Granted sessions, at most `max_clients`, and those that have asked.
    sessions: HashMap<SessionAt, Session>,
    /// Who has a name, and who waits for it; empty with `duplicate-cn`.
    names: HashMap<Text, NameHolder>,
    /// Who waits for the addresses of a session, in the order in which they came.
    claims: HashMap<SessionAt, Vec<SessionAt>>,
    /// When a session is told again to let go.
    releases: BTreeSet<(Monotonic, SessionAt)>,
    announcements: Announcements,
    shards: Vec<Shard>,
    orders: VecDeque<Order>,
    /// How many of `sessions` are granted.
    granted: usize,
    next_client_id: u64,
    /// The seat of one that goes, for its heir.
    handed_down: Option<u32>,
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
    /// Clients have files of their own.
    pub client_files: bool,
    /// Somebody is asked and told when clients come.
    pub hooks: bool,
    /// How many shards there are.
    pub shards: u16,
}

#[derive(Debug)]
struct Session {
    request: AdmissionRequest,
    state: Admission,
}

#[derive(Debug)]
enum Admission {
    /// Until its file has been read.
    Reading,
    /// Until the holder of the name is gone, or of an address that its file names.
    Waiting(Arc<ClientProfile>),
    Granted(Granted),
}

#[derive(Debug)]
struct Granted {
    client_id: u64,
    holding: Holding,
    /// Whether it has been told to go.
    order: HolderOrder,
    /// Whether it is in.
    entry: Entry,
}

/// The session that has a name.
#[derive(Clone, Copy, Debug)]
struct NameHolder {
    session: SessionAt,
    /// Who gets it next; it may have gone itself meanwhile.
    successor: Option<SessionAt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HolderOrder {
    Stay,
    /// Told to go, and told again at that time.
    Go {
        cause: ReleaseCause,
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
            holdings: Holdings::new(rules.pool),
            sessions: HashMap::new(),
            names: HashMap::new(),
            claims: HashMap::new(),
            releases: BTreeSet::new(),
            announcements: Announcements::new(rules.shards),
            shards: vec![Shard::default(); usize::from(rules.shards)],
            orders: VecDeque::new(),
            granted: 0,
            next_client_id: 0,
            handed_down: None,
        }
    }

    /// Keeps an address of the pool for a client whose file names it: nobody else gets it as long as
    /// there are others.
    pub fn reserve(&mut self, address: IpAddr) {
        self.holdings.reserve(address);
    }

    /// Notes which slot of the pool a name had before the server started. If that is `fixed`, nobody else
    /// ever gets it.
    pub fn remember(&mut self, name: Text, slot: u32, fixed: bool) {
        self.holdings.remember(name, slot, fixed);
    }

    /// Which slot of the pool is or was whose.
    pub fn leases(&self) -> &Leases {
        self.holdings.leases()
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
        ended.sort_by_key(|session| self.granted_to(*session).is_some());
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
            if let Some(granted) = self.granted_to_mut(session)
                && let HolderOrder::Go { cause, repeat_at } = &mut granted.order
            {
                *repeat_at = now + REGISTRY_REPEAT;
                let (to, again) = (session, (*repeat_at, session));
                let order = Order::Release { to, cause: *cause };
                self.releases.insert(again);
                self.orders.push_back(order);
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

    /// The session of a client that is let in.
    pub fn session_of(&self, client_id: u64) -> Option<SessionAt> {
        let mut sessions = self.sessions.iter();
        sessions.find_map(|(at, session)| match &session.state {
            Admission::Granted(granted) if granted.client_id == client_id => Some(*at),
            _ => None,
        })
    }

    /// The next order, to be carried out before those that follow.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// A number for a client, as management and scripts know it: from 0, never used twice.
    pub fn number_client(&mut self) -> u64 {
        let client_id = self.next_client_id;
        self.next_client_id += 1;
        client_id
    }

    /// Whether all who are called so are one client.
    fn is_one(&self, name: &Text) -> bool {
        !self.rules.duplicate_cn && !name.is_empty()
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
        if self.rules.client_files {
            self.orders.push_back(read_profile(session, &request));
            let state = Admission::Reading;
            self.sessions.insert(session, Session { request, state });
            return;
        }
        let usual = Arc::new(ClientProfile::usual(ROUTES_PER_CLIENT));
        self.decide(session, request, usual, now);
    }

    /// What a client's file says, or why there is none for it. It may come twice, or too late.
    pub fn profile_read(
        &mut self,
        session: SessionAt,
        profile: Result<Arc<ClientProfile>, AdmissionRefusal>,
        now: Monotonic,
    ) {
        let asked = self.sessions.get(&session);
        if !asked.is_some_and(|asked| matches!(asked.state, Admission::Reading)) {
            return;
        }
        match profile {
            Err(refusal) => self.refuse(session, refusal),
            Ok(profile) if profile.access == Access::Disabled => {
                self.end_older(session, now);
                self.refuse(session, AdmissionRefusal::Disabled);
            }
            Ok(profile) => {
                if let Some(asked) = self.sessions.remove(&session) {
                    self.decide(session, asked.request, profile, now);
                }
            }
        }
    }

    /// Ends the sessions of the same client that came before this one. Wire: as in 2.6, which drops them when it
    /// knows who has come, and reads the file then.
    fn end_older(&mut self, session: SessionAt, now: Monotonic) {
        let asked = self.sessions.get(&session).map(|it| it.request.clone());
        let Some(request) = asked.filter(|_| !self.rules.duplicate_cn) else {
            return;
        };
        let Some(holder) = self.names.get(&request.name).copied() else {
            return;
        };
        let newest = holder.successor.unwrap_or(holder.session);
        if self.came_after(newest, session, &request) {
            return;
        }
        if let Some(successor) = holder.successor {
            if let Some(holder) = self.names.get_mut(&request.name) {
                holder.successor = None;
            }
            self.refuse(successor, AdmissionRefusal::Replaced);
        }
        self.tell_to_go(holder.session, ReleaseCause::Name, now);
    }

    /// Grants a session its place, unless it has to wait for somebody or somebody came after it.
    fn decide(
        &mut self,
        session: SessionAt,
        request: AdmissionRequest,
        profile: Arc<ClientProfile>,
        now: Monotonic,
    ) {
        let holder = self.names.get(&request.name).copied();
        let Some(holder) = holder.filter(|_| self.is_one(&request.name)) else {
            return self.grant(session, request, profile, now);
        };
        let displaced = holder.successor;
        let newest = displaced.unwrap_or(holder.session);
        if self.came_after(newest, session, &request) {
            return self.refuse(session, AdmissionRefusal::Replaced);
        }
        if let Some(holder) = self.names.get_mut(&request.name) {
            holder.successor = Some(session);
        }
        self.tell_to_go(holder.session, ReleaseCause::Name, now);
        let state = Admission::Waiting(profile);
        self.sessions.insert(session, Session { request, state });
        if let Some(displaced) = displaced {
            self.refuse(displaced, AdmissionRefusal::Replaced);
        }
    }

    /// Tells a session to let go, unless it has been told.
    fn tell_to_go(&mut self, session: SessionAt, cause: ReleaseCause, now: Monotonic) {
        let repeat_at = now + REGISTRY_REPEAT;
        if let Some(granted) = self.granted_to_mut(session)
            && granted.order == HolderOrder::Stay
        {
            granted.order = HolderOrder::Go { cause, repeat_at };
            self.releases.insert((repeat_at, session));
            let to = session;
            self.orders.push_back(Order::Release { to, cause });
        }
    }

    /// A session asks again: the answer that it has not got, if there is one.
    fn answer_again(&mut self, session: SessionAt) {
        let Some(asked) = self.sessions.get(&session) else {
            return;
        };
        let to = session;
        self.orders.push_back(match &asked.state {
            Admission::Reading => read_profile(session, &asked.request),
            Admission::Waiting(_) => return,
            Admission::Granted(granted) => match granted.order {
                HolderOrder::Go { cause, .. } => Order::Release { to, cause },
                HolderOrder::Stay => match granted.entry {
                    Entry::Connecting(_) => return self.ask_to_connect(session),
                    Entry::Claiming(_) | Entry::Learning => return,
                    Entry::In => Order::Grant {
                        to,
                        client_id: granted.client_id,
                        place: Arc::clone(&granted.holding.place),
                    },
                },
            },
        });
    }

    /// A session has ended, on order or by itself. One that is not known (any more) changes nothing.
    fn gone(&mut self, session: SessionAt, now: Monotonic) {
        let Some(Session { request, state }) = self.sessions.remove(&session) else {
            return;
        };
        match state {
            Admission::Reading => {}
            Admission::Waiting(_) => {
                if let Some(holder) = self.names.get_mut(&request.name)
                    && holder.successor == Some(session)
                {
                    holder.successor = None;
                }
            }
            Admission::Granted(granted) => self.inherit(session, &request.name, granted, now),
        }
    }

    /// A client's place is free, for those who waited for it before others.
    fn inherit(&mut self, session: SessionAt, name: &Text, granted: Granted, now: Monotonic) {
        let Granted { holding, order, .. } = granted;
        self.granted -= 1;
        let shared = self.holdings.release(session, &holding);
        if let HolderOrder::Go { repeat_at, .. } = order {
            self.releases.remove(&(repeat_at, session));
        }
        self.handed_down = Some(holding.seat);
        let own = self.names.get(name).is_some_and(|it| it.session == session);
        let holder = own.then(|| self.names.remove(name)).flatten();
        let successor = holder.and_then(|holder| holder.successor);
        if let Some((heir, asked, profile)) = successor.and_then(|heir| self.take_waiting(heir)) {
            self.grant(heir, asked, profile, now);
        }
        for claimant in self.claims.remove(&session).unwrap_or_default() {
            if let Some((heir, asked, profile)) = self.take_waiting(claimant) {
                self.decide(heir, asked, profile, now);
            } else {
                // It has a seat of its own, and may leave it by this: that is not the one that is handed down here.
                let handed_down = self.handed_down.take();
                self.claim_again(claimant, now);
                self.handed_down = handed_down;
            }
        }
        if let Some(seat) = self.handed_down.take() {
            self.holdings.vacate(seat);
            self.announcements.change(seat, None);
            self.announce(now);
        }
        self.steer_nowhere(&holding);
        for (what, other) in shared {
            if !self.holdings.is_free(what) {
                let shard = Some(other.shard);
                self.orders.push_back(Order::Steer { what, shard });
            }
        }
    }

    /// Takes out one that waits, to decide about it.
    fn take_waiting(
        &mut self,
        session: SessionAt,
    ) -> Option<(SessionAt, AdmissionRequest, Arc<ClientProfile>)> {
        let waiting = self.sessions.get(&session)?;
        let Admission::Waiting(profile) = &waiting.state else {
            return None;
        };
        let profile = Arc::clone(profile);
        let Session { request, .. } = self.sessions.remove(&session)?;
        Some((session, request, profile))
    }

    /// Gives a session a place, or turns it away; or lets it wait for who has an address that its
    /// file names.
    fn grant(
        &mut self,
        session: SessionAt,
        request: AdmissionRequest,
        profile: Arc<ClientProfile>,
        now: Monotonic,
    ) {
        if let Some(holder) = self.holdings.holder_of(&profile, None) {
            self.tell_to_go(holder, ReleaseCause::Address, now);
            self.holdings.reserve_named(&profile);
            self.claims.entry(holder).or_default().push(session);
            let state = Admission::Waiting(profile);
            self.sessions.insert(session, Session { request, state });
            return;
        }
        let holding = match self.take(session, &request.name, &profile) {
            Ok(holding) => holding,
            Err(refusal) => return self.refuse(session, refusal),
        };
        let client_id = match request.client_id {
            Some(known) => known,
            None => self.number_client(),
        };
        self.granted += 1;
        if self.is_one(&request.name) {
            let successor = None;
            let holder = NameHolder { session, successor };
            self.names.insert(request.name.clone(), holder);
        }
        let state = Admission::Granted(Granted {
            client_id,
            holding,
            order: HolderOrder::Stay,
            entry: Entry::Connecting(Arc::clone(&profile)),
        });
        self.sessions.insert(session, Session { request, state });
        self.enter(session, &profile, now);
    }

    /// A client's packets are told apart by their path, which every shard has to know. Announced as
    /// often as it is said: its shard waits for that.
    fn known_by_path(&mut self, session: SessionAt, now: Monotonic) {
        let Some(Session { request, state }) = self.sessions.get_mut(&session) else {
            return;
        };
        let Admission::Granted(granted) = state else {
            return;
        };
        request.path.numbering = Numbering::FourTuple;
        let Holding { place, seat, .. } = &granted.holding;
        let tenant = tenant(session, granted.client_id, request, place);
        self.announcements.change(*seat, Some(tenant));
        self.announce(now);
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

    /// Takes the addresses that a client is to have.
    fn take(
        &mut self,
        session: SessionAt,
        name: &Text,
        profile: &ClientProfile,
    ) -> Result<Holding, AdmissionRefusal> {
        let max = self.rules.max_clients;
        if self.granted >= max {
            return Err(AdmissionRefusal::MaxClients { max });
        }
        // Under duplicate-cn a name says nothing about who it is.
        let name = self.is_one(name).then_some(name);
        let (addresses, slots) = self.holdings.take_addresses(session, name, profile)?;
        let seat = self.handed_down.take();
        let seat = seat.unwrap_or_else(|| self.holdings.take_seat());
        Ok(Holding::new(addresses, slots, seat, profile))
    }

    /// A network leads to somebody else. Its change is announced before that one's: who never hears
    /// of the other still hears that it is no longer here.
    fn dispossess(&mut self, session: SessionAt, network: IpNet) {
        let Some(Session { request, state }) = self.sessions.get_mut(&session) else {
            return;
        };
        let Admission::Granted(granted) = state else {
            return;
        };
        let place = Arc::make_mut(&mut granted.holding.place);
        place.networks.retain(|own| *own != network);
        if granted.entry != Entry::In {
            return;
        }
        let tenant = tenant(session, granted.client_id, request, place);
        self.announcements
            .change(granted.holding.seat, Some(tenant));
    }

    fn granted_to(&self, session: SessionAt) -> Option<&Granted> {
        match &self.sessions.get(&session)?.state {
            Admission::Granted(granted) => Some(granted),
            Admission::Reading | Admission::Waiting(_) => None,
        }
    }

    fn granted_to_mut(&mut self, session: SessionAt) -> Option<&mut Granted> {
        match &mut self.sessions.get_mut(&session)?.state {
            Admission::Granted(granted) => Some(granted),
            Admission::Reading | Admission::Waiting(_) => None,
        }
    }

    /// Whether the session `known` had authenticated after one that asks now.
    fn came_after(&self, known: SessionAt, asks: SessionAt, request: &AdmissionRequest) -> bool {
        self.sessions
            .get(&known)
            .is_some_and(|held| (held.request.since, known) > (request.since, asks))
    }
}

fn read_profile(of: SessionAt, request: &AdmissionRequest) -> Order {
    let client = tag(request);
    Order::ReadProfile { of, client }
}

fn tag(request: &AdmissionRequest) -> ClientTag {
    let name = Some(request.name.clone()).filter(|name| !name.is_empty());
    ClientTag {
        address: request.path.path.remote,
        common_name: name,
    }
}

fn tenant(at: SessionAt, client_id: u64, request: &AdmissionRequest, place: &Place) -> Arc<Tenant> {
    Arc::new(Tenant {
        shard: at.shard,
        session: at.session,
        client_id,
        path: request.path,
        addresses: place.leading(),
        networks: place.networks.clone(),
    })
}

#[cfg(test)]
pub(super) mod tests;
