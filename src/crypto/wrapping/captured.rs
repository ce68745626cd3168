//! Whole conversations of the real OpenVPN, opened and sealed again to the same bytes.

use super::*;
use crate::crypto::vectors::{hex, unhex};
use crate::time::Monotonic;
use crate::wire::{ControlBody, SessionId};

const CAPTURED: &str = include_str!("../../../tests/vectors/control-2.6.14.txt");
const NOW: Now = Now {
    monotonic: Monotonic::ZERO,
    unix: 0,
};

/// The wrappings of server and client under this name.
fn wrappings(name: &str) -> (Wrapping, Wrapping) {
    let key = StaticKey::from_bytes(&std::array::from_fn(|index| index as u8));
    let tls_auth = |digest, server, client| {
        (
            Wrapping::tls_auth(&key, server, digest),
            Wrapping::tls_auth(&key, client, digest),
        )
    };
    let (both, zero, one) = (KeyDirection::Both, KeyDirection::Zero, KeyDirection::One);
    match name {
        "plain" => (Wrapping::Plain, Wrapping::Plain),
        "tls-auth-sha1-server0-client1" => tls_auth(Digest::Sha1, zero, one),
        "tls-auth-sha512-both" => tls_auth(Digest::Sha512, both, both),
        "tls-auth-sha256-server1-client0" => tls_auth(Digest::Sha256, one, zero),
        "tls-crypt" => (
            Wrapping::tls_crypt(&key, Role::Server),
            Wrapping::tls_crypt(&key, Role::Client),
        ),
        "dynamic" => {
            let exported = unhex(packets(name, "exported")[0]);
            (
                Wrapping::dynamic_tls_crypt(&exported, Some(&key), Role::Server),
                Wrapping::dynamic_tls_crypt(&exported, Some(&key), Role::Client),
            )
        }
        _ => panic!("{name}"),
    }
}

/// The third words of the lines that begin with these two.
fn packets(name: &str, sender: &str) -> Vec<&'static str> {
    let words = CAPTURED
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    words
        .filter(|words| words[0] == name && words[1] == sender)
        .map(|words| words[2])
        .collect()
}

/// Opens the packets as their receiver, checks what is in them, and seals them again as their sender.
/// Gives the sender's session id and those that it acknowledged to.
fn replay(packets: &[&str], sender: &Wrapping, receiver: Wrapping) -> (SessionId, Vec<SessionId>) {
    let mut wrap = ControlWrap::new(Arc::new(receiver));
    let mut session = None;
    let mut remotes = Vec::new();
    for packet in packets {
        let mut datagram: Vec<u8> = unhex(packet);
        let stamp = wrap
            .wrapping
            .open_stateless(&mut datagram.clone())
            .unwrap()
            .replay;
        let (header, body) = wrap.open(NOW, &mut datagram).unwrap();
        assert_eq!(*session.get_or_insert(header.session_id), header.session_id);
        let parsed = ControlBody::parse(header.opcode, body).unwrap();
        remotes.extend(parsed.remote);
        let mut emitted = Vec::new();
        parsed.emit(&mut emitted);
        let mut sealed = Vec::new();
        let stamp = stamp.unwrap_or(ReplayStamp { id: 0, time: 0 });
        sender.seal_with(stamp, header, &emitted, &mut sealed);
        assert_eq!(hex(&sealed), *packet);
        if !matches!(sender, Wrapping::Plain) {
            assert!(wrap.open(NOW, &mut sealed).is_err(), "a replay");
        }
    }
    (session.unwrap(), remotes)
}

#[test]
fn conversations_of_openvpn_2_6_14() {
    for name in [
        "plain",
        "tls-auth-sha1-server0-client1",
        "tls-auth-sha512-both",
        "tls-auth-sha256-server1-client0",
        "tls-crypt",
        "dynamic",
    ] {
        let (from_server, from_client) = (packets(name, "server"), packets(name, "client"));
        assert!(from_server.len() >= 3 && from_client.len() >= 3, "{name}");
        let (server, client) = wrappings(name);
        let (server_id, to_client) = replay(&from_server, &server, client);
        let (server, client) = wrappings(name);
        let (client_id, to_server) = replay(&from_client, &client, server);
        assert!(to_client.len() >= 2 && to_server.len() >= 2, "{name}");
        assert!(
            to_client.iter().all(|remote| *remote == client_id),
            "{name}"
        );
        assert!(
            to_server.iter().all(|remote| *remote == server_id),
            "{name}"
        );
    }
}
