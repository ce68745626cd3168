//! Traps that other implementations have laid over the years, shown with the real client; docs/traps.md
//! has the list.

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::pki::static_key;
use crate::relay::{Fate, Relay, Way};
use crate::server::{READY, Server, Site};
use crate::traffic::{ping, transfer_both_ways};

/// The ends may differ in `auth`, from which an AEAD cipher takes nothing. It counts where there is an
/// HMAC: in the data channel with CBC, and in tls-auth.
#[test]
fn trap_17_only_a_digest_that_is_used_has_to_agree() {
    let connect = |site: &Site, further: &[&str]| {
        let both = |line: &str| further.contains(&line);
        let mut server = site.server_config().line("auth SHA512");
        let mut client = ClientConfig::new(site, 0, "alice")
            .line("auth SHA1")
            .line("hand-window 5");
        if both("cbc") {
            server = server.line("data-ciphers AES-256-CBC");
            client = client.line("data-ciphers AES-256-CBC");
        }
        if both("tls-auth") {
            let key = static_key();
            server = server.block("tls-auth", &key).line("key-direction 0");
            client = client.block("tls-auth", &key).line("key-direction 1");
        }
        (Server::start(site, &server), Client::spawn(site, &client))
    };

    let site = Site::new(1);
    let (_server, client) = connect(&site, &[]);
    client.wait_connected(&site);
    client.assert_reaches_all(&site);
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);

    let site = Site::new(1);
    let (_server, client) = connect(&site, &["cbc"]);
    client.process.wait_for(READY);
    assert_eq!(ping(client.namespace(&site), LAN_V4, 5).received, 0);
    client
        .process
        .wait_for("Authenticate/Decrypt packet error: packet HMAC authentication failed");

    let site = Site::new(1);
    let (server, client) = connect(&site, &["tls-auth"]);
    // Its HMAC is shorter, so that there seems to be none.
    server
        .process
        .wait_for("TLS Error: cannot locate HMAC in incoming packet from [AF_INET");
    client
        .process
        .wait_for("TLS key negotiation failed to occur within 5 seconds");
    assert_eq!(client.process.count(READY), 0);
}

/// A NAT that gives a client another address in the middle of its handshake: the cookie was for the
/// address before. The client tries again when its time is over, and comes in.
#[test]
fn trap_25_a_client_that_is_moved_during_its_handshake_begins_anew() {
    let site = Site::new(1);
    let relay = Relay::start(&site.topology.clients[0], 0);
    let server = Server::start(&site, &site.server_config());
    // The reset and the server's answer pass, and nothing that the client says next.
    let mut answered = false;
    relay.filter(move |way, _| match way {
        Way::ToClient => {
            answered = true;
            Fate::Pass
        }
        Way::ToServer if answered => Fate::Lose,
        Way::ToServer => Fate::Pass,
    });
    let (ip, port) = relay.address();
    let config = ClientConfig::new(&site, 0, "alice").remote(ip, port);
    let client = Client::spawn(&site, &config.line("hand-window 6"));
    client.process.wait_for("TLS: Initial packet from");
    relay.rebind();
    relay.pass_all();
    client.wait_connected(&site);
    client.assert_reaches_all(&site);
    assert_eq!(server.process.count("Peer Connection Initiated"), 1);
    assert_eq!(client.process.count("TLS key negotiation failed"), 1);
}
