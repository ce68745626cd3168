//! Floor 6: a running node.
//!
//! Invariant: no configuration syntax.

pub mod bus;
pub mod event;
