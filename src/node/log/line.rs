//! Events as lines of log, in the words that administrators search for and fail2ban matches.
//!
//! The words and the `verb` at which each appears are those of OpenVPN 2.6.14, observed; a line
//! that it does not have is worded freely.

mod data;
mod files;
mod login;
mod profile;
mod transport;
mod tunnel;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::crypto::tls::{CertificateRefused, RefusalReason};
use crate::limits::FAREWELL;
use crate::node::event::{
    AdmissionRefusal, ClientEvent, ClientTag, ControlChannel, DataChannel, Direction, ExitChannel,
    FamilyAddress, HandshakeFailure, KeyAge, LeaveReason, NodeEvent, Printable, RealAddress,
    SteeredBy, StopSignal, StrangerRefusal,
};
use crate::node::title::title;
use crate::session::ContactNotice;
use crate::wire::{PeerId, SessionId};

/// One line, without time and line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How it is sorted.
    pub level: Level,
    /// The words, the client's prefix included.
    pub text: String,
}

/// How a line is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The lowest `verb` that shows it.
    pub verb: u8,
    /// Lines of one group in a row are what `mute` shortens; 0 is never muted.
    pub group: u8,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody may have to act.
    Warning,
    /// The course of things.
    Info,
    /// Of interest when something is searched for.
    Debug,
}

/// The lines of an event that `verb` shows.
pub fn lines(event: &NodeEvent, verb: u8) -> Vec<Line> {
    let mut page = Page {
        verb,
        client: None,
        lines: Vec::new(),
    };
    page.node(event);
    page.lines
}

struct Page<'a> {
    verb: u8,
    client: Option<&'a ClientTag>,
    lines: Vec<Line>,
}

impl<'a> Page<'a> {
    fn say(&mut self, level: Level, words: fmt::Arguments<'_>) {
        if level.verb > self.verb {
            return;
        }
        let text = match self.client {
            Some(client) => format!("{client} {words}"),
            None => words.to_string(),
        };
        self.lines.push(Line { level, text });
    }

    fn password_awaited(&mut self, again: bool) {
        if again {
            let words = "WARNING: the password of the private key is wrong";
            self.say(WARNING, format_args!("{words}"));
        }
        let words = "Need password(s) from management interface, waiting...";
        self.say(MANAGEMENT, format_args!("{words}"));
    }

