//! A session: what its inputs do to it. What only one role does is in `server` and `client`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::agreement::Agreement;
use super::client;
use super::credentials::{Credentials, PullFilter};
use super::event::{ControlDrop, ExitChannel, Farewell, LeaveReason, SessionEvent};
use super::keys::random_bytes;
use super::login::Unjudged;
use super::negotiation::{self, Negotiation, Stage};
use super::reliable::Received;
use super::server::{Answer, Candidate};
use super::settings::SessionSettings;
use super::timer::{Timer, Timers};
use crate::crypto::{ControlWrap, ReplayStamp, SessionToken, Wrapping};
use crate::limits::{ACKS_MAX, CONTROL_DATAGRAM_MAX, FAREWELL};
use crate::random::Random;
use crate::time::{Monotonic, Now};
use crate::wire::{
    ControlBody, ControlHeader, ControlMessage, KeyId, Opcode, PushAssembler, Role, SessionId,
    split_sealed_key,
};

/// One peer's control channel, in either role.
pub struct Session {
    pub(super) settings: Arc<SessionSettings>,
    pub(super) local: SessionId,
    pub(super) remote: Remote,
    pub(super) wrap: ControlWrap,
    /// Wraps the generations after the first, where dynamic tls-crypt was agreed on.
    pub(super) later_wrap: Option<ControlWrap>,
    pub(super) current: Negotiation,
    /// The established generation that goes on if the one under negotiation fails.
    pub(super) previous: Option<Negotiation>,
    /// A generation that was given up when both key messages were exchanged: the peer may have it.
    pub(super) undecided: Option<Negotiation>,
    /// Server: what waits until the login of the current generation, a later one, is judged.
    pub(super) unjudged: Option<Unjudged>,
    /// Server: how many logins there were.
    pub(super) logins: u64,
    /// The generation that the newest one replaces, while it still opens packets.
    pub(super) lame_duck: Option<KeyId>,
    /// The lame duck before, which goes when the renegotiation that runs is decided: until then
    /// the peer may not know of it and still seal with that key.
    pub(super) outgoing: Option<KeyId>,
    pub(super) phase: Phase,
    /// Client: how it logs in, if it does.
    pub(super) credentials: Option<Credentials>,
    /// Client: what it follows of what is pushed; everything without it.
    pub(super) pull_filter: Option<PullFilter>,
    /// Client: the parts of an update so far.
    pub(super) updates: PushAssembler,
    /// Server: updates for a client with which a new key is being agreed on.
    pub(super) unsaid: Vec<String>,
    /// Server: what the client is to log in with from now on, until it is told with its configuration.
    pub(super) token: Option<SessionToken>,
    pub(super) keepalive: Keepalive,
    pub(super) timers: Timers,
    events: VecDeque<SessionEvent>,
    last_heard: Monotonic,
    /// What was put together for sending, before it is wrapped.
    body: Vec<u8>,
}

/// Where a session stands.
pub(super) enum Phase {
    /// The first key exchange runs.
    Meeting,
    /// Server: the client is known; whether it may come in is decided elsewhere.
    Admitting(Box<Candidate>),
    /// Server: decided; the client is told as soon as it listens.
    Answering(Answer),
    /// Client: the server's configuration is awaited.
    Requesting(Box<client::Request>),
    /// Data flows.
    Connected(Agreement),
    /// The tunnel is over; retransmissions are still acknowledged.
    Leaving,
    /// All is over.
    Finished,
}

/// The peer's session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// Client: the server's first answer tells it.
    Unknown,
    Known(SessionId),
}

/// The pings of the data channel; a client gets other ones by push, and a server by the client's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// A ping goes out when nothing else was sent for so long; `None` for never.
    pub ping: Option<Duration>,
    /// A peer that was silent for so long is given up; `None` for never.
    pub ping_restart: Option<Duration>,
}

/// The data channel's last signs of life, read when a timer fires.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// When a data packet last went out.
    pub sent: Monotonic,
    /// When an authenticated data packet last came in.
    pub received: Monotonic,
}

impl Session {
    /// A server's session after a valid cookie. `client` is the id that the client chose, `cookie`
    /// the one that it was answered with.
    pub(super) fn after_cookie(
        settings: Arc<SessionSettings>,
        wrapping: Arc<Wrapping>,
        now: Now,
        random: &mut dyn Random,
        client: SessionId,
        cookie: SessionId,
    ) -> Result<Self, LeaveReason> {
        let negotiation = Negotiation::after_cookie(&settings, now, random)?;
        // The stateless answer took replay id 1, at this second at the latest.
        let stamp = ReplayStamp {
            id: 1,
            time: now.unix as u32,
        };
        let wrap = ControlWrap::with_sent(wrapping, stamp);
        Ok(Self::new(
            settings,
            now,
            cookie,
            Remote::Known(client),
            wrap,
            negotiation,
        ))
    }

