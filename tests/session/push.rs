//! What clients of each version are told, and that both ends then have the same keys.

use std::time::Duration;

use ringway::crypto::{DataCipher, DataKeys, Digest};
use ringway::limits::PUSH_MESSAGES_MAX;
use ringway::session::{ExitChannel, Grant, LeaveReason, SessionEvent};
use ringway::wire::{DataHeader, OptionsString, PeerId, Role};

use crate::pair::{
    ALL_WRAPS, Pair, V2_6, Verdict, Wrap, client, count, grant, left, pushed, server,
};

const START: &str = "PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,\
     ifconfig 10.8.0.2 255.255.255.0";

/// What a client says of itself, and what is pushed to it after [`START`].
const CLIENTS: [(&str, &str, &str); 13] = [
    (
        "2.6.14",
        V2_6,
        ",peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
    ),
    (
        "2.6.0",
        "IV_VER=2.6.0\nIV_CIPHERS=AES-256-GCM\nIV_PROTO=478\nIV_MTU=1600\n",
        ",peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm,tun-mtu 1500",
    ),
    (
        "2.7",
        "IV_VER=2.7.6\nIV_CIPHERS=AES-128-GCM:CHACHA20-POLY1305\nIV_PROTO=8094\nIV_MTU=1400\n",
        ",peer-id 7,cipher AES-128-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch",
    ),
    (
        "2.5",
        "IV_VER=2.5.11\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM:AES-128-GCM\nIV_PROTO=6\n",
        ",peer-id 7,cipher AES-256-GCM",
    ),
    (
        "2.4",
        "IV_VER=2.4.7\nIV_NCP=2\nIV_PROTO=2\n",
        ",peer-id 7,cipher AES-256-GCM",
    ),
    (
        "OpenVPN 3.6",
        "IV_VER=3.git:released:3.6\nIV_CIPHERS=CHACHA20-POLY1305\nIV_PROTO=14\nIV_MTU=1600\n",
        ",peer-id 7,cipher CHACHA20-POLY1305,key-derivation tls-ekm,tun-mtu 1500",
    ),
    (
        "OpenVPN 3.5",
        "IV_VER=3.git:released:3.5\nIV_NCP=2\nIV_PROTO=2\n",
        ",peer-id 7,cipher AES-256-GCM",
    ),
    // Nobody announces these, but each flag stands for itself.
    (
        "EXIT alone",
        "IV_CIPHERS=AES-256-GCM\nIV_PROTO=134\n",
        ",peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit",
    ),
    (
        "dynamic tls-crypt alone",
        "IV_CIPHERS=AES-256-GCM\nIV_PROTO=518\n",
        ",peer-id 7,cipher AES-256-GCM,protocol-flags dyn-tls-crypt",
    ),
    (
        "dynamic tls-crypt with exported keys",
        "IV_CIPHERS=AES-256-GCM\nIV_PROTO=526\n",
        ",peer-id 7,cipher AES-256-GCM,key-derivation tls-ekm,protocol-flags dyn-tls-crypt",
    ),
    (
        "epochs alone",
        "IV_CIPHERS=AES-256-GCM\nIV_PROTO=1030\n",
        ",peer-id 7,cipher AES-256-GCM,protocol-flags aead-epoch",
    ),
    (
        "epochs without a peer id",
        "IV_CIPHERS=AES-256-GCM\nIV_PROTO=1028\n",
        ",cipher AES-256-GCM",
    ),
    // Wire: without NCP, what its options string names, and nothing of it is pushed.
    ("2.3", "IV_VER=2.3.6\n", ""),
];

#[test]
fn trap_10_each_version_is_pushed_what_it_announced_and_gets_the_same_keys() {
    for wrap in ALL_WRAPS {
        for (name, peer_info, rest) in CLIENTS {
            let mut settings = client(wrap, peer_info);
            if name == "2.3" {
                settings.options_string = OptionsString {
                    cipher: Some("AES-256-GCM"),
                    ..OptionsString::stock(Role::Client)
                }
                .to_string();
            }
            let mut pair = Pair::connected(settings, server(wrap));
            let messages = pushed(&pair.server_events).expect("something is pushed");
            assert_eq!(messages, [format!("{START}{rest}")], "{name}");
            let mut client_keys = keys(&mut pair.client_events);
            let mut server_keys = keys(&mut pair.server_events);
            assert_flows(&mut client_keys, &mut server_keys, name);
            assert_flows(&mut server_keys, &mut client_keys, name);
        }
    }
}

