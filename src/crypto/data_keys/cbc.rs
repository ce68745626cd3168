//! The older format of data packets: AES-CBC with an HMAC in front.
//!
//! Wire: wire.md section 8.3. Header, HMAC over all that follows, initialisation vector, ciphertext;
//! the packet id is the beginning of the plaintext. A packet that is not authentic is not decrypted.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::aead::CLASSIC_ID_LEN as ID_LEN;
use super::{OpenError, SealError};
use crate::crypto::DataCipher;
use crate::crypto::Digest;
use crate::wire::DataHeader;

/// Seals in one direction.
pub(super) struct CbcSeal {
    cipher: EncryptingKey,
    /// Makes of a packet id a vector that nobody can guess.
    vectors: EncryptingKey,
    hmac: hmac::Key,
    mac_len: usize,
}

/// Opens in the other.
pub(super) struct CbcOpen {
    cipher: DecryptingKey,
    hmac: hmac::Key,
    mac_len: usize,
}

impl CbcSeal {
    /// `half` has 128 bytes: the cipher key is in the first 64, the HMAC key in the others. Of the first,
    /// those behind the cipher key are no key of the protocol, and secret: they make the vectors.
    pub(super) fn new(cipher: DataCipher, digest: Digest, half: &[u8]) -> Self {
        let (cipher_part, hmac_part) = half.split_at(half.len() / 2);
        let (key, rest) = cipher_part.split_at(cipher.key_len());
        // The keys' lengths are the ciphers', and nothing else can be wrong with them.
        #[allow(clippy::expect_used)]
        let made = unbound(algorithm(cipher), key)
            .and_then(EncryptingKey::cbc)
            .and_then(|sealing| {
                let vectors = rest.get(..AES_256_KEY).unwrap_or_default();
                let vectors = unbound(&AES_256, vectors).and_then(EncryptingKey::ecb)?;
                Ok((sealing, vectors))
            });
        #[allow(clippy::expect_used)]
        let (cipher, vectors) = made.expect("keys of the ciphers' lengths");
        Self {
            cipher,
            vectors,
            hmac: digest.hmac_key(hmac_part),
            mac_len: digest.output_len(),
        }
    }

    /// Bytes before the ciphertext, without the header.
    pub(super) const fn clear_len(&self) -> usize {
        self.mac_len + BLOCK
    }

    /// Bytes of the datagram that a plaintext of so many bytes becomes.
    pub(super) const fn sealed_len(&self, header: DataHeader, plaintext: usize) -> usize {
        header.len() + self.clear_len() + padded(ID_LEN + plaintext)
    }

    /// Writes a datagram with the parts of a plaintext to the start of `out`; gives its length.
    pub(super) fn seal(
        &self,
        header: DataHeader,
        id: u32,
        parts: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let plaintext = parts.iter().map(|part| part.len()).sum();
        let length = self.sealed_len(header, plaintext);
        let out = out.get_mut(..length).ok_or(SealError::TooSmall)?;
        let (clear, rest) = out
            .split_at_mut_checked(header.len())
            .ok_or(SealError::TooSmall)?;
        clear.copy_from_slice(header.to_bytes().get(..header.len()).unwrap_or_default());
        let (mac, covered) = rest
            .split_at_mut_checked(self.mac_len)
            .ok_or(SealError::TooSmall)?;
        let (vector, ciphertext) = covered
            .split_at_mut_checked(BLOCK)
            .ok_or(SealError::TooSmall)?;
        fill(ciphertext, id, parts)?;
        let made = self.vector(id)?;
        vector.copy_from_slice(&made);
        let context = EncryptionContext::Iv128(FixedLength::from(made));
        self.cipher
            .less_safe_encrypt(ciphertext, context)
            .map_err(|_| SealError::Exhausted)?;
        mac.copy_from_slice(hmac::sign(&self.hmac, covered).as_ref());
        Ok(length)
    }

