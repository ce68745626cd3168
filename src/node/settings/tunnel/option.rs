//! One line of a client's file, or one option that a server pushes, about the tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Bypass, Destination, V6Address, Via};

/// A line of a client's file, or an option that a server pushes, about the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelOption {
    /// `topology`.
    Topology(Topology),
    /// `ifconfig ADDRESS WORD`: what the second is, the topology says.
    Ifconfig(Ipv4Addr, Ipv4Addr),
    /// `ifconfig-ipv6 ADDRESS/BITS REMOTE`.
    IfconfigV6(V6Address),
    /// `route-gateway ADDRESS`.
    RouteGateway(Ipv4Addr),
    /// `route-metric N`.
    RouteMetric(u32),
    /// `route` or `route-ipv6`.
    Route(RouteLine),
    /// `redirect-gateway` or `redirect-private`.
    Redirect(RedirectLine),
    /// `block-ipv6`.
    BlockIpv6,
    /// `dhcp-option`, without that word.
    DhcpOption(String),
}

/// How addresses are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One network of addresses, one for each client.
    Subnet,
    /// A network of four addresses for each client.
    Net30,
    /// One address for each client, the server at the other end.
    PointToPoint,
}

/// A `route` or `route-ipv6` line, before gateway and metric of other lines are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLine {
    /// What it is to.
    pub target: RouteTarget,
    /// Where it leads.
    pub via: Via,
    /// Its own metric; `None` for that of `route-metric`.
    pub metric: Option<u32>,
}

/// What a line's route is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// As of a route.
    Known(Destination),
    /// The gateway of the tunnel (`vpn_gateway`).
    TunnelGateway,
}

/// A `redirect-gateway` or `redirect-private` line; several add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedirectLine {
    /// Whether IPv4's default route leads into the tunnel, `None` to leave it as other lines say.
    pub v4: Option<bool>,
    /// Whether IPv6's does.
    pub v6: bool,
    /// Whether IPv4's is two halves beside the machine's own.
    pub halves: bool,
    /// Whether the server needs a route of its own.
    pub bypass: Bypass,
}

/// Why a line about the tunnel is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionFault {
    /// Not this many words.
    #[error("takes {}, not {written}", plural(*.fewest, *.most))]
    Words {
        /// At least.
        fewest: usize,
        /// At most.
        most: usize,
        /// As written.
        written: usize,
    },
    /// No IPv4 address where one has to be.
    #[error("`{0}` is not an IPv4 address")]
    Ipv4(String),
    /// No IPv6 address where one has to be.
    #[error("`{0}` is not an IPv6 address")]
    Ipv6(String),
    /// No IPv6 network where one has to be.
    #[error("`{0}` is not an IPv6 network such as 2001:db8::/32")]
    Ipv6Network(String),
    /// A netmask with holes.
    #[error("`{0}` is not a netmask")]
    Netmask(Ipv4Addr),
    /// A netmask where the other end's address has to be.
    #[error("`{0}` is a netmask, but the topology is not subnet")]
    NetmaskForPeer(Ipv4Addr),
    /// A network that begins elsewhere.
    #[error("{address} is not the first address of its network, which is {network}")]
    HostBits {
        /// What is written.
        address: IpAddr,
        /// What the prefix makes of it.
        network: IpNet,
    },
    /// No number where one has to be.
    #[error("`{0}` is not a whole number that fits here")]
    Number(String),
    /// A flag that the option does not have.
    #[error("`{0}` is no flag")]
    Flag(String),
    /// A flag that is not served.
    #[error("`block-local` is not served: the local network would stay within reach")]
    BlockLocal,
    /// A topology that is none.
    #[error("`{0}` is no topology: there are subnet, net30 and p2p")]
    Topology(String),
    /// The machine's gateway is not a destination.
    #[error("`net_gateway` is where a route leads, not what it is to")]
    MachineGateway,
    /// The gateway would come by DHCP.
    #[error("`dhcp` is for tap devices, which are not served")]
    Dhcp,
}

