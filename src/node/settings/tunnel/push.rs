//! From the options that a server pushes to the tunnel that a client makes.
//!
//! Wire: wire.md section 10.2. What concerns the session (cipher, ping, protocol flags), the session
//! has followed already.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::num::NonZeroU8;

use ipnet::{IpNet, Ipv4Net};

use super::option::number;
use super::{
    AuthToken, DefaultRoute, Destination, OptionFault, Pushed, Redirect, RedirectLine, RouteLine,
    RouteTarget, Topology, TunnelOption, TunnelRoute, TunnelSettings, V4Address,
};
use crate::limits;
use crate::node::settings::{ClientSettings, FilterAction, PullRules};
use crate::wire::{Framing, PeerId, words};

/// Why a client gives a connection up because of what was pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// A `pull-filter reject` line. Wire: 2.6's words.
    #[error("Pushed option rejected by filter: '{0}'")]
    Filtered(String),
    /// An address that is none.
    #[error("the server pushed `{option}`: {fault}")]
    Address {
        /// The option.
        option: String,
        /// What is wrong with it.
        fault: OptionFault,
    },
    /// Neither side says which address the client has.
    #[error("the server gave this client no address, and its own configuration has none")]
    NoAddress,
    /// Packets would come that can't be opened here.
    /// Packets would come in a frame that is not known here.
    #[error("the server pushed `{0}`, which is not known here")]
    Framing(String),
}

impl TunnelSettings {
    /// What a client has to do for a server that pushed `options`, in the order in which they came.
    ///
    /// # Errors
    /// Options with which no tunnel can be had, or which the client is told to reject. What is
    /// unknown or malformed beside that is left out, with a warning.
    pub fn from_push(client: &ClientSettings, options: &[String]) -> Result<Pushed, PushRefused> {
        let mut draft = Draft::new(client);
        for option in &client.options {
            draft.take(option.clone());
        }
        for option in options {
            match client.pull.action(option) {
                FilterAction::Accept => draft.follow(option)?,
                FilterAction::Ignore => {}
                FilterAction::Reject => return Err(PushRefused::Filtered(shown(option))),
            }
        }
        let mut pushed = draft.finish()?;
        pushed.token = AuthToken::from_push(&client.pull, options);
        Ok(pushed)
    }
}

impl AuthToken {
    /// The token among pushed options; servers also send one alone, when a key was renewed.
    pub fn from_push(rules: &PullRules, options: &[String]) -> Option<Self> {
        let value = |name: &str| {
            let mut found = options.iter().filter_map(|option| {
                let (first, rest) = option.split_once(' ')?;
                let taken = first == name && rules.action(option) == FilterAction::Accept;
                taken.then(|| rest.trim())
            });
            found.next_back().filter(|value| !value.is_empty())
        };
        let token = value("auth-token").filter(|token| token.len() <= limits::LOGIN_MAX)?;
        let username = value("auth-token-user").and_then(|encoded| {
            let name = data_encoding::BASE64.decode(encoded.as_bytes()).ok()?;
            String::from_utf8(name).ok()
        });
        Some(Self {
            username: username.filter(|name| name.len() <= limits::LOGIN_MAX),
            token: token.to_owned().into(),
        })
    }
}

/// What was said so far.
struct Draft {
    tunnel: TunnelSettings,
    without_routes: bool,
    mtu_max: u16,
    topology: Option<Topology>,
    ifconfig: Option<(Ipv4Addr, Ipv4Addr)>,
    route_gateway: Option<Ipv4Addr>,
    route_metric: Option<u32>,
    routes: Vec<RouteLine>,
    redirect: Option<RedirectLine>,
    peer_id: Option<PeerId>,
    warnings: Vec<String>,
}

impl Draft {
    fn new(client: &ClientSettings) -> Self {
        Self {
            tunnel: TunnelSettings {
                v4: None,
                v6: None,
                mtu: client.node.device.mtu,
                routes: Vec::new(),
                redirect: None,
                block_ipv6: false,
                dhcp_options: Vec::new(),
                environment: Vec::new(),
                route_table: client.route_table,
                exit_when_silent: client.exit_when_silent,
                explicit_exit: client.explicit_exit,
            },
            without_routes: client.pull.without_routes,
            mtu_max: client.mtu_max,
            topology: None,
            ifconfig: None,
            route_gateway: None,
            route_metric: None,
            routes: Vec::new(),
            redirect: None,
            peer_id: None,
            warnings: Vec::new(),
        }
    }

