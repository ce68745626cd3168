//! What only the client's side of a session does: introduce itself, ask for its configuration and
//! follow it.

use std::time::Duration;

use zeroize::Zeroizing;

use super::agreement::{Agreement, Derivation};
use super::event::{ExitChannel, LeaveReason, SessionEvent};
use super::keys::random_bytes;
use super::negotiation::{KeySource, Stage};
use super::state::{Phase, Session};
use super::timer::Timer;
use crate::crypto::Wrapping;
use crate::random::Random;
use crate::time::Now;
use crate::wire::{
    ClientKeyMessage, ControlBody, ControlHeader, ControlMessage, EarlyNegotiation, Malformed,
    Opcode, PushAssembler, ServerKeyMessage,
};

/// A client's wait for its configuration.
pub(super) struct Request {
    source: KeySource,
    assembler: PushAssembler,
}

impl Session {
    /// Sends the key message as soon as TLS is established.
    pub(super) fn introduce(&mut self, random: &mut dyn Random) -> Result<(), LeaveReason> {
        if !matches!(self.current.stage, Stage::Handshaking) || !self.current.tls.is_established() {
            return Ok(());
        }
        let credentials = self.credentials.as_ref();
        let message = ClientKeyMessage {
            pre_master: random_bytes(random).into(),
            random1: random_bytes(random),
            random2: random_bytes(random),
            options: self.settings.options_string.clone(),
            username: credentials.map_or_else(String::new, |it| it.username.clone()),
            password: credentials.map_or_else(Zeroizing::default, |it| it.password.clone()),
            peer_info: self.settings.peer_info.clone(),
        };
        let mut record = Zeroizing::new(Vec::new());
        message.emit(&mut record).map_err(LeaveReason::KeyMessage)?;
        self.current.send_message(&record)?;
        self.current.stage = Stage::AwaitingServer(Box::new(message));
        Ok(())
    }

    /// The server's key message.
    pub(super) fn server_key_message(
        &mut self,
        now: Now,
        message: &[u8],
    ) -> Result<(), LeaveReason> {
        let server = ServerKeyMessage::parse(message).map_err(LeaveReason::KeyMessage)?;
        let stage = std::mem::replace(&mut self.current.stage, Stage::Exchanged);
        let Stage::AwaitingServer(client) = stage else {
            return Err(LeaveReason::Keys);
        };
        let source = KeySource { client, server };
        self.report_secured();
        if let Phase::Connected(agreement) = &self.phase {
            let agreement = agreement.clone();
            self.identity(None)?.must_be(&agreement.identity)?;
            return self.derive_keys(&agreement, &source);
        }
        let assembler = PushAssembler::default();
        self.phase = Phase::Requesting(Box::new(Request { source, assembler }));
        self.set_timer(Timer::PushRequest, now.monotonic + FIRST_REQUEST);
        Ok(())
    }

