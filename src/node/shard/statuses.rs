//! What a shard tells of its clients when it is asked.

use super::connections::{Connection, Standing};
use super::{Edges, Shard};
use crate::node::status::{ClientStatus, RouteStatus};
use crate::time::Now;
use crate::wire::PeerId;

impl<E: Edges> Shard<E> {
    /// A row for each client, and for each key exchange that runs, as stock lists them too.
    pub(super) fn client_statuses(&self, now: Now) -> Vec<ClientStatus> {
        let connections = self.connections.iter();
        let listed = connections.filter(|shown| !matches!(shown.standing, Standing::Leaving));
        listed
            .map(|connection| self.client_status(connection, now))
            .collect()
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
            username: None,
            client_id: 0,
            peer_id: PeerId::NONE,
            cipher: "".into(),
            routes: Vec::new(),
        };
        if let Standing::Client(client) = &connection.standing
            && let Some(peer) = self.peers.peer(client.peer)
        {
            let silent = now.monotonic.since(peer.last_received).as_secs();
            let last_reference = now.unix.saturating_sub(silent);
            status.v4 = client.addresses.v4;
            status.v6 = client.addresses.v6;
            status.bytes_received = peer.traffic.received_bytes;
            status.bytes_sent = peer.traffic.sent_bytes;
            status.client_id = client.client_id;
            status.peer_id = peer.peer_id();
            status.cipher = client.cipher.clone();
            status.routes = peer
                .addresses()
                .iter()
                .map(|address| RouteStatus {
                    destination: address.into(),
                    last_reference,
                })
                .collect();
        }
        status
    }
}
