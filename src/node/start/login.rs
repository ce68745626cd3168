//! Who judges logins: made before privileges go, at work when they are gone.

use std::io;
use std::sync::Arc;

use crossbeam::channel::Sender;

use crate::limits::SCRIPT_PATIENCE;
use crate::node::auth::{Answers, Authentication, MakeLink, Runner, ScriptLink, ServerFacts};
use crate::node::message::Report;
use crate::node::privileges::Confinement;
use crate::node::settings::{AuthSettings, Bind, ListenerTransport, Settings, V4Layout};
use crate::time::Now;

/// The judges of a node, and what they are told of it.
pub(super) struct Judges {
    auth: AuthSettings,
    facts: ServerFacts,
    runner: Option<Arc<Runner>>,
}

impl Judges {
    /// Starts the process that starts scripts, if there is one to be started, to be confined as this one.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn prepare(
        auth: &AuthSettings,
        settings: &Settings,
        device: &str,
        confinement: Option<&Confinement>,
    ) -> io::Result<Self> {
        let words = confinement.map(Confinement::words).unwrap_or_default();
        let runner = auth.script.as_ref();
        let runner = runner.map(|_| Runner::start(&auth.helper, &words).map(Arc::new));
        Ok(Self {
            auth: auth.clone(),
            facts: facts(auth, settings, device),
            runner: runner.transpose()?,
        })
    }

    /// Starts the chain. Privileges are gone.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(self, reports: Sender<Report>) -> io::Result<Authentication> {
        let mut links: Vec<MakeLink> = Vec::new();
        if let (Some(script), Some(runner)) = (self.auth.script, self.runner) {
            runner.listen()?;
            let directory = self.auth.temporary;
            links.push(Box::new(move |answers: Answers| {
                let patience = SCRIPT_PATIENCE;
                Box::new(ScriptLink::new(
                    script, directory, patience, runner, answers,
                ))
            }));
        }
        Authentication::start(links, self.facts, reports)
    }
}

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
