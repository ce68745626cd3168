//! A draft to settings: whether what the lines say fits together.

mod addresses;
mod client;
mod clients;
mod compression;
mod login;
mod management;
mod network;
mod shards;
mod wrapping;

use std::path::PathBuf;
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::pki_types::CertificateDer;

use super::Configuration;
use super::diagnostics::{Diagnostic, Diagnostics, Reason, Severity};
use super::draft::{Draft, MTU_DEFAULT, Written};
use super::pki::{self, Opened};
use super::settings::{
    AuthSettings, ExplicitExit, HandshakeSettings, Keepalive, ListenerSettings, ListenerTransport,
    LockedSettings, ManagementSettings, NetworkSettings, NodeSettings, ProcessSettings,
    RevocationSettings, SessionTimes, Settings, StatusSettings, TlsSettings, V4Layout, V4Network,
};
use crate::crypto::tls;
use crate::crypto::tls::rustls::{Identity, TlsVersion};
use crate::crypto::{DataCipher, Digest};
use crate::limits;
use crate::node::log::{LogOptions, LogTarget};
use crate::packet::Mssfix;
use crate::session::Renegotiation;
use crate::wire::{PushReply, Role};

/// What to do, if there is no error, and everything that was found.
pub(super) fn assemble(draft: &mut Draft) -> (Option<Configuration>, Diagnostics) {
    pki::key_password(draft);
    pki::unpack(draft);
    network::settle_mtu(draft);
    let configuration = match draft.role {
        Role::Server => server(draft),
        Role::Client => client::client(draft).map(|client| Configuration::Client(Box::new(client))),
    };
    let diagnostics = std::mem::take(&mut draft.diagnostics);
    let configuration = configuration.filter(|_| !diagnostics.has_errors());
    (configuration, diagnostics)
}

fn server(draft: &mut Draft) -> Option<Configuration> {
    // Each of these looks at its own part, so that all problems are found at once.
    let files = clients::files_directory(draft);
    let listeners = network::listeners(draft);
    let network = addresses::network(draft);
    let keepalive = keepalive(draft);
    let node = node(draft);
    let identity = identity(draft);
    let auth = login::login(draft);
    let compression = compression::compression(draft);
    check_push(draft);
    let network = network?;
    let mut push = push(draft, &network, keepalive);
    let mut listeners = listeners?;
    network::proxies(draft, &mut listeners);
    network::remark_fragment(draft, &listeners);
    network::remark_classes(draft, listeners.iter().map(|it| it.transport));
    let port_share = network::port_share(draft, &listeners);
    push.extend(over_tcp(draft, &listeners));
    let times = SessionTimes {
        keepalive: keepalive.server,
        exit_when_silent: draft.network.exit_when_silent,
        inactivity: draft.network.inactivity,
        session_timeout: draft.control.session_timeout,
    };
    // Who is asked when a client connects gives it lines of that kind.
    let given = auth.as_ref().is_some_and(AuthSettings::gives_lines);
    let files = files.or_else(|| given.then(|| clients::no_files_directory(draft)));
    let client_files = files.map(|files| clients::files(draft, files, &network, &push, times));
    // Those above ask what the manager is for.
    let device_scripts = client::device_scripts(draft);
    let management = management::management(draft);
    let Some(identity) = identity else {
        // Filtered out if the password is not the manager's to say: then there is an error.
        let asked = management.filter(|_| draft.tls.asks_password);
        let locked = asked.map(|management| locked(draft, node, management))?;
        return Some(Configuration::Locked(Box::new(locked)));
    };
    let settings = Settings {
        node: node?,
        identity,
        listeners,
        push,
        leases: clients::leases(draft),
        client_files,
        auth,
        routes: clients::routes(draft, &network),
        route_table: draft.network.route_table,
        keepalive: keepalive.server,
        exit_when_silent: draft.network.exit_when_silent,
        path_mtu: draft.network.path_mtu,
        hosts_remembered: draft.network.hosts_remembered,
        max_clients: draft.network.max_clients,
        duplicate_cn: draft.network.duplicate_cn,
        client_to_client: draft.network.client_to_client,
        block_ipv6: draft.network.block_ipv6,
        compression,
        contact: draft.network.contact,
        stream_queue: draft.network.stream_queue,
        device_scripts,
        port_share,
        explicit_exit: draft.network.explicit_exit,
        status: status(draft),
        management,
        echo: std::mem::take(&mut draft.process.echo),
        tracked: std::mem::take(&mut draft.tls.tracked),
        network,
    };
    Some(Configuration::Server(Box::new(settings)))
}

