//! The TLS engine in both roles against itself, and against OpenSSL where the bytes must be the same.

#![allow(clippy::expect_used)] // a test says what it expects

mod authority;
mod certificates;
mod locked;
mod openssl;
mod resting;

use std::ops::RangeInclusive;
use std::sync::Arc;

use authority::{Authority, Usage};
use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion, group_by_name};
use ringway::crypto::tls::{PeerPolicy, PeerPurpose, Tls, TlsEngine, TlsError};
use ringway::random::SeededRandom;
use ringway::time::{Monotonic, Now};

/// Both ends of a connection after all that they had to say.
pub(crate) struct Outcome {
    pub(crate) client: Box<dyn Tls>,
    pub(crate) server: Box<dyn Tls>,
    pub(crate) client_error: Option<TlsError>,
    pub(crate) server_error: Option<TlsError>,
}

impl Outcome {
    pub(crate) fn assert_established(&self) {
        assert_eq!((&self.client_error, &self.server_error), (&None, &None));
        assert!(self.client.is_established() && self.server.is_established());
    }
}

pub(crate) const ANY: RangeInclusive<TlsVersion> = TlsVersion::V1_2..=TlsVersion::V1_3;
pub(crate) const ONLY_1_2: RangeInclusive<TlsVersion> = TlsVersion::V1_2..=TlsVersion::V1_2;
pub(crate) const ONLY_1_3: RangeInclusive<TlsVersion> = TlsVersion::V1_3..=TlsVersion::V1_3;

pub(crate) fn now() -> Now {
    Now {
        monotonic: Monotonic::ZERO,
        unix: 1_795_000_000,
    }
}

pub(crate) fn engine(
    identity: Identity,
    policy: PeerPolicy,
    purpose: PeerPurpose,
    versions: RangeInclusive<TlsVersion>,
    groups: Option<&[&str]>,
) -> RustlsEngine {
    let groups = groups.map(|names| {
        let known = names.iter().map(|name| group_by_name(name));
        known.map(|group| group.expect("a known group")).collect()
    });
    RustlsEngine::new(identity, policy, purpose, versions, groups).expect("usable")
}

/// An engine with what most tests want.
pub(crate) fn plain(
    authority: &Authority,
    name: &str,
    usage: Usage,
    versions: RangeInclusive<TlsVersion>,
) -> RustlsEngine {
    let purpose = match usage {
        Usage::Server => PeerPurpose::Client,
        Usage::Client => PeerPurpose::Server,
    };
    let policy = PeerPolicy::new(vec![authority.der()], purpose).expect("usable");
    engine(
        authority.identity(name, usage),
        policy,
        purpose,
        versions,
        None,
    )
}

/// Carries bytes in both directions until neither end has more, in slices of an odd size.
pub(crate) fn handshake(client: &dyn TlsEngine, server: &dyn TlsEngine) -> Outcome {
    let mut random = SeededRandom::new(1);
    let mut outcome = Outcome {
        client: client.start(now(), &mut random).expect("starts"),
        server: server.start(now(), &mut random).expect("starts"),
        client_error: None,
        server_error: None,
    };
    exchange(&mut outcome);
    outcome
}

pub(crate) fn exchange(outcome: &mut Outcome) {
    loop {
        let sent = carry(
            &mut *outcome.client,
            &mut *outcome.server,
            &mut outcome.server_error,
        ) + carry(
            &mut *outcome.server,
            &mut *outcome.client,
            &mut outcome.client_error,
        );
        if sent == 0 {
            return;
        }
    }
}

fn carry(from: &mut dyn Tls, to: &mut dyn Tls, error: &mut Option<TlsError>) -> usize {
    let mut bytes = Vec::new();
    from.transmit(&mut bytes);
    if error.is_none() {
        *error = bytes.chunks(333).find_map(|slice| to.receive(slice).err());
    }
    bytes.len()
}

