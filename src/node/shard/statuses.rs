//! What a shard tells of its clients when it is asked.

use super::connections::{Connection, Standing};
use super::{Edges, Shard};
use crate::node::counters::{Counters, ShardCounters};
use crate::node::status::{ClientStatus, RouteDestination, RouteStatus};
use crate::packet::Traffic;
use crate::time::Now;
use crate::wire::PeerId;

impl<E: Edges> Shard<E> {
    /// A row for each client, and for each key exchange that runs, as stock lists them too.
    pub(super) fn client_statuses(&self, now: Now) -> Vec<ClientStatus> {
        let connections = self.connections.iter();
        let listed = connections.filter(|shown| {
            let left = matches!(shown.standing, Standing::Leaving);
            !left && shown.dialed.is_none()
        });
        listed
            .map(|connection| self.client_status(connection, now))
            .collect()
    }

    /// What the shard and the world around it have counted.
    pub(super) fn counters(&self) -> ShardCounters {
        let sessions = self.connections.iter().count();
        let (mut clients, mut traffic) = (0, Traffic::default());
        for (_, peer) in self.peers.iter() {
            clients += 1;
            traffic.received_packets += peer.traffic.received_packets;
            traffic.received_bytes += peer.traffic.received_bytes;
            traffic.sent_packets += peer.traffic.sent_packets;
            traffic.sent_bytes += peer.traffic.sent_bytes;
        }
        let counters = Counters::default()
            .with(
                "clients",
                [
                    ("connected", clients),
                    ("sessions", sessions as u64),
                    ("received_packets", traffic.received_packets),
                    ("received_bytes", traffic.received_bytes),
                    ("sent_packets", traffic.sent_packets),
                    ("sent_bytes", traffic.sent_bytes),
                ],
            )
            .with(
                "queues",
                [
                    ("buffers_free", self.io.pool.free() as u64),
                    ("control_waiting", self.backlog.len() as u64),
                    ("reports_waiting", self.unreported.len() as u64),
                    ("events_lost", self.lost_events),
                ],
            );
        ShardCounters {
            counters: self.io.edges.counters(counters),
            hand_offs: self.io.hand_offs.clone(),
            drops: self.io.drops.clone(),
        }
    }

    fn client_status(&self, connection: &Connection, now: Now) -> ClientStatus {
        let mut status = ClientStatus {
            common_name: connection.tag.common_name.clone(),
            address: connection.path.remote,
            v4: None,
            v6: None,
            bytes_received: 0,
            bytes_sent: 0,
            connected_since: connection.since,
            username: connection.username.clone(),
            client_id: 0,
            peer_id: PeerId::NONE,
            cipher: "".into(),
            routes: Vec::new(),
        };
        if let Standing::Client(client) = &connection.standing
            && let Some(peer) = self.peers.peer(client.tunnel.peer)
        {
            let silent = now.monotonic.since(peer.last_received).as_secs();
            let last_reference = now.unix.saturating_sub(silent);
            status.v4 = client.addresses.v4;
            status.v6 = client.addresses.v6;
            status.bytes_received = peer.traffic.received_bytes;
            status.bytes_sent = peer.traffic.sent_bytes;
            status.client_id = client.client_id;
            status.peer_id = peer.peer_id();
            status.cipher = client.tunnel.cipher.clone();
            let addresses = peer.addresses();
            let addresses = addresses.iter().map(RouteDestination::Address);
            let networks = peer.prefixes().iter().copied();
            let networks = networks.map(RouteDestination::Network);
            let route = |destination| RouteStatus {
                destination,
                last_reference,
            };
            status.routes = addresses.chain(networks).map(route).collect();
            let remembered = self.network.hosts_remembered;
            let hosts = peer.hosts().into_iter();
            let hosts = hosts.flat_map(|it| it.heard_in(remembered, now.monotonic));
            status.routes.extend(hosts.map(|(host, last)| RouteStatus {
                destination: RouteDestination::Host(host),
                last_reference: now.unix.saturating_sub(now.monotonic.since(last).as_secs()),
            }));
        }
        status
    }
}
