//! The IPv4 addresses inside the tunnel, as the topology lays them out.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, PoolLine, Written};
use crate::config::settings::{
    Destination, RouteLine, RouteTarget, Topology, V4Layout, V4Network, V4Pool, Via,
};

/// IPv4, if it is served; `None` for an error.
pub(super) fn v4(draft: &mut Draft) -> Option<Option<V4Network>> {
    if let Some(line) = draft.network.server.clone() {
        let network = line.value.network;
        let at = |offset| Ipv4Addr::from(u32::from(network.network()) + offset);
        let own = Own {
            server: at(1),
            network,
            // Wire: the netmask of `ifconfig-pool` has no effect beside `server`.
            layout: match topology(draft).unwrap_or(Topology::Net30) {
                Topology::Subnet => V4Layout::Subnet {
                    netmask: network.netmask(),
                },
                Topology::Net30 => V4Layout::Net30 { peer: at(2) },
                Topology::PointToPoint => V4Layout::PointToPoint {
                    server: at(1),
                    peer: at(2),
                },
            },
        };
        let pool = server_pool(draft, own)?;
        add_route(draft, own);
        return Some(Some(own.with(pool)));
    }
    let pool = draft.network.pool.clone();
    let Some(line) = draft.network.ifconfig.clone() else {
        let Some(pool) = pool else {
            return Some(None);
        };
        // A line that was refused has been remarked upon already.
        if !draft.diagnostics.mentions("server") && !draft.diagnostics.mentions("ifconfig") {
            let why = "the server has no address";
            let instead = Some("write `ifconfig ADDRESS NETMASK`".to_owned());
            draft.remark_at(Severity::Error, "ifconfig-pool", &pool.at, why, instead);
        }
        return None;
    };
    ifconfig(draft, &line, pool.as_ref()).map(Some)
}

/// The server's own side.
#[derive(Clone, Copy)]
struct Own {
    server: Ipv4Addr,
    network: Ipv4Net,
    layout: V4Layout,
}

impl Own {
    fn with(self, pool: Option<V4Pool>) -> V4Network {
        V4Network {
            server: self.server,
            network: self.network,
            layout: self.layout,
            pool,
        }
    }
}

/// What is written.
fn topology(draft: &Draft) -> Option<Topology> {
    draft.network.topology.as_ref().map(|line| line.value)
}

/// What `ifconfig` and `ifconfig-pool` come to.
fn ifconfig(
    draft: &mut Draft,
    line: &Written<(Ipv4Addr, Ipv4Addr)>,
    pool: Option<&Written<PoolLine>>,
) -> Option<V4Network> {
    let own_netmask = pool.and_then(|pool| pool.value.netmask);
    let own = match own(topology(draft), line.value, own_netmask) {
        Ok(own) => own,
        Err((why, instead)) => {
            draft.remark_at(Severity::Error, "ifconfig", &line.at, &why, instead);
            return None;
        }
    };
    let with_v6 = draft.network.server_v6.is_some() || draft.network.pool_v6.is_some();
    let range = match pool {
        Some(pool) => Some(range(draft, pool, own)?),
        None if with_v6 || draft.network.client_files.is_some() => None,
        None => {
            if !draft.diagnostics.mentions("ifconfig-pool") {
                let why = "no client would get an address";
                let instead = "add `mode server` and `ifconfig-pool FIRST LAST`, or write \
                               `server NETWORK NETMASK`, which is all three";
                let at = &line.at;
                draft.remark_at(Severity::Error, "ifconfig", at, why, Some(instead.into()));
            }
            return None;
        }
    };
    Some(own.with(range))
}

/// What `ifconfig` says. Without a word about the topology 2.6 would take net30: that of a second word
/// that is a netmask can only be subnet.
fn own(
    topology: Option<Topology>,
    (server, second): (Ipv4Addr, Ipv4Addr),
    own_netmask: Option<Ipv4Addr>,
) -> Result<Own, (String, Option<String>)> {
    let interface = Ipv4Net::with_netmask(server, second)
        .ok()
        .filter(|_| !second.is_unspecified());
    let topology = topology.unwrap_or(match interface {
        Some(_) => Topology::Subnet,
        None => Topology::Net30,
    });
    let layout = match (topology, interface) {
        (Topology::Subnet, Some(interface)) => {
            if server == interface.network() || server == interface.broadcast() {
                let why =
                    format!("{server} is the first or the last address of {interface}, no host's");
                return Err((why, None));
            }
            return Ok(Own {
                server,
                network: interface.trunc(),
                layout: V4Layout::Subnet {
                    netmask: own_netmask.unwrap_or(second),
                },
            });
        }
        (Topology::Subnet, None) => {
            let why = format!("`{second}` is not a netmask");
            let instead = format!("write for example `ifconfig {server} 255.255.255.0`");
            return Err((why, Some(instead)));
        }
        (Topology::Net30 | Topology::PointToPoint, Some(_)) => {
            let why = format!("`{second}` is a netmask, but the topology is not subnet");
            let instead = "write `topology subnet`, or the address of the other end".to_owned();
            return Err((why, Some(instead)));
        }
        (Topology::Net30, None) => V4Layout::Net30 { peer: second },
        (Topology::PointToPoint, None) => V4Layout::PointToPoint {
            server,
            peer: second,
        },
    };
    Ok(Own {
        server,
        network: Ipv4Net::from(server),
        layout,
    })
}

