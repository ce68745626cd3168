//! Sessions without a network: first contact, what clients of each version are told, and what
//! peers and strangers that do not keep the rules can do.

#![allow(clippy::expect_used)] // a test says what it expects

mod attack;
mod client_keys;
mod door;
mod farewell;
mod login;
mod pair;
mod puppet;
mod push;
mod push_update;
mod renegotiation;
mod traps;
