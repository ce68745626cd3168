//! What a client is told: the servers to try, how to log in, and what it lets them decide.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::tunnel::TunnelOption;
use super::{Keepalive, ListenerTransport, NodeSettings};
use crate::crypto::tls::PeerPurpose;
use crate::crypto::tls::rustls::{Identity, RustlsEngine};
use crate::reactor::PathMtu;
use crate::wire::Framing;

/// A client's whole configuration.
#[derive(Debug)]
pub struct ClientSettings {
    /// What every node is told.
    pub node: NodeSettings,
    /// The client's chain, leaf first, and the key that belongs to it; `None` for a client that
    /// only logs in.
    pub identity: Option<Identity>,
    /// What it logs in with, if the server asks for that; there with `identity`, or in its place.
    pub login: Option<Login>,
    /// What becomes of a client whose login was refused.
    pub after_refusal: AfterRefusal,
    /// The servers, in the order in which they are tried; at least one.
    pub remotes: Vec<RemoteSettings>,
    /// Whether that order is shuffled once, at the start.
    pub shuffle_remotes: bool,
    /// How long a name that does not resolve is tried again, `None` for ever; zero is one attempt.
    pub resolve_patience: Option<Duration>,
    /// How many times all remotes are tried, one after another, before the client ends; `None`
    /// for ever.
    pub rounds: Option<NonZeroU32>,
    /// `SO_SNDBUF` in bytes, `None` for the kernel's default.
    pub send_buffer: Option<NonZeroU32>,
    /// `SO_RCVBUF` in bytes, `None` for
    /// [`RECEIVE_BUFFER`](crate::limits::RECEIVE_BUFFER) or the kernel's default if that is larger.
    pub receive_buffer: Option<NonZeroU32>,
    /// How the sockets discover the path MTU, `None` for how the system has it.
    pub path_mtu: Option<PathMtu>,
    /// How packets are framed for compression, unless the server says otherwise.
    pub framing: Framing,
    /// When the client pings, and when it gives a silent server up. What a server pushes takes
    /// their place.
    pub keepalive: Keepalive,
    /// Whether the client ends when it gives a silent server up (`ping-exit`), instead of trying
    /// the next one.
    pub exit_when_silent: bool,
    /// How many times a server is told that the client leaves, where it is not told by the control
    /// channel; `None` for not at all. What a server pushes takes its place.
    pub explicit_exit: Option<NonZeroU8>,
    /// The largest MTU that a server may push, in bytes; it is told so (`IV_MTU`).
    pub mtu_max: u16,
    /// What is taken of what a server pushes.
    pub pull: PullRules,
    /// Addresses, routes and name servers of the client's own, in the order of their lines; what a
    /// server pushes comes after them.
    pub options: Vec<TunnelOption>,
    /// Whether routes are left to a script (`route-noexec`): none is set or removed.
    pub routes_by_script: bool,
    /// The programs that are told of the tunnel.
    pub scripts: ScriptSettings,
    /// The table that routes stand in but those of `redirect-gateway`; `None` for the main one.
    pub route_table: Option<u32>,
    /// Whether it ends when TLS fails, in place of trying again (`tls-exit`).
    pub exits_on_tls_error: bool,
}

impl ClientSettings {
    /// Whether there is a remote that speaks this.
    pub fn dials(&self, transport: ListenerTransport) -> bool {
        let mut remotes = self.remotes.iter();
        remotes.any(|remote| remote.transport == transport)
    }

    /// The engine that starts a TLS client for each connection.
    ///
    /// # Errors
    /// As of [`TlsSettings::engine`](super::TlsSettings::engine).
    pub fn tls_engine(&self) -> Result<RustlsEngine, String> {
        let purpose = PeerPurpose::Server;
        self.node.tls.engine(purpose, self.identity.as_ref())
    }
}

/// A user's name and password, each at most
/// [`limits::LOGIN_MAX`](crate::limits::LOGIN_MAX) bytes.
#[derive(Clone)]
pub struct Login {
    /// The name; not empty.
    pub username: String,
    /// The password; may be empty.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.username)
    }
}

/// What becomes of a client whose login was refused (`auth-retry`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterRefusal {
    /// It ends.
    #[default]
    End,
    /// It tries again, with the same name and password (`nointeract`).
    Retry,
}

/// A server that the client may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Its name, or its address as text.
    pub host: String,
    /// What carries the packets.
    pub transport: ListenerTransport,
    /// Its port, not 0.
    pub port: u16,
    /// Which of its addresses are tried.
    pub family: AddressFamily,
    /// The address that the client sends from, `None` for the one that the kernel chooses; of
    /// `family`.
    pub local: Option<IpAddr>,
    /// The port that the client sends from; 0 lets the kernel choose (`nobind`).
    pub local_port: u16,
    /// How long an attempt may take until the server has answered at all.
    pub timeout: Duration,
    /// The pause after an attempt that failed.
    pub pause: RetryPause,
}

