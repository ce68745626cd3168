//! Single functions against sessions of the real OpenVPN: key messages, key derivation, data packets.
//!
//! `README.md` says what is in the files and how they came about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

mod session;

use std::collections::BTreeSet;

use ringway::crypto::{
    DataCipher, DataKeys, KeyMaterial, OpenError, PrfInput, key_expansion, master_secret,
};
use ringway::session::choose_cipher;
use ringway::time::Monotonic;
use ringway::wire::{
    ClientCiphers, ClientKeyMessage, DataHeader, InnerPacket, PING, PeerInfo, Proto, Role,
    ServerKeyMessage,
};
use session::{Generation, Packet, Session, in_cbc, with_real_client, with_real_server};

#[test]
fn key_messages_of_both_sides_are_read_and_written_to_the_same_bytes() {
    let mut generations = 0;
    for session in with_real_client().iter().chain(&with_real_server()) {
        for generation in &session.generations {
            generations += 1;
            let client = ClientKeyMessage::parse(&generation.client).unwrap();
            let mut written = vec![0xa5];
            client.emit(&mut written).unwrap();
            assert_eq!(written[1..], generation.client, "{}", session.name);
            let server = ServerKeyMessage::parse(&generation.server).unwrap();
            let mut written = vec![0xa5];
            server.emit(&mut written).unwrap();
            // A server may end after its options; this one has three empty strings as well.
            assert_eq!(written[1..], generation.server, "{}", session.name);
            assert_eq!(client.options, OPTIONS.to_owned() + "tls-client");
            assert_eq!(server.options, OPTIONS.to_owned() + "tls-server");
        }
    }
    assert_eq!(generations, 13 + 9);
}

#[test]
fn what_the_real_client_says_of_itself() {
    let sessions = with_real_client();
    let told: Vec<_> = sessions
        .iter()
        .map(|session| {
            let first = &session.generations[0];
            let message = ClientKeyMessage::parse(&first.client).unwrap();
            let info = PeerInfo::parse(&message.peer_info);
            assert_eq!(info.version(), Some("2.6.14"));
            assert_eq!(info.platform(), Some("linux"));
            assert_eq!(info.mtu(), Some(1600));
            assert_eq!(info.value("IV_COMP_STUBv2"), Some("1"));
            let ciphers = match session.cipher {
                DataCipher::Aes192Gcm => &["AES-192-GCM"][..],
                _ => &["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"],
            };
            let listed = ciphers.iter().map(|name| (*name).to_owned()).collect();
            let listed = ClientCiphers::Listed(listed);
            assert_eq!(info.ciphers(), listed);
            let chosen = choose_cipher(&[session.cipher], &info, &message.options);
            assert_eq!(chosen, Ok(session.cipher));
            assert_eq!(info.proto().tls_key_export(), !session.prf);
            let gui = info.value("IV_GUI_VER").unwrap_or_default().to_owned();
            let login = (message.username, message.password.to_string());
            (session.name, info.proto(), gui, login)
        })
        .collect();
    let wanted = [
        ("exporter-v2-aes-256-gcm", 990, "", ("", "")),
        ("exporter-v2-aes-128-gcm", 990, "vectors_1.0", ("", "")),
        ("exporter-v2-aes-192-gcm", 990, "", ("", "")),
        ("exporter-v2-chacha20-poly1305", 990, "", ("", "")),
        ("exporter-v1-aes-256-gcm", 990, "", ("", "")),
        ("prf-v2-aes-256-gcm", 6, "", ("", "")),
        ("prf-v2-chacha20-poly1305", 2, "", ("alice", "open sesame")),
        ("prf-v1-aes-256-gcm", 4, "", ("", "")),
        ("prf-v1-aes-192-gcm", 4, "", ("", "")),
        ("prf-v1-aes-128-gcm", 4, "", ("", "")),
        ("prf-v1-chacha20-poly1305", 4, "", ("", "")),
    ]
    .map(|(name, proto, gui, (username, password))| {
        let login = (username.to_owned(), password.to_owned());
        (name, Proto(proto), gui.to_owned(), login)
    });
    assert_eq!(told, wanted);
}

/// OpenSSL has the same function, and the real peers opened and sealed with what it gave.
#[test]
fn master_secret_and_key_expansion() {
    let mut derived = 0;
    for session in with_real_client().iter().chain(&with_real_server()) {
        for generation in session.generations.iter().filter(|_| session.prf) {
            with_prf_input(session, generation, |input| {
                let master = master_secret(input);
                assert_eq!(master.as_slice(), generation.master, "{}", session.name);
                let keys = key_expansion(&master, input);
                assert_eq!(keys.as_slice(), generation.block, "{}", session.name);
            });
            derived += 1;
        }
    }
    assert_eq!(derived, 7 + 5);
}

