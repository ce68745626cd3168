//! tls-crypt-v2: a tls-crypt key for each client, which the server learns from the client itself.
//!
//! Wire: wire.md section 2.5. A client has a key and a sealed copy of it, which only the server's key
//! opens. It sends the copy along with its first packets; so a server of thousands of clients keeps
//! one key, and the theft of a client's key opens nobody else's packets.

use aws_lc_rs::constant_time;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::pem::{self, KeyFileError};
use super::static_key::KeyHalf;
use super::tls_auth::hmac;
use super::tls_crypt::{DirectionKeys, TAG_LEN};
use super::{StaticKey, WrapError, WrapKind};
use crate::limits::{WRAPPED_KEY_MAX, WRAPPED_KEY_MIN};
use crate::random::Random;
use crate::wire::Malformed;

/// The key of a server, with which it opens the keys of its clients.
pub struct TlsCryptV2ServerKey {
    bytes: Box<Zeroizing<[u8; TlsCryptV2ServerKey::LEN]>>,
    keys: DirectionKeys,
}

impl TlsCryptV2ServerKey {
    /// Bytes of a key.
    pub const LEN: usize = 128;

    /// The key with these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (cipher, hmac) = bytes.split_at(Self::LEN / 2);
        Self {
            keys: DirectionKeys::new(KeyHalf { cipher, hmac }),
            bytes: Box::new(Zeroizing::new(*bytes)),
        }
    }

    /// A new random key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        random.fill(bytes.as_mut_slice());
        Self::from_bytes(&bytes)
    }

    /// The key in the text of a key file or of an inline block.
    ///
    /// # Errors
    /// Which part of the text is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = pem::parse(text, SERVER_LABEL)?;
        let key = <&[u8; Self::LEN]>::try_from(bytes.as_slice());
        key.map(Self::from_bytes)
            .map_err(|_| KeyFileError::Length(bytes.len()))
    }

    /// The text of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        pem::emit(SERVER_LABEL, self.bytes.as_slice())
    }

    /// The sealed copy of a client's key, with what shall be known of it.
    ///
    /// # Errors
    /// The metadata has more bytes than a sealed key has room for.
    pub fn seal(&self, key: &StaticKey, metadata: &Metadata) -> Result<Vec<u8>, MetadataTooLong> {
        let metadata = metadata.to_bytes();
        let length = WRAPPED_KEY_MIN + metadata.len();
        if length > WRAPPED_KEY_MAX {
            return Err(MetadataTooLong(metadata.len() - 1));
        }
        // Not above the bound, which has two bytes.
        let length_field = (length as u16).to_be_bytes();
        let tag = hmac(&self.keys.hmac, &[&length_field, key.as_bytes(), &metadata]);
        // Reserved at once: growing would leave copies of the key behind.
        let mut sealed = Vec::with_capacity(length);
        sealed.extend_from_slice(tag.as_ref());
        sealed.extend_from_slice(key.as_bytes());
        sealed.extend_from_slice(&metadata);
        self.keys
            .apply_counter(tag.as_ref(), &mut sealed[TAG_LEN..]);
        sealed.extend_from_slice(&length_field);
        Ok(sealed)
    }

    /// Opens the sealed copy that a client sent, whole from its tag to its length.
    ///
    /// # Errors
    /// [`WrapError::Authentication`] if it was not made with this key, [`WrapError::Malformed`] if
    /// it can't be a sealed key at all.
    pub fn open(&self, sealed: &[u8]) -> Result<OpenedKey, WrapError> {
        if !(WRAPPED_KEY_MIN..=WRAPPED_KEY_MAX).contains(&sealed.len()) {
            return Err(Malformed::Length.into());
        }
        let (rest, length_field) = sealed.split_last_chunk::<2>().ok_or(Malformed::Truncated)?;
        if usize::from(u16::from_be_bytes(*length_field)) != sealed.len() {
            return Err(Malformed::Length.into());
        }
        let (tag, ciphertext) = rest.split_at_checked(TAG_LEN).ok_or(Malformed::Truncated)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        self.keys.apply_counter(tag, &mut plain);
        let expected = hmac(&self.keys.hmac, &[length_field, &plain]);
        constant_time::verify_slices_are_equal(expected.as_ref(), tag)
            .map_err(|_| WrapError::Authentication(WrapKind::TlsCryptV2))?;
        let (key, metadata) = plain.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(OpenedKey {
            key: StaticKey::from_bytes(key),
            metadata: Metadata::parse(metadata),
        })
    }
}

