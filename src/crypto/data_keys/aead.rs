//! An AEAD key of one direction, and the two layouts of what it seals.
//!
//! Wire: wire.md sections 8.1 and 8.2. Both begin with header and packet id; the classic one goes on with
//! the tag, the one with epochs ends with it.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

use super::{Arrivals, NULL_CIPHER, OpenError, SealError};
use crate::crypto::DataCipher;
use crate::time::Monotonic;
use crate::wire::DataHeader;

/// Cipher key and vector of one direction, and how much they were used.
pub(super) struct AeadKey {
    key: LessSafeKey,
    iv: [u8; IV_LEN],
    /// Packets and blocks so far.
    pub(super) usage: u64,
    pub(super) usage_max: u64,
}

impl AeadKey {
    /// `key` has the length of the cipher's keys.
    pub(super) fn new(cipher: DataCipher, key: &[u8], iv: [u8; IV_LEN]) -> Self {
        // The key's length is the cipher's, and nothing else can be wrong with it.
        #[allow(clippy::expect_used)]
        let key = cipher
            .algorithm()
            .and_then(|it| UnboundKey::new(it, key).ok())
            .expect("an AEAD's key of its length");
        Self {
            key: LessSafeKey::new(key),
            iv,
            usage: 0,
            usage_max: cipher.usage_max(),
        }
    }

