//! The captured sessions as values.

use ringway::crypto::DataCipher;
use ringway::wire::{Role, SessionId};

/// A session with everything that was captured of it.
pub(crate) struct Session {
    pub(crate) name: &'static str,
    pub(crate) cipher: DataCipher,
    /// Whether its keys are those of the classic derivation, and not exported from TLS.
    pub(crate) prf: bool,
    pub(crate) client: SessionId,
    pub(crate) server: SessionId,
    pub(crate) generations: Vec<Generation>,
}

/// A key generation.
#[derive(Default)]
pub(crate) struct Generation {
    pub(crate) key_id: u8,
    /// The client's key message.
    pub(crate) client: Vec<u8>,
    /// The server's.
    pub(crate) server: Vec<u8>,
    /// The master secret, where the classic derivation has one.
    pub(crate) master: Vec<u8>,
    /// The 256 bytes that keys are cut from, expanded or exported.
    pub(crate) block: Vec<u8>,
    /// Data packets in their order.
    pub(crate) packets: Vec<Packet>,
}

/// A data packet.
pub(crate) struct Packet {
    pub(crate) sender: Role,
    pub(crate) datagram: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// The sessions of the real client.
pub(crate) fn with_real_client() -> Vec<Session> {
    sessions(include_str!("session-2.6.14-client.txt"))
}

/// The sessions of the real server.
pub(crate) fn with_real_server() -> Vec<Session> {
    sessions(include_str!("session-2.6.14-server.txt"))
}

/// The sessions of the real client in the older format.
pub(crate) fn in_cbc() -> Vec<Session> {
    sessions(include_str!("session-2.6.14-cbc.txt"))
}

fn sessions(text: &'static str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["session", name, cipher, derivation] => sessions.push(Session {
                name,
                cipher: DataCipher::from_name(cipher).unwrap(),
                prf: derivation == "prf",
                client: SessionId([0; 8]),
                server: SessionId([0; 8]),
                generations: Vec::new(),
            }),
            _ => take(sessions.last_mut().unwrap(), &words),
        }
    }
    sessions
}

fn take(session: &mut Session, words: &[&str]) {
    match *words {
        ["session-ids", client, server] => {
            session.client = SessionId(unhex(client).try_into().unwrap());
            session.server = SessionId(unhex(server).try_into().unwrap());
        }
        ["key-message", key_id, "client", bytes] => {
            generation(session, key_id).client = unhex(bytes);
        }
        ["key-message", key_id, "server", bytes] => {
            generation(session, key_id).server = unhex(bytes);
        }
        ["master", key_id, bytes] => generation(session, key_id).master = unhex(bytes),
        ["expansion" | "exported", key_id, bytes] => {
            generation(session, key_id).block = unhex(bytes);
        }
        ["data", key_id, sender, datagram, content] => {
            let sender = match sender {
                "client" => Role::Client,
                "server" => Role::Server,
                _ => panic!("{sender}"),
            };
            let (datagram, content) = (unhex(datagram), unhex(content));
            generation(session, key_id).packets.push(Packet {
                sender,
                datagram,
                content,
            });
        }
        _ => panic!("{words:?}"),
    }
}

/// The generation with this key id, which is also its place.
fn generation<'a>(session: &'a mut Session, key_id: &str) -> &'a mut Generation {
    let key_id: u8 = key_id.parse().unwrap();
    let place = usize::from(key_id);
    if place == session.generations.len() {
        session.generations.push(Generation {
            key_id,
            ..Generation::default()
        });
    }
    &mut session.generations[place]
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
