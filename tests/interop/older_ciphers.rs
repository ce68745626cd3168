//! AES-CBC with an HMAC, for clients that have nothing else.

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::eventually;
use crate::server::{Implementation, Server, Site};
use crate::traffic::{ping_with, transfer_both_ways};

/// A server with these lines and a client with those serve all kinds of packets; what was agreed on.
fn connected(server: &[&str], client: &[&str]) -> String {
    let site = Site::new(1);
    let config = server
        .iter()
        .fold(site.server_config(), |config, line| config.line(*line));
    let server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice");
    let config = client
        .iter()
        .fold(config, |config, line| config.line(*line));
    let client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    let namespace = client.namespace(&site);
    for size in ["1", "11", "12", "13", "1472"] {
        ping_with(namespace, LAN_V4, 2, &["-M", "do", "-s", size]).assert_all_received();
    }
    transfer_both_ways(namespace, &site.topology.lan, LAN_V4);
    for process in [&server.process, &client.process] {
        for complaint in ["Decrypt error", "authentication failed", "bad packet ID"] {
            assert_eq!(process.count(complaint), 0, "{complaint}");
        }
    }
    client.process.wait_for("Data Channel: cipher")
}

#[test]
fn a_client_with_nothing_else_is_served_in_cbc() {
    for (cipher, digest) in [
        ("AES-256-CBC", "SHA1"),
        ("AES-192-CBC", "SHA512"),
        ("AES-128-CBC", "SHA256"),
        ("AES-256-CBC", "SHA384"),
    ] {
        let ciphers = format!("data-ciphers AES-256-GCM:{cipher}");
        let auth = format!("auth {digest}");
        let own = format!("data-ciphers {cipher}");
        let said = connected(&[&ciphers, &auth], &[&own, &auth]);
        let bits = cipher.trim_start_matches("AES-");
        assert!(
            said.contains(&format!("AES-{bits}', auth '{digest}'")),
            "{said}"
        );
    }
}

/// The stock daemon would take the first of its line, which is the older one.
#[test]
fn a_client_that_has_better_gets_better() {
    if !Implementation::is_ringway("a_client_that_has_better_gets_better") {
        return;
    }
    let both = "data-ciphers AES-256-CBC:AES-256-GCM";
    let said = connected(&[both], &[both]);
    assert!(said.contains("'AES-256-GCM'"), "{said}");
}

/// Renewed keys are of the same kind.
#[test]
fn keys_of_cbc_are_renewed() {
    let site = Site::new(1);
    let config = site.server_config().line("data-ciphers AES-256-CBC");
    let server = Server::start(&site, &config.line("reneg-sec 5"));
    let config = ClientConfig::new(&site, 0, "alice").line("data-ciphers AES-256-CBC");
    let client = Client::connect(&site, &config);
    eventually("two more generations of keys", || {
        client.assert_reaches_all(&site);
        (client.process.count("Control Channel: TLS") >= 3).then_some(())
    });
    assert_eq!(server.process.count("Decrypt error"), 0);
    assert_eq!(client.process.count("Decrypt error"), 0);
}
