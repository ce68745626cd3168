//! Outer addresses: dual stack, one family alone, several addresses on one machine.

use std::net::IpAddr;

use crate::client::{Client, ClientConfig};
use crate::network::{Topology, server_v4, server_v6};
use crate::server::{PORT, Server, Site};

/// The server's second addresses, which its kernel never chooses by itself.
fn second_addresses() -> [IpAddr; 2] {
    ["10.80.0.9", "fd80:0::9"].map(|text| text.parse().unwrap())
}

/// One listener for both families, and each answer leaves from the address that was asked: a
/// client drops an answer from any other.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    // The stock daemon needs to be told.
    let site = Site::new(1);
    let config = site.server_config().stock_line("multihome");
    let _server = Server::start(&site, &config);
    for address in [server_v4(0), server_v6(0)]
        .into_iter()
        .chain(second_addresses())
    {
        let config = ClientConfig::new(&site, 0, "alice").remote(address, PORT);
        let client = Client::connect(&site, &config);
        client.assert_reaches_all(&site);
    }
}

#[test]
fn two_clients_over_two_families_at_once() {
    let site = Site::new(2);
    let _server = Server::start(&site, &site.server_config());
    let [v4, v6] = [(0, server_v4(0)), (1, server_v6(1))].map(|(index, address)| {
        let config = ClientConfig::new(&site, index, &format!("client-{index}"));
        Client::connect(&site, &config.remote(address, PORT))
    });
    v4.assert_reaches_all(&site);
    v6.assert_reaches_all(&site);
}

#[test]
fn proto_udp4_with_local() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without("proto")
        .line("proto udp4")
        .line("local 10.80.0.9");
    let _server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice").remote(second_addresses()[0], PORT);
    Client::connect(&site, &config).assert_reaches_all(&site);
}

/// A server machine without any IPv4 address outside, and one bound to a single IPv6 address.
#[test]
fn ipv6_alone_outside() {
    let site = Site::new(1);
    remove_outer_v4(&site.topology);
    let config = site.server_config().line("local fd80:0::9");
    let _server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice").remote(second_addresses()[1], PORT);
    Client::connect(&site, &config).assert_reaches_all(&site);
}

/// `proto udp` without a digit: IPv4 works whatever else the machine has.
#[test]
fn proto_udp_without_family() {
    let site = Site::new(1);
    let config = site.server_config().without("proto").line("proto udp");
    let _server = Server::start(&site, &config);
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
}

fn remove_outer_v4(topology: &Topology) {
    topology.server.ip(&["-4", "address", "flush", "dev", "c0"]);
    topology.clients[0].ip(&["-4", "address", "flush", "dev", "out"]);
}
