//! Files of clients: what they come to, and what is said of their lines.

use super::*;
use crate::config::settings::{Inactivity, NetworkSettings, SessionTimes, V4Network, V6Network};
use crate::wire::Framing;

fn basis(directory: &Path) -> ProfileBasis {
    let v4: Ipv4Net = "10.8.0.0/24".parse().unwrap();
    let v6: Ipv6Net = "fd08::/64".parse().unwrap();
    let push = [
        "route 10.91.0.0 255.255.0.0",
        "route 10.98.0.0 255.255.0.0",
        "route 10.91.0.0 255.255.0.0 vpn_gateway 3",
        "route-ipv6 fd91::/64",
        "route-gateway 10.8.0.1",
        "topology subnet",
    ];
    ProfileBasis {
        push: push.map(str::to_owned).into(),
        network: NetworkSettings {
            v4: Some(V4Network {
                server: "10.8.0.1".parse().unwrap(),
                network: v4,
                layout: V4Layout::Subnet {
                    netmask: v4.netmask(),
                },
                pool: None,
            }),
            v6: Some(V6Network {
                server: "fd08::1".parse().unwrap(),
                network: v6,
                pool_first: "fd08::1000".parse().unwrap(),
                pool_last: v6.broadcast(),
            }),
        },
        constraint: None,
        routes_max: 256,
        times: SessionTimes::default(),
        directory: directory.to_owned(),
    }
}

/// What a file with these lines comes to, and what the log says of it, without the directory.
fn read_text(text: &str) -> ProfileRead {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("more"),
        "push \"dhcp-option DNS 10.8.0.1\"\n",
    )
    .unwrap();
    let path = directory.path().join("alice");
    std::fs::write(&path, text).unwrap();
    let mut read = read(Some(&path), &[], &basis(directory.path()));
    let place = format!("{}/", directory.path().display());
    for fault in &mut read.faults {
        *fault = fault.replace(&place, "");
    }
    read
}

fn pushed(read: &ProfileRead) -> Vec<&str> {
    let push = read.profile.push.as_deref().unwrap_or_default();
    push.iter().map(String::as_str).collect()
}

#[test]
fn an_empty_file_is_as_none() {
    let read = read_text("# nothing\n\n");
    assert_eq!(read.profile, ClientProfile::usual(256));
    assert_eq!((read.faults, read.removed), (vec![], vec![]));
}

#[test]
fn a_client_has_addresses_and_networks_of_its_own() {
    let read = read_text(
        "ifconfig-push 10.8.0.50 255.255.255.0\nifconfig-ipv6-push fd08::50/64\n\
         iroute 10.92.0.0 255.255.0.0\niroute 10.93.0.7\niroute 10.94.7.7 255.255.255.0\n\
         iroute 10.92.0.0 255.255.0.0\niroute-ipv6 fd92::7/64\nmax-routes-per-client 9\n",
    );
    let networks = ["10.92.0.0/16", "10.93.0.7/32", "10.94.7.0/24", "fd92::/64"];
    let expected = ClientProfile {
        v4: Some((
            "10.8.0.50".parse().unwrap(),
            "255.255.255.0".parse().unwrap(),
        )),
        v6: Some(V6Address {
            address: "fd08::50/64".parse().unwrap(),
            gateway: "fd08::1".parse().unwrap(),
        }),
        networks: networks.map(|it| it.parse().unwrap()).to_vec(),
        ..ClientProfile::usual(9)
    };
    assert_eq!((read.profile, read.faults), (expected, vec![]));
    let read = read_text("ifconfig-ipv6-push fd08::50/64 fd08::9\n");
    let gateway = read.profile.v6.map(|v6| v6.gateway);
    assert_eq!(gateway, Some("fd08::9".parse().unwrap()));
}

#[test]
fn options_are_added_and_taken_away_in_the_order_of_the_lines() {
    let common = [
        "route 10.91.0.0 255.255.0.0",
        "route 10.98.0.0 255.255.0.0",
        "route 10.91.0.0 255.255.0.0 vpn_gateway 3",
        "route-ipv6 fd91::/64",
        "route-gateway 10.8.0.1",
        "topology subnet",
    ];
    let read = read_text("push \"ping 7\"\nconfig more\n");
    let added = ["ping 7", "dhcp-option DNS 10.8.0.1"];
    assert_eq!(pushed(&read), [&common[..], &added].concat());

    let read = read_text("push \"ping 7\"\npush-reset\npush \"ping 8\"\n");
    assert_eq!(pushed(&read), ["ping 8"]);

    let read =
        read_text("push-remove \"route 10.9\"\npush-remove 10.98\npush \"route 10.9.0.0\"\n");
    let left = [&common[3..], &["route 10.9.0.0"]].concat();
    assert_eq!(pushed(&read), left, "only what begins so");
    assert_eq!(read.removed, ["route 10.9", "10.98"]);
    assert_eq!(
        read.profile.withheld,
        crate::config::settings::Withheld::default()
    );

    let read = read_text("push-remove ifconfig-ipv6\n");
    assert!(read.profile.withheld.v6 && !read.profile.withheld.v4);
}

