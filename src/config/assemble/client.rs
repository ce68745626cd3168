//! A draft to a client's settings.

use std::net::IpAddr;

use super::login::{remark_script_security, script_helper};
use super::network::remark_classes;
use super::{identity, node, pings, seconds};
use crate::config::diagnostics::Severity;
use crate::config::draft::{ConnectionDraft, Draft, LoginLine, RemoteLine, Transport, Written};
use crate::config::pki::Opened;
use crate::config::settings::{
    AddressFamily, ClientSettings, Compression, CoreList, DeviceScriptSettings, Keepalive,
    ListenerTransport, Login, RemoteSettings, ShardSettings,
};
use crate::config::{ClientConfiguration, LoginQuestion};
use crate::crypto::tls::rustls::Identity;
use crate::limits;
use crate::wire::Framing;

/// A client's settings; `None` for an error.
pub(super) fn client(draft: &mut Draft) -> Option<ClientConfiguration> {
    // Each of these looks at its own part, so that all problems are found at once.
    remark_role(draft);
    let remotes = remotes(draft);
    remark_mark(draft);
    let keepalive = keepalive(draft);
    let node = node(draft);
    let identity = own_identity(draft);
    let login = login(draft);
    let mtu_max = mtu_max(draft);
    remark_scripts(draft);
    remark_trust(draft);
    let framing = framing(draft);
    let mut node = node?;
    node.shards = one_shard(draft, &node.shards);
    let (login, question) = login?;
    let client = std::mem::take(&mut draft.client);
    let settings = ClientSettings {
        node,
        identity: identity?,
        login,
        after_refusal: client.after_refusal,
        remotes: remotes?,
        shuffle_remotes: client.shuffle_remotes,
        resolve_patience: client.resolve_patience,
        rounds: client.rounds,
        send_buffer: draft.network.send_buffer,
        receive_buffer: draft.network.receive_buffer,
        path_mtu: draft.network.path_mtu,
        framing,
        keepalive,
        exit_when_silent: draft.network.exit_when_silent,
        explicit_exit: client.explicit_exit,
        mtu_max,
        pull: client.pull_rules,
        options: client.options,
        routes_by_script: client.routes_by_script,
        scripts: client.scripts,
        route_table: draft.network.route_table,
        exits_on_tls_error: client.exits_on_tls_error,
    };
    Some(ClientConfiguration { settings, question })
}

/// Wire: `compress migrate` is a server's, and frames nothing at a client.
fn framing(draft: &Draft) -> Framing {
    let own = draft.control.compression.as_ref();
    match own.map(|line| line.value) {
        Some(Compression::Framed(framing)) => framing,
        Some(Compression::Migrate) | None => Framing::None,
    }
}

/// `client` is two lines in one; with one of them alone it is another kind of tunnel.
fn remark_role(draft: &mut Draft) {
    let (name, why) = match (draft.client.tls_client, draft.client.pull) {
        (true, true) => return,
        (true, false) => (
            "pull",
            "not written: without it this is one of two equal peers, which is not served",
        ),
        (false, _) => (
            "tls-client",
            "not written: without it keys would come from no handshake",
        ),
    };
    draft.missing(name, why, "write `client`");
}

/// A tunnel is one shard's: it takes the first core.
fn one_shard(draft: &mut Draft, shards: &ShardSettings) -> ShardSettings {
    if let (Some(listed), Some((_, left @ [_, ..]))) =
        (draft.shards.cores.clone(), shards.cores.split_first())
    {
        let why = format!(
            "a client has one shard, which leaves cores unused: {}",
            CoreList(left)
        );
        draft.remark_at(Severity::Warning, "ringway-cores", &listed.at, why, None);
    }
    ShardSettings::on(&shards.cores, 1)
}

fn remotes(draft: &mut Draft) -> Option<Vec<RemoteSettings>> {
    let outside = draft.client.connection.clone();
    let plain = std::mem::take(&mut draft.client.remotes);
    let blocks = std::mem::take(&mut draft.client.blocks);
    let lines: Vec<(RemoteLine, ConnectionDraft)> = match blocks.is_empty() {
        true => plain
            .into_iter()
            .map(|line| (line, outside.clone()))
            .collect(),
        false => {
            // Wire: as in 2.6, which says nothing of it.
            for line in plain {
                let why = "passed over: there are <connection> blocks";
                draft.remark_at(Severity::Warning, "remote", &line.at, why, None);
            }
            blocks
        }
    };
    if lines.is_empty() {
        if !draft.diagnostics.mentions("connection") {
            draft.missing("remote", "no server is named", "write `remote HOST PORT`");
        }
        return None;
    }
    let mut remotes = Vec::new();
    for (line, connection) in lines {
        remotes.extend(remote(draft, &line, &connection));
    }
    remark_leaving(draft, &remotes);
    remark_fragment(draft, &remotes);
    remark_classes(draft, remotes.iter().map(|it| it.transport));
    Some(remotes)
}

