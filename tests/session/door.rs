//! First contact: every way in which a cookie can be wrong, and what a stranger can get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::{
    Digest, KeyDirection, ReplayStamp, StaticKey, WrapError, WrapKind, Wrapping,
};
use ringway::random::SeededRandom;
use ringway::session::{ContactLimits, ControlDrop, Greeting, OpenVpn2, Rate};
use ringway::time::{Monotonic, Now};
use ringway::wire::{Acks, ControlBody, ControlHeader, KeyId, Malformed, Opcode, Role, SessionId};

use crate::pair::{ALL_WRAPS, Wrap, address, cookie, server, wall, wrapping};

const CLIENT: SessionId = SessionId([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);

/// A door, and a client's way to write packets for it.
struct Stand {
    door: OpenVpn2,
    wrapping: Wrapping,
    random: SeededRandom,
    now: Now,
    replay_id: u32,
}

/// What a greeting came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// With the answer's cookie.
    Answer(SessionId),
    /// Past the door.
    Session,
    Drop(ControlDrop),
}

impl Stand {
    fn new(wrap: Wrap) -> Self {
        let mut random = SeededRandom::new(3);
        let cookie = cookie(&mut random);
        Self {
            door: OpenVpn2::new(Arc::new(server(wrap)), cookie, &mut random),
            wrapping: wrapping(wrap, Role::Client),
            random,
            now: at(1_000),
            replay_id: 0,
        }
    }

    fn with_limits(self, limits: ContactLimits, shards: u16) -> Self {
        let door = self.door.with_limits(limits, shards);
        Self { door, ..self }
    }

    fn seal(&mut self, header: ControlHeader, body: &ControlBody<'_>) -> Vec<u8> {
        self.replay_id += 1;
        let stamp = ReplayStamp {
            id: self.replay_id,
            time: self.now.unix as u32,
        };
        let (mut bytes, mut datagram) = (Vec::new(), Vec::new());
        body.emit(&mut bytes);
        self.wrapping
            .seal_with(stamp, header, &bytes, &mut datagram);
        datagram
    }

    fn reset(&mut self) -> Vec<u8> {
        let body = body(None, Some(0), &[]);
        self.seal(header(Opcode::HardResetClientV2), &body)
    }

    /// The third packet, with this cookie.
    fn third(&mut self, opcode: Opcode, client: SessionId, cookie: SessionId) -> Vec<u8> {
        let id = (opcode != Opcode::AckV1).then_some(1);
        let header = ControlHeader {
            session_id: client,
            ..header(opcode)
        };
        self.seal(header, &body(Some(cookie), id, &[]))
    }

    fn greet_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Outcome {
        let mut answer = Vec::new();
        let before = datagram.to_vec();
        let greeting = self
            .door
            .greet(self.now, &mut self.random, from, datagram, &mut answer);
        assert_eq!(before, datagram);
        match greeting {
            Ok(Greeting::Answer) => Outcome::Answer(self.cookie_in(&answer)),
            Ok(Greeting::Session(session)) => {
                assert!(answer.is_empty());
                assert!(session.is_half_open());
                Outcome::Session
            }
            Err(drop) => {
                assert!(
                    answer.is_empty(),
                    "a stranger that is dropped gets no answer"
                );
                Outcome::Drop(drop)
            }
        }
    }

    fn greet(&mut self, datagram: &[u8]) -> Outcome {
        self.greet_from(address(), datagram)
    }

    /// Checks an answer to the byte, but for the cookie that it gives.
    fn cookie_in(&self, answer: &[u8]) -> SessionId {
        let mut answer = answer.to_vec();
        let opened = self
            .wrapping
            .open_stateless(&mut answer)
            .expect("authentic");
        assert_eq!(opened.header.opcode, Opcode::HardResetServerV2);
        assert_eq!(opened.header.key_id, KeyId::FIRST);
        if let Some(stamp) = opened.replay {
            assert_eq!(stamp, ReplayStamp::first(self.now));
        }
        let body = ControlBody::parse(opened.header.opcode, opened.body).expect("well-formed");
        assert_eq!(body.acks.as_slice(), [0]);
        assert_eq!(body.remote, Some(CLIENT));
        assert_eq!((body.message_id, body.payload), (Some(0), &[][..]));
        opened.header.session_id
    }

