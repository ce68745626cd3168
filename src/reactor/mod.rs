//! Floor 5: io_uring, sockets and the tun device.
//!
//! Invariant: no session and no key.
