//! The management interface.

use std::net::SocketAddr;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Where it listens, and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagementSettings {
    /// Where.
    pub socket: ManagementSocket,
    /// What who connects has to say first.
    pub password: Option<Zeroizing<String>>,
    /// The user that who connects to a unix socket must be.
    pub client_user: Option<u32>,
    /// The group that who connects to a unix socket must be of.
    pub client_group: Option<u32>,
    /// Whether the server opens nothing before it is told to.
    pub hold: bool,
    /// Log lines that are remembered.
    pub log_lines: usize,
    /// Whether the server ends when who is connected goes (`management-signal`: SIGUSR1).
    pub signal: bool,
    /// Whether who is connected hears of the device (`management-up-down`).
    pub up_down: bool,
    /// Whether the password of the key is forgotten when who is connected goes
    /// (`management-forget-disconnect`).
    pub forgets: bool,
}

/// Where the management interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagementSocket {
    /// A TCP port: one connection at a time.
    Tcp(SocketAddr),
    /// A unix socket: several connections at a time.
    Unix(PathBuf),
}

// The password does not show.
impl std::fmt::Debug for ManagementSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ManagementSettings")
            .field("socket", &self.socket)
            .field("password", &self.password.is_some())
            .field("client_user", &self.client_user)
            .field("client_group", &self.client_group)
            .field("hold", &self.hold)
            .field("log_lines", &self.log_lines)
            .field("signal", &self.signal)
            .field("up_down", &self.up_down)
            .field("forgets", &self.forgets)
            .finish()
    }
}
