//! The reactor against the real kernel, in networks of the tests' own.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket as Client};
use std::thread;
use std::time::{Duration, Instant};

use crate::packet::{Buffer, LocalAddress, Pool};
use crate::reactor::testing::{eventually, in_own_network, run};
use crate::reactor::{
    Completion, Datagram, Family, Listen, Outgoing, QueueFull, Reactor, ReactorConfig, Refused,
    Sent, SocketId, Tun, TunConfig, TunId, UdpSocket, Waker, mailbox,
};

/// A reactor with its buffers, and what it has handed out and no test has looked at.
struct Rig {
    reactor: Reactor,
    pool: Pool,
    pending: VecDeque<Completion>,
    waker: Waker,
}

impl Rig {
    /// A reactor with all buffers lent that it can lend, and 64 more for sending.
    fn new(config: ReactorConfig) -> Self {
        let waker = Waker::new().unwrap();
        let mut reactor = Reactor::new(config, waker.clone()).unwrap();
        let mut pool =
            Pool::new(u32::try_from(config.receive_buffers + config.tun_buffers + 64).unwrap());
        for _ in 0..config.receive_buffers {
            reactor.return_receive_buffer(pool.take().unwrap()).unwrap();
        }
        for _ in 0..config.tun_buffers {
            reactor.return_tun_buffer(pool.take().unwrap()).unwrap();
        }
        Self {
            reactor,
            pool,
            pending: VecDeque::new(),
            waker,
        }
    }

    fn small() -> Self {
        Self::new(SMALL)
    }

    fn bind(&mut self, family: Family) -> (SocketId, u16) {
        let socket = UdpSocket::bind(&listen(family)).unwrap();
        let port = socket.local_address().unwrap().port();
        (self.reactor.add_socket(socket).unwrap(), port)
    }

    /// Turns once, and adds what happened to what is pending.
    fn turn(&mut self, timeout: Duration) {
        let mut out = Vec::new();
        self.reactor.turn(Some(timeout), &mut out).unwrap();
        self.pending.extend(out);
    }

    /// The next completion; a test that gets none within [`PATIENCE`] has failed.
    fn next(&mut self) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(completion) = self.pending.pop_front() {
                return completion;
            }
            self.turn(PATIENCE);
        }
        panic!("nothing happened: {:?}", self.reactor);
    }

    fn next_datagram(&mut self) -> Datagram {
        match self.next() {
            Completion::Datagram(datagram) => datagram,
            other => panic!("{other:?} is no datagram"),
        }
    }

    fn next_sent(&mut self) -> Sent {
        match self.next() {
            Completion::Sent(sent) => sent,
            other => panic!("{other:?} is no send"),
        }
    }

    fn next_tun_packet(&mut self) -> (Buffer, std::ops::Range<usize>) {
        match self.next() {
            Completion::TunPacket { buffer, range, .. } => (buffer, range),
            other => panic!("{other:?} is no packet"),
        }
    }

    /// The next write that is done, before packets that arrived meanwhile.
    fn next_tun_written(&mut self) -> (Buffer, io::Result<usize>) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let written =
                |completion: &Completion| matches!(completion, Completion::TunWritten { .. });
            let at = self.pending.iter().position(written);
            match at.and_then(|at| self.pending.remove(at)) {
                Some(Completion::TunWritten { buffer, result, .. }) => return (buffer, result),
                _ => self.turn(PATIENCE),
            }
        }
        panic!("nothing was written: {:?}", self.reactor);
    }

    /// The payload of the next datagram, whose buffer goes back.
    fn next_payload(&mut self) -> Vec<u8> {
        let datagram = self.next_datagram();
        let payload = datagram.buffer.bytes()[datagram.range].to_vec();
        self.reactor.return_receive_buffer(datagram.buffer).unwrap();
        payload
    }

    fn buffer_with(&mut self, payload: &[u8]) -> Buffer {
        let mut buffer = self.pool.take().unwrap();
        buffer.bytes_mut()[SEND_AT..SEND_AT + payload.len()].copy_from_slice(payload);
        buffer
    }

    fn send(&mut self, outgoing: &Outgoing, payload: &[u8]) {
        let buffer = self.buffer_with(payload);
        self.reactor.send(outgoing, buffer).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.reactor.counters().stale_completions, 0);
        }
    }
}

