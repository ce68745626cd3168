//! What scripts and plug-ins are told of the server, by stock's names and in its order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;

use crate::node::auth::ServerFacts;
use crate::node::machine::{Netlink, gateway_of};
use crate::node::settings::{Destination, Settings, V4Layout, V4Network, V6Network, Via};
use crate::time::Now;

/// The variables of a server with this device; `configuration` is the name of its file.
pub(super) fn facts(configuration: &str, settings: &Settings, device: &str) -> ServerFacts {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    let process = &settings.node.process;
    for (number, listener) in (1..).zip(&settings.listeners) {
        set(&format!("remote_port_{number}"), listener.port.to_string());
        set(&format!("local_port_{number}"), listener.port.to_string());
        if let Some(address) = listener.bind.address() {
            set(&format!("local_{number}"), address.to_string());
        }
        set(&format!("proto_{number}"), listener.protocol.to_owned());
    }
    set("daemon_pid", std::process::id().to_string());
    set("daemon_start_time", Now::read().unix.to_string());
    set("daemon_log_redirect", "0".to_owned());
    set("daemon", u8::from(process.daemon).to_string());
    set("verb", settings.node.log.verb.to_string());
    set("config", configuration.to_owned());
    if let Some(v4) = settings.network.v4 {
        set("ifconfig_local", v4.server.to_string());
        match v4.layout {
            V4Layout::Subnet { netmask } => set("ifconfig_netmask", netmask.to_string()),
            V4Layout::Net30 { peer } | V4Layout::PointToPoint { peer, .. } => {
                set("ifconfig_remote", peer.to_string());
            }
        }
    }
    if let Some(v6) = settings.network.v6 {
        set("ifconfig_ipv6_local", v6.server.to_string());
        set("ifconfig_ipv6_netbits", v6.network.prefix_len().to_string());
        set("ifconfig_ipv6_remote", other_end(&v6).to_string());
    }
    routes(settings, &mut set);
    set("script_context", "init".to_owned());
    set("tun_mtu", settings.node.device.mtu.to_string());
    set("dev", device.to_owned());
    set("dev_type", "tun".to_owned());
    set("redirect_gateway", "0".to_owned());
    for (name, value) in &settings.node.environment {
        set(name, value.clone());
    }
    let tracked = settings.tracked.clone();
    ServerFacts { variables, tracked }
}

/// Where routes lead that name no gateway. Wire: in a subnet 2.6 takes the address behind its own.
fn gateway(network: &V4Network) -> Ipv4Addr {
    match network.layout {
        V4Layout::Subnet { .. } => Ipv4Addr::from(u32::from(network.network.network()) + 2),
        V4Layout::Net30 { peer } | V4Layout::PointToPoint { peer, .. } => peer,
    }
}

/// Wire: the other end that 2.6 gives its device.
fn other_end(network: &V6Network) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(network.network.network()) + 2)
}

/// The routes that a server sets. Wire: by family, from 1.
fn routes(settings: &Settings, set: &mut impl FnMut(&str, String)) {
    if settings.routes.is_empty() {
        return;
    }
    let machine = Netlink::open().and_then(|mut it| it.default_route(AddressFamily::Inet));
    let machine = machine.ok().flatten().as_ref().and_then(gateway_of);
    let machine = machine.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    set("route_net_gateway", machine.to_string());
    if let Some(v4) = settings.network.v4 {
        set("route_vpn_gateway", gateway(&v4).to_string());
    }
    let (mut v4, mut v6) = (0, 0);
    for route in &settings.routes {
        let Destination::Network(network) = route.destination else {
            continue;
        };
        let number = if network.addr().is_ipv4() {
            &mut v4
        } else {
            &mut v6
        };
        *number += 1;
        let gateway = match (route.via, network.addr()) {
            (Via::Gateway(gateway), _) => Some(gateway),
            (_, IpAddr::V4(_)) => settings.network.v4.map(|v4| gateway(&v4).into()),
            (_, IpAddr::V6(_)) => settings.network.v6.map(|v6| other_end(&v6).into()),
        };
        let (prefix, length) = match network {
            ipnet::IpNet::V4(network) => {
                set(
                    &format!("route_network_{number}"),
                    network.network().to_string(),
                );
                set(
                    &format!("route_netmask_{number}"),
                    network.netmask().to_string(),
                );
                ("route", number)
            }
            ipnet::IpNet::V6(network) => {
                set(&format!("route_ipv6_network_{number}"), network.to_string());
                ("route_ipv6", number)
            }
        };
        if let Some(gateway) = gateway {
            set(&format!("{prefix}_gateway_{length}"), gateway.to_string());
        }
        if let Some(metric) = route.metric {
            set(&format!("{prefix}_metric_{length}"), metric.to_string());
        }
    }
}
