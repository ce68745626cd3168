//! Many real clients at once.

use std::collections::BTreeSet;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::pki::static_key;
use crate::server::{Server, Site};
use crate::traffic::{PingStream, ping};

const CLIENTS: usize = 16;

/// Sixteen start in the same moment; each has its own addresses, and all ping at once.
#[test]
fn sixteen_clients_at_once() {
    let site = Site::new(CLIENTS);
    let key = static_key();
    let server = Server::start(&site, &site.server_config().block("tls-crypt", &key));
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|index| {
            let config = ClientConfig::new(&site, index, &format!("client-{index}"));
            Client::spawn(&site, &config.block("tls-crypt", &key))
        })
        .collect();
    for client in &clients {
        client.wait_connected(&site);
    }
    let v4: BTreeSet<_> = clients
        .iter()
        .map(|client| client.tunnel_v4(&site))
        .collect();
    let v6: BTreeSet<_> = clients
        .iter()
        .map(|client| client.tunnel_v6(&site))
        .collect();
    assert_eq!(
        (v4.len(), v6.len()),
        (CLIENTS, CLIENTS),
        "addresses are not shared"
    );

    let streams: Vec<PingStream> = clients
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let target = if index % 2 == 0 { LAN_V4 } else { LAN_V6 };
            PingStream::start(client.namespace(&site), target)
        })
        .collect();
    // Meanwhile the LAN host reaches each of them.
    for client in &clients {
        ping(&site.topology.lan, client.tunnel_v4(&site).into(), 5).assert_all_received();
        ping(&site.topology.lan, client.tunnel_v6(&site).into(), 5).assert_all_received();
    }
    for stream in streams {
        stream.stop_and_assert_all_received();
    }
    assert_eq!(server.process.count("Peer Connection Initiated"), CLIENTS);
}