/// The pool of `server`, or that of `ifconfig-pool` after `nopool`; `None` for an error.
fn server_pool(draft: &mut Draft, own: Own) -> Option<Option<V4Pool>> {
    let server = draft.network.server.clone()?;
    match (server.value.pool, draft.network.pool.clone()) {
        (true, None) => Some(whole(own)),
        (true, Some(pool)) => {
            let why = "`server` has a pool already";
            let instead = Some("add `nopool` to the `server` line".into());
            draft.remark_at(Severity::Error, "ifconfig-pool", &pool.at, why, instead);
            None
        }
        (false, Some(pool)) => range(draft, &pool, own).map(Some),
        // They have IPv6 from its pool, or each client's own file has one for it.
        (false, None)
            if draft.network.server_v6.is_some() || draft.network.client_files.is_some() =>
        {
            Some(None)
        }
        (false, None) => {
            let why = "no client would get an address";
            let instead = Some("remove `nopool`, or add `ifconfig-pool FIRST LAST`".into());
            draft.remark_at(Severity::Error, "server", &server.at, why, instead);
            None
        }
    }
}

/// All that a `server` line has for clients. Wire: the ends of 2.6, which leaves out the last block of
/// a network unless it is the only one.
fn whole(own: Own) -> Option<V4Pool> {
    let (first, last) = (
        u32::from(own.network.network()),
        u32::from(own.network.broadcast()),
    );
    let reserve = match own.network.prefix_len() {
        SMALLEST_BITS => 0,
        _ => 4,
    };
    let (subnet, lines) = (first + 2..=last - 1, first + 4..=last - reserve);
    let between = |ends: std::ops::RangeInclusive<u32>| {
        (Ipv4Addr::from(*ends.start()), Ipv4Addr::from(*ends.end()))
    };
    match own.layout {
        V4Layout::Subnet { .. } => {
            let (first, last) = between(subnet);
            V4Pool::new(first, last)
        }
        V4Layout::Net30 { .. } => {
            let (first, last) = between(lines);
            V4Pool::net30(first, last)
        }
        V4Layout::PointToPoint { .. } => {
            let (first, last) = between(lines);
            V4Pool::new(first, last)
        }
    }
}

/// The range of `ifconfig-pool`, which lies in the network, if there is one, and leaves the server's
/// addresses out.
fn range(draft: &mut Draft, pool: &Written<PoolLine>, own: Own) -> Option<V4Pool> {
    let PoolLine { first, last, .. } = pool.value;
    let network = own.network;
    let range = match own.layout {
        V4Layout::Net30 { .. } => V4Pool::net30(first, last)?,
        V4Layout::Subnet { .. } | V4Layout::PointToPoint { .. } => V4Pool::new(first, last)?,
    };
    let inside = match own.layout {
        V4Layout::Subnet { .. } => first > network.network() && last < network.broadcast(),
        _ => {
            let whole = draft.network.server.is_some();
            !whole || (network.contains(&range.first()) && network.contains(&range.last()))
        }
    };
    let peer = own.with(None).device().2;
    let mut servers = [Some(own.server), peer].into_iter().flatten();
    let taken = servers.find(|it| (range.first()..=range.last()).contains(it));
    let why = match (inside, taken) {
        (false, _) => format!("{first} to {last} is not inside {network}"),
        (true, Some(taken)) => {
            format!("{first} to {last} has the server's own address {taken} in it")
        }
        (true, None) => return Some(range),
    };
    draft.remark_at(
        Severity::Error,
        "ifconfig-pool",
        &pool.at,
        why.as_str(),
        None,
    );
    None
}

/// Where the device is a line between two, a route leads to the clients. Wire: it comes last.
fn add_route(draft: &mut Draft, own: Own) {
    if own.with(None).device().2.is_some() {
        draft.network.routes.push(RouteLine {
            target: RouteTarget::Known(Destination::Network(own.network.into())),
            via: Via::Tunnel,
            metric: None,
        });
    }
}

/// The length of the prefix of the smallest network that `server` takes.
const SMALLEST_BITS: u8 = 29;
