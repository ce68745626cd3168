//! One client: the library's session in the client role, its socket, and how far it is.

use std::net::IpAddr;

use ringway::packet::{InnerAddresses, PeerIndex};
use ringway::session::{LeaveReason, Session};
use ringway::time::Monotonic;

/// A client from its first packet to its last.
pub(super) struct Client {
    /// Whose turn at the server it is: a place in the core's list of users.
    pub(super) user: usize,
    pub(super) session: Session,
    /// The number of its socket.
    pub(super) socket: usize,
    pub(super) standing: Standing,
    /// Its place in the data path, once the server has said how the tunnel is to be.
    pub(super) tunnel: Option<Tunnel>,
    /// When it was meant to begin: what a handshake took is counted from here.
    pub(super) intended: Monotonic,
    /// When it is looked at again.
    pub(super) alarm: Option<Monotonic>,
    /// How often it has changed its socket.
    pub(super) moves: u32,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The handshake runs.
    Connecting,
    /// Data flows.
    Up,
    /// It leaves, and stays until then to be heard.
    Leaving(Monotonic),
}

/// What the data path knows of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunnel {
    pub(super) peer: PeerIndex,
    pub(super) addresses: InnerAddresses,
    /// Its place among the clients that carry data.
    pub(super) place: Option<usize>,
}

impl Client {
    /// Whether it is among those that carry data.
    pub(super) fn carries(&self) -> bool {
        self.tunnel.is_some_and(|tunnel| tunnel.place.is_some())
    }

    /// Its inner address of the same family as `other`.
    pub(super) fn address_towards(&self, other: IpAddr) -> Option<IpAddr> {
        let addresses = self.tunnel?.addresses;
        match other {
            IpAddr::V4(_) => addresses.v4.map(IpAddr::V4),
            IpAddr::V6(_) => addresses.v6.map(IpAddr::V6),
        }
    }

    /// Whether it has nothing more to say or to wait for.
    pub(super) fn is_over(&self, now: Monotonic) -> bool {
        match self.standing {
            Standing::Leaving(until) => now >= until || self.session.is_quiet(),
            Standing::Connecting | Standing::Up => false,
        }
    }
}

/// A failure as it is counted: without what differs from session to session.
pub(super) fn reason(left: &LeaveReason, answered: bool) -> String {
    match left {
        LeaveReason::HandWindow if !answered => "no answer within hand-window".to_owned(),
        LeaveReason::HandWindow => "handshake not finished within hand-window".to_owned(),
        LeaveReason::Tls(error) => format!("TLS: {error}"),
        LeaveReason::AuthFailed(why) if why.is_empty() => "AUTH_FAILED".to_owned(),
        LeaveReason::AuthFailed(why) => format!("AUTH_FAILED: {why}"),
        LeaveReason::PingRestart => "server gone: nothing heard for ping-restart".to_owned(),
        LeaveReason::RemoteRestart { .. } => "server restarts".to_owned(),
        LeaveReason::RemoteExit(_) => "server exits".to_owned(),
        LeaveReason::RemoteHalt(why) if why.is_empty() => "server says halt".to_owned(),
        LeaveReason::RemoteHalt(why) => format!("server says halt: {why}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_reason_of_its_own() {
        let auth = |why: &str| LeaveReason::AuthFailed(why.to_owned());
        for (left, answered, said) in [
            (
                LeaveReason::HandWindow,
                false,
                "no answer within hand-window",
            ),
            (
                LeaveReason::HandWindow,
                true,
                "handshake not finished within hand-window",
            ),
            (auth(""), true, "AUTH_FAILED"),
            (auth("TEMP"), true, "AUTH_FAILED: TEMP"),
            (
                LeaveReason::PingRestart,
                true,
                "server gone: nothing heard for ping-restart",
            ),
            (LeaveReason::KeyExpired, true, "renegotiation failed"),
        ] {
            assert_eq!(reason(&left, answered), said);
        }
    }
}
