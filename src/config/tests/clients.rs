//! Files of single clients, and the server's own routes.

use std::net::IpAddr;
use std::path::Path;

use super::Files;
use crate::config::settings::{Destination, TunnelRoute, Via};

#[test]
fn the_directory_of_clients_files_is_found_from_where_the_server_is() {
    let files = Files::new();
    std::fs::create_dir(files.0.path().join("ccd")).unwrap();
    assert!(files.with("").client_files.is_none());

    let found = files.with("client-config-dir ccd\n").client_files.unwrap();
    assert_eq!(found.directory, Some(files.0.path().join("ccd")));
    assert!(!found.exclusive);
    assert_eq!(found.basis.routes_max, 256);
    assert_eq!(found.basis.directory, files.0.path());

    let lines = "client-config-dir ccd\nccd-exclusive\nmax-routes-per-client 7\npush \"ping 7\"\n";
    let settings = files.with(lines);
    let found = settings.client_files.unwrap();
    assert!(found.exclusive);
    assert_eq!(found.basis.routes_max, 7);
    assert_eq!(
        *found.basis.push, settings.push,
        "what every client is sent"
    );
    assert_eq!(found.basis.network, settings.network);
}

#[test]
fn inside_of_another_root_directory_names_start_there() {
    let files = Files::new();
    std::fs::create_dir_all(files.0.path().join("root/etc/ccd")).unwrap();
    let root = files.0.path().join("root");
    for name in ["etc/ccd", "/etc/ccd"] {
        let lines = format!("chroot {}\nclient-config-dir {name}\n", root.display());
        let found = files.with(&lines).client_files.unwrap();
        assert_eq!(
            found.directory.as_deref(),
            Some(Path::new("/etc/ccd")),
            "{name}"
        );
        assert_eq!(found.basis.directory, Path::new("/"));
    }
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let files = Files::new();
    let remark = files.first_remark("client-config-dir absent\n");
    let place = files.0.path().display();
    assert_eq!(
        remark,
        format!(
            "t.conf:8: error: client-config-dir: fails with '{place}/absent': No such file or \
             directory"
        )
    );
}

#[test]
fn without_a_pool_clients_files_have_the_addresses() {
    let files = Files::new();
    std::fs::create_dir(files.0.path().join("ccd")).unwrap();
    let lines = "server 10.9.0.0 255.255.255.0 nopool\nclient-config-dir ccd\n";
    let pool = files.with(lines).network.pool();
    assert_eq!((pool.v4, pool.v6, pool.slots), (None, None, 0));
}

#[test]
fn the_table_of_routes_and_the_place_of_clients_own_addresses() {
    let files = Files::new();
    let table = |lines| files.with(lines).route_table;
    assert_eq!(table(""), None);
    assert_eq!(table("route-table 700\n"), Some(700));
    assert_eq!(table("route-table 700\nroute-table 0\n"), None);
    std::fs::create_dir(files.0.path().join("ccd")).unwrap();
    let constraint = |lines: &str| {
        let settings = files.with(&format!("client-config-dir ccd\n{lines}"));
        settings.client_files.unwrap().basis.constraint
    };
    assert_eq!(constraint(""), None);
    let line = "ifconfig-push-constraint 10.9.0.0 255.255.0.0\n";
    assert_eq!(constraint(line), Some("10.9.0.0/16".parse().unwrap()));
    for (line, why) in [
        ("route-table main\n", "`main` is not a whole number"),
        (
            "ifconfig-push-constraint 10.9.0.0 10.9.0.1\n",
            "`10.9.0.1` is not a netmask",
        ),
    ] {
        let said = files.first_remark(line);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn routes_of_the_server_lead_into_the_tunnel() {
    let files = Files::new();
    let lines = "route 10.1.0.0 255.255.0.0\nroute 10.2.0.7\nroute 10.3.0.0 255.255.0.0 10.8.0.7 5\n\
                 route 10.4.0.0 255.255.0.0 vpn_gateway\nroute-ipv6 fd91::/64\nroute-metric 9\n";
    let route = |to: &str, via, metric| TunnelRoute {
        destination: Destination::Network(to.parse().unwrap()),
        via,
        metric: Some(metric),
    };
    let gateway = Via::Gateway(IpAddr::from([10, 8, 0, 7]));
    assert_eq!(
        files.with(lines).routes,
        [
            route("10.1.0.0/16", Via::Tunnel, 9),
            route("10.2.0.7/32", Via::Tunnel, 9),
            route("10.3.0.0/16", gateway, 5),
            route("10.4.0.0/16", Via::Tunnel, 9),
            route("fd91::/64", Via::Tunnel, 9),
        ]
    );
    assert_eq!(files.with("").routes, []);
    // Wire: the gateway is that of the line, or of all lines, or the other end of the device.
    let via = |last| Via::Gateway([10, 8, 0, last].into());
    let lines =
        "route 10.1.0.0 255.255.0.0\nroute 10.3.0.0 255.255.0.0 10.8.0.7\nroute-ipv6 fd91::/64\n";
    for (further, expected) in [
        (
            "route-gateway 10.8.0.9\n",
            vec![via(9), via(7), Via::Tunnel],
        ),
        (
            "topology net30\n",
            vec![via(2), via(7), Via::Tunnel, via(2)],
        ),
        (
            "topology p2p\nroute-gateway 10.8.0.9\n",
            vec![via(9), via(7), Via::Tunnel, via(9)],
        ),
    ] {
        let routes = files.with(&format!("{lines}{further}")).routes;
        let leads: Vec<Via> = routes.iter().map(|route| route.via).collect();
        assert_eq!(leads, expected, "{further}");
    }
}

#[test]
fn lines_about_clients_that_are_refused() {
    let files = Files::new();
    for (lines, remark) in [
        (
            "ccd-exclusive\n",
            "t.conf:8: error: ccd-exclusive: --ccd-exclusive must be used with --client-config-dir; add `client-config-dir DIRECTORY`",
        ),
        (
            "max-routes-per-client 0\n",
            "t.conf:8: error: max-routes-per-client: `0` is not a whole number from 1 to 65536",
        ),
        (
            "iroute 10.1.0.0 255.255.0.0\n",
            "t.conf:8: error: iroute: it belongs to the file of one client (client-config-dir)",
        ),
        (
            "route 10.1.0.7 255.255.0.0\n",
            "t.conf:8: warning: route: 10.1.0.7 is not the first address of its network, which is 10.1.0.0/16; write `route 10.1.0.0 255.255.0.0`",
        ),
        (
            "route 10.1.0.0 255.255.0.0 net_gateway\n",
            "t.conf:8: error: route: `net_gateway` does not lead into the tunnel",
        ),
        (
            "route remote_host\n",
            "t.conf:8: error: route: `remote_host` is a client's server, and this is one itself",
        ),
        (
            "route vpn_gateway\n",
            "t.conf:8: error: route: `vpn_gateway` is in the tunnel already",
        ),
    ] {
        assert_eq!(files.first_remark(lines), remark, "{lines}");
    }
}