    fn node(&mut self, event: &'a NodeEvent) {
        match event {
            NodeEvent::Started => self.say(INFO, format_args!("{}", title())),
            NodeEvent::PasswordAwaited { again } => self.password_awaited(*again),
            NodeEvent::Echoed { text } => {
                // Others may be nobody's business.
                if text.starts_with("msg") {
                    self.say(INFO, format_args!("ECHO:{}", Printable(text)));
                }
            }
            NodeEvent::Management { text } => self.say(MANAGEMENT, format_args!("{text}")),
            NodeEvent::MemoryLocked => self.say(INFO, format_args!("mlockall call succeeded")),
            NodeEvent::TunOpened { name, mtu } => {
                self.say(INFO, format_args!("TUN/TAP device {name} opened"));
                self.say(
                    INFO,
                    format_args!("net_iface_mtu_set: mtu {mtu} for {name}"),
                );
            }
            NodeEvent::ShardsPlaced { cores } => {
                let list: Vec<String> = cores.iter().map(usize::to_string).collect();
                let list = list.join(", ");
                let shards = cores.len();
                self.say(INFO, format_args!("Shards: {shards}, on cores {list}"));
            }
            NodeEvent::Steered { direction, by } => self.steered(*direction, by),
            NodeEvent::TunAddressed {
                name,
                address,
                peer,
            } => self.tun_addressed(name, *address, *peer),
            NodeEvent::Plugins(notice) => self.plugins(notice),
            NodeEvent::OffloadsSettled(offloads) => {
                self.say(INFO, format_args!("Offloads: {offloads}"));
            }
            NodeEvent::ListenerBound { .. }
            | NodeEvent::StreamAccepted { .. }
            | NodeEvent::StreamPassedOn { .. }
            | NodeEvent::StreamRefused { .. }
            | NodeEvent::BadStreamLength { .. } => self.transport(event),
            NodeEvent::PoolOpened { v4, v6 } => self.pool_opened(*v4, *v6),
            NodeEvent::Reloaded(_)
            | NodeEvent::LeasesRead { .. }
            | NodeEvent::RevocationsRead { .. }
            | NodeEvent::RevocationsUnreadable { .. }
            | NodeEvent::RevocationsEnd { .. } => self.file(event),
            NodeEvent::Confined {
                root,
                user,
                group,
                keeps_network,
            } => {
                self.confined(root.as_deref(), user.as_deref(), group.as_deref());
                self.retained(*keeps_network);
            }
            NodeEvent::InitializationComplete => {
                self.say(INFO, format_args!("Initialization Sequence Completed"));
            }
            NodeEvent::Warned { text } => {
                self.say(WARNING, format_args!("WARNING: {}", Printable(text)));
            }
            NodeEvent::StartFailed { reason } => {
                self.say(FATAL, format_args!("{}", Printable(reason)));
                self.say(FATAL, format_args!("Exiting due to fatal error"));
            }
            NodeEvent::StrangerRefused { address, refusal } => {
                self.wrap_refused(FamilyAddress(*address), *refusal);
            }
            NodeEvent::StrangersSilenced { refusals } => self.say(
                TLS_ERROR,
                format_args!(
                    "TLS Error: {refusals} more refusals of strangers, not logged one by one"
                ),
            ),
            NodeEvent::Contacts(notice) => self.contacts(*notice),
            NodeEvent::Dropped { reason, packets } => self.say(
                DROPPED,
                format_args!("{packets} packets dropped: {}", reason.name()),
            ),
            NodeEvent::Reported(report) => {
                for line in report.status().lines() {
                    self.say(INFO, format_args!("{line}"));
                }
                for line in report.counters() {
                    self.say(INFO, format_args!("{line}"));
                }
            }
            NodeEvent::Client { client, event } => {
                self.client = Some(client);
                self.client(client, event);
            }
            // Wire: the lines of a client have no prefix.
            NodeEvent::Server { server, event } => self.client(server, event),
            NodeEvent::Tunnel(event) => self.tunnel(event),
            NodeEvent::Stopping { signal } => self.say(
                PUSH,
                format_args!("{} received, the clients are told", signal_name(*signal)),
            ),
            NodeEvent::Stopped { signal } => {
                let (name, then) = (signal_name(*signal), what_then(*signal));
                self.say(INFO, format_args!("{name}[hard,] received, process {then}"));
            }
        }
    }

    fn steered(&mut self, direction: Direction, by: &SteeredBy) {
        let what = match direction {
            Direction::Datagrams => "datagrams",
            Direction::TunPackets => "tun packets",
        };
        match by {
            SteeredBy::OneShard => {}
            SteeredBy::Program => self.say(INFO, format_args!("Steering of {what}: by program")),
            SteeredBy::HandOver { reason } => self.say(
                INFO,
                format_args!("Steering of {what}: by hand-over between shards ({reason})"),
            ),
        }
    }

