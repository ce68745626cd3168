//! Peers and strangers that do not keep the rules: what they send is dropped by name, and nothing
//! that they send makes anything grow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::tls::TlsError;
use ringway::crypto::tls::stand_in::StandInEngine;
use ringway::crypto::{ReplayStamp, WrapError};
use ringway::random::{Random, SeededRandom};
use ringway::session::{
    Activity, ControlDrop, ExitChannel, Greeting, LeaveReason, OpenVpn2, Session, SessionEvent,
    SessionSettings,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{Acks, ControlBody, ControlHeader, KeyId, Malformed, Opcode, Role, SessionId};

use crate::pair::{
    ALL_WRAPS, Pair, V2_6, Wrap, address, client, cookie, count, grant, left, server, transmits,
    wall, wrapping,
};
use crate::puppet::Puppet;
use crate::push::name;

/// A server's session, and a client that does as it is told.
pub(crate) struct Scene {
    pub(crate) server: Session,
    pub(crate) puppet: Puppet,
    pub(crate) events: Vec<SessionEvent>,
    time: Monotonic,
    random: SeededRandom,
}

impl Scene {
    /// The client is past the door and has sent its first flight; with its peer info given it is
    /// connected.
    pub(crate) fn new(wrap: Wrap, peer_info: &str) -> Self {
        Self::with(server(wrap), wrap, peer_info)
    }

    fn with(settings: SessionSettings, wrap: Wrap, peer_info: &str) -> Self {
        let mut random = SeededRandom::new(11);
        let time = Monotonic::from_nanos(1_000_000_000_000);
        let now = wall(time);
        let key = cookie(&mut random);
        let mut door = OpenVpn2::new(Arc::new(settings), key, &mut random);
        let engine = StandInEngine::client("alice");
        let mut puppet = Puppet::new(0x33, wrapping(wrap, Role::Client), &engine, now);
        let reset = puppet.message(now, Opcode::HardResetClientV2, &[]);
        let mut answer = Vec::new();
        let greeting = door.greet(now, &mut random, address(), &reset, &mut answer);
        assert!(matches!(greeting, Ok(Greeting::Answer)));
        puppet.take(now, &answer);
        let flight = puppet.speak(now);
        let greeting = door.greet(now, &mut random, address(), &flight[0], &mut answer);
        let Ok(Greeting::Session(server)) = greeting else {
            panic!("the cookie is right")
        };
        let mut scene = Self {
            server: *server,
            puppet,
            events: Vec::new(),
            time,
            random,
        };
        for datagram in flight {
            scene.deliver(&datagram).expect("the first flight");
        }
        if !peer_info.is_empty() {
            scene.finish_handshake(peer_info);
        }
        scene
    }

    pub(crate) fn now(&self) -> Now {
        wall(self.time)
    }

    pub(crate) fn finish_handshake(&mut self, peer_info: &str) {
        self.converse();
        let introduction = self.puppet.introduce(self.now(), peer_info);
        self.deliver_all(introduction);
        self.converse();
        assert!(self.server.is_connected(), "{:?}", self.events);
    }

    pub(crate) fn deliver(&mut self, datagram: &[u8]) -> Result<(), ControlDrop> {
        let (now, mut copy) = (self.now(), datagram.to_vec());
        let taken = self
            .server
            .handle_datagram(now, &mut self.random, &mut copy);
        self.collect();
        taken
    }

    fn deliver_all(&mut self, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            self.deliver(&datagram).expect("keeps the rules");
        }
    }

    /// What the server sends.
    pub(crate) fn hear(&mut self) -> Vec<Vec<u8>> {
        transmits(&mut self.server, wall(self.time))
    }

    fn converse(&mut self) {
        for _ in 0..50 {
            let now = self.now();
            let heard = self.hear();
            if heard.is_empty() {
                return;
            }
            for datagram in heard {
                self.puppet.take(now, &datagram);
            }
            let words = self.puppet.speak(now);
            self.deliver_all(words);
        }
        panic!("the two never fall silent");
    }

    fn collect(&mut self) {
        while let Some(event) = self.server.poll_event() {
            if matches!(event, SessionEvent::Authenticated(_)) {
                let now = self.now();
                self.server.admit(now, &mut self.random, &grant());
            }
            self.events.push(event);
        }
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.time + Duration::from_secs(seconds);
        while let Some(next) = self.server.next_timeout().filter(|next| *next <= end) {
            self.time = next.max(self.time);
            let now = self.now();
            let activity = Activity {
                sent: self.time,
                received: self.time,
            };
            self.server.handle_timeout(now, &mut self.random, activity);
            self.hear();
            self.collect();
        }
        self.time = end;
    }

    fn message(&mut self, payload: &[u8]) -> Result<(), ControlDrop> {
        let now = self.now();
        let datagram = self.puppet.message(now, Opcode::ControlV1, payload);
        self.deliver(&datagram)
    }
}

