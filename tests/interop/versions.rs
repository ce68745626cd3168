//! Clients of other versions than the system's: `RINGWAY_OPENVPN_CLIENTS` names their programs, with
//! colons between them. Every test here runs with each, and with the system's own in any case.

use std::ops::RangeBounds;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::matrix::Wrapping;
use crate::network::{LAN_V4, LAN_V6};
use crate::relay::{Fate, Relay, Way, is_data};
use crate::server::{Implementation, PORT, READY, Server, ServerConfig, Site};
use crate::traffic::{PingStream, ping, ping_with, transfer_both_ways};

/// A client program, of OpenVPN 2 or 3, and which version it is.
struct Version {
    program: String,
    number: (u32, u32),
    /// As it announces itself: `2.6.14`.
    text: String,
    /// Whether it was built with a library that compresses; without one 2.7 refuses every line about it.
    compresses: bool,
}

impl Version {
    /// What this program says that it is.
    fn of(program: &str) -> Self {
        // Its exit status is that of a usage message.
        let output = Command::new(program).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let compresses = text.contains(" [LZ");
        // The client of OpenVPN 3 has a version of its own, and tells that of its library next.
        let core = text.split_once("OpenVPN core ").map(|(_, rest)| rest);
        let text = core.or(text.strip_prefix("OpenVPN ")).unwrap_or_default();
        let text = text.split_whitespace().next().unwrap_or_default();
        let mut parts = text.split(['.', '_']).map_while(|part| part.parse().ok());
        let number = parts.next().zip(parts.next());
        Self {
            program: program.to_owned(),
            number: number.unwrap_or_else(|| panic!("{program} is no openvpn: {text:?}")),
            text: text.to_owned(),
            compresses,
        }
    }

    /// The configuration of client number 0, in words that this version knows.
    fn config(&self, site: &Site) -> ClientConfig {
        self.fit(ClientConfig::new(site, 0, "alice"))
    }

    /// A configuration in words that this version knows.
    fn fit(&self, config: ClientConfig) -> ClientConfig {
        if self.number < NEGOTIATES {
            // Else it would have BF-CBC, which nobody serves any more.
            config.in_words_of_2_3().line("cipher AES-256-CBC")
        } else {
            config
        }
    }

    fn connect(&self, site: &Site, config: &ClientConfig) -> Client {
        let spawn = match self.number {
            (2, _) => Client::spawn_program,
            _ => Client::spawn_3,
        };
        let client = spawn(site, config, &self.program);
        client.wait_connected(site);
        client
    }

    /// The line in which this version tells its data cipher.
    fn data_cipher(&self, cipher: &str) -> String {
        if self.number < NEGOTIATES {
            format!("Data Channel Encrypt: Cipher '{cipher}'")
        } else if self.number < (2, 6) {
            format!("Outgoing Data Channel: Cipher '{cipher}'")
        } else {
            format!("Data Channel: cipher '{cipher}'")
        }
    }
}

/// Runs a test with each of these versions, one after the other; libtest prints which one it was that
/// failed.
fn with_each_in(versions: impl RangeBounds<(u32, u32)>, test: impl Fn(&Version)) {
    let others = std::env::var("RINGWAY_OPENVPN_CLIENTS").unwrap_or_default();
    let others = others.split(':').filter(|program| !program.is_empty());
    let mut run = 0;
    for program in std::iter::once("openvpn").chain(others) {
        let version = Version::of(program);
        if versions.contains(&version.number) {
            println!("---- a client of {}: {program}", version.text);
            test(&version);
            run += 1;
        }
    }
    assert!(run > 0, "the system's own client is none of these");
}

/// With each version of the C program.
fn with_each(test: impl Fn(&Version)) {
    with_each_in(..(3, 0), test);
}

/// A server that old clients can use.
fn server_config(site: &Site) -> ServerConfig {
    site.server_config().line(format!("data-ciphers {CIPHERS}"))
}

/// Nothing that was said shows a packet which one end could not read.
fn assert_all_was_read(server: &Server, client: &Client) {
    for process in [&server.process, &client.process] {
        for complaint in ["Decrypt error", "authentication failed", "bad packet ID"] {
            assert_eq!(process.count(complaint), 0, "{complaint}");
        }
    }
}