    /// A server's session with a client that could not bring a cookie back; its answer to the
    /// client's reset is sent, and repeated, like any message.
    pub(super) fn after_reset(
        settings: Arc<SessionSettings>,
        wrapping: Arc<Wrapping>,
        now: Now,
        random: &mut dyn Random,
        client: SessionId,
    ) -> Result<Self, LeaveReason> {
        let id = SessionId(random_bytes(random));
        let reset = negotiation::first_reset(&settings);
        let negotiation = Negotiation::open(&settings, now, random, KeyId::FIRST, reset)?;
        Ok(Self::new(
            settings,
            now,
            id,
            Remote::Known(client),
            ControlWrap::new(wrapping),
            negotiation,
        ))
    }

    /// A client's session; its first packet is ready to be sent.
    ///
    /// # Errors
    /// The TLS library refuses its configuration.
    pub fn connect(
        settings: Arc<SessionSettings>,
        now: Now,
        random: &mut dyn Random,
    ) -> Result<Self, LeaveReason> {
        let id = SessionId(random_bytes(random));
        let reset = negotiation::first_reset(&settings);
        let negotiation = Negotiation::open(&settings, now, random, KeyId::FIRST, reset)?;
        let wrap = ControlWrap::new(Arc::clone(&settings.wrapping));
        Ok(Self::new(
            settings,
            now,
            id,
            Remote::Unknown,
            wrap,
            negotiation,
        ))
    }

    fn new(
        settings: Arc<SessionSettings>,
        now: Now,
        local: SessionId,
        remote: Remote,
        wrap: ControlWrap,
        negotiation: Negotiation,
    ) -> Self {
        let timing = settings.timing;
        let mut timers = Timers::default();
        timers.set(Timer::HandWindow, now.monotonic + timing.hand_window);
        Self {
            settings,
            local,
            remote,
            wrap,
            later_wrap: None,
            current: negotiation,
            previous: None,
            undecided: None,
            unjudged: None,
            logins: 0,
            lame_duck: None,
            outgoing: None,
            phase: Phase::Meeting,
            credentials: None,
            pull_filter: None,
            updates: PushAssembler::new(),
            unsaid: Vec::new(),
            token: None,
            keepalive: Keepalive {
                ping: timing.ping,
                ping_restart: timing.ping_restart,
            },
            timers,
            events: VecDeque::new(),
            last_heard: now.monotonic,
            body: Vec::new(),
        }
    }

