//! The device, the addresses inside the tunnel, and packet sizes.

use std::net::Ipv6Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::values::{ipv4, number, optional};
use crate::config::directive::{Directive, MANY, Refusal};
use crate::config::draft::{Draft, ServerLine, Written};
use crate::config::lexer::Line;
use crate::limits;
use crate::packet::Mssfix;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "dev",
        "tun|NAME",
        (1, 1),
        "the tun device; `tun` takes the next free number",
        dev,
    ),
    Directive::served(
        "dev-type",
        "tun",
        (1, 1),
        "type of a device whose name does not say it",
        dev_type,
    ),
    Directive::served("mode", "server", (1, 1), "serve many clients", mode),
    Directive::served(
        "server",
        "NETWORK NETMASK [nopool]",
        (2, 3),
        "the IPv4 network of the tunnel",
        server,
    ),
    Directive::served(
        "server-ipv6",
        "NETWORK/BITS",
        (1, 1),
        "the IPv6 network of the tunnel, /64 to /124",
        server_ipv6,
    ),
    Directive::served(
        "topology",
        "subnet",
        (1, 1),
        "how addresses are laid out",
        topology,
    ),
    Directive::served(
        "ifconfig-pool",
        "FIRST LAST [NETMASK]",
        (2, 3),
        "clients' addresses, after `server ... nopool`",
        ifconfig_pool,
    ),
    Directive::served(
        "tun-mtu",
        "BYTES [ANNOUNCED]",
        (1, 2),
        "MTU inside the tunnel, 1500 if not written",
        tun_mtu,
    ),
    Directive::served(
        "txqueuelen",
        "PACKETS",
        (1, 1),
        "transmit queue of the device",
        txqueuelen,
    ),
    Directive::served(
        "mssfix",
        "[BYTES [mtu|fixed]]",
        (0, 2),
        "clamp TCP segments inside the tunnel, 0 for off",
        mssfix,
    ),
    Directive::always(
        "persist-tun",
        "",
        (0, 0),
        "keep the device over a restart",
        "the device is kept as long as the process lives",
    ),
    Directive::always(
        "disable-dco",
        "[...]",
        (0, MANY),
        "do not use the kernel's data channel",
        "the kernel's data channel is never used",
    ),
    Directive::ignored("tun-ipv6", "", (0, 0), "obsolete", "IPv6 needs no switch"),
    Directive::ignored(
        "hash-size",
        "REAL VIRTUAL",
        (2, 2),
        "sizes of hash tables",
        "tables size themselves",
    ),
    Directive::ignored(
        "bcast-buffers",
        "N",
        (1, 1),
        "buffers for broadcasts",
        "buffers come from one pool",
    ),
    Directive::ignored(
        "mtu-test",
        "",
        (0, 0),
        "measure the MTU at start",
        "it is a client's measurement",
    ),
    Directive::ignored(
        "ifconfig-nowarn",
        "",
        (0, 0),
        "no warning about a peer's ifconfig",
        "there is no such warning",
    ),
    Directive::later(
        "ifconfig",
        "LOCAL NETMASK",
        (2, 2),
        "the server's own address",
        "write `server NETWORK NETMASK`, which sets it",
    ),
    Directive::later(
        "ifconfig-ipv6",
        "LOCAL/BITS REMOTE",
        (2, 2),
        "the server's own IPv6 address",
        "write `server-ipv6 NETWORK/BITS`, which sets it",
    ),
    Directive::later(
        "ifconfig-ipv6-pool",
        "FIRST/BITS",
        (1, 1),
        "clients' IPv6 addresses",
        "write `server-ipv6 NETWORK/BITS`, which has a pool",
    ),
    Directive::later(
        "ifconfig-pool-persist",
        "FILE [SECONDS]",
        (1, 2),
        "keep addresses over a restart",
        "remove the line; a client keeps its address while the server runs",
    ),
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
    ),
    Directive::later(
        "lladdr",
        "ADDRESS",
        (1, 1),
        "hardware address of a tap device",
        "tap is not served; remove the line",
    ),
    Directive::later(
        "dev-node",
        "NODE",
        (1, 1),
        "another /dev/net/tun",
        "remove the line",
    ),
    Directive::later(
        "fragment",
        "BYTES [mtu]",
        (1, 2),
        "split datagrams",
        "it changes the wire format; remove it on both sides and write `mssfix`",
    ),
    Directive::later(
        "link-mtu",
        "BYTES",
        (1, 1),
        "MTU outside the tunnel",
        "write `tun-mtu`",
    ),
    Directive::later(
        "udp-mtu",
        "BYTES",
        (1, 1),
        "MTU outside the tunnel",
        "write `tun-mtu`",
    ),
    Directive::later(
        "tun-mtu-extra",
        "BYTES",
        (1, 1),
        "room above the MTU",
        "remove the line",
    ),
    Directive::later(
        "tun-mtu-max",
        "BYTES",
        (1, 2),
        "largest MTU that is pushed to a client",
        "remove the line",
    ),
    Directive::refused(
        "mtu-dynamic",
        "[...]",
        (0, MANY),
        "split datagrams",
        "renamed: write `fragment`",
    ),
];

