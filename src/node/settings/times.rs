//! How long a session may be silent, do nothing, and last.

use std::time::Duration;

use super::Settings;
use crate::session::Keepalive;

/// The times of a session at its own end: those of the configuration, or of the client's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTimes {
    /// When a peer is pinged, and when it is given up.
    pub keepalive: Keepalive,
    /// Whether giving it up is called an end (`ping-exit`) or a restart. A server ends the session in
    /// either case.
    pub exit_when_silent: bool,
    /// When a session that does nothing is ended.
    pub inactivity: Option<Inactivity>,
    /// How long a session lasts, `None` for as long as it will.
    pub session_timeout: Option<Duration>,
}

/// When a session that does nothing is ended (`inactive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inactivity {
    /// So long it may do less than it should.
    pub patience: Duration,
    /// Bytes of inner packets, both ways together, that are enough. With 0 any packet is.
    pub bytes: u64,
}

impl Settings {
    /// The times of sessions whose clients have no others in a file of their own.
    pub const fn times(&self) -> SessionTimes {
        SessionTimes {
            keepalive: self.keepalive,
            exit_when_silent: self.exit_when_silent,
            inactivity: self.node.inactivity,
            session_timeout: self.node.session_timeout,
        }
    }
}
