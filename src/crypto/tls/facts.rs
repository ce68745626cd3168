//! What scripts and other judges are told of a certificate.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::objects::{oid_registry, oid2abbrev, oid2sn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::{printable, subject_text};
use crate::limits::COMMON_NAME_MAX;

/// A certificate of a peer's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its subject, as OpenVPN prints it.
    pub subject: String,
    /// The fields of the subject in their order, by their short names (`CN`, `O`, `emailAddress`).
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
        let field = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let kind = attribute.attr_type();
            let name = oid2abbrev(kind, oid_registry()).or_else(|_| oid2sn(kind, oid_registry()));
            let value = printable(attribute.as_str().ok()?, FIELD_MAX);
            Some((name.ok()?.to_owned(), value))
        };
        let serial = match parsed.raw_serial() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        Some(Self {
            subject: subject_text(&parsed),
            fields: parsed
                .subject()
                .iter_attributes()
                .filter_map(field)
                .collect(),
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

/// One field of a subject.
const FIELD_MAX: usize = 4 * COMMON_NAME_MAX;
