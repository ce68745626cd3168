//! The two keys that seal and open data packets.
//!
//! Wire: wire.md section 8.1. The classic AEAD format: header, packet id, tag, ciphertext, the
//! tag standing before the ciphertext. For clients that have nothing else there is the older one.

mod cbc;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

use self::cbc::{CbcOpen, CbcSeal};
use super::{DataCipher, ReplayWindow};
use crate::limits::{FAILED_OPEN_MAX, FAILED_OPEN_RENEGOTIATE, PACKET_ID_RENEGOTIATE};
use crate::time::Monotonic;
use crate::wire::DataHeader;

/// Seals data packets with ids from 1, none twice.
pub struct SealKey {
    scheme: Sealing,
    /// The id of the last packet, 0 before the first.
    last_id: u32,
}

/// How packets are sealed. What few have does not stand in line.
enum Sealing {
    Aead(DirectionKey),
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
    /// Behind this header, with a key of an AEAD.
    pub const fn aead(header: DataHeader) -> Self {
        Self {
            overhead: (header.len() + ID_LEN + TAG_LEN) as u16,
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
    /// Bytes that a DATA_V2 packet has before its ciphertext; a DATA_V1 packet has three less.
    pub const OVERHEAD: usize = DataHeader::LEN_MAX + ID_LEN + TAG_LEN;

    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        let scheme = match cipher.digest() {
            None => Sealing::Aead(DirectionKey::new(cipher, half)),
            Some(digest) => Sealing::Cbc(Box::new(CbcSeal::new(cipher, digest, half))),
        };
        Self { scheme, last_id: 0 }
    }

    /// Bytes of the datagram that a plaintext of so many bytes becomes.
    pub fn sealed_len(&self, header: DataHeader, plaintext: usize) -> usize {
        match &self.scheme {
            Sealing::Aead(_) => aead_len(header, plaintext),
            Sealing::Cbc(cbc) => cbc.sealed_len(header, plaintext),
        }
    }

    /// What it adds to a payload behind this header.
    pub fn cost(&self, header: DataHeader) -> SealCost {
        match &self.scheme {
            Sealing::Aead(_) => SealCost::aead(header),
            Sealing::Cbc(cbc) => SealCost {
                overhead: (header.len() + cbc.clear_len()) as u16,
                block: cbc::BLOCK as u16,
                // The packet id, and the least padding.
                inside: ID_LEN as u16 + 1,
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
        let Sealing::Aead(aead) = &mut self.scheme else {
            return self.seal_cbc(header, [plaintext, &[], &[]], out);
        };
        let last_id = &mut self.last_id;
        aead.seal_with(
            last_id,
            header,
            plaintext.len(),
            out,
            |aead, nonce, aad, place| aead.seal(nonce, aad, plaintext, place.ciphertext, place.tag),
        )
    }

    /// As [`seal`](Self::seal), with a plaintext that is in parts.
    ///
    /// # Errors
    /// As of [`seal`](Self::seal).
    pub fn seal_parts(
        &mut self,
        header: DataHeader,
        parts: [&[u8]; 3],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let Sealing::Aead(aead) = &mut self.scheme else {
            return self.seal_cbc(header, parts, out);
        };
        let length = parts.iter().map(|part| part.len()).sum();
        let last_id = &mut self.last_id;
        aead.seal_with(last_id, header, length, out, |aead, nonce, aad, place| {
            let mut rest = &mut *place.ciphertext;
            for part in parts {
                let (start, end) = rest.split_at_mut_checked(part.len()).ok_or(Unspecified)?;
                start.copy_from_slice(part);
                rest = end;
            }
            aead.seal_in_place(nonce, aad, place.ciphertext, place.tag)
        })
    }

    fn seal_cbc(
        &mut self,
        header: DataHeader,
        parts: [&[u8]; 3],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let Sealing::Cbc(cbc) = &self.scheme else {
            return Err(SealError::Exhausted);
        };
        if parts.iter().all(|part| part.is_empty()) {
            return Err(SealError::Empty);
        }
        let id = self.last_id.checked_add(1).ok_or(SealError::Exhausted)?;
        let length = cbc.seal(header, id, parts, out)?;
        self.last_id = id;
        Ok(length)
    }

    /// True once the key should be replaced soon.
    pub const fn near_limit(&self) -> bool {
        self.last_id >= PACKET_ID_RENEGOTIATE
            || match &self.scheme {
                Sealing::Aead(aead) => aead.near_limit(),
                Sealing::Cbc(_) => false,
            }
    }

    /// Packets sealed so far.
    pub const fn packets(&self) -> u32 {
        self.last_id
    }
}

/// Where the two parts of what is sealed go.
struct Place<'a> {
    ciphertext: &'a mut [u8],
    tag: &'a mut [u8],
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
    window: ReplayWindow,
    failed: u64,
}

/// How packets are opened.
enum Opening {
    Aead(DirectionKey),
    Cbc(Box<CbcOpen>),
}

impl OpenKey {
    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        Self {
            scheme: match cipher.digest() {
                None => Opening::Aead(DirectionKey::new(cipher, half)),
                Some(digest) => Opening::Cbc(Box::new(CbcOpen::new(cipher, digest, half))),
            },
            window: ReplayWindow::default(),
            failed: 0,
        }
    }

    /// With another window than the default one.
    #[must_use]
    pub fn with_replay_window(mut self, window: ReplayWindow) -> Self {
        self.window = window;
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
        if self.failed >= FAILED_OPEN_MAX {
            return Err(OpenError::Exhausted);
        }
        let header = DataHeader::parse(datagram).map_err(|_| OpenError::Malformed)?;
        let aead = match &mut self.scheme {
            Opening::Aead(aead) => aead,
            Opening::Cbc(_) => return self.open_cbc(now, header, datagram, out),
        };
        let (clear, rest) = datagram
            .split_at_checked(header.len() + ID_LEN)
            .ok_or(OpenError::Malformed)?;
        let (tag, ciphertext) = rest
            .split_at_checked(TAG_LEN)
            .filter(|(_, ciphertext)| !ciphertext.is_empty())
            .ok_or(OpenError::Malformed)?;
        let id_bytes = *clear.last_chunk::<ID_LEN>().ok_or(OpenError::Malformed)?;
        let id = u64::from(u32::from_be_bytes(id_bytes));
        let replay = OpenError::Replay {
            packet_id: id as u32,
        };
        self.window.check_not_old(id).map_err(|_| replay)?;
        let plaintext = out.get_mut(..ciphertext.len()).ok_or(OpenError::TooSmall)?;
        let nonce = aead.nonce(id_bytes);
        let aad = associated_data(header, clear);
        let opened = aead.open(nonce, aad, ciphertext, tag, plaintext);
        if opened.is_err() {
            self.failed += 1;
            return Err(OpenError::Authentication);
        }
        self.window.check_and_mark(id, now).map_err(|_| replay)?;
        aead.usage = aead.usage_after(ciphertext.len());
        Ok(ciphertext.len())
    }

    fn open_cbc(
        &mut self,
        now: Monotonic,
        header: DataHeader,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let Opening::Cbc(cbc) = &self.scheme else {
            return Err(OpenError::Malformed);
        };
        let rest = datagram.get(header.len()..).unwrap_or_default();
        let opened = cbc.open(rest, out);
        self.failed += u64::from(opened == Err(OpenError::Authentication));
        let (packet_id, length) = opened?;
        self.window
            .check_and_mark(packet_id.into(), now)
            .map_err(|_| OpenError::Replay { packet_id })?;
        Ok(length)
    }

    /// True once the key should be replaced soon.
    pub const fn near_limit(&self) -> bool {
        self.window.highest() >= PACKET_ID_RENEGOTIATE as u64
            || self.failed >= FAILED_OPEN_RENEGOTIATE
            || match &self.scheme {
                Opening::Aead(aead) => aead.near_limit(),
                Opening::Cbc(_) => false,
            }
    }

    /// The highest packet id that was opened, 0 before the first.
    pub const fn highest(&self) -> u64 {
        self.window.highest()
    }

    /// Packets that were not authentic.
    pub const fn failed(&self) -> u64 {
        self.failed
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
        packet_id: u32,
    },
    /// The buffer does not hold the plaintext.
    #[error("the buffer is too small for the opened packet")]
    TooSmall,
    /// Too many packets were not authentic for the key to be used on.
    #[error("the data key has refused too many packets")]
    Exhausted,
}

/// Cipher key and implicit nonce part of one direction, and how much they were used.
struct DirectionKey {
    key: LessSafeKey,
    implicit_iv: [u8; IMPLICIT_IV_LEN],
    usage: u64,
    usage_max: u64,
}

impl DirectionKey {
    /// `half` has 128 bytes: the cipher key is in the first 64, the implicit part starts the others.
    fn new(cipher: DataCipher, half: &[u8]) -> Self {
        let (cipher_part, hmac_part) = half.split_at(half.len() / 2);
        // The key's length is the cipher's, and nothing else can be wrong with it.
        #[allow(clippy::expect_used)]
        let key = cipher
            .algorithm()
            .and_then(|it| UnboundKey::new(it, &cipher_part[..cipher.key_len()]).ok())
            .expect("an AEAD's key of its length");
        let mut implicit_iv = [0; IMPLICIT_IV_LEN];
        implicit_iv.copy_from_slice(&hmac_part[..IMPLICIT_IV_LEN]);
        Self {
            key: LessSafeKey::new(key),
            implicit_iv,
            usage: 0,
            usage_max: cipher.usage_max(),
        }
    }

