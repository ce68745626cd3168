//! A login, and what can become of it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Answers, environment};
use crate::crypto::SessionToken;
use crate::crypto::tls::CertificateFacts;
use crate::node::event::{ClientTag, Text};
use crate::session::Credentials;
use crate::wire::PeerInfo;

/// A client that wants to come in, or to stay with a new key.
pub struct Login {
    /// Where it waits.
    pub at: LoginAt,
    /// Which of the session's logins it is, from 1: the KID of the management interface.
    pub login: u64,
    /// The client's number, which it keeps for the session: the CID of the management interface.
    pub client_id: u64,
    /// Whether it is in already.
    pub kind: LoginKind,
    /// Its address, and the common name of its certificate if it has one.
    pub client: ClientTag,
    /// Its user name and password, if it sent some; `client` and this are all that names it.
    pub credentials: Option<Credentials>,
    /// What it says of itself.
    pub peer_info: PeerInfo,
    /// Its certificate and those that vouch for it, its own first.
    pub certificates: Arc<[CertificateFacts]>,
    /// What is said of its own key of tls-crypt-v2, if somebody wants to know: a byte that says of which kind that is, and
    /// the words.
    pub key_metadata: Option<Arc<[u8]>>,
    /// What both ends have in common of this key's TLS session, if that is to be told (`keying-material-exporter`).
    pub keying_material: Option<Arc<Zeroizing<Vec<u8>>>>,
    /// Clients that are in at this moment.
    pub clients: usize,
    /// When its session began, in Unix seconds.
    pub since: u64,
    /// What judges are told, in the order of stock's management interface, without `n_clients`,
    /// `password` and `username`. Empty until the chain has the login.
    pub environment: Vec<(String, String)>,
}

/// A session that waits for the verdict on its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginAt {
    /// The shard that has the session.
    pub shard: u16,
    /// What the shard calls it; it never calls two logins the same.
    pub number: u64,
}

/// Whether a login is a session's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// It wants to come in.
    Connect,
    /// It is in, and has a new key.
    Reauth,
}

/// What a link makes of a login, and the chain of its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Accepted,
    /// It is not to come in.
    Refused {
        /// What the client is told, may be empty; one of the forms of wire.md section 10.3 is sent as
        /// it is.
        reason: String,
        /// What the log says.
        why: Text,
    },
    /// It is not to come in, and hears nothing: something is wrong with its certificate.
    Dropped {
        /// What the log says.
        why: Text,
    },
    /// It takes longer, and the client should know. Another verdict follows.
    Pending {
        /// So long.
        timeout: Duration,
        /// What follows `INFO_PRE,`, such as `WEB_AUTH::https://...`; may be empty.
        extra: String,
    },
}

impl Verdict {
    /// Whether the client may not come in, or stay.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Dropped { .. })
    }
}

/// A verdict, on its way to the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whose.
    pub at: LoginAt,
    /// Which login of it.
    pub login: u64,
    /// The number that the client was known by.
    pub client_id: u64,
    /// What it is.
    pub verdict: Verdict,
    /// What an accepted client is to log in with from now on, if it gets something.
    pub token: Option<SessionToken>,
}

/// A judge.
pub trait Link: Send {
    /// Begins to judge a login. The answer comes by the [`Answers`] that the link was made with, before
    /// this returns or later, from any thread. Must not wait for anything.
    fn judge(&mut self, login: &Arc<Login>);

    /// Whether it judges user names and passwords: it need not be asked about one that has shown a token for
    /// them.
    fn judges_passwords(&self) -> bool {
        true
    }

    /// Whether it is asked when all else is known to be good, codes of a second factor too.
    fn is_asked_last(&self) -> bool {
        false
    }

    /// Files by which somebody is to say later what they make of a login, by the names of their variables.
    fn files(&self, _at: LoginAt) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Nobody waits for that login any more: the client has gone, or another link refused it.
    fn forget(&mut self, at: LoginAt);

    /// A client is gone whose login was looked at, or its login is refused: by its number,
    /// [`Login::client_id`]. It may have been told before.
    fn left(&mut self, _client_id: u64) {}

    /// When [`Link::handle_timeout`] has something to do.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    fn handle_timeout(&mut self, _now: Instant) {}
}

/// How a link is made.
pub(in crate::node) type MakeLink = Box<dyn FnOnce(Answers) -> io::Result<Box<dyn Link>> + Send>;

impl Login {
    /// The user's name, if there is one.
    pub fn username(&self) -> Option<&str> {
        let credentials = self.credentials.as_ref();
        credentials.map(|credentials| credentials.username.as_str())
    }

    /// What its client is told so that it comes again in so many seconds. Wire: others than those that announce that they
    /// understand it don't come again after any AUTH_FAILED (wire.md section 10.3), and are told why.
    pub(super) fn try_again(&self, seconds: u64, why: &str) -> String {
        match self.peer_info.proto().auth_fail_temp() {
            true => format!("TEMP[backoff {seconds}]:{why}"),
            false => why.to_owned(),
        }
    }

    /// The client's number and which of its logins it is: CID and KID of the management interface.
    pub(in crate::node) const fn numbers(&self) -> (u64, u64) {
        (self.client_id, self.login)
    }

    /// What is known of it, with its user's name and without its password.
    pub(in crate::node) fn told(&self) -> Vec<(String, String)> {
        environment::with_username(self)
    }

    /// The password, or nothing.
    pub(in crate::node) fn password(&self) -> Zeroizing<String> {
        let credentials = self.credentials.as_ref();
        let password = credentials.map(|credentials| credentials.password.clone());
        password.unwrap_or_default()
    }
}

impl fmt::Debug for Login {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Login")
            .field("at", &self.at)
            .field("login", &self.login)
            .field("client_id", &self.client_id)
            .field("kind", &self.kind)
            .field("client", &self.client)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Login {
    /// The first login of anna, who has nothing that could be looked at; as shard 0 calls it by the client's number.
    pub(in crate::node) fn of_test(client_id: u64) -> Self {
        Self {
            at: LoginAt {
                shard: 0,
                number: client_id,
            },
            login: 1,
            client_id,
            kind: LoginKind::Connect,
            client: ClientTag::named(([192, 0, 2, 1], 7).into(), "anna".into()),
            credentials: None,
            peer_info: PeerInfo::default(),
            certificates: Arc::new([]),
            key_metadata: None,
            keying_material: None,
            clients: 0,
            since: 0,
            environment: Vec::new(),
        }
    }

    /// The same with a name and a password.
    pub(in crate::node) fn with_password(self, username: &str, password: &str) -> Self {
        let credentials = Some(Credentials {
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        });
        Self {
            credentials,
            ..self
        }
    }
}
