//! A registry and the registrations of its shards, with a clock of their own and channels that lose,
//! delay, double and fill up. After each step it is checked that nobody believes too much.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use ipnet::IpNet;

use super::super::*;
use crate::limits::{ADMISSIONS_WAITING, ANNOUNCEMENTS_IN_FLIGHT};
use crate::node::leases::Addresses;
use crate::node::shard::registration::Registration;
use crate::packet::{ClientPath, Owner};

/// How a message fares: after how long it arrives, never, once or twice.
pub(super) type Fate = Vec<Duration>;

/// The node thread's half, the shards, and what is between them.
pub(super) struct World {
    pub(super) now: Monotonic,
    pub(super) registry: Registry,
    pub(super) shards: Vec<Side>,
    pub(super) clients: Vec<Client>,
    /// What the kernel's maps say.
    steering: HashMap<Steered, u16>,
    /// Decides on each message, by its number.
    fate: Box<dyn FnMut(usize) -> Fate>,
    /// Whether a message may overtake another on the same way.
    pub(super) overtaking: bool,
    /// How many messages a way holds.
    pub(super) capacity: usize,
    node_busy_until: Monotonic,
    to_node: VecDeque<Notice>,
    flying: BinaryHeap<Reverse<Flying>>,
    pub(super) sent: usize,
    /// The last arrival on each way: up is even, down is odd.
    arrivals: HashMap<u16, Monotonic>,
    /// The slot of each name, where there is one for each.
    slots_of_names: HashMap<Text, Option<u32>>,
    client_ids: HashSet<u64>,
    /// What the files of clients say, by their names.
    pub(super) files: HashMap<Text, ClientProfile>,
}

/// One shard.
pub(super) struct Side {
    number: u16,
    registration: Registration<usize>,
    busy_until: Monotonic,
    pub(super) ended: bool,
    mailbox: VecDeque<Order>,
    /// What its directory says.
    directory: BTreeMap<IpNet, Owner>,
    /// Whom networks lead to in its own table.
    own: BTreeMap<IpNet, usize>,
}

/// One session of somebody.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) at: SessionAt,
    pub(super) name: Text,
    pub(super) since: Monotonic,
    pub(super) state: ClientState,
    /// Whether it gives its peer id in its data packets.
    numbered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientState {
    Asking,
    Admitted { place: Arc<Place>, client_id: u64 },
    Refused(AdmissionRefusal),
    Released,
    Dead,
}

struct Flying {
    arrives: Monotonic,
    number: usize,
    message: Message,
}

#[derive(Clone, Debug)]
enum Message {
    Up(Notice),
    Down(u16, Order),
    /// A client's file has been read.
    Read(SessionAt),
    /// Who is asked when a client connects has answered.
    Connected(SessionAt),
    /// Who is told where addresses lead has heard it.
    Learned(SessionAt),
}

impl World {
    pub(super) fn new(rules: RegistryRules, fate: impl FnMut(usize) -> Fate + 'static) -> Self {
        let side = |number| Side {
            number,
            registration: Registration::new(number, rules.max_clients),
            busy_until: Monotonic::ZERO,
            ended: false,
            mailbox: VecDeque::new(),
            directory: BTreeMap::new(),
            own: BTreeMap::new(),
        };
        Self {
            now: Monotonic::ZERO,
            registry: Registry::new(rules),
            shards: (0..rules.shards).map(side).collect(),
            clients: Vec::new(),
            steering: HashMap::new(),
            fate: Box::new(fate),
            overtaking: false,
            capacity: 1024,
            node_busy_until: Monotonic::ZERO,
            to_node: VecDeque::new(),
            flying: BinaryHeap::new(),
            sent: 0,
            arrivals: HashMap::new(),
            slots_of_names: HashMap::new(),
            client_ids: HashSet::new(),
            files: HashMap::new(),
        }
    }

