//! ringway as a client whose server asks for all of its traffic.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, Namespace, server_v4, server_v6};
use crate::outgoing::{STOCK, connect, stop, traces, wait_for_pings};
use crate::server::{PORT, READY, RINGWAY, Server, Site};
use crate::traffic::{ping, transfer_both_ways};

/// A client's namespace with a default route, as most machines have one.
fn with_default_route(site: &Site) -> &Namespace {
    let namespace = &site.topology.clients[0];
    let gateway = server_v4(0).to_string();
    namespace.ip(&["route", "add", "default", "via", &gateway]);
    namespace
}

#[test]
fn all_traffic_goes_through_the_tunnel_and_back_again() {
    for (words, default) in [("def1", "0.0.0.0/1 dev tun0"), ("", "default dev tun0")] {
        let site = Site::new(1);
        let push = format!("push \"redirect-gateway {words}\"");
        let config = site.server_config().without_pushed_routes().line(push);
        let _server = Server::start_program(&site, &config, STOCK);
        let namespace = with_default_route(&site);
        let before = traces(namespace);
        let mut client = connect(&site, &ClientConfig::new(&site, 0, "alice"));
        let routes = namespace.ip(&["route", "show"]);
        assert!(routes.contains(default), "{routes}");
        ping(namespace, LAN_V4, 5).assert_all_received();
        stop(&mut client);
        assert_eq!(traces(namespace), before, "redirect-gateway {words}");
    }
}

/// Destinations of IPv6 that lead into the tunnel.
fn v6_into_the_tunnel(namespace: &Namespace) -> BTreeSet<String> {
    let text = namespace.ip(&["-6", "route", "show", "dev", "tun0"]);
    let words = text.lines().filter_map(|line| line.split(' ').next());
    // The kernel's own come and go.
    let others = words.filter(|word| !word.starts_with("fe80:") && !word.starts_with("ff00:"));
    others.map(str::to_owned).collect()
}

/// The server is behind a router: its address lies in what is redirected, and must not be looked for in
/// the tunnel.
#[test]
fn all_ipv6_goes_through_the_tunnel_as_with_a_stock_client() {
    for words in ["ipv6", "def1 ipv6", "ipv6 !ipv4"] {
        let site = Site::new(1);
        let push = format!("push \"redirect-gateway {words}\"");
        let config = site.server_config().without_pushed_routes().line(push);
        let _server = Server::start_program(&site, &config, RINGWAY);
        let namespace = with_default_route(&site);
        let gateway = server_v6(0).to_string();
        namespace.ip(&["-6", "route", "add", "default", "via", &gateway]);
        let config = ClientConfig::new(&site, 0, "alice").remote(LAN_GATEWAY_V6, PORT);

        let mut stock = Client::connect(&site, &config);
        let expected = v6_into_the_tunnel(namespace);
        stock.process.signal(Signal::TERM);
        stock.process.wait_exit();
        let before = traces(namespace);
        let mut client = connect(&site, &config);
        let redirected = v6_into_the_tunnel(namespace);
        assert!(redirected.contains("fc00::/7"), "{redirected:?}");
        assert_eq!(redirected, expected, "redirect-gateway {words}");
        let way = namespace.ip(&["-6", "route", "get", &LAN_GATEWAY_V6.to_string()]);
        assert!(way.contains(&format!("via {gateway} dev out")), "{way}");
        for (to, device) in [
            (LAN_V6, "tun0"),
            (
                LAN_V4,
                if words.contains("!ipv4") {
                    "out"
                } else {
                    "tun0"
                },
            ),
        ] {
            let way = namespace.ip(&["route", "get", &to.to_string()]);
            assert!(way.contains(&format!("dev {device} ")), "{words}: {way}");
            ping(namespace, to, 5).assert_all_received();
        }
        transfer_both_ways(namespace, &site.topology.lan, LAN_V6);
        stop(&mut client);
        assert_eq!(traces(namespace), before, "redirect-gateway {words}");
    }
}

/// The tunnel has no IPv6, and nothing of it may go past the tunnel: whoever tries is told at once.
#[test]
fn ipv6_that_is_blocked_goes_nowhere() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without_pushed_routes()
        .line("push \"redirect-gateway ipv6\"")
        .line("push \"block-ipv6\"");
    let _server = Server::start_program(&site, &config, STOCK);
    let namespace = with_default_route(&site);
    let gateway = server_v6(0).to_string();
    namespace.ip(&["-6", "route", "add", "default", "via", &gateway]);
    let before = traces(namespace);
    ping(namespace, LAN_GATEWAY_V6, 3).assert_all_received();
    let mut client = connect(&site, &ClientConfig::new(&site, 0, "alice"));
    for blocked in [LAN_GATEWAY_V6, LAN_V6] {
        let get = ["-n", namespace.name(), "route", "get", &blocked.to_string()];
        let output = Command::new("ip").args(get).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("No route to host"), "{blocked}: {said}");
    }
    ping(namespace, LAN_V4, 5).assert_all_received();
    stop(&mut client);
    assert_eq!(traces(namespace), before);
    ping(namespace, LAN_GATEWAY_V6, 3).assert_all_received();
}

/// All traffic is in the tunnel, and so would be what is for another server.
#[test]
fn another_server_is_not_looked_for_inside_the_tunnel_of_the_first() {
    let site = Site::new(1);
    let push = "push \"redirect-gateway def1\"";
    let config = site.server_config().without_pushed_routes().line(push);
    let _server = Server::start_program(&site, &config, RINGWAY);
    let namespace = with_default_route(&site);
    let before = traces(namespace);
    let config = ClientConfig::new(&site, 0, "alice").line("remote 10.90.0.1 1194 udp4");
    let mut client = connect(&site, &config);
    client.process.signal(Signal::USR1);
    client
        .process
        .wait_for("link remote: [AF_INET]10.90.0.1:1194");
    client.process.wait_for_count(READY, 2);
    wait_for_pings(&site, &client);
    let routes = namespace.ip(&["route", "show"]);
    assert!(
        routes.contains("10.90.0.1 via 10.80.0.1 dev out"),
        "{routes}"
    );
    ping(namespace, LAN_V4, 5).assert_all_received();
    stop(&mut client);
    assert_eq!(traces(namespace), before);
}

/// The server's address in the LAN, where clients come through its other one.
const LAN_GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd90, 0, 0, 0, 0, 0, 0, 1));
