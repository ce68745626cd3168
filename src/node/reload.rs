//! What a configuration that is read again changes in a running server (SIGHUP, `ringway reload`).
//!
//! Each setting is named once in this file, with what becomes of its change: it is taken over while
//! all sessions go on, or it stays as it was until a restart. The settings are taken apart whole, so
//! none can be forgotten: a new one without a line here does not compile.

use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::event::Text;
use super::settings::{
    ClientFiles, ListenerSettings, NetworkSettings, NodeSettings, ProcessSettings,
    RevocationSettings, Settings, TlsSettings, V4Network, V6Network,
};
use crate::crypto::tls::rustls::Identity;

/// Who reads a server's configuration.
pub trait ConfigurationReader: Send + Sync {
    /// Reads it again. It may take its time: it has a thread of its own.
    ///
    /// # Errors
    /// What is wrong with it, a line of log each.
    fn read(&self) -> Result<Reading, Vec<String>>;

    /// Reads it with a password for its key, which is kept for the next time if it is the right one.
    ///
    /// # Errors
    /// It is the wrong one, or something else is wrong.
    fn unlock(&self, password: &Zeroizing<String>) -> Result<Reading, StillLocked>;

    /// Forgets the password of the key: a configuration with that key is not had again.
    fn forget(&self);
}

/// Why a configuration can't be had with a password for its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StillLocked {
    /// It is another one.
    WrongPassword,
    /// Something else is wrong, a line of log each.
    Faults(Vec<String>),
}

/// A configuration that was read again, or in place of it, a line for each thing that is wrong.
#[derive(Debug)]
pub struct Reading {
    /// What it says.
    pub settings: Settings,
    /// What there is to remark on it, a line of log each.
    pub warnings: Vec<String>,
}

/// What a new configuration changes, by the names of directives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is in force from now on.
    pub taken: Vec<&'static str>,
    /// What needs a restart.
    pub left: Vec<&'static str>,
}

impl Changes {
    /// Takes over into `current` what `new` has of changes that cost no session; with `all`, the
    /// others too.
    pub fn take_over(current: &mut Settings, new: Settings, all: bool) -> Self {
        let mut comparison = Comparison {
            changes: Self::default(),
            all,
        };
        comparison.server(current, new);
        comparison.changes
    }
}

/// How the two configurations differ, so far.
struct Comparison {
    changes: Changes,
    /// What needs a restart is taken over too, for there is one.
    all: bool,
}

impl Comparison {
    fn taken(&mut self, directive: &'static str, changed: bool) {
        if changed {
            self.changes.taken.push(directive);
        }
    }

    /// A setting that can change while the sessions go on.
    fn take<T: PartialEq>(&mut self, directive: &'static str, current: &mut T, new: T) {
        self.taken(directive, *current != new);
        *current = new;
    }

    /// A setting that can't.
    fn keep<T: PartialEq>(&mut self, directive: &'static str, current: &mut T, new: T) {
        if *current != new {
            self.changes.left.push(directive);
            if self.all {
                *current = new;
            }
        }
    }

