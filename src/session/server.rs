//! What only the server's side of a session does: judge the client, wait for its admission, tell
//! it its configuration.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::agreement::{Agreement, Capabilities, Derivation, choose_cipher};
use super::credentials::Credentials;
use super::event::{
    Admission, ChallengeResponse, ExitChannel, Grant, LeaveReason, PeerIdentity, SessionEvent,
};
use super::keys::random_bytes;
use super::login::Unjudged;
use super::negotiation::{KeySource, Stage};
use super::push;
use super::state::{Phase, Session};
use crate::random::Random;
use crate::time::Now;
use crate::wire::{ClientKeyMessage, ControlMessage, PeerInfo, ServerKeyMessage, options_compress};

/// A client that waits to be admitted.
pub(super) struct Candidate {
    /// What it is told while it waits, once it listens.
    pub(super) meanwhile: Vec<String>,
    agreement: Agreement,
    source: KeySource,
    capabilities: Capabilities,
    asked: bool,
}

impl Candidate {
    /// Whether it takes the time that `AUTH_PENDING` can name.
    pub(super) fn knows_pending(&self) -> bool {
        self.capabilities.proto.auth_pending_keyword()
    }
}

/// What a client is told as soon as it listens.
pub(super) struct Answer {
    messages: Vec<String>,
    verdict: Verdict,
    /// Whether the client has asked, or need not ask.
    asked: bool,
}

enum Verdict {
    Admitted(Agreement),
    Refused(LeaveReason),
}

impl Session {
    /// Lets a client in that reported itself with [`SessionEvent::Authenticated`]. Its first keys
    /// come out at once; it is connected when it has been sent its configuration.
    pub fn admit(&mut self, now: Now, random: &mut dyn Random, grant: &Grant) {
        // The session may have ended while the decision was made.
        if !matches!(self.phase, Phase::Admitting(_)) {
            return;
        }
        let Phase::Admitting(candidate) = std::mem::replace(&mut self.phase, Phase::Meeting) else {
            return;
        };
        let Candidate {
            mut agreement,
            source,
            capabilities,
            asked,
            ..
        } = *candidate;
        if agreement.derivation == Derivation::Exporter && !self.can_export() {
            agreement.derivation = Derivation::Prf;
        }
        agreement.dynamic_tls_crypt = capabilities.proto.dynamic_tls_crypt() && self.can_export();
        agreement.push_update &= grant.push.is_none();
        self.keepalive = grant.keepalive.unwrap_or(self.keepalive);
        let prepared = self.prepare(&agreement, &source, &capabilities, grant);
        match prepared {
            Ok(messages) => {
                let verdict = Verdict::Admitted(agreement);
                self.phase = Phase::Answering(Answer {
                    messages,
                    verdict,
                    asked,
                });
            }
            Err(reason) => return self.leave(now, reason),
        }
        self.drive(now, random);
    }

    /// Turns such a client away for now: it may try again. It is told `reason` if it understands
    /// that.
    pub fn refuse(&mut self, now: Now, random: &mut dyn Random, reason: &'static str) {
        if !matches!(self.phase, Phase::Admitting(_)) {
            return;
        }
        let leave = LeaveReason::Refused(reason);
        match &self.phase {
            // Wire: to others any AUTH_FAILED means that their credentials are bad, and that they
            // should not come again (wire.md section 10.3). Silence makes them try again.
            Phase::Admitting(candidate) if !candidate.capabilities.proto.auth_fail_temp() => {
                self.leave(now, leave);
            }
            _ => self.turn_away(&format!("TEMP[backoff {REFUSED_BACKOFF}]:{reason}"), leave),
        }
        self.drive(now, random);
    }

    /// Turns such a client away for good: it is told that its login failed.
    pub fn reject(&mut self, now: Now, random: &mut dyn Random, reason: &'static str) {
        if matches!(self.phase, Phase::Admitting(_)) {
            self.tell_verdict(AUTH_FAILED.to_owned(), LeaveReason::Refused(reason));
            self.drive(now, random);
        }
    }

    fn turn_away(&mut self, reason: &str, leave: LeaveReason) {
        self.tell_verdict(format!("{AUTH_FAILED},{reason}"), leave);
    }

    pub(super) fn tell_verdict(&mut self, message: String, leave: LeaveReason) {
        let verdict = Verdict::Refused(leave);
        self.phase = Phase::Answering(Answer {
            messages: vec![message],
            verdict,
            asked: true,
        });
    }

