//! A deterministic stand-in for TLS: the same flights and records, no secrets.
//!
//! Thousands of simulated sessions run in seconds with it, and the same seed gives the same bytes.
//! Each side's hello carries 32 random bytes; exported material is a hash over both.

use std::sync::Arc;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::{Negotiated, PeerCertificate, Tls, TlsEngine, TlsError};
use crate::limits::{CONTROL_MESSAGE_MAX, TLS_BACKLOG_MAX};
use crate::random::Random;
use crate::time::Now;

/// Starts stand-in connections.
#[derive(Clone, Debug)]
pub struct StandInEngine {
    server: bool,
    common_name: String,
}

impl StandInEngine {
    /// The server's side, known to its peer as `common_name`.
    pub fn server(common_name: &str) -> Self {
        Self {
            server: true,
            common_name: common_name.to_owned(),
        }
    }

    /// The client's side, known to its peer as `common_name`.
    pub fn client(common_name: &str) -> Self {
        Self {
            server: false,
            common_name: common_name.to_owned(),
        }
    }
}

impl TlsEngine for StandInEngine {
    fn start(&self, _now: Now, random: &mut dyn Random) -> Result<Box<dyn Tls>, TlsError> {
        let mut hello = [0; HELLO];
        random.fill(&mut hello);
        let mut tls = StandIn {
            server: self.server,
            common_name: self.common_name.clone(),
            hello,
            stage: Stage::Hello,
            received: Vec::new(),
            unsent: Vec::new(),
            messages: std::collections::VecDeque::new(),
            peer: None,
            resting: false,
        };
        if !tls.server {
            let hello = tls.hello;
            tls.record(Kind::Hello, &hello, CLIENT_HELLO_PADDED);
        }
        Ok(Box::new(tls))
    }
}

/// One connection.
struct StandIn {
    server: bool,
    common_name: String,
    hello: [u8; HELLO],
    stage: Stage,
    received: Vec<u8>,
    unsent: Vec<u8>,
    messages: std::collections::VecDeque<Vec<u8>>,
    peer: Option<PeerCertificate>,
    /// Nothing is exported any more.
    resting: bool,
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waiting for the peer's hello.
    Hello,
    /// Waiting for the peer's name, which ends its handshake.
    Name { peer_hello: [u8; HELLO] },
    /// Application data flows.
    Established { peer_hello: [u8; HELLO] },
    /// The peer broke the stand-in's rules.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hello = 1,
    Name = 2,
    Data = 3,
}

impl StandIn {
    /// Appends a record: kind, length of the body, length of the padding, body, padding. The
    /// padding gives the flights of a real handshake with certificates.
    fn record(&mut self, kind: Kind, body: &[u8], padded: usize) {
        let padding = padded.saturating_sub(body.len());
        self.unsent.push(kind as u8);
        self.unsent
            .extend_from_slice(&(body.len() as u16).to_be_bytes());
        self.unsent
            .extend_from_slice(&(padding as u16).to_be_bytes());
        self.unsent.extend_from_slice(body);
        self.unsent.resize(self.unsent.len() + padding, 0);
    }

    /// Takes one whole record off the received bytes.
    fn take_record(&mut self) -> Result<Option<(Kind, Vec<u8>)>, TlsError> {
        let Some((header, rest)) = self.received.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let kind = match header[0] {
            1 => Kind::Hello,
            2 => Kind::Name,
            3 => Kind::Data,
            _ => return Err(broken()),
        };
        let body = usize::from(u16::from_be_bytes([header[1], header[2]]));
        let padding = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if rest.len() < body + padding {
            return Ok(None);
        }
        let record = rest[..body].to_vec();
        self.received.drain(..5 + body + padding);
        Ok(Some((kind, record)))
    }

    fn handle_record(&mut self, kind: Kind, body: Vec<u8>) -> Result<Stage, TlsError> {
        match (self.stage, kind) {
            (Stage::Hello, Kind::Hello) => {
                let peer_hello = body.try_into().map_err(|_| broken())?;
                if self.server {
                    let hello = self.hello;
                    self.record(Kind::Hello, &hello, 0);
                    self.record_name(SERVER_FLIGHT_PADDED);
                }
                Ok(Stage::Name { peer_hello })
            }
            (Stage::Name { peer_hello }, Kind::Name) => {
                let common_name = String::from_utf8(body).map_err(|_| broken())?;
                self.peer = Some(PeerCertificate {
                    subjects: vec![format!("CN={common_name}")],
                    fingerprint: sha256(&[common_name.as_bytes()]),
                    facts: Arc::new([]),
                    key: "stand-in".to_owned(),
                    common_name,
                });
                if !self.server {
                    self.record_name(CLIENT_FLIGHT_PADDED);
                }
                Ok(Stage::Established { peer_hello })
            }
            (stage @ Stage::Established { .. }, Kind::Data) => {
                self.messages.push_back(body);
                Ok(stage)
            }
            _ => Err(broken()),
        }
    }

