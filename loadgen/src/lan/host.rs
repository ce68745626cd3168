//! The LAN host without its socket: what it does with a datagram, and what it sends at which time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use ipnet::IpNet;
use ringway::random::Random;

use super::order::{Answer, Ask, Counts, Order, Refusal, Reply, Stream};
use super::outbox::Outbox;
use super::stream::Sending;
use crate::arrivals::{Arrival, Arrivals};
use crate::limits::{PACKET_MAX, PHASE_MAX};
use crate::payload::{Flow, Payload, headers, least_length};
use crate::result::Durations;

/// One thread's sessions and streams.
#[derive(Debug)]
pub(super) struct Host {
    bounds: Bounds,
    secret: hmac::Key,
    sessions: HashMap<Name, Session>,
    /// Streams with a rate, by when their next packet is due.
    due: BinaryHeap<Reverse<(u64, Name, u32)>>,
    /// Sessions with a stream without a rate, each in its turn.
    unpaced: Vec<Name>,
    turn: usize,
    /// Packets a second of all streams that have a rate.
    rate: f64,
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

/// A session of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) run: u32,
    pub(super) session: u32,
}

/// What is known of a session.
#[derive(Debug)]
struct Session {
    /// Where its orders come from.
    address: SocketAddr,
    arrivals: Arrivals,
    up_bytes: u64,
    echoes: u64,
    down: Down,
    /// The number of its last order, and what was answered.
    order: Option<(u32, Reply)>,
    heard: u64,
}

/// What is sent to a session.
#[derive(Debug, Default)]
struct Down {
    sending: Option<Sending>,
    /// Grows with each stream, so that what is due of the one before is passed over.
    generation: u32,
    packets: u64,
    bytes: u64,
    missed: u64,
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
    pub(super) forgotten: HashMap<u32, Forgotten>,
}

/// Sessions that are not known one by one any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) sessions: u64,
    pub(super) counts: Counts,
    pub(super) highest: u64,
}

