//! What older clients cannot do, and what the server's directives change for a client.

use std::path::PathBuf;

use ringway::limits::PUSH_MESSAGES_MAX;
use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, Namespace, TUNNEL_V4};
use crate::process::run;
use crate::server::{Implementation, READY, Server, Site};
use crate::traffic::{PingStream, ping, ping_with, transfer_both_ways};

/// A copy of the real client that announces other abilities (`IV_PROTO`): the words it would print
/// its own into are replaced in its read-only data. 6 is what 2.5 announces: peer-ids and no need
/// to ask for the push, but no key export; so the keys come from the classic PRF, and the goodbye
/// goes through the data channel. 2 is 2.4, which also has to ask. 0 knows no peer-id.
pub(crate) fn client_with_protocol(site: &Site, bits: u8) -> PathBuf {
    let path = run("sh", &["-c", "command -v openvpn"]);
    let mut program = std::fs::read(path.trim()).unwrap();
    let format = b"\0IV_PROTO=%d\n\0";
    let places: Vec<usize> = (0..program.len() - format.len())
        .filter(|at| program[*at..].starts_with(format))
        .collect();
    assert_eq!(places.len(), 1, "places of IV_PROTO in the client");
    let replaced = format!("\0IV_PROTO={bits}\n\0\0");
    assert_eq!(replaced.len(), format.len());
    program[places[0]..places[0] + format.len()].copy_from_slice(replaced.as_bytes());
    let path = site
        .topology
        .write(&format!("openvpn-protocol-{bits}"), program);
    run("chmod", &["0700", &path.display().to_string()]);
    path
}

fn older_client(bits: u8, tls: &str) {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config().line("reneg-sec 5"));
    let program = client_with_protocol(&site, bits);
    let config = ClientConfig::new(&site, 0, "alice")
        .line("reneg-sec 0")
        .line("explicit-exit-notify 1")
        .line(format!("tls-version-max {tls}"));
    let mut client = Client::spawn_program(&site, &config, &program.display().to_string());
    client.wait_connected(&site);
    client.assert_reaches_all(&site);
    let push = client.process.wait_for("PUSH_REPLY");
    assert!(
        !push.contains("protocol-flags"),
        "pushed what was not announced: {push}"
    );
    assert!(
        !push.contains("key-derivation"),
        "pushed what was not announced: {push}"
    );
    assert_eq!(push.contains("peer-id"), bits & 2 != 0, "{push}");

    let stream = PingStream::start(client.namespace(&site), LAN_V4);
    server.process.wait_for_count("Control Channel: TLSv1.", 3);
    stream.stop_and_assert_all_received();
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);

    client.process.signal(Signal::TERM);
    assert_eq!(client.process.wait_exit().code(), Some(0));
    server.process.wait_for("[soft,remote-exit]");
}

/// Keys by the classic PRF, goodbye in the data channel.
#[test]
fn client_of_2_5() {
    older_client(6, "1.3");
}

/// As 2.5, and it has to ask for its configuration.
#[test]
fn client_of_2_4() {
    older_client(2, "1.2");
}

/// No peer-id in either direction: `DATA_V1` both ways.
#[test]
fn client_without_peer_id() {
    older_client(4, "1.2");
}

/// The client ignores the peer-id it is given: it sends `DATA_V1`, the server `DATA_V2`.
#[test]
fn client_that_sends_data_v1() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let config = ClientConfig::new(&site, 0, "alice").line("pull-filter ignore \"peer-id\"");
    let client = Client::connect(&site, &config);
    client
        .process
        .wait_for("Pushed option removed by filter: 'peer-id");
    client.assert_reaches_all(&site);
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
}

/// The server takes the first of its own list that the client has.
#[test]
fn cipher_by_the_servers_preference() {
    let site = Site::new(2);
    let config = site.server_config();
    let _server = Server::start(
        &site,
        &config.line("data-ciphers CHACHA20-POLY1305:AES-128-GCM"),
    );
    let config = ClientConfig::new(&site, 0, "alice");
    let both = config.line("data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305");
    let both = Client::connect(&site, &both);
    both.process.wait_for("cipher 'CHACHA20-POLY1305'");
    let config = ClientConfig::new(&site, 1, "bob");
    let one = Client::connect(&site, &config.line("data-ciphers AES-256-GCM:AES-128-GCM"));
    one.process.wait_for("cipher 'AES-128-GCM'");
    both.assert_reaches_all(&site);
    one.assert_reaches_all(&site);
}

#[test]
fn no_common_cipher_is_told_to_the_client() {
    let site = Site::new(1);
    let server = Server::start(
        &site,
        &site.server_config().line("data-ciphers AES-256-GCM"),
    );
    let config = ClientConfig::new(&site, 0, "alice").line("data-ciphers CHACHA20-POLY1305");
    let mut client = Client::spawn(&site, &config);
    client
        .process
        .wait_for("AUTH_FAILED,Data channel cipher negotiation failed");
    assert_ne!(client.process.wait_exit().code(), None);
    assert_eq!(client.process.count(READY), 0);
    server
        .process
        .wait_for("No common cipher between server and client");
}

