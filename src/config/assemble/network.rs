//! Sockets, the device, and the addresses inside the tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, Family};
use crate::config::settings::{
    Bind, DeviceName, DeviceSettings, ListenerSettings, NetworkSettings, V4Network, V4Pool,
    V6Network,
};

pub(super) fn listeners(draft: &mut Draft) -> Option<Vec<ListenerSettings>> {
    let (family, v6_only) = (draft.network.family, draft.network.v6_only);
    let (send_buffer, receive_buffer) = (draft.network.send_buffer, draft.network.receive_buffer);
    let port = draft.network.port;
    let listener = |bind, port| ListenerSettings {
        bind,
        port,
        send_buffer,
        receive_buffer,
    };
    if draft.network.locals.is_empty() {
        return bind(None, family, v6_only).map(|bind| vec![listener(bind, port)]);
    }
    let mut listeners = Vec::new();
    for local in draft.network.locals.clone() {
        let Some(bind) = bind(local.address, family, v6_only) else {
            let why = "the address is not of the family that `proto` names";
            let instead = Some("write `proto udp`".into());
            draft.remark_at(Severity::Error, "local", &local.at, why, instead);
            continue;
        };
        let listener = listener(bind, local.port.unwrap_or(port));
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }
    Some(listeners)
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

pub(super) fn network(draft: &mut Draft) -> Option<NetworkSettings> {
    let v6 = draft.network.server_v6.clone().map(|written| {
        let network = written.value.trunc();
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
        }
    });
    let v4 = match draft.network.server.clone() {
        None => None,
        Some(line) => {
            let network = line.value.network;
            let server = Ipv4Addr::from(u32::from(network.network()) + 1);
            let pool = v4_pool(draft)?;
            Some(V4Network {
                server,
                network,
                pool,
            })
        }
    };
    remark_network(draft, v4.as_ref(), v6.as_ref());
    (v4.is_some() || v6.is_some()).then_some(NetworkSettings { v4, v6 })
}

/// The pool of `server`, or that of `ifconfig-pool` after `nopool`; `None` for an error.
fn v4_pool(draft: &mut Draft) -> Option<Option<V4Pool>> {
    let server = draft.network.server.clone()?;
    let (network, first) = (
        server.value.network,
        u32::from(server.value.network.network()),
    );
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
            let (low, high) = own.value;
            if u32::from(low) < first + 2 || high >= network.broadcast() {
                let why = format!(
                    "{low} to {high} is not between the server's address and the end of {network}"
                );
                draft.remark_at(Severity::Error, "ifconfig-pool", &own.at, why, None);
                return None;
            }
            Some(V4Pool::new(low, high))
        }
        (false, None) if draft.network.server_v6.is_some() => {
            let why = "`nopool` does not go with `server-ipv6`";
            draft.remark_at(
                Severity::Error,
                "server",
                &server.at,
                why,
                Some("remove `nopool`".into()),
            );
            None
        }
        (false, None) => {
            let why = "no client would get an address";
            let instead = Some("remove `nopool`, or add `ifconfig-pool FIRST LAST`".into());
            draft.remark_at(Severity::Error, "server", &server.at, why, instead);
            None
        }
    }
}

fn remark_network(draft: &mut Draft, v4: Option<&V4Network>, v6: Option<&V6Network>) {
    if v4.is_none() && v6.is_none() {
        if !draft.diagnostics.mentions("server") && !draft.diagnostics.mentions("server-ipv6") {
            let instead = "write for example `server 10.8.0.0 255.255.255.0`";
            draft.missing(
                "server",
                "no addresses for clients: ringway is a server for many clients",
                instead,
            );
        }
        return;
    }
    if v4.is_none()
        && let Some(pool) = draft.network.pool.clone()
    {
        let instead = Some("write `server NETWORK NETMASK nopool` before it".into());
        draft.remark_at(
            Severity::Error,
            "ifconfig-pool",
            &pool.at,
            "there is no `server` line",
            instead,
        );
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