/// Connects over UDP and over TCP; small and large packets of both families and 10 MB go both ways.
fn connects(wrapping: Wrapping, since: (u32, u32)) {
    if !Implementation::is_ringway("one process on UDP and TCP") {
        return;
    }
    with_each_in(since.., |version| {
        let site = Site::new(1);
        let both = server_config(&site)
            .without("proto")
            .without("port")
            .line(format!("local 0.0.0.0 {PORT} udp4"))
            .line(format!("local 0.0.0.0 {PORT} tcp4"));
        let client = ClientConfig::new(&site, 0, "alice");
        let (both, client) = wrapping.apply(&site, both, client);
        let server = Server::start(&site, &both);
        for (config, is_tcp) in [(client.clone(), false), (client.over_tcp(), true)] {
            let mut client = version.connect(&site, &version.fit(config));
            client.assert_reaches_all(&site);
            for size in ["1", "1400", "1472"] {
                let whole = ["-M", "do", "-s", size];
                ping_with(client.namespace(&site), LAN_V4, 2, &whole).assert_all_received();
            }
            // Over TCP 2.3 begins anew when a packet was dropped for want of room. Where IV_TCPNL is
            // announced that does no harm.
            let robust = version.number >= NEGOTIATES || !is_tcp;
            for to in [LAN_V4, LAN_V6].iter().filter(|_| robust) {
                transfer_both_ways(client.namespace(&site), &site.topology.lan, *to);
            }
            assert_all_was_read(&server, &client);
            client.process.signal(Signal::TERM);
            client.process.wait_exit();
        }
        // It is the version that was meant.
        server
            .process
            .wait_for(&format!("peer info: IV_VER={}", version.text));
        assert_eq!(server.process.count("Peer Connection Initiated"), 2);
    });
}

#[test]
fn each_version_without_a_wrapping() {
    connects(Wrapping::Plain, (0, 0));
}

#[test]
fn each_version_with_tls_auth_and_sha1() {
    connects(Wrapping::AuthSha1, (0, 0));
}

#[test]
fn trap_18_each_version_with_tls_auth_and_sha256() {
    connects(Wrapping::AuthSha256, (0, 0));
}

#[test]
fn each_version_with_tls_crypt() {
    connects(Wrapping::Crypt, (2, 4));
}

#[test]
fn each_version_with_tls_crypt_v2() {
    connects(Wrapping::CryptV2, (2, 5));
}

/// The server's first choice among what each version says that it has; 2.3 says its one cipher in the
/// options string alone.
#[test]
fn each_version_gets_the_best_cipher_that_it_has() {
    with_each(|version| {
        for (line, expected) in [
            (CIPHERS, ["AES-256-CBC", "AES-256-GCM", "AES-256-GCM"]),
            (
                "CHACHA20-POLY1305:AES-128-GCM:AES-256-CBC",
                ["AES-256-CBC", "AES-128-GCM", "CHACHA20-POLY1305"],
            ),
        ] {
            let site = Site::new(1);
            let config = site.server_config().line(format!("data-ciphers {line}"));
            let server = Server::start(&site, &config);
            let client = version.connect(&site, &version.config(&site));
            let column = match version.number {
                (2, ..=3) => 0,
                (2, 4..=5) => 1,
                _ => 2,
            };
            client
                .process
                .wait_for(&version.data_cipher(expected[column]));
            client.assert_reaches_all(&site);
            assert_all_was_read(&server, &client);
        }
    });
}

/// A client from 2.4 on that was told to negotiate nothing has its one cipher.
#[test]
fn each_version_with_cbc_alone() {
    with_each(|version| {
        let site = Site::new(1);
        let config = server_config(&site).line("auth SHA256");
        let server = Server::start(&site, &config);
        let client = version.config(&site).line("auth SHA256");
        let client = match version.number {
            (2, ..=3) => client,
            (2, 4) => client.line("ncp-disable").line("cipher AES-256-CBC"),
            _ => client.line("data-ciphers AES-256-CBC"),
        };
        let client = version.connect(&site, &client);
        client.process.wait_for("'AES-256-CBC'");
        client.assert_reaches_all(&site);
        transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
        assert_all_was_read(&server, &client);
    });
}

/// New keys under traffic, asked for by one side and then by the other: nothing is lost.
fn renews_keys(server_seconds: u32, client_seconds: u32) {
    with_each(|version| {
        let site = Site::new(1);
        let config = server_config(&site).line(format!("reneg-sec {server_seconds}"));
        let server = Server::start(&site, &config);
        let config = version
            .config(&site)
            .line(format!("reneg-sec {client_seconds}"));
        let client = version.connect(&site, &config);
        for to in [LAN_V4, LAN_V6] {
            ping(client.namespace(&site), to, 3);
        }
        let stream = PingStream::start(client.namespace(&site), LAN_V6);
        let back = PingStream::start(&site.topology.lan, client.tunnel_v4(&site).into());
        for process in [&client.process, &server.process] {
            process.wait_for_count("Control Channel: TLSv1.", 3);
        }
        for stream in [stream, back] {
            stream.stop_and_assert_all_received();
        }
        transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
        assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
        assert_all_was_read(&server, &client);
    });
}

#[test]
fn each_version_takes_new_keys_from_the_server() {
    renews_keys(5, 0);
}

#[test]
fn each_version_asks_for_new_keys() {
    renews_keys(0, 5);
}

