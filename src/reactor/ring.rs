//! One io_uring: made with what we need of it, or refused by the name of what is missing.

use std::io;
use std::time::Duration;

use io_uring::cqueue;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};
use rustix::process::{Resource, getrlimit};

use crate::limits;

/// A submission and a completion queue, used by the thread that made them and no other.
pub(super) struct Ring {
    uring: IoUring,
}

/// Why there is no ring, or no more.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Something forbids io_uring to this process.
    #[error("io_uring is forbidden: {0}")]
    Forbidden(Forbidden),
    /// The kernel lacks something that has no substitute.
    #[error("this kernel's io_uring has no {0}; Linux 6.7 and later have it")]
    Missing(&'static str),
    /// More operations than a ring can take were asked for.
    #[error("a ring of {entries} entries is too large (at most {max})")]
    TooLarge {
        /// Entries asked for.
        entries: usize,
        /// Entries that the kernel allows.
        max: usize,
    },
    /// A process without CAP_IPC_LOCK has locked as much memory as it may, or there is no memory.
    #[error(
        "no memory for an io_uring: {}. A ring of {bytes} bytes counts against it, and so do the \
         rings of all other processes of this user: raise it with LimitMEMLOCK= in the unit file, \
         `ulimit -l`, or --ulimit memlock= of the container engine",
        locked_memory_limit(*limit)
    )]
    Memory {
        /// What the ring needs.
        bytes: u64,
        /// The process's limit on locked memory in bytes, `None` if there is none.
        limit: Option<u64>,
    },
    /// `io_uring_setup` failed otherwise.
    #[error("cannot set up an io_uring: {0}")]
    Setup(#[source] io::Error),
    /// The kernel refused a ring of provided buffers.
    #[error("cannot register a ring of receive buffers: {0}")]
    Buffers(#[source] io::Error),
    /// More sockets or tun queues than the reactor was made for.
    #[error("the reactor has no place for one more {0}")]
    Full(&'static str),
    /// `io_uring_enter` failed.
    #[error("cannot wait for completions: {0}")]
    Enter(#[source] io::Error),
}

/// What forbids io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The administrator has switched it off.
    #[error(
        "the setting kernel.io_uring_disabled is 2, which forbids it to everybody; \
         allow it with: sysctl -w kernel.io_uring_disabled=0"
    )]
    Everybody,
    /// The administrator has restricted it.
    #[error(
        "the setting kernel.io_uring_disabled is 1, which forbids it to processes without \
         CAP_SYS_ADMIN; allow it with: sysctl -w kernel.io_uring_disabled=0, or make this user a \
         member of the group in kernel.io_uring_group"
    )]
    Unprivileged,
    /// A system call filter stands in front, as in containers.
    #[error(
        "a seccomp filter of this process refuses it, as container engines do by default; allow \
         it with the profile container/seccomp.json: docker run --security-opt \
         seccomp=container/seccomp.json"
    )]
    Seccomp,
    /// The kernel does not have it.
    #[error("this kernel was built without it (CONFIG_IO_URING)")]
    NotBuilt,
    /// Nothing that we know of.
    #[error(
        "neither the setting kernel.io_uring_disabled nor a seccomp filter does it; a security \
         module (SELinux, AppArmor) may"
    )]
    Unknown,
}

impl Ring {
    /// A ring for `operations` operations in flight that post at most `completions` completions
    /// before they are collected.
    pub(super) fn new(operations: usize, completions: usize) -> Result<Self, RingError> {
        let submission = entries(operations, SUBMISSIONS_MAX)?;
        let completion = entries(completions, COMPLETIONS_MAX)?;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completion)
            .build(submission)
            .map_err(|error| refused(error, limits::ring_memory(operations, completions)))?;
        for (present, feature) in [
            (
                uring.params().is_feature_nodrop(),
                "NODROP (completions are never lost)",
            ),
            (
                uring.params().is_feature_ext_arg(),
                "EXT_ARG (a wait with a time limit)",
            ),
            (uring.params().is_feature_submit_stable(), "SUBMIT_STABLE"),
        ] {
            if !present {
                return Err(RingError::Missing(feature));
            }
        }
        Ok(Self { uring })
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.uring.submitter()
    }

    pub(super) fn params(&self) -> &io_uring::Parameters {
        self.uring.params()
    }

    /// What others send messages to.
    #[cfg(test)]
    pub(super) fn descriptor(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.uring)
    }

    /// Queues an operation for the next [`turn`](Self::turn). False when the queue is full, which a
    /// caller with no more operations in flight than the ring was made for never sees.
    ///
    /// # Safety
    ///
    /// What the operation points to stays where it is, alive and untouched by others, until its
    /// last completion has been collected.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        let mut queue = self.uring.submission();
        // SAFETY: the caller vouches for what the entry points to.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// Submits what is queued and waits for a completion or until the time is over; no time is
    /// without end. Returns as well when a signal arrives.
    pub(super) fn turn(&self, timeout: Option<Duration>) -> Result<(), RingError> {
        self.turn_for(1, timeout)
    }

    /// As [`turn`](Self::turn), for this many completions. The kernel goes on with a chain only until
    /// it has as many as are wanted.
    pub(super) fn turn_for(
        &self,
        completions: usize,
        timeout: Option<Duration>,
    ) -> Result<(), RingError> {
        let submitter = self.uring.submitter();
        let result = match timeout {
            None => submitter.submit_and_wait(completions),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                submitter.submit_with_args(completions, &SubmitArgs::new().timespec(&timeout))
            }
        };
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // Time is over; a signal; too little memory or too many completions for now: what
            // was not submitted still stands in the queue.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(RingError::Enter(error)),
        }
    }

    /// Moves all completions out of the queue.
    pub(super) fn collect(&mut self, into: &mut Vec<cqueue::Entry>) {
        into.extend(self.uring.completion());
    }
}