    /// Keeps asking while there is no configuration.
    pub(super) fn request_push(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Requesting(_)) {
            return;
        }
        self.set_timer(Timer::PushRequest, now.monotonic + NEXT_REQUEST);
        if self.current.is_established()
            && let Err(reason) = self.current.send_text(&ControlMessage::PushRequest)
        {
            self.leave(now, reason);
        }
    }

    /// A text message of the server.
    pub(super) fn client_text(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        text: &ControlMessage<'_>,
    ) -> Result<(), LeaveReason> {
        // The server's goodbye ends the tunnel, also while a new key is being agreed on.
        match text {
            ControlMessage::PushReply(options) => return self.push_reply(now, random, options),
            ControlMessage::PushUpdate(items) => return self.push_update(items),
            ControlMessage::AuthFailed { reason } => {
                self.leave(now, LeaveReason::AuthFailed((*reason).to_owned()));
            }
            ControlMessage::Restart {
                next_remote, text, ..
            } => {
                let (next_remote, text) = (*next_remote, (*text).to_owned());
                self.leave(now, LeaveReason::RemoteRestart { next_remote, text });
            }
            ControlMessage::Halt(text) => {
                self.leave(now, LeaveReason::RemoteHalt((*text).to_owned()));
            }
            ControlMessage::Exit => {
                self.leave(now, LeaveReason::RemoteExit(ExitChannel::Control));
            }
            ControlMessage::InfoPre(text) | ControlMessage::Info(text) => {
                self.emit(SessionEvent::Informed((*text).to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    /// A part of the configuration; it is applied when the last part is there.
    fn push_reply(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        options: &str,
    ) -> Result<(), LeaveReason> {
        if self.is_connected() {
            // Wire: a server that gives tokens sends a fresh one alone, when a key was renewed.
            let token = options
                .split(',')
                .find_map(|it| it.strip_prefix("auth-token "));
            self.take_token(token);
        }
        let Phase::Requesting(request) = &mut self.phase else {
            return Ok(());
        };
        let Some(options) = request.assembler.take(options).map_err(LeaveReason::Push)? else {
            return Ok(());
        };
        let Phase::Requesting(request) = std::mem::replace(&mut self.phase, Phase::Meeting) else {
            return Ok(());
        };
        let agreement = self.follow(&options)?;
        // Before the keys: who is told makes a place for them.
        self.emit(SessionEvent::Configured(options));
        self.derive_keys(&agreement, &request.source)?;
        self.emit(SessionEvent::Promoted(self.current.key_id));
        self.connected(now, random, agreement);
        Ok(())
    }

    /// Applies what of the configuration concerns the session itself.
    fn follow(&mut self, options: &[String]) -> Result<Agreement, LeaveReason> {
        let cipher = self
            .settings
            .ciphers
            .first()
            .copied()
            .ok_or(LeaveReason::Keys)?;
        let mut agreement = Agreement {
            identity: self.identity(None)?,
            cipher,
            derivation: Derivation::Prf,
            control_exit: false,
            dynamic_tls_crypt: false,
            epoch_keys: false,
            push_update: false,
        };
        let mut has_peer_id = false;
        let filter = self.pull_filter.clone();
        let follows = |option: &&String| filter.as_ref().is_none_or(|filter| filter(option));
        for option in options.iter().filter(follows) {
            let mut words = option.split_ascii_whitespace();
            let seconds = |word: Option<&str>| {
                word.and_then(|word| word.parse().ok())
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs)
            };
            match words.next() {
                Some("cipher") => {
                    let named = words.next().unwrap_or_default();
                    let mut ours = self.settings.ciphers.iter().copied();
                    let known = ours.find(|cipher| cipher.name().eq_ignore_ascii_case(named));
                    agreement.cipher =
                        known.ok_or_else(|| LeaveReason::NoCommonCipher(option.clone()))?;
                }
                Some("protocol-flags") => {
                    for flag in words {
                        self.follow_flag(flag, &mut agreement)?;
                    }
                }
                Some("peer-id") => has_peer_id = true,
                Some("key-derivation") => agreement.derivation = Derivation::Exporter,
                Some("auth-token") => self.take_token(words.next()),
                Some("ping") => self.keepalive.ping = seconds(words.next()),
                // One time; what becomes of the client then is not the session's to decide.
                Some("ping-restart" | "ping-exit") => {
                    self.keepalive.ping_restart = seconds(words.next());
                }
                _ => {}
            }
        }
        // Wire: with a peer id and an AEAD only (wire.md section 8.2).
        if agreement.epoch_keys && (!has_peer_id || agreement.cipher.digest().is_some()) {
            return Err(LeaveReason::EpochKeys);
        }
        Ok(agreement)
    }

    /// A token that the server takes in place of the password from now on.
    fn take_token(&mut self, token: Option<&str>) {
        if let (Some(credentials), Some(token)) = (&mut self.credentials, token) {
            credentials.password = Zeroizing::new(token.to_owned());
        }
    }

    fn follow_flag(&mut self, flag: &str, agreement: &mut Agreement) -> Result<(), LeaveReason> {
        match flag {
            "tls-ekm" => agreement.derivation = Derivation::Exporter,
            "cc-exit" => agreement.control_exit = true,
            "aead-epoch" => agreement.epoch_keys = true,
            "dyn-tls-crypt" => {
                agreement.dynamic_tls_crypt = true;
                self.use_dynamic_wrapping()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing to do while the server is expected to push by itself: the timer asks.
    pub(super) fn expect_configuration(&mut self, now: Now) {
        let waiting = matches!(self.phase, Phase::Requesting(_));
        if waiting && !self.timer_is_set(Timer::PushRequest) {
            self.set_timer(Timer::PushRequest, now.monotonic + FIRST_REQUEST);
        }
    }
}

/// Whether a server's answer to our reset asks for our tls-crypt-v2 key once more.
pub(super) fn wants_key(
    wrapping: &Wrapping,
    header: &ControlHeader,
    body: &ControlBody<'_>,
) -> Result<bool, Malformed> {
    if header.opcode != Opcode::HardResetServerV2 || wrapping.sealed_key().is_none() {
        return Ok(false);
    }
    EarlyNegotiation::parse(body.payload).map(|said| said.resend_key)
}

/// Wire: 2.x asks after one second, then every five (wire.md section 10).
const FIRST_REQUEST: Duration = Duration::from_secs(1);
const NEXT_REQUEST: Duration = Duration::from_secs(5);
