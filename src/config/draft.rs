//! What the lines of a configuration say, before it is known whether it fits together.

mod client;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use client::{ClientDraft, ConnectionDraft, LoginLine, RemoteLine, Transport};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use zeroize::Zeroizing;

use super::diagnostics::Diagnostics;
use super::lexer::{Line, Location};
use super::settings::{
    Account, Compression, ContactLimits, ExplicitExit, Inactivity, KeyVolume, ListenerTransport,
    ManagementSocket, Offloads, PathMtu, ReplayWindow, RestartSignal, RouteLine, Routing,
    SteeringChoice, Topology,
};
use crate::crypto::tls::rustls::TlsVersion;
use crate::crypto::tls::{IssuerHashes, NameRule, TrackedField, UsageRules, UsernameFields};
use crate::crypto::{DataCipher, Digest, KeyDirection};
use crate::limits;
use crate::node::log::{LogTarget, Stamp};
use crate::node::plugins::Plugin;
use crate::node::settings::{ClientCertificate, HandOver, ScriptCommand};
use crate::node::status::StatusFormat;
use crate::packet::{FragmentLimit, Mssfix};
use crate::session::KeyingMaterial;
use crate::wire::Role;

/// A value and the line that says it.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) at: Location,
}

impl<T> Written<T> {
    pub(super) fn new(value: T, line: &Line) -> Option<Self> {
        Some(Self {
            value,
            at: line.at.clone(),
        })
    }
}

/// Everything that was said so far.
#[derive(Debug)]
pub(super) struct Draft {
    /// Whose configuration it is.
    pub(super) role: Role,
    pub(super) diagnostics: Diagnostics,
    /// The directory that relative names start from, as `cd` lines change it.
    pub(super) directory: PathBuf,
    pub(super) changes_directory: bool,
    /// Whether there are lines that could not be read.
    pub(super) incomplete: bool,
    pub(super) ignorable: Vec<String>,
    pub(super) ignores_all_unknown: bool,
    /// The cores that the process may use; none if that is not known.
    pub(super) usable_cores: Vec<usize>,
    pub(super) shards: ShardsDraft,
    pub(super) offloads: Offloads,
    pub(super) network: NetworkDraft,
    pub(super) tls: TlsDraft,
    pub(super) control: ControlDraft,
    pub(super) push: Vec<Written<String>>,
    pub(super) process: ProcessDraft,
    pub(super) client: ClientDraft,
    pub(super) login: LoginDraft,
}

/// Who judges logins.
#[derive(Debug, Default)]
pub(super) struct LoginDraft {
    pub(super) script: Option<Written<(ScriptCommand, HandOver)>>,
    pub(super) plugins: Vec<Written<Plugin>>,
    pub(super) key_metadata: Option<Written<ScriptCommand>>,
    pub(super) verify: Option<Written<ScriptCommand>>,
    pub(super) connect: Option<Written<ScriptCommand>>,
    pub(super) disconnect: Option<Written<ScriptCommand>>,
    pub(super) learn: Option<Written<ScriptCommand>>,
    pub(super) challenge: Option<Written<ScriptCommand>>,
    pub(super) optional: Option<Written<()>>,
    pub(super) certificate: Option<Written<ClientCertificate>>,
    pub(super) named_by_user: Option<Written<()>>,
    pub(super) temporary: Option<PathBuf>,
    pub(super) token: Option<Written<TokenLine>>,
    pub(super) token_secret: Option<Written<Source>>,
    pub(super) passwords: Option<Written<PathBuf>>,
    pub(super) secrets: Option<Written<PathBuf>>,
    pub(super) backoff: Option<Written<bool>>,
    pub(super) exporter: Option<Written<KeyingMaterial>>,
}

/// What `auth-gen-token` says, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenLine {
    /// 0 is without end.
    pub(super) lifetime: u32,
    /// Not written: each renegotiation.
    pub(super) renewal: Option<u32>,
    pub(super) external_auth: bool,
}

