//! Logins that somebody else judges: a session waits, and the shard goes on.

use std::collections::HashMap;
use std::time::Duration;

use super::connections::{Key, Standing};
use super::{Edges, Shard};
use crate::crypto::SessionToken;
use crate::limits::{CHALLENGE_ANSWERS_MAX, COMMON_NAME_MAX, LOGINS_WAITING};
use crate::node::auth::{Departure, Judged, Login, LoginAt, LoginKind, Renewed, Verdict};
use crate::node::event::{AdmissionRefusal, ClientEvent, ClientTag, Text};
use crate::node::message::Report;
use crate::session::{Admission, ChallengeResponse, Credentials, Farewell, LeaveReason};
use crate::time::Now;

/// The logins of a shard that are not judged.
#[derive(Debug, Default)]
pub(super) struct Logins {
    waiting: HashMap<u64, Key>,
    /// The newest login of a session, and how many challenges it has answered.
    of: HashMap<Key, (u64, u32)>,
    last: u64,
    /// Clients that have a token, by their numbers.
    with_token: HashMap<u64, Key>,
}

impl Logins {
    /// A login that waits from now on, in place of an earlier one of that session; `None` if too many
    /// wait.
    fn begin(&mut self, key: Key) -> Option<u64> {
        if self.waiting.len() >= LOGINS_WAITING {
            return None;
        }
        self.last += 1;
        self.waiting.insert(self.last, key);
        self.of.insert(key, (self.last, 0));
        Some(self.last)
    }

    /// The session whose newest login that is.
    fn session(&self, number: u64) -> Option<Key> {
        self.waiting.get(&number).copied()
    }

    /// The login of a session that waits and has answered another challenge, unless it has answered too many.
    fn answers(&mut self, key: Key) -> Option<u64> {
        let (number, answered) = self.of.get_mut(&key)?;
        *answered += 1;
        (*answered <= CHALLENGE_ANSWERS_MAX).then_some(*number)
    }

    /// A session waits no longer; which login it waited with.
    fn end(&mut self, key: Key) -> Option<u64> {
        let (number, _) = self.of.remove(&key)?;
        self.waiting.remove(&number);
        Some(number)
    }
}

impl<E: Edges> Shard<E> {
    /// A client is known as far as it can be by TLS: it comes in unless somebody is to judge that.
    pub(super) fn authenticated(&mut self, key: Key, admission: Admission, now: Now) {
        if !self.network.logins.judged {
            return self.ask_admission(key, admission, None, now);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            let address = connection.tag.address;
            let name = admission.identity.common_name.as_deref().map(Text::from);
            connection.tag = ClientTag {
                address,
                common_name: name,
            };
        }
        // Wire: the name would be the client's in files and logs, so 2.6 has the same bound for both.
        let by_user = self.network.logins.username_as_common_name;
        let user = admission.credentials.as_ref().filter(|_| by_user);
        if user.is_some_and(|user| user.username.len() > COMMON_NAME_MAX) {
            return self.refuse_login(key, admission.login, "", USERNAME_TOO_LONG.into(), now);
        }
        let Some(login) = self.login(key, &admission, LoginKind::Connect) else {
            return self.turn_away(key, AdmissionRefusal::RegistryBusy, now);
        };
        self.connections
            .stand(key, Standing::Judging(Box::new(admission)));
        self.report(Report::Login(Box::new(login)));
    }

    /// A client that is in logs in with a new key.
    pub(super) fn logs_in_again(&mut self, key: Key, admission: &Admission, now: Now) {
        self.end_login(key);
        match self.login(key, admission, LoginKind::Reauth) {
            Some(login) => self.report(Report::Login(Box::new(login))),
            None => {
                if let Some(connection) = self.connections.get_mut(key) {
                    let number = admission.login;
                    connection
                        .session
                        .login_refused(now, &mut *self.random, number, "");
                }
            }
        }
    }

    /// A client that waits has answered a challenge of who judges its login.
    pub(super) fn challenge_answered(&mut self, key: Key, response: ChallengeResponse) {
        if let Some(number) = self.logins.answers(key) {
            let shard = self.surroundings.own;
            let at = LoginAt { shard, number };
            self.report(Report::ChallengeAnswered(at, response));
        }
    }

    fn login(&mut self, key: Key, admission: &Admission, kind: LoginKind) -> Option<Login> {
        let number = self.logins.begin(key)?;
        let connection = self.connections.get(key)?;
        let client_id = match &connection.standing {
            Standing::Client(client) => client.client_id,
            _ => 0,
        };
        Some(Login {
            at: LoginAt {
                shard: self.surroundings.own,
                number,
            },
            login: admission.login,
            client_id,
            kind,
            client: connection.tag.clone(),
            credentials: admission.credentials.clone(),
            peer_info: admission.peer_info.clone(),
            certificates: admission.certificates.clone(),
            key_metadata: admission.key_metadata.clone(),
            keying_material: admission.keying_material.clone(),
            clients: 0,
            since: connection.since,
            environment: Vec::new(),
        })
    }

