//! Strangers in great numbers, and what becomes of each kind of packet that nobody should send.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway::crypto::{ReplayStamp, Role, StaticKey, Wrapping};
use ringway::limits::{
    DROP_REPORT_INTERVAL, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE, STRANGER_LINES_PER_SOURCE,
};
use ringway::node::settings::{
    ContactLimits, Rate, Settings, ShardSettings, WrappingSettings, usable_cores,
};
use ringway::packet::DropReason;
use ringway::wire::{ControlBody, ControlHeader, KeyId, Opcode, SessionId};

use crate::client::Client;
use crate::server::{Server, in_own_process};
use crate::{reset, resident_kib, socket};

/// So many shards, more than cores, so that there are others beside the one under attack.
const SHARDS: usize = 4;

/// Strangers of a flood, with an address each.
const FLOOD: u64 = 100_000;

/// Strangers whose answers are on their way at once.
const AT_ONCE: u64 = 100;

/// Of newcomers: the places of a shard turn over several times in it.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// Honest ones that come during a flood.
const NEWCOMERS: usize = 6;

#[test]
fn more_resets_than_are_answered_are_dropped_and_told_once() {
    in_own_process(
        "strangers::more_resets_than_are_answered_are_dropped_and_told_once",
        || {
            let rate = |count| Rate {
                count,
                per: Duration::from_secs(3_600),
            };
            let server = Server::start_with(|settings| {
                settings.node.shards = ShardSettings::on(&usable_cores(), SHARDS);
                settings.contact.initial = rate(40);
            });
            let stranger = socket([127, 0, 0, 7]);
            for number in 0..1_000 {
                stranger.send(&reset(spread(number))).expect("sends");
            }
            let answers = answers_within(&stranger, Duration::from_secs(1));
            assert!((40..40 + SHARDS).contains(&answers), "{answers} answers");
            wait_for_drops(&server, DropReason::ContactBudget, 1_000 - answers as u64);
            let told = server.count_events("Contacts(Exceeded");
            assert!((1..=SHARDS).contains(&told), "{told} lines");
        },
    );
}

#[test]
fn each_packet_that_nobody_should_send_is_counted_by_its_reason() {
    in_own_process(
        "strangers::each_packet_that_nobody_should_send_is_counted_by_its_reason",
        || {
            let key = StaticKey::from_bytes(&std::array::from_fn(|place| place as u8));
            let wrapped = WrappingSettings::TlsCrypt { key: key.clone() };
            let server = Server::start_with(|settings| settings.node.wrapping = wrapped);
            let connected = |name, host| {
                let from = Ipv4Addr::new(127, 0, 0, host);
                let wrapping = Wrapping::tls_crypt(&key, Role::Client);
                let engine = server.engine(name);
                let mut client = Client::wrapped(&engine, from, wrapping, Some(key.clone()));
                assert!(client.connect() && client.echo(), "{name}");
                client
            };
            let (mut one, mut other) = (connected("one", 1), connected("other", 2));
            let stranger = socket([127, 0, 0, 9]);
            let mut expected: HashMap<DropReason, u64> = HashMap::new();
            for (row, (what, from, datagram, reason)) in
                unwanted(&key, &mut one, &mut other).into_iter().enumerate()
            {
                let times = 20 + row as u64;
                for _ in 0..times {
                    match from {
                        From::One => one.send(&datagram),
                        From::Other => other.send(&datagram),
                        From::Stranger => {
                            stranger.send(&datagram).expect(what);
                        }
                    }
                }
                *expected.entry(reason).or_default() += times;
                assert!(one.echo() && other.echo(), "after {what}");
            }
            for (reason, packets) in expected {
                wait_for_drops(&server, reason, packets);
                assert_eq!(server.dropped(reason), packets, "{reason:?}");
            }
            // Three sources, and at most three windows.
            let lines = ["StrangerRefused", "WrapRefused", "DataRefused"];
            let told: usize = lines.map(|name| server.count_events(name)).iter().sum();
            let most = 3 * 3 * STRANGER_LINES_PER_SOURCE as usize;
            assert!((3..=most).contains(&told), "{told} lines");
        },
    );
}

