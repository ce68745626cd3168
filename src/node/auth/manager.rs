//! Who is connected to the management interface: it judges logins (`management-client-auth`), and hears of clients
//! that come and go. Wire: wire.md section 17.2.
//!
//! The logins that it judges wait with it; here they are told to it, and taken back.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use ipnet::IpNet;

use super::Answers;
use super::login::{Link, Login, LoginAt, Verdict};
use crate::node::settings::ProfileLines;
use crate::session::ChallengeResponse;

/// What the management interface is told of clients, and of the device, by those who know the variables.
#[derive(Debug)]
pub(in crate::node) enum ClientNews {
    /// A login waits for its word.
    Asked(AskedLogin),
    /// Nobody waits for that word any more.
    Forgotten(LoginAt),
    /// A client whose login is being judged has answered a challenge.
    Responded(Arc<Login>, ChallengeResponse),
    /// An address or a network leads to a client.
    Addressed {
        /// Its number.
        client_id: u64,
        /// What leads to it.
        network: IpNet,
        /// Whether it is its own address, and not that of a network behind it.
        primary: bool,
    },
    /// A client is in.
    Established {
        /// Its number.
        client_id: u64,
        /// What is known of it.
        environment: Vec<(String, String)>,
    },
    /// A client is gone whose login was accepted.
    Gone {
        /// Its number.
        client_id: u64,
        /// What is known of it, if it was in.
        environment: Option<Vec<(String, String)>>,
    },
    /// The device is up, or is to be closed.
    Device {
        /// Which of the two.
        up: bool,
        /// What scripts for it are told.
        environment: Vec<(String, String)>,
    },
}

/// A login that waits for the word of who is connected to the management interface.
#[derive(Debug)]
pub(in crate::node) struct AskedLogin {
    login: Arc<Login>,
    answers: Answers,
}

impl AskedLogin {
    /// The login.
    pub(in crate::node) fn login(&self) -> &Login {
        &self.login
    }

    /// Lets the client in, with lines as those of its file.
    pub(in crate::node) fn accept(self, lines: String) {
        let lines = (!lines.trim().is_empty()).then(|| ProfileLines {
            source: "client-auth of the management interface".to_owned(),
            text: lines,
        });
        let Self { login, answers } = self;
        answers.accept(login.at, login.login, lines);
    }

    /// Refuses the client, for what the log is told and with what the client is told.
    pub(in crate::node) fn refuse(self, why: &str, reason: String) {
        let Self { login, answers } = self;
        let shown = if reason.is_empty() { "[NULL]" } else { &reason };
        // Wire: 2.6's words.
        let why = format!("connection rejected: {why}, CLI:{shown}");
        let why = why.as_str().into();
        answers.answer(login.at, login.login, Verdict::Refused { reason, why });
    }

    /// Has the client told that it takes so long, and with this.
    pub(in crate::node) fn delay(&self, timeout: Duration, extra: String) {
        let (at, login) = (self.login.at, self.login.login);
        let pending = Verdict::Pending { timeout, extra };
        self.answers.answer(at, login, pending);
    }
}

/// The judge.
pub(in crate::node) struct Manager {
    news: Sender<ClientNews>,
    answers: Answers,
}

impl Manager {
    /// One that tells this way whom it is asked about.
    pub(in crate::node) const fn new(news: Sender<ClientNews>, answers: Answers) -> Self {
        Self { news, answers }
    }
}

impl Link for Manager {
    fn judge(&mut self, login: &Arc<Login>) {
        let asked = AskedLogin {
            login: Arc::clone(login),
            answers: self.answers.clone(),
        };
        // The thread of the management interface ends behind this one.
        let _nobody_listens = self.news.send(ClientNews::Asked(asked));
    }

    fn is_asked_last(&self) -> bool {
        true
    }

    fn forget(&mut self, at: LoginAt) {
        let _nobody_listens = self.news.send(ClientNews::Forgotten(at));
    }
}

#[cfg(test)]
impl AskedLogin {
    pub(in crate::node) fn shared(&self) -> Arc<Login> {
        Arc::clone(&self.login)
    }
}

#[cfg(test)]
pub(in crate::node) mod tests {
    use super::*;
    use crate::node::auth::{LoginKind, Message};
    use crate::node::event::ClientTag;
    use crate::wire::PeerInfo;

    /// A login of alice's that waits, and what becomes of it.
    pub(in crate::node) fn asked(
        client_id: u64,
        login: u64,
        environment: Vec<(String, String)>,
    ) -> (
        AskedLogin,
        impl FnMut() -> Option<(Verdict, Option<ProfileLines>)>,
    ) {
        let (messages, heard) = crossbeam::channel::unbounded();
        let kind = match login {
            1 => LoginKind::Connect,
            _ => LoginKind::Reauth,
        };
        let login = Login {
            at: LoginAt {
                shard: 0,
                number: 1000 * client_id + login,
            },
            login,
            kind,
            client: ClientTag::named(([192, 0, 2, 1], 7).into(), "alice".into()),
            peer_info: PeerInfo::parse("IV_VER=2.6.14\nIV_PLAT=linux\n"),
            environment,
            ..Login::of_test(client_id).with_password("alice", "secret")
        };
        let answers = Answers { messages, link: 0 };
        let login = Arc::new(login);
        let answer = move || match heard.try_recv().ok()? {
            Message::Answered { answer, lines, .. } => Some((answer, lines)),
            other => panic!("{other:?}"),
        };
        (AskedLogin { login, answers }, answer)
    }
}
