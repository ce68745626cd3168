//! What the management interface wants of the node thread, beside a report.

use crossbeam::channel::Sender;

use crate::node::event::Text;

/// An order.
#[derive(Debug)]
pub enum ManagementOrder {
    /// Clients are to go.
    Kill {
        /// Their numbers.
        clients: Vec<u64>,
        /// How.
        how: Killed,
        /// Gets how many of them there were.
        asker: Sender<usize>,
    },
    /// The log is to say so much.
    Verb(u8),
    /// So many lines of a kind in a row are to be logged, 0 for all.
    Mute(u32),
    /// The password of the key is to be forgotten.
    ForgetPasswords,
}

/// How a client is made to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Killed {
    /// At once and without a word (`kill`).
    Silently,
    /// It gets this message and goes a few seconds later (`client-kill`).
    Told(Text),
}
