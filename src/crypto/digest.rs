//! The digests of `--auth`, which tls-auth uses as HMACs.

use aws_lc_rs::hmac;

/// A digest that can be configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Digest {
    /// The default of the protocol.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// The digest with this name, such as `SHA256`, `sha256` or `RSA-SHA256`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name.split_at_checked(RSA.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(RSA) => rest,
            _ => name,
        };
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|digest| digest.name().eq_ignore_ascii_case(name))
    }

    /// The name as in an options string.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// Bytes of the digest, of its HMAC and of the HMAC's key.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// An HMAC key of the first [`output_len`](Self::output_len) bytes of `key`, which has 64.
    pub(super) fn hmac_key(self, key: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, &key[..self.output_len()])
    }
}

const RSA: &str = "RSA-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::{hex, unhex};

    #[test]
    fn names_and_their_lengths() {
        for (name, digest) in [
            ("SHA1", Some((Digest::Sha1, 20))),
            ("sha256", Some((Digest::Sha256, 32))),
            ("RSA-SHA384", Some((Digest::Sha384, 48))),
            ("rsa-Sha512", Some((Digest::Sha512, 64))),
            ("SHA3-256", None),
            ("RSA-", None),
            ("", None),
            ("\u{e4}\u{e4}\u{e4}", None),
        ] {
            let found = Digest::from_name(name);
            assert_eq!(
                found.map(|digest| (digest, digest.output_len())),
                digest,
                "{name}"
            );
        }
    }

    #[test]
    fn rfc_4231_hmacs_with_a_key_of_the_digests_length() {
        // Of a key longer than its part, as in a static key, only the digest's length counts; test
        // cases with shorter keys are padded by HMAC itself with the zeros that stand here.
        let mut key = [0; 64];
        key[..20].fill(0x0b);
        for (digest, wanted) in [
            (Digest::Sha1, "b617318655057264e28bc0b6fb378c8ef146be00"),
            (
                Digest::Sha256,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                Digest::Sha384,
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c\
                 faea9ea9076ede7f4af152e8b2fa9cb6",
            ),
            (
                Digest::Sha512,
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ),
        ] {
            let tag = hmac::sign(&digest.hmac_key(&key), b"Hi There");
            assert_eq!(hex(tag.as_ref()), wanted);
            // What stands behind the digest's length does not matter.
            let mut longer: [u8; 64] = unhex(&hex(&key));
            longer[digest.output_len()..].fill(0xff);
            let tag = hmac::sign(&digest.hmac_key(&longer), b"Hi There");
            assert_eq!(hex(tag.as_ref()), wanted);
        }
    }
}