fn listen(family: Family) -> Listen {
    Listen {
        family,
        address: None,
        port: 0,
        send_buffer: 0,
        receive_buffer: 4 << 20,
        receive_offload: false,
    }
}

/// A send of `payload` as one datagram.
fn whole(socket: SocketId, to: Option<SocketAddr>, payload: &[u8]) -> Outgoing {
    Outgoing {
        socket,
        to,
        local: None,
        range: SEND_AT..SEND_AT + payload.len(),
        segment_size: payload.len(),
        token: 0,
    }
}

fn client(address: &str) -> Client {
    let client = Client::bind((address, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn received(client: &Client) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let length = client.recv(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

#[test]
fn ten_thousand_empty_datagrams_do_not_stop_a_socket() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let (_, port) = rig.bind(Family::V4);
        rig.turn(Duration::ZERO);
        let client = client("127.0.0.1");
        for _ in 0..100 {
            for _ in 0..100 {
                client.send_to(b"", ("127.0.0.1", port)).unwrap();
            }
            client.send_to(b"round", ("127.0.0.1", port)).unwrap();
            assert_eq!(rig.next_payload(), b"round");
        }
        assert_eq!(rig.reactor.counters().empty_datagrams, 10_000);
        assert_eq!(rig.reactor.counters().malformed_datagrams, 0);
        // Each ended the operation.
        assert!(rig.reactor.counters().armed >= 10_000);
    });
}

#[test]
fn a_ring_of_four_buffers_survives_a_thousand_datagrams() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            receive_buffers: 4,
            ..SMALL
        });
        let (_, port) = rig.bind(Family::V4);
        rig.turn(Duration::ZERO);
        let client = client("127.0.0.1");
        for number in 0..1000u32 {
            client
                .send_to(&number.to_be_bytes(), ("127.0.0.1", port))
                .unwrap();
        }
        let mut expected = 0u32;
        while expected < 1000 {
            // All four are out before the first comes back.
            let held: Vec<_> = (0..4).map(|_| rig.next_datagram()).collect();
            rig.turn(Duration::ZERO);
            let starved = rig.reactor.counters();
            rig.turn(Duration::ZERO);
            assert!(rig.pending.is_empty());
            // Nothing is asked of the kernel while there is no buffer to give.
            assert_eq!(rig.reactor.counters(), starved);
            for datagram in held {
                let payload = &datagram.buffer.bytes()[datagram.range.clone()];
                assert_eq!(payload, expected.to_be_bytes());
                expected += 1;
                rig.reactor.return_receive_buffer(datagram.buffer).unwrap();
            }
        }
        assert!(rig.reactor.counters().receive_starved >= 1);
        client.send_to(b"after", ("127.0.0.1", port)).unwrap();
        assert_eq!(rig.next_payload(), b"after");
        let one_more = rig.pool.take().unwrap();
        assert!(rig.reactor.return_receive_buffer(one_more).is_err());
    });
}

#[test]
fn a_full_send_queue_gives_the_buffer_back() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig { sends: 4, ..SMALL });
        let (socket, _) = rig.bind(Family::V4);
        let client = client("127.0.0.1");
        let to = client.local_addr().unwrap();
        for round in 0..3u8 {
            for number in 0..4u8 {
                let payload = [round, number];
                let mut outgoing = whole(socket, Some(to), &payload);
                outgoing.token = u64::from(number);
                rig.send(&outgoing, &payload);
            }
            assert_eq!(rig.reactor.room().0, 0);
            let buffer = rig.buffer_with(b"too many");
            let index = buffer.index();
            let (buffer, refused) = rig
                .reactor
                .send(&whole(socket, Some(to), b"too many"), buffer)
                .unwrap_err();
            assert_eq!(
                (buffer.index(), refused),
                (index, Refused::QueueFull(QueueFull))
            );
            rig.pool.give(buffer);
            for number in 0..4u8 {
                let sent = rig.next_sent();
                assert_eq!((sent.token, sent.result.unwrap()), (number.into(), 2));
                rig.pool.give(sent.buffer);
                assert_eq!(received(&client), [round, number]);
            }
        }
        assert_eq!((rig.reactor.room().0, rig.pool.free()), (4, 64));
    });
}

