//! The LAN host is told datagrams and times, and looked at.

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
    assert_eq!(host.next(0), None);
    assert!(host.finish().1.is_empty());
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
    for (size, in_turn) in [(None, 1), (Some(1_400), 32)] {
        let mut host = host(&[], 10, 0.0);
        for session in 1..=3 {
            let name = Name { run: 7, session };
            host.sessions.admit(0, client(), name).unwrap();
            let stream = Stream {
                size,
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
            assert!(count.abs_diff(sent.len() / 3) <= in_turn, "{count}");
        }
        // A mix comes from another in each packet, bulk in runs.
        let sessions = sent.chunk_by(|one, next| one.0.session == next.0.session);
        let longest = sessions.take(3).map(<[_]>::len).max();
        assert_eq!(longest, Some(in_turn));
        assert_eq!(host.next(0), None);
    }
}

#[test]
fn a_host_that_was_stopped_leaves_out_what_is_long_due() {
    let mut host = host(&[], 10, 1e6);
    let name = Name { run: 7, session: 1 };
    host.sessions.admit(0, client(), name).unwrap();
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
    let down = &host.sessions.get_mut(name).unwrap().down;
    assert_eq!((down.packets, down.missed), (11, 20));
    assert_eq!(host.seen.lateness.count(), 11);
}
