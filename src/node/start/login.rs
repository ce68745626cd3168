//! Who judges logins: made before privileges go, at work when they are gone.

use std::io;
use std::sync::Arc;

use crossbeam::channel::Sender;

use super::StartError;
use super::device_scripts;
use super::facts::facts;
use crate::limits::SCRIPT_PATIENCE;
use crate::node::auth::{
    Answers, Asks, Authentication, CertificateCheck, ClientNews, Codes, FinalCheck, Hooks,
    KeyMetadataCheck, MakeLink, Manager, OutsideLink, Parts, Passwords, Plugins, Runner, Script,
    ServerFacts, Tokens,
};
use crate::node::event::NodeEvent;
use crate::node::logins::{Backoff, Followed, PasswordFile, SecretFile};
use crate::node::message::Report;
use crate::node::plugins::{FirstCall, Hook, Notice, Opening, PluginHost};
use crate::node::privileges::Confinement;
use crate::node::settings::{AuthSettings, ManagerPart, NetworkSettings, Settings};
use crate::random::SystemRandom;

/// The judges of a node, and what they are told of it.
pub(super) struct Judges {
    auth: AuthSettings,
    network: NetworkSettings,
    facts: ServerFacts,
    runner: Option<Arc<Runner>>,
    plugins: Option<PluginHost>,
    news: Option<Sender<ClientNews>>,
    passwords: Option<Followed<PasswordFile>>,
    secrets: Option<Followed<SecretFile>>,
}