/// Wire: 2.6 refuses a configuration with any such remote.
fn remark_fragment(draft: &mut Draft, remotes: &[RemoteSettings]) {
    let over_tcp = |remote: &RemoteSettings| remote.transport == ListenerTransport::Tcp;
    let fragment = draft.network.fragment.clone();
    if let Some(line) = fragment.filter(|_| remotes.iter().any(over_tcp)) {
        let why = "can only be used with `proto udp`";
        let instead = Some("remove the line, or the remotes over TCP".to_owned());
        draft.remark_at(Severity::Error, "fragment", &line.at, why, instead);
    }
}

/// Wire: a notice in 2.6, too.
fn remark_leaving(draft: &mut Draft, remotes: &[RemoteSettings]) {
    let over_tcp = |remote: &RemoteSettings| remote.transport == ListenerTransport::Tcp;
    if draft.client.explicit_exit.is_some() && !remotes.is_empty() && remotes.iter().all(over_tcp) {
        let why = "it is ignored for --proto tcp: servers see the end of their connection";
        let severity = Severity::Warning;
        draft.absent(severity, "explicit-exit-notify", why, "remove the line");
    }
}

/// A client makes a socket for each connection, when privileges have been given up.
fn remark_mark(draft: &mut Draft) {
    if draft.network.routing.mark.is_some() && draft.process.user.is_some() {
        let why = "a client that becomes another user may not mark its packets any more";
        let instead = "remove `user`, and give the service CAP_NET_ADMIN alone";
        draft.absent(Severity::Error, "mark", why, instead);
    }
}

fn remote(
    draft: &mut Draft,
    line: &RemoteLine,
    connection: &ConnectionDraft,
) -> Option<RemoteSettings> {
    let (transport, family) = match line.transport.unwrap_or(connection.transport) {
        Transport::Udp(family) => (ListenerTransport::Udp, family),
        Transport::Tcp(family) => (ListenerTransport::Tcp, family),
    };
    let mut wrong = |name: &str, at, address: IpAddr| {
        let why = format!("{address} is not of the family that `proto` names");
        let instead = Some("write `proto udp` or `proto tcp`".to_owned());
        draft.remark_at(Severity::Error, name, at, why, instead);
    };
    let written: Option<IpAddr> = line.host.parse().ok();
    if let Some(address) = written.filter(|address| !family.contains(*address)) {
        wrong("remote", &line.at, address);
        return None;
    }
    let local = connection.local.as_ref();
    if let Some(local) = local.filter(|local| !family.contains(local.value)) {
        wrong("local", &local.at, local.value);
        return None;
    }
    remark_binding(draft, connection)?;
    let binds = connection.bind || connection.local.is_some() || connection.local_port.is_some();
    let local_port = connection.local_port.as_ref().map(|port| port.value);
    Some(RemoteSettings {
        transport,
        host: line.host.clone(),
        port: line
            .port
            .or(connection.remote_port)
            .unwrap_or(crate::config::draft::PORT_DEFAULT),
        family: match connection.local.as_ref().map(|local| local.value) {
            Some(IpAddr::V4(_)) => AddressFamily::V4,
            Some(IpAddr::V6(_)) => AddressFamily::V6,
            None => family,
        },
        local: connection.local.as_ref().map(|local| local.value),
        // Wire: a client of 2.6 binds only when it is told to.
        local_port: match binds && !connection.nobind {
            true => local_port.unwrap_or(connection.port),
            false => 0,
        },
        timeout: connection.timeout,
        pause: connection.pause,
    })
}

/// `nobind` beside what asks to bind. Wire: an error in 2.6.
fn remark_binding(draft: &mut Draft, connection: &ConnectionDraft) -> Option<()> {
    let lines = [
        (
            "local",
            connection.local.as_ref().map(|line| line.at.clone()),
        ),
        (
            "lport",
            connection.local_port.as_ref().map(|line| line.at.clone()),
        ),
    ];
    for (name, at) in lines {
        if let Some(at) = at.filter(|_| connection.nobind) {
            let why = "it makes no sense beside `nobind`";
            let instead = Some("remove one of the two".to_owned());
            draft.remark_at(Severity::Error, name, &at, why, instead);
            return None;
        }
    }
    Some(())
}

