//! What quickstart leaves on disk, the first time and again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::cli::client::{AddClientError, add_client};
use crate::cli::directory::{CA_KEY, ISSUED};
use crate::crypto::StaticKeyError;
use crate::crypto::tls::{PeerPolicy, PeerPurpose, RefusalReason};
use crate::random::SeededRandom;
use crate::reactor::Feature;

const NOON: u64 = 1_795_348_800;

fn today() -> Date {
    crate::cli::pki::day(NOON)
}

fn options(directory: &Path) -> QuickstartOptions {
    QuickstartOptions {
        directory: directory.join("demo"),
        port: 1195,
        pool: "10.9.0.0/24".parse().unwrap(),
        public_address: Some("vpn.example.org".to_owned()),
    }
}

fn run(options: &QuickstartOptions, seed: u64) -> Result<(Directory, String), QuickstartError> {
    let mut out = Vec::new();
    let directory = prepare(options, today(), &mut SeededRandom::new(seed), &mut out)?;
    Ok((directory, String::from_utf8(out).unwrap()))
}

/// Path below the directory, to its mode and content.
fn tree(directory: &Path) -> BTreeMap<String, (u32, String)> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            let mode = fs::metadata(&path).unwrap().mode() & 0o777;
            files.insert(name, (mode, fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

#[test]
fn everything_is_made_with_its_mode() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, said) = run(&options(parent.path()), 1).unwrap();
    let modes: Vec<_> = tree(directory.path())
        .into_iter()
        .map(|(name, (mode, _))| (name, mode))
        .collect();
    let expected = [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("client-template.ovpn", 0o644),
        ("client.ovpn", 0o600),
        ("clients/client1.crt", 0o644),
        ("server.conf", 0o644),
        ("server.crt", 0o644),
        ("server.key", 0o600),
        ("tls-crypt.key", 0o600),
    ]
    .map(|(name, mode)| (name.to_owned(), mode));
    assert_eq!(modes, expected);
    assert_eq!(
        fs::metadata(directory.path()).unwrap().mode() & 0o777,
        0o700
    );
    for words in [
        "openvpn --config client.ovpn",
        "ringway client add NAME --directory",
        "vpn.example.org, UDP port 1195",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_second_run_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let before = tree(directory.path());
    let (_, said) = run(&options(parent.path()), 2).unwrap();
    assert_eq!(tree(directory.path()), before);
    assert!(said.starts_with("Using "), "{said}");
}

#[test]
fn what_is_missing_is_made_again_and_the_rest_kept() {
    for missing in [
        &["server.conf"][..],
        &["client-template.ovpn"],
        &["server.crt"],
        &["server.crt", "server.key"],
        &["client.ovpn", "clients/client1.crt"],
    ] {
        let parent = tempfile::tempdir().unwrap();
        let (directory, _) = run(&options(parent.path()), 1).unwrap();
        let before = tree(directory.path());
        for name in missing {
            fs::remove_file(directory.file(name)).unwrap();
        }
        run(&options(parent.path()), 2).unwrap();
        let after = tree(directory.path());
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>(),
            "{missing:?}"
        );
        for (name, kept) in &before {
            if !missing.contains(&name.as_str()) {
                assert_eq!(&after[name], kept, "{name} without {missing:?}");
            }
        }
    }
}

#[test]
fn a_client_that_was_handed_over_and_an_authority_kept_elsewhere_are_no_reason_to_issue() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    fs::remove_file(directory.file(FIRST_CLIENT)).unwrap();
    fs::remove_file(directory.file(CA_KEY)).unwrap();
    let (_, said) = run(&options(parent.path()), 2).unwrap();
    assert!(!directory.has(FIRST_CLIENT));
    assert!(!directory.has(CA_KEY), "a new key would fit no certificate");
    assert!(!said.contains("openvpn --config"), "{said}");
}

#[test]
fn a_certificate_without_its_key_is_an_error_that_names_both() {
    for (key, certificate) in [("ca.key", "ca.crt"), ("server.key", "server.crt")] {
        let parent = tempfile::tempdir().unwrap();
        let (directory, _) = run(&options(parent.path()), 1).unwrap();
        fs::remove_file(directory.file(key)).unwrap();
        for name in [FIRST_CLIENT, "clients/client1.crt"] {
            fs::remove_file(directory.file(name)).unwrap();
        }
        let error = run(&options(parent.path()), 2).unwrap_err().to_string();
        assert!(
            error.contains(key) && error.contains(certificate),
            "{error}"
        );
    }
}

