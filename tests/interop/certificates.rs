//! Who is let in: kinds of keys, chains, and each way in which a certificate can be wrong.

use crate::client::{Client, ClientConfig};
use crate::outgoing::connect;
use crate::pki::{Authority, Identity, Kind};
use crate::server::{READY, Server, ServerConfig, Site};

/// What both sides log when a certificate is no good: the client because it got the alert, or
/// because it heard nothing more for its `hand-window` (the stock daemon sends no alert).
const HANDSHAKE_FAILED: &str = "TLS Error: TLS handshake failed";

/// Starts both, waits for the server's line, and asserts that the client is not in.
fn assert_refused(site: &Site, server: &ServerConfig, client: &ClientConfig, line: &str) {
    assert_refused_with_any(site, server, client, &[line]);
}

/// As [`assert_refused`], where one of several lines will do.
pub(crate) fn assert_refused_with_any(
    site: &Site,
    server: &ServerConfig,
    client: &ClientConfig,
    lines: &[&str],
) {
    let server = Server::start(site, server);
    let client = Client::spawn(site, &client.clone().line("hand-window 6"));
    server.process.wait_for_any(lines);
    server.process.wait_for(HANDSHAKE_FAILED);
    client.process.wait_for(HANDSHAKE_FAILED);
    assert_eq!(
        client.process.count(READY),
        0,
        "the client must not connect"
    );
    assert_eq!(server.process.count("Peer Connection Initiated"), 0);
    assert_serves_others(site, &server);
}

/// The refused client did no harm: a good one in the other namespace still connects.
fn assert_serves_others(site: &Site, server: &Server) {
    let good = Client::connect(site, &ClientConfig::new(site, 1, "innocent"));
    good.assert_reaches_all(site);
    server
        .process
        .wait_for("[innocent] Peer Connection Initiated");
}

fn connects_with(kind: Kind) {
    let site = Site::with_server_key(1, kind);
    let server = Server::start(&site, &site.server_config());
    let identity = site.authority.client("alice", kind);
    let client = Client::connect(&site, &ClientConfig::with_identity(&site, 0, &identity));
    client.assert_reaches_all(&site);
    server.process.wait_for("[alice] Peer Connection Initiated");
}

#[test]
fn rsa_keys_on_both_sides() {
    connects_with(Kind::Rsa);
}

#[test]
fn ed25519_keys_on_both_sides() {
    connects_with(Kind::Ed25519);
}

#[test]
fn chains_through_intermediate_authorities_on_both_sides() {
    let site = Site::new(1);
    let server_side = site.authority.intermediate("servers");
    let client_side = site
        .authority
        .intermediate("clients")
        .intermediate("branch office");
    let identity = server_side.server("vpn-server", Kind::Ec);
    let config = site.server_config_with(&site.authority.pem(), &identity);
    let server = Server::start(&site, &config);
    let identity = client_side.client("alice", Kind::Ec);
    let client = Client::connect(&site, &ClientConfig::with_identity(&site, 0, &identity));
    client.assert_reaches_all(&site);
    for depth in 0..4 {
        server
            .process
            .wait_for(&format!("VERIFY OK: depth={depth}"));
    }
}

#[test]
fn certificate_of_another_authority_is_refused() {
    let site = Site::new(2);
    let identity = Authority::new("somebody else's CA").client("mallory", Kind::Ec);
    let client = ClientConfig::with_identity(&site, 0, &identity);
    assert_refused(
        &site,
        &site.server_config(),
        &client,
        "VERIFY ERROR: depth=0",
    );
}

#[test]
fn expired_certificate_is_refused() {
    let site = Site::new(2);
    let identity = site.authority.expired_client("yesterday");
    let client = ClientConfig::with_identity(&site, 0, &identity);
    let line = "VERIFY ERROR: depth=0, error=certificate has expired";
    assert_refused(&site, &site.server_config(), &client, line);
}

#[test]
fn server_certificate_is_no_client_certificate() {
    let site = Site::new(2);
    let identity = site.authority.server("another-server", Kind::Ec);
    let client = ClientConfig::with_identity(&site, 0, &identity);
    let server = site.server_config().line("remote-cert-tls client");
    // The stock daemon's library looks at the purpose before the daemon does.
    let lines = [
        "VERIFY EKU ERROR",
        "VERIFY ERROR: depth=0, error=unsuitable certificate purpose",
    ];
    assert_refused_with_any(&site, &server, &client, &lines);
}

#[test]
fn verify_x509_name_lets_the_right_name_in_alone() {
    let site = Site::new(2);
    let client = ClientConfig::new(&site, 0, "mallory");
    let server = site.server_config().line("verify-x509-name innocent name");
    let line = "VERIFY X509NAME ERROR: CN=mallory, must be innocent";
    assert_refused(&site, &server, &client, line);
}

