//! What happens in a node, as values: the one vocabulary of log, status, management and library users.
//!
//! An event carries names and numbers; the words of the log are made from it by its subscriber
//! [`log`](super::log). Cloning one copies a few words and counts a reference.

mod tunnel;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::counters::NodeReport;
use super::plugins::Notice;
use super::reload::ReloadReport;
use super::settings::{ListenerTransport, OffloadsInUse};
use crate::crypto::tls::CertificateRefused;
use crate::packet::DropReason;
use crate::session::ContactNotice;
use crate::wire::{BadProxyHeader, PeerId, SessionId};

pub use tunnel::{RouteChange, TunnelEvent};

/// Text that came with an event; may hold any bytes that a stranger sent as UTF-8.
pub type Text = Arc<str>;

/// Something that happened, told once to every subscriber of the [`Bus`](super::bus::Bus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// The node begins; nothing is open yet.
    Started,
    /// Words for who is connected to the management interface.
    Echoed {
        /// The words.
        text: Text,
    },
    /// The start waits for the password of the key.
    PasswordAwaited {
        /// Whether the one that was said is wrong.
        again: bool,
    },
    /// A tun device is open, with the mtu that it was given.
    TunOpened {
        /// The interface's name.
        name: Text,
        /// Bytes of the largest inner packet.
        mtu: u32,
    },
    /// The shards and the cores that they run on.
    ShardsPlaced {
        /// One core a shard, in their order.
        cores: Arc<[usize]>,
    },
    /// How packets of one direction find their shard.
    Steered {
        /// The direction.
        direction: Direction,
        /// Who brings them there.
        by: SteeredBy,
    },
    /// Something about plug-ins.
    Plugins(Notice),
    /// A tun device was given an address.
    TunAddressed {
        /// The interface's name.
        name: Text,
        /// The address with the prefix length of its network.
        address: IpNet,
        /// The other end of a device that is a line between two.
        peer: Option<Ipv4Addr>,
    },
    /// What the kernel does for many packets at once.
    OffloadsSettled(OffloadsInUse),
    /// A listener has its sockets.
    ListenerBound {
        /// What its clients speak.
        transport: ListenerTransport,
        /// The local address, unspecified for all addresses.
        address: SocketAddr,
    },
    /// The address pool: first address and number of slots of each family, and the prefix of IPv6.
    PoolOpened {
        /// First address and number of addresses.
        v4: Option<(Ipv4Addr, u32)>,
        /// First address, number of addresses and bits of the network.
        v6: Option<(Ipv6Addr, u32, u8)>,
    },
    /// The file of address leases was read.
    LeasesRead {
        /// How many names have their addresses from it.
        names: usize,
        /// What is wrong with lines of it, in OpenVPN's words; the first ones.
        faults: Arc<[Text]>,
    },
    /// Revoked certificates are known anew.
    RevocationsRead {
        /// Where from.
        file: Text,
        /// How many lists, or how many certificates in a directory.
        count: usize,
        /// Whether it is a directory.
        is_directory: bool,
    },
    /// There is a file of revocation lists with none in it that can be used: nobody is let in.
    RevocationsUnreadable {
        /// The file.
        file: Text,
        /// What is wrong with it.
        why: Text,
    },
    /// Revocation lists are soon out of date, or are.
    RevocationsEnd {
        /// The file.
        file: Text,
        /// How long they are good, `None` if they no longer are.
        left: Option<Duration>,
    },
    /// The process has given up its privileges; no other capability is left.
    Confined {
        /// Its root directory from now on, `None` if it is unchanged.
        root: Option<Text>,
        /// The user that it has become, `None` if it stays the same.
        user: Option<Text>,
        /// The only group that it is in, `None` if groups are unchanged.
        group: Option<Text>,
        /// Whether a client's thread may still change addresses and routes.
        keeps_network: bool,
    },
    /// Clients can connect, or the client is connected.
    InitializationComplete,
    /// Something an administrator should change, said once; the text is a whole sentence.
    Warned {
        /// The sentence.
        text: Text,
    },
    /// Something about the management interface.
    Management {
        /// The line.
        text: Text,
    },
    /// The configuration was read again.
    Reloaded(Arc<ReloadReport>),
    /// The node did not start; the text is a whole sentence.
    StartFailed {
        /// The sentence.
        reason: Text,
    },
    /// A datagram from an address without a session failed the wrapping.
    StrangerRefused {
        /// Where the datagram came from.
        address: SocketAddr,
        /// What was wrong with it.
        refusal: StrangerRefusal,
    },
    /// Somebody has connected over TCP.
    StreamAccepted {
        /// Who.
        address: SocketAddr,
    },
    /// A connection over TCP was closed before anybody read a packet of it.
    StreamRefused {
        /// Who is at its other end: a proxy, or none.
        address: SocketAddr,
        /// Why.
        refusal: StreamRefusal,
    },
    /// A connection over TCP is none of a client.
    StreamPassedOn {
        /// From whom.
        address: SocketAddr,
        /// Whether there was a place for it among those that are passed on to a web server.
        passed: bool,
    },
    /// What came over TCP can't be packets.
    BadStreamLength {
        /// From whom.
        address: SocketAddr,
        /// The length of a packet that came.
        length: u32,
        /// The longest that is taken.
        longest: u32,
    },
    /// Refusals of strangers that were not told one by one since the last such count.
    StrangersSilenced {
        /// How many.
        refusals: u64,
    },
    /// More strangers than are answered (`connect-freq-initial`).
    Contacts(ContactNotice),
    /// Data packets that were dropped since the last such count.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many packets.
        packets: u64,
    },
    /// The memory of the process is kept out of swap.
    MemoryLocked,
    /// The state of the node, which somebody asked for by SIGUSR2.
    Reported(Arc<NodeReport>),
    /// Something about one client.
    Client {
        /// Which one, as it is known at this moment.
        client: ClientTag,
        /// What happened.
        event: ClientEvent,
    },
    /// Something about a server that this node has dialed.
    Server {
        /// Which one.
        server: ClientTag,
        /// What happened: as to a client, as far as both ends have it.
        event: Box<ClientEvent>,
    },
    /// Something about this node as a client.
    Tunnel(TunnelEvent),
    /// The node was told to end and tells its clients.
    Stopping {
        /// By which signal.
        signal: StopSignal,
    },
    /// The last event: everything is closed.
    Stopped {
        /// By which signal.
        signal: StopSignal,
    },
}

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Datagrams of clients.
    Datagrams,
    /// Packets that the tun device has for clients.
    TunPackets,
}

