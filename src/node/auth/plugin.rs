//! Plug-ins as judges of logins: each that asked for `OPENVPN_PLUGIN_AUTH_USER_PASS_VERIFY` must accept.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::login::Login;
use super::outside::{AtOnce, Outside, Told};
use crate::node::plugins::{Answer, Hook, Outcome, PluginHost, Question};

/// The program in which they are.
pub(in crate::node) struct Plugins {
    host: Arc<PluginHost>,
    patience: Duration,
}

/// A question that may still wait to be asked.
struct Asking {
    host: Arc<PluginHost>,
    question: u64,
}

impl Plugins {
    /// Those of `host`, which may take so long each time.
    pub(in crate::node) fn new(host: Arc<PluginHost>, patience: Duration) -> Self {
        Self { host, patience }
    }
}

impl Outside for Plugins {
    fn ask(
        &mut self,
        login: &Login,
        files: Vec<(String, String)>,
        told: Told,
    ) -> io::Result<Box<dyn Any + Send>> {
        let question = Question::new(Hook::AuthUserPassVerify, self.patience)
            .about(login.client_id)
            .knowing([("password", &*login.password())])
            .knowing(files.iter().map(|(name, value)| (name, value)))
            .knowing([("username", login.username().unwrap_or_default())])
            .knowing(login.environment.iter().map(|(name, value)| (name, value)));
        let question = self.host.ask(question, |answer| told(said(answer)));
        let host = Arc::clone(&self.host);
        Ok(Box::new(Asking { host, question }))
    }

    fn left(&mut self, client_id: u64) {
        self.host.forget(client_id);
    }

    fn refused_later(&self) -> &'static str {
        "a plug-in has refused it"
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.host.take_back(self.question);
    }
}

fn said(answer: Answer) -> AtOnce {
    match answer {
        Ok((Outcome::Success, _)) => AtOnce::Accepted,
        Ok((Outcome::Deferred, _)) => AtOnce::Deferred,
        Ok((Outcome::Error, _)) => AtOnce::Refused("a plug-in has refused it".to_owned()),
        Err(none) => AtOnce::Refused(format!("plug-ins can't be asked: {none}")),
    }
}