/// The key material of each session, split for either role, opens what the other side sealed and
/// seals the same bytes as this side did.
#[test]
fn trap_01_data_packets_of_both_sides() {
    let mut covered = BTreeSet::new();
    for (sessions, real) in [
        (with_real_client(), Role::Client),
        (with_real_server(), Role::Server),
    ] {
        for session in &sessions {
            for generation in &session.generations {
                for packet in replay(session, generation) {
                    let v2 = matches!(header(packet), DataHeader::V2 { .. });
                    let (prf, ping) = (session.prf, packet.content == PING);
                    let by_real = packet.sender == real;
                    covered.insert((prf, v2, session.cipher.name(), by_real, ping));
                }
            }
        }
    }
    // Exported keys with each cipher in DATA_V2, derived ones with each in DATA_V1; pings and IP
    // packets; by the real program and by us.
    for cipher in DataCipher::ALL.iter().filter(|it| it.digest().is_none()) {
        for (prf, v2) in [(false, true), (true, false)] {
            for (by_real, ping) in [(false, false), (false, true), (true, false), (true, true)] {
                let wanted = (prf, v2, cipher.name(), by_real, ping);
                assert!(covered.contains(&wanted), "{wanted:?}");
            }
        }
    }
    // And each the other way round.
    for prf in [true, false] {
        let wanted = (prf, prf, "AES-256-GCM", true, true);
        assert!(covered.contains(&wanted), "{wanted:?}");
    }
}

/// Packets of the older format have a vector of the sender's choice: they are opened. The real client has
/// opened ours and answered them.
#[test]
fn data_packets_of_both_sides_in_the_older_format() {
    let mut covered = BTreeSet::new();
    for session in &in_cbc() {
        for generation in &session.generations {
            let [mut server, mut client] =
                [Role::Server, Role::Client].map(|role| keys(session, generation, role));
            for packet in &generation.packets {
                let (to, wrong) = match packet.sender {
                    Role::Client => (&mut server, &mut client),
                    Role::Server => (&mut client, &mut server),
                };
                let (name, datagram) = (session.name, &packet.datagram);
                let refused = open(wrong, datagram);
                assert_eq!(refused, Err(OpenError::Authentication), "{name}");
                assert_eq!(open(to, datagram).as_ref(), Ok(&packet.content), "{name}");
                let again = open(to, datagram);
                assert!(matches!(again, Err(OpenError::Replay { .. })), "{name}");
                let v2 = matches!(header(packet), DataHeader::V2 { .. });
                let by_client = packet.sender == Role::Client;
                let ping = packet.content == PING;
                covered.insert((session.cipher.name(), session.prf, v2, by_client, ping));
            }
        }
    }
    for (cipher, prf, v2) in [
        ("AES-256-CBC", false, true),
        ("AES-192-CBC", true, true),
        ("AES-128-CBC", true, false),
    ] {
        for (by_client, ping) in [(false, false), (false, true), (true, false), (true, true)] {
            let wanted = (cipher, prf, v2, by_client, ping);
            assert!(covered.contains(&wanted), "{wanted:?}");
        }
    }
}

/// Opens and seals the packets of a generation, and gives them.
fn replay<'a>(session: &Session, generation: &'a Generation) -> &'a [Packet] {
    let [mut server, mut client] =
        [Role::Server, Role::Client].map(|role| keys(session, generation, role));
    // Keys of its own: a packet in the wrong direction must not count as seen.
    let [mut wrong_server, mut wrong_client] =
        [Role::Server, Role::Client].map(|role| keys(session, generation, role));
    for packet in &generation.packets {
        let (from, to, wrong) = match packet.sender {
            Role::Client => (&mut client, &mut server, &mut wrong_client),
            Role::Server => (&mut server, &mut client, &mut wrong_server),
        };
        let name = session.name;
        let (datagram, content) = (&packet.datagram, &packet.content);
        assert!(
            content == &PING || InnerPacket::parse(content).is_ok(),
            "{name}: {content:x?}"
        );
        assert_eq!(header(packet).key_id().get(), generation.key_id, "{name}");
        let mut sealed = vec![0xa5; datagram.len() + 9];
        let length = from
            .seal
            .seal(header(packet), content, &mut sealed)
            .unwrap();
        assert_eq!(&sealed[..length], datagram, "{name}");
        assert_eq!(open(to, datagram).as_ref(), Ok(content), "{name}");
        let again = open(to, datagram);
        assert!(matches!(again, Err(OpenError::Replay { .. })), "{name}");
        let refused = open(wrong, datagram);
        assert_eq!(refused, Err(OpenError::Authentication), "{name}");
    }
    &generation.packets
}

fn open(keys: &mut DataKeys, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut content = vec![0xa5; datagram.len()];
    let length = keys.open_datagram(Monotonic::ZERO, datagram, &mut content)?;
    content.truncate(length);
    Ok(content)
}

fn keys(session: &Session, generation: &Generation, role: Role) -> DataKeys {
    let material = if session.prf {
        with_prf_input(session, generation, KeyMaterial::from_prf)
    } else {
        let exported = generation.block.as_slice().try_into().unwrap();
        KeyMaterial::from_exporter(exported)
    };
    material.unwrap().split(session.cipher, role)
}

fn with_prf_input<T>(
    session: &Session,
    generation: &Generation,
    run: impl FnOnce(&PrfInput<'_>) -> T,
) -> T {
    let client = ClientKeyMessage::parse(&generation.client).unwrap();
    let server = ServerKeyMessage::parse(&generation.server).unwrap();
    run(&PrfInput {
        pre_master: &client.pre_master,
        client_random1: &client.random1,
        client_random2: &client.random2,
        server_random1: &server.random1,
        server_random2: &server.random2,
        client_session: session.client,
        server_session: session.server,
    })
}

fn header(packet: &Packet) -> DataHeader {
    DataHeader::parse(&packet.datagram).unwrap()
}

/// What every side here says of its configuration, but for the last word.
const OPTIONS: &str = "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,\
                       keysize 128,key-method 2,";
