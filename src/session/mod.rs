//! Floor 3: one peer's control channel as a sans-IO state machine, server and client role.
//!
//! Invariant: no clock, no socket, no thread, no data packet.
