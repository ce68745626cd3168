//! `tls-cert-profile suiteb`: elliptic curves P-256 and P-384 alone, for certificates, signatures and key
//! exchange, and AES-GCM (RFC 6460).

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::{self as provider, kx_group};
use rustls::{CipherSuite, SignatureScheme};
use webpki::aws_lc_rs::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384,
};

use super::rustls::{Identity, RustlsEngine};

impl RustlsEngine {
    /// The same engine with nothing but what Suite B has: whatever suites and groups are named otherwise. Wire:
    /// as `SUITEB128` of OpenSSL, which leaves the suites of TLS 1.3 as they are.
    ///
    /// Peers whose certificates, or those above them, have other keys are refused.
    #[must_use]
    pub fn in_suite_b(self) -> Self {
        self.with_provider(|provider| {
            provider.kx_groups = vec![kx_group::SECP256R1, kx_group::SECP384R1];
            provider.signature_verification_algorithms = ALGORITHMS;
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some());
            let all = provider::ALL_CIPHER_SUITES.iter();
            let of_12 = all.filter(|suite| SUITES.contains(&suite.suite()));
            provider.cipher_suites.extend(of_12);
        })
    }
}

/// Whether an end may show this certificate in Suite B.
///
/// # Errors
/// A sentence about a key of another kind.
pub fn check_suite_b(identity: &Identity) -> Result<(), String> {
    let key = provider::default_provider()
        .key_provider
        .load_private_key(identity.key.clone_key());
    let key = key.map_err(|error| format!("the private key can't be used: {error}"))?;
    match key.choose_scheme(&SCHEMES) {
        Some(_) => Ok(()),
        None => Err("the private key is not on P-256 or P-384, as `suiteb` asks".to_owned()),
    }
}

/// Of TLS 1.2.
const SUITES: [CipherSuite; 2] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

const SCHEMES: [SignatureScheme; 2] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
];

/// Of certificates and handshakes. In TLS 1.2 a scheme does not say which curve it is on.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        ECDSA_P384_SHA256,
        ECDSA_P384_SHA384,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[ECDSA_P384_SHA384, ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[ECDSA_P256_SHA256, ECDSA_P384_SHA256],
        ),
    ],
};