    /// Makes keys and wrappings; the receiving side must be ready before the client knows.
    fn prepare(
        &mut self,
        agreement: &Agreement,
        source: &KeySource,
        capabilities: &Capabilities,
        grant: &Grant,
    ) -> Result<Vec<String>, LeaveReason> {
        self.derive_keys(agreement, source)?;
        if agreement.dynamic_tls_crypt {
            self.use_dynamic_wrapping()?;
        }
        let reply = push::reply(
            &self.settings,
            agreement,
            capabilities,
            grant,
            self.token.as_ref(),
        );
        self.token = None;
        reply
            .map(|reply| reply.messages())
            .map_err(|_| LeaveReason::Refused("unusable push option"))
    }

    /// The client's key message: the first one says who and what it is, later ones must agree.
    pub(super) fn client_key_message(
        &mut self,
        _now: Now,
        random: &mut dyn Random,
        message: &[u8],
    ) -> Result<(), LeaveReason> {
        let client = ClientKeyMessage::parse(message).map_err(LeaveReason::KeyMessage)?;
        let credentials = self.credentials_of(&client);
        let identity = self.identity(credentials.as_ref())?;
        if let Phase::Connected(agreement) = &self.phase {
            identity.must_be(&agreement.identity)?;
            if self.lacks_credentials(credentials.as_ref()) {
                return Err(LeaveReason::NoCredentials);
            }
        }
        let (random1, random2) = (random_bytes(random), random_bytes(random));
        let options = self.settings.options_string.clone();
        let server = ServerKeyMessage {
            random1,
            random2,
            options,
        };
        let mut record = Vec::new();
        server.emit(&mut record).map_err(LeaveReason::KeyMessage)?;
        self.current.send_message(&record)?;
        self.current.stage = Stage::Exchanged;
        self.report_secured();
        let source = KeySource {
            client: Box::new(client),
            server,
        };
        self.logins += 1;
        if let Phase::Connected(agreement) = &self.phase {
            let agreement = agreement.clone();
            if self.settings.login.is_none() {
                return self.derive_keys(&agreement, &source);
            }
            self.unjudged = Some(Unjudged::Waiting(self.make_keys(&agreement, &source)?));
            let admission = self.admission(identity, &source.client, credentials);
            self.emit(SessionEvent::LoginAgain(Box::new(admission)));
            return Ok(());
        }
        self.first_exchange(identity, source, credentials);
        Ok(())
    }

    fn first_exchange(
        &mut self,
        identity: PeerIdentity,
        source: KeySource,
        credentials: Option<Credentials>,
    ) {
        if self.lacks_credentials(credentials.as_ref()) {
            return self.tell_verdict(AUTH_FAILED.to_owned(), LeaveReason::NoCredentials);
        }
        let peer_info = PeerInfo::parse(&source.client.peer_info);
        let cipher = match choose_cipher(&self.settings.ciphers, &peer_info, &source.client.options)
        {
            Ok(cipher) => cipher,
            Err(none) => {
                let reason = LeaveReason::NoCommonCipher(none.offered);
                return self.turn_away(NO_SHARED_CIPHER, reason);
            }
        };
        let proto = peer_info.proto();
        let derivation = if proto.tls_key_export() {
            Derivation::Exporter
        } else {
            Derivation::Prf
        };
        let agreement = Agreement {
            identity: identity.clone(),
            cipher,
            derivation,
            control_exit: proto.cc_exit_notify(),
            // Decided when the client is admitted.
            dynamic_tls_crypt: false,
            // Wire: with a peer id and an AEAD only (wire.md section 8.2).
            epoch_keys: proto.data_epoch() && proto.data_v2() && cipher.digest().is_none(),
            push_update: proto.push_update(),
        };
        let admission = self.admission(identity, &source.client, credentials);
        let capabilities = Capabilities {
            proto,
            negotiates_cipher: peer_info.ciphers().take_push(),
            tun_mtu_max: peer_info.mtu(),
        };
        let asked = proto.request_push();
        self.phase = Phase::Admitting(Box::new(Candidate {
            meanwhile: Vec::new(),
            agreement,
            source,
            capabilities,
            asked,
        }));
        self.emit(SessionEvent::Authenticated(Box::new(admission)));
    }

    /// What the owner of the session hears of a login.
    fn admission(
        &self,
        identity: PeerIdentity,
        client: &ClientKeyMessage,
        credentials: Option<Credentials>,
    ) -> Admission {
        let certificates = self.current.tls.peer();
        Admission {
            identity,
            peer_info: PeerInfo::parse(&client.peer_info),
            framed: options_compress(&client.options),
            certificates: certificates
                .map(|it| Arc::clone(&it.facts))
                .unwrap_or_default(),
            key_metadata: self.wrap.wrapping().key_metadata(),
            keying_material: self.keying_material().map(Arc::new),
            credentials,
            login: self.logins,
        }
    }

