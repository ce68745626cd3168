//! What goes into a session and comes out of it, besides datagrams.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::credentials::Credentials;
use crate::crypto::tls::{CertificateFacts, Negotiated, PeerCertificate, TlsError};
use crate::crypto::{DataKeys, WrapError};
use crate::session::Keepalive;
use crate::wire::{KeyId, Malformed, PeerId, PeerInfo, PushError};

/// What a session tells its owner.
#[derive(Debug)]
pub enum SessionEvent {
    /// The TLS handshake of a generation is done.
    Secured {
        /// The peer's certificate, if it has one.
        certificate: Option<PeerCertificate>,
        /// Version and suite.
        negotiated: Negotiated,
    },
    /// Server: who the client is is known. It waits for [`crate::session::Session::admit`].
    Authenticated(Box<Admission>),
    /// Server: a client logs in once more, with a later generation, whose keys wait for
    /// [`crate::session::Session::login_accepted`].
    LoginAgain(Box<Admission>),
    /// Server: a client whose login is not judged has answered a challenge.
    ChallengeAnswered(ChallengeResponse),
    /// A finished pair of keys. Open with it from now on.
    Keys {
        /// The generation.
        key_id: KeyId,
        /// Both directions.
        keys: Box<DataKeys>,
    },
    /// Seal with this generation from now on.
    Promoted(KeyId),
    /// Forget this generation.
    Retired(KeyId),
    /// Server: the client has been sent its configuration, as these messages.
    Pushed(Vec<String>),
    /// Client: the server's configuration, an option an entry.
    Configured(Vec<String>),
    /// Client: the server has changed what it has pushed; the items of the update (see
    /// [`UpdateItem`](crate::wire::UpdateItem)).
    Updated(Vec<String>),
    /// Client: words of the server for the user.
    Informed(String),
    /// Data flows.
    Connected,
    /// A later generation is under negotiation.
    Renegotiating,
    /// A later generation is established.
    Renegotiated {
        /// The generation.
        key_id: KeyId,
    },
    /// A later generation failed; the one before goes on.
    RenegotiationFailed(LeaveReason),
    /// Send a ping on the data channel.
    PingDue,
    /// Client: tell the server over the data channel that we leave.
    ExitNoticeDue,
    /// The tunnel is over: forget addresses and keys. The session stays a little to acknowledge.
    Left(LeaveReason),
    /// Nothing more will come: forget the session.
    Finished,
}

/// What a client answers to a challenge, as it says it: base64 of what its user has typed.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeResponse(pub Zeroizing<String>);

impl fmt::Debug for ChallengeResponse {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ChallengeResponse")
    }
}

/// Who a peer is, for the rest of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The CN of its certificate, `None` without one.
    pub common_name: Option<String>,
    /// SHA-256 of its certificate, `None` without one.
    pub fingerprint: Option<[u8; 32]>,
    /// The user, where logins are judged and there is one.
    pub username: Option<String>,
}

/// A client at the door.
#[derive(Debug)]
pub struct Admission {
    /// Who it is.
    pub identity: PeerIdentity,
    /// What it says of itself.
    pub peer_info: PeerInfo,
    /// Whether its own configuration frames packets for compression.
    pub framed: bool,
    /// Its certificate and those that vouch for it, its own first.
    pub certificates: Arc<[CertificateFacts]>,
    /// What is said of its own key of tls-crypt-v2, if it has one and that is wanted.
    pub key_metadata: Option<Arc<[u8]>>,
    /// What both ends have in common of the TLS session, if that is wanted.
    pub keying_material: Option<Arc<Zeroizing<Vec<u8>>>>,
    /// The user and the password, if it sent some.
    pub credentials: Option<Credentials>,
    /// Which login of the session this is, from 1.
    pub login: u64,
}

/// What an admitted client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number in DATA_V2 packets.
    pub peer_id: PeerId,
    /// Its IPv4 address, if it gets one.
    pub v4: Option<V4Grant>,
    /// Its IPv6 address, if it gets one.
    pub v6: Option<V6Grant>,
    /// Options in place of those that every client is sent, if it is sent others.
    pub push: Option<Arc<[String]>>,
    /// The pings of our side, if not those of every client.
    pub keepalive: Option<Keepalive>,
}

/// An IPv4 address in the tunnel's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4Grant {
    /// The client's address.
    pub address: Ipv4Addr,
    /// The second word of `ifconfig`: the network's mask, or the other end of a line between two.
    pub second: Ipv4Addr,
}

/// An IPv6 address in the tunnel's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6Grant {
    /// The client's address.
    pub address: Ipv6Addr,
    /// The network's prefix length.
    pub prefix: u8,
    /// The server's address.
    pub server: Ipv6Addr,
}

