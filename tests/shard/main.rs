//! A real node on a loopback of its own, with clients that are sessions of this library on plain
//! sockets: what a shard does with many of them, and with strangers in great numbers.
//!
//! Each test runs in a process of its own, so that a signal ends its node only, and what the
//! process uses is the node's. They need root, as the tun device does.

#![allow(clippy::expect_used)] // a test says what it expects

mod client;
mod names;
mod server;
mod strangers;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use client::Client;
use ringway::crypto::SealKey;
use ringway::limits::{DROP_REPORT_INTERVAL, HALF_OPEN_PER_SOURCE, STOP_GRACE};
use ringway::packet::DropReason;
use ringway::session::LeaveReason;
use ringway::wire::OccMessage;
use server::{Server, in_own_process};

#[test]
fn two_hundred_clients_get_an_address_and_a_peer_id_each() {
    in_own_process(
        "two_hundred_clients_get_an_address_and_a_peer_id_each",
        || {
            let server = Server::start();
            let names: Vec<_> = (0..200).map(|number| format!("client-{number}")).collect();
            let mut clients: Vec<_> = names
                .iter()
                .map(|name| Client::new(&server.engine(name), Ipv4Addr::LOCALHOST))
                .collect();
            client::connect_all(&mut clients);
            let addresses: HashSet<_> = clients.iter().map(Client::address).collect();
            let peer_ids: HashSet<_> = clients.iter().map(Client::peer_id).collect();
            assert_eq!((addresses.len(), peer_ids.len()), (200, 200));
            for client in clients.iter_mut().step_by(40) {
                assert!(client.echo(), "{} has no data path", client.address());
            }
        },
    );
}

#[test]
fn a_name_that_reconnects_ten_times_keeps_its_address() {
    in_own_process("a_name_that_reconnects_ten_times_keeps_its_address", || {
        let server = Server::start();
        let mut other = Client::connected(&server.engine("other"));
        let engine = server.engine("roamer");
        let mut former = Client::connected(&engine);
        assert_ne!(former.address(), other.address());
        for round in 0..10 {
            let mut newer = Client::connected(&engine);
            assert_eq!(newer.address(), former.address(), "round {round}");
            assert_ne!(newer.peer_id(), former.peer_id(), "round {round}");
            assert!(newer.echo(), "round {round}");
            assert!(!former.echo(), "the older session of round {round} is over");
            former = newer;
        }
        assert!(other.echo());
        assert_eq!(server.status_rows("CLIENT_LIST,roamer,"), 1);
    });
}

#[test]
fn silent_contacts_are_bounded_and_harm_nobody() {
    in_own_process("silent_contacts_are_bounded_and_harm_nobody", || {
        let server = Server::start();
        let mut established = Client::connected(&server.engine("established"));
        let mut memory = Vec::new();
        for wave in 0..2 {
            let sockets: Vec<_> = (1..=8)
                .map(|host| socket([127, 0, wave + 1, host]))
                .collect();
            for number in 0..2_500 {
                contact(
                    &sockets[number % sockets.len()],
                    number as u64,
                    &mut established,
                );
            }
            let half_open = server.status_rows("CLIENT_LIST,UNDEF,");
            // A network a wave.
            let most = HALF_OPEN_PER_SOURCE * (usize::from(wave) + 1);
            assert!((1..=most).contains(&half_open), "{half_open}");
            memory.push(resident_kib());
        }
        let grown = memory[1].saturating_sub(memory[0]);
        assert!(grown < 16 * 1024, "the second wave cost {grown} KiB");
        let honest = (0..3).any(|_| {
            let mut newcomer = Client::new(&server.engine("newcomer"), Ipv4Addr::LOCALHOST);
            newcomer.connect()
        });
        assert!(honest, "a newcomer finds a place");
        assert!(established.echo());
    });
}

