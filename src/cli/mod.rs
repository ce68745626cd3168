//! Floor 7: the command line.
//!
//! Invariant: nothing on the data path.

pub mod client;
pub mod directory;
pub mod pki;
pub mod quickstart;
