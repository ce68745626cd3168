//! The addresses inside the tunnel: from `server` lines, or from `ifconfig` and a pool.

mod v4;

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use self::v4::v4;
use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, Written};
use crate::config::settings::{NetworkSettings, Topology, V4Layout, V4Network, V6Network};

pub(super) fn network(draft: &mut Draft) -> Option<NetworkSettings> {
    remark_overridden(draft);
    // Both look before either gives up, so that all problems are found at once.
    let (v6, v4) = (v6(draft), v4(draft));
    let (v6, v4) = (v6?, v4?);
    remark_network(draft, v4.as_ref(), v6.as_ref());
    (v4.is_some() || v6.is_some()).then_some(NetworkSettings { v4, v6 })
}

/// IPv6, if it is served; `None` for an error.
fn v6(draft: &mut Draft) -> Option<Option<V6Network>> {
    let (ifconfig, pool) = (
        draft.network.ifconfig_v6.clone(),
        draft.network.pool_v6.clone(),
    );
    let (directive, missed, at, why, instead) =
        match (draft.network.server_v6.clone(), ifconfig, pool) {
            (Some(server), _, None) => return Some(Some(server_v6(server.value.trunc()))),
            (None, Some(interface), Some(pool)) => {
                return range_v6(draft, interface.value, &pool).map(Some);
            }
            (None, None, None) => return Some(None),
            (Some(_), _, Some(pool)) => (
                "ifconfig-ipv6-pool",
                "server-ipv6",
                pool.at,
                "`server-ipv6` has a pool already",
                "remove one of the two",
            ),
            (None, Some(interface), None) => (
                "ifconfig-ipv6",
                "ifconfig-ipv6-pool",
                interface.at,
                "no client would get an IPv6 address",
                "add `ifconfig-ipv6-pool FIRST/BITS`, or write `server-ipv6 NETWORK/BITS`",
            ),
            (None, None, Some(pool)) => (
                "ifconfig-ipv6-pool",
                "ifconfig-ipv6",
                pool.at,
                "the server has no IPv6 address",
                "write `ifconfig-ipv6 ADDRESS/BITS REMOTE`",
            ),
        };
    // The line that is missed may have been refused.
    let missed = [missed, "server-ipv6"];
    if !missed.iter().any(|name| draft.diagnostics.mentions(name)) {
        let instead = Some(instead.to_owned());
        draft.remark_at(Severity::Error, directive, &at, why, instead);
    }
    None
}

fn server_v6(network: Ipv6Net) -> V6Network {
    let at = |offset| Ipv6Addr::from(u128::from(network.network()) + offset);
    // Wire: wire.md section 16.
    let first = if network.prefix_len() < 112 {
        0x1000
    } else {
        2
    };
    V6Network {
        server: at(1),
        network,
        pool_first: at(first),
        pool_last: network.broadcast(),
    }
}

/// The addresses of `ifconfig-ipv6-pool`, from the one that is written to the end of its network.
fn range_v6(draft: &mut Draft, interface: Ipv6Net, pool: &Written<Ipv6Net>) -> Option<V6Network> {
    let (server, network) = (interface.addr(), interface.trunc());
    // Wire: the address whose host part is 0 is passed over.
    let first = match pool.value.addr() == pool.value.network() {
        true => Ipv6Addr::from(u128::from(pool.value.network()) + 1),
        false => pool.value.addr(),
    };
    let last = pool.value.broadcast().min(network.broadcast());
    let why = if !network.contains(&first) {
        format!("{first} is not inside {network}, the network of `ifconfig-ipv6`")
    } else if (first..=last).contains(&server) {
        format!("{first} to {last} has the server's own address {server} in it")
    } else {
        return Some(V6Network {
            server,
            network,
            pool_first: first,
            pool_last: last,
        });
    };
    let at = &pool.at;
    draft.remark_at(Severity::Error, "ifconfig-ipv6-pool", at, why, None);
    None
}