    /// What the owner of the session wants to know of the TLS session. Source: RFC 5705, without a context.
    fn keying_material(&self) -> Option<Zeroizing<Vec<u8>>> {
        let wanted = self.settings.login.as_ref()?.exporter.as_ref()?;
        let mut material = Zeroizing::new(vec![0; wanted.length]);
        let exported = self.current.tls.export(&wanted.label, &mut material);
        exported.is_ok().then_some(material)
    }

    /// A text message of the client.
    pub(super) fn server_text(&mut self, now: Now, text: &ControlMessage<'_>) {
        match text {
            ControlMessage::PushRequest => match &mut self.phase {
                Phase::Admitting(candidate) => candidate.asked = true,
                Phase::Answering(answer) => answer.asked = true,
                // Sent already, and reliably.
                _ => {}
            },
            ControlMessage::ChallengeResponse(response) if self.awaits_verdict() => {
                let response = ChallengeResponse(Zeroizing::new((*response).to_owned()));
                self.emit(SessionEvent::ChallengeAnswered(response));
            }
            ControlMessage::Exit => self.leave(now, LeaveReason::RemoteExit(ExitChannel::Control)),
            _ => {}
        }
    }

    /// Tells the client the verdict on it, once it listens and asks.
    pub(super) fn answer(&mut self, now: Now, random: &mut dyn Random) -> Result<(), LeaveReason> {
        if let Phase::Admitting(candidate) = &mut self.phase {
            let meanwhile = std::mem::take(&mut candidate.meanwhile);
            return self.say_meanwhile(meanwhile);
        }
        if !matches!(&self.phase, Phase::Answering(answer) if answer.asked) {
            return Ok(());
        }
        let Phase::Answering(answer) = std::mem::replace(&mut self.phase, Phase::Meeting) else {
            return Ok(());
        };
        for message in &answer.messages {
            let mut record = message.clone().into_bytes();
            record.push(0);
            self.current.send_message(&record)?;
        }
        match answer.verdict {
            Verdict::Admitted(agreement) => {
                self.emit(SessionEvent::Promoted(self.current.key_id));
                self.emit(SessionEvent::Pushed(answer.messages));
                self.connected(now, random, agreement);
            }
            Verdict::Refused(reason) => self.leave(now, reason),
        }
        Ok(())
    }
}

impl Session {
    /// Who the peer of the current TLS connection is.
    pub(super) fn identity(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<PeerIdentity, LeaveReason> {
        // TLS is established only with a verified certificate, unless clients may come without one.
        let certificate = self.current.tls.peer();
        if certificate.is_none() && !self.asks_credentials() {
            return Err(LeaveReason::Keys);
        }
        Ok(PeerIdentity {
            common_name: certificate.map(|it| it.common_name.clone()),
            fingerprint: certificate.map(|it| it.fingerprint),
            username: credentials.map(|it| it.username.clone()),
        })
    }

    pub(super) fn report_secured(&mut self) {
        let (certificate, negotiated) = (self.current.tls.peer(), self.current.tls.negotiated());
        let certificate = certificate.cloned();
        if let Some(negotiated) = negotiated {
            self.emit(SessionEvent::Secured {
                certificate,
                negotiated,
            });
        }
    }
}

impl PeerIdentity {
    /// Wire: name, certificate and user are locked for the session (wire.md section 5).
    pub(super) fn must_be(&self, before: &Self) -> Result<(), LeaveReason> {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "UNDEF".to_owned());
        if self == before {
            return Ok(());
        }
        if self.fingerprint == before.fingerprint && self.common_name == before.common_name {
            return Err(LeaveReason::UsernameChanged {
                before: name(&before.username),
                after: name(&self.username),
            });
        }
        Err(LeaveReason::IdentityChanged {
            before: name(&before.common_name),
            after: name(&self.common_name),
        })
    }
}

/// How a client is told that it may not come in.
pub(super) const AUTH_FAILED: &str = "AUTH_FAILED";

/// Seconds after which a client that found no place may try again.
const REFUSED_BACKOFF: u32 = 10;

/// The words that other tools look for. Wire: wire.md section 10.3.
const NO_SHARED_CIPHER: &str = "Data channel cipher negotiation failed (no shared cipher)";