    fn server(&mut self, current: &mut Settings, new: Settings) {
        let Settings {
            node,
            identity,
            listeners,
            network,
            push,
            keepalive,
            path_mtu,
            exit_when_silent,
            hosts_remembered,
            max_clients,
            duplicate_cn,
            client_to_client,
            block_ipv6,
            compression,
            contact,
            stream_queue,
            device_scripts,
            port_share,
            explicit_exit,
            leases,
            client_files,
            auth,
            routes,
            route_table,
            status,
            management,
            echo,
            tracked,
        } = new;
        self.node(&mut current.node, node);
        self.identity(&mut current.identity, identity);
        let directive = of_listeners(&current.listeners, &listeners);
        self.keep(directive, &mut current.listeners, listeners);
        self.network(&mut current.network, network);
        self.take("push", &mut current.push, push);
        self.take("keepalive", &mut current.keepalive, keepalive);
        self.keep("mtu-disc", &mut current.path_mtu, path_mtu);
        let exits = &mut current.exit_when_silent;
        self.take("ping-exit", exits, exit_when_silent);
        let remembered = &mut current.hosts_remembered;
        self.take("stale-routes-check", remembered, hosts_remembered);
        self.take("max-clients", &mut current.max_clients, max_clients);
        // Who has which name is known only without it.
        self.keep("duplicate-cn", &mut current.duplicate_cn, duplicate_cn);
        let inside = &mut current.client_to_client;
        self.take("client-to-client", inside, client_to_client);
        self.take("block-ipv6", &mut current.block_ipv6, block_ipv6);
        self.take("compress", &mut current.compression, compression);
        self.take("connect-freq", &mut current.contact, contact);
        let queue = &mut current.stream_queue;
        self.keep("tcp-queue-limit", queue, stream_queue);
        // Some have been run, and the others are told what those were.
        self.keep("up", &mut current.device_scripts, device_scripts);
        self.keep("port-share", &mut current.port_share, port_share);
        let exit = &mut current.explicit_exit;
        self.take("explicit-exit-notify", exit, explicit_exit);
        // The file stays open, and its thread the only one that writes it.
        self.keep("ifconfig-pool-persist", &mut current.leases, leases);
        let files = (of_files(&current.client_files), of_files(&client_files));
        self.taken("client-config-dir", files.0 != files.1);
        // What all clients are sent is in there too.
        current.client_files = client_files;
        // The process that starts scripts is as confined as this one: it can't be made again.
        self.keep("auth-user-pass-verify", &mut current.auth, auth);
        self.keep("route", &mut current.routes, routes);
        self.keep("route-table", &mut current.route_table, route_table);
        self.keep("management", &mut current.management, management);
        self.take("echo", &mut current.echo, echo);
        // Those who ask scripts have theirs.
        self.keep("x509-track", &mut current.tracked, tracked);
        self.take("status", &mut current.status, status);
    }

    fn node(&mut self, current: &mut NodeSettings, new: NodeSettings) {
        let NodeSettings {
            shards,
            offloads,
            routing,
            device,
            tls,
            wrapping,
            ciphers,
            auth,
            handshake,
            inactivity,
            session_timeout,
            key_volume,
            replay,
            mssfix,
            fragment,
            copies_classes,
            log,
            control_socket,
            process,
            environment,
        } = new;
        self.keep("ringway-shards", &mut current.shards, shards);
        self.keep("ringway-offload", &mut current.offloads, offloads);
        self.keep("bind-dev, mark", &mut current.routing, routing);
        self.keep("dev, tun-mtu", &mut current.device, device);
        self.tls(&mut current.tls, tls);
        let wrapped = &mut current.wrapping;
        self.keep("tls-auth, tls-crypt, tls-crypt-v2", wrapped, wrapping);
        self.keep("data-ciphers", &mut current.ciphers, ciphers);
        self.keep("auth", &mut current.auth, auth);
        let times = &mut current.handshake;
        self.take("hand-window, tran-window, reneg-sec", times, handshake);
        self.take("inactive", &mut current.inactivity, inactivity);
        let lasts = &mut current.session_timeout;
        self.take("session-timeout", lasts, session_timeout);
        let volume = &mut current.key_volume;
        self.take("reneg-bytes, reneg-pkts", volume, key_volume);
        self.take("replay-window", &mut current.replay, replay);
        self.take("mssfix", &mut current.mssfix, mssfix);
        self.keep("fragment", &mut current.fragment, fragment);
        let copies = &mut current.copies_classes;
        self.take("passtos", copies, copies_classes);
        self.take("log, verb, mute", &mut current.log, log);
        let socket = &mut current.control_socket;
        self.keep("ringway-control", socket, control_socket);
        self.process(&mut current.process, process);
        self.take("setenv", &mut current.environment, environment);
    }

