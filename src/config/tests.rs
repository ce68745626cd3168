//! Whole configurations: the files of tests/configs, and one line at a time.

mod addresses;
mod client;
mod client_keys;
mod clients;
mod compression;
mod files;
mod fragment;
mod leases;
mod link_mtu;
mod locked;
mod modes;
mod peers;
mod process;
mod quiet;
mod reload;
mod sessions;
mod shards;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
    date_time_ymd,
};
use tempfile::TempDir;

use super::diagnostics::Severity;
use super::settings::{
    Bind, DeviceName, ExplicitExit, ListenerTransport, Settings, WrappingSettings,
};
use super::{Configuration, Loaded, load_on};
use crate::crypto::tls::NameRule;
use crate::crypto::{DataCipher, Digest, KeyDirection, StaticKey};
use crate::node::log::{LogTarget, Stamp};
use crate::node::status::StatusFormat;
use crate::packet::Mssfix;
use crate::random::SeededRandom;
use crate::session::Renegotiation;

/// A directory with an authority, certificates and keys, and files that are no good.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        files.write("ca.crt", &authority.0);
        files.write("server.key", &key.serialize_pem());
        files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        let certificate = server().signed_by(&key, &authority.1).unwrap();
        files.write("server.crt", &certificate.pem());
        let mut client = server();
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = client.signed_by(&key, &authority.1).unwrap();
        files.write("client.crt", &certificate.pem());
        files.write("client.key", &key.serialize_pem());
        let mut expired = server();
        expired.not_before = date_time_ymd(2019, 1, 1);
        expired.not_after = date_time_ymd(2020, 1, 1);
        expired.extended_key_usages.clear();
        files.write(
            "expired.crt",
            &expired.signed_by(&key, &authority.1).unwrap().pem(),
        );
        files.write("encrypted.key", ENCRYPTED_KEY);
        files.write("dh.pem", DH_PARAMETERS);
        files.write(
            "ta.key",
            &StaticKey::generate(&mut SeededRandom::new(1)).to_text(),
        );
        files
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, words: &[&str]) -> Loaded {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        load_on(CORES.to_vec(), &words, self.0.path())
    }

    fn load_text(&self, text: &str) -> Loaded {
        self.write("t.conf", text);
        self.load(&["t.conf"])
    }

    /// Settings of the least configuration with some more lines.
    fn with(&self, lines: &str) -> Settings {
        let loaded = self.load_text(&format!("{LEAST}{lines}"));
        loaded
            .configuration
            .and_then(Configuration::server)
            .unwrap_or_else(|| panic!("{lines}: {:?}", loaded.diagnostics))
    }

    /// The first remark on the least configuration with some more lines.
    fn first_remark(&self, lines: &str) -> String {
        let loaded = self.load_text(&format!("{LEAST}{lines}"));
        loaded
            .diagnostics
            .iter()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Test CA");
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn server() -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Each file of tests/configs: what is said of it, and what would be served.
#[test]
fn files() {
    let files = Files::new();
    let configs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs"));
    let mut names: Vec<String> = fs::read_dir(configs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 12);
    for name in names {
        files.write(&name, &fs::read_to_string(configs.join(&name)).unwrap());
        let loaded = files.load(&[&name]);
        insta::assert_snapshot!(name.clone(), account(&loaded, files.0.path()));
    }
}

fn account(loaded: &Loaded, directory: &Path) -> String {
    let mut text = String::new();
    for diagnostic in loaded.diagnostics.iter() {
        let _ = writeln!(text, "{diagnostic}");
    }
    if let Some(Configuration::Server(settings)) = &loaded.configuration {
        let _ = writeln!(
            text,
            "\n{:?}",
            (
                &settings.node.shards,
                settings.client_to_client,
                &settings.contact,
                &settings.node.control_socket
            )
        );
        let tls = &settings.node.tls;
        let groups = tls
            .groups
            .as_ref()
            .map(|groups| groups.iter().map(|group| group.name()).collect::<Vec<_>>());
        let _ = writeln!(
            text,
            "{:#?}",
            (
                &settings.listeners,
                &settings.node.device,
                &settings.network
            )
        );
        let _ = writeln!(
            text,
            "{:#?}",
            (&settings.push, &settings.keepalive, &settings.node.wrapping)
        );
        let _ = writeln!(
            text,
            "{:?}",
            (&tls.versions, groups, tls.peer_usage, &tls.peer_name)
        );
        let _ = writeln!(
            text,
            "{:?}",
            (
                &settings.node.ciphers,
                &settings.node.auth,
                &settings.node.handshake
            )
        );
        let _ = writeln!(
            text,
            "{:?}",
            (
                &settings.node.replay,
                settings.max_clients,
                settings.duplicate_cn
            )
        );
        let _ = writeln!(
            text,
            "{:?}",
            (
                &settings.explicit_exit,
                &settings.node.mssfix,
                &settings.node.log
            )
        );
        let _ = writeln!(
            text,
            "{:?}",
            (
                &settings.status,
                &settings.node.process,
                &settings.node.environment
            )
        );
    }
    if let Some(Configuration::Client(client)) = &loaded.configuration {
        text.push_str(&client::account(client));
    }
    text.replace(directory.to_str().unwrap(), "DIRECTORY")
}

#[test]
fn listeners_say_what_they_speak() {
    use ListenerTransport::{Tcp, Udp};
    let files = Files::new();
    let any_v4 = Bind::V4([0, 0, 0, 0].into());
    for (lines, expected) in [
        ("proto tcp\n", &[(Tcp, Bind::DualStack, 1194)][..]),
        (
            "proto tcp-server\nport 443\n",
            &[(Tcp, Bind::DualStack, 443)],
        ),
        ("proto tcp4\n", &[(Tcp, any_v4, 1194)]),
        ("proto tcp4-server\n", &[(Tcp, any_v4, 1194)]),
        ("proto tcp6\n", &[(Tcp, Bind::DualStack, 1194)]),
        (
            "proto tcp6-server\nbind ipv6only\n",
            &[(Tcp, Bind::V6([0; 8].into()), 1194)],
        ),
        (
            "local * 1194\nlocal 0.0.0.0 443 tcp4\nlocal ::1 443 tcp6\nlocal * 1194 udp\n",
            &[
                (Udp, Bind::DualStack, 1194),
                (Tcp, any_v4, 443),
                (Tcp, Bind::V6(1.into()), 443),
            ],
        ),
        (
            "proto tcp\nlocal * 443\nlocal * 1194 udp\n",
            &[(Tcp, Bind::DualStack, 443), (Udp, Bind::DualStack, 1194)],
        ),
    ] {
        let settings = files.with(lines);
        let listeners = settings.listeners.iter();
        let listeners: Vec<_> = listeners
            .map(|it| (it.transport, it.bind, it.port))
            .collect();
        assert_eq!(listeners, expected, "{lines}");
    }
    let settings = files.with("proto tcp\ntcp-queue-limit 7\ntcp-nodelay\n");
    assert_eq!(settings.stream_queue, 7);
    let pushed = |settings: &Settings| {
        settings
            .push
            .iter()
            .any(|it| it == "socket-flags TCP_NODELAY")
    };
    assert!(pushed(&settings));
    assert!(
        !pushed(&files.with("tcp-nodelay\n")),
        "nobody has a use for it"
    );
    assert_eq!(files.with("").stream_queue, 64);
}

#[test]
fn lines_have_effect() {
    let files = Files::new();
    let base = files.with("");
    assert_eq!(
        (base.listeners[0].bind, base.listeners[0].port),
        (Bind::DualStack, 1194)
    );
    assert_eq!(base.node.ciphers, DataCipher::USUAL);
    assert_eq!(base.node.auth, Some(Digest::Sha1));
    assert_eq!(base.node.mssfix, Mssfix::Packet(1492));
    assert_eq!(base.explicit_exit, ExplicitExit::Silent);

    assert_eq!(files.with("port 1\nlport 2\n").listeners[0].port, 2);
    assert_eq!(
        files.with("proto udp4\n").listeners[0].bind,
        Bind::V4([0, 0, 0, 0].into())
    );
    assert_eq!(
        files.with("proto udp6\n").listeners[0].bind,
        Bind::DualStack
    );
    assert_eq!(
        files.with("local ::1\n").listeners[0].bind,
        Bind::V6(1.into())
    );
    assert_eq!(files.with("local ::\n").listeners[0].bind, Bind::DualStack);
    assert_eq!(files.with("local *\n").listeners[0].bind, Bind::DualStack);
    assert_eq!(
        files
            .with("local 192.0.2.1\nlocal 192.0.2.2\n")
            .listeners
            .len(),
        1
    );
    assert_eq!(
        files
            .with("local 192.0.2.1 1\nlocal 192.0.2.2 2\n")
            .listeners
            .len(),
        2
    );
    assert_eq!(
        files.with("dev tun3\n").node.device.name,
        DeviceName::Named("tun3".into())
    );
    assert_eq!(files.with("max-clients 7\nduplicate-cn\n").max_clients, 7);
    assert_eq!(
        files.with("explicit-exit-notify\n").explicit_exit,
        ExplicitExit::Restart
    );
    assert_eq!(
        files.with("explicit-exit-notify 2\n").explicit_exit,
        ExplicitExit::RestartNext
    );
    assert_eq!(
        files.with("tun-mtu 1400\n").node.mssfix,
        Mssfix::Inner(1400)
    );
    assert_eq!(
        files.with("tun-mtu 1400\nmssfix 0\n").node.mssfix,
        Mssfix::Off
    );
    assert_eq!(
        files.with("mssfix 1300\n").node.mssfix,
        Mssfix::Payload(1300)
    );
    assert_eq!(
        files.with("mssfix 1300 mtu\n").node.mssfix,
        Mssfix::Packet(1300)
    );
    assert_eq!(
        files.with("max-packet-size 1300\n").node.mssfix,
        Mssfix::Packet(1300)
    );
    assert_eq!(files.with("reneg-sec 0\n").node.handshake.renegotiate, None);
    assert_eq!(
        files.with("verify-x509-name CN=a\n").node.tls.peer_name,
        Some(NameRule::Subject("CN=a".into()))
    );
}

#[test]
fn lines_about_the_log_have_effect() {
    let files = Files::new();
    assert_eq!(files.with("mute 0\n").node.log.mute, None);
    assert_eq!(
        files.with("syslog\n").node.log.target,
        LogTarget::Syslog("ringway".into())
    );
    assert_eq!(
        files.with("daemon ovpn\n").node.log.target,
        LogTarget::Syslog("ovpn".into())
    );
    assert_eq!(
        files.with("suppress-timestamps\n").node.log.stamp,
        Stamp::None
    );
    let status = files.with("status s\nstatus-version 3\n").status.unwrap();
    assert_eq!(
        (status.interval, status.format),
        (Duration::from_secs(60), StatusFormat::V3)
    );
    assert_eq!(status.path, files.0.path().join("s"));
}

#[test]
fn lines_about_the_data_channel_have_effect() {
    let files = Files::new();
    assert_eq!(
        files
            .with("data-ciphers chacha20-poly1305:AES-128-GCM\n")
            .node
            .ciphers,
        [DataCipher::ChaCha20Poly1305, DataCipher::Aes128Gcm]
    );
}

#[test]
fn a_new_key_is_made_within_the_last_tenth() {
    let files = Files::new();
    let renegotiate = |lines| {
        let Renegotiation { earliest, latest } =
            files.with(lines).node.handshake.renegotiate.unwrap();
        (earliest.as_secs(), latest.as_secs())
    };
    assert_eq!(renegotiate(""), (3240, 3600));
    assert_eq!(renegotiate("reneg-sec 100\n"), (90, 100));
    assert_eq!(renegotiate("reneg-sec 100 20\n"), (20, 100));
}

#[test]
fn trap_21_the_server_waits_twice_as_long_as_its_clients() {
    let files = Files::new();
    let settings = files.with("");
    assert_eq!(settings.keepalive.ping, Some(Duration::from_secs(10)));
    assert_eq!(
        settings.keepalive.ping_restart,
        Some(Duration::from_secs(120))
    );
    assert_eq!(
        settings.push,
        [
            "route-gateway 10.8.0.1",
            "topology subnet",
            "ping 10",
            "ping-restart 60"
        ]
    );
}

#[test]
fn pushed_options_stand_before_those_of_the_server() {
    let files = Files::new();
    let settings =
        files.with("server-ipv6 fd00::/64\npush \"route 10.0.0.0\"\npush block-outside-dns\n");
    assert_eq!(
        settings.push,
        [
            "route 10.0.0.0",
            "block-outside-dns",
            "tun-ipv6",
            "route-gateway 10.8.0.1",
            "topology subnet",
            "ping 10",
            "ping-restart 60"
        ]
    );
}

#[test]
fn control_keys() {
    let files = Files::new();
    let wrapping = |lines: &str| files.with(lines).node.wrapping;
    assert!(matches!(wrapping(""), WrappingSettings::Plain));
    assert!(matches!(
        wrapping("tls-crypt ta.key\n"),
        WrappingSettings::TlsCrypt { .. }
    ));
    let key = fs::read_to_string(files.0.path().join("ta.key")).unwrap();
    for (lines, expected) in [
        (
            "tls-auth ta.key\n".to_owned(),
            (KeyDirection::Both, Digest::Sha1),
        ),
        (
            "tls-auth ta.key 0\nauth sha512\n".to_owned(),
            (KeyDirection::Zero, Digest::Sha512),
        ),
        (
            "auth SHA256\ntls-auth ta.key 1\n".to_owned(),
            (KeyDirection::One, Digest::Sha256),
        ),
        (
            format!("<tls-auth>\n{key}</tls-auth>\nkey-direction 0\n"),
            (KeyDirection::Zero, Digest::Sha1),
        ),
    ] {
        let WrappingSettings::TlsAuth {
            direction, digest, ..
        } = wrapping(&lines)
        else {
            panic!("{lines}");
        };
        assert_eq!((direction, digest), expected, "{lines}");
    }
}

#[test]
fn lines_that_are_refused() {
    let files = Files::new();
    for (lines, remark) in [
        (
            "server 10.0.0.0 255.0.0.0\n",
            "t.conf:8: error: server: a /8 network; it must be /16 to /29",
        ),
        (
            "server 10.8.0.0 255.255.255.252\n",
            "t.conf:8: error: server: a /30 network; it must be /16 to /29",
        ),
        (
            "server 10.8.0.0 255.0.255.0\n",
            "t.conf:8: error: server: `255.0.255.0` is not a netmask",
        ),
        (
            "server 10.8.0.0 255.255.255.0 nopool\n",
            "t.conf:8: error: server: no client would get an address; remove `nopool`, or add `ifconfig-pool FIRST LAST`",
        ),
        (
            "server 10.8.0.0 255.255.255.0 nopool\nifconfig-pool 10.8.0.1 10.8.0.9\n",
            "t.conf:9: error: ifconfig-pool: 10.8.0.1 to 10.8.0.9 has the server's own address 10.8.0.1 in it",
        ),
        (
            "server-ipv6 fd00::/48\n",
            "t.conf:8: error: server-ipv6: a /48 network; it must be /64 to /124",
        ),
        (
            "dev ovpn0\n",
            "t.conf:8: error: dev: `ovpn0` does not say what type of device it is; add `dev-type tun`",
        ),
        (
            "dev tun-of-many-letters\n",
            "t.conf:8: error: dev: `tun-of-many-letters` cannot be a device: 1 to 15 bytes, no `/`",
        ),
        (
            "proto tcp-client\n",
            "t.conf:8: error: proto: a server listens; write `tcp-server`",
        ),
        (
            "proto udp4\nlocal ::1\n",
            "t.conf:9: error: local: the address is not of the family that `proto` names; write `proto udp` or `proto tcp`",
        ),
        (
            "auth none\ntls-auth ta.key\n",
            "t.conf:8: error: auth: `tls-auth` needs a digest; write the one that the clients have, such as SHA256",
        ),
        (
            "cipher none\n",
            "t.conf:8: error: cipher: packets are never sent unencrypted; remove the line",
        ),
        (
            "reneg-sec 10 20\n",
            "t.conf:8: error: reneg-sec: 20 is more than 10; write `reneg-sec 20 10`",
        ),
        (
            "tls-crypt dh.pem\n",
            "t.conf:8: error: tls-crypt: dh.pem: no line `-----BEGIN OpenVPN Static key V1-----`; make one: ringway genkey tls-crypt ta.key",
        ),
        (
            "tls-timeout 0\n",
            "t.conf:8: error: tls-timeout: `0` is not a whole number from 1 to 31536000",
        ),
        (
            "hand-window 0\n",
            "t.conf:8: error: hand-window: `0` is not a whole number from 1 to 31536000",
        ),
        (
            "push \"a,b\"\n",
            "t.conf:8: error: push: a comma or a control character cannot be pushed",
        ),
        (
            "<verb>\n3\n</verb>\n",
            "t.conf:8: error: verb: <verb> cannot be a block; write `verb 0..11`",
        ),
        (
            "cd nowhere\n",
            "t.conf:8: error: cd: `nowhere` is not a directory",
        ),
    ] {
        assert_eq!(files.first_remark(lines), remark, "{lines}");
    }
}

/// 61 messages take four of these each; the last message is for what a client gets of its own.
#[test]
fn more_pushed_options_than_a_client_can_be_told() {
    let files = Files::new();
    let lines = |count: usize| -> String {
        (0..count)
            .map(|n| format!("push \"setenv-safe v{n:03} {}\"\n", "x".repeat(210)))
            .collect()
    };
    assert_eq!(files.with(&lines(244)).push.len(), 244 + 4);
    assert_eq!(
        files.first_remark(&lines(300)),
        "t.conf:252: error: push: more than a client can be told: no more fits after 244 options; \
         push fewer, such as one route for several networks"
    );
}

#[test]
fn the_command_line_overrides_the_file() {
    let files = Files::new();
    files.write("t.conf", LEAST);
    let port = |words: &[&str]| {
        files
            .load(words)
            .configuration
            .unwrap()
            .server()
            .unwrap()
            .listeners[0]
            .port
    };
    files.write("t.conf", &format!("{LEAST}port 1000\n"));
    assert_eq!(port(&["--port", "2000", "--config", "t.conf"]), 1000);
    assert_eq!(port(&["--config", "t.conf", "--port", "2000"]), 2000);
}

#[test]
fn unknown_lines_may_be_passed_over() {
    let files = Files::new();
    for lines in [
        "ignore-unknown-option banana\nbanana 1 2\n",
        "setenv opt banana 1 2\n",
        "setenv FORWARD_COMPATIBLE 1\nbanana\n",
        "ignore-unknown-option block-outside-dns\nblock-outside-dns\n",
    ] {
        let loaded = files.load_text(&format!("{LEAST}{lines}"));
        assert!(loaded.configuration.is_some(), "{lines}");
        assert_eq!(loaded.diagnostics.count(Severity::Warning), 1, "{lines}");
    }
    // Only from there on, only for one line, and never what OpenVPN would obey.
    for lines in [
        "banana\nignore-unknown-option banana\n",
        "setenv opt banana\nbanana\n",
        "setenv opt crl-verify crl.pem\n",
        "ignore-unknown-option client-connect\nclient-connect absent\n",
        "setenv FORWARD_COMPATIBLE 1\nclient-nat snat 10.0.0.0 255.0.0.0 1.2.3.0\n",
    ] {
        assert!(
            files
                .load_text(&format!("{LEAST}{lines}"))
                .configuration
                .is_none(),
            "{lines}"
        );
    }
}

#[test]
fn names_do_not_start_from_the_file() {
    let files = Files::new();
    fs::create_dir(files.0.path().join("etc")).unwrap();
    files.write("etc/t.conf", LEAST);
    files.write("etc/ca.crt", "");
    let loaded = files.load(&["etc/t.conf"]);
    assert!(loaded.configuration.is_some(), "{:?}", loaded.diagnostics);
    fs::remove_file(files.0.path().join("ca.crt")).unwrap();
    let loaded = files.load(&["etc/t.conf"]);
    assert_eq!(
        loaded
            .diagnostics
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "etc/t.conf:5: error: ca: ca.crt: No such file or directory; \
          names start from the working directory: add `--cd etc` before `--config`, without the directory there"
        ]
    );
}