/// How many shards, and where.
#[derive(Debug, Default)]
pub(super) struct ShardsDraft {
    pub(super) count: Option<Written<usize>>,
    /// At least one.
    pub(super) cores: Option<Written<Vec<usize>>>,
    pub(super) steering: SteeringChoice,
}

/// Sockets, device and addresses.
#[derive(Debug)]
pub(super) struct NetworkDraft {
    pub(super) locals: Vec<Local>,
    pub(super) port: u16,
    pub(super) family: Family,
    pub(super) transport: ListenerTransport,
    pub(super) stream_queue: u32,
    pub(super) port_share: Option<Written<PortShareLine>>,
    pub(super) proxies: Vec<Written<ProxyLine>>,
    pub(super) sends_at_once: bool,
    pub(super) v6_only: bool,
    pub(super) send_buffer: Option<NonZeroU32>,
    pub(super) receive_buffer: Option<NonZeroU32>,
    pub(super) device: Option<Written<String>>,
    pub(super) device_is_tun: bool,
    pub(super) mtu: u16,
    pub(super) mtu_is_written: bool,
    /// `link-mtu` or `udp-mtu`, with its name.
    pub(super) link_mtu: Option<Written<(&'static str, u16)>>,
    pub(super) transmit_queue: Option<u32>,
    pub(super) server: Option<Written<ServerLine>>,
    pub(super) server_v6: Option<Written<Ipv6Net>>,
    /// Whether `mode server` is written.
    pub(super) mode_server: bool,
    /// Both words: what the second is, the topology says.
    pub(super) ifconfig: Option<Written<(Ipv4Addr, Ipv4Addr)>>,
    pub(super) ifconfig_v6: Option<Written<Ipv6Net>>,
    pub(super) pool: Option<Written<PoolLine>>,
    pub(super) pool_v6: Option<Written<Ipv6Net>>,
    pub(super) topology: Option<Written<Topology>>,
    pub(super) mssfix: Option<Mssfix>,
    pub(super) fragment: Option<Written<FragmentLimit>>,
    /// The class of packets is copied to the datagrams around them.
    pub(super) copies_classes: Option<Written<()>>,
    pub(super) keepalive: Option<Written<(u32, u32)>>,
    pub(super) ping: Option<Written<u32>>,
    pub(super) ping_restart: Option<Written<u32>>,
    pub(super) exit_when_silent: bool,
    pub(super) path_mtu: Option<PathMtu>,
    pub(super) routing: Routing,
    pub(super) inactivity: Option<Inactivity>,
    pub(super) hosts_remembered: Duration,
    pub(super) max_clients: u32,
    pub(super) duplicate_cn: bool,
    pub(super) client_to_client: bool,
    pub(super) block_ipv6: bool,
    /// The file of address leases and how often it is written, `None` for never.
    pub(super) leases: Option<Written<(String, Option<Duration>)>>,
    pub(super) client_files: Option<Written<String>>,
    pub(super) files_exclusive: Option<Written<()>>,
    pub(super) routes_per_client: u32,
    /// Where clients' own addresses are to be, if not in the network of the tunnel.
    pub(super) constraint: Option<Ipv4Net>,
    /// The server's own routes.
    pub(super) routes: Vec<RouteLine>,
    pub(super) route_metric: Option<u32>,
    pub(super) route_table: Option<u32>,
    pub(super) route_gateway: Option<Ipv4Addr>,
    /// Whether the server sets them itself.
    pub(super) sets_routes: bool,
    pub(super) contact: ContactLimits,
    pub(super) explicit_exit: ExplicitExit,
}

/// A `local` line.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// What it says itself of transport and family.
    pub(super) proto: Option<(ListenerTransport, Family)>,
    pub(super) at: Location,
}

/// What `proto` asks of a listener's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Family {
    #[default]
    Any,
    V4,
    V6,
}

/// A `port-share` line.
#[derive(Clone, Debug)]
pub(super) struct PortShareLine {
    pub(super) server: SocketAddr,
    pub(super) journal: Option<PathBuf>,
}