    /// The same session of a client that logs in with these.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        let credentials = Some(credentials);
        Self {
            credentials,
            ..self
        }
    }

    /// The same session of a client that follows only what passes this filter.
    #[must_use]
    pub fn with_pull_filter(self, filter: PullFilter) -> Self {
        let pull_filter = Some(filter);
        Self {
            pull_filter,
            ..self
        }
    }

    /// After how much silence a ping goes out, and after how much the peer is given up.
    pub fn keepalive(&self) -> (Option<Duration>, Option<Duration>) {
        (self.keepalive.ping, self.keepalive.ping_restart)
    }

    /// The rules that it goes by.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Our own session id.
    pub fn local_id(&self) -> SessionId {
        self.local
    }

    /// When anything of the peer was last authenticated on the control channel.
    pub fn last_heard(&self) -> Monotonic {
        self.last_heard
    }

    /// True once the peer has answered.
    pub fn has_been_answered(&self) -> bool {
        matches!(self.remote, Remote::Known(_))
    }

    /// True once the peer has shown that it receives what we send to its address.
    pub fn hears_us(&self) -> bool {
        !matches!(self.current.stage, Stage::Opening) || self.previous.is_some()
    }

    /// What the two sides agreed on, while data flows.
    pub fn agreement(&self) -> Option<&Agreement> {
        match &self.phase {
            Phase::Connected(agreement) => Some(agreement),
            _ => None,
        }
    }

    /// True when the peer has acknowledged all that was said, or the session is over.
    pub fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Finished) || self.current.is_quiet()
    }

    /// True while data flows.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    /// True until the peer has been let in or turned away: such sessions are the ones a stranger
    /// can make.
    pub fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::Meeting)
    }

    /// Takes a control datagram of the peer. It is decrypted in place.
    ///
    /// # Errors
    /// The datagram changes nothing and is dropped, for the reason given.
    pub fn handle_datagram(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        datagram: &mut [u8],
    ) -> Result<(), ControlDrop> {
        if matches!(self.phase, Phase::Finished) {
            return Err(ControlDrop::Over);
        }
        if datagram.len() > CONTROL_DATAGRAM_MAX {
            return Err(ControlDrop::TooLong);
        }
        let header = ControlHeader::parse(datagram)?;
        if !self.is_from_peer(&header) {
            return Err(ControlDrop::ForeignSession);
        }
        // A key that is known already, of a client that repeats itself.
        let packet = match header.opcode.carries_key() {
            true => split_sealed_key(datagram)?.0,
            false => datagram,
        };
        let wrapping = Arc::clone(self.wrap_of(header.key_id).wrapping());
        let opened = wrapping.open_stateless(packet)?;
        let body = ControlBody::parse(header.opcode, opened.body)?;
        let key_wanted = client::wants_key(&wrapping, &header, &body)?;
        if !self.is_for_us(&body) {
            return Err(ControlDrop::ForeignSession);
        }
        // From here on the datagram counts; until here it has changed nothing.
        if let Some(stamp) = opened.replay {
            self.wrap_of(header.key_id).mark_received(now, stamp)?;
        }
        self.last_heard = now.monotonic;
        self.remote = Remote::Known(header.session_id);
        if header.opcode == Opcode::SoftResetV1 && self.begins_next_generation(header.key_id) {
            self.renegotiate(now, random);
        }
        if header.key_id != self.current.key_id {
            return Err(ControlDrop::KeyOutOfStep);
        }
        if key_wanted {
            self.current.want_key();
        }
        self.current.acknowledge(now.monotonic, &body.acks);
        let received = self.receive_message(now, header.opcode, &body);
        self.drive(now, random);
        match received {
            Some(Received::OutsideWindow) => Err(ControlDrop::OutsideWindow),
            _ => Ok(()),
        }
    }

    /// Does what is due at `now`. `activity` is the data channel's.
    pub fn handle_timeout(&mut self, now: Now, random: &mut dyn Random, activity: Activity) {
        while let Some(timer) = self.timers.expire(now.monotonic) {
            self.handle_timer(timer, now, random, activity);
        }
        self.drive(now, random);
    }

    /// Writes the next datagram for the peer into `out`, in place of what was there. False when
    /// there is none.
    pub fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) -> bool {
        if matches!(self.phase, Phase::Finished) {
            return false;
        }
        let (acks_max, key_id) = (self.acks_max(), self.current.key_id);
        let Some(packet) = self.current.poll(now.monotonic, acks_max) else {
            self.body = Vec::new();
            return false;
        };
        let header = ControlHeader {
            opcode: packet.opcode,
            key_id,
            session_id: self.local,
        };
        let remote = match self.remote {
            Remote::Known(remote) if !packet.acks.is_empty() => Some(remote),
            _ => None,
        };
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let (acks, message_id) = (packet.acks.clone(), packet.message_id);
        ControlBody {
            acks,
            remote,
            message_id,
            payload: packet.payload,
        }
        .emit(&mut body);
        out.clear();
        self.wrap_of(header.key_id).seal(now, header, &body, out);
        if header.opcode.carries_key()
            && let Some(sealed_key) = self.settings.wrapping.sealed_key()
        {
            out.extend_from_slice(sealed_key);
        }
        self.body = body;
        true
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // A tunnel has few of them in its life.
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`Session::handle_timeout`] or [`Session::poll_transmit`] has something to do.
    pub fn next_timeout(&self) -> Option<Monotonic> {
        if matches!(self.phase, Phase::Finished) {
            return None;
        }
        [self.timers.next(), self.current.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The data channel got a packet with the notice that the peer leaves.
    pub fn peer_exits(&mut self, now: Now) {
        self.leave(now, LeaveReason::RemoteExit(ExitChannel::Data));
    }

    /// Takes leave of the peer.
    pub fn close(&mut self, now: Now, farewell: Farewell, reason: LeaveReason) {
        if matches!(self.phase, Phase::Leaving | Phase::Finished) {
            return;
        }
        let message = match farewell {
            Farewell::Silent => None,
            Farewell::Restart { next_remote } => Some(ControlMessage::Restart {
                keep_credentials: false,
                next_remote,
                text: "",
            }),
            Farewell::AuthFailed(reason) => Some(ControlMessage::AuthFailed { reason }),
            Farewell::Exit if self.control_exit() => Some(ControlMessage::Exit),
            // Also while a new key is being agreed on: nobody could read a message then.
            Farewell::Exit => {
                self.events.push_back(SessionEvent::ExitNoticeDue);
                None
            }
        };
        self.leave_saying(now, message, reason);
    }

    /// Takes leave of the peer with a message of its owner's.
    pub fn dismiss(&mut self, now: Now, text: &str) {
        if !matches!(self.phase, Phase::Leaving | Phase::Finished) {
            let message = ControlMessage::Unknown(text);
            self.leave_saying(now, Some(message), LeaveReason::Dismissed);
        }
    }

    fn leave_saying(&mut self, now: Now, message: Option<ControlMessage<'_>>, reason: LeaveReason) {
        match message {
            Some(message) if self.current.is_established() => {
                // A connection that can't take it any more is left without a word.
                let _ = self.current.send_text(&message);
                self.leave(now, reason);
                self.fill_window(now);
            }
            _ => self.leave_at_once(reason),
        }
    }

    fn control_exit(&self) -> bool {
        self.current.is_established()
            && matches!(&self.phase, Phase::Connected(agreement) if agreement.control_exit)
    }

    fn is_from_peer(&self, header: &ControlHeader) -> bool {
        match self.remote {
            Remote::Known(remote) => header.session_id == remote,
            Remote::Unknown => header.opcode == Opcode::HardResetServerV2,
        }
    }

    /// A server that is not known yet shows by its echo that it has received our reset; otherwise
    /// anybody who knows our address could take the server's place.
    fn is_for_us(&self, body: &ControlBody<'_>) -> bool {
        match body.remote {
            Some(remote) => remote == self.local,
            None => matches!(self.remote, Remote::Known(_)),
        }
    }

    fn receive_message(
        &mut self,
        now: Now,
        opcode: Opcode,
        body: &ControlBody<'_>,
    ) -> Option<Received> {
        let id = body.message_id?;
        if matches!(self.phase, Phase::Leaving) {
            return Some(self.current.receive_only(id, opcode));
        }
        match self.current.receive(id, opcode, body.payload) {
            Ok(received) => Some(received),
            Err(error) => {
                self.fail(now, LeaveReason::Tls(error));
                None
            }
        }
    }

    /// Goes on as far as it can with what has arrived.
    pub(super) fn drive(&mut self, now: Now, random: &mut dyn Random) {
        if matches!(self.phase, Phase::Leaving | Phase::Finished) {
            self.fill_window(now);
            return;
        }
        let driven = self.drive_negotiation(now, random);
        self.fill_window(now);
        if let Err(reason) = driven.and_then(|()| self.current.check_backlog()) {
            self.fail(now, reason);
            self.fill_window(now);
        }
        // Until then keys are made from what TLS exports.
        if self.is_connected() {
            self.current.rest();
        }
    }

    fn drive_negotiation(&mut self, now: Now, random: &mut dyn Random) -> Result<(), LeaveReason> {
        if self.settings.role == Role::Client {
            self.introduce(random)?;
        }
        while let Some(message) = self.current.next_message() {
            self.handle_message(now, random, &message)?;
            if matches!(self.phase, Phase::Leaving | Phase::Finished) {
                return Ok(());
            }
        }
        self.fill_window(now);
        if self.current.settle() {
            self.established(now, random);
        }
        self.speak(now, random)
    }

    /// A record inside TLS: a key message until the exchange is done, then text.
    fn handle_message(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        message: &[u8],
    ) -> Result<(), LeaveReason> {
        match (&self.current.stage, self.settings.role) {
            (Stage::Handshaking, Role::Server) => self.client_key_message(now, random, message),
            (Stage::AwaitingServer(_), Role::Client) => self.server_key_message(now, message),
            (Stage::Exchanged | Stage::Established, role) => {
                // A text that is not one is not worth the tunnel. Wire: 2.x ignores it too.
                for text in ControlMessage::parse_all(message).flatten() {
                    match role {
                        Role::Server => self.server_text(now, &text),
                        Role::Client => self.client_text(now, random, &text)?,
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says what is due to be said, by role and phase.
    fn speak(&mut self, now: Now, random: &mut dyn Random) -> Result<(), LeaveReason> {
        if !self.current.is_established() {
            return Ok(());
        }
        match self.settings.role {
            Role::Server => {
                self.answer(now, random)?;
                self.say_updates()
            }
            Role::Client => {
                self.expect_configuration(now);
                Ok(())
            }
        }
    }

    /// From now on data flows.
    pub(super) fn connected(&mut self, now: Now, random: &mut dyn Random, agreement: Agreement) {
        self.phase = Phase::Connected(agreement);
        self.timers.stop(Timer::HandWindow);
        self.timers.stop(Timer::PushRequest);
        self.schedule_renegotiation(now, random);
        if let Some(interval) = self.keepalive.ping {
            self.timers.set(Timer::Ping, now.monotonic + interval);
        }
        if let Some(patience) = self.keepalive.ping_restart {
            self.timers
                .set(Timer::PingRestart, now.monotonic + patience);
        }
        self.emit(SessionEvent::Connected);
    }

    fn handle_timer(
        &mut self,
        timer: Timer,
        now: Now,
        random: &mut dyn Random,
        activity: Activity,
    ) {
        match timer {
            Timer::HandWindow => self.fail(now, LeaveReason::HandWindow),
            Timer::Renegotiate => {
                if self.is_connected() && self.previous.is_none() && self.unjudged.is_none() {
                    self.renegotiate(now, random);
                }
            }
            Timer::Promote => self.promote_judged(),
            Timer::LameDuck => self.lame_duck_expired(now),
            Timer::Ping => self.ping_timer(now, activity.sent),
            Timer::PingRestart => self.ping_restart_timer(now, activity.received),
            Timer::PushRequest => self.request_push(now),
            Timer::Farewell => self.finish(),
        }
    }

    fn ping_timer(&mut self, now: Now, last_sent: Monotonic) {
        let Some(interval) = self.keepalive.ping else {
            return;
        };
        if now.monotonic.since(last_sent) >= interval {
            self.emit(SessionEvent::PingDue);
            self.timers.set(Timer::Ping, now.monotonic + interval);
        } else {
            self.timers.set(Timer::Ping, last_sent + interval);
        }
    }

    fn ping_restart_timer(&mut self, now: Now, last_received: Monotonic) {
        let Some(patience) = self.keepalive.ping_restart else {
            return;
        };
        let last = last_received.max(self.last_heard);
        if now.monotonic.since(last) >= patience {
            self.leave_at_once(LeaveReason::PingRestart);
        } else {
            self.timers.set(Timer::PingRestart, last + patience);
        }
    }

    /// Ends the tunnel and stays to acknowledge what the peer repeats, so that a late packet does
    /// not look like a stranger's.
    pub(super) fn leave(&mut self, now: Now, reason: LeaveReason) {
        if matches!(self.phase, Phase::Leaving | Phase::Finished) {
            return;
        }
        self.phase = Phase::Leaving;
        self.previous = None;
        self.undecided = None;
        self.unjudged = None;
        self.timers.stop_all();
        self.timers.set(Timer::Farewell, now.monotonic + FAREWELL);
        self.emit(SessionEvent::Left(reason));
    }

    /// Ends the tunnel with nobody left to talk to.
    pub(super) fn leave_at_once(&mut self, reason: LeaveReason) {
        if matches!(self.phase, Phase::Leaving | Phase::Finished) {
            return;
        }
        self.emit(SessionEvent::Left(reason));
        self.finish();
    }

    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.previous = None;
        self.undecided = None;
        self.unjudged = None;
        self.timers.stop_all();
        self.emit(SessionEvent::Finished);
    }

    pub(super) fn emit(&mut self, event: SessionEvent) {
        self.events.push_back(event);
    }

    pub(super) fn set_timer(&mut self, timer: Timer, at: Monotonic) {
        self.timers.set(timer, at);
    }

    pub(super) fn timer_is_set(&self, timer: Timer) -> bool {
        self.timers.at(timer).is_some()
    }

    fn wrap_of(&mut self, key_id: KeyId) -> &mut ControlWrap {
        match &mut self.later_wrap {
            Some(later) if key_id != KeyId::FIRST => later,
            _ => &mut self.wrap,
        }
    }

    fn fill_window(&mut self, now: Now) {
        let overhead = self.wrap_of(self.current.key_id).overhead();
        let sealed_key = self.settings.wrapping.sealed_key().map_or(0, <[u8]>::len);
        let payload_max = negotiation::payload_max(overhead);
        self.current
            .fill_window(now.monotonic, payload_max, sealed_key);
    }

    /// Wire: without a wrapping some servers take four acknowledgements only (wire.md trap 24).
    fn acks_max(&self) -> usize {
        let plain = matches!(*self.settings.wrapping, Wrapping::Plain);
        if plain && self.settings.role == Role::Client {
            4
        } else {
            ACKS_MAX
        }
    }
}
