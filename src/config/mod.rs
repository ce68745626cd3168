//! Floor 7: the OpenVPN configuration language.
//!
//! Two steps: what is written (words, lines, blocks), then [`settings::Settings`], valid by
//! construction.
//!
//! Invariant: no running node.

pub mod diagnostics;
pub mod lexer;
pub use crate::node::settings;
