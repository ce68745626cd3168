//! `ifconfig` and its pools, where no `server` line does it all. What is pushed, and which line
//! wins over which, is what OpenVPN 2.6.14 did with the same lines.

use super::{Configuration, Files, LEAST};
use crate::config::settings::{NetworkSettings, V4Layout};

/// The least configuration with these lines in place of its `server`.
fn text(lines: &str) -> String {
    let rest: String = LEAST
        .lines()
        .filter(|line| !line.starts_with("server "))
        .map(|line| format!("{line}\n"))
        .collect();
    format!("{rest}{lines}")
}

/// Own address, netmask of the clients, and pool, of each family.
fn account(network: &NetworkSettings) -> String {
    let v4 = network.v4.map(|v4| {
        let pool = v4.pool.map_or_else(String::new, |pool| {
            format!(" {}+{}", pool.first(), pool.len())
        });
        let bits = v4.network.prefix_len();
        let layout = match v4.layout {
            V4Layout::Subnet { netmask } => netmask.to_string(),
            V4Layout::Net30 { peer } => format!("net30 {peer}"),
            V4Layout::PointToPoint { server, peer } => format!("p2p {server} {peer}"),
        };
        format!("{}/{bits} {layout}{pool}", v4.server)
    });
    let v6 = network.v6.map(|v6| {
        let (bits, len) = (v6.network.prefix_len(), v6.len());
        format!("{}/{bits} {}+{len}", v6.server, v6.pool_first)
    });
    [v4, v6]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn addresses_without_a_server_line() {
    let files = Files::new();
    let own = "mode server\ntls-server\nifconfig 10.8.0.1 255.255.255.0\n";
    for (lines, expected, pushed) in [
        (
            format!("{own}ifconfig-pool 10.8.0.40 10.8.0.41 255.255.255.0\n"),
            "10.8.0.1/24 255.255.255.0 10.8.0.40+2",
            "",
        ),
        (
            format!("{own}ifconfig-pool 10.8.0.40 10.8.0.41\npush \"topology subnet\"\n"),
            "10.8.0.1/24 255.255.255.0 10.8.0.40+2",
            "topology subnet",
        ),
        (
            format!("{own}ifconfig-pool 10.8.0.40 10.8.0.41 255.255.0.0\n"),
            "10.8.0.1/24 255.255.0.0 10.8.0.40+2",
            "",
        ),
        (
            "server 10.8.0.0 255.255.255.0 nopool\nifconfig-pool 10.8.0.40 10.8.0.41 255.255.0.0\n"
                .to_owned(),
            "10.8.0.1/24 255.255.255.0 10.8.0.40+2",
            "route-gateway 10.8.0.1,topology subnet",
        ),
        (
            format!(
                "{own}ifconfig-pool 10.8.0.40 10.8.0.41\nifconfig-ipv6 fd00::1/64 fd00::2\n\
                 ifconfig-ipv6-pool fd00::1000/80\n"
            ),
            "10.8.0.1/24 255.255.255.0 10.8.0.40+2, fd00::1/64 fd00::1000+4294967295",
            "",
        ),
        (
            "mode server\nifconfig-ipv6 fd00::1 fd00::2\nifconfig-ipv6-pool fd00::10/124\n"
                .to_owned(),
            "fd00::1/64 fd00::11+15",
            "",
        ),
        (
            format!("{own}server-ipv6 fd00::/64\n"),
            "10.8.0.1/24 255.255.255.0, fd00::1/64 fd00::1000+4294967295",
            "tun-ipv6",
        ),
        (
            "server 10.8.0.0 255.255.255.0\nifconfig-ipv6 fd00::1/64 fd00::2\n\
             ifconfig-ipv6-pool fd00::15/124\n"
                .to_owned(),
            "10.8.0.1/24 255.255.255.0 10.8.0.2+253, fd00::1/64 fd00::15+11",
            "route-gateway 10.8.0.1,topology subnet",
        ),
        (
            "server 10.8.0.0 255.255.255.0\ntopology net30\n".to_owned(),
            "10.8.0.1/24 net30 10.8.0.2 10.8.0.4+62",
            "route 10.8.0.1,topology net30",
        ),
        (
            "topology net30\nserver 10.8.0.0 255.255.255.248\nclient-to-client\n".to_owned(),
            "10.8.0.1/29 net30 10.8.0.2 10.8.0.4+1",
            "route 10.8.0.0 255.255.255.248,topology net30",
        ),
        (
            "server 10.8.0.0 255.255.255.0\ntopology p2p\n".to_owned(),
            "10.8.0.1/24 p2p 10.8.0.1 10.8.0.2 10.8.0.4+248",
            "topology p2p",
        ),
        (
            "topology net30\nserver 10.8.0.0 255.255.255.0 nopool\n\
             ifconfig-pool 10.8.0.42 10.8.0.45 255.255.0.0\n"
                .to_owned(),
            "10.8.0.1/24 net30 10.8.0.2 10.8.0.40+2",
            "route 10.8.0.1,topology net30",
        ),
        (
            "mode server\ntopology p2p\nifconfig 10.8.0.1 10.7.0.1\nifconfig-pool 10.9.0.0 10.9.0.9\n"
                .to_owned(),
            "10.8.0.1/32 p2p 10.8.0.1 10.7.0.1 10.9.0.0+10",
            "",
        ),
    ] {
        let loaded = files.load_text(&text(&lines));
        let settings = loaded
            .configuration
            .and_then(Configuration::server)
            .unwrap_or_else(|| panic!("{lines}: {:?}", loaded.diagnostics));
        assert_eq!(account(&settings.network), expected, "{lines}");
        let pushed_by_keepalive = ["ping 10", "ping-restart 60"];
        let push: Vec<&str> = settings
            .push
            .iter()
            .map(String::as_str)
            .filter(|option| !pushed_by_keepalive.contains(option))
            .collect();
        assert_eq!(push.join(","), pushed, "{lines}");
    }
}

#[test]
fn addresses_that_do_not_fit() {
    let files = Files::new();
    let own = "mode server\nifconfig 10.8.0.1 255.255.255.0\n";
    let own_v6 = "mode server\nifconfig-ipv6 fd00::1/64 fd00::2\n";
    for (lines, remark) in [
        (
            "mode server\nifconfig 10.8.0.1 10.8.0.2\nifconfig-pool 10.8.0.4 10.8.0.9\n".to_owned(),
            "ifconfig: `10.8.0.2` is not a netmask; write for example `ifconfig 10.8.0.1 255.255.255.0`",
        ),
        (
            "topology p2p\nmode server\nifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.8.0.4 10.8.0.9\n"
                .to_owned(),
            "ifconfig: `255.255.255.0` is a netmask, but the topology is not subnet; \
             write `topology subnet`, or the address of the other end",
        ),
        (
            "topology ring\nserver 10.8.0.0 255.255.255.0\n".to_owned(),
            "topology: `ring` is no topology; write `topology subnet`",
        ),
        (
            "topology p2p\nmode server\nifconfig 10.8.0.1 10.8.0.2\nifconfig-pool 10.8.0.2 10.8.0.9\n"
                .to_owned(),
            "ifconfig-pool: 10.8.0.2 to 10.8.0.9 has the server's own address 10.8.0.2 in it",
        ),
        (
            "topology p2p\nserver 10.8.0.0 255.255.255.0 nopool\nifconfig-pool 10.8.0.4 10.8.1.9\n"
                .to_owned(),
            "ifconfig-pool: 10.8.0.4 to 10.8.1.9 is not inside 10.8.0.0/24",
        ),
        (
            "mode server\nifconfig 10.8.0.0 255.255.255.0\nifconfig-pool 10.8.0.4 10.8.0.9\n"
                .to_owned(),
            "ifconfig: 10.8.0.0 is the first or the last address of 10.8.0.0/24, no host's",
        ),
        (
            own.to_owned(),
            "ifconfig: no client would get an address; add `mode server` and `ifconfig-pool FIRST LAST`, \
             or write `server NETWORK NETMASK`, which is all three",
        ),
        (
            "mode server\nifconfig-pool 10.8.0.4 10.8.0.9\n".to_owned(),
            "ifconfig-pool: the server has no address; write `ifconfig ADDRESS NETMASK`",
        ),
        (
            format!("{own}ifconfig-pool 10.9.0.4 10.9.0.9\n"),
            "ifconfig-pool: 10.9.0.4 to 10.9.0.9 is not inside 10.8.0.0/24",
        ),
        (
            format!("{own}ifconfig-pool 10.8.0.1 10.8.0.9\n"),
            "ifconfig-pool: 10.8.0.1 to 10.8.0.9 has the server's own address 10.8.0.1 in it",
        ),
        (
            format!("{own}ifconfig-pool 10.8.0.9 10.8.0.4\n"),
            "ifconfig-pool: 10.8.0.9 is behind 10.8.0.4",
        ),
        (
            own_v6.to_owned(),
            "ifconfig-ipv6: no client would get an IPv6 address; add `ifconfig-ipv6-pool FIRST/BITS`, \
             or write `server-ipv6 NETWORK/BITS`",
        ),
        (
            format!("{own_v6}ifconfig-ipv6-pool fd00::/64\n"),
            "ifconfig-ipv6-pool: fd00::1 to fd00::ffff:ffff:ffff:ffff has the server's own address \
             fd00::1 in it",
        ),
        (
            format!("{own_v6}ifconfig-ipv6-pool fd01::/64\n"),
            "ifconfig-ipv6-pool: fd01::1 is not inside fd00::/64, the network of `ifconfig-ipv6`",
        ),
        (
            format!("{own_v6}ifconfig-ipv6-pool fd00::/48\n"),
            "ifconfig-ipv6-pool: a /48 network; it must be /64 to /124",
        ),
        (
            "mode server\nifconfig-ipv6-pool fd00::1000/64\n".to_owned(),
            "ifconfig-ipv6-pool: the server has no IPv6 address; write `ifconfig-ipv6 ADDRESS/BITS REMOTE`",
        ),
        (
            "server-ipv6 fd00::/64\nifconfig-ipv6-pool fd00::1000/64\n".to_owned(),
            "ifconfig-ipv6-pool: `server-ipv6` has a pool already; remove one of the two",
        ),
        (
            "ifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.8.0.4 10.8.0.9\n".to_owned(),
            "mode: not written: without it, `ifconfig` is one end of a tunnel between two; \
             write `mode server`",
        ),
    ] {
        let loaded = files.load_text(&text(&lines));
        assert!(loaded.configuration.is_none(), "{lines}");
        let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        let [only] = remarks.as_slice() else {
            panic!("{lines}: {remarks:?}");
        };
        let (_, only) = only.split_once("error: ").unwrap();
        assert_eq!(only, remark, "{lines}");
    }
}

#[test]
fn beside_server_the_own_address_is_that_of_server() {
    let files = Files::new();
    let lines = "server 10.8.0.0 255.255.255.0\nifconfig 10.8.0.7 255.255.255.0\n\
                 server-ipv6 fd00::/64\nifconfig-ipv6 fd00::9/80 fd00::2\n";
    let loaded = files.load_text(&text(lines));
    let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        [
            "t.conf:8: warning: ifconfig: has no effect: `server` sets the server's own address",
            "t.conf:10: warning: ifconfig-ipv6: has no effect: `server-ipv6` sets the server's own address",
        ]
    );
    assert_eq!(
        account(&loaded.configuration.unwrap().server().unwrap().network),
        "10.8.0.1/24 255.255.255.0 10.8.0.2+253, fd00::1/64 fd00::1000+4294967295"
    );
}

