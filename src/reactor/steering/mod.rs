//! Who gets a packet before we see it: programs of ours that the kernel runs, on the sockets of a
//! listener to choose one, and on the tun device to choose a queue.
//!
//! Where they lead is a hint. Without them the kernel spreads by its own hashes, everything works all
//! the same, and shards hand one another what is not theirs.

mod reuseport;

use std::io;

pub use reuseport::steer_datagrams;

/// The step at which a steering program was refused.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The kernel does not take the program on the sockets.
    #[error("cannot attach a steering program to the sockets (SO_ATTACH_REUSEPORT_CBPF): {0}")]
    Sockets(#[source] io::Error),
}
