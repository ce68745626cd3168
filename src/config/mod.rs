//! Floor 7: the OpenVPN configuration language.
//!
//! Invariant: no running node.
