//! The addresses inside the tunnel: the server's own and those of its clients.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::client;
use super::logging::file;
use super::values::{YEAR, ipv4, optional};
use crate::config::directive::{Directive, Refusal, Support};
use crate::config::draft::{Draft, PoolLine, ServerLine, Written};
use crate::config::lexer::Line;
use crate::config::settings::Topology;

pub(super) const ROWS: &[Directive] = &[
    Directive::served("mode", "server", (1, 1), "serve many clients", mode)
        .on_client(Support::Served(client::mode)),
    Directive::served(
        "server",
        "NETWORK NETMASK [nopool]",
        (2, 3),
        "the IPv4 network of the tunnel",
        server,
    )
    .of_servers(),
    Directive::served(
        "server-ipv6",
        "NETWORK/BITS",
        (1, 1),
        "the IPv6 network of the tunnel, /64 to /124",
        server_ipv6,
    )
    .of_servers(),
    Directive::served(
        "topology",
        "subnet|net30|p2p",
        (1, 1),
        "how addresses are laid out; without the line as with `topology net30`",
        topology,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "ifconfig",
        "ADDRESS NETMASK|PEER",
        (2, 2),
        "the server's own address, where there is no `server` line, with the other end of the device \
         unless the topology is subnet",
        ifconfig,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "ifconfig-pool",
        "FIRST LAST [NETMASK]",
        (2, 3),
        "clients' addresses, after `server ... nopool` or with `ifconfig`",
        ifconfig_pool,
    )
    .of_servers(),
    Directive::served(
        "ifconfig-ipv6",
        "ADDRESS/BITS REMOTE",
        (2, 2),
        "the server's own IPv6 address, where there is no `server-ipv6` line",
        ifconfig_ipv6,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "ifconfig-ipv6-pool",
        "FIRST/BITS",
        (1, 1),
        "clients' IPv6 addresses, with `ifconfig-ipv6`",
        ifconfig_ipv6_pool,
    )
    .of_servers(),
    Directive::ignored(
        "ifconfig-nowarn",
        "",
        (0, 0),
        "no warning about a peer's ifconfig",
        "there is no such warning",
    ),
    Directive::served(
        "ifconfig-pool-persist",
        "FILE [SECONDS]",
        (1, 2),
        "keep addresses over a restart in a file, written every 600 seconds if not written otherwise; \
         with 0 it is only read, and its addresses are nobody else's",
        ifconfig_pool_persist,
    )
    .of_servers(),
    Directive::later(
        "ifconfig-noexec",
        "",
        (0, 0),
        "leave addresses to a script",
        "remove the line",
    ),
    Directive::later(
        "server-bridge",
        "[GATEWAY NETMASK FIRST LAST]",
        (0, 4),
        "bridge Ethernet",
        "write `dev tun` and `server NETWORK NETMASK`",
    )
    .of_servers(),
];

fn ifconfig_pool_persist(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = file(line)?.to_owned();
    let seconds = optional(line, 1, 0..=YEAR)?.unwrap_or(PERSIST_SECONDS);
    let interval = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
    draft.network.leases = Written::new((name, interval), line);
    Ok(())
}

fn mode(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("server") => {
            draft.network.mode_server = true;
            Ok(())
        }
        other => Err(
            Refusal::because(format!("`{}` is not served", other.unwrap_or_default()))
                .instead("ringway is a server for many clients: write `mode server`"),
        ),
    }
}

fn server(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (address, netmask) = (ipv4(line, 0)?, ipv4(line, 1)?);
    let network = network_of(address, netmask)?;
    if network.trunc() != network {
        let instead = format!("write `server {} {netmask}`", network.network());
        return Err(Refusal::because(format!(
            "{address} is not the first address of a network with that netmask"
        ))
        .instead(instead));
    }
    if !(SERVER_BITS_MIN..=SERVER_BITS_MAX).contains(&network.prefix_len()) {
        let why = format!("a /{} network; it must be /16 to /29", network.prefix_len());
        return Err(Refusal::because(why));
    }
    let pool = match line.argument(2) {
        None => true,
        Some("nopool") => false,
        Some(other) => {
            return Err(Refusal::because(format!("`{other}` is no flag"))
                .instead("the only flag is `nopool`"));
        }
    };
    draft.network.server = Written::new(ServerLine { network, pool }, line);
    Ok(())
}

