//! What a node is told to do: every value checked, every unit in its type.
//!
//! A `Settings` exists only when it can be served. Nobody downstream asks again whether a file was
//! readable, a name known or an address inside its network; what can still fail (a port in use, a
//! missing capability) belongs to the machine, not to the configuration.
//!
//! This file imports nothing of the configuration language, so a program that embeds the library
//! can fill it in without writing a file.

mod auth;
mod client;
mod compression;
mod management;
mod node;
mod offloads;
mod profile;
mod shards;
mod times;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use auth::{
    AuthSettings, ClientCertificate, HandOver, HookScripts, ManagerPart, OwnUsers, PluginSettings,
    TokenSettings, VerifyScript,
};
pub use client::{
    AddressFamily, AfterRefusal, ClientSettings, DeviceScriptSettings, FilterAction, Login,
    PullFilter, PullRules, RemoteSettings, RetryPause, ScriptCommand, ScriptSettings,
};
pub use compression::Compression;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use management::{ManagementSettings, ManagementSocket};
pub use node::{
    Account, DeviceName, DeviceSettings, HandshakeSettings, KeyVolume, NodeSettings,
    ProcessSettings, ReplayWindow, RestartSignal, RevocationSettings, RevocationSource,
    TlsSettings, WrappingSettings,
};
pub use offloads::{OffloadName, Offloads, OffloadsInUse};
pub use profile::{
    Access, ClientFiles, ClientProfile, ProfileBasis, ProfileLines, ProfileRead, ProfileReader,
    Withheld,
};
pub use shards::{CoreList, ShardSettings, SteeringChoice, usable_cores};
pub use times::{Inactivity, SessionTimes};
pub use tunnel::{
    AuthToken, Bypass, DefaultRoute, Destination, OptionFault, PushRefused, Pushed, Redirect,
    RedirectLine, RouteLine, RouteTarget, Topology, TunnelOption, TunnelRoute, TunnelSettings,
    V4Address, V6Address, Via,
};

pub use crate::session::Keepalive;

use crate::crypto::tls::rustls::{Asked, Identity, RustlsEngine};
use crate::crypto::tls::{PeerPurpose, TrackedField};
use crate::limits;
use crate::node::leases::{AddressPool, Blocks};
use crate::node::log::LogOptions;
use crate::node::status::StatusFormat;
pub use crate::reactor::{PathMtu, Routing};
pub use crate::session::{ContactLimits, Rate};

/// A server's whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// What every node is told.
    pub node: NodeSettings,
    /// The server's chain, leaf first, and the key that belongs to it.
    pub identity: Identity,
    /// The sockets that clients reach; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// The addresses inside the tunnel; at least one family.
    pub network: NetworkSettings,
    /// Options sent to every client, in order: the `push` lines, then what `server`,
    /// `server-ipv6` and `keepalive` expand to. Addresses, cipher and peer-id are per client and
    /// not in here.
    pub push: Vec<String>,
    /// When the server pings, and when it gives a silent client up.
    pub keepalive: Keepalive,
    /// Whether giving it up is called an end (`ping-exit`).
    pub exit_when_silent: bool,
    /// How datagrams are treated that are too large for their way, `None` for as the system does.
    pub path_mtu: Option<PathMtu>,
    /// How long hosts behind clients are remembered after their last packet.
    pub hosts_remembered: Duration,
    /// Clients served at the same time.
    pub max_clients: u32,
    /// Whether several clients may be connected with one common name.
    pub duplicate_cn: bool,
    /// Whether packets between clients stay inside the server.
    pub client_to_client: bool,
    /// Whether IPv6 packets of clients are answered by the server, and go nowhere.
    pub block_ipv6: bool,
    /// How packets are framed for compression, which the server itself never does.
    pub compression: Compression,
    /// How many strangers are answered and let in.
    pub contact: ContactLimits,
    /// The most data packets that wait for a client over TCP that does not read fast enough.
    pub stream_queue: u32,
    /// The programs that are told of the device, if there are any.
    pub device_scripts: Option<DeviceScriptSettings>,
    /// Where connections go that are not OpenVPN's, if anywhere.
    pub port_share: Option<PortShareSettings>,
    /// What clients are told when the server stops, over UDP.
    pub explicit_exit: ExplicitExit,
    /// The file of address leases, if there is one.
    pub leases: Option<LeaseSettings>,
    /// The files of single clients, if there are some.
    pub client_files: Option<ClientFiles>,
    /// Who judges logins, if anybody does beyond the certificates.
    pub auth: Option<AuthSettings>,
    /// Routes of this machine into the tunnel, in order.
    pub routes: Vec<TunnelRoute>,
    /// The table that they stand in, `None` for the main one.
    pub route_table: Option<u32>,
    /// The status file, if one is asked for.
    pub status: Option<StatusSettings>,
    /// The management interface, if there is to be one.
    pub management: Option<ManagementSettings>,
    /// What who is connected there is told (`echo`).
    pub echo: Vec<String>,
    /// The fields of certificates that scripts are told, none for all of the subject (`x509-track`).
    pub tracked: Vec<TrackedField>,
}