/// A data record of the stand-in, of any length.
pub(crate) fn record(body: &[u8]) -> Vec<u8> {
    let mut record = vec![3];
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(&[0, 0]);
    record.extend_from_slice(body);
    record
}

#[test]
fn texts_that_are_none_do_not_end_the_tunnel() {
    let mut scene = Scene::new(Wrap::TlsCrypt, V2_6);
    let events = scene.events.len();
    for text in [
        &b"EXIT"[..],
        b"EX\x01IT\0",
        b"\0",
        b"",
        b"EXIT\xff\0",
        b"EXIT \0",
        b"exit\0",
        b"EXIT\x7f\0",
        b"\0EXIT",
        b"PUSH_REPLY,ifconfig 1.2.3.4 5.6.7.8\0",
        b"AUTH_FAILED\0",
        b"RESTART\0",
        b"HALT\0",
        b"PUSH_REQUEST\0PUSH_REQUEST\0",
        b"no such word\0",
    ] {
        scene.message(&record(text)).expect("well-formed outside");
        assert!(scene.server.is_connected(), "{text:?}");
        assert_eq!(scene.hear().len(), 1, "an acknowledgement");
    }
    assert_eq!(scene.events.len(), events);
    scene
        .message(&record(b"\x01\0EXIT\r\n\0"))
        .expect("well-formed");
    assert_eq!(
        left(&scene.events),
        Some(&LeaveReason::RemoteExit(ExitChannel::Control))
    );
}

#[test]
fn a_message_longer_than_any_is_refused_or_ignored() {
    let mut scene = Scene::new(Wrap::TlsCrypt, V2_6);
    let mut text = vec![b'x'; 2_049];
    text.push(0);
    for part in record(&text).chunks(1_000) {
        scene.message(part).expect("well-formed outside");
    }
    assert!(scene.server.is_connected());
    let mut scene = Scene::new(Wrap::TlsCrypt, "");
    scene.converse();
    for part in record(&[2; 2_049]).chunks(1_000) {
        scene.message(part).expect("well-formed outside");
    }
    let reason = LeaveReason::KeyMessage(Malformed::Length);
    assert_eq!(left(&scene.events), Some(&reason));
}

#[test]
fn a_flood_of_texts_costs_acknowledgements_only() {
    let mut scene = Scene::new(Wrap::TlsCrypt, V2_6);
    let events = scene.events.len();
    for _ in 0..5_000 {
        scene.message(&record(b"PUSH_REQUEST\0")).expect("in order");
        let heard = scene.hear();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].len() < 120, "{}", heard[0].len());
    }
    assert_eq!(scene.events.len(), events);
    assert!(scene.server.is_connected());
}

#[test]
fn messages_far_ahead_and_long_past_change_nothing() {
    let mut scene = Scene::new(Wrap::TlsCrypt, V2_6);
    let (now, next) = (scene.now(), scene.puppet.next_id);
    for far in 0..5_000_u32 {
        let id = next + 12 + far * 97;
        let packet = scene
            .puppet
            .packet(now, Opcode::ControlV1, Some(id), &[0xff; 900]);
        assert_eq!(scene.deliver(&packet), Err(ControlDrop::OutsideWindow));
    }
    assert_eq!(scene.hear().len(), 0, "and nothing is acknowledged");
    for past in 0..5_000_u32 {
        let id = next.wrapping_sub(1 + past);
        let packet = scene
            .puppet
            .packet(now, Opcode::ControlV1, Some(id), &[0xff; 900]);
        let taken = scene.deliver(&packet);
        // Eight acknowledgements are remembered at most.
        let verdict = if past < 8 {
            Ok(())
        } else {
            Err(ControlDrop::OutsideWindow)
        };
        assert_eq!(taken, verdict, "{past}");
    }
    assert_eq!(scene.hear().len(), 1);
    // Ahead within the window: kept until the gap is filled, and given up with an error then.
    for ahead in 1..12 {
        let packet = scene
            .puppet
            .packet(now, Opcode::ControlV1, Some(next + ahead), &[]);
        scene.deliver(&packet).expect("within the window");
        scene.hear();
    }
    scene.message(&record(b"EXIT\0")).expect("in order");
    assert_eq!(
        left(&scene.events),
        Some(&LeaveReason::RemoteExit(ExitChannel::Control))
    );
}

