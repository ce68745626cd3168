//! What a client makes of pushed options: tables of (options, tunnel).

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::crypto::DataCipher;
use crate::crypto::tls::UsernameFields;
use crate::crypto::tls::rustls::TlsVersion;
use crate::node::log::{LogOptions, LogTarget, Stamp};
use crate::node::settings::{
    AddressFamily, AfterRefusal, Bypass, DeviceName, DeviceSettings, HandshakeSettings, Keepalive,
    KeyVolume, NodeSettings, Offloads, ProcessSettings, PullFilter, RemoteSettings, ReplayWindow,
    RetryPause, ScriptSettings, ShardSettings, TlsSettings, Via, WrappingSettings,
};
use crate::node::settings::{ListenerTransport, Routing};
use crate::packet::Mssfix;

fn node() -> NodeSettings {
    NodeSettings {
        shards: ShardSettings::on(&[0], 1),
        routing: Routing::default(),
        offloads: Offloads::default(),
        device: DeviceSettings {
            name: DeviceName::Auto,
            mtu: 1500,
            transmit_queue: None,
        },
        tls: TlsSettings {
            authorities: Vec::new(),
            versions: TlsVersion::V1_2..=TlsVersion::V1_3,
            groups: None,
            suites: None,
            suite_b: false,
            peer_usage: true,
            usage: Default::default(),
            fingerprints: None,
            peer_name: None,
            issuers: None,
            called: UsernameFields::default(),
            revocations: Vec::new(),
        },
        wrapping: WrappingSettings::Plain,
        ciphers: vec![DataCipher::Aes256Gcm],
        auth: None,
        inactivity: None,
        session_timeout: None,
        key_volume: KeyVolume::default(),
        handshake: HandshakeSettings {
            hand_window: Duration::from_secs(60),
            tran_window: Duration::from_secs(3600),
            tls_timeout: Duration::from_secs(2),
            renegotiate: None,
        },
        replay: ReplayWindow {
            packets: 64,
            time: Duration::from_secs(15),
        },
        mssfix: Mssfix::Off,
        fragment: None,
        copies_classes: false,
        log: LogOptions {
            target: LogTarget::Tracing,
            verb: 3,
            mute: None,
            stamp: Stamp::None,
        },
        control_socket: None,
        process: ProcessSettings::default(),
        environment: Vec::new(),
    }
}

/// A client with these lines about the tunnel in its file.
fn client(lines: &[&str]) -> ClientSettings {
    let options = lines.iter().map(|line| {
        let words = words(line).unwrap();
        let option = TunnelOption::parse(&words[0], &words[1..]).unwrap();
        option.unwrap()
    });
    ClientSettings {
        node: node(),
        identity: None,
        login: None,
        after_refusal: AfterRefusal::End,
        remotes: vec![RemoteSettings {
            transport: ListenerTransport::Udp,
            host: "192.0.2.1".to_owned(),
            port: 1194,
            family: AddressFamily::Any,
            local: None,
            local_port: 0,
            timeout: Duration::from_secs(120),
            pause: RetryPause::default(),
        }],
        shuffle_remotes: false,
        resolve_patience: None,
        rounds: None,
        send_buffer: None,
        receive_buffer: None,
        path_mtu: None,
        framing: Framing::None,
        keepalive: Keepalive::default(),
        exit_when_silent: false,
        explicit_exit: NonZeroU8::new(1),
        mtu_max: 1600,
        pull: PullRules::default(),
        options: options.collect(),
        routes_by_script: false,
        scripts: ScriptSettings::default(),
        route_table: None,
        exits_on_tls_error: false,
    }
}

fn options(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn push(client: &ClientSettings, text: &str) -> Result<Pushed, PushRefused> {
    TunnelSettings::from_push(client, &options(text))
}

/// The tunnel of a bare client that was pushed an address and these options; no warning.
fn tunnel(text: &str) -> TunnelSettings {
    let pushed = push(&client(&[]), &format!("{ADDRESS},{text}")).unwrap();
    assert_eq!(pushed.warnings, [""; 0], "{text}");
    pushed.tunnel
}

fn route(network: &str, via: Via, metric: Option<u32>) -> TunnelRoute {
    TunnelRoute {
        destination: Destination::Network(network.parse().unwrap()),
        via,
        metric,
    }
}

#[test]
fn the_captured_reply_of_a_stock_server() {
    let pushed = push(
        &client(&[]),
        "route-gateway 10.8.0.1,topology subnet,ping 1,ping-restart 60,\
         ifconfig 10.8.0.2 255.255.255.0,peer-id 7,cipher AES-256-GCM,\
         protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
    )
    .unwrap();
    assert_eq!(pushed.warnings, [""; 0]);
    assert_eq!(pushed.peer_id, PeerId::new(7));
    assert!(pushed.token.is_none());
    let expected = TunnelSettings {
        v4: Some(V4Address::Subnet {
            address: "10.8.0.2/24".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(10, 8, 0, 1)),
        }),
        v6: None,
        mtu: 1500,
        routes: Vec::new(),
        redirect: None,
        block_ipv6: false,
        dhcp_options: Vec::new(),
        environment: Vec::new(),
        route_table: None,
        exit_when_silent: false,
        explicit_exit: NonZeroU8::new(1),
    };
    assert_eq!(pushed.tunnel, expected);
}

