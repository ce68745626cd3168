//! The device, and packet sizes.

use super::client;
use super::values::{number, optional};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::limits;
use crate::packet::{FragmentLimit, Mssfix};

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
        "packets that wait in each queue of the device; 1000 if not written, or what a device has \
         that was there before",
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
    )
    .of_servers(),
    Directive::ignored(
        "bcast-buffers",
        "N",
        (1, 1),
        "buffers for broadcasts",
        "buffers come from one pool",
    )
    .of_servers(),
    Directive::ignored(
        "mtu-test",
        "",
        (0, 0),
        "measure the MTU at start",
        "the way is not measured; who measures it from the other end has its answers",
    ),
    Directive::later(
        "lladdr",
        "ADDRESS",
        (1, 1),
        "hardware address of a tap device",
        "tap is not served; remove the line",
    ),
    Directive::ignored(
        "dev-node",
        "NODE",
        (1, 1),
        "another /dev/net/tun",
        "the device is always made by /dev/net/tun",
    ),
    Directive::served(
        "fragment",
        "BYTES [mtu]",
        (1, 2),
        "cut packets so that no datagram is larger; the other side needs the line, too",
        fragment,
    ),
    Directive::served(
        "link-mtu",
        "BYTES",
        (1, 1),
        "old form of `tun-mtu`: that is so much less as OpenVPN 2.6 counts for `cipher` and `auth`, and TCP is \
         not clamped unless `mssfix` is written",
        |draft, line| link_mtu(draft, line, "link-mtu"),
    ),
    Directive::served(
        "udp-mtu",
        "BYTES",
        (1, 1),
        "older name of `link-mtu`",
        |draft, line| link_mtu(draft, line, "udp-mtu"),
    ),
    Directive::ignored(
        "tun-mtu-extra",
        "BYTES",
        (1, 1),
        "room above the MTU",
        "buffers have room for every packet",
    ),
    Directive::ignored(
        "tun-mtu-max",
        "BYTES",
        (1, 2),
        "largest MTU that a client is pushed",
        "it is a client's; a server pushes its `tun-mtu`, and buffers have room for every packet",
    )
    .on_client(Support::Served(client::tun_mtu_max)),
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
        return Err(Refusal::because("packets need a device").instead("write `dev tun`"));
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

fn tun_mtu(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.mtu = number(line, 0, limits::TUN_MTU_MIN..=limits::TUN_MTU_MAX)?;
    draft.network.mtu_is_written = true;
    if line.argument(1).is_some() {
        draft.warn(
            line,
            "the second number has no effect: it only changed a text that peers compare",
        );
    }
    Ok(())
}

/// What it comes to is known when `cipher`, `auth` and `proto` are.
fn link_mtu(draft: &mut Draft, line: &Line, name: &'static str) -> Result<(), Refusal> {
    draft.network.link_mtu = Written::new((name, number(line, 0, 0..=limits::TUN_MTU_MAX)?), line);
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

fn fragment(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let bytes = number(line, 0, FRAGMENT_MIN..=u16::MAX)?;
    let limit = match line.argument(1) {
        None => FragmentLimit::Payload(bytes),
        Some("mtu") => FragmentLimit::Packet(bytes),
        Some(other) => {
            return Err(
                Refusal::because(format!("`{other}` is no flag")).instead("the flag is `mtu`")
            );
        }
    };
    draft.network.fragment = Written::new(limit, line);
    Ok(())
}

/// Wire: 2.6 clamps TCP to this size of the whole outer packet, and keeps its own packets to it as well.
pub(super) fn max_packet_size(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let bytes = number(line, 0, limits::TUN_MTU_MIN..=u16::MAX)?;
    draft.network.mssfix = Some(Mssfix::Packet(bytes));
    draft.warn(
        line,
        "clamps TCP as `mssfix BYTES mtu` does; packets of the control channel stay as they are, at most \
         1250 bytes",
    );
    Ok(())
}

/// Wire: the least that 2.x takes.
const FRAGMENT_MIN: u16 = 68;

/// What the kernel takes for a device's name.
const DEVICE_NAME_MAX: usize = 15;
