//! What the registry wants done.

use std::sync::Arc;

use ipnet::IpNet;

use super::announcements::Announcement;
use super::notice::SessionAt;
use super::place::Place;
use crate::node::auth::Arrival;
use crate::node::event::{AdmissionRefusal, ClientTag, ReleaseCause};

/// An order of the registry. Orders are carried out in their order.
///
/// For a client that is let in these are: steer, announce, grant. The packet that a client is
/// waited for with in the local network can come as soon as it is granted; by then the kernel
/// should have the queue that leads to its shard, and other shards know where to hand on what came
/// to them. For one that goes they are: announce, steer; so that no shard hands packets to one that
/// has no client for them, while the kernel still brings some there. Either way a packet that is
/// too early or too late is dropped or handed on, never sealed with the key of another client: a
/// shard looks in its own peer table.
///
/// An order to a shard may be lost. It is repeated, by the registry or in answer to the shard's own
/// repetition, so nobody needs to keep it for a shard that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Have the file of a client read, and say what came of it to
    /// [`Registry::profile_read`](super::Registry::profile_read).
    ReadProfile {
        /// Whose it is.
        of: SessionAt,
        /// Its name, and where it is.
        client: ClientTag,
    },
    /// Ask whether a client that has a place may come in, and say what came of it to
    /// [`Registry::connected`](super::Registry::connected).
    Connect(Arrival),
    /// Tell where a client's addresses lead, and say what came of it to
    /// [`Registry::learned`](super::Registry::learned).
    Learn {
        /// Its number.
        client_id: u64,
        /// Its place.
        place: Arc<Place>,
    },
    /// Inner packets to these addresses go to that shard; with `None`, anywhere.
    Steer {
        /// Which addresses.
        what: Steered,
        /// The shard.
        shard: Option<u16>,
    },
    /// Tell a shard who has which addresses and networks.
    Announce {
        /// Which shard.
        to: u16,
        /// What it is told.
        announcement: Announcement,
    },
    /// The session is admitted.
    Grant {
        /// Which one.
        to: SessionAt,
        /// Its number, as management and scripts know it: from 0, never used twice.
        client_id: u64,
        /// What it is given.
        place: Arc<Place>,
    },
    /// The session is not admitted; the registry has forgotten it.
    Refuse {
        /// Which one.
        to: SessionAt,
        /// Why.
        refusal: AdmissionRefusal,
    },
    /// Another session needs what this one has: end it, and say that it is gone.
    Release {
        /// Which one.
        to: SessionAt,
        /// What the other one needs.
        cause: ReleaseCause,
    },
    /// The registry has heard that the session is gone, and knows nothing of it any more.
    Forget {
        /// Which one.
        to: SessionAt,
    },
}

/// What the kernel can be told to bring to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steered {
    /// The addresses of a slot of the pool.
    Slot(u32),
    /// A network, or an address that is not of the pool.
    Network(IpNet),
}
