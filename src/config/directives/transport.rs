//! Where clients reach the server.

use std::net::{IpAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::time::Duration;

use super::client;
use super::values::{YEAR, number, port as port_at, seconds};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, Family, Local, PortShareLine, Written};
use crate::config::lexer::Line;
use crate::config::settings::{ListenerTransport, PathMtu, Rate};
use crate::limits;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "port",
        "PORT",
        (1, 1),
        "UDP or TCP port, 1194 if not written; on a client, that of the server",
        port,
    )
    .on_client(Support::Served(client::port)),
    Directive::served("lport", "PORT", (1, 1), "UDP or TCP port, as `port`; on a client, its own", port)
    .on_client(Support::Served(client::lport)),
    Directive::served(
        "local",
        "ADDRESS [PORT [PROTO]]",
        (1, 3),
        "local address; lines with a port add up, each a socket of its own, with a transport of its own if it names one",
        local,
    )
    .on_client(Support::Served(client::local)),
    Directive::served(
        "proto",
        "udp|udp4|udp6|tcp|tcp4|tcp6|tcp-server|...",
        (1, 1),
        "transport and address family",
        proto,
    )
    .on_client(Support::Served(client::proto)),
    Directive::served(
        "bind",
        "[ipv6only]",
        (0, 1),
        "bind; `ipv6only` leaves IPv4 out",
        bind,
    )
    .on_client(Support::Served(client::bind)),
    Directive::always(
        "multihome",
        "",
        (0, 0),
        "answer from the address that was asked",
        "replies always leave from the address that was asked",
    )
    .on_client(Support::Always("a client's socket has one local address")),
    Directive::always(
        "float",
        "",
        (0, 0),
        "follow clients to a new address",
        "the authenticated packets of a client with a peer id always move it to their address; one \
         without is known by its address",
    )
    .on_client(Support::Ignored("packets are taken from the address that was dialed alone")),
    Directive::served(
        "sndbuf",
        "BYTES",
        (1, 1),
        "send buffer of a shard's socket, 0 for 4 MiB or the kernel's if larger; a client that fills it gets a smaller one of its own",
        sndbuf,
    ),
    Directive::served(
        "rcvbuf",
        "BYTES",
        (1, 1),
        "receive buffer of each socket, 0 for 4 MiB or the kernel's if larger",
        rcvbuf,
    ),
    Directive::served(
        "bind-dev",
        "DEVICE",
        (1, 1),
        "the device, such as that of a VRF, by which alone packets outside of the tunnel come and go",
        bind_dev,
    ),
    Directive::served(
        "mark",
        "VALUE",
        (1, 1),
        "mark of the packets that are sent outside of the tunnel, which rules of the machine can look at",
        mark,
    ),
    Directive::served(
        "mtu-disc",
        "no|maybe|yes",
        (1, 1),
        "path MTU discovery of the sockets; if not written, as the system has it",
        mtu_disc,
    ),
    Directive::served(
        "passtos",
        "",
        (0, 0),
        "copy the class (DSCP) of packets of both families to the datagrams around them; ECN stays clear",
        passtos,
    ),
    Directive::served(
        "port-share",
        "HOST PORT [DIRECTORY]",
        (2, 3),
        "pass TCP connections that are not OpenVPN's on to a web server; files in the directory, which \
         `user` has to be able to write, are named as our end of each and say who is at the other",
        port_share,
    )
    .of_servers(),
    Directive::served(
        "socket-flags",
        "FLAG...",
        (0, MANY),
        "socket options; the one that there is, `TCP_NODELAY`, is set in any case",
        socket_flags,
    ),
    Directive::served(
        "tcp-nodelay",
        "",
        (0, 0),
        "have clients send small TCP segments at once, as the server always does",
        tcp_nodelay,
    )
    .on_client(Support::Always("small segments always leave at once")),
    Directive::served(
        "tcp-queue-limit",
        "PACKETS",
        (1, 1),
        "data packets that wait for a TCP client that reads too slowly, 64 if not written; control \
         packets do not count",
        tcp_queue_limit,
    )
    .of_servers(),
    Directive::ignored(
        "fast-io",
        "",
        (0, 0),
        "skip a poll before writing",
        "io_uring does not poll before it writes",
    ),
    Directive::later(
        "shaper",
        "BYTES-PER-SECOND",
        (1, 1),
        "limit the rate of sending",
        "remove the line; limits for each client come with the limit modules",
    ),
    Directive::served(
        "connect-freq",
        "N SECONDS",
        (2, 2),
        "new sessions in so many seconds, over all shards; no bound if not written or SECONDS is 0",
        connect_freq,
    )
    .of_servers(),
    Directive::served(
        "connect-freq-initial",
        "N SECONDS",
        (2, 2),
        "answers to first packets of strangers in so many seconds, over all shards; 100 in 10 if \
         not written",
        connect_freq_initial,
    )
    .of_servers(),
    Directive::served(
        "max-packet-size",
        "BYTES",
        (1, 1),
        "clamp TCP segments inside the tunnel for outer packets of this size",
        super::network::max_packet_size,
    ),
    Directive::refused(
        "nobind",
        "",
        (0, 0),
        "let the kernel choose the port, as a client does unless `lport`, `local` or `bind` is written",
        "a server has to bind; remove the line",
    )
    .on_client(Support::Served(client::nobind)),
    Directive::ignored(
        "proto-force",
        "PROTO",
        (1, 1),
        "choose among a client's remotes",
        "it belongs to a client's configuration; remove the line",
    )
    .on_client(Support::Refused("remove the `remote` lines that are not meant")),
];