#[test]
fn kinds_of_keys() {
    let files = Files::new();
    let authority = authority();
    for algorithm in [
        &PKCS_ED25519,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ECDSA_P521_SHA512,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        check_key(&files, &authority.1, &key);
    }
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    check_key(&files, &authority.1, &key);

    files.write("server.key", SECP256K1_KEY);
    assert!(
        files
            .first_remark("")
            .contains("this kind of key is not served; served are RSA")
    );
}

fn check_key(files: &Files, authority: &Issuer<'static, KeyPair>, key: &KeyPair) {
    files.write(
        "server.crt",
        &server().signed_by(key, authority).unwrap().pem(),
    );
    files.write("server.key", &key.serialize_pem());
    assert_eq!(files.first_remark(""), "");
}

#[test]
fn a_key_that_others_may_read_is_remarked_upon() {
    let files = Files::new();
    let path = files.0.path().join("server.key");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        files.first_remark(""),
        "t.conf:7: warning: key: file 'server.key' is group or others accessible; chmod 600 server.key"
    );
}

#[test]
fn everything_may_be_inline() {
    let files = Files::new();
    let block = |tag: &str, file: &str| {
        let text = fs::read_to_string(files.0.path().join(file)).unwrap();
        format!("<{tag}>\n{text}</{tag}>\n")
    };
    let text = format!(
        "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\nca [inline]\n{}{}{}{}{}",
        block("ca", "ca.crt"),
        block("cert", "server.crt"),
        block("key", "server.key"),
        block("dh", "dh.pem"),
        block("tls-crypt", "ta.key"),
    );
    let loaded = files.load_text(&text);
    assert!(loaded.configuration.is_some(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.diagnostics.count(Severity::Warning), 0);
}

/// The cores of the machine that the tests pretend to run on.
const CORES: [usize; 5] = [0, 1, 2, 3, 8];

/// What every line of a table stands behind: seven lines without a remark.
const LEAST: &str = "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n\
    ca ca.crt\ncert server.crt\nkey server.key\n";

const ENCRYPTED_KEY: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";

/// A sequence of two small numbers.
const DH_PARAMETERS: &str =
    "-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n";

/// A curve that no TLS library should serve; nothing was ever encrypted with it.
const SECP256K1_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgBGOrsl3olqdtbCqtU8PE
2fKYzTJNXRffuwieq2kLQYOhRANCAATJhhrNKRYiAZRusmZOL8orAJHuHa9/ZgGX
xpV9xk+tXbgYbMgPiL/Wc4rS91SoyFrYAT4XjoPqBwOUK27OuLKt
-----END PRIVATE KEY-----
";
