//! A core's data path: inner packets made here and sealed, opened and checked here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use loadgen::arrivals::Arrival;
use loadgen::lan::caller::Outcome;
use loadgen::lan::order::Answer;
use loadgen::payload::{Datagram, Ends, Flow, Payload, headers};
use loadgen::result::{Tally, Traffic};
use ringway::packet::{self, DropReason, PeerEvent};
use ringway::time::{Monotonic, Now};

use super::client::Client;
use super::core::{Core, User};
use super::work::Size;

/// What takes the inner packets of a turn.
struct Inbox<'c> {
    users: &'c mut [User],
    by_address: &'c HashMap<IpAddr, usize>,
    tally: &'c mut Tally,
    run: u32,
    /// Now: in the run, and as packets have it.
    at: u64,
    now: Now,
    clock: u64,
    traffic: Traffic,
    /// Whose order was answered, and how it ended if it did.
    answered: Vec<(usize, Option<Outcome>)>,
}

impl Inbox<'_> {
    fn take(&mut self, bytes: &[u8]) {
        let datagram = match Datagram::read(bytes) {
            Ok(datagram) => datagram,
            Err(why) => return self.tally.dropped(why.reason()),
        };
        let number = self.by_address.get(&datagram.ends.destination.ip());
        let Some((number, user)) = number.and_then(|at| Some((*at, self.users.get_mut(*at)?)))
        else {
            return self
                .tally
                .dropped("inner packets for no address of a session");
        };
        if Answer::read(datagram.body).is_some() {
            if let Some(caller) = &mut user.caller {
                let outcome = caller.handle(datagram.body, self.now.monotonic.as_nanos());
                self.answered.push((number, outcome));
            }
            return;
        }
        let payload = Payload::read(datagram.body).filter(|payload| payload.run == self.run);
        let Some(payload) = payload else {
            return self.tally.dropped("inner packets of another run");
        };
        self.traffic += Traffic::packet(datagram.length);
        if let Some(since) = user.first_packet.take() {
            let took = self.now.monotonic.since(since);
            self.tally.first_packet.record(took.as_nanos() as u64);
        }
        match payload.flow {
            Flow::Down => {
                user.down.note(payload.sequence);
            }
            Flow::EchoReply => {
                let arrival = user.replies.note(payload.sequence);
                if matches!(arrival, Arrival::Next | Arrival::Reordered) {
                    let took = self.clock.saturating_sub(payload.intended);
                    self.tally.returned(self.at, took);
                }
            }
            Flow::Up | Flow::EchoRequest => {
                self.tally.dropped("inner packets that went the wrong way");
            }
        }
    }
}

impl Core {
    /// Opens what came in and takes it apart.
    pub(super) fn serve_inbound(&mut self, now: Now) {
        while !self.inbound.received.is_empty() {
            packet::inbound(
                &mut self.inbound,
                &mut self.peers,
                &mut self.link.pool,
                &mut self.drops,
                &self.surroundings,
                now.monotonic,
            );
            self.take_opened(now);
            for (datagram, path) in self.inbound.control() {
                let socket = usize::from(path.socket);
                self.control.push_back((socket, datagram.to_vec()));
            }
            for spent in self.inbound.spent() {
                self.link.give_back(spent);
            }
            let events: Vec<PeerEvent> = self.inbound.events.drain().collect();
            for event in events {
                self.peer_event(event, now);
            }
        }
    }

    fn take_opened(&mut self, now: Now) {
        let at = self.at(now.monotonic);
        let mut inbox = Inbox {
            users: &mut self.users,
            by_address: &self.by_address,
            tally: &mut self.tally,
            run: self.run.settings.number,
            at,
            now,
            clock: self.run.clock_of(now.monotonic),
            traffic: Traffic::default(),
            answered: Vec::new(),
        };
        let pool = &mut self.link.pool;
        self.inbound.write_tun(|buffer, packets, pieces| {
            for packet in packets {
                // Nothing is merged: a packet is one piece.
                for bytes in packet.bytes(&buffer, pieces) {
                    inbox.take(bytes);
                }
            }
            pool.give(buffer);
        });
        let Inbox {
            traffic, answered, ..
        } = inbox;
        for (user, outcome) in answered {
            self.answered(user, outcome, now.monotonic);
        }
        if traffic.packets > 0 {
            self.tally.received(at, traffic);
        }
    }