#[test]
fn a_full_socket_says_so_and_keeps_nobody_waiting() {
    in_own_network(|| {
        // Packets to a neighbour that never answers wait for it, and count against the socket.
        run(
            "ip",
            &[
                "link", "add", "left", "type", "veth", "peer", "name", "right",
            ],
        );
        run("ip", &["addr", "add", "10.78.0.1/24", "dev", "left"]);
        run("ip", &["link", "set", "left", "up"]);
        run("ip", &["link", "set", "right", "up"]);
        let mut rig = Rig::small();
        let mut tiny = listen(Family::V4);
        tiny.send_buffer = 1;
        let socket = UdpSocket::bind(&tiny).unwrap();
        let socket = rig.reactor.add_socket(socket).unwrap();
        let away = "10.78.0.2:1194".parse().unwrap();
        for number in 0..8u8 {
            let payload = [number; 1200];
            let mut outgoing = whole(socket, Some(away), &payload);
            outgoing.token = number.into();
            rig.send(&outgoing, &payload);
        }
        let mut refused = Vec::new();
        for number in 0..8u8 {
            let sent = rig.next_sent();
            assert_eq!(sent.token, number.into());
            match sent.result {
                Ok(length) => assert_eq!((length, refused.len()), (1200, 0), "one overtook"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert_eq!(sent.buffer.bytes()[sent.range], [number; 1200]);
                    refused.push(number);
                }
            }
        }
        assert!((1..8).contains(&refused.len()), "{refused:?}");
    });
}

#[test]
fn a_vanished_peer_does_not_stop_a_connected_socket() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let peer = client("127.0.0.1");
        let address = peer.local_addr().unwrap();
        let mut socket = UdpSocket::bind(&listen(Family::Dual)).unwrap();
        socket.connect(address).unwrap();
        let port = socket.local_address().unwrap().port();
        let socket = rig.reactor.add_socket(socket).unwrap();
        drop(peer);
        for _ in 0..3 {
            rig.turn(Duration::ZERO);
            rig.send(&whole(socket, None, b"hello?"), b"hello?");
            let sent = rig.next_sent();
            // Either the send or the receive learns of the refusal of the one before.
            if let Err(error) = sent.result {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
            rig.turn(Duration::from_millis(20));
        }
        assert!(rig.reactor.counters().receive_errors >= 1);
        let back = Client::bind(address).unwrap();
        back.send_to(b"here", ("127.0.0.1", port)).unwrap();
        let datagram = rig.next_datagram();
        assert_eq!(datagram.buffer.bytes()[datagram.range], *b"here");
        assert_eq!((datagram.socket, datagram.from), (socket, address));
    });
}

#[test]
fn a_vanished_client_does_not_stop_a_listener() {
    in_own_network(|| {
        for family in [Family::V4, Family::Dual] {
            let mut rig = Rig::small();
            let (socket, port) = rig.bind(family);
            rig.turn(Duration::ZERO);
            let gone = client("127.0.0.1").local_addr().unwrap();
            for _ in 0..10 {
                rig.send(&whole(socket, Some(gone), b"anybody?"), b"anybody?");
                assert_eq!(rig.next_sent().result.unwrap(), 8);
            }
            let other = client("127.0.0.1");
            other.send_to(b"me", ("127.0.0.1", port)).unwrap();
            assert_eq!(rig.next_payload(), b"me");
        }
    });
}

