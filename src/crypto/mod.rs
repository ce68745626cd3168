//! Floor 2: keys, packet ids, control-channel wrapping, the TLS engine.
//!
//! Invariant: no clock, no socket, no thread.

pub mod tls;