    /// What became of a login.
    pub(super) fn judged(&mut self, judged: Judged, now: Now) {
        let Judged {
            at,
            login,
            client_id,
            verdict,
            token,
        } = judged;
        let Some(key) = self.logins.session(at.number) else {
            // It left while the verdict was on its way.
            if verdict == Verdict::Accepted {
                self.report(Report::ClientGone(Departure {
                    client_id,
                    received: 0,
                    sent: 0,
                    lasted: Duration::ZERO,
                }));
            }
            return;
        };
        match verdict {
            Verdict::Pending { timeout, extra } => {
                if let Some(connection) = self.connections.get_mut(key) {
                    let random = &mut *self.random;
                    connection
                        .session
                        .login_pending(now, random, login, timeout, &extra);
                }
            }
            Verdict::Accepted => {
                self.logins.end(key);
                self.login_accepted(key, login, client_id, now);
                if let Some(token) = token {
                    self.logins.with_token.insert(client_id, key);
                    self.give_token(key, token, now);
                }
            }
            Verdict::Refused { reason, why } => {
                self.logins.end(key);
                self.refuse_login(key, login, &reason, why, now);
            }
            Verdict::Dropped { why } => {
                self.logins.end(key);
                self.drop_login(key, why, now);
            }
        }
        self.service(key, now);
    }

    /// Tells a client that its login is refused; one that is not in does not come in.
    fn refuse_login(&mut self, key: Key, login: u64, reason: &str, why: Text, now: Now) {
        self.tell(key, ClientEvent::LoginRefused { why });
        let standing = self.connections.get(key).map(|it| &it.standing);
        if matches!(standing, Some(Standing::Meeting | Standing::Judging(_))) {
            self.connections.stand(key, Standing::Leaving);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            let random = &mut *self.random;
            connection.session.login_refused(now, random, login, reason);
        }
    }

    /// Drops a client without a word. Wire: as 2.6 does with one whose certificate is refused.
    fn drop_login(&mut self, key: Key, why: Text, now: Now) {
        self.tell(key, ClientEvent::HookFailed { line: why });
        if let Some(connection) = self.connections.get_mut(key) {
            let reason = LeaveReason::LoginRefused(String::new());
            connection.session.close(now, Farewell::Silent, reason);
        }
    }

    fn login_accepted(&mut self, key: Key, login: u64, client_id: u64, now: Now) {
        let renamed = self.network.logins.username_as_common_name;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !matches!(connection.standing, Standing::Judging(_)) {
            let username = connection.username.clone();
            connection
                .session
                .login_accepted(now, &mut *self.random, login);
            return self.tell(key, ClientEvent::LoginAccepted { username, renamed });
        }
        let Some(Standing::Judging(admission)) = self.connections.stand(key, Standing::Leaving)
        else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.judged_as = Some(client_id);
        }
        let username = admission.credentials.as_ref().map(username_of);
        self.tell(key, ClientEvent::LoginAccepted { username, renamed });
        self.ask_admission(key, *admission, Some(client_id), now);
    }

    /// A client that has a token gets a new one.
    pub(super) fn renew_token(&mut self, renewed: Renewed, now: Now) {
        if let Some(&key) = self.logins.with_token.get(&renewed.client_id) {
            self.give_token(key, renewed.token, now);
            self.service(key, now);
        }
    }

    fn give_token(&mut self, key: Key, token: SessionToken, now: Now) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.session.give_token(now, &mut *self.random, token);
        }
    }

    /// A client is gone, which may have had a token.
    pub(super) fn end_token(&mut self, client_id: u64) {
        self.logins.with_token.remove(&client_id);
    }

    /// A session is gone, and waits for no verdict.
    pub(super) fn end_login(&mut self, key: Key) {
        if let Some(number) = self.logins.end(key) {
            let shard = self.surroundings.own;
            self.report(Report::LoginGone(LoginAt { shard, number }));
        }
    }
}

/// Wire: 2.6's words, with the bound of [`COMMON_NAME_MAX`].
const USERNAME_TOO_LONG: &str = "--username-as-common name specified and username is longer than the maximum \
                                 permitted Common Name length of 64 characters";

/// The user's name, for logs and the status file.
pub(super) fn username_of(credentials: &Credentials) -> Text {
    credentials.username.as_str().into()
}
