//! Later key generations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway::crypto::tls::stand_in::StandInEngine;
use ringway::crypto::tls::{Tls, TlsEngine, TlsError};
use ringway::random::Random;
use ringway::session::{ControlDrop, LeaveReason, SessionEvent};
use ringway::time::Now;
use ringway::wire::{KeyId, Opcode, Role};

use crate::pair::{ALL_WRAPS, Pair, V2_6, Wrap, client, count, server, settings};
use crate::push::name;

/// A client that presents another certificate from its second handshake on, until the third.
struct Fickle(AtomicUsize);

impl TlsEngine for Fickle {
    fn start(&self, now: Now, random: &mut dyn Random) -> Result<Box<dyn Tls>, TlsError> {
        let names = ["alice", "mallory"];
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let name = names.get(turn).copied().unwrap_or("alice");
        StandInEngine::client(name).start(now, random)
    }
}

fn renegotiated(events: &[SessionEvent]) -> Vec<u8> {
    events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Renegotiated { key_id } => Some(key_id.get()),
            _ => None,
        })
        .collect()
}

fn failures(events: &[SessionEvent]) -> Vec<&LeaveReason> {
    events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::RenegotiationFailed(reason) => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn either_side_can_ask_for_a_new_key_soon_and_ids_go_round() {
    for wrap in ALL_WRAPS {
        for peer_info in [V2_6, "IV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n"] {
            let mut pair = Pair::connected(client(wrap, peer_info), server(wrap));
            for round in 0..9 {
                let now = pair.wall();
                match round % 2 {
                    0 => pair.server().renegotiate_soon(now),
                    _ => pair.client.renegotiate_soon(now),
                }
                pair.pass(Duration::from_secs(90));
            }
            let ids = [1, 2, 3, 4, 5, 6, 7, 1, 2];
            assert_eq!(renegotiated(&pair.client_events), ids, "{wrap:?}");
            assert_eq!(renegotiated(&pair.server_events), ids, "{wrap:?}");
            for events in [&pair.client_events, &pair.server_events] {
                assert_eq!(count(events, |event| name(event) == "Keys"), 10);
                assert_eq!(count(events, |event| name(event) == "Promoted"), 10);
                // The newest lame duck is still alive.
                assert_eq!(count(events, |event| name(event) == "Retired"), 8);
            }
        }
    }
}

#[test]
fn both_sides_asking_at_once_agree_on_one_key() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let now = pair.wall();
    pair.server().renegotiate_soon(now);
    pair.client.renegotiate_soon(now);
    pair.pass(Duration::from_secs(90));
    assert_eq!(renegotiated(&pair.client_events), [1]);
    assert_eq!(renegotiated(&pair.server_events), [1]);
}

#[test]
fn trap_11_a_new_key_waits_its_turn_and_the_peers_first_packet_with_it_ends_the_wait() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    pair.pass(Duration::from_secs(100));
    let now = pair.wall();
    pair.server().renegotiate_soon(now);
    pair.pass(Duration::from_secs(30));
    let promoted = |events: &[SessionEvent]| count(events, |event| name(event) == "Promoted");
    assert_eq!(promoted(&pair.server_events), 1, "still the old one");
    let (first, next) = (KeyId::FIRST, KeyId::FIRST.next());
    pair.server_hears_data(first);
    pair.collect_events();
    assert_eq!(promoted(&pair.server_events), 1);
    pair.server_hears_data(next);
    pair.server_hears_data(next);
    pair.collect_events();
    assert_eq!(promoted(&pair.server_events), 2);
    assert_eq!(promoted(&pair.client_events), 1);
    pair.pass(Duration::from_secs(60));
    assert_eq!(promoted(&pair.server_events), 2);
    assert_eq!(promoted(&pair.client_events), 2);
}

/// A pair that renegotiates: the client is established, and nothing that it said since has arrived.
fn with_a_client_that_is_ahead() -> (Pair, KeyId) {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let (now, next) = (pair.wall(), KeyId::FIRST.next());
    pair.client.renegotiate_soon(now);
    while renegotiated(&pair.client_events).is_empty() {
        for datagram in pair.intercept_client() {
            let _ = pair.deliver_to_server(&datagram);
        }
        for datagram in pair.intercept_server() {
            let _ = pair.deliver_to_client(&datagram);
        }
        pair.collect_events();
        let (now, activity, mut random) = (pair.wall(), pair.activity(), pair.random.clone());
        pair.client.handle_timeout(now, &mut random, activity);
    }
    pair.intercept_client();
    (pair, next)
}