    fn cookie(&mut self) -> SessionId {
        let reset = self.reset();
        match self.greet(&reset) {
            Outcome::Answer(cookie) => cookie,
            other => panic!("a reset is not answered but {other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = Now {
            monotonic: self.now.monotonic + Duration::from_secs(seconds),
            unix: self.now.unix + seconds,
        };
    }
}

fn header(opcode: Opcode) -> ControlHeader {
    ControlHeader {
        opcode,
        key_id: KeyId::FIRST,
        session_id: CLIENT,
    }
}

fn body(remote: Option<SessionId>, message_id: Option<u32>, payload: &[u8]) -> ControlBody<'_> {
    ControlBody {
        acks: remote.iter().map(|_| 0).collect(),
        remote,
        message_id,
        payload,
    }
}

/// The address of another stranger.
fn elsewhere(number: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, number], 1194))
}

/// So many in ten seconds.
fn rate(count: u32) -> Rate {
    let per = Duration::from_secs(10);
    Rate { count, per }
}

fn at(seconds: u64) -> Now {
    wall(Monotonic::ZERO + Duration::from_secs(seconds))
}

#[test]
fn the_right_cookie_opens_the_door_and_each_wrong_one_does_not() {
    for wrap in ALL_WRAPS {
        for opcode in [Opcode::ControlV1, Opcode::AckV1] {
            let mut stand = Stand::new(wrap);
            let cookie = stand.cookie();
            let mut wrong = vec![
                SessionId([0; 8]),
                SessionId([0xff; 8]),
                CLIENT,
                SessionId(cookie.0.map(|byte| !byte)),
                SessionId((u64::from_be_bytes(cookie.0).wrapping_add(1)).to_be_bytes()),
            ];
            wrong.extend((0..64).map(|bit| {
                let mut bytes = cookie.0;
                bytes[bit / 8] ^= 1 << (bit % 8);
                SessionId(bytes)
            }));
            for wrong in wrong {
                let third = stand.third(opcode, CLIENT, wrong);
                assert_eq!(
                    stand.greet(&third),
                    Outcome::Drop(ControlDrop::Cookie),
                    "{wrap:?} {opcode:?}: {wrong:?} for {cookie:?}"
                );
            }
            let third = stand.third(opcode, CLIENT, cookie);
            assert_eq!(stand.greet(&third), Outcome::Session, "{wrap:?} {opcode:?}");
        }
    }
}

#[test]
fn trap_25_a_cookie_is_good_for_one_address_and_one_client_only() {
    let mut stand = Stand::new(Wrap::TlsCrypt);
    let cookie = stand.cookie();
    let third = stand.third(Opcode::ControlV1, CLIENT, cookie);
    for (from, verdict) in [
        ("192.0.2.1:50000", Outcome::Session),
        ("[::ffff:192.0.2.1]:50000", Outcome::Session),
        ("192.0.2.1:50001", Outcome::Drop(ControlDrop::Cookie)),
        ("192.0.2.2:50000", Outcome::Drop(ControlDrop::Cookie)),
        ("193.0.2.1:50000", Outcome::Drop(ControlDrop::Cookie)),
        ("[2001:db8::1]:50000", Outcome::Drop(ControlDrop::Cookie)),
        ("[::192.0.2.1]:50000", Outcome::Drop(ControlDrop::Cookie)),
    ] {
        let from_address = from.parse().expect("an address");
        assert_eq!(stand.greet_from(from_address, &third), verdict, "{from}");
    }
    for bit in 0..64 {
        let mut other = CLIENT.0;
        other[bit / 8] ^= 1 << (bit % 8);
        let third = stand.third(Opcode::ControlV1, SessionId(other), cookie);
        let outcome = stand.greet(&third);
        assert_eq!(outcome, Outcome::Drop(ControlDrop::Cookie), "bit {bit}");
    }
}