fn entries(wanted: usize, max: usize) -> Result<u32, RingError> {
    let entries = wanted.next_power_of_two();
    u32::try_from(entries)
        .ok()
        .filter(|_| entries <= max)
        .ok_or(RingError::TooLarge { entries, max })
}

fn refused(error: io::Error, bytes: u64) -> RingError {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            let limit = getrlimit(Resource::Memlock).current;
            RingError::Memory { bytes, limit }
        }
        Some(number @ (libc::EPERM | libc::EACCES | libc::ENOSYS)) => {
            RingError::Forbidden(forbidden(number, disabled_setting(), is_filtered()))
        }
        Some(libc::EINVAL) => missing_flag().unwrap_or(RingError::Setup(error)),
        _ => RingError::Setup(error),
    }
}

/// Who refuses `io_uring_setup`, from what it said and from what the system says of itself.
fn forbidden(error: i32, setting: Option<u32>, filtered: bool) -> Forbidden {
    match (error, setting, filtered) {
        (_, Some(2), _) => Forbidden::Everybody,
        (_, _, true) => Forbidden::Seccomp,
        (libc::ENOSYS, ..) => Forbidden::NotBuilt,
        (_, Some(1), _) => Forbidden::Unprivileged,
        _ => Forbidden::Unknown,
    }
}

fn locked_memory_limit(limit: Option<u64>) -> String {
    limit.map_or_else(
        || "although locked memory has no limit".to_owned(),
        |limit| format!("the limit on locked memory is {limit} bytes"),
    )
}

/// The first of our flags that the kernel does not know, found by trying.
fn missing_flag() -> Option<RingError> {
    type Flag = fn(&mut io_uring::Builder);
    let flags: [(&'static str, Flag); 3] = [
        ("SUBMIT_ALL", |builder| {
            builder.setup_submit_all();
        }),
        ("SINGLE_ISSUER", |builder| {
            builder.setup_single_issuer();
        }),
        ("DEFER_TASKRUN", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun();
        }),
    ];
    flags.into_iter().find_map(|(name, set)| {
        let mut builder = IoUring::builder();
        set(&mut builder);
        builder.build(1).err().map(|_| RingError::Missing(name))
    })
}

/// The value of `kernel.io_uring_disabled`: 0 allowed, 1 to the privileged, 2 to nobody. Absent
/// before Linux 6.6.
pub(super) fn disabled_setting() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

/// Whether a seccomp filter stands before this thread's system calls.
pub(super) fn is_filtered() -> bool {
    std::fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| {
        status.lines().any(|line| {
            line.strip_prefix("Seccomp:")
                .is_some_and(|mode| mode.trim() == "2")
        })
    })
}

/// Entries of a submission queue (IORING_MAX_ENTRIES).
const SUBMISSIONS_MAX: usize = 32_768;
/// Entries of a completion queue (IORING_MAX_CQ_ENTRIES).
const COMPLETIONS_MAX: usize = 2 * SUBMISSIONS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::testing;

    #[test]
    fn who_forbids_is_named() {
        for (error, setting, filtered, expected) in [
            (libc::EPERM, Some(2), false, Forbidden::Everybody),
            (libc::EPERM, Some(2), true, Forbidden::Everybody),
            (libc::EPERM, Some(1), false, Forbidden::Unprivileged),
            (libc::EPERM, Some(1), true, Forbidden::Seccomp),
            (libc::EPERM, Some(0), true, Forbidden::Seccomp),
            (libc::EPERM, None, true, Forbidden::Seccomp),
            (libc::ENOSYS, None, true, Forbidden::Seccomp),
            (libc::ENOSYS, None, false, Forbidden::NotBuilt),
            (libc::EACCES, Some(0), false, Forbidden::Unknown),
        ] {
            let found = forbidden(error, setting, filtered);
            assert_eq!(found, expected, "{error} {setting:?} {filtered}");
        }
        let text = RingError::Forbidden(Forbidden::Everybody).to_string();
        assert!(text.contains("kernel.io_uring_disabled=0"), "{text}");
    }

    #[test]
    fn a_filter_as_containers_have_it_is_recognized() {
        testing::in_own_thread(|| {
            testing::forbid_io_uring();
            let error = Ring::new(4, 8).err().unwrap();
            assert!(
                matches!(error, RingError::Forbidden(Forbidden::Seccomp)),
                "{error}"
            );
            assert!(
                error.to_string().contains("container/seccomp.json"),
                "{error}"
            );
        });
    }

    #[test]
    fn a_ring_has_room_for_all_completions() {
        let ring = Ring::new(5, 20).unwrap();
        assert_eq!(ring.params().sq_entries(), 8);
        assert_eq!(ring.params().cq_entries(), 32);
        assert!(matches!(
            Ring::new(40_000, 80_000).err(),
            Some(RingError::TooLarge {
                entries: 65_536,
                max: 32_768
            })
        ));
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let mut ring = Ring::new(4, 8).unwrap();
        ring.turn(Some(Duration::ZERO)).unwrap();
        ring.turn(Some(Duration::from_millis(1))).unwrap();
        let mut completions = Vec::new();
        ring.collect(&mut completions);
        assert!(completions.is_empty());
    }
}