#[test]
fn a_client_that_never_acknowledges_keeps_six_messages_in_flight() {
    let mut settings = server(Wrap::TlsCrypt);
    settings.push = (0..160)
        .map(|n| format!("route 10.99.{n}.0 {:>200}", "x"))
        .collect();
    let mut scene = Scene::with(settings, Wrap::TlsCrypt, "");
    scene.converse();
    let introduction = scene.puppet.introduce(scene.now(), V2_6);
    scene.deliver_all(introduction);
    let now = scene.now();
    for datagram in scene.hear() {
        scene.puppet.take(now, &datagram);
    }
    // This lets the server say its 35 kB, and is the last acknowledgement.
    let words = scene.puppet.speak(now);
    scene.deliver_all(words);
    assert!(scene.server.is_connected());
    let opens = wrapping(Wrap::TlsCrypt, Role::Client);
    let mut ids = BTreeSet::new();
    for _ in 0..200 {
        for mut datagram in scene.hear() {
            let opened = opens.open_stateless(&mut datagram).expect("authentic");
            let body = ControlBody::parse(opened.header.opcode, opened.body);
            ids.extend(body.expect("well-formed").message_id);
        }
        scene.time = scene.time + Duration::from_secs(1);
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
}

#[test]
fn more_than_may_wait_to_be_said_ends_the_session() {
    let mut settings = server(Wrap::TlsCrypt);
    settings.push = (0..400)
        .map(|n| format!("route 10.99.{n}.0 {:>200}", "x"))
        .collect();
    let mut scene = Scene::with(settings, Wrap::TlsCrypt, "");
    scene.converse();
    let introduction = scene.puppet.introduce(scene.now(), V2_6);
    scene.deliver_all(introduction);
    let now = scene.now();
    for datagram in scene.hear() {
        scene.puppet.take(now, &datagram);
    }
    for datagram in scene.puppet.speak(now) {
        let _ = scene.deliver(&datagram);
    }
    let reason = left(&scene.events);
    assert!(
        matches!(reason, Some(LeaveReason::Tls(TlsError::Unavailable(_)))),
        "{reason:?}"
    );
}

#[test]
fn an_endless_handshake_message_is_cut_off() {
    let mut scene = Scene::new(Wrap::TlsCrypt, "");
    scene.converse();
    scene
        .message(&[2, 0xff, 0xff, 0xff, 0xff])
        .expect("a start");
    for sent in 0..100 {
        let _ = scene.message(&[0; 1_000]);
        scene.hear();
        if let Some(reason) = left(&scene.events) {
            assert!(matches!(reason, LeaveReason::Tls(TlsError::Protocol(_))));
            assert!((64..68).contains(&sent), "{sent}");
            return;
        }
    }
    panic!("it went on and on");
}

#[test]
fn a_handshake_that_is_not_finished_ends_with_its_window() {
    let mut scene = Scene::new(Wrap::TlsCrypt, "");
    scene.converse();
    scene.pass(59);
    assert!(scene.server.is_half_open());
    scene.pass(2);
    assert_eq!(left(&scene.events), Some(&LeaveReason::HandWindow));
    assert_eq!(scene.events.last().map(name), Some("Finished"));
}

/// Everything about a pair that a packet without effect must not change.
fn state(pair: &mut Pair) -> String {
    pair.collect_events();
    let server = pair.server.as_ref().expect("there is one");
    format!(
        "{:?} {:?} {:?} {:?} {} {}",
        pair.client.last_heard(),
        pair.client.next_timeout(),
        server.last_heard(),
        server.next_timeout(),
        pair.client_events.len(),
        pair.server_events.len(),
    )
}

#[test]
fn without_the_key_nothing_can_be_changed() {
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut pair = Pair::connected(client(wrap, V2_6), server(wrap));
        pair.pass(Duration::from_secs(10));
        let before = state(&mut pair);
        let tape = pair.tape.clone();
        let mut random = SeededRandom::new(5);
        for (_, datagram) in &tape {
            for _ in 0..200 {
                let mut changed = datagram.clone();
                let bit = random.below(changed.len() as u64 * 8) as usize;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    pair.deliver_to_server(&changed).is_err(),
                    "{wrap:?} bit {bit}"
                );
                assert!(
                    pair.deliver_to_client(&changed).is_err(),
                    "{wrap:?} bit {bit}"
                );
            }
            for length in 0..datagram.len().min(80) {
                assert!(pair.deliver_to_server(&datagram[..length]).is_err());
                assert!(pair.deliver_to_client(&datagram[..length]).is_err());
            }
        }
        assert_eq!(state(&mut pair), before);
        assert!(pair.intercept_client().is_empty() && pair.intercept_server().is_empty());
    }
}

