//! Floor 6: a running node.
//!
//! Invariant: no configuration syntax.

pub mod bus;
pub mod event;
pub mod leases;
pub mod local_time;
pub mod log;
pub mod registry;
pub mod settings;
pub mod status;
pub mod strangers;
pub mod title;
