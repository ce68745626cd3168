//! The two keys that seal and open data packets.
//!
//! Wire: wire.md section 8. Three formats, of which a key has one: the classic AEAD format, the one whose
//! keys are replaced epoch by epoch, and for clients that have nothing else the older one.

mod aead;
mod cbc;
mod epoch;

use aws_lc_rs::aead::Nonce;
use aws_lc_rs::error::Unspecified;

use self::aead::{AeadKey, CLASSIC_ID_LEN, IV_LEN, Layout, Place, Sealed, TAG_LEN, classic_id};
use self::cbc::{CbcOpen, CbcSeal};
use self::epoch::{EpochOpen, EpochSeal};
use super::{DataCipher, ReplayWindow};
use crate::limits::{FAILED_OPEN_MAX, FAILED_OPEN_RENEGOTIATE, PACKET_ID_RENEGOTIATE};
use crate::time::Monotonic;
use crate::wire::DataHeader;

/// Seals data packets with ids from 1, none twice.
pub struct SealKey {
    scheme: Sealing,
    /// The id of the last packet, 0 before the first; in its epoch, where there are some.
    last_id: u64,
}

/// How packets are sealed. What few have does not stand in line.
enum Sealing {
    Classic(AeadKey),
    Epoch(Box<EpochSeal>),
    Cbc(Box<CbcSeal>),
}

/// What sealing adds to a payload: of so many bytes of a datagram, `overhead` are gone, then what does not
/// fill a block, then `inside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealCost {
    /// Bytes before the ciphertext.
    pub overhead: u16,
    /// Bytes of a block that is always full; 1 if there are none.
    pub block: u16,
    /// Bytes of the plaintext that are no payload.
    pub inside: u16,
}

impl SealCost {
    /// Behind this header, with a key of an AEAD in the classic format.
    pub const fn aead(header: DataHeader) -> Self {
        Self {
            overhead: Layout::Classic.overhead(header) as u16,
            block: 1,
            inside: 0,
        }
    }

    /// The longest payload of a datagram of so many bytes.
    pub const fn payload_max(self, datagram: u16) -> u16 {
        let ciphertext = datagram.saturating_sub(self.overhead);
        (ciphertext / self.block * self.block).saturating_sub(self.inside)
    }
}

impl SealKey {
    /// Bytes that a DATA_V2 packet of the classic format has before its ciphertext; a DATA_V1 packet has
    /// three less.
    pub const OVERHEAD: usize = DataHeader::LEN_MAX + CLASSIC_ID_LEN + TAG_LEN;

