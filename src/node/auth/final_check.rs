//! The link that asks plug-ins whether all is well when all else is (`OPENVPN_PLUGIN_TLS_FINAL`). They are the only ones who
//! are told the keying material of `keying-material-exporter`, as in 2.6. Wire: variables and name are those of 2.6.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::Answers;
use super::environment;
use super::login::{Link, Login, LoginAt, Verdict};
use crate::node::plugins::{Hook, Outcome, PluginHost, Question};

/// The plug-ins.
pub(in crate::node) struct FinalCheck {
    host: Arc<PluginHost>,
    patience: Duration,
    answers: Answers,
}

impl FinalCheck {
    /// Those of `host`, which may take so long each time.
    pub(in crate::node) const fn new(
        host: Arc<PluginHost>,
        patience: Duration,
        answers: Answers,
    ) -> Self {
        Self {
            host,
            patience,
            answers,
        }
    }
}

impl Link for FinalCheck {
    fn judge(&mut self, login: &Arc<Login>) {
        let material = login.keying_material.as_ref();
        let material = material.map(|it| Zeroizing::new(HEXLOWER.encode(it)));
        let exported = material
            .iter()
            .map(|it| ("exported_keying_material", &**it));
        let known = environment::with_username(login);
        let question = Question::new(Hook::TlsFinal, self.patience)
            .about(login.client_id)
            .knowing(exported)
            .knowing(known.iter().map(|(name, value)| (name, value)));
        let (at, number) = (login.at, login.login);
        let answers = self.answers.clone();
        let _question = self.host.ask(question, move |answer| {
            let why = match answer {
                Ok((Outcome::Success, _)) => {
                    return answers.answer(at, number, Verdict::Accepted);
                }
                Ok(_) => "a plug-in has said no".to_owned(),
                Err(none) => none.to_string(),
            };
            let why = format!("PLUGIN_TLS_FINAL: {why}").into();
            let reason = String::new();
            answers.answer(at, number, Verdict::Refused { reason, why });
        });
    }

    fn judges_passwords(&self) -> bool {
        false
    }

    fn is_asked_last(&self) -> bool {
        true
    }

    /// What they say of it is not heard any more.
    fn forget(&mut self, _: LoginAt) {}

    fn left(&mut self, client_id: u64) {
        self.host.forget(client_id);
    }
}
