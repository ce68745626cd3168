//! Which certificates are accepted, from either side, and what a refused peer is told.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, DnValue, SignatureAlgorithm};
use ringway::crypto::tls::rustls::Identity;
use ringway::crypto::tls::{
    CertificateRefused, ExtendedUsage, NameRule, PeerPolicy, PeerPurpose, RefusalReason,
    TlsEngine as _, TlsError, UsageRules,
};
use ringway::random::SeededRandom;
use rustls::pki_types::CertificateDer;

use crate::authority::{Authority, Usage, expired, to_come};
use crate::{ANY, ONLY_1_2, ONLY_1_3, Outcome, engine, handshake, plain};

const P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

fn policy(authorities: Vec<CertificateDer<'static>>) -> PeerPolicy {
    PeerPolicy::new(authorities, PeerPurpose::Client).expect("usable")
}

fn client(authority: &Authority, change: impl Fn(&mut CertificateParams)) -> Identity {
    authority.issue(Some("alice"), Usage::Client, P256, change)
}

/// A client with this identity, which trusts the server whatever it does, at a server with this
/// policy.
fn present(authority: &Authority, identity: Identity, policy: PeerPolicy) -> [Outcome; 2] {
    let gate = authority.identity("gate", Usage::Server);
    let server = engine(gate, policy, PeerPurpose::Client, ANY, None);
    [ONLY_1_2, ONLY_1_3].map(|versions| {
        let identity = Identity {
            chain: identity.chain.clone(),
            key: identity.key.clone_key(),
        };
        let trusting = PeerPolicy::new(vec![authority.der()], PeerPurpose::Server);
        let trusting = trusting.expect("usable");
        let client = engine(identity, trusting, PeerPurpose::Server, versions, None);
        handshake(&client, &server)
    })
}

fn assert_accepted(outcomes: [Outcome; 2]) {
    for outcome in outcomes {
        outcome.assert_established();
    }
}

#[track_caller]
fn assert_refused(outcomes: [Outcome; 2], depth: usize, reason: &RefusalReason, alert: &str) {
    for outcome in outcomes {
        let Some(TlsError::Certificate(refused)) = &outcome.server_error else {
            panic!("not refused but {:?}", outcome.server_error)
        };
        assert_eq!((refused.depth, &refused.reason), (depth, reason));
        let alert = TlsError::Alert(alert.to_owned());
        assert_eq!(outcome.client_error, Some(alert), "{refused}");
        assert!(!outcome.server.is_established());
    }
}

#[test]
fn keys_of_every_kind_authenticate_both_sides() {
    for (algorithm, key) in [
        (P256, "256 bits ECprime256v1"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "384 bits ECsecp384r1"),
        (&rcgen::PKCS_RSA_SHA256, "2048 bits RSA"),
        (&rcgen::PKCS_ED25519, "256 bits ED25519"),
    ] {
        let authority = Authority::with("authority", algorithm, |_| ());
        for versions in [ONLY_1_2, ONLY_1_3] {
            let with = |usage, purpose| {
                let identity = authority.issue(Some("peer"), usage, algorithm, |_| ());
                let policy = PeerPolicy::new(vec![authority.der()], purpose).expect("usable");
                engine(identity, policy, purpose, versions.clone(), None)
            };
            let outcome = handshake(
                &with(Usage::Client, PeerPurpose::Server),
                &with(Usage::Server, PeerPurpose::Client),
            );
            outcome.assert_established();
            for end in [&outcome.client, &outcome.server] {
                assert_eq!(end.peer().expect("verified").key, key);
            }
        }
    }
}

