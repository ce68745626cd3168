//! The login of a client as its server's session sees it: what it brings, and what becomes of it.
//! Who judges it is somebody else, and takes its time.

use std::time::Duration;

use super::credentials::Credentials;
use super::event::{LeaveReason, SessionEvent};
use super::push;
use super::server::AUTH_FAILED;
use super::settings::CredentialRule;
use super::state::{Phase, Session};
use super::timer::Timer;
use crate::crypto::{DataKeys, SessionToken};
use crate::limits::AUTH_REASON_MAX;
use crate::random::Random;
use crate::time::Now;
use crate::wire::ClientKeyMessage;

/// A later generation whose login is not accepted (yet).
pub(super) enum Unjudged {
    /// Nobody has said anything; these are its keys.
    Waiting(Box<DataKeys>),
    /// It is refused. Wire: the generation before lives on to its end, and then the client is told
    /// why (wire.md section 17.2).
    Refused(String),
}

impl Session {
    /// The later generation that came with that login is accepted: its keys come out.
    pub fn login_accepted(&mut self, now: Now, random: &mut dyn Random, login: u64) {
        if login != self.logins || !matches!(self.unjudged, Some(Unjudged::Waiting(_))) {
            return;
        }
        if let Some(Unjudged::Waiting(keys)) = self.unjudged.take() {
            let key_id = self.current.key_id;
            self.emit(SessionEvent::Keys { key_id, keys });
            let held_back = self.previous.is_some() || self.timer_is_set(Timer::Promote);
            if !held_back {
                self.emit(SessionEvent::Promoted(key_id));
            }
        }
        self.drive(now, random);
    }

    /// Whether somebody judges its login.
    pub(super) const fn awaits_verdict(&self) -> bool {
        matches!(self.phase, Phase::Admitting(_))
            || matches!(self.unjudged, Some(Unjudged::Waiting(_)))
    }

    /// That login is refused, for a reason that the client is told; it may be empty. A client that is
    /// not in does not come in.
    pub fn login_refused(&mut self, now: Now, random: &mut dyn Random, login: u64, reason: &str) {
        if login != self.logins {
            return;
        }
        let reason = tellable(reason);
        if matches!(self.phase, Phase::Admitting(_)) {
            self.tell_verdict(auth_failed(&reason), LeaveReason::LoginRefused(reason));
        } else if matches!(self.unjudged, Some(Unjudged::Waiting(_))) {
            self.emit(SessionEvent::RenegotiationFailed(
                LeaveReason::LoginRefused(reason.clone()),
            ));
            self.unjudged = Some(Unjudged::Refused(reason));
        }
        self.drive(now, random);
    }

    /// The judge of a first login needs so long, and has something for the user or the user's program
    /// to say, which may be empty. Wire: wire.md section 10.4.
    pub fn login_pending(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        login: u64,
        wanted: Duration,
        extra: &str,
    ) {
        if login != self.logins {
            return;
        }
        let timing = self.settings.timing;
        let half_life = timing.renegotiation.map(|reneg| reneg.latest / 2);
        let longest = half_life.unwrap_or(Duration::MAX).max(timing.hand_window);
        let used = now.monotonic.since(self.current.started);
        let granted = wanted.min(longest.saturating_sub(used));
        let Phase::Admitting(candidate) = &mut self.phase else {
            return;
        };
        let pending = match candidate.knows_pending() {
            true => format!("AUTH_PENDING,timeout {}", granted.as_secs()),
            false => "AUTH_PENDING".to_owned(),
        };
        candidate.meanwhile.push(pending);
        if !extra.is_empty() {
            candidate
                .meanwhile
                .push(format!("INFO_PRE,{}", tellable(extra)));
        }
        let until = now.monotonic + granted;
        if self
            .timers
            .at(Timer::HandWindow)
            .is_none_or(|at| at < until)
        {
            self.timers.set(Timer::HandWindow, until);
        }
        self.drive(now, random);
    }

    /// The client is to log in with this from now on: it is told with its configuration, or by itself once
    /// it has that. Wire: a `PUSH_REPLY` with this option alone (wire.md section 12.1).
    pub fn give_token(&mut self, now: Now, random: &mut dyn Random, token: SessionToken) {
        match self.phase {
            Phase::Connected(_) => {
                let option = push::auth_token(&token);
                self.unsaid.push(format!("PUSH_REPLY,{option}"));
                self.drive(now, random);
            }
            Phase::Admitting(_) => self.token = Some(token),
            _ => {}
        }
    }

    /// Says what a client is to hear while it waits.
    pub(super) fn say_meanwhile(&mut self, messages: Vec<String>) -> Result<(), LeaveReason> {
        for message in &messages {
            let mut record = message.clone().into_bytes();
            record.push(0);
            self.current.send_message(&record)?;
        }
        if !messages.is_empty() {
            self.emit(SessionEvent::Pushed(messages));
        }
        Ok(())
    }

    /// What the client logs in with, where that is looked at.
    pub(super) fn credentials_of(&self, client: &ClientKeyMessage) -> Option<Credentials> {
        let given = !client.username.is_empty() || !client.password.is_empty();
        (given && self.asks_credentials()).then(|| Credentials {
            username: client.username.clone(),
            password: client.password.clone(),
        })
    }

    /// Whether a login is without what is asked for.
    pub(super) fn lacks_credentials(&self, credentials: Option<&Credentials>) -> bool {
        credentials.is_none() && self.credential_rule() == CredentialRule::Required
    }

    /// Whether somebody looks at user names and passwords.
    pub(super) fn asks_credentials(&self) -> bool {
        self.credential_rule() != CredentialRule::Unasked
    }

    fn credential_rule(&self) -> CredentialRule {
        let rules = self.settings.login.as_ref();
        rules.map_or(CredentialRule::Unasked, |rules| rules.credentials)
    }

    /// Sends with the current generation from now on, if its login is accepted.
    pub(super) fn promote_judged(&mut self) {
        if self.unjudged.is_none() {
            self.emit(SessionEvent::Promoted(self.current.key_id));
        }
    }

    /// The old generation is over, and the new one was never accepted.
    pub(super) fn never_accepted(&mut self, now: Now, unjudged: Unjudged) {
        let Unjudged::Refused(reason) = unjudged else {
            return self.leave(now, LeaveReason::KeyExpired);
        };
        let mut record = auth_failed(&reason).into_bytes();
        record.push(0);
        // A connection that can't take it any more is left without a word.
        let _told = self.current.send_message(&record);
        self.leave(now, LeaveReason::LoginRefused(reason));
    }
}

fn auth_failed(reason: &str) -> String {
    match reason.is_empty() {
        true => AUTH_FAILED.to_owned(),
        false => format!("{AUTH_FAILED},{reason}"),
    }
}

/// What fits into a text message: without control characters, and not too long.
fn tellable(text: &str) -> String {
    let mut told = String::new();
    for character in text.trim_end_matches(['\r', '\n']).chars() {
        let character = if character.is_control() {
            '_'
        } else {
            character
        };
        if told.len() + character.len_utf8() > AUTH_REASON_MAX {
            break;
        }
        told.push(character);
    }
    told
}
