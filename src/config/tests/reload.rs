//! What a configuration that is read again changes, line by line.

use super::*;
use crate::node::reload::{Changes, ReloadReport, Rest};

const USUAL: &str = "max-clients 10\nifconfig-pool 10.8.0.10 10.8.0.20\npush \"route 10.90.0.0\"\n";

/// What `lines` change where there were others.
fn changes(files: &Files, before: &str, lines: &str) -> (String, String) {
    let mut current = of(files, before);
    let Changes { taken, left } = Changes::take_over(&mut current, of(files, lines), false);
    (taken.join("; "), left.join("; "))
}

fn of(files: &Files, lines: &str) -> Settings {
    let text = format!(
        "dev tun\ntopology subnet\nmode server\ntls-server\nifconfig 10.8.0.1 255.255.255.0\nkeepalive 10 60\n\
         ca ca.crt\ncert server.crt\nkey server.key\n{lines}"
    );
    let loaded = files.load_text(&text);
    let remarks: Vec<String> = loaded.diagnostics.iter().map(|it| it.log_line()).collect();
    loaded
        .configuration
        .and_then(Configuration::server)
        .unwrap_or_else(|| panic!("{lines}: {remarks:?}"))
}

#[test]
fn each_line_is_taken_over_or_left() {
    let files = Files::new();
    let usual = |lines: &str| format!("{USUAL}{lines}");
    for (lines, taken, left) in [
        ("", "", ""),
        ("push \"route 10.91.0.0\"\n", "push", ""),
        ("max-clients 11\n", "max-clients", ""),
        ("connect-freq 3 1\n", "connect-freq", ""),
        ("client-to-client\n", "client-to-client", ""),
        ("inactive 60\n", "inactive", ""),
        ("explicit-exit-notify 1\n", "explicit-exit-notify", ""),
        ("verb 5\nmute 7\n", "log, verb, mute", ""),
        ("log-append other.log\n", "log, verb, mute", ""),
        ("status status.log 5\n", "status", ""),
        ("client-config-dir .\n", "client-config-dir", ""),
        ("reneg-sec 60\n", "hand-window, tran-window, reneg-sec", ""),
        ("tls-version-min 1.3\n", "tls-version-min", ""),
        ("remote-cert-tls client\n", "remote-cert-tls", ""),
        ("verify-x509-name alice name\n", "verify-x509-name", ""),
        ("mssfix 1200\n", "mssfix", ""),
        ("passtos\n", "passtos", ""),
        ("setenv A b\n", "setenv", ""),
        ("ifconfig-pool 10.8.0.10 10.8.0.21\n", "ifconfig-pool", ""),
        (
            "ifconfig-pool 10.8.0.10 10.8.0.19\n",
            "",
            "ifconfig-pool, topology",
        ),
        (
            "ifconfig-pool 10.8.0.9 10.8.0.20\n",
            "",
            "ifconfig-pool, topology",
        ),
        ("ifconfig 10.8.0.2 255.255.255.0\n", "", "server, ifconfig"),
        ("port 1195\n", "", "port"),
        ("port 1195\nlocal 127.0.0.1\n", "", "port, local"),
        ("proto udp4\n", "", "local, proto"),
        ("rcvbuf 400000\n", "", "proto, sndbuf, rcvbuf"),
        ("dev tun7\n", "", "dev, tun-mtu"),
        // The clamp follows from it.
        ("tun-mtu 1400\n", "mssfix", "dev, tun-mtu"),
        ("data-ciphers AES-128-GCM\n", "", "data-ciphers"),
        ("auth SHA512\n", "", "auth"),
        (
            "tls-crypt ta.key\n",
            "",
            "tls-auth, tls-crypt, tls-crypt-v2",
        ),
        ("duplicate-cn\n", "", "duplicate-cn"),
        ("route 10.99.0.0 255.255.255.0\n", "", "route"),
        (
            "ifconfig-pool-persist ipp.txt\n",
            "",
            "ifconfig-pool-persist",
        ),
        (
            "proto tcp\nport-share ::1 443\nringway-proxy-protocol ::1\n",
            "",
            "ringway-proxy-protocol; port-share",
        ),
        ("ringway-control socket\n", "", "ringway-control"),
        ("ringway-shards 3\n", "", "ringway-shards"),
        ("ringway-offload udp-gro off\n", "", "ringway-offload"),
        ("user nobody\nnice 3\nchroot /\n", "", "user; chroot; nice"),
        (
            "daemon\nlog x.log\nwritepid pid\n",
            "log, verb, mute",
            "daemon; writepid",
        ),
        (
            "port 1195\nverb 4\npush \"route 10.92.0.0\"\n",
            "log, verb, mute; push",
            "port",
        ),
    ] {
        let (taken, left) = (taken.to_owned(), left.to_owned());
        assert_eq!(
            changes(&files, USUAL, &usual(lines)),
            (taken, left),
            "{lines}"
        );
    }
}