#[test]
fn a_client_that_does_not_poll_is_answered_at_once_and_one_that_does_when_it_asks() {
    for (peer_info, at_once) in [(V2_6, true), ("IV_NCP=2\nIV_PROTO=2\n", false)] {
        let mut pair = Pair::new(client(Wrap::TlsCrypt, peer_info), server(Wrap::TlsCrypt));
        pair.settle();
        assert_eq!(pair.server().is_connected(), at_once);
        pair.pass(std::time::Duration::from_millis(1_500));
        assert!(pair.server().is_connected());
        let connected = |event: &SessionEvent| matches!(event, SessionEvent::Connected);
        assert_eq!(count(&pair.client_events, connected), 1);
        assert_eq!(count(&pair.server_events, connected), 1);
    }
}

#[test]
fn the_receiving_key_is_there_before_the_client_is_told() {
    let pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let order: Vec<_> = pair.server_events.iter().map(name).collect();
    assert_eq!(
        order,
        [
            "Secured",
            "Authenticated",
            "Keys",
            "Promoted",
            "Pushed",
            "Connected"
        ]
    );
    let order: Vec<_> = pair.client_events.iter().map(name).collect();
    assert_eq!(
        order,
        ["Secured", "Configured", "Keys", "Promoted", "Connected"]
    );
}

#[test]
fn an_ipv6_address_is_pushed_before_the_ipv4_one() {
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), server(Wrap::Plain));
    let mut both = grant();
    both.v6 = Some(crate::pair::v6_grant());
    both.peer_id = PeerId::new(0x00ab_cdef).expect("24 bits");
    pair.verdict = Verdict::Admit(both);
    pair.settle();
    let messages = pushed(&pair.server_events).expect("something is pushed");
    assert_eq!(
        messages,
        ["PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,\
             ifconfig-ipv6 fd00:8::1000/64 fd00:8::1,ifconfig 10.8.0.2 255.255.255.0,\
             peer-id 11259375,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,\
             tun-mtu 1500"]
    );
}

#[test]
fn a_long_configuration_arrives_whole_in_several_messages() {
    let mut settings = server(Wrap::TlsCrypt);
    let routes: Vec<_> = (0..200)
        .map(|n| format!("route 10.99.{n}.0 255.255.255.0"))
        .collect();
    settings.push.extend(routes.iter().cloned());
    let pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), settings);
    let messages = pushed(&pair.server_events).expect("something is pushed");
    let (last, before) = messages.split_last().expect("there are several");
    assert_eq!(before.len(), 6);
    assert!(last.ends_with(",push-continuation 1"), "{last}");
    for message in before {
        assert!(message.ends_with(",push-continuation 2"), "{message}");
    }
    for message in messages {
        assert!(message.starts_with("PUSH_REPLY,") && message.len() < 1_024);
    }
    let configured = pair.client_events.iter().find_map(|event| match event {
        SessionEvent::Configured(options) => Some(options),
        _ => None,
    });
    let configured = configured.expect("the client has its configuration");
    assert_eq!(configured[2..202], routes);
    assert_eq!(configured.len(), 202 + 5);
}

#[test]
fn a_silent_server_is_given_up_after_the_time_that_it_pushed_last() {
    for (options, seconds) in [
        (&["ping-restart 9", "ping-exit 5"][..], 5),
        (&["ping-exit 5", "ping-restart 9"], 9),
    ] {
        let mut settings = server(Wrap::Plain);
        settings
            .push
            .extend(options.iter().map(ToString::to_string));
        let mut pair = Pair::connected(client(Wrap::Plain, V2_6), settings);
        let silent = pair.activity();
        let connected = pair.now;
        while left(&pair.client_events).is_none() {
            let next = pair.client.next_timeout().expect("it waits for something");
            pair.now = next;
            let now = pair.wall();
            pair.client.handle_timeout(now, &mut pair.random, silent);
            pair.client_events
                .extend(std::iter::from_fn(|| pair.client.poll_event()));
        }
        assert_eq!(left(&pair.client_events), Some(&LeaveReason::PingRestart));
        assert_eq!(
            pair.now,
            connected + Duration::from_secs(seconds),
            "{options:?}"
        );
    }
}

/// The most that a configuration file is accepted with, under the longest wrapping.
#[test]
fn the_longest_configuration_arrives_whole() {
    let mut settings = server(Wrap::TlsAuth);
    settings.push = (0..4 * (PUSH_MESSAGES_MAX - 1))
        .map(|n| format!("setenv-safe v{n:03} {}", "x".repeat(210)))
        .collect();
    let count = settings.push.len();
    let pair = Pair::connected(client(Wrap::TlsAuth, V2_6), settings);
    let messages = pushed(&pair.server_events).expect("something is pushed");
    assert_eq!(messages.len(), PUSH_MESSAGES_MAX);
    let configured = pair.client_events.iter().find_map(|event| match event {
        SessionEvent::Configured(options) => Some(options.len()),
        _ => None,
    });
    assert_eq!(configured, Some(count + 5));
}

