//! What a listener knows of the OpenVPN 2 protocol: how to sort datagrams, and how a stranger
//! becomes a session without anything growing before it has shown that it receives.
//!
//! Wire: wire.md sections 4 and 18.

use std::net::SocketAddr;
use std::sync::Arc;

use super::event::{ControlDrop, LeaveReason};
use super::settings::SessionSettings;
use super::state::Session;
use crate::crypto::{CookieKey, ReplayStamp};
use crate::limits::ANSWERED_RESETS;
use crate::random::Random;
use crate::time::Now;
use crate::wire::{
    Acks, ControlBody, ControlHeader, KeyId, Opcode, PeerId, SessionId, parse_first_byte,
};

/// One listener's first contact with strangers.
pub struct OpenVpn2 {
    settings: Arc<SessionSettings>,
    cookie: CookieKey,
    answered: AnsweredResets,
}

/// Whom a datagram belongs to, as far as its clear bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A data packet of the session with this peer id.
    Data(PeerId),
    /// A data packet that only its path tells the session of.
    DataByPath,
    /// A control packet of the session that its sender calls so.
    Control(SessionId),
    /// Nothing of this protocol.
    Foreign,
}

/// What a stranger's datagram leads to.
pub enum Greeting {
    /// Send the bytes that were written, and remember nothing.
    Answer,
    /// The stranger receives at its address. Hand the same datagram to the new session.
    Session(Box<Session>),
}

impl OpenVpn2 {
    /// A listener with `settings`. All listeners and shards of a node share `cookie`.
    pub fn new(settings: Arc<SessionSettings>, cookie: CookieKey, random: &mut dyn Random) -> Self {
        Self {
            settings,
            cookie,
            answered: AnsweredResets::new(random.next_u64()),
        }
    }

    /// The rules of this listener's sessions.
    pub fn settings(&self) -> &Arc<SessionSettings> {
        &self.settings
    }

    /// Sorts a datagram by its first bytes; proves nothing.
    pub fn classify(datagram: &[u8]) -> Class {
        let Ok((opcode, _)) = parse_first_byte(datagram) else {
            return Class::Foreign;
        };
        match (opcode, datagram) {
            (Opcode::DataV2, [_, id @ .., _]) => match id.first_chunk::<3>() {
                Some(id) if PeerId::from_bytes(*id) != PeerId::NONE => {
                    Class::Data(PeerId::from_bytes(*id))
                }
                Some(_) => Class::DataByPath,
                None => Class::Foreign,
            },
            (Opcode::DataV1, _) => Class::DataByPath,
            (_, [_, id @ ..]) => id
                .first_chunk()
                .map_or(Class::Foreign, |id| Class::Control(SessionId(*id))),
            _ => Class::Foreign,
        }
    }

    /// Deals with a control datagram from an address that has no session under its id. An answer
    /// is written into `out`; the datagram is left as it came.
    ///
    /// # Errors
    /// Nothing is answered, for the reason given.
    pub fn greet(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Greeting, ControlDrop> {
        let clear = ControlHeader::parse(datagram)?;
        if clear.key_id != KeyId::FIRST {
            return Err(ControlDrop::Unexpected);
        }
        let mut copy = datagram.to_vec();
        match clear.opcode {
            Opcode::HardResetClientV2 => {
                let opened = self.settings.wrapping.open_stateless(&mut copy)?;
                let body = ControlBody::parse(clear.opcode, opened.body)?;
                if body.message_id != Some(0) || !body.payload.is_empty() {
                    return Err(ControlDrop::Unexpected);
                }
                let slot = self.cookie.slot(now);
                self.answered.remember(from, clear.session_id, slot);
                self.answer_reset(now, from, clear.session_id, slot, out);
                Ok(Greeting::Answer)
            }
            Opcode::ControlV1 | Opcode::AckV1 => {
                let opened = self.settings.wrapping.open_stateless(&mut copy)?;
                let body = ControlBody::parse(clear.opcode, opened.body)?;
                self.check_cookie(now, random, from, clear.session_id, &body, out)
            }
            _ => Err(ControlDrop::Unexpected),
        }
    }

    /// The third packet of a handshake brings our cookie back, or the acknowledgement that carried
    /// it was lost.
    fn check_cookie(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        from: SocketAddr,
        client: SessionId,
        body: &ControlBody<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Greeting, ControlDrop> {
        let early = body.acks.iter().chain(&body.message_id).all(|id| *id <= 1);
        if !early {
            return Err(ControlDrop::Unexpected);
        }
        let Some(presented) = body.remote else {
            // Wire: clients before 2.6 acknowledge once, then send without any acknowledgement.
            // Answered again with the same cookie, they acknowledge again (wire.md section 4.1).
            let slot = self
                .answered
                .slot(from, client)
                .ok_or(ControlDrop::Cookie)?;
            if body.message_id != Some(1) || !self.is_current(now, slot) {
                return Err(ControlDrop::Cookie);
            }
            self.answer_reset(now, from, client, slot, out);
            return Ok(Greeting::Answer);
        };
        if !self.cookie.verify(now, &from, client, presented) {
            return Err(ControlDrop::Cookie);
        }
        let settings = Arc::clone(&self.settings);
        Session::after_cookie(settings, now, random, client, presented)
            .map(|session| Greeting::Session(Box::new(session)))
            .map_err(|_: LeaveReason| ControlDrop::Over)
    }

    /// Whether a cookie of `slot` stays good for at least another slot.
    fn is_current(&self, now: Now, slot: u64) -> bool {
        self.cookie.slot(now).saturating_sub(slot) <= 1
    }

    /// Writes the stateless answer to a reset. Wire: replay id 1 and the time of now, which the
    /// session's packets then go on from (wire.md section 2.1).
    fn answer_reset(
        &self,
        now: Now,
        from: SocketAddr,
        client: SessionId,
        slot: u64,
        out: &mut Vec<u8>,
    ) {
        let header = ControlHeader {
            opcode: Opcode::HardResetServerV2,
            key_id: KeyId::FIRST,
            session_id: self.cookie.session_id(slot, &from, client),
        };
        let acks: Acks = std::iter::once(0).collect();
        let mut body = Vec::new();
        ControlBody {
            acks,
            remote: Some(client),
            message_id: Some(0),
            payload: &[],
        }
        .emit(&mut body);
        let stamp = ReplayStamp {
            id: 1,
            time: now.unix as u32,
        };
        out.clear();
        self.settings.wrapping.seal_with(stamp, header, &body, out);
    }
}

/// Which resets were answered lately, and in which time slot: a table of fixed size, where a newer
/// contact takes the place of an older one. A random key keeps strangers from choosing the place.
struct AnsweredResets {
    key: u64,
    places: Vec<Option<(SocketAddr, SessionId, u64)>>,
}

impl AnsweredResets {
    fn new(key: u64) -> Self {
        Self {
            key,
            places: vec![None; ANSWERED_RESETS],
        }
    }

    fn remember(&mut self, from: SocketAddr, client: SessionId, slot: u64) {
        let place = self.place(client);
        if let Some(entry) = self.places.get_mut(place) {
            *entry = Some((from, client, slot));
        }
    }

    fn slot(&self, from: SocketAddr, client: SessionId) -> Option<u64> {
        match self.places.get(self.place(client))? {
            Some((address, id, slot)) if *address == from && *id == client => Some(*slot),
            _ => None,
        }
    }

    fn place(&self, client: SessionId) -> usize {
        let mixed = (u64::from_be_bytes(client.0) ^ self.key).wrapping_mul(self.key | 1);
        (mixed >> 32) as usize % ANSWERED_RESETS
    }
}
