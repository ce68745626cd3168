//! One key generation: its reliability, its TLS connection and the exchange of key messages.

use zeroize::Zeroizing;

use super::event::LeaveReason;
use super::reliable::{Packet, Received, Reliable};
use super::settings::SessionSettings;
use crate::crypto::tls::{Tls, TlsError};
use crate::limits::{ACKS_PIGGYBACK, CONTROL_DATAGRAM_SENT, TLS_BACKLOG_MAX};
use crate::random::Random;
use crate::time::{Monotonic, Now};
use crate::wire::{
    ClientKeyMessage, ControlHeader, ControlMessage, KeyId, Opcode, Role, ServerKeyMessage,
};

/// A key generation under negotiation, or established.
pub(super) struct Negotiation {
    pub(super) key_id: KeyId,
    pub(super) started: Monotonic,
    pub(super) stage: Stage,
    pub(super) tls: Box<dyn Tls>,
    reliable: Reliable,
    unsent: Vec<u8>,
    /// Client: the server wants our sealed key once more, behind the next message.
    key_wanted: bool,
}

/// How far a key generation is.
pub(super) enum Stage {
    /// Our reset is not acknowledged.
    Opening,
    /// TLS shakes hands; the client's key message follows.
    Handshaking,
    /// Client: our key message is sent, the server's is awaited.
    AwaitingServer(Box<ClientKeyMessage>),
    /// Both key messages were exchanged; not all of ours is acknowledged.
    Exchanged,
    /// The peer has all of it, and understands text messages.
    Established,
}

/// What data keys are made of.
pub(super) struct KeySource {
    pub(super) client: Box<ClientKeyMessage>,
    pub(super) server: ServerKeyMessage,
}

impl Negotiation {
    /// A generation that begins with our own reset.
    pub(super) fn open(
        settings: &SessionSettings,
        now: Now,
        random: &mut dyn Random,
        key_id: KeyId,
        reset: Opcode,
    ) -> Result<Self, LeaveReason> {
        let mut negotiation = Self::new(settings, now, random, key_id, Stage::Opening, 0)?;
        negotiation.reliable.send(now.monotonic, reset, Vec::new());
        Ok(negotiation)
    }

    /// The server's first generation, whose resets were exchanged without any state.
    pub(super) fn after_cookie(
        settings: &SessionSettings,
        now: Now,
        random: &mut dyn Random,
    ) -> Result<Self, LeaveReason> {
        Self::new(settings, now, random, KeyId::FIRST, Stage::Handshaking, 1)
    }

    fn new(
        settings: &SessionSettings,
        now: Now,
        random: &mut dyn Random,
        key_id: KeyId,
        stage: Stage,
        first_id: u32,
    ) -> Result<Self, LeaveReason> {
        Ok(Self {
            key_id,
            started: now.monotonic,
            stage,
            tls: settings.tls.start(now, random).map_err(LeaveReason::Tls)?,
            reliable: Reliable::new(first_id, first_id, settings.timing.tls_timeout),
            unsent: Vec::new(),
            key_wanted: false,
        })
    }