#[test]
fn a_cookie_of_another_process_is_refused() {
    let (mut one, mut other) = (Stand::new(Wrap::TlsCrypt), Stand::new(Wrap::TlsCrypt));
    let mut random = SeededRandom::new(4);
    let key = cookie(&mut random);
    other.door = OpenVpn2::new(Arc::new(server(Wrap::TlsCrypt)), key, &mut random);
    let (first, second) = (one.cookie(), other.cookie());
    assert_ne!(first, second);
    let third = one.third(Opcode::ControlV1, CLIENT, first);
    assert_eq!(other.greet(&third), Outcome::Drop(ControlDrop::Cookie));
    assert_eq!(one.greet(&third), Outcome::Session);
}

#[test]
fn a_cookie_grows_old_with_the_third_slot() {
    // Slots of 30 seconds; the reset comes 10 seconds into one.
    for (after, verdict) in [
        (0, Outcome::Session),
        (19, Outcome::Session),
        (79, Outcome::Session),
        (80, Outcome::Drop(ControlDrop::Cookie)),
        (3_600, Outcome::Drop(ControlDrop::Cookie)),
    ] {
        let mut stand = Stand::new(Wrap::TlsCrypt);
        assert_eq!(stand.now.monotonic.as_nanos() / 1_000_000_000 % 30, 10);
        let cookie = stand.cookie();
        stand.pass(after);
        let third = stand.third(Opcode::AckV1, CLIENT, cookie);
        assert_eq!(stand.greet(&third), verdict, "after {after} s");
    }
}

#[test]
fn a_repeated_reset_is_answered_with_the_same_cookie_while_it_is_fresh() {
    for wrap in ALL_WRAPS {
        let mut stand = Stand::new(wrap);
        let first = stand.cookie();
        stand.pass(2);
        assert_eq!(stand.cookie(), first);
        // The next slot: the client may go on with either answer.
        stand.pass(25);
        assert_eq!(stand.cookie(), first);
        // Two slots later the old cookie would not live long enough.
        stand.pass(40);
        let second = stand.cookie();
        assert_ne!(second, first);
        let third = stand.third(Opcode::AckV1, CLIENT, second);
        assert_eq!(stand.greet(&third), Outcome::Session);
    }
}

#[test]
fn two_clients_of_one_address_get_cookies_of_their_own() {
    let mut stand = Stand::new(Wrap::Plain);
    let cookie = stand.cookie();
    let other = ControlHeader {
        session_id: SessionId([9; 8]),
        ..header(Opcode::HardResetClientV2)
    };
    let reset = stand.seal(other, &body(None, Some(0), &[]));
    let mut answer = Vec::new();
    let greeting = stand
        .door
        .greet(stand.now, &mut stand.random, address(), &reset, &mut answer);
    assert!(matches!(greeting, Ok(Greeting::Answer)));
    let answered = ControlHeader::parse(&answer).expect("a control packet");
    assert_ne!(answered.session_id, cookie);
}