    /// For the classic format, or the older one, as the cipher says.
    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        let scheme = match cipher.digest() {
            None => Sealing::Classic(classic_key(cipher, half)),
            Some(digest) => Sealing::Cbc(Box::new(CbcSeal::new(cipher, digest, half))),
        };
        Self { scheme, last_id: 0 }
    }

    /// For the format with epochs, with an AEAD.
    pub(super) fn with_epochs(cipher: DataCipher, half: &[u8]) -> Self {
        Self {
            scheme: Sealing::Epoch(Box::new(EpochSeal::new(cipher, half))),
            last_id: 0,
        }
    }

    /// Bytes of the datagram that a plaintext of so many bytes becomes.
    pub fn sealed_len(&self, header: DataHeader, plaintext: usize) -> usize {
        match &self.scheme {
            Sealing::Classic(_) => Layout::Classic.sealed_len(header, plaintext),
            Sealing::Epoch(_) => Layout::Epoch.sealed_len(header, plaintext),
            Sealing::Cbc(cbc) => cbc.sealed_len(header, plaintext),
        }
    }

    /// What it adds to a payload behind this header.
    pub fn cost(&self, header: DataHeader) -> SealCost {
        match &self.scheme {
            Sealing::Classic(_) => SealCost::aead(header),
            Sealing::Epoch(_) => SealCost {
                overhead: Layout::Epoch.overhead(header) as u16,
                ..SealCost::aead(header)
            },
            Sealing::Cbc(cbc) => SealCost {
                overhead: (header.len() + cbc.clear_len()) as u16,
                block: cbc::BLOCK as u16,
                // The packet id, and the least padding.
                inside: CLASSIC_ID_LEN as u16 + 1,
            },
        }
    }

    /// Writes a datagram with `plaintext` to the start of `out`; gives its length.
    ///
    /// # Errors
    /// See [`SealError`]; no packet id is spent then.
    pub fn seal(
        &mut self,
        header: DataHeader,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        self.seal_with(header, &[plaintext], out, |aead, nonce, aad, place| {
            aead.seal(nonce, aad, plaintext, place.ciphertext, place.tag)
        })
    }

    /// As [`seal`](Self::seal), with a plaintext that is in parts.
    ///
    /// # Errors
    /// As of [`seal`](Self::seal).
    pub fn seal_parts(
        &mut self,
        header: DataHeader,
        parts: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        self.seal_with(header, parts, out, |aead, nonce, aad, place| {
            let mut rest = &mut *place.ciphertext;
            for part in parts {
                let (start, end) = rest.split_at_mut_checked(part.len()).ok_or(Unspecified)?;
                start.copy_from_slice(part);
                rest = end;
            }
            aead.seal_in_place(nonce, aad, place.ciphertext, place.tag)
        })
    }

    /// Writes all of a datagram; the ciphertext of an AEAD writes `seal`.
    fn seal_with(
        &mut self,
        header: DataHeader,
        parts: &[&[u8]],
        out: &mut [u8],
        seal: impl FnOnce(&AeadKey, Nonce, &[u8], Place<'_>) -> Result<(), Unspecified>,
    ) -> Result<usize, SealError> {
        let plaintext = parts.iter().map(|part| part.len()).sum();
        if plaintext == 0 {
            return Err(SealError::Empty);
        }
        // The older formats count to 32 bits.
        let next = u32::try_from(self.last_id + 1);
        let (length, id) = match &mut self.scheme {
            Sealing::Classic(key) => {
                let id = next.ok().filter(|_| key.may_seal(plaintext));
                let id = id.ok_or(SealError::Exhausted)?;
                let layout = Layout::Classic;
                let sealed = key.seal_with(layout, header, classic_id(id), plaintext, out, seal);
                (sealed?, id.into())
            }
            Sealing::Epoch(epochs) => {
                return epochs.seal(&mut self.last_id, header, plaintext, out, seal);
            }
            Sealing::Cbc(cbc) => {
                let id = next.map_err(|_| SealError::Exhausted)?;
                (cbc.seal(header, id, parts, out)?, id.into())
            }
        };
        self.last_id = id;
        Ok(length)
    }

    /// Goes on to an epoch that the other side has reached, if there are epochs and this one is newer.
    pub(super) fn reach(&mut self, epoch: u16) {
        if let Sealing::Epoch(epochs) = &mut self.scheme
            && epochs.reach(epoch)
        {
            self.last_id = 0;
        }
    }

    /// The epoch of what it seals, if there are some.
    pub const fn epoch(&self) -> Option<u16> {
        match &self.scheme {
            Sealing::Epoch(epochs) => Some(epochs.epoch()),
            _ => None,
        }
    }

    /// Lets the key, or each epoch's key, protect fewer packets and blocks than its cipher may.
    pub const fn limit_usage(&mut self, usage_max: u64) {
        match &mut self.scheme {
            Sealing::Classic(key) => key.usage_max = usage_max,
            Sealing::Epoch(epochs) => epochs.limit_usage(usage_max),
            Sealing::Cbc(_) => {}
        }
    }

    /// True once the key should be replaced soon.
    pub const fn near_limit(&self) -> bool {
        let ids = self.last_id >= PACKET_ID_RENEGOTIATE as u64;
        match &self.scheme {
            Sealing::Classic(key) => ids || key.near_limit(),
            Sealing::Epoch(epochs) => epochs.near_limit(),
            Sealing::Cbc(_) => ids,
        }
    }

    /// Packets sealed so far, in this epoch if there are some.
    pub const fn packets(&self) -> u64 {
        self.last_id
    }
}

/// Why a packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has sealed all that it may.
    #[error("the data key is exhausted")]
    Exhausted,
    /// The buffer does not hold the packet.
    #[error("the buffer is too small for the sealed packet")]
    TooSmall,
    /// The protocol has no packets without content.
    #[error("there is nothing to seal")]
    Empty,
}

/// Opens data packets, each once.
pub struct OpenKey {
    scheme: Opening,
    /// Under the key; under the newest epoch's, where there are some.
    arrivals: Arrivals,
}

/// How packets are opened.
enum Opening {
    Classic(AeadKey),
    Epoch(Box<EpochOpen>),
    Cbc(Box<CbcOpen>),
}

