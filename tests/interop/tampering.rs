//! Wrong static keys, and packets that were changed, lost, doubled or made up on their way.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, TUNNEL_V4, server_v4};
use crate::outgoing::wait_for_pings;
use crate::pki::static_key;
use crate::process::eventually;
use crate::relay::{Fate, Relay, Way, is_data};
use crate::server::{PORT, READY, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// The lines of stock and of fail2ban's filters, one for each wrapping.
const TLS_AUTH_REFUSED: &str = "TLS Error: incoming packet authentication failed from [AF_INET";
const TLS_CRYPT_REFUSED: &str = "TLS Error: tls-crypt unwrapping failed from [AF_INET";

fn assert_wrong_key_refused(wrapping: &str, arguments: [&str; 2], line: &str) {
    let site = Site::new(2);
    let [good, wrong] = ["good.key", "wrong.key"].map(|name| {
        site.topology
            .write(name, static_key())
            .display()
            .to_string()
    });
    let with_key = |key: &str, end: usize| format!("{wrapping} {key} {}", arguments[end]);
    let server = Server::start(&site, &site.server_config().line(with_key(&good, 0)));
    let stranger = ClientConfig::new(&site, 0, "mallory")
        .line(with_key(&wrong, 1))
        .line("hand-window 6");
    let stranger = Client::spawn(&site, &stranger);
    let refused = server.process.wait_for(line);
    assert!(
        refused.contains("10.80.0.2"),
        "the line names the sender: {refused}"
    );
    stranger
        .process
        .wait_for("TLS key negotiation failed to occur within 6 seconds");
    assert_eq!(stranger.process.count(READY), 0);

    let friend = ClientConfig::new(&site, 1, "alice").line(with_key(&good, 1));
    Client::connect(&site, &friend).assert_reaches_all(&site);
}

#[test]
fn wrong_tls_crypt_key_is_refused() {
    assert_wrong_key_refused("tls-crypt", ["", ""], TLS_CRYPT_REFUSED);
}

#[test]
fn wrong_tls_auth_key_is_refused() {
    assert_wrong_key_refused("tls-auth", ["", ""], TLS_AUTH_REFUSED);
}

#[test]
fn wrong_tls_auth_key_with_directions_is_refused() {
    assert_wrong_key_refused("tls-auth", ["0", "1"], TLS_AUTH_REFUSED);
}

#[test]
fn same_tls_auth_direction_on_both_sides_is_refused() {
    let site = Site::new(1);
    let key = site.topology.write("static.key", static_key());
    let line = format!("tls-auth {} 1", key.display());
    let server = Server::start(&site, &site.server_config().line(&line));
    let client = Client::spawn(&site, &ClientConfig::new(&site, 0, "alice").line(&line));
    server.process.wait_for(TLS_AUTH_REFUSED);
    assert_eq!(client.process.count(READY), 0);
}

/// A client that reaches the server through a relay.
fn through_relay(site: &Site, relay: &Relay) -> ClientConfig {
    let (ip, port) = relay.address();
    ClientConfig::new(site, 0, "alice").remote(ip, port)
}

fn tls_crypt(site: &Site, server: ServerConfig, client: ClientConfig) -> (Server, ClientConfig) {
    let key = static_key();
    let server = Server::start(site, &server.block("tls-crypt", &key));
    (server, client.block("tls-crypt", &key))
}

/// Bits flip in many of the first control packets; retransmission carries the handshake through.
#[test]
fn handshake_survives_tampered_control_packets() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (server, client) = tls_crypt(&site, site.server_config(), through_relay(&site, &relay));
    let mut control_packets = [0_u32; 2];
    relay.filter(move |way, datagram| {
        if !is_data(datagram) {
            let count = &mut control_packets[usize::from(way == Way::ToServer)];
            if 0b0010_0101_u32
                .checked_shr(*count)
                .is_some_and(|pattern| pattern & 1 == 1)
            {
                let last = datagram.len() - 1;
                datagram[last] ^= 0x10;
            }
            *count += 1;
        }
        Fate::Pass
    });
    let client = Client::spawn(&site, &client);
    server.process.wait_for(TLS_CRYPT_REFUSED);
    client.process.wait_for(TLS_CRYPT_REFUSED);
    client.wait_connected(&site);
    relay.pass_all();
    client.assert_reaches_all(&site);
}