#[test]
fn trap_07_a_lost_acknowledgement_of_an_old_client_is_asked_for_again() {
    for wrap in ALL_WRAPS {
        let mut stand = Stand::new(wrap);
        let cookie = stand.cookie();
        let bare = |stand: &mut Stand, id| {
            stand.seal(header(Opcode::ControlV1), &body(None, Some(id), b"hello"))
        };
        for _ in 0..3 {
            stand.pass(8);
            let packet = bare(&mut stand, 1);
            assert_eq!(stand.greet(&packet), Outcome::Answer(cookie), "{wrap:?}");
        }
        for id in [0, 2, u32::MAX] {
            let packet = bare(&mut stand, id);
            assert!(
                matches!(stand.greet(&packet), Outcome::Drop(_)),
                "message {id}"
            );
        }
        let ack = stand.seal(header(Opcode::AckV1), &body(None, None, &[]));
        assert_eq!(stand.greet(&ack), Outcome::Drop(ControlDrop::Cookie));
        // The answer led to another acknowledgement: in.
        let ack = stand.third(Opcode::AckV1, CLIENT, cookie);
        assert_eq!(stand.greet(&ack), Outcome::Session);
        // Once the cookie is too old to be worth it, there is no answer.
        stand.pass(40);
        let packet = bare(&mut stand, 1);
        assert_eq!(stand.greet(&packet), Outcome::Drop(ControlDrop::Cookie));
    }
}

#[test]
fn a_stranger_that_never_sent_a_reset_gets_no_answer() {
    let mut stand = Stand::new(Wrap::Plain);
    stand.cookie();
    let bare = stand.seal(header(Opcode::ControlV1), &body(None, Some(1), b"hello"));
    let elsewhere = "192.0.2.1:50001".parse().expect("an address");
    let outcome = stand.greet_from(elsewhere, &bare);
    assert_eq!(outcome, Outcome::Drop(ControlDrop::Cookie));
    let stranger = ControlHeader {
        session_id: SessionId([9; 8]),
        ..header(Opcode::ControlV1)
    };
    let bare = stand.seal(stranger, &body(None, Some(1), b"hello"));
    assert_eq!(stand.greet(&bare), Outcome::Drop(ControlDrop::Cookie));
}

#[test]
fn only_the_first_packets_of_a_handshake_get_past() {
    let mut stand = Stand::new(Wrap::TlsCrypt);
    let cookie = stand.cookie();
    let drop = |drop| Outcome::Drop(drop);
    // Message ids and acknowledgements beyond those of a third packet.
    for (acks, id) in [
        (&[0][..], 2),
        (&[2], 1),
        (&[0, 1, 2], 1),
        (&[u32::MAX], 1),
        (&[0], u32::MAX),
    ] {
        let packet = ControlBody {
            acks: acks.iter().copied().collect::<Acks>(),
            remote: Some(cookie),
            message_id: Some(id),
            payload: b"late",
        };
        let packet = stand.seal(header(Opcode::ControlV1), &packet);
        let outcome = stand.greet(&packet);
        assert_eq!(outcome, drop(ControlDrop::Unexpected), "{acks:?} {id}");
    }
    // Key ids other than 0.
    for opcode in [Opcode::ControlV1, Opcode::AckV1, Opcode::SoftResetV1] {
        for key_id in 1..8 {
            let later = ControlHeader {
                key_id: KeyId::from_low_bits(key_id),
                ..header(opcode)
            };
            let packet = stand.seal(later, &body(Some(cookie), Some(1), &[]));
            assert_eq!(
                stand.greet(&packet),
                drop(ControlDrop::Unexpected),
                "{key_id}"
            );
        }
    }
    for opcode in [
        Opcode::SoftResetV1,
        Opcode::HardResetServerV2,
        Opcode::HardResetClientV3,
        Opcode::ControlWkcV1,
    ] {
        let packet = stand.seal(header(opcode), &body(Some(cookie), Some(1), &[]));
        assert_eq!(
            stand.greet(&packet),
            drop(ControlDrop::Unexpected),
            "{opcode:?}"
        );
    }
    // Resets that are none.
    for (id, payload) in [(1, &[][..]), (u32::MAX, &[]), (0, b"more")] {
        let packet = stand.seal(
            header(Opcode::HardResetClientV2),
            &body(None, Some(id), payload),
        );
        assert_eq!(stand.greet(&packet), drop(ControlDrop::Unexpected), "{id}");
    }
}

