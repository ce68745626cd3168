//! A second factor beside the password (`ringway-totp-file`), on top of whoever judges that. Wire: a client gives its code with
//! the password, `SCRV1:base64(password):base64(code)` (`static-challenge`), or is asked for it when its password is right, by
//! `AUTH_FAILED,CRV1:...`, and comes again with `CRV1::state::code` in place of the password, which is kept until then and
//! looked at once more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::login::{Login, LoginKind, Verdict};
use crate::limits::CHALLENGES_OPEN;
use crate::node::logins::{Followed, SecretFile};
use crate::random::Random;

/// Who has which secret, and who has been asked for a code.
pub(in crate::node) struct Codes {
    secrets: Followed<SecretFile>,
    random: Box<dyn Random + Send>,
    open: HashMap<String, Challenge>,
    /// Clients that came in by an answer to a challenge.
    answered: HashMap<u64, Answered>,
    /// The step of the newest code of a name that was good.
    used: HashMap<String, u64>,
}

/// A user whose password was right, and who is to give a code.
struct Challenge {
    username: String,
    password: Zeroizing<String>,
    until: Instant,
}

/// What a client sent in place of its password, which it sends again with each new key, and the password.
struct Answered {
    sent: Zeroizing<String>,
    password: Zeroizing<String>,
}

/// What a login brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Factor {
    /// A password alone.
    Missing,
    /// This code, beside a password.
    Code(Zeroizing<String>),
    /// What was good when the client came in.
    Again,
    /// An answer to a challenge that is not open.
    Unasked,
}

impl Codes {
    pub(in crate::node) fn new(
        secrets: Followed<SecretFile>,
        random: Box<dyn Random + Send>,
    ) -> Self {
        Self {
            secrets,
            random,
            open: HashMap::new(),
            answered: HashMap::new(),
            used: HashMap::new(),
        }
    }

    /// Takes the code out of what a login sends as its password. Behind that its password is the one that judges know.
    pub(super) fn take(&mut self, login: &mut Login, now: Instant) -> Factor {
        let Some(credentials) = &mut login.credentials else {
            return Factor::Missing;
        };
        if let Some((password, code)) = both(&credentials.password) {
            credentials.password = password;
            return Factor::Code(code);
        }
        let sent = credentials.password.clone();
        let Some((state, code)) = sent
            .strip_prefix("CRV1::")
            .and_then(|it| it.split_once("::"))
        else {
            return Factor::Missing;
        };
        if login.kind == LoginKind::Reauth {
            // Name and certificate of a session are the same for its life.
            let answered = self.answered.get(&login.client_id);
            let is_same = |it: &&Answered| bool::from(it.sent.as_bytes().ct_eq(sent.as_bytes()));
            return match answered.filter(is_same) {
                Some(answered) => {
                    credentials.password = answered.password.clone();
                    Factor::Again
                }
                None => Factor::Unasked,
            };
        }
        let challenge = self.open.remove(state);
        let is_its_own = |it: &Challenge| it.username == credentials.username && it.until > now;
        let Some(Challenge { password, .. }) = challenge.filter(is_its_own) else {
            return Factor::Unasked;
        };
        credentials.password = password.clone();
        let answered = Answered {
            sent: sent.clone(),
            password,
        };
        self.answered.insert(login.client_id, answered);
        Factor::Code(Zeroizing::new(code.to_owned()))
    }

    /// Looks at the code of a login that is accepted otherwise.
    pub(super) fn judge(
        &mut self,
        login: &Login,
        factor: &Factor,
        unix: u64,
        now: Instant,
    ) -> Verdict {
        let username = login.username().unwrap_or_default();
        // A code is good once, and clients send the same words with each new key.
        if login.kind == LoginKind::Reauth {
            return Verdict::Accepted;
        }
        let secrets = self.secrets.now();
        let Some(secret) = secrets.of(username) else {
            return refused("there is no secret of that name");
        };
        match factor {
            Factor::Code(code) => {
                let used = self.used.get(username).copied();
                match secret.verify(code, unix, used) {
                    Some(step) => {
                        self.used.insert(username.to_owned(), step);
                        Verdict::Accepted
                    }
                    None => refused("wrong code"),
                }
            }
            Factor::Missing => self.ask(login, now),
            Factor::Again | Factor::Unasked => refused("no code"),
        }
    }

    /// A client is gone.
    pub(super) fn left(&mut self, client_id: u64) {
        self.answered.remove(&client_id);
    }

    /// Asks for the code. The client is refused for that, and comes again.
    fn ask(&mut self, login: &Login, now: Instant) -> Verdict {
        let username = login.username().unwrap_or_default();
        if self.open.len() >= CHALLENGES_OPEN {
            self.open.retain(|_, challenge| challenge.until > now);
        }
        if self.open.len() >= CHALLENGES_OPEN {
            return refused("too many users have been asked for a code");
        }
        let mut state = [0; 16];
        self.random.fill(&mut state);
        let state = HEXLOWER.encode(&state);
        let name = BASE64.encode(username.as_bytes());
        let reason = format!("{CHALLENGE}R,E:{state}:{name}:{QUESTION}");
        let challenge = Challenge {
            username: username.to_owned(),
            password: login.password(),
            until: now + PATIENCE,
        };
        self.open.insert(state, challenge);
        Verdict::Refused {
            reason,
            why: "ringway-totp-file: asked for a code".into(),
        }
    }
}

/// Password and code of a static challenge.
fn both(sent: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let (password, code) = sent.strip_prefix("SCRV1:")?.split_once(':')?;
    let text = |it: &str| {
        let bytes = Zeroizing::new(BASE64.decode(it.as_bytes()).ok()?);
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(Zeroizing::new(text.to_owned()))
    };
    Some((text(password)?, text(code)?))
}

/// Whether a client is refused for now, and has done nothing wrong: it is asked something, or is to come again.
pub(super) fn is_for_now(verdict: &Verdict) -> bool {
    let for_now = [CHALLENGE, "TEMP"];
    matches!(verdict, Verdict::Refused { reason, .. } if for_now.iter().any(|it| reason.starts_with(it)))
}

fn refused(why: &str) -> Verdict {
    Verdict::Refused {
        reason: String::new(),
        why: format!("ringway-totp-file: {why}").as_str().into(),
    }
}

const CHALLENGE: &str = "CRV1:";
const QUESTION: &str = "Code of your authenticator";
/// How long a user may take to type a code.
const PATIENCE: Duration = Duration::from_secs(180);

#[cfg(test)]
pub(super) mod tests;