/// A `ringway-proxy-protocol` line.
#[derive(Clone, Debug)]
pub(super) struct ProxyLine {
    /// The port of the listeners that it is about, `None` for all over TCP.
    pub(super) port: Option<u16>,
    /// The networks of the proxies; none for everybody.
    pub(super) trusted: Vec<IpNet>,
}

/// A `server` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLine {
    pub(super) network: Ipv4Net,
    pub(super) pool: bool,
}

/// An `ifconfig-pool` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolLine {
    pub(super) first: Ipv4Addr,
    pub(super) last: Ipv4Addr,
    pub(super) netmask: Option<Ipv4Addr>,
}

/// Certificates and TLS.
#[derive(Debug, Default)]
pub(super) struct TlsDraft {
    pub(super) ca: Option<Written<Source>>,
    pub(super) certificate: Option<Written<Source>>,
    pub(super) key: Option<Written<Source>>,
    /// `extra-certs`.
    pub(super) extra: Option<Written<Source>>,
    /// `pkcs12`, whose content takes the place of the three.
    pub(super) pkcs12: Option<Written<Source>>,
    /// `askpass`: the file of the key's password, `None` to ask for it.
    pub(super) askpass: Option<Written<Option<Source>>>,
    /// The key's password, once it is known.
    pub(super) password: Option<Zeroizing<String>>,
    /// Whether its file is no good.
    pub(super) password_unread: bool,
    /// Whether somebody has to be asked for it.
    pub(super) asks_password: bool,
    /// Whether it was wrong.
    pub(super) wrong_password: bool,
    pub(super) dh: Option<Written<Source>>,
    pub(super) oldest: Option<TlsVersion>,
    pub(super) newest: Option<Written<TlsVersion>>,
    pub(super) groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    /// `tls-cipher`.
    pub(super) suites_12: Option<Vec<SupportedCipherSuite>>,
    /// `tls-ciphersuites`.
    pub(super) suites_13: Option<Vec<SupportedCipherSuite>>,
    pub(super) suite_b: bool,
    /// What scripts are told of certificates, if not all.
    pub(super) tracked: Vec<TrackedField>,
    pub(super) peer_usage: bool,
    pub(super) usage: UsageRules,
    /// Fingerprints of all lines, and the first of these.
    pub(super) fingerprints: Option<Written<BTreeSet<[u8; 32]>>>,
    pub(super) ca_directory: Option<Written<String>>,
    pub(super) issuers: Option<Written<IssuerHashes>>,
    pub(super) called: Option<UsernameFields>,
    pub(super) peer_name: Option<NameRule>,
    pub(super) revocations: Option<Written<RevocationLine>>,
}

/// A `crl-verify` line.
#[derive(Clone, Debug)]
pub(super) struct RevocationLine {
    pub(super) source: Source,
    pub(super) directory: bool,
}

/// Where the content of a file option is.
#[derive(Clone)]
pub(super) enum Source {
    /// In this file.
    File(String),
    /// Between `<tag>` and `</tag>`.
    Block(Zeroizing<String>),
    /// Out of this file, in PEM form.
    Unpacked(String, Zeroizing<String>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(name) => write!(f, "File({name})"),
            Self::Block(text) => write!(f, "Block({} bytes)", text.len()),
            Self::Unpacked(name, text) => write!(f, "Unpacked({name}, {} bytes)", text.len()),
        }
    }
}