#[test]
fn replies_leave_from_the_address_that_was_asked() {
    in_own_network(|| {
        run("ip", &["addr", "add", "fd78::2/128", "dev", "lo"]);
        // The system routes a new IPv6 address a little later.
        let routes = || run("ip", &["-6", "route", "show", "table", "local"]);
        eventually(|| routes().contains("local fd78::2 dev lo"));
        for (family, asked, from) in [
            (Family::V4, "127.0.0.2", "127.0.0.1"),
            (Family::Dual, "127.0.0.2", "127.0.0.1"),
            (Family::Dual, "fd78::2", "::1"),
            (Family::V6, "fd78::2", "::1"),
            (Family::V6, "::1", "::1"),
        ] {
            let mut rig = Rig::small();
            let (socket, port) = rig.bind(family);
            let asked: IpAddr = asked.parse().unwrap();
            let client = client(from);
            // Connected, so that an answer from another address would not arrive.
            client.connect((asked, port)).unwrap();
            client.send(b"question").unwrap();
            let datagram = rig.next_datagram();
            assert_eq!(datagram.from, client.local_addr().unwrap(), "{family:?}");
            assert_eq!(datagram.segment_size, 8);
            let local = datagram.local.unwrap();
            assert_eq!((local.ip, local.interface), (asked, 1));

            let mut answer = whole(socket, Some(datagram.from), b"answer");
            answer.local = datagram.local;
            rig.send(&answer, b"answer");
            assert_eq!(rig.next_sent().result.unwrap(), 6);
            assert_eq!(received(&client), b"answer");
        }
    });
}

#[test]
fn a_link_local_client_is_answered_through_its_interface() {
    in_own_network(|| {
        run(
            "ip",
            &[
                "link", "add", "left", "type", "veth", "peer", "name", "right",
            ],
        );
        for (name, address) in [("left", "fe80::1/64"), ("right", "fe80::2/64")] {
            run("ip", &["addr", "add", address, "dev", name, "nodad"]);
            run("ip", &["link", "set", name, "up"]);
        }
        let left = interface("left");
        let mut rig = Rig::small();
        let (socket, port) = rig.bind(Family::V6);
        let client = Client::bind(format!("[fe80::2%{}]:0", interface("right"))).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .send_to(
                b"question",
                format!("[fe80::1%{}]:{port}", interface("right")),
            )
            .unwrap();
        let datagram = rig.next_datagram();
        let local = LocalAddress {
            ip: "fe80::1".parse().unwrap(),
            interface: left,
        };
        assert_eq!(datagram.local, Some(local));
        let mut answer = whole(socket, Some(datagram.from), b"answer");
        answer.local = datagram.local;
        rig.send(&answer, b"answer");
        assert_eq!(rig.next_sent().result.unwrap(), 6);
        assert_eq!(received(&client), b"answer");
    });
}

#[test]
fn a_long_range_leaves_as_equal_datagrams_and_may_arrive_as_one() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let (socket, _) = rig.bind(Family::Dual);
        let mut offloaded = listen(Family::V4);
        offloaded.receive_offload = true;
        let receiver = UdpSocket::bind(&offloaded).unwrap();
        let port = receiver.local_address().unwrap().port();
        let receiver = rig.reactor.add_socket(receiver).unwrap();
        let payload: Vec<u8> = (0..2500u32).map(|number| number.to_le_bytes()[0]).collect();

        let client = client("127.0.0.1");
        let mut outgoing = whole(socket, client.local_addr().ok(), &payload);
        outgoing.segment_size = 1000;
        rig.send(&outgoing, &payload);
        assert_eq!(rig.next_sent().result.unwrap(), 2500);
        for segment in payload.chunks(1000) {
            assert_eq!(received(&client), segment);
        }

        outgoing.to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        rig.send(&outgoing, &payload);
        let (mut sent, mut arrived) = (0, Vec::new());
        while sent == 0 || arrived.len() < payload.len() {
            match rig.next() {
                Completion::Sent(done) => sent += done.result.unwrap(),
                Completion::Datagram(datagram) => {
                    assert_eq!(datagram.socket, receiver);
                    // The kernel may hand over fewer at once, never segments of another length.
                    assert_eq!(datagram.segment_size, datagram.range.len().min(1000));
                    arrived.extend_from_slice(&datagram.buffer.bytes()[datagram.range]);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sent, arrived), (2500, payload));
    });
}

