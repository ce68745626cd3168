//! What a node is told whichever its role: the device, the control channel, the log, the process.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::CertificateDer;

use super::{Inactivity, Offloads, Routing, ShardSettings};
use crate::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion};
use crate::crypto::tls::{
    IssuerHashes, NameRule, PeerPolicy, PeerPurpose, SharedRevocations, UsageRules, UsernameFields,
    check_suite_b,
};
use crate::crypto::{
    DataCipher, Digest, KeyDirection, Role, StaticKey, TlsCryptV2ClientKey, Wrapping,
};
use crate::node::log::LogOptions;
use crate::packet::{FragmentLimit, Mssfix};
use crate::session::{ClientKeyRules, Renegotiation};

/// The part of a configuration that servers and clients share.
#[derive(Debug)]
pub struct NodeSettings {
    /// The shards: how many, and on which cores.
    pub shards: ShardSettings,
    /// What the kernel may do for many packets at once.
    pub offloads: Offloads,
    /// What decides on the way of packets outside of the tunnel beside their addresses.
    pub routing: Routing,
    /// The tun device.
    pub device: DeviceSettings,
    /// Certificates and what is asked of a peer's.
    pub tls: TlsSettings,
    /// How control packets are wrapped.
    pub wrapping: WrappingSettings,
    /// Data ciphers that are offered, best first; at least one.
    pub ciphers: Vec<DataCipher>,
    /// The digest of `auth`, `None` for `auth none`. AEAD ciphers do not use it; it is told to
    /// peers in the options string.
    pub auth: Option<Digest>,
    /// Times of the control channel.
    pub handshake: HandshakeSettings,
    /// When a session that does nothing is ended (`inactive`).
    pub inactivity: Option<Inactivity>,
    /// How long a session lasts, `None` for as long as it will (`session-timeout`).
    pub session_timeout: Option<Duration>,
    /// What a key may carry before there is another one.
    pub key_volume: KeyVolume,
    /// How far out of order packets may come.
    pub replay: ReplayWindow,
    /// The clamp on the segment size of TCP connections inside the tunnel.
    pub mssfix: Mssfix,
    /// How large datagrams may be, if packets are cut for it; never over TCP.
    pub fragment: Option<FragmentLimit>,
    /// Whether datagrams get the class of the packet inside; never over TCP.
    pub copies_classes: bool,
    /// Where lines go, and how many.
    pub log: LogOptions,
    /// The unix socket on which the running node is asked and told, if there is to be one.
    pub control_socket: Option<PathBuf>,
    /// Daemon, process id file, working directory, privileges.
    pub process: ProcessSettings,
    /// `setenv` values for scripts, in order, last one of a name wins.
    pub environment: Vec<(String, String)>,
}

/// The tun device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Its name.
    pub name: DeviceName,
    /// The MTU of the device and of the packets inside the tunnel, in bytes.
    pub mtu: u16,
    /// The length of the device's transmit queue in packets, `None` for the kernel's default.
    pub transmit_queue: Option<u32>,
}

/// How a device gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The next free `tunN`.
    Auto,
    /// This name, at most 15 bytes.
    Named(String),
}

/// Certificates and what is asked of a peer's.
#[derive(Debug)]
pub struct TlsSettings {
    /// The authorities that sign the peers; at least one, unless there are fingerprints.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The versions that are served.
    pub versions: RangeInclusive<TlsVersion>,
    /// Key exchange groups, best first; `None` for the library's own choice.
    pub groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    /// Cipher suites, best first, of each version at least one; `None` for the library's own choice.
    pub suites: Option<Vec<SupportedCipherSuite>>,
    /// Whether nothing but Suite B is served, whatever is named otherwise (`tls-cert-profile suiteb`).
    pub suite_b: bool,
    /// Whether a peer's certificate must be marked for the peer's role (`remote-cert-tls`).
    pub peer_usage: bool,
    /// What else a peer's certificate must be for (`remote-cert-ku`, `remote-cert-eku`).
    pub usage: UsageRules,
    /// The only certificates of peers that are taken, by SHA-256, if it is asked (`peer-fingerprint`).
    pub fingerprints: Option<BTreeSet<[u8; 32]>>,
    /// What a peer's certificate must be named, if it is asked (`verify-x509-name`).
    pub peer_name: Option<NameRule>,
    /// Who must have signed the peer's certificate itself, if it is asked (`verify-hash`).
    pub issuers: Option<IssuerHashes>,
    /// By which fields of its certificate a peer is called (`x509-username-field`).
    pub called: UsernameFields,
    /// Which certificates are revoked, as far as it is asked (`crl-verify`, `capath`).
    pub revocations: Vec<RevocationSettings>,
}

