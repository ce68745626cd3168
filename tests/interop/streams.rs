//! TCP: clients over it, alone and beside those over UDP, and what a connection brings that a datagram does
//! not: its end, a receiver that does not read, strangers who only connect.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::flood::Flood;
use crate::management::{self, Manager};
use crate::matrix::Wrapping;
use crate::network::{LAN_V4, LAN_V6, Namespace, TUNNEL_V4, server_v4, server_v6};
use crate::process::eventually;
use crate::report::Report;
use crate::server::{Implementation, PORT, READY, Server, ServerConfig, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// A server on TCP instead of UDP, of both families.
pub(crate) fn on_tcp(config: ServerConfig) -> ServerConfig {
    config.without("proto").line("proto tcp6-server")
}

/// Connects, and checks that IPv4 and IPv6 pass in both directions, and that 10 MB arrive as they were
/// sent.
fn connects(wrapping: Wrapping, outer: fn(usize) -> IpAddr) {
    let site = Site::new(1);
    let server = on_tcp(site.server_config());
    let client = ClientConfig::new(&site, 0, "alice").remote(outer(0), PORT);
    let (server, client) = wrapping.apply(&site, server, client.over_tcp());
    let mut server = Server::start(&site, &server);
    let client = Client::connect(&site, &client);
    server
        .process
        .wait_for("TCP connection established with [AF_INET");
    server
        .process
        .wait_for("[alice] Peer Connection Initiated with [AF_INET");
    client.assert_reaches_all(&site);
    for inner in [LAN_V4, LAN_V6] {
        transfer_both_ways(client.namespace(&site), &site.topology.lan, inner);
    }
    // The options of both sides fit: those of a server on UDP would not.
    assert_eq!(client.process.count("used inconsistently"), 0);
    assert_eq!(server.stop().code(), Some(0), "the server's exit code");
}

#[test]
fn plain_over_v4() {
    connects(Wrapping::Plain, server_v4);
}

#[test]
fn tls_auth_over_v6() {
    connects(Wrapping::AuthSha256, server_v6);
}

#[test]
fn tls_crypt_over_v4() {
    connects(Wrapping::Crypt, server_v4);
}

#[test]
fn tls_crypt_v2_over_v6() {
    connects(Wrapping::CryptV2, server_v6);
}

#[test]
fn both_renegotiate_under_traffic_over_tcp() {
    let site = Site::new(1);
    let server = Server::start(&site, &on_tcp(site.server_config().line("reneg-sec 5")));
    let config = ClientConfig::new(&site, 0, "alice").line("reneg-sec 6");
    let client = Client::connect(&site, &config.over_tcp());
    for to in [LAN_V4, LAN_V6] {
        ping(client.namespace(&site), to, 3);
    }
    let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(client.namespace(&site), to));
    client.process.wait_for_count("Control Channel: TLSv1.", 4);
    server.process.wait_for_count("Control Channel: TLSv1.", 4);
    for stream in streams {
        stream.stop_and_assert_all_received();
    }
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
    assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
}

/// A client sees the end of its connection and comes again; no timeout has to pass.
#[test]
fn a_server_that_is_killed_is_missed_at_once() {
    let site = Site::new(1);
    let config = on_tcp(site.server_config());
    let mut server = Server::start(&site, &config);
    let client = ClientConfig::new(&site, 0, "alice").over_tcp();
    let client = Client::connect(&site, &client);
    client.assert_reaches_all(&site);
    server.process.kill();
    client.process.wait_for("Connection reset, restarting");
    let _again = Server::start(&site, &config);
    client.process.wait_for_count(READY, 2);
    client.wait_until_reaching(&site);
}

#[test]
fn a_client_that_is_killed_is_missed_at_once() {
    let site = Site::new(1);
    let server = Server::start(&site, &on_tcp(site.server_config()));
    let config = ClientConfig::new(&site, 0, "alice").over_tcp();
    let mut client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    client.process.kill();
    let line = server.process.wait_for("Connection reset, restarting [");
    assert!(line.contains("alice/"), "{line}");
    server
        .process
        .wait_for("SIGUSR1[soft,connection-reset] received, client-instance restarting");
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
}

/// One client stops reading while much is sent to it. What waits for it is bounded and dropped by name,
/// the others do not notice, and when it reads again its tunnel is still there.
#[test]
fn who_does_not_read_holds_up_nobody() {
    if !Implementation::is_ringway("a receiver that does not read") {
        return;
    }
    let site = Site::new(2);
    let socket = site.topology.directory().join("control.sock");
    let config = on_tcp(site.server_config())
        .without("setenv")
        .without("keepalive")
        .line("keepalive 10 120")
        .line("setenv opt ringway-shards 1")
        .line(format!("setenv opt ringway-control {}", socket.display()));
    let _server = Server::start(&site, &config);
    let [slow, quick] = [0, 1].map(|index| {
        let config = ClientConfig::new(&site, index, &format!("client-{index}"));
        Client::connect(&site, &config.over_tcp())
    });
    let lan = &site.topology.lan;
    let flood = Flood::start(lan, slow.tunnel_v4(&site).into());
    slow.process.signal(Signal::STOP);
    eventually("packets that are dropped for who does not read", || {
        (Report::ask_about(&socket, 1).sum("drops", "stream_full") > 1_000).then_some(())
    });
    // As many as may, and what was sealed before it was known.
    let waiting = Report::ask_about(&socket, 1).sum("queues", "stream_packets_waiting");
    assert!((1..=2_000).contains(&waiting), "{waiting} packets wait");
    let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(quick.namespace(&site), to));
    transfer_both_ways(quick.namespace(&site), lan, LAN_V4);
    for stream in streams {
        stream.stop_and_assert_all_received();
    }
    slow.process.signal(Signal::CONT);
    drop(flood);
    slow.wait_until_reaching(&site);
    assert_eq!(slow.process.count(READY), 1, "its tunnel was never gone");
}

