//! What is done to the machine for a tunnel: each change is made once, told, and undone in the
//! opposite order.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::netlink::{Netlink, family_of};
use crate::node::event::RouteChange;
use crate::node::settings::V4Address;

/// One change, with all that is needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) enum Change {
    /// An address of the device.
    Address(AddressMessage, IpNet),
    /// A route of ours.
    Route(RouteMessage, RouteChange),
    /// A route of the machine's that stands in the way, to be put back.
    Displaced(RouteMessage),
}

/// Where a route of ours leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Leads {
    /// Into a device.
    Into(u32),
    /// To a gateway, by the device if it is known.
    To(IpAddr, Option<u32>),
    /// Nowhere: the sender is told that the network is unreachable.
    Nowhere,
}

impl Change {
    /// The IPv4 address of a device.
    pub(in crate::node) fn v4_address(device: u32, address: V4Address) -> Self {
        let (local, other, bits) = match address {
            V4Address::Subnet { address, .. } => {
                (address.addr(), address.addr(), address.prefix_len())
            }
            V4Address::PointToPoint { address, peer, .. } => (address, peer, 32),
        };
        let mut attributes = vec![
            AddressAttribute::Local(local.into()),
            AddressAttribute::Address(other.into()),
        ];
        if let V4Address::Subnet { address, .. } = address
            && bits < 31
        {
            attributes.push(AddressAttribute::Broadcast(address.broadcast()));
        }
        let network = ipnet::Ipv4Net::new(local, bits);
        let network = network.map_or_else(|_| IpNet::from(IpAddr::from(local)), IpNet::V4);
        Self::address(device, network, AddressHeaderFlags::empty(), attributes)
    }

    /// The IPv6 address of a device. Nobody else can have it: the server gives addresses out.
    pub(in crate::node) fn v6_address(device: u32, address: ipnet::Ipv6Net) -> Self {
        let attributes = vec![AddressAttribute::Address(address.addr().into())];
        Self::address(
            device,
            address.into(),
            AddressHeaderFlags::Nodad,
            attributes,
        )
    }

    fn address(
        device: u32,
        network: IpNet,
        flags: AddressHeaderFlags,
        attributes: Vec<AddressAttribute>,
    ) -> Self {
        let mut message = AddressMessage::default();
        message.header.family = family_of(network.addr()).0;
        message.header.prefix_len = network.prefix_len();
        message.header.flags = flags;
        message.header.index = device;
        message.header.scope = AddressScope::Universe;
        message.attributes = attributes;
        Self::Address(message, network)
    }

    /// A route of ours.
    pub(in crate::node) fn route(destination: IpNet, leads: Leads, metric: Option<u32>) -> Self {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family_of(destination.addr()).0;
        header.destination_prefix_length = destination.prefix_len();
        header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::Boot;
        header.kind = RouteType::Unicast;
        let network = RouteAttribute::Destination(destination.network().into());
        message.attributes = vec![network];
        match leads {
            Leads::Into(device) => {
                message.header.scope = RouteScope::Link;
                message.attributes.push(RouteAttribute::Oif(device));
            }
            Leads::To(gateway, device) => {
                let gateway = RouteAttribute::Gateway(gateway.into());
                message.attributes.push(gateway);
                message.attributes.extend(device.map(RouteAttribute::Oif));
            }
            Leads::Nowhere => message.header.kind = RouteType::Unreachable,
        }
        message
            .attributes
            .extend(metric.map(RouteAttribute::Priority));
        let gateway = match leads {
            Leads::To(gateway, _) => Some(gateway),
            Leads::Into(_) | Leads::Nowhere => None,
        };
        let told = RouteChange {
            destination,
            gateway,
            metric,
            table: 0,
        };
        Self::Route(message, told)
    }

    /// A route of ours in this table, if it is another one than the main one.
    pub(in crate::node) fn in_table(mut self, table: Option<u32>) -> Self {
        if let (Self::Route(message, told), Some(table)) = (&mut self, table) {
            // The header has room for small numbers alone; the attribute goes for all.
            message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(table));
            told.table = table;
        }
        self
    }

    /// The machine's own default route.
    pub(in crate::node) fn displaced(mut route: RouteMessage) -> Self {
        // What the kernel only tells.
        route.attributes.retain(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Gateway(_)
                    | RouteAttribute::Oif(_)
                    | RouteAttribute::Priority(_)
                    | RouteAttribute::PrefSource(_)
                    | RouteAttribute::Metrics(_)
                    | RouteAttribute::MultiPath(_)
                    | RouteAttribute::Via(_)
                    | RouteAttribute::NhId(_)
            )
        });
        route.header.flags = netlink_packet_route::route::RouteFlags::empty();
        Self::Displaced(route)
    }

    /// Makes the change.
    ///
    /// # Errors
    /// What the kernel said.
    pub(in crate::node) fn make(&self, netlink: &mut Netlink) -> io::Result<()> {
        match self {
            Self::Address(address, _) => netlink.add_address(address.clone()),
            Self::Route(route, _) => netlink.add_route(route.clone()),
            Self::Displaced(route) => netlink.remove_route(route.clone()),
        }
    }

    /// Undoes it. What has gone by itself, with the device or by somebody else's hand, is undone.
    ///
    /// # Errors
    /// What the kernel said.
    pub(in crate::node) fn undo(&self, netlink: &mut Netlink) -> io::Result<()> {
        let (undone, done_already) = match self {
            Self::Address(address, _) => (netlink.remove_address(address.clone()), GONE),
            Self::Route(route, _) => (netlink.remove_route(route.clone()), GONE),
            Self::Displaced(route) => (netlink.add_route(route.clone()), &[libc::EEXIST][..]),
        };
        match undone {
            Err(error)
                if error
                    .raw_os_error()
                    .is_some_and(|it| done_already.contains(&it)) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

/// A step in words: `the address 10.8.0.2/24`.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(_, address) => write!(f, "the address {address}"),
            Self::Route(_, route) => write!(f, "the route to {}", route.destination),
            Self::Displaced(_) => write!(f, "the machine's default route"),
        }
    }
}

const GONE: &[i32] = &[libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL, libc::ENOENT];
