//! tls-crypt-v2: clients with keys of their own, at a server that remembers none of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::{
    Metadata, ReplayStamp, Role, StaticKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey, WrapError,
    WrapKind, Wrapping,
};
use ringway::limits::WRAPPED_KEY_MAX;
use ringway::random::SeededRandom;
use ringway::session::{
    ClientKeyRules, ControlDrop, Greeting, OpenVpn2, SessionEvent, SessionSettings,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{ControlBody, ControlHeader, KeyId, Malformed, Opcode, SessionId};

use crate::pair::{
    Pair, V2_6, Wrap, address, client, cookie, count, server, transmits, wall, wrapping,
};

const CLIENT: SessionId = SessionId([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
const YEAR: u64 = 365 * 24 * 3_600;

fn server_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

fn client_key(seed: u64, metadata: &Metadata) -> TlsCryptV2ClientKey {
    let mut random = SeededRandom::new(seed);
    TlsCryptV2ClientKey::generate(&server_key(), metadata, &mut random).expect("short metadata")
}

fn rules() -> ClientKeyRules {
    ClientKeyRules {
        key: server_key(),
        without_cookie: true,
        max_age: None,
        keeps_metadata: false,
    }
}

/// Both sides of a session with such a key. The client's sealed key is as long as one can be.
fn pair() -> Pair {
    let metadata = Metadata::User(vec![7; Metadata::USER_MAX]);
    let key = client_key(5, &metadata);
    assert_eq!(key.sealed().len(), WRAPPED_KEY_MAX);
    let client = SessionSettings {
        wrapping: Arc::new(Wrapping::tls_crypt_v2(&key)),
        static_key: Some(key.key().clone()),
        ..client(Wrap::Plain, V2_6)
    };
    let pair = Pair::new(client, server(Wrap::Plain));
    let door = pair.door.with_client_keys(Arc::new(rules()));
    Pair { door, ..pair }
}

fn opcodes(pair: &Pair, of_client: bool) -> Vec<u8> {
    let tape = pair.tape.iter().filter(|(client, _)| *client == of_client);
    tape.map(|(_, datagram)| datagram[0] >> 3).collect()
}

#[test]
fn a_client_brings_its_key_twice_and_the_server_keeps_none_until_then() {
    let mut pair = pair();
    let first = pair.intercept_client().remove(0);
    assert_eq!(first.len(), 54 + WRAPPED_KEY_MAX);
    assert_eq!((first[0], &first[9..13]), (0x50, &[0x0f, 0, 0, 1][..]));
    pair.deliver_to_server(&first).expect("answered");
    assert!(pair.server.is_none(), "an answer is no state");
    let third = pair.intercept_client().remove(0);
    assert_eq!((third[0], &third[9..13]), (0x58, &[0x0f, 0, 0, 2][..]));
    assert!(third.len() > 54 + WRAPPED_KEY_MAX, "TLS begins in it");
    pair.deliver_to_server(&third).expect("taken");
    pair.settle();
    pair.pass(Duration::from_secs(2));
    assert!(pair.client.is_connected(), "{:?}", pair.client_events);
    assert!(pair.server().is_connected(), "{:?}", pair.server_events);
    let with_key = |opcode: &&u8| matches!(**opcode, 10 | 11);
    assert_eq!(opcodes(&pair, true).iter().filter(with_key).count(), 0);
}

/// Dynamic tls-crypt mixes the client's own key in: the two sides agree on which that is.
#[test]
fn keys_are_renewed_under_the_clients_own_key() {
    let mut pair = pair();
    pair.settle();
    pair.pass(Duration::from_secs(2));
    for round in 1..=3 {
        let now = pair.wall();
        pair.client.renegotiate_soon(now);
        pair.pass(Duration::from_secs(90));
        let renewed = |event: &SessionEvent| matches!(event, SessionEvent::Renegotiated { .. });
        assert_eq!(count(&pair.client_events, renewed), round);
        assert_eq!(count(&pair.server_events, renewed), round);
        pair.server_hears_data(KeyId::from_low_bits(round as u8));
    }
}

/// Every packet of the client's beginning is lost once, also the one that the server asks for.
#[test]
fn a_lost_packet_is_repeated_with_the_key_behind_it() {
    let mut pair = pair();
    let mut lost = Vec::new();
    for _ in 0..2 {
        lost.push(pair.intercept_client().remove(0));
        pair.now = pair.client.next_timeout().expect("it repeats");
        let repeated = pair.intercept_client().remove(0);
        let before = lost.last().expect("one");
        assert_eq!((repeated[0], repeated.len()), (before[0], before.len()));
        assert_ne!(repeated[9..13], before[9..13], "sealed anew");
        pair.deliver_to_server(&repeated).expect("taken");
    }
    assert_eq!([lost[0][0], lost[1][0]], [0x50, 0x58]);
    pair.settle();
    pair.pass(Duration::from_secs(10));
    assert!(pair.server().is_connected(), "{:?}", pair.server_events);
    // What was lost comes late: with its key, which the session takes off, and is no harm.
    for late in lost {
        let _ = pair.deliver_to_server(&late);
    }
    pair.pass(Duration::from_secs(2));
    assert!(pair.server().is_connected());
}

/// A server that does not ask gets the key once; one that asks with a broken list is not heard.
#[test]
fn the_servers_answer_is_read_with_care() {
    for (payload, verdict) in [
        (&[][..], Some(0x20)),
        (&[0, 1, 0, 2, 0, 0], Some(0x20)),
        (&[0, 1, 0, 2, 0, 1], Some(0x58)),
        (&[0, 7, 0, 1, 9, 0, 1, 0, 2, 0, 1], Some(0x58)),
        (&[0, 1, 0, 2, 0], None),
        (&[0, 1, 0, 9, 0, 1], None),
    ] {
        let mut pair = pair();
        let first = pair.intercept_client().remove(0);
        let local = SessionId(*first[1..].first_chunk().expect("long enough"));
        let key = client_key(5, &Metadata::User(Vec::new()));
        let header = ControlHeader {
            opcode: Opcode::HardResetServerV2,
            key_id: KeyId::FIRST,
            session_id: SessionId([9; 8]),
        };
        let mut body = Vec::new();
        ControlBody {
            acks: std::iter::once(0).collect(),
            remote: Some(local),
            message_id: Some(0),
            payload,
        }
        .emit(&mut body);
        let wrapping = Wrapping::tls_crypt(key.key(), Role::Server);
        let mut answer = Vec::new();
        wrapping.seal_with(ReplayStamp { id: 1, time: 1 }, header, &body, &mut answer);
        let taken = pair.deliver_to_client(&answer);
        let next = pair.intercept_client().first().map(|it| it[0]);
        assert_eq!((taken.is_ok(), next), (verdict.is_some(), verdict));
    }
}

/// A door with client keys, and a client by hand.
struct Stand {
    door: OpenVpn2,
    random: SeededRandom,
    now: Now,
    /// 0x0f000000 for a client that negotiates early, 0 for one before 2.6.
    replay_id: u32,
}

const EARLY: u32 = 0x0f00_0000;

impl Stand {
    fn new(wrap: Wrap, rules: ClientKeyRules) -> Self {
        let mut random = SeededRandom::new(3);
        let cookie = cookie(&mut random);
        let door = OpenVpn2::new(Arc::new(server(wrap)), cookie, &mut random);
        Self {
            door: door.with_client_keys(Arc::new(rules)),
            random,
            now: wall(Monotonic::from_nanos(1_000_000_000_000)),
            replay_id: EARLY,
        }
    }

    /// A packet wrapped with `key`, and `sealed` behind it.
    fn packet(
        &mut self,
        opcode: Opcode,
        key: &StaticKey,
        sealed: &[u8],
        cookie: Option<SessionId>,
    ) -> Vec<u8> {
        let wrapping = Wrapping::tls_crypt(key, Role::Client);
        let mut datagram = self.wrapped(opcode, &wrapping, cookie);
        datagram.extend_from_slice(sealed);
        datagram
    }

    fn wrapped(
        &mut self,
        opcode: Opcode,
        wrapping: &Wrapping,
        cookie: Option<SessionId>,
    ) -> Vec<u8> {
        self.replay_id += 1;
        let stamp = ReplayStamp {
            id: self.replay_id,
            time: self.now.unix as u32,
        };
        let header = ControlHeader {
            opcode,
            key_id: KeyId::FIRST,
            session_id: CLIENT,
        };
        let mut body = Vec::new();
        ControlBody {
            acks: cookie.iter().map(|_| 0).collect(),
            remote: cookie,
            message_id: Some(u32::from(!opcode.is_hard_reset())),
            payload: &[],
        }
        .emit(&mut body);
        let mut datagram = Vec::new();
        wrapping.seal_with(stamp, header, &body, &mut datagram);
        datagram
    }

    fn greet_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<Met, ControlDrop> {
        let (mut answer, now) = (Vec::new(), self.now);
        let greeting = self
            .door
            .greet(now, &mut self.random, from, datagram, &mut answer)?;
        Ok(match greeting {
            Greeting::Answer => Met::Answer(answer),
            Greeting::Session(mut session) => {
                let mut copy = datagram.to_vec();
                let heard = session.handle_datagram(now, &mut self.random, &mut copy);
                heard.expect("the session takes its first packet");
                Met::Session(transmits(&mut session, now))
            }
        })
    }

    fn greet(&mut self, datagram: &[u8]) -> Result<Met, ControlDrop> {
        self.greet_from(address(), datagram)
    }
}

/// What a greeting came to.
#[derive(Debug)]
enum Met {
    Answer(Vec<u8>),
    /// With what the session says at once.
    Session(Vec<Vec<u8>>),
}

/// What an answer says to whoever has the key: its sender, and the payload of the reset.
fn read(key: &StaticKey, answer: &[u8]) -> (SessionId, Vec<u8>) {
    let mut answer = answer.to_vec();
    let opened = Wrapping::tls_crypt(key, Role::Client);
    let opened = opened.open_stateless(&mut answer).expect("authentic");
    assert_eq!(opened.header.opcode, Opcode::HardResetServerV2);
    let body = ControlBody::parse(opened.header.opcode, opened.body).expect("well-formed");
    assert_eq!(
        (body.acks.as_slice(), body.remote),
        (&[0][..], Some(CLIENT))
    );
    (opened.header.session_id, body.payload.to_vec())
}

fn user_key(seed: u64) -> TlsCryptV2ClientKey {
    client_key(seed, &Metadata::User(b"hello".to_vec()))
}

#[test]
fn the_cookie_opens_the_door_only_with_the_key_that_it_was_given_to() {
    let (key, other) = (user_key(1), user_key(2));
    let mut stand = Stand::new(Wrap::Plain, rules());
    let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
    let Ok(Met::Answer(answer)) = stand.greet(&reset) else {
        panic!("a reset is answered");
    };
    let (cookie, said) = read(key.key(), &answer);
    assert_eq!(said, [0, 1, 0, 2, 0, 1]);
    let third = |stand: &mut Stand, opcode, key: &StaticKey, sealed: &[u8], cookie| {
        let datagram = stand.packet(opcode, key, sealed, Some(cookie));
        stand.greet(&datagram)
    };
    let with_key = Opcode::ControlWkcV1;
    let crypt = ControlDrop::Wrapping(WrapError::Authentication(WrapKind::TlsCrypt));
    let wrong = SessionId(cookie.0.map(|byte| !byte));
    for (opcode, wrapped_with, sealed, cookie, verdict) in [
        (
            with_key,
            key.key(),
            key.sealed(),
            wrong,
            ControlDrop::Cookie,
        ),
        // Somebody else's key behind it, and somebody else's packet before it.
        (with_key, key.key(), other.sealed(), cookie, crypt),
        (with_key, other.key(), key.sealed(), cookie, crypt),
        // Nobody knows which key that would be.
        (
            Opcode::ControlV1,
            key.key(),
            &[],
            cookie,
            ControlDrop::Unexpected,
        ),
        (
            Opcode::AckV1,
            key.key(),
            &[],
            cookie,
            ControlDrop::Unexpected,
        ),
    ] {
        let met = third(&mut stand, opcode, wrapped_with, sealed, cookie);
        assert_eq!(met.expect_err("refused"), verdict);
    }
    let elsewhere = SocketAddr::from(([203, 0, 113, 1], 1_194));
    let datagram = stand.packet(with_key, key.key(), key.sealed(), Some(cookie));
    let met = stand.greet_from(elsewhere, &datagram);
    assert_eq!(met.expect_err("refused"), ControlDrop::Cookie);
    let met = third(&mut stand, with_key, key.key(), key.sealed(), cookie);
    let Ok(Met::Session(said)) = met else {
        panic!("a session begins");
    };
    assert_eq!(said.len(), 1, "an acknowledgement");
    // The bare acknowledgement that was lost is asked for again, with the key.
    let bare = stand.packet(with_key, key.key(), key.sealed(), None);
    let Ok(Met::Answer(again)) = stand.greet(&bare) else {
        panic!("answered again");
    };
    assert_eq!(read(key.key(), &again), (cookie, vec![0, 1, 0, 2, 0, 1]));
}

#[test]
fn keys_that_are_not_let_in() {
    let key = user_key(1);
    let mut stand = Stand::new(Wrap::Plain, rules());
    let foreign = TlsCryptV2ServerKey::generate(&mut SeededRandom::new(9));
    let strangers = foreign.seal(key.key(), &Metadata::Timestamp(1));
    let strangers = strangers.expect("short metadata");
    let unknown = ControlDrop::Wrapping(WrapError::Authentication(WrapKind::TlsCryptV2));
    let length = ControlDrop::Malformed(Malformed::Length);
    let mut zeros = key.sealed().to_vec();
    zeros.truncate(zeros.len() - 2);
    zeros.extend_from_slice(&[0, 0]);
    for (sealed, verdict) in [
        (strangers.as_slice(), unknown),
        (&[], length),
        (&zeros, length),
        (&key.sealed()[1..], unknown),
    ] {
        let reset = stand.packet(Opcode::HardResetClientV3, key.key(), sealed, None);
        let met = stand.greet(&reset).expect_err("refused");
        // With a byte less, the length at the end takes the packet's last byte.
        assert_eq!(met, verdict);
    }
}

/// Wire: beside keys of clients there may be a shared one, and never none.
#[test]
fn clients_without_a_key_of_their_own() {
    for (wrap, verdict) in [
        (Wrap::Plain, Err(ControlDrop::NoKey)),
        (Wrap::TlsAuth, Ok(())),
        (Wrap::TlsCrypt, Ok(())),
    ] {
        let mut stand = Stand::new(wrap, rules());
        stand.replay_id = 0;
        let shared = wrapping(wrap, Role::Client);
        let reset = stand.wrapped(Opcode::HardResetClientV2, &shared, None);
        assert_eq!(stand.greet(&reset).map(|_| ()), verdict, "{wrap:?}");
        let key = user_key(1);
        let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
        assert!(stand.greet(&reset).is_ok(), "{wrap:?}");
    }
    // And a listener without a key for the keys of clients takes none.
    let mut random = SeededRandom::new(3);
    let cookie = cookie(&mut random);
    let mut stand = Stand::new(Wrap::TlsCrypt, rules());
    stand.door = OpenVpn2::new(Arc::new(server(Wrap::TlsCrypt)), cookie, &mut random);
    let key = user_key(1);
    let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
    let met = stand.greet(&reset).expect_err("refused");
    assert_eq!(met, ControlDrop::Unexpected);
}

/// Wire: clients of 2.5 count their packets from 1, and send their key once.
#[test]
fn clients_before_2_6_get_a_session_at_once_or_are_shut_out() {
    let key = user_key(1);
    for (without_cookie, let_in) in [(true, true), (false, false)] {
        let rules = ClientKeyRules {
            without_cookie,
            ..rules()
        };
        let mut stand = Stand::new(Wrap::Plain, rules);
        stand.replay_id = 0;
        let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
        match stand.greet(&reset) {
            Ok(Met::Session(said)) => {
                assert!(let_in);
                let (_, list) = read(key.key(), &said[0]);
                assert_eq!((said.len(), list.len()), (1, 0));
            }
            Err(drop) => assert_eq!((let_in, drop), (false, ControlDrop::Cookie)),
            Ok(other) => panic!("{other:?}"),
        }
        // Newer ones need no such favour.
        stand.replay_id = EARLY;
        let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
        assert!(matches!(stand.greet(&reset), Ok(Met::Answer(_))));
    }
}

#[test]
fn old_keys_and_those_without_a_date_are_refused_where_that_is_asked_for() {
    let rules = || ClientKeyRules {
        max_age: Some(Duration::from_secs(YEAR)),
        ..rules()
    };
    let now = Stand::new(Wrap::Plain, rules()).now.unix;
    for (metadata, let_in) in [
        (Metadata::Timestamp(now), true),
        (Metadata::Timestamp(now - YEAR), true),
        (Metadata::Timestamp(now - YEAR - 1), false),
        (Metadata::Timestamp(now + YEAR), true),
        (Metadata::Timestamp(0), false),
        (Metadata::User(b"hello".to_vec()), false),
        (Metadata::Unknown(Vec::new()), false),
    ] {
        let key = client_key(1, &metadata);
        let mut stand = Stand::new(Wrap::Plain, rules());
        let reset = stand.packet(Opcode::HardResetClientV3, key.key(), key.sealed(), None);
        let verdict = match let_in {
            true => Ok(()),
            false => Err(ControlDrop::KeyTooOld),
        };
        assert_eq!(stand.greet(&reset).map(|_| ()), verdict, "{metadata:?}");
    }
}