/// Who brings packets to their shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SteeredBy {
    /// Nobody has to: there is one shard.
    OneShard,
    /// A program in the kernel.
    Program,
    /// The kernel spreads them, and the shards hand them on: why there is no program.
    HandOver {
        /// In a few words.
        reason: Text,
    },
}

/// Who an event is about; the common name is absent until the client has authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTag {
    /// The address that the client sends from.
    pub address: SocketAddr,
    /// The certificate's common name.
    pub common_name: Option<Text>,
}

/// What can happen to a client, in the order of a connection's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The cookie came back: the client receives at its address, and TLS begins.
    TlsStarted {
        /// The session id that the client chose.
        session: SessionId,
    },
    /// One certificate of the chain is good; depth 0 is the client's own.
    CertificateAccepted {
        /// Distance from the client's certificate.
        depth: u8,
        /// The distinguished name as OpenVPN writes it (`C=DE, CN=client1`).
        subject: Text,
    },
    /// The client's certificate may be used by a client (`remote-cert-tls`).
    KeyUsageAccepted,
    /// The name of the certificate is the wanted one (`verify-x509-name`).
    NameAccepted {
        /// The distinguished name.
        subject: Text,
    },
    /// The chain is refused: path, dates, purpose or name.
    CertificateRefused(Arc<CertificateRefused>),
    /// What the client says of itself, line by line (`IV_VER=2.6.14`).
    PeerInfo {
        /// Lines separated by `\n`.
        lines: Text,
    },
    /// The TLS handshake is done.
    ControlChannel(ControlChannel),
    /// The client is authenticated and has a name.
    PeerInitiated,
    /// The client's own file is read (`client-config-dir`).
    ProfileRead {
        /// The file.
        file: Text,
    },
    /// Something in the client's own file, or in the way of reading it, is not as it should be.
    ProfileFault {
        /// What it is, as a line of log.
        line: Text,
    },
    /// A script or a plug-in that is run when a client comes or goes has failed.
    HookFailed {
        /// What it is, as a line of log.
        line: Text,
    },
    /// Options are not sent to the client because its file has a `push-remove` line.
    PushRemoved {
        /// What the line says.
        option: Text,
    },
    /// A route is not sent to the client because it leads to the client itself.
    OwnRouteOmitted {
        /// The option.
        option: Text,
    },
    /// The registry gave the client its addresses.
    PoolReturned {
        /// The IPv4 address, if the pool has that family.
        v4: Option<Ipv4Addr>,
        /// The IPv6 address, if the pool has that family.
        v6: Option<Ipv6Addr>,
    },
    /// An address now leads to the client.
    Learned {
        /// The inner address.
        address: IpAddr,
    },
    /// A network now leads to the client.
    NetworkLearned {
        /// The network.
        network: IpNet,
    },
    /// More would lead to the client than may.
    RouteQuotaExceeded {
        /// So many addresses and networks may.
        max: u32,
    },
    /// A control message was sent (`PUSH_REPLY,...`, `AUTH_FAILED`, `RESTART`).
    ControlSent {
        /// The message without its closing zero byte.
        message: Text,
    },
    /// A server has sent words for the user (`INFO`, `INFO_PRE`).
    Informed {
        /// The words.
        text: Text,
    },
    /// The data channel is open.
    DataChannel(DataChannel),
    /// No data cipher that both sides have.
    NoCommonCipher {
        /// The server's list.
        server: Text,
        /// The client's list.
        client: Text,
    },
    /// The user may connect.
    LoginAccepted {
        /// Its name, if it has one.
        username: Option<Text>,
        /// Whether the client is called by it from now on.
        renamed: bool,
    },
    /// A login is refused.
    LoginRefused {
        /// By whom, and why.
        why: Text,
    },
    /// The user may not connect.
    AuthFailed {
        /// Why.
        reason: Text,
    },
    /// The node has no place for the client.
    AdmissionRefused(AdmissionRefusal),
    /// A newer session needs what this one has, which is let go.
    Replacing(ReleaseCause),
    /// A new key is negotiated; how old the present one is.
    Renegotiating(KeyAge),
    /// The client sends from another address now; the tag has the old one.
    Floated {
        /// The peer id of its data packets.
        peer_id: PeerId,
        /// The new address.
        to: SocketAddr,
    },
    /// A control packet of the session failed its wrapping.
    WrapRefused(StrangerRefusal),
    /// A data packet could not be opened.
    DataRefused(DataRefusal),
    /// An inner packet with an address that is not the client's.
    BadSource {
        /// The source address in the packet.
        source: IpAddr,
    },
    /// The client says goodbye; its session stays a few seconds to acknowledge.
    ExitReceived(ExitChannel),
    /// The session failed before there was a client.
    HandshakeFailed(HandshakeFailure),
    /// The client is gone.
    Left(LeaveReason),
}

