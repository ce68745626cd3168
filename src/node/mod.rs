//! Floor 6: a running node.
//!
//! Invariant: no configuration syntax.

pub mod bus;
pub mod event;
pub mod leases;
pub mod local_time;
pub mod log;
mod message;
pub mod registry;
mod running;
pub mod settings;
mod shard;
mod start;
pub mod status;
pub mod strangers;
pub mod title;

pub use running::Node;
pub use start::StartError;