/// Revoked certificates: what is known of them, and where more is to be learnt.
#[derive(Clone, Debug)]
pub struct RevocationSettings {
    /// Where they are told.
    pub source: RevocationSource,
    /// What was there at the start, and later what is there by then.
    pub known: Arc<SharedRevocations>,
}

/// Where revoked certificates are told, as the process sees it when it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationSource {
    /// In the configuration.
    Inline,
    /// A file with lists of authorities.
    File(PathBuf),
    /// A directory with a file for each, named by its serial number.
    Directory(PathBuf),
    /// A directory with lists of authorities, in files as `openssl rehash` names them.
    Hashed(PathBuf),
}

impl RevocationSource {
    /// What is to be looked at.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Inline => None,
            Self::File(path) | Self::Directory(path) | Self::Hashed(path) => Some(path),
        }
    }
}

impl TlsSettings {
    /// The engine that starts a TLS connection with each peer of this purpose. A client may have no
    /// identity.
    ///
    /// # Errors
    /// A sentence about a key or an authority that cannot be used. Settings that come from a
    /// configuration file have passed this once.
    pub fn engine(
        &self,
        peers: PeerPurpose,
        identity: Option<&Identity>,
    ) -> Result<RustlsEngine, String> {
        let mut policy = PeerPolicy::new(self.authorities.clone(), peers)?;
        if self.peer_usage {
            policy = policy.demanding_purpose();
        }
        policy = policy.with_usage(self.usage.clone());
        if let Some(fingerprints) = &self.fingerprints {
            policy = policy.with_fingerprints(fingerprints.clone());
        }
        if let Some(name) = &self.peer_name {
            policy = policy.with_name(name.clone());
        }
        if let Some(issuers) = &self.issuers {
            policy = policy.with_issuers(issuers.clone());
        }
        policy = policy.called_by(self.called.clone());
        for revocations in &self.revocations {
            policy = policy.with_revocations(Arc::clone(&revocations.known));
        }
        let identity = identity.map(|identity| Identity {
            chain: identity.chain.clone(),
            key: identity.key.clone_key(),
        });
        if let Some(identity) = identity.as_ref().filter(|_| self.suite_b) {
            check_suite_b(identity)?;
        }
        let (versions, groups) = (self.versions.clone(), self.groups.clone());
        let mut engine = RustlsEngine::new(identity, policy, peers, versions, groups)?;
        if let Some(suites) = self.suites.clone() {
            engine = engine.with_suites(suites);
        }
        Ok(match self.suite_b {
            true => engine.in_suite_b(),
            false => engine,
        })
    }
}

/// How control packets are wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrappingSettings {
    /// Not at all.
    Plain,
    /// Authenticated with a shared key.
    TlsAuth {
        /// The shared key.
        key: StaticKey,
        /// Which half of it this side sends with.
        direction: KeyDirection,
        /// The digest.
        digest: Digest,
    },
    /// Authenticated and encrypted with a shared key.
    TlsCrypt {
        /// The shared key.
        key: StaticKey,
    },
    /// A client: authenticated and encrypted with a key of its own.
    TlsCryptV2Client {
        /// Its key.
        key: TlsCryptV2ClientKey,
    },
    /// A server: with the key that each client brings.
    TlsCryptV2Server {
        /// How they are opened, and which are taken.
        rules: Arc<ClientKeyRules>,
        /// The wrapping of clients without such a key, if there may be some; never without a key.
        others: Option<Box<WrappingSettings>>,
    },
}