#[test]
fn what_cannot_be_sent_is_refused_before_the_kernel_sees_it() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let (v4, _) = rig.bind(Family::V4);
        let (v6, _) = rig.bind(Family::V6);
        let (dual, _) = rig.bind(Family::Dual);
        let to_v4: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let to_v6: SocketAddr = "[::1]:9".parse().unwrap();
        let local_v6 = LocalAddress {
            ip: "::1".parse().unwrap(),
            interface: 0,
        };
        let base = whole(dual, Some(to_v4), b"abc");
        let end = crate::limits::BUFFER_SIZE;
        for (outgoing, expected) in [
            (
                Outgoing {
                    socket: SocketId(3),
                    ..base.clone()
                },
                Refused::Unknown,
            ),
            (
                Outgoing {
                    range: 5..5,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    range: 5..end + 1,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    segment_size: 0,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    to: None,
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v4,
                    to: Some(to_v6),
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v6,
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v4,
                    local: Some(local_v6),
                    ..base.clone()
                },
                Refused::Address,
            ),
        ] {
            let buffer = rig.pool.take().unwrap();
            let (buffer, refused) = rig.reactor.send(&outgoing, buffer).unwrap_err();
            assert_eq!(refused, expected, "{outgoing:?}");
            rig.pool.give(buffer);
        }
        let buffer = rig.pool.take().unwrap();
        let (_, refused) = rig.reactor.write_tun(TunId(0), buffer, 0..1).unwrap_err();
        assert_eq!(refused, Refused::Unknown);
        rig.turn(Duration::ZERO);
        assert!(rig.pending.is_empty());
    });
}

#[test]
fn a_packet_goes_round_through_a_tun_device() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            tun_buffers: 4,
            ..SMALL
        });
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        let client = client("10.79.0.1");
        client.connect("10.79.0.2:7").unwrap();
        rig.turn(Duration::ZERO);
        for number in 0..100u8 {
            client.send(&[number; 1000]).unwrap();
        }
        for number in 0..100u8 {
            let (mut buffer, range) = rig.next_tun_packet();
            let packet = &mut buffer.bytes_mut()[range.clone()];
            assert_eq!(packet.len(), 1028);
            assert_eq!(packet[28..], [number; 1000]);
            turn_round(packet);
            rig.reactor.write_tun(tun, buffer, range).unwrap();
            let (buffer, result) = rig.next_tun_written();
            assert_eq!(result.unwrap(), 1028);
            rig.reactor.return_tun_buffer(buffer).unwrap();
            assert_eq!(received(&client), [number; 1000]);
        }
        assert!(rig.reactor.counters().tun_starved >= 1);
    });
}

#[test]
fn a_removed_device_is_reported_once() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        let (_, port) = rig.bind(Family::V4);
        rig.turn(Duration::ZERO);
        run("ip", &["link", "del", "ringway-e"]);
        match rig.next() {
            Completion::TunLost { tun: lost, .. } => assert_eq!(lost, tun),
            other => panic!("{other:?}"),
        }
        let buffer = rig.buffer_with(&[0x45; 20]);
        rig.reactor
            .write_tun(tun, buffer, SEND_AT..SEND_AT + 20)
            .unwrap();
        match rig.next() {
            Completion::TunWritten { result, .. } => assert!(result.is_err()),
            other => panic!("{other:?}"),
        }
        client("127.0.0.1")
            .send_to(b"still", ("127.0.0.1", port))
            .unwrap();
        assert_eq!(rig.next_payload(), b"still");
    });
}

#[test]
fn a_write_to_a_device_that_is_down_fails_alone() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        run("ip", &["link", "set", "ringway-e", "down"]);
        let buffer = rig.buffer_with(&[0x45; 20]);
        let index = buffer.index();
        rig.reactor
            .write_tun(tun, buffer, SEND_AT..SEND_AT + 20)
            .unwrap();
        match rig.next() {
            Completion::TunWritten { buffer, result, .. } => {
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
                assert_eq!(buffer.index(), index);
            }
            other => panic!("{other:?}"),
        }
        run("ip", &["link", "set", "ringway-e", "up"]);
        let client = client("10.79.0.1");
        client.send_to(b"up again", "10.79.0.2:7").unwrap();
        let (buffer, range) = rig.next_tun_packet();
        assert!(buffer.bytes()[range].ends_with(b"up again"));
    });
}

#[test]
fn no_message_waits_for_a_wake_up_that_was_swallowed() {
    const MESSAGES: usize = 20_000;
    let mut rig = Rig::small();
    let (sender, receiver) = mailbox(64, rig.waker.clone());
    let other = rig.waker.clone();
    let noise = thread::spawn(move || (0..MESSAGES).for_each(|_| other.wake()));
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut message = number;
            while let Err(refused) = sender.send(message) {
                message = refused;
                thread::yield_now();
            }
        }
        sender.sent()
    });
    let (mut expected, mut wake_ups) = (0, 0);
    while expected < MESSAGES {
        assert!(matches!(rig.next(), Completion::Woken));
        wake_ups += 1;
        while let Some(number) = receiver.take() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    noise.join().unwrap();
    assert_eq!(sending.join().unwrap(), 20_000);
    assert!(wake_ups <= 2 * MESSAGES);
}

