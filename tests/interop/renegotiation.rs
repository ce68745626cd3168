//! New keys every few seconds under traffic, asked for by either side: no packet is lost.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::server::{READY, Server, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// Handshakes to see: the first and three renegotiations.
const HANDSHAKES: usize = 4;

fn renegotiates(server_seconds: u32, client_seconds: u32, further: &[&str]) {
    let site = Site::new(1);
    let config = site
        .server_config()
        .line(format!("reneg-sec {server_seconds}"));
    let server = Server::start(&site, &config);
    let mut config =
        ClientConfig::new(&site, 0, "alice").line(format!("reneg-sec {client_seconds}"));
    for line in further {
        config = config.line(*line);
    }
    let client = Client::connect(&site, &config);
    // Neighbours on the local network have been found when nothing may be lost any more.
    for to in [LAN_V4, LAN_V6] {
        ping(client.namespace(&site), to, 3);
    }
    let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(client.namespace(&site), to));
    let back = PingStream::start(&site.topology.lan, client.tunnel_v4(&site).into());
    client
        .process
        .wait_for_count("Control Channel: TLSv1.", HANDSHAKES);
    server
        .process
        .wait_for_count("Control Channel: TLSv1.", HANDSHAKES);
    for stream in streams.into_iter().chain([back]) {
        stream.stop_and_assert_all_received();
    }
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
    assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
}

#[test]
fn server_renegotiates_under_traffic() {
    renegotiates(5, 0, &[]);
}

#[test]
fn trap_26_client_renegotiates_under_traffic() {
    renegotiates(0, 5, &[]);
}

#[test]
fn both_renegotiate_under_traffic() {
    renegotiates(5, 5, &[]);
}

#[test]
fn renegotiation_with_tls12() {
    renegotiates(5, 0, &["tls-version-max 1.2"]);
}

/// More renegotiations than there are key ids (1 to 7, then 1 again).
#[test]
#[ignore = "full tier"]
fn key_ids_wrap_around() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config().line("reneg-sec 3"));
    let client = Client::connect(
        &site,
        &ClientConfig::new(&site, 0, "alice").line("reneg-sec 0"),
    );
    let stream = PingStream::start(client.namespace(&site), LAN_V4);
    server.process.wait_for_count("Control Channel: TLSv1.", 10);
    stream.stop_and_assert_all_received();
}