impl Host {
    pub(super) fn new(bounds: Bounds, random: &mut dyn Random) -> Self {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        Self {
            bounds,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            sessions: HashMap::new(),
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
        let Some(session) = self.session(now, from, name) else {
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
        let Some(session) = self.session(now, from, name) else {
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
            Ask::Counts => Reply::Counts(session.counts()),
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
        if let Some(session) = self.sessions.get_mut(&name) {
            session.order = Some((order.number, reply));
        }
        reply
    }

    fn stop(&mut self, name: Name) {
        let Some(session) = self.sessions.get_mut(&name) else {
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
        let Some(session) = self.sessions.get_mut(&name) else {
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
                self.send_one(now, name, None, out);
            }
        }
    }

    fn send_one(&mut self, now: u64, name: Name, generation: Option<u32>, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(&name) else {
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

    /// The session, or a new one if there is room.
    fn session(&mut self, now: u64, from: SocketAddr, name: Name) -> Option<&mut Session> {
        if !self.sessions.contains_key(&name) {
            if self.sessions.len() >= self.bounds.sessions {
                self.forget_silent(now);
            }
            if self.sessions.len() >= self.bounds.sessions {
                return None;
            }
        }
        Some(self.sessions.entry(name).or_insert_with(|| Session {
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
        let seen = &mut self.seen.forgotten;
        self.sessions.retain(|name, session| {
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

    /// What there is to tell: apart from the sessions, and of each of them with the packets that it sent as
    /// far as is known.
    pub(super) fn finish(self) -> (Seen, Vec<(Name, u64, Counts)>) {
        let sessions = self.sessions.iter();
        let counts = sessions
            .map(|(name, it)| (*name, it.arrivals.delivery(None).sent, it.counts()))
            .collect();
        (self.seen, counts)
    }
}

impl Session {
    fn counts(&self) -> Counts {
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
        }
    }
}

/// What is due longer than this is not sent any more: a host that is too slow should not go on for ever.
const BEHIND_MAX: u64 = 1_000_000_000;
/// A session that said nothing for so long makes room for others.
const SILENCE: u64 = 30_000_000_000;
/// Runs whose forgotten sessions are counted apart.
const RUNS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use ringway::random::SeededRandom;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn host(clients: &[&str], sessions: usize, rate: f64) -> Host {
        let bounds = Bounds {
            clients: clients.iter().map(|it| it.parse().unwrap()).collect(),
            sessions,
            rate,
        };
        Host::new(bounds, &mut SeededRandom::new(1))
    }

    fn client() -> SocketAddr {
        "10.8.0.2:40000".parse().unwrap()
    }

    fn payload(flow: Flow, session: u32, sequence: u64) -> Payload {
        Payload {
            run: 7,
            session,
            flow,
            sequence,
            intended: 99,
        }
    }

    fn bytes(payload: Payload, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        payload.write(&mut out).unwrap();
        out
    }

    fn order(ask: Ask, number: u32, cookie: u64) -> [u8; Order::LENGTH] {
        let (run, session) = (7, 1);
        Order {
            run,
            session,
            number,
            cookie,
            ask,
        }
        .write()
    }

    /// What the host says to `datagram`.
    fn say(host: &mut Host, now: u64, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Outbox::new();
        host.handle(now, from, datagram, &mut out);
        let all = out.iter().map(|(to, bytes)| {
            assert_eq!(to, from);
            bytes.to_vec()
        });
        all.collect()
    }

    fn reply(said: &[Vec<u8>]) -> Reply {
        Answer::read(&said[0]).unwrap().reply
    }

    fn cookie(host: &mut Host, from: SocketAddr) -> u64 {
        match reply(&say(host, 0, from, &order(Ask::Counts, 0, 0))) {
            Reply::Challenge { cookie } => cookie,
            other => panic!("{other:?}"),
        }
    }

    fn stream(size: Option<u16>, rate: u64, duration_ms: u32) -> Ask {
        Ask::Send(Stream {
            size,
            rate_milli: rate * 1000,
            duration_ms,
        })
    }

    /// Lets time go on until `end`, a millisecond at a time, and gives back what was sent.
    fn run(host: &mut Host, end: u64) -> Vec<(Payload, usize)> {
        let mut sent = Vec::new();
        for now in (0..=end).step_by(1_000_000) {
            let mut out = Outbox::new();
            host.send_due(now, &mut out);
            sent.extend(out.iter().map(|(to, bytes)| {
                assert_eq!(to, client());
                (Payload::read(bytes).unwrap(), bytes.len())
            }));
        }
        sent
    }

    #[test]
    fn requests_are_echoed_and_packets_counted() {
        let mut host = host(&["10.8.0.0/24"], 10, 0.0);
        let request = bytes(payload(Flow::EchoRequest, 1, 4), 100);
        let said = say(&mut host, 0, client(), &request);
        let expected = bytes(payload(Flow::EchoReply, 1, 4), 100);
        assert_eq!(said, [expected]);
        for sequence in [0, 1, 3, 2, 2, 9] {
            let said = say(
                &mut host,
                0,
                client(),
                &bytes(payload(Flow::Up, 1, sequence), 72),
            );
            assert!(said.is_empty());
        }
        let (seen, sessions) = host.finish();
        let expected = Counts {
            received: 5,
            bytes: 500,
            duplicated: 1,
            reordered: 1,
            echoes: 1,
            ..Counts::default()
        };
        let name = Name { run: 7, session: 1 };
        assert_eq!(sessions, [(name, 10, expected)]);
        assert_eq!(seen, Seen::default());
    }

    #[test]
    fn strangers_get_nothing() {
        let mut host = host(&["10.8.0.0/24", "fd00::/64"], 10, 0.0);
        let request = bytes(payload(Flow::EchoRequest, 1, 4), 100);
        for (from, answers) in [
            ("10.8.1.2:1", 0),
            ("192.0.2.1:1", 0),
            ("[fd00:0:0:1::1]:1", 0),
            ("10.8.0.77:1", 1),
            ("[::ffff:10.8.0.77]:1", 1),
            ("[fd00::1]:1", 1),
        ] {
            let said = say(&mut host, 0, from.parse().unwrap(), &request);
            assert_eq!(said.len(), answers, "{from}");
        }
        for strange in [
            &b""[..],
            b"hello",
            &bytes(payload(Flow::Down, 1, 0), 50),
            &bytes(payload(Flow::EchoReply, 1, 0), 50),
        ] {
            assert!(say(&mut host, 0, client(), strange).is_empty());
        }
        assert_eq!((host.seen.refused_addresses, host.seen.strange), (3, 4));
    }

    #[test]
    fn nothing_is_sent_to_whom_has_no_cookie() {
        let mut host = host(&[], 10, 1e6);
        let cookie = cookie(&mut host, client());
        let other: SocketAddr = "10.8.0.3:40000".parse().unwrap();
        let ask = stream(Some(1400), 1000, 1000);
        for (from, with) in [(client(), 0), (client(), cookie ^ 1), (other, cookie)] {
            let said = say(&mut host, 0, from, &order(ask, 1, with));
            assert!(matches!(reply(&said), Reply::Challenge { .. }));
            assert!(said[0].len() < Order::LENGTH);
        }
        assert!(host.sessions.is_empty());
        assert_eq!(host.next(0), None);
    }

    #[test]
    fn a_stream_has_its_rate_its_length_and_its_numbers() {
        let mut host = host(&[], 10, 1e6);
        let cookie = cookie(&mut host, client());
        let ask = stream(Some(1000), 500, 2000);
        let said = say(&mut host, 0, client(), &order(ask, 1, cookie));
        assert_eq!(reply(&said), Reply::Accepted);
        // The answer was lost: the same order again is no second stream.
        let said = say(&mut host, 5, client(), &order(ask, 1, cookie));
        assert_eq!(reply(&said), Reply::Accepted);
        assert_eq!(host.next(0), Some(0));
        let sent = run(&mut host, 5 * SECOND);
        assert_eq!(sent.len(), 1000);
        for (index, (payload, length)) in sent.iter().enumerate() {
            assert_eq!((payload.sequence, *length), (index as u64, 972));
            assert_eq!(payload.intended, index as u64 * 2_000_000);
        }
        assert_eq!((host.next(0), host.rate), (None, 0.0));
        let said = say(&mut host, 0, client(), &order(Ask::Counts, 2, cookie));
        let Reply::Counts(counts) = reply(&said) else {
            panic!("{said:?}");
        };
        assert_eq!((counts.down_packets, counts.down_bytes), (1000, 1_000_000));
        assert_eq!(counts.down_missed, 0);
    }

    #[test]
    fn orders_beyond_the_bounds_are_refused() {
        let mut host = host(&[], 1, 1000.0);
        let cookie = cookie(&mut host, client());
        for (number, ask, expected) in [
            (
                1,
                stream(Some(100), 1001, 1000),
                Reply::Refused(Refusal::Rate),
            ),
            (
                2,
                stream(Some(100), 1000, 0),
                Reply::Refused(Refusal::Stream),
            ),
            (
                3,
                stream(Some(9001), 1000, 1),
                Reply::Refused(Refusal::Stream),
            ),
            (
                4,
                stream(None, 1, u32::MAX),
                Reply::Refused(Refusal::Stream),
            ),
            (5, stream(Some(100), 1000, 1000), Reply::Accepted),
            // Instead of the one before, not beside it.
            (6, stream(None, 900, 1000), Reply::Accepted),
            (7, Ask::Stop, Reply::Accepted),
        ] {
            let said = say(&mut host, 0, client(), &order(ask, number, cookie));
            assert_eq!(reply(&said), expected, "{ask:?}");
        }
        assert_eq!(run(&mut host, SECOND), []);
        let said = say(&mut host, 0, client(), &bytes(payload(Flow::Up, 2, 0), 60));
        assert!(said.is_empty());
        assert_eq!(host.seen.refused_sessions, 1);
    }

    #[test]
    fn silent_sessions_make_room_and_stay_counted() {
        let mut host = host(&[], 2, 0.0);
        for (now, session, sequence) in [
            (0, 1, 3),
            (1, 2, 0),
            (31 * SECOND, 2, 1),
            (32 * SECOND, 3, 0),
        ] {
            let packet = bytes(payload(Flow::Up, session, sequence), 60);
            say(&mut host, now, client(), &packet);
        }
        let (seen, mut sessions) = host.finish();
        sessions.sort_unstable_by_key(|(name, ..)| *name);
        let names: Vec<_> = sessions.iter().map(|(name, ..)| name.session).collect();
        assert_eq!((names, seen.refused_sessions), (vec![2, 3], 0));
        let forgotten = seen.forgotten[&7];
        assert_eq!((forgotten.sessions, forgotten.counts.received), (1, 1));
        assert_eq!(forgotten.highest, 4);
    }

    #[test]
    fn streams_without_a_rate_share_until_they_are_over() {
        let mut host = host(&[], 10, 0.0);
        for session in 1..=3 {
            let name = Name { run: 7, session };
            host.session(0, client(), name).unwrap();
            let stream = Stream {
                size: None,
                rate_milli: 0,
                duration_ms: 2,
            };
            host.send(0, client(), name, stream).unwrap();
        }
        let sent = run(&mut host, 10_000_000);
        // At 0 and 1 ms as many as there is room for, shared evenly; at 2 ms they are over.
        assert_eq!(sent.len(), 2 * Outbox::CAPACITY);
        for session in 1..=3 {
            let count = sent.iter().filter(|it| it.0.session == session).count();
            assert!(count.abs_diff(sent.len() / 3) <= 1, "{count}");
        }
        assert_eq!(host.next(0), None);
    }

    #[test]
    fn a_host_that_was_stopped_leaves_out_what_is_long_due() {
        let mut host = host(&[], 10, 1e6);
        let name = Name { run: 7, session: 1 };
        host.session(0, client(), name).unwrap();
        let stream = Stream {
            size: Some(200),
            rate_milli: 10_000,
            duration_ms: 4_000,
        };
        host.send(0, client(), name, stream).unwrap();
        let mut out = Outbox::new();
        host.send_due(3 * SECOND, &mut out);
        // Of 31 that are due those of the last second, with both ends.
        assert_eq!(out.iter().count(), 11);
        let down = &host.sessions[&name].down;
        assert_eq!((down.packets, down.missed), (11, 20));
        assert_eq!(host.seen.lateness.count(), 11);
    }
}