    fn client(&mut self, client: &'a ClientTag, event: &ClientEvent) {
        use ClientEvent as E;
        match event {
            E::TlsStarted { session } => self.tls_started(client, *session),
            E::CertificateAccepted { depth, subject } => self.say(
                HANDSHAKE,
                format_args!("VERIFY OK: depth={depth}, {}", Printable(subject)),
            ),
            E::KeyUsageAccepted => {
                self.say(HANDSHAKE, format_args!("VERIFY KU OK"));
                self.say(HANDSHAKE, format_args!("VERIFY EKU OK"));
            }
            E::NameAccepted { subject } => self.say(
                HANDSHAKE,
                format_args!("VERIFY X509NAME OK: {}", Printable(subject)),
            ),
            E::CertificateRefused(refused) => self.certificate_refused(refused),
            E::PeerInfo { lines } => {
                for line in lines.split('\n').filter(|line| !line.is_empty()) {
                    self.say(INFO, format_args!("peer info: {}", Printable(line)));
                }
            }
            E::ControlChannel(channel) => self.control_channel(channel),
            E::PeerInitiated => self.peer_initiated(client),
            E::ProfileRead { .. }
            | E::ProfileFault { .. }
            | E::HookFailed { .. }
            | E::PushRemoved { .. }
            | E::OwnRouteOmitted { .. } => self.profile(event),
            E::PoolReturned { v4, v6 } => self.pool_returned(*v4, *v6),
            E::Learned { address } => self.learned(client, *address),
            E::NetworkLearned { .. } | E::RouteQuotaExceeded { .. } => self.network(client, event),
            E::ControlSent { message } => self.say(
                PUSH,
                format_args!(
                    "SENT CONTROL [{}]: '{}' (status=1)",
                    name(client),
                    Printable(message)
                ),
            ),
            E::Informed { text } => self.say(
                PUSH,
                format_args!("Info command was pushed by server ('{}')", Printable(text)),
            ),
            E::DataChannel(channel) => self.data_channel(channel),
            E::NoCommonCipher {
                server,
                client: theirs,
            } => self.say(
                WARNING,
                format_args!(
                    "PUSH: No common cipher between server and client. Server data-ciphers: \
                     '{server}', client supported ciphers '{}'",
                    Printable(theirs)
                ),
            ),
            E::LoginAccepted { username, renamed } => {
                self.login_accepted(username.as_ref(), *renamed);
            }
            E::LoginRefused { why } => self.login_refused(why),
            E::AuthFailed { reason } => self.say(
                TLS_ERROR,
                format_args!("TLS Auth Error: {}", Printable(reason)),
            ),
            E::AdmissionRefused(refusal) => self.admission_refused(*refusal),
            E::Replacing(cause) => self.replacing(client, *cause),
            E::Renegotiating(key) => self.renegotiating(*key),
            E::Floated { peer_id, to } => self.floated(client, *peer_id, *to),
            E::WrapRefused(refusal) => {
                self.wrap_refused(FamilyAddress(client.address), *refusal);
            }
            E::DataRefused(refusal) => self.data_refused(*refusal),
            E::BadSource { source } => self.say(
                DROPPED,
                format_args!("MULTI: bad source address from client [{source}], packet dropped"),
            ),
            E::ExitReceived(channel) => self.exit_received(*channel),
            E::HandshakeFailed(failure) => self.handshake_failed(failure),
            E::Left(reason) => self.left(client, *reason),
        }
    }

    fn pool_opened(&mut self, v4: Option<(Ipv4Addr, u32)>, v6: Option<(Ipv6Addr, u32, u8)>) {
        if let Some((base, size)) = v4 {
            self.say(
                POOL,
                format_args!("IFCONFIG POOL IPv4: base={base} size={size}"),
            );
        }
        if let Some((base, size, bits)) = v6 {
            self.say(
                POOL,
                format_args!("IFCONFIG POOL IPv6: base={base} size={size} netbits={bits}"),
            );
        }
    }

    fn retained(&mut self, keeps_network: bool) {
        let retained = match keeps_network {
            true => "CAP_NET_ADMIN",
            false => "none",
        };
        self.say(INFO, format_args!("Capabilities retained: {retained}"));
    }

    fn confined(&mut self, root: Option<&str>, user: Option<&str>, group: Option<&str>) {
        if let Some(root) = root {
            self.say(
                INFO,
                format_args!("chroot to '{root}' and cd to '/' succeeded"),
            );
        }
        if let Some(user) = user {
            self.say(INFO, format_args!("UID set to {user}"));
        }
        if let Some(group) = group {
            self.say(INFO, format_args!("GID set to {group}"));
        }
    }

