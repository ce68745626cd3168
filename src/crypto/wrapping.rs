//! The wrapping of control packets: none, tls-auth or tls-crypt, with its protection against replay.
//!
//! Wire: wire.md section 2. A [`Wrapping`] is the keys, shared by all sessions of a listener; a
//! [`ControlWrap`] is one session's use of it, with counters in both directions.

use std::sync::Arc;

use super::{
    Digest, KeyDirection, Replay, ReplayWindow, Role, StaticKey, TlsAuth, TlsCrypt,
    TlsCryptV2ClientKey,
};
use crate::time::Now;
use crate::wire::{ControlHeader, Malformed};

/// How control packets are protected outside of TLS.
#[derive(Debug)]
pub enum Wrapping {
    /// Not at all.
    Plain,
    /// By an HMAC.
    TlsAuth(Box<TlsAuth>),
    /// By an HMAC and encryption.
    TlsCrypt(Box<TlsCrypt>),
    /// The same with a key that one session alone has, and what is said of that key, if somebody wants to know. It
    /// needs few packets: they are set up from the key each time, because what is set up takes more than ten times
    /// the key's memory.
    OwnTlsCrypt(StaticKey, Role, Option<Arc<[u8]>>),
}

impl Wrapping {
    /// tls-auth with our side's `direction` and the digest of `--auth`.
    pub fn tls_auth(key: &StaticKey, direction: KeyDirection, digest: Digest) -> Self {
        Self::TlsAuth(Box::new(TlsAuth::new(key, direction, digest)))
    }

    /// tls-crypt for our side's `role`.
    pub fn tls_crypt(key: &StaticKey, role: Role) -> Self {
        Self::TlsCrypt(Box::new(TlsCrypt::new(key, role)))
    }

    /// tls-crypt-v2 of a client: tls-crypt, with a sealed copy of the key for its server. A server
    /// that has opened the copy uses [`Wrapping::OwnTlsCrypt`].
    pub fn tls_crypt_v2(key: &TlsCryptV2ClientKey) -> Self {
        Self::TlsCrypt(Box::new(TlsCrypt::of_client(key)))
    }

    /// The wrapping of renegotiations where it has been negotiated: tls-crypt with a key that both
    /// sides export from the first TLS session, mixed with the static key if there is one.
    /// Wire: wire.md section 2.6.
    pub fn dynamic_tls_crypt(
        exported: &[u8; StaticKey::LEN],
        original: Option<&StaticKey>,
        role: Role,
    ) -> Self {
        let exported = StaticKey::from_bytes(exported);
        let key = match original {
            Some(original) => exported.xor(original),
            None => exported,
        };
        Self::OwnTlsCrypt(key, role, None)
    }

    /// Bytes that stand before the body.
    pub const fn overhead(&self) -> usize {
        match self {
            Self::Plain => ControlHeader::LEN,
            Self::TlsAuth(keys) => keys.overhead(),
            Self::TlsCrypt(_) | Self::OwnTlsCrypt(..) => TlsCrypt::OVERHEAD,
        }
    }

    /// What a client sends behind the packets with [`Opcode::carries_key`](crate::wire::Opcode), if
    /// its wrapping is tls-crypt-v2.
    pub fn sealed_key(&self) -> Option<&[u8]> {
        match self {
            Self::TlsCrypt(keys) => keys.sealed_key(),
            Self::Plain | Self::TlsAuth(_) | Self::OwnTlsCrypt(..) => None,
        }
    }

    /// The key, if it is one that a session alone has.
    pub const fn own_key(&self) -> Option<&StaticKey> {
        match self {
            Self::OwnTlsCrypt(key, ..) => Some(key),
            Self::Plain | Self::TlsAuth(_) | Self::TlsCrypt(_) => None,
        }
    }

    /// What is said of such a key: its kind in the first byte (see [`Metadata`](super::Metadata)).
    pub fn key_metadata(&self) -> Option<Arc<[u8]>> {
        match self {
            Self::OwnTlsCrypt(_, _, metadata) => metadata.clone(),
            Self::Plain | Self::TlsAuth(_) | Self::TlsCrypt(_) => None,
        }
    }