#[test]
fn one_source_can_not_take_all_places() {
    in_own_process("one_source_can_not_take_all_places", || {
        let server = Server::start();
        let mut established = Client::connected(&server.engine("established"));
        let early = socket([127, 0, 9, 9]);
        contact(&early, 1, &mut established);
        let flooder = socket([127, 0, 1, 1]);
        for number in 0..1_500 {
            contact(&flooder, number, &mut established);
        }
        let of_flooder = server.status_rows("CLIENT_LIST,UNDEF,127.0.1.1");
        assert!(
            (1..=HALF_OPEN_PER_SOURCE).contains(&of_flooder),
            "{of_flooder}"
        );
        assert_eq!(server.status_rows("CLIENT_LIST,UNDEF,127.0.9.9"), 1);
        let told = server.count_events("TlsStarted");
        assert!(told < 60, "{told} lines about 1,500 newcomers");
    });
}

#[test]
fn resets_and_garbage_leave_counts_and_nothing_else() {
    in_own_process("resets_and_garbage_leave_counts_and_nothing_else", || {
        let server = Server::start();
        let mut established = Client::connected(&server.engine("established"));
        let stranger = socket([127, 0, 0, 7]);
        let before = resident_kib();
        for number in 0..20_000_u64 {
            stranger.send(&reset(number)).expect("sends");
            if number.is_multiple_of(100) {
                assert!(established.echo(), "after {number} resets");
            }
        }
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 64 * 1024, "{grown} KiB for 20,000 resets");
        assert_eq!(server.status_rows("CLIENT_LIST,UNDEF,"), 0);
        for garbage in [&[0x00_u8, 1, 2][..], &[0xff; 40], &[0x38, 1], &[0x20; 1]] {
            stranger.send(garbage).expect("sends");
        }
        let deadline = Instant::now() + 2 * DROP_REPORT_INTERVAL;
        while server.dropped(DropReason::Malformed) < 4 {
            assert!(Instant::now() < deadline, "garbage is not counted");
            established.pump(Duration::from_millis(100));
        }
        assert_eq!(server.dropped(DropReason::Malformed), 4);
    });
}

#[test]
fn a_subscriber_that_never_reads_holds_nobody_up() {
    in_own_process("a_subscriber_that_never_reads_holds_nobody_up", || {
        let server = Server::start();
        let mut early = Client::connected(&server.engine("early"));
        assert!(server.slept_through() > 5, "a connection is several events");
        let mut late = Client::connected(&server.engine("late"));
        assert!(server.slept_through() > 5);
        for client in [&mut early, &mut late] {
            assert!(client.echo());
        }
    });
}

#[test]
fn a_server_that_stops_tells_each_client_and_ends() {
    in_own_process("a_server_that_stops_tells_each_client_and_ends", || {
        let server = Server::start();
        let names: Vec<_> = (0..40).map(|number| format!("client-{number}")).collect();
        let mut clients: Vec<_> = names
            .iter()
            .map(|name| Client::new(&server.engine(name), Ipv4Addr::LOCALHOST))
            .collect();
        client::connect_all(&mut clients);
        server.ask_to_stop();
        let start = Instant::now();
        let deadline = start + 2 * STOP_GRACE;
        while Instant::now() < deadline && clients.iter().any(|client| client.left.is_none()) {
            for client in &mut clients {
                client.pump(Duration::ZERO);
            }
        }
        for client in &clients {
            assert!(
                matches!(client.left, Some(LeaveReason::RemoteRestart { .. })),
                "{:?}",
                client.left
            );
        }
        assert!(server.ended(), "in order");
        assert!(start.elapsed() < 3 * STOP_GRACE, "{:?}", start.elapsed());
    });
}

#[test]
fn a_node_that_is_dropped_leaves_nothing_behind() {
    in_own_process("a_node_that_is_dropped_leaves_nothing_behind", || {
        let node = Server::never_run();
        assert!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1194)).is_err());
        drop(node);
        assert!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1194)).is_ok());
    });
}

