//! Wakes a shard from another thread. Many wake-ups before the shard looks are one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the wait of one reactor; made before the reactor, so that others can hold it already.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    event: File,
    /// Set by the first wake-up, cleared by the shard before it looks at its mailboxes.
    pending: AtomicBool,
}

impl Waker {
    /// A waker with an event descriptor of its own.
    ///
    /// # Errors
    ///
    /// The process or the system is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above succeeded, so the descriptor is open, and nobody else has it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            shared: Arc::new(Shared {
                event: File::from(descriptor),
                pending: AtomicBool::new(false),
            }),
        })
    }

    /// Wakes the shard, unless somebody did already and it has not looked yet. What the caller did
    /// before is visible to the shard when it sees [`Completion::Woken`](super::Completion::Woken).
    pub fn wake(&self) {
        if self.shared.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        // The counter can't overflow (one write an acknowledgement) and the descriptor lives as
        // long as `self`, so this write has no way to fail.
        let written = (&self.shared.event).write_all(&1u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "{written:?}");
    }

    /// Lets the next wake-up through. To be called before looking at what it was for: who calls
    /// [`wake`](Self::wake) later than this writes again. A swap and not a store, since it must see
    /// what those did whose wake-up was swallowed.
    pub(super) fn acknowledge(&self) {
        self.shared.pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

#[cfg(test)]
mod compared;
#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn wake_ups_are_one_until_acknowledged() {
        let waker = Waker::new().unwrap();
        for _ in 0..1000 {
            waker.wake();
        }
        assert_eq!(count(&waker), 1);

        waker.acknowledge();
        waker.wake();
        assert_eq!(count(&waker), 1);
    }

    fn count(waker: &Waker) -> u64 {
        let mut counter = [0; 8];
        (&waker.shared.event).read_exact(&mut counter).unwrap();
        u64::from_ne_bytes(counter)
    }
}
