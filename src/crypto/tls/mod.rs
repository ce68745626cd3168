//! The control channel's TLS library, behind one interface.
//!
//! Bytes in, bytes out, messages in, messages out; no socket. [`rustls`] is the one in production,
//! [`stand_in`] a deterministic replacement for simulations, which has no secrets at all.

mod authority;
mod facts;
mod fingerprint;
mod records;
mod revocation;
pub mod rustls;
pub mod stand_in;
mod subject;
mod suite_b;
mod suites;
mod tracked;
mod usage;
mod username;
mod verify;

pub use facts::CertificateFacts;
pub use fingerprint::IssuerHashes;
pub use revocation::{RevocationList, Revocations, SharedRevocations};
pub(crate) use subject::subject_text;
pub use suite_b::check_suite_b;
pub use suites::{is_suite_of_openssl, suite_by_name, suites};
pub use tracked::TrackedField;
pub use usage::{ExtendedUsage, UsageRules};
pub use username::{UnknownField, UsernameFields};
pub use verify::{CertificateRefused, NameRule, PeerPolicy, PeerPurpose, RefusalReason};

use std::sync::Arc;

use crate::random::Random;
use crate::time::Now;
use zeroize::Zeroizing;

/// One TLS connection, either role. TLS errors end it; what [`Tls::transmit`] gives after an error
/// is the alert for the peer.
pub trait Tls: Send {
    /// Takes bytes of the TLS stream from the peer, in order.
    ///
    /// # Errors
    /// The peer's certificate is refused, the peer sent an alert or broke the protocol.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError>;

    /// Appends to `out` the bytes of the TLS stream for the peer.
    fn transmit(&mut self, out: &mut Vec<u8>);

    /// The next message of the peer: the plaintext of one application-data record.
    /// Wire: OpenVPN reads and parses one record at a time (wire.md section 5).
    fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>>;

    /// Sends `message` as one application-data record.
    ///
    /// # Errors
    /// The handshake is not done, or the connection has failed.
    fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError>;

    /// True once application data can be sent.
    fn is_established(&self) -> bool;

    /// Fills `out` with keying material (RFC 5705, without a context).
    ///
    /// # Errors
    /// The handshake is not done, or the library does not export from this connection.
    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError>;

    /// The peer's certificate, once verified.
    fn peer(&self) -> Option<&PeerCertificate>;

    /// What was negotiated, once it is.
    fn negotiated(&self) -> Option<Negotiated>;

    /// Keeps no more than messages need, as soon as nothing is half said: nothing can be exported any
    /// more, and who the peer is and what was negotiated is forgotten. Can be called again and again.
    fn rest(&mut self);
}

/// Starts connections of one role, with the certificates and rules of one listener or dialer.
pub trait TlsEngine: Send + Sync {
    /// A new connection.
    ///
    /// # Errors
    /// The library refuses its configuration.
    fn start(&self, now: Now, random: &mut dyn Random) -> Result<Box<dyn Tls>, TlsError>;
}

/// What a session needs to know of the peer's verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// What the peer is called: the CN of the leaf, or what `x509-username-field` takes in its place;
    /// printable, at most [`crate::limits::CLIENT_NAME_MAX`] bytes.
    pub common_name: String,
    /// Subjects of the chain, the leaf first; the index is OpenVPN's `depth`.
    pub subjects: Vec<String>,
    /// SHA-256 over the leaf's DER.
    pub fingerprint: [u8; 32],
    /// The certificates of the chain, the leaf first.
    pub facts: Arc<[CertificateFacts]>,
    /// The leaf's key as a log names it, such as `256 bits ECprime256v1`.
    pub key: String,
}

/// A handshake's outcome, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub suite: String,
    /// The key exchange group, where the library tells.
    pub group: Option<String>,
}

/// Why a TLS connection failed, sorted by who is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The peer's certificate is not accepted here.
    #[error(transparent)]
    Certificate(#[from] CertificateRefused),
    /// The peer did not accept something of ours and said so.
    #[error("the peer sent the alert {0}")]
    Alert(String),
    /// The peer broke the protocol, or there is nothing that both sides can do.
    #[error("{0}")]
    Protocol(String),
    /// We asked for something that this connection does not give (yet).
    #[error("{0}")]
    Unavailable(String),
}
