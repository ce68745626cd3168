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
        let set = |(name, value): (String, String)| format!("{name}={value}");
        let mut environment = Vec::new();
        environment.push(format!("password={}", *login.password()));
        environment.extend(files.into_iter().map(set));
        let username = login.username().unwrap_or_default();
        environment.push(format!("username={username}"));
        environment.extend(login.environment.iter().cloned().map(set));
        let question = Question {
            hook: Hook::AuthUserPassVerify,
            client: Some(login.client_id),
            arguments: Vec::new(),
            environment,
            limit: self.patience.as_secs().try_into().unwrap_or(u32::MAX),
        };
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
