//! What the kernel has done with listeners and streams.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use crate::reactor::completion::{Completion, SocketId};
use crate::reactor::in_flight::Key;
use crate::reactor::operations::Reactor;
use crate::reactor::operations::collect::{outcome, recycle, selected};
use crate::reactor::operations::memory::Reading;
use crate::reactor::tcp::TcpStream;

impl Reactor {
    /// A connection, or why there is none.
    pub(super) fn accepted(
        &mut self,
        key: Key,
        listener: SocketId,
        entry: &cqueue::Entry,
    ) -> Option<Completion> {
        let is_removed = self.memory.sockets.find(listener).is_none();
        let goes_on = cqueue::more(entry.flags());
        if !goes_on {
            self.memory.in_flight.remove(key);
        }
        let result = outcome(entry);
        let passes = result.as_ref().err().is_none_or(is_of_one_connection);
        self.note_reading(
            listener,
            match (goes_on, passes) {
                (true, _) => Reading::Armed,
                (false, true) => Reading::Idle,
                (false, false) => Reading::Resting,
            },
        );
        match result {
            Ok(descriptor) => {
                let descriptor = i32::try_from(descriptor).ok()?;
                // SAFETY: the kernel has opened it for this completion, and nobody else knows it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
                self.counters.accepted += 1;
                let stream = TcpStream::accepted(descriptor);
                (!is_removed).then_some(Completion::Accepted { listener, stream })
            }
            Err(error) if !passes && !is_removed => {
                Some(Completion::AcceptFailed { listener, error })
            }
            Err(_) => None,
        }
    }

    /// The next bytes of a stream, or its end.
    pub(super) fn stream_received(
        &mut self,
        key: Key,
        stream: SocketId,
        entry: &cqueue::Entry,
    ) -> Option<Completion> {
        let buffer = selected(&mut self.memory.receive, entry);
        let is_removed = self.memory.sockets.find(stream).is_none();
        let goes_on = cqueue::more(entry.flags());
        if !goes_on {
            self.memory.in_flight.remove(key);
        }
        let result = outcome(entry);
        let code = result.as_ref().err().and_then(io::Error::raw_os_error);
        let starved = code == Some(libc::ENOBUFS);
        let over = !starved && !matches!(result, Ok(1..));
        let one_step = self.memory.sockets.is_step_by_step(stream) && !starved;
        self.note_reading(
            stream,
            match (goes_on, over) {
                (true, _) => Reading::Armed,
                (false, false) if one_step => Reading::Resting,
                (false, false) => Reading::Idle,
                (false, true) => Reading::Lost,
            },
        );
        self.counters.receive_starved += u64::from(starved);
        match (result, buffer) {
            (Ok(length @ 1..), Some(buffer)) if !is_removed => {
                self.counters.stream_receives += 1;
                Some(Completion::StreamBytes {
                    stream,
                    buffer,
                    range: 0..length,
                })
            }
            (result, buffer) => {
                recycle(&mut self.memory.receive, buffer);
                let told = over && !is_removed;
                told.then(|| Completion::StreamEnded {
                    stream,
                    error: result.err(),
                })
            }
        }
    }
}

/// Whether an error is about the connection that was to be accepted. Wire: accept(2) passes on what the
/// network says of it.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECANCELED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EINTR
        )
    )
}
