//! A client whose address changes in the middle of a session: its session goes along.

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::eventually;
use crate::relay::Relay;
use crate::server::{READY, Server, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// A NAT between the two forgets the mapping: another address and port from one packet to the
/// next, and back. Not one ping is lost, in either direction.
#[test]
fn session_follows_a_rebound_nat() {
    let site = Site::new(1);
    let config = site.server_config().without("verb").line("verb 4");
    let server = Server::start(&site, &config);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (ip, port) = relay.address();
    let config = ClientConfig::new(&site, 0, "alice").remote(ip, port);
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    for round in 1..=4 {
        relay.rebind();
        ping(client.namespace(&site), LAN_V4, 10).assert_all_received();
        ping(&site.topology.lan, client.tunnel_v4(&site).into(), 10).assert_all_received();
        server
            .process
            .wait_for_count("(alice) floated from ", round);
    }
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
    assert_eq!(client.process.count(READY), 1);
}

/// The client's own address goes away, and it sends from another one.
#[test]
fn session_follows_a_client_to_its_new_address() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    let namespace = client.namespace(&site);
    namespace.ip(&["address", "del", "10.80.0.2/24", "dev", "out"]);
    // The second address lost its label of a secondary; it may be chosen from now on.
    namespace.ip(&["address", "replace", "10.80.0.3/24", "dev", "out"]);
    eventually("traffic from the new address", || {
        (ping(namespace, LAN_V4, 1).received == 1).then_some(())
    });
    client.assert_reaches_all(&site);
    assert_eq!(client.process.count(READY), 1, "the same session");
}

/// After a move, renegotiation goes on from the new address.
#[test]
fn renegotiation_after_a_move() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config().line("reneg-sec 5"));
    let relay = Relay::start(&site.topology.clients[0], 0);
    let (ip, port) = relay.address();
    let client = Client::connect(
        &site,
        &ClientConfig::new(&site, 0, "alice").remote(ip, port),
    );
    relay.rebind();
    let stream = PingStream::start(client.namespace(&site), LAN_V4);
    server.process.wait_for_count("Control Channel: TLSv1.", 3);
    stream.stop_and_assert_all_received();
    assert_eq!(client.process.count(READY), 1);
}
