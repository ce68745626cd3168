//! Files of single clients (`client-config-dir`): addresses, options, who may come in.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::inner_networks::with_files;
use crate::network::LAN_V4;
use crate::outgoing::wait_for_pings;
use crate::pki::Kind;
use crate::process::eventually;
use crate::server::{Implementation, READY, Server, Site};
use crate::traffic::ping;

/// The options of the last PUSH_REPLY.
fn pushed(client: &Client) -> String {
    let lines = client.process.lines();
    let pushed = lines.iter().rfind(|line| line.contains("PUSH_REPLY"));
    pushed.expect("it was sent options").clone()
}

/// Reconnects by itself, with what the file says by then.
fn reconnect(client: &Client, site: &Site) {
    let connections = client.process.count(READY);
    client.process.signal(Signal::USR1);
    client.process.wait_for_count(READY, connections + 1);
    wait_for_pings(site, client);
}

#[test]
fn a_file_is_read_anew_whenever_its_client_comes() {
    let site = Site::new(1);
    let config = with_files(&site, site.server_config());
    let write = |text: &str| site.topology.write("ccd/alice", text);
    write("ifconfig-push 10.8.0.50 255.255.255.0\nifconfig-ipv6-push fd08::50/64\nfoo\n");
    let server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    assert_eq!(client.tunnel_v4(&site), Ipv4Addr::new(10, 8, 0, 50));
    assert_eq!(client.tunnel_v6(&site).to_string(), "fd08::50");
    client.assert_reaches_all(&site);
    let fault = server.process.wait_for("/alice:3: foo");
    let words = "Options error: Unrecognized option or missing or extra parameter(s) in ";
    assert!(fault.contains(words), "{fault}");
    for line in [
        "MULTI: Learn: 10.8.0.50 -> alice/",
        "MULTI: primary virtual IPv6 for alice/",
        "OPTIONS IMPORT: reading client specific options from: ",
    ] {
        server.process.wait_for(line);
    }

    write("push-remove \"route-ipv6 fd90\"\npush \"route 10.99.0.0 255.255.255.0\"\n");
    reconnect(&client, &site);
    assert_ne!(client.tunnel_v4(&site), Ipv4Addr::new(10, 8, 0, 50));
    let said = pushed(&client);
    assert!(said.contains(",route 10.99.0.0 255.255.255.0,"), "{said}");
    assert!(
        said.contains("route 10.90.0.0 ") && !said.contains("fd90"),
        "{said}"
    );
    server.process.wait_for("PUSH_REMOVE 'route-ipv6 fd90'");

    write(
        "push-reset\npush \"topology subnet\"\npush \"route-gateway 10.8.0.1\"\n\
         push \"route 10.90.0.0 255.255.255.0\"\n",
    );
    reconnect(&client, &site);
    let said = pushed(&client);
    let only =
        "PUSH_REPLY,topology subnet,route-gateway 10.8.0.1,route 10.90.0.0 255.255.255.0,ifconfig";
    assert!(said.contains(only), "{said}");
    ping(client.namespace(&site), LAN_V4, 3).assert_all_received();
}

#[test]
fn a_file_shuts_its_client_out_and_lets_it_in_again() {
    let site = Site::new(1);
    let config = with_files(&site, site.server_config());
    site.topology.write("ccd/alice", "disable\n");
    let server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice");
    let mut client = Client::spawn(&site, &config);
    client
        .process
        .wait_for("AUTH: Received control message: AUTH_FAILED");
    client.process.wait_exit();
    server
        .process
        .wait_for("MULTI: client has been rejected due to 'disable' directive");
    site.topology.write("ccd/alice", "");
    Client::connect(&site, &config).assert_reaches_all(&site);
}

