//! ringway: a VPN concentrator that speaks the OpenVPN 2.x wire protocol, one io_uring reactor a core.
//!
//! The modules are floors of one house; a floor imports only floors below it (`tests/floors.rs`
//! reads the imports and fails on one that goes up):
//!
//! | floor | modules | what is there |
//! |---|---|---|
//! | 0 | [`limits`], [`time`], [`random`] | every bound; the clock type; the source of randomness |
//! | 1 | [`wire`] | bytes to values and back |
//! | 2 | [`crypto`] | keys, wrapping, replay windows, the TLS engine |
//! | 3 | [`session`] | one peer's control channel as a sans-IO state machine |
//! | 4 | [`packet`] | the data path over batches of packets |
//! | 5 | [`reactor`] | io_uring, sockets, the tun device |
//! | 6 | [`node`] | a running node: shards, registry, events, log |
//! | 7 | [`config`], [`cli`] | the edges |

pub mod limits;
pub mod random;
pub mod time;

pub mod wire;

pub mod crypto;

pub mod session;

pub mod packet;

pub mod reactor;

pub mod node;

pub mod cli;
pub mod config;