#[test]
fn a_client_is_not_sent_the_way_to_itself() {
    let read = read_text(
        "iroute 10.91.0.0 255.255.0.0\niroute-ipv6 fd91::/64\npush \"route 10.91.0.0 255.255.0.0\"\n",
    );
    let left = [
        "route 10.98.0.0 255.255.0.0",
        "route 10.91.0.0 255.255.0.0 vpn_gateway 3",
        "route-gateway 10.8.0.1",
        "topology subnet",
    ];
    assert_eq!(pushed(&read), left, "one with a gateway is, as by 2.6");
    let own = "route 10.91.0.0 255.255.0.0";
    assert_eq!(read.own_networks, [own, "route-ipv6 fd91::/64", own]);
    let read = read_text("iroute 10.92.0.0 255.255.0.0\n");
    assert_eq!(read.profile.push, None, "nothing of it is pushed");
}

#[test]
fn who_is_shut_out() {
    for (text, access) in [
        ("disable\n", Access::Disabled),
        ("push \"ping 7\"\ndisable\nfoo\n", Access::Disabled),
        ("# disable\n", Access::Granted),
    ] {
        assert_eq!(read_text(text).profile.access, access, "{text}");
    }
}

#[test]
fn a_wrong_line_is_told_with_its_place_and_the_others_count() {
    for (line, fault) in [
        (
            "foo bar",
            "Options error: Unrecognized option or missing or extra parameter(s) in alice:2: foo \
             (no such directive)",
        ),
        (
            "ifconfig-push 10.8.0.51",
            "Options error: Unrecognized option or missing or extra parameter(s) in alice:2: \
             ifconfig-push (takes 2 to 3 arguments, not 1); write `ifconfig-push ADDRESS NETMASK \
             [ALIAS]`",
        ),
        (
            "port 77",
            "Options error: alice:2: port: option 'port' cannot be used in this context; write it \
             into the server's configuration",
        ),
        (
            "echo 7",
            "WARNING: alice:2: echo: has no effect: it is not served for a single client yet",
        ),
        (
            "ifconfig-push 10.8.0.9 10.8.0.10",
            "Options error: alice:2: ifconfig-push: `10.8.0.10` is not a netmask: addresses are \
             given out for `topology subnet`; write `ifconfig-push 10.8.0.9 255.255.255.0`",
        ),
        (
            "ifconfig-push 10.8.0.9 255.255.255.0 10.9.0.9",
            "Options error: alice:2: ifconfig-push: an alias of the address is not served; write \
             the address that the server is to use",
        ),
        (
            "ifconfig-push 10.8.0.1 255.255.255.0",
            "Options error: alice:2: ifconfig-push: 10.8.0.1 is the server's own address",
        ),
        (
            "ifconfig-ipv6-push fd08::1/64",
            "Options error: alice:2: ifconfig-ipv6-push: fd08::1 is the server's own address",
        ),
        (
            "ifconfig-ipv6-push fd08::9",
            "Options error: alice:2: ifconfig-ipv6-push: `fd08::9` is not an IPv6 address with its \
             prefix length; write for example `ifconfig-ipv6-push fd00::7/64`",
        ),
        (
            "iroute 10.1",
            "Options error: alice:2: iroute: `10.1` is not an IPv4 address",
        ),
        (
            "iroute 10.1.0.0 255.0.255.0",
            "Options error: alice:2: iroute: `255.0.255.0` is not a netmask",
        ),
        (
            "push \"a,b\"",
            "Options error: alice:2: push: a comma or a control character cannot be pushed",
        ),
        (
            "push \"peer-id 7\"",
            "Options error: alice:2: push: ringway decides `peer-id` for each client; remove the \
             line",
        ),
        (
            "push \"x",
            "Options error: alice:2: syntax: no closing quotation (\")",
        ),
        (
            "config absent",
            "Options error: alice:2: config: error opening configuration file: absent: No such \
             file or directory",
        ),
        (
            "max-routes-per-client 0",
            "Options error: alice:2: max-routes-per-client: `0` is not a whole number from 1 to \
             65536",
        ),
    ] {
        let read = read_text(&format!(
            "push-reset\n{line}\niroute 10.92.0.0 255.255.0.0\n"
        ));
        assert_eq!(read.faults, [fault], "{line}");
        let expected = ClientProfile {
            networks: vec!["10.92.0.0/16".parse().unwrap()],
            push: Some([].into()),
            ..ClientProfile::usual(256)
        };
        assert_eq!(read.profile, expected, "{line}");
    }
}