/// Who is shut out while it is connected loses what it has as soon as it comes anew, though it does not come in.
#[test]
fn a_file_that_shuts_its_client_out_ends_its_older_session() {
    let site = Site::new(2);
    let config = with_files(&site, site.server_config());
    let server = Server::start(&site, &config);
    let identity = site.authority.client("alice", Kind::Ec);
    let config = |index| {
        let config = ClientConfig::with_identity(&site, index, &identity);
        config.line("ping 1").line("ping-restart 600")
    };
    let older = Client::connect(&site, &config(0));
    site.topology.write("ccd/alice", "disable\n");
    let mut newer = Client::spawn(&site, &config(1));
    newer
        .process
        .wait_for("AUTH: Received control message: AUTH_FAILED");
    newer.process.wait_exit();
    server
        .process
        .wait_for("MULTI: client has been rejected due to 'disable' directive");
    eventually("the older session to be over", || {
        (ping(older.namespace(&site), LAN_V4, 2).received == 0).then_some(())
    });
}

#[test]
fn with_ccd_exclusive_only_clients_with_a_file_of_their_own_come_in() {
    let site = Site::new(2);
    let config = with_files(&site, site.server_config()).line("ccd-exclusive");
    site.topology.write("ccd/DEFAULT", "");
    site.topology.write("ccd/alice", "");
    let server = Server::start(&site, &config);
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let mut bob = Client::spawn(&site, &ClientConfig::new(&site, 1, "bob"));
    bob.process
        .wait_for("AUTH: Received control message: AUTH_FAILED");
    bob.process.wait_exit();
    server.process.wait_for(
        "TLS Auth Error: --client-config-dir authentication failed for common name 'bob' file='",
    );
    alice.assert_reaches_all(&site);
}

/// The file of all who have none of their own; and one that the server, by then somebody else, may not
/// read.
#[test]
fn clients_without_a_file_have_the_default_one() {
    let site = Site::new(2);
    let config = with_files(&site, site.server_config()).line("user nobody");
    let ccd = site.topology.directory().join("ccd");
    let readable = |path: &std::path::Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    };
    readable(site.topology.directory(), 0o755);
    readable(&ccd, 0o755);
    readable(
        &site
            .topology
            .write("ccd/DEFAULT", "push \"route 10.99.0.0 255.255.255.0\"\n"),
        0o644,
    );
    site.topology.write("ccd/bob", "disable\n");
    let server = Server::start(&site, &config);
    for (index, name) in ["alice", "bob"].into_iter().enumerate() {
        let client = Client::connect(&site, &ClientConfig::new(&site, index, name));
        assert!(
            pushed(&client).contains(",route 10.99.0.0 255.255.255.0,"),
            "{name}"
        );
    }
    assert!(
        server
            .process
            .wait_for("Could not access file '")
            .contains("/bob': Permission denied")
    );
    assert_eq!(server.process.count("Could not access file '"), 1);
}

/// The stock daemon would give the address to both.
#[test]
fn an_address_that_a_file_names_is_nobody_elses() {
    if !Implementation::is_ringway("an_address_that_a_file_names_is_nobody_elses") {
        return;
    }
    let site = Site::new(2);
    let config = with_files(&site, site.server_config());
    let server = Server::start(&site, &config);
    let bob = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    let address = bob.tunnel_v4(&site);
    site.topology.write(
        "ccd/alice",
        format!("ifconfig-push {address} 255.255.255.0\n"),
    );
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    assert_eq!(alice.tunnel_v4(&site), address);
    server
        .process
        .wait_for("has the address of 'bob', which is dropped");
    // It is told to come again, and does so at once.
    bob.process.wait_for_count(READY, 2);
    eventually("another address", || {
        (bob.tunnel_v4(&site) != address).then_some(())
    });
    for client in [&alice, &bob] {
        wait_for_pings(&site, client);
        client.assert_reaches_all(&site);
    }
    let to = IpAddr::from(bob.tunnel_v4(&site));
    ping(alice.namespace(&site), to, 3).assert_all_received();
}
