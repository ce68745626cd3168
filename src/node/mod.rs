//! Floor 6: a running node.
//!
//! Invariant: no configuration syntax.

pub mod auth;
pub mod bus;
pub mod client;
pub mod client_files;
pub mod control_socket;
pub mod counters;
pub mod event;
mod lease_file;
pub mod leases;
pub mod local_time;
pub mod log;
pub mod logins;
mod machine;
pub mod management;
mod memory;
pub mod message;
pub mod plugins;
mod porter;
mod priority;
mod privileges;
pub mod registry;
pub mod reload;
mod reporting;
pub mod revocations;
pub mod rounds;
mod running;
mod scripts;
pub mod settings;
pub mod shard;
mod start;
pub mod status;
pub mod strangers;
pub mod title;
mod worker;
mod writer;

pub use memory::{MemoryError, keep_secret, may_lock_any};
pub use priority::PriorityError;
pub use privileges::{PrivilegesError, confine};
pub use running::{Ended, Node, ReloadWanted, Reread, Restart};
pub use start::{StartError, client_session_settings};