/// What the TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlChannel {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher_suite: Text,
    /// The key of the client's certificate (`256 bits ECprime256v1`).
    pub certificate_key: Text,
    /// The key exchange group (`X25519MLKEM768`), where the library tells.
    pub group: Option<Text>,
}

/// The data channel as it was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChannel {
    /// The cipher.
    pub cipher: &'static str,
    /// The peer id that data packets carry.
    pub peer_id: PeerId,
    /// Seconds of silence after which a ping is sent, 0 for never.
    pub ping: u64,
    /// Seconds of silence after which the client is given up, 0 for never.
    pub ping_restart: u64,
    /// The words after `protocol-flags`, empty if none were pushed.
    pub protocol_flags: Text,
}

/// What a key did until a new one was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAge {
    /// Seconds since it was made.
    pub age: u64,
    /// Seconds after which it is replaced.
    pub age_max: u64,
    /// Payload bytes that it protected.
    pub bytes: u64,
    /// Packets that it protected.
    pub packets: u64,
}

/// What is wrong with a datagram on which no session depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrangerRefusal {
    /// `tls-auth`: the HMAC is wrong.
    TlsAuthFailed,
    /// `tls-auth`: the datagram is too short to hold an HMAC.
    TlsAuthMissing,
    /// `tls-auth`: the packet id was seen before.
    TlsAuthReplay,
    /// `tls-crypt`: the datagram does not authenticate.
    TlsCryptFailed,
    /// `tls-crypt`: the packet id was seen before.
    TlsCryptReplay,
    /// `tls-crypt-v2`: the key that it sent along was not sealed for this server.
    ClientKeyRefused,
    /// `tls-crypt-v2`: it sent no key, and no other wrapping is served.
    ClientKeyMissing,
    /// `tls-crypt-v2-max-age`: its key is too old, or does not say how old it is.
    ClientKeyTooOld,
    /// The session id that is acknowledged is none of ours, or too old.
    WrongCookie,
    /// It answered as it should, and `connect-freq` allows no more sessions for now.
    TooManySessions,
}