/// What a server does until somebody has said the password of its key.
fn locked(
    draft: &mut Draft,
    node: Option<NodeSettings>,
    management: ManagementSettings,
) -> LockedSettings {
    let (log, process, control_socket) = match node {
        Some(node) => (node.log, node.process, node.control_socket),
        // The authorities may be locked with the key.
        None => (
            log(draft),
            process(draft),
            draft.process.control_socket.take(),
        ),
    };
    LockedSettings {
        log,
        process,
        control_socket,
        management,
        asks_first: draft.tls.askpass.is_some(),
    }
}

/// What servers and clients share; `None` for an error.
fn node(draft: &mut Draft) -> Option<NodeSettings> {
    let shards = shards::shards(draft);
    let device = network::device(draft);
    let tls = tls(draft);
    let wrapping = wrapping::wrapping(draft);
    remark_hidden_log(draft);
    Some(NodeSettings {
        shards: shards?,
        offloads: draft.offloads,
        routing: std::mem::take(&mut draft.network.routing),
        device: device?,
        tls: tls?,
        wrapping: wrapping?,
        auth: auth(draft),
        mssfix: mssfix(draft),
        fragment: draft.network.fragment.as_ref().map(|line| line.value),
        copies_classes: draft.network.copies_classes.is_some(),
        handshake: handshake(draft),
        inactivity: draft.network.inactivity,
        session_timeout: draft.control.session_timeout,
        key_volume: draft.control.key_volume,
        replay: draft.control.replay,
        ciphers: ciphers(draft)?,
        log: log(draft),
        control_socket: draft.process.control_socket.take(),
        process: process(draft),
        environment: std::mem::take(&mut draft.process.environment),
    })
}

/// The server's own times, and the two numbers that are pushed.
#[derive(Clone, Copy)]
struct KeepalivePlan {
    server: Keepalive,
    pushed: Option<(u32, u32)>,
}

fn keepalive(draft: &mut Draft) -> KeepalivePlan {
    let pings = pings(draft);
    if let Some((ping, restart)) = pings.both {
        // Wire: the server waits twice as long as its clients, which then notice first.
        let server = Keepalive {
            ping: seconds(ping),
            ping_restart: seconds(2 * restart),
        };
        return KeepalivePlan {
            server,
            pushed: pings.both,
        };
    }
    let server = Keepalive {
        ping: pings.ping.and_then(seconds),
        ping_restart: pings.ping_restart.and_then(seconds),
    };
    if server.ping_restart.is_none() && !draft.diagnostics.mentions("keepalive") {
        let why = "not written: a client that vanishes is never noticed";
        draft.absent(
            Severity::Warning,
            "keepalive",
            why,
            "write `keepalive 10 60`",
        );
    }
    KeepalivePlan {
        server,
        pushed: None,
    }
}

/// What `keepalive` says, or what `ping` and `ping-restart` say.
struct Pings {
    both: Option<(u32, u32)>,
    ping: Option<u32>,
    ping_restart: Option<u32>,
}

fn pings(draft: &mut Draft) -> Pings {
    let both = draft.network.keepalive.clone().map(|both| both.value);
    let restart = match draft.network.exit_when_silent {
        true => "ping-exit",
        false => "ping-restart",
    };
    let singles = [
        ("ping", draft.network.ping.clone()),
        (restart, draft.network.ping_restart.clone()),
    ];
    if both.is_some() {
        for (name, single) in &singles {
            // Wire: a zero sets nothing.
            if let Some(single) = single.as_ref().filter(|single| single.value > 0) {
                let why = "`keepalive` sets this already";
                let instead = Some("remove one of the two".into());
                draft.remark_at(Severity::Error, name, &single.at, why, instead);
            }
        }
    }
    let [ping, ping_restart] = singles.map(|(_, single)| single.map(|single| single.value));
    Pings {
        both,
        ping,
        ping_restart,
    }
}

