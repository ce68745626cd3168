//! What happens to a client: its attempts to reach a server, and what it does to the machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::Text;
use crate::node::settings::ListenerTransport;

/// A step in a client's life. What it has in common with a server's clients is told as
/// [`NodeEvent::Server`](super::NodeEvent::Server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEvent {
    /// A name has no address.
    Unresolved {
        /// The name.
        host: Text,
        /// The port that goes with it.
        port: u16,
        /// What the resolver said.
        why: Text,
    },
    /// An attempt over TCP begins.
    Connecting {
        /// The server's address.
        remote: SocketAddr,
    },
    /// An attempt begins; over TCP there is a connection already.
    Dialing {
        /// What carries the packets.
        transport: ListenerTransport,
        /// The address that it leaves from, if the configuration says one.
        local: Option<SocketAddr>,
        /// The server's.
        remote: SocketAddr,
    },
    /// The server did not answer in time.
    Unanswered,
    /// There is no way to the server: what the system said.
    Undialable {
        /// What would have carried the packets.
        transport: ListenerTransport,
        /// The server's address.
        remote: SocketAddr,
        /// What the system said.
        why: Text,
    },
    /// The server has said how the tunnel is to be.
    Pushed {
        /// Its options, separated by commas, without secrets.
        options: Text,
    },
    /// The server has changed what it has said.
    PushUpdated {
        /// The items of its update, separated by commas.
        items: Text,
    },
    /// Device and routes stay as they are: the server has said the same as before.
    Preserved {
        /// The device.
        device: Text,
    },
    /// The device has its MTU and is up.
    DeviceUp {
        /// The device.
        device: Text,
        /// Bytes of the largest packet.
        mtu: u16,
    },
    /// An address was taken from the device.
    AddressRemoved {
        /// The device.
        device: Text,
        /// The address.
        address: IpNet,
    },
    /// A route was set.
    RouteAdded(RouteChange),
    /// A route was removed.
    RouteRemoved(RouteChange),
    /// A step of bringing the tunnel up or down was refused.
    StepFailed {
        /// What was to be done: `adding the route to 10.0.0.0/8`.
        step: Text,
        /// What the system said.
        why: Text,
    },
    /// The server refuses the login.
    LoginRefused {
        /// Its reason; may be empty.
        reason: Text,
    },
    /// The connection over TCP is at its end.
    ConnectionReset,
    /// The server tells the client to connect again.
    ToldToRestart {
        /// Why; may be empty.
        text: Text,
    },
    /// The server tells the client to end.
    ToldToHalt {
        /// Why; may be empty.
        text: Text,
    },
    /// The server was silent for too long.
    Silent {
        /// The name of its certificate.
        server: Text,
        /// Whether the client ends with that (`ping-exit`).
        ends: bool,
    },
    /// It has lasted as long as `session-timeout` says.
    SessionOver,
    /// It did nothing for as long as `inactive` says.
    Inactive,
    /// A connection is over, and another one is begun.
    Restarting {
        /// Why, in a word that tools look for (`ping-restart`).
        cause: Text,
    },
    /// The next attempt waits.
    Pausing(Duration),
    /// All servers were tried so often without success that there is an end.
    Exhausted {
        /// How often.
        rounds: u32,
    },
    /// The client ends.
    Ending {
        /// Why, in a word that tools look for (`auth-failure`).
        cause: Text,
    },
}

/// A route of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// What it is to.
    pub destination: IpNet,
    /// The gateway that it leads to; `None` if it leads into the tunnel.
    pub gateway: Option<IpAddr>,
    /// Its metric, `None` for the kernel's own.
    pub metric: Option<u32>,
    /// The table that it stands in; 0 for the main one.
    pub table: u32,
}
