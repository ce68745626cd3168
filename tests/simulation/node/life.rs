//! A run from its beginning to its end: a storm, calm weather, and then everybody must be well.

use std::net::IpAddr;
use std::time::Duration;

use ringway::node::message::Instruction;
use ringway::packet::HandOffKind;
use ringway::random::Random;

use super::plan::{Mail, Plan, Quality};
use super::rules::{self, PING_RESTART};
use super::world::{Story, World};
use crate::network::Conditions;

impl World {
    /// Runs a seed. Panics where something is not as it must be.
    pub(crate) fn run(seed: u64, plan: Plan, told: bool) -> Story {
        let storm = plan.storm;
        let mut world = Self::new(seed, plan, told);
        world.run_until(world.now + storm);
        world.calm_down();
        world.settle();
        world.check_traffic();
        world.stop();
        world.story.clone()
    }

    /// A client connects and moves; then everything that it has ever sent comes once more from where
    /// it was. Panics if that makes a second session, or keeps the client from hearing the server.
    pub(crate) fn run_echo_from_a_former_address(plan: Plan) {
        let mut world = Self::new(0, plan, true);
        world.recording = Some(Vec::new());
        while !world.clients[0].is_connected() {
            world.run_until(world.now + Duration::from_millis(100));
        }
        let echo = world.recording.take().unwrap_or_default();
        // Its cookie is still good when the server has seen it move.
        world.float(0);
        world.run_until(world.now + Duration::from_secs(2));
        for (from, datagram) in echo {
            world.send_from(from, &datagram);
        }
        world.run_until(world.now + Duration::from_secs(1));
        let member = &world.members[0];
        assert_eq!(member.shard.load().sessions, 1);
        let ids: Vec<u64> = member.tenants.iter().map(|it| it.client_id).collect();
        assert_eq!(ids, [0], "nobody was let in again");
        world.stop();
    }

    /// A client does something that the server has to put up with.
    pub(super) fn whim(&mut self, number: usize) {
        let rest = self.random_time(self.plan.whim_every);
        self.clients[number].next_whim = self.now + rest;
        let what = self.random.below(20);
        let name = self.clients[number].name.clone();
        self.trace
            .note(self.now, format_args!("{name} ({number}): whim {what}"));
        let away = self.random_time(Duration::from_secs(8));
        let now = self.now;
        match what {
            // It was killed, and starts again at once from the same address.
            0..=3 => self.dial_again(number, Duration::ZERO),
            4..=6 => {
                self.clients[number].address = self.fresh_address(number);
                self.dial_again(number, Duration::ZERO);
            }
            7..=9 => self.float(number),
            10..=12 => self.take_address(number),
            13..=14 => {
                self.clients[number].leave(now);
                self.clients[number].next_whim = now + away;
            }
            // It dies without a word.
            15..=16 => {
                self.clients[number].tunnel = None;
                self.clients[number].wants = false;
                self.clients[number].next_whim = now + away;
            }
            // It can't make up its mind.
            17 => {
                self.dial_again(number, Duration::ZERO);
                self.clients[number].next_whim = now + Duration::from_millis(100);
            }
            _ => {
                let client = &mut self.clients[number];
                client.wants = true;
                client.next_dial = now;
            }
        }
    }

    /// A client forgets its tunnel and dials after a while.
    fn dial_again(&mut self, number: usize, rest: Duration) {
        let client = &mut self.clients[number];
        client.tunnel = None;
        client.wants = true;
        client.next_dial = self.now + rest;
    }

    /// A client sends from another address from now on, with the tunnel that it has.
    fn float(&mut self, number: usize) {
        self.story.floats += 1;
        self.clients[number].address = self.fresh_address(number);
    }

    /// A client sends from the address that another one had, which has to take a new one.
    fn take_address(&mut self, number: usize) {
        let other = self.random.below(self.clients.len() as u64) as usize;
        if other != number {
            self.story.floats += 1;
            let address = self.clients[other].address;
            self.clients[other].address = self.fresh_address(other);
            self.clients[number].address = address;
            self.holders.insert(address, number);
        }
    }

    /// Nothing is lost, late or astray any more, and everybody knows what he wants.
    fn calm_down(&mut self) {
        self.trace
            .note(self.now, format_args!("--- the storm is over"));
        self.network.change(Conditions::perfect());
        self.plan.steering = Quality::Program { astray: 0.0 };
        self.plan.queues = Quality::Program { astray: 0.0 };
        self.node.mail = Mail::perfect();
        for member in &mut self.members {
            let edges = member.shard.edges_mut();
            edges.refusals = 0.0;
            edges.is_brisk = true;
            edges.hand_off_room = usize::MAX;
            edges.in_flight_max = (self.plan.buffers as usize - 2 * self.plan.lent) / 3;
        }
        let forever = Duration::from_secs(1 << 30);
        for number in 0..self.clients.len() {
            let namesake = number + self.plan.namesakes >= self.plan.clients;
            let wants = !namesake && self.random.below(8) > 0;
            let now = self.now;
            let client = &mut self.clients[number];
            client.next_whim = now + forever;
            if wants {
                client.wants = true;
                client.next_dial = now;
            } else {
                client.leave(now);
            }
            self.serve_client(number);
        }
    }