/// As much of a server's configuration as can be had while its key is locked: what it takes to ask on the
/// management interface for the password.
#[derive(Debug)]
pub struct LockedSettings {
    /// Where lines go, and how many.
    pub log: LogOptions,
    /// Daemon, process id file, working directory, privileges.
    pub process: ProcessSettings,
    /// The unix socket on which the running node is asked and told, if there is to be one.
    pub control_socket: Option<PathBuf>,
    /// Who is asked.
    pub management: ManagementSettings,
    /// Whether that is before a hold, not behind it (`askpass`).
    pub asks_first: bool,
}

impl Settings {
    /// Whether it waits at its start until the management interface lets it go on.
    pub fn holds(&self) -> bool {
        self.management.as_ref().is_some_and(|it| it.hold)
    }

    /// Whether a listener speaks this.
    pub fn listens_on(&self, transport: ListenerTransport) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.any(|listener| listener.transport == transport)
    }

    /// The engine that starts a TLS server for each client.
    ///
    /// # Errors
    /// As of [`TlsSettings::engine`].
    pub fn tls_engine(&self) -> Result<RustlsEngine, String> {
        let purpose = PeerPurpose::Client;
        let engine = self.node.tls.engine(purpose, Some(&self.identity))?;
        let certificate = self.auth.as_ref().map(|auth| auth.certificate);
        Ok(match certificate.unwrap_or_default() {
            ClientCertificate::Required => engine,
            ClientCertificate::Optional => engine.with_clients(Asked::Optional),
            ClientCertificate::None => engine.with_clients(Asked::Never),
        })
    }
}

/// One listening socket (one set of sockets when there are several shards).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// What clients speak to reach it.
    pub transport: ListenerTransport,
    /// The protocol as scripts are told it.
    pub protocol: &'static str,
    /// The local address.
    pub bind: Bind,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
    /// Over TCP: each connection begins with a PROXY header, which says whose it is.
    pub proxy: Option<ProxySettings>,
    /// `SO_SNDBUF` in bytes, `None` for [`SEND_BUFFER`](limits::SEND_BUFFER) or the kernel's default if
    /// that is larger; over TCP for what the kernel finds right.
    pub send_buffer: Option<NonZeroU32>,
    /// `SO_RCVBUF` in bytes, `None` for [`RECEIVE_BUFFER`](limits::RECEIVE_BUFFER) or the kernel's
    /// default if that is larger; over TCP for what the kernel finds right.
    pub receive_buffer: Option<NonZeroU32>,
}

/// Whose PROXY headers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// The networks of the proxies; none for everybody.
    pub trusted: Arc<[IpNet]>,
}

impl ProxySettings {
    /// Whether a connection from this address is taken.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted.iter();
        self.trusted.is_empty() || trusted.any(|network| network.contains(&address))
    }
}

/// A web server behind the TCP listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortShareSettings {
    /// Where it listens.
    pub server: SocketAddr,
    /// The directory in which it finds out who its clients are.
    pub journal: Option<PathBuf>,
}

/// What carries the packets of a listener's clients, or between a client and its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerTransport {
    /// Datagrams.
    #[default]
    Udp,
    /// A connection for each client.
    Tcp,
}

/// The local address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// All addresses of both families, on one socket where the kernel has IPv6.
    DualStack,
    /// IPv4 only; the unspecified address stands for all.
    V4(Ipv4Addr),
    /// IPv6 only; the unspecified address stands for all.
    V6(Ipv6Addr),
}

impl Bind {
    /// The address, `None` for both families.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::DualStack => None,
            Self::V4(address) => Some(address.into()),
            Self::V6(address) => Some(address.into()),
        }
    }
}

/// The addresses inside the tunnel.
///
/// Wire: wire.md section 16. Slot `i` of the pool gives a client the `i`-th IPv4 address and the
/// `i`-th IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// IPv4, if it is served.
    pub v4: Option<V4Network>,
    /// IPv6, if it is served.
    pub v6: Option<V6Network>,
}