impl TunnelOption {
    /// Reads a line; `None` if its name is not that of such a line.
    ///
    /// # Errors
    /// What is wrong with its words.
    pub fn parse(name: &str, words: &[String]) -> Result<Option<Self>, OptionFault> {
        let words = Words(words);
        let option = match name {
            "topology" => Self::Topology(topology(words.exactly(1)?.at(0))?),
            "ifconfig" => {
                let words = words.exactly(2)?;
                Self::Ifconfig(ipv4(words.at(0))?, ipv4(words.at(1))?)
            }
            "ifconfig-ipv6" => Self::IfconfigV6(ifconfig_ipv6(words.exactly(2)?)?),
            "route-gateway" => Self::RouteGateway(route_gateway(words.exactly(1)?.at(0))?),
            "route-metric" => Self::RouteMetric(number(words.exactly(1)?.at(0))?),
            "route" => Self::Route(route(words.between(1, 4)?)?),
            "route-ipv6" => Self::Route(route_ipv6(words.between(1, 3)?)?),
            "redirect-gateway" => Self::Redirect(redirect(Some(true), words)?),
            "redirect-private" => Self::Redirect(redirect(None, words)?),
            "block-ipv6" => {
                words.exactly(0)?;
                Self::BlockIpv6
            }
            "dhcp-option" => Self::DhcpOption(words.between(1, 3)?.0.join(" ")),
            _ => return Ok(None),
        };
        Ok(Some(option))
    }
}

/// The words after an option's name.
#[derive(Clone, Copy)]
struct Words<'w>(&'w [String]);

impl<'w> Words<'w> {
    fn between(self, fewest: usize, most: usize) -> Result<Self, OptionFault> {
        let written = self.0.len();
        match (fewest..=most).contains(&written) {
            true => Ok(self),
            false => Err(OptionFault::Words {
                fewest,
                most,
                written,
            }),
        }
    }

    fn exactly(self, count: usize) -> Result<Self, OptionFault> {
        self.between(count, count)
    }

    fn at(self, index: usize) -> &'w str {
        self.0.get(index).map_or("", String::as_str)
    }

    /// The word at `index`, `None` if it is not written or stands for what is if it were not.
    fn written(self, index: usize) -> Option<&'w str> {
        let word = self.0.get(index)?;
        (word != "default").then_some(word)
    }
}

fn topology(word: &str) -> Result<Topology, OptionFault> {
    match word {
        "subnet" => Ok(Topology::Subnet),
        "net30" => Ok(Topology::Net30),
        "p2p" => Ok(Topology::PointToPoint),
        other => Err(OptionFault::Topology(other.to_owned())),
    }
}

fn ifconfig_ipv6(words: Words<'_>) -> Result<V6Address, OptionFault> {
    Ok(V6Address {
        address: ipv6_net(words.at(0))?,
        gateway: ipv6(words.at(1))?,
    })
}

fn route_gateway(word: &str) -> Result<Ipv4Addr, OptionFault> {
    match word {
        "dhcp" => Err(OptionFault::Dhcp),
        address => ipv4(address),
    }
}

fn route(words: Words<'_>) -> Result<RouteLine, OptionFault> {
    let netmask = words.written(1).map_or(Ok(Ipv4Addr::BROADCAST), ipv4)?;
    let network = |address| {
        let network =
            Ipv4Net::with_netmask(address, netmask).map_err(|_| OptionFault::Netmask(netmask))?;
        whole(network.into())
    };
    let target = match words.at(0) {
        "vpn_gateway" => RouteTarget::TunnelGateway,
        "net_gateway" => return Err(OptionFault::MachineGateway),
        "remote_host" => RouteTarget::Known(Destination::Remote),
        address => RouteTarget::Known(network(ipv4(address)?)?),
    };
    Ok(RouteLine {
        target,
        via: via(words.written(2), |word| ipv4(word).map(IpAddr::from))?,
        metric: words.written(3).map(number).transpose()?,
    })
}

fn route_ipv6(words: Words<'_>) -> Result<RouteLine, OptionFault> {
    Ok(RouteLine {
        target: RouteTarget::Known(whole(ipv6_net(words.at(0))?.into())?),
        via: via(words.written(1), |word| ipv6(word).map(IpAddr::from))?,
        metric: words.written(2).map(number).transpose()?,
    })
}

/// A network without bits behind its prefix.
fn whole(network: IpNet) -> Result<Destination, OptionFault> {
    if network.trunc() != network {
        return Err(OptionFault::HostBits {
            address: network.addr(),
            network: network.trunc(),
        });
    }
    Ok(Destination::Network(network))
}