    /// What the data path tells sessions.
    fn peer_event(&mut self, event: PeerEvent, now: Now) {
        let Some(&key) = self.by_peer.get(&event.peer()) else {
            return;
        };
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match event {
            PeerEvent::ExitNotice { .. } => client.session.peer_exits(now),
            PeerEvent::KeyNearLimit { .. } => client.session.renegotiate_soon(now),
            PeerEvent::FirstData { key_id, .. } => {
                client.session.peer_uses(now, &mut self.random, key_id);
            }
            // These are for servers and their logs.
            PeerEvent::Floated { .. }
            | PeerEvent::Asked { .. }
            | PeerEvent::IgnoresPeerId { .. }
            | PeerEvent::Refused { .. } => return,
        }
        self.service(key, now);
    }

    /// Sends a new session's first packet, if somebody answers it.
    pub(super) fn greet_lan(&mut self, key: usize, intended: Monotonic, now: Now) {
        let Some(user) = self.clients.get(key).map(|client| client.user) else {
            return;
        };
        if self.run.settings.lan.is_none() {
            return;
        }
        if let Some(user) = self.users.get_mut(user) {
            user.first_packet = Some(intended);
        }
        self.send_packet(
            key,
            Flow::EchoRequest,
            FIRST_SIZE,
            now.monotonic,
            now.monotonic,
        );
    }

    /// Sends what is due of the phase's streams.
    pub(super) fn send_streams(&mut self, begin: Monotonic, elapsed: u64, now: Monotonic) {
        for number in 0..self.work.echo.len() {
            self.send_echoes(number, begin, elapsed, now);
        }
        for number in 0..self.work.up.len() {
            self.send_up(number, begin, elapsed, now);
        }
    }

    fn send_echoes(&mut self, number: usize, begin: Monotonic, elapsed: u64, now: Monotonic) {
        for _ in 0..PACKETS_A_TURN {
            let Some(stream) = self.work.echo.get_mut(number) else {
                return;
            };
            let Some(due) = stream.pace.as_mut().and_then(|pace| pace.due(elapsed)) else {
                return;
            };
            let size = stream.next_size();
            self.tally.lateness.record(elapsed - due);
            match self.next_carrier() {
                Some(key) => {
                    let intended = begin + Duration::from_nanos(due);
                    self.send_packet(key, Flow::EchoRequest, size, intended, now);
                }
                None => self.tally.missed += 1,
            }
        }
    }

    fn send_up(&mut self, number: usize, begin: Monotonic, elapsed: u64, now: Monotonic) {
        for _ in 0..PACKETS_A_TURN {
            let Some(stream) = self.work.up.get_mut(number) else {
                return;
            };
            let intended = match &mut stream.pace {
                Some(pace) => {
                    let Some(due) = pace.due(elapsed) else {
                        return;
                    };
                    self.tally.lateness.record(elapsed - due);
                    begin + Duration::from_nanos(due)
                }
                None => now,
            };
            let size = stream.next_size();
            match self.carrier_of(number) {
                Some(key) => self.send_packet(key, Flow::Up, size, intended, now),
                None => self.tally.missed += 1,
            }
        }
    }

    /// Whose turn it is in a stream: bulk comes in bursts of one client, a mix has all of them
    /// interleaved.
    fn carrier_of(&mut self, number: usize) -> Option<usize> {
        let stream = self.work.up.get_mut(number)?;
        let burst = match stream.size {
            Size::Fixed(_) => BURST,
            Size::Imix => 1,
        };
        if let Some((key, left)) = &mut stream.turn
            && *left > 0
            && self.clients.get(*key).is_some_and(Client::carries)
        {
            *left -= 1;
            return Some(*key);
        }
        let key = self.next_carrier()?;
        let stream = self.work.up.get_mut(number)?;
        stream.turn = Some((key, burst - 1));
        Some(key)
    }