#[test]
fn a_reset_with_another_key_id_is_malformed() {
    let mut stand = Stand::new(Wrap::Plain);
    let mut reset = stand.reset();
    for key_id in 1..8 {
        reset[0] = 0x38 | key_id;
        let outcome = stand.greet(&reset);
        assert_eq!(
            outcome,
            Outcome::Drop(ControlDrop::Malformed(Malformed::Value))
        );
    }
}

#[test]
fn another_key_is_told_by_its_kind_of_wrapping() {
    let other = StaticKey::from_bytes(&[0x5a; 256]);
    let auth = |digest| Wrapping::tls_auth(&other, KeyDirection::One, digest);
    for (wrap, wrong, verdict) in [
        (
            Wrap::TlsCrypt,
            Wrapping::tls_crypt(&other, Role::Client),
            WrapError::Authentication(WrapKind::TlsCrypt),
        ),
        (
            Wrap::TlsAuth,
            auth(Digest::Sha256),
            WrapError::Authentication(WrapKind::TlsAuth),
        ),
        // Whoever lacks the key learns nothing, also with the wrong kind of wrapping.
        (
            Wrap::TlsCrypt,
            auth(Digest::Sha256),
            WrapError::Authentication(WrapKind::TlsCrypt),
        ),
        (
            Wrap::TlsAuth,
            Wrapping::Plain,
            WrapError::Malformed(Malformed::Truncated),
        ),
        (
            Wrap::TlsCrypt,
            Wrapping::Plain,
            WrapError::Malformed(Malformed::Truncated),
        ),
    ] {
        let mut stand = Stand::new(wrap);
        let right = std::mem::replace(&mut stand.wrapping, wrong);
        let reset = stand.reset();
        assert_eq!(
            stand.greet(&reset),
            Outcome::Drop(ControlDrop::Wrapping(verdict)),
            "{wrap:?}"
        );
        stand.wrapping = right;
        stand.cookie();
    }
}

#[test]
fn a_changed_bit_or_a_cut_byte_of_a_wrapped_reset_is_noticed() {
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut stand = Stand::new(wrap);
        let reset = stand.reset();
        for bit in 0..reset.len() * 8 {
            let mut changed = reset.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let outcome = stand.greet(&changed);
            assert!(matches!(outcome, Outcome::Drop(_)), "{wrap:?} bit {bit}");
        }
        for length in 0..reset.len() {
            let outcome = stand.greet(&reset[..length]);
            assert!(matches!(outcome, Outcome::Drop(_)), "{wrap:?} {length}");
        }
        let mut longer = reset.clone();
        longer.push(0);
        assert!(matches!(stand.greet(&longer), Outcome::Drop(_)), "{wrap:?}");
    }
}

#[test]
fn a_datagram_longer_than_any_control_packet_is_not_looked_at() {
    for wrap in ALL_WRAPS {
        let mut stand = Stand::new(wrap);
        let cookie = stand.cookie();
        let payload = vec![0; 4_096];
        let mut sized = |length: usize| {
            let third = body(Some(cookie), Some(1), &[]);
            let empty = stand.seal(header(Opcode::ControlV1), &third).len();
            let third = body(Some(cookie), Some(1), &payload[..length - empty]);
            let datagram = stand.seal(header(Opcode::ControlV1), &third);
            assert_eq!(datagram.len(), length);
            stand.greet(&datagram)
        };
        assert_eq!(sized(2_049), Outcome::Drop(ControlDrop::TooLong));
        assert_eq!(sized(2_048), Outcome::Session);
    }
}

