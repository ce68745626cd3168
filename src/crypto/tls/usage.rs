//! What a certificate must be for, as `remote-cert-ku` and `remote-cert-eku` ask.

use x509_parser::prelude::X509Certificate;

use super::RefusalReason;

/// What a peer's certificate must be for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRules {
    /// Sets of key usage bits of which the certificate must have one; `Some` of none asks for any key
    /// usage at all. The first bit of the extension is 0x80. Wire: as OpenVPN counts them.
    pub key: Option<Vec<u16>>,
    /// The extended key usage that it must have.
    pub extended: Option<ExtendedUsage>,
}

/// An extended key usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedUsage {
    /// As it was written.
    name: String,
    /// Its number, `1.3.6.1.5.5.7.3.2`.
    oid: String,
}

impl UsageRules {
    pub(super) fn check(&self, certificate: &X509Certificate<'_>) -> Result<(), RefusalReason> {
        if let Some(wanted) = &self.key {
            let Ok(Some(usage)) = certificate.key_usage() else {
                return Err(RefusalReason::KeyUsageMissing);
            };
            let found = counted(usage.value.flags);
            let fits = wanted.is_empty() || wanted.iter().any(|bits| found & bits == *bits);
            if !fits {
                let wanted = wanted.clone();
                return Err(RefusalReason::KeyUsage { found, wanted });
            }
        }
        match &self.extended {
            Some(wanted) if !wanted.is_in(certificate) => {
                Err(RefusalReason::ExtendedKeyUsage(wanted.name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl ExtendedUsage {
    /// A usage by its number, or by the names that OpenSSL has for it; `None` for other words.
    pub fn new(name: &str) -> Option<Self> {
        let known = NAMES
            .iter()
            .find(|(long, short, _)| [*long, *short].contains(&name));
        let numeric = name.contains('.')
            && name
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let oid = known
            .map(|(_, _, oid)| *oid)
            .or_else(|| numeric.then_some(name))?;
        Some(Self {
            name: name.to_owned(),
            oid: oid.to_owned(),
        })
    }

    fn is_in(&self, certificate: &X509Certificate<'_>) -> bool {
        let Some(usage) = certificate.extended_key_usage().ok().flatten() else {
            return false;
        };
        let usage = usage.value;
        match self.oid.as_str() {
            SERVER => usage.server_auth,
            CLIENT => usage.client_auth,
            CODE => usage.code_signing,
            EMAIL => usage.email_protection,
            TIME => usage.time_stamping,
            OCSP => usage.ocsp_signing,
            ANY => usage.any,
            other => usage.other.iter().any(|oid| oid.to_id_string() == other),
        }
    }
}

/// The bits of a key usage as OpenVPN counts them.
const fn counted(flags: u16) -> u16 {
    // The ninth bit stands before the others there.
    (flags as u8).reverse_bits() as u16 | (flags & 0x100) << 7
}

const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const CODE: &str = "1.3.6.1.5.5.7.3.3";
const EMAIL: &str = "1.3.6.1.5.5.7.3.4";
const TIME: &str = "1.3.6.1.5.5.7.3.8";
const OCSP: &str = "1.3.6.1.5.5.7.3.9";
const ANY: &str = "2.5.29.37.0";

/// OpenSSL's names.
const NAMES: [(&str, &str, &str); 7] = [
    ("TLS Web Server Authentication", "serverAuth", SERVER),
    ("TLS Web Client Authentication", "clientAuth", CLIENT),
    ("Code Signing", "codeSigning", CODE),
    ("E-mail Protection", "emailProtection", EMAIL),
    ("Time Stamping", "timeStamping", TIME),
    ("OCSP Signing", "OCSPSigning", OCSP),
    ("Any Extended Key Usage", "anyExtendedKeyUsage", ANY),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_are_known_by_number_and_by_name() {
        for (written, oid) in [
            ("TLS Web Client Authentication", Some(CLIENT)),
            ("clientAuth", Some(CLIENT)),
            ("1.3.6.1.5.5.7.3.2", Some(CLIENT)),
            ("1.3.6.1.4.1.311.20.2.2", Some("1.3.6.1.4.1.311.20.2.2")),
            ("TLS web client", None),
            ("1.", None),
            ("", None),
        ] {
            let found = ExtendedUsage::new(written).map(|usage| usage.oid);
            assert_eq!(found.as_deref(), oid, "{written}");
        }
    }

    #[test]
    fn the_bits_of_a_key_usage_count_from_the_left() {
        // digitalSignature, keyEncipherment, keyAgreement, decipherOnly.
        for (flags, bits) in [(0x01, 0x80), (0x04, 0x20), (0x10, 0x08), (0x100, 0x8000)] {
            assert_eq!(counted(flags), bits);
        }
        assert_eq!(counted(0x05), 0xa0);
    }
}