fn server_ipv6(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let network = ipv6_net(line, "`server-ipv6 fd00:1234:5678::/64`")?;
    pool_bits(network)?;
    if network.addr() == Ipv6Addr::UNSPECIFIED {
        return Err(Refusal::because("`::` is not a network"));
    }
    draft.network.server_v6 = Written::new(network, line);
    Ok(())
}

fn topology(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let topology = match line.argument(0) {
        Some("subnet") => Topology::Subnet,
        Some("net30") => Topology::Net30,
        Some("p2p") => Topology::PointToPoint,
        other => {
            let why = format!("`{}` is no topology", other.unwrap_or_default());
            return Err(Refusal::because(why).instead("write `topology subnet`"));
        }
    };
    draft.network.topology = Written::new(topology, line);
    Ok(())
}

fn ifconfig_pool(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (first, last) = (ipv4(line, 0)?, ipv4(line, 1)?);
    let netmask = line.argument(2).map(|_| netmask(line, 2)).transpose()?;
    if first > last {
        return Err(Refusal::because(format!("{first} is behind {last}")));
    }
    let pool = PoolLine {
        first,
        last,
        netmask,
    };
    draft.network.pool = Written::new(pool, line);
    Ok(())
}

/// What the second word is, the topology says, which may stand below.
fn ifconfig(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.ifconfig = Written::new((ipv4(line, 0)?, ipv4(line, 1)?), line);
    Ok(())
}

fn netmask(line: &Line, index: usize) -> Result<Ipv4Addr, Refusal> {
    let netmask = ipv4(line, index)?;
    network_of(Ipv4Addr::UNSPECIFIED, netmask).map(|_| netmask)
}

fn network_of(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<Ipv4Net, Refusal> {
    Ipv4Net::with_netmask(address, netmask)
        .map_err(|_| Refusal::because(format!("`{netmask}` is not a netmask")))
}

/// The second argument is the other end of a point-to-point device: looked at, and not used.
fn ifconfig_ipv6(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let interface = ipv6_net(
        line,
        "`ifconfig-ipv6 fd00:1234:5678::1/64 fd00:1234:5678::2`",
    )?;
    let remote = line.argument(1).unwrap_or_default();
    if remote.parse::<Ipv6Addr>().is_err() {
        let why = format!("`{remote}` is not an IPv6 address");
        return Err(Refusal::because(why));
    }
    draft.network.ifconfig_v6 = Written::new(interface, line);
    Ok(())
}

fn ifconfig_ipv6_pool(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let pool = ipv6_net(line, "`ifconfig-ipv6-pool fd00:1234:5678::1000/64`")?;
    pool_bits(pool)?;
    draft.network.pool_v6 = Written::new(pool, line);
    Ok(())
}

/// An address with the bits of its network, 64 if they are not written.
fn ipv6_net(line: &Line, example: &str) -> Result<Ipv6Net, Refusal> {
    let word = line.argument(0).unwrap_or_default();
    let with_bits = match word.contains('/') {
        true => word.to_owned(),
        false => format!("{word}/64"),
    };
    with_bits.parse().map_err(|_| {
        Refusal::because(format!("`{word}` is not an IPv6 network"))
            .instead(format!("write for example {example}"))
    })
}

fn pool_bits(network: Ipv6Net) -> Result<(), Refusal> {
    match network.prefix_len() {
        64..=124 => Ok(()),
        bits => Err(Refusal::because(format!(
            "a /{bits} network; it must be /64 to /124"
        ))),
    }
}

/// The largest and the smallest IPv4 network. Wire: the bounds of 2.6.
const SERVER_BITS_MIN: u8 = 16;
const SERVER_BITS_MAX: u8 = 29;

/// Wire: the default of 2.6.
const PERSIST_SECONDS: u32 = 600;
