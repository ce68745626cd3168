//! Keeps the memory of the process out of swap (`mlock`), and out of core dumps.
//!
//! Pages are locked as they are touched: the pools of buffers are mostly untouched, and stay that way.
//! What is locked counts by its addresses all the same, so the limit is taken away first, while the
//! process may do so; a limit that remained would end it later, for want of memory. Who has CAP_IPC_LOCK and
//! keeps it has no limit.

use std::io;

use nix::sys::mman::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

use super::settings::ProcessSettings;

/// The memory can't be locked.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// There is a limit, and it stays.
    #[error(
        "`mlock` needs leave to lock any amount of memory, and the limit is {limit} bytes: start as root, or \
         with LimitMEMLOCK=infinity, `ulimit -l unlimited`, --ulimit memlock=-1 of the container engine; \
         CAP_IPC_LOCK alone is enough without `user`, `group` and `chroot`, which give it up"
    )]
    Limit {
        /// The most that the process may lock.
        limit: u64,
    },
    /// The kernel refuses it.
    #[error("`mlock` is refused: {0}")]
    Lock(io::Error),
}

/// Keeps what is in the memory of this process, with all its secrets, out of core dumps and from other processes
/// of the same user. A process that becomes another user begins anew with that.
pub fn keep_secret() {
    // It is refused for no reason that the kernel has.
    let _refused = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Locks what there is and what comes, if the settings want it: whether they do.
///
/// # Errors
/// See [`MemoryError`].
pub(super) fn lock(process: &ProcessSettings) -> Result<bool, MemoryError> {
    if !process.locks_memory {
        return Ok(false);
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let present = getrlimit(Resource::Memlock);
    if let Some(limit) = present.current
        && setrlimit(Resource::Memlock, unlimited).is_err()
        && !(process.keeps_privileges() && may_lock_any())
    {
        return Err(MemoryError::Limit { limit });
    }
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault;
    mlockall(flags).map_err(|error| MemoryError::Lock(error.into()))?;
    Ok(true)
}

/// Whether the process may lock memory beyond its limit.
pub fn may_lock_any() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_dumped() {
        let before = rustix::process::dumpable_behavior().unwrap();
        let confined = || crate::node::confine(&[]).unwrap();
        for keep in [&keep_secret as &dyn Fn(), &confined] {
            set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
            keep();
            let behind = rustix::process::dumpable_behavior().unwrap();
            set_dumpable_behavior(before).unwrap();
            assert_eq!(behind, DumpableBehavior::NotDumpable);
        }
    }

    #[test]
    fn who_does_not_want_it_locks_nothing() {
        assert!(!lock(&ProcessSettings::default()).unwrap());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("VmLck:\t       0 kB"), "{status}");
    }
}
