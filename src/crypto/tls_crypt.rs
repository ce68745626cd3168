//! tls-crypt: every control packet encrypted and authenticated, with a synthetic initial value.
//!
//! Wire: wire.md section 2.3. `op SID | replay id, time | HMAC-SHA256 | AES-256-CTR(body)`, where the
//! HMAC covers what stands before it and the plaintext, and its first half starts the counter.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};

use super::static_key::KeyHalf;
use super::tls_auth::hmac;
use super::wrapping::{ReplayStamp, WrapError, WrapKind};
use super::{Digest, KeyDirection, Role, StaticKey, TlsCryptV2ClientKey};
use crate::wire::{ControlHeader, Malformed};

/// The keys of both directions.
#[derive(Debug)]
pub struct TlsCrypt {
    send: DirectionKeys,
    receive: DirectionKeys,
    /// A tls-crypt-v2 client's copy of the key for its server.
    sealed_key: Option<Box<[u8]>>,
}

impl TlsCrypt {
    /// Bytes that stand before the body.
    pub(super) const OVERHEAD: usize = CLEAR_LEN + TAG_LEN;

    pub(super) fn new(key: &StaticKey, role: Role) -> Self {
        let direction = KeyDirection::of(role);
        Self {
            send: DirectionKeys::new(key.half(direction.sends())),
            receive: DirectionKeys::new(key.half(direction.receives())),
            sealed_key: None,
        }
    }

    pub(super) fn of_client(key: &TlsCryptV2ClientKey) -> Self {
        Self {
            sealed_key: Some(key.sealed().into()),
            ..Self::new(key.key(), Role::Client)
        }
    }

    pub(super) fn sealed_key(&self) -> Option<&[u8]> {
        self.sealed_key.as_deref()
    }

    pub(super) fn seal(
        &self,
        stamp: ReplayStamp,
        header: [u8; ControlHeader::LEN],
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let stamp = stamp.to_bytes();
        let tag = hmac(&self.send.hmac, &[&header, &stamp, body]);
        out.extend_from_slice(&header);
        out.extend_from_slice(&stamp);
        out.extend_from_slice(tag.as_ref());
        let start = out.len();
        out.extend_from_slice(body);
        self.send.apply_counter(tag.as_ref(), &mut out[start..]);
    }

    /// The stamp and the body of a datagram, which is decrypted in place. If it is refused, what was
    /// decrypted is overwritten with zeros.
    pub(super) fn open<'a>(
        &self,
        datagram: &'a mut [u8],
    ) -> Result<(ReplayStamp, &'a [u8]), WrapError> {
        let (clear, rest) = datagram
            .split_at_mut_checked(CLEAR_LEN)
            .ok_or(Malformed::Truncated)?;
        let (tag, body) = rest
            .split_at_mut_checked(TAG_LEN)
            .ok_or(Malformed::Truncated)?;
        let stamp = *clear.last_chunk().ok_or(Malformed::Truncated)?;
        self.receive.apply_counter(tag, body);
        let expected = hmac(&self.receive.hmac, &[clear, body]);
        if constant_time::verify_slices_are_equal(expected.as_ref(), tag).is_err() {
            body.fill(0);
            return Err(WrapError::Authentication(WrapKind::TlsCrypt));
        }
        Ok((ReplayStamp::from_bytes(stamp), body))
    }
}

/// Encryption and authentication of one direction.
#[derive(Debug)]
pub(super) struct DirectionKeys {
    cipher: EncryptingKey,
    pub(super) hmac: hmac::Key,
}

impl DirectionKeys {
    pub(super) fn new(half: KeyHalf<'_>) -> Self {
        // The key's length is the cipher's, and nothing else can be wrong with it.
        #[allow(clippy::expect_used)]
        let cipher = UnboundCipherKey::new(&AES_256, &half.cipher[..CIPHER_KEY_LEN])
            .and_then(EncryptingKey::ctr)
            .expect("a key of the cipher's length");
        Self {
            cipher,
            hmac: Digest::Sha256.hmac_key(half.hmac),
        }
    }

    /// Encrypts or decrypts `data`: in counter mode that is the same.
    pub(super) fn apply_counter(&self, tag: &[u8], data: &mut [u8]) {
        let mut initial = [0; 16];
        initial.copy_from_slice(&tag[..16]);
        let context = EncryptionContext::Iv128(FixedLength::from(initial));
        // Counter mode takes data of any length, and the context is the one that it asks for.
        #[allow(clippy::expect_used)]
        self.cipher
            .less_safe_encrypt(data, context)
            .expect("counter mode with a counter");
    }
}

const CIPHER_KEY_LEN: usize = 32;
const CLEAR_LEN: usize = ControlHeader::LEN + ReplayStamp::LEN;
pub(super) const TAG_LEN: usize = 32;
