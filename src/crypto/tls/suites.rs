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

/// Whether OpenSSL 3 has a suite of this name, in the forms of [`suite_by_name`], or a word of its own that stands
/// for suites (`DEFAULT`, `HIGH`, `kEECDH+AESGCM`). What a word takes out of the list (`!aNULL`) is none.
pub fn is_suite_of_openssl(name: &str, tls13: bool) -> bool {
    let name = name.to_ascii_uppercase().replace('_', "-");
    if tls13 || SUITES_13.contains(&name.as_str()) {
        return tls13 && SUITES_13.contains(&name.as_str());
    }
    if name.split('+').all(|word| WORDS.contains(&word)) {
        return true;
    }
    let strong = ["AES", "CAMELLIA", "ARIA", "CHACHA20"];
    strong.iter().any(|it| name.contains(it)) && name.split('-').all(|part| PARTS.contains(&part))
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

/// All of TLS 1.3.
const SUITES_13: [&str; 5] = [
    "TLS-AES-128-CCM-8-SHA256",
    "TLS-AES-128-CCM-SHA256",
    "TLS-AES-128-GCM-SHA256",
    "TLS-AES-256-GCM-SHA384",
    "TLS-CHACHA20-POLY1305-SHA256",
];

/// What names of older suites are made of.
const PARTS: [&str; 38] = [
    "TLS",
    "WITH",
    "ECDHE",
    "DHE",
    "EDH",
    "ADH",
    "AECDH",
    "PSK",
    "SRP",
    "RSA",
    "ECDSA",
    "DSS",
    "DH",
    "ECDH",
    "ANON",
    "AES",
    "AES128",
    "AES192",
    "AES256",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "CHACHA20",
    "POLY1305",
    "128",
    "256",
    "CBC",
    "GCM",
    "CCM",
    "CCM8",
    "8",
    "SHA",
    "SHA256",
    "SHA384",
    "KRB5",
];

/// Words of OpenSSL's that stand for several suites.
const WORDS: [&str; 37] = [
    "DEFAULT",
    "COMPLEMENTOFDEFAULT",
    "ALL",
    "HIGH",
    "ECDHE",
    "EECDH",
    "KECDHE",
    "KEECDH",
    "DHE",
    "EDH",
    "KDHE",
    "KEDH",
    "RSA",
    "KRSA",
    "ARSA",
    "AECDSA",
    "ECDSA",
    "TLSV1",
    "TLSV1.0",
    "TLSV1.2",
    "AES",
    "AES128",
    "AES256",
    "AESGCM",
    "AESCCM",
    "AESCCM8",
    "CHACHA20",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What 2.6.14 with OpenSSL 3.0 starts with, and what not.
    #[test]
    fn suites_that_are_not_served_are_suites_all_the_same() {
        for (name, tls13, known) in [
            ("TLS-DHE-RSA-WITH-AES-256-CBC-SHA256", false, true),
            ("DHE-RSA-AES128-SHA", false, true),
            ("TLS-RSA-WITH-AES-128-CBC-SHA", false, true),
            ("ecdhe-rsa-camellia256-sha384", false, true),
            ("DEFAULT", false, true),
            ("kEECDH+AESGCM", false, true),
            ("!aNULL", false, false),
            ("RC4-SHA", false, false),
            ("TLS-RSA-WITH-RC4-128-SHA", false, false),
            ("TLS-DHE-RSA-WITH-AES-128-FOO-SHA", false, false),
            ("TLS_AES_128_CCM_SHA256", false, false),
            ("NONSENSE", false, false),
            ("", false, false),
            ("TLS_AES_128_CCM_SHA256", true, true),
            ("TLS-AES-128-CCM-8-SHA256", true, true),
            ("NONSENSE", true, false),
            ("DEFAULT", true, false),
        ] {
            assert_eq!(is_suite_of_openssl(name, tls13), known, "{name}");
        }
    }

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