/// Wire: 2.7 ends such a connection too (wire.md section 8.2).
#[test]
fn epochs_that_the_data_channel_cannot_have_are_not_followed() {
    for (peer_info, ciphers) in [
        (
            "IV_CIPHERS=AES-256-GCM\nIV_PROTO=4\n",
            &DataCipher::USUAL[..],
        ),
        (
            "IV_CIPHERS=AES-256-CBC\nIV_PROTO=6\n",
            &[DataCipher::Aes256Cbc(Digest::Sha1)],
        ),
    ] {
        let (mut asks, mut settings) = (client(Wrap::Plain, peer_info), server(Wrap::Plain));
        asks.ciphers = ciphers.to_vec();
        settings.ciphers = ciphers.to_vec();
        settings.push.push("protocol-flags aead-epoch".to_owned());
        let mut pair = Pair::new(asks, settings);
        pair.settle();
        assert_eq!(left(&pair.client_events), Some(&LeaveReason::EpochKeys));
        assert_eq!(count(&pair.client_events, |event| name(event) == "Keys"), 0);
    }
}

#[test]
fn no_common_cipher_is_told_in_the_words_that_others_look_for() {
    for (peer_info, options_cipher, offered) in [
        (
            "IV_CIPHERS=AES-256-CBC:BF-CBC\nIV_PROTO=990\n",
            None,
            "AES-256-CBC:BF-CBC",
        ),
        ("IV_VER=2.3.6\n", Some("BF-CBC"), "BF-CBC"),
        ("IV_VER=2.3.6\n", None, "nothing"),
    ] {
        let mut settings = client(Wrap::Plain, peer_info);
        settings.options_string = OptionsString {
            cipher: options_cipher,
            ..OptionsString::stock(Role::Client)
        }
        .to_string();
        let mut pair = Pair::new(settings, server(Wrap::Plain));
        pair.settle();
        let reason = LeaveReason::NoCommonCipher(offered.to_owned());
        assert_eq!(left(&pair.server_events), Some(&reason));
        let told = "Data channel cipher negotiation failed (no shared cipher)";
        let refused = LeaveReason::AuthFailed(told.to_owned());
        assert_eq!(left(&pair.client_events), Some(&refused));
        let text = b"AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)\0";
        assert!(was_said(&pair, text), "{peer_info}");
        assert_eq!(
            count(&pair.server_events, |event| name(event) == "Authenticated"),
            0
        );
        assert_eq!(count(&pair.server_events, |event| name(event) == "Keys"), 0);
    }
}

#[test]
fn trap_27_a_refused_client_is_told_why_and_both_ends_are_over_soon() {
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), server(Wrap::Plain));
    pair.verdict = Verdict::Refuse("max-clients reached");
    pair.settle();
    assert!(was_said(
        &pair,
        b"AUTH_FAILED,TEMP[backoff 10]:max-clients reached\0"
    ));
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::Refused("max-clients reached"))
    );
    let told = LeaveReason::AuthFailed("TEMP[backoff 10]:max-clients reached".to_owned());
    assert_eq!(left(&pair.client_events), Some(&told));
    assert_eq!(count(&pair.server_events, |event| name(event) == "Keys"), 0);
    pair.pass(std::time::Duration::from_secs(6));
    for events in [&pair.client_events, &pair.server_events] {
        assert_eq!(events.last().map(name), Some("Finished"));
    }

    // Who would take it for the end of its credentials is told nothing, and tries again.
    let older = "IV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n";
    let mut pair = Pair::new(client(Wrap::Plain, older), server(Wrap::Plain));
    pair.verdict = Verdict::Refuse("max-clients reached");
    pair.settle();
    assert!(!was_said(&pair, b"AUTH_FAILED"));
    assert_eq!(left(&pair.client_events), None);
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::Refused("max-clients reached"))
    );
}

/// Stock's words for a client whose file says `disable`: those for a bad password.
#[test]
fn a_client_that_is_shut_out_is_told_that_its_login_failed() {
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), server(Wrap::Plain));
    pair.verdict = Verdict::Reject("shut out");
    pair.settle();
    assert!(was_said(&pair, b"AUTH_FAILED\0"));
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::Refused("shut out"))
    );
    let told = LeaveReason::AuthFailed(String::new());
    assert_eq!(left(&pair.client_events), Some(&told));
}