/// The acknowledgement of the server's key message is the last packet of a renegotiation, and nobody
/// repeats it once the client is established. A server that waited for it would give the generation
/// up while the client seals with it, and go on to seal with one that the client has forgotten.
#[test]
fn trap_12_data_under_the_new_key_stands_for_the_acknowledgement_that_was_lost() {
    let (mut pair, next) = with_a_client_that_is_ahead();
    assert!(renegotiated(&pair.server_events).is_empty(), "it waits");
    pair.server_hears_data(next);
    pair.collect_events();
    assert_eq!(renegotiated(&pair.server_events), [1]);
    let promoted = |events: &[SessionEvent]| count(events, |event| name(event) == "Promoted");
    assert_eq!(promoted(&pair.server_events), 2, "it seals with it, too");
    // Past the hand window nobody gives the generation up, and the next one is agreed on.
    pair.pass(Duration::from_secs(120));
    let now = pair.wall();
    pair.client.renegotiate_soon(now);
    pair.pass(Duration::from_secs(90));
    assert!(failures(&pair.server_events).is_empty());
    assert_eq!(renegotiated(&pair.server_events), [1, 2]);
    assert_eq!(renegotiated(&pair.client_events), [1, 2]);
}

/// The same, and the server has given the generation up before the client seals with it, as it may when
/// its machine stood still. It would ask for a generation that the client has, which refuses, until the
/// last key has died and with it the tunnel.
#[test]
fn a_generation_that_was_given_up_is_taken_up_again_when_the_peer_uses_it() {
    for asks_again in [false, true] {
        let (mut pair, next) = with_a_client_that_is_ahead();
        // Nothing arrives any more until the hand window is over, nor from the next attempt.
        let silence = match asks_again {
            false => Duration::from_secs(61),
            true => Duration::from_secs(125),
        };
        let end = pair.now + silence;
        while pair.now < end {
            pair.now = pair.now + Duration::from_secs(1);
            let (now, activity, mut random) = (pair.wall(), pair.activity(), pair.random.clone());
            pair.server().handle_timeout(now, &mut random, activity);
            pair.intercept_server();
            pair.intercept_client();
        }
        pair.collect_events();
        assert_eq!(failures(&pair.server_events).len(), 1, "{asks_again}");
        assert!(renegotiated(&pair.server_events).is_empty());
        pair.server_hears_data(next);
        pair.collect_events();
        assert_eq!(renegotiated(&pair.server_events), [1], "{asks_again}");
        pair.pass(Duration::from_secs(120));
        let now = pair.wall();
        pair.client.renegotiate_soon(now);
        pair.pass(Duration::from_secs(90));
        assert_eq!(failures(&pair.server_events).len(), 1);
        assert_eq!(renegotiated(&pair.server_events), [1, 2]);
        assert_eq!(renegotiated(&pair.client_events), [1, 2]);
    }
}

/// Wire: wire.md section 8.6. A stock peer forgets the generation before as soon as it asks again:
/// whoever still seals with it then loses packets.
#[test]
fn a_key_that_replaces_a_young_one_is_used_at_once() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let promoted = |events: &[SessionEvent]| count(events, |event| name(event) == "Promoted");
    for generation in 1..=3 {
        // Sooner than the 60 seconds for which the key that replaces an old one is held back.
        pair.pass(Duration::from_secs(5));
        let now = pair.wall();
        pair.client.renegotiate_soon(now);
        pair.pass(Duration::from_secs(5));
        assert_eq!(renegotiated(&pair.server_events).len(), generation);
        assert_eq!(promoted(&pair.server_events), 1 + generation);
        assert_eq!(promoted(&pair.client_events), 1 + generation);
    }
}

