//! Sockets and the device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, Family, MTU_DEFAULT, Written};
use crate::config::pki::reason;
use crate::config::settings::{
    Bind, DeviceName, DeviceSettings, ListenerSettings, ListenerTransport, PortShareSettings,
    ProxySettings,
};
use crate::limits;

pub(super) fn listeners(draft: &mut Draft) -> Option<Vec<ListenerSettings>> {
    let usual = (draft.network.transport, draft.network.family);
    let v6_only = draft.network.v6_only;
    let (send_buffer, receive_buffer) = (draft.network.send_buffer, draft.network.receive_buffer);
    let port = draft.network.port;
    let listener = |transport, family, bind, port| ListenerSettings {
        transport,
        protocol: protocol(transport, family),
        bind,
        port,
        proxy: None,
        send_buffer,
        receive_buffer,
    };
    if draft.network.locals.is_empty() {
        let bound = bind(None, usual.1, v6_only);
        return bound.map(|bind| vec![listener(usual.0, usual.1, bind, port)]);
    }
    let mut listeners = Vec::new();
    for local in draft.network.locals.clone() {
        let (transport, family) = local.proto.unwrap_or(usual);
        let Some(bind) = bind(local.address, family, v6_only) else {
            let why = "the address is not of the family that `proto` names";
            let instead = Some("write `proto udp` or `proto tcp`".into());
            draft.remark_at(Severity::Error, "local", &local.at, why, instead);
            continue;
        };
        let listener = listener(transport, family, bind, local.port.unwrap_or(port));
        if listeners.len() >= limits::LISTENERS_MAX {
            let why = format!("there are more than {} listeners", limits::LISTENERS_MAX);
            let instead = Some("write an address that stands for several, such as `*`".into());
            draft.remark_at(Severity::Error, "local", &local.at, why, instead);
            break;
        }
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }
    Some(listeners)
}

/// Wire: as 2.6 calls it.
const fn protocol(transport: ListenerTransport, family: Family) -> &'static str {
    match (transport, family) {
        (ListenerTransport::Udp, Family::Any) => "udp",
        (ListenerTransport::Udp, Family::V4) => "udp4",
        (ListenerTransport::Udp, Family::V6) => "udp6",
        (ListenerTransport::Tcp, Family::Any) => "tcp-server",
        (ListenerTransport::Tcp, Family::V4) => "tcp4-server",
        (ListenerTransport::Tcp, Family::V6) => "tcp6-server",
    }
}

/// An IPv6 socket takes IPv4 too unless `bind ipv6only` is written, as in OpenVPN.
fn bind(address: Option<IpAddr>, family: Family, v6_only: bool) -> Option<Bind> {
    match (address, family) {
        (None, Family::V4) => Some(Bind::V4(Ipv4Addr::UNSPECIFIED)),
        (None, _) if v6_only => Some(Bind::V6(Ipv6Addr::UNSPECIFIED)),
        (None, _) => Some(Bind::DualStack),
        (Some(IpAddr::V4(address)), Family::Any | Family::V4) => Some(Bind::V4(address)),
        (Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), Family::Any | Family::V6) if !v6_only => {
            Some(Bind::DualStack)
        }
        (Some(IpAddr::V6(address)), Family::Any | Family::V6) => Some(Bind::V6(address)),
        _ => None,
    }
}

/// `fragment` with TCP. Wire: 2.x refuses it where `proto` names TCP, on either side.
pub(super) fn remark_fragment(draft: &mut Draft, listeners: &[ListenerSettings]) {
    let Some(fragment) = draft.network.fragment.clone() else {
        return;
    };
    let over_tcp = |it: &ListenerSettings| it.transport == ListenerTransport::Tcp;
    let (severity, why, instead) = match (
        listeners.iter().all(over_tcp),
        listeners.iter().any(over_tcp),
    ) {
        (true, _) => (
            Severity::Error,
            "can only be used with `proto udp`",
            Some("remove the line: a stream needs no such bound".to_owned()),
        ),
        (false, true) => (
            Severity::Warning,
            "clients over TCP are served without it, since none of them can have the line",
            None,
        ),
        (false, false) => return,
    };
    draft.remark_at(severity, "fragment", &fragment.at, why, instead);
}

/// `passtos` where there are connections over TCP.
pub(super) fn remark_classes(
    draft: &mut Draft,
    transports: impl IntoIterator<Item = ListenerTransport>,
) {
    let mut transports = transports.into_iter();
    let over_tcp = transports.any(|transport| transport == ListenerTransport::Tcp);
    if let Some(line) = draft.network.copies_classes.clone().filter(|_| over_tcp) {
        draft.remark_at(Severity::Warning, "passtos", &line.at, OF_ONE_CLASS, None);
    }
}

const OF_ONE_CLASS: &str = "a connection over TCP has one class, since its packets may not overtake one another: it is copied over \
     UDP alone";

