//! Super-packets: one header and the payloads of many, split into packets and made of them.
//!
//! Pure functions over bytes of one buffer. Neither direction moves or copies a payload.

pub(super) mod checksum;
mod fields;
mod flow;
mod merge;
mod split;
#[cfg(test)]
pub(super) mod tests;

pub use merge::{Merge, MergeFull, Merging};
pub use split::{Split, Unsplittable};