/// Why the registry refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionRefusal {
    /// `max-clients` are connected.
    MaxClients {
        /// The bound.
        max: usize,
    },
    /// Every address of the pool is in use.
    PoolExhausted,
    /// A still newer session of the same name asked while this one waited.
    Replaced,
    /// Too many sessions of this one's shard wait for the registry.
    RegistryBusy,
    /// Its file says that it may not come in.
    Disabled,
    /// It has no file of its own, and needs one (`ccd-exclusive`).
    NoFile,
    /// Somebody who is asked when a client connects has refused it (`client-connect`).
    Hook,
    /// Neither its file nor a pool has an address for it.
    NoAddress,
}

/// What a newer session needs that an older one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// Its name.
    Name,
    /// An address that the newer one's file names.
    Address,
}

/// Why a data packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRefusal {
    /// It is not framed for compression as the server frames.
    Framing,
    /// It has no header of `fragment`, or none that goes with the others.
    Fragment,
    /// The tag is wrong.
    NotAuthentic {
        /// Whether the cipher is an AEAD, and has no HMAC beside it.
        aead: bool,
    },
    /// The packet id was seen before or is too old.
    Replay {
        /// The packet id.
        packet_id: u64,
        /// Whether the cipher is an AEAD.
        aead: bool,
    },
    /// It comes from a new address, where another client is.
    AddressTaken {
        /// That address.
        to: SocketAddr,
    },
}

/// Where a goodbye was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitChannel {
    /// The text `EXIT` on the control channel.
    Control,
    /// The exit packet inside the data channel, of clients that know no other.
    Data,
}

/// Why a session ended before it was a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// `hand-window` ran out.
    Timeout {
        /// The window in seconds.
        seconds: u64,
    },
    /// TLS failed; the words of the TLS library.
    Tls {
        /// What it says.
        reason: Text,
    },
    /// The messages inside TLS were wrong.
    KeyMethod {
        /// What was wrong.
        reason: Text,
    },
}

/// Why a client is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// It said goodbye in the data channel.
    RemoteExit,
    /// It said goodbye on the control channel, or was told to go, and had time to acknowledge.
    DelayedExit,
    /// Nothing was heard for `ping-restart`.
    PingRestart,
    /// Nothing was heard for `ping-exit`.
    PingExit,
    /// A renegotiation failed or the TLS session broke.
    TlsError,
    /// A newer session has its name.
    Replaced,
    /// It did nothing for as long as `inactive` says.
    Inactive,
    /// It has lasted as long as `session-timeout` says.
    SessionTimeout,
    /// Its connection over TCP has ended.
    ConnectionReset,
    /// An administrator ended it.
    Killed,
    /// The node ends.
    ServerStopped,
}

/// The signal that ended the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// The node ends to begin again with another configuration.
    HangUp,
}

impl StopSignal {
    /// Wire: what scripts are told of it (`signal`).
    pub const fn told(self) -> &'static str {
        match self {
            Self::Terminate => "sigterm",
            Self::Interrupt => "sigint",
            Self::HangUp => "sighup",
        }
    }
}

impl NodeEvent {
    /// An event of one client.
    pub const fn client(client: ClientTag, event: ClientEvent) -> Self {
        Self::Client { client, event }
    }
}

