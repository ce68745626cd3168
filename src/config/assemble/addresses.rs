//! The addresses inside the tunnel: from `server` lines, or from `ifconfig` and a pool.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, PoolLine, Written};
use crate::config::settings::{NetworkSettings, V4Network, V4Pool, V6Network};

pub(super) fn network(draft: &mut Draft) -> Option<NetworkSettings> {
    remark_overridden(draft);
    // Both look before either gives up, so that all problems are found at once.
    let (v6, v4) = (v6(draft), v4(draft));
    let (v6, v4) = (v6?, v4?);
    remark_network(draft, v4.as_ref(), v6.as_ref());
    (v4.is_some() || v6.is_some()).then_some(NetworkSettings { v4, v6 })
}

/// IPv4, if it is served; `None` for an error.
fn v4(draft: &mut Draft) -> Option<Option<V4Network>> {
    if let Some(line) = draft.network.server.clone() {
        let network = line.value.network;
        return Some(Some(V4Network {
            server: Ipv4Addr::from(u32::from(network.network()) + 1),
            network,
            // Wire: the netmask of `ifconfig-pool` has no effect beside `server`.
            client_netmask: network.netmask(),
            pool: server_pool(draft)?,
        }));
    }
    let pool = draft.network.pool.clone();
    let Some(interface) = draft.network.ifconfig.clone() else {
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
    ifconfig_v4(draft, &interface, pool.as_ref()).map(Some)
}

fn ifconfig_v4(
    draft: &mut Draft,
    interface: &Written<Ipv4Net>,
    pool: Option<&Written<PoolLine>>,
) -> Option<V4Network> {
    let with_v6 = draft.network.server_v6.is_some() || draft.network.pool_v6.is_some();
    let written = interface.value;
    let range = match pool {
        Some(pool) => Some(range(draft, pool, written)?),
        None if with_v6 || draft.network.client_files.is_some() => None,
        None => {
            if !draft.diagnostics.mentions("ifconfig-pool") {
                let why = "no client would get an address";
                let instead = "add `mode server` and `ifconfig-pool FIRST LAST`, or write \
                               `server NETWORK NETMASK`, which is all three";
                let at = &interface.at;
                draft.remark_at(Severity::Error, "ifconfig", at, why, Some(instead.into()));
            }
            return None;
        }
    };
    let own_netmask = pool.and_then(|pool| pool.value.netmask);
    Some(V4Network {
        server: written.addr(),
        network: written.trunc(),
        client_netmask: own_netmask.unwrap_or(written.netmask()),
        pool: range,
    })
}

/// The pool of `server`, or that of `ifconfig-pool` after `nopool`; `None` for an error.
fn server_pool(draft: &mut Draft) -> Option<Option<V4Pool>> {
    let server = draft.network.server.clone()?;
    let network = server.value.network;
    let first = u32::from(network.network());
    let own = draft.network.pool.clone();
    match (server.value.pool, own) {
        (true, None) => {
            let last = u32::from(network.broadcast()) - 1;
            Some(V4Pool::new(Ipv4Addr::from(first + 2), Ipv4Addr::from(last)))
        }
        (true, Some(own)) => {
            let why = "`server` has a pool already";
            let instead = Some("add `nopool` to the `server` line".into());
            draft.remark_at(Severity::Error, "ifconfig-pool", &own.at, why, instead);
            None
        }
        (false, Some(own)) => {
            let interface = Ipv4Net::new(Ipv4Addr::from(first + 1), network.prefix_len()).ok()?;
            range(draft, &own, interface).map(Some)
        }
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

/// The range of `ifconfig-pool`, which lies in the network and leaves the server's address out.
fn range(draft: &mut Draft, pool: &Written<PoolLine>, interface: Ipv4Net) -> Option<V4Pool> {
    let PoolLine { first, last, .. } = pool.value;
    let (server, network) = (interface.addr(), interface.trunc());
    let why = if first <= network.network() || last >= network.broadcast() {
        format!("{first} to {last} is not inside {network}")
    } else if (first..=last).contains(&server) {
        format!("{first} to {last} has the server's own address {server} in it")
    } else {
        return V4Pool::new(first, last);
    };
    draft.remark_at(Severity::Error, "ifconfig-pool", &pool.at, why, None);
    None
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
    if v4.is_some() && !draft.network.topology_written {
        draft.absent(
            Severity::Warning,
            "topology",
            "not written: OpenVPN 2.6 would take net30, ringway serves subnet as 2.7 does",
            "write `topology subnet` to say so",
        );
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

/// What every IPv6 link carries. Source: RFC 8200 section 5.
const IPV6_MTU_MIN: u16 = 1280;
