//! Configurations of clients: one line at a time, blocks, logins. What stock does with the same lines
//! was tried with OpenVPN 2.6.14.

mod refused;

use std::fmt::Write as _;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::Files;
use crate::config::settings::{
    AddressFamily, AfterRefusal, ClientSettings, FilterAction, ListenerTransport, PullFilter,
    RemoteSettings, RetryPause, Routing, ScriptCommand, TunnelOption, usable_cores,
};
use crate::config::{ClientConfiguration, Configuration, LoginQuestion};
use crate::limits;
use crate::packet::FragmentLimit;
use crate::reactor::PathMtu;
use crate::wire::Framing;
use crate::wire::Role;

impl Files {
    /// A client of the least configuration with some more lines; with a certificate of a client.
    fn client_configuration(&self, lines: &str) -> ClientConfiguration {
        let loaded = self.load_text(&format!("{LEAST}{lines}"));
        assert_eq!(loaded.role, Role::Client);
        loaded
            .configuration
            .and_then(Configuration::client)
            .unwrap_or_else(|| panic!("{lines}: {:?}", loaded.diagnostics))
    }

    fn client(&self, lines: &str) -> ClientSettings {
        self.client_configuration(lines).settings
    }

    /// All remarks on a text.
    fn remarks(&self, text: &str) -> Vec<String> {
        let loaded = self.load_text(text);
        loaded.diagnostics.iter().map(ToString::to_string).collect()
    }
}

/// What would be done, for the snapshots of whole files.
pub(super) fn account(client: &ClientConfiguration) -> String {
    let settings = &client.settings;
    let node = &settings.node;
    let mut text = String::new();
    let _ = writeln!(text, "\n{:#?}", settings.remotes);
    let _ = writeln!(
        text,
        "{:?}",
        (&client.question, &settings.login, settings.after_refusal)
    );
    let _ = writeln!(
        text,
        "{:?}",
        (
            settings.identity.is_some(),
            node.tls.peer_usage,
            &node.tls.peer_name
        )
    );
    let _ = writeln!(
        text,
        "{:?}",
        (&node.device, settings.mtu_max, &node.wrapping)
    );
    let _ = writeln!(
        text,
        "{:?}",
        (
            &settings.keepalive,
            settings.exit_when_silent,
            settings.explicit_exit
        )
    );
    let _ = writeln!(
        text,
        "{:?}",
        (
            settings.shuffle_remotes,
            settings.resolve_patience,
            settings.rounds
        )
    );
    let _ = writeln!(text, "{:?}", (&node.handshake, &node.ciphers, &node.auth));
    let _ = writeln!(
        text,
        "{:#?}",
        (&settings.pull, &settings.options, settings.routes_by_script)
    );
    let _ = writeln!(text, "{:?}", (&settings.scripts, &node.log));
    text
}

#[test]
fn the_least_client() {
    let files = Files::new();
    assert_eq!(files.remarks(LEAST), [""; 0]);
    let settings = files.client("");
    assert_eq!(settings.remotes, [remote("192.0.2.1", 1194)]);
    assert!(settings.identity.is_some() && settings.login.is_none());
    assert_eq!(settings.node.shards.cores.len(), 1);
    assert_eq!(settings.mtu_max, 1600);
    assert_eq!(settings.keepalive.ping, None);
    assert_eq!(
        settings.keepalive.ping_restart,
        Some(Duration::from_secs(120))
    );
    let renegotiation = settings.node.handshake.renegotiate.unwrap();
    assert_eq!(renegotiation.earliest, renegotiation.latest);
    assert!(settings.tls_engine().is_ok());
    assert!(!usable_cores().is_empty());
}

fn remote(host: &str, port: u16) -> RemoteSettings {
    RemoteSettings {
        transport: ListenerTransport::Udp,
        host: host.to_owned(),
        port,
        family: AddressFamily::Any,
        local: None,
        local_port: 0,
        timeout: Duration::from_secs(120),
        pause: RetryPause::default(),
    }
}

