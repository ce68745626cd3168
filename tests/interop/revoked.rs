//! `crl-verify`: who was revoked is refused, from the start or from then on.

use std::path::Path;

use crate::client::{Client, ClientConfig};
use crate::pki::{Identity, Kind};
use crate::server::{Implementation, READY, Server, Site};

/// Others than root may read a file.
fn readable(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

fn write(site: &Site, text: &str) {
    readable(&site.topology.write("crl.pem", text), 0o644);
}

fn connect(site: &Site, index: usize, identity: &Identity) -> Client {
    Client::connect(site, &ClientConfig::with_identity(site, index, identity))
}

/// The client tries, until the server says this of it for the first time.
fn assert_refused(site: &Site, server: &Server, identity: &Identity, why: &str) {
    let before = server.process.count(why);
    let client = Client::spawn(site, &ClientConfig::with_identity(site, 0, identity));
    server.process.wait_for_count(why, before + 1);
    assert_eq!(client.process.count(READY), 0);
}

/// What was written is known to the server. The stock daemon looks when a client comes.
fn wait_until_read(server: &Server, words: &str, count: usize) {
    if Implementation::chosen() == Implementation::Ringway {
        server.process.wait_for_count(words, count);
    }
}

#[test]
fn who_was_revoked_is_refused_from_then_on() {
    let site = Site::new(2);
    let [alice, bob] = ["alice", "bob"].map(|name| site.authority.client(name, Kind::Ec));
    write(&site, &site.authority.revocation_list(&[], 60));
    readable(site.topology.directory(), 0o755);
    let path = site.topology.directory().join("crl.pem");
    let config = site
        .server_config()
        .line(format!("crl-verify {}", path.display()))
        .line("user nobody");
    let server = Server::start(&site, &config);
    drop(connect(&site, 0, &alice));

    write(&site, &site.authority.revocation_list(&[&alice], 60));
    let loaded = "CRL: loaded 1 CRLs from file ";
    wait_until_read(&server, loaded, 2);
    let serial = alice.serial();
    let revoked =
        format!("VERIFY ERROR: depth=0, error=certificate revoked: CN=alice, serial={serial}");
    assert_refused(&site, &server, &alice, &revoked);
    connect(&site, 1, &bob).assert_reaches_all(&site);

    std::fs::remove_file(&path).unwrap();
    let missing = "WARNING: Failed to stat CRL file, not reloading CRL.";
    wait_until_read(&server, missing, 1);
    assert_refused(&site, &server, &alice, &revoked);

    write(&site, "garbage");
    wait_until_read(&server, "CRL: loaded 0 CRLs from file ", 1);
    assert_refused(&site, &server, &bob, "VERIFY ERROR: CRL not loaded");

    write(&site, &site.authority.revocation_list(&[], -1));
    wait_until_read(&server, loaded, 3);
    let expired = "VERIFY ERROR: depth=0, error=CRL has expired: CN=bob, serial=";
    assert_refused(&site, &server, &bob, expired);

    write(&site, &site.authority.revocation_list(&[&bob], 60));
    wait_until_read(&server, loaded, 4);
    connect(&site, 0, &alice).assert_reaches_all(&site);
}

#[test]
fn a_directory_has_a_file_for_each_who_was_revoked() {
    let site = Site::new(2);
    let [alice, bob] = ["alice", "bob"].map(|name| site.authority.client(name, Kind::Ec));
    let directory = site.topology.directory().join("crl");
    std::fs::create_dir(&directory).unwrap();
    let config = site
        .server_config()
        .line(format!("crl-verify {} dir", directory.display()));
    let server = Server::start(&site, &config);
    drop(connect(&site, 0, &alice));
    let serial = alice.serial();
    site.topology.write(&format!("crl/{serial}"), "");
    wait_until_read(&server, "CRL: 1 certificates are revoked in ", 1);
    let revoked = format!("VERIFY CRL: depth=0, CN=alice, serial={serial} is revoked");
    assert_refused(&site, &server, &alice, &revoked);
    connect(&site, 1, &bob).assert_reaches_all(&site);
}

/// An authority in between has a list of its own, and the one above has none.
#[test]
fn a_list_of_an_authority_that_the_server_does_not_have() {
    let site = Site::new(2);
    let between = site.authority.intermediate("between");
    let [alice, bob] = ["alice", "bob"].map(|name| between.client(name, Kind::Ec));
    write(&site, &between.revocation_list(&[&alice], 60));
    let path = site.topology.directory().join("crl.pem");
    let line = format!("crl-verify {}", path.display());
    let server = Server::start(&site, &site.server_config().line(line));
    let revoked = "VERIFY ERROR: depth=0, error=certificate revoked: CN=alice, serial=";
    assert_refused(&site, &server, &alice, revoked);
    connect(&site, 1, &bob).assert_reaches_all(&site);

    // 2.6.14 says nothing of a list that its authority has not signed.
    if !Implementation::is_ringway("a_list_that_another_has_signed") {
        return;
    }
    let other = crate::pki::Authority::new("between");
    write(&site, &other.revocation_list(&[], 60));
    wait_until_read(&server, "CRL: loaded 1 CRLs from file ", 2);
    let forged = "VERIFY ERROR: depth=0, error=CRL signature failure: CN=bob, serial=";
    assert_refused(&site, &server, &bob, forged);
}