/// Files are what they say, not what they are called.
#[test]
fn a_file_with_another_content_is_a_change() {
    let files = Files::new();
    let lines = format!("{USUAL}tls-crypt ta.key\n");
    let mut current = of(&files, &lines);
    let same = |current: &mut Settings| {
        let new = of(&files, &lines);
        let Changes { taken, left } = Changes::take_over(current, new, false);
        (taken.join("; "), left.join("; "))
    };
    assert_eq!(same(&mut current), (String::new(), String::new()));
    let (ca, issuer) = authority();
    let key = KeyPair::generate().unwrap();
    files.write("ca.crt", &ca);
    files.write("server.key", &key.serialize_pem());
    files.write(
        "server.crt",
        &server().signed_by(&key, &issuer).unwrap().pem(),
    );
    let other = StaticKey::generate(&mut SeededRandom::new(99));
    files.write("ta.key", &other.to_text());
    let wrapping = "tls-auth, tls-crypt, tls-crypt-v2".to_owned();
    assert_eq!(
        same(&mut current),
        ("ca; cert; key".to_owned(), wrapping.clone())
    );
    assert_eq!(
        same(&mut current),
        (String::new(), wrapping),
        "what is left stays left"
    );
}

#[test]
fn with_a_restart_everything_is_taken_over() {
    let files = Files::new();
    let mut current = of(&files, USUAL);
    let new = || of(&files, &format!("{USUAL}port 1195\nverb 4\n"));
    let changes = Changes::take_over(&mut current, new(), true);
    assert_eq!(changes.left, ["port"]);
    assert_eq!(current.listeners[0].port, 1195);
    assert_eq!(
        Changes::take_over(&mut current, new(), false),
        Changes::default()
    );
}

#[test]
fn the_report_says_what_a_restart_would_cost() {
    let report = |taken: &[&'static str], left: &[&'static str], sessions, rest| {
        let report = ReloadReport {
            changes: Changes {
                taken: taken.to_vec(),
                left: left.to_vec(),
            },
            sessions,
            rest,
            ..ReloadReport::default()
        };
        let lines = report.lines().into_iter().map(|(_, line)| line);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        report(&[], &[], 5, Rest::Left),
        ["Reload: the configuration says the same"]
    );
    assert_eq!(
        report(&["push", "cert"], &["port", "dev, tun-mtu"], 5, Rest::Left),
        [
            "Reload: in force from now on, no session is touched: push, cert",
            "Reload: clients that take PUSH_UPDATE are told now what has changed in `push`, as far as it can \
             be changed in a tunnel; the others when they connect again",
            "Reload: left as it was, since a restart would cost 5 sessions: port, dev, tun-mtu \
             (`ringway reload --disruptive` does it)"
        ]
    );
    assert_eq!(
        report(&[], &["port"], 1, Rest::Restarting),
        ["Reload: restarting, which costs 1 session: port"]
    );
    let faulty = ReloadReport {
        faults: vec!["Options error: x".into()],
        ..ReloadReport::default()
    };
    assert_eq!(
        faulty.lines(),
        [
            (true, "Options error: x".to_owned()),
            (
                true,
                "Reload: the configuration was not taken over, all stays as it was".to_owned()
            )
        ]
    );
}