#[test]
fn remotes_and_their_sockets() {
    let files = Files::new();
    let least = remote("192.0.2.1", 1194);
    let named = remote("vpn.example.net", 1195);
    let seconds = Duration::from_secs;
    let bound = |local_port| RemoteSettings {
        local_port,
        ..least.clone()
    };
    let family = |family| RemoteSettings {
        family,
        ..least.clone()
    };
    let pause = |first, longest| RemoteSettings {
        pause: RetryPause {
            first: seconds(first),
            longest: seconds(longest),
        },
        ..least.clone()
    };
    for (lines, remotes) in [
        (
            "remote vpn.example.net 1195\n",
            vec![least.clone(), named.clone()],
        ),
        (
            "remote vpn.example.net 1195 udp4\n",
            vec![
                least.clone(),
                RemoteSettings {
                    family: AddressFamily::V4,
                    ..named.clone()
                },
            ],
        ),
        ("port 5\n", vec![remote("192.0.2.1", 5)]),
        ("rport 5\n", vec![remote("192.0.2.1", 5)]),
        (
            "port 5\nbind\n",
            vec![RemoteSettings {
                local_port: 5,
                ..remote("192.0.2.1", 5)
            }],
        ),
        ("nobind\n", vec![bound(0)]),
        ("nobind\nport 1194\n", vec![bound(0)]),
        ("bind\n", vec![bound(1194)]),
        ("lport 77\n", vec![bound(77)]),
        (
            "local 192.0.2.7\n",
            vec![RemoteSettings {
                local: Some("192.0.2.7".parse().unwrap()),
                family: AddressFamily::V4,
                ..bound(1194)
            }],
        ),
        ("proto udp4\n", vec![family(AddressFamily::V4)]),
        (
            "connect-timeout 7\n",
            vec![RemoteSettings {
                timeout: seconds(7),
                ..least.clone()
            }],
        ),
        (
            "server-poll-timeout 8\n",
            vec![RemoteSettings {
                timeout: seconds(8),
                ..least.clone()
            }],
        ),
        ("connect-retry 3 9\n", vec![pause(3, 9)]),
        ("connect-retry 9 3\n", vec![pause(9, 9)]),
        ("connect-retry 400\n", vec![pause(400, 400)]),
        // What stands before a block counts in it; what it says itself ends with it.
        (
            "connect-timeout 7\n<connection>\nremote a 1\n</connection>\n\
             <connection>\nremote b\nport 2\nproto udp6\nconnect-timeout 8\nnobind\n</connection>\n\
             <connection>\nremote c\n</connection>\nconnect-timeout 9\n",
            vec![
                RemoteSettings {
                    timeout: seconds(7),
                    ..remote("a", 1)
                },
                RemoteSettings {
                    timeout: seconds(8),
                    family: AddressFamily::V6,
                    ..remote("b", 2)
                },
                RemoteSettings {
                    timeout: seconds(7),
                    ..remote("c", 1194)
                },
            ],
        ),
    ] {
        assert_eq!(files.client(lines).remotes, remotes, "{lines}");
    }
}

#[test]
fn remotes_over_tcp() {
    let files = Files::new();
    let least = remote("192.0.2.1", 1194);
    let tcp = |remote| RemoteSettings {
        transport: ListenerTransport::Tcp,
        ..remote
    };
    let over_tcp = |family| RemoteSettings {
        family,
        ..tcp(least.clone())
    };
    for (lines, remotes) in [
        ("proto tcp\n", vec![over_tcp(AddressFamily::Any)]),
        ("proto tcp-client\n", vec![over_tcp(AddressFamily::Any)]),
        ("proto tcp4-client\n", vec![over_tcp(AddressFamily::V4)]),
        (
            "remote a 443 tcp6\nremote b 80 tcp6-client\n",
            vec![
                least.clone(),
                RemoteSettings {
                    family: AddressFamily::V6,
                    ..tcp(remote("a", 443))
                },
                RemoteSettings {
                    family: AddressFamily::V6,
                    ..tcp(remote("b", 80))
                },
            ],
        ),
        (
            "<connection>\nremote a 443\nproto tcp\nserver-poll-timeout 8\n</connection>\n\
             <connection>\nremote a 1194\n</connection>\n",
            vec![
                RemoteSettings {
                    timeout: Duration::from_secs(8),
                    ..tcp(remote("a", 443))
                },
                remote("a", 1194),
            ],
        ),
    ] {
        assert_eq!(files.client(lines).remotes, remotes, "{lines}");
    }
}

