//! The end of a reactor: no memory is freed that the kernel may still touch.

use std::io;
use std::mem::ManuallyDrop;
use std::time::Instant;

use io_uring::opcode;
use io_uring::types::CancelBuilder;

use crate::limits::{DRAIN_MAX, DRAIN_STEP};
use crate::reactor::operations::memory::Operation;
use crate::reactor::operations::{Life, Reactor};
use crate::reactor::ring::RingError;

impl Drop for Reactor {
    fn drop(&mut self) {
        self.life = Life::Closing;
        if self.drain().is_ok() && self.memory.unregister(&self.ring).is_ok() {
            // SAFETY: no operation is in flight, no group of buffers is registered, and `memory` is
            // not used after this.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
        // Else the memory stays for good, since the kernel may still write to it.
    }
}

impl Reactor {
    /// Submits what is queued, ends what does not end by itself, and waits for all of it.
    fn drain(&mut self) -> Result<(), RingError> {
        let deadline = Instant::now() + DRAIN_MAX;
        self.queue_sends();
        let mut dropped = Vec::new();
        while self.memory.in_flight.len() > 0 {
            self.cancel();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RingError::Enter(io::ErrorKind::TimedOut.into()));
            }
            self.ring.turn(Some(left.min(DRAIN_STEP)))?;
            self.collect(&mut dropped);
            dropped.clear();
        }
        Ok(())
    }

    /// Asks for the end of all that is in flight, unless the last such request is still under way.
    /// It is made more than once: an operation that the kernel has just put aside is not found.
    fn cancel(&mut self) {
        if self.life == Life::Cancelling {
            return;
        }
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
        if self.start(Operation::Cancel, entry) {
            self.life = Life::Cancelling;
        }
    }
}