fn dev(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    if name.starts_with("tap") {
        return Err(layer_3_only());
    }
    if name == "null" {
        return Err(Refusal::because("a server needs a device").instead("write `dev tun`"));
    }
    if name.len() > DEVICE_NAME_MAX || name.is_empty() || name.contains(['/', ' ']) {
        let why = format!("`{name}` cannot be a device: 1 to {DEVICE_NAME_MAX} bytes, no `/`");
        return Err(Refusal::because(why));
    }
    draft.network.device = Written::new(name.to_owned(), line);
    Ok(())
}

fn dev_type(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("tun") => {
            draft.network.device_is_tun = true;
            Ok(())
        }
        Some("tap") => Err(layer_3_only()),
        other => Err(Refusal::because(format!(
            "`{}` is no device type",
            other.unwrap_or_default()
        ))
        .instead("write `dev-type tun`")),
    }
}

fn layer_3_only() -> Refusal {
    Refusal::because("ringway carries IP packets, not Ethernet frames (tap) yet")
        .instead("write `dev tun`, on the server and the clients")
}

fn mode(_: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("server") => Ok(()),
        other => Err(
            Refusal::because(format!("`{}` is not served", other.unwrap_or_default()))
                .instead("ringway is a server for many clients: write `mode server`"),
        ),
    }
}

fn server(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (address, netmask) = (ipv4(line, 0)?, ipv4(line, 1)?);
    let network = Ipv4Net::with_netmask(address, netmask)
        .map_err(|_| Refusal::because(format!("`{netmask}` is not a netmask")))?;
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
    let word = line.argument(0).unwrap_or_default();
    let network: Ipv6Net = word.parse().map_err(|_| {
        Refusal::because(format!("`{word}` is not an IPv6 network"))
            .instead("write for example `server-ipv6 fd00:1234:5678::/64`")
    })?;
    if !(64..=124).contains(&network.prefix_len()) {
        let why = format!(
            "a /{} network; it must be /64 to /124",
            network.prefix_len()
        );
        return Err(Refusal::because(why));
    }
    if network.addr() == Ipv6Addr::UNSPECIFIED {
        return Err(Refusal::because("`::` is not a network"));
    }
    draft.network.server_v6 = Written::new(network, line);
    Ok(())
}

fn topology(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.topology_written = true;
    match line.argument(0) {
        Some("subnet") => Ok(()),
        Some(old @ ("net30" | "p2p")) => Err(Refusal::because(format!(
            "`{old}` is not served: ringway gives each client one address of one network"
        ))
        .instead("write `topology subnet`; clients learn it from the server")),
        other => Err(
            Refusal::because(format!("`{}` is no topology", other.unwrap_or_default()))
                .instead("write `topology subnet`"),
        ),
    }
}

fn ifconfig_pool(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (first, last) = (ipv4(line, 0)?, ipv4(line, 1)?);
    if let Some(netmask) = line.argument(2) {
        ipv4(line, 2)?;
        draft.warn(
            line,
            format!("the netmask {netmask} has no effect: clients get that of `server`"),
        );
    }
    if first > last {
        return Err(Refusal::because(format!("{first} is behind {last}")));
    }
    draft.network.pool = Written::new((first, last), line);
    Ok(())
}

fn tun_mtu(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.mtu = number(line, 0, limits::TUN_MTU_MIN..=limits::TUN_MTU_MAX)?;
    if line.argument(1).is_some() {
        draft.warn(
            line,
            "the second number has no effect: it only changed a text that peers compare",
        );
    }
    Ok(())
}

fn txqueuelen(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.transmit_queue = Some(number(line, 0, 0..=1_000_000)?);
    Ok(())
}

fn mssfix(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let Some(bytes) = optional(line, 0, 0..=u16::MAX)? else {
        draft.network.mssfix = None;
        return Ok(());
    };
    let clamp: fn(u16) -> Mssfix = match line.argument(1) {
        None => Mssfix::Payload,
        Some("mtu") => Mssfix::Packet,
        Some("fixed") => Mssfix::Inner,
        Some(other) => {
            return Err(Refusal::because(format!("`{other}` is no flag"))
                .instead("the flags are `mtu` and `fixed`"));
        }
    };
    draft.network.mssfix = Some(if bytes == 0 {
        Mssfix::Off
    } else {
        clamp(bytes)
    });
    Ok(())
}

/// What the kernel takes for a device's name.
const DEVICE_NAME_MAX: usize = 15;

/// The largest and the smallest IPv4 network. Wire: the bounds of 2.6.
const SERVER_BITS_MIN: u8 = 16;
const SERVER_BITS_MAX: u8 = 29;
