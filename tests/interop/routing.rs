//! Which way packets outside of the tunnel take: `mark` and `bind-dev`, over UDP and TCP.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::network::{Namespace, server_v4};
use crate::outgoing::{connect, stop};
use crate::process::command_in;
use crate::server::{Implementation, PORT, Server, Site};
use crate::streams::on_tcp;

/// Leaves a way to the tunnel's port, or from it, to marked packets alone.
fn demand_mark(namespace: &Namespace, protocol: &str, port: &str) {
    namespace.ip(&["route", "add", "unreachable", "default", "table", "99"]);
    let others = [
        "rule", "add", "pref", "200", "ipproto", protocol, port, "1194", "lookup", "99",
    ];
    namespace.ip(&others);
    namespace.ip(&[
        "rule", "add", "pref", "100", "fwmark", "77", "lookup", "main",
    ]);
}

#[test]
fn packets_of_a_server_are_marked() {
    if !Implementation::is_ringway("rules of the machine") {
        return;
    }
    for protocol in ["udp", "tcp"] {
        let site = Site::new(1);
        let (mut server, mut client) = (site.server_config(), ClientConfig::new(&site, 0, "alice"));
        if protocol == "tcp" {
            (server, client) = (on_tcp(server), client.over_tcp());
        }
        demand_mark(&site.topology.server, protocol, "sport");
        // Its answers would not arrive.
        let unmarked = site.topology.server.spawn(|| {
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
            socket.send_to(&[0], "10.80.0.2:9").is_err()
        });
        assert_eq!(unmarked.join().unwrap(), protocol == "udp");
        let _server = Server::start(&site, &server.line("mark 77"));
        let client = Client::connect(&site, &client);
        client.assert_reaches_all(&site);
    }
}

#[test]
fn packets_of_a_client_are_marked() {
    for protocol in ["udp", "tcp"] {
        let site = Site::new(1);
        let (mut server, mut client) = (site.server_config(), ClientConfig::new(&site, 0, "alice"));
        if protocol == "tcp" {
            (server, client) = (on_tcp(server), client.over_tcp());
        }
        let _server = Server::start(&site, &server);
        demand_mark(&site.topology.clients[0], protocol, "dport");
        if protocol == "tcp" {
            let unmarked = site.topology.clients[0].spawn(|| {
                let patience = Duration::from_secs(5);
                TcpStream::connect_timeout(&(server_v4(0), PORT).into(), patience).is_err()
            });
            assert!(unmarked.join().unwrap(), "the rule does nothing");
        }
        let mut client = connect(&site, &client.line("mark 77"));
        client.assert_reaches_all(&site);
        stop(&mut client);
    }
}

/// The device of the first client is in a VRF, where nobody else is reached from or reaches.
#[test]
fn a_server_and_a_client_are_bound_to_a_device() {
    if !Implementation::is_ringway("a VRF") {
        return;
    }
    for protocol in ["udp", "tcp"] {
        let site = Site::new(2);
        let server = &site.topology.server;
        let vrf = ["link", "add", "red", "type", "vrf", "table", "10"];
        let made = command_in(server.name(), "ip", &vrf).output().unwrap();
        let device = match made.status.success() {
            true => {
                server.ip(&["link", "set", "red", "up"]);
                server.ip(&["link", "set", "c0", "master", "red"]);
                "red"
            }
            false => "c0",
        };
        let (mut config, mut client) = (
            site.server_config(),
            ClientConfig::new(&site, 0, "alice").line("bind-dev out"),
        );
        if protocol == "tcp" {
            (config, client) = (on_tcp(config), client.over_tcp());
        }
        let _server = Server::start(&site, &config.line(format!("bind-dev {device}")));
        let mut client = connect(&site, &client);
        // By the other device nobody is let in.
        let other = site.topology.clients[1].spawn(|| {
            let patience = Duration::from_secs(2);
            TcpStream::connect_timeout(&(server_v4(1), PORT).into(), patience).is_err()
        });
        assert!(other.join().unwrap(), "{device}");
        stop(&mut client);
    }
}