    /// A client that calls itself so has authenticated on a shard.
    pub(super) fn connect(&mut self, shard: u16, name: &str) -> Option<usize> {
        let side = &mut self.shards[usize::from(shard)];
        if side.ended {
            return None;
        }
        let (key, since) = (self.clients.len(), self.now);
        let request = AdmissionRequest {
            name: name.into(),
            client_id: None,
            since,
            path: numbered(),
        };
        let session = side.registration.ask(key, request, since);
        self.clients.push(Client {
            at: SessionAt {
                shard,
                session: session.expect("there is room"),
            },
            name: name.into(),
            since,
            state: ClientState::Asking,
            numbered: true,
        });
        self.speak(shard);
        Some(key)
    }

    /// A session ends by itself.
    pub(super) fn die(&mut self, client: usize) {
        let SessionAt { shard, session } = self.clients[client].at;
        if self.is_alive(client) {
            self.clients[client].state = ClientState::Dead;
            let side = &mut self.shards[usize::from(shard)];
            side.registration.left(session, self.now);
            self.speak(shard);
        }
    }

    /// A client turns out to ignore its peer id.
    pub(super) fn ignore_peer_id(&mut self, client: usize) {
        let Client { at, state, .. } = self.clients[client].clone();
        if let ClientState::Admitted { client_id, .. } = state {
            self.clients[client].numbered = false;
            let side = &mut self.shards[usize::from(at.shard)];
            side.registration
                .ignores_peer_id(at.session, client_id, self.now);
            self.speak(at.shard);
        }
    }

    /// A shard's thread ends.
    pub(super) fn end_shard(&mut self, shard: u16) {
        self.shards[usize::from(shard)].ended = true;
        for client in &mut self.clients {
            if client.at.shard == shard {
                client.state = ClientState::Dead;
            }
        }
        self.registry.shard_ended(shard, self.now);
        self.carry_out();
        self.check();
    }

    /// A shard does nothing else for so long.
    pub(super) fn occupy(&mut self, shard: u16, time: Duration) {
        self.shards[usize::from(shard)].busy_until = self.now + time;
    }

    /// The node thread does nothing else for so long.
    pub(super) fn occupy_node(&mut self, time: Duration) {
        self.node_busy_until = self.now + time;
    }

    /// Messages fare well from now on.
    pub(super) fn calm(&mut self) {
        self.fate = Box::new(|_| vec![Duration::from_millis(1)]);
        self.capacity = 1024;
        self.node_busy_until = self.now;
        for side in &mut self.shards {
            side.busy_until = self.now;
        }
    }

    pub(super) fn is_alive(&self, client: usize) -> bool {
        matches!(
            self.clients[client].state,
            ClientState::Asking | ClientState::Admitted { .. }
        )
    }

    pub(super) fn slot(&self, client: usize) -> Option<u32> {
        match self.clients[client].state {
            ClientState::Admitted { ref place, .. } => self.slot_of(place.addresses),
            _ => None,
        }
    }

