//! Sessions of ours with the real openvpn on the other end, of which everything is known: key
//! messages, key material and data packets with what is in them.
//!
//! That they come about shows that both sides derive the same keys. Besides, they are where the
//! vectors of `tests/vectors` come from: with `RINGWAY_CAPTURE` in the environment, they are written
//! into the directory that it names (see `tests/vectors/README.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion};
use ringway::crypto::tls::{PeerPolicy, PeerPurpose};
use ringway::crypto::{DataCipher, Digest, ReplayWindow, Wrapping};
use ringway::session::{Derivation, Renegotiation, SessionSettings, Timing};
use ringway::wire::{DataHeader, OptionsString, Role};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::client::{Client, ClientConfig};
use crate::endpoint::{Conversation, Endpoint, other};
use crate::options::client_with_protocol;
use crate::pki::Kind;
use crate::process::{Process, run};
use crate::recording::{Generation, RecordingEngine, Tape};
use crate::server::{PORT, READY, Site, address};

/// A session to capture.
struct Scene {
    /// Its name in the vectors.
    name: &'static str,
    cipher: DataCipher,
    /// `IV_PROTO` of the client, if not that of 2.6.
    protocol: Option<u8>,
    newest_tls: TlsVersion,
    /// Further lines of the real side's configuration.
    lines: &'static str,
    /// Key generations to wait for.
    generations: u8,
}

const fn scene(name: &'static str, cipher: DataCipher, protocol: Option<u8>) -> Scene {
    Scene {
        name,
        cipher,
        protocol,
        newest_tls: TlsVersion::V1_3,
        lines: "",
        generations: 1,
    }
}

const AES_256: DataCipher = DataCipher::Aes256Gcm;
const AES_128: DataCipher = DataCipher::Aes128Gcm;
const AES_192: DataCipher = DataCipher::Aes192Gcm;
const CHACHA: DataCipher = DataCipher::ChaCha20Poly1305;

/// With the real client. The numbers are what 2.5, 2.4 and a client without peer ids announce.
const WITH_CLIENT: [Scene; 11] = [
    Scene {
        lines: RENEGOTIATES,
        generations: 2,
        ..scene("exporter-v2-aes-256-gcm", AES_256, None)
    },
    Scene {
        newest_tls: TlsVersion::V1_2,
        lines: "setenv IV_GUI_VER \"vectors 1.0\"",
        ..scene("exporter-v2-aes-128-gcm", AES_128, None)
    },
    Scene {
        lines: OFFERS_AES_192,
        ..scene("exporter-v2-aes-192-gcm", AES_192, None)
    },
    scene("exporter-v2-chacha20-poly1305", CHACHA, None),
    Scene {
        lines: "pull-filter ignore \"peer-id\"",
        ..scene("exporter-v1-aes-256-gcm", AES_256, None)
    },
    Scene {
        lines: RENEGOTIATES,
        generations: 2,
        ..scene("prf-v2-aes-256-gcm", AES_256, Some(6))
    },
    Scene {
        newest_tls: TlsVersion::V1_2,
        lines: "<auth-user-pass>\nalice\nopen sesame\n</auth-user-pass>",
        ..scene("prf-v2-chacha20-poly1305", CHACHA, Some(2))
    },
    scene("prf-v1-aes-256-gcm", AES_256, Some(4)),
    Scene {
        lines: OFFERS_AES_192,
        ..scene("prf-v1-aes-192-gcm", AES_192, Some(4))
    },
    scene("prf-v1-aes-128-gcm", AES_128, Some(4)),
    scene("prf-v1-chacha20-poly1305", CHACHA, Some(4)),
];

/// With the real client, in the older format.
const IN_CBC: [Scene; 3] = [
    Scene {
        lines: "data-ciphers AES-256-CBC",
        ..scene(
            "exporter-v2-aes-256-cbc",
            DataCipher::Aes256Cbc(Digest::Sha1),
            None,
        )
    },
    Scene {
        lines: "data-ciphers AES-192-CBC",
        ..scene(
            "prf-v2-aes-192-cbc",
            DataCipher::Aes192Cbc(Digest::Sha1),
            Some(6),
        )
    },
    Scene {
        lines: "data-ciphers AES-128-CBC",
        ..scene(
            "prf-v1-aes-128-cbc",
            DataCipher::Aes128Cbc(Digest::Sha1),
            Some(4),
        )
    },
];

/// With the real server.
const WITH_SERVER: [Scene; 7] = [
    Scene {
        lines: RENEGOTIATES,
        generations: 2,
        ..scene("exporter-v2-aes-256-gcm", AES_256, None)
    },
    Scene {
        newest_tls: TlsVersion::V1_2,
        ..scene("exporter-v2-aes-128-gcm", AES_128, None)
    },
    scene("exporter-v2-chacha20-poly1305", CHACHA, None),
    Scene {
        lines: RENEGOTIATES,
        generations: 2,
        ..scene("prf-v2-aes-256-gcm", AES_256, Some(6))
    },
    scene("prf-v1-aes-256-gcm", AES_256, Some(4)),
    scene("prf-v1-aes-128-gcm", AES_128, Some(4)),
    scene("prf-v1-chacha20-poly1305", CHACHA, Some(4)),
];

