//! Datagrams that a shard never sees, as drops that it can count: the kernel had no room for them, or
//! the ring could make nothing of them.

use crate::limits::LOSS_INTERVAL;
use crate::packet::DropReason;
use crate::reactor::{Reactor, ReactorCounters, SocketId};
use crate::time::Monotonic;

/// What was lost until the last look.
#[derive(Debug)]
pub(super) struct Losses {
    counters: ReactorCounters,
    overflowed: Vec<u32>,
    next: Monotonic,
}

impl Losses {
    /// Nothing was lost yet.
    pub(super) fn new() -> Self {
        Self {
            counters: ReactorCounters::default(),
            overflowed: Vec::new(),
            next: Monotonic::ZERO,
        }
    }

    /// What was lost since the last look, if it is time for one: the kernel is asked about each socket.
    pub(super) fn look(
        &mut self,
        now: Monotonic,
        reactor: &Reactor,
        sockets: impl Iterator<Item = SocketId>,
    ) -> Option<[(DropReason, u64); 3]> {
        if now < self.next {
            return None;
        }
        self.next = now + LOSS_INTERVAL;
        let overflowed = sockets.map(|socket| reactor.overflowed(socket));
        Some(self.since(reactor.counters(), overflowed.collect()))
    }

    /// A socket is gone: the next one in its place counts from the beginning.
    pub(super) fn forget(&mut self, socket: usize) {
        if let Some(overflowed) = self.overflowed.get_mut(socket) {
            *overflowed = 0;
        }
    }

    fn since(&mut self, counters: ReactorCounters, overflowed: Vec<u32>) -> [(DropReason, u64); 3] {
        let former = std::mem::replace(&mut self.counters, counters);
        self.overflowed.resize(overflowed.len(), 0);
        let lost = overflowed.iter().zip(&self.overflowed);
        let lost = lost.map(|(now, before)| u64::from(now.wrapping_sub(*before)));
        let overflow = lost.sum();
        self.overflowed = overflowed;
        let empty = counters.empty_datagrams - former.empty_datagrams;
        let malformed = counters.malformed_datagrams - former.malformed_datagrams;
        [
            (DropReason::Empty, empty),
            (DropReason::Malformed, malformed),
            (DropReason::ReceiveOverflow, overflow),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_counted_once_also_when_a_counter_begins_anew() {
        let mut losses = Losses::new();
        let mut since = |empty_datagrams, malformed_datagrams, overflowed: [u32; 2]| {
            let counters = ReactorCounters {
                empty_datagrams,
                malformed_datagrams,
                ..ReactorCounters::default()
            };
            losses
                .since(counters, overflowed.to_vec())
                .map(|(_, packets)| packets)
        };
        assert_eq!(since(3, 0, [0, u32::MAX]), [3, 0, u64::from(u32::MAX)]);
        assert_eq!(since(3, 2, [5, 9]), [0, 2, 5 + 10]);
        assert_eq!(since(3, 2, [5, 9]), [0, 0, 0]);
    }

    #[test]
    fn a_socket_in_the_place_of_another_counts_from_the_beginning() {
        let mut losses = Losses::new();
        let counters = ReactorCounters::default();
        assert_eq!(losses.since(counters, vec![0, 9])[2].1, 9);
        losses.forget(1);
        assert_eq!(losses.since(counters, vec![0, 0])[2].1, 0, "it is gone");
        assert_eq!(losses.since(counters, vec![0, 2])[2].1, 2);
    }
}
