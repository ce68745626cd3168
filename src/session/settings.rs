//! What every session of one listener or dialer shares.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::tls::TlsEngine;
use crate::crypto::{DataCipher, Metadata, ReplayWindow, StaticKey, TlsCryptV2ServerKey, Wrapping};
use crate::time::Now;
use crate::wire::Role;

/// The rules of a listener's or dialer's sessions; shared, never changed.
#[derive(Clone)]
pub struct SessionSettings {
    /// Which end of the protocol this is.
    pub role: Role,
    /// How control packets are wrapped, with the keys for it.
    pub wrapping: Arc<Wrapping>,
    /// The key behind the wrapping, if there is one; dynamic tls-crypt mixes it in. A server's
    /// sessions with clients that brought their own key use that one.
    pub static_key: Option<StaticKey>,
    /// Makes the TLS connection of each key generation.
    pub tls: Arc<dyn TlsEngine>,
    /// Data ciphers that are offered, best first.
    pub ciphers: Vec<DataCipher>,
    /// What our side tells of itself (see [`crate::wire::OptionsString`]).
    pub options_string: String,
    /// The MTU inside the tunnel.
    pub tun_mtu: u16,
    /// Server: options for every client, before those of its own.
    pub push: Vec<String>,
    /// Client: the lines of peer info, each with its newline.
    pub peer_info: String,
    /// How far out of order data packets may come.
    pub replay_window: ReplayWindow,
    /// The clocks.
    pub timing: Timing,
    /// Server: how clients log in, where somebody judges that.
    pub login: Option<LoginRules>,
}

/// What a server asks of the logins of clients, which its owner judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRules {
    /// What clients are asked for.
    pub credentials: CredentialRule,
    /// What the owner of a session is to know of its TLS sessions ([`Admission::keying_material`]).
    ///
    /// [`Admission::keying_material`]: super::Admission::keying_material
    pub exporter: Option<KeyingMaterial>,
}

/// Whether clients are to send user name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRule {
    /// Nobody looks at them: what a client sends is not kept.
    Unasked,
    /// They may.
    Optional,
    /// They have to.
    Required,
}

/// Keying material of a TLS session (`keying-material-exporter`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyingMaterial {
    /// What it is for.
    pub label: String,
    /// In bytes.
    pub length: usize,
}

/// What a server of tls-crypt-v2 clients goes by. Wire: wire.md section 2.5.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientKeyRules {
    /// Opens the keys that clients bring.
    pub key: TlsCryptV2ServerKey,
    /// Whether clients before 2.6 are let in, which cannot bring their key twice: for each of their
    /// first packets a session is kept before it is known that they receive at their address.
    pub without_cookie: bool,
    /// Keys that were made longer ago are refused, and those that do not say when.
    pub max_age: Option<Duration>,
    /// Whether the owner of a session is to know what is said of its key ([`Admission::key_metadata`]).
    ///
    /// [`Admission::key_metadata`]: super::Admission::key_metadata
    pub keeps_metadata: bool,
}

impl ClientKeyRules {
    /// Whether a key is young enough.
    pub(super) fn admits(&self, metadata: &Metadata, now: Now) -> bool {
        let Some(max_age) = self.max_age else {
            return true;
        };
        match metadata {
            // One from the future comes from another clock, and is not old.
            Metadata::Timestamp(made) => now.unix.saturating_sub(*made) <= max_age.as_secs(),
            Metadata::User(_) | Metadata::Unknown(_) => false,
        }
    }
}

/// The times of a session.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A key exchange that takes longer is given up.
    pub hand_window: Duration,
    /// The life of a key after the renegotiation that replaces it began.
    pub tran_window: Duration,
    /// First retransmission of a control packet.
    pub tls_timeout: Duration,
    /// When a new key is asked for, if ever.
    pub renegotiation: Option<Renegotiation>,
    /// A ping goes out after so much silence of our own.
    pub ping: Option<Duration>,
    /// The peer is given up after so much silence of its own.
    pub ping_restart: Option<Duration>,
}

/// A new key is asked for at a random moment between the two, so that the clients of a restarted
/// server do not all renegotiate at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renegotiation {
    /// Not before.
    pub earliest: Duration,
    /// Not after.
    pub latest: Duration,
}

impl Timing {
    /// How long after its start a new key is held back from sending. Wire: 2.x waits so long too
    /// (wire.md section 8.6), by when the peer surely has it.
    pub(super) fn promotion_delay(&self) -> Duration {
        let half_life = self
            .renegotiation
            .map_or(Duration::MAX, |reneg| reneg.latest / 2);
        self.hand_window.min(half_life)
    }
}
