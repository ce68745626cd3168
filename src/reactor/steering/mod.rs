//! Who gets a packet before we see it: programs of ours that the kernel runs, on the sockets of a
//! listener to choose one, and on the tun device to choose a queue.
//!
//! Where they lead is a hint. Without them the kernel spreads by its own hashes, everything works all
//! the same, and shards hand one another what is not theirs.

mod assembler;
mod bpf;
mod program;
mod reuseport;
mod tun;

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

use crate::reactor::ring::is_filtered;

pub use reuseport::steer_datagrams;
pub(super) use reuseport::try_steering as try_steering_datagrams;
pub(super) use tun::forget_steering;
pub use tun::{TunSteering, can_update_without_capabilities};

/// The step at which a steering program was refused.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The kernel does not take the program on the sockets.
    #[error("cannot attach a steering program to the sockets (SO_ATTACH_REUSEPORT_CBPF): {0}")]
    Sockets(#[source] io::Error),
    /// The process may not use eBPF.
    #[error("not allowed to steer packets of the tun device (bpf): {0}")]
    Denied(Denial),
    /// The kernel makes no map.
    #[error("cannot make a map for the steering of the tun device: {0}")]
    Map(#[source] io::Error),
    /// The kernel does not take the program.
    #[error("cannot load the steering program of the tun device: {source} {verdict}")]
    Program {
        /// What the system said.
        source: io::Error,
        /// What its verifier said last.
        verdict: String,
    },
    /// The device does not take the program.
    #[error("cannot attach the steering program to the tun device (TUNSETSTEERINGEBPF): {0}")]
    Attach(#[source] io::Error),
    /// The kernel does not change a map.
    #[error("cannot tell the tun device who has an address: {0}")]
    Update(#[source] io::Error),
    /// The kernel changes maps for processes with capabilities only.
    #[error(
        "a process that has given up its capabilities can't tell the tun device who has an address"
    )]
    NotForTheUnprivileged,
    /// The pool is smaller.
    #[error("there is no slot {slot} in a pool of {slots} slots")]
    Slot {
        /// The slot.
        slot: u32,
        /// Slots of the pool.
        slots: u32,
    },
}

/// What forbids eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The process is not privileged enough.
    #[error(
        "the capability CAP_BPF is missing, without which it is forbidden whatever \
         kernel.unprivileged_bpf_disabled says (run as root, or AmbientCapabilities=CAP_BPF in the \
         unit, or docker run --cap-add BPF)"
    )]
    Capability,
    /// A system call filter stands in front, as in containers.
    #[error("a seccomp filter of this process refuses it")]
    Seccomp,
    /// Nothing that we know of.
    #[error("a security module (SELinux, AppArmor, lockdown) may refuse it")]
    Unknown,
}

/// The error of a call that makes something, `otherwise` if it does not say that it is forbidden.
fn denied(error: io::Error, otherwise: impl FnOnce(io::Error) -> SteeringError) -> SteeringError {
    // The verifier says EACCES of a bad program, so that is another matter.
    if error.raw_os_error() != Some(libc::EPERM) {
        return otherwise(error);
    }
    let able = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let may = capabilities(None).is_ok_and(|sets| sets.effective.intersects(able));
    SteeringError::Denied(match may {
        false => Denial::Capability,
        true if is_filtered() => Denial::Seccomp,
        true => Denial::Unknown,
    })
}