/// `ringway-proxy-protocol`: which listeners it is about.
pub(super) fn proxies(draft: &mut Draft, listeners: &mut [ListenerSettings]) {
    let directive = "ringway-proxy-protocol";
    for Written { value, at } in draft.network.proxies.clone() {
        let is_meant = |it: &&mut ListenerSettings| {
            it.transport == ListenerTransport::Tcp && value.port.is_none_or(|port| port == it.port)
        };
        let trusted: Arc<[_]> = value.trusted.as_slice().into();
        let mut found = false;
        for listener in listeners.iter_mut().filter(is_meant) {
            found = true;
            listener.proxy = Some(ProxySettings {
                trusted: Arc::clone(&trusted),
            });
        }
        if !found {
            let why = match value.port {
                Some(port) => format!("there is no TCP listener on port {port}"),
                None => "there is no TCP listener".to_owned(),
            };
            let instead = Some("write `proto tcp`, or remove the line".to_owned());
            draft.remark_at(Severity::Error, directive, &at, why, instead);
        } else if trusted.is_empty() {
            let why = "whoever reaches the port is believed, whatever address it says is its own";
            let instead = Some("add the networks of the proxies, such as `10.0.0.0/24`".to_owned());
            draft.remark_at(Severity::Note, directive, &at, why, instead);
        }
    }
}

/// `port-share`. Wire: 2.x refuses it where `proto` names UDP.
pub(super) fn port_share(
    draft: &mut Draft,
    listeners: &[ListenerSettings],
) -> Option<PortShareSettings> {
    let Written { value, at } = draft.network.port_share.clone()?;
    let over_tcp = |it: &ListenerSettings| it.transport == ListenerTransport::Tcp;
    if !listeners.iter().any(over_tcp) {
        let why = "only works in TCP server mode (`proto tcp-server`)";
        let instead = Some("remove the line: nobody comes here who wants a web server".to_owned());
        draft.remark_at(Severity::Error, "port-share", &at, why, instead);
    }
    if let Some(journal) = &value.journal
        && let Err(error) = std::fs::read_dir(journal)
    {
        let why = format!("fails with '{}': {}", journal.display(), reason(&error));
        draft.remark_at(Severity::Error, "port-share", &at, why, None);
    }
    Some(PortShareSettings {
        server: value.server,
        journal: value.journal,
    })
}

/// Makes `link-mtu` the MTU inside the tunnel.
pub(super) fn settle_mtu(draft: &mut Draft) {
    let Some(Written { value, at }) = draft.network.link_mtu.clone() else {
        return;
    };
    let (name, bytes) = value;
    let mtu = bytes.saturating_sub(link_overhead(draft));
    let (severity, why, instead) = if draft.network.mtu_is_written {
        let why = "it is one of the two that says how large packets are, this line or `tun-mtu`";
        (
            Severity::Error,
            why.to_owned(),
            "remove this line".to_owned(),
        )
    } else if mtu < limits::TUN_MTU_MIN {
        let least = limits::TUN_MTU_MIN;
        let why = format!("TUN MTU value ({mtu}) must be at least {least}");
        (
            Severity::Error,
            why,
            format!("write `tun-mtu {MTU_DEFAULT}`"),
        )
    } else {
        draft.network.mtu = mtu;
        let why =
            format!("obsolete: it makes the tunnel's MTU {mtu}, whatever cipher is agreed on");
        (Severity::Warning, why, format!("write `tun-mtu {mtu}`"))
    };
    draft.remark_at(severity, name, &at, why.as_str(), Some(instead));
}

/// What a packet of `link-mtu` has beside that of the tunnel.
///
/// Wire: as 2.6.14 counts it, from `cipher` and not from what is agreed on: a byte in front, then what older
/// versions took for the cipher and its digest.
fn link_overhead(draft: &Draft) -> u16 {
    let network = &draft.network;
    let stream = if network.transport == ListenerTransport::Tcp {
        2
    } else {
        0
    };
    let digest = super::auth(draft).map_or(0, |digest| digest.output_len() as u16);
    let name = draft.control.cipher.as_deref().unwrap_or_default();
    let block = ["AES-", "ARIA-", "CAMELLIA-", "SEED-", "SM4-"];
    let sealed = match name {
        "CHACHA20-POLY1305" => 4 + 16 + 12 + 1,
        _ if name.ends_with("-GCM") => 4 + 16 + 12 + 16,
        _ if !block.iter().any(|family| name.starts_with(family)) => 4 + digest,
        _ if name.ends_with("-CBC") => 16 + 16 + digest,
        _ => 8 + 16 + 16 + digest,
    };
    1 + stream + sealed
}

pub(super) fn device(draft: &mut Draft) -> Option<DeviceSettings> {
    let (mtu, transmit_queue) = (draft.network.mtu, draft.network.transmit_queue);
    let Some(device) = draft.network.device.clone() else {
        // A line that was refused has been remarked upon already.
        if !draft.diagnostics.mentions("dev") {
            draft.missing("dev", "no device is named", "write `dev tun`");
        }
        return None;
    };
    if !device.value.starts_with("tun") && !draft.network.device_is_tun {
        let why = format!("`{}` does not say what type of device it is", device.value);
        let instead = Some("add `dev-type tun`".into());
        draft.remark_at(Severity::Error, "dev", &device.at, why, instead);
        return None;
    }
    let name = match device.value.as_str() {
        "tun" => DeviceName::Auto,
        _ => DeviceName::Named(device.value),
    };
    Some(DeviceSettings {
        name,
        mtu,
        transmit_queue,
    })
}
