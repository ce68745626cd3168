//! What all who are connected share: histories, hold, verbosity; and whom commands are about.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::history::History;
use super::logins::Logins;
use super::order::Killed;
use crate::limits::MANAGEMENT_HISTORY;
use crate::node::counters::NodeReport;

/// What is the same for all connections.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) log: History,
    pub(super) state: History,
    pub(super) echo: History,
    /// Whether the server is to wait at its next start.
    pub(super) hold: bool,
    /// What it waits for at its start.
    pub(super) waits: Waits,
    pub(super) verb: u8,
    pub(super) mute: u32,
    /// What SIGUSR1 is taken for.
    pub(super) restart: &'static str,
    /// Who wants to come in, and who is in.
    pub(super) logins: Logins,
}

impl Desk {
    pub(super) fn new(log_lines: usize) -> Self {
        Self {
            log: History::new(log_lines),
            state: History::new(MANAGEMENT_HISTORY),
            echo: History::new(MANAGEMENT_HISTORY),
            hold: false,
            waits: Waits::Nothing,
            verb: 1,
            mute: 0,
            restart: "SIGUSR1",
            logins: Logins::default(),
        }
    }
}

/// What a server that starts waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// It does not, or does no more.
    Nothing,
    /// `hold release`.
    Release,
    /// The password of its key.
    Password,
}

/// The node, as commands need it.
pub(super) trait Backend {
    /// Unix seconds.
    fn unix(&self) -> u64;
    /// The node as it is; `None` if it does not answer in time.
    fn report(&mut self) -> Option<Arc<NodeReport>>;
    /// Ends clients: how many of them there were.
    fn kill(&mut self, clients: Vec<u64>, how: Killed) -> usize;
    /// How much is logged from now on.
    fn set_verb(&mut self, verb: u8);
    /// How many lines of a kind are logged from now on.
    fn set_mute(&mut self, lines: u32);
    /// Sends the process a signal.
    fn signal(&mut self, signal: i32);
    /// Ends the wait at the start.
    fn release(&mut self);
    /// Says the password of the key to a start that waits for it.
    fn key_password(&mut self, password: Zeroizing<String>);
    /// Has the password of the key forgotten.
    fn forget_passwords(&mut self);
    /// A line of the server's log about this interface.
    fn note(&mut self, text: &str);
}