/// Far more than one message holds: it comes in several, and the client acts on all of them.
#[test]
fn long_push_list() {
    let site = Site::new(1);
    let mut config = site.server_config();
    for i in 0..100 {
        config = config.line(format!("push \"route 10.100.{i}.0 255.255.255.0\""));
    }
    let _server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.process.wait_for("push-continuation 2");
    let routes = client
        .namespace(&site)
        .ip(&["route", "show", "dev", "tun0"]);
    for i in 0..100 {
        assert!(
            routes.contains(&format!("10.100.{i}.0/24 ")),
            "route {i} is missing: {routes}"
        );
    }
    client.assert_reaches_all(&site);
}

/// The most that a configuration file is accepted with: the client gets all of it.
#[test]
fn longest_push_list() {
    let site = Site::new(1);
    let lines = (0..4 * (PUSH_MESSAGES_MAX - 1))
        .map(|i| format!("push \"setenv-safe v{i:03} {}\"", "x".repeat(210)));
    let config = lines.fold(site.server_config().without("push"), |config, line| {
        config.line(line)
    });
    let _server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let parts = client.process.count("push-continuation 2");
    assert_eq!(parts, PUSH_MESSAGES_MAX - 1);
    ping(client.namespace(&site), TUNNEL_V4, 5).assert_all_received();
}

/// Pushed options arrive as they are written.
#[test]
fn pushed_options_arrive() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .line("push \"dhcp-option DNS 10.90.0.53\"")
        .line("push \"dhcp-option DOMAIN example.test\"")
        .line("push \"setenv-safe color blue\"");
    let _server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let push = client.process.wait_for("PUSH_REPLY");
    for option in [
        "dhcp-option DNS 10.90.0.53",
        "dhcp-option DOMAIN example.test",
        "setenv-safe color blue",
        "route 10.90.0.0 255.255.255.0",
        "route-ipv6 fd90::/64",
        "route-gateway 10.8.0.1",
        "topology subnet",
        "ping 5",
        "ping-restart 30",
        ",peer-id ",
        "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm",
        "tun-mtu 1500",
    ] {
        assert!(push.contains(option), "{option:?} is missing: {push}");
    }
    assert_eq!(
        client.tunnel_v4(&site).to_string(),
        "10.8.0.2",
        "the pool's first address"
    );
    assert_eq!(client.tunnel_v6(&site).to_string(), "fd08::1000");
}

#[test]
fn tun_mtu_of_the_server_is_the_clients() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config().line("tun-mtu 1400"));
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let link = client.namespace(&site).ip(&["link", "show", "tun0"]);
    assert!(link.contains("mtu 1400 "), "{link}");
    // 1372 bytes, 8 of ICMP and 20 of IP fill it; one byte more must be cut.
    let whole = ["-M", "do", "-s", "1372"];
    ping_with(client.namespace(&site), LAN_V4, 5, &whole).assert_all_received();
    ping(client.namespace(&site), TUNNEL_V4, 5).assert_all_received();
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
}

/// Every size of inner packet from an empty ping to a full one.
#[test]
fn packets_of_every_size() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    for size in (0..=1472).step_by(64).chain([1, 15, 16, 17, 1471, 1472]) {
        let size = size.to_string();
        let further = ["-M", "do", "-s", &size];
        ping_with(client.namespace(&site), LAN_V4, 2, &further).assert_all_received();
    }
    // Larger ones are cut by the kernels and put together again.
    ping_with(client.namespace(&site), LAN_V4, 2, &["-s", "8000"]).assert_all_received();
}

/// `ifconfig-pool` with a range of two.
#[test]
fn ifconfig_pool_range() {
    let site = Site::new(2);
    let config = site
        .server_config()
        .without("server")
        .without("server-ipv6")
        .line("mode server")
        .line("tls-server")
        .line("ifconfig 10.8.0.1 255.255.255.0")
        .line("ifconfig-pool 10.8.0.40 10.8.0.41 255.255.255.0")
        .line("push \"topology subnet\"")
        .line("push \"route-gateway 10.8.0.1\"");
    let _server = Server::start(&site, &config);
    let clients = [0, 1].map(|index| {
        Client::connect(
            &site,
            &ClientConfig::new(&site, index, &format!("client-{index}")),
        )
    });
    let addresses = clients
        .each_ref()
        .map(|client| client.tunnel_v4(&site).to_string());
    assert_eq!(addresses, ["10.8.0.40", "10.8.0.41"]);
    for client in &clients {
        ping(client.namespace(&site), LAN_V4, 3).assert_all_received();
    }
}

/// A line of 2.7: routes stand in another table, at a server as at a client, and go with the tunnel.
#[test]
fn routes_stand_in_the_table_that_is_named() {
    if !Implementation::is_ringway("route-table") {
        return;
    }
    let site = Site::new(1);
    let config = site
        .server_config()
        .line("route 10.91.0.0 255.255.255.0")
        .line("route-table 700");
    let server = Server::start(&site, &config);
    let table = |namespace: &Namespace, table: &str| {
        // A table that nothing stands in is none.
        let all = namespace.ip(&["route", "show", "table", "all"]);
        let mut rows = all.lines();
        rows.any(|row| row.contains(&format!(" table {table} ")))
    };
    assert!(table(&site.topology.server, "700"));
    server
        .process
        .wait_for("net_route_v4_add: 10.91.0.0/24 via [NULL] dev [NULL] table 700 metric -1");
    let config = ClientConfig::new(&site, 0, "alice").line("route-table 88");
    let mut client = crate::outgoing::connect(&site, &config);
    assert!(table(client.namespace(&site), "88"));
    crate::outgoing::stop(&mut client);
    assert!(!table(client.namespace(&site), "88"));
}
