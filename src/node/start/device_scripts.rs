//! The scripts of a server's device: `up` and `route-up` before clients are served and privileges go, `route-pre-down`
//! and `down` when the server ends, with what is left of them, and plug-ins with the hooks of the last two. (The first
//! two they are called for when they are opened.) Wire: arguments and variables are those of 2.6.

use std::sync::Arc;
use std::sync::mpsc;

use crossbeam::channel::Sender;
use zeroize::Zeroizing;

use super::StartError;
use super::facts::facts;
use crate::limits::SCRIPT_PATIENCE;
use crate::node::auth::{ClientNews, Runner, ScriptEnd};
use crate::node::event::StopSignal;
use crate::node::plugins::{Hook, Outcome, PluginHost, Question};
use crate::node::scripts;
use crate::node::settings::{ScriptCommand, ScriptSettings, Settings, V4Layout};

/// The scripts and plug-ins, and what they are told.
pub(in crate::node) struct DeviceScripts {
    scripts: ScriptSettings,
    variables: Vec<(String, String)>,
    /// Behind the words of all but `route-up`.
    arguments: Vec<String>,
    runner: Option<Arc<Runner>>,
    plugins: Option<Arc<PluginHost>>,
    /// The way to who is connected to the management interface, if that is to hear of the device.
    manager: Option<Sender<ClientNews>>,
    /// Whether those have run that run before the device is closed.
    closing: bool,
}

impl DeviceScripts {
    /// Those of a server with this device, if there are any, or plug-ins, or a manager who is to hear of it by `news`.
    /// `runner` runs the last ones.
    pub(super) fn new(
        settings: &Settings,
        device: &str,
        runner: Option<Arc<Runner>>,
        news: Option<&Sender<ClientNews>>,
    ) -> Option<Self> {
        let is_told = settings.management.as_ref().is_some_and(|it| it.up_down);
        let manager = news.filter(|_| is_told).cloned();
        let of_device = settings.device_scripts.as_ref();
        let with_plugins = settings.auth.as_ref();
        let with_plugins = with_plugins.filter(|it| it.plugins.is_some() || manager.is_some());
        let configuration = of_device.map(|it| &it.configuration);
        let configuration = configuration.or(with_plugins.map(|it| &it.configuration))?;
        let scripts = of_device.map(|it| it.scripts.clone());
        Some(Self {
            scripts: scripts.unwrap_or_default(),
            variables: facts(configuration, settings, device).variables,
            arguments: arguments(settings, device),
            runner,
            plugins: None,
            manager,
            closing: false,
        })
    }

    /// Those, and the plug-ins, if there are any.
    pub(super) fn with_plugins(self, plugins: Option<Arc<PluginHost>>) -> Self {
        Self { plugins, ..self }
    }

    /// The device has its addresses.
    ///
    /// # Errors
    /// The script has failed. Wire: as with 2.6 there is no server then.
    pub(super) fn up(&self) -> Result<(), StartError> {
        let failed = |why: String| StartError::Script { name: "up", why };
        self.run_now("up", &self.scripts.up, &self.arguments)
            .map_err(failed)
    }

    /// The routes are set.
    ///
    /// # Errors
    /// The script has failed: why.
    pub(super) fn route_up(&self) -> Result<(), String> {
        self.tell_manager(true);
        self.run_now("route-up", &self.scripts.route_up, &[])
    }

    /// The server is to end: once. What comes back is for the log.
    pub(in crate::node) fn before_close(&mut self, signal: StopSignal) -> Vec<String> {
        if std::mem::replace(&mut self.closing, true) {
            return Vec::new();
        }
        self.tell_manager(false);
        let plugins = self.call_last(Hook::RoutePredown, signal);
        let script = self.run_last("route-pre-down", &self.scripts.route_pre_down, signal);
        let mut faults: Vec<String> = plugins.into_iter().chain(script).collect();
        if self.scripts.down_before {
            faults.extend(self.down(signal));
        }
        faults
    }

    /// The device is closed. What comes back is for the log.
    pub(in crate::node) fn after_close(&self, signal: StopSignal) -> Vec<String> {
        if self.scripts.down_before {
            return Vec::new();
        }
        self.down(signal)
    }