#[test]
fn a_recorded_conversation_can_not_be_played_again() {
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut pair = Pair::connected(client(wrap, V2_6), server(wrap));
        let now = pair.wall();
        pair.server().renegotiate_soon(now);
        pair.pass(Duration::from_secs(90));
        let (connected, tape) = (pair.server_events.len(), pair.tape.clone());
        let mut accepted = 0;
        for round in 0..3 {
            for (from_client, datagram) in &tape {
                let taken = match from_client {
                    true => pair.deliver_to_server(datagram),
                    false => pair.deliver_to_client(datagram),
                };
                match taken {
                    Ok(()) => accepted += 1,
                    Err(ControlDrop::Wrapping(WrapError::Replay { .. })) => {}
                    // The very first reset was answered without remembering its stamp.
                    Err(ControlDrop::KeyOutOfStep) => assert_eq!(round, 0),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert_eq!(accepted, 0, "{wrap:?}");
        pair.settle();
        assert_eq!(pair.server_events.len(), connected);
        assert_eq!(pair.tape.len(), tape.len(), "and nothing is answered");
        // The two go on as if nothing had been.
        let now = pair.wall();
        pair.client.renegotiate_soon(now);
        pair.pass(Duration::from_secs(10));
        let done = |event: &SessionEvent| name(event) == "Renegotiated";
        assert_eq!(count(&pair.server_events, done), 2);
    }
}

#[test]
fn trap_13_repeated_hard_resets_do_not_disturb_a_running_session() {
    for wrap in ALL_WRAPS {
        let mut pair = Pair::connected(client(wrap, V2_6), server(wrap));
        let resets: Vec<_> = pair.tape[..2].to_vec();
        let events = (pair.client_events.len(), pair.server_events.len());
        for _ in 0..1_000 {
            let _ = pair.deliver_to_server(&resets[0].1);
            let _ = pair.deliver_to_client(&resets[1].1);
        }
        let answers = pair.intercept_client().len() + pair.intercept_server().len();
        assert!(answers <= 2, "{answers}");
        pair.settle();
        assert_eq!(events, (pair.client_events.len(), pair.server_events.len()));
        let now = pair.wall();
        pair.server().renegotiate_soon(now);
        pair.pass(Duration::from_secs(10));
        assert_eq!(
            count(&pair.client_events, |event| name(event) == "Renegotiated"),
            1
        );
        assert!(pair.client.is_connected() && pair.server().is_connected());
    }
}

#[test]
fn another_sessions_packets_are_not_taken() {
    for wrap in ALL_WRAPS {
        let mut one = Pair::connected(client(wrap, V2_6), server(wrap));
        let now = one.now + Duration::from_secs(1);
        let mut other = Scene::new(wrap, V2_6);
        other.time = now;
        let packet = other
            .puppet
            .packet(wall(now), Opcode::ControlV1, Some(9), b"x");
        assert_eq!(
            one.deliver_to_server(&packet),
            Err(ControlDrop::ForeignSession)
        );
        assert_eq!(
            one.deliver_to_client(&packet),
            Err(ControlDrop::ForeignSession)
        );
        // Its own id, but an acknowledgement for somebody else.
        other.puppet.server = Some(SessionId([0xee; 8]));
        other.puppet.owed.push(1);
        let packet = other.puppet.packet(wall(now), Opcode::AckV1, None, &[]);
        assert_eq!(other.deliver(&packet), Err(ControlDrop::ForeignSession));
    }
}

/// A reset of a server with this id, made with the right key.
fn server_reset(wrap: Wrap, id: SessionId, echo: Option<SessionId>, stamp: ReplayStamp) -> Vec<u8> {
    let header = ControlHeader {
        opcode: Opcode::HardResetServerV2,
        key_id: KeyId::FIRST,
        session_id: id,
    };
    let mut body = Vec::new();
    ControlBody {
        acks: echo.iter().map(|_| 0).collect::<Acks>(),
        remote: echo,
        message_id: Some(0),
        payload: &[],
    }
    .emit(&mut body);
    let mut datagram = Vec::new();
    wrapping(wrap, Role::Server).seal_with(stamp, header, &body, &mut datagram);
    datagram
}

#[test]
fn a_client_takes_the_first_server_that_echoes_its_id_and_no_other() {
    for wrap in ALL_WRAPS {
        let mut pair = Pair::new(client(wrap, V2_6), server(wrap));
        let (now, ours) = (pair.wall(), pair.client.local_id());
        let evil = SessionId([0xee; 8]);
        let stamp = |id| ReplayStamp {
            id,
            time: now.unix as u32,
        };
        for (id, echo) in [(2, None), (3, Some(evil)), (4, Some(SessionId([0; 8])))] {
            let reset = server_reset(wrap, evil, echo, stamp(id));
            assert_eq!(
                pair.deliver_to_client(&reset),
                Err(ControlDrop::ForeignSession),
                "{echo:?}"
            );
        }
        // Nor did those use up the replay ids of the one that answers.
        pair.settle();
        assert!(pair.client.is_connected(), "{wrap:?}");
        let reset = server_reset(wrap, evil, Some(ours), stamp(60));
        assert_eq!(
            pair.deliver_to_client(&reset),
            Err(ControlDrop::ForeignSession)
        );
        assert!(pair.client.is_connected());
    }
}

#[test]
fn a_session_that_leaves_can_not_be_kept_or_made_to_talk() {
    for wrap in ALL_WRAPS {
        let mut scene = Scene::new(wrap, V2_6);
        scene.message(&record(b"EXIT\0")).expect("in order");
        assert_eq!(scene.hear().len(), 1, "the acknowledgement");
        let events = scene.events.len();
        for round in 0..2_000_u32 {
            scene.time = scene.time + Duration::from_millis(2);
            let now = scene.now();
            scene.puppet.key_id = KeyId::from_low_bits((round % 8) as u8);
            let opcode = match round % 5 {
                0 => Opcode::SoftResetV1,
                1 if round % 8 == 0 => Opcode::HardResetClientV2,
                _ => Opcode::ControlV1,
            };
            let id = scene
                .puppet
                .next_id
                .wrapping_add(round % 40)
                .wrapping_sub(20);
            let packet = scene
                .puppet
                .packet(now, opcode, Some(id), &record(b"EXIT\0"));
            let _ = scene.deliver(&packet);
            let heard = scene.hear();
            assert!(heard.len() <= 1);
            assert!(heard.iter().all(|datagram| datagram.len() <= 125));
        }
        assert_eq!(scene.events.len(), events);
        scene.pass(2);
        assert_eq!(scene.events.len(), events + 1);
        assert_eq!(scene.events.last().map(name), Some("Finished"));
        let now = scene.now();
        let packet = scene.puppet.packet(now, Opcode::ControlV1, Some(1), &[]);
        assert_eq!(scene.deliver(&packet), Err(ControlDrop::Over));
        assert!(scene.hear().is_empty());
    }
}

#[test]
fn a_forged_soft_reset_costs_a_renegotiation_and_not_the_tunnel() {
    // Where dynamic tls-crypt is agreed on, other holders of the static key can't even do that.
    for (peer_info, can_begin) in [
        (V2_6, false),
        ("IV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n", true),
    ] {
        let mut scene = Scene::new(Wrap::TlsCrypt, peer_info);
        if !can_begin {
            scene.pass(1);
        } else if !scene.server.is_connected() {
            panic!("the client asked");
        }
        scene.puppet.key_id = KeyId::FIRST.next();
        let now = scene.now();
        let soft = scene.puppet.packet(now, Opcode::SoftResetV1, Some(0), &[]);
        assert_eq!(scene.deliver(&soft).is_ok(), can_begin);
        assert_eq!(scene.hear().len(), usize::from(can_begin));
        let events = scene.events.len();
        scene.pass(61);
        assert!(scene.server.is_connected());
        let new: Vec<_> = scene.events[events..].iter().map(name).collect();
        let expected: &[&str] = if can_begin {
            &["Retired", "RenegotiationFailed"]
        } else {
            &[]
        };
        assert_eq!(new, expected);
    }
}

#[test]
fn a_datagram_longer_than_any_control_packet_is_dropped() {
    for wrap in ALL_WRAPS {
        let mut scene = Scene::new(wrap, V2_6);
        let now = scene.now();
        let id = scene.puppet.next_id;
        let long = scene
            .puppet
            .packet(now, Opcode::ControlV1, Some(id), &[0; 60_000]);
        assert_eq!(scene.deliver(&long), Err(ControlDrop::TooLong));
        scene.message(&record(b"EXIT\0")).expect("in order");
        assert_eq!(
            left(&scene.events),
            Some(&LeaveReason::RemoteExit(ExitChannel::Control))
        );
    }
}
