//! What the load generator is made of, apart from its sessions and their reactor (those are the
//! binary's): the packets that it sends and counts, what it is told to do, and what it reports.
//!
//! Invariant: nothing here speaks a VPN's protocol. Packets are inner ones.

pub mod arrivals;
pub mod clock;
pub mod compare;
pub mod html;
pub mod lan;
pub mod limits;
pub mod live;
pub mod merge;
pub mod pace;
pub mod payload;
pub mod plan;
pub mod ramp;
pub mod result;
pub mod scenario;
pub mod server_process;
pub mod span;
pub mod summary;
pub mod table;
