//! Receiving datagrams, and answering them.

use super::*;

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
            rig.turn(Duration::from_millis(20));
            // Either the send or the receive learns of the refusal of the one before.
            for completion in rig.pending.drain(..) {
                let error = match completion {
                    Completion::Sent(sent) => sent.result.err(),
                    Completion::ReceiveFailed { error, .. } => Some(error),
                    other => panic!("{other:?}"),
                };
                let kind = error.map(|error| error.kind());
                assert!(kind.is_none_or(|kind| kind == ErrorKind::ConnectionRefused));
            }
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
fn who_is_connected_to_nobody_is_told_and_goes_on() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let absent = client("127.0.0.1");
        let address = absent.local_addr().unwrap();
        drop(absent);
        let mut socket = UdpSocket::bind(&listen(Family::V4)).unwrap();
        socket.connect(address).unwrap();
        let own = socket.local_address().unwrap();
        let socket = rig.reactor.add_socket(socket).unwrap();
        rig.turn(Duration::ZERO);
        rig.send(&whole(socket, None, b"anybody?"), b"anybody?");
        assert_eq!(rig.next_sent().result.unwrap(), 8);
        match rig.next() {
            Completion::ReceiveFailed {
                socket: told,
                error,
            } => {
                assert_eq!((told, error.kind()), (socket, ErrorKind::ConnectionRefused));
            }
            other => panic!("{other:?}"),
        }
        let present = Client::bind(address).unwrap();
        present.send_to(b"here I am", own).unwrap();
        assert_eq!(rig.next_payload(), b"here I am");
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

fn interface(name: &str) -> u32 {
    let shown = run("ip", &["-oneline", "link", "show", "dev", name]);
    shown.split(':').next().unwrap().parse().unwrap()
}