    /// The packet id, encrypted with a key of its own: never twice the same, and not to be foreseen.
    fn vector(&self, id: u32) -> Result<[u8; BLOCK], SealError> {
        let mut block = [0; BLOCK];
        if let Some(start) = block.first_chunk_mut() {
            *start = id.to_be_bytes();
        }
        self.vectors
            .less_safe_encrypt(&mut block, EncryptionContext::None)
            .map_err(|_| SealError::Exhausted)?;
        Ok(block)
    }
}

impl CbcOpen {
    /// As of [`CbcSeal::new`].
    pub(super) fn new(cipher: DataCipher, digest: Digest, half: &[u8]) -> Self {
        let (cipher_part, hmac_part) = half.split_at(half.len() / 2);
        let key = cipher_part.get(..cipher.key_len()).unwrap_or_default();
        // The key's length is the cipher's, and nothing else can be wrong with it.
        #[allow(clippy::expect_used)]
        let made = unbound(algorithm(cipher), key)
            .and_then(DecryptingKey::cbc)
            .expect("a key of the cipher's length");
        Self {
            cipher: made,
            hmac: digest.hmac_key(hmac_part),
            mac_len: digest.output_len(),
        }
    }

    /// Writes the plaintext of `rest`, which is what follows the header, to the start of `out`; gives the
    /// packet id and the length. No key of the cipher touches what is not authentic.
    pub(super) fn open(&self, rest: &[u8], out: &mut [u8]) -> Result<(u32, usize), OpenError> {
        let (mac, covered) = rest
            .split_at_checked(self.mac_len)
            .ok_or(OpenError::Malformed)?;
        let (vector, ciphertext) = covered
            .split_first_chunk::<BLOCK>()
            .filter(|(_, ciphertext)| {
                !ciphertext.is_empty() && ciphertext.len().is_multiple_of(BLOCK)
            })
            .ok_or(OpenError::Malformed)?;
        let out = out.get_mut(..ciphertext.len()).ok_or(OpenError::TooSmall)?;
        // In constant time.
        hmac::verify(&self.hmac, covered, mac).map_err(|_| OpenError::Authentication)?;
        out.copy_from_slice(ciphertext);
        let context = DecryptionContext::Iv128(FixedLength::from(*vector));
        self.cipher
            .decrypt(out, context)
            .map_err(|_| OpenError::Malformed)?;
        // From here on only who has the keys can be wrong.
        let padding = usize::from(out.last().copied().unwrap_or_default());
        let length = ciphertext
            .len()
            .checked_sub(padding)
            .filter(|length| (1..=BLOCK).contains(&padding) && *length > ID_LEN)
            .ok_or(OpenError::Malformed)?;
        let id = out.first_chunk().ok_or(OpenError::Malformed)?;
        let id = u32::from_be_bytes(*id);
        out.copy_within(ID_LEN..length, 0);
        Ok((id, length - ID_LEN))
    }
}

/// The plaintext of a packet: its id, the parts, and as much padding as there is room.
fn fill(plaintext: &mut [u8], id: u32, parts: &[&[u8]]) -> Result<(), SealError> {
    let mut rest = plaintext;
    let id = id.to_be_bytes();
    for part in [&id[..]].iter().chain(parts) {
        let (start, end) = rest
            .split_at_mut_checked(part.len())
            .ok_or(SealError::TooSmall)?;
        start.copy_from_slice(part);
        rest = end;
    }
    let padding = u8::try_from(rest.len()).map_err(|_| SealError::TooSmall)?;
    rest.fill(padding);
    Ok(())
}

fn unbound(
    algorithm: &'static Algorithm,
    key: &[u8],
) -> Result<UnboundCipherKey, aws_lc_rs::error::Unspecified> {
    UnboundCipherKey::new(algorithm, key)
}

const fn algorithm(cipher: DataCipher) -> &'static Algorithm {
    match cipher.key_len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    }
}

/// With its padding, of which there is always some.
const fn padded(plaintext: usize) -> usize {
    (plaintext / BLOCK + 1) * BLOCK
}

pub(super) const BLOCK: usize = 16;
const AES_256_KEY: usize = 32;