    fn record_name(&mut self, padded: usize) {
        let name = self.common_name.clone();
        self.record(Kind::Name, name.as_bytes(), padded);
    }
}

impl Tls for StandIn {
    fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.received.len() + bytes.len() > TLS_BACKLOG_MAX {
            self.stage = Stage::Failed;
            return Err(broken());
        }
        self.received.extend_from_slice(bytes);
        while let Some((kind, body)) = self.take_record()? {
            match self.handle_record(kind, body) {
                Ok(stage) => self.stage = stage,
                Err(error) => {
                    self.stage = Stage::Failed;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.unsent);
    }

    fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.messages.pop_front().map(Zeroizing::new)
    }

    fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        if !self.is_established() || message.len() > CONTROL_MESSAGE_MAX {
            return Err(TlsError::Unavailable(
                "no message can be sent now".to_owned(),
            ));
        }
        self.record(Kind::Data, message, 0);
        Ok(())
    }

    fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established { .. })
    }

    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        let Stage::Established { peer_hello } = self.stage else {
            return Err(TlsError::Unavailable(
                "the handshake is not done".to_owned(),
            ));
        };
        if self.resting {
            return Err(TlsError::Unavailable(
                "the handshake is forgotten".to_owned(),
            ));
        }
        let (client, server) = if self.server {
            (peer_hello, self.hello)
        } else {
            (self.hello, peer_hello)
        };
        for (counter, chunk) in out.chunks_mut(32).enumerate() {
            let block = sha256(&[&[counter as u8], label.as_bytes(), &client, &server]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }

    fn peer(&self) -> Option<&PeerCertificate> {
        self.peer.as_ref()
    }

    fn negotiated(&self) -> Option<Negotiated> {
        self.is_established().then(|| Negotiated {
            version: "stand-in",
            suite: "none".to_owned(),
            group: None,
        })
    }

    fn rest(&mut self) {
        self.resting = true;
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn broken() -> TlsError {
    TlsError::Protocol("the peer broke the stand-in's rules".to_owned())
}

const HELLO: usize = 32;
// About what a P-256 certificate and a short chain take.
const CLIENT_HELLO_PADDED: usize = 280;
const SERVER_FLIGHT_PADDED: usize = 1900;
const CLIENT_FLIGHT_PADDED: usize = 1300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use crate::time::Monotonic;

    fn pair() -> (Box<dyn Tls>, Box<dyn Tls>) {
        let now = Now {
            monotonic: Monotonic::ZERO,
            unix: 0,
        };
        let mut random = SeededRandom::new(1);
        let client = StandInEngine::client("alice").start(now, &mut random);
        let server = StandInEngine::server("gate").start(now, &mut random);
        (client.expect("starts"), server.expect("starts"))
    }

    fn exchange(from: &mut dyn Tls, to: &mut dyn Tls) -> Result<(), TlsError> {
        let mut bytes = Vec::new();
        from.transmit(&mut bytes);
        bytes.chunks(7).try_for_each(|slice| to.receive(slice))
    }

    #[test]
    fn both_sides_meet_and_export_the_same() {
        let (mut client, mut server) = pair();
        assert!(server.send_message(b"early").is_err());
        for _ in 0..2 {
            exchange(&mut *client, &mut *server).expect("keeps the rules");
            exchange(&mut *server, &mut *client).expect("keeps the rules");
        }
        assert_eq!(
            server.peer().map(|peer| peer.common_name.as_str()),
            Some("alice")
        );
        assert_eq!(
            client.peer().map(|peer| peer.common_name.as_str()),
            Some("gate")
        );
        let (mut one, mut other) = ([0; 100], [0; 100]);
        client.export("label", &mut one).expect("established");
        server.export("label", &mut other).expect("established");
        assert_eq!(one, other);
        server.export("another", &mut other).expect("established");
        assert_ne!(one, other);
        client.send_message(b"one").expect("established");
        client.send_message(b"two").expect("established");
        exchange(&mut *client, &mut *server).expect("keeps the rules");
        assert_eq!(
            server.next_message().as_deref().map(Vec::as_slice),
            Some(&b"one"[..])
        );
        assert_eq!(
            server.next_message().as_deref().map(Vec::as_slice),
            Some(&b"two"[..])
        );
        assert_eq!(server.next_message(), None);
    }

    #[test]
    fn nonsense_ends_it() {
        let (_, mut server) = pair();
        assert!(server.receive(&[9, 0, 0, 0, 0]).is_err());
        let (_, mut server) = pair();
        assert!(
            server.receive(&[3, 0, 0, 0, 0]).is_err(),
            "data before the handshake"
        );
    }
}