    /// Wire: as with 2.6 when the routes are set and before plug-ins and scripts are told of that, and before all else at
    /// the end.
    fn tell_manager(&self, up: bool) {
        if let Some(manager) = &self.manager {
            let environment = self.variables.clone();
            let _nobody_listens = manager.send(ClientNews::Device { up, environment });
        }
    }

    /// Wire: as with 2.6 plug-ins are asked before the script.
    fn down(&self, signal: StopSignal) -> Vec<String> {
        let plugins = self.call_last(Hook::Down, signal);
        let script = self.run_last("down", &self.scripts.down, signal);
        plugins.into_iter().chain(script).collect()
    }

    fn call_last(&self, hook: Hook, signal: StopSignal) -> Option<String> {
        let host = self.plugins.as_ref().filter(|host| host.wants(hook))?;
        let variables = self.variables.iter();
        let question = Question::new(hook, SCRIPT_PATIENCE)
            .with_arguments(self.arguments.clone())
            .knowing(variables.map(|(name, value)| (name, value)))
            .knowing([("signal", signal.told())]);
        let (tell, answers) = mpsc::channel();
        let _question = host.ask(question, move |answer| {
            // It is waited for, below.
            let _nobody_listens = tell.send(answer);
        });
        let name = hook.name();
        match answers.recv_timeout(2 * SCRIPT_PATIENCE) {
            Ok(Ok((Outcome::Success, _))) => None,
            Ok(Ok(_)) => Some(format!("up/down plugin call failed: {name}")),
            Ok(Err(none)) => Some(format!("up/down plugin call failed: {name}: {none}")),
            Err(_) => Some(format!(
                "up/down plugin call failed: {name}: it has not returned"
            )),
        }
    }

    fn run_now(
        &self,
        name: &str,
        script: &Option<ScriptCommand>,
        arguments: &[String],
    ) -> Result<(), String> {
        let Some(script) = script else {
            return Ok(());
        };
        let own = self.variables.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let variables = own.chain([("script_type", name)]);
        scripts::run(script, arguments, variables).map_err(|error| failed(name, &error.to_string()))
    }

    fn run_last(
        &self,
        name: &str,
        script: &Option<ScriptCommand>,
        signal: StopSignal,
    ) -> Option<String> {
        let (script, runner) = (script.as_ref()?, self.runner.as_ref()?);
        let words = script.followed_by(self.arguments.iter().cloned());
        let mut variables = Zeroizing::new(self.variables.clone());
        variables.push(("script_type".to_owned(), name.to_owned()));
        variables.push(("signal".to_owned(), signal.told().to_owned()));
        let (tell, ended) = mpsc::channel();
        let when_ended = move |end| {
            // It is waited for, below.
            let _nobody_listens = tell.send(end);
        };
        runner.run_and_leave(words, variables, SCRIPT_PATIENCE, Box::new(when_ended));
        match ended.recv_timeout(2 * SCRIPT_PATIENCE) {
            Ok(ScriptEnd::Exited(0)) => None,
            Ok(end) => Some(failed(name, &end.told())),
            Err(_) => Some(failed(name, "it has not ended")),
        }
    }
}

/// What follows the words of scripts, and the names of plug-ins, but for `route-up`.
pub(super) fn arguments(settings: &Settings, device: &str) -> Vec<String> {
    let v4 = settings.network.v4;
    let local = v4.map(|v4| v4.server.to_string());
    let other = v4.map(|v4| match v4.layout {
        V4Layout::Subnet { netmask } => netmask.to_string(),
        V4Layout::Net30 { peer } | V4Layout::PointToPoint { peer, .. } => peer.to_string(),
    });
    vec![
        device.to_owned(),
        settings.node.device.mtu.to_string(),
        // Wire: the link MTU, which 2.6 does not tell any more.
        "0".to_owned(),
        local.unwrap_or_default(),
        other.unwrap_or_default(),
        "init".to_owned(),
    ]
}

/// Stock's words.
fn failed(name: &str, why: &str) -> String {
    format!("Failed running command (--{name}): {why}")
}