    /// What is done once, before anybody is served.
    fn process(&mut self, current: &mut ProcessSettings, new: ProcessSettings) {
        let ProcessSettings {
            daemon,
            pid_file,
            directory,
            user,
            group,
            chroot,
            nice,
            locks_memory,
            restart,
        } = new;
        self.keep("daemon", &mut current.daemon, daemon);
        self.keep("writepid", &mut current.pid_file, pid_file);
        self.keep("cd", &mut current.directory, directory);
        self.keep("user", &mut current.user, user);
        self.keep("group", &mut current.group, group);
        self.keep("chroot", &mut current.chroot, chroot);
        self.keep("nice", &mut current.nice, nice);
        self.keep("mlock", &mut current.locks_memory, locks_memory);
        self.take("remap-usr1", &mut current.restart, restart);
    }

    /// Handshakes from now on, those of new keys of old sessions included, go by the new ones.
    fn tls(&mut self, current: &mut TlsSettings, new: TlsSettings) {
        let TlsSettings {
            authorities,
            versions,
            groups,
            suites,
            peer_usage,
            usage,
            fingerprints,
            peer_name,
            issuers,
            called,
            suite_b,
            revocations,
        } = new;
        self.take("ca", &mut current.authorities, authorities);
        self.take("tls-version-min", &mut current.versions, versions);
        let names = |groups: &Option<Vec<&'static dyn rustls::crypto::SupportedKxGroup>>| {
            let groups = groups.as_ref();
            groups.map(|it| it.iter().map(|group| group.name()).collect::<Vec<_>>())
        };
        self.taken("tls-groups", names(&current.groups) != names(&groups));
        current.groups = groups;
        self.take("tls-cipher, tls-ciphersuites", &mut current.suites, suites);
        self.take("tls-cert-profile", &mut current.suite_b, suite_b);
        self.take("remote-cert-tls", &mut current.peer_usage, peer_usage);
        self.take("remote-cert-eku", &mut current.usage, usage);
        let known = &mut current.fingerprints;
        self.take("peer-fingerprint", known, fingerprints);
        self.take("verify-x509-name", &mut current.peer_name, peer_name);
        self.take("verify-hash", &mut current.issuers, issuers);
        // Who is known by another name is another client.
        self.take("x509-username-field", &mut current.called, called);
        let lists = (
            of_revocations(&current.revocations),
            of_revocations(&revocations),
        );
        self.taken("crl-verify", lists.0 != lists.1);
        current.revocations = revocations;
    }

    fn identity(&mut self, current: &mut Identity, new: Identity) {
        let former = mem::replace(current, new);
        let Identity { chain, key } = &*current;
        self.taken("cert", former.chain != *chain);
        self.taken("key", former.key != *key);
    }

    fn network(&mut self, current: &mut NetworkSettings, new: NetworkSettings) {
        match has_grown(current, &new) {
            true => self.take("ifconfig-pool", current, new),
            false => self.keep(of_network(current, &new), current, new),
        }
    }
}

/// The directive by which listeners differ.
fn of_listeners(current: &[ListenerSettings], new: &[ListenerSettings]) -> &'static str {
    let ports = |of: &[ListenerSettings]| of.iter().map(|it| it.port).collect::<Vec<_>>();
    let binds = |of: &[ListenerSettings]| of.iter().map(|it| it.bind).collect::<Vec<_>>();
    let proxies =
        |of: &[ListenerSettings]| of.iter().map(|it| it.proxy.clone()).collect::<Vec<_>>();
    let moved = (ports(current) != ports(new), binds(current) != binds(new));
    match moved {
        (true, true) => "port, local",
        (true, false) => "port",
        (false, true) => "local, proto",
        (false, false) if proxies(current) != proxies(new) => "ringway-proxy-protocol",
        (false, false) => "proto, sndbuf, rcvbuf",
    }
}

/// The directive by which networks differ.
fn of_network(current: &NetworkSettings, new: &NetworkSettings) -> &'static str {
    let v4 = |of: Option<V4Network>| of.map(|v4| (v4.server, v4.network));
    let v6 = |of: Option<V6Network>| of.map(|v6| (v6.server, v6.network));
    if v4(current.v4) != v4(new.v4) {
        "server, ifconfig"
    } else if v6(current.v6) != v6(new.v6) {
        "server-ipv6"
    } else {
        "ifconfig-pool, topology"
    }
}