/// A time, `None` for 0, which stands for never.
fn seconds(value: u32) -> Option<Duration> {
    (value > 0).then(|| Duration::from_secs(value.into()))
}

/// Remarks on the first `push` line that is too many for a client to be told all.
fn check_push(draft: &mut Draft) {
    let lines = &draft.push;
    if can_be_told(lines) {
        return;
    }
    let counts: Vec<usize> = (1..=lines.len()).collect();
    let fitting = counts.partition_point(|count| can_be_told(&lines[..*count]));
    if let Some(at) = lines.get(fitting).map(|line| line.at.clone()) {
        let why = format!("more than a client can be told: no more fits after {fitting} options");
        let instead = "push fewer, such as one route for several networks".to_owned();
        draft.remark_at(Severity::Error, "push", &at, why, Some(instead));
    }
}

/// The system log is open before `chroot` takes effect, but is found again only inside of it.
fn remark_hidden_log(draft: &mut Draft) {
    let process = &draft.process;
    let to_syslog = process.log.is_none() && (process.daemon || process.syslog.is_some());
    let hidden = process.chroot.clone().filter(|root| {
        let socket = root.value.join("dev/log");
        to_syslog && !socket.exists()
    });
    if let Some(root) = hidden {
        let why = "the system log is out of reach from there once its daemon is started again";
        let instead = Some("write `log FILE`, or make `dev/log` in the directory".to_owned());
        draft.remark_at(Severity::Warning, "chroot", &root.at, why, instead);
    }
}

/// Whether these fit into what is said to one client. The last message is left for what the helpers
/// and the client's own addresses add.
fn can_be_told(lines: &[Written<String>]) -> bool {
    let mut reply = PushReply::new();
    lines
        .iter()
        .all(|line| reply.push(line.value.clone()).is_ok())
        && reply.messages().len() < limits::PUSH_MESSAGES_MAX
}

/// The `push` lines, then what the helpers add, in 2.6's order. An `ifconfig` line adds nothing.
fn push(draft: &mut Draft, network: &NetworkSettings, keepalive: KeepalivePlan) -> Vec<String> {
    let written = std::mem::take(&mut draft.push);
    let mut push: Vec<_> = written.into_iter().map(|option| option.value).collect();
    if draft.network.server_v6.is_some() {
        push.push("tun-ipv6".to_owned());
    }
    if let Some(v4) = network.v4.filter(|_| draft.network.server.is_some()) {
        push.extend(pushed_route(&v4, draft.network.client_to_client));
        push.push(format!("topology {}", v4.layout.name()));
    }
    if let Some((ping, restart)) = keepalive.pushed {
        push.push(format!("ping {ping}"));
        push.push(format!("ping-restart {restart}"));
    }
    push
}

/// How clients reach the server, and one another. Wire: as the helper `server` of 2.6 pushes it.
fn pushed_route(v4: &V4Network, client_to_client: bool) -> Option<String> {
    let network = v4.network;
    match v4.layout {
        V4Layout::Subnet { .. } => Some(format!("route-gateway {}", v4.server)),
        _ if client_to_client => {
            let (first, netmask) = (network.network(), network.netmask());
            Some(format!("route {first} {netmask}"))
        }
        V4Layout::Net30 { .. } => Some(format!("route {}", v4.server)),
        V4Layout::PointToPoint { .. } => None,
    }
}

/// What is said about TCP, and what clients are told of it.
fn over_tcp(draft: &mut Draft, listeners: &[ListenerSettings]) -> Option<String> {
    let is_tcp = |listener: &ListenerSettings| listener.transport == ListenerTransport::Tcp;
    // Wire: a warning in 2.6, too.
    if listeners.iter().all(is_tcp) && draft.network.explicit_exit != ExplicitExit::Silent {
        draft.diagnostics.push(Diagnostic {
            severity: Severity::Warning,
            at: None,
            directive: "explicit-exit-notify".to_owned(),
            reason: Reason::Because(
                "it is ignored for --proto tcp: clients see the end of their \
                connection"
                    .to_owned(),
            ),
            instead: Some("remove the line".to_owned()),
        });
    }
    let sends_at_once = draft.network.sends_at_once && listeners.iter().any(is_tcp);
    sends_at_once.then(|| "socket-flags TCP_NODELAY".to_owned())
}