impl NetworkSettings {
    /// The addresses for clients. There are as many slots as the smaller pool of the families
    /// that have one, at most [`limits::ADDRESS_SLOTS_MAX`].
    pub fn pool(&self) -> AddressPool {
        let v4 = self.v4.and_then(|v4| v4.pool);
        let smaller = match (v4.map(V4Pool::len), self.v6.map(V6Network::len)) {
            (Some(v4), Some(v6)) => v4.min(v6),
            (one, other) => one.or(other).unwrap_or(0),
        };
        AddressPool {
            v4: v4.map(V4Pool::first),
            v4_blocks: v4.map(|pool| pool.blocks).unwrap_or_default(),
            v6: self.v6.map(|v6| v6.pool_first),
            slots: smaller.min(limits::ADDRESS_SLOTS_MAX),
        }
    }
}

/// The IPv4 side of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4Network {
    /// The server's own address, inside `network`.
    pub server: Ipv4Addr,
    /// The network of the tunnel; the server's address alone where the lines name none.
    pub network: Ipv4Net,
    /// What clients are told of it beside their address.
    pub layout: V4Layout,
    /// The addresses for clients; `None` when clients get no IPv4 address from the pool.
    pub pool: Option<V4Pool>,
}

impl V4Network {
    /// What the server's own device has: its address, the length of the prefix, and the other end
    /// of a line between two.
    pub fn device(&self) -> (Ipv4Addr, u8, Option<Ipv4Addr>) {
        match self.layout {
            V4Layout::Subnet { .. } => (self.server, self.network.prefix_len(), None),
            V4Layout::Net30 { peer } | V4Layout::PointToPoint { peer, .. } => {
                (self.server, SINGLE, Some(peer))
            }
        }
    }
}

/// How addresses are laid out (`topology`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V4Layout {
    /// One network, one address a client.
    Subnet {
        /// The netmask that clients are given; that of the network unless theirs is to differ.
        netmask: Ipv4Addr,
    },
    /// A network of four addresses for each client.
    Net30 {
        /// The other end of the server's own device.
        peer: Ipv4Addr,
    },
    /// A line between each client and the server.
    PointToPoint {
        /// The server's address, which is the other end of each client's device.
        server: Ipv4Addr,
        /// The other end of the server's own device.
        peer: Ipv4Addr,
    },
}

impl V4Layout {
    /// The second word of `ifconfig` for a client that has this address of the pool. Wire: wire.md
    /// section 16.
    pub fn second(self, client: Ipv4Addr) -> Ipv4Addr {
        match self {
            Self::Subnet { netmask } => netmask,
            Self::Net30 { .. } => Ipv4Addr::from((u32::from(client) & !3) | 1),
            Self::PointToPoint { server, .. } => server,
        }
    }

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subnet { .. } => "subnet",
            Self::Net30 { .. } => "net30",
            Self::PointToPoint { .. } => "p2p",
        }
    }
}

/// A range of IPv4 addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4Pool {
    first: Ipv4Addr,
    last: Ipv4Addr,
    blocks: Blocks,
}

impl V4Pool {
    /// The range from `first` to `last`, `None` when it would be empty.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        let blocks = Blocks::Single;
        (first <= last).then_some(Self {
            first,
            last,
            blocks,
        })
    }

    /// The range of all blocks of four that have an address from `first` to `last` in them, `None` when
    /// it would be empty.
    pub fn net30(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        (first <= last).then(|| Self {
            first: Ipv4Addr::from(u32::from(first) & !3),
            last: Ipv4Addr::from(u32::from(last) | 3),
            blocks: Blocks::Net30,
        })
    }

    /// The first address.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The last address.
    pub fn last(self) -> Ipv4Addr {
        self.last
    }

    /// How many clients have an address of it, saturating.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(self) -> u32 {
        let behind = u32::from(self.last) - u32::from(self.first);
        (behind >> self.blocks.bits()).saturating_add(1)
    }
}

/// The IPv6 side of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6Network {
    /// The server's own address, inside `network`.
    pub server: Ipv6Addr,
    /// The network of the tunnel.
    pub network: Ipv6Net,
    /// The address of slot 0, inside `network`.
    pub pool_first: Ipv6Addr,
    /// The last address for a client, inside `network` and not before the first.
    pub pool_last: Ipv6Addr,
}