fn via(
    word: Option<&str>,
    address: impl Fn(&str) -> Result<IpAddr, OptionFault>,
) -> Result<Via, OptionFault> {
    match word {
        None | Some("vpn_gateway") => Ok(Via::Tunnel),
        Some("net_gateway") => Ok(Via::Machine),
        Some(word) => address(word).map(Via::Gateway),
    }
}

fn redirect(v4: Option<bool>, words: Words<'_>) -> Result<RedirectLine, OptionFault> {
    let mut line = RedirectLine {
        v4,
        ..RedirectLine::default()
    };
    for flag in words.0 {
        match flag.as_str() {
            "def1" => line.halves = true,
            "ipv6" => line.v6 = true,
            "!ipv4" => line.v4 = Some(false),
            "autolocal" => line.bypass = line.bypass.max(Bypass::UnlessLocal),
            "local" => line.bypass = Bypass::Never,
            // Wire: of Windows alone, as in OpenVPN.
            "bypass-dhcp" | "bypass-dns" => {}
            "block-local" => return Err(OptionFault::BlockLocal),
            other => return Err(OptionFault::Flag(other.to_owned())),
        }
    }
    Ok(line)
}

fn ipv4(word: &str) -> Result<Ipv4Addr, OptionFault> {
    word.parse().map_err(|_| OptionFault::Ipv4(word.to_owned()))
}

fn ipv6(word: &str) -> Result<Ipv6Addr, OptionFault> {
    word.parse().map_err(|_| OptionFault::Ipv6(word.to_owned()))
}

fn ipv6_net(word: &str) -> Result<Ipv6Net, OptionFault> {
    word.parse()
        .map_err(|_| OptionFault::Ipv6Network(word.to_owned()))
}

pub(super) fn number<T: FromStr>(word: &str) -> Result<T, OptionFault> {
    word.parse()
        .map_err(|_| OptionFault::Number(word.to_owned()))
}

