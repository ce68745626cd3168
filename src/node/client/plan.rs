//! From the settings of a tunnel to the changes that make it: which addresses, which routes, in
//! which order.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;

use crate::node::machine::{Change, Leads, Netlink, Way, device_of, family_of, gateway_of};
use crate::node::settings::{
    Bypass, DefaultRoute, Destination, Redirect, TunnelRoute, TunnelSettings, Via,
};

/// A route that can't be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// The kernel does not say what is there.
    #[error("reading the routes of the machine failed: {0}")]
    Kernel(#[from] io::Error),
    /// A route is to lead to the machine's gateway, and there is none.
    #[error("a route to {0} is to lead to the gateway of the machine, which has no default route")]
    NoGateway(IpNet),
}

/// The addresses of a tunnel's device.
pub(super) fn addresses(settings: &TunnelSettings, device: u32) -> Vec<Change> {
    let v4 = settings.v4.map(|v4| Change::v4_address(device, v4));
    let v6 = settings.v6.map(|v6| Change::v6_address(device, v6.address));
    v4.into_iter().chain(v6).collect()
}

/// The routes of a tunnel to a server at `remote`, in the order in which they are set: the server's
/// own first, so that it is never looked for inside the tunnel.
///
/// # Errors
/// What the machine has is not known, or not enough.
pub(super) fn routes(
    settings: &TunnelSettings,
    device: u32,
    remote: IpAddr,
    netlink: &mut Netlink,
) -> Result<Vec<Change>, PlanError> {
    let remote = remote.to_canonical();
    let mut changes = Vec::new();
    if let Some(redirect) = settings.redirect {
        changes.extend(bypass(redirect, remote, netlink)?);
    }
    for route in &settings.routes {
        changes.push(one(route, settings, device, remote, netlink)?);
    }
    if let Some(redirect) = settings.redirect {
        redirected(redirect, settings.block_ipv6, device, netlink, &mut changes)?;
    }
    Ok(changes)
}

/// A route to the server past the tunnel, where the tunnel would take its place.
fn bypass(
    redirect: Redirect,
    remote: IpAddr,
    netlink: &mut Netlink,
) -> Result<Option<Change>, PlanError> {
    let covered = match remote {
        IpAddr::V4(_) => redirect.v4,
        IpAddr::V6(_) => redirect.v6,
    };
    if !covered || redirect.bypass == Bypass::Never {
        return Ok(None);
    }
    // A neighbour is reached by the route of its network, which is longer than any of ours.
    let Way { gateway, device } = netlink.way_to(remote)?;
    Ok(gateway.map(|gateway| Change::route(remote.into(), Leads::To(gateway, device), None)))
}

fn one(
    route: &TunnelRoute,
    settings: &TunnelSettings,
    device: u32,
    remote: IpAddr,
    netlink: &mut Netlink,
) -> Result<Change, PlanError> {
    let destination = match route.destination {
        Destination::Network(network) => network,
        Destination::Remote => remote.into(),
    };
    let leads = match route.via {
        Via::Tunnel => into_tunnel(destination, settings.block_ipv6, device),
        Via::Gateway(gateway) => Leads::To(gateway, None),
        Via::Machine => {
            let family = family_of(destination.addr()).0;
            let default = netlink.default_route(family)?;
            let gateway = default.as_ref().and_then(gateway_of);
            let gateway = gateway.ok_or(PlanError::NoGateway(destination))?;
            Leads::To(gateway, default.as_ref().and_then(device_of))
        }
    };
    let change = Change::route(destination, leads, route.metric);
    Ok(change.in_table(settings.route_table))
}

/// The machine's default traffic into the tunnel.
fn redirected(
    redirect: Redirect,
    block_ipv6: bool,
    device: u32,
    netlink: &mut Netlink,
    changes: &mut Vec<Change>,
) -> Result<(), PlanError> {
    if redirect.v4 {
        match redirect.how {
            DefaultRoute::Halves => {
                changes.extend(V4_HALVES.map(|half| Change::route(half, Leads::Into(device), None)))
            }
            DefaultRoute::Replaced => {
                let former = netlink.default_route(AddressFamily::Inet)?;
                changes.extend(former.map(Change::displaced));
                changes.push(Change::route(V4_ALL, Leads::Into(device), None));
            }
        }
    }
    if redirect.v6 {
        changes.extend(
            v6_parts()
                .into_iter()
                .map(|part| Change::route(part, into_tunnel(part, block_ipv6, device), None)),
        );
    }
    Ok(())
}

/// With `block-ipv6` the kernel answers in place of the tunnel that a network is unreachable.
fn into_tunnel(destination: IpNet, block_ipv6: bool, device: u32) -> Leads {
    match destination {
        IpNet::V6(_) if block_ipv6 => Leads::Nowhere,
        _ => Leads::Into(device),
    }
}

const fn v4(address: Ipv4Addr, bits: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(address, bits))
}

const V4_ALL: IpNet = v4(Ipv4Addr::UNSPECIFIED, 0);
const V4_HALVES: [IpNet; 2] = [
    v4(Ipv4Addr::UNSPECIFIED, 1),
    v4(Ipv4Addr::new(128, 0, 0, 0), 1),
];

/// All of IPv6 that is routed, in parts that are longer than a default route.
fn v6_parts() -> [IpNet; 4] {
    let part = |first: u16, bits| {
        let address = std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0);
        IpNet::V6(ipnet::Ipv6Net::new_assert(address, bits))
    };
    [
        part(0, 3),
        part(0x2000, 4),
        part(0x3000, 4),
        part(0xfc00, 7),
    ]
}