/// How we take leave of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Without a word: the peer notices by its timeout.
    Silent,
    /// Server: come back, to this server or to the next one of the list.
    Restart {
        /// To the next one.
        next_remote: bool,
    },
    /// Server: the login failed, for this reason.
    AuthFailed(&'static str),
    /// Client: we leave.
    Exit,
}

/// Why a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveReason {
    /// The key exchange took longer than `hand-window`.
    #[error("TLS key negotiation failed to occur in time")]
    HandWindow,
    /// TLS failed.
    #[error(transparent)]
    Tls(TlsError),
    /// The key exchange message is not what it should be.
    #[error("key exchange message: {0}")]
    KeyMessage(Malformed),
    /// Client: the server's configuration can't be taken.
    #[error(transparent)]
    Push(PushError),
    /// The two sides share no data cipher.
    #[error("no common data cipher, the client offers {0}")]
    NoCommonCipher(String),
    /// A renegotiation came with another certificate.
    #[error("the peer's certificate changed from '{before}' to '{after}'")]
    IdentityChanged {
        /// The common name that the session began with.
        before: String,
        /// The one that came.
        after: String,
    },
    /// Server: a login without user name or password, where they are asked for.
    #[error("Auth Username/Password was not provided by peer")]
    NoCredentials,
    /// Server: another user, in a session that has one.
    #[error("username attempted to change from '{before}' to '{after}' -- tunnel disabled")]
    UsernameChanged {
        /// The user that the session began with.
        before: String,
        /// The one that came.
        after: String,
    },
    /// Server: the login is refused; what the client is told, may be empty.
    #[error("login refused")]
    LoginRefused(String),
    /// The server wants epoch data keys where there can be none.
    #[error("the server pushed aead-epoch without a peer-id, or with a cipher that is no AEAD")]
    EpochKeys,
    /// Keys could not be made.
    #[error("no usable data keys")]
    Keys,
    /// Nothing was heard for `ping-restart`.
    #[error("ping-restart")]
    PingRestart,
    /// The peer said that it leaves.
    #[error("remote-exit")]
    RemoteExit(ExitChannel),
    /// Client: the server told us to connect again.
    #[error("server-pushed-connection-reset")]
    RemoteRestart {
        /// To the next one of our list.
        next_remote: bool,
        /// Why; may be empty.
        text: String,
    },
    /// Client: the server told us to end for good; why, may be empty.
    #[error("server-pushed-halt")]
    RemoteHalt(String),
    /// Client: the server refused the login; its reason, or one of the forms of wire.md section
    /// 10.3.
    #[error("auth-failure")]
    AuthFailed(String),
    /// The old key's life ended before a new one was agreed on.
    #[error("renegotiation failed")]
    KeyExpired,
    /// The registry refused the client.
    #[error("{0}")]
    Refused(&'static str),
    /// A newer session of the same client took over.
    #[error("replaced by a newer connection")]
    Replaced,
    /// Server: it did nothing for as long as `inactive` says.
    #[error("inactive")]
    Inactive,
    /// It has lasted as long as `session-timeout` says.
    #[error("session-timeout")]
    SessionTimeout,
    /// The stream that it came by has ended.
    #[error("connection-reset")]
    ConnectionReset,
    /// An administrator ended it.
    #[error("killed")]
    Killed,
    /// An administrator had the peer told to go.
    #[error("dismissed")]
    Dismissed,
    /// The owner ended it.
    #[error("closed")]
    Closed,
}

/// Where a peer said that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitChannel {
    /// As a message on the control channel.
    Control,
    /// As a packet of the data channel.
    Data,
}

/// Why a control datagram was dropped; each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlDrop {
    /// Its body is not what it should be.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The wrapping does not come off.
    #[error(transparent)]
    Wrapping(#[from] WrapError),
    /// It names another session.
    #[error("another session's")]
    ForeignSession,
    /// Its key generation is not the one under negotiation.
    #[error("key generation out of step")]
    KeyOutOfStep,
    /// Its message is too far ahead.
    #[error("outside the window")]
    OutsideWindow,
    /// A stranger's packet without a valid cookie.
    #[error("no valid cookie")]
    Cookie,
    /// More first packets than are answered in such a time.
    #[error("too many first packets")]
    TooManyContacts,
    /// A stranger with a valid cookie, and more of them than get a session in such a time.
    #[error("too many new sessions")]
    TooManySessions,
    /// A kind of packet that a stranger can't begin with.
    #[error("not a first packet")]
    Unexpected,
    /// A first packet without a key, at a server where each client has one of its own.
    #[error("no tls-crypt-v2 key")]
    NoKey,
    /// A client's key is authentic, and older than it may be.
    #[error("tls-crypt-v2 key too old")]
    KeyTooOld,
    /// It is longer than any control packet.
    #[error("too long for a control packet")]
    TooLong,
    /// The session is over.
    #[error("session over")]
    Over,
}