#[test]
fn a_chain_is_followed_to_the_root() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle", |_| ());
    let low = middle.intermediate("low", |_| ());
    let outcomes = present(&root, client(&low, |_| ()), policy(vec![root.der()]));
    for outcome in &outcomes {
        let peer = outcome.server.peer().expect("verified");
        assert_eq!(
            peer.subjects,
            ["CN=alice", "CN=low", "CN=middle", "CN=root"]
        );
        assert_eq!(peer.common_name, "alice");
    }
    assert_accepted(outcomes);
    // The root may be sent along, and so may what has nothing to do with it.
    let mut identity = client(&low, |_| ());
    identity.chain.push(root.der());
    identity
        .chain
        .push(Authority::with("somebody", P256, expired).der());
    let outcomes = present(&root, identity, policy(vec![root.der()]));
    for outcome in &outcomes {
        let peer = outcome.server.peer().expect("verified");
        assert_eq!(
            peer.subjects,
            ["CN=alice", "CN=low", "CN=middle", "CN=root"]
        );
    }
    assert_accepted(outcomes);
    // Without its middle it leads nowhere.
    let mut identity = client(&low, |_| ());
    identity.chain.remove(2);
    let outcomes = present(&root, identity, policy(vec![root.der()]));
    assert_refused(outcomes, 0, &RefusalReason::UnknownIssuer, "UnknownCA");
    // An intermediate can be what is trusted.
    let outcomes = present(&root, client(&low, |_| ()), policy(vec![low.der()]));
    assert_accepted(outcomes);
}

#[test]
fn a_chain_without_end_is_refused() {
    let root = Authority::new("root");
    let mut identity = client(&root, |_| ());
    identity.chain.extend((0..15).map(|_| root.der()));
    let outcomes = present(&root, identity, policy(vec![root.der()]));
    assert_accepted(outcomes);
    let mut identity = client(&root, |_| ());
    identity.chain.extend((0..16).map(|_| root.der()));
    let outcomes = present(&root, identity, policy(vec![root.der()]));
    assert_refused(outcomes, 0, &RefusalReason::ChainTooLong, "AccessDenied");
}

#[test]
fn another_authority_of_the_same_name_is_not_ours() {
    let ours = Authority::new("authority");
    let theirs = Authority::new("authority");
    let outcomes = present(&ours, client(&theirs, |_| ()), policy(vec![ours.der()]));
    for outcome in outcomes {
        let Some(TlsError::Certificate(refused)) = &outcome.server_error else {
            panic!("{:?}", outcome.server_error)
        };
        assert!(matches!(
            refused.reason,
            RefusalReason::BadSignature | RefusalReason::UnknownIssuer
        ));
    }
    let other = Authority::new("another authority");
    let outcomes = present(&ours, client(&other, |_| ()), policy(vec![ours.der()]));
    assert_refused(outcomes, 0, &RefusalReason::UnknownIssuer, "UnknownCA");
    let both = policy(vec![ours.der(), other.der()]);
    assert_accepted(present(&ours, client(&other, |_| ()), both));
}

#[test]
fn dates_are_checked_everywhere_on_the_path() {
    let root = Authority::new("root");
    let outcomes = present(&root, client(&root, expired), policy(vec![root.der()]));
    assert_refused(outcomes, 0, &RefusalReason::Expired, "CertificateExpired");
    let outcomes = present(&root, client(&root, to_come), policy(vec![root.der()]));
    assert_refused(
        outcomes,
        0,
        &RefusalReason::NotYetValid,
        "CertificateExpired",
    );
    let middle = root.intermediate("middle", expired);
    let outcomes = present(&root, client(&middle, |_| ()), policy(vec![root.der()]));
    assert_refused(outcomes, 1, &RefusalReason::Expired, "CertificateExpired");
    let old = Authority::with("old", P256, expired);
    let outcomes = present(&root, client(&old, |_| ()), policy(vec![old.der()]));
    assert_refused(outcomes, 1, &RefusalReason::Expired, "CertificateExpired");
}

#[test]
fn a_certificate_for_something_else_is_refused() {
    let root = Authority::new("root");
    let identity = root.identity("alice", Usage::Server);
    let outcomes = present(&root, identity, policy(vec![root.der()]));
    assert_refused(
        outcomes,
        0,
        &RefusalReason::Purpose,
        "UnsupportedCertificate",
    );
    // The other way round: a client certificate on a server.
    let policy = policy(vec![root.der()]);
    let identity = root.identity("gate", Usage::Client);
    let server = engine(identity, policy, PeerPurpose::Client, ANY, None);
    let outcome = handshake(&plain(&root, "alice", Usage::Client, ANY), &server);
    let Some(TlsError::Certificate(refused)) = &outcome.client_error else {
        panic!("{:?}", outcome.client_error)
    };
    assert_eq!(refused.reason, RefusalReason::Purpose);
    assert!(matches!(&outcome.server_error, Some(TlsError::Alert(_))));
}

