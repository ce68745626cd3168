//! What is done for a client by a script or by plug-ins, one call each. Wire: arguments and variables are those of 2.6.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::files::ConnectFiles;
use crate::node::auth::helper::ScriptEnd;
use crate::node::auth::runner::Runner;
use crate::node::event::FamilyAddress;
use crate::node::plugins::{Hook, Outcome, PluginHost, Question};
use crate::node::settings::{HookScripts, NetworkSettings, ScriptCommand};

/// Who is told of clients that come and go, and what by.
#[derive(Clone)]
pub(in crate::node) struct Hooks {
    /// Where files for them are made.
    pub(in crate::node) directory: PathBuf,
    /// How long each may take.
    pub(in crate::node) patience: Duration,
    /// The scripts.
    pub(in crate::node) scripts: HookScripts,
    /// Who runs them, if there are any.
    pub(in crate::node) runner: Option<Arc<Runner>>,
    /// The plug-ins.
    pub(in crate::node) plugins: Option<Arc<PluginHost>>,
    /// The addresses inside the tunnel.
    pub(in crate::node) network: NetworkSettings,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Whether it may come in, and what it is to have.
    Connect(Connect),
    /// It is there: plug-ins hear its address. Wire: as servers of 2.6 do by `OPENVPN_PLUGIN_IPCHANGE`.
    Reached(SocketAddr),
    /// An address leads to it.
    Learn {
        by: By,
        network: IpNet,
        /// It led elsewhere before.
        update: bool,
    },
    /// An address does not lead to it any more.
    Unlearn { by: By, network: IpNet },
    /// It is gone.
    Disconnect(By),
}

/// Who is asked when a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connect {
    /// Plug-ins that answer in files.
    Plugins,
    /// Plug-ins that give lines back.
    PluginsV2,
    /// Plug-ins that had deferred their answer.
    PluginsLater,
    PluginsV2Later,
    Script,
}

impl fmt::Display for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plugins | Self::PluginsLater => "client-connect plugin",
            Self::PluginsV2 | Self::PluginsV2Later => "client-connect-v2 plugin",
            Self::Script => "--client-connect script",
        })
    }
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Plugins,
    Script,
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) errand: Errand,
    pub(super) outcome: Done,
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Done {
    /// Yes, with what plug-ins gave back.
    Yes(Vec<(String, String)>),
    /// The answer comes later.
    Later,
    /// No: what the log says.
    No(String),
}

impl Connect {
    /// Whether the two files are for it.
    pub(super) const fn answers_in_files(self) -> bool {
        matches!(self, Self::Plugins | Self::PluginsLater | Self::Script)
    }
}

impl Hooks {
    /// Whom to tell and to ask when a client connects, in stock's order.
    pub(super) fn on_connect(&self, from: SocketAddr) -> Vec<Errand> {
        let reached = self.wants(Hook::IpChange);
        let reached = reached.then_some(Errand::Reached(from));
        let asked = [
            (Connect::Plugins, self.wants(Hook::ClientConnect)),
            (Connect::PluginsV2, self.wants(Hook::ClientConnectV2)),
            (Connect::Script, self.scripts.connect.is_some()),
        ];
        let asked = asked.into_iter().filter(|(_, there)| *there);
        let asked = asked.map(|(who, _)| Errand::Connect(who));
        reached.into_iter().chain(asked).collect()
    }

    /// Who asks plug-ins again that had deferred their answer. Wire: those of the first version need not know
    /// that hook.
    pub(super) fn later(&self, first: Connect) -> Option<Connect> {
        match first {
            Connect::Plugins | Connect::PluginsLater => Some(Connect::PluginsLater),
            Connect::PluginsV2 | Connect::PluginsV2Later => self
                .wants(Hook::ClientConnectDeferV2)
                .then_some(Connect::PluginsV2Later),
            Connect::Script => Some(Connect::Script),
        }
    }

    /// Whom to tell that an address leads to a client.
    pub(super) fn on_learn(&self, network: IpNet, update: bool) -> impl Iterator<Item = Errand> {
        self.told_of_addresses().map(move |by| Errand::Learn {
            by,
            network,
            update,
        })
    }

    /// Whom to tell that an address leads to nobody.
    pub(super) fn on_unlearn(&self, network: IpNet) -> impl Iterator<Item = Errand> {
        self.told_of_addresses()
            .map(move |by| Errand::Unlearn { by, network })
    }

    /// Whom to tell that a client is gone.
    pub(super) fn on_disconnect(&self) -> impl Iterator<Item = Errand> {
        let plugins = self.wants(Hook::ClientDisconnect);
        let script = self.scripts.disconnect.is_some();
        among(plugins, script).map(Errand::Disconnect)
    }

    fn told_of_addresses(&self) -> impl Iterator<Item = By> + use<> {
        among(self.wants(Hook::LearnAddress), self.scripts.learn.is_some())
    }

    /// A client is gone: what plug-ins keep for it is freed.
    pub(super) fn forget(&self, client: u64) {
        if let Some(host) = &self.plugins {
            host.forget(client);
        }
    }

    fn wants(&self, hook: Hook) -> bool {
        self.plugins.as_ref().is_some_and(|host| host.wants(hook))
    }

    /// Has it done; `tell` hears how it ended, on any thread, perhaps before this returns.
    pub(super) fn start(
        &self,
        errand: Errand,
        client: u64,
        known: &[(String, String)],
        files: Option<&ConnectFiles>,
        tell: impl FnOnce(Ended) + Send + 'static,
    ) {
        let mut environment = Vec::new();
        environment.extend(files.map(ConnectFiles::variables).into_iter().flatten());
        if let Some(name) = script_type(&errand) {
            environment.push(("script_type".to_owned(), name.to_owned()));
        }
        // Wire: nothing is told of a client when its addresses are taken away: it is gone.
        if !matches!(errand, Errand::Unlearn { .. }) {
            environment.extend_from_slice(known);
        }
        let arguments = arguments(&errand, known, files);
        match hook(&errand) {
            Some(hook) => self.call(errand, hook, client, arguments, environment, tell),
            None => self.run(errand, arguments, environment, tell),
        }
    }

