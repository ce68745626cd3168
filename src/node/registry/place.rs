//! What a client is given: its addresses, the networks behind it, and what it is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::node::leases::Addresses;
use crate::node::settings::{SessionTimes, V4Layout, V6Address, Withheld};
use crate::wire::Framing;

/// A client's place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its addresses: no other client has them.
    pub addresses: Addresses,
    /// Those of its addresses that lead nowhere: who was told of them has refused that.
    pub astray: Vec<IpAddr>,
    /// The networks behind it: they lead to no other client.
    pub networks: Vec<IpNet>,
    /// What it is told instead of what every client is told.
    pub own: OwnTerms,
    /// How many hosts behind it are remembered: what its networks leave of the bound on what leads to it.
    pub hosts_max: usize,
    /// If networks were left out: how many addresses and networks could lead to it.
    pub quota_exceeded: Option<u32>,
}

impl Place {
    /// Its IPv4 address with the second word of `ifconfig`.
    pub fn v4(&self, layout: Option<V4Layout>) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let address = self.addresses.v4?;
        let second = self.own.v4_second;
        Some((address, second.or(layout.map(|it| it.second(address)))?))
    }

    /// Its IPv6 address with the length of the prefix and the server's address, `usual` if it has none of its own.
    pub fn v6(&self, usual: Option<(u8, Ipv6Addr)>) -> Option<(Ipv6Addr, u8, Ipv6Addr)> {
        let own = self.own.v6.map(|v6| (v6.address.prefix_len(), v6.gateway));
        let (length, server) = own.or(usual)?;
        Some((self.addresses.v6?, length, server))
    }

    /// The addresses that lead to it.
    pub fn leading(&self) -> Addresses {
        let leads = |address: IpAddr| !self.astray.contains(&address);
        Addresses {
            v4: self.addresses.v4.filter(|address| leads((*address).into())),
            v6: self.addresses.v6.filter(|address| leads((*address).into())),
        }
    }
}

/// What a client is told instead of what every client is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTerms {
    /// The second word of `ifconfig`, beside its IPv4 address.
    pub v4_second: Option<Ipv4Addr>,
    /// Its IPv6 address with the length of the prefix, and the server's.
    pub v6: Option<V6Address>,
    /// The options.
    pub push: Option<Arc<[String]>>,
    /// How its packets are framed for compression.
    pub framing: Option<Framing>,
    /// How long it may be silent, do nothing and stay.
    pub times: Option<SessionTimes>,
    /// Which of its addresses it is not told.
    pub withheld: Withheld,
}