/// Flipped bits anywhere in data packets: each is dropped on arrival, none gets through changed,
/// and the tunnel goes on.
#[test]
fn tampered_data_packets_are_dropped() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (server, client) = tls_crypt(&site, site.server_config(), through_relay(&site, &relay));
    let client = Client::connect(&site, &client);
    client.assert_reaches_all(&site);

    for way in [Way::ToServer, Way::ToClient] {
        let mut position = 4;
        relay.filter(move |which, datagram| {
            if which == way && is_data(datagram) {
                // From the packet id through the tag into the ciphertext, one place a packet.
                position = if position + 1 < datagram.len() {
                    position + 1
                } else {
                    4
                };
                datagram[position] ^= 0x01;
            }
            Fate::Pass
        });
        let report = ping(client.namespace(&site), LAN_V4, 20);
        assert_eq!(
            (report.sent, report.received),
            (20, 0),
            "changed packets {way:?} must not pass"
        );
        let side = if way == Way::ToServer {
            &server.process
        } else {
            &client.process
        };
        side.wait_for("AEAD Decrypt error");
    }
    relay.pass_all();
    client.assert_reaches_all(&site);
    assert_eq!(client.process.count(READY), 1, "the tunnel was never lost");
}

/// Each data packet arrives twice: the second is a replay, and nothing inside arrives twice.
#[test]
fn doubled_data_packets_arrive_once() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (server, client) = tls_crypt(&site, site.server_config(), through_relay(&site, &relay));
    let client = Client::connect(&site, &client);
    relay.filter(|_, datagram| {
        if is_data(datagram) {
            Fate::Twice
        } else {
            Fate::Pass
        }
    });
    let stream = PingStream::start(client.namespace(&site), LAN_V4);
    server
        .process
        .wait_for("AEAD Decrypt error: bad packet ID (may be a replay): [ #");
    stream.stop_and_assert_all_received();
}

/// A network that loses every seventh packet: the handshake and a transfer still get through.
#[test]
fn lossy_network() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (_server, client) = tls_crypt(&site, site.server_config(), through_relay(&site, &relay));
    let mut count = 0_usize;
    relay.filter(move |_, datagram| {
        count += 1;
        // Control packets suffer more than data, which TCP alone would take long to repair.
        let every = if is_data(datagram) { 97 } else { 4 };
        if count.is_multiple_of(every) {
            Fate::Lose
        } else {
            Fate::Pass
        }
    });
    let client = Client::connect(&site, &client);
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
}

/// Datagrams that mean nothing, from empty ones to all opcodes with rubbish: the server answers
/// none of them with a session and serves its clients as before.
#[test]
fn rubbish_from_strangers_does_no_harm() {
    let site = Site::new(2);
    let server = Server::start(&site, &site.server_config());
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let opened = site.topology.clients[1]
        .spawn(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
        .join();
    let stranger = opened.unwrap();
    let target = SocketAddr::new(server_v4(1), PORT);
    let stream = PingStream::start(client.namespace(&site), TUNNEL_V4);
    for round in 0..4_u8 {
        for first in 0..=u8::MAX {
            // A stranger is not a flood here: the server's socket has room for a few hundred.
            std::thread::sleep(Duration::from_millis(2));
            for length in [0_usize, 1, 8, 9, 14, 40, 300, 1400] {
                let mut datagram = vec![round ^ 0x5a; length];
                if let Some(byte) = datagram.first_mut() {
                    *byte = first;
                }
                // A full queue on a busy machine refuses one or the other.
                let _ = stranger.send_to(&datagram, target);
            }
        }
    }
    stream.stop_and_assert_all_received();
    client.assert_reaches_all(&site);
    let other = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    eventually("the other client's traffic", || {
        (ping(other.namespace(&site), LAN_V4, 1).received == 1).then_some(())
    });
    assert_eq!(server.process.count("Peer Connection Initiated"), 2);
}

/// With an HMAC beside the cipher, what is wrong with a packet is told in the words of that.
#[test]
fn tampered_and_doubled_packets_in_cbc_are_dropped() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let config = site.server_config().line("data-ciphers AES-256-CBC");
    let server = Server::start(&site, &config);
    let config = through_relay(&site, &relay).line("data-ciphers AES-256-CBC");
    for program in ["openvpn", RINGWAY] {
        relay.pass_all();
        let client = Client::spawn_program(&site, &config, program);
        client.process.wait_for(READY);
        wait_for_pings(&site, &client);
        for way in [Way::ToServer, Way::ToClient] {
            relay.filter(move |which, datagram| {
                if which == way && is_data(datagram) && datagram.len() > 60 {
                    datagram[40] ^= 1;
                }
                Fate::Pass
            });
            let report = ping(client.namespace(&site), LAN_V4, 5);
            assert_eq!(report.received, 0, "{program} {way:?}");
            let side = match way {
                Way::ToServer => &server.process,
                Way::ToClient => &client.process,
            };
            side.wait_for("Authenticate/Decrypt packet error: packet HMAC authentication failed");
            relay.filter(
                move |which, datagram| match which == way && is_data(datagram) {
                    true => Fate::Twice,
                    false => Fate::Pass,
                },
            );
            ping(client.namespace(&site), LAN_V4, 5).assert_all_received();
            side.wait_for(
                "Authenticate/Decrypt packet error: bad packet ID (may be a replay): [ #",
            );
        }
    }
}