    /// A line of the client's file, or a pushed option that was read.
    fn take(&mut self, option: TunnelOption) {
        match option {
            TunnelOption::Topology(topology) => self.topology = Some(topology),
            TunnelOption::Ifconfig(address, other) => self.ifconfig = Some((address, other)),
            TunnelOption::IfconfigV6(address) => self.tunnel.v6 = Some(address),
            TunnelOption::RouteGateway(gateway) => self.route_gateway = Some(gateway),
            TunnelOption::RouteMetric(metric) => self.route_metric = Some(metric),
            TunnelOption::Route(route) => self.routes.push(route),
            TunnelOption::Redirect(line) => {
                self.redirect = Some(line.after(self.redirect.unwrap_or_default()));
            }
            TunnelOption::BlockIpv6 => self.tunnel.block_ipv6 = true,
            TunnelOption::DhcpOption(option) => self.tunnel.dhcp_options.push(option),
        }
    }

    /// A pushed option.
    fn follow(&mut self, option: &str) -> Result<(), PushRefused> {
        let words = match words(option) {
            Ok(words) => words,
            Err(fault) => {
                self.warn(option, fault);
                return Ok(());
            }
        };
        let Some((name, words)) = words.split_first() else {
            return Ok(());
        };
        if self.without_routes && ROUTES_AND_NAMES.contains(&name.as_str()) {
            return Ok(());
        }
        match TunnelOption::parse(name, words) {
            Ok(Some(read)) => self.take(read),
            Ok(None) => return self.follow_other(option, name, words),
            Err(fault) if name.starts_with("ifconfig") => {
                let option = shown(option);
                return Err(PushRefused::Address { option, fault });
            }
            Err(fault) => self.warn(option, fault),
        }
        Ok(())
    }

    /// A pushed option that is not a line of the tunnel.
    fn follow_other(
        &mut self,
        option: &str,
        name: &str,
        words: &[String],
    ) -> Result<(), PushRefused> {
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        let done = match name {
            "compress" | "comp-lzo" => return follow_framing(option, name, word(0)),
            "tun-mtu" => number(word(0)).map(|mtu| self.set_mtu(option, mtu)),
            "peer-id" => peer_id(word(0)).map(|id| self.peer_id = id),
            "explicit-exit-notify" => match words {
                [] => Ok(1),
                [times, ..] => number(times),
            }
            .map(|times| self.tunnel.explicit_exit = NonZeroU8::new(times)),
            // 0 is what the kernel has, which is no reason for a warning.
            "sndbuf" | "rcvbuf" => number(word(0)).map(|bytes: u32| {
                if bytes > 0 {
                    self.warn(
                        option,
                        "has no effect: a client writes the line in its own file",
                    );
                }
            }),
            "setenv-safe" => {
                let name = format!("OPENVPN_{}", word(0));
                self.tunnel.environment.push((name, word(1).to_owned()));
                Ok(())
            }
            // The session waits for so long; here it is said what becomes of the client then.
            "ping-restart" => {
                self.tunnel.exit_when_silent = false;
                Ok(())
            }
            "ping-exit" => {
                self.tunnel.exit_when_silent = true;
                Ok(())
            }
            known if OF_THE_SESSION.contains(&known) || WITHOUT_EFFECT.contains(&known) => Ok(()),
            _ => {
                self.warn(option, "is not served and has no effect");
                Ok(())
            }
        };
        if let Err(fault) = done {
            self.warn(option, fault);
        }
        Ok(())
    }

    fn set_mtu(&mut self, option: &str, mtu: u16) {
        if mtu < limits::TUN_MTU_MIN {
            let why = format!("less than {} is not served", limits::TUN_MTU_MIN);
            return self.warn(option, why);
        }
        if mtu > self.mtu_max {
            let most = self.mtu_max;
            self.warn(
                option,
                format!("more than {most}: write `tun-mtu-max {mtu}`"),
            );
        }
        self.tunnel.mtu = mtu.min(self.mtu_max);
    }

    fn finish(mut self) -> Result<Pushed, PushRefused> {
        self.tunnel.v4 = self.v4()?;
        if self.tunnel.v4.is_none() && self.tunnel.v6.is_none() {
            return Err(PushRefused::NoAddress);
        }
        let gateway = self.tunnel.v4.and_then(V4Address::gateway);
        for line in std::mem::take(&mut self.routes) {
            let destination = match (line.target, gateway) {
                (RouteTarget::Known(destination), _) => destination,
                (RouteTarget::TunnelGateway, Some(gateway)) => {
                    Destination::Network(IpNet::from(std::net::IpAddr::from(gateway)))
                }
                (RouteTarget::TunnelGateway, None) => {
                    self.warn("route vpn_gateway", "there is no gateway in the tunnel");
                    continue;
                }
            };
            self.tunnel.routes.push(TunnelRoute {
                destination,
                via: line.via,
                metric: line.metric.or(self.route_metric),
            });
        }
        self.tunnel.redirect = self.redirect.take().map(|line| self.redirect(line));
        Ok(Pushed {
            tunnel: self.tunnel,
            peer_id: self.peer_id,
            token: None,
            warnings: self.warnings,
        })
    }