    fn tls_started(&mut self, client: &ClientTag, session: SessionId) {
        let [a, b, c, d, e, f, g, h] = session.0;
        let sid = format!("{a:02x}{b:02x}{c:02x}{d:02x} {e:02x}{f:02x}{g:02x}{h:02x}");
        let from = FamilyAddress(client.address);
        self.say(
            TLS_STATE,
            format_args!("TLS: Initial packet from {from}, sid={sid}"),
        );
    }

    fn certificate_refused(&mut self, refused: &CertificateRefused) {
        let CertificateRefused {
            depth,
            subject,
            serial,
            reason,
        } = refused;
        let subject = Printable(subject);
        match reason {
            RefusalReason::Name(wanted) => self.say(
                HANDSHAKE_ERROR,
                format_args!("VERIFY X509NAME ERROR: {subject}, must be {wanted}"),
            ),
            RefusalReason::KeyUsageMissing => {
                self.say(
                    TLS_ERROR,
                    format_args!("Certificate does not have key usage extension"),
                );
                self.say(HANDSHAKE_ERROR, format_args!("VERIFY KU ERROR"));
            }
            RefusalReason::KeyUsage { found, wanted } => {
                self.say(
                    TLS_ERROR,
                    format_args!("ERROR: Certificate has key usage {found:04x}, expected one of:"),
                );
                for bits in wanted {
                    self.say(TLS_ERROR, format_args!(" * {bits:04x}"));
                }
                self.say(HANDSHAKE_ERROR, format_args!("VERIFY KU ERROR"));
            }
            RefusalReason::Fingerprint(found) => self.say(
                TLS_ERROR,
                format_args!(
                    "TLS Error: --tls-verify/--peer-fingerprint certificate hash verification failed. \
                     (got certificate fingerprint: {found})"
                ),
            ),
            RefusalReason::ExtendedKeyUsageMissing(_) | RefusalReason::ExtendedKeyUsage(_) => {
                self.say(
                    TLS_ERROR,
                    format_args!("Certificate does not have extended key usage extension"),
                );
                self.say(HANDSHAKE_ERROR, format_args!("VERIFY EKU ERROR"));
            }
            RefusalReason::CrlUnreadable => {
                self.say(TLS_ERROR, format_args!("VERIFY ERROR: CRL not loaded"));
            }
            RefusalReason::SerialRevoked => self.say(
                HANDSHAKE_ERROR,
                format_args!("VERIFY CRL: depth={depth}, {subject}, serial={serial} is revoked"),
            ),
            other => {
                let why = other.to_string();
                self.say(
                    TLS_ERROR,
                    format_args!(
                        "VERIFY ERROR: depth={depth}, error={}: {subject}, serial={serial}",
                        Printable(&why)
                    ),
                );
            }
        }
    }

    fn control_channel(&mut self, channel: &ControlChannel) {
        let ControlChannel {
            version,
            cipher_suite,
            certificate_key,
            group,
        } = channel;
        let group = group
            .as_ref()
            .map(|group| format!(", peer temporary key: {group}"))
            .unwrap_or_default();
        self.say(
            HANDSHAKE,
            format_args!(
                "Control Channel: {version}, cipher {version} {cipher_suite}, \
                 peer certificate: {}{group}",
                Printable(certificate_key)
            ),
        );
    }