    /// Writes what stands around a ciphertext of so many bytes, and has `seal` do the rest. Whether the id
    /// is new and the key may be used on, the caller has seen.
    pub(super) fn seal_with(
        &mut self,
        layout: Layout,
        header: DataHeader,
        id: PacketId,
        plaintext: usize,
        out: &mut [u8],
        seal: impl FnOnce(&Self, Nonce, &[u8], Place<'_>) -> Result<(), Unspecified>,
    ) -> Result<usize, SealError> {
        let clear_len = header.len() + layout.id_len();
        let length = layout.sealed_len(header, plaintext);
        let out = out.get_mut(..length).ok_or(SealError::TooSmall)?;
        let nonce = self.nonce(id);
        let clear = clear_part(header, id);
        // All of it whatever the header and the layout: the others follow, over what short ones leave behind.
        *out.first_chunk_mut().ok_or(SealError::TooSmall)? = clear;
        let rest = out.get_mut(clear_len..).ok_or(SealError::TooSmall)?;
        let (first, second) = rest
            .split_at_mut_checked(match layout {
                Layout::Classic => TAG_LEN,
                Layout::Epoch => plaintext,
            })
            .ok_or(SealError::TooSmall)?;
        let (tag, ciphertext) = match layout {
            Layout::Classic => (first, second),
            Layout::Epoch => (second, first),
        };
        let clear = clear.get(..clear_len).unwrap_or_default();
        let aad = associated_data(header, clear);
        // It refuses only lengths, which are right here, and plaintexts of gigabytes.
        seal(self, nonce, aad, Place { ciphertext, tag }).map_err(|_| SealError::Exhausted)?;
        self.usage = self.usage_after(plaintext);
        Ok(length)
    }

    /// Seals `plaintext` into `ciphertext`, which is as long, and `tag`.
    pub(super) fn seal(
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
    pub(super) fn seal_in_place(
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

    /// Opens a packet to the start of `out`, if it has not come before; gives the length.
    pub(super) fn open(
        &mut self,
        arrivals: &mut Arrivals,
        packet: &Sealed<'_>,
        now: Monotonic,
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        arrivals.check_usable()?;
        let replay = OpenError::Replay {
            packet_id: packet.number,
        };
        let window = &mut arrivals.window;
        window.check_not_old(packet.number).map_err(|_| replay)?;
        let plaintext = out
            .get_mut(..packet.ciphertext.len())
            .ok_or(OpenError::TooSmall)?;
        if self.decrypt(packet, plaintext).is_err() {
            arrivals.failed += 1;
            return Err(OpenError::Authentication);
        }
        window
            .check_and_mark(packet.number, now)
            .map_err(|_| replay)?;
        self.usage = self.usage_after(packet.ciphertext.len());
        Ok(packet.ciphertext.len())
    }

    /// Writes the ciphertext's content to `plaintext`, which is as long.
    fn decrypt(&self, packet: &Sealed<'_>, plaintext: &mut [u8]) -> Result<(), Unspecified> {
        if NULL_CIPHER {
            plaintext.copy_from_slice(packet.ciphertext);
            return Ok(());
        }
        let nonce = self.nonce(packet.id);
        let aad = Aad::from(packet.aad);
        self.key
            .open_separate_gather(nonce, aad, packet.ciphertext, packet.tag, plaintext)
    }

    /// The packet id over the beginning of the vector. Where the classic id stands the vector has zeros.
    fn nonce(&self, id: PacketId) -> Nonce {
        let mut nonce = self.iv;
        for (byte, id) in nonce.iter_mut().zip(id) {
            *byte ^= id;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Packets and blocks so far, and those of another packet.
    pub(super) const fn usage_after(&self, length: usize) -> u64 {
        self.usage.saturating_add(1 + length.div_ceil(BLOCK) as u64)
    }

    /// Whether the key may seal a payload of so many bytes.
    pub(super) const fn may_seal(&self, length: usize) -> bool {
        self.usage_after(length) <= self.usage_max
    }

    pub(super) const fn near_limit(&self) -> bool {
        self.usage >= self.usage_max / 8 * 7
    }
}

/// What stands where in a sealed packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A packet id of 32 bits; the tag stands before the ciphertext.
    Classic,
    /// An epoch of 16 bits and a counter of 48; the tag stands at the end.
    Epoch,
}

impl Layout {
    const fn id_len(self) -> usize {
        match self {
            Self::Classic => CLASSIC_ID_LEN,
            Self::Epoch => EPOCH_ID_LEN,
        }
    }

    /// Bytes that a packet has beside its ciphertext.
    pub(super) const fn overhead(self, header: DataHeader) -> usize {
        header.len() + self.id_len() + TAG_LEN
    }

    /// Bytes of the packet that a plaintext of so many bytes becomes.
    pub(super) const fn sealed_len(self, header: DataHeader, plaintext: usize) -> usize {
        self.overhead(header) + plaintext
    }
}

/// A packet id as it stands in the packet: the classic one in the first four bytes.
pub(super) type PacketId = [u8; EPOCH_ID_LEN];

/// A classic packet id.
pub(super) const fn classic_id(id: u32) -> PacketId {
    ((id as u64) << 32).to_be_bytes()
}

/// Where the two parts of what is sealed go.
pub(super) struct Place<'a> {
    pub(super) ciphertext: &'a mut [u8],
    pub(super) tag: &'a mut [u8],
}

/// A packet in its parts, none of which was looked at yet.
pub(super) struct Sealed<'a> {
    pub(super) id: PacketId,
    /// The id as a number: of the packet under its key.
    pub(super) number: u64,
    aad: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub(super) fn parse(
        layout: Layout,
        header: DataHeader,
        datagram: &'a [u8],
    ) -> Result<Self, OpenError> {
        let (clear, rest) = datagram
            .split_at_checked(header.len() + layout.id_len())
            .ok_or(OpenError::Malformed)?;
        let (id, number, parts) = match layout {
            Layout::Classic => {
                let id = clear.last_chunk().ok_or(OpenError::Malformed)?;
                let id = u32::from_be_bytes(*id);
                (classic_id(id), id.into(), rest.split_at_checked(TAG_LEN))
            }
            Layout::Epoch => {
                let id = *clear.last_chunk().ok_or(OpenError::Malformed)?;
                let ciphertext = rest.len().checked_sub(TAG_LEN);
                let parts = ciphertext.and_then(|length| rest.split_at_checked(length));
                let parts = parts.map(|(ciphertext, tag)| (tag, ciphertext));
                (id, u64::from_be_bytes(id) & COUNTER_MAX, parts)
            }
        };
        let (tag, ciphertext) = parts
            .filter(|(_, ciphertext)| !ciphertext.is_empty())
            .ok_or(OpenError::Malformed)?;
        let aad = associated_data(header, clear);
        Ok(Self {
            id,
            number,
            aad,
            ciphertext,
            tag,
        })
    }
}

/// What stands before the rest, with nothing behind what is shorter. Of one size, so that it is written
/// at once.
const fn clear_part(header: DataHeader, [a, b, c, d, e, f, g, h]: PacketId) -> [u8; CLEAR_MAX] {
    let [first, high, middle, low] = header.to_bytes();
    match header {
        DataHeader::V1 { .. } => [first, a, b, c, d, e, f, g, h, 0, 0, 0],
        DataHeader::V2 { .. } => [first, high, middle, low, a, b, c, d, e, f, g, h],
    }
}

/// What the tag covers of the `clear` part: in DATA_V1 not the first byte.
fn associated_data(header: DataHeader, clear: &[u8]) -> &[u8] {
    match header {
        DataHeader::V1 { .. } => clear.get(1..).unwrap_or_default(),
        DataHeader::V2 { .. } => clear,
    }
}

pub(super) const IV_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;
pub(super) const CLASSIC_ID_LEN: usize = 4;
/// The highest number of a packet in its epoch.
pub(super) const COUNTER_MAX: u64 = (1 << 48) - 1;
const EPOCH_ID_LEN: usize = 8;
const CLEAR_MAX: usize = DataHeader::LEN_MAX + EPOCH_ID_LEN;
const BLOCK: usize = 16;
