//! What a script finds in its environment about a tunnel, by the names that scripts for OpenVPN know.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::tunnel::Wanted;
use crate::node::settings::{Destination, TunnelRoute, TunnelSettings, V4Address, Via};

/// Names with values, in the order in which they were set; a later one takes the place of an earlier
/// one of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, String)>);

/// Which script is run, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occasion {
    /// `up`, `down`, `route-up`, `route-pre-down`, `ipchange`.
    pub(super) script: &'static str,
    /// Whether the device was there before, and stays.
    pub(super) is_restart: bool,
}

impl Occasion {
    /// The word for scripts.
    pub(super) fn context(self) -> &'static str {
        if self.is_restart { "restart" } else { "init" }
    }
}

impl Variables {
    /// Sets a variable.
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        let (name, value) = (name.into(), value.to_string());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, former)) => *former = value,
            None => self.0.push((name, value)),
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The environment of a script. `own` are the variables of the configuration; `machine` is the
/// gateway of the machine's default route.
pub(super) fn variables(
    own: &[(String, String)],
    wanted: &Wanted,
    device: &str,
    machine: Option<IpAddr>,
    occasion: Occasion,
) -> Variables {
    let settings = &wanted.settings;
    let mut variables = Variables::default();
    for (name, value) in own {
        variables.set(name, value);
    }
    for (name, value) in &settings.environment {
        // Only with this in front may a server name a variable.
        let name = name.strip_prefix("OPENVPN_").unwrap_or(name);
        variables.set(format!("OPENVPN_{name}"), value);
    }
    variables.set("dev", device);
    variables.set("dev_type", "tun");
    variables.set("tun_mtu", settings.mtu);
    variables.set("script_type", occasion.script);
    variables.set("script_context", occasion.context());
    variables.set("common_name", &wanted.server);
    let remote = wanted.remote.ip().to_canonical();
    let address = if remote.is_ipv4() {
        "trusted_ip"
    } else {
        "trusted_ip6"
    };
    variables.set(address, remote);
    variables.set("trusted_port", wanted.remote.port());
    addresses(settings, &mut variables);
    routes(settings, remote, machine, &mut variables);
    for (number, option) in (1..).zip(&settings.dhcp_options) {
        variables.set(
            format!("foreign_option_{number}"),
            format!("dhcp-option {option}"),
        );
    }
    variables
}

/// What stands behind the words of an `up` or `down` line.
pub(super) fn arguments(wanted: &Wanted, device: &str, occasion: Occasion) -> Vec<String> {
    let (local, other) = match wanted.settings.v4 {
        Some(V4Address::Subnet { address, .. }) => {
            (address.addr().to_string(), address.netmask().to_string())
        }
        Some(V4Address::PointToPoint { address, peer, .. }) => {
            (address.to_string(), peer.to_string())
        }
        None => (String::new(), String::new()),
    };
    vec![
        device.to_owned(),
        wanted.settings.mtu.to_string(),
        // Wire: the link MTU, which 2.6 does not tell any more.
        "0".to_owned(),
        local,
        other,
        occasion.context().to_owned(),
    ]
}

fn addresses(settings: &TunnelSettings, variables: &mut Variables) {
    match settings.v4 {
        Some(V4Address::Subnet { address, .. }) => {
            variables.set("ifconfig_local", address.addr());
            variables.set("ifconfig_netmask", address.netmask());
        }
        Some(V4Address::PointToPoint { address, peer, .. }) => {
            variables.set("ifconfig_local", address);
            variables.set("ifconfig_remote", peer);
        }
        None => {}
    }
    if let Some(v6) = settings.v6 {
        variables.set("ifconfig_ipv6_local", v6.address.addr());
        variables.set("ifconfig_ipv6_netbits", v6.address.prefix_len());
        variables.set("ifconfig_ipv6_remote", v6.gateway);
    }
}

fn routes(
    settings: &TunnelSettings,
    remote: IpAddr,
    machine: Option<IpAddr>,
    variables: &mut Variables,
) {
    let tunnel = settings.v4.and_then(V4Address::gateway);
    if let Some(gateway) = tunnel {
        variables.set("route_vpn_gateway", gateway);
    }
    if let Some(gateway) = machine {
        variables.set("route_net_gateway", gateway);
    }
    if settings.redirect.is_some_and(|redirect| redirect.v4) {
        variables.set("redirect_gateway", 1);
    }
    let (mut v4, mut v6) = (0, 0);
    for route in &settings.routes {
        match network(route, remote) {
            IpNet::V4(network) => {
                v4 += 1;
                variables.set(format!("route_network_{v4}"), network.network());
                variables.set(format!("route_netmask_{v4}"), network.netmask());
                if let Some(gateway) = gateway(route, tunnel, machine) {
                    variables.set(format!("route_gateway_{v4}"), gateway);
                }
                if let Some(metric) = route.metric {
                    variables.set(format!("route_metric_{v4}"), metric);
                }
            }
            IpNet::V6(network) => {
                v6 += 1;
                variables.set(format!("route_ipv6_network_{v6}"), network);
                let tunnel = settings.v6.map(|address| address.gateway);
                let gateway = match route.via {
                    Via::Gateway(gateway) => Some(gateway),
                    Via::Tunnel => tunnel.map(IpAddr::from),
                    Via::Machine => None,
                };
                if let Some(gateway) = gateway {
                    variables.set(format!("route_ipv6_gateway_{v6}"), gateway);
                }
                if let Some(metric) = route.metric {
                    variables.set(format!("route_ipv6_metric_{v6}"), metric);
                }
            }
        }
    }
}

