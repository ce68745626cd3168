//! Floor 4: the data path over batches of packets.
//!
//! Invariant: no clock, no socket, no thread, no TLS.

mod batch;
mod drop_reason;
mod event;
mod mssfix;
mod path;
mod peer_ids;
mod peer_index;
mod pool;
mod routes;

pub use batch::{Batch, Datagram, Packet, Received};
pub use drop_reason::{DropCounters, DropReason};
pub use event::PeerEvent;
pub use mssfix::Mssfix;
pub use path::{LocalAddress, Path};
pub use peer_ids::PeerIds;
pub use peer_index::PeerIndex;
pub use pool::{Buffer, Pool};
pub use routes::{Routes, RoutesFull};