#[test]
fn an_address_beside_the_tunnel_is_told_and_given() {
    let read = read_text(
        "ifconfig-push 10.55.0.2 255.255.255.0\nifconfig-ipv6-push fd09::2/64\n\
         setenv opt foo\nsetenv opt iroute 10.92.0.0 255.255.0.0\n",
    );
    assert_eq!(
        read.faults,
        [
            "WARNING: alice:1: ifconfig-push: 10.55.0.2 violates tunnel network/netmask \
             constraint (10.8.0.0/255.255.255.0)",
            "WARNING: alice:2: ifconfig-ipv6-push: fd09::2 is not inside the tunnel's network \
             fd08::/64",
        ]
    );
    assert!(read.profile.v4.is_some() && read.profile.v6.is_some());
    assert_eq!(read.profile.networks.len(), 1);
}

#[test]
fn addresses_of_a_family_that_the_tunnel_has_not_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice");
    let text = "ifconfig-push 10.8.0.9 255.255.255.0\nifconfig-ipv6-push fd08::9/64\n";
    std::fs::write(&path, text).unwrap();
    let mut basis = basis(directory.path());
    basis.network = NetworkSettings { v4: None, v6: None };
    let read = read(Some(&path), &[], &basis);
    assert_eq!((read.profile.v4, read.profile.v6), (None, None));
    let families = [
        "the tunnel has no IPv4 network",
        "the tunnel has no IPv6 network",
    ];
    for (fault, why) in read.faults.iter().zip(families) {
        assert!(fault.contains(why), "{fault}");
    }
    assert_eq!(read.faults.len(), 2);
}

#[test]
fn more_than_a_client_can_be_told_is_not_pushed() {
    let option = "x".repeat(200);
    let text: String = (0..400).map(|_| format!("push {option}\n")).collect();
    let read = read_text(&text);
    let pushed = pushed(&read).len();
    assert!((200..390).contains(&pushed), "{pushed}");
    assert_eq!(read.faults.len(), 6 + 400 - pushed);
    assert!(read.faults[0].contains("more than a client can be told; push fewer options"));
}

/// Wire: as 2.6.14 does, which looks at nothing and sends it.
#[test]
fn under_net30_and_p2p_the_second_word_is_the_other_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice");
    let basis = basis(directory.path());
    let v4 = basis.network.v4.unwrap();
    let [server, peer] = [1, 2].map(|last| Ipv4Addr::new(10, 8, 0, last));
    let net30 = V4Layout::Net30 { peer };
    let p2p = V4Layout::PointToPoint { server, peer };
    for (layout, words, taken, said) in [
        (net30, "10.9.0.6 10.9.0.5", true, None),
        (p2p, "10.9.0.6 10.8.0.1", true, None),
        (
            net30,
            "10.8.0.10 255.255.255.0",
            true,
            Some(
                "`255.255.255.0` is a netmask, but the topology is net30; \
                 write `ifconfig-push 10.8.0.10 10.8.0.9`",
            ),
        ),
        (
            p2p,
            "10.8.0.10 255.255.255.0",
            true,
            Some(
                "`255.255.255.0` is a netmask, but the topology is p2p; \
                 write `ifconfig-push 10.8.0.10 10.8.0.1`",
            ),
        ),
        (
            p2p,
            "10.8.0.1 10.8.0.2",
            false,
            Some("10.8.0.1 is the server's own address"),
        ),
    ] {
        std::fs::write(&path, format!("ifconfig-push {words}\n")).unwrap();
        let basis = ProfileBasis {
            network: NetworkSettings {
                v4: Some(V4Network { layout, ..v4 }),
                v6: None,
            },
            ..basis.clone()
        };
        let (read, remarks) = inspect(Some(&path), &[], &basis);
        let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
        let expected = words.split_once(' ').filter(|_| taken);
        let own = read.profile.v4.map(|(a, b)| (a.to_string(), b.to_string()));
        let own = own.as_ref().map(|(a, b)| (a.as_str(), b.as_str()));
        assert_eq!(own, expected, "{words}");
        assert_eq!(remarks.is_empty(), said.is_none(), "{words}: {remarks:?}");
        for (remark, said) in remarks.iter().zip(said) {
            assert!(remark.ends_with(said), "{remark}");
        }
    }
}