/// Who sends a packet.
enum From {
    One,
    Other,
    Stranger,
}

/// Packets with their sender, and why they are dropped.
fn unwanted(
    key: &StaticKey,
    one: &mut Client,
    other: &mut Client,
) -> Vec<(&'static str, From, Vec<u8>, DropReason)> {
    let crypt = |key| Wrapping::tls_crypt(key, Role::Client);
    let wrong = StaticKey::from_bytes(&[0x18; 256]);
    let begun = wrapped_reset(&crypt(key));
    let cut = begun[..30].to_vec();
    let data = one.sealed_echo();
    // It arrives, once: all others are replays.
    one.send(&data);
    let with = |place: usize, value: u8| {
        let mut changed = data.clone();
        changed[place] = value;
        changed
    };
    let others_id = other.peer_id().to_be_bytes();
    let mut crossed = data.clone();
    crossed[1..4].copy_from_slice(&others_id[1..]);
    let first = one.sent_control[1].clone();
    let last = one.sent_control.last().expect("many").clone();
    let oversized = [begun.clone(), vec![0; 2_049 - begun.len()]].concat();
    vec![
        ("empty", From::Stranger, vec![], DropReason::Empty),
        (
            "no opcode",
            From::Stranger,
            vec![0x08; 40],
            DropReason::Malformed,
        ),
        ("cut reset", From::Stranger, cut, DropReason::Malformed),
        (
            "cut data",
            From::One,
            data[..9].to_vec(),
            DropReason::Malformed,
        ),
        (
            "oversized",
            From::Stranger,
            oversized,
            DropReason::Oversized,
        ),
        (
            "another key",
            From::Stranger,
            wrapped_reset(&crypt(&wrong)),
            DropReason::ControlAuthentication,
        ),
        (
            "reflected control",
            From::One,
            one.heard_control.clone(),
            DropReason::ControlAuthentication,
        ),
        (
            "replayed control",
            From::One,
            last.clone(),
            DropReason::ControlReplay,
        ),
        (
            "another's control",
            From::Other,
            last,
            DropReason::ControlUnexpected,
        ),
        ("another's cookie", From::Other, first, DropReason::Cookie),
        ("replayed data", From::One, data.clone(), DropReason::Replay),
        (
            "reflected data",
            From::One,
            one.heard_data.clone(),
            DropReason::Authentication,
        ),
        (
            "another's data",
            From::One,
            crossed,
            DropReason::Authentication,
        ),
        (
            "changed data",
            From::One,
            with(30, !data[30]),
            DropReason::Authentication,
        ),
        (
            "nobody's data",
            From::Stranger,
            with(3, 0xee),
            DropReason::UnknownPeer,
        ),
        (
            "no such key",
            From::One,
            with(0, data[0] | 5),
            DropReason::UnknownKey,
        ),
    ]
}

fn wrapped_reset(wrapping: &Wrapping) -> Vec<u8> {
    let header = ControlHeader {
        opcode: Opcode::HardResetClientV2,
        key_id: KeyId::FIRST,
        session_id: SessionId([3; 8]),
    };
    let body = ControlBody {
        acks: std::iter::empty().collect(),
        remote: None,
        message_id: Some(0),
        payload: &[],
    };
    let stamp = ReplayStamp { id: 1, time: 1 };
    let (mut bytes, mut datagram) = (Vec::new(), Vec::new());
    body.emit(&mut bytes);
    wrapping.seal_with(stamp, header, &bytes, &mut datagram);
    datagram
}