    /// The slot of the IPv4 address.
    fn slot_of(&self, addresses: Addresses) -> Option<u32> {
        self.registry.rules.pool.slot_of(addresses.v4?.into())
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.step();
            self.check();
        }
        self.now = until;
    }

    /// Lets time pass until nobody has anything to say.
    pub(super) fn settle(&mut self) {
        self.calm();
        let most = self.now + Duration::from_secs(60);
        while let Some(at) = self.next_event() {
            assert!(at < most, "it does not settle");
            self.now = self.now.max(at);
            self.step();
            self.check();
        }
        self.check_settled();
    }

    fn next_event(&self) -> Option<Monotonic> {
        let flying = self.flying.peek().map(|Reverse(first)| first.arrives);
        let node = self.registry.next_timeout();
        let node = node.or((!self.to_node.is_empty()).then_some(self.now));
        let node = node.map(|at| at.max(self.node_busy_until));
        let sides = self.shards.iter().filter(|side| !side.ended);
        let sides = sides.filter_map(|side| {
            let notice = side.registration.next_timeout();
            let at = notice.or((!side.mailbox.is_empty()).then_some(self.now))?;
            Some(at.max(side.busy_until))
        });
        flying.into_iter().chain(node).chain(sides).min()
    }

    /// Does all that is due now.
    fn step(&mut self) {
        while let Some(Reverse(first)) = self.flying.peek()
            && first.arrives <= self.now
            && let Some(Reverse(flying)) = self.flying.pop()
        {
            self.arrive(flying.message);
        }
        if self.node_busy_until <= self.now {
            while let Some(notice) = self.to_node.pop_front() {
                self.registry.hear(notice, self.now);
                self.carry_out();
            }
            if self
                .registry
                .next_timeout()
                .is_some_and(|at| at <= self.now)
            {
                self.registry.handle_timeout(self.now);
                self.carry_out();
            }
        }
        for shard in 0..self.shards.len() as u16 {
            let side = &mut self.shards[usize::from(shard)];
            if side.busy_until > self.now || side.ended {
                continue;
            }
            while let Some(order) = self.shards[usize::from(shard)].mailbox.pop_front() {
                self.obey(shard, order);
            }
            self.speak(shard);
        }
    }

    fn arrive(&mut self, message: Message) {
        match message {
            Message::Up(notice) if self.to_node.len() < self.capacity * self.shards.len() => {
                self.to_node.push_back(notice);
            }
            Message::Down(shard, order) => {
                let side = &mut self.shards[usize::from(shard)];
                if !side.ended && side.mailbox.len() < self.capacity {
                    side.mailbox.push_back(order);
                }
            }
            Message::Up(_) => {}
            Message::Read(session) => {
                let client = self.clients.iter().find(|client| client.at == session);
                let file = client.and_then(|client| self.files.get(&client.name));
                let file = file.cloned().unwrap_or(ClientProfile::usual(16));
                self.registry
                    .profile_read(session, Ok(Arc::new(file)), self.now);
                self.carry_out();
            }
            Message::Connected(session) => {
                self.registry
                    .connected(session, self.answer(session), self.now);
                self.carry_out();
            }
            Message::Learned(session) => {
                let place = self.registry.granted_to(session);
                let networks = place.map(|it| it.holding.place.networks.clone());
                let mut refused = networks.unwrap_or_default();
                refused.truncate((session.session % 2) as usize);
                self.registry.learned(session, &refused, self.now);
                self.carry_out();
            }
        }
    }

    /// What a client is told when it connects: always the same, should it ask again.
    fn answer(&self, session: SessionAt) -> Result<Option<Arc<ClientProfile>>, AdmissionRefusal> {
        match (session.session + u64::from(session.shard)) % 4 {
            0 => Err(AdmissionRefusal::Hook),
            1 => {
                let mut files: Vec<_> = self.files.values().collect();
                files.sort_by_key(|file| (file.v4, file.networks.clone()));
                let file = files.get(session.session as usize % files.len().max(1));
                Ok(file.map(|file| Arc::new((*file).clone())))
            }
            _ => Ok(None),
        }
    }

    /// Somebody on another thread of the node answers: nothing of that is lost.
    fn promise(&mut self, message: Message) {
        let number = self.sent;
        self.sent += 1;
        let arrives = self.now + Duration::from_millis(number as u64 % 7 * 40);
        self.flying.push(Reverse(Flying {
            arrives,
            number,
            message,
        }));
    }

    /// A shard says what is due, unless it is busy.
    fn speak(&mut self, shard: u16) {
        let side = &mut self.shards[usize::from(shard)];
        if side.busy_until > self.now {
            return;
        }
        let notices: Vec<_> =
            std::iter::from_fn(|| side.registration.poll_notice(self.now)).collect();
        for notice in notices {
            self.send(shard * 2, Message::Up(notice));
        }
    }

    fn send(&mut self, way: u16, message: Message) {
        let number = self.sent;
        self.sent += 1;
        for delay in (self.fate)(number) {
            let mut arrives = self.now + delay;
            if !self.overtaking {
                let last = self.arrivals.entry(way).or_default();
                arrives = arrives.max(*last);
                *last = arrives;
            }
            let message = message.clone();
            self.flying.push(Reverse(Flying {
                arrives,
                number,
                message,
            }));
        }
    }

    /// The node thread obeys the registry.
    fn carry_out(&mut self) {
        while let Some(order) = self.registry.poll_order() {
            let to = match &order {
                Order::ReadProfile { of, .. } => {
                    self.send(READER, Message::Read(*of));
                    continue;
                }
                Order::Connect(arrival) => {
                    self.promise(Message::Connected(arrival.of));
                    continue;
                }
                Order::Learn { client_id, .. } => {
                    // It may have gone since.
                    if let Some(session) = self.registry.session_of(*client_id) {
                        self.promise(Message::Learned(session));
                    }
                    continue;
                }
                Order::Steer { what, shard } => {
                    match shard {
                        Some(shard) => self.steering.insert(*what, *shard),
                        None => self.steering.remove(what),
                    };
                    continue;
                }
                Order::Announce { to, .. } => *to,
                Order::Grant { to, place, .. } => {
                    self.check_steering(place, to.shard);
                    to.shard
                }
                Order::Refuse { to, refusal } => {
                    self.check_refusal(*refusal);
                    to.shard
                }
                Order::Release { to, .. } | Order::Forget { to } => to.shard,
            };
            self.send(to * 2 + 1, Message::Down(to, order));
        }
    }

    fn check_refusal(&self, refusal: AdmissionRefusal) {
        let RegistryRules {
            max_clients, pool, ..
        } = self.registry.rules;
        let granted = self.registry.len();
        match refusal {
            AdmissionRefusal::MaxClients { max } => assert_eq!((granted, max), (max, max_clients)),
            AdmissionRefusal::PoolExhausted => {
                let rules = self.registry.rules;
                assert!(rules.client_files || rules.hooks || granted == pool.slots as usize);
            }
            AdmissionRefusal::Replaced => assert!(!self.registry.rules.duplicate_cn),
            AdmissionRefusal::Hook => assert!(self.registry.rules.hooks),
            AdmissionRefusal::RegistryBusy
            | AdmissionRefusal::Disabled
            | AdmissionRefusal::NoFile
            | AdmissionRefusal::NoAddress => panic!("never here"),
        }
    }

    /// A shard obeys.
    fn obey(&mut self, shard: u16, order: Order) {
        let (now, side) = (self.now, &mut self.shards[usize::from(shard)]);
        match order {
            Order::Grant {
                to,
                client_id,
                place,
            } => {
                if let Some(client) = side.registration.granted(to.session, now) {
                    for network in &place.networks {
                        side.own.insert(*network, client);
                    }
                    self.admitted(client, place, client_id);
                }
            }
            Order::Refuse { to, refusal } => {
                if let Some(client) = side.registration.refused(to.session, now) {
                    self.clients[client].state = ClientState::Refused(refusal);
                }
            }
            Order::Release { to, .. } => {
                if let Some(client) = side.registration.released(to.session, now) {
                    self.clients[client].state = ClientState::Released;
                    side.registration.left(to.session, now);
                }
            }
            Order::Forget { to } => side.registration.forget(to.session),
            Order::Announce { announcement, .. } => {
                if let Some(change) = side.registration.announced(&announcement) {
                    side.follow(change.former.as_deref(), change.present.as_deref());
                }
            }
            Order::Steer { .. }
            | Order::ReadProfile { .. }
            | Order::Connect(_)
            | Order::Learn { .. } => {
                unreachable!("no shard is told of it")
            }
        }
    }

    fn admitted(&mut self, client: usize, place: Arc<Place>, client_id: u64) {
        let former = &self.clients[client].state;
        assert_eq!(former, &ClientState::Asking, "let in without asking");
        assert!(self.client_ids.insert(client_id), "a number used twice");
        let slot = self.slot_of(place.addresses);
        let own = self.files.get(&self.clients[client].name);
        let hooks = self.registry.rules.hooks;
        let own = own.filter(|_| self.registry.rules.client_files && !hooks);
        if let Some((v4, _)) = own.and_then(|own| own.v4) {
            assert_eq!(place.addresses.v4, Some(v4), "not what its file says");
        }
        self.clients[client].state = ClientState::Admitted { place, client_id };
        let name = &self.clients[client].name;
        let rules = self.registry.rules;
        if !rules.duplicate_cn
            && !rules.client_files
            && !rules.hooks
            && self.names() <= rules.pool.slots as usize
        {
            let kept = *self.slots_of_names.entry(name.clone()).or_insert(slot);
            assert_eq!(slot, kept, "{name} came back to another address");
        }
    }

    /// How often a client was let in.
    pub(super) fn admissions(&self) -> usize {
        self.client_ids.len()
    }

    fn names(&self) -> usize {
        let names: HashSet<_> = self.clients.iter().map(|client| &client.name).collect();
        names.len()
    }

    /// What must be true at any moment.
    fn check(&self) {
        let (mut addresses, mut names) = (HashSet::new(), HashSet::new());
        let rules = self.registry.rules;
        for client in &self.clients {
            let ClientState::Admitted { place, client_id } = &client.state else {
                continue;
            };
            for address in place.addresses.iter() {
                assert!(addresses.insert(address), "{address} has two owners");
            }
            let alone = names.insert(&client.name) || rules.duplicate_cn;
            assert!(alone, "{} is there twice", client.name);
            let granted = self.registry.granted_to(client.at);
            let granted = granted.map(|it| (it.holding.place.addresses, it.client_id));
            assert_eq!(
                granted,
                Some((place.addresses, *client_id)),
                "a shard believes in a place that the registry has taken back"
            );
        }
        self.check_registry();
        let most = rules.max_clients + ADMISSIONS_WAITING;
        for side in &self.shards {
            assert!(side.registration.len() <= most);
        }
        let announced = |Reverse(flying): &&Reverse<Flying>| {
            matches!(
                flying.message,
                Message::Down(_, Order::Announce { to: 0, .. })
            )
        };
        assert!(self.flying.iter().filter(announced).count() as u64 <= 8 * ANNOUNCEMENTS_IN_FLIGHT);
    }

    /// The registry's books, and what it has told the kernel.
    fn check_registry(&self) {
        let (registry, rules) = (&self.registry, self.registry.rules);
        let (mut steered, mut addresses, mut networks) = (Vec::new(), 0, 0);
        let mut granted = 0;
        for (at, session) in &registry.sessions {
            let Admission::Granted(it) = &session.state else {
                continue;
            };
            granted += 1;
            addresses += it.holding.place.addresses.iter().count();
            networks += it.holding.place.networks.len();
            if it.entry != Entry::In {
                continue;
            }
            let holdings = &registry.holdings;
            steered.extend(
                holdings
                    .steered(&it.holding)
                    .into_iter()
                    .map(|it| (it, at.shard)),
            );
        }
        assert_eq!(registry.len(), granted);
        let what: HashSet<_> = steered.iter().map(|(what, _)| *what).collect();
        let told: HashSet<_> = self.steering.keys().copied().collect();
        assert!(told.is_superset(&what), "{told:?} {what:?}");
        // What a client that is not in has from another one may still lead to that one's shard.
        let entering = |it: &&Session| matches!(&it.state, Admission::Granted(granted) if granted.entry != Entry::In);
        if !registry.sessions.values().any(|it| entering(&it)) {
            assert_eq!(told, what);
        }
        for (what, shard) in &self.steering {
            if !registry.holdings.is_free(*what) && !steered.iter().any(|it| it.0 == *what) {
                continue;
            }
            // Two clients may have an address of a slot each.
            assert!(steered.contains(&(*what, *shard)), "{what:?} to {shard}");
        }
        assert_eq!(registry.holdings.count(), (addresses, networks));
        assert!(granted <= rules.max_clients);
        assert!(
            rules.client_files || rules.hooks || registry.sessions.len() <= 2 * granted,
            "who waits for whom?"
        );
        assert!(registry.names.len() == granted || rules.duplicate_cn);
        assert!(registry.releases.len() <= granted);
        assert!(registry.claims.len() <= granted);
        assert!(registry.orders.is_empty());
        assert_eq!(registry.handed_down, None);
    }

    fn check_steering(&self, place: &Place, shard: u16) {
        let network = |network: &IpNet| Steered::Network(*network);
        let slot = self.slot_of(place.addresses).map(Steered::Slot);
        for what in place.networks.iter().map(network).chain(slot) {
            let steered = self.steering.get(&what);
            // Of two clients with an address of a slot each, one is brought its packets.
            let rules = self.registry.rules;
            let shared = (rules.client_files || rules.hooks) && steered.is_some();
            assert!(steered == Some(&shard) || shared, "steered too late");
        }
    }

    /// What must be true when nobody has anything to say any more.
    fn check_settled(&self) {
        let registry = &self.registry;
        let (mut owners, mut clients) = (BTreeMap::new(), 0);
        for client in &self.clients {
            assert_ne!(client.state, ClientState::Asking, "never answered");
            if let ClientState::Admitted { client_id, .. } = client.state {
                clients += 1;
                let granted = registry.granted_to(client.at);
                let place = &granted.expect("the registry knows it").holding.place;
                let (shard, owner) = (client.at.shard, client_id);
                let owner = Owner {
                    shard,
                    client_id: owner,
                };
                owners.extend(leads(place.addresses, &place.networks).map(|it| (it, owner)));
            }
        }
        assert_eq!(registry.len(), clients, "a lease of nobody");
        assert_eq!(registry.sessions.len(), clients);
        assert!(registry.releases.is_empty());
        assert!(registry.claims.is_empty());
        for side in self.shards.iter().filter(|side| !side.ended) {
            assert_eq!(side.directory, owners, "the directory of {}", side.number);
            let admitted = self.clients.iter().filter(|client| {
                let admitted = matches!(client.state, ClientState::Admitted { .. });
                admitted && client.at.shard == side.number
            });
            let own = admitted.count();
            assert_eq!(side.registration.len(), own, "goodbyes that nobody heard");
            self.check_own(side);
        }
        self.check_newest();
    }

    /// Networks lead to a client of the shard as the registry says it. Only where no message overtakes
    /// another, as it is in a node.
    fn check_own(&self, side: &Side) {
        if self.overtaking {
            return;
        }
        for (at, client) in self.clients.iter().enumerate() {
            if client.at.shard != side.number
                || !matches!(client.state, ClientState::Admitted { .. })
            {
                continue;
            }
            let own = side.own.iter().filter(|(_, owner)| **owner == at);
            let own: HashSet<_> = own.map(|(network, _)| *network).collect();
            let place = self
                .registry
                .granted_to(client.at)
                .map(|it| &it.holding.place);
            let wanted = place.map(|place| place.networks.iter().copied().collect());
            assert_eq!(Some(own), wanted, "the table of {}", side.number);
        }
    }

    /// Of each name's sessions the last that came is there, unless it died or found no room.
    fn check_newest(&self) {
        if self.registry.rules.duplicate_cn {
            return;
        }
        let mut newest: HashMap<&Text, &Client> = HashMap::new();
        for client in &self.clients {
            let former = newest.entry(&client.name).or_insert(client);
            if (client.since, client.at) > (former.since, former.at) {
                *former = client;
            }
        }
        for client in newest.values() {
            let wrong = [
                ClientState::Released,
                ClientState::Refused(AdmissionRefusal::Replaced),
            ];
            let displaced = self.registry.rules.client_files || self.registry.rules.hooks;
            let wrong = wrong.contains(&client.state) && !displaced;
            assert!(!wrong, "{client:?} was the last");
        }
    }
}