fn certificate(directory: &Directory, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(directory.read(name).unwrap().as_bytes()).unwrap()
}

fn verdict(
    directory: &Directory,
    file: &str,
    purpose: PeerPurpose,
    unix: u64,
) -> Option<RefusalReason> {
    let authority = certificate(directory, CA_CERTIFICATE);
    let policy = PeerPolicy::new(vec![authority], purpose)
        .unwrap()
        .demanding_purpose();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(unix));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    policy
        .verify(
            &certificate(directory, file),
            &[],
            now,
            &provider.signature_verification_algorithms,
        )
        .err()
        .map(|refused| refused.reason)
}

#[test]
fn certificates_are_for_one_side_and_for_ten_years() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let (server, client) = (SERVER_CERTIFICATE, "clients/client1.crt");
    let accepted = |file, purpose, unix| verdict(&directory, file, purpose, unix).is_none();
    assert!(accepted(server, PeerPurpose::Server, NOON));
    assert!(accepted(client, PeerPurpose::Client, NOON));
    assert!(!accepted(server, PeerPurpose::Client, NOON));
    assert!(!accepted(client, PeerPurpose::Server, NOON));
    let year = 365 * 86_400;
    assert!(accepted(client, PeerPurpose::Client, NOON + 10 * year));
    assert_eq!(
        verdict(&directory, client, PeerPurpose::Client, NOON + 11 * year),
        Some(RefusalReason::Expired)
    );
    assert_eq!(
        verdict(&directory, client, PeerPurpose::Client, NOON - 3 * 86_400),
        Some(RefusalReason::NotYetValid)
    );
}

#[test]
fn the_authority_signs_peers_and_no_authorities() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let der = certificate(&directory, CA_CERTIFICATE);
    let (_, authority) = X509Certificate::from_der(&der).unwrap();
    let constraints = authority.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = authority.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign());
}

#[test]
fn a_clients_configuration_holds_all_that_it_needs() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let text = directory.read(FIRST_CLIENT).unwrap();
    for line in [
        "client",
        "remote vpn.example.org 1195",
        "remote-cert-tls server",
        "verify-x509-name server name",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}");
    }
    let block = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>\n")).unwrap();
        rest.split_once(&format!("\n</{tag}>\n"))
            .unwrap()
            .0
            .to_owned()
    };
    let file = |name: &str| directory.read(name).unwrap().trim_end().to_owned();
    assert_eq!(block("ca"), file(CA_CERTIFICATE));
    assert_eq!(block("cert"), file("clients/client1.crt"));
    assert_eq!(block("tls-crypt"), file(TLS_CRYPT_KEY));
    let key = rcgen::KeyPair::from_pem(&block("key")).unwrap();
    let der = certificate(&directory, "clients/client1.crt");
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(
        certificate.public_key().raw,
        rcgen::PublicKeyData::subject_public_key_info(&key),
        "the key is the certificate's"
    );
    let wrapping: Result<StaticKey, StaticKeyError> = StaticKey::parse(&block("tls-crypt"));
    assert!(wrapping.is_ok());
}

#[test]
fn another_client_is_added_once() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let mut random = SeededRandom::new(3);
    let mut add = |name: &str| {
        let name = ClientName::new(name).unwrap();
        add_client(&directory, &name, today(), &mut random)
    };
    assert_eq!(add("anna").unwrap(), directory.file("anna.ovpn"));
    let text = directory.read("anna.ovpn").unwrap();
    assert!(text.starts_with("# The client anna. "));
    assert!(text.contains("remote vpn.example.org 1195\n"));
    let mode = fs::metadata(directory.file("anna.ovpn")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(directory.has(&format!("{ISSUED}/anna.crt")));
    for taken in ["anna", "client1", "client"] {
        assert!(
            matches!(add(taken), Err(AddClientError::Exists(_))),
            "{taken}"
        );
    }
    fs::remove_file(directory.file("anna.ovpn")).unwrap();
    assert!(
        matches!(add("anna"), Err(AddClientError::Exists(_))),
        "the certificate is still good"
    );
}