/// A client that ends tells the server, by a message or in the data channel; a server that ends tells
/// its client.
#[test]
fn each_version_says_goodbye_and_is_told() {
    with_each(|version| {
        let site = Site::new(1);
        let config = server_config(&site).line("explicit-exit-notify 1");
        let mut server = Server::start(&site, &config);
        let config = version.config(&site).line("explicit-exit-notify 1");
        let mut client = version.connect(&site, &config);
        client.assert_reaches_all(&site);
        client.process.signal(Signal::TERM);
        assert_eq!(client.process.wait_exit().code(), Some(0));
        server.process.wait_for(if version.number < (2, 6) {
            "[soft,remote-exit]"
        } else {
            "[soft,delayed-exit]"
        });

        let client = version.connect(&site, &config);
        client.assert_reaches_all(&site);
        assert_eq!(server.stop().code(), Some(0));
        client
            .process
            .wait_for("Connection reset command was pushed by server");
    });
}

/// Pings keep an idle tunnel far beyond the limit of silence; a server that was killed is missed, and
/// its successor found.
#[test]
fn each_version_keeps_an_idle_tunnel_and_misses_a_server_that_is_gone() {
    with_each(|version| {
        let site = Site::new(1);
        let config = server_config(&site)
            .without("keepalive")
            .line("keepalive 1 4");
        let mut server = Server::start(&site, &config);
        let client = version.connect(&site, &version.config(&site));
        std::thread::sleep(std::time::Duration::from_secs(10));
        for process in [&server.process, &client.process] {
            assert_eq!(process.count("Inactivity timeout"), 0);
        }
        client.assert_reaches_all(&site);
        server.process.kill();
        drop(server);
        let _again = Server::start(&site, &config);
        client.process.wait_for_count(READY, 2);
        client.wait_until_reaching(&site);
    });
}

/// Lines about compression: framed as they say.
#[test]
fn each_version_frames_as_the_server_does() {
    with_each(|version| {
        if !version.compresses {
            return println!("built without compression");
        }
        let mut table = vec![
            (
                vec!["comp-lzo no", "push \"comp-lzo no\""],
                vec!["comp-lzo no"],
            ),
            // The client may compress until it is told not to.
            (vec!["comp-lzo", "push \"comp-lzo no\""], vec!["comp-lzo"]),
            (vec!["compress migrate"], vec!["comp-lzo no"]),
        ];
        if version.number >= NEGOTIATES {
            table.push((vec!["push \"compress stub-v2\""], vec![]));
            table.push((vec!["compress stub"], vec!["compress stub"]));
        }
        for (lines, own) in table {
            let site = Site::new(1);
            let config = lines
                .iter()
                .fold(server_config(&site), |it, line| it.line(*line));
            let server = Server::start(&site, &config);
            let config = own
                .iter()
                .fold(version.config(&site), |it, line| it.line(*line));
            let client = version.connect(&site, &config);
            client.assert_reaches_all(&site);
            let whole = ["-M", "do", "-s", "1472"];
            ping_with(client.namespace(&site), LAN_V4, 2, &whole).assert_all_received();
            transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
            assert_all_was_read(&server, &client);
        }
    });
}

/// Every fourth control packet is lost, either way.
#[test]
fn each_version_connects_on_a_lossy_line() {
    with_each(|version| {
        let mut count = 0_usize;
        connects_through(version, move |_, _| {
            count += 1;
            if count.is_multiple_of(4) {
                Fate::Lose
            } else {
                Fate::Pass
            }
        });
    });
}

/// Clients up to 2.5 acknowledge the server's reset once, in a packet of its own. When that is lost,
/// nothing that they send thereafter carries the cookie: the server has to ask for it again, or they
/// wait for a minute in vain.
#[test]
fn trap_07_the_only_acknowledgement_of_an_old_client_is_lost() {
    with_each(|version| {
        let lost = Arc::new(AtomicU32::new(0));
        let losses = Arc::clone(&lost);
        connects_through(version, move |way, datagram| {
            let is_ack = datagram.first().is_some_and(|byte| byte >> 3 == ACK_V1);
            if way == Way::ToServer && is_ack && losses.fetch_add(1, Ordering::Relaxed) == 0 {
                Fate::Lose
            } else {
                Fate::Pass
            }
        });
        assert!(
            lost.load(Ordering::Relaxed) > 0,
            "no acknowledgement was lost"
        );
    });
}

/// Connects at the first try while this filter decides over all control packets.
fn connects_through(
    version: &Version,
    mut filter: impl FnMut(Way, &mut [u8]) -> Fate + Send + 'static,
) {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    relay.filter(move |way, datagram| {
        if is_data(datagram) {
            Fate::Pass
        } else {
            filter(way, datagram)
        }
    });
    let _server = Server::start(&site, &server_config(&site));
    let (ip, port) = relay.address();
    let config = ClientConfig::new(&site, 0, "alice").remote(ip, port);
    let client = version.connect(&site, &version.fit(config));
    assert_eq!(client.process.count("TLS Error"), 0);
    assert_eq!(client.process.count(READY), 1);
    relay.pass_all();
    client.assert_reaches_all(&site);
}

/// From this version on the data cipher is negotiated.
const NEGOTIATES: (u32, u32) = (2, 4);

/// What a server has that serves 2.3, too.
const CIPHERS: &str = "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305:AES-256-CBC";

/// The opcode of a packet that only acknowledges.
const ACK_V1: u8 = 5;