impl OpenKey {
    /// For the classic format, or the older one, as the cipher says.
    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        Self {
            scheme: match cipher.digest() {
                None => Opening::Classic(classic_key(cipher, half)),
                Some(digest) => Opening::Cbc(Box::new(CbcOpen::new(cipher, digest, half))),
            },
            arrivals: Arrivals::default(),
        }
    }

    /// For the format with epochs, with an AEAD.
    pub(super) fn with_epochs(cipher: DataCipher, half: &[u8]) -> Self {
        Self {
            scheme: Opening::Epoch(Box::new(EpochOpen::new(cipher, half))),
            arrivals: Arrivals::default(),
        }
    }

    /// With another window than the default one.
    #[must_use]
    pub fn with_replay_window(mut self, window: ReplayWindow) -> Self {
        self.arrivals.window = window;
        self
    }

    /// Writes the plaintext of `datagram` to the start of `out`; gives its length. As far as the datagram is
    /// long, bytes behind it may be written over.
    ///
    /// # Errors
    /// See [`OpenError`]; what `out` then holds is not a plaintext.
    pub fn open(
        &mut self,
        now: Monotonic,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let header = DataHeader::parse(datagram).map_err(|_| OpenError::Malformed)?;
        let arrivals = &mut self.arrivals;
        match &mut self.scheme {
            Opening::Classic(key) => {
                let packet = Sealed::parse(Layout::Classic, header, datagram)?;
                key.open(arrivals, &packet, now, out)
            }
            Opening::Epoch(epochs) => epochs.open(arrivals, now, header, datagram, out),
            Opening::Cbc(cbc) => {
                arrivals.check_usable()?;
                let rest = datagram.get(header.len()..).unwrap_or_default();
                let opened = cbc.open(rest, out);
                arrivals.failed += u64::from(opened == Err(OpenError::Authentication));
                let (packet_id, length) = opened?;
                let packet_id = packet_id.into();
                let marked = arrivals.window.check_and_mark(packet_id, now);
                marked.map_err(|_| OpenError::Replay { packet_id })?;
                Ok(length)
            }
        }
    }

    /// The epoch that the sending side should have reached, if there are epochs.
    pub(super) const fn wanted_epoch(&self) -> Option<u16> {
        match &self.scheme {
            Opening::Epoch(epochs) => Some(epochs.wanted(&self.arrivals)),
            _ => None,
        }
    }

    /// True once the key should be replaced soon.
    pub const fn near_limit(&self) -> bool {
        let arrivals = &self.arrivals;
        let worn = arrivals.failed >= FAILED_OPEN_RENEGOTIATE
            || arrivals.window.highest() >= PACKET_ID_RENEGOTIATE as u64;
        match &self.scheme {
            Opening::Classic(key) => worn || key.near_limit(),
            // The next epoch is all that it needs, and near the last one our own packets are too.
            Opening::Epoch(_) => false,
            Opening::Cbc(_) => worn,
        }
    }

    /// The highest packet id that was opened, 0 before the first.
    pub const fn highest(&self) -> u64 {
        match &self.scheme {
            Opening::Epoch(epochs) => epochs.highest(&self.arrivals),
            _ => self.arrivals.window.highest(),
        }
    }

    /// Packets that were not authentic.
    pub const fn failed(&self) -> u64 {
        self.arrivals.failed
    }
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a data packet, or too short for one.
    #[error("malformed data packet")]
    Malformed,
    /// Made with another key, or changed on its way.
    #[error("data packet authentication failed")]
    Authentication,
    /// It has arrived before, or is too late.
    #[error("data packet replay")]
    Replay {
        /// Its number.
        packet_id: u64,
    },
    /// Of an epoch that is over, or that is not to be expected yet.
    #[error("data packet of an unknown epoch")]
    UnknownEpoch,
    /// The buffer does not hold the plaintext.
    #[error("the buffer is too small for the opened packet")]
    TooSmall,
    /// Too many packets were not authentic for the key to be used on.
    #[error("the data key has refused too many packets")]
    Exhausted,
}

/// What has come under a key.
#[derive(Default)]
struct Arrivals {
    window: ReplayWindow,
    /// Packets that were not authentic.
    failed: u64,
}

impl Arrivals {
    /// Those under another key of the same peer, of which so many were not authentic.
    fn of_another_key(&self, failed: u64) -> Self {
        Self {
            window: self.window.fresh(),
            failed,
        }
    }

    const fn check_usable(&self) -> Result<(), OpenError> {
        if self.failed >= FAILED_OPEN_MAX {
            return Err(OpenError::Exhausted);
        }
        Ok(())
    }
}

/// The key of the classic format. `half` has 128 bytes: the cipher key is in the first 64, the end of the
/// vector starts the others.
fn classic_key(cipher: DataCipher, half: &[u8]) -> AeadKey {
    let (cipher_part, hmac_part) = half.split_at(half.len() / 2);
    let mut iv = [0; IV_LEN];
    iv[CLASSIC_ID_LEN..].copy_from_slice(&hmac_part[..IV_LEN - CLASSIC_ID_LEN]);
    AeadKey::new(cipher, &cipher_part[..cipher.key_len()], iv)
}

impl std::fmt::Debug for SealKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SealKey")
            .field("epoch", &self.epoch())
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OpenKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenKey")
            .field("highest", &self.highest())
            .field("failed", &self.failed())
            .finish_non_exhaustive()
    }
}

/// Whether this build copies data packets instead of encrypting them, for `bench compare` to show what
/// the cipher costs. Never so unless asked for by the feature's name.
pub const NULL_CIPHER: bool = cfg!(feature = "bench-null-cipher");

#[cfg(test)]
mod tests;
