//! A draft to settings: whether what the lines say fits together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostics::{Diagnostic, Diagnostics, Reason, Severity};
use super::draft::{Draft, Family, Local, MTU_DEFAULT};
use super::pki::{self, Opened};
use super::settings::{
    Bind, DeviceName, DeviceSettings, HandshakeSettings, Keepalive, ListenerSettings,
    NetworkSettings, ProcessSettings, Renegotiate, Settings, StatusSettings, TlsSettings,
    V4Network, V4Pool, V6Network, WrappingSettings,
};
use crate::crypto::Digest;
use crate::crypto::tls::rustls::TlsVersion;
use crate::node::log::{LogOptions, LogTarget};
use crate::packet::Mssfix;

/// The settings, if there is no error, and everything that was found.
pub(super) fn assemble(mut draft: Draft) -> (Option<Settings>, Diagnostics) {
    let draft = &mut draft;
    // Each of these looks at its own part, so that all problems are found at once.
    let listeners = listeners(draft);
    let device = device(draft);
    let network = network(draft);
    let keepalive = keepalive(draft);
    let tls = tls(draft);
    let wrapping = wrapping(draft);
    let diagnostics = std::mem::take(&mut draft.diagnostics);
    if diagnostics.has_errors() {
        return (None, diagnostics);
    }
    let settings = (|| {
        let (device, network, tls, wrapping) = (device?, network?, tls?, wrapping?);
        let auth = auth(draft);
        Some(Settings {
            listeners: listeners?,
            push: push(draft, &network, keepalive),
            keepalive: keepalive.server,
            mssfix: mssfix(draft),
            handshake: handshake(draft),
            replay: draft.control.replay,
            ciphers: std::mem::take(&mut draft.control.ciphers),
            max_clients: draft.network.max_clients,
            duplicate_cn: draft.network.duplicate_cn,
            explicit_exit: draft.network.explicit_exit,
            log: log(draft),
            status: status(draft),
            process: process(draft),
            environment: std::mem::take(&mut draft.process.environment),
            device,
            network,
            tls,
            wrapping,
            auth,
        })
    })();
    (settings, diagnostics)
}

