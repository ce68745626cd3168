//! Messages between shards: one bounded queue for each ordered pair, and a wake-up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::reactor::Waker;

/// A queue of at most `capacity` messages to the shard that `waker` wakes.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        messages: ArrayQueue::new(capacity),
        sent: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let receiver = Receiver {
        shared: Arc::clone(&shared),
    };
    (Sender { shared, waker }, receiver)
}

/// The end of the shard that sends. Not `Clone`: a pair of shards has one.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    waker: Waker,
}

impl<T> Sender<T> {
    /// Puts a message in and wakes the receiver; gives the message back when the mailbox is full.
    ///
    /// # Errors
    ///
    /// The message, when `capacity` messages wait already.
    pub fn send(&self, message: T) -> Result<(), T> {
        let pushed = self.shared.messages.push(message);
        let counter = match pushed {
            Ok(()) => &self.shared.sent,
            Err(_) => &self.shared.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // A full mailbox wakes too: who finds it full wants it emptied.
        self.waker.wake();
        pushed
    }

    /// Messages put in so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Messages given back so far.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

/// The end of the shard that receives.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// The message that waits longest.
    pub fn take(&self) -> Option<T> {
        self.shared.messages.pop()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.shared.messages.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.messages.is_empty()
    }
}

#[derive(Debug)]
struct Shared<T> {
    messages: ArrayQueue<T>,
    sent: AtomicU64,
    refused: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_message_back_and_counts() {
        let (sender, receiver) = mailbox(2, Waker::new().unwrap());
        assert_eq!(sender.send("first"), Ok(()));
        assert_eq!(sender.send("second"), Ok(()));
        assert_eq!(sender.send("third"), Err("third"));
        assert_eq!((sender.sent(), sender.refused()), (2, 1));
        assert_eq!(receiver.len(), 2);

        assert_eq!(receiver.take(), Some("first"));
        assert_eq!(sender.send("third"), Ok(()));
        assert_eq!(receiver.take(), Some("second"));
        assert_eq!(receiver.take(), Some("third"));
        assert_eq!(receiver.take(), None);
        assert!(receiver.is_empty());
    }
}
