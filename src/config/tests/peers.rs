//! What is asked of peers' certificates: whose they are, what they are for, which ones they are.

use super::{Files, LEAST};
use crate::config::diagnostics::Severity;
use crate::crypto::DataCipher;
use crate::crypto::tls::ExtendedUsage;

fn errors(files: &Files, text: &str) -> Vec<String> {
    let loaded = files.load_text(text);
    let errors = loaded.diagnostics.iter();
    let errors = errors.filter(|it| it.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn print(byte: u8) -> String {
    vec![format!("{byte:02X}"); 32].join(":")
}

#[test]
fn fingerprints_add_up_and_need_no_authority() {
    let files = Files::new();
    let (a, b, c) = (print(0xa1), print(0xb2), print(0xc3).to_lowercase());
    let lines = format!(
        "<peer-fingerprint>\n# alice\n{a}\n\n{b}\n</peer-fingerprint>\npeer-fingerprint {c}\n"
    );
    let tls = files.with(&lines).node.tls;
    let all = [[0xa1; 32], [0xb2; 32], [0xc3; 32]];
    assert_eq!(tls.fingerprints, Some(all.into()));
    assert_eq!(tls.authorities.len(), 1);

    let alone = format!("{}{lines}", LEAST.replace("ca ca.crt\n", ""));
    assert_eq!(errors(&files, &alone), [""; 0]);
    for wrong in [
        "a1:a1",
        &a.replace(':', ""),
        &format!("{a}:00"),
        &a.replace('A', "G"),
    ] {
        let said = errors(&files, &format!("{LEAST}peer-fingerprint {wrong}\n"));
        assert!(
            said[0].contains("is not the SHA-256 of a certificate"),
            "{said:?}"
        );
    }
    let none = "<peer-fingerprint>\n# nobody\n</peer-fingerprint>\n";
    let said = errors(&files, &format!("{LEAST}{none}"));
    assert!(
        said[0].contains("there is no fingerprint in it"),
        "{said:?}"
    );
}

#[test]
fn usages_that_are_demanded() {
    let files = Files::new();
    let usage = |lines| files.with(lines).node.tls.usage;
    assert_eq!(usage("").key, None);
    assert_eq!(usage("remote-cert-ku\n").key, Some(vec![]));
    assert_eq!(
        usage("remote-cert-ku 80 0x8 a0\n").key,
        Some(vec![0x80, 8, 0xa0])
    );
    let client = ExtendedUsage::new("TLS Web Client Authentication");
    assert!(client.is_some());
    assert_eq!(
        usage("remote-cert-eku \"TLS Web Client Authentication\"\n").extended,
        client
    );
    for (line, why) in [
        ("remote-cert-ku x", "`x` is no key usage"),
        (
            "remote-cert-eku clients",
            "`clients` is no extended key usage",
        ),
        ("tls-cert-profile suiteb", "`suiteb` is not served"),
        ("tls-cert-profile strong", "`strong` is no profile"),
        ("capath nowhere", "No such file or directory"),
        ("capath .", "no authority in"),
        ("data-ciphers-fallback ROT13", "`ROT13` is no cipher"),
        (
            "data-ciphers AES-256-CFB",
            "none of these ciphers is served",
        ),
    ] {
        let said = errors(&files, &format!("{LEAST}{line}\n"));
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
}

/// Wire: `auth` names the digest of the older ciphers, wherever it stands.
#[test]
fn older_ciphers_are_served_where_they_are_named_and_with_the_digest_of_auth() {
    let files = Files::new();
    let ciphers = |lines: &str| -> Vec<String> {
        let ciphers = files.with(lines).node.ciphers;
        let account = |it: &DataCipher| match it.digest() {
            Some(digest) => format!("{it}+{}", digest.name()),
            None => it.to_string(),
        };
        ciphers.iter().map(account).collect()
    };
    let usual = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"];
    assert_eq!(ciphers("cipher AES-256-CBC\n"), usual);
    assert_eq!(ciphers("data-ciphers AES-256-CBC\n"), ["AES-256-CBC+SHA1"]);
    assert_eq!(
        ciphers("data-ciphers AES-256-GCM:aes-128-cbc\nauth SHA512\n"),
        ["AES-256-GCM", "AES-128-CBC+SHA512"]
    );
    let with_fallback = [&usual[..], &["AES-192-CBC+SHA256"]].concat();
    assert_eq!(
        ciphers("auth SHA256\ndata-ciphers-fallback AES-192-CBC\n"),
        with_fallback
    );
    assert_eq!(ciphers("data-ciphers-fallback BF-CBC\n"), usual);
    assert_eq!(ciphers("auth none\n"), usual);
    let text = format!("{LEAST}auth none\ndata-ciphers-fallback AES-256-CBC\n");
    let said = errors(&files, &text);
    let why = "auth: packets in AES-256-CBC would not be authenticated at all; write `auth SHA256`";
    assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
}

#[test]
fn authorities_of_a_directory_are_added() {
    let files = Files::new();
    let ca = std::fs::read_to_string(files.0.path().join("ca.crt")).unwrap();
    std::fs::create_dir(files.0.path().join("authorities")).unwrap();
    for name in ["0123abcd.0", "0123abcd.1", "0123abcd.r0", "README"] {
        files.write(&format!("authorities/{name}"), &ca);
    }
    let count = |lines| files.with(lines).node.tls.authorities.len();
    assert_eq!(count("capath authorities\n"), 3);
    let alone = LEAST.replace("ca ca.crt\n", "capath authorities\n");
    assert_eq!(errors(&files, &alone), [""; 0]);
}