#[test]
fn asking_again_and_again_starts_one_renegotiation() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let (now, activity) = (pair.wall(), pair.activity());
    let mut random = pair.random.clone();
    for _ in 0..100 {
        pair.server().renegotiate_soon(now);
        pair.server().handle_timeout(now, &mut random, activity);
    }
    assert_eq!(pair.intercept_server().len(), 1);
    pair.pass(Duration::from_secs(10));
    assert_eq!(renegotiated(&pair.server_events), [1]);
}

#[test]
fn another_certificate_is_refused_and_the_tunnel_goes_on() {
    let fickle = Arc::new(Fickle(AtomicUsize::new(0)));
    let client = settings(Role::Client, Wrap::TlsCrypt, V2_6, fickle);
    let mut pair = Pair::connected(client, server(Wrap::TlsCrypt));
    let now = pair.wall();
    pair.client.renegotiate_soon(now);
    pair.pass(Duration::from_secs(30));
    let changed = LeaveReason::IdentityChanged {
        before: "alice".to_owned(),
        after: "mallory".to_owned(),
    };
    assert_eq!(failures(&pair.server_events), [&changed]);
    assert!(pair.server().is_connected() && pair.client.is_connected());
    assert_eq!(count(&pair.server_events, |event| name(event) == "Keys"), 1);
    assert_eq!(
        count(&pair.server_events, |event| name(event) == "Promoted"),
        1
    );
    // The client finds out by its hand window, and comes as itself then.
    pair.pass(Duration::from_secs(300));
    assert_eq!(failures(&pair.client_events)[0], &LeaveReason::HandWindow);
    assert!(
        !renegotiated(&pair.server_events).is_empty(),
        "{:?}",
        pair.server_events
    );
    assert_eq!(
        renegotiated(&pair.client_events),
        renegotiated(&pair.server_events)
    );
    assert!(pair.server().is_connected() && pair.client.is_connected());
}

#[test]
fn a_peer_that_never_agrees_on_a_new_key_is_left_when_the_old_one_dies() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let now = pair.wall();
    pair.server().renegotiate_soon(now);
    let (mut random, activity, end) = (pair.random.clone(), pair.activity(), pair.now);
    let deaf_until = end + Duration::from_secs(3_599);
    while let Some(next) = pair
        .server()
        .next_timeout()
        .filter(|next| *next < deaf_until)
    {
        pair.now = next;
        let now = pair.wall();
        pair.server().handle_timeout(now, &mut random, activity);
        pair.intercept_server();
    }
    pair.collect_events();
    assert!(pair.server().is_connected());
    let failed = failures(&pair.server_events);
    assert!(failed.len() >= 29, "{}", failed.len());
    assert!(
        failed
            .iter()
            .all(|reason| **reason == LeaveReason::HandWindow)
    );
    pair.now = end + Duration::from_secs(3_600);
    let now = pair.wall();
    pair.server().handle_timeout(now, &mut random, activity);
    pair.collect_events();
    assert_eq!(
        crate::pair::left(&pair.server_events),
        Some(&LeaveReason::KeyExpired)
    );
}

#[test]
fn a_soft_reset_before_its_time_or_for_another_generation_is_ignored() {
    for peer_info in [V2_6, "IV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n"] {
        let mut scene = crate::attack::Scene::new(Wrap::TlsCrypt, "");
        // In the middle of the handshake.
        scene.puppet.key_id = KeyId::FIRST.next();
        let now = scene.now();
        let soft = scene.puppet.packet(now, Opcode::SoftResetV1, Some(0), &[]);
        assert_eq!(scene.deliver(&soft), Err(ControlDrop::KeyOutOfStep));
        scene.puppet.key_id = KeyId::FIRST;
        scene.finish_handshake(peer_info);
        // Connected, but not the next one.
        if peer_info != V2_6 {
            for key_id in [2, 3, 7] {
                scene.puppet.key_id = KeyId::from_low_bits(key_id);
                let soft = scene.puppet.packet(now, Opcode::SoftResetV1, Some(0), &[]);
                assert_eq!(scene.deliver(&soft), Err(ControlDrop::KeyOutOfStep));
            }
        }
        assert!(scene.server.is_connected());
        assert_eq!(scene.hear().len(), 0);
    }
}
