//! tls-crypt-v2: clients with keys of their own, and keys that either program made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::outgoing::STOCK;
use crate::pki::{static_key, tls_crypt_v2_client_key, tls_crypt_v2_keys};
use crate::process::run;
use crate::relay::{Fate, Relay, is_data};
use crate::server::{READY, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::PingStream;

/// The line that tells of a key which was not sealed for this server.
const KEY_REFUSED: &str = "TLS Error: can not extract tls-crypt-v2 client key from [AF_INET";
/// And that of a client without any.
const NO_KEY: &str = "TLS Error: could not determine wrapping from [AF_INET";

/// A server's configuration with such a key, and a client's that fits.
fn configured(site: &Site) -> (ServerConfig, ClientConfig) {
    let (server, client) = tls_crypt_v2_keys(&site.topology);
    (
        site.server_config().block("tls-crypt-v2", &server),
        ClientConfig::new(site, 0, "alice").block("tls-crypt-v2", &client),
    )
}

/// The first packets of both sides are lost, each once and the client's twice; then new keys are
/// made every few seconds while the client moves between two addresses, and it comes back.
#[test]
fn a_session_with_lost_packets_new_keys_and_new_addresses() {
    let site = Site::new(1);
    let (server, client) = configured(&site);
    let server = Server::start(&site, &server.line("reneg-sec 5"));
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (ip, port) = relay.address();
    let mut seen = [0_u32; 12];
    relay.filter(move |_, datagram| {
        let kind = usize::from(datagram.first().map_or(0, |first| first >> 3));
        let Some(seen) = seen.get_mut(kind).filter(|_| !is_data(datagram)) else {
            return Fate::Pass;
        };
        *seen += 1;
        match (kind, *seen) {
            // The client's reset, the server's, and the message with the key once more.
            (8 | 10 | 11, 1) | (11, 2) => Fate::Lose,
            (10 | 11, _) => Fate::Twice,
            _ => Fate::Pass,
        }
    });
    let client = Client::spawn(&site, &client.remote(ip, port));
    client.wait_connected(&site);
    relay.pass_all();
    client.assert_reaches_all(&site);
    let stream = PingStream::start(client.namespace(&site), LAN_V4);
    for handshakes in 2..=4 {
        server
            .process
            .wait_for_count("Control Channel: TLSv1.", handshakes);
        relay.rebind();
    }
    stream.stop_and_assert_all_received();
    assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
    assert_eq!(server.process.count(KEY_REFUSED), 0);
    client.reconnect_elsewhere(&site);
    client.assert_reaches_all(&site);
}

#[test]
fn a_key_that_was_sealed_for_another_server_and_none_at_all_are_refused() {
    let site = Site::new(2);
    let (server, friend) = configured(&site);
    let server = Server::start(&site, &server);
    let (_, foreign) = tls_crypt_v2_keys(&site.topology);
    let stranger = ClientConfig::new(&site, 1, "mallory").line("hand-window 6");
    for (stranger, line) in [
        (
            stranger.clone().block("tls-crypt-v2", &foreign),
            KEY_REFUSED,
        ),
        (stranger.clone(), NO_KEY),
        (stranger.block("tls-crypt", &static_key()), NO_KEY),
    ] {
        let before = server.process.count(line);
        let stranger = Client::spawn(&site, &stranger);
        server.process.wait_for_count(line, before + 1);
        stranger
            .process
            .wait_for("TLS key negotiation failed to occur within 6 seconds");
        assert_eq!(stranger.process.count(READY), 0);
    }
    Client::connect(&site, &friend).assert_reaches_all(&site);
}

/// While clients get keys of their own one by one, the others keep the shared one.
#[test]
fn clients_with_a_shared_key_beside_clients_with_their_own() {
    for shared in ["tls-auth", "tls-crypt"] {
        let site = Site::new(2);
        let (server, own) = configured(&site);
        let key = static_key();
        let mut server = server.block(shared, &key);
        let mut other = ClientConfig::new(&site, 1, "bob").block(shared, &key);
        if shared == "tls-auth" {
            server = server.line("key-direction 0");
            other = other.line("key-direction 1");
        }
        let _server = Server::start(&site, &server.line("reneg-sec 5"));
        let clients = [&own, &other].map(|config| Client::connect(&site, config));
        let streams = [0, 1].map(|it| PingStream::start(clients[it].namespace(&site), LAN_V4));
        for client in &clients {
            client.process.wait_for_count("Control Channel: TLSv1.", 3);
        }
        for stream in streams {
            stream.stop_and_assert_all_received();
        }
    }
}

/// `force-cookie` shuts nobody out who is of 2.6.
#[test]
fn a_client_of_2_6_needs_no_favour() {
    let site = Site::new(1);
    let (server, client) = tls_crypt_v2_keys(&site.topology);
    let file = site.topology.write("server-v2.key", server);
    let line = format!("tls-crypt-v2 {} force-cookie", file.display());
    let _server = Server::start(&site, &site.server_config().line(line));
    let client = ClientConfig::new(&site, 0, "alice").block("tls-crypt-v2", &client);
    Client::connect(&site, &client).assert_reaches_all(&site);
}

/// Keys of ringway in the hands of the stock client and, if it is chosen, of the stock server.
#[test]
fn keys_that_ringway_makes_are_keys() {
    let site = Site::new(4);
    let make = |name: &str, words: &[&str]| {
        let file = site.topology.directory().join(name).display().to_string();
        run(RINGWAY, &[words, &[&file]].concat());
        file
    };
    let server_key = make("v2-server.key", &["--genkey", "tls-crypt-v2-server"]);
    let shared = make("shared.key", &["genkey", "tls-crypt"]);
    let for_server = [
        "--tls-crypt-v2",
        &server_key,
        "--genkey",
        "tls-crypt-v2-client",
    ];
    let metadata = run(RINGWAY, &[&for_server[..], &["", "aGVsbG8="]].concat());
    let server = site
        .server_config()
        .line(format!("tls-crypt-v2 {server_key}"))
        .line(format!("tls-crypt {shared}"));
    let _server = Server::start(&site, &server);
    let path = std::path::Path::new(&server_key);
    for (index, key) in [
        tls_crypt_v2_client_key(RINGWAY, path),
        tls_crypt_v2_client_key("openvpn", path),
        metadata,
    ]
    .iter()
    .enumerate()
    {
        let name = format!("client-{index}");
        let client = ClientConfig::new(&site, index, &name).block("tls-crypt-v2", key);
        Client::connect(&site, &client).assert_reaches_all(&site);
    }
    let client = ClientConfig::new(&site, 3, "client-3").line(format!("tls-crypt {shared}"));
    Client::connect(&site, &client).assert_reaches_all(&site);
}

/// The stock server reads a key for tokens of ours, and would not start with a bad one.
#[test]
fn a_key_for_tokens_is_one() {
    let site = Site::new(1);
    let file = site.topology.directory().join("token.key");
    let file = file.display();
    run(RINGWAY, &["genkey", "auth-token", &file.to_string()]);
    let server = site
        .server_config()
        .line(format!("auth-gen-token-secret {file}"))
        .line("auth-gen-token 3600\nscript-security 2\nauth-user-pass-verify /bin/true via-env");
    let _server = Server::start_program(&site, &server, STOCK);
}

/// A script sees what is said of a client's key. Stock asks it earlier; who is refused hears nothing from either.
#[test]
fn a_script_looks_at_what_is_said_of_a_key() {
    let site = Site::new(2);
    let directory = site.topology.directory();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let told = directory.join("told");
    let text = format!(
        "#!/bin/sh\necho \"$script_type $metadata_type $(cat \"$metadata_file\") $#\" >>{}\n\
         grep -q welcome \"$metadata_file\"\n",
        told.display()
    );
    let script = site.topology.write("looks", text);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let server_key = directory.join("v2-server.key");
    let named = server_key.display().to_string();
    run(RINGWAY, &["genkey", "tls-crypt-v2-server", &named]);
    let key = |words: &str| {
        let file = directory.join(format!("v2-{words}.key"));
        let shown = file.display().to_string();
        let metadata = data_encoding::BASE64.encode(words.as_bytes());
        let genkey = [
            "--tls-crypt-v2",
            &named,
            "--genkey",
            "tls-crypt-v2-client",
            &shown,
            &metadata,
        ];
        run(STOCK, &genkey);
        format!("tls-crypt-v2 {shown}")
    };
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("tls-crypt-v2 {named}"))
        .line(format!("tls-crypt-v2-verify {}", script.display()));
    let server = Server::start(&site, &config);
    let alice = ClientConfig::new(&site, 0, "alice").line(key("welcome"));
    let alice = Client::connect(&site, &alice);
    alice.assert_reaches_all(&site);
    let mallory = ClientConfig::new(&site, 1, "mallory").line(key("stolen"));
    let mallory = Client::spawn(&site, &mallory);
    server.process.wait_for("TLS CRYPT V2 VERIFY SCRIPT ERROR");
    assert_eq!(mallory.process.count(READY), 0);
    let told = fs::read_to_string(told).unwrap();
    let told: Vec<_> = told.lines().take(2).collect();
    let expected = ["welcome", "stolen"].map(|it| format!("tls-crypt-v2-verify 0 {it} 0"));
    assert_eq!(told, expected);
    alice.assert_reaches_all(&site);
}