fn tls(draft: &mut Draft) -> Option<TlsSettings> {
    if let Some(dh) = draft.tls.dh.clone()
        && let Some(dh) = Opened::new(draft, "dh", &dh, false)
    {
        pki::check_dh(draft, &dh);
    }
    let ca = match draft.role {
        Role::Server => "write `ca ca.crt`: the authority that signed the clients",
        Role::Client => "write `ca ca.crt`: the authority that signed the server",
    };
    let by_directory = draft.tls.ca_directory.clone();
    let by_directory = by_directory.map(|line| pki::authorities_in(draft, &line));
    // Wire: certificates that are known by their fingerprints need no authority.
    let needless = by_directory.is_some() || draft.tls.fingerprints.is_some();
    let of_file = match draft.tls.ca.is_none() && needless {
        true => Some(Vec::new()),
        false => {
            let ca = opened(draft, "ca", false, ca);
            ca.and_then(|ca| pki::authorities(draft, &ca))
        }
    };
    let authorities = of_file.and_then(|mut all| {
        all.extend(by_directory.unwrap_or_else(|| Some(Vec::new()))?);
        Some(all)
    });
    let revocations = revocations(draft, authorities.as_deref());
    remark_hashes(draft);
    let oldest = draft.tls.oldest.unwrap_or(TlsVersion::V1_2);
    let newest = draft.tls.newest.clone();
    if let Some(newest) = newest.as_ref().filter(|newest| newest.value < oldest) {
        let why = "older than `tls-version-min`";
        draft.remark_at(Severity::Error, "tls-version-max", &newest.at, why, None);
    }
    let newest = newest.map_or(TlsVersion::V1_3, |newest| newest.value);
    Some(TlsSettings {
        authorities: authorities?,
        versions: oldest..=newest,
        groups: draft.tls.groups.clone(),
        suites: suites(draft),
        suite_b: draft.tls.suite_b,
        peer_usage: draft.tls.peer_usage,
        usage: draft.tls.usage.clone(),
        fingerprints: draft.tls.fingerprints.take().map(|line| line.value),
        peer_name: draft.tls.peer_name.clone(),
        issuers: draft.tls.issuers.take().map(|line| line.value),
        called: draft.tls.called.take().unwrap_or_default(),
        revocations: revocations?,
    })
}

/// The suites of `tls-cipher` and `tls-ciphersuites`, and the usual ones of the version that neither is about.
fn suites(draft: &Draft) -> Option<Vec<SupportedCipherSuite>> {
    let (of_12, of_13) = (&draft.tls.suites_12, &draft.tls.suites_13);
    if of_12.is_none() && of_13.is_none() {
        return None;
    }
    let of_13 = of_13.clone().unwrap_or_else(|| tls::suites(true).collect());
    let of_12 = of_12
        .clone()
        .unwrap_or_else(|| tls::suites(false).collect());
    Some([of_13, of_12].concat())
}