/// One process on UDP and TCP, of both families, by lines of 2.7.
#[test]
fn clients_over_udp_and_tcp_beside_one_another() {
    if !Implementation::is_ringway("several listeners") {
        return;
    }
    let site = Site::new(4);
    let config = site
        .server_config()
        .without("proto")
        .without("port")
        .line("client-to-client")
        .line(format!("local 0.0.0.0 {PORT} udp4"))
        .line(format!("local 0.0.0.0 {PORT} tcp4"))
        .line("local :: 1195 tcp6")
        .line("local * 1196 udp");
    let server = Server::start(&site, &config);
    let config = |index: usize, remote, port| {
        ClientConfig::new(&site, index, &format!("client-{index}")).remote(remote, port)
    };
    let clients = [
        config(0, server_v4(0), PORT),
        config(1, server_v4(1), PORT).over_tcp(),
        config(2, server_v6(2), 1195).over_tcp(),
        config(3, server_v6(3), 1196),
    ]
    .map(|config| Client::connect(&site, &config));
    for client in &clients {
        client.assert_reaches_all(&site);
        assert_eq!(client.process.count("used inconsistently"), 0);
    }
    for from in &clients {
        for to in &clients {
            let to = to.tunnel_v4(&site).into();
            ping(from.namespace(&site), to, 3).assert_all_received();
        }
    }
    assert_eq!(server.process.count("Peer Connection Initiated"), 4);
}

/// The notice of 2.6, and what is pushed for `tcp-nodelay`.
#[test]
fn lines_about_tcp() {
    let site = Site::new(1);
    let config = on_tcp(site.server_config())
        .line("explicit-exit-notify 1")
        .line("tcp-nodelay")
        .line("tcp-queue-limit 32");
    let server = Server::start(&site, &config);
    server
        .process
        .wait_for("explicit-exit-notify: it is ignored for --proto tcp");
    let config = ClientConfig::new(&site, 0, "alice").over_tcp();
    let client = Client::connect(&site, &config);
    client.process.wait_for("socket-flags TCP_NODELAY");
    client
        .process
        .wait_for("Socket flags: TCP_NODELAY=1 succeeded");
    client.assert_reaches_all(&site);
}

/// Who can't speak the protocol is not kept: what is no packet closes the connection at once, a first
/// packet that begins no session too, and silence after ten seconds.
#[test]
fn strangers_are_closed() {
    if !Implementation::is_ringway("strangers over TCP") {
        return;
    }
    let site = Site::new(1);
    let server = Server::start(&site, &on_tcp(site.server_config()));
    let namespace = &site.topology.clients[0];
    for (bytes, patience) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 3),
        (&[0, 0], 3),
        // A control packet that begins nothing.
        (&[0, 14, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1], 3),
        // Half a packet, and nothing.
        (&[0, 14, 0x38], 15),
        (&[], 15),
    ] {
        assert_closed_within(namespace, bytes, patience);
    }
    server.process.wait_for(
        "WARNING: Bad encapsulated packet length from peer (18245), which must be > 0 and <= 2048",
    );
    let config = ClientConfig::new(&site, 0, "alice").over_tcp();
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    ping(client.namespace(&site), TUNNEL_V4, 3).assert_all_received();
}

fn assert_closed_within(from: &Namespace, bytes: &'static [u8], seconds: u64) {
    let closed = from.spawn(move || {
        let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
        stream.write_all(bytes).unwrap();
        let patience = Duration::from_secs(seconds);
        stream.set_read_timeout(Some(patience)).unwrap();
        match stream.read(&mut [0; 16]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    });
    assert!(closed.join().unwrap(), "{bytes:?}");
}

/// A client for which there is no place is told so, and hears it before the end of its connection; the server waits for
/// the client's end, and a client that never closes is closed all the same.
#[test]
fn a_refusal_is_heard_before_the_end() {
    let site = Site::new(2);
    let config = on_tcp(site.server_config()).line("max-clients 1");
    let _server = Server::start(&site, &config);
    let first = ClientConfig::new(&site, 0, "alice").over_tcp();
    let first = Client::connect(&site, &first);
    if Implementation::is_ringway("a full server that lets TLS finish") {
        let second = ClientConfig::new(&site, 1, "bob").over_tcp();
        let second = Client::spawn(&site, &second);
        second
            .process
            .wait_for("AUTH: Received control message: AUTH_FAILED,TEMP");
    }
    first.assert_reaches_all(&site);
}

/// What a client is told last, at the wish of whoever manages the server, comes before the end of its connection; then it
/// connects again.
#[test]
fn a_restart_is_heard_before_the_end() {
    let site = Site::new(1);
    let config = on_tcp(management::config(&site));
    let _server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice").over_tcp();
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    let mut manager = Manager::connect(&management::socket(&site));
    let status = manager.ask_lines("status 2");
    let mut rows = status.lines();
    let row = rows.find(|line| line.starts_with("CLIENT_LIST,alice,"));
    let client_id = row.and_then(|row| row.split(',').nth(10)).unwrap();
    assert_eq!(
        manager.ask(&format!("client-kill {client_id} \"RESTART,[N]move on\"")),
        "SUCCESS: client-kill command succeeded"
    );
    client
        .process
        .wait_for("command was pushed by server ('[N]move on')");
    client.process.wait_for_count(READY, 2);
    // It went because it was told to, not because it lost its connection.
    assert_eq!(client.process.count("Connection reset, restarting"), 0);
    client.wait_until_reaching(&site);
}