impl Side {
    /// As a shard does it.
    fn follow(&mut self, former: Option<&Tenant>, present: Option<&Tenant>) {
        if let Some(former) = former {
            for lead in leads(former.addresses, &former.networks) {
                if self.directory.get(&lead) == Some(&former.owner()) {
                    self.directory.remove(&lead);
                }
            }
        }
        let Some(present) = present else {
            return;
        };
        for lead in leads(present.addresses, &present.networks) {
            self.directory.insert(lead, present.owner());
        }
        let own = present.shard == self.number;
        let client = self.registration.client(present.session).filter(|_| own);
        if let Some(client) = client {
            self.own.retain(|_, owner| *owner != client);
        }
        for network in &present.networks {
            match client {
                Some(client) => self.own.insert(*network, client),
                None => self.own.remove(network),
            };
        }
    }
}

/// All that leads to a client.
fn leads(addresses: Addresses, networks: &[IpNet]) -> impl Iterator<Item = IpNet> {
    let addresses: Vec<IpNet> = addresses.iter().map(IpNet::from).collect();
    addresses.into_iter().chain(networks.iter().copied())
}

fn numbered() -> ClientPath {
    ClientPath {
        numbering: Numbering::PeerId,
        ..super::PATH
    }
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrives, self.number).cmp(&(other.arrives, other.number))
    }
}

/// The way to the thread that reads files, beyond those to and from shards.
const READER: u16 = u16::MAX;
