//! What can be seen of a shard from outside: for who embeds one, reports about it, or checks in a
//! simulation that its books balance.

use super::connections::Standing;
use super::{Edges, Shard};
use crate::node::leases::Addresses;
use crate::packet::{DropCounters, HandOffCounters, PeerIndex, PeerTable, Pool};

/// How much a shard has in hand. Each number has its bound in [`crate::limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions of any standing.
    pub sessions: usize,
    /// Those that nobody has let in, or that have left and still acknowledge.
    pub half_open: usize,
    /// Connections over TCP without a session.
    pub stream_strangers: usize,
    /// Control datagrams that wait for their turn.
    pub control_backlog: usize,
    /// Reports that the node thread has no room for yet.
    pub unreported: usize,
}

/// An admitted client as its shard knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientView<'a> {
    /// Its common name.
    pub name: &'a str,
    /// The registry's number for it.
    pub client_id: u64,
    /// What the registry has granted it.
    pub addresses: Addresses,
    /// Where it stands in [`Shard::peers`].
    pub peer: PeerIndex,
}

impl<E: Edges> Shard<E> {
    /// The world around it.
    pub const fn edges(&self) -> &E {
        &self.io.edges
    }

    /// The world around it, to be changed.
    pub const fn edges_mut(&mut self) -> &mut E {
        &mut self.io.edges
    }

    /// Its peers, by what they are found.
    pub const fn peers(&self) -> &PeerTable {
        &self.peers
    }

    /// The buffers that it does not use. After a turn the others are with its edges.
    pub const fn pool(&self) -> &Pool {
        &self.io.pool
    }

    /// What it has dropped since it was made.
    pub const fn drops(&self) -> &DropCounters {
        &self.io.drops
    }

    /// What it has handed to other shards, and they to it, since it was made.
    pub const fn hand_offs(&self) -> &HandOffCounters {
        &self.io.hand_offs
    }

    /// How much it has in hand.
    pub fn load(&self) -> Load {
        Load {
            sessions: self.connections.len(),
            half_open: self.connections.half_open_len(),
            stream_strangers: self.stream_strangers.len(),
            control_backlog: self.backlog.len(),
            unreported: self.unreported.len(),
        }
    }

    /// Its admitted clients, in no particular order.
    pub fn clients(&self) -> impl Iterator<Item = ClientView<'_>> + '_ {
        self.connections.iter().filter_map(|connection| {
            let Standing::Client(client) = &connection.standing else {
                return None;
            };
            Some(ClientView {
                name: connection.tag.common_name.as_deref().unwrap_or_default(),
                client_id: client.client_id,
                addresses: client.addresses,
                peer: client.tunnel.peer,
            })
        })
    }
}
