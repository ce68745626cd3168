//! What a listener knows of the OpenVPN 2 protocol: how to sort datagrams, and how a stranger
//! becomes a session without anything growing before it has shown that it receives.
//!
//! Wire: wire.md sections 4 and 18.

mod client_keys;
mod contacts;
mod steering;

use std::net::SocketAddr;
use std::sync::Arc;

use self::client_keys::Stranger;
use self::contacts::Contacts;
use super::event::{ControlDrop, LeaveReason};
use super::settings::{ClientKeyRules, SessionSettings};
use super::state::Session;
use crate::crypto::{CookieKey, ReplayStamp, Wrapping};
use crate::limits::{ANSWERED_RESETS, CONTROL_DATAGRAM_MAX};
use crate::random::Random;
use crate::time::Now;
use crate::wire::{
    Acks, ControlBody, ControlHeader, EarlyNegotiation, KeyId, Opcode, PeerId, SessionId,
    parse_first_byte,
};

pub use self::contacts::{ContactLimits, ContactNotice, Rate};
pub use self::steering::{ClassicInstruction, Steering};

/// One listener's first contact with strangers.
pub struct OpenVpn2 {
    settings: Arc<SessionSettings>,
    /// The rules of sessions over streams.
    stream_settings: Arc<SessionSettings>,
    /// How clients are dealt with that bring their own key, if they are.
    client_keys: Option<Arc<ClientKeyRules>>,
    cookie: CookieKey,
    answered: AnsweredResets,
    contacts: Contacts,
    /// The stranger's datagram, which is opened in place.
    opened: Vec<u8>,
    /// The body of our answer, before it is wrapped.
    body: Vec<u8>,
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
    /// A listener with `settings` and without a bound on strangers. All listeners and shards of a
    /// node share `cookie`.
    pub fn new(settings: Arc<SessionSettings>, cookie: CookieKey, random: &mut dyn Random) -> Self {
        Self {
            stream_settings: Arc::clone(&settings),
            settings,
            client_keys: None,
            cookie,
            answered: AnsweredResets::new(random.next_u64()),
            contacts: Contacts::unbounded(),
            opened: Vec::with_capacity(CONTROL_DATAGRAM_MAX),
            body: Vec::new(),
        }
    }

    /// The same with its share of `limits`, as one of `shards` shards.
    #[must_use]
    pub fn with_limits(self, limits: ContactLimits, shards: u16) -> Self {
        let contacts = Contacts::share(limits, shards);
        Self { contacts, ..self }
    }

    /// The same with other rules for the sessions that begin from now on.
    #[must_use]
    pub fn with_settings(self, settings: Arc<SessionSettings>) -> Self {
        Self {
            stream_settings: Arc::clone(&settings),
            settings,
            ..self
        }
    }

    /// The same with other rules for sessions over streams.
    #[must_use]
    pub fn with_stream_settings(self, stream_settings: Arc<SessionSettings>) -> Self {
        Self {
            stream_settings,
            ..self
        }
    }

    /// What an administrator should hear of strangers that were not answered; look after each
    /// [`OpenVpn2::greet`].
    pub fn take_notice(&mut self) -> Option<ContactNotice> {
        self.contacts.take_notice()
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
        if datagram.len() > CONTROL_DATAGRAM_MAX {
            return Err(ControlDrop::TooLong);
        }
        let clear = ControlHeader::parse(datagram)?;
        if clear.key_id != KeyId::FIRST {
            return Err(ControlDrop::Unexpected);
        }
        self.check_kind(clear.opcode)?;
        let mut copy = std::mem::take(&mut self.opened);
        copy.clear();
        copy.extend_from_slice(datagram);
        let greeting = self.greet_copy(now, random, from, &mut copy, out);
        self.opened = copy;
        greeting
    }