#[test]
fn remote_cert_tls_demands_both_usages() {
    let root = Authority::new("root");
    let demanding = || policy(vec![root.der()]).demanding_purpose();
    let bare = |params: &mut CertificateParams| params.extended_key_usages.clear();
    let unusual = |params: &mut CertificateParams| params.key_usages.clear();
    assert_accepted(present(&root, client(&root, |_| ()), demanding()));
    let outcomes = present(&root, client(&root, bare), demanding());
    let missing = RefusalReason::ExtendedKeyUsageMissing("TLS Web Client Authentication");
    assert_refused(outcomes, 0, &missing, "UnsupportedCertificate");
    let outcomes = present(&root, client(&root, unusual), demanding());
    assert_refused(
        outcomes,
        0,
        &RefusalReason::KeyUsageMissing,
        "UnsupportedCertificate",
    );
    // Without the directive either may be absent.
    assert_accepted(present(
        &root,
        client(&root, bare),
        policy(vec![root.der()]),
    ));
    assert_accepted(present(
        &root,
        client(&root, unusual),
        policy(vec![root.der()]),
    ));
}

#[test]
fn verify_x509_name_has_three_kinds() {
    let root = Authority::new("root");
    let named = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Org");
        params
            .distinguished_name
            .push(DnType::CommonName, "client-7");
    };
    let text = str::to_owned;
    for (rule, accepted, message) in [
        (NameRule::Name(text("client-7")), true, ""),
        (NameRule::Name(text("client-")), false, "client-"),
        (NameRule::Name(text("Client-7")), false, "Client-7"),
        (NameRule::NamePrefix(text("client-")), true, ""),
        (NameRule::NamePrefix(text("client-7")), true, ""),
        (NameRule::NamePrefix(text("lient")), false, "lient"),
        (
            NameRule::Subject(text("C=DE, O=Org, CN=client-7")),
            true,
            "",
        ),
        (NameRule::Subject(text("CN=client-7")), false, "CN=client-7"),
    ] {
        let policy = policy(vec![root.der()]).with_name(rule);
        let outcomes = present(&root, client(&root, named), policy);
        if accepted {
            assert_accepted(outcomes);
        } else {
            let reason = RefusalReason::Name(message.to_owned());
            assert_refused(outcomes, 0, &reason, "AccessDenied");
        }
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let root = Authority::new("root");
    let named = |params: &mut CertificateParams| {
        let name = "gate.example".try_into().expect("a name");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    };
    let gate = root.issue(Some("gate"), Usage::Server, P256, named);
    let policy = policy(vec![root.der()]);
    let server = engine(gate, policy, PeerPurpose::Client, ANY, None);
    let server = server.start(crate::now(), &mut SeededRandom::new(1));
    let mut server = server.expect("starts");
    let mut client = browser(&root);
    let (mut refused, mut told) = (None, None);
    for _ in 0..5 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("writes");
        }
        refused = refused.or(server.receive(&bytes).err());
        let mut answer = Vec::new();
        server.transmit(&mut answer);
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("reads");
            told = told.or(client.process_new_packets().err());
        }
    }
    assert!(!server.is_established());
    assert_eq!(
        refused,
        Some(TlsError::Protocol("peer sent no certificates".to_owned()))
    );
    let alert = rustls::AlertDescription::CertificateRequired;
    assert_eq!(told, Some(rustls::Error::AlertReceived(alert)));
}

/// A TLS client that has no certificate of its own.
fn browser(root: &Authority) -> rustls::ClientConnection {
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(root.der()).expect("usable");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(anchors)
        .with_no_client_auth();
    let name = "gate.example".try_into().expect("a name");
    rustls::ClientConnection::new(Arc::new(config), name).expect("starts")
}

