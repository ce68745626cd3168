//! Shards, cores, steering, the control socket: the directives of ringway alone, in both forms.

use super::{CORES, Files, LEAST};
use crate::config::settings::{Offloads, PortShareSettings, SteeringChoice};

#[test]
fn shards_and_their_cores() {
    let files = Files::new();
    for (lines, cores, remark) in [
        ("", &CORES[..], ""),
        ("ringway-shards 2\n", &[0, 1], ""),
        ("ringway-shards 5\n", &CORES, ""),
        (
            "ringway-shards 7\n",
            &[0, 1, 2, 3, 8, 0, 1],
            "t.conf:8: warning: ringway-shards: 7 shards take turns on 5 cores: more shards than \
             cores only cost time; write at most as many as there are cores",
        ),
        ("ringway-cores 8,1-2\n", &[8, 1, 2], ""),
        ("ringway-shards 2\nringway-cores 2-3\n", &[2, 3], ""),
        (
            "ringway-shards 4\nringway-cores 3\n",
            &[3, 3, 3, 3],
            "t.conf:8: warning: ringway-shards: 4 shards take turns on 1 core: more shards than \
             cores only cost time; write at most as many as there are cores",
        ),
        (
            "ringway-cores 8,0-3\nringway-shards 2\n",
            &[8, 0],
            "t.conf:8: warning: ringway-cores: 2 shards leave cores unused: 1-3",
        ),
        ("ringway-shards 4\nringway-shards 1\n", &[0], ""),
    ] {
        assert_eq!(files.first_remark(lines), remark, "{lines}");
        assert_eq!(files.with(lines).node.shards.cores, cores, "{lines}");
    }
}

#[test]
fn steering_may_be_forgone() {
    let files = Files::new();
    let steering = |lines: &str| files.with(lines).node.shards.steering;
    assert_eq!(steering(""), SteeringChoice::Both);
    for (word, choice) in [
        ("both", SteeringChoice::Both),
        ("udp", SteeringChoice::Udp),
        ("tun", SteeringChoice::Tun),
        ("none", SteeringChoice::None),
    ] {
        let line = format!("ringway-steering {word}\n");
        assert_eq!(steering(&line), choice);
    }
    let shards = files
        .with("ringway-shards 3\nringway-steering none\n")
        .node
        .shards;
    assert_eq!(
        (shards.cores.len(), shards.steering),
        (3, SteeringChoice::None)
    );
}

#[test]
fn offloads_may_be_forgone_each_on_its_own() {
    let files = Files::new();
    let all = Offloads::ALL;
    for (lines, offloads) in [
        ("", all),
        (
            "ringway-offload udp-gro off\n",
            Offloads {
                udp_gro: false,
                ..all
            },
        ),
        (
            "ringway-offload udp-gso off\nsetenv opt ringway-offload tun-merge off\n",
            Offloads {
                udp_gso: false,
                tun_merge: false,
                ..all
            },
        ),
        (
            "ringway-offload tun-tso off\nringway-offload tun-uso off\nringway-offload tun-tso on\n",
            Offloads {
                tun_uso: false,
                ..all
            },
        ),
    ] {
        assert_eq!(files.first_remark(lines), "", "{lines}");
        assert_eq!(files.with(lines).node.offloads, offloads, "{lines}");
    }
}

#[test]
fn the_control_socket_starts_from_the_directory() {
    let files = Files::new();
    assert_eq!(files.with("").node.control_socket, None);
    assert_eq!(
        files.with("ringway-control r.sock\n").node.control_socket,
        Some(files.0.path().join("r.sock"))
    );
    assert_eq!(
        files
            .with("ringway-control /run/ringway/r.sock\n")
            .node
            .control_socket,
        Some("/run/ringway/r.sock".into())
    );
}