/// The control channel and the choice of ciphers.
#[derive(Debug)]
pub(super) struct ControlDraft {
    pub(super) tls_auth: Option<Written<Source>>,
    pub(super) tls_crypt: Option<Written<Source>>,
    pub(super) tls_crypt_v2: Option<Written<Source>>,
    /// Whether clients may come that bring their tls-crypt-v2 key only once.
    pub(super) without_cookie: bool,
    pub(super) client_key_max_age: Option<Written<Duration>>,
    pub(super) direction: KeyDirection,
    pub(super) ciphers: Vec<DataCipher>,
    /// What `cipher` names, in capitals; it is never used for that line alone.
    pub(super) cipher: Option<String>,
    /// For clients that do not negotiate.
    pub(super) fallback: Option<DataCipher>,
    pub(super) auth: Option<Written<Option<Digest>>>,
    pub(super) hand_window: Duration,
    pub(super) tran_window: Duration,
    pub(super) tls_timeout: Duration,
    pub(super) renegotiate: (u32, Option<u32>),
    pub(super) key_volume: KeyVolume,
    pub(super) session_timeout: Option<Duration>,
    pub(super) replay: ReplayWindow,
    /// Framing for compression, and whether LZO was meant.
    pub(super) compression: Option<Written<Compression>>,
}

/// The `management` lines.
#[derive(Debug, Default)]
pub(super) struct ManagementDraft {
    /// Where it listens, and the file of its password.
    pub(super) socket: Option<Written<(ManagementSocket, Option<String>)>>,
    pub(super) client_user: Option<Written<u32>>,
    pub(super) client_group: Option<Written<u32>>,
    pub(super) hold: Option<Written<()>>,
    pub(super) log_lines: Option<Written<usize>>,
    pub(super) signal: Option<Written<()>>,
    pub(super) up_down: Option<Written<()>>,
    /// Whether who is connected is asked for the password of the key.
    pub(super) asks: Option<Written<()>>,
    /// Whether that is forgotten when they go.
    pub(super) forgets: Option<Written<()>>,
    /// Whether who is connected judges logins.
    pub(super) judges: Option<Written<()>>,
}

/// Log, status, daemon.
#[derive(Debug)]
pub(super) struct ProcessDraft {
    pub(super) log: Option<LogTarget>,
    pub(super) daemon: bool,
    /// The name for the system log, from `daemon` or `syslog`.
    pub(super) syslog: Option<String>,
    pub(super) verb: u8,
    pub(super) mute: Option<NonZeroU32>,
    pub(super) stamp: Stamp,
    pub(super) status: Option<(String, Duration)>,
    pub(super) status_format: StatusFormat,
    pub(super) pid_file: Option<String>,
    pub(super) control_socket: Option<PathBuf>,
    pub(super) management: ManagementDraft,
    /// What managers are told.
    pub(super) echo: Vec<String>,
    pub(super) user: Option<Account>,
    pub(super) group: Option<Account>,
    pub(super) chroot: Option<Written<PathBuf>>,
    pub(super) nice: Option<i32>,
    pub(super) locks_memory: bool,
    pub(super) restart: RestartSignal,
    /// Which programs may be started.
    pub(super) script_security: u8,
    pub(super) environment: Vec<(String, String)>,
}

impl Draft {
    /// Nothing was said.
    pub(super) fn new(role: Role, directory: PathBuf, usable_cores: Vec<usize>) -> Self {
        Self {
            role,
            diagnostics: Diagnostics::default(),
            directory,
            changes_directory: false,
            incomplete: false,
            ignorable: Vec::new(),
            ignores_all_unknown: false,
            usable_cores,
            shards: ShardsDraft::default(),
            offloads: Offloads::default(),
            network: NetworkDraft::default(),
            tls: TlsDraft::default(),
            control: ControlDraft::default(),
            push: Vec::new(),
            process: ProcessDraft::default(),
            client: ClientDraft::default(),
            login: LoginDraft::default(),
        }
    }

    /// Whether a line with this name may be passed over when it cannot be served.
    pub(super) fn may_be_ignored(&self, name: &str) -> bool {
        self.ignores_all_unknown || self.ignorable.iter().any(|known| known == name)
    }

    /// From here on lines with these names may be passed over.
    pub(super) fn ignore(&mut self, names: &[String]) {
        self.ignorable.extend_from_slice(names);
    }

    /// Runs `then` while lines of this name may be passed over.
    pub(super) fn ignoring(&mut self, name: String, then: impl FnOnce(&mut Self)) {
        self.ignorable.push(name);
        then(self);
        self.ignorable.pop();
    }