    fn wrap_refused(&mut self, from: FamilyAddress, refusal: StrangerRefusal) {
        let mut say = |words: fmt::Arguments<'_>| self.say(TLS_ERROR, words);
        match refusal {
            StrangerRefusal::TlsAuthFailed => {
                say(format_args!(
                    "Authenticate/Decrypt packet error: packet HMAC authentication failed"
                ));
                say(format_args!(
                    "TLS Error: incoming packet authentication failed from {from}"
                ));
            }
            StrangerRefusal::TlsAuthMissing => say(format_args!(
                "TLS Error: cannot locate HMAC in incoming packet from {from}"
            )),
            StrangerRefusal::TlsAuthReplay => {
                say(format_args!(
                    "Authenticate/Decrypt packet error: bad packet ID (may be a replay)"
                ));
                say(format_args!(
                    "TLS Error: incoming packet authentication failed from {from}"
                ));
            }
            StrangerRefusal::TlsCryptFailed => {
                say(format_args!(
                    "tls-crypt unwrap error: packet authentication failed"
                ));
                say(format_args!(
                    "TLS Error: tls-crypt unwrapping failed from {from}"
                ));
            }
            StrangerRefusal::TlsCryptReplay => {
                say(format_args!("tls-crypt unwrap error: packet replay"));
                say(format_args!(
                    "TLS Error: tls-crypt unwrapping failed from {from}"
                ));
            }
            StrangerRefusal::ClientKeyRefused => {
                say(format_args!(
                    "tls_crypt_v2_unwrap_client_key: client key authentication error"
                ));
                say(format_args!("Can not unwrap tls-crypt-v2 client key"));
                say(format_args!(
                    "TLS Error: can not extract tls-crypt-v2 client key from {from}"
                ));
            }
            StrangerRefusal::ClientKeyMissing => say(format_args!(
                "TLS Error: could not determine wrapping from {from}"
            )),
            StrangerRefusal::ClientKeyTooOld => {
                say(format_args!(
                    "tls-crypt-v2: the client key is older than tls-crypt-v2-max-age, or does not say \
                     when it was made"
                ));
                say(format_args!(
                    "TLS Error: can not extract tls-crypt-v2 client key from {from}"
                ));
            }
            StrangerRefusal::WrongCookie => self.say(
                DROPPED,
                format_args!("Packet with invalid or missing SID from {from} or wrong packet id"),
            ),
            StrangerRefusal::TooManySessions => {
                let from = RealAddress(from.0);
                self.say(
                    MULTI_ERROR,
                    format_args!(
                        "MULTI: Connection from {from} would exceed new connection frequency limit \
                         as controlled by --connect-freq"
                    ),
                );
            }
        }
    }

    fn contacts(&mut self, notice: ContactNotice) {
        match notice {
            ContactNotice::Exceeded { limit, remaining } => self.say(
                WARNING,
                format_args!(
                    "Note: --connect-freq-initial {} {} rate limit exceeded, dropping initial \
                     handshake packets for the next {} seconds",
                    limit.count,
                    limit.per.as_secs(),
                    remaining.as_secs()
                ),
            ),
            ContactNotice::Dropped { limit, packets } => self.say(
                DROPPED,
                format_args!(
                    "Dropped {packets} initial handshake packets due to --connect-freq-initial {} {}",
                    limit.count,
                    limit.per.as_secs()
                ),
            ),
        }
    }

    fn handshake_failed(&mut self, failure: &HandshakeFailure) {
        match failure {
            HandshakeFailure::Timeout { seconds } => self.say(
                TLS_ERROR,
                format_args!(
                    "TLS Error: TLS key negotiation failed to occur within {seconds} seconds \
                     (check your network connectivity)"
                ),
            ),
            HandshakeFailure::Tls { reason } => {
                self.say(TLS_ERROR, format_args!("TLS_ERROR: {}", Printable(reason)));
                self.say(
                    TLS_ERROR,
                    format_args!("TLS Error: TLS object -> incoming plaintext read error"),
                );
            }
            HandshakeFailure::KeyMethod { reason } => {
                self.say(TLS_ERROR, format_args!("TLS Error: {}", Printable(reason)));
            }
        }
        self.say(TLS_ERROR, format_args!("TLS Error: TLS handshake failed"));
    }

