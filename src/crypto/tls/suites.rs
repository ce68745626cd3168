//! Cipher suites by the names that OpenSSL, IANA and OpenVPN have for them.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

/// The suites of TLS 1.3, or those of TLS 1.2, in the library's own order.
pub fn suites(tls13: bool) -> impl Iterator<Item = SupportedCipherSuite> {
    let all = ALL_CIPHER_SUITES.iter().copied();
    all.filter(move |suite| suite.tls13().is_some() == tls13)
}

/// The suite of a name, such as `TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384` (with `-` or `_`),
/// `ECDHE-RSA-AES256-GCM-SHA384` or `TLS_AES_256_GCM_SHA384`; `None` if there is none that is served.
pub fn suite_by_name(name: &str) -> Option<SupportedCipherSuite> {
    let wanted = name.to_ascii_uppercase().replace('_', "-");
    let mut all = ALL_CIPHER_SUITES.iter().copied();
    all.find(|suite| {
        let iana = suite.suite().as_str().unwrap_or_default();
        let iana = iana.replace("TLS13_", "TLS_").replace('_', "-");
        wanted == iana || wanted == openssl_name(&iana)
    })
}

/// Of TLS 1.3 it is the same.
fn openssl_name(iana: &str) -> String {
    match iana
        .strip_prefix("TLS-")
        .and_then(|it| it.split_once("-WITH-"))
    {
        Some((exchange, cipher)) => {
            let cipher = cipher.replace("AES-", "AES");
            let cipher = cipher.replace("POLY1305-SHA256", "POLY1305");
            format!("{exchange}-{cipher}")
        }
        None => iana.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_several_names() {
        for (name, suite) in [
            (
                "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384",
                Some("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
            ),
            (
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                Some("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
            ),
            (
                "ECDHE-RSA-AES256-GCM-SHA384",
                Some("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
            ),
            (
                "ecdhe-ecdsa-aes128-gcm-sha256",
                Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            ),
            (
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
            ),
            ("TLS_AES_128_GCM_SHA256", Some("TLS13_AES_128_GCM_SHA256")),
            (
                "TLS-CHACHA20-POLY1305-SHA256",
                Some("TLS13_CHACHA20_POLY1305_SHA256"),
            ),
            ("DHE-RSA-AES256-SHA", None),
            ("TLS-DHE-RSA-WITH-AES-256-CBC-SHA", None),
            ("ECDHE-RSA-AES256-SHA384", None),
            ("DEFAULT", None),
            ("", None),
        ] {
            let found = suite_by_name(name).and_then(|it| it.suite().as_str());
            assert_eq!(found, suite, "{name}");
        }
    }

    #[test]
    fn each_suite_is_of_one_version_of_tls() {
        assert_eq!((suites(true).count(), suites(false).count()), (3, 6));
    }
}
