//! Tokens in place of passwords (`auth-gen-token`): who has one need not be asked for the password again.
//!
//! Wire: wire.md section 12.1. A token is good for the user and the session that it was made for, from its
//! making for twice the time of its renewal, and never longer than its lifetime. A session's tokens have one
//! id and one beginning, which are kept here as long as the client is known to the chain.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::login::{Login, Verdict};
use crate::crypto::{SessionToken, TokenFacts};
use crate::node::settings::TokenSettings;
use crate::random::Random;

/// A server's tokens.
pub(in crate::node) struct Tokens {
    settings: TokenSettings,
    random: Box<dyn Random + Send>,
    /// By client.
    sessions: HashMap<u64, Session>,
    /// Whose token is to be made anew, in the order of time.
    due: VecDeque<(Instant, u64)>,
}

/// What the tokens of a client have in common.
struct Session {
    /// As of its first token.
    facts: TokenFacts,
    /// Where it is, and whose it is, once it is in.
    holder: Option<(u16, String)>,
}

/// A new token for a client that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The shard that has it.
    pub shard: u16,
    /// The client's number.
    pub client_id: u64,
    /// The token.
    pub token: SessionToken,
}

impl Tokens {
    /// Tokens by these rules.
    pub(in crate::node) fn new(settings: TokenSettings, random: Box<dyn Random + Send>) -> Self {
        Self {
            settings,
            random,
            sessions: HashMap::new(),
            due: VecDeque::new(),
        }
    }

    /// Looks at a login before all judges and tells them what it is (`session_state`); the verdict, if
    /// they need not be asked.
    pub(super) fn look(&mut self, login: &mut Login, unix: u64) -> Option<Verdict> {
        let username = login.username().unwrap_or_default().to_owned();
        let password = login.password();
        let is_token = SessionToken::is_meant(&password);
        let opened = self.settings.key.open(&username, &password);
        let known = self.sessions.get(&login.client_id);
        let known = known.map(|it| it.facts);
        // The tokens of one connection are all of one session.
        let facts = opened.filter(|facts| known.is_none_or(|it| it.session == facts.session));
        let expired = facts.is_some_and(|facts| self.is_expired(&facts, unix));
        let state = match facts {
            _ if !is_token => "Initial",
            None => "Invalid",
            Some(_) if expired => "Expired",
            Some(_) => "Authenticated",
        };
        let begins = known.or(facts).unwrap_or_else(|| {
            let mut session = [0; 12];
            self.random.fill(&mut session);
            TokenFacts {
                session,
                initial: unix,
                issued: unix,
            }
        });
        let session = self.sessions.entry(login.client_id).or_insert(Session {
            facts: begins,
            holder: None,
        });
        let id = facts.unwrap_or(session.facts).session_id();
        // Wire: in front of what stock tells of a login.
        let told = [("session_id", id.as_str()), ("session_state", state)];
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        login.environment.splice(..0, told);
        if !is_token || self.settings.external_auth {
            return None;
        }
        if facts.is_some() && !expired {
            return Some(Verdict::Accepted);
        }
        let (reason, what) = match expired {
            true => (EXPIRED, "auth-token from client expired"),
            false => (
                "",
                "HMAC on token from client failed, or its session is another",
            ),
        };
        Some(Verdict::Refused {
            reason: reason.to_owned(),
            why: format!("--auth-gen-token: {what} ({username})").into(),
        })
    }

    /// A login is accepted: what the client is to log in with from now on.
    pub(super) fn accepted(
        &mut self,
        login: &Login,
        unix: u64,
        now: Instant,
    ) -> Option<SessionToken> {
        let session = self.sessions.get_mut(&login.client_id)?;
        let username = login.username().unwrap_or_default();
        if session.holder.is_none() {
            session.holder = Some((login.at.shard, username.to_owned()));
            if let Some(every) = self.settings.between {
                self.due.push_back((now + every, login.client_id));
            }
        }
        let facts = TokenFacts {
            issued: unix,
            ..session.facts
        };
        Some(self.settings.key.sign(username, &facts))
    }

    /// A client is gone, or is to have no more of them.
    pub(super) fn left(&mut self, client_id: u64) {
        self.sessions.remove(&client_id);
    }

    /// When a token is to be made anew.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// The next token that is to be made anew by now.
    pub(super) fn poll(&mut self, now: Instant, unix: u64) -> Option<Renewed> {
        while self.next_timeout().is_some_and(|at| at <= now) {
            let (_, client_id) = self.due.pop_front()?;
            let session = self.sessions.get(&client_id);
            let Some(Session {
                facts,
                holder: Some((shard, username)),
            }) = session
            else {
                continue;
            };
            if let Some(every) = self.settings.between {
                self.due.push_back((now + every, client_id));
            }
            let facts = TokenFacts {
                issued: unix,
                ..*facts
            };
            return Some(Renewed {
                shard: *shard,
                client_id,
                token: self.settings.key.sign(username, &facts),
            });
        }
        None
    }

    fn is_expired(&self, facts: &TokenFacts, unix: u64) -> bool {
        let seconds = |it: Duration| it.as_secs();
        let good_until = facts
            .issued
            .saturating_add(2 * seconds(self.settings.renewal));
        let lives_until = self.settings.lifetime;
        let lives_until = lives_until.map(|it| facts.initial.saturating_add(seconds(it)));
        !(facts.issued..good_until).contains(&unix)
            || facts.issued < facts.initial
            || lives_until.is_some_and(|it| unix > it)
    }
}

/// Wire: what the client of such a token is told.
const EXPIRED: &str = "SESSION: token expired";

#[cfg(test)]
pub(super) mod tests;
