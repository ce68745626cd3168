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
    client.move_to_second_address(&site);
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

/// Nothing but its address says whose a `DATA_V1` packet is: from another one it is nobody's.
#[test]
fn client_that_sends_data_v1_does_not_move() {
    let site = Site::new(1);
    let config = site.server_config().without("verb").line("verb 4");
    let server = Server::start(&site, &config);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let client = Client::connect(&site, &sending_data_v1(&site, 0, "alice", &relay));
    client.assert_reaches_all(&site);
    for _ in 0..2 {
        relay.rebind();
        assert_eq!(ping(client.namespace(&site), LAN_V4, 10).received, 0);
        relay.rebind();
        client.assert_reaches_all(&site);
    }
    assert_eq!(server.process.count("floated from"), 0);
    assert_eq!(client.process.count(READY), 1);
}

/// A client whose packets come from the address of a `DATA_V1` client, as a NAT that gives
/// mappings away would have it, does not move there: what is sent to that address is the other's.
#[test]
fn nobody_moves_to_the_address_of_a_data_v1_client() {
    let site = Site::new(2);
    let config = site.server_config().without("verb").line("verb 4");
    let server = Server::start(&site, &config);
    let relays = [0, 1].map(|index| Relay::start(&site.topology.clients[index], index));
    let (ip, port) = relays[0].address();
    let mover = ClientConfig::new(&site, 0, "mover").remote(ip, port);
    let mover = Client::connect(&site, &mover);
    let holder = sending_data_v1(&site, 1, "holder", &relays[1]);
    let holder = Client::connect(&site, &holder);

    let stream = PingStream::start(holder.namespace(&site), LAN_V4);
    relays[0].take_mapping_of(&relays[1]);
    let lost = ping(mover.namespace(&site), LAN_V4, 20);
    assert_eq!(lost.received, 0, "packets from another's address");
    relays[0].give_mapping_back();
    mover.assert_reaches_all(&site);
    stream.stop_and_assert_all_received();
    assert_eq!(server.process.count("floated from"), 0);
    for client in [&mover, &holder] {
        assert_eq!(client.process.count(READY), 1, "the same session");
        assert_eq!(client.process.count("Decrypt error"), 0);
    }
}

/// A client that sends `DATA_V1` through a relay.
fn sending_data_v1(site: &Site, index: usize, name: &str, relay: &Relay) -> ClientConfig {
    let (ip, port) = relay.address();
    ClientConfig::new(site, index, name)
        .remote(ip, port)
        .line("pull-filter ignore \"peer-id\"")
}