fn mtu_disc(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.path_mtu = Some(match line.argument(0) {
        Some("no") => PathMtu::Ignored,
        Some("maybe") => PathMtu::Minded,
        Some("yes") => PathMtu::Demanded,
        other => {
            let why = format!("`{}` is no choice", other.unwrap_or_default());
            return Err(Refusal::because(why).instead("write `no`, `maybe` or `yes`"));
        }
    });
    Ok(())
}

fn port(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.port = port_at(line, 0, 0..=u16::MAX)?;
    Ok(())
}

/// A line without a port replaces the one before it, as it does in 2.6; lines with one add up, as
/// in 2.7.
fn local(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let port = line.argument(1);
    let port = port.map(|_| port_at(line, 1, 0..=u16::MAX));
    let port = port.transpose()?;
    let proto = line.argument(2).map(listener_proto).transpose()?;
    let address = match line.argument(0) {
        None | Some("*") => None,
        Some(name) => Some(resolve(name)?),
    };
    if port.is_none() {
        draft.network.locals.retain(|local| local.port.is_some());
    }
    draft.network.locals.push(Local {
        address,
        port,
        proto,
        at: line.at.clone(),
    });
    Ok(())
}

fn resolve(name: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let mut found = (name, 0).to_socket_addrs().map_err(|error| {
        Refusal::because(format!(
            "`{name}` is no address and does not resolve: {error}"
        ))
    })?;
    let found = found.next().map(|address| address.ip());
    found.ok_or_else(|| Refusal::because(format!("`{name}` resolves to nothing")))
}

fn proto(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let proto = listener_proto(line.argument(0).unwrap_or_default())?;
    (draft.network.transport, draft.network.family) = proto;
    Ok(())
}

/// Wire: a server's `tcp` is `tcp-server`, as in 2.6.
fn listener_proto(name: &str) -> Result<(ListenerTransport, Family), Refusal> {
    match name {
        "udp" => Ok((ListenerTransport::Udp, Family::Any)),
        "udp4" => Ok((ListenerTransport::Udp, Family::V4)),
        "udp6" => Ok((ListenerTransport::Udp, Family::V6)),
        "tcp" | "tcp-server" => Ok((ListenerTransport::Tcp, Family::Any)),
        "tcp4" | "tcp4-server" => Ok((ListenerTransport::Tcp, Family::V4)),
        "tcp6" | "tcp6-server" => Ok((ListenerTransport::Tcp, Family::V6)),
        client if client.starts_with("tcp") && client.ends_with("-client") => {
            Err(Refusal::because("a server listens")
                .instead(format!("write `{}`", client.replace("client", "server"))))
        }
        other => Err(Refusal::because(format!("`{other}` is no protocol"))
            .instead("write `udp`, `udp4`, `udp6`, `tcp`, `tcp4` or `tcp6`")),
    }
}

/// Wire: 2.6 takes a name of at most 15 bytes, as the kernel does.
fn bind_dev(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let device = line.argument(0).unwrap_or_default();
    if !(1..=DEVICE_MAX).contains(&device.len()) {
        return Err(Refusal::because(format!(
            "`{device}` can't be the name of a device"
        )));
    }
    draft.network.routing.device = Some(device.to_owned());
    Ok(())
}

fn mark(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.routing.mark = Some(number(line, 0, 0..=u32::MAX)?);
    Ok(())
}

fn passtos(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.copies_classes = Written::new((), line);
    Ok(())
}

/// Wire: 2.6 passes over flags that it does not know.
fn socket_flags(_: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let flags = (0..MANY).map_while(|index| line.argument(index));
    match flags.into_iter().find(|flag| *flag != "TCP_NODELAY") {
        None => Ok(()),
        Some(flag) => Err(Refusal::because(format!("`{flag}` is no flag"))
            .instead("write `TCP_NODELAY`, or remove the line")
            .but_served()),
    }
}

fn tcp_nodelay(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.network.sends_at_once = true;
    Ok(())
}

fn tcp_queue_limit(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.stream_queue = number(line, 0, 1..=limits::STREAM_QUEUE_MAX)?;
    Ok(())
}

fn port_share(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let address = resolve(line.argument(0).unwrap_or_default())?;
    let port = port_at(line, 1, 1..=u16::MAX)?;
    let journal = line.argument(2).map(|directory| draft.path(directory));
    let server = (address, port).into();
    draft.network.port_share = Written::new(PortShareLine { server, journal }, line);
    Ok(())
}

fn bind(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        None => Ok(()),
        Some("ipv6only") => {
            draft.network.v6_only = true;
            Ok(())
        }
        Some(other) => Err(Refusal::because(format!("`{other}` is no keyword"))
            .instead("write `bind` or `bind ipv6only`")),
    }
}

fn sndbuf(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.send_buffer = buffer(line)?;
    Ok(())
}

fn rcvbuf(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.receive_buffer = buffer(line)?;
    Ok(())
}

fn connect_freq(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (count, per) = (number(line, 0, 0..=u32::MAX)?, seconds(line, 1, 0..=YEAR)?);
    draft.network.contact.new_sessions = match (count, per) {
        // Wire: 2.6 does not count when the time is 0.
        (_, Duration::ZERO) => None,
        (0, _) => {
            return Err(Refusal::because("nobody could connect")
                .instead("remove the line, or write how many"));
        }
        (count, per) => Some(Rate { count, per }),
    };
    Ok(())
}

fn connect_freq_initial(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.contact.initial = Rate {
        count: number(line, 0, 1..=u32::MAX)?,
        per: seconds(line, 1, 1..=YEAR)?,
    };
    Ok(())
}

/// The longest name of a device.
const DEVICE_MAX: usize = 15;

fn buffer(line: &Line) -> Result<Option<NonZeroU32>, Refusal> {
    // The kernel's own type is a signed 32-bit number that it doubles.
    number(line, 0, 0..=1 << 30).map(NonZeroU32::new)
}
