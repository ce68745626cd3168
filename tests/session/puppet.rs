//! A peer that sends exactly what a test tells it to.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway::crypto::tls::{Tls, TlsEngine};
use ringway::crypto::{ControlWrap, Wrapping};
use ringway::random::SeededRandom;
use ringway::time::Now;
use ringway::wire::{
    Acks, ClientKeyMessage, ControlBody, ControlHeader, KeyId, Opcode, OptionsString, Role,
    SessionId,
};

/// A client by hand: its wrapping, its TLS, and message ids.
pub(crate) struct Puppet {
    pub(crate) id: SessionId,
    /// The server's session id, once it has answered.
    pub(crate) server: Option<SessionId>,
    pub(crate) key_id: KeyId,
    pub(crate) tls: Box<dyn Tls>,
    /// The next message of ours.
    pub(crate) next_id: u32,
    /// Messages of the server that are to be acknowledged.
    pub(crate) owed: Vec<u32>,
    /// What the server sent inside TLS.
    pub(crate) messages: Vec<Vec<u8>>,
    wrap: ControlWrap,
    ahead: BTreeMap<u32, Vec<u8>>,
    expected: u32,
}

impl Puppet {
    pub(crate) fn new(id: u8, wrapping: Wrapping, engine: &dyn TlsEngine, now: Now) -> Self {
        let mut random = SeededRandom::new(u64::from(id));
        Self {
            id: SessionId([id; 8]),
            server: None,
            key_id: KeyId::FIRST,
            tls: engine.start(now, &mut random).expect("TLS starts"),
            next_id: 0,
            owed: Vec::new(),
            messages: Vec::new(),
            wrap: ControlWrap::new(Arc::new(wrapping)),
            ahead: BTreeMap::new(),
            expected: 0,
        }
    }

    /// A packet with the next message id.
    pub(crate) fn message(&mut self, now: Now, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let id = self.next_id;
        self.next_id += 1;
        self.packet(now, opcode, Some(id), payload)
    }

    /// Any packet at all; what is owed is acknowledged on it.
    pub(crate) fn packet(
        &mut self,
        now: Now,
        opcode: Opcode,
        message_id: Option<u32>,
        payload: &[u8],
    ) -> Vec<u8> {
        let count = self.owed.len().min(8);
        let acks: Acks = self.owed.drain(..count).collect();
        let header = ControlHeader {
            opcode,
            key_id: self.key_id,
            session_id: self.id,
        };
        let remote = self.server.filter(|_| !acks.is_empty());
        let mut body = Vec::new();
        ControlBody {
            acks,
            remote,
            message_id,
            payload,
        }
        .emit(&mut body);
        let mut datagram = Vec::new();
        self.wrap.seal(now, header, &body, &mut datagram);
        datagram
    }

    /// Takes a datagram of the server.
    pub(crate) fn take(&mut self, now: Now, datagram: &[u8]) {
        let mut copy = datagram.to_vec();
        let (header, body) = self.wrap.open(now, &mut copy).expect("the server's");
        let body = ControlBody::parse(header.opcode, body).expect("well-formed");
        self.server = Some(header.session_id);
        let Some(id) = body.message_id else { return };
        self.owed.push(id);
        if id >= self.expected {
            self.ahead.insert(id, body.payload.to_vec());
        }
        while let Some(payload) = self.ahead.remove(&self.expected) {
            self.expected += 1;
            self.tls
                .receive(&payload)
                .expect("the server keeps the rules");
        }
        while let Some(message) = self.tls.next_message() {
            self.messages.push(message.to_vec());
        }
    }

    /// What TLS has to say, in packets, or an acknowledgement if that is nothing.
    pub(crate) fn speak(&mut self, now: Now) -> Vec<Vec<u8>> {
        let mut stream = Vec::new();
        self.tls.transmit(&mut stream);
        let mut datagrams: Vec<_> = stream
            .chunks(1_000)
            .map(|chunk| self.message(now, Opcode::ControlV1, chunk))
            .collect();
        while !self.owed.is_empty() {
            datagrams.push(self.packet(now, Opcode::AckV1, None, &[]));
        }
        datagrams
    }

    /// A record inside TLS, in packets.
    pub(crate) fn say(&mut self, now: Now, record: &[u8]) -> Vec<Vec<u8>> {
        self.tls.send_message(record).expect("TLS is established");
        self.speak(now)
    }

    /// The key message of a client that says this of itself.
    pub(crate) fn introduce(&mut self, now: Now, peer_info: &str) -> Vec<Vec<u8>> {
        let message = ClientKeyMessage {
            pre_master: [1; 48].into(),
            random1: [2; 32],
            random2: [3; 32],
            options: OptionsString::stock(Role::Client).to_string(),
            username: String::new(),
            password: String::new().into(),
            peer_info: peer_info.to_owned(),
        };
        let mut record = Vec::new();
        message.emit(&mut record).expect("fits");
        self.say(now, &record)
    }
}
