//! Networks behind clients: `iroute` in the files of clients, `route` at the server.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, Namespace, branch_host};
use crate::outgoing::{connect, stop};
use crate::process::eventually;
use crate::server::{Server, ServerConfig, Site, shards};
use crate::traffic::{ping, ping_with, transfer_both_ways};

/// The server's lines for clients with networks behind them, whose files are in `ccd`.
pub(crate) fn with_files(site: &Site, config: ServerConfig) -> ServerConfig {
    let directory = site.topology.directory().join("ccd");
    std::fs::create_dir_all(&directory).unwrap();
    let lines = ServerConfig::line(config, format!("client-config-dir {}", directory.display()));
    lines
        .line("route 10.91.0.0 255.255.0.0")
        .line("route-ipv6 fd91::/16")
}

/// Writes the file of client `index` with the network behind it, and `further` lines.
fn write_file(site: &Site, index: usize, name: &str, further: &str) {
    let text =
        format!("iroute 10.91.{index}.0 255.255.255.0\niroute-ipv6 fd91:{index}::/64\n{further}\n");
    site.topology.write(&format!("ccd/{name}"), text);
}

/// Pings both ways over both families, then TCP both ways.
fn assert_joined(
    left: (&Namespace, [std::net::IpAddr; 2]),
    right: (&Namespace, [std::net::IpAddr; 2]),
) {
    for ((from, _), (_, to)) in [(left, right), (right, left)] {
        for to in to {
            ping(from, to, 5).assert_all_received();
        }
    }
    for to in right.1 {
        transfer_both_ways(left.0, right.0, to);
    }
}

fn lan(site: &Site) -> (&Namespace, [std::net::IpAddr; 2]) {
    (&site.topology.lan, [LAN_V4, LAN_V6])
}

/// Two data centres: ringway at both ends, a local network at each.
#[test]
fn two_data_centres_are_joined() {
    let site = Site::new(1);
    let config = with_files(&site, site.server_config());
    write_file(&site, 0, "branch-0", "");
    let server = Server::start(&site, &config);
    let host = site.topology.branch(0);
    let mut client = connect(&site, &ClientConfig::new(&site, 0, "branch-0"));
    assert_joined(lan(&site), (&host, branch_host(0)));
    stop(&mut client);
    drop(server);
}

/// Stock clients with a network behind each, on different shards, and what others see of them.
#[test]
fn networks_behind_stock_clients_are_reached_from_everywhere() {
    let site = Site::new(2);
    let status = site.topology.directory().join("status");
    let config = with_files(&site, site.server_config())
        .line(format!("status {} 1", status.display()))
        .line("push \"route 10.91.0.0 255.255.255.0\"")
        .line("push \"route 10.91.1.0 255.255.255.0\"")
        .line("push \"route-ipv6 fd91:0::/64\"")
        .line("push \"route-ipv6 fd91:1::/64\"");
    for index in 0..2 {
        write_file(&site, index, &format!("branch-{index}"), "");
    }
    let server = Server::start(&site, &config);
    let hosts = [0, 1].map(|index| site.topology.branch(index));
    let clients = [0, 1].map(|index| {
        let config = ClientConfig::new(&site, index, &format!("branch-{index}"));
        Client::connect(&site, &config.line("explicit-exit-notify 1"))
    });
    for _ in 0..if shards() > 1 { 8 } else { 0 } {
        if clients[0].shard() != clients[1].shard() {
            break;
        }
        clients[1].reconnect_elsewhere(&site);
    }
    for line in [
        "MULTI: internal route 10.91.0.0/24 -> branch-0/",
        "MULTI: Learn: 10.91.0.0/24 -> branch-0/",
        "MULTI: internal route fd91:1::/64 -> branch-1/",
        "REMOVE PUSH ROUTE: 'route 10.91.1.0 255.255.255.0'",
        "OPTIONS IMPORT: reading client specific options from: ",
    ] {
        server.process.wait_for(line);
    }
    let [near, far] = [0, 1].map(|index| (&hosts[index], branch_host(index)));
    assert_joined(lan(&site), near);
    assert_joined(near, far);
    let rows = ["10.91.0.0/24,branch-0,", "fd91:1::/64,branch-1,"];
    eventually("the networks in the status file", || {
        let text = std::fs::read_to_string(&status).unwrap();
        rows.iter().all(|row| text.contains(row)).then_some(())
    });

    // An address of no network that was announced.
    hosts[0].ip(&["address", "add", "10.99.0.2/32", "dev", "branch"]);
    site.topology
        .lan
        .ip(&["route", "add", "10.99.0.2", "via", "10.90.0.1"]);
    let foreign = ping_with(&hosts[0], LAN_V4, 3, &["-I", "10.99.0.2"]);
    assert_eq!(foreign.received, 0, "{foreign:?}");

    clients[0].reconnect_elsewhere(&site);
    assert_joined(lan(&site), near);
    assert_joined(near, far);
    let [mut gone, _stays] = clients;
    gone.process.signal(rustix::process::Signal::TERM);
    gone.process.wait_exit();
    eventually("the network goes with its client", || {
        let text = std::fs::read_to_string(&status).unwrap();
        let gone = !text.contains(rows[0]) && text.contains(rows[1]);
        gone.then_some(())
    });
    assert_eq!(ping(&site.topology.lan, branch_host(0)[0], 2).received, 0);
}