/// The lists of `crl-verify` and of `capath`; `None` for an error.
fn revocations(
    draft: &mut Draft,
    authorities: Option<&[CertificateDer<'static>]>,
) -> Option<Vec<RevocationSettings>> {
    let own = draft.tls.revocations.clone();
    let own = own.map(|line| pki::revocations(draft, &line, authorities));
    // What is wrong with the directory itself has been said.
    let directory = draft.tls.ca_directory.clone().zip(authorities);
    let hashed = directory.map(|(line, known)| pki::revocations_in(draft, &line, known));
    own.into_iter().chain(hashed).collect()
}

/// Wire: an error in 2.6.
fn remark_hashes(draft: &mut Draft) {
    if let (Some(issuers), Some(_)) = (&draft.tls.issuers, &draft.tls.fingerprints) {
        let at = issuers.at.clone();
        let why = "--verify-hash and --peer-fingerprint are mutually exclusive";
        let instead = Some("remove one of the two".to_owned());
        draft.remark_at(Severity::Error, "verify-hash", &at, why, instead);
    }
}

fn identity(draft: &mut Draft) -> Option<Identity> {
    let (cert, key) = match draft.role {
        Role::Server => ("write `cert server.crt`", "write `key server.key`"),
        Role::Client => ("write `cert client.crt`", "write `key client.key`"),
    };
    let cert = opened(draft, "cert", false, cert);
    let key = opened(draft, "key", true, key);
    pki::identity(draft, cert, key)
}

fn opened(draft: &mut Draft, name: &'static str, secret: bool, instead: &str) -> Option<Opened> {
    let source = match name {
        "ca" => draft.tls.ca.clone(),
        "cert" => draft.tls.certificate.clone(),
        _ => draft.tls.key.clone(),
    };
    let Some(source) = source else {
        // It would be in there, and that has its own remark.
        if draft.tls.pkcs12.is_some() && draft.diagnostics.mentions("pkcs12") {
            return None;
        }
        draft.missing(name, "not written", instead);
        return None;
    };
    Opened::new(draft, name, &source, secret)
}

/// The digest of `auth`; SHA1 if nothing is written.
fn auth(draft: &Draft) -> Option<Digest> {
    draft
        .control
        .auth
        .as_ref()
        .map_or(Some(Digest::default()), |auth| auth.value)
}

/// What is offered. The older ciphers come last, with the digest of `auth`.
fn ciphers(draft: &mut Draft) -> Option<Vec<DataCipher>> {
    let mut offered = std::mem::take(&mut draft.control.ciphers);
    let fallback = draft.control.fallback.filter(|it| !offered.contains(it));
    offered.extend(fallback);
    match auth(draft) {
        Some(digest) => {
            let dressed = offered.into_iter().map(|it| it.with_digest(digest));
            Some(dressed.collect())
        }
        None => {
            let (old, new): (Vec<_>, _) = offered.into_iter().partition(|it| it.digest().is_some());
            let at = draft.control.auth.as_ref().map(|line| line.at.clone());
            if let (Some(cipher), Some(at)) = (old.first(), at) {
                let why = format!("packets in {cipher} would not be authenticated at all");
                let instead = Some("write `auth SHA256`, on the server and the clients".to_owned());
                draft.remark_at(Severity::Error, "auth", &at, why.as_str(), instead);
                return None;
            }
            Some(new)
        }
    }
}

fn handshake(draft: &Draft) -> HandshakeSettings {
    let control = &draft.control;
    let (latest, earliest) = control.renegotiate;
    let seconds = |value: u32| Duration::from_secs(value.into());
    // Wire: a server's earliest is 90 % of its latest; a client waits to the last.
    let usual = match draft.role {
        Role::Server => seconds(latest) * 9 / 10,
        Role::Client => seconds(latest),
    };
    let renegotiate = (latest > 0).then(|| Renegotiation {
        earliest: earliest.map_or(usual, seconds),
        latest: seconds(latest),
    });
    HandshakeSettings {
        hand_window: control.hand_window,
        tran_window: control.tran_window,
        tls_timeout: control.tls_timeout,
        renegotiate,
    }
}

/// Wire: 2.6 takes 1492 for the whole packet, and with another MTU that MTU for the inner packet. Where
/// packets are cut, it is the bound on them, as that of the whole packet in any case. With `link-mtu` there is
/// none unless it is written.
fn mssfix(draft: &Draft) -> Mssfix {
    let fragment = draft.network.fragment.as_ref();
    let usual = || match (fragment, draft.network.mtu) {
        (Some(line), _) => Mssfix::Packet(line.value.bytes()),
        (None, _) if draft.network.link_mtu.is_some() => Mssfix::Off,
        (None, MTU_DEFAULT) => Mssfix::Packet(MSSFIX_DEFAULT),
        (None, mtu) => Mssfix::Inner(mtu),
    };
    draft.network.mssfix.unwrap_or_else(usual)
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
        user: draft.process.user.take(),
        group: draft.process.group.take(),
        chroot: draft.process.chroot.take().map(|root| root.value),
        nice: draft.process.nice,
        locks_memory: draft.process.locks_memory,
        restart: draft.process.restart,
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
        if self.incomplete {
            return;
        }
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