    /// Deals with the first packet of a stream, which is left as it came: it begins a session at once, since
    /// who has connected receives at its address. Hand the same packet to it.
    ///
    /// Wire: no cookie over TCP, the server's session id is random (wire.md section 14).
    ///
    /// # Errors
    /// There is no session, for the reason given.
    pub fn greet_stream(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        datagram: &[u8],
    ) -> Result<Session, ControlDrop> {
        if datagram.len() > CONTROL_DATAGRAM_MAX {
            return Err(ControlDrop::TooLong);
        }
        let clear = ControlHeader::parse(datagram)?;
        if clear.key_id != KeyId::FIRST || !clear.opcode.is_hard_reset() {
            return Err(ControlDrop::Unexpected);
        }
        self.check_kind(clear.opcode)?;
        let mut copy = std::mem::take(&mut self.opened);
        copy.clear();
        copy.extend_from_slice(datagram);
        let wrapping = self.check_first(now, &mut copy);
        self.opened = copy;
        let wrapping = wrapping?;
        if !self.contacts.may_begin(now.monotonic) {
            return Err(ControlDrop::TooManySessions);
        }
        let settings = Arc::clone(&self.stream_settings);
        let session = Session::after_reset(settings, wrapping, now, random, clear.session_id);
        session.map_err(|_: LeaveReason| ControlDrop::Over)
    }

    /// The wrapping of a stream's first packet, if that is as it should be.
    fn check_first(&self, now: Now, copy: &mut [u8]) -> Result<Arc<Wrapping>, ControlDrop> {
        let opcode = ControlHeader::parse(copy)?.opcode;
        let (packet, wrapping) = self.wrapping_of(now, opcode, copy)?;
        let opened = wrapping.open_stateless(packet)?;
        let body = ControlBody::parse(opcode, opened.body)?;
        match body.message_id == Some(0) && body.payload.is_empty() {
            true => Ok(wrapping),
            false => Err(ControlDrop::Unexpected),
        }
    }

