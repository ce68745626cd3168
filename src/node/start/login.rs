//! Who judges logins: made before privileges go, at work when they are gone.

use std::io;
use std::sync::Arc;

use crossbeam::channel::Sender;

use super::StartError;
use crate::limits::SCRIPT_PATIENCE;
use crate::node::auth::{
    Answers, Authentication, Hooks, MakeLink, OutsideLink, Plugins, Runner, Script, ServerFacts,
};
use crate::node::event::NodeEvent;
use crate::node::message::Report;
use crate::node::plugins::{Hook, Notice, Opening, PluginHost};
use crate::node::privileges::Confinement;
use crate::node::settings::{
    AuthSettings, Bind, ListenerTransport, NetworkSettings, PluginSettings, Settings, V4Layout,
};
use crate::time::Now;

/// The judges of a node, and what they are told of it.
pub(super) struct Judges {
    auth: AuthSettings,
    network: NetworkSettings,
    facts: ServerFacts,
    runner: Option<Arc<Runner>>,
    plugins: Option<PluginHost>,
}

impl Judges {
    /// Starts the processes that start scripts and run plug-ins, if there are any, to be confined as this
    /// one. `tell` hears what there is to tell of plug-ins.
    ///
    /// # Errors
    /// They can't be started, or a plug-in can't be used.
    pub(super) fn prepare(
        auth: &AuthSettings,
        settings: &Settings,
        device: &str,
        confinement: Option<&Confinement>,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<Self, StartError> {
        let words = confinement.map(Confinement::words).unwrap_or_default();
        let runs = auth.script.is_some() || auth.hooks.is_some();
        let runner = runs.then(|| Runner::start(&auth.helper, &words).map(Arc::new));
        let runner = runner.transpose().map_err(StartError::Thread)?;
        let facts = facts(auth, settings, device);
        let plugins = auth.plugins.as_ref();
        let plugins = plugins.map(|plugins| open(plugins, &facts, words, tell));
        Ok(Self {
            auth: auth.clone(),
            network: settings.network.clone(),
            facts,
            runner,
            plugins: plugins.transpose()?,
        })
    }

    /// Whether somebody looks at user names and passwords.
    pub(super) fn ask_credentials(&self) -> bool {
        let plugins = self.plugins.as_ref();
        self.auth.script.is_some()
            || plugins.is_some_and(|host| host.wants(Hook::AuthUserPassVerify))
    }

    /// Starts the chain. Privileges are gone.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(self, reports: Sender<Report>) -> io::Result<Authentication> {
        let mut links: Vec<MakeLink> = Vec::new();
        let asks = self.ask_credentials();
        let directory = self.auth.temporary;
        if let Some(runner) = &self.runner {
            runner.listen()?;
        }
        // Wire: as with 2.6 plug-ins are asked before the script.
        let mut plugins = None;
        if let Some(mut host) = self.plugins {
            let events = reports.clone();
            host.listen(move |notice| {
                // A node that is behind with its reports has more important ones.
                let _full = events.try_send(Report::Event(NodeEvent::Plugins(notice)));
            })?;
            let host = Arc::new(host);
            plugins = Some(Arc::clone(&host));
            // Also if none judges logins: what they keep of a client is freed by this.
            let judge = Plugins::new(host, SCRIPT_PATIENCE);
            let directory = directory.clone();
            links.push(Box::new(move |answers: Answers| {
                Box::new(OutsideLink::new(judge, directory, answers))
            }));
        }
        if let (Some(script), Some(runner)) = (self.auth.script, self.runner.clone()) {
            let directory = directory.clone();
            let script = Script::new(script, directory.clone(), SCRIPT_PATIENCE, runner);
            links.push(Box::new(move |answers: Answers| {
                Box::new(OutsideLink::new(script, directory, answers))
            }));
        }
        let hooks = Hooks {
            directory,
            patience: SCRIPT_PATIENCE,
            scripts: self.auth.hooks,
            runner: self.runner,
            plugins,
            network: self.network,
        };
        Authentication::start(links, asks, self.facts, hooks, reports)
    }
}

/// Starts the program that runs plug-ins, and has it open them.
fn open(
    plugins: &PluginSettings,
    facts: &ServerFacts,
    confinement: Vec<String>,
    tell: &mut dyn FnMut(Notice),
) -> Result<PluginHost, StartError> {
    let variables = facts.variables.iter();
    let opening = Opening {
        plugins: plugins.plugins.clone(),
        environment: variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        confinement,
    };
    let host = PluginHost::start(&plugins.host, opening, tell)?;
    for (plugin, hooks) in plugins.plugins.iter().zip(host.hooks()) {
        let asked = Hook::ALL.iter().filter(|hook| hooks & hook.bit() != 0);
        let others = asked.filter(|hook| !CALLED.contains(hook));
        let others: Vec<&str> = others.map(|hook| hook.name()).collect();
        if !others.is_empty() {
            return Err(StartError::UncalledHooks {
                plugin: plugin.name.clone(),
                hooks: others.join(", "),
            });
        }
    }
    Ok(host)
}

/// The hooks that are called.
const CALLED: [Hook; 7] = [
    Hook::AuthUserPassVerify,
    Hook::ClientConnect,
    Hook::ClientConnectV2,
    Hook::ClientConnectDefer,
    Hook::ClientConnectDeferV2,
    Hook::ClientDisconnect,
    Hook::LearnAddress,
];

/// What scripts are told of the server, in stock's order.
fn facts(auth: &AuthSettings, settings: &Settings, device: &str) -> ServerFacts {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    let process = &settings.node.process;
    for (number, listener) in (1..).zip(&settings.listeners) {
        set(&format!("remote_port_{number}"), listener.port.to_string());
        set(&format!("local_port_{number}"), listener.port.to_string());
        if let Some(address) = listener.bind.address() {
            set(&format!("local_{number}"), address.to_string());
        }
        let family = match listener.bind {
            Bind::DualStack => "",
            Bind::V4(_) => "4",
            Bind::V6(_) => "6",
        };
        let protocol = match listener.transport {
            ListenerTransport::Udp => format!("udp{family}"),
            ListenerTransport::Tcp => format!("tcp{family}-server"),
        };
        set(&format!("proto_{number}"), protocol);
    }
    set("daemon_pid", std::process::id().to_string());
    set("daemon_start_time", Now::read().unix.to_string());
    set("daemon_log_redirect", "0".to_owned());
    set("daemon", u8::from(process.daemon).to_string());
    set("verb", settings.node.log.verb.to_string());
    set("config", auth.configuration.clone());
    if let Some(v4) = settings.network.v4 {
        set("ifconfig_local", v4.server.to_string());
        match v4.layout {
            V4Layout::Subnet { netmask } => set("ifconfig_netmask", netmask.to_string()),
            V4Layout::Net30 { peer } | V4Layout::PointToPoint { peer, .. } => {
                set("ifconfig_remote", peer.to_string());
            }
        }
    }
    if let Some(v6) = settings.network.v6 {
        set("ifconfig_ipv6_local", v6.server.to_string());
        set("ifconfig_ipv6_netbits", v6.network.prefix_len().to_string());
    }
    set("script_context", "init".to_owned());
    set("tun_mtu", settings.node.device.mtu.to_string());
    set("dev", device.to_owned());
    set("dev_type", "tun".to_owned());
    set("redirect_gateway", "0".to_owned());
    for (name, value) in &settings.node.environment {
        set(name, value.clone());
    }
    ServerFacts { variables }
}