#[test]
fn the_topology_says_what_an_address_is() {
    let at = |last| Ipv4Addr::new(10, 8, 0, last);
    let subnet = |gateway: Option<u8>| V4Address::Subnet {
        address: "10.8.0.6/24".parse().unwrap(),
        gateway: gateway.map(at),
    };
    let line = |gateway| V4Address::PointToPoint {
        address: at(6),
        peer: at(5),
        gateway: at(gateway),
    };
    for (text, address) in [
        (
            "ifconfig 10.8.0.6 255.255.255.0,topology subnet",
            subnet(None),
        ),
        ("ifconfig 10.8.0.6 255.255.255.0", subnet(None)),
        (
            "route-gateway 10.8.0.1,ifconfig 10.8.0.6 255.255.255.0",
            subnet(Some(1)),
        ),
        ("ifconfig 10.8.0.6 10.8.0.5", line(5)),
        ("topology net30,ifconfig 10.8.0.6 10.8.0.5", line(5)),
        (
            "topology p2p,ifconfig 10.8.0.6 10.8.0.5,route-gateway 10.8.0.1",
            line(1),
        ),
        // The last one of each counts.
        (
            "ifconfig 10.8.0.9 10.8.0.10,topology net30,topology subnet,ifconfig 10.8.0.6 255.255.255.0",
            subnet(None),
        ),
    ] {
        let pushed = push(&client(&[]), text).unwrap();
        assert_eq!(pushed.tunnel.v4, Some(address), "{text}");
        assert_eq!(pushed.warnings, [""; 0], "{text}");
    }
    let v6 = push(&client(&[]), "ifconfig-ipv6 fd00::2/64 fd00::1").unwrap();
    let v6 = v6.tunnel.v6.unwrap();
    assert_eq!(
        (v6.address.to_string(), v6.gateway.to_string()),
        ("fd00::2/64".to_owned(), "fd00::1".to_owned())
    );
}

#[test]
fn replies_with_which_there_is_no_tunnel() {
    for (text, why) in [
        (
            "topology subnet,ifconfig 10.8.0.2 10.8.0.1",
            "the server pushed `ifconfig 10.8.0.2 10.8.0.1`: `10.8.0.1` is not a netmask",
        ),
        (
            "topology net30,ifconfig 10.8.0.2 255.255.255.0",
            "the server pushed `ifconfig 10.8.0.2 255.255.255.0`: `255.255.255.0` is a netmask, but \
             the topology is not subnet",
        ),
        (
            "ifconfig 10.8.0.2",
            "the server pushed `ifconfig 10.8.0.2`: takes 2 words, not 1",
        ),
        (
            "ifconfig-ipv6 fd00::2/64 \u{1b}[31m",
            "the server pushed `ifconfig-ipv6 fd00::2/64 \\u{1b}[31m`: `\u{1b}[31m` is not an IPv6 address",
        ),
        (
            "ping 10",
            "the server gave this client no address, and its own configuration has none",
        ),
        (
            "compress zstd,ifconfig 10.8.0.2 255.255.255.0",
            "the server pushed `compress zstd`, which is not known here",
        ),
    ] {
        let refused = push(&client(&[]), text).unwrap_err();
        assert_eq!(refused.to_string(), why, "{text}");
    }
}