#[test]
fn verify_x509_name_by_prefix() {
    let site = Site::new(2);
    let client = ClientConfig::new(&site, 0, "out-of-office");
    let server = site
        .server_config()
        .line("verify-x509-name inn name-prefix");
    assert_refused(
        &site,
        &server,
        &client,
        "VERIFY X509NAME ERROR: CN=out-of-office",
    );
}

#[test]
fn client_without_certificate_is_refused() {
    let site = Site::new(2);
    let client = ClientConfig::with_identity(
        &site,
        0,
        &Identity {
            certificate: String::new(),
            key: String::new(),
        },
    );
    // The client insists on a certificate or a user; a user alone is no way in here.
    let user = site.topology.write("user.txt", "mallory\nsecret\n");
    let client = client
        .without_block("cert")
        .without_block("key")
        .line(format!("auth-user-pass {}", user.display()));
    assert_refused(&site, &site.server_config(), &client, HANDSHAKE_FAILED);
}

#[test]
fn client_refuses_a_server_of_another_authority() {
    let site = Site::new(1);
    let other = Authority::new("interop CA");
    let identity = other.server("vpn-server", Kind::Ec);
    let config = site.server_config_with(&site.authority.pem(), &identity);
    let server = Server::start(&site, &config);
    let client = Client::spawn(&site, &ClientConfig::new(&site, 0, "alice"));
    client.process.wait_for("VERIFY ERROR: depth=0");
    client.process.wait_for(HANDSHAKE_FAILED);
    assert_eq!(server.process.count("Peer Connection Initiated"), 0);
}

/// No authority at all: certificates that nobody has signed, known one by one.
#[test]
fn certificates_are_known_by_their_fingerprints() {
    let site = Site::new(2);
    let [alice, mallory] = ["alice", "mallory"].map(Identity::self_signed_client);
    let config = site.server_config().without("ca").block(
        "peer-fingerprint",
        &format!("# alice\n{}", alice.fingerprint()),
    );
    let server = Server::start(&site, &config);
    let client = Client::spawn(&site, &ClientConfig::with_identity(&site, 0, &mallory));
    let line = "certificate hash verification failed. (got certificate fingerprint: ";
    let said = server.process.wait_for(line);
    assert!(
        said.contains(&mallory.fingerprint().to_lowercase()),
        "{said}"
    );
    assert_eq!(client.process.count(READY), 0);
    Client::connect(&site, &ClientConfig::with_identity(&site, 1, &alice))
        .assert_reaches_all(&site);
}

#[test]
fn usages_of_certificates_are_demanded() {
    let site = Site::new(2);
    let client = ClientConfig::new(&site, 0, "alice");
    let server = site.server_config();
    for (line, why) in [
        ("remote-cert-ku a0", "VERIFY KU ERROR"),
        ("remote-cert-eku 1.2.3.4", "VERIFY EKU ERROR"),
    ] {
        let server = Server::start(&site, &server.clone().line(line));
        let client = Client::spawn(&site, &client);
        server.process.wait_for(why);
        assert_eq!(client.process.count(READY), 0, "{line}");
    }
    let right = server
        .line("remote-cert-ku a0 88")
        .line("remote-cert-eku \"TLS Web Client Authentication\"");
    let _server = Server::start(&site, &right);
    Client::connect(&site, &client).assert_reaches_all(&site);
}

/// The certificate in between is in a file of its own.
#[test]
fn certificates_of_extra_certs_complete_the_chain_of_either_side() {
    let site = Site::new(2);
    let between = site.authority.intermediate("between");
    let parted = |identity: Identity| {
        let (leaf, rest) = identity
            .certificate
            .split_at(identity.certificate.find(PEM_END).unwrap() + PEM_END.len());
        let (certificate, rest) = (leaf.to_owned(), rest.to_owned());
        let key = identity.key;
        (Identity { certificate, key }, rest)
    };
    let (server, rest) = parted(between.server("vpn-server", Kind::Ec));
    let config = site.server_config_with(&site.authority.pem(), &server);
    let _server = Server::start(&site, &config.block("extra-certs", &rest));
    let (alice, rest) = parted(between.client("alice", Kind::Ec));
    let client = ClientConfig::with_identity(&site, 0, &alice).block("extra-certs", &rest);
    Client::connect(&site, &client).assert_reaches_all(&site);
    // ringway as the client of it.
    let (bob, rest) = parted(between.client("bob", Kind::Ec));
    let client = ClientConfig::with_identity(&site, 1, &bob).block("extra-certs", &rest);
    connect(&site, &client);
}