#[test]
#[ignore = "takes a minute: scripts/test runs it"]
fn a_hundred_thousand_resets_leave_nothing_behind() {
    in_own_process(
        "strangers::a_hundred_thousand_resets_leave_nothing_behind",
        || {
            let server = Server::start_with(open_to_all);
            let mut established = established(&server, 1);
            let mut memory = Vec::new();
            for batch in 0..FLOOD / AT_ONCE {
                let sockets = sockets(batch * AT_ONCE);
                for (number, socket) in sockets.iter().enumerate() {
                    let number = batch * AT_ONCE + number as u64;
                    socket.send(&reset(spread(number))).expect("sends");
                }
                for socket in &sockets {
                    cookie(socket);
                }
                if batch % 100 == 99 {
                    assert!(flows(&mut established[0]), "after batch {batch}");
                    memory.push(resident_kib());
                }
                // A second answer to one reset would be there by now.
                for socket in sockets.iter().filter(|_| batch % 100 == 99) {
                    assert_eq!(answers_within(socket, Duration::from_millis(1)), 0);
                }
            }
            assert_eq!(server.status_rows("CLIENT_LIST,UNDEF,"), 0);
            let grown = memory[memory.len() - 1].saturating_sub(memory[1]);
            assert!(grown < 2_048, "{grown} KiB for 80,000 resets: {memory:?}");
        },
    );
}

#[test]
#[ignore = "takes minutes: scripts/test runs it"]
fn a_hundred_thousand_silent_contacts_keep_nobody_out() {
    in_own_process(
        "strangers::a_hundred_thousand_silent_contacts_keep_nobody_out",
        || under_flood(spread, SHARDS),
    );
}

#[test]
#[ignore = "takes minutes: scripts/test runs it"]
fn a_flood_aimed_at_one_shard_keeps_nobody_out_and_the_others_in_peace() {
    in_own_process(
        "strangers::a_flood_aimed_at_one_shard_keeps_nobody_out_and_the_others_in_peace",
        || under_flood(aimed, 1),
    );
}

/// Strangers answer their cookies and say nothing more, under session ids that reach so many shards.
/// Meanwhile the clients of all shards go on, and newcomers come in.
fn under_flood(session: fn(u64) -> u64, shards: usize) {
    let server = Server::start_with(open_to_all);
    let mut established = established(&server, SHARDS);
    let (enough, mut most) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        // Also ends when an assertion fails.
        let ending = Ending(&enough);
        let flood = scope.spawn(|| {
            let mut batch = 0;
            while batch < FLOOD / AT_ONCE || !enough.load(Ordering::Acquire) {
                silent_contacts(batch, session);
                batch += 1;
            }
        });
        for number in 0..NEWCOMERS {
            for client in &mut established {
                assert!(flows(client), "{} during the flood", client.address());
            }
            let name = format!("newcomer-{number}");
            let engine = server.engine(&name);
            let from = Ipv4Addr::new(127, 200, 0, 1);
            let connects = |_| Client::new(&engine, from).connect_from_afar(ROUND_TRIP);
            assert!((0..3).any(connects), "{name} is kept out");
            most = most.max(server.status_rows("CLIENT_LIST,UNDEF,"));
            assert!(!flood.is_finished(), "each stranger gets its cookie");
        }
        drop(ending);
        assert!(flood.join().is_ok(), "each stranger gets its cookie");
    });
    assert!(most <= shards * HALF_OPEN_MAX, "{most} half-open sessions");
    assert!(most > HALF_OPEN_MAX / 2, "{most} are no flood");
    wait_for_drops(&server, DropReason::HalfOpenLimit, FLOOD / 2);
    for client in &mut established {
        assert!(flows(client), "{} after the flood", client.address());
    }
    // One more flood, from one network.
    for batch in 0..10 {
        from_one_network(batch, session);
    }
    let of_network = server.status_rows("CLIENT_LIST,UNDEF,127.201.0.");
    assert!(
        (1..=HALF_OPEN_PER_SOURCE).contains(&of_network),
        "{of_network}"
    );
}

/// Ends a flood when it goes.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Strangers that answer their cookies and say nothing more.
fn silent_contacts(batch: u64, session: fn(u64) -> u64) {
    let first = batch * AT_ONCE;
    let sockets = sockets(first);
    answer_cookies(&sockets, |place| session(first + place));
}