#[test]
fn lines_have_effect() {
    let files = Files::new();
    let settings = files.client(
        "remote-random\nresolv-retry 20\nconnect-retry-max 3\nauth-retry nointeract\nsndbuf 5\n\
         rcvbuf 6\nping 8\nping-exit 30\nexplicit-exit-notify 2\ntun-mtu-max 1700\nroute-nopull\n\
         route-noexec\nreneg-sec 100\nverify-x509-name srv name\nsetenv A b\n",
    );
    assert!(settings.shuffle_remotes);
    assert_eq!(settings.resolve_patience, Some(Duration::from_secs(20)));
    assert_eq!(settings.rounds, NonZeroU32::new(3));
    assert_eq!(settings.after_refusal, AfterRefusal::Retry);
    assert_eq!(
        (settings.send_buffer, settings.receive_buffer),
        (NonZeroU32::new(5), NonZeroU32::new(6))
    );
    assert_eq!(settings.keepalive.ping, Some(Duration::from_secs(8)));
    assert_eq!(
        settings.keepalive.ping_restart,
        Some(Duration::from_secs(30))
    );
    assert!(settings.exit_when_silent);
    assert_eq!(settings.explicit_exit, NonZeroU8::new(2));
    assert_eq!(settings.mtu_max, 1700);
    assert!(settings.pull.without_routes && settings.routes_by_script);
    assert_eq!(
        settings.node.environment,
        [("A".to_owned(), "b".to_owned())]
    );

    assert_eq!(
        (settings.path_mtu, settings.framing, settings.node.fragment),
        (None, Framing::None, None)
    );
    for (lines, framing) in [
        ("comp-lzo\n", Framing::Prefix),
        ("comp-lzo no\n", Framing::Prefix),
        ("compress\n", Framing::Swap),
        ("compress lz4\nallow-compression yes\n", Framing::Swap),
        ("compress stub-v2\nallow-compression no\n", Framing::V2),
        ("compress migrate\n", Framing::None),
    ] {
        assert_eq!(files.client(lines).framing, framing, "{lines}");
    }
    let settings = files.client("mtu-disc yes\nfragment 1200 mtu\n");
    assert_eq!(settings.path_mtu, Some(PathMtu::Demanded));
    assert_eq!(settings.node.fragment, Some(FragmentLimit::Packet(1200)));

    let ping_restart = |lines: &str| {
        let settings = files.client(lines);
        let seconds = settings.keepalive.ping_restart.map(|time| time.as_secs());
        (seconds, settings.exit_when_silent)
    };
    assert_eq!(ping_restart("keepalive 10 60\n"), (Some(60), false));
    assert_eq!(ping_restart("ping-restart 0\n"), (None, false));
    assert_eq!(
        ping_restart("ping-exit 9\nping-restart 8\n"),
        (Some(8), false)
    );
    assert_eq!(
        files.client("resolv-retry infinite\n").resolve_patience,
        None
    );
    assert_eq!(files.client("connect-retry-max unlimited\n").rounds, None);
    assert_eq!(files.client("explicit-exit-notify 0\n").explicit_exit, None);
    assert_eq!(files.client("tun-mtu 9000\n").mtu_max, 9000);
    assert_eq!(files.client("ringway-cores 3\n").node.shards.cores, [3]);
    assert_eq!(files.client("ringway-shards 1\n").node.shards.cores, [0]);
}

