//! The LAN host without its socket: what it does with a datagram, and what it sends at which time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use ipnet::IpNet;
use ringway::random::Random;

use super::order::{Answer, Ask, Counts, Order, Refusal, Reply, Stream};
use super::outbox::Outbox;
use super::sessions::{ByRun, Name, Sessions};
use super::stream::Sending;
use crate::arrivals::Arrival;
use crate::limits::{PACKET_MAX, PHASE_MAX};
use crate::payload::{Flow, Payload, headers, least_length};
use crate::result::Durations;

/// One thread's sessions and streams.
#[derive(Debug)]
pub(super) struct Host {
    bounds: Bounds,
    secret: hmac::Key,
    sessions: Sessions,
    /// Streams with a rate, by when their next packet is due.
    due: BinaryHeap<Reverse<(u64, Name, u32)>>,
    /// Sessions with a stream without a rate, each in its turn.
    unpaced: Vec<Name>,
    turn: usize,
    /// Packets a second of all streams that have a rate.
    rate: f64,
    /// What the socket had no room for, as far as it was read.
    pub(super) socket_drops: u64,
    seen: Seen,
}

/// What a host does not go beyond.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Whom it answers; everybody if there is none.
    pub(super) clients: Vec<IpNet>,
    /// Sessions that it knows at a time.
    pub(super) sessions: usize,
    /// Packets a second of all streams together.
    pub(super) rate: f64,
}

/// What a host has to tell of apart from its sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Datagrams that are none of a run.
    pub(super) strange: u64,
    /// Datagrams from addresses that are not served.
    pub(super) refused_addresses: u64,
    /// Datagrams of sessions for which there was no room.
    pub(super) refused_sessions: u64,
    /// Echo replies and answers for which there was no room.
    pub(super) crowded_out: u64,
    /// How late packets of streams were sent.
    pub(super) lateness: Durations,
    /// Sessions that made room for others, by run.
    pub(super) forgotten: ByRun,
}

impl Host {
    pub(super) fn new(bounds: Bounds, random: &mut dyn Random) -> Self {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        Self {
            sessions: Sessions::new(bounds.sessions),
            bounds,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            socket_drops: 0,
            due: BinaryHeap::new(),
            unpaced: Vec::new(),
            turn: 0,
            rate: 0.0,
            seen: Seen::default(),
        }
    }

    /// Takes a datagram that came from `from`; answers go into `out`.
    pub(super) fn handle(&mut self, now: u64, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let address = from.ip().to_canonical();
        let served = self.bounds.clients.is_empty()
            || self.bounds.clients.iter().any(|net| net.contains(&address));
        if !served {
            self.seen.refused_addresses += 1;
        } else if let Some(payload) = Payload::read(bytes) {
            self.packet(now, from, bytes.len(), payload, out);
        } else if let Some(order) = Order::read(bytes) {
            self.order(now, from, order, out);
        } else {
            self.seen.strange += 1;
        }
    }

    fn packet(
        &mut self,
        now: u64,
        from: SocketAddr,
        length: usize,
        payload: Payload,
        out: &mut Outbox,
    ) {
        let name = Name {
            run: payload.run,
            session: payload.session,
        };
        if !matches!(payload.flow, Flow::Up | Flow::EchoRequest) {
            self.seen.strange += 1;
            return;
        }
        let Some(session) = self.sessions.admit(now, from, name) else {
            self.seen.refused_sessions += 1;
            return;
        };
        session.heard = now;
        if payload.flow == Flow::Up {
            if matches!(
                session.arrivals.note(payload.sequence),
                Arrival::Next | Arrival::Reordered
            ) {
                session.up_bytes += (length + headers(from.ip().to_canonical())) as u64;
            }
            return;
        }
        session.echoes += 1;
        let reply = Payload {
            flow: Flow::EchoReply,
            ..payload
        };
        let mut head = [0; Payload::LENGTH];
        let written = reply.write(&mut head).is_ok() && out.push(from, &head, length);
        self.seen.crowded_out += u64::from(!written);
    }

    fn order(&mut self, now: u64, from: SocketAddr, order: Order, out: &mut Outbox) {
        let cookie = self.cookie(from, &order);
        let ours = aws_lc_rs::constant_time::verify_slices_are_equal(
            &cookie.to_be_bytes(),
            &order.cookie.to_be_bytes(),
        );
        let reply = match ours {
            Ok(()) => self.obey(now, from, &order),
            Err(_) => Reply::Challenge { cookie },
        };
        let answer = Answer {
            run: order.run,
            session: order.session,
            number: order.number,
            reply,
        };
        let mut bytes = [0; Answer::LENGTH_MAX];
        let length = answer.write(&mut bytes);
        let answer = bytes.get(..length).unwrap_or_default();
        self.seen.crowded_out += u64::from(!out.push(from, answer, length));
    }

    /// What an order of a session at `from` has to carry.
    fn cookie(&self, from: SocketAddr, order: &Order) -> u64 {
        let mut context = hmac::Context::with_key(&self.secret);
        match from.ip() {
            IpAddr::V4(address) => context.update(&address.octets()),
            IpAddr::V6(address) => context.update(&address.octets()),
        }
        context.update(&from.port().to_be_bytes());
        context.update(&order.run.to_be_bytes());
        context.update(&order.session.to_be_bytes());
        let tag = context.sign();
        // A cookie of 0 would be that of a caller who has none.
        let first = tag.as_ref().first_chunk().copied().map(u64::from_be_bytes);
        first.unwrap_or(1).max(1)
    }

