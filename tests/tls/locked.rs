//! Locked private keys and files of PKCS #12, each made by OpenSSL.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ringway::crypto::{LockedKey, Pkcs12, UnlockError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::{Authority, Usage};
use crate::openssl::write_pem;

const PASSWORD: &str = "correct horse";

fn openssl(directory: &Path, words: &str) {
    let words = words.split(' ').map(|word| word.replace('~', PASSWORD));
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("OpenSSL is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

/// What can be seen of a key.
fn public(key: &PrivateKeyDer<'_>) -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key());
    key.expect("served").public_key().expect("known").to_vec()
}

#[test]
fn each_form_that_openssl_locks_a_key_in_is_opened_by_its_password_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    openssl(directory, "genrsa -out rsa 2048");
    openssl(
        directory,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec",
    );
    openssl(directory, "genpkey -algorithm ed25519 -out ed25519");
    for (key, words) in [
        ("rsa", "pkcs8 -topk8"),
        ("rsa", "pkcs8 -topk8 -v2 aes-128-cbc"),
        ("ec", "pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA512"),
        ("ec", "pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1"),
        ("ed25519", "pkcs8 -topk8 -scrypt"),
        ("rsa", "rsa -traditional -aes128"),
        ("rsa", "rsa -traditional -aes192"),
        ("rsa", "rsa -traditional -aes256"),
        ("rsa", "rsa -traditional -des3"),
        ("ec", "ec -aes256"),
        ("ec", "ec -des3"),
    ] {
        openssl(
            directory,
            &format!("{words} -in {key} -out locked -passout pass:~"),
        );
        let clear = fs::read(directory.join(key)).expect("there");
        let clear = PrivateKeyDer::from_pem_slice(&clear).expect("a key");
        let text = fs::read_to_string(directory.join("locked")).expect("there");
        let locked = LockedKey::find(&text).expect("locked");
        let key = locked.unlock(PASSWORD).expect("opens");
        assert_eq!(public(&key), public(&clear), "{words}");
        for wrong in ["", "correct horsf"] {
            let verdict = locked.unlock(wrong).map(drop);
            assert_eq!(verdict, Err(UnlockError::Password), "{words}");
        }
        // It is a fault of the file, and not of who reads it.
        let half = text.len() / 2;
        let torn = text[..half].to_owned() + &text[half + 4..];
        let torn = LockedKey::find(&torn).expect("locked").unlock(PASSWORD);
        assert!(torn.is_err(), "{words}");
    }
}

#[test]
fn forms_that_are_not_served_say_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    openssl(directory, "genrsa -out rsa 2048");
    for words in [
        "rsa -traditional -camellia128",
        "pkcs8 -topk8 -v2 camellia-128-cbc",
        "pkcs8 -topk8 -v1 PBE-SHA1-RC4-128 -provider legacy -provider default",
    ] {
        openssl(
            directory,
            &format!("{words} -in rsa -out locked -passout pass:~"),
        );
        let text = fs::read_to_string(directory.join("locked")).expect("there");
        let verdict = LockedKey::find(&text).expect("locked").unlock(PASSWORD);
        assert_eq!(verdict.map(drop), Err(UnlockError::Unsupported), "{words}");
    }
    let clear = fs::read_to_string(directory.join("rsa")).expect("there");
    assert!(LockedKey::find(&clear).is_none());
}

#[test]
fn a_file_of_pkcs12_gives_key_chain_and_authorities() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let root = Authority::new("root");
    let identity = root
        .intermediate("branch", |_| ())
        .identity("alice", Usage::Client);
    write_pem(directory, "leaf", "CERTIFICATE", &identity.chain[0]);
    write_pem(directory, "branch", "CERTIFICATE", &identity.chain[1]);
    write_pem(directory, "root", "CERTIFICATE", &root.der());
    write_pem(directory, "key", "PRIVATE KEY", identity.key.secret_der());
    let read = |name: &str| fs::read_to_string(directory.join(name)).expect("there");
    // As `openssl pkcs12` has it, the root may come before what it signed.
    fs::write(directory.join("others"), read("root") + &read("branch")).expect("written");
    let ders = |text: &str| -> Vec<CertificateDer<'static>> {
        let ders = CertificateDer::pem_slice_iter(text.as_bytes());
        ders.map(|der| der.expect("PEM")).collect()
    };
    for (words, password) in [
        ("-passout pass:~", Some(PASSWORD)),
        ("-passout pass:", None),
        ("-passout pass:~ -legacy", Some(PASSWORD)),
        (
            "-passout pass:~ -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
            Some(PASSWORD),
        ),
        ("-passout pass:~ -keypbe NONE -certpbe NONE -nomac", None),
    ] {
        openssl(
            directory,
            &format!("pkcs12 -export -in leaf -inkey key -certfile others -out p12 {words}"),
        );
        let bytes = fs::read(directory.join("p12")).expect("there");
        let opened = Pkcs12::open(&bytes, password).expect("opens");
        assert_eq!(ders(&opened.chain), identity.chain, "{words}");
        let key = PrivateKeyDer::from_pem_slice(opened.key.as_bytes()).expect("a key");
        assert_eq!(public(&key), public(&identity.key), "{words}");
        let authorities = ders(&opened.authorities);
        assert_eq!(authorities.len(), 2, "{words}");
        assert!(authorities.contains(&root.der()), "{words}");
        if password.is_some() {
            for wrong in [None, Some("correct horsf")] {
                let verdict = Pkcs12::open(&bytes, wrong).map(drop);
                assert_eq!(verdict, Err(UnlockError::Password), "{words}");
            }
        }
        let torn = Pkcs12::open(&bytes[..bytes.len() / 2], password).map(drop);
        assert_eq!(torn, Err(UnlockError::Malformed), "{words}");
    }
    openssl(
        directory,
        "pkcs12 -export -nokeys -in leaf -out p12 -passout pass:",
    );
    let bytes = fs::read(directory.join("p12")).expect("there");
    let verdict = Pkcs12::open(&bytes, None).map(drop);
    assert_eq!(verdict, Err(UnlockError::NoIdentity));
}