/// Whether nothing but the ends of pools has moved, and those outwards: every address that somebody
/// has keeps its slot.
fn has_grown(current: &NetworkSettings, new: &NetworkSettings) -> bool {
    let mut grown = current.clone();
    if let (Some(v4), Some(new)) = (&mut grown.v4, new.v4)
        && let (Some(pool), Some(wider)) = (v4.pool, new.pool)
        && pool.first() == wider.first()
        && pool.last() <= wider.last()
    {
        v4.pool = new.pool;
    }
    if let (Some(v6), Some(new)) = (&mut grown.v6, new.v6)
        && v6.pool_last <= new.pool_last
    {
        v6.pool_last = new.pool_last;
    }
    grown == *new
}

/// What a client's file is found and understood by, as far as no other directive says it.
fn of_files(files: &Option<ClientFiles>) -> Option<(&std::path::Path, bool, u32)> {
    let files = files.as_ref()?;
    let directory = files.directory.as_deref()?;
    Some((directory, files.exclusive, files.basis.routes_max))
}

/// Where revoked certificates are told, and which.
fn of_revocations(
    revocations: &[RevocationSettings],
) -> Vec<(
    super::settings::RevocationSource,
    Arc<crate::crypto::tls::Revocations>,
)> {
    let each = |lists: &RevocationSettings| (lists.source.clone(), lists.known.now());
    revocations.iter().map(each).collect()
}

/// What came of reading a configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// What is wrong with it, a line each: nothing was taken over.
    pub faults: Vec<Text>,
    /// What there is to remark, a line each.
    pub warnings: Vec<Text>,
    /// What it changes.
    pub changes: Changes,
    /// How many sessions a restart would cost, or costs.
    pub sessions: usize,
    /// What becomes of what needs a restart.
    pub rest: Rest,
}

/// What becomes of changes that need a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// They stay away until somebody asks for it.
    #[default]
    Left,
    /// The restart begins.
    Restarting,
    /// It was asked for, and the process has given up the rights that it would need.
    Confined,
}

/// Who hears when of other `push` lines.
const PUSHED_ANEW: &str = "Reload: clients that take PUSH_UPDATE are told now what has changed in `push`, as far as \
                           it can be changed in a tunnel; the others when they connect again";

impl ReloadReport {
    /// The lines that say it, with whether somebody may have to act.
    pub fn lines(&self) -> Vec<(bool, String)> {
        let mut lines: Vec<(bool, String)> = Vec::new();
        lines.extend(self.warnings.iter().map(|line| (true, line.to_string())));
        lines.extend(self.faults.iter().map(|line| (true, line.to_string())));
        if !self.faults.is_empty() {
            let words = "Reload: the configuration was not taken over, all stays as it was";
            lines.push((true, words.to_owned()));
            return lines;
        }
        let Changes { taken, left } = &self.changes;
        if taken.is_empty() && left.is_empty() {
            lines.push((false, "Reload: the configuration says the same".to_owned()));
        }
        if !taken.is_empty() {
            let taken = taken.join(", ");
            let words = format!("Reload: in force from now on, no session is touched: {taken}");
            lines.push((false, words));
        }
        if taken.contains(&"push") {
            lines.push((false, PUSHED_ANEW.to_owned()));
        }
        if !left.is_empty() {
            lines.push((true, self.rest(&left.join(", "))));
        }
        lines
    }

    fn rest(&self, left: &str) -> String {
        let cost = match self.sessions {
            1 => "1 session".to_owned(),
            sessions => format!("{sessions} sessions"),
        };
        match self.rest {
            Rest::Left => format!(
                "Reload: left as it was, since a restart would cost {cost}: {left} \
                 (`ringway reload --disruptive` does it)"
            ),
            Rest::Restarting => format!("Reload: restarting, which costs {cost}: {left}"),
            Rest::Confined => format!(
                "Reload: left as it was: {left}; with `user`, `group` or `chroot` the process has given up \
                 the rights that a restart needs: stop the server and start it again, which costs {cost}"
            ),
        }
    }
}