fn listeners(draft: &mut Draft) -> Option<Vec<ListenerSettings>> {
    let network = &draft.network;
    let mut locals = network.locals.clone();
    if locals.is_empty() {
        let file = "".into();
        locals.push(Local {
            address: None,
            port: None,
            at: super::lexer::Location { file, line: 0 },
        });
    }
    let (family, v6_only) = (network.family, network.v6_only);
    let (port, send_buffer, receive_buffer) =
        (network.port, network.send_buffer, network.receive_buffer);
    let mut listeners = Vec::new();
    for Local {
        address,
        port: own,
        at,
    } in locals
    {
        let Some(bind) = bind(address, family, v6_only) else {
            let why = "the address is not of the family that `proto` names";
            draft.remark_at(
                Severity::Error,
                "local",
                &at,
                why,
                Some("write `proto udp`".into()),
            );
            continue;
        };
        let port = own.unwrap_or(port);
        let listener = ListenerSettings {
            bind,
            port,
            send_buffer,
            receive_buffer,
        };
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }
    Some(listeners).filter(|listeners| !listeners.is_empty())
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

fn device(draft: &mut Draft) -> Option<DeviceSettings> {
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

fn network(draft: &mut Draft) -> Option<NetworkSettings> {
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

/// The server's own times, and the two numbers that are pushed.
#[derive(Clone, Copy)]
struct KeepalivePlan {
    server: Keepalive,
    pushed: Option<(u32, u32)>,
}

fn keepalive(draft: &mut Draft) -> KeepalivePlan {
    let seconds = |value: u32| (value > 0).then(|| Duration::from_secs(value.into()));
    let both = draft.network.keepalive.clone();
    let singles = [
        ("ping", draft.network.ping.clone()),
        ("ping-restart", draft.network.ping_restart.clone()),
    ];
    if let Some(both) = both {
        for (name, single) in singles {
            if let Some(single) = single {
                let why = "`keepalive` sets this already";
                let instead = Some("remove one of the two".into());
                draft.remark_at(Severity::Error, name, &single.at, why, instead);
            }
        }
        let (ping, restart) = both.value;
        // Wire: the server waits twice as long as its clients, which then notice first.
        let server = Keepalive {
            ping: seconds(ping),
            ping_restart: seconds(2 * restart),
        };
        return KeepalivePlan {
            server,
            pushed: Some(both.value),
        };
    }
    let [ping, ping_restart] =
        singles.map(|(_, single)| single.and_then(|single| seconds(single.value)));
    if ping_restart.is_none() && !draft.diagnostics.mentions("keepalive") {
        let why = "not written: a client that vanishes is never noticed";
        draft.absent(
            Severity::Warning,
            "keepalive",
            why,
            "write `keepalive 10 60`",
        );
    }
    KeepalivePlan {
        server: Keepalive { ping, ping_restart },
        pushed: None,
    }
}

/// The `push` lines, then what the helpers add, in 2.6's order.
fn push(draft: &mut Draft, network: &NetworkSettings, keepalive: KeepalivePlan) -> Vec<String> {
    let mut push = std::mem::take(&mut draft.push);
    if network.v6.is_some() {
        push.push("tun-ipv6".to_owned());
    }
    if let Some(v4) = &network.v4 {
        push.push(format!("route-gateway {}", v4.server));
        push.push("topology subnet".to_owned());
    }
    if let Some((ping, restart)) = keepalive.pushed {
        push.push(format!("ping {ping}"));
        push.push(format!("ping-restart {restart}"));
    }
    push
}

fn tls(draft: &mut Draft) -> Option<TlsSettings> {
    if let Some(dh) = draft.tls.dh.clone()
        && let Some(dh) = Opened::new(draft, "dh", &dh, false)
    {
        pki::check_dh(draft, &dh);
    }
    let ca = opened(
        draft,
        "ca",
        false,
        "write `ca ca.crt`: the authority that signed the clients",
    );
    let cert = opened(draft, "cert", false, "write `cert server.crt`");
    let key = opened(draft, "key", true, "write `key server.key`");
    let authorities = ca.and_then(|ca| pki::authorities(draft, &ca));
    let identity = pki::identity(draft, cert, key);
    let oldest = draft.tls.oldest.unwrap_or(TlsVersion::V1_2);
    let newest = draft.tls.newest.clone();
    if let Some(newest) = newest.as_ref().filter(|newest| newest.value < oldest) {
        let why = "older than `tls-version-min`";
        draft.remark_at(Severity::Error, "tls-version-max", &newest.at, why, None);
    }
    let newest = newest.map_or(TlsVersion::V1_3, |newest| newest.value);
    let tls = TlsSettings {
        authorities: authorities?,
        identity: identity?,
        versions: oldest..=newest,
        groups: draft.tls.groups.clone(),
        client_usage: draft.tls.client_usage,
        name: draft.tls.name.clone(),
    };
    if let Err(why) = tls.engine() {
        let at = draft.tls.key.as_ref().map(|key| key.at.clone())?;
        let instead = Some("`cert` begins with the certificate that belongs to `key`".into());
        draft.remark_at(Severity::Error, "key", &at, why, instead);
        return None;
    }
    Some(tls)
}

fn opened(draft: &mut Draft, name: &'static str, secret: bool, instead: &str) -> Option<Opened> {
    let source = match name {
        "ca" => draft.tls.ca.clone(),
        "cert" => draft.tls.certificate.clone(),
        _ => draft.tls.key.clone(),
    };
    let Some(source) = source else {
        draft.missing(name, "not written", instead);
        return None;
    };
    Opened::new(draft, name, &source, secret)
}

fn wrapping(draft: &mut Draft) -> Option<WrappingSettings> {
    let (tls_auth, tls_crypt) = (
        draft.control.tls_auth.clone(),
        draft.control.tls_crypt.clone(),
    );
    match (tls_auth, tls_crypt) {
        (None, None) => Some(WrappingSettings::Plain),
        (Some(_), Some(tls_crypt)) => {
            let why = "it does not go with `tls-auth`";
            let instead = Some("keep the one that the clients have".into());
            draft.remark_at(Severity::Error, "tls-crypt", &tls_crypt.at, why, instead);
            None
        }
        (None, Some(tls_crypt)) => {
            let opened = Opened::new(draft, "tls-crypt", &tls_crypt, true)?;
            Some(WrappingSettings::TlsCrypt {
                key: pki::static_key(draft, &opened)?,
            })
        }
        (Some(tls_auth), None) => {
            if let Some(auth) = draft
                .control
                .auth
                .clone()
                .filter(|auth| auth.value.is_none())
            {
                let why = "`tls-auth` needs a digest";
                let instead = Some("write the one that the clients have, such as SHA256".into());
                draft.remark_at(Severity::Error, "auth", &auth.at, why, instead);
            }
            let opened = Opened::new(draft, "tls-auth", &tls_auth, true)?;
            let key = pki::static_key(draft, &opened)?;
            Some(WrappingSettings::TlsAuth {
                key,
                direction: draft.control.direction,
                digest: auth(draft)?,
            })
        }
    }
}

/// The digest of `auth`; SHA1 if nothing is written.
fn auth(draft: &Draft) -> Option<Digest> {
    draft
        .control
        .auth
        .as_ref()
        .map_or(Some(Digest::default()), |auth| auth.value)
}

fn handshake(draft: &Draft) -> HandshakeSettings {
    let control = &draft.control;
    let (latest, earliest) = control.renegotiate;
    let seconds = |value: u32| Duration::from_secs(value.into());
    // Wire: a server's earliest is 90 % of its latest.
    let renegotiate = (latest > 0).then(|| Renegotiate {
        earliest: earliest.map_or(seconds(latest) * 9 / 10, seconds),
        latest: seconds(latest),
    });
    HandshakeSettings {
        hand_window: control.hand_window,
        tran_window: control.tran_window,
        tls_timeout: control.tls_timeout,
        renegotiate,
    }
}

/// Wire: 2.6 takes 1492 for the whole packet, and with another MTU that MTU for the inner packet.
fn mssfix(draft: &Draft) -> Mssfix {
    draft.network.mssfix.unwrap_or(match draft.network.mtu {
        MTU_DEFAULT => Mssfix::Packet(MSSFIX_DEFAULT),
        mtu => Mssfix::Inner(mtu),
    })
}

fn log(draft: &mut Draft) -> LogOptions {
    let process = &mut draft.process;
    let to_syslog = process.daemon || process.syslog.is_some();
    let name = process
        .syslog
        .take()
        .unwrap_or_else(|| "ringway".to_owned());
    let target = match process.log.take() {
        Some(file) => file,
        None if to_syslog => LogTarget::Syslog(name),
        None => LogTarget::Stdout,
    };
    LogOptions {
        target,
        verb: process.verb,
        mute: process.mute,
        stamp: process.stamp,
    }
}

fn status(draft: &mut Draft) -> Option<StatusSettings> {
    let (name, interval) = draft.process.status.take()?;
    let path = draft.path(name);
    Some(StatusSettings {
        path,
        interval,
        format: draft.process.status_format,
    })
}

fn process(draft: &mut Draft) -> ProcessSettings {
    let pid_file = draft.process.pid_file.take().map(|name| draft.path(name));
    let directory: Option<PathBuf> = draft.changes_directory.then(|| draft.directory.clone());
    ProcessSettings {
        daemon: draft.process.daemon,
        pid_file,
        directory,
    }
}

impl Draft {
    /// A line that has to be there and is not.
    fn missing(&mut self, directive: &str, why: &str, instead: &str) {
        if !self.diagnostics.mentions(directive) {
            self.absent(Severity::Error, directive, why, instead);
        }
    }

    /// A remark about no line.
    fn absent(&mut self, severity: Severity, directive: &str, why: &str, instead: &str) {
        self.diagnostics.push(Diagnostic {
            severity,
            at: None,
            directive: directive.to_owned(),
            reason: Reason::Because(why.to_owned()),
            instead: Some(instead.to_owned()),
        });
    }
}

/// Wire: the default of `mssfix` in 2.6.
const MSSFIX_DEFAULT: u16 = 1492;

/// What every IPv6 link carries. Source: RFC 8200 section 5.
const IPV6_MTU_MIN: u16 = 1280;
