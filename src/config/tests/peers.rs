//! What is asked of peers' certificates: whose they are, what they are for, which ones they are.

use super::{Files, LEAST};
use crate::config::diagnostics::Severity;
use crate::crypto::DataCipher;
use crate::crypto::tls::{ExtendedUsage, IssuerHashes, UsernameFields};

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
fn hashes_of_who_has_signed_add_up() {
    let files = Files::new();
    let sha1 = |byte: u8| vec![format!("{byte:02X}"); 20].join(":");
    let (one, two) = (sha1(1), sha1(2));
    let issuers = |lines: &str| files.with(lines).node.tls.issuers;
    assert_eq!(issuers(""), None);
    assert_eq!(
        issuers(&format!("verify-hash {one}\nverify-hash {two} SHA1\n")),
        Some(IssuerHashes::Sha1([[1; 20], [2; 20]].into()))
    );
    let sha256 = IssuerHashes::Sha256([[0xa1; 32]].into());
    let block = format!("<verify-hash>\n{}\n</verify-hash>\n", print(0xa1));
    assert_eq!(issuers(&block), Some(sha256.clone()));
    let line = format!("verify-hash {} SHA256\n", print(0xa1));
    assert_eq!(issuers(&line), Some(sha256));
    for (lines, why) in [
        (
            format!("verify-hash {}", print(1)),
            "is not the SHA-1 of a certificate",
        ),
        (
            format!("verify-hash {one} SHA256"),
            "is not the SHA-256 of a certificate",
        ),
        (format!("verify-hash {one} MD5"), "`MD5` is no algorithm"),
        (
            format!("verify-hash {one}\n{block}"),
            "are of another algorithm",
        ),
        (
            format!("verify-hash {one}\npeer-fingerprint {}", print(1)),
            "--verify-hash and --peer-fingerprint are mutually exclusive",
        ),
        (
            "<verify-hash>\n# none\n</verify-hash>".to_owned(),
            "there is no hash in it",
        ),
    ] {
        let said = errors(&files, &format!("{LEAST}{lines}\n"));
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
    let warned = files.first_remark(&format!("verify-hash {one}\n"));
    assert!(
        warned.contains("warning: verify-hash: deprecated"),
        "{warned}"
    );
}

#[test]
fn fields_that_peers_are_called_by() {
    let files = Files::new();
    let called = |lines: &str| files.with(lines).node.tls.called;
    let fields = |words: &[&str]| UsernameFields::new(words.iter().copied()).unwrap();
    assert_eq!(called(""), fields(&["CN"]));
    assert_eq!(
        called("x509-username-field ext:subjectAltName O\n"),
        fields(&["ext:subjectAltName", "O"])
    );
    assert_eq!(
        called("x509-username-field uid 2.5.4.11\n"),
        fields(&["UID", "2.5.4.11"])
    );
    let warned = files.first_remark("x509-username-field uid\n");
    assert!(warned.contains("`uid` is read as `UID`"), "{warned}");
    for word in ["Colour", "ext:keyUsage", "emailaddress"] {
        let said = errors(&files, &format!("{LEAST}x509-username-field {word}\n"));
        assert!(
            said.len() == 1 && said[0].contains("is no field of a certificate"),
            "{said:?}"
        );
    }
}

#[test]
fn certificates_of_another_file_are_added_to_the_chain() {
    let files = Files::new();
    let chain = |lines: &str| files.with(lines).identity.chain;
    let (alone, added) = (chain(""), chain("extra-certs ca.crt\n"));
    assert_eq!((alone.len(), added.len()), (1, 2));
    assert_eq!(added[0], alone[0]);
    let ca = std::fs::read_to_string(files.0.path().join("ca.crt")).unwrap();
    assert_eq!(
        chain(&format!("<extra-certs>\n{ca}</extra-certs>\n")),
        added
    );
    for (line, why) in [
        (
            "extra-certs none.crt",
            "none.crt: No such file or directory",
        ),
        (
            "extra-certs server.key",
            "server.key: no certificate in PEM form",
        ),
    ] {
        let said = errors(&files, &format!("{LEAST}{line}\n"));
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
}

#[test]
fn suites_are_those_that_are_named_and_served() {
    let files = Files::new();
    let suites = |lines: &str| -> Vec<String> {
        let suites = files.with(lines).node.tls.suites.unwrap_or_default();
        suites
            .iter()
            .map(|it| format!("{:?}", it.suite()))
            .collect()
    };
    assert_eq!(suites(""), [""; 0]);
    let both = suites(
        "tls-cipher TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-SHA\n\
         tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256\n",
    );
    assert_eq!(
        both,
        [
            "TLS13_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
        ]
    );
    assert_eq!(
        suites("tls-ciphersuites TLS_AES_128_GCM_SHA256\n").len(),
        1 + 6
    );
    for (line, why) in [
        (
            "tls-cipher ECDHE-RSA-AES128-GCM-SHA256:DES-CBC3-SHA\n",
            "not served: `DES-CBC3-SHA`",
        ),
        (
            "tls-cipher TLS-DHE-RSA-WITH-AES-256-CBC-SHA\n",
            "none of these suites is served",
        ),
        (
            "tls-cipher DEFAULT:!EXP:!LOW\n",
            "none of these suites is served",
        ),
    ] {
        let said = files.first_remark(line);
        assert!(
            said.contains("warning: tls-cipher: ") && said.contains(why),
            "{said}"
        );
    }
}

/// A line without any suite is a mistake, in 2.6 as here; of TLS 1.3 are those of the other line.
#[test]
fn a_line_without_suites_is_refused() {
    let files = Files::new();
    for line in [
        "tls-cipher NONSENSE",
        "tls-cipher RC4-SHA:!aNULL",
        "tls-cipher TLS_AES_128_GCM_SHA256",
        "tls-ciphersuites NONSENSE",
        "tls-ciphersuites ECDHE-RSA-AES128-GCM-SHA256",
    ] {
        let said = errors(&files, &format!("{LEAST}{line}\n"));
        assert!(
            said.len() == 1 && said[0].contains("there is no suite of TLS in"),
            "{said:?}"
        );
    }
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
    let alone = LEAST.replace("ca ca.crt\n", "capath authorities\n");
    // What is named as a list has to be one.
    let said = errors(&files, &alone);
    assert!(
        said.len() == 1 && said[0].contains("0123abcd.r0: no certificate rev"),
        "{said:?}"
    );
    std::fs::remove_file(files.0.path().join("authorities/0123abcd.r0")).unwrap();
    assert_eq!(errors(&files, &alone), [""; 0]);
    let tls = files.with("capath authorities\n").node.tls;
    assert_eq!((tls.authorities.len(), tls.revocations.len()), (3, 1));
}
