//! A node's shards, its node thread, clients, a network between them and a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ringway::node::leases::{AddressPool, Blocks};
use ringway::node::message::{Instruction, Report};
use ringway::packet::ParcelContent;
use ringway::random::{Random, SeededRandom};
use ringway::session::{Class, OpenVpn2, Steering};
use ringway::time::Monotonic;

use super::client::Client;
use super::ledger::{Ledger, Origin};
use super::member::{Member, Tenant};
use super::node_thread::{NodeThread, shuffle};
use super::owners::Owners;
use super::plan::{Plan, Quality, happens};
use super::rules;
use super::trace::Trace;
use crate::network::{Arrival, Network};

/// A running simulation.
pub(crate) struct World {
    pub(super) plan: Plan,
    pub(super) now: Monotonic,
    pub(super) random: SeededRandom,
    pub(super) trace: Trace,
    pub(super) network: Network<Way>,
    steering: Steering,
    pub(super) pool: AddressPool,
    pub(super) members: Vec<Member>,
    pub(super) node: NodeThread,
    pub(super) clients: Vec<Client>,
    /// Which client is reached at an address.
    pub(super) holders: HashMap<SocketAddr, usize>,
    pub(super) ledger: Ledger,
    owners: Owners,
    /// Which shard has opened packets of a key.
    opened_by: HashMap<u64, u16>,
    pub(super) story: Story,
    next_lan: Monotonic,
    next_port: u16,
    pub(super) datagrams: u64,
    /// What clients have sent, for who wants to send it again.
    pub(super) recording: Option<Vec<(SocketAddr, Vec<u8>)>>,
    turns: u64,
}

/// What a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) dials: u64,
    pub(crate) floats: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// From client to client, which counts as down too.
    pub(crate) across: u64,
    pub(crate) hand_offs: u64,
    /// Turns of all shards.
    pub(crate) turns: u64,
}

