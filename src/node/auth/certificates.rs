//! The link that has a script look at a client's certificates (`tls-verify`), from the authority's to its own. Wire:
//! arguments and exit status are those of 2.6, which asks in the middle of the handshake; here the handshake is over. Either
//! way a client that is refused hears nothing over UDP, and begins anew when its patience is at an end.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Answers;
use super::helper::ScriptEnd;
use super::login::{Link, Login, LoginAt, LoginKind, Verdict};
use super::runner::Runner;
use crate::node::settings::ScriptCommand;

/// The script, and who runs it.
pub(in crate::node) struct CertificateCheck(Arc<Check>);

struct Check {
    script: ScriptCommand,
    patience: Duration,
    runner: Arc<Runner>,
    answers: Answers,
}

impl CertificateCheck {
    /// This script, which may take so long for each certificate.
    pub(in crate::node) fn new(
        script: ScriptCommand,
        patience: Duration,
        runner: Arc<Runner>,
        answers: Answers,
    ) -> Self {
        Self(Arc::new(Check {
            script,
            patience,
            runner,
            answers,
        }))
    }
}

impl Link for CertificateCheck {
    fn judge(&mut self, login: &Arc<Login>) {
        // The certificate is the session's for its life.
        let certificates = match login.kind {
            LoginKind::Connect => login.certificates.len(),
            LoginKind::Reauth => 0,
        };
        self.0.ask(Arc::clone(login), certificates);
    }

    fn judges_passwords(&self) -> bool {
        false
    }

    /// What the script says of it is not heard any more.
    fn forget(&mut self, _: LoginAt) {}
}

impl Check {
    /// Asks about the certificates that are not known to be good: those of the lowest depths, so many.
    fn ask(self: &Arc<Self>, login: Arc<Login>, left: usize) {
        let Some(depth) = left.checked_sub(1) else {
            return self
                .answers
                .answer(login.at, login.login, Verdict::Accepted);
        };
        let certificate = login.certificates.get(depth);
        let subject = certificate.map(|it| it.subject.clone()).unwrap_or_default();
        let mut words = vec![self.script.program.display().to_string()];
        words.extend(self.script.arguments.iter().cloned());
        words.extend([depth.to_string(), subject.clone()]);
        let mut environment = Zeroizing::new(login.environment.clone());
        environment.push(("script_type".to_owned(), "tls-verify".to_owned()));
        let check = Arc::clone(self);
        let when_ended = move |end| match end {
            ScriptEnd::Exited(0) => check.ask(login, depth),
            end => {
                let end = end.told();
                let why = format!("VERIFY SCRIPT ERROR: depth={depth}, {subject} ({end})").into();
                let dropped = Verdict::Dropped { why };
                check.answers.answer(login.at, login.login, dropped);
            }
        };
        self.runner
            .run(words, environment, self.patience, Box::new(when_ended));
    }
}