/// With `client-to-client` the server passes packets between networks behind its clients by itself, also
/// when these are on different shards: its machine forwards nothing.
#[test]
fn networks_behind_clients_reach_one_another_inside_the_server() {
    let site = Site::new(3);
    let config = with_files(&site, site.server_config())
        .line("client-to-client")
        .line("push \"route 10.91.0.0 255.255.0.0\"")
        .line("push \"route-ipv6 fd91::/16\"");
    for index in 0..2 {
        write_file(&site, index, &format!("branch-{index}"), "");
    }
    let _server = Server::start(&site, &config);
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        let machine = &site.topology.server;
        machine.run("sysctl", &["-q", "-w", &format!("{key}=0")]);
    }
    let hosts = [0, 1].map(|index| site.topology.branch(index));
    let clients = [0, 1, 2].map(|index| {
        let config = ClientConfig::new(&site, index, &format!("branch-{index}"));
        Client::connect(&site, &config)
    });
    let [near, far] = [0, 1].map(|index| (&hosts[index], branch_host(index)));
    // On different shards, if there are any, and then with one of them on yet another.
    for _ in 0..2 {
        clients[0].reconnect_elsewhere(&site);
        if shards() > 1 && clients[0].shard() == clients[1].shard() {
            clients[0].reconnect_elsewhere(&site);
        }
        assert!(shards() == 1 || clients[0].shard() != clients[1].shard());
        assert_joined(near, far);
        for to in far.1 {
            // Only the two clients have routed it.
            ping(near.0, to, 3).assert_ttl(64 - 2);
            // A client without a network behind it is let in, too.
            ping(clients[2].namespace(&site), to, 3).assert_all_received();
        }
    }
}

/// Routes of the server are set with their gateway and metric, and one that is there already keeps
/// nobody from starting.
#[test]
fn a_server_sets_its_routes_and_starts_without_one_that_is_refused() {
    let site = Site::new(1);
    let machine = &site.topology.server;
    machine.ip(&["route", "add", "10.94.0.0/16", "dev", "lan"]);
    let config = site
        .server_config()
        .line("route 10.92.0.0 255.255.0.0")
        .line("route 10.93.0.0 255.255.0.0 10.8.0.7 5")
        .line("route 10.94.0.0 255.255.0.0")
        .line("route-ipv6 fd92::/64");
    let mut server = Server::start(&site, &config);
    let routes = machine.ip(&["route", "show"]);
    for route in [
        "10.92.0.0/16 ",
        "10.93.0.0/16 via 10.8.0.7 ",
        "10.94.0.0/16 dev lan ",
    ] {
        assert!(routes.contains(route), "{routes}");
    }
    assert!(
        machine
            .ip(&["-6", "route", "show"])
            .contains("fd92::/64 dev tun0 ")
    );
    assert!(server.process.count("net_route_v4_add: 10.92.0.0/16 via ") > 0);
    server.stop();
    let routes = machine.ip(&["route", "show"]);
    assert!(
        !routes.contains("tun0") && routes.contains("10.94.0.0/16"),
        "{routes}"
    );
}
