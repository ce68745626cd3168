//! The ciphers of the data channel that are implemented.

use aws_lc_rs::aead;

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
}

impl DataCipher {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Aes256Gcm,
        Self::Aes192Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
    ];

    /// Those that are offered if none are named, in the order of preference of stock servers.
    pub const USUAL: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The cipher with this name, in any case.
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
        }
    }

    /// Bytes of a key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
            Self::Aes192Gcm => 24,
            Self::Aes128Gcm => 16,
        }
    }

    /// Packets and blocks that one key may protect.
    pub(super) const fn usage_max(self) -> u64 {
        match self {
            Self::Aes256Gcm | Self::Aes192Gcm | Self::Aes128Gcm => GCM_USAGE_MAX,
            Self::ChaCha20Poly1305 => u64::MAX,
        }
    }

    pub(super) const fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::Aes192Gcm => &aead::AES_192_GCM,
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
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
            ("AES-192-CBC", None),
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
                assert_eq!(cipher.algorithm().key_len(), cipher.key_len());
            }
        }
    }
}