    /// Authenticates a datagram without looking at whether it is a replay.
    ///
    /// # Errors
    /// [`WrapError::Malformed`] and [`WrapError::Authentication`]; nothing of the datagram's body can
    /// be used then.
    pub fn open_stateless<'a>(&self, datagram: &'a mut [u8]) -> Result<Opened<'a>, WrapError> {
        let header = ControlHeader::parse(datagram)?;
        let (replay, body) = match self {
            Self::Plain => {
                let body = datagram.get(ControlHeader::LEN..);
                (None, body.ok_or(Malformed::Truncated)?)
            }
            Self::TlsAuth(keys) => {
                let (stamp, body) = keys.open(datagram)?;
                (Some(stamp), body)
            }
            Self::TlsCrypt(keys) => {
                let (stamp, body) = keys.open(datagram)?;
                (Some(stamp), body)
            }
            Self::OwnTlsCrypt(key, role, _) => {
                let (stamp, body) = TlsCrypt::new(key, *role).open(datagram)?;
                (Some(stamp), body)
            }
        };
        Ok(Opened {
            header,
            replay,
            body,
        })
    }

    /// Appends a datagram with this stamp to `out`. [`Wrapping::Plain`] has no place for the stamp.
    pub fn seal_with(
        &self,
        stamp: ReplayStamp,
        header: ControlHeader,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Plain => {
                out.extend_from_slice(&header.to_bytes());
                out.extend_from_slice(body);
            }
            Self::TlsAuth(keys) => keys.seal(stamp, header.to_bytes(), body, out),
            Self::TlsCrypt(keys) => keys.seal(stamp, header.to_bytes(), body, out),
            Self::OwnTlsCrypt(key, role, _) => {
                TlsCrypt::new(key, *role).seal(stamp, header.to_bytes(), body, out);
            }
        }
    }
}

/// A control packet whose wrapping is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The part in clear.
    pub header: ControlHeader,
    /// The packet's place in its sender's sequence; `None` without a wrapping.
    pub replay: Option<ReplayStamp>,
    /// For [`ControlBody::parse`](crate::wire::ControlBody::parse).
    pub body: &'a [u8],
}

/// One session's use of a wrapping. It goes on over the session's key generations.
#[derive(Debug)]
pub struct ControlWrap {
    wrapping: Arc<Wrapping>,
    sent: Option<ReplayStamp>,
    /// The time field of the packets that `window` is about.
    received: u32,
    window: ReplayWindow,
}

impl ControlWrap {
    /// Nothing sent, nothing received.
    pub fn new(wrapping: Arc<Wrapping>) -> Self {
        Self {
            wrapping,
            sent: None,
            received: 0,
            window: ReplayWindow::default(),
        }
    }

    /// Goes on after a stateless answer that carried this stamp.
    pub fn with_sent(wrapping: Arc<Wrapping>, sent: ReplayStamp) -> Self {
        Self {
            sent: Some(sent),
            ..Self::new(wrapping)
        }
    }

    /// Appends the datagram of a packet to `out`. A retransmission is sealed anew.
    pub fn seal(&mut self, now: Now, header: ControlHeader, body: &[u8], out: &mut Vec<u8>) {
        let stamp = match self.sent {
            None if self.wrapping.sealed_key().is_some() => ReplayStamp::first_early(now),
            None => ReplayStamp::first(now),
            Some(sent) => sent.next(now),
        };
        self.sent = Some(stamp);
        self.wrapping.seal_with(stamp, header, body, out);
    }

    /// Header and body of a datagram that is authentic and new.
    ///
    /// # Errors
    /// Why the datagram is refused; the session's state has not changed then.
    pub fn open<'a>(
        &mut self,
        now: Now,
        datagram: &'a mut [u8],
    ) -> Result<(ControlHeader, &'a [u8]), WrapError> {
        let wrapping = Arc::clone(&self.wrapping);
        let opened = wrapping.open_stateless(datagram)?;
        if let Some(stamp) = opened.replay {
            self.mark_received(now, stamp)?;
        }
        Ok((opened.header, opened.body))
    }

    /// Notes the stamp of an authentic packet that was opened without it. Without
    /// a wrapping there are no stamps, and nothing to note.
    ///
    /// # Errors
    /// [`WrapError::Replay`] if it is not new.
    pub fn mark_received(&mut self, now: Now, stamp: ReplayStamp) -> Result<(), WrapError> {
        let Some(kind) = self.wrapping.kind() else {
            return Ok(());
        };
        let id = u64::from(stamp.id);
        let taken = match stamp.time.cmp(&self.received) {
            std::cmp::Ordering::Less => Err(Replay::Old),
            std::cmp::Ordering::Equal => self.window.check_and_mark(id, now.monotonic),
            std::cmp::Ordering::Greater if id == 0 => Err(Replay::Zero),
            std::cmp::Ordering::Greater => {
                self.window.reset();
                self.received = stamp.time;
                self.window.check_and_mark(id, now.monotonic)
            }
        };
        taken.map_err(|reason| WrapError::Replay {
            kind,
            stamp,
            reason,
        })
    }

    /// The keys, for a datagram that is looked at before its stamp counts.
    pub const fn wrapping(&self) -> &Arc<Wrapping> {
        &self.wrapping
    }

    /// Bytes that stand before the body.
    pub fn overhead(&self) -> usize {
        self.wrapping.overhead()
    }
}