#[test]
fn a_replayed_reset_from_elsewhere_gets_a_cookie_for_elsewhere_only() {
    let mut stand = Stand::new(Wrap::TlsCrypt);
    let reset = stand.reset();
    let Outcome::Answer(cookie) = stand.greet(&reset) else {
        panic!("a reset is answered")
    };
    let attacker: SocketAddr = "203.0.113.9:1194".parse().expect("an address");
    let Outcome::Answer(replayed) = stand.greet_from(attacker, &reset) else {
        panic!("nothing tells the two apart yet")
    };
    assert_ne!(replayed, cookie);
    // It could not make the third packet without the key, but even that would not help it.
    let third = stand.third(Opcode::AckV1, CLIENT, replayed);
    assert_eq!(stand.greet(&third), Outcome::Drop(ControlDrop::Cookie));
    let third = stand.third(Opcode::AckV1, CLIENT, cookie);
    assert_eq!(stand.greet(&third), Outcome::Session);
}

#[test]
fn unanswered_strangers_have_a_bound_and_those_who_come_back_have_none() {
    let limits = ContactLimits {
        new_sessions: None,
        initial: rate(8),
    };
    for wrap in ALL_WRAPS {
        let mut stand = Stand::new(wrap).with_limits(limits, 2);
        // Three times as many as may wait, one after the other, all of which come back.
        for number in 1..=12 {
            let from = elsewhere(number);
            let reset = stand.reset();
            let Outcome::Answer(cookie) = stand.greet_from(from, &reset) else {
                panic!("{wrap:?}: number {number} is not answered");
            };
            let third = stand.third(Opcode::ControlV1, CLIENT, cookie);
            assert_eq!(stand.greet_from(from, &third), Outcome::Session, "{wrap:?}");
        }
        let cookies: Vec<_> = (0..4).map(|_| stand.cookie()).collect();
        let refused = Outcome::Drop(ControlDrop::TooManyContacts);
        for _ in 0..100 {
            let reset = stand.reset();
            assert_eq!(stand.greet(&reset), refused, "{wrap:?}");
        }
        // Also those that want the same cookie again.
        let again = stand.seal(header(Opcode::ControlV1), &body(None, Some(1), b"hello"));
        assert_eq!(stand.greet(&again), refused, "{wrap:?}");
        // A cookie gives its place back once, however often it is shown.
        for _ in 0..10 {
            let third = stand.third(Opcode::AckV1, CLIENT, cookies[0]);
            assert_eq!(stand.greet(&third), Outcome::Session);
        }
        stand.cookie();
        let reset = stand.reset();
        assert_eq!(stand.greet(&reset), refused, "one place was given back");
        stand.pass(10);
        stand.cookie();
    }
}

#[test]
fn a_reset_that_fails_its_wrapping_uses_up_nothing() {
    let limits = ContactLimits {
        new_sessions: None,
        initial: rate(1),
    };
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut stand = Stand::new(wrap).with_limits(limits, 1);
        let mut reset = stand.reset();
        *reset.last_mut().expect("bytes") ^= 1;
        for _ in 0..10 {
            let outcome = stand.greet(&reset);
            assert!(matches!(outcome, Outcome::Drop(ControlDrop::Wrapping(_))));
        }
        stand.cookie();
    }
}

#[test]
fn sessions_have_a_bound_and_who_repeats_gets_in_later() {
    let limits = ContactLimits {
        new_sessions: Some(rate(3)),
        initial: rate(100),
    };
    let mut stand = Stand::new(Wrap::TlsCrypt).with_limits(limits, 1);
    let cookie = stand.cookie();
    let mut third = || stand.third(Opcode::ControlV1, CLIENT, cookie);
    let thirds: Vec<_> = (0..5).map(|_| third()).collect();
    let outcomes: Vec<_> = thirds.iter().map(|third| stand.greet(third)).collect();
    let refused = || Outcome::Drop(ControlDrop::TooManySessions);
    let session = || Outcome::Session;
    assert_eq!(
        outcomes,
        [session(), session(), session(), refused(), refused()]
    );
    stand.pass(9);
    assert_eq!(stand.greet(&thirds[4]), refused());
    stand.pass(1);
    assert_eq!(
        stand.greet(&thirds[4]),
        session(),
        "the cookie is still good"
    );
}
