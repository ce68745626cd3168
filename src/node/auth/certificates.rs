//! The link that has plug-ins (`OPENVPN_PLUGIN_TLS_VERIFY`) and a script (`tls-verify`) look at a client's certificates, from
//! the authority's to its own, with each new key: who has lost a right is found out by then. Wire: arguments and answers are
//! those of 2.6, which asks in the middle of the handshake; here the handshake is over. Either way a client that is refused
//! hears nothing over UDP, and begins anew when its patience is at an end; one that is in is dropped at once.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Answers;
use super::helper::ScriptEnd;
use super::login::{Link, Login, LoginAt, Verdict};
use super::runner::Runner;
use crate::node::plugins::{Hook, Outcome, PluginHost, Question};
use crate::node::settings::ScriptCommand;

/// Who is asked, and by whom.
pub(in crate::node) struct CertificateCheck(Arc<Check>);

struct Check {
    script: Option<(ScriptCommand, Arc<Runner>)>,
    plugins: Option<Arc<PluginHost>>,
    patience: Duration,
    answers: Answers,
}

impl CertificateCheck {
    /// These plug-ins, then this script; each may take so long for each certificate.
    pub(in crate::node) fn new(
        script: Option<(ScriptCommand, Arc<Runner>)>,
        plugins: Option<Arc<PluginHost>>,
        patience: Duration,
        answers: Answers,
    ) -> Self {
        Self(Arc::new(Check {
            script,
            plugins,
            patience,
            answers,
        }))
    }
}

impl Link for CertificateCheck {
    fn judge(&mut self, login: &Arc<Login>) {
        self.0.ask(Arc::clone(login), login.certificates.len());
    }

    fn judges_passwords(&self) -> bool {
        false
    }

    /// What the script says of it is not heard any more.
    fn forget(&mut self, _: LoginAt) {}

    fn left(&mut self, client_id: u64) {
        if let Some(host) = &self.0.plugins {
            host.forget(client_id);
        }
    }
}

impl Check {
    /// Asks about the certificates that are not known to be good: those of the lowest depths, so many.
    fn ask(self: &Arc<Self>, login: Arc<Login>, left: usize) {
        let Some(depth) = left.checked_sub(1) else {
            return self
                .answers
                .answer(login.at, login.login, Verdict::Accepted);
        };
        let Some(host) = &self.plugins else {
            return self.ask_script(login, depth);
        };
        let variables = login.environment.iter();
        let question = Question::new(Hook::TlsVerify, self.patience)
            .about(login.client_id)
            .with_arguments(arguments(&login, depth))
            .knowing(variables.map(|(name, value)| (name, value)));
        let check = Arc::clone(self);
        let _question = host.ask(question, move |answer| match answer {
            Ok((Outcome::Success, _)) => check.ask_script(login, depth),
            Ok(_) => check.drop_it(&login, "PLUGIN", depth, "it has said no"),
            Err(none) => check.drop_it(&login, "PLUGIN", depth, &none.to_string()),
        });
    }

    fn ask_script(self: &Arc<Self>, login: Arc<Login>, depth: usize) {
        let Some((script, runner)) = &self.script else {
            return self.ask(login, depth);
        };
        let words = script.followed_by(arguments(&login, depth));
        let mut environment = Zeroizing::new(login.environment.clone());
        environment.push(("script_type".to_owned(), "tls-verify".to_owned()));
        let check = Arc::clone(self);
        let when_ended = move |end| match end {
            ScriptEnd::Exited(0) => check.ask(login, depth),
            end => check.drop_it(&login, "SCRIPT", depth, &end.told()),
        };
        runner.run(words, environment, self.patience, Box::new(when_ended));
    }

    fn drop_it(&self, login: &Login, who: &str, depth: usize, why: &str) {
        let subject = subject(login, depth);
        let why = format!("VERIFY {who} ERROR: depth={depth}, {subject} ({why})").into();
        let dropped = Verdict::Dropped { why };
        self.answers.answer(login.at, login.login, dropped);
    }
}

fn arguments(login: &Login, depth: usize) -> Vec<String> {
    vec![depth.to_string(), subject(login, depth)]
}

fn subject(login: &Login, depth: usize) -> String {
    let certificate = login.certificates.get(depth);
    certificate.map(|it| it.subject.clone()).unwrap_or_default()
}