    fn obey(&mut self, now: u64, from: SocketAddr, order: &Order) -> Reply {
        let name = Name {
            run: order.run,
            session: order.session,
        };
        let Some(session) = self.sessions.admit(now, from, name) else {
            self.seen.refused_sessions += 1;
            return Reply::Refused(Refusal::Sessions);
        };
        session.heard = now;
        session.address = from;
        // Sent again because the answer was lost: done once, answered twice.
        if let Some((number, reply)) = session.order
            && number == order.number
            && order.ask != Ask::Counts
        {
            return reply;
        }
        let reply = match order.ask {
            Ask::Counts => Reply::Counts(Counts {
                socket_drops: self.socket_drops,
                ..session.counts()
            }),
            Ask::Stop => {
                self.stop(name);
                Reply::Accepted
            }
            Ask::Send(stream) => {
                self.stop(name);
                match self.send(now, from, name, stream) {
                    Ok(()) => Reply::Accepted,
                    Err(refusal) => Reply::Refused(refusal),
                }
            }
        };
        if let Some(session) = self.sessions.get_mut(name) {
            session.order = Some((order.number, reply));
        }
        reply
    }

    fn stop(&mut self, name: Name) {
        let Some(session) = self.sessions.get_mut(name) else {
            return;
        };
        if let Some(sending) = session.down.sending.take() {
            self.rate -= sending.rate();
            session.down.generation = session.down.generation.wrapping_add(1);
            if sending.is_unpaced() {
                self.unpaced.retain(|it| *it != name);
            }
        }
    }

    fn send(
        &mut self,
        now: u64,
        from: SocketAddr,
        name: Name,
        stream: Stream,
    ) -> Result<(), Refusal> {
        let longest = u128::from(stream.duration_ms) > PHASE_MAX.as_millis();
        if stream.duration_ms == 0 || longest || stream.size.is_some_and(|it| it > PACKET_MAX) {
            return Err(Refusal::Stream);
        }
        let sending = Sending::new(stream, now);
        if self.rate + sending.rate() > self.bounds.rate {
            return Err(Refusal::Rate);
        }
        let Some(session) = self.sessions.get_mut(name) else {
            return Err(Refusal::Sessions);
        };
        session.address = from;
        session.down.sending = Some(sending);
        self.rate += sending.rate();
        if sending.is_unpaced() {
            self.unpaced.push(name);
        } else {
            self.due.push(Reverse((now, name, session.down.generation)));
        }
        Ok(())
    }

    /// When something is to be sent; `None` if nothing is until the next order.
    pub(super) fn next(&self, now: u64) -> Option<u64> {
        if !self.unpaced.is_empty() {
            return Some(now);
        }
        self.due.peek().map(|Reverse((due, ..))| *due)
    }

    /// Puts what is due at `now` into `out`, as long as there is room.
    pub(super) fn send_due(&mut self, now: u64, out: &mut Outbox) {
        while !out.is_full()
            && let Some(Reverse((due, name, generation))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            self.send_one(now, name, Some(generation), out);
        }
        // Each in its turn, so that none is first all the time.
        for _ in 0..Outbox::CAPACITY {
            if out.is_full() || self.unpaced.is_empty() {
                break;
            }
            self.turn = (self.turn + 1) % self.unpaced.len();
            if let Some(name) = self.unpaced.get(self.turn).copied() {
                let sending = self.sessions.get_mut(name).and_then(|it| it.down.sending);
                let run = sending.map_or(1, |sending| sending.run());
                for _ in 0..run.min(out.room()) {
                    self.send_one(now, name, None, out);
                }
            }
        }
    }

    fn send_one(&mut self, now: u64, name: Name, generation: Option<u32>, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(name) else {
            return;
        };
        let down = &mut session.down;
        if generation.is_some_and(|it| it != down.generation) {
            return;
        }
        let Some(sending) = &mut down.sending else {
            return;
        };
        let Some(due) = sending.next(now) else {
            self.stop(name);
            return;
        };
        let address = session.address.ip().to_canonical();
        let size = sending.size(name.session).max(least_length(address));
        sending.pass();
        if now.saturating_sub(due) > BEHIND_MAX {
            down.missed += 1;
        } else {
            let payload = Payload {
                run: name.run,
                session: name.session,
                flow: Flow::Down,
                sequence: down.packets,
                intended: due,
            };
            let mut head = [0; Payload::LENGTH];
            if payload.write(&mut head).is_ok()
                && out.push(session.address, &head, size - headers(address))
            {
                down.packets += 1;
                down.bytes += size as u64;
                self.seen.lateness.record(now.saturating_sub(due));
            }
        }
        if !sending.is_unpaced() {
            match sending.next(now) {
                Some(next) => self.due.push(Reverse((next, name, down.generation))),
                None => self.stop(name),
            }
        }
    }

    /// What there is to tell: apart from the sessions, and of each of them with the packets that it sent as
    /// far as is known.
    pub(super) fn finish(mut self) -> (Seen, Vec<(Name, u64, Counts)>) {
        let (forgotten, sessions) = self.sessions.finish();
        self.seen.forgotten = forgotten;
        (self.seen, sessions)
    }
}

/// What is due longer than this is not sent any more: a host that is too slow should not go on for ever.
const BEHIND_MAX: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