#[test]
fn versions_meet_at_the_highest_that_both_have() {
    let authority = Authority::new("authority");
    for (client, server, version) in [
        (ANY, ANY, Some("TLSv1.3")),
        (ANY, ONLY_1_2, Some("TLSv1.2")),
        (ONLY_1_2, ANY, Some("TLSv1.2")),
        (ONLY_1_3, ANY, Some("TLSv1.3")),
        (ANY, ONLY_1_3, Some("TLSv1.3")),
        (ONLY_1_2, ONLY_1_3, None),
        (ONLY_1_3, ONLY_1_2, None),
    ] {
        let outcome = handshake(
            &plain(&authority, "alice", Usage::Client, client),
            &plain(&authority, "gate", Usage::Server, server),
        );
        let Some(version) = version else {
            assert!(outcome.server_error.is_some() || outcome.client_error.is_some());
            assert!(!outcome.client.is_established() && !outcome.server.is_established());
            continue;
        };
        outcome.assert_established();
        for end in [&outcome.client, &outcome.server] {
            let negotiated = end.negotiated().expect("established");
            assert_eq!(negotiated.version, version);
            let tls_1_3 = version == "TLSv1.3";
            assert_eq!(
                negotiated.suite.starts_with("TLS_AES_256_GCM_SHA384"),
                tls_1_3
            );
            assert!(!negotiated.suite.contains("TLS13"));
        }
    }
}

#[test]
fn the_key_exchange_resists_quantum_computers_unless_a_list_says_otherwise() {
    let authority = Authority::new("authority");
    let with = |usage, groups: Option<&[&str]>| {
        let purpose = match usage {
            Usage::Server => PeerPurpose::Client,
            Usage::Client => PeerPurpose::Server,
        };
        let policy = PeerPolicy::new(vec![authority.der()], purpose).expect("usable");
        engine(
            authority.identity("peer", usage),
            policy,
            purpose,
            ANY,
            groups,
        )
    };
    for (client, server, group) in [
        (None, None, Some("X25519MLKEM768")),
        (None, Some(&["secp384r1"][..]), Some("secp384r1")),
        (Some(&["x25519"][..]), None, Some("X25519")),
        (
            Some(&["secp256r1", "x25519"][..]),
            Some(&["X25519", "prime256v1"][..]),
            Some("secp256r1"),
        ),
        (Some(&["x25519"][..]), Some(&["secp256r1"][..]), None),
    ] {
        let outcome = handshake(&with(Usage::Client, client), &with(Usage::Server, server));
        match group {
            None => assert!(outcome.server_error.is_some()),
            Some(group) => {
                outcome.assert_established();
                let negotiated = outcome.server.negotiated().expect("established");
                assert_eq!(negotiated.group.as_deref(), Some(group));
            }
        }
    }
}

#[test]
fn a_group_that_does_not_exist_has_no_name() {
    for (name, known) in [
        ("X25519", true),
        ("P-256", true),
        ("x448", false),
        ("", false),
    ] {
        assert_eq!(group_by_name(name).is_some(), known, "{name}");
    }
}

#[test]
fn both_ends_export_the_same_and_each_label_and_connection_something_else() {
    let authority = Authority::new("authority");
    let mut seen = Vec::new();
    for versions in [ONLY_1_2, ONLY_1_3] {
        let outcome = handshake(
            &plain(&authority, "alice", Usage::Client, versions.clone()),
            &plain(&authority, "gate", Usage::Server, versions),
        );
        outcome.assert_established();
        for label in [
            "EXPORTER-OpenVPN-datakeys",
            "EXPORTER-OpenVPN-dynamic-tls-crypt",
        ] {
            let (mut one, mut other) = ([0; 256], [0; 256]);
            outcome.client.export(label, &mut one).expect("exports");
            outcome.server.export(label, &mut other).expect("exports");
            assert_eq!(one, other);
            assert!(!seen.contains(&one));
            seen.push(one);
        }
    }
}

#[test]
fn nothing_is_exported_sent_or_known_before_the_handshake_is_done() {
    let authority = Authority::new("authority");
    for usage in [Usage::Client, Usage::Server] {
        let engine = plain(&authority, "peer", usage, ANY);
        let mut tls = engine
            .start(now(), &mut SeededRandom::new(1))
            .expect("starts");
        assert!(!tls.is_established());
        let mut out = [0; 32];
        assert!(matches!(
            tls.export("label", &mut out),
            Err(TlsError::Unavailable(_))
        ));
        assert!(matches!(
            tls.send_message(b"early"),
            Err(TlsError::Unavailable(_))
        ));
        assert_eq!(
            (tls.next_message(), tls.peer(), tls.negotiated()),
            (None, None, None)
        );
    }
}