fn plural(fewest: usize, most: usize) -> String {
    match (fewest, most) {
        (1, 1) => "1 word".to_owned(),
        (fewest, most) if fewest == most => format!("{fewest} words"),
        (fewest, most) => format!("{fewest} to {most} words"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line is, or the sentence about it.
    fn parsed(line: &str) -> Result<Option<TunnelOption>, String> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap();
        let words: Vec<String> = words.collect();
        TunnelOption::parse(&name, &words).map_err(|fault| fault.to_string())
    }

    fn route_to(network: &str, via: Via, metric: Option<u32>) -> TunnelOption {
        TunnelOption::Route(RouteLine {
            target: RouteTarget::Known(Destination::Network(network.parse().unwrap())),
            via,
            metric,
        })
    }

    fn redirect(v4: Option<bool>, v6: bool, halves: bool, bypass: Bypass) -> TunnelOption {
        TunnelOption::Redirect(RedirectLine {
            v4,
            v6,
            halves,
            bypass,
        })
    }

    #[test]
    fn lines_and_what_they_are() {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let gateway = |text: &str| Via::Gateway(text.parse().unwrap());
        let named = |target, via| {
            TunnelOption::Route(RouteLine {
                target,
                via,
                metric: None,
            })
        };
        let server = RouteTarget::Known(Destination::Remote);
        let (private, all) = (None, Some(true));
        for (line, option) in [
            ("topology subnet", TunnelOption::Topology(Topology::Subnet)),
            (
                "topology p2p",
                TunnelOption::Topology(Topology::PointToPoint),
            ),
            (
                "ifconfig 10.8.0.2 255.255.255.0",
                TunnelOption::Ifconfig(v4("10.8.0.2"), v4("255.255.255.0")),
            ),
            (
                "ifconfig-ipv6 fd00::2/64 fd00::1",
                TunnelOption::IfconfigV6(V6Address {
                    address: "fd00::2/64".parse().unwrap(),
                    gateway: "fd00::1".parse().unwrap(),
                }),
            ),
            (
                "route-gateway 10.8.0.1",
                TunnelOption::RouteGateway(v4("10.8.0.1")),
            ),
            ("route-metric 7", TunnelOption::RouteMetric(7)),
            ("route 10.1.2.3", route_to("10.1.2.3/32", Via::Tunnel, None)),
            (
                "route 10.1.0.0 255.255.0.0",
                route_to("10.1.0.0/16", Via::Tunnel, None),
            ),
            (
                "route 10.1.0.0 255.255.0.0 vpn_gateway 5",
                route_to("10.1.0.0/16", Via::Tunnel, Some(5)),
            ),
            (
                "route 10.1.2.3 default net_gateway default",
                route_to("10.1.2.3/32", Via::Machine, None),
            ),
            (
                "route 10.1.0.0 255.255.0.0 192.0.2.1",
                route_to("10.1.0.0/16", gateway("192.0.2.1"), None),
            ),
            (
                "route 0.0.0.0 0.0.0.0",
                route_to("0.0.0.0/0", Via::Tunnel, None),
            ),
            (
                "route remote_host 255.255.255.255 net_gateway",
                named(server, Via::Machine),
            ),
            (
                "route vpn_gateway",
                named(RouteTarget::TunnelGateway, Via::Tunnel),
            ),
            (
                "route-ipv6 fd01::/48",
                route_to("fd01::/48", Via::Tunnel, None),
            ),
            (
                "route-ipv6 fd01::/48 fd00::1 9",
                route_to("fd01::/48", gateway("fd00::1"), Some(9)),
            ),
            (
                "redirect-gateway",
                redirect(all, false, false, Bypass::Always),
            ),
            (
                "redirect-gateway def1 bypass-dhcp",
                redirect(all, false, true, Bypass::Always),
            ),
            (
                "redirect-gateway ipv6 !ipv4 local autolocal",
                redirect(Some(false), true, false, Bypass::Never),
            ),
            (
                "redirect-private autolocal",
                redirect(private, false, false, Bypass::UnlessLocal),
            ),
            ("block-ipv6", TunnelOption::BlockIpv6),
            (
                "dhcp-option DNS 10.8.0.1",
                TunnelOption::DhcpOption("DNS 10.8.0.1".to_owned()),
            ),
        ] {
            assert_eq!(parsed(line), Ok(Some(option)), "{line}");
        }
        assert_eq!(parsed("ping 10"), Ok(None));
    }

    #[test]
    fn lines_that_are_none() {
        for (line, why) in [
            ("topology", "takes 1 word, not 0"),
            (
                "topology ring",
                "`ring` is no topology: there are subnet, net30 and p2p",
            ),
            ("ifconfig 10.8.0.2", "takes 2 words, not 1"),
            (
                "ifconfig 10.8.0 255.0.0.0",
                "`10.8.0` is not an IPv4 address",
            ),
            (
                "ifconfig-ipv6 fd00::2 fd00::1",
                "`fd00::2` is not an IPv6 network such as 2001:db8::/32",
            ),
            ("ifconfig-ipv6 fd00::2/64 x", "`x` is not an IPv6 address"),
            (
                "route-gateway dhcp",
                "`dhcp` is for tap devices, which are not served",
            ),
            (
                "route-metric -1",
                "`-1` is not a whole number that fits here",
            ),
            (
                "route-metric 4294967296",
                "`4294967296` is not a whole number that fits here",
            ),
            (
                "route net_gateway",
                "`net_gateway` is where a route leads, not what it is to",
            ),
            ("route example.net", "`example.net` is not an IPv4 address"),
            (
                "route 10.0.0.0 255.0.255.0",
                "`255.0.255.0` is not a netmask",
            ),
            (
                "route 10.0.0.1 255.0.0.0",
                "10.0.0.1 is not the first address of its network, which is 10.0.0.0/8",
            ),
            (
                "route-ipv6 fd01::1/48",
                "fd01::1 is not the first address of its network, which is fd01::/48",
            ),
            (
                "route-ipv6 fd01::/129",
                "`fd01::/129` is not an IPv6 network such as 2001:db8::/32",
            ),
            (
                "route 10.0.0.0 255.0.0.0 fd00::1",
                "`fd00::1` is not an IPv4 address",
            ),
            ("redirect-gateway def2", "`def2` is no flag"),
            (
                "redirect-gateway block-local",
                "`block-local` is not served: the local network would stay within reach",
            ),
            ("block-ipv6 now", "takes 0 words, not 1"),
            ("dhcp-option", "takes 1 to 3 words, not 0"),
        ] {
            assert_eq!(parsed(line), Err(why.to_owned()), "{line}");
        }
    }
}