fn keepalive(draft: &mut Draft) -> Keepalive {
    let pings = pings(draft);
    let (ping, ping_restart) = match pings.both {
        Some((ping, restart)) => (Some(ping), Some(restart)),
        None => (pings.ping, pings.ping_restart),
    };
    Keepalive {
        ping: ping.and_then(seconds),
        ping_restart: ping_restart.map_or(seconds(PING_RESTART), seconds),
    }
}

/// The certificate and its key: both or, for a client that logs in, neither.
fn own_identity(draft: &mut Draft) -> Option<Option<Identity>> {
    let written = |source: &Option<_>| source.is_some();
    match (written(&draft.tls.certificate), written(&draft.tls.key)) {
        (false, false) if draft.tls.pkcs12.is_some() => return None,
        (false, false) if draft.client.login.is_some() => return Some(None),
        (false, false) if draft.diagnostics.mentions("auth-user-pass") => return None,
        (false, false) => {
            let why =
                "not written, and neither is `auth-user-pass`: no server would know the client";
            draft.missing("cert", why, "write `cert client.crt` and `key client.key`");
            return None;
        }
        _ => {}
    }
    identity(draft).map(Some)
}

/// The name and the password, or who is to be asked; `None` for an error.
fn login(draft: &mut Draft) -> Option<(Option<Login>, Option<LoginQuestion>)> {
    let Some(line) = draft.client.login.clone() else {
        return Some((None, None));
    };
    let source = match line.value {
        LoginLine::Ask => return Some((None, Some(LoginQuestion { username: None }))),
        LoginLine::Read(source) => Written {
            value: source,
            at: line.at,
        },
    };
    let opened = Opened::new(draft, "auth-user-pass", &source, true)?;
    match read_login(opened.text()) {
        Ok((username, Some(password))) => {
            let login = Login {
                username,
                password: password.into(),
            };
            Some((Some(login), None))
        }
        Ok((username, None)) => {
            let username = Some(username);
            Some((None, Some(LoginQuestion { username })))
        }
        Err(why) => {
            let instead = "the first line is the name, the second the password";
            opened.remark(draft, Severity::Error, why, Some(instead));
            None
        }
    }
}

/// The first line, and the second if there is one.
fn read_login(text: Option<&str>) -> Result<(String, Option<String>), String> {
    let text = text.ok_or("not a text")?;
    let mut lines = text.lines();
    let username = lines.next().unwrap_or_default();
    let password = lines.next();
    if username.is_empty() {
        return Err("no user name".to_owned());
    }
    let longest = username.len().max(password.map_or(0, str::len));
    if longest > limits::LOGIN_MAX {
        return Err(format!("a line of more than {} bytes", limits::LOGIN_MAX));
    }
    Ok((username.to_owned(), password.map(str::to_owned)))
}

/// Wire: 2.6 takes 1600, or what `tun-mtu` says if that is more.
fn mtu_max(draft: &mut Draft) -> u16 {
    let own = draft.network.mtu;
    let Some(most) = draft.client.mtu_max.clone() else {
        return own.max(MTU_MAX_DEFAULT);
    };
    if most.value < own {
        let why = format!("less than the MTU of the device, {own}");
        draft.remark_at(Severity::Error, "tun-mtu-max", &most.at, why, None);
    }
    most.value
}

/// The programs that a server tells of its device, if there are any.
pub(super) fn device_scripts(draft: &mut Draft) -> Option<DeviceScriptSettings> {
    remark_scripts(draft);
    let first = draft.client.first_script.as_ref()?;
    Some(DeviceScriptSettings {
        scripts: draft.client.scripts.clone(),
        helper: script_helper(),
        configuration: first.at.file.to_string(),
    })
}

fn remark_scripts(draft: &mut Draft) {
    if let Some(line) = draft.client.first_script.clone() {
        remark_script_security(draft, &line.at);
    }
}

/// Any client of the authority could pose as the server.
fn remark_trust(draft: &mut Draft) {
    if draft.tls.peer_usage || draft.tls.peer_name.is_some() {
        return;
    }
    let unread = ["remote-cert-tls", "ns-cert-type", "verify-x509-name"];
    if !unread.iter().any(|name| draft.diagnostics.mentions(name)) {
        let why = "not written: whoever has a certificate of the authority can pose as the server";
        let instead = "write `remote-cert-tls server`";
        draft.absent(Severity::Warning, "remote-cert-tls", why, instead);
    }
}

/// A silent server is given up after so long, unless it is said otherwise. Wire: wire.md section 15.
const PING_RESTART: u32 = 120;

/// The largest MTU that a server may push, unless it is said otherwise.
const MTU_MAX_DEFAULT: u16 = 1600;
