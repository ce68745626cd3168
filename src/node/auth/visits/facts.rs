//! What the node and the thread of logins tell one another of a client that is on its way in, in, or gone.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::node::event::ClientTag;
use crate::node::registry::{Place, SessionAt};
use crate::node::settings::ProfileLines;

/// A client that has a place, and is not in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its session.
    pub of: SessionAt,
    /// Its number.
    pub client_id: u64,
    /// Its name, and where it is.
    pub client: ClientTag,
    /// What it is to have.
    pub place: Arc<Place>,
}

/// Whether a client may come in, after all who are asked when one connects.
#[derive(Debug)]
pub struct Connected {
    /// Who arrived.
    pub arrival: Arrival,
    /// Lines like those of its file that it is to have besides; or nothing if it may not come in.
    pub lines: Option<Arc<[ProfileLines]>>,
}

/// Where a client's addresses lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Its session.
    pub of: SessionAt,
    /// Its number.
    pub client_id: u64,
    /// Addresses and networks that are not to lead to it.
    pub refused: Vec<IpNet>,
}

/// A client whose login was accepted is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its number.
    pub client_id: u64,
    /// Bytes of payload that came from it.
    pub received: u64,
    /// Bytes of payload that went to it.
    pub sent: u64,
    /// How long it was there.
    pub lasted: Duration,
}
