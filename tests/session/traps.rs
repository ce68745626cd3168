//! Traps that other implementations have laid over the years, as far as sessions can step into them;
//! docs/traps.md has the list.

use std::time::Duration;

use ringway::session::SessionSettings;
use ringway::wire::{ControlBody, Opcode, parse_first_byte};

use crate::pair::{Pair, V2_6, Wrap, client, server};

const V2_5: &str = "IV_CIPHERS=AES-256-GCM:AES-128-GCM\nIV_PROTO=6\n";

/// Time of the sender's first packet, and the number of this one, where a wrapping has both.
fn stamp(wrap: Wrap, datagram: &[u8]) -> (u32, u32) {
    let at = match wrap {
        Wrap::TlsAuth => 9 + 32,
        _ => 9,
    };
    let word = |at: usize| {
        let bytes = datagram.get(at..at + 4).and_then(|it| it.try_into().ok());
        u32::from_be_bytes(bytes.expect("a wrapped packet"))
    };
    (word(at + 4), word(at))
}

fn opcode(datagram: &[u8]) -> Option<Opcode> {
    parse_first_byte(datagram).ok().map(|(opcode, _)| opcode)
}

/// Carries datagrams between the two for half a minute; `lost` says which ones never arrive, by who
/// sent them and their number. Gives back after how long the client was connected.
fn carry(pair: &mut Pair, mut lost: impl FnMut(bool, usize) -> bool) -> Option<Duration> {
    let start = pair.now;
    let mut sent = [0; 2];
    while pair.now < start + Duration::from_secs(30) {
        loop {
            let mut carried = false;
            for by_client in [true, false] {
                let datagrams = if by_client {
                    pair.intercept_client()
                } else {
                    pair.intercept_server()
                };
                for datagram in datagrams {
                    carried = true;
                    let number = &mut sent[usize::from(by_client)];
                    *number += 1;
                    pair.tape.push((by_client, datagram.clone()));
                    if lost(by_client, *number - 1) {
                        continue;
                    }
                    let _ = match by_client {
                        true => pair.deliver_to_server(&datagram),
                        false => pair.deliver_to_client(&datagram),
                    };
                }
            }
            if !(carried | pair.collect_events()) {
                break;
            }
        }
        if pair.client.is_connected() {
            return Some(Duration::from_nanos(pair.now.as_nanos() - start.as_nanos()));
        }
        pair.now = pair.now + Duration::from_millis(500);
        let (now, activity) = (pair.wall(), pair.activity());
        let mut random = pair.random.clone();
        pair.client.handle_timeout(now, &mut random, activity);
        if let Some(server) = &mut pair.server {
            server.handle_timeout(now, &mut random, activity);
        }
    }
    None
}

#[test]
fn trap_05_replay_ids_begin_at_one_and_message_ids_at_zero() {
    let mut pair = Pair::new(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    pair.settle();
    for by_client in [true, false] {
        let first = pair.tape.iter().find(|(by, _)| *by == by_client);
        let (_, first) = first.expect("both have said something");
        assert_eq!(stamp(Wrap::TlsCrypt, first).1, 1);
    }
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), server(Wrap::Plain));
    pair.settle();
    for by_client in [true, false] {
        let ids: Vec<u32> = pair
            .tape
            .iter()
            .filter(|(by, _)| *by == by_client)
            .filter_map(|(_, datagram)| {
                let body = ControlBody::parse(opcode(datagram)?, datagram.get(9..)?).ok()?;
                body.message_id
            })
            .collect();
        let expected: Vec<u32> = (0..).take(ids.len()).collect();
        assert!(ids.len() > 2 && ids == expected, "{ids:?}");
    }
}

/// A packet that was put aside and sent again would be taken for a replay.
#[test]
fn trap_06_what_is_repeated_is_wrapped_anew() {
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut pair = Pair::new(client(wrap, V2_6), server(wrap));
        // Every third one is lost.
        let connected = carry(&mut pair, |_, number| number % 3 == 0);
        assert!(connected > Some(Duration::ZERO), "{wrap:?}");
        for by_client in [true, false] {
            let stamps: Vec<_> = pair
                .tape
                .iter()
                .filter(|(by, _)| *by == by_client)
                .map(|(_, datagram)| stamp(wrap, datagram))
                .collect();
            let (time, _) = stamps[0];
            let expected: Vec<_> = (1..).map(|id| (time, id)).take(stamps.len()).collect();
            assert_eq!(stamps, expected, "{wrap:?}");
        }
    }
}

/// The answer to a reset has the number 1 and the time of then. Clients drop what comes with an
/// earlier time than the latest that they saw, or with the same time and a number that was there.
#[test]
fn trap_08_a_session_goes_on_from_the_stamp_of_the_latest_answer() {
    for wrap in [Wrap::TlsAuth, Wrap::TlsCrypt] {
        let mut pair = Pair::new(client(wrap, V2_6), server(wrap));
        let reset = pair.intercept_client().remove(0);
        for _ in 0..3 {
            // The client's own acknowledgement is lost each time.
            let _ = pair.deliver_to_server(&reset);
            pair.intercept_client();
            pair.now = pair.now + Duration::from_secs(2);
        }
        assert!(carry(&mut pair, |_, _| false).is_some(), "{wrap:?}");
        let stamps: Vec<_> = pair
            .tape
            .iter()
            .filter(|(by_client, _)| !by_client)
            .map(|(_, datagram)| stamp(wrap, datagram))
            .collect();
        let answers: Vec<_> = stamps.iter().take(3).map(|(_, id)| *id).collect();
        assert_eq!(answers, [1, 1, 1], "{wrap:?}");
        assert!(stamps.is_sorted_by(|one, next| one < next), "{stamps:?}");
    }
}

/// Acknowledgements leave at once, so that a handshake takes no time but that of the line; and
/// whichever packet is lost, it is repeated until both ends have all of it.
#[test]
fn trap_12_every_packet_of_a_handshake_may_be_lost() {
    for wrap in [Wrap::Plain, Wrap::TlsCrypt] {
        let pair = || Pair::new(client(wrap, V2_6), server(wrap));
        let mut clean = pair();
        let connected = carry(&mut clean, |_, _| false);
        assert_eq!(connected, Some(Duration::ZERO), "{wrap:?}");
        for by_client in [true, false] {
            let sent = clean.tape.iter().filter(|(by, _)| *by == by_client).count();
            assert!(sent > 3, "{sent}");
            for which in 0..sent {
                let lost = |by: bool, number| by == by_client && number == which;
                let connected = carry(&mut pair(), lost);
                assert!(connected.is_some(), "{wrap:?} {by_client} {which}");
            }
        }
    }
}

/// Some servers take no packet with more than four acknowledgements; without a wrapping it may be one
/// of them.
#[test]
fn trap_24_a_client_without_a_wrapping_acknowledges_four_at_a_time() {
    let push = (0..150).map(|number| format!("route 10.9.{number}.0 255.255.255.0"));
    let server = SessionSettings {
        push: push.collect(),
        ..server(Wrap::Plain)
    };
    let mut pair = Pair::new(client(Wrap::Plain, V2_5), server);
    assert!(carry(&mut pair, |_, _| false).is_some());
    let acknowledgements: Vec<usize> = pair
        .tape
        .iter()
        .filter(|(by_client, _)| *by_client)
        .filter_map(|(_, datagram)| datagram.get(9).copied().map(usize::from))
        .collect();
    assert_eq!(
        acknowledgements.iter().max(),
        Some(&4),
        "{acknowledgements:?}"
    );
}
