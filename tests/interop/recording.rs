//! A TLS engine that lets a session see nothing of it and keeps what passes through: the key
//! messages of each generation, and what was exported for its data keys.

use std::sync::{Arc, Mutex};

use ringway::crypto::tls::rustls::RustlsEngine;
use ringway::crypto::tls::{Negotiated, PeerCertificate, Tls, TlsEngine, TlsError};
use ringway::random::Random;
use ringway::time::Now;
use zeroize::Zeroizing;

/// Starts connections of another engine and records them.
pub(crate) struct RecordingEngine {
    engine: RustlsEngine,
    tape: Tape,
}

/// What the connections were heard to say, an entry each, in their order.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<Generation>>>);

/// One connection.
#[derive(Clone, Default)]
pub(crate) struct Generation {
    /// The first message of our side.
    pub(crate) sent: Option<Vec<u8>>,
    /// The first message of the peer.
    pub(crate) received: Option<Vec<u8>>,
    /// What was exported for data keys.
    pub(crate) exported: Option<Vec<u8>>,
}

impl RecordingEngine {
    /// An engine that does as `engine` does.
    pub(crate) fn new(engine: RustlsEngine, tape: Tape) -> Self {
        Self { engine, tape }
    }
}

impl Tape {
    /// The connections so far.
    pub(crate) fn generations(&self) -> Vec<Generation> {
        self.0.lock().unwrap().clone()
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Generation)) {
        change(&mut self.0.lock().unwrap()[index]);
    }
}

impl TlsEngine for RecordingEngine {
    fn start(&self, now: Now, random: &mut dyn Random) -> Result<Box<dyn Tls>, TlsError> {
        let tls = self.engine.start(now, random)?;
        let mut generations = self.tape.0.lock().unwrap();
        generations.push(Generation::default());
        Ok(Box::new(RecordingTls {
            tls,
            tape: self.tape.clone(),
            index: generations.len() - 1,
        }))
    }
}

struct RecordingTls {
    tls: Box<dyn Tls>,
    tape: Tape,
    index: usize,
}

impl Tls for RecordingTls {
    fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.tls.receive(bytes)
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        self.tls.transmit(out);
    }

    fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let message = self.tls.next_message()?;
        self.tape.change(self.index, |generation| {
            generation.received.get_or_insert_with(|| message.to_vec());
        });
        Some(message)
    }

    fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        self.tls.send_message(message)?;
        self.tape.change(self.index, |generation| {
            generation.sent.get_or_insert_with(|| message.to_vec());
        });
        Ok(())
    }

    fn is_established(&self) -> bool {
        self.tls.is_established()
    }

    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        self.tls.export(label, out)?;
        if label == "EXPORTER-OpenVPN-datakeys" {
            self.tape
                .change(self.index, |it| it.exported = Some(out.to_vec()));
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.tls.rest();
    }

    fn peer(&self) -> Option<&PeerCertificate> {
        self.tls.peer()
    }

    fn negotiated(&self) -> Option<Negotiated> {
        self.tls.negotiated()
    }
}