#[test]
fn peers_have_to_be_signed_by_who_is_named() {
    let site = Site::new(2);
    let [good, other] = ["good", "other"].map(|name| site.authority.intermediate(name));
    let named = Identity {
        certificate: good.pem(),
        key: String::new(),
    };
    let hash = format!("verify-hash {} SHA256", named.fingerprint());
    let server = Server::start(&site, &site.server_config().line(hash));
    let mallory = other.client("mallory", Kind::Ec);
    let client = Client::spawn(&site, &ClientConfig::with_identity(&site, 0, &mallory));
    server
        .process
        .wait_for("certificate hash verification failed. (got certificate fingerprint: ");
    assert_eq!(client.process.count(READY), 0);
    let alice = good.client("alice", Kind::Ec);
    Client::connect(&site, &ClientConfig::with_identity(&site, 1, &alice))
        .assert_reaches_all(&site);
}

/// The name that everything goes by: its file, its address, the status.
#[test]
fn clients_are_called_by_the_field_that_is_named() {
    let site = Site::new(2);
    let config = site
        .server_config()
        .line("x509-username-field ext:subjectAltName serialNumber");
    let server = Server::start(&site, &config);
    let alice = site.authority.client_of(|params| {
        let mail = "alice@acme.example".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::Rfc822Name(mail)];
        params.serial_number = Some(rcgen::SerialNumber::from(vec![0x0a, 0xbc]));
    });
    let client = Client::connect(&site, &ClientConfig::with_identity(&site, 0, &alice));
    client.assert_reaches_all(&site);
    server
        .process
        .wait_for("[alice@acme.example_0x0ABC] Peer Connection Initiated");
    let bob = site.authority.client("bob", Kind::Ec);
    let client = Client::spawn(&site, &ClientConfig::with_identity(&site, 1, &bob));
    server
        .process
        .wait_for("could not extract ext:subjectAltName from X509 subject string");
    assert_eq!(client.process.count(READY), 0);
}

/// Each of several fields has as many bytes as one alone may have, and the whole name 255.
#[test]
fn names_of_several_fields_are_long() {
    use rcgen::DnType::{CommonName, LocalityName, OrganizationName, OrganizationalUnitName};
    let site = Site::new(2);
    let named = |fields: &[rcgen::DnType]| {
        site.authority.client_of(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (field, letter) in fields.iter().zip('a'..) {
                let value = letter.to_string().repeat(62);
                params.distinguished_name.push(field.clone(), value);
            }
        })
    };
    let four = [
        CommonName,
        OrganizationName,
        OrganizationalUnitName,
        LocalityName,
    ];
    let config = site.server_config().line("x509-username-field CN O OU L");
    let server = Server::start(&site, &config);
    let whole: Vec<String> = ('a'..='d')
        .map(|letter| letter.to_string().repeat(62))
        .collect();
    let config = ClientConfig::with_identity(&site, 0, &named(&four));
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    let name = whole.join("_");
    assert_eq!(name.len(), 251);
    server
        .process
        .wait_for(&format!("[{name}] Peer Connection Initiated"));
    drop(server);
    let config = site
        .server_config()
        .line("x509-username-field CN O OU L CN");
    let server = Server::start(&site, &config);
    let config = ClientConfig::with_identity(&site, 1, &named(&four));
    let client = Client::spawn(&site, &config);
    server.process.wait_for("TLS Error: TLS handshake failed");
    assert_eq!(client.process.count(READY), 0);
}

/// Authorities and their lists in a directory, by the names that `openssl rehash` gives.
#[test]
fn a_directory_has_authorities_and_their_lists() {
    let site = Site::new(2);
    let [alice, bob] = ["alice", "bob"].map(|name| site.authority.client(name, Kind::Ec));
    let directory = site.topology.directory().join("authorities");
    std::fs::create_dir(&directory).unwrap();
    site.topology
        .write("authorities/ca.pem", site.authority.pem());
    let list = site.authority.revocation_list(&[&alice], 60);
    site.topology.write("authorities/crl.pem", list);
    crate::process::run("openssl", &["rehash", &directory.display().to_string()]);
    let config = site
        .server_config()
        .without("ca")
        .line(format!("capath {}", directory.display()));
    let server = Server::start(&site, &config);
    let client = Client::spawn(&site, &ClientConfig::with_identity(&site, 0, &alice));
    server
        .process
        .wait_for("VERIFY ERROR: depth=0, error=certificate revoked: CN=alice, serial=");
    assert_eq!(client.process.count(READY), 0);
    Client::connect(&site, &ClientConfig::with_identity(&site, 1, &bob)).assert_reaches_all(&site);
}

const PEM_END: &str = "-----END CERTIFICATE-----\n";