impl ClientTag {
    /// A client that has no name yet.
    pub const fn nameless(address: SocketAddr) -> Self {
        Self {
            address,
            common_name: None,
        }
    }

    /// A client with its name.
    pub const fn named(address: SocketAddr, common_name: Text) -> Self {
        Self {
            address,
            common_name: Some(common_name),
        }
    }
}

/// `CN/address`, the address alone while there is no name.
impl fmt::Display for ClientTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.common_name {
            write!(formatter, "{}/", Printable(name))?;
        }
        RealAddress(self.address).fmt(formatter)
    }
}

/// A client's outer address as OpenVPN 2.6 writes it in logs and status: `ip:port` for IPv4 (also
/// when it came mapped into IPv6), and for IPv6 the address alone.
#[derive(Clone, Copy, Debug)]
pub struct RealAddress(pub SocketAddr);

impl fmt::Display for RealAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip().to_canonical() {
            IpAddr::V4(address) => write!(formatter, "{address}:{}", self.0.port()),
            IpAddr::V6(address) => write!(formatter, "{address}"),
        }
    }
}

/// Why a connection that is to come from a proxy is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRefusal {
    /// It comes from a network where no proxy is.
    Untrusted,
    /// It does not begin as one from a proxy.
    Header(BadProxyHeader),
}

impl fmt::Display for StreamRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => formatter.write_str("it is none of the proxies"),
            Self::Header(bad) => bad.fmt(formatter),
        }
    }
}

/// A socket address with its family as OpenVPN writes it: `[AF_INET]10.0.0.1:1194`,
/// `[AF_INET6]fd00::1:1194`, `[undef]` for an unspecified one.
#[derive(Clone, Copy, Debug)]
pub struct FamilyAddress(pub SocketAddr);

impl fmt::Display for FamilyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.ip().to_canonical();
        formatter.write_str(if address.is_ipv4() {
            "[AF_INET]"
        } else {
            "[AF_INET6]"
        })?;
        if address.is_unspecified() {
            write!(formatter, "[undef]:{}", self.0.port())
        } else {
            write!(formatter, "{address}:{}", self.0.port())
        }
    }
}

impl FamilyAddress {
    /// The address, and the port behind a space: the argument of `ipchange`.
    pub fn in_two_words(self) -> String {
        let port = self.0.port();
        let address = self.to_string();
        let address = address.rsplit_once(':').map_or("", |(address, _)| address);
        format!("{address} {port}")
    }
}

/// Text of a stranger made harmless for a line of log: control characters become `_`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|character| {
            formatter.write_char(if is_line_safe(character) {
                character
            } else {
                '_'
            })
        })
    }
}

/// No controls, and none of the characters by which Unicode breaks lines or turns their direction.
fn is_line_safe(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_written_as_openvpn_2_6_does() {
        for (given, real, family) in [
            (
                "10.77.0.2:53746",
                "10.77.0.2:53746",
                "[AF_INET]10.77.0.2:53746",
            ),
            (
                "[::ffff:10.77.0.2]:5",
                "10.77.0.2:5",
                "[AF_INET]10.77.0.2:5",
            ),
            ("[fd77::2]:49236", "fd77::2", "[AF_INET6]fd77::2:49236"),
            ("0.0.0.0:1194", "0.0.0.0:1194", "[AF_INET][undef]:1194"),
            ("[::]:1194", "::", "[AF_INET6][undef]:1194"),
        ] {
            assert_eq!(RealAddress(address(given)).to_string(), real);
            assert_eq!(FamilyAddress(address(given)).to_string(), family);
        }
    }

    #[test]
    fn a_tag_has_a_name_once_there_is_one() {
        let from = address("10.77.0.2:7");
        assert_eq!(ClientTag::nameless(from).to_string(), "10.77.0.2:7");
        assert_eq!(
            ClientTag::named(from, "client1".into()).to_string(),
            "client1/10.77.0.2:7"
        );
    }

    #[test]
    fn a_strangers_text_stays_on_its_line() {
        assert_eq!(
            Printable("a\nSat fake\x1b[2J\u{2028}\u{202e}b").to_string(),
            "a_Sat fake_[2J__b"
        );
        assert_eq!(Printable("grün & 日本").to_string(), "grün & 日本");
    }
}