#[test]
fn many_wake_ups_before_a_turn_are_one() {
    let mut rig = Rig::small();
    for _ in 0..2 {
        for _ in 0..1000 {
            rig.waker.wake();
        }
        rig.turn(PATIENCE);
        assert!(matches!(rig.pending.pop_front(), Some(Completion::Woken)));
        rig.turn(Duration::from_millis(5));
        assert!(rig.pending.is_empty());
    }
}

#[test]
fn a_reactor_that_goes_ends_its_operations_first() {
    in_own_network(|| {
        for round in 0..20u8 {
            let mut rig = Rig::small();
            let (socket, port) = rig.bind(Family::V4);
            rig.reactor.add_tun(tun_device()).unwrap();
            rig.turn(Duration::ZERO);
            let client = client("127.0.0.1");
            // Received and not collected, queued and not submitted, waited for.
            for _ in 0..50 {
                client.send_to(b"uncollected", ("127.0.0.1", port)).unwrap();
            }
            rig.send(&whole(socket, client.local_addr().ok(), &[round]), &[round]);
            drop(rig);
            assert_eq!(received(&client), [round], "what was queued is still sent");
            // The kernel holds a socket for as long as an operation uses it, and with it the port.
            // So does a child of another test between its fork and its exec, but not for long.
            eventually(|| Client::bind(("0.0.0.0", port)).is_ok());
            eventually(|| !run("ip", &["link"]).contains("ringway-e"));
        }
    });
}

#[test]
fn a_receive_with_much_to_do_ends_too() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            receive_buffers: 512,
            ..SMALL
        });
        let (_, port) = rig.bind(Family::V4);
        let client = client("127.0.0.1");
        for _ in 0..400 {
            client.send_to(b"flood", ("127.0.0.1", port)).unwrap();
        }
        // The kernel takes some and puts the operation aside, where a cancel does not find it.
        rig.turn(Duration::ZERO);
        assert!(rig.pending.len() < 400, "{}", rig.pending.len());
        drop(rig);
        eventually(|| Client::bind(("0.0.0.0", port)).is_ok());
    });
}

#[test]
fn a_reactor_has_the_sockets_it_was_made_for_and_no_more() {
    let mut rig = Rig::new(ReactorConfig {
        sockets: 2,
        tun_queues: 0,
        ..SMALL
    });
    assert_eq!(rig.bind(Family::V4).0.index(), 0);
    assert_eq!(rig.bind(Family::V4).0.index(), 1);
    let third = UdpSocket::bind(&listen(Family::V4)).unwrap();
    let error = rig.reactor.add_socket(third).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reactor has no place for one more socket"
    );
}

/// A device on which the system says nothing of its own accord.
fn tun_device() -> Tun {
    run("sysctl", &["-q", "net.ipv6.conf.default.disable_ipv6=1"]);
    Tun::create(&TunConfig {
        name: Some("ringway-e".to_owned()),
        ipv4: Some(("10.79.0.1".parse().unwrap(), 24)),
        mtu: Some(1500),
        ..TunConfig::default()
    })
    .unwrap()
}

/// Sends a UDP packet back to where it came from; exchanging words leaves the checksums right.
fn turn_round(packet: &mut [u8]) {
    let (source, destination) = packet[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    let (source, destination) = packet[20..24].split_at_mut(2);
    source.swap_with_slice(destination);
}

fn interface(name: &str) -> u32 {
    let shown = run("ip", &["-oneline", "link", "show", "dev", name]);
    shown.split(':').next().unwrap().parse().unwrap()
}

const SMALL: ReactorConfig = ReactorConfig {
    receive_buffers: 16,
    tun_buffers: 16,
    sends: 16,
    tun_writes: 16,
    sockets: 4,
    tun_queues: 1,
};
const SEND_AT: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);
