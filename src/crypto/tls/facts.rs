//! What scripts and other judges are told of a certificate.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::subject::{self, subject_text};

/// A certificate of a peer's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its subject, as OpenVPN prints it.
    pub subject: String,
    /// The fields of the subject in their order, by their short names (`CN`, `O`, `emailAddress`); the second
    /// of a name is `OU_1`.
    pub fields: Vec<(String, String)>,
    /// The serial number, in decimal.
    pub serial: String,
    /// The serial number, as bytes in hexadecimal with colons between them.
    pub serial_hex: String,
    /// SHA-1 over its DER, likewise.
    pub sha1: String,
    /// SHA-256 over its DER, likewise.
    pub sha256: String,
}

impl CertificateFacts {
    /// What stands in a certificate, `None` if it can't be read.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let serial = match parsed.raw_serial() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        Some(Self {
            subject: subject_text(&parsed),
            fields: subject::fields(&parsed),
            serial: parsed.serial.to_string(),
            serial_hex: colons(serial),
            sha1: colons(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref()),
            sha256: colons(digest(&SHA256, certificate).as_ref()),
        })
    }
}

fn colons(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