/// `ifconfig` beside `server`: the helper wins. Wire: as in 2.6.
fn remark_overridden(draft: &mut Draft) {
    let network = &draft.network;
    let v4 = network.ifconfig.as_ref().map(|line| line.at.clone());
    let v6 = network.ifconfig_v6.as_ref().map(|line| line.at.clone());
    let (has_v4, has_v6) = (network.server.is_some(), network.server_v6.is_some());
    for (directive, helper, at, helped) in [
        ("ifconfig", "server", v4, has_v4),
        ("ifconfig-ipv6", "server-ipv6", v6, has_v6),
    ] {
        if let Some(at) = at.filter(|_| helped) {
            let why = format!("has no effect: `{helper}` sets the server's own address");
            draft.remark_at(Severity::Warning, directive, &at, why, None);
        }
    }
}

fn remark_network(draft: &mut Draft, v4: Option<&V4Network>, v6: Option<&V6Network>) {
    if v4.is_none() && v6.is_none() {
        if !["server", "server-ipv6", "ifconfig", "ifconfig-ipv6"]
            .iter()
            .any(|name| draft.diagnostics.mentions(name))
        {
            let instead = "write for example `server 10.8.0.0 255.255.255.0`";
            draft.missing(
                "server",
                "no addresses for clients: ringway is a server for many clients",
                instead,
            );
        }
        return;
    }
    let helped = draft.network.server.is_some() || draft.network.server_v6.is_some();
    if !helped && !draft.network.mode_server {
        let why = "not written: without it, `ifconfig` is one end of a tunnel between two";
        draft.missing("mode", why, "write `mode server`");
    }
    if let Some(v4) = v4 {
        remark_topology(draft, v4);
    }
    if v6.is_some() && draft.network.mtu < IPV6_MTU_MIN {
        let why = format!(
            "{} is too small for IPv6, which needs {IPV6_MTU_MIN}",
            draft.network.mtu
        );
        draft.absent(
            Severity::Warning,
            "tun-mtu",
            &why,
            "raise it or remove `server-ipv6`",
        );
    }
}

fn remark_topology(draft: &mut Draft, v4: &V4Network) {
    let (pooled, subnet) = (
        v4.pool.is_some(),
        matches!(v4.layout, V4Layout::Subnet { .. }),
    );
    match draft.network.topology.clone() {
        Some(line) if line.value == Topology::Net30 && pooled => {
            let why = "--topology net30 support for server configs with IPv4 pools will be removed in \
                       a future release of OpenVPN, not of ringway";
            let instead = Some(format!("write `topology subnet`{}", before_subnet(v4)));
            draft.remark_at(Severity::Warning, "topology", &line.at, why, instead);
        }
        Some(_) => {}
        None if subnet => draft.absent(
            Severity::Warning,
            "topology",
            "not written: OpenVPN 2.6 would take net30, and a netmask in `ifconfig` says subnet",
            "write `topology subnet` to say so",
        ),
        None => {
            let instead = format!(
                "write `topology net30` to keep it, or `topology subnet`{}",
                before_subnet(v4)
            );
            let why = "not written: it is net30, as in OpenVPN 2.6, with four addresses for each client; \
                       OpenVPN 2.7 takes subnet";
            draft.absent(Severity::Warning, "topology", why, &instead);
        }
    }
}

/// What changes with it.
fn before_subnet(v4: &V4Network) -> String {
    let netmask = v4.network.netmask();
    match v4.network.prefix_len() {
        32 => ", and the netmask in `ifconfig`".to_owned(),
        _ => format!(
            ", where `ifconfig-push ADDRESS PEER` becomes `ifconfig-push ADDRESS {netmask}` and most \
             clients get another address"
        ),
    }
}

/// What every IPv6 link carries. Source: RFC 8200 section 5.
const IPV6_MTU_MIN: u16 = 1280;