/// By itself it offers the other three.
const OFFERS_AES_192: &str = "data-ciphers AES-192-GCM";
const RENEGOTIATES: &str = "reneg-sec 6";

#[test]
#[ignore = "full tier"]
fn sessions_with_the_real_client() {
    let texts = WITH_CLIENT.iter().map(with_client);
    write("client", "The real client, with our server", texts);
}

#[test]
#[ignore = "full tier"]
fn sessions_with_the_real_client_in_cbc() {
    let texts = IN_CBC.iter().map(with_client);
    write("cbc", "The real client in AES-CBC, with our server", texts);
}

fn with_client(scene: &Scene) -> String {
    let site = Site::new(1);
    let (tape, settings) = settings(&site, scene, Role::Server);
    let listening = SocketAddr::new(address(0), PORT);
    let data_v2 = scene.protocol.is_none_or(|bits| bits & 2 != 0);
    let generations = scene.generations;
    let (bound, ready) = std::sync::mpsc::channel();
    let ours = site.topology.server.spawn(move || {
        let socket = UdpSocket::bind(listening).unwrap();
        bound.send(()).unwrap();
        Endpoint::server(socket, settings, data_v2).converse(generations)
    });
    ready.recv().unwrap();
    let config = ClientConfig::new(&site, 0, "alice").line(scene.lines);
    let program = scene.protocol.map(|bits| client_with_protocol(&site, bits));
    let program = program.map_or("openvpn".into(), |path| path.display().to_string());
    let client = Client::spawn_program(&site, &config, &program);
    let conversation = ours.join().unwrap();
    assert_all_decrypted(&client.process);
    text(scene, &conversation, &tape.generations(), Role::Server)
}

#[test]
#[ignore = "full tier"]
fn sessions_with_the_real_server() {
    let texts = WITH_SERVER.iter().map(|scene| {
        let site = Site::new(1);
        let config = site
            .server_config()
            .without("keepalive")
            .without("server-ipv6")
            .line("keepalive 1 60")
            .line(scene.lines);
        let path = site.topology.write("server.conf", config.text());
        let arguments = ["--config", &path.display().to_string()];
        let namespace = site.topology.server.name();
        let server = Process::spawn("the server", namespace, "openvpn", &arguments);
        server.wait_for(READY);
        let (tape, settings) = settings(&site, scene, Role::Client);
        let generations = scene.generations;
        let ours = site.topology.clients[0].spawn(move || {
            let any = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            let socket = UdpSocket::bind(any).unwrap();
            let server = SocketAddr::new(address(0), PORT);
            Endpoint::client(socket, settings, server).converse(generations)
        });
        let conversation = ours.join().unwrap();
        assert_all_decrypted(&server);
        text(scene, &conversation, &tape.generations(), Role::Client)
    });
    write("server", "The real server, with a client of ours", texts);
}

fn assert_all_decrypted(process: &Process) {
    for complaint in ["Decrypt error", "Decrypt packet error", "bad packet ID"] {
        assert_eq!(process.count(complaint), 0, "{complaint}");
    }
}

/// The rules of our side.
fn settings(site: &Site, scene: &Scene, role: Role) -> (Tape, SessionSettings) {
    let (name, purpose) = match role {
        Role::Server => ("vpn-server", PeerPurpose::Client),
        Role::Client => ("alice", PeerPurpose::Server),
    };
    let identity = match role {
        Role::Server => site.authority.server(name, Kind::Ec),
        Role::Client => site.authority.client(name, Kind::Ec),
    };
    let authorities = vec![certificate(&site.authority.pem())];
    let identity = Identity {
        chain: vec![certificate(&identity.certificate)],
        key: PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
    };
    let policy = PeerPolicy::new(authorities, purpose).unwrap();
    let versions = TlsVersion::V1_2..=scene.newest_tls;
    let engine = RustlsEngine::new(identity, policy, purpose, versions, None).unwrap();
    let tape = Tape::default();
    let settings = SessionSettings {
        role,
        wrapping: Arc::new(Wrapping::Plain),
        static_key: None,
        tls: Arc::new(RecordingEngine::new(engine, tape.clone())),
        ciphers: vec![scene.cipher],
        options_string: OptionsString::stock(role).to_string(),
        tun_mtu: 1500,
        push: ["route-gateway 10.8.0.1", "topology subnet", "ping 1"]
            .map(str::to_owned)
            .to_vec(),
        peer_info: format!(
            "IV_VER=2.6.14\nIV_PLAT=linux\nIV_MTU=1600\nIV_CIPHERS={}\nIV_PROTO={}\n",
            scene.cipher,
            scene.protocol.map_or(990, u32::from)
        ),
        replay_window: ReplayWindow::default(),
        timing: timing(scene),
        login: None,
    };
    (tape, settings)
}

