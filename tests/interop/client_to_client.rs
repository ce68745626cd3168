//! Clients that reach each other: inside the server with `client-to-client`, through the server's
//! kernel without it. Some share a shard and some do not, some send `DATA_V1`.

use std::collections::BTreeSet;

use crate::client::{Client, ClientConfig};
use crate::network::Namespace;
use crate::process::eventually;
use crate::server::{Server, ServerConfig, Site, shards};
use crate::traffic::{ping, transfer_both_ways};

/// Clients, of which the last [`OLD`] send `DATA_V1`.
const CLIENTS: usize = 5;
const OLD: usize = 2;

/// A running server with [`CLIENTS`] clients on different shards, two of them on the same one.
struct Party {
    site: Site,
    clients: Vec<Client>,
    _server: Server,
}

impl Party {
    fn connect(config: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let site = Site::new(CLIENTS);
        let server = Server::start(&site, &config(site.server_config()));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let config = ClientConfig::new(&site, index, &format!("client-{index}"));
                let config = if index < CLIENTS - OLD {
                    config
                } else {
                    config.line("pull-filter ignore \"peer-id\"")
                };
                Client::connect(&site, &config)
            })
            .collect();
        let party = Self {
            site,
            clients,
            _server: server,
        };
        party.spread();
        party
    }

    /// Restarts clients until some share a shard and some do not, as far as there are shards.
    fn spread(&self) {
        for client in self.clients.iter().cycle() {
            let in_use: BTreeSet<_> = self.clients.iter().map(Client::shard).collect();
            if shards() == 1 || (2..CLIENTS).contains(&in_use.len()) {
                return;
            }
            client.reconnect_elsewhere(&self.site);
        }
    }

    /// Asserts that each answers the others over both families, and how far away it is.
    fn assert_all_reach_each_other(&self, hops: u8) {
        std::thread::scope(|scope| {
            for client in &self.clients {
                scope.spawn(move || {
                    for other in self.others(client) {
                        for to in [
                            other.tunnel_v4(&self.site).into(),
                            other.tunnel_v6(&self.site).into(),
                        ] {
                            let report = ping(client.namespace(&self.site), to, 3);
                            report.assert_all_received();
                            report.assert_ttl(64 - hops);
                        }
                    }
                });
            }
        });
    }

    fn assert_nobody_reaches_another(&self) {
        for (client, other) in [(0, 1), (0, CLIENTS - 1), (CLIENTS - 1, 0)] {
            let to = self.clients[other].tunnel_v4(&self.site).into();
            let report = ping(self.clients[client].namespace(&self.site), to, 5);
            assert_eq!(report.received, 0, "from {client} to {other}");
        }
    }

    /// 10 MB both ways, and as much over IPv6, between two of each kind.
    fn assert_transfers(&self) {
        for (near, far) in [(0, 1), (1, 2), (2, CLIENTS - 1), (CLIENTS - 1, CLIENTS - 2)] {
            let [near, far] = [near, far].map(|index: usize| &self.clients[index]);
            for to in [
                far.tunnel_v4(&self.site).into(),
                far.tunnel_v6(&self.site).into(),
            ] {
                let (from, listener) = (near.namespace(&self.site), far.namespace(&self.site));
                transfer_both_ways(from, listener, to);
            }
        }
    }

    fn others(&self, client: &Client) -> impl Iterator<Item = &Client> {
        let own = client.tunnel_v4(&self.site);
        self.clients
            .iter()
            .filter(move |other| other.tunnel_v4(&self.site) != own)
    }
}

/// The server's machine forwards nothing: the server itself passes packets on, as they are.
#[test]
fn client_to_client_inside_the_server() {
    let party = Party::connect(|config| config.line("client-to-client"));
    forward(&party.site.topology.server, false);
    party.assert_all_reach_each_other(0);
    party.assert_transfers();
}

/// With the directive, what is not for a client still goes to the server and beyond.
#[test]
fn client_to_client_leaves_other_traffic_alone() {
    let party = Party::connect(|config| config.line("client-to-client"));
    for client in &party.clients {
        client.assert_reaches_all(&party.site);
    }
}

/// Without the directive it is the server's machine that decides, and counts as a hop.
#[test]
fn clients_reach_each_other_by_forwarding() {
    let party = Party::connect(|config| config);
    let machine = &party.site.topology.server;
    forward(machine, false);
    party.assert_nobody_reaches_another();
    forward(machine, true);
    eventually("a ping from client to client", || {
        let to = party.clients[1].tunnel_v6(&party.site).into();
        let report = ping(party.clients[0].namespace(&party.site), to, 1);
        (report.received == 1).then_some(())
    });
    party.assert_all_reach_each_other(1);
    party.assert_transfers();
}

/// A client that went away and one that came in its place: what the others send reaches the
/// address wherever its session is.
#[test]
fn client_to_client_follows_a_reconnect() {
    let party = Party::connect(|config| config.line("client-to-client"));
    forward(&party.site.topology.server, false);
    for index in [0, CLIENTS - 1] {
        party.clients[index].reconnect_elsewhere(&party.site);
        party.assert_all_reach_each_other(0);
    }
}

fn forward(machine: &Namespace, forward: bool) {
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        machine.run(
            "sysctl",
            &["-q", "-w", &format!("{key}={}", u8::from(forward))],
        );
    }
}