fn network(route: &TunnelRoute, remote: IpAddr) -> IpNet {
    match route.destination {
        Destination::Network(network) => network,
        Destination::Remote => remote.into(),
    }
}

fn gateway(
    route: &TunnelRoute,
    tunnel: Option<Ipv4Addr>,
    machine: Option<IpAddr>,
) -> Option<IpAddr> {
    match route.via {
        Via::Tunnel => tunnel.map(IpAddr::from),
        Via::Gateway(gateway) => Some(gateway),
        Via::Machine => machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::settings::{Bypass, DefaultRoute, Redirect, V6Address};

    fn wanted() -> Wanted {
        let net = |text: &str| Destination::Network(text.parse().unwrap());
        let route = |destination, via, metric| TunnelRoute {
            destination,
            via,
            metric,
        };
        Wanted {
            attempt: 1,
            remote: "192.0.2.1:1194".parse().unwrap(),
            server: "vpn".into(),
            settings: TunnelSettings {
                v4: Some(V4Address::Subnet {
                    address: "10.8.0.2/24".parse().unwrap(),
                    gateway: Some("10.8.0.1".parse().unwrap()),
                }),
                v6: Some(V6Address {
                    address: "fd08::2/64".parse().unwrap(),
                    gateway: "fd08::1".parse().unwrap(),
                }),
                mtu: 1400,
                routes: vec![
                    route(net("10.90.0.0/24"), Via::Tunnel, None),
                    route(net("fd90::/64"), Via::Tunnel, Some(5)),
                    route(Destination::Remote, Via::Machine, Some(7)),
                ],
                redirect: Some(Redirect {
                    v4: true,
                    v6: false,
                    how: DefaultRoute::Halves,
                    bypass: Bypass::Always,
                }),
                block_ipv6: false,
                dhcp_options: vec!["DNS 10.8.0.1".to_owned(), "DOMAIN lan".to_owned()],
                environment: vec![("COLOUR".to_owned(), "blue".to_owned())],
                route_table: None,
                exit_when_silent: false,
                explicit_exit: None,
            },
        }
    }

    #[test]
    fn a_script_finds_what_it_knows_from_openvpn() {
        let own = [
            ("SITE".to_owned(), "one".to_owned()),
            ("dev".to_owned(), "x".to_owned()),
        ];
        let machine = Some("198.51.100.1".parse().unwrap());
        let occasion = Occasion {
            script: "up",
            is_restart: false,
        };
        let found = variables(&own, &wanted(), "tun3", machine, occasion);
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            found,
            [
                "SITE=one",
                "dev=tun3",
                "OPENVPN_COLOUR=blue",
                "dev_type=tun",
                "tun_mtu=1400",
                "script_type=up",
                "script_context=init",
                "common_name=vpn",
                "trusted_ip=192.0.2.1",
                "trusted_port=1194",
                "ifconfig_local=10.8.0.2",
                "ifconfig_netmask=255.255.255.0",
                "ifconfig_ipv6_local=fd08::2",
                "ifconfig_ipv6_netbits=64",
                "ifconfig_ipv6_remote=fd08::1",
                "route_vpn_gateway=10.8.0.1",
                "route_net_gateway=198.51.100.1",
                "redirect_gateway=1",
                "route_network_1=10.90.0.0",
                "route_netmask_1=255.255.255.0",
                "route_gateway_1=10.8.0.1",
                "route_ipv6_network_1=fd90::/64",
                "route_ipv6_gateway_1=fd08::1",
                "route_ipv6_metric_1=5",
                "route_network_2=192.0.2.1",
                "route_netmask_2=255.255.255.255",
                "route_gateway_2=198.51.100.1",
                "route_metric_2=7",
                "foreign_option_1=dhcp-option DNS 10.8.0.1",
                "foreign_option_2=dhcp-option DOMAIN lan",
            ]
        );
    }

    #[test]
    fn up_and_down_have_the_arguments_of_stock() {
        let occasion = Occasion {
            script: "down",
            is_restart: true,
        };
        let mut wanted = wanted();
        assert_eq!(
            arguments(&wanted, "tun3", occasion),
            ["tun3", "1400", "0", "10.8.0.2", "255.255.255.0", "restart"]
        );
        wanted.settings.v4 = Some(V4Address::PointToPoint {
            address: "10.8.0.6".parse().unwrap(),
            peer: "10.8.0.5".parse().unwrap(),
            gateway: "10.8.0.1".parse().unwrap(),
        });
        assert_eq!(
            arguments(&wanted, "tun3", occasion)[3..5],
            ["10.8.0.6", "10.8.0.5"]
        );
    }
}