impl WrappingSettings {
    /// The wrapping of one role.
    pub fn wrapping(&self, role: Role) -> Wrapping {
        match self {
            Self::Plain => Wrapping::Plain,
            Self::TlsAuth {
                key,
                direction,
                digest,
            } => Wrapping::tls_auth(key, *direction, *digest),
            Self::TlsCrypt { key } => Wrapping::tls_crypt(key, role),
            Self::TlsCryptV2Client { key } => Wrapping::tls_crypt_v2(key),
            Self::TlsCryptV2Server { others, .. } => others
                .as_ref()
                .map_or(Wrapping::Plain, |others| others.wrapping(role)),
        }
    }

    /// How clients are dealt with that bring their own key, if they are.
    pub fn client_keys(&self) -> Option<&Arc<ClientKeyRules>> {
        match self {
            Self::TlsCryptV2Server { rules, .. } => Some(rules),
            _ => None,
        }
    }

    /// The direction of tls-auth, where that is the wrapping, or one of them.
    pub fn tls_auth_direction(&self) -> Option<KeyDirection> {
        match self {
            Self::TlsAuth { direction, .. } => Some(*direction),
            Self::TlsCryptV2Server { others, .. } => others.as_ref()?.tls_auth_direction(),
            _ => None,
        }
    }

    /// The shared key, if there is one.
    pub fn static_key(&self) -> Option<&StaticKey> {
        match self {
            Self::Plain => None,
            Self::TlsAuth { key, .. } | Self::TlsCrypt { key } => Some(key),
            Self::TlsCryptV2Client { key } => Some(key.key()),
            Self::TlsCryptV2Server { others, .. } => others.as_ref()?.static_key(),
        }
    }
}

/// Times of the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeSettings {
    /// A handshake that takes longer is given up.
    pub hand_window: Duration,
    /// How long an old key still opens packets after a renegotiation began.
    pub tran_window: Duration,
    /// The first retransmission of a control packet.
    pub tls_timeout: Duration,
    /// When a session asks for a new key; `None` for never.
    pub renegotiate: Option<Renegotiation>,
}

/// What a key may carry, both ways together, before a new one is agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyVolume {
    /// Bytes (`reneg-bytes`); `None` for any number.
    pub bytes: Option<NonZeroU64>,
    /// Packets (`reneg-pkts`).
    pub packets: Option<NonZeroU64>,
}

impl KeyVolume {
    /// Whether there is an end to it.
    pub const fn is_limited(self) -> bool {
        self.bytes.is_some() || self.packets.is_some()
    }

    /// Whether this is as much as it may be.
    pub fn is_reached(self, bytes: u64, packets: u64) -> bool {
        let reached = |limit: Option<NonZeroU64>, count| limit.is_some_and(|it| count >= it.get());
        reached(self.bytes, bytes) || reached(self.packets, packets)
    }
}

/// How far out of order packets may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    /// Packet ids below the highest one seen that are still accepted.
    pub packets: u32,
    /// How long a gap is waited for.
    pub time: Duration,
}

/// What the process does with itself before it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Whether it goes to the background.
    pub daemon: bool,
    /// A file for its process id.
    pub pid_file: Option<PathBuf>,
    /// Its working directory, `None` to stay. Every path of these settings is absolute already.
    pub directory: Option<PathBuf>,
    /// The user that it becomes once everything is opened and bound, `None` to stay.
    pub user: Option<Account>,
    /// The group that it becomes then, `None` to stay.
    pub group: Option<Account>,
    /// The directory that is its root from then on, `None` for the whole system.
    pub chroot: Option<PathBuf>,
    /// By how much its priority is lower, or with less than 0 higher.
    pub nice: Option<i32>,
    /// Whether its memory is kept out of swap (`mlock`).
    pub locks_memory: bool,
    /// What SIGUSR1, and on a client each new beginning, is taken for (`remap-usr1`).
    pub restart: RestartSignal,
}

impl ProcessSettings {
    /// Whether it stays who it is, with all that it may.
    pub const fn keeps_privileges(&self) -> bool {
        self.user.is_none() && self.group.is_none() && self.chroot.is_none()
    }
}

/// What SIGUSR1 is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartSignal {
    /// What it is: a client begins anew, and a server reads its configuration again, as for SIGHUP.
    #[default]
    Own,
    /// SIGTERM.
    Terminate,
}

/// A user or a group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name as it was written.
    pub name: String,
    /// Its number.
    pub id: u32,
}