#[test]
fn trap_14_a_message_is_a_record_and_a_record_a_message() {
    let authority = Authority::new("authority");
    for versions in [ONLY_1_2, ONLY_1_3] {
        let mut outcome = handshake(
            &plain(&authority, "alice", Usage::Client, versions.clone()),
            &plain(&authority, "gate", Usage::Server, versions),
        );
        let long = vec![7; 3_000];
        let messages = [&b"one"[..], b"two", b"\0", &long, b"last"];
        for message in messages {
            outcome.client.send_message(message).expect("established");
        }
        exchange(&mut outcome);
        outcome.assert_established();
        for message in messages {
            let received = outcome.server.next_message().expect("one more");
            assert_eq!(received.as_slice(), message);
        }
        assert_eq!(outcome.server.next_message(), None);
        assert_eq!(outcome.client.next_message(), None);
    }
}

#[test]
fn nonsense_and_endless_handshakes_end_the_connection() {
    let authority = Authority::new("authority");
    let engine = plain(&authority, "gate", Usage::Server, ANY);
    let start = || {
        engine
            .start(now(), &mut SeededRandom::new(1))
            .expect("starts")
    };
    assert!(matches!(
        start().receive(b"GET / HTTP/1.1\r\n"),
        Err(TlsError::Protocol(_))
    ));
    // A handshake message that says it is 16 MB long.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut tls = start();
    let received = (0..64)
        .map(|_| tls.receive(&record))
        .position(|taken| taken.is_err());
    assert!(received.is_some_and(|records| records <= 4), "{received:?}");
    // The same a byte at a time: records of one byte each.
    let mut tls = start();
    let taken: Result<(), TlsError> = (0..70_000).try_for_each(|byte| match byte {
        0 => tls.receive(&[22, 3, 1, 0, 1, 1]),
        1..=3 => tls.receive(&[22, 3, 1, 0, 1, 0xff]),
        _ => tls.receive(&[22, 3, 1, 0, 1, 0]),
    });
    assert!(taken.is_err());
    // Empty records for ever.
    let mut tls = start();
    assert!((0..1_000).any(|_| tls.receive(&[22, 3, 1, 0, 0]).is_err()));
}

#[test]
fn a_key_that_does_not_fit_its_certificate_is_told() {
    let authority = Authority::new("authority");
    let (one, other) = (
        authority.identity("one", Usage::Server),
        authority.identity("other", Usage::Server),
    );
    let mixed = Identity {
        chain: one.chain,
        key: other.key,
    };
    let policy = PeerPolicy::new(vec![authority.der()], PeerPurpose::Client).expect("usable");
    let refused = RustlsEngine::new(mixed, policy, PeerPurpose::Client, ANY, None);
    let sentence = refused.expect_err("they do not fit");
    assert!(
        sentence.starts_with("the private key can't be used"),
        "{sentence}"
    );
}

#[test]
fn only_a_client_may_have_no_certificate() {
    let authority = Authority::new("authority");
    let policy = |purpose| PeerPolicy::new(vec![authority.der()], purpose).expect("usable");
    let engine = |purpose| RustlsEngine::new(None, policy(purpose), purpose, ANY, None);
    let server = engine(PeerPurpose::Client).expect_err("clients want to see one");
    assert_eq!(server, "a server needs a certificate");
    let client = engine(PeerPurpose::Server).expect("a client");
    let outcome = handshake(&client, &plain(&authority, "gate", Usage::Server, ANY));
    // It gets as far as the server's demand for one.
    let refused = outcome.server_error.expect("this server wants one");
    assert_eq!(refused.to_string(), "peer sent no certificates");
    assert_eq!(outcome.client.peer().expect("verified").common_name, "gate");
}

#[test]
fn an_engine_is_shared_by_connections_that_know_nothing_of_each_other() {
    let authority = Authority::new("authority");
    let server = Arc::new(plain(&authority, "gate", Usage::Server, ANY));
    let names = ["alice", "bob"];
    let outcomes = names.map(|name| {
        let client = plain(&authority, name, Usage::Client, ANY);
        handshake(&client, &*server)
    });
    for (outcome, name) in outcomes.iter().zip(names) {
        let peer = outcome.server.peer().expect("verified");
        assert_eq!(peer.common_name, name);
        assert_eq!(outcome.client.peer().expect("verified").common_name, "gate");
    }
}
