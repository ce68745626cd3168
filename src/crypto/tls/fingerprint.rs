//! Certificates known by their digest, the peer's own or that of who has signed it.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;

/// The authorities of which one must have signed the peer's certificate itself (`verify-hash`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerHashes {
    /// By SHA-1.
    Sha1(BTreeSet<[u8; 20]>),
    /// By SHA-256.
    Sha256(BTreeSet<[u8; 32]>),
}

impl IssuerHashes {
    /// Whether a certificate is one of them; if not, its own fingerprint.
    pub(super) fn check(&self, certificate: Option<&CertificateDer<'_>>) -> Result<(), String> {
        let bytes = certificate.map_or(&[][..], |it| it.as_ref());
        match self {
            Self::Sha1(known) => among(known, bytes, &SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha256(known) => among(known, bytes, &SHA256),
        }
    }
}

fn among<const N: usize>(
    known: &BTreeSet<[u8; N]>,
    certificate: &[u8],
    algorithm: &'static Algorithm,
) -> Result<(), String> {
    let digest = hash(certificate, algorithm);
    match known.contains(&digest) {
        true => Ok(()),
        false => Err(Fingerprint(digest).to_string()),
    }
}

/// SHA-256 of a certificate.
pub(super) fn fingerprint_of(certificate: &CertificateDer<'_>) -> [u8; 32] {
    hash(certificate, &SHA256)
}

fn hash<const N: usize>(certificate: &[u8], algorithm: &'static Algorithm) -> [u8; N] {
    let mut fingerprint = [0; N];
    fingerprint.copy_from_slice(digest(algorithm, certificate).as_ref());
    fingerprint
}

/// A fingerprint as it is written, `ab:cd:...`.
pub(super) struct Fingerprint<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> fmt::Display for Fingerprint<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(formatter, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}