#[test]
fn lines_about_the_tunnel_keep_their_order() {
    let files = Files::new();
    let settings = files.client(
        "route 10.1.0.0 255.255.0.0\nredirect-gateway def1\nroute-ipv6 fd01::/48\n\
         dhcp-option DNS 10.8.0.1\nifconfig 10.8.0.2 10.8.0.1\ntopology p2p\nblock-ipv6\n\
         pull-filter ignore \"route \"\npull-filter accept route-ipv6\n",
    );
    let names: Vec<String> = settings
        .options
        .iter()
        .map(|option| {
            format!("{option:?}")
                .split(['(', ' '])
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        names,
        [
            "Route",
            "Redirect",
            "Route",
            "DhcpOption",
            "Ifconfig",
            "Topology",
            "BlockIpv6"
        ]
    );
    assert!(
        settings
            .options
            .contains(&TunnelOption::DhcpOption("DNS 10.8.0.1".to_owned()))
    );
    let filter = |action, prefix: &str| PullFilter {
        action,
        prefix: prefix.to_owned(),
    };
    assert_eq!(
        settings.pull.filters,
        [
            filter(FilterAction::Ignore, "route "),
            filter(FilterAction::Accept, "route-ipv6")
        ]
    );
}

#[test]
fn logins() {
    let files = Files::new();
    files.write("login", "anna\nsecret word\nmore\n");
    files.write("name", "anna\n");
    files.write("empty", "\n");
    files.write(
        "long",
        &format!("anna\n{}\n", "x".repeat(limits::LOGIN_MAX + 1)),
    );
    let login = |lines: &str| {
        let client = files.client_configuration(lines);
        let login = client.settings.login;
        let login = login.map(|login| (login.username, login.password.to_string()));
        (login, client.question)
    };
    let anna = Some(("anna".to_owned(), "secret word".to_owned()));
    let question = |username: Option<&str>| {
        Some(LoginQuestion {
            username: username.map(str::to_owned),
        })
    };
    assert_eq!(login(""), (None, None));
    assert_eq!(login("auth-user-pass login\n"), (anna.clone(), None));
    assert_eq!(
        login("<auth-user-pass>\nanna\nsecret word\n</auth-user-pass>\n"),
        (anna, None)
    );
    assert_eq!(login("auth-user-pass\n"), (None, question(None)));
    assert_eq!(
        login("auth-user-pass name\n"),
        (None, question(Some("anna")))
    );
    for (file, why) in [
        ("nowhere", "nowhere: No such file or directory"),
        (
            "empty",
            "empty: no user name; the first line is the name, the second the password",
        ),
        (
            "long",
            "long: a line of more than 480 bytes; the first line is the name, the second the password",
        ),
    ] {
        assert_eq!(
            files.remarks(&format!("{LEAST}auth-user-pass {file}\n")),
            [format!("t.conf:8: error: auth-user-pass: {why}")]
        );
    }
    // With a password a certificate is not needed.
    let without = "client\ndev tun\nremote 192.0.2.1\nca ca.crt\nremote-cert-tls server\n";
    let loaded = files.load_text(&format!("{without}auth-user-pass login\n"));
    let client = loaded
        .configuration
        .and_then(Configuration::client)
        .unwrap();
    assert!(client.settings.identity.is_none());
    assert!(client.settings.tls_engine().is_ok());
    assert_eq!(
        files.remarks(without),
        [
            "error: cert: not written, and neither is `auth-user-pass`: no server would know the \
             client; write `cert client.crt` and `key client.key`"
        ]
    );
}

#[test]
fn scripts() {
    let files = Files::new();
    let lines = "script-security 2\nup \"/bin/sh -c 'echo \\\"$1\\\"' --\"\ndown /bin/true\n\
                 route-up /bin/true\nroute-pre-down /bin/true\nipchange /bin/true\ndown-pre\nup-restart\n";
    let scripts = files.client(lines).scripts;
    assert_eq!(
        scripts.up,
        Some(ScriptCommand {
            program: "/bin/sh".into(),
            arguments: ["-c", "echo \"$1\"", "--"].map(str::to_owned).to_vec(),
        })
    );
    assert!(scripts.down.is_some() && scripts.route_up.is_some());
    assert!(scripts.route_pre_down.is_some() && scripts.ip_change.is_some());
    assert!(scripts.down_before && scripts.at_restart);
}

#[test]
fn what_is_missing_is_told() {
    let files = Files::new();
    let without = |name: &str| {
        let rest = LEAST.lines().filter(|line| !line.starts_with(name));
        let rest: Vec<&str> = rest.collect();
        files.remarks(&(rest.join("\n") + "\n"))
    };
    for (name, remark) in [
        (
            "remote 192",
            "error: remote: no server is named; write `remote HOST PORT`",
        ),
        ("dev", "error: dev: no device is named; write `dev tun`"),
        (
            "ca",
            "error: ca: not written; write `ca ca.crt`: the authority that signed the server",
        ),
        ("key", "error: key: not written; write `key client.key`"),
        (
            "remote-cert-tls",
            "warning: remote-cert-tls: not written: whoever has a certificate of the authority can \
             pose as the server; write `remote-cert-tls server`",
        ),
    ] {
        assert_eq!(without(name), [remark], "{name}");
    }
    let rest = LEAST.replace("client\n", "");
    for (line, remark) in [
        (
            "tls-client\n",
            "error: pull: not written: without it this is one of two equal peers, which is not \
             served; write `client`",
        ),
        (
            "pull\n",
            "error: tls-client: not written: without it keys would come from no handshake; write `client`",
        ),
    ] {
        assert_eq!(files.remarks(&format!("{line}{rest}")), [remark], "{line}");
    }
    assert_eq!(files.remarks(&format!("tls-client\npull\n{rest}")), [""; 0]);
}

#[test]
fn a_client_stands_with_its_kind() {
    let files = Files::new();
    let loaded = files.load_text("server 10.8.0.0 255.255.255.0\n");
    assert_eq!(loaded.role, Role::Server);
    files.write("common.conf", "client\ndev tun\n");
    let loaded = files.load_text("config common.conf\nremote 192.0.2.1\n");
    assert_eq!(loaded.role, Role::Client);
    // A server's certificate in a client's file.
    let text = LEAST
        .replace("client.crt", "server.crt")
        .replace("client.key", "server.key");
    assert_eq!(
        files.remarks(&text),
        [
            "t.conf:6: warning: cert: server.crt: the certificate is not marked for clients; servers \
             with `remote-cert-tls client` will refuse it"
        ]
    );
}

/// What every line of a table stands behind: seven lines without a remark.
pub(super) const LEAST: &str = "client\ndev tun\nremote 192.0.2.1\nremote-cert-tls server\nca ca.crt\n\
    cert client.crt\nkey client.key\n";

/// Outside of the tunnel.
#[test]
fn what_decides_on_the_way_of_packets() {
    let files = Files::new();
    let routing = |device: Option<&str>, mark| Routing {
        device: device.map(str::to_owned),
        mark,
    };
    for (lines, expected) in [
        ("", routing(None, None)),
        (
            "mark 77\nbind-dev vrf-red\n",
            routing(Some("vrf-red"), Some(77)),
        ),
        ("mark 1\nmark 4294967295\n", routing(None, Some(u32::MAX))),
    ] {
        assert_eq!(files.client(lines).node.routing, expected, "{lines}");
        assert_eq!(files.with(lines).node.routing, expected, "{lines}");
    }
    for lines in [
        "mark 4294967296\n",
        "mark x\n",
        "bind-dev a-name-of-16-byt\n",
    ] {
        let text = format!("{LEAST}{lines}");
        assert!(files.load_text(&text).configuration.is_none(), "{lines}");
    }
    // Each connection has a socket of its own, and the user may not mark it.
    let text = format!("{LEAST}mark 5\nuser nobody\n");
    assert_eq!(
        files.remarks(&text),
        [
            "error: mark: a client that becomes another user may not mark its packets any more; \
          remove `user`, and give the service CAP_NET_ADMIN alone"
        ]
    );
}