    fn call(
        &self,
        errand: Errand,
        hook: Hook,
        client: u64,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        tell: impl FnOnce(Ended) + Send + 'static,
    ) {
        let name = name(&errand);
        let Some(host) = &self.plugins else {
            let outcome = Done::No(format!("WARNING: {name} plugin call failed"));
            return tell(Ended { errand, outcome });
        };
        let question = Question::new(hook, self.patience)
            .about(client)
            .with_arguments(arguments)
            .knowing(environment.iter().map(|(name, value)| (name, value)));
        host.ask(question, move |answer| {
            let outcome = match answer {
                Ok((Outcome::Success, returned)) => Done::Yes(returned),
                Ok((Outcome::Deferred, _)) => Done::Later,
                Ok((Outcome::Error, _)) => Done::No(format!("WARNING: {name} plugin call failed")),
                Err(none) => Done::No(format!("WARNING: {name} plugin call failed: {none}")),
            };
            tell(Ended { errand, outcome });
        });
    }

    fn run(
        &self,
        errand: Errand,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        tell: impl FnOnce(Ended) + Send + 'static,
    ) {
        let name = name(&errand);
        let (Some(script), Some(runner)) = (self.script(&errand), &self.runner) else {
            let outcome = Done::No(format!("WARNING: there is no --{name} to run"));
            return tell(Ended { errand, outcome });
        };
        let words = script.followed_by(arguments);
        let environment = Zeroizing::new(environment);
        let when_ended = move |end: ScriptEnd| {
            let outcome = match end {
                ScriptEnd::Exited(0) => Done::Yes(Vec::new()),
                end => {
                    let why = end.told();
                    Done::No(format!("WARNING: Failed running command (--{name}): {why}"))
                }
            };
            tell(Ended { errand, outcome });
        };
        runner.run_and_leave(words, environment, self.patience, Box::new(when_ended));
    }

    fn script(&self, errand: &Errand) -> Option<&ScriptCommand> {
        match errand {
            Errand::Connect(_) => self.scripts.connect.as_ref(),
            Errand::Learn { .. } | Errand::Unlearn { .. } => self.scripts.learn.as_ref(),
            Errand::Disconnect(_) => self.scripts.disconnect.as_ref(),
            Errand::Reached(_) => None,
        }
    }
}

/// Wire: plug-ins before the script, as in 2.6.
fn among(plugins: bool, script: bool) -> impl Iterator<Item = By> {
    let plugins = plugins.then_some(By::Plugins);
    let script = script.then_some(By::Script);
    plugins.into_iter().chain(script)
}

/// The hook of plug-ins that is called; `None` if a script is run.
fn hook(errand: &Errand) -> Option<Hook> {
    match errand {
        Errand::Connect(Connect::Plugins) => Some(Hook::ClientConnect),
        Errand::Connect(Connect::PluginsV2) => Some(Hook::ClientConnectV2),
        Errand::Connect(Connect::PluginsLater) => Some(Hook::ClientConnectDefer),
        Errand::Connect(Connect::PluginsV2Later) => Some(Hook::ClientConnectDeferV2),
        Errand::Learn {
            by: By::Plugins, ..
        }
        | Errand::Unlearn {
            by: By::Plugins, ..
        } => Some(Hook::LearnAddress),
        Errand::Disconnect(By::Plugins) => Some(Hook::ClientDisconnect),
        Errand::Reached(_) => Some(Hook::IpChange),
        Errand::Connect(Connect::Script)
        | Errand::Learn { by: By::Script, .. }
        | Errand::Unlearn { by: By::Script, .. }
        | Errand::Disconnect(By::Script) => None,
    }
}

/// Its name in stock's log.
fn name(errand: &Errand) -> &'static str {
    match errand {
        Errand::Connect(Connect::PluginsV2 | Connect::PluginsV2Later) => "client-connect-v2",
        Errand::Connect(_) => "client-connect",
        Errand::Learn { .. } | Errand::Unlearn { .. } => "learn-address",
        Errand::Disconnect(_) => "client-disconnect",
        Errand::Reached(_) => "ipchange",
    }
}

/// Wire: what `script_type` says to a script.
fn script_type(errand: &Errand) -> Option<&'static str> {
    hook(errand).is_none().then(|| name(errand))
}

fn arguments(
    errand: &Errand,
    known: &[(String, String)],
    files: Option<&ConnectFiles>,
) -> Vec<String> {
    match errand {
        Errand::Connect(Connect::PluginsV2 | Connect::PluginsV2Later) | Errand::Disconnect(_) => {
            Vec::new()
        }
        Errand::Connect(_) => files.map(ConnectFiles::configuration).into_iter().collect(),
        Errand::Learn {
            network, update, ..
        } => {
            let operation = if *update { "update" } else { "add" };
            let mut arguments = vec![operation.to_owned(), address(network)];
            let own = known.iter().find(|(name, _)| name == "common_name");
            arguments.extend(own.map(|(_, name)| name.clone()));
            arguments
        }
        Errand::Unlearn { network, .. } => vec!["delete".to_owned(), address(network)],
        // Wire: one argument. That of a server on a socket for both families has an IPv4 address in IPv6 with 2.6.
        Errand::Reached(from) => vec![FamilyAddress(*from).in_two_words()],
    }
}

/// Wire: a single address is written without its length.
fn address(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}