    /// A file's path, from the directory that the lines so far lead to.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// The path of a file that is read while the server runs: as it is now, and as it is by then. Wire: as
    /// in 2.6, with `chroot` the name is one inside of the new root, and relative ones start there.
    pub(super) fn path_when_running(&self, name: impl AsRef<Path>) -> (PathBuf, PathBuf) {
        match &self.process.chroot {
            Some(root) => {
                let inside = Path::new("/").join(name);
                let below = inside.strip_prefix("/").unwrap_or(&inside);
                (root.value.join(below), inside)
            }
            None => (self.path(&name), self.path(name)),
        }
    }
}

impl Default for NetworkDraft {
    fn default() -> Self {
        Self {
            locals: Vec::new(),
            port: PORT_DEFAULT,
            family: Family::Any,
            transport: ListenerTransport::Udp,
            stream_queue: limits::STREAM_QUEUE_DEFAULT,
            port_share: None,
            proxies: Vec::new(),
            sends_at_once: false,
            v6_only: false,
            send_buffer: None,
            receive_buffer: None,
            device: None,
            device_is_tun: false,
            mtu: MTU_DEFAULT,
            mtu_is_written: false,
            link_mtu: None,
            transmit_queue: None,
            server: None,
            server_v6: None,
            mode_server: false,
            ifconfig: None,
            ifconfig_v6: None,
            pool: None,
            pool_v6: None,
            topology: None,
            mssfix: None,
            fragment: None,
            copies_classes: None,
            keepalive: None,
            ping: None,
            ping_restart: None,
            exit_when_silent: false,
            path_mtu: None,
            routing: Routing::default(),
            inactivity: None,
            hosts_remembered: limits::HOSTS_REMEMBERED,
            max_clients: limits::MAX_CLIENTS_DEFAULT,
            duplicate_cn: false,
            client_to_client: false,
            block_ipv6: false,
            leases: None,
            client_files: None,
            files_exclusive: None,
            routes_per_client: limits::ROUTES_PER_CLIENT,
            constraint: None,
            routes: Vec::new(),
            route_metric: None,
            route_table: None,
            route_gateway: None,
            sets_routes: true,
            contact: ContactLimits::default(),
            explicit_exit: ExplicitExit::Silent,
        }
    }
}

// Wire: wire.md section 15.
impl Default for ControlDraft {
    fn default() -> Self {
        Self {
            tls_auth: None,
            tls_crypt: None,
            tls_crypt_v2: None,
            without_cookie: true,
            client_key_max_age: None,
            direction: KeyDirection::Both,
            ciphers: DataCipher::USUAL.to_vec(),
            cipher: None,
            fallback: None,
            auth: None,
            hand_window: Duration::from_secs(60),
            tran_window: Duration::from_secs(3600),
            tls_timeout: limits::RETRANSMIT_FIRST,
            renegotiate: (3600, None),
            key_volume: KeyVolume::default(),
            session_timeout: None,
            replay: ReplayWindow {
                packets: limits::REPLAY_WINDOW,
                time: Duration::from_secs(15),
            },
            compression: None,
        }
    }
}

impl Default for ProcessDraft {
    fn default() -> Self {
        Self {
            log: None,
            daemon: false,
            syslog: None,
            verb: 1,
            mute: None,
            stamp: Stamp::Local,
            status: None,
            status_format: StatusFormat::V1,
            pid_file: None,
            control_socket: None,
            management: ManagementDraft::default(),
            echo: Vec::new(),
            user: None,
            group: None,
            chroot: None,
            nice: None,
            locks_memory: false,
            restart: RestartSignal::default(),
            script_security: 1,
            environment: Vec::new(),
        }
    }
}

/// The device's MTU when `tun-mtu` is not written.
pub(super) const MTU_DEFAULT: u16 = 1500;

/// OpenVPN's registered port.
pub(super) const PORT_DEFAULT: u16 = 1194;