    /// Writes what stands before a ciphertext of so many bytes, and has `seal` do the rest.
    fn seal_with(
        &mut self,
        last_id: &mut u32,
        header: DataHeader,
        plaintext: usize,
        out: &mut [u8],
        seal: impl FnOnce(&Self, Nonce, &[u8], Place<'_>) -> Result<(), Unspecified>,
    ) -> Result<usize, SealError> {
        if plaintext == 0 {
            return Err(SealError::Empty);
        }
        let clear_len = header.len() + ID_LEN;
        let length = aead_len(header, plaintext);
        let out = out.get_mut(..length).ok_or(SealError::TooSmall)?;
        let usage = self.usage_after(plaintext);
        let id = match last_id.checked_add(1) {
            Some(id) if usage <= self.usage_max => id,
            _ => return Err(SealError::Exhausted),
        };
        let id_bytes = id.to_be_bytes();
        let nonce = self.nonce(id_bytes);
        let clear = clear_part(header, id_bytes);

        // All of it whatever the header: the tag follows, over what a short one leaves behind.
        *out.first_chunk_mut().ok_or(SealError::TooSmall)? = clear;
        let (tag, ciphertext) = out
            .get_mut(clear_len..)
            .and_then(|rest| rest.split_at_mut_checked(TAG_LEN))
            .ok_or(SealError::TooSmall)?;
        let clear = clear.get(..clear_len).unwrap_or_default();
        let aad = associated_data(header, clear);
        // It refuses only lengths, which are right here, and plaintexts of gigabytes.
        seal(self, nonce, aad, Place { ciphertext, tag }).map_err(|_| SealError::Exhausted)?;
        *last_id = id;
        self.usage = usage;
        Ok(length)
    }

    /// Seals `plaintext` into `ciphertext`, which is as long, and `tag`.
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), Unspecified> {
        if NULL_CIPHER {
            ciphertext.copy_from_slice(plaintext);
            tag.fill(0);
            return Ok(());
        }
        self.key
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], tag)
    }

    /// Seals what stands in `bytes` to where it is, and into `tag`.
    fn seal_in_place(
        &self,
        nonce: Nonce,
        aad: &[u8],
        bytes: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), Unspecified> {
        if NULL_CIPHER {
            tag.fill(0);
            return Ok(());
        }
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), bytes)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Opens `ciphertext` into `plaintext`, which is as long.
    fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), Unspecified> {
        if NULL_CIPHER {
            plaintext.copy_from_slice(ciphertext);
            return Ok(());
        }
        self.key
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext)
    }

    fn nonce(&self, id: [u8; ID_LEN]) -> Nonce {
        let mut nonce = [0; ID_LEN + IMPLICIT_IV_LEN];
        nonce[..ID_LEN].copy_from_slice(&id);
        nonce[ID_LEN..].copy_from_slice(&self.implicit_iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Packets and blocks so far, and those of another packet.
    const fn usage_after(&self, length: usize) -> u64 {
        self.usage.saturating_add(1 + length.div_ceil(BLOCK) as u64)
    }

    const fn near_limit(&self) -> bool {
        self.usage >= self.usage_max / 8 * 7
    }
}

impl std::fmt::Debug for SealKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SealKey")
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OpenKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenKey")
            .field("highest", &self.window.highest())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

const fn aead_len(header: DataHeader, plaintext: usize) -> usize {
    header.len() + ID_LEN + TAG_LEN + plaintext
}

/// What stands before the tag, with nothing behind the id of a DATA_V1 packet. Of one size, so that it is
/// written at once.
const fn clear_part(header: DataHeader, [a, b, c, d]: [u8; ID_LEN]) -> [u8; CLEAR_MAX] {
    let [first, high, middle, low] = header.to_bytes();
    match header {
        DataHeader::V1 { .. } => [first, a, b, c, d, 0, 0, 0],
        DataHeader::V2 { .. } => [first, high, middle, low, a, b, c, d],
    }
}

/// What the tag covers of the `clear` part: in DATA_V1 not the first byte.
fn associated_data(header: DataHeader, clear: &[u8]) -> &[u8] {
    match header {
        DataHeader::V1 { .. } => clear.get(1..).unwrap_or_default(),
        DataHeader::V2 { .. } => clear,
    }
}

/// Whether this build copies data packets instead of encrypting them, for `bench compare` to show what
/// the cipher costs. Never so unless asked for by the feature's name.
pub const NULL_CIPHER: bool = cfg!(feature = "bench-null-cipher");

const ID_LEN: usize = 4;
const CLEAR_MAX: usize = DataHeader::LEN_MAX + ID_LEN;
const TAG_LEN: usize = 16;
const IMPLICIT_IV_LEN: usize = 8;
const BLOCK: usize = 16;

#[cfg(test)]
mod tests;