impl V6Network {
    /// How many addresses for clients, saturating.
    #[allow(clippy::len_without_is_empty)] // the last is not before the first
    pub fn len(self) -> u32 {
        let room = u128::from(self.pool_last).saturating_sub(self.pool_first.into());
        u32::try_from(room).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// What clients are told when the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplicitExit {
    /// Nothing: they notice by timeout.
    Silent,
    /// Connect again to the same server (`RESTART`).
    Restart,
    /// Connect to the next server of the client's list (`RESTART,[N]`).
    RestartNext,
}

/// The file of address leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The file.
    pub path: PathBuf,
    /// How often it is written; `None` if it is only read, and its addresses nobody else's ever.
    pub interval: Option<Duration>,
}

/// The status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSettings {
    /// The file, rewritten in place.
    pub path: PathBuf,
    /// How often.
    pub interval: Duration,
    /// Its format.
    pub format: StatusFormat,
}

/// The length of a prefix that is one address.
const SINGLE: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(pool: Option<(u8, u8)>) -> V4Network {
        let at = |last| Ipv4Addr::new(10, 8, 0, last);
        V4Network {
            server: at(1),
            network: Ipv4Net::new_assert(at(0), 24),
            layout: V4Layout::Subnet {
                netmask: Ipv4Addr::new(255, 255, 255, 0),
            },
            pool: pool.and_then(|(first, last)| V4Pool::new(at(first), at(last))),
        }
    }

    fn v6(bits: u8, first: &str) -> V6Network {
        let network: Ipv6Net = format!("fd00::/{bits}").parse().unwrap();
        V6Network {
            server: "fd00::1".parse().unwrap(),
            network,
            pool_last: network.broadcast(),
            pool_first: first.parse().unwrap(),
        }
    }

    #[test]
    fn an_empty_range_is_no_pool() {
        let at = |last| Ipv4Addr::new(10, 8, 0, last);
        assert_eq!(V4Pool::new(at(3), at(2)), None);
        assert_eq!(V4Pool::new(at(3), at(3)).map(V4Pool::len), Some(1));
    }

    /// Wire: as OpenVPN 2.6.14 with `server 10.8.0.0 255.255.255.0`.
    #[test]
    fn what_a_client_is_told_beside_its_address_is_a_question_of_the_topology() {
        let [server, peer, client] = [1, 2, 10].map(|last| Ipv4Addr::new(10, 8, 0, last));
        let netmask = Ipv4Addr::new(255, 255, 255, 0);
        for (layout, told, device) in [
            (V4Layout::Subnet { netmask }, "255.255.255.0", (24, None)),
            (V4Layout::Net30 { peer }, "10.8.0.9", (32, Some(peer))),
            (
                V4Layout::PointToPoint { server, peer },
                "10.8.0.1",
                (32, Some(peer)),
            ),
        ] {
            assert_eq!(layout.second(client).to_string(), told);
            let network = V4Network { layout, ..v4(None) };
            assert_eq!(network.device(), (server, device.0, device.1));
        }
    }

    #[test]
    fn a_pool_of_blocks_has_whole_blocks() {
        let pool = |first, last| {
            let at = |last| Ipv4Addr::new(10, 8, 0, last);
            V4Pool::net30(at(first), at(last)).map(|it| (it.first(), it.last(), it.len()))
        };
        let at = |last| Ipv4Addr::new(10, 8, 0, last);
        assert_eq!(pool(4, 251), Some((at(4), at(251), 62)));
        assert_eq!(pool(6, 9), Some((at(4), at(11), 2)));
        assert_eq!(pool(9, 4), None);
    }

    #[test]
    fn the_smaller_family_says_how_many_slots_there_are() {
        let pool = |v4, v6| {
            let pool = NetworkSettings { v4, v6 }.pool();
            (
                pool.v4.map(|first| first.to_string()),
                pool.v6.map(|first| first.to_string()),
                pool.slots,
            )
        };
        let (first4, first6) = (Some("10.8.0.2".to_owned()), Some("fd00::1000".to_owned()));
        let (whole4, whole6) = (Some(v4(Some((2, 254)))), Some(v6(64, "fd00::1000")));
        assert_eq!(pool(whole4, None), (first4.clone(), None, 253));
        assert_eq!(
            pool(None, whole6),
            (None, first6.clone(), limits::ADDRESS_SLOTS_MAX)
        );
        assert_eq!(pool(whole4, whole6), (first4.clone(), first6.clone(), 253));
        assert_eq!(pool(whole4, Some(v6(124, "fd00::2"))).2, 14);
        assert_eq!(pool(Some(v4(None)), None), (None, None, 0));
        assert_eq!(
            pool(Some(v4(None)), whole6),
            (None, first6, limits::ADDRESS_SLOTS_MAX)
        );
    }
}