#[test]
fn slips_in_lines_about_tcp() {
    let files = Files::new();
    for (line, remark) in [
        (
            "proto tcp\nringway-proxy-protocol 0",
            "t.conf:9: error: ringway-proxy-protocol: `0` is not a whole number from 1 to 65535",
        ),
        (
            "proto tcp\nringway-proxy-protocol proxies",
            "t.conf:9: error: ringway-proxy-protocol: `proxies` is no network and no address; write for \
             example `ringway-proxy-protocol 10.0.0.0/24`",
        ),
        (
            "ringway-proxy-protocol 10.0.0.0/24",
            "t.conf:8: error: ringway-proxy-protocol: there is no TCP listener; write `proto tcp`, or \
             remove the line",
        ),
        (
            "proto tcp\nringway-proxy-protocol 1195 10.0.0.0/24",
            "t.conf:9: error: ringway-proxy-protocol: there is no TCP listener on port 1195; write \
             `proto tcp`, or remove the line",
        ),
        (
            "port-share 127.0.0.1 443",
            "t.conf:8: error: port-share: only works in TCP server mode (`proto tcp-server`); remove \
             the line: nobody comes here who wants a web server",
        ),
        (
            "proto tcp\nport-share 127.0.0.1 0",
            "t.conf:9: error: port-share: `0` is not a whole number from 1 to 65535",
        ),
        (
            "proto tcp\nport-share 127.0.0.1 443 /absent",
            "t.conf:9: error: port-share: fails with '/absent': No such file or directory",
        ),
    ] {
        let lines = format!("{line}\n");
        assert_eq!(files.first_remark(&lines), remark, "{line}");
        let loaded = files.load_text(&format!("{LEAST}{lines}"));
        assert!(loaded.configuration.is_none(), "{line}");
    }
}