    /// Waits until who wants to be connected is, and who does not is forgotten.
    fn settle(&mut self) {
        let end = self.now + SETTLED;
        // What a dead tunnel looks like from either side is known only after its timeout.
        self.run_until(self.now + PING_RESTART * 2);
        while let Err(reason) = self.is_settled() {
            assert!(self.now < end, "it does not settle: {reason}");
            self.run_until(self.now + Duration::from_secs(1));
        }
    }

    fn is_settled(&self) -> Result<(), String> {
        let wanted = self.clients.iter().filter(|client| client.wants).count();
        for client in &self.clients {
            let name = &client.name;
            if !client.wants && client.tunnel.is_some() {
                return Err(format!("{name} has not left"));
            }
            if !client.wants {
                continue;
            }
            let homes = self.members.iter().flat_map(|member| &member.tenants);
            let homes: Vec<_> = homes.filter(|tenant| tenant.name == *name).collect();
            if !client.is_connected() || homes.len() != 1 {
                return Err(format!("{name} is at {homes:?}"));
            }
            if !homes[0].inner().all(|address| client.has(address)) {
                return Err(format!("{name} does not know that it is at {homes:?}"));
            }
        }
        let leases = self.node.registry.len();
        if leases != wanted {
            return Err(format!("{leases} leases for {wanted} clients"));
        }
        let sessions: usize = self.members.iter().map(|it| it.shard.load().sessions).sum();
        if sessions != wanted {
            return Err(format!("{sessions} sessions for {wanted} clients"));
        }
        Ok(())
    }

    /// Each client reaches the local network, is reached from there at each of its addresses, and
    /// reaches the next client. Only what goes from client to client is handed over, and what comes
    /// from a client without peer id, which the kernel can't tell the shard of.
    fn check_traffic(&mut self) {
        self.trace.note(self.now, format_args!("--- traffic"));
        let before = self.hand_offs();
        let mut sent = Vec::new();
        for number in 0..self.clients.len() {
            let Some(tunnel) = &self.clients[number].tunnel else {
                continue;
            };
            let own: Vec<IpAddr> = tunnel.addresses.clone();
            assert!(!own.is_empty(), "client {number} has no address");
            for address in own {
                let first = self.ledger.len();
                self.send_inner(number, address, rules::lan(address));
                self.write_tun_to(address);
                if let Some(next) = self.neighbour(number, address) {
                    self.send_inner(number, address, next);
                }
                sent.extend(first..self.ledger.len());
                // Few at once: the smallest pools hold no more.
                self.run_until(self.now + Duration::from_millis(50));
            }
        }
        for (tag, entry) in sent.iter().map(|tag| (tag, self.ledger.entry(*tag))) {
            assert_eq!(entry.arrived, 1, "packet {tag} is lost: {entry:?}");
        }
        let [datagrams, inner, _] = self.hand_offs();
        let numbered = self.clients.iter().all(|client| client.numbered);
        assert!(
            !numbered || datagrams == before[0],
            "{datagrams} datagrams, {before:?}"
        );
        assert_eq!(inner, before[1], "inner packets are handed over");
        self.story.hand_offs = self.hand_offs().iter().sum();
    }

    /// An address of the next connected client, of the same family.
    fn neighbour(&self, number: usize, like: IpAddr) -> Option<IpAddr> {
        let count = self.clients.len();
        let others = (1..count).map(|step| &self.clients[(number + step) % count]);
        let tunnel = others.filter_map(|other| other.tunnel.as_ref()).next()?;
        let mut addresses = tunnel.addresses.iter();
        addresses.find(|it| it.is_ipv4() == like.is_ipv4()).copied()
    }

    /// What all shards have handed over, by kind.
    fn hand_offs(&self) -> [u64; 3] {
        HandOffKind::ALL.map(|kind| {
            let shards = self.members.iter().map(|member| &member.shard);
            shards.map(|shard| shard.hand_offs().of(kind).sent).sum()
        })
    }

    /// The node thread tells a shard something, which is heard at once.
    fn tell(&mut self, at: usize, instruction: Instruction) {
        let member = &mut self.members[at];
        let before = member.tenants.clone();
        member
            .shard
            .edges_mut()
            .begin_turn(self.now.max(member.busy_until));
        member.shard.obey(instruction);
        member.shard.serve();
        self.check_after(at, &before);
    }

    /// The node ends: all clients hear of it, and every buffer is at home.
    fn stop(&mut self) {
        self.trace.note(self.now, format_args!("--- stop"));
        for client in &mut self.clients {
            client.wants = false;
        }
        for at in 0..self.members.len() {
            self.tell(at, Instruction::Stop);
        }
        self.run_until(self.now + Duration::from_secs(4));
        for at in 0..self.members.len() {
            let member = &self.members[at];
            assert!(member.stopped, "shard {at} does not stop");
            assert!(member.tenants.is_empty(), "{:?}", member.tenants);
        }
        // While a new key is being agreed on, nobody could read a message.
        let mut deaf = self.clients.iter().filter(|client| client.is_connected());
        if self.plan.renegotiation.is_none()
            && let Some(deaf) = deaf.next()
        {
            let (name, address) = (&deaf.name, deaf.address);
            panic!("{name} at {address} does not know that the server has stopped");
        }
    }
}

/// How long after a storm it may take until all is well: a dead session is given up, its client
/// dials, and now and then finds its own former session before it.
const SETTLED: Duration = Duration::from_secs(200);
