//! Where a packet belongs: to a peer of this shard, to another shard, or to nobody here.

use std::net::{IpAddr, Ipv6Addr};

use super::{Directory, Path, PeerIndex, PeerTable};
use crate::session::{Class, OpenVpn2, Steering};
use crate::wire::InnerPacket;

/// What a shard knows of the others. In a node of one shard nobody asks.
#[derive(Debug)]
pub struct Surroundings {
    /// The shard's number.
    pub own: u16,
    /// How datagrams are spread over the shards.
    pub steering: Steering,
    /// The clients of all shards.
    pub directory: Directory,
    /// Whether packets from one client to another go there directly, past the tun device.
    pub client_to_client: bool,
    /// Who answers to clients' IPv6 packets that they go nowhere, if they don't (`block-ipv6`).
    pub refuses_ipv6: Option<Ipv6Addr>,
}

/// Whom an inner packet goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A peer of this shard.
    Peer(PeerIndex),
    /// A client of another shard.
    Shard(u16),
    /// No client at all.
    Nobody,
}

impl Surroundings {
    /// The other shard that a datagram belongs to; `None` if it belongs here, or nobody knows.
    pub(super) fn other_shard_of(&self, datagram: &[u8], path: &Path) -> Option<u16> {
        if self.is_alone() {
            return None;
        }
        let owner = match OpenVpn2::classify(datagram) {
            Class::DataByPath => self.directory.owner_of_path(path),
            class => self.steering.shard_of(class),
        };
        owner.filter(|shard| *shard != self.own)
    }

    /// Whether another client is told apart by this path: `peer` may not move there.
    pub(super) fn is_taken(&self, path: &Path, peer: PeerIndex, peers: &PeerTable) -> bool {
        peers.is_held_by_other(path, peer) || self.directory.is_path_held(path)
    }

    /// Whom packets to an inner address go to. What this shard's own table says wins over an equally
    /// good entry of the directory, which may be late.
    pub(super) fn destination(&self, address: IpAddr, peers: &PeerTable) -> Destination {
        let here = peers.route(address);
        if !self.is_alone()
            && !here.is_some_and(|here| here.is_host())
            && let Some(there) = self.directory.route(address)
            && there.owner.shard != self.own
            && here.is_none_or(|here| there.is_better_than(&here))
        {
            return Destination::Shard(there.owner.shard);
        }
        here.map_or(Destination::Nobody, |here| Destination::Peer(here.owner))
    }

    /// Which client a client's packet goes to; nobody if it is for the tun device.
    ///
    /// Wire: stock floods multicast to all clients; here it is left to the tun device, as broadcast
    /// is. A packet that leads back to its own sender goes there, and comes again only if the sender
    /// routes it: the server's own loop has no other way than once around. The time to live is not
    /// lowered, as stock does not: clients see each other one hop away.
    pub(super) fn other_client(&self, packet: &[u8], peers: &PeerTable) -> Destination {
        let destination = InnerPacket::parse(packet).map(|inner| inner.destination());
        match destination {
            Ok(address) if self.client_to_client && is_unicast(address) => {
                self.destination(address, peers)
            }
            _ => Destination::Nobody,
        }
    }

    fn is_alone(&self) -> bool {
        self.steering.shards() == 1
    }
}

fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_multicast(),
    }
}
