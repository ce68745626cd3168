//! Floor 7: the command line.
//!
//! Invariant: nothing on the data path.