/// In constant time.
impl PartialEq for TlsCryptV2ServerKey {
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (self.bytes.as_slice(), other.bytes.as_slice());
        constant_time::verify_slices_are_equal(own, other).is_ok()
    }
}

impl Eq for TlsCryptV2ServerKey {}

impl std::fmt::Debug for TlsCryptV2ServerKey {
    /// Without the bytes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsCryptV2ServerKey")
    }
}

/// A client's key as its server sees it.
#[derive(Debug)]
pub struct OpenedKey {
    /// For the wrapping of all its packets.
    pub key: StaticKey,
    /// What was said of the key when it was made.
    pub metadata: Metadata,
}

/// The key of a client: what its file holds.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TlsCryptV2ClientKey {
    key: StaticKey,
    sealed: Box<[u8]>,
}

impl TlsCryptV2ClientKey {
    /// A new random key, sealed for the server with this key.
    ///
    /// # Errors
    /// As of [`TlsCryptV2ServerKey::seal`].
    pub fn generate(
        server: &TlsCryptV2ServerKey,
        metadata: &Metadata,
        random: &mut dyn Random,
    ) -> Result<Self, MetadataTooLong> {
        let key = StaticKey::generate(random);
        let sealed = server.seal(&key, metadata)?.into_boxed_slice();
        Ok(Self { key, sealed })
    }

    /// The key in the text of a key file or of an inline block. Its sealed part is the server's
    /// affair; only its length is looked at.
    ///
    /// # Errors
    /// Which part of the text is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = pem::parse(text, CLIENT_LABEL)?;
        let length = || KeyFileError::Length(bytes.len());
        let (key, sealed) = bytes.split_first_chunk().ok_or_else(length)?;
        if sealed.is_empty() || sealed.len() > WRAPPED_KEY_MAX {
            return Err(length());
        }
        Ok(Self {
            key: StaticKey::from_bytes(key),
            sealed: sealed.into(),
        })
    }

    /// The text of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(StaticKey::LEN + self.sealed.len()));
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.sealed);
        pem::emit(CLIENT_LABEL, &bytes)
    }

    /// The key itself.
    pub const fn key(&self) -> &StaticKey {
        &self.key
    }

    /// Its sealed copy, to be sent as it is.
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }
}

impl std::fmt::Debug for TlsCryptV2ClientKey {
    /// Without the bytes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsCryptV2ClientKey")
    }
}

/// What is said of a client's key, inside its sealed copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// Free form: what the administrator wrote.
    User(Vec<u8>),
    /// When the key was made, in Unix seconds.
    Timestamp(u64),
    /// Nothing, or something that we do not know.
    Unknown(Vec<u8>),
}

impl Metadata {
    /// The most bytes of a [`Metadata::User`].
    pub const USER_MAX: usize = WRAPPED_KEY_MAX - WRAPPED_KEY_MIN - 1;

    fn parse(bytes: &[u8]) -> Self {
        match bytes {
            [USER, text @ ..] => Self::User(text.to_vec()),
            [TIMESTAMP, time @ ..] => match <[u8; 8]>::try_from(time) {
                Ok(time) => Self::Timestamp(u64::from_be_bytes(time)),
                Err(_) => Self::Unknown(bytes.to_vec()),
            },
            _ => Self::Unknown(bytes.to_vec()),
        }
    }

    /// As it stands in a sealed key: its kind, a byte, and what is said.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::User(text) => [&[USER], text.as_slice()].concat(),
            Self::Timestamp(time) => [&[TIMESTAMP], time.to_be_bytes().as_slice()].concat(),
            Self::Unknown(bytes) => bytes.clone(),
        }
    }
}

/// Metadata that has no room in a sealed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata too long ({0} bytes, max {max} bytes)", max = Metadata::USER_MAX)]
pub struct MetadataTooLong(usize);

const SERVER_LABEL: &str = "OpenVPN tls-crypt-v2 server key";
const CLIENT_LABEL: &str = "OpenVPN tls-crypt-v2 client key";

// The first byte of metadata.
const USER: u8 = 0;
const TIMESTAMP: u8 = 1;

#[cfg(test)]
mod tests;