#[test]
fn routes_and_their_metrics() {
    let machine = Via::Machine;
    let other = Via::Gateway("192.0.2.9".parse().unwrap());
    assert_eq!(
        tunnel(
            "route 10.1.0.0 255.255.0.0,route 10.2.0.0 255.255.0.0 vpn_gateway 3,\
             route 10.3.0.0 255.255.0.0 net_gateway,route 10.4.0.0 255.255.0.0 192.0.2.9,\
             route vpn_gateway,route remote_host 255.255.255.255 net_gateway,route-ipv6 fd01::/48,\
             route-metric 50"
        )
        .routes,
        [
            route("10.1.0.0/16", Via::Tunnel, Some(50)),
            route("10.2.0.0/16", Via::Tunnel, Some(3)),
            route("10.3.0.0/16", machine, Some(50)),
            route("10.4.0.0/16", other, Some(50)),
            route("10.8.0.1/32", Via::Tunnel, Some(50)),
            TunnelRoute {
                destination: Destination::Remote,
                via: machine,
                metric: Some(50),
            },
            route("fd01::/48", Via::Tunnel, Some(50)),
        ]
    );
}

#[test]
fn the_clients_own_lines_stand_before_those_of_the_server() {
    let own = client(&[
        "ifconfig 10.9.0.2 255.255.255.0",
        "route 10.1.0.0 255.255.0.0",
        "route-metric 5",
        "redirect-gateway def1",
        "dhcp-option DOMAIN a.example",
    ]);
    let alone = push(&own, "ping 10").unwrap().tunnel;
    assert_eq!(
        alone.v4.map(V4Address::address),
        Some(Ipv4Addr::new(10, 9, 0, 2))
    );
    assert_eq!(alone.routes, [route("10.1.0.0/16", Via::Tunnel, Some(5))]);
    let both = push(
        &own,
        "ifconfig 10.8.0.2 255.255.255.0,route 10.2.0.0 255.255.0.0,dhcp-option DNS 10.8.0.1,\
         redirect-gateway autolocal",
    )
    .unwrap();
    let both = both.tunnel;
    assert_eq!(
        both.v4.map(V4Address::address),
        Some(Ipv4Addr::new(10, 8, 0, 2))
    );
    assert_eq!(
        both.routes,
        [
            route("10.1.0.0/16", Via::Tunnel, Some(5)),
            route("10.2.0.0/16", Via::Tunnel, Some(5))
        ]
    );
    assert_eq!(both.dhcp_options, ["DOMAIN a.example", "DNS 10.8.0.1"]);
    let redirect = both.redirect.unwrap();
    assert_eq!(
        (redirect.how, redirect.bypass),
        (DefaultRoute::Halves, Bypass::UnlessLocal)
    );
}

#[test]
fn default_routes_are_those_of_the_families_that_the_tunnel_has() {
    let redirect = |v4, v6, how, bypass| Redirect {
        v4,
        v6,
        how,
        bypass,
    };
    let (halves, replaced) = (DefaultRoute::Halves, DefaultRoute::Replaced);
    let v6 = "ifconfig-ipv6 fd00::2/64 fd00::1";
    for (text, expected) in [
        (
            "redirect-gateway".to_owned(),
            redirect(true, false, replaced, Bypass::Always),
        ),
        (
            "redirect-gateway def1 bypass-dhcp".to_owned(),
            redirect(true, false, halves, Bypass::Always),
        ),
        (
            format!("{v6},redirect-gateway def1 ipv6 local"),
            redirect(true, true, halves, Bypass::Never),
        ),
        (
            format!("{v6},redirect-gateway ipv6 !ipv4"),
            redirect(false, true, replaced, Bypass::Always),
        ),
        (
            "redirect-private def1".to_owned(),
            redirect(false, false, halves, Bypass::Always),
        ),
        (
            "redirect-private,redirect-gateway".to_owned(),
            redirect(true, false, replaced, Bypass::Always),
        ),
    ] {
        assert_eq!(tunnel(&text).redirect, Some(expected), "{text}");
    }
    let pushed = push(&client(&[]), &format!("{ADDRESS},redirect-gateway ipv6")).unwrap();
    assert_eq!(
        pushed.tunnel.redirect,
        Some(redirect(true, false, replaced, Bypass::Always))
    );
    assert_eq!(
        pushed.warnings,
        ["pushed option 'redirect-gateway': the tunnel has no IPv6 address, so IPv6 goes past it"]
    );
}

#[test]
fn what_a_server_may_set_besides() {
    let settings = tunnel(
        "tun-mtu 1400,sndbuf 0,rcvbuf 0,setenv-safe A \"x y\",explicit-exit-notify 3,ping-exit 30,\
         block-ipv6,dhcp-option DNS 10.8.0.1,echo hello,tun-ipv6,persist-tun,register-dns",
    );
    assert_eq!(settings.mtu, 1400);
    assert_eq!(
        settings.environment,
        [("OPENVPN_A".to_owned(), "x y".to_owned())]
    );
    assert_eq!(settings.explicit_exit, NonZeroU8::new(3));
    assert!(settings.exit_when_silent);
    assert!(settings.block_ipv6);
    assert_eq!(settings.dhcp_options, ["DNS 10.8.0.1"]);
    assert!(!tunnel("ping-exit 30,ping-restart 60").exit_when_silent);
    assert_eq!(tunnel("explicit-exit-notify 0").explicit_exit, None);
    assert_eq!(
        tunnel("explicit-exit-notify").explicit_exit,
        NonZeroU8::new(1)
    );
}