/// The line takes the place of the tunnel's network, and goes for other topologies too.
#[test]
fn an_address_outside_of_its_constraint_is_told_and_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice");
    let basis = ProfileBasis {
        constraint: Some("10.9.0.0/16".parse().unwrap()),
        ..basis(directory.path())
    };
    for (address, told) in [("10.9.3.2", false), ("10.8.0.7", true)] {
        std::fs::write(&path, format!("ifconfig-push {address} 255.255.0.0\n")).unwrap();
        let (read, remarks) = inspect(Some(&path), &[], &basis);
        assert!(read.profile.v4.is_some(), "{address}");
        let said: Vec<String> = remarks.iter().map(ToString::to_string).collect();
        let why = "violates tunnel network/netmask constraint (10.9.0.0/255.255.0.0)";
        assert_eq!(said.iter().any(|it| it.contains(why)), told, "{said:?}");
    }
}

#[test]
fn frames_of_one_client_go_with_what_it_is_told() {
    for (lines, framing, pushed) in [
        ("comp-lzo\n", Framing::Prefix, Some("comp-lzo no")),
        (
            "comp-lzo no\npush \"comp-lzo no\"\n",
            Framing::Prefix,
            Some("comp-lzo no"),
        ),
        ("compress lzo\n", Framing::Prefix, Some("comp-lzo no")),
        (
            "compress stub-v2\npush \"compress stub-v2\"\n",
            Framing::V2,
            Some("compress stub-v2"),
        ),
        ("compress\n", Framing::Swap, None),
    ] {
        let read = read_text(lines);
        assert_eq!(read.profile.framing, Some(framing), "{lines}");
        let about = pushed_about_frames(&read);
        assert_eq!(about, pushed.into_iter().collect::<Vec<_>>(), "{lines}");
        assert_eq!(read.faults, [""; 0], "{lines}");
    }
    for (lines, why) in [
        (
            "push \"comp-lzo no\"\n",
            "push: it would change how this client's packets are framed",
        ),
        ("compress zstd\n", "`zstd` is no algorithm"),
        (
            "compress migrate\n",
            "write `compress migrate` into the server's configuration",
        ),
    ] {
        let read = read_text(lines);
        assert!(
            read.faults.iter().any(|fault| fault.contains(why)),
            "{:?}",
            read.faults
        );
        assert_eq!(read.profile.framing, None);
    }
}

fn pushed_about_frames(read: &ProfileRead) -> Vec<&str> {
    let mut pushed = pushed(read);
    pushed.retain(|option| option.starts_with("comp"));
    pushed
}

/// What its lines say, and the rest as for every client.
#[test]
fn a_client_has_times_of_its_own() {
    let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
    let read = read_text("session-timeout 60\nping-exit 30\nping 0\ninactive 20 1000\n");
    let times = read.profile.times.unwrap();
    assert_eq!(read.faults, [""; 0]);
    assert_eq!(times.session_timeout, seconds(60));
    assert_eq!(times.keepalive.ping_restart, seconds(30));
    assert!(times.exit_when_silent);
    let inactivity = Inactivity {
        patience: std::time::Duration::from_secs(20),
        bytes: 1000,
    };
    assert_eq!(times.inactivity, Some(inactivity));
    let directory = tempfile::tempdir().unwrap();
    let basis = ProfileBasis {
        times,
        ..basis(directory.path())
    };
    let path = directory.path().join("alice");
    std::fs::write(&path, "session-timeout 0\nping-restart 10\n").unwrap();
    let own = super::read(Some(&path), &[], &basis).profile.times.unwrap();
    let expected = SessionTimes {
        session_timeout: None,
        exit_when_silent: false,
        keepalive: crate::session::Keepalive {
            ping_restart: seconds(10),
            ..times.keepalive
        },
        ..times
    };
    assert_eq!(own, expected);
    let read = read_text("session-timeout long\n");
    assert!(read.faults[0].contains("`long` is not a whole number"));
    assert_eq!(read.profile.times, Some(SessionTimes::default()));
}