    fn greet_copy(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        from: SocketAddr,
        copy: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Greeting, ControlDrop> {
        let opcode = ControlHeader::parse(copy)?.opcode;
        let (packet, wrapping) = self.wrapping_of(now, opcode, copy)?;
        let opened = wrapping.open_stateless(packet)?;
        let body = ControlBody::parse(opcode, opened.body)?;
        let early = opened.replay.is_some_and(ReplayStamp::negotiates_early);
        let stranger = Stranger {
            from,
            client: opened.header.session_id,
            negotiates_early: early && opcode.carries_key(),
            wrapping: Arc::clone(&wrapping),
        };
        if !opcode.is_hard_reset() {
            return self.check_cookie(now, random, stranger, &body, out);
        }
        if body.message_id != Some(0) || !body.payload.is_empty() {
            return Err(ControlDrop::Unexpected);
        }
        if !self.contacts.may_answer(now.monotonic) {
            return Err(ControlDrop::TooManyContacts);
        }
        if opcode.carries_key() && !stranger.negotiates_early {
            return self.begin_without_cookie(now, random, stranger);
        }
        // A client that repeats its reset may go on with the first answer: all are the same.
        let slot = self.answered_slot(now, &stranger).unwrap_or_else(|| {
            let slot = self.cookie.slot(now);
            self.answered.remember(from, stranger.client, slot);
            slot
        });
        self.answer_reset(now, &stranger, slot, out);
        Ok(Greeting::Answer)
    }

    /// The third packet of a handshake brings our cookie back, or the acknowledgement that carried
    /// it was lost.
    fn check_cookie(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        stranger: Stranger,
        body: &ControlBody<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Greeting, ControlDrop> {
        let early = body.acks.iter().chain(&body.message_id).all(|id| *id <= 1);
        if !early {
            return Err(ControlDrop::Unexpected);
        }
        let Stranger { from, client, .. } = stranger;
        let Some(presented) = body.remote else {
            // Wire: clients before 2.6 acknowledge once, then send without any acknowledgement.
            // Answered again with the same cookie, they acknowledge again (wire.md section 4.1).
            if body.message_id != Some(1) {
                return Err(ControlDrop::Cookie);
            }
            let slot = self.answered_slot(now, &stranger);
            let slot = slot.ok_or(ControlDrop::Cookie)?;
            if !self.contacts.may_answer(now.monotonic) {
                return Err(ControlDrop::TooManyContacts);
            }
            self.answer_reset(now, &stranger, slot, out);
            return Ok(Greeting::Answer);
        };
        if !self.cookie.verify(now, &from, client, presented) {
            return Err(ControlDrop::Cookie);
        }
        if !self.contacts.may_begin(now.monotonic) {
            return Err(ControlDrop::TooManySessions);
        }
        // Once an answer: a cookie can be shown again while other sessions have taken its session's
        // place, and would else pay for any number of answers to others.
        if self.answered.came_back(from, client) {
            self.contacts.give_back();
        }
        let (settings, wrapping) = (Arc::clone(&self.settings), stranger.wrapping);
        let session = Session::after_cookie(settings, wrapping, now, random, client, presented);
        begun(session)
    }

    /// A client before 2.6 brings its key once: from then on somebody has to remember it.
    fn begin_without_cookie(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        stranger: Stranger,
    ) -> Result<Greeting, ControlDrop> {
        if !self
            .client_keys
            .as_ref()
            .is_some_and(|it| it.without_cookie)
        {
            return Err(ControlDrop::Cookie);
        }
        if !self.contacts.may_begin(now.monotonic) {
            return Err(ControlDrop::TooManySessions);
        }
        let (settings, wrapping) = (Arc::clone(&self.settings), stranger.wrapping);
        let session = Session::after_reset(settings, wrapping, now, random, stranger.client);
        begun(session)
    }

    /// The slot of the cookie that this client was answered with, if that cookie stays good for at
    /// least another slot.
    fn answered_slot(&self, now: Now, stranger: &Stranger) -> Option<u64> {
        let slot = self.answered.slot(stranger.from, stranger.client)?;
        (self.cookie.slot(now).saturating_sub(slot) <= 1).then_some(slot)
    }

    /// Writes the stateless answer to a reset. Wire: replay id 1 and the time of now, which the
    /// session's packets then go on from (wire.md section 2.1).
    fn answer_reset(&mut self, now: Now, stranger: &Stranger, slot: u64, out: &mut Vec<u8>) {
        let Stranger { from, client, .. } = *stranger;
        let header = ControlHeader {
            opcode: Opcode::HardResetServerV2,
            key_id: KeyId::FIRST,
            session_id: self.cookie.session_id(slot, &from, client),
        };
        let acks: Acks = std::iter::once(0).collect();
        // Nobody keeps its key until then.
        let resend_key = stranger.negotiates_early;
        let said = EarlyNegotiation { resend_key }.to_bytes();
        self.body.clear();
        ControlBody {
            acks,
            remote: Some(client),
            message_id: Some(0),
            payload: &said,
        }
        .emit(&mut self.body);
        out.clear();
        let stamp = ReplayStamp::first(now);
        let wrapping = &stranger.wrapping;
        wrapping.seal_with(stamp, header, &self.body, out);
    }
}

/// A stranger's session, if TLS can begin.
fn begun(session: Result<Session, LeaveReason>) -> Result<Greeting, ControlDrop> {
    session
        .map(|session| Greeting::Session(Box::new(session)))
        .map_err(|_: LeaveReason| ControlDrop::Over)
}

/// Which resets were answered lately, and in which time slot: a table of fixed size, where a newer
/// contact takes the place of an older one. A random key keeps strangers from choosing the place.
struct AnsweredResets {
    key: u64,
    places: Vec<Option<Answered>>,
}

#[derive(Clone, Copy)]
struct Answered {
    from: SocketAddr,
    client: SessionId,
    slot: u64,
    /// Whether the cookie has come back.
    returned: bool,
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
            *entry = Some(Answered {
                from,
                client,
                slot,
                returned: false,
            });
        }
    }

    fn slot(&self, from: SocketAddr, client: SessionId) -> Option<u64> {
        let answered = self.places.get(self.place(client))?.as_ref()?;
        answered.is_for(from, client).then_some(answered.slot)
    }

    /// Notes that the cookie has come back. True if that is news.
    fn came_back(&mut self, from: SocketAddr, client: SessionId) -> bool {
        let place = self.place(client);
        match self.places.get_mut(place) {
            Some(Some(answered)) if answered.is_for(from, client) => {
                !std::mem::replace(&mut answered.returned, true)
            }
            _ => false,
        }
    }

    fn place(&self, client: SessionId) -> usize {
        let mixed = (u64::from_be_bytes(client.0) ^ self.key).wrapping_mul(self.key | 1);
        (mixed >> 32) as usize % ANSWERED_RESETS
    }
}

impl Answered {
    fn is_for(&self, from: SocketAddr, client: SessionId) -> bool {
        self.from == from && self.client == client
    }
}

#[cfg(test)]
mod tests;