#[test]
fn what_is_left_out_is_told() {
    for (option, why) in [
        ("banana", "is not served and has no effect"),
        ("client-nat x", "is not served and has no effect"),
        (
            "sndbuf 65536",
            "has no effect: a client writes the line in its own file",
        ),
        (
            "route 10.0.0.1 255.0.0.0",
            "10.0.0.1 is not the first address of its network, which is 10.0.0.0/8",
        ),
        ("route example.net", "`example.net` is not an IPv4 address"),
        ("tun-mtu 1800", "more than 1600: write `tun-mtu-max 1800`"),
        ("tun-mtu 10", "less than 100 is not served"),
        ("tun-mtu x", "`x` is not a whole number that fits here"),
        (
            "peer-id 16777216",
            "`16777216` is not a whole number that fits here",
        ),
        (
            "redirect-gateway block-local",
            "`block-local` is not served: the local network would stay within reach",
        ),
        ("setenv-safe \"A", "no closing quotation (\")"),
    ] {
        let pushed = push(&client(&[]), &format!("{ADDRESS},{option}")).unwrap();
        assert_eq!(
            pushed.warnings,
            [format!("pushed option '{}': {why}", option.escape_debug())]
        );
    }
    assert_eq!(
        push(&client(&[]), &format!("{ADDRESS},tun-mtu 1800"))
            .unwrap()
            .tunnel
            .mtu,
        1600
    );
    let many = vec!["banana"; 100].join(",");
    let pushed = push(&client(&[]), &format!("{ADDRESS},{many}")).unwrap();
    assert_eq!(pushed.warnings.len(), limits::PUSH_WARNINGS_MAX);
}

#[test]
fn filters_are_asked_in_their_order() {
    let filter = |action, prefix: &str| PullFilter {
        action,
        prefix: prefix.to_owned(),
    };
    let (accept, ignore, reject) = (
        FilterAction::Accept,
        FilterAction::Ignore,
        FilterAction::Reject,
    );
    let mut own = client(&[]);
    own.pull.filters = vec![
        filter(accept, "route 10.1."),
        filter(ignore, "route "),
        filter(reject, "redirect-gateway"),
    ];
    let text = format!(
        "{ADDRESS},route 10.1.0.0 255.255.0.0,route 10.2.0.0 255.255.0.0,route-ipv6 fd01::/48"
    );
    let pushed = push(&own, &text).unwrap();
    assert_eq!(
        pushed.tunnel.routes,
        [
            route("10.1.0.0/16", Via::Tunnel, None),
            route("fd01::/48", Via::Tunnel, None)
        ]
    );
    assert_eq!(pushed.warnings, [""; 0]);
    assert_eq!(
        push(&own, &format!("{text},redirect-gateway def1")).unwrap_err(),
        PushRefused::Filtered("redirect-gateway def1".to_owned())
    );
    // The client's own lines are not pushed.
    own.options = client(&["redirect-gateway"]).options;
    assert!(push(&own, &text).unwrap().tunnel.redirect.is_some());
}

#[test]
fn without_routes_the_servers_are_left_out_and_the_clients_stay() {
    let mut own = client(&["route 10.1.0.0 255.255.0.0"]);
    own.pull.without_routes = true;
    let pushed = push(
        &own,
        &format!(
            "{ADDRESS},route 10.2.0.0 255.255.0.0,route-ipv6 fd01::/48,redirect-gateway def1,\
             dhcp-option DNS 10.8.0.1,route-metric 9,block-ipv6,block-outside-dns,setenv-safe A b"
        ),
    )
    .unwrap();
    assert_eq!(pushed.warnings, [""; 0]);
    let tunnel = pushed.tunnel;
    assert_eq!(tunnel.routes, [route("10.1.0.0/16", Via::Tunnel, None)]);
    assert_eq!((tunnel.redirect, tunnel.block_ipv6), (None, false));
    assert_eq!(tunnel.dhcp_options, [""; 0]);
    assert_eq!(tunnel.environment.len(), 1);
    assert_eq!(
        tunnel.v4.and_then(V4Address::gateway),
        Some(Ipv4Addr::new(10, 8, 0, 1))
    );
}

