//! Floor 4: the data path over batches of packets.
//!
//! Invariant: no clock, no socket, no thread, no TLS.

mod pool;

pub use pool::{Buffer, Pool};