impl Judges {
    /// Starts the process that runs plug-ins, if there are any, to be confined as this one; `runner` starts
    /// scripts, and `news` are for the management interface. `tell` hears what there is to tell of plug-ins.
    ///
    /// # Errors
    /// They can't be started, or a plug-in can't be used.
    pub(super) fn prepare(
        auth: &AuthSettings,
        settings: &Settings,
        device: &str,
        runner: Option<Arc<Runner>>,
        news: Option<Sender<ClientNews>>,
        confinement: Option<&Confinement>,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<Self, StartError> {
        let words = confinement.map(Confinement::words).unwrap_or_default();
        let facts = facts(&auth.configuration, settings, device);
        let plugins = auth.plugins.as_ref();
        let plugins = plugins.map(|plugins| {
            let opening = Opening {
                plugins: plugins.plugins.clone(),
                environment: in_words(&facts),
                first: first_calls(device_scripts::arguments(settings, device)),
                confinement: words,
            };
            PluginHost::start(&plugins.host, opening, tell)
        });
        let passwords = auth.own.passwords.as_ref();
        let passwords = passwords.map(|path| Followed::read(path, PasswordFile::parse));
        let secrets = auth.own.secrets.as_ref();
        let secrets = secrets.map(|path| Followed::read(path, SecretFile::parse));
        Ok(Self {
            auth: auth.clone(),
            network: settings.network.clone(),
            facts,
            runner,
            plugins: plugins.transpose()?,
            news,
            passwords: passwords.transpose().map_err(StartError::Users)?,
            secrets: secrets.transpose().map_err(StartError::Users)?,
        })
    }

    /// What they look at.
    pub(super) fn asks(&self) -> Asks {
        let wants = |hook| self.plugins.as_ref().is_some_and(|host| host.wants(hook));
        Asks {
            credentials: self.auth.script.is_some()
                || self.passwords.is_some()
                || self.auth.manager == Some(ManagerPart::Judges)
                || wants(Hook::AuthUserPassVerify),
            each_key: self.auth.hooks.verify.is_some()
                || wants(Hook::TlsVerify)
                || wants(Hook::TlsFinal),
            keying_material: wants(Hook::TlsFinal),
        }
    }

    /// Starts the chain. Privileges are gone. The plug-ins are for those who have more to tell them.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        self,
        reports: Sender<Report>,
    ) -> io::Result<(Authentication, Option<Arc<PluginHost>>)> {
        let asks = self.asks();
        let directory = self.auth.temporary;
        let hooks = &self.auth.hooks;
        let plugins = self.plugins.map(|mut host| {
            let events = reports.clone();
            host.listen(move |notice| {
                // A node that is behind with its reports has more important ones.
                let _full = events.try_send(Report::Event(NodeEvent::Plugins(notice)));
            })?;
            io::Result::Ok(Arc::new(host))
        });
        let plugins = plugins.transpose()?;
        let those_for = |hook| plugins.clone().filter(|host| host.wants(hook));
        let mut links: Vec<MakeLink> = Vec::new();
        if let (Some(script), Some(runner)) = (hooks.key_metadata.clone(), self.runner.clone()) {
            let directory = directory.clone();
            links.push(Box::new(move |answers: Answers| {
                let patience = SCRIPT_PATIENCE;
                let check = KeyMetadataCheck::new(script, directory, patience, runner, answers);
                Ok(Box::new(check))
            }));
        }
        let script = hooks.verify.clone().zip(self.runner.clone());
        let asked = those_for(Hook::TlsVerify);
        if script.is_some() || asked.is_some() {
            links.push(Box::new(move |answers: Answers| {
                let check = CertificateCheck::new(script, asked, SCRIPT_PATIENCE, answers);
                Ok(Box::new(check))
            }));
        }
        if let Some(passwords) = self.passwords {
            let passwords = passwords.heard_by(warner(&reports));
            links.push(Box::new(move |answers: Answers| {
                Ok(Box::new(Passwords::start(passwords, answers)?))
            }));
        }
        // Wire: as with 2.6 plug-ins are asked before the script.
        if let Some(host) = those_for(Hook::AuthUserPassVerify) {
            let judge = Plugins::new(host, SCRIPT_PATIENCE);
            let directory = directory.clone();
            links.push(Box::new(move |answers: Answers| {
                Ok(Box::new(OutsideLink::new(judge, directory, answers)))
            }));
        }
        if let (Some(script), Some(runner)) = (self.auth.script, self.runner.clone()) {
            let directory = directory.clone();
            let script = Script::new(script, directory.clone(), SCRIPT_PATIENCE, runner);
            links.push(Box::new(move |answers: Answers| {
                Ok(Box::new(OutsideLink::new(script, directory, answers)))
            }));
        }
        if let Some(host) = those_for(Hook::TlsFinal) {
            links.push(Box::new(move |answers: Answers| {
                Ok(Box::new(FinalCheck::new(host, SCRIPT_PATIENCE, answers)))
            }));
        }
        if let (Some(ManagerPart::Judges), Some(news)) = (self.auth.manager, self.news.clone()) {
            links.push(Box::new(move |answers: Answers| {
                Ok(Box::new(Manager::new(news, answers)))
            }));
        }
        let hooks = Hooks {
            directory,
            patience: SCRIPT_PATIENCE,
            scripts: self.auth.hooks,
            runner: self.runner,
            plugins: plugins.clone(),
            network: self.network,
        };
        // Nobody has looked at a password: nothing can stand for it.
        let tokens = self.auth.token.filter(|_| asks.credentials);
        let tokens = tokens.map(|settings| Tokens::new(settings, Box::new(SystemRandom)));
        let codes = self.secrets.map(|secrets| {
            let secrets = secrets.heard_by(warner(&reports));
            Codes::new(secrets, Box::new(SystemRandom))
        });
        let parts = Parts {
            links,
            asks,
            facts: self.facts,
            hooks,
            tokens,
            codes,
            backoff: self.auth.own.backoff.then(Backoff::default),
            news: self.news,
        };
        Ok((Authentication::start(parts, reports)?, plugins))
    }
}

/// What the log is told of a file of users.
fn warner(reports: &Sender<Report>) -> impl Fn(String) + Send + Sync + 'static {
    let reports = reports.clone();
    move |why| {
        let text = format!("WARNING: {why}").as_str().into();
        // A node that is behind with its reports has more important ones.
        let _full = reports.try_send(Report::Event(NodeEvent::Warned { text }));
    }
}

fn in_words(facts: &ServerFacts) -> Vec<String> {
    let variables = facts.variables.iter();
    variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// What plug-ins are told of the device, with the arguments of `up`. Wire: as with 2.6 there is no server without a
/// good answer to the first.
fn first_calls(arguments: Vec<String>) -> Vec<FirstCall> {
    let limit = SCRIPT_PATIENCE.as_secs().try_into().unwrap_or(u32::MAX);
    let up = FirstCall {
        hook: Hook::Up,
        arguments,
        limit,
        needed: Some("up/down plugin call failed".to_owned()),
    };
    let route_up = FirstCall {
        hook: Hook::RouteUp,
        arguments: Vec::new(),
        limit,
        needed: None,
    };
    vec![up, route_up]
}
