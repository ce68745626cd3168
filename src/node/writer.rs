//! A thread that writes to a place which may take nothing any more: a full pipe, a hung disk.

use std::convert::Infallible;
use std::io;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Receiver, RecvTimeoutError};

use crate::limits::WRITER_GRACE;

/// The thread. Who ends it waits for what is still to be written, but not for ever.
#[derive(Debug)]
pub(super) struct Writer {
    thread: JoinHandle<()>,
    /// Closed when the thread ends.
    end: Receiver<Infallible>,
}

impl Writer {
    /// Starts a thread called `name`.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, end) = channel::bounded(0);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alive = alive;
                work();
            })?;
        Ok(Self { thread, end })
    }

    /// Waits until the thread has done its work, at most [`WRITER_GRACE`]: a thread that hangs in a
    /// write is left behind, and ends with the process.
    pub(super) fn finish(self) {
        if self.end.recv_timeout(WRITER_GRACE) == Err(RecvTimeoutError::Disconnected) {
            // A panic of the thread has been reported by the panic hook.
            let _panicked = self.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn the_work_is_waited_for() {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let writer = Writer::start("writer", move || {
            thread::sleep(Duration::from_millis(50));
            done.store(true, Ordering::Release);
        });
        writer.unwrap().finish();
        assert!(seen.load(Ordering::Acquire));
    }

    #[test]
    fn work_that_never_ends_is_left_behind() {
        let (never, asked) = channel::bounded::<Infallible>(0);
        let writer = Writer::start("writer", move || assert!(asked.recv().is_err()));
        writer.unwrap().finish();
        drop(never);
    }
}