    /// The address of `ifconfig`, whose second word the topology explains.
    fn v4(&self) -> Result<Option<V4Address>, PushRefused> {
        let Some((address, other)) = self.ifconfig else {
            return Ok(None);
        };
        let refuse = |fault| {
            let option = format!("ifconfig {address} {other}");
            PushRefused::Address { option, fault }
        };
        let network =
            Ipv4Net::with_netmask(address, other).map_err(|_| OptionFault::Netmask(other));
        let is_netmask = network.is_ok() && !other.is_unspecified();
        let subnet = match self.topology {
            Some(topology) => topology == Topology::Subnet,
            // 2.6 would take net30, and 2.7 subnet: what is written leaves no doubt.
            None => is_netmask,
        };
        if subnet {
            return Ok(Some(V4Address::Subnet {
                address: network.map_err(refuse)?,
                gateway: self.route_gateway,
            }));
        }
        if is_netmask {
            return Err(refuse(OptionFault::NetmaskForPeer(other)));
        }
        Ok(Some(V4Address::PointToPoint {
            address,
            peer: other,
            gateway: self.route_gateway.unwrap_or(other),
        }))
    }

    /// The default routes, of the families that the tunnel carries.
    fn redirect(&mut self, line: RedirectLine) -> Redirect {
        let (wanted4, wanted6) = (line.v4 == Some(true), line.v6);
        let (v4, v6) = (self.tunnel.v4.is_some(), self.tunnel.v6.is_some());
        for (wanted, there, family) in [(wanted4, v4, "IPv4"), (wanted6, v6, "IPv6")] {
            if wanted && !there {
                let why = format!("the tunnel has no {family} address, so {family} goes past it");
                self.warn("redirect-gateway", why);
            }
        }
        Redirect {
            v4: wanted4 && v4,
            v6: wanted6 && v6,
            how: match line.halves {
                true => DefaultRoute::Halves,
                false => DefaultRoute::Replaced,
            },
            bypass: line.bypass,
        }
    }

    fn warn(&mut self, option: &str, why: impl std::fmt::Display) {
        if self.warnings.len() < limits::PUSH_WARNINGS_MAX {
            self.warnings
                .push(format!("pushed option '{}': {why}", shown(option)));
        }
    }
}

impl RedirectLine {
    /// The sum of this line and those before it.
    fn after(self, before: Self) -> Self {
        Self {
            v4: self.v4.or(before.v4),
            v6: self.v6 || before.v6,
            halves: self.halves || before.halves,
            bypass: self.bypass.max(before.bypass),
        }
    }
}

/// The session follows what a server says of frames (`Framing::of_push`); here it is refused if it can't.
fn follow_framing(option: &str, name: &str, word: &str) -> Result<(), PushRefused> {
    let word = Some(word).filter(|word| !word.is_empty());
    match Framing::named(name, word) {
        Some(_) => Ok(()),
        None => Err(PushRefused::Framing(shown(option))),
    }
}

fn peer_id(word: &str) -> Result<Option<PeerId>, OptionFault> {
    let id = number(word).map(PeerId::new)?;
    let id = id.ok_or_else(|| OptionFault::Number(word.to_owned()))?;
    Ok(Some(id).filter(|id| *id != PeerId::NONE))
}

/// An option as it may stand in a log.
fn shown(option: &str) -> String {
    let head: String = option.chars().take(limits::PUSH_OPTION_MAX).collect();
    head.escape_debug().to_string()
}

/// What `route-nopull` leaves out. Wire: as 2.6.
const ROUTES_AND_NAMES: [&str; 10] = [
    "route",
    "route-ipv6",
    "route-metric",
    "redirect-gateway",
    "redirect-private",
    "block-ipv6",
    "client-nat",
    "dhcp-option",
    "dns",
    "block-outside-dns",
];

/// What is not about the tunnel.
const OF_THE_SESSION: [&str; 8] = [
    "auth-token",
    "auth-token-user",
    "cipher",
    "inactive",
    "key-derivation",
    "ping",
    "protocol-flags",
    "session-timeout",
];

/// What is so in any case, or about Windows, or for a user interface.
const WITHOUT_EFFECT: [&str; 18] = [
    "block-outside-dns",
    "dhcp-pre-release",
    "dhcp-release",
    "dhcp-renew",
    "echo",
    "ip-remote-hint",
    "ip-win32",
    "parameter",
    "persist-key",
    "persist-tun",
    "ping-timer-rem",
    "rdns-internal",
    "register-dns",
    "route-delay",
    "route-method",
    "socket-flags",
    "tap-sleep",
    "tun-ipv6",
];
