//! Key material of one generation, and its split into the keys of our side.
//!
//! Wire: wire.md section 7. Client to server stands first, which is the opposite of a static key's use.

use zeroize::Zeroizing;

use super::prf::{PrfInput, key_expansion, master_secret};
use super::{DataCipher, OpenError, OpenKey, Role, SealKey};
use crate::time::Monotonic;

/// What both sides derive keys from: two times 128 bytes, client to server first.
pub struct KeyMaterial(Box<Zeroizing<[u8; KeyMaterial::LEN]>>);

impl KeyMaterial {
    /// Bytes of key material.
    pub const LEN: usize = 256;

    /// Key material exported from TLS. Wire: wire.md section 7.1.
    ///
    /// # Errors
    /// [`ZeroKey`] if a cipher key would be all zero.
    pub fn from_exporter(exported: [u8; Self::LEN]) -> Result<Self, ZeroKey> {
        Self::checked(Zeroizing::new(exported))
    }

    /// Key material of the classic derivation. Wire: wire.md section 7.2.
    ///
    /// # Errors
    /// [`ZeroKey`] if a cipher key would be all zero.
    pub fn from_prf(input: &PrfInput<'_>) -> Result<Self, ZeroKey> {
        Self::checked(key_expansion(&master_secret(input), input))
    }

    /// Looks at the bytes that every cipher's key starts with.
    fn checked(bytes: Zeroizing<[u8; Self::LEN]>) -> Result<Self, ZeroKey> {
        let (to_server, to_client) = bytes.split_at(Self::LEN / 2);
        for half in [to_server, to_client] {
            if half.iter().take(KEY_LEN_MIN).all(|byte| *byte == 0) {
                return Err(ZeroKey);
            }
        }
        Ok(Self(Box::new(bytes)))
    }

    /// The keys of our side.
    pub fn split(&self, cipher: DataCipher, role: Role) -> DataKeys {
        let (seal, open) = self.halves(role);
        DataKeys {
            seal: SealKey::new(cipher, seal),
            open: OpenKey::new(cipher, open),
        }
    }

    /// The same, for the format whose keys are replaced epoch by epoch; the cipher is an AEAD.
    pub fn split_epochs(&self, cipher: DataCipher, role: Role) -> DataKeys {
        let (seal, open) = self.halves(role);
        DataKeys {
            seal: SealKey::with_epochs(cipher, seal),
            open: OpenKey::with_epochs(cipher, open),
        }
    }

    /// What our side seals with and what it opens with.
    fn halves(&self, role: Role) -> (&[u8], &[u8]) {
        let (to_server, to_client) = self.0.split_at(Self::LEN / 2);
        match role {
            Role::Server => (to_client, to_server),
            Role::Client => (to_server, to_client),
        }
    }
}

impl std::fmt::Debug for KeyMaterial {
    /// Without the bytes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeyMaterial")
    }
}

/// Key material with an all-zero cipher key, which every peer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the derived data key is all zero")]
pub struct ZeroKey;

/// The keys of one generation.
#[derive(Debug)]
pub struct DataKeys {
    /// For what we send.
    pub seal: SealKey,
    /// For what we receive.
    pub open: OpenKey,
}

impl DataKeys {
    /// Opens as [`OpenKey::open`] does. Where there are epochs, what is sealed goes on to the one that the
    /// other side is in: a key that it has left is not used on. Wire: wire.md section 8.2.
    ///
    /// # Errors
    /// As of [`OpenKey::open`].
    pub fn open_datagram(
        &mut self,
        now: Monotonic,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let opened = self.open.open(now, datagram, out);
        if let Some(epoch) = self.open.wanted_epoch() {
            self.seal.reach(epoch);
        }
        opened
    }
}

const KEY_LEN_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_zeros(range: std::ops::Range<usize>) -> Result<KeyMaterial, ZeroKey> {
        let mut bytes = [1; KeyMaterial::LEN];
        bytes[range].fill(0);
        KeyMaterial::from_exporter(bytes)
    }

    #[test]
    fn an_all_zero_cipher_key_is_refused() {
        for (range, refused) in [
            (0..0, false),
            (0..15, false),
            (1..128, false),
            (129..256, false),
            (64..128, false),
            (0..32, true),
            (0..16, true),
            (128..160, true),
            (0..256, true),
        ] {
            assert_eq!(with_zeros(range.clone()).is_err(), refused, "{range:?}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let material = KeyMaterial::from_exporter([0x5a; KeyMaterial::LEN]).unwrap();
        assert_eq!(format!("{material:?}"), "KeyMaterial");
        let keys = material.split(DataCipher::Aes256Gcm, Role::Server);
        let printed = format!("{keys:?}");
        assert!(
            printed.contains("last_id: 0") && !printed.contains("90"),
            "{printed}"
        );
    }
}