    /// True once the peer has both key messages. Wire: only then it reads text messages.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established)
    }

    /// Goes from exchanged to established when the peer has acknowledged everything; true then.
    pub(super) fn settle(&mut self) -> bool {
        let settled = matches!(self.stage, Stage::Exchanged) && self.is_quiet();
        if settled {
            self.stage = Stage::Established;
        }
        settled
    }

    /// Goes from exchanged to established because the peer uses the keys; true then. What it has not
    /// acknowledged is still repeated.
    pub(super) fn settle_by_use(&mut self) -> bool {
        let settled = matches!(self.stage, Stage::Exchanged);
        if settled {
            self.stage = Stage::Established;
        }
        settled
    }

    /// Client: the server's answer to our reset asks for our key. A repeated answer asks for nothing.
    pub(super) fn want_key(&mut self) {
        self.key_wanted = matches!(self.stage, Stage::Opening);
    }

    /// Takes the peer's acknowledgements.
    pub(super) fn acknowledge(&mut self, now: Monotonic, ids: &[u32]) {
        self.reliable.acknowledge(now, ids);
        if matches!(self.stage, Stage::Opening) && self.reliable.all_acknowledged() {
            self.stage = Stage::Handshaking;
        }
    }

    /// Takes a message of the peer only to acknowledge it: the session is over.
    pub(super) fn receive_only(&mut self, id: u32, opcode: Opcode) -> Received {
        let received = self.reliable.receive(id, opcode, &[]);
        while self.reliable.next_in_order().is_some() {}
        received
    }

    /// Takes a message of the peer and feeds TLS with all that is in order.
    pub(super) fn receive(
        &mut self,
        id: u32,
        opcode: Opcode,
        payload: &[u8],
    ) -> Result<Received, TlsError> {
        let received = self.reliable.receive(id, opcode, payload);
        while let Some(message) = self.reliable.next_in_order() {
            if matches!(message.opcode, Opcode::ControlV1 | Opcode::ControlWkcV1) {
                self.tls.receive(&message.payload)?;
            }
        }
        Ok(received)
    }

    /// The peer's next message inside TLS.
    pub(super) fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.tls.next_message()
    }

    /// Queues a message for the peer, as one TLS record.
    pub(super) fn send_message(&mut self, message: &[u8]) -> Result<(), LeaveReason> {
        self.tls.send_message(message).map_err(LeaveReason::Tls)
    }

    /// Queues a text message for the peer.
    pub(super) fn send_text(&mut self, text: &ControlMessage<'_>) -> Result<(), LeaveReason> {
        let mut record = Vec::new();
        text.emit(&mut record).map_err(LeaveReason::KeyMessage)?;
        self.send_message(&record)
    }

    /// Moves what TLS has to say into the send window, as far as there is room. A message with our
    /// sealed key behind it has so much less room.
    pub(super) fn fill_window(&mut self, now: Monotonic, payload_max: usize, sealed_key: usize) {
        if matches!(self.stage, Stage::Opening) {
            return;
        }
        self.tls.transmit(&mut self.unsent);
        let mut taken = 0;
        while taken < self.unsent.len() && self.reliable.has_room() {
            let (opcode, room) = match std::mem::take(&mut self.key_wanted) {
                true => (Opcode::ControlWkcV1, payload_max.saturating_sub(sealed_key)),
                false => (Opcode::ControlV1, payload_max),
            };
            let end = self.unsent.len().min(taken + room);
            let payload = self.unsent[taken..end].to_vec();
            self.reliable.send(now, opcode, payload);
            taken = end;
        }
        self.unsent.drain(..taken);
        if self.unsent.is_empty() {
            // An idle session keeps no buffer for the flight of its handshake.
            self.unsent = Vec::new();
        }
    }

    /// Fails when more waits for the peer's acknowledgements than may.
    pub(super) fn check_backlog(&self) -> Result<(), LeaveReason> {
        if self.unsent.len() <= TLS_BACKLOG_MAX {
            return Ok(());
        }
        let full = "too much waits to be sent";
        Err(LeaveReason::Tls(TlsError::Unavailable(full.to_owned())))
    }

    /// True when nothing waits to be sent or acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsent.is_empty() && self.reliable.all_acknowledged()
    }

    /// The next packet to wrap and send.
    pub(super) fn poll(&mut self, now: Monotonic, acks_max: usize) -> Option<Packet<'_>> {
        self.reliable.poll(now, acks_max)
    }

    /// Keeps no more than text messages need, once nothing is half said: a tunnel stays for days, and says
    /// a few of them.
    pub(super) fn rest(&mut self) {
        if self.is_established() && self.is_quiet() {
            self.tls.rest();
            self.reliable.rest();
        }
    }

    /// When [`Negotiation::poll`] has something to repeat.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        self.reliable.next_timeout()
    }
}

/// Payload bytes of a full control packet: what the datagram leaves after the header, the
/// wrapping, the most acknowledgements that ride along, and the message id.
pub(super) fn payload_max(overhead: usize) -> usize {
    let acks = 1 + 4 * ACKS_PIGGYBACK + 8;
    CONTROL_DATAGRAM_SENT - ControlHeader::LEN - overhead - acks - 4
}

/// The reset that begins a first generation by these rules.
pub(super) fn first_reset(settings: &SessionSettings) -> Opcode {
    match settings.role {
        Role::Client if settings.wrapping.sealed_key().is_some() => Opcode::HardResetClientV3,
        Role::Client => Opcode::HardResetClientV2,
        Role::Server => Opcode::HardResetServerV2,
    }
}