fn from_one_network(batch: u64, session: fn(u64) -> u64) {
    let sockets: Vec<_> = (1..=AT_ONCE as u8)
        .map(|host| socket([127, 201, 0, host]))
        .collect();
    answer_cookies(&sockets, |place| session(FLOOD + batch * AT_ONCE + place));
}

fn answer_cookies(sockets: &[UdpSocket], session: impl Fn(u64) -> u64) {
    for (place, socket) in sockets.iter().enumerate() {
        let session = session(place as u64);
        socket.send(&reset(session)).expect("sends");
    }
    for (place, socket) in sockets.iter().enumerate() {
        let mut acknowledgement = vec![5 << 3];
        acknowledgement.extend_from_slice(&session(place as u64).to_be_bytes());
        acknowledgement.extend_from_slice(&[1, 0, 0, 0, 0]);
        acknowledgement.extend_from_slice(&cookie(socket));
        socket.send(&acknowledgement).expect("sends");
    }
}

/// The cookie in the answer to a reset.
fn cookie(socket: &UdpSocket) -> [u8; 8] {
    let mut answer = [0; 100];
    let length = socket.recv(&mut answer).expect("an answer to a reset");
    assert_eq!((length, answer[0]), (26, 8 << 3));
    answer[1..9].try_into().expect("eight bytes")
}

fn answers_within(socket: &UdpSocket, time: Duration) -> usize {
    socket.set_read_timeout(Some(time)).expect("sets");
    let mut bytes = [0; 100];
    std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
}

/// Whether data flows, on a machine that is busy with a flood.
fn flows(client: &mut Client) -> bool {
    (0..5).any(|_| client.echo())
}

/// Waits until at least so many were told to have been dropped.
fn wait_for_drops(server: &Server, reason: DropReason, packets: u64) {
    let deadline = Instant::now() + 3 * DROP_REPORT_INTERVAL;
    while server.dropped(reason) < packets {
        let counted = server.dropped(reason);
        assert!(
            Instant::now() < deadline,
            "{counted} of {packets} {reason:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Several shards that answer everybody.
fn open_to_all(settings: &mut Settings) {
    settings.node.shards = ShardSettings::on(&usable_cores(), SHARDS);
    settings.contact = ContactLimits {
        new_sessions: None,
        initial: Rate {
            count: u32::MAX,
            per: Duration::from_secs(1),
        },
    };
}

/// Connected clients, at least one in each of the first so many shards.
fn established(server: &Server, shards: usize) -> Vec<Client> {
    let mut clients: HashMap<usize, Client> = HashMap::new();
    for number in 0.. {
        let wanted = (0..shards).all(|shard| clients.contains_key(&shard));
        if wanted {
            break;
        }
        assert!(number < 100, "no client reaches some shard");
        let client = Client::connected(&server.engine(&format!("established-{number}")));
        clients.insert(client.peer_id() as usize % shards, client);
    }
    clients.into_values().collect()
}

/// Sockets of strangers, each with an address of its own in a network of its own.
fn sockets(first: u64) -> Vec<UdpSocket> {
    let address = |number: u64| {
        let network = [2 + number / 250 % 190, number % 250];
        let [second, third] = network.map(|byte| byte as u8);
        [127, second, third, 1 + (number / 47_500) as u8]
    };
    (first..first + AT_ONCE)
        .map(|number| socket(address(number)))
        .collect()
}

/// A session id as a random client has it.
fn spread(number: u64) -> u64 {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One of the session ids that all reach the same of four shards, whatever the random factors of this
/// process are: in either half they differ by multiples of 2^18, and bits 16 and 17 of the sum choose.
fn aimed(number: u64) -> u64 {
    let (high, low) = (number >> 14, number & 0x3fff);
    0x5678_0000_def0 | (high % 0x400) << 50 | low << 18
}