#[test]
fn the_template_is_the_administrators() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let template = directory.read(CLIENT_TEMPLATE).unwrap();
    let edited = template.replace("vpn.example.org 1195", "192.0.2.7 443");
    fs::write(directory.file(CLIENT_TEMPLATE), edited).unwrap();
    let name = ClientName::new("ben").unwrap();
    add_client(&directory, &name, today(), &mut SeededRandom::new(4)).unwrap();
    let text = directory.read("ben.ovpn").unwrap();
    assert!(text.contains("\nremote 192.0.2.7 443\n"));
}

#[test]
fn options_that_cannot_be_served_make_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let good = options(parent.path());
    let pool = |pool: &str| QuickstartOptions {
        pool: pool.parse().unwrap(),
        ..good.clone()
    };
    let address = |address: &str| QuickstartOptions {
        public_address: Some(address.to_owned()),
        ..good.clone()
    };
    for bad in [
        pool("10.8.0.0/30"),
        pool("10.8.0.1/24"),
        pool("10.0.0.0/8"),
        address(""),
        address("-x"),
        address("a b"),
        address("a\nscript-security 2"),
        address("vpn.example.org:1194"),
    ] {
        assert!(run(&bad, 1).is_err(), "{bad:?}");
        assert!(!bad.directory.exists(), "{bad:?}");
    }
    for fine in ["192.0.2.1", "2001:db8::1", "vpn.example.org"] {
        assert_eq!(check_public_address(fine).unwrap(), fine);
    }
}

#[test]
fn a_machine_that_cannot_serve_is_told_what_it_lacks() {
    let feature = |name, available, required| Feature {
        name,
        available,
        required,
        purpose: "making and configuring the tun device",
        reason: None,
    };
    let report = |features| Report { features };
    assert!(
        check_machine(&report(vec![
            feature("CAP_NET_ADMIN", true, true),
            feature("UDP_GRO", false, false)
        ]))
        .is_ok()
    );
    let error = check_machine(&report(vec![
        feature("CAP_NET_ADMIN", false, true),
        feature("/dev/net/tun", false, true),
        feature("UDP_GRO", false, false),
    ]))
    .unwrap_err()
    .to_string();
    for words in [
        "CAP_NET_ADMIN",
        "/dev/net/tun",
        "modprobe tun",
        "nothing was made",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!error.contains("UDP_GRO"), "{error}");
}

#[derive(Debug, clap::Parser)]
struct Words {
    #[command(flatten)]
    options: QuickstartOptions,
}

#[test]
fn options_have_defaults_and_bounds() {
    use clap::Parser;
    let parse = |words: &str| Words::try_parse_from(words.split(' ')).map(|words| words.options);
    assert_eq!(
        parse("quickstart").unwrap(),
        QuickstartOptions {
            directory: "./ringway-quickstart".into(),
            port: 1194,
            pool: "10.8.0.0/24".parse().unwrap(),
            public_address: None,
        }
    );
    let all = "quickstart --directory /d --port 1 --pool 10.9.0.0/16 --public-address a.b";
    assert_eq!(
        parse(all).unwrap(),
        QuickstartOptions {
            directory: "/d".into(),
            port: 1,
            pool: "10.9.0.0/16".parse().unwrap(),
            public_address: Some("a.b".to_owned()),
        }
    );
    for wrong in ["--port 0", "--port 65536", "--pool 10.9.0.0", "--port"] {
        assert!(parse(&format!("quickstart {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn the_servers_configuration_is_served_without_a_word_of_complaint() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, _) = run(&options(parent.path()), 1).unwrap();
    let place = directory.path().to_string_lossy();
    let words = ["--cd", &place, "--config", SERVER_CONFIGURATION].map(str::to_owned);
    let loaded = crate::config::load(&words, Path::new("/"));
    let said: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(crate::config::diagnostics::Diagnostic::log_line)
        .collect();
    assert_eq!(said, [""; 0]);
    let settings = loaded.configuration.unwrap().server().unwrap();
    assert_eq!(settings.listeners[0].port, 1195);
    let v4 = settings.network.v4.unwrap();
    assert_eq!(v4.server, Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(v4.network, options(parent.path()).pool);
}