impl Wrapping {
    const fn kind(&self) -> Option<WrapKind> {
        match self {
            Self::Plain => None,
            Self::TlsAuth(_) => Some(WrapKind::TlsAuth),
            Self::TlsCrypt(_) | Self::OwnTlsCrypt(..) => Some(WrapKind::TlsCrypt),
        }
    }
}

/// The place of a packet in its sender's sequence: ordered by time, then id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayStamp {
    /// From 1, one more for every packet.
    pub id: u32,
    /// Unix seconds at the sender's first packet.
    pub time: u32,
}

impl ReplayStamp {
    /// Bytes of a stamp.
    pub const LEN: usize = 8;

    /// The stamp of a sender's first packet.
    pub const fn first(now: Now) -> Self {
        Self {
            id: 1,
            time: now.unix as u32,
        }
    }

    /// The same of a tls-crypt-v2 client that reads [`EarlyNegotiation`](crate::wire) lists: it says
    /// so by its first id. Wire: wire.md section 2.5.
    const fn first_early(now: Now) -> Self {
        Self {
            id: (EARLY_NEGOTIATION << 24) + 1,
            ..Self::first(now)
        }
    }

    /// Whether the packet is one of such a client.
    pub const fn negotiates_early(self) -> bool {
        self.id >> 24 == EARLY_NEGOTIATION
    }

    /// The stamp after this one; the time moves on only when the ids are used up.
    const fn next(self, now: Now) -> Self {
        match self.id.checked_add(1) {
            Some(id) => Self {
                id,
                time: self.time,
            },
            None => {
                let time = now.unix as u32;
                Self {
                    id: 1,
                    time: if time > self.time {
                        time
                    } else {
                        self.time.saturating_add(1)
                    },
                }
            }
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        (u64::from(self.id) << 32 | u64::from(self.time)).to_be_bytes()
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let both = u64::from_be_bytes(bytes);
        Self {
            id: (both >> 32) as u32,
            time: both as u32,
        }
    }
}

/// The wrappings that can refuse a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrapKind {
    /// tls-auth.
    TlsAuth,
    /// tls-crypt, also a dynamic one.
    TlsCrypt,
    /// The sealed key that a client of tls-crypt-v2 sends along.
    TlsCryptV2,
}

impl WrapKind {
    /// How OpenVPN begins its log line about such a packet.
    const fn log_prefix(self) -> &'static str {
        match self {
            Self::TlsAuth => "Authenticate/Decrypt packet error",
            Self::TlsCrypt => "tls-crypt unwrap error",
            Self::TlsCryptV2 => "tls-crypt-v2 client key",
        }
    }
}

/// Why a control datagram is refused, in the words of OpenVPN's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Not a control packet, or too short for its wrapping.
    #[error("malformed control packet: {0}")]
    Malformed(#[from] Malformed),
    /// Made with another key, or changed on its way.
    #[error(
        "{}: packet {}authentication failed",
        .0.log_prefix(),
        match .0 { WrapKind::TlsAuth => "HMAC ", WrapKind::TlsCrypt | WrapKind::TlsCryptV2 => "" }
    )]
    Authentication(WrapKind),
    /// Authentic, but it has arrived before, or is too late.
    #[error(
        "{}: bad packet ID (may be a replay): [ #{} / time = ({}) ] ({reason})",
        .kind.log_prefix(),
        .stamp.id,
        .stamp.time
    )]
    Replay {
        /// The session's wrapping.
        kind: WrapKind,
        /// The packet's stamp.
        stamp: ReplayStamp,
        /// What is wrong with it.
        reason: Replay,
    },
}

/// The first byte of the replay ids of clients that read early negotiation.
const EARLY_NEGOTIATION: u32 = 0x0f;

#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests;