#[test]
fn a_client_is_sent_its_own_options_in_place_of_the_common_ones() {
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), server(Wrap::Plain));
    pair.verdict = Verdict::Admit(Grant {
        push: Some(["ping 7".to_owned(), "route 10.1.0.0".to_owned()].into()),
        v4: None,
        ..grant()
    });
    pair.settle();
    let said = pushed(&pair.server_events).and_then(|said| said.first());
    let own = "PUSH_REPLY,ping 7,route 10.1.0.0,peer-id 7,";
    assert!(said.is_some_and(|it| it.starts_with(own)), "{said:?}");
}

#[test]
fn a_decision_that_comes_too_late_changes_nothing() {
    let mut pair = Pair::new(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    pair.verdict = Verdict::Later;
    pair.settle();
    let (now, mut random) = (pair.wall(), pair.random.clone());
    let events = pair.server_events.len();
    pair.server().peer_exits(now);
    pair.server().admit(now, &mut random, &grant());
    pair.server().refuse(now, &mut random, "too late");
    pair.settle();
    assert_eq!(pair.server_events.len(), events + 1);
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::RemoteExit(ExitChannel::Data))
    );
    assert!(!pair.server().is_half_open());
    assert!(!pair.server().is_connected());
    pair.pass(std::time::Duration::from_secs(6));
    let now = pair.wall();
    assert_eq!(pair.server_events.last().map(name), Some("Finished"));
    pair.server().admit(now, &mut random, &grant());
    pair.collect_events();
    assert_eq!(pair.server().next_timeout(), None);
    assert_eq!(pair.server_events.len(), events + 2);
}

#[test]
fn a_second_decision_changes_nothing() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_6), server(Wrap::TlsCrypt));
    let (now, mut random) = (pair.wall(), pair.random.clone());
    let events = pair.server_events.len();
    pair.server().admit(now, &mut random, &grant());
    pair.server().refuse(now, &mut random, "too late");
    pair.settle();
    assert!(pair.server().is_connected());
    assert_eq!(pair.server_events.len(), events);
}

/// With the stand-in and no wrapping, what is said inside TLS can be read on the way.
fn was_said(pair: &Pair, text: &[u8]) -> bool {
    pair.tape.iter().any(|(from_client, datagram)| {
        !from_client && datagram.windows(text.len()).any(|window| window == text)
    })
}

fn keys(events: &mut Vec<SessionEvent>) -> DataKeys {
    let position = events
        .iter()
        .position(|event| matches!(event, SessionEvent::Keys { .. }));
    match events.swap_remove(position.expect("there are keys")) {
        SessionEvent::Keys { keys, .. } => *keys,
        _ => unreachable!(),
    }
}

fn assert_flows(from: &mut DataKeys, to: &mut DataKeys, name: &str) {
    let header = DataHeader::V1 {
        key_id: ringway::wire::KeyId::FIRST,
    };
    let (mut sealed, mut opened) = ([0; 64], [0; 64]);
    let length = from
        .seal
        .seal(header, b"a packet", &mut sealed)
        .expect("seals");
    let now = ringway::time::Monotonic::ZERO;
    let length = to.open_datagram(now, &sealed[..length], &mut opened);
    let length = length.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&opened[..length], b"a packet", "{name}");
}

pub(crate) fn name(event: &SessionEvent) -> &'static str {
    match event {
        SessionEvent::Secured { .. } => "Secured",
        SessionEvent::Authenticated(_) => "Authenticated",
        SessionEvent::LoginAgain(_) => "LoginAgain",
        SessionEvent::ChallengeAnswered(_) => "ChallengeAnswered",
        SessionEvent::Keys { .. } => "Keys",
        SessionEvent::Promoted(_) => "Promoted",
        SessionEvent::Retired(_) => "Retired",
        SessionEvent::Pushed(_) => "Pushed",
        SessionEvent::Configured(_) => "Configured",
        SessionEvent::Updated(_) => "Updated",
        SessionEvent::Informed(_) => "Informed",
        SessionEvent::Connected => "Connected",
        SessionEvent::Renegotiating => "Renegotiating",
        SessionEvent::Renegotiated { .. } => "Renegotiated",
        SessionEvent::RenegotiationFailed(_) => "RenegotiationFailed",
        SessionEvent::PingDue => "PingDue",
        SessionEvent::ExitNoticeDue => "ExitNoticeDue",
        SessionEvent::Left(_) => "Left",
        SessionEvent::Finished => "Finished",
    }
}