/// As the client of 2.6 with `mtu-test` asks, and as older ones compared options.
#[test]
fn questions_about_the_channel_are_answered() {
    in_own_process("questions_about_the_channel_are_answered", || {
        let server = Server::start();
        let mut client = Client::connected(&server.engine("alice"));
        let (_, options) = client.ask(&OccMessage::Request);
        let Some(OccMessage::Reply(options)) = OccMessage::parse(&options) else {
            panic!("{options:?}");
        };
        assert!(
            options.starts_with("V4,dev-type tun,link-mtu "),
            "{options}"
        );
        assert!(options.ends_with(",tls-server"), "{options}");
        let (length, load) = client.ask(&OccMessage::LoadRequest(1200));
        assert_eq!(length, 1200);
        assert!(matches!(
            OccMessage::parse(&load),
            Some(OccMessage::Load(_))
        ));
        // It is never larger than the tunnel's packets are.
        let (length, load) = client.ask(&OccMessage::LoadRequest(u16::MAX));
        assert_eq!((length, load.len()), (1500 + SealKey::OVERHEAD, 1500));
        let mut payload = Vec::new();
        OccMessage::Load(1000).emit(&mut payload);
        let sent = client.sealed(&payload);
        client.send(&sent);
        let (_, sizes) = client.ask(&OccMessage::SizesRequest);
        let expected = OccMessage::Sizes {
            received: sent.len() as u16,
            sent: length as u16,
        };
        assert_eq!(OccMessage::parse(&sizes), Some(expected));
        // None of it was for the tunnel.
        assert!(client.echo());
    });
}

#[test]
fn an_idle_shard_sleeps() {
    in_own_process("an_idle_shard_sleeps", || {
        let server = Server::start();
        let mut client = Client::connected(&server.engine("idle"));
        assert!(client.echo());
        let before = shard_ticks();
        std::thread::sleep(Duration::from_secs(2));
        let used = shard_ticks() - before;
        // A tick is 10 ms.
        assert!(used < 10, "{used} ticks in two idle seconds");
        assert!(client.echo(), "it wakes up");
    });
}

/// A socket at this address that reaches the server.
fn socket(address: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((address, 0))).expect("an address of lo");
    socket.connect(server::ADDRESS).expect("connects");
    let patience = Some(Duration::from_secs(2));
    socket.set_read_timeout(patience).expect("sets");
    socket
}

/// A client's first packet, in clear.
fn reset(session: u64) -> Vec<u8> {
    let mut packet = vec![7 << 3];
    packet.extend_from_slice(&session.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 0]);
    packet
}

/// Begins a session as stock does, answers the cookie, and says no more. Meanwhile data flows.
fn contact(socket: &UdpSocket, session: u64, established: &mut Client) {
    let mut answer = [0; 100];
    socket.send(&reset(session)).expect("sends");
    let length = socket.recv(&mut answer).expect("an answer to a reset");
    assert_eq!(
        (length, answer[0]),
        (26, 8 << 3),
        "{:02x?}",
        &answer[..length]
    );
    let mut acknowledgement = vec![5 << 3];
    acknowledgement.extend_from_slice(&session.to_be_bytes());
    acknowledgement.extend_from_slice(&[1, 0, 0, 0, 0]);
    acknowledgement.extend_from_slice(&answer[1..9]);
    socket.send(&acknowledgement).expect("sends");
    if session.is_multiple_of(100) {
        assert!(established.echo(), "data flows at contact {session}");
    }
}

/// Memory that this process holds.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Ticks of processor time that the shard's thread has used.
fn shard_ticks() -> u64 {
    for task in std::fs::read_dir("/proc/self/task").expect("proc is there") {
        let path = task.expect("a task").path();
        let read = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("comm").trim() == "shard-0" {
            let stat = read("stat");
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<_> = after_name.split_whitespace().collect();
            let ticks = |place: usize| fields[place].parse::<u64>().expect("a number");
            return ticks(11) + ticks(12);
        }
    }
    panic!("no thread is called shard-0")
}
