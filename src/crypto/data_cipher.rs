//! The ciphers of the data channel that are implemented.

use aws_lc_rs::aead;

use super::Digest;
use crate::limits::GCM_USAGE_MAX;

/// A data cipher that is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataCipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// AES-192-GCM.
    Aes192Gcm,
    /// AES-128-GCM.
    Aes128Gcm,
    /// CHACHA20-POLY1305.
    ChaCha20Poly1305,
    /// AES-256-CBC with an HMAC of this digest.
    Aes256Cbc(Digest),
    /// AES-192-CBC with an HMAC of this digest.
    Aes192Cbc(Digest),
    /// AES-128-CBC with an HMAC of this digest.
    Aes128Cbc(Digest),
}

impl DataCipher {
    /// All of them; the older ones with the default digest.
    pub const ALL: [Self; 7] = [
        Self::Aes256Gcm,
        Self::Aes192Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes256Cbc(Digest::Sha1),
        Self::Aes192Cbc(Digest::Sha1),
        Self::Aes128Cbc(Digest::Sha1),
    ];

    /// Those that are offered if none are named, in the order of preference of stock servers.
    pub const USUAL: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The cipher with this name, in any case; an older one with the default digest.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name().eq_ignore_ascii_case(name))
    }

    /// The name as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Aes192Gcm => "AES-192-GCM",
            Self::Aes128Gcm => "AES-128-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
            Self::Aes256Cbc(_) => "AES-256-CBC",
            Self::Aes192Cbc(_) => "AES-192-CBC",
            Self::Aes128Cbc(_) => "AES-128-CBC",
        }
    }

    /// The digest that an older cipher needs beside it; `None` for one that authenticates by itself.
    pub const fn digest(self) -> Option<Digest> {
        match self {
            Self::Aes256Cbc(digest) | Self::Aes192Cbc(digest) | Self::Aes128Cbc(digest) => {
                Some(digest)
            }
            _ => None,
        }
    }

    /// With this digest, where it needs one.
    #[must_use]
    pub const fn with_digest(self, digest: Digest) -> Self {
        match self {
            Self::Aes256Cbc(_) => Self::Aes256Cbc(digest),
            Self::Aes192Cbc(_) => Self::Aes192Cbc(digest),
            Self::Aes128Cbc(_) => Self::Aes128Cbc(digest),
            other => other,
        }
    }

    /// Bytes of a key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes256Gcm | Self::ChaCha20Poly1305 | Self::Aes256Cbc(_) => 32,
            Self::Aes192Gcm | Self::Aes192Cbc(_) => 24,
            Self::Aes128Gcm | Self::Aes128Cbc(_) => 16,
        }
    }

    /// Packets and blocks that one key may protect.
    pub(super) const fn usage_max(self) -> u64 {
        match self {
            Self::Aes256Gcm | Self::Aes192Gcm | Self::Aes128Gcm => GCM_USAGE_MAX,
            Self::ChaCha20Poly1305
            | Self::Aes256Cbc(_)
            | Self::Aes192Cbc(_)
            | Self::Aes128Cbc(_) => u64::MAX,
        }
    }

    /// The AEAD; `None` for an older cipher.
    pub(super) const fn algorithm(self) -> Option<&'static aead::Algorithm> {
        match self {
            Self::Aes256Gcm => Some(&aead::AES_256_GCM),
            Self::Aes192Gcm => Some(&aead::AES_192_GCM),
            Self::Aes128Gcm => Some(&aead::AES_128_GCM),
            Self::ChaCha20Poly1305 => Some(&aead::CHACHA20_POLY1305),
            Self::Aes256Cbc(_) | Self::Aes192Cbc(_) | Self::Aes128Cbc(_) => None,
        }
    }
}

impl std::fmt::Display for DataCipher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case_and_key_lengths() {
        for (name, cipher) in [
            ("AES-256-GCM", Some((DataCipher::Aes256Gcm, 32))),
            ("aes-128-gcm", Some((DataCipher::Aes128Gcm, 16))),
            (
                "ChaCha20-Poly1305",
                Some((DataCipher::ChaCha20Poly1305, 32)),
            ),
            ("AES-192-GCM", Some((DataCipher::Aes192Gcm, 24))),
            (
                "aes-192-cbc",
                Some((DataCipher::Aes192Cbc(Digest::Sha1), 24)),
            ),
            ("BF-CBC", None),
            ("", None),
        ] {
            let found = DataCipher::from_name(name);
            assert_eq!(
                found.map(|cipher| (cipher, cipher.key_len())),
                cipher,
                "{name}"
            );
            if let Some(cipher) = found {
                assert_eq!(cipher.to_string(), name.to_ascii_uppercase());
                let key_len = cipher.algorithm().map(aead::Algorithm::key_len);
                let old = cipher.digest().is_some();
                assert_eq!(key_len, (!old).then_some(cipher.key_len()));
                let sha256 = cipher.with_digest(Digest::Sha256);
                assert_eq!(sha256.digest(), old.then_some(Digest::Sha256));
                assert_eq!(sha256.name(), cipher.name());
            }
        }
    }
}