/// Each line is about the listeners over TCP, or those on a port.
#[test]
fn listeners_may_be_behind_proxies() {
    let files = Files::new();
    let lines = "local 192.0.2.1 1194 udp4\nlocal 192.0.2.1 1194 tcp4\nlocal 192.0.2.1 1195 tcp4\n";
    let proxies = |more: &str| {
        let listeners = files.with(&format!("{lines}{more}")).listeners;
        let proxies = listeners.into_iter().map(|listener| {
            let trusted = listener.proxy?.trusted;
            Some(
                trusted
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        });
        proxies.collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(proxies(""), [None, None, None]);
    assert_eq!(
        proxies("setenv opt ringway-proxy-protocol 10.0.0.0/24 2001:db8::7\n"),
        [
            None,
            some("10.0.0.0/24 2001:db8::7/128"),
            some("10.0.0.0/24 2001:db8::7/128")
        ]
    );
    assert_eq!(
        proxies("ringway-proxy-protocol 1195 10.0.0.1\n"),
        [None, None, some("10.0.0.1/32")]
    );
    assert_eq!(
        files.first_remark(&format!("{lines}ringway-proxy-protocol\n")),
        "t.conf:11: note: ringway-proxy-protocol: whoever reaches the port is believed, whatever \
         address it says is its own; add the networks of the proxies, such as `10.0.0.0/24`"
    );
    assert_eq!(
        proxies("ringway-proxy-protocol\n"),
        [None, some(""), some("")]
    );
}

#[test]
fn a_port_may_be_shared() {
    let files = Files::new();
    let share = |lines: &str| files.with(lines).port_share;
    assert_eq!(share("proto tcp\n"), None);
    for (line, server, journal) in [
        ("port-share 127.0.0.1 443", "127.0.0.1:443", None),
        (
            "port-share ::1 8443 .",
            "[::1]:8443",
            Some(files.0.path().join(".")),
        ),
    ] {
        let settings = PortShareSettings {
            server: server.parse().unwrap(),
            journal,
        };
        assert_eq!(share(&format!("proto tcp\n{line}\n")), Some(settings));
    }
}

/// The form that OpenVPN passes over has the same effect, from a file and from the command line.
#[test]
fn the_second_form() {
    let files = Files::new();
    let lines = "setenv opt ringway-shards 2\nsetenv opt ringway-cores 1,3\n\
                 setenv opt ringway-steering udp\nsetenv opt ringway-control /run/r\n";
    assert_eq!(files.first_remark(lines), "");
    let settings = files.with(lines);
    assert_eq!(settings.node.shards.cores, [1, 3]);
    assert_eq!(settings.node.shards.steering, SteeringChoice::Udp);
    assert_eq!(settings.node.control_socket, Some("/run/r".into()));
    assert_eq!(settings.node.environment, []);

    files.write("t.conf", LEAST);
    for words in [
        &["--config", "t.conf", "--ringway-shards", "2"][..],
        &[
            "--config",
            "t.conf",
            "--setenv",
            "opt",
            "ringway-shards",
            "2",
        ],
        &["--ringway-cores", "0,1", "--config", "t.conf"],
    ] {
        let settings = files.load(words).configuration.unwrap().server().unwrap();
        assert_eq!(settings.node.shards.cores, [0, 1], "{words:?}");
    }
}

/// Whoever writes such a line means ringway; only OpenVPN passes over it.
#[test]
fn a_slip_in_a_line_of_our_own_is_never_passed_over() {
    let files = Files::new();
    for (line, remark) in [
        (
            "setenv opt ringway-shard 4",
            "t.conf:8: error: ringway-shard: no such directive; did you mean `ringway-shards`?",
        ),
        (
            "setenv opt ringway-huge-pages 4",
            "t.conf:8: error: ringway-huge-pages: no such directive; there are `ringway-shards`, \
             `ringway-cores`, `ringway-steering`, `ringway-offload`, `ringway-control`, \
             `ringway-proxy-protocol`, `ringway-password-file`, `ringway-totp-file`, `ringway-login-backoff`",
        ),
        (
            "setenv FORWARD_COMPATIBLE 1\nringway-core 0",
            "t.conf:9: error: ringway-core: no such directive; did you mean `ringway-cores`?",
        ),
        (
            "setenv opt ringway-shards",
            "t.conf:8: error: ringway-shards: takes 1 argument, not 0; write `ringway-shards N`",
        ),
        (
            "setenv opt ringway-cores 0, 1",
            "t.conf:8: error: ringway-cores: takes 1 argument, not 2; write `ringway-cores LIST`",
        ),
        (
            "setenv opt ringway-shards 0",
            "t.conf:8: error: ringway-shards: `0` is not a whole number from 1 to 256",
        ),
        (
            "ringway-shards 257",
            "t.conf:8: error: ringway-shards: `257` is not a whole number from 1 to 256",
        ),
        (
            "ringway-shards all",
            "t.conf:8: error: ringway-shards: `all` is not a whole number from 1 to 256",
        ),
        (
            "setenv opt ringway-cores 0-8",
            "t.conf:8: error: ringway-cores: core 4 is none that this process may use: those are \
             0-3,8",
        ),
        (
            "ringway-cores 0-1-2",
            "t.conf:8: error: ringway-cores: `0-1-2` is no core and no range of cores; write for \
             example `ringway-cores 0-3,8`",
        ),
        (
            "ringway-cores 0,0",
            "t.conf:8: error: ringway-cores: core 0 stands there twice; for several shards on a \
             core, write `ringway-shards`",
        ),
        (
            "ringway-steering off",
            "t.conf:8: error: ringway-steering: `off` is no side; write `both`, `udp`, `tun` or \
             `none`",
        ),
        (
            "ringway-offload tso off",
            "t.conf:8: error: ringway-offload: `tso` is no offload; write `udp-gro`, `udp-gso`, \
             `tun-tso`, `tun-uso` or `tun-merge`",
        ),
        (
            "setenv opt ringway-offload tun-tso 0",
            "t.conf:8: error: ringway-offload: `0` is no state; write `on` or `off`",
        ),
        (
            "ringway-offload tun-tso",
            "t.conf:8: error: ringway-offload: takes 2 arguments, not 1; write `ringway-offload \
             NAME on|off`",
        ),
        (
            "ringway-control \"\"",
            "t.conf:8: error: ringway-control: the name of the file is empty",
        ),
    ] {
        let lines = format!("{line}\n");
        assert_eq!(files.first_remark(&lines), remark, "{line}");
        let loaded = files.load_text(&format!("{LEAST}{lines}"));
        assert!(loaded.configuration.is_none(), "{line}");
    }
    let name = "a".repeat(120);
    assert_eq!(
        files.first_remark(&format!("ringway-control /{name}\n")),
        "t.conf:8: error: ringway-control: the path has 121 bytes, and that of a socket has at \
         most 107"
    );
}

#[test]
fn cores_that_the_system_does_not_tell_are_asked_for() {
    let files = Files::new();
    let load = |text: &str| {
        files.write("t.conf", text);
        crate::config::load_on(Vec::new(), &["t.conf".to_owned()], files.0.path())
    };
    let loaded = load(LEAST);
    assert!(loaded.configuration.is_none());
    let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        [
            "error: ringway-cores: not written, and the system does not say which cores this \
             process may use; write for example `ringway-cores 0-3`"
        ]
    );
    let loaded = load(&format!("{LEAST}ringway-cores 2000-2001\n"));
    assert_eq!(
        loaded
            .configuration
            .unwrap()
            .server()
            .unwrap()
            .node
            .shards
            .cores,
        [2000, 2001]
    );
}