    /// The one client line whose prefix has no name, because the words have it.
    fn peer_initiated(&mut self, client: &ClientTag) {
        let own = self.client.take();
        let prefix = own.map_or_else(String::new, |it| format!("{} ", RealAddress(it.address)));
        self.say(
            INFO,
            format_args!(
                "{prefix}[{}] Peer Connection Initiated with {}",
                name(client),
                FamilyAddress(client.address)
            ),
        );
    }

    fn pool_returned(&mut self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
        const NONE: &str = "(Not enabled)";
        let v4 = v4.map_or(NONE.to_owned(), |address| address.to_string());
        let v6 = v6.map_or(NONE.to_owned(), |address| address.to_string());
        self.say(
            INFO,
            format_args!("MULTI_sva: pool returned IPv4={v4}, IPv6={v6}"),
        );
    }

    fn learned(&mut self, client: &ClientTag, address: IpAddr) {
        let family = if address.is_ipv4() { "IP" } else { "IPv6" };
        self.say(LEARN, format_args!("MULTI: Learn: {address} -> {client}"));
        self.say(
            LEARN,
            format_args!("MULTI: primary virtual {family} for {client}: {address}"),
        );
    }

    fn data_channel(&mut self, channel: &DataChannel) {
        let DataChannel {
            cipher,
            peer_id,
            ping,
            ping_restart,
            protocol_flags,
        } = channel;
        let peer_id = peer_id.get();
        self.say(
            HANDSHAKE,
            format_args!("Data Channel: cipher '{cipher}', peer-id: {peer_id}"),
        );
        self.say(
            HANDSHAKE,
            format_args!("Timers: ping {ping}, ping-restart {ping_restart}"),
        );
        if !protocol_flags.is_empty() {
            self.say(
                HANDSHAKE,
                format_args!("Protocol options: protocol-flags {protocol_flags}"),
            );
        }
    }

    fn admission_refused(&mut self, refusal: AdmissionRefusal) {
        match refusal {
            AdmissionRefusal::MaxClients { max } => self.say(
                MULTI_ERROR,
                format_args!(
                    "MULTI: new incoming connection would exceed maximum number of clients ({max})"
                ),
            ),
            AdmissionRefusal::PoolExhausted => self.say(
                MULTI_ERROR,
                format_args!("MULTI: no free --ifconfig-pool addresses are available"),
            ),
            AdmissionRefusal::Replaced => self.say(
                LEARN,
                format_args!("MULTI: a newer session of this client came before it was admitted"),
            ),
            AdmissionRefusal::RegistryBusy => self.say(
                MULTI_ERROR,
                format_args!("MULTI: too many clients wait to be admitted"),
            ),
            AdmissionRefusal::Disabled => self.say(
                MULTI_ERROR,
                format_args!("MULTI: client has been rejected due to 'disable' directive"),
            ),
            // Whoever has looked for the file has said so.
            // Told by whoever has refused it.
            AdmissionRefusal::NoFile | AdmissionRefusal::Hook => {}
            AdmissionRefusal::NoAddress => self.say(
                MULTI_ERROR,
                format_args!("MULTI: no dynamic or static remote --ifconfig address is available"),
            ),
        }
    }

    fn renegotiating(&mut self, key: KeyAge) {
        let KeyAge {
            age,
            age_max,
            bytes,
            packets,
        } = key;
        self.say(
            TLS_STATE,
            format_args!("TLS: soft reset sec={age}/{age_max} bytes={bytes}/-1 pkts={packets}/0"),
        );
    }

    /// Without a prefix: the words name the client and both addresses.
    fn floated(&mut self, client: &ClientTag, peer_id: PeerId, to: SocketAddr) {
        self.client = None;
        self.say(
            DROPPED,
            format_args!(
                "peer {} ({}) floated from {} to {}",
                peer_id.get(),
                name(client),
                RealAddress(client.address),
                FamilyAddress(to)
            ),
        );
    }

