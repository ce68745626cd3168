//! Clients that die and come back: with a new session, usually on another shard, and with the
//! addresses that they had.

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::pki::Kind;
use crate::process::eventually;
use crate::server::{Implementation, Server, Site, shards};
use crate::traffic::{PingStream, ping};

/// A client that is killed says nothing; what is sent to its addresses reaches the session which
/// it makes next, whatever shard that is on.
#[test]
fn killed_client_comes_back_on_another_shard() {
    let site = Site::new(3);
    let _server = Server::start(&site, &site.server_config());
    let other = Client::connect(&site, &ClientConfig::new(&site, 2, "bob"));
    let stream = PingStream::start(other.namespace(&site), LAN_V4);
    let identity = site.authority.client("alice", Kind::Ec);
    let connect = |round: usize| {
        let config = ClientConfig::with_identity(&site, round % 2, &identity);
        Client::connect(&site, &config)
    };
    let mut client = connect(0);
    client.assert_reaches_all(&site);
    let addresses = (client.tunnel_v4(&site), client.tunnel_v6(&site));
    let several = shards() > 1 && Implementation::chosen() == Implementation::Ringway;
    let mut moves = 0;
    for round in 1..ROUNDS {
        let before = client.shard();
        client.process.kill();
        client = connect(round);
        assert_eq!(
            (client.tunnel_v4(&site), client.tunnel_v6(&site)),
            addresses,
            "in round {round}"
        );
        client.assert_reaches_all(&site);
        moves += usize::from(client.shard() != before);
        if round >= MOVES && (moves >= MOVES || !several) {
            break;
        }
    }
    assert!(
        moves >= MOVES || !several,
        "it changed its shard {moves} times"
    );
    other.assert_reaches_all(&site);
    stream.stop_and_assert_all_received();
}

/// The LAN host goes on sending to a client that reconnects: nothing comes twice or to another, and
/// it flows again as soon as the client is back.
#[test]
fn traffic_to_a_client_that_reconnects() {
    let site = Site::new(2);
    let _server = Server::start(&site, &site.server_config());
    let clients = [0, 1].map(|index| {
        let config = ClientConfig::new(&site, index, &format!("client-{index}"));
        Client::connect(&site, &config)
    });
    let to = clients[1].tunnel_v4(&site).into();
    let stream = PingStream::start(&site.topology.lan, to);
    for _ in 0..MOVES {
        let target = clients[0].tunnel_v4(&site).into();
        clients[0].reconnect_elsewhere(&site);
        eventually("a ping from the LAN host", || {
            (ping(&site.topology.lan, target, 1).received == 1).then_some(())
        });
        ping(&site.topology.lan, target, 20).assert_all_received();
    }
    stream.stop_and_assert_all_received();
    for client in &clients {
        client.assert_reaches_all(&site);
        assert_eq!(client.process.count("Decrypt error"), 0);
    }
}

/// Changes of the shard to see.
const MOVES: usize = 3;

/// Far more sessions than chance needs for that.
const ROUNDS: usize = 60;
