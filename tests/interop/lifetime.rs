//! How long a session lasts, what a key carries, and what ends a client: `session-timeout`,
//! `reneg-bytes`, `reneg-pkts`, `tls-exit`.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, TUNNEL_V4};
use crate::outgoing::connect;
use crate::pki::Authority;
use crate::server::{READY, RINGWAY, Server, Site};
use crate::traffic::{PingStream, ping};

#[test]
fn a_session_is_ended_after_its_time_whatever_it_does() {
    let site = Site::new(1);
    let config = site.server_config().without("keepalive");
    let config = config.line("keepalive 1 8").line("session-timeout 4");
    let server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let stream = PingStream::start(client.namespace(&site), TUNNEL_V4);
    let line = server.process.wait_for("Session timeout, exiting");
    assert!(line.contains("alice/"), "{line}");
    server
        .process
        .wait_for("SIGTERM[soft,session-timeout] received, client-instance exiting");
    // It is told nothing, notices, and comes again.
    client.process.wait_for_count(READY, 2);
    drop(stream);
}

#[test]
fn a_client_ends_after_its_time_and_says_goodbye() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config());
    let config = ClientConfig::new(&site, 0, "alice")
        .line("session-timeout 6")
        .line("explicit-exit-notify 1");
    let mut client = connect(&site, &config);
    client.process.wait_for("Session timeout, exiting");
    client
        .process
        .wait_for("SIGTERM[soft,session-timeout] received, process exiting");
    assert_eq!(client.process.wait_exit().code(), Some(0));
    server.process.wait_for("exit message received by peer");
}

#[test]
fn a_client_ends_after_the_time_that_the_server_pushes() {
    let site = Site::new(1);
    let config = site.server_config().line("push \"session-timeout 5\"");
    let _server = Server::start(&site, &config);
    for program in ["openvpn", RINGWAY] {
        let config = ClientConfig::new(&site, 0, "alice").line("explicit-exit-notify 1");
        let mut client = Client::spawn_program(&site, &config, program);
        client.process.wait_for("Session timeout, exiting");
        assert_eq!(client.process.wait_exit().code(), Some(0), "{program}");
    }
}

/// Asserts that there are new keys while packets pass, and that no packet is lost for it.
fn renews(site: &Site, server: &Server, client: &Client) {
    ping(client.namespace(site), LAN_V4, 3);
    let stream = PingStream::start(client.namespace(site), LAN_V4);
    for process in [&server.process, &client.process] {
        process.wait_for_count("Control Channel: TLSv1.", 3);
    }
    stream.stop_and_assert_all_received();
    assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
}

#[test]
fn a_key_that_has_carried_enough_is_replaced() {
    for line in ["reneg-pkts 20", "reneg-bytes 3000"] {
        let site = Site::new(1);
        let config = site.server_config().line("reneg-sec 0").line(line);
        let server = Server::start(&site, &config);
        let client = ClientConfig::new(&site, 0, "alice").line("reneg-sec 0");
        renews(&site, &server, &Client::connect(&site, &client));
    }
}

#[test]
fn a_client_replaces_a_key_that_has_carried_enough() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config().line("reneg-sec 0"));
    let config = ClientConfig::new(&site, 0, "alice")
        .line("reneg-sec 0")
        .line("reneg-bytes 3000");
    renews(&site, &server, &connect(&site, &config));
}

#[test]
fn a_client_with_tls_exit_ends_when_the_handshake_fails() {
    let site = Site::new(1);
    let other = Authority::new("another CA");
    let config = ClientConfig::new(&site, 0, "alice")
        .without_block("ca")
        .block("ca", &other.pem())
        .line("tls-exit");
    let _server = Server::start(&site, &site.server_config());
    for program in ["openvpn", RINGWAY] {
        let mut client = Client::spawn_program(&site, &config, program);
        client.process.wait_for("TLS Error: TLS handshake failed");
        client
            .process
            .wait_for("SIGTERM[soft,tls-error] received, process exiting");
        assert_eq!(client.process.wait_exit().code(), Some(0), "{program}");
    }
}