fn timing(scene: &Scene) -> Timing {
    let latest = Duration::from_secs(6);
    Timing {
        hand_window: Duration::from_secs(30),
        tran_window: Duration::from_secs(60),
        tls_timeout: Duration::from_secs(2),
        renegotiation: (scene.generations > 1).then_some(Renegotiation {
            earliest: latest,
            latest,
        }),
        ping: None,
        ping_restart: None,
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A session as lines of the vectors.
fn text(
    scene: &Scene,
    conversation: &Conversation,
    generations: &[Generation],
    ours: Role,
) -> String {
    let agreement = &conversation.agreement;
    assert_eq!(agreement.cipher, scene.cipher, "{}", scene.name);
    let (derivation, wanted) = match agreement.derivation {
        Derivation::Exporter => ("exporter", scene.protocol.is_none()),
        Derivation::Prf => ("prf", scene.protocol.is_some()),
    };
    assert!(wanted, "{}: keys by {derivation}", scene.name);
    let mut text = format!(
        "session {} {} {derivation}\nsession-ids {} {}\n",
        scene.name,
        scene.cipher,
        hex(&conversation.client.0),
        hex(&conversation.server.0),
    );
    for (key_id, generation) in (0..scene.generations).zip(generations) {
        let (sent, received) = (&generation.sent, &generation.received);
        let messages = [(ours, sent), (other(ours), received)];
        let messages = messages.map(|(role, message)| (role, message.as_deref().unwrap()));
        for (role, message) in &messages {
            let _ = writeln!(
                text,
                "key-message {key_id} {} {}",
                word(*role),
                hex(message)
            );
        }
        if agreement.derivation == Derivation::Exporter {
            let exported = generation.exported.as_deref().unwrap();
            let _ = writeln!(text, "exported {key_id} {}", hex(exported));
        } else {
            let messages = BTreeMap::from(messages.map(|(role, it)| (word(role), it)));
            let (client, server) = (messages["client"], messages["server"]);
            let (master, keys) = prf(client, server, conversation);
            let _ = writeln!(text, "master {key_id} {master}\nexpansion {key_id} {keys}");
        }
    }
    text + &data(conversation, scene.generations)
}

/// The first data packets of each generation and sender, none between them left out.
fn data(conversation: &Conversation, generations: u8) -> String {
    let mut text = String::new();
    let mut kept = BTreeMap::new();
    for packet in &conversation.packets {
        let key_id = DataHeader::parse(&packet.datagram).unwrap().key_id().get();
        let (sender, datagram) = (word(packet.sender), hex(&packet.datagram));
        let kept: &mut usize = kept.entry((key_id, sender)).or_default();
        *kept += 1;
        if key_id < generations && *kept <= PACKETS {
            let plaintext = hex(&packet.plaintext);
            let _ = writeln!(text, "data {key_id} {sender} {datagram} {plaintext}");
        }
    }
    text
}

/// Master secret and expanded keys as OpenSSL's own function derives them from the key messages.
fn prf(client: &[u8], server: &[u8], conversation: &Conversation) -> (String, String) {
    // Wire: five bytes in front of everything; the client's secret has 48, each seed 32.
    let (pre_master, client_seeds) = client[5..].split_at(48);
    let server_seeds = &server[5..];
    let seeds = [&client_seeds[..32], &server_seeds[..32]];
    let master = openssl_prf(48, &hex(pre_master), b"OpenVPN master secret", &seeds);
    let seeds = [
        &client_seeds[32..64],
        &server_seeds[32..64],
        &conversation.client.0,
        &conversation.server.0,
    ];
    let keys = openssl_prf(256, &master, b"OpenVPN key expansion", &seeds);
    (master, keys)
}

fn openssl_prf(length: usize, secret: &str, label: &[u8], seeds: &[&[u8]]) -> String {
    let (length, secret) = (length.to_string(), format!("hexsecret:{secret}"));
    let seed = format!("hexseed:{}{}", hex(label), hex(&seeds.concat()));
    let mut arguments = vec!["kdf", "-keylen", &length];
    for option in ["digest:MD5-SHA1", &secret, &seed] {
        arguments.extend(["-kdfopt", option]);
    }
    arguments.push("TLS1-PRF");
    let output = run("openssl", &arguments);
    output.trim().replace(':', "").to_ascii_lowercase()
}

/// Writes the vectors if they are asked for.
fn write(real: &str, what: &str, texts: impl Iterator<Item = String>) {
    let texts: Vec<String> = texts.collect();
    let Some(directory) = std::env::var_os("RINGWAY_CAPTURE") else {
        return;
    };
    // It ends with an error.
    let told = run("sh", &["-c", "openvpn --version || true"]);
    let version = told.split_whitespace().nth(1).unwrap();
    let head = format!("# {what}; OpenVPN {version}. See README.md.\n");
    let path = Path::new(&directory).join(format!("session-{version}-{real}.txt"));
    std::fs::write(path, head + &texts.join("\n")).unwrap();
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Client => "client",
    }
}

/// Data packets of one sender and generation.
const PACKETS: usize = 8;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