#[test]
fn a_token_comes_with_the_reply_or_alone() {
    let text = format!("{ADDRESS},auth-token SESS_ID_AT_abc,auth-token-user YW5uYQ==");
    let pushed = push(&client(&[]), &text).unwrap();
    let token = pushed.token.unwrap();
    assert_eq!(
        (token.username.as_deref(), token.token.as_str()),
        (Some("anna"), "SESS_ID_AT_abc")
    );
    assert!(!format!("{token:?}").contains("SESS"));
    let mut all = PullRules::default();
    let alone = AuthToken::from_push(&all, &options("auth-token a,auth-token b")).unwrap();
    assert_eq!((alone.username, alone.token.as_str()), (None, "b"));
    for none in [
        "auth-token",
        "auth-token ",
        "ping 10",
        "auth-token-user YW5uYQ==",
    ] {
        assert!(
            AuthToken::from_push(&all, &options(none)).is_none(),
            "{none}"
        );
    }
    let long = format!("auth-token {}", "x".repeat(limits::LOGIN_MAX + 1));
    assert!(AuthToken::from_push(&all, &[long]).is_none());
    all.filters.push(PullFilter {
        action: FilterAction::Ignore,
        prefix: "auth-token".to_owned(),
    });
    assert!(AuthToken::from_push(&all, &options("auth-token a")).is_none());
}

#[test]
fn reconnections_mostly_leave_the_tunnel_as_it_is() {
    let own = client(&[]);
    let first = push(&own, &format!("{ADDRESS},peer-id 1,auth-token a,ping 10")).unwrap();
    let next = push(&own, &format!("{ADDRESS},peer-id 2,auth-token b,ping 20")).unwrap();
    assert_eq!(first.tunnel, next.tunnel);
    let other = push(&own, &format!("{ADDRESS},route 10.1.0.0 255.255.0.0")).unwrap();
    assert_ne!(first.tunnel, other.tunnel);
}

proptest! {
    #[test]
    fn any_options_are_a_tunnel_or_an_error(
        pushed in proptest::collection::vec(option(), 0..40),
        without_routes: bool,
    ) {
        let mut own = client(&["ifconfig 10.9.0.2 255.255.255.0"]);
        own.pull.without_routes = without_routes;
        let bytes: usize = pushed.iter().map(String::len).sum();
        if let Ok(result) = TunnelSettings::from_push(&own, &pushed) {
            let tunnel = result.tunnel;
            prop_assert!(tunnel.v4.is_some() || tunnel.v6.is_some());
            prop_assert!((limits::TUN_MTU_MIN..=1600).contains(&tunnel.mtu));
            prop_assert!(tunnel.routes.len() <= pushed.len());
            prop_assert!(result.warnings.len() <= limits::PUSH_WARNINGS_MAX);
            let kept = tunnel.dhcp_options.iter().map(String::len).sum::<usize>();
            prop_assert!(kept <= bytes);
        }
    }
}

/// Words of options in any order, and anything at all.
fn option() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "route",
        "route-ipv6",
        "ifconfig",
        "ifconfig-ipv6",
        "topology",
        "subnet",
        "net30",
        "redirect-gateway",
        "def1",
        "ipv6",
        "!ipv4",
        "route-gateway",
        "tun-mtu",
        "peer-id",
        "10.8.0.2",
        "255.255.255.0",
        "0.0.0.0",
        "fd00::2/64",
        "::/0",
        "fd00::1",
        "vpn_gateway",
        "net_gateway",
        "remote_host",
        "default",
        "65535",
        "4294967295",
        "explicit-exit-notify",
        "setenv-safe",
        "auth-token",
        "dhcp-option",
        "\"",
        "\\",
    ]);
    let known = proptest::collection::vec(word, 0..6).prop_map(|words| words.join(" "));
    prop_oneof![4 => known, 1 => any::<String>()]
}

const ADDRESS: &str = "topology subnet,route-gateway 10.8.0.1,ifconfig 10.8.0.2 255.255.255.0";

#[test]
fn frames_that_a_server_wants_are_no_matter_of_the_tunnel() {
    for option in [
        "comp-lzo no",
        "comp-lzo",
        "comp-lzo adaptive",
        "compress lzo",
        "compress",
        "compress stub-v2",
        "compress lz4",
    ] {
        let pushed = push(
            &client(&[]),
            &format!("{option},ifconfig 10.8.0.2 255.255.255.0"),
        );
        assert_eq!(pushed.unwrap().warnings, [""; 0], "{option}");
    }
}
