//! What only the lines of a client say.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::{PORT_DEFAULT, Source, Written};
use crate::config::lexer::Location;
use crate::config::settings::{
    AddressFamily, AfterRefusal, PullRules, RetryPause, ScriptSettings, TunnelOption,
};

/// What only the lines of a client say.
#[derive(Debug, Default)]
pub(in crate::config) struct ClientDraft {
    /// Whether it is the TLS client.
    pub(in crate::config) tls_client: bool,
    /// Whether it accepts pushed options.
    pub(in crate::config) pull: bool,
    /// What lines say of all remotes, or inside of a block of that one.
    pub(in crate::config) connection: ConnectionDraft,
    /// The remote of the block that is being read; `None` outside of blocks.
    pub(in crate::config) block_remote: Option<Option<RemoteLine>>,
    pub(in crate::config) blocks: Vec<(RemoteLine, ConnectionDraft)>,
    /// Those outside of blocks.
    pub(in crate::config) remotes: Vec<RemoteLine>,
    pub(in crate::config) shuffle_remotes: bool,
    pub(in crate::config) resolve_patience: Option<Duration>,
    pub(in crate::config) rounds: Option<NonZeroU32>,
    pub(in crate::config) login: Option<Written<LoginLine>>,
    pub(in crate::config) after_refusal: AfterRefusal,
    pub(in crate::config) pull_rules: PullRules,
    pub(in crate::config) options: Vec<TunnelOption>,
    pub(in crate::config) routes_by_script: bool,
    pub(in crate::config) exits_on_tls_error: bool,
    pub(in crate::config) explicit_exit: Option<NonZeroU8>,
    pub(in crate::config) mtu_max: Option<Written<u16>>,
    pub(in crate::config) scripts: ScriptSettings,
    /// The first line that names a program.
    pub(in crate::config) first_script: Option<Written<()>>,
}

/// A `remote` line.
#[derive(Clone, Debug)]
pub(in crate::config) struct RemoteLine {
    pub(in crate::config) host: String,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) transport: Option<Transport>,
    pub(in crate::config) at: Location,
}

/// What `proto` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Transport {
    Udp(AddressFamily),
    Tcp(AddressFamily),
}

/// An `auth-user-pass` line.
#[derive(Clone, Debug)]
pub(in crate::config) enum LoginLine {
    Ask,
    Read(Source),
}

/// What lines say of a remote's socket.
#[derive(Clone, Debug)]
pub(in crate::config) struct ConnectionDraft {
    pub(in crate::config) transport: Transport,
    pub(in crate::config) remote_port: Option<u16>,
    /// The local port where something else asks to bind.
    pub(in crate::config) port: u16,
    pub(in crate::config) local_port: Option<Written<u16>>,
    pub(in crate::config) local: Option<Written<IpAddr>>,
    pub(in crate::config) bind: bool,
    pub(in crate::config) nobind: bool,
    pub(in crate::config) timeout: Duration,
    pub(in crate::config) pause: RetryPause,
}

impl Default for ConnectionDraft {
    fn default() -> Self {
        Self {
            transport: Transport::Udp(AddressFamily::Any),
            remote_port: None,
            port: PORT_DEFAULT,
            local_port: None,
            local: None,
            bind: false,
            nobind: false,
            // Wire: wire.md section 15.
            timeout: Duration::from_secs(120),
            pause: RetryPause::default(),
        }
    }
}
