//! What a tunnel is made of at a client: addresses, routes, name servers.
//!
//! A line of the client's file and an option that its server pushes have one form and one meaning:
//! [`TunnelOption`].

mod option;
mod push;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use option::{OptionFault, RedirectLine, RouteLine, RouteTarget, Topology, TunnelOption};
pub use push::PushRefused;
use zeroize::Zeroizing;

use crate::wire::PeerId;

/// What a server's options come to, together with the client's own.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The tunnel.
    pub tunnel: TunnelSettings,
    /// The number by which the server knows this client, in packets of the data channel; `None`
    /// for packets without one.
    pub peer_id: Option<PeerId>,
    /// What to log in with from now on in place of the password, if the server gave that.
    pub token: Option<AuthToken>,
    /// What was left out and why, a sentence each.
    pub warnings: Vec<String>,
}

/// What a client has to do before a tunnel carries packets.
///
/// Where two of them are equal, as after most reconnections, nothing has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSettings {
    /// The IPv4 address of the device, if it has one.
    pub v4: Option<V4Address>,
    /// The IPv6 address of the device, if it has one; at least one of the two is there.
    pub v6: Option<V6Address>,
    /// The MTU of the device, in bytes.
    pub mtu: u16,
    /// Routes to set, in order: those of the client's file, then those of the server.
    pub routes: Vec<TunnelRoute>,
    /// How far the traffic of the whole machine goes through the tunnel, if it does.
    pub redirect: Option<Redirect>,
    /// Whether IPv6 packets that would go through the tunnel are answered with "unreachable".
    pub block_ipv6: bool,
    /// `dhcp-option` lines without that word, such as `DNS 10.8.0.1`, in order: what scripts find
    /// as `foreign_option_1` and so on, each with `dhcp-option ` in front.
    pub dhcp_options: Vec<String>,
    /// Variables for scripts that the server sets, each with `OPENVPN_` in front of its name.
    pub environment: Vec<(String, String)>,
    /// As of [`ClientSettings`](super::ClientSettings).
    pub route_table: Option<u32>,
    /// As of [`ClientSettings`](super::ClientSettings).
    pub exit_when_silent: bool,
    /// As of [`ClientSettings`](super::ClientSettings).
    pub explicit_exit: Option<NonZeroU8>,
}

/// The IPv4 address of a client's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V4Address {
    /// An address of a network that the device reaches (topology subnet).
    Subnet {
        /// The address, with the length of the network's prefix.
        address: Ipv4Net,
        /// Where `vpn_gateway` leads, if there is a `route-gateway`.
        gateway: Option<Ipv4Addr>,
    },
    /// One end of a line between two (topologies net30 and p2p).
    PointToPoint {
        /// This end.
        address: Ipv4Addr,
        /// The other end, which the device reaches.
        peer: Ipv4Addr,
        /// Where `vpn_gateway` leads: the `route-gateway`, or the other end.
        gateway: Ipv4Addr,
    },
}

impl V4Address {
    /// The address itself.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Subnet { address, .. } => address.addr(),
            Self::PointToPoint { address, .. } => address,
        }
    }

    /// Where `vpn_gateway` leads, if that is known. The device reaches every address, so a route
    /// needs no gateway.
    pub fn gateway(self) -> Option<Ipv4Addr> {
        match self {
            Self::Subnet { gateway, .. } => gateway,
            Self::PointToPoint { gateway, .. } => Some(gateway),
        }
    }
}

/// The IPv6 address of a client's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6Address {
    /// The address, with the length of the network's prefix.
    pub address: Ipv6Net,
    /// The server's address.
    pub gateway: Ipv6Addr,
}

/// A route to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelRoute {
    /// What it is to.
    pub destination: Destination,
    /// Where it leads.
    pub via: Via,
    /// Its metric, `None` for the kernel's own.
    pub metric: Option<u32>,
}

/// What a route is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A network; no bit is set behind its prefix.
    Network(IpNet),
    /// The server's address outside of the tunnel (`remote_host`).
    Remote,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// Into the device.
    Tunnel,
    /// To the gateway of the machine's default route as it was before (`net_gateway`), of the
    /// family of the destination.
    Machine,
    /// To this gateway, of the family of the destination.
    Gateway(IpAddr),
}

/// How far the traffic of the whole machine goes through the tunnel (`redirect-gateway`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Whether IPv4's default route leads into the tunnel.
    pub v4: bool,
    /// Whether IPv6's does.
    pub v6: bool,
    /// How IPv4's default route gets there.
    pub how: DefaultRoute,
    /// Whether the server itself needs a route past the tunnel.
    pub bypass: Bypass,
}

/// How IPv4's default route gets into the tunnel. IPv6's always stands beside the machine's own, in
/// parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultRoute {
    /// It takes the place of the machine's own.
    Replaced,
    /// Two halves, 0.0.0.0/1 and 128.0.0.0/1, stand beside the machine's own (`def1`).
    Halves,
}

/// Whether the server itself, outside of the tunnel, gets a route of its own through the machine's
/// former gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bypass {
    /// It does.
    #[default]
    Always,
    /// It does unless it is on the local network (`autolocal`).
    UnlessLocal,
    /// It does not: it is on the local network (`local`).
    Never,
}

/// What to log in with in place of the password.
#[derive(Clone)]
pub struct AuthToken {
    /// The name that goes with it, `None` for the one of the login.
    pub username: Option<String>,
    /// The token.
    pub token: Zeroizing<String>,
}

impl std::fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthToken({:?})", self.username)
    }
}
