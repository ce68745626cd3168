//! What TLS may use: suites in OpenSSL's names and in IANA's, groups, the least strength of certificates.

use crate::certificates::assert_refused_with_any;
use crate::client::{Client, ClientConfig};
use crate::outgoing::connect;
use crate::pki::Kind;
use crate::server::{Implementation, Server, Site};

/// What one side says, what the other says, and what both come to.
const AGREED: [(&str, &str, &str); 10] = [
    (
        "tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
        "tls-version-min 1.3",
        "cipher TLSv1.3 TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        "tls-version-max 1.2\ntls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256:TLS-DHE-RSA-WITH-AES-256-CBC-SHA",
        "verb 3",
        "cipher TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        "tls-version-max 1.2\ntls-cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        "verb 3",
        "cipher TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        "verb 3",
        "tls-version-max 1.2\ntls-cipher ECDHE-ECDSA-AES256-GCM-SHA384",
        "cipher TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        "tls-groups secp384r1:X25519",
        "tls-groups secp384r1",
        "cipher TLSv1.3 ",
    ),
    (
        "tls-cert-profile preferred",
        "tls-cert-profile preferred",
        "cipher TLSv1.3 ",
    ),
    (
        "tls-cert-profile legacy",
        "tls-cert-profile insecure",
        "cipher TLSv1.3 ",
    ),
    (
        "tls-cert-profile insecure",
        "tls-cert-profile legacy",
        "cipher TLSv1.3 ",
    ),
    // A stock client with this line shows no certificate, to its own server neither.
    ("tls-cert-profile suiteb", "verb 3", "cipher TLSv1.3 "),
    (
        "tls-cert-profile suiteb\ntls-cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        "tls-version-max 1.2",
        "cipher TLSv1.2 ECDHE-ECDSA-AES",
    ),
];

#[test]
fn a_real_client_agrees_on_what_is_named() {
    for (server, client, agreed) in AGREED {
        let site = Site::new(1);
        let _server = Server::start(&site, &site.server_config().line(server));
        let config = ClientConfig::new(&site, 0, "alice").line(client);
        let client = Client::connect(&site, &config);
        let said = client.process.wait_for("Control Channel: TLSv1.");
        assert!(said.contains(agreed), "{server}: {said}");
        client.assert_reaches_all(&site);
    }
}

/// The same lines at a client of ours.
#[test]
fn a_server_agrees_with_a_client_on_what_that_names() {
    for (client, server, _) in AGREED {
        let site = Site::new(1);
        let server = Server::start(&site, &site.server_config().line(server));
        let config = ClientConfig::new(&site, 0, "alice").line(client);
        connect(&site, &config);
        let said = server.process.wait_for("Control Channel: TLSv1.");
        let wanted: &[&str] = match client {
            it if it.contains("suiteb") => &["AES"],
            it if it.contains("tls-ciphersuites") => &["CHACHA20_POLY1305"],
            it if it.contains("AES-128-GCM") => &["AES_128_GCM", "AES128-GCM"],
            it if it.contains("CHACHA20") => &["CHACHA20_POLY1305", "CHACHA20-POLY1305"],
            _ => &["TLSv1."],
        };
        assert!(
            wanted.iter().any(|it| said.contains(it)),
            "{client}: {said}"
        );
    }
}

#[test]
fn who_has_nothing_in_common_is_refused() {
    for (server, client) in [
        ("tls-groups X25519", "tls-groups secp384r1"),
        ("tls-cert-profile suiteb", "tls-groups X25519"),
        (
            "tls-cert-profile suiteb",
            "tls-version-max 1.2\ntls-cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            "tls-ciphersuites TLS_AES_128_GCM_SHA256",
            "tls-version-min 1.3\ntls-ciphersuites TLS_AES_256_GCM_SHA384",
        ),
    ] {
        let site = Site::new(2);
        let config = ClientConfig::new(&site, 0, "alice").line(client);
        let server = site.server_config().line(server);
        assert_refused_with_any(
            &site,
            &server,
            &config,
            &["TLS Error: TLS handshake failed"],
        );
    }
}

/// What a client shows has to be of Suite B, too, and so has what the server itself shows: that it says at once.
#[test]
fn suite_b_takes_no_other_keys() {
    let site = Site::new(2);
    let server = site.server_config().line("tls-cert-profile suiteb");
    for kind in [Kind::Rsa, Kind::Ed25519] {
        let other = site.authority.client("mallory", kind);
        let config = ClientConfig::with_identity(&site, 0, &other);
        assert_refused_with_any(
            &site,
            &server,
            &config,
            &["TLS Error: TLS handshake failed"],
        );
    }
    if !Implementation::is_ringway("suite_b") {
        return;
    }
    let site = Site::with_server_key(0, Kind::Rsa);
    let config = site.server_config().line("tls-cert-profile suiteb");
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    server
        .process
        .wait_for("the private key is not on P-256 or P-384");
    assert_ne!(server.process.wait_exit().code(), Some(0));
}

/// Both profiles would have OpenSSL take a key of 1024 bits; here no line brings it back.
#[test]
fn no_profile_makes_weak_keys_good() {
    if !Implementation::is_ringway("weak keys") {
        return;
    }
    for profile in ["legacy", "insecure"] {
        let site = Site::new(2);
        let weak = site.authority.weak_client("mallory", &site.topology);
        let config = ClientConfig::with_identity(&site, 0, &weak).line("tls-cert-profile insecure");
        let server = site
            .server_config()
            .line(format!("tls-cert-profile {profile}"));
        assert_refused_with_any(
            &site,
            &server,
            &config,
            &["TLS Error: TLS handshake failed"],
        );
    }
}