/// Where a datagram goes, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Which datagram this is; copies by the network have the same number.
    serial: u64,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Server {
        from: SocketAddr,
    },
    Client {
        to: SocketAddr,
        shard: u16,
        turn: u64,
    },
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan, told: bool) -> Self {
        let mut random = SeededRandom::new(seed);
        let now = Monotonic::from_nanos(1_000_000_000_000);
        let steering = Steering::new(plan.shards, &mut random);
        let pool = AddressPool {
            v4: Some(Ipv4Addr::new(10, 8, 0, 2)),
            v4_blocks: Blocks::Single,
            v6: seed
                .is_multiple_of(2)
                .then_some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
            slots: plan.slots,
        };
        let parts = rules::shards(&plan, &pool, steering, seed, &mut random);
        let members = parts
            .into_iter()
            .map(|parts| Member::new(parts, &plan, seed, now))
            .collect();
        let mut world = Self {
            now,
            trace: Trace::new(told, now),
            network: Network::new(seed, rules::conditions(&plan)),
            steering,
            members,
            node: NodeThread::new(&plan, pool, seed, now),
            pool,
            clients: Vec::new(),
            holders: HashMap::new(),
            ledger: Ledger::default(),
            owners: Owners::default(),
            opened_by: HashMap::new(),
            story: Story::default(),
            next_lan: now,
            next_port: 10_000,
            datagrams: 0,
            recording: None,
            turns: 0,
            random,
            plan,
        };
        for number in 0..world.plan.clients {
            world.add_client(number);
        }
        world
    }

    fn add_client(&mut self, number: usize) {
        // The last ones have the names of the first ones.
        let namesake = number + self.plan.namesakes >= self.plan.clients;
        let name = if namesake {
            self.plan.clients - 1 - number
        } else {
            number
        };
        let name = format!("client-{name}");
        let settings = rules::client(&self.plan, &name, &mut self.random);
        let address = self.fresh_address(number);
        let mut client = Client::new(number, name, settings, address);
        client.next_dial = self.now + self.random_time(Duration::from_secs(5));
        client.next_whim = self.now + self.random_time(self.plan.whim_every);
        self.clients.push(client);
    }

    /// An address that nobody has had yet, where this client is reached from now on.
    pub(super) fn fresh_address(&mut self, number: usize) -> SocketAddr {
        self.next_port += 1;
        let address = SocketAddr::from(([198, 51, 100, number as u8], self.next_port));
        self.holders.insert(address, number);
        address
    }

    /// A time around `mean`.
    pub(super) fn random_time(&mut self, mean: Duration) -> Duration {
        if mean == Duration::MAX {
            return Duration::from_secs(1 << 30);
        }
        Duration::from_nanos(self.random.below(2 * mean.as_nanos() as u64 + 1))
    }

    /// Runs until then.
    pub(super) fn run_until(&mut self, end: Monotonic) {
        while let Some(next) = self.next_moment().filter(|next| *next < end) {
            self.now = next.max(self.now);
            self.step();
        }
        self.now = end;
    }

    fn next_moment(&self) -> Option<Monotonic> {
        let members = self.members.iter().enumerate();
        let members = members.filter_map(|(at, member)| member.next_moment(self.node.mail_for(at)));
        let clients = self.clients.iter().map(|client| client.due);
        members
            .chain(clients)
            .chain(self.network.next_arrival())
            .chain(self.node.next_moment())
            .chain([self.next_lan])
            .min()
    }

    fn step(&mut self) {
        while let Some(arrival) = self.network.arrive(self.now) {
            self.deliver(arrival);
        }
        for number in 0..self.clients.len() {
            if self.clients[number].due <= self.now {
                self.serve_client(number);
            }
        }
        if self.next_lan <= self.now {
            self.next_lan = self.now + self.plan.data_every / self.plan.clients as u32;
            self.write_from_lan();
        }
        let mut due: Vec<usize> = (0..self.members.len()).collect();
        due.retain(|&at| {
            let next = self.members[at].next_moment(self.node.mail_for(at));
            next.is_some_and(|next| next <= self.now)
        });
        shuffle(&mut self.random, &mut due);
        for at in due {
            self.serve_shard(at);
        }
        if self.node.next_moment().is_some_and(|at| at <= self.now) {
            self.serve_node();
        }
    }

    fn deliver(&mut self, arrival: Arrival<Way>) {
        let Way { serial, end } = arrival.to;
        let mut bytes = arrival.bytes;
        match end {
            End::Server { from } => {
                let shard = self.shard_of_datagram(&bytes, from);
                let member = &mut self.members[shard];
                if member.socket.len() < SOCKET_ROOM {
                    member.socket.push_back((from, bytes));
                }
            }
            End::Client { to, shard, turn } => {
                let Some(&number) = self.holders.get(&to) else {
                    return;
                };
                let client = &mut self.clients[number];
                let random = &mut self.random;
                let trace = &mut self.trace;
                let inner = client.take(self.now, random, &mut bytes, (serial, shard), trace);
                if let Some(inner) = inner {
                    self.arrived_at_client(number, &inner, turn);
                }
                self.serve_client(number);
            }
        }
    }

    /// Judges an inner packet that a client has got, sealed in that turn.
    fn arrived_at_client(&mut self, number: usize, packet: &[u8], turn: u64) {
        let (tag, entry) = self.ledger.arrive(packet);
        let client = &self.clients[number];
        let whose = format!("packet {tag} at {} ({number}): {entry:?}", client.name);
        self.trace.note(self.now, format_args!("{whose}"));
        assert!(!is_forged(entry.from), "from a forged source: {whose}");
        assert!(client.has(entry.destination), "for somebody else: {whose}");
        let owner = self.owners.had(turn, entry.destination, &client.name);
        assert!(owner, "sealed for who had the address no more: {whose}");
        let direct = matches!(entry.from, Origin::Client { .. });
        assert!(
            !direct || self.plan.client_to_client,
            "from another client: {whose}"
        );
        self.story.across += u64::from(direct);
        self.story.down += 1;
    }

    /// Where the kernel brings a datagram.
    fn shard_of_datagram(&mut self, bytes: &[u8], from: SocketAddr) -> usize {
        let shards = self.members.len();
        let hash = || usize::from(from.port()) * 40_503 % 65_521 % shards;
        match self.plan.steering {
            Quality::FlowHash => hash(),
            Quality::Program { astray } if happens(&mut self.random, astray) => {
                self.random.below(shards as u64) as usize
            }
            Quality::Program { .. } => {
                let shard = self.steering.shard_of(OpenVpn2::classify(bytes));
                shard.map_or_else(hash, usize::from)
            }
        }
    }

    /// Where the kernel brings an inner packet.
    fn shard_of_inner(&mut self, destination: IpAddr) -> usize {
        let shards = self.members.len();
        let slot = self.slot_of(destination);
        let hash = slot.unwrap_or(77) as usize % shards;
        match self.plan.queues {
            Quality::FlowHash => hash,
            Quality::Program { astray } if happens(&mut self.random, astray) => {
                self.random.below(shards as u64) as usize
            }
            Quality::Program { .. } => {
                let steered = slot.and_then(|slot| self.node.steered.get(&slot));
                steered.map_or(hash, |shard| usize::from(*shard))
            }
        }
    }

    fn slot_of(&self, address: IpAddr) -> Option<u32> {
        (0..self.pool.slots).find(|slot| {
            let addresses = self.pool.addresses(*slot);
            addresses.v4.map(IpAddr::V4) == Some(address)
                || addresses.v6.map(IpAddr::V6) == Some(address)
        })
    }

    /// Somebody behind the tun device writes to any address of the pool.
    fn write_from_lan(&mut self) {
        let slot = self
            .random
            .below(u64::from(self.plan.clients as u32).min(self.pool.slots.into()));
        let addresses = self.pool.addresses(slot as u32);
        let wants_v6 = self.random.below(3) == 0;
        let destination = match (addresses.v4, addresses.v6) {
            (_, Some(v6)) if wants_v6 => v6.into(),
            (Some(v4), _) => IpAddr::V4(v4),
            (None, v6) => v6.map(IpAddr::V6).expect("a pool"),
        };
        self.write_tun_to(destination);
    }

    /// A host behind the tun device sends one packet.
    pub(super) fn write_tun_to(&mut self, destination: IpAddr) {
        let len = 60 + self.random.below(400) as usize;
        let packet = self
            .ledger
            .send(Origin::Lan, rules::lan(destination), destination, len);
        let shard = self.shard_of_inner(destination);
        let tun = &mut self.members[shard].tun;
        if tun.len() < TUN_ROOM {
            tun.push_back(packet);
        }
    }

    pub(super) fn serve_client(&mut self, number: usize) {
        let now = self.now;
        let client = &mut self.clients[number];
        if client.next_whim <= now {
            self.whim(number);
        }
        let client = &mut self.clients[number];
        if client.tunnel.is_none() && client.wants && client.next_dial <= now {
            self.story.dials += 1;
            self.trace.note(
                now,
                format_args!("{} ({number}) dials from {}", client.name, client.address),
            );
            client.dial(now, &mut self.random);
        }
        for datagram in client.serve(now, &mut self.random) {
            self.send_up(number, &datagram);
        }
        let client = &self.clients[number];
        if client.is_connected() && client.next_data <= now {
            self.clients[number].next_data = now + self.random_time(self.plan.data_every);
            self.write_from_client(number);
        }
        let client = &mut self.clients[number];
        client.due = client.next_moment();
    }

    /// A client sends to the local network, or to another client; now and then in the name of another.
    fn write_from_client(&mut self, number: usize) {
        let client = &self.clients[number];
        let Some(tunnel) = &client.tunnel else { return };
        let own = tunnel.addresses[self.random.below(tunnel.addresses.len() as u64) as usize];
        let other = self.random.below(u64::from(self.pool.slots)) as u32;
        let other = self.pool.addresses(other);
        let other = match own {
            IpAddr::V4(_) => other.v4.map(IpAddr::V4),
            IpAddr::V6(_) => other.v6.map(IpAddr::V6),
        };
        let lan = rules::lan(own);
        let (source, destination) = match self.random.below(8) {
            0 => (other.unwrap_or(lan), lan),
            1..=3 => (own, other.unwrap_or(lan)),
            _ => (own, lan),
        };
        self.send_inner(number, source, destination);
    }

    /// A client sends one inner packet.
    pub(super) fn send_inner(&mut self, number: usize, source: IpAddr, destination: IpAddr) {
        let client = &self.clients[number];
        let Some(key) = client.sealing_key() else {
            return;
        };
        let forged = !client.has(source);
        let from = Origin::Client {
            number,
            key,
            forged,
        };
        let len = 60 + self.random.below(400) as usize;
        let packet = self.ledger.send(from, source, destination, len);
        if let Some((_, datagram)) = self.clients[number].seal(self.now, &packet) {
            self.send_up(number, &datagram);
        }
    }

    pub(super) fn send_up(&mut self, number: usize, datagram: &[u8]) {
        let from = self.clients[number].address;
        if let Some(recording) = &mut self.recording {
            recording.push((from, datagram.to_vec()));
        }
        self.send_from(from, datagram);
    }

    /// Sends a datagram to the server.
    pub(super) fn send_from(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.datagrams += 1;
        let way = Way {
            serial: self.datagrams,
            end: End::Server { from },
        };
        self.network.send(self.now, way, datagram);
    }

    fn serve_shard(&mut self, at: usize) {
        self.turns += 1;
        self.story.turns += 1;
        let now = self.now;
        let member = &mut self.members[at];
        let before = member.tenants.clone();
        let trace = &mut self.trace;
        member.turn(
            now,
            &mut self.node,
            &mut self.random,
            |instruction: &Instruction| {
                trace.note(now, format_args!("shard {at} is told {instruction:?}"));
            },
        );
        self.check_after(at, &before);
        let away = self.node.mail.away;
        if happens(&mut self.random, away) {
            let absence = self
                .random
                .below(self.node.mail.absence.as_nanos() as u64 + 1);
            self.members[at].busy_until = now + Duration::from_nanos(absence);
        }
    }

    /// Checks a shard after a turn, before which it had these clients, and takes what it has said.
    pub(super) fn check_after(&mut self, at: usize, before: &[Tenant]) {
        self.members[at].check();
        self.owners.note(self.turns, at, before, &self.members);
        self.collect(at);
        self.check_parcels();
    }

    /// Takes what a shard has said in its turn.
    fn collect(&mut self, at: usize) {
        let edges = self.members[at].shard.edges_mut();
        let sent = std::mem::take(&mut edges.sent);
        let written = std::mem::take(&mut edges.written);
        let reports = std::mem::take(&mut edges.reports);
        let parcels = std::mem::take(&mut edges.parcels);
        let spent = std::mem::take(&mut edges.spent);
        for (to, parcel) in parcels {
            let content = parcel.content;
            if let ParcelContent::Inner(..) = content {
                self.ledger.hand_over(parcel.packet.bytes());
            }
            self.trace.note(
                self.now,
                format_args!("shard {at} hands to {to}: {content:?}"),
            );
            let arrival = self.hand_over_at();
            let queue = &mut self.members[usize::from(to)].parcels;
            let before = queue.back().map_or(arrival, |(before, _)| *before);
            queue.push_back((arrival.max(before), parcel));
        }
        for (to, buffer) in spent {
            let arrival = self.hand_over_at();
            let edges = self.members[usize::from(to)].shard.edges_mut();
            edges.bring_back(arrival, at as u16, buffer);
        }
        for (path, datagram) in sent {
            if let Class::Control(session) = OpenVpn2::classify(&datagram) {
                let to = path.remote;
                self.trace.note(
                    self.now,
                    format_args!("shard {at}: control of {session:?} to {to}"),
                );
            } else {
                self.members[at].check_packet_id(&datagram, path.remote);
            }
            self.datagrams += 1;
            let (shard, turn) = (at as u16, self.turns);
            let to = path.remote;
            let way = Way {
                serial: self.datagrams,
                end: End::Client { to, shard, turn },
            };
            self.network.send(self.now, way, &datagram);
        }
        for packet in written {
            self.arrived_in_lan(at, &packet);
        }
        for (sent, report) in reports {
            match report {
                Report::Event(event) => {
                    self.trace.note(sent, format_args!("shard {at}: {event:?}"));
                }
                report => {
                    self.trace
                        .note(sent, format_args!("shard {at} reports {report:?}"));
                    self.node.post(at, sent, report);
                }
            }
        }
    }

    /// When something arrives that one shard hands to another now.
    fn hand_over_at(&mut self) -> Monotonic {
        let delay = self
            .random
            .below(self.node.mail.delay.as_nanos() as u64 / 4 + 1);
        self.now + Duration::from_nanos(delay)
    }

    /// Every buffer that a shard has handed over is in a queue of parcels, or on its way back.
    fn check_parcels(&self) {
        for member in &self.members {
            let parcels = self.members.iter().flat_map(|other| &other.parcels);
            let waiting = parcels
                .filter(|(_, parcel)| parcel.from == member.number)
                .count();
            let edges = member.shard.edges();
            let known = waiting + edges.returning();
            assert_eq!(
                edges.away(),
                known,
                "a buffer of shard {} is lost",
                member.number
            );
        }
    }

    /// Judges an inner packet that a shard has written to its tun queue.
    fn arrived_in_lan(&mut self, at: usize, packet: &[u8]) {
        let (tag, entry) = self.ledger.arrive(packet);
        let whose = format!("packet {tag} by shard {at}: {entry:?}");
        self.trace.note(self.now, format_args!("{whose}"));
        let Origin::Client {
            number,
            key,
            forged,
        } = entry.from
        else {
            panic!("back where it came from: {whose}");
        };
        assert!(!forged, "from a forged source: {whose}");
        let name = &self.clients[number].name;
        let owner = self.owners.had(self.turns, entry.source, name);
        assert!(owner, "from one who had the address no more: {whose}");
        let neighbour = self.members[at].tenants.iter();
        let neighbour = neighbour.filter(|it| it.inner().any(|inner| inner == entry.destination));
        let mut neighbour =
            neighbour.filter(|it| self.owners.kept(self.turns, entry.destination, &it.name));
        let past = self.plan.client_to_client && neighbour.next().is_some();
        assert!(!past, "past a client of the same shard: {whose}");
        let first = *self.opened_by.entry(key).or_insert(at as u16);
        assert_eq!(
            usize::from(first),
            at,
            "two shards open with one key: {whose}"
        );
        self.story.up += 1;
    }

    fn serve_node(&mut self) {
        let (now, trace) = (self.now, std::cell::RefCell::new(&mut self.trace));
        self.node.turn(
            now,
            |shard, report| {
                let mut trace = trace.borrow_mut();
                trace.note(now, format_args!("node: shard {shard} says {report:?}"));
            },
            |order| {
                trace
                    .borrow_mut()
                    .note(now, format_args!("node: {order:?}"))
            },
        );
        self.check_registry();
    }

    /// Who is a client of a shard has its place by the registry's own words: it takes a place back
    /// only when the shard has said that its session is gone.
    fn check_registry(&self) {
        let granted = self.node.granted.len();
        assert_eq!(granted, self.node.registry.len(), "{:?}", self.node.granted);
        assert!(granted <= self.plan.max_clients as usize);
        for member in &self.members {
            for tenant in &member.tenants {
                let slot = tenant
                    .inner()
                    .next()
                    .and_then(|address| self.slot_of(address));
                let known =
                    self.node.granted.iter().any(|(session, taken)| {
                        session.shard == member.number && Some(*taken) == slot
                    });
                assert!(
                    known,
                    "the registry does not know {tenant:?} of {}",
                    member.number
                );
            }
        }
    }
}

fn is_forged(from: Origin) -> bool {
    matches!(from, Origin::Client { forged: true, .. })
}

/// What the kernel holds for a socket, and for a tun queue.
const SOCKET_ROOM: usize = 300;
const TUN_ROOM: usize = 100;