    /// Whether there are sessions that send as fast as it goes.
    pub(super) fn is_sending_greedily(&self) -> bool {
        self.work.is_greedy() && !self.carriers.is_empty()
    }

    /// Sends an inner packet to the LAN host.
    fn send_packet(
        &mut self,
        key: usize,
        flow: Flow,
        size: usize,
        intended: Monotonic,
        now: Monotonic,
    ) {
        let Some(lan) = self.run.settings.lan else {
            return;
        };
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let (user, tunnel) = (client.user, client.tunnel);
        let source = client.address_towards(lan.ip());
        let Some((source, tunnel)) = source.zip(tunnel) else {
            return self
                .tally
                .dropped("not sent: no address of the LAN host's family");
        };
        let session = self.number(user);
        let Some(user) = self.users.get_mut(user) else {
            return;
        };
        let sequence = match flow {
            Flow::Up => &mut user.up,
            _ => &mut user.requests,
        };
        let payload = Payload {
            run: self.run.settings.number,
            session,
            flow,
            sequence: *sequence,
            intended: self.run.clock_of(intended),
        };
        let ends = Ends {
            source: SocketAddr::new(source, CLIENT_PORT),
            destination: lan,
        };
        let size = size.max(headers(lan.ip()) + Payload::LENGTH);
        if payload.write_packet(&mut self.packet, ends, size).is_err() {
            return self.tally.dropped("not sent: no packet can be so long");
        }
        if let Err(reason) = self.seal(tunnel.peer, size, now) {
            return self.tally.dropped(format!("not sent: {}", reason.name()));
        }
        // Only what left has a number: no gap is the generator's.
        if let Some(user) = self.users.get_mut(self.clients[key].user) {
            match flow {
                Flow::Up => user.up += 1,
                _ => user.requests += 1,
            }
        }
        self.sent += Traffic::packet(size);
    }

    /// Seals the packet that was put together.
    pub(super) fn seal(
        &mut self,
        peer: packet::PeerIndex,
        size: usize,
        now: Monotonic,
    ) -> Result<(), DropReason> {
        let tries = 2;
        for _ in 1..tries {
            match self.seal_once(peer, size, now) {
                Err(DropReason::QueueFull | DropReason::PoolEmpty) => self.flush(now),
                done => return done,
            }
        }
        self.seal_once(peer, size, now)
    }

    fn seal_once(
        &mut self,
        peer: packet::PeerIndex,
        size: usize,
        now: Monotonic,
    ) -> Result<(), DropReason> {
        let bytes = self.packet.get(..size).unwrap_or_default();
        let pool = &mut self.link.pool;
        self.outbound
            .seal_for(&mut self.peers, peer, bytes, pool, now)
    }

    /// Has all that was sealed leave.
    pub(super) fn flush(&mut self, now: Monotonic) {
        self.outbound.finish(&mut self.peers, &mut self.link.pool);
        for datagram in self.outbound.datagrams.drain() {
            let socket = usize::from(datagram.path.socket);
            self.link.send(socket, datagram.packet, now);
        }
        if self.sent.packets > 0 {
            let sent = std::mem::take(&mut self.sent);
            self.tally.sent(self.at(now), sent);
        }
        let events: Vec<PeerEvent> = self.outbound.events.drain().collect();
        for event in events {
            let now = Now {
                monotonic: now,
                unix: Now::read().unix,
            };
            self.peer_event(event, now);
        }
    }
}

/// The port that sessions have inside their tunnels.
pub(super) const CLIENT_PORT: u16 = 40_000;
/// Of the first packet of a session.
const FIRST_SIZE: usize = 64;
/// Packets of a stream before the ring turns again.
const PACKETS_A_TURN: usize = 256;
/// Packets of bulk in a row from one client, as a window of TCP comes.
const BURST: usize = 32;