    fn exit_received(&mut self, channel: ExitChannel) {
        match channel {
            ExitChannel::Control => {
                self.say(INFO, format_args!("CC-EEN exit message received by peer"));
                let seconds = FAREWELL.as_secs();
                self.say(PUSH, format_args!("Delayed exit in {seconds} seconds"));
            }
            ExitChannel::Data => {
                self.say(INFO, format_args!("OCC exit message received by peer"));
            }
        }
    }

    fn left(&mut self, client: &ClientTag, reason: LeaveReason) {
        let (signal, cause, what) = match reason {
            LeaveReason::RemoteExit => ("SIGTERM", "remote-exit", "exiting"),
            LeaveReason::DelayedExit => ("SIGTERM", "delayed-exit", "exiting"),
            LeaveReason::Killed => ("SIGTERM", "", "exiting"),
            LeaveReason::Replaced => ("SIGTERM", "replaced", "exiting"),
            LeaveReason::Inactive => ("SIGTERM", "inactive", "exiting"),
            LeaveReason::SessionTimeout => ("SIGTERM", "session-timeout", "exiting"),
            LeaveReason::ServerStopped => ("SIGTERM", "server-exit", "exiting"),
            LeaveReason::PingExit => ("SIGTERM", "ping-exit", "exiting"),
            LeaveReason::PingRestart => ("SIGUSR1", "ping-restart", "restarting"),
            LeaveReason::TlsError => ("SIGUSR1", "tls-error", "restarting"),
            LeaveReason::ConnectionReset => ("SIGUSR1", "connection-reset", "restarting"),
        };
        if matches!(reason, LeaveReason::PingRestart | LeaveReason::PingExit) {
            let name = name(client);
            self.say(
                INFO,
                format_args!("[{name}] Inactivity timeout (--{cause}), {what}"),
            );
        }
        if reason == LeaveReason::Inactive {
            let words = format_args!("Inactivity timeout (--inactive), exiting");
            self.say(INFO, words);
        }
        if reason == LeaveReason::SessionTimeout {
            self.say(INFO, format_args!("Session timeout, exiting"));
        }
        if reason == LeaveReason::ConnectionReset {
            self.say(INFO, format_args!("Connection reset, restarting [0]"));
        }
        self.say(
            LEAVE,
            format_args!("{signal}[soft,{cause}] received, client-instance {what}"),
        );
    }
}

fn name(client: &ClientTag) -> Printable<'_> {
    Printable(client.common_name.as_deref().unwrap_or("UNDEF"))
}

const fn signal_name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Terminate => "SIGTERM",
        StopSignal::Interrupt => "SIGINT",
        StopSignal::HangUp => "SIGHUP",
    }
}

const fn what_then(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::HangUp => "restarting",
        StopSignal::Terminate | StopSignal::Interrupt => "exiting",
    }
}

const fn level(verb: u8, group: u8, severity: Severity) -> Level {
    Level {
        verb,
        group,
        severity,
    }
}

const FATAL: Level = level(0, 0, Severity::Warning);
const INFO: Level = level(1, 0, Severity::Info);
const WARNING: Level = level(1, 0, Severity::Warning);
const TLS_ERROR: Level = level(1, 1, Severity::Warning);
const DATA_ERROR: Level = level(1, 2, Severity::Warning);
const MULTI_ERROR: Level = level(1, 3, Severity::Warning);
const HANDSHAKE: Level = level(2, 4, Severity::Info);
const HANDSHAKE_ERROR: Level = level(2, 4, Severity::Warning);
const TLS_STATE: Level = level(3, 5, Severity::Info);
const LEARN: Level = level(3, 6, Severity::Info);
const PUSH: Level = level(3, 7, Severity::Info);
const POOL: Level = level(3, 8, Severity::Info);
const MANAGEMENT: Level = level(3, 12, Severity::Debug);
const LEAVE: Level = level(3, 10, Severity::Info);
const DROPPED: Level = level(4, 11, Severity::Debug);
const PLUGIN: Level = level(3, 39, Severity::Info);
const PLUGIN_DEBUG: Level = level(7, 70, Severity::Debug);

#[cfg(test)]
mod tests;