/// Wire: net30 is the default of 2.6, and subnet that of 2.7.
#[test]
fn the_topology_is_remarked_upon_where_it_may_be_another_one_elsewhere() {
    let files = Files::new();
    let least: String = LEAST
        .lines()
        .filter(|line| !line.starts_with("server ") && !line.starts_with("topology "))
        .map(|line| format!("{line}\n"))
        .collect();
    let server = "server 10.8.0.0 255.255.255.0\n";
    let change = "`topology subnet`, where `ifconfig-push ADDRESS PEER` becomes `ifconfig-push ADDRESS \
                  255.255.255.0` and most clients get another address";
    for (lines, layout, remark) in [
        (
            server.to_owned(),
            "net30",
            format!(
                "warning: topology: not written: it is net30, as in OpenVPN 2.6, with four addresses for \
                 each client; OpenVPN 2.7 takes subnet; write `topology net30` to keep it, or {change}"
            ),
        ),
        (
            format!("{server}topology net30\n"),
            "net30",
            format!(
                "t.conf:7: warning: topology: --topology net30 support for server configs with IPv4 pools \
                 will be removed in a future release of OpenVPN, not of ringway; write {change}"
            ),
        ),
        (format!("{server}topology p2p\n"), "p2p", String::new()),
        (format!("{server}topology subnet\n"), "subnet", String::new()),
        (
            "mode server\nifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.8.0.4 10.8.0.9\n".to_owned(),
            "subnet",
            "warning: topology: not written: OpenVPN 2.6 would take net30, and a netmask in `ifconfig` says \
             subnet; write `topology subnet` to say so"
                .to_owned(),
        ),
        (
            "mode server\nifconfig 10.8.0.1 10.8.0.2\nifconfig-pool 10.8.0.4 10.8.0.9\n".to_owned(),
            "net30",
            "warning: topology: not written: it is net30, as in OpenVPN 2.6, with four addresses for each \
             client; OpenVPN 2.7 takes subnet; write `topology net30` to keep it, or `topology subnet`, and \
             the netmask in `ifconfig`"
                .to_owned(),
        ),
    ] {
        let loaded = files.load_text(&format!("{least}{lines}"));
        let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(remarks.join("\n"), remark, "{lines}");
        let settings = loaded.configuration.unwrap().server().unwrap();
        assert_eq!(settings.network.v4.unwrap().layout.name(), layout, "{lines}");
        // Where the device is a line, a route leads to the clients of `server`.
        let routed = lines.starts_with("server") && layout != "subnet";
        assert_eq!(settings.routes.len(), usize::from(routed), "{lines}");
    }
}