/// Which addresses of a name are tried, in the order in which the resolver gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// All.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

impl AddressFamily {
    /// Whether an address is of it.
    pub fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// The pause between attempts (`connect-retry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPause {
    /// The first pauses.
    pub first: Duration,
    /// The longest pause; not shorter than the first.
    pub longest: Duration,
}

impl RetryPause {
    /// The pause before the next attempt, when each remote has been tried `rounds` times.
    /// Wire: 2.6 doubles the pause from the sixth round on.
    pub fn after(self, rounds: u32) -> Duration {
        let doublings = rounds.saturating_sub(ROUNDS_BEFORE_BACK_OFF).min(31);
        let pause = self.first.saturating_mul(1 << doublings);
        pause.min(self.longest)
    }
}

impl Default for RetryPause {
    // Wire: wire.md section 15.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

/// What is taken of what a server pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRules {
    /// `pull-filter` lines; the first one that an option begins with decides.
    pub filters: Vec<PullFilter>,
    /// Whether routes and name servers are left out (`route-nopull`).
    pub without_routes: bool,
}

impl PullRules {
    /// What the first filter that is about a pushed option does with it.
    pub fn action(&self, option: &str) -> FilterAction {
        let mut filters = self.filters.iter();
        let first = filters.find(|filter| option.starts_with(&filter.prefix));
        first.map_or(FilterAction::Accept, |filter| filter.action)
    }
}

/// A `pull-filter` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFilter {
    /// What becomes of an option.
    pub action: FilterAction,
    /// What the option begins with; not empty.
    pub prefix: String,
}

/// What becomes of an option that a filter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// It is taken.
    Accept,
    /// It is left out.
    Ignore,
    /// The connection is given up.
    Reject,
}

/// The programs that are told of the tunnel, each run to its end before the client goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptSettings {
    /// Run when the device has its addresses.
    pub up: Option<ScriptCommand>,
    /// Run when the device is closed, or before with `down_before`.
    pub down: Option<ScriptCommand>,
    /// Whether `down` runs while the device is still open (`down-pre`).
    pub down_before: bool,
    /// Whether `down` and `up` run when the client connects anew, too (`up-restart`).
    pub at_restart: bool,
    /// Run when the routes are set.
    pub route_up: Option<ScriptCommand>,
    /// Run before the routes are removed.
    pub route_pre_down: Option<ScriptCommand>,
    /// When the server has been found where it is (`ipchange`).
    pub ip_change: Option<ScriptCommand>,
}

/// The programs that a server tells of its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceScriptSettings {
    /// Which.
    pub scripts: ScriptSettings,
    /// The program that starts those that run when privileges are gone, with its arguments: this one.
    pub helper: ScriptCommand,
    /// The configuration's file, as scripts are told it (`config`).
    pub configuration: String,
}

impl ScriptSettings {
    /// Whether one is run when the device is to be closed.
    pub const fn has_last(&self) -> bool {
        self.down.is_some() || self.route_pre_down.is_some()
    }
}

/// A program and what stands first in its command line. It is started without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCommand {
    /// The program; absolute.
    pub program: PathBuf,
    /// Arguments before those that are added at each run.
    pub arguments: Vec<String>,
}

impl ScriptCommand {
    /// Its command line with these words at the end.
    pub fn followed_by(&self, words: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut line = vec![self.program.display().to_string()];
        line.extend(self.arguments.iter().cloned());
        line.extend(words);
        line
    }
}

/// Wire: the attempts of 2.6 before its pause grows.
const ROUNDS_BEFORE_BACK_OFF: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_from_the_sixth_round_on() {
        let pause = RetryPause::default();
        let seconds: Vec<u64> = (0..20).map(|round| pause.after(round).as_secs()).collect();
        assert_eq!(
            seconds,
            [
                1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300, 300, 300
            ]
        );
        assert_eq!(pause.after(u32::MAX).as_secs(), 300);
        let short = RetryPause {
            first: Duration::ZERO,
            longest: Duration::from_secs(5),
        };
        assert_eq!(short.after(30), Duration::ZERO);
    }

    #[test]
    fn a_login_shows_no_password() {
        let login = Login {
            username: "anna".to_owned(),
            password: "secret".to_owned().into(),
        };
        assert_eq!(format!("{login:?}"), "Login(anna)");
    }
}