#[test]
fn names_become_printable_and_a_client_must_have_one() {
    let root = Authority::new("root");
    let long = "x".repeat(64);
    for (written, name) in [
        ("a\nb\x1b[31m", "a_b_[31m"),
        ("tab\tand\0nul", "tab_and_nul"),
        ("Jörg", "Jörg"),
        ("a/b .. c", "a/b .. c"),
        (long.as_str(), long.as_str()),
    ] {
        let identity = root.issue(Some(written), Usage::Client, P256, |_| ());
        for outcome in present(&root, identity, policy(vec![root.der()])) {
            outcome.assert_established();
            assert_eq!(outcome.server.peer().expect("verified").common_name, name);
        }
    }
    let without = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Org");
    };
    let empty = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        let value = DnValue::Utf8String(String::new());
        params.distinguished_name.push(DnType::CommonName, value);
    };
    let too_long = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "x".repeat(65));
    };
    let changes: [&dyn Fn(&mut CertificateParams); 3] = [&without, &empty, &too_long];
    for change in changes {
        let outcomes = present(&root, client(&root, change), policy(vec![root.der()]));
        assert_refused(
            outcomes,
            0,
            &RefusalReason::NoName("CN".to_owned()),
            "AccessDenied",
        );
    }
}

#[test]
fn usages_that_are_demanded_must_be_there() {
    let root = Authority::new("root");
    let usages = |params: &mut CertificateParams| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    };
    let rules = |key: Option<Vec<u16>>, extended: Option<&str>| UsageRules {
        key,
        extended: extended.map(|name| ExtendedUsage::new(name).unwrap()),
    };
    let with = |rules| {
        let policy = policy(vec![root.der()]).with_usage(rules);
        present(&root, client(&root, usages), policy)
    };
    for taken in [
        rules(None, Some("TLS Web Client Authentication")),
        rules(Some(vec![]), Some("1.3.6.1.5.5.7.3.2")),
        rules(Some(vec![0x08, 0x80]), None),
    ] {
        assert_accepted(with(taken));
    }
    let found = 0x80;
    let wanted = vec![0x88];
    for (refused, reason) in [
        (
            rules(Some(wanted.clone()), None),
            RefusalReason::KeyUsage { found, wanted },
        ),
        (
            rules(None, Some("1.2.3.4")),
            RefusalReason::ExtendedKeyUsage("1.2.3.4".to_owned()),
        ),
    ] {
        assert_refused(with(refused), 0, &reason, "UnsupportedCertificate");
    }
}

/// Without an authority the fingerprint is all that counts, with one both.
#[test]
fn certificates_are_taken_by_their_fingerprints() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let alice = || client(&other, |_| {});
    let identity = alice();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &identity.chain[0]);
    let own: [u8; 32] = digest.as_ref().try_into().unwrap();
    let alone = || policy(vec![]).with_fingerprints([[7; 32], own].into());
    assert_accepted(present(&root, identity, alone()));
    let text = |bytes: &[u8]| {
        let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        parts.join(":")
    };
    let unknown = alice();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &unknown.chain[0]);
    let reason = RefusalReason::Fingerprint(text(digest.as_ref()));
    assert_refused(present(&root, unknown, alone()), 0, &reason, "AccessDenied");
    let both = policy(vec![root.der()]).with_fingerprints([own].into());
    let untrusted = RefusalReason::UnknownIssuer;
    assert_refused(present(&root, alice(), both), 0, &untrusted, "UnknownCA");
}

#[test]
fn a_refusal_reads_as_administrators_know_it() {
    let refused = CertificateRefused {
        depth: 1,
        subject: "CN=middle".to_owned(),
        serial: "4711".to_owned(),
        reason: RefusalReason::Expired,
    };
    assert_eq!(
        refused.to_string(),
        "depth=1, error=certificate has expired: CN=middle"
    );
}

#[test]
fn an_authority_must_be_a_certificate() {
    let garbage = CertificateDer::from(vec![0x30, 3, 2, 1, 1]);
    let refused = PeerPolicy::new(vec![garbage], PeerPurpose::Client);
    let sentence = refused.expect_err("it is none");
    assert!(sentence.starts_with("not usable as a certificate authority"));
}
