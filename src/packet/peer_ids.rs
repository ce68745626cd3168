//! The peer ids that one shard gives out.
//!
//! Steering sends a data packet to the shard `peer_id % shards`, so a shard gives out only ids that
//! lead back to it. An id that was released rests before it is given again: late packets of its
//! former holder would otherwise meet another peer's keys. Wire: wire.md section 18.

use std::collections::VecDeque;

use crate::limits;
use crate::time::Monotonic;
use crate::wire::PeerId;

/// The ids of one shard: never given, in use, or resting.
#[derive(Debug)]
pub(super) struct PeerIds {
    shard: u32,
    shards: u32,
    capacity: u32,
    /// Slots from here to `capacity` were never given.
    fresh: u32,
    /// Released slots with the time of their release, oldest first.
    resting: VecDeque<(u32, Monotonic)>,
}

impl PeerIds {
    /// The ids of `shard` among `shards` (at least 1), `capacity` of them as far as 24 bits reach.
    pub(super) fn new(shard: u32, shards: u32, capacity: u32) -> Self {
        let shards = shards.max(1);
        let shard = shard % shards;
        // PeerId::NONE is the one 24-bit value that names no peer.
        let reachable = (PeerId::NONE.get() - shard).div_ceil(shards);
        let capacity = capacity.min(reachable);
        Self {
            shard,
            shards,
            capacity,
            fresh: 0,
            resting: VecDeque::with_capacity(capacity as usize),
        }
    }

    /// There are `capacity` of them from now on, if that is more than there were.
    pub(super) fn grow(&mut self, capacity: u32) {
        let grown = Self::new(self.shard, self.shards, capacity).capacity;
        if grown > self.capacity {
            self.capacity = grown;
            let room = (grown as usize).saturating_sub(self.resting.len());
            self.resting.reserve(room);
        }
    }

    /// An id that no peer has used for [`limits::PEER_ID_REST`], or `None` when there is none.
    pub(super) fn take(&mut self, now: Monotonic) -> Option<PeerId> {
        let slot = match self.resting.front() {
            Some(&(slot, released)) if now.since(released) >= limits::PEER_ID_REST => {
                self.resting.pop_front();
                slot
            }
            _ if self.fresh < self.capacity => {
                self.fresh += 1;
                self.fresh - 1
            }
            _ => return None,
        };
        PeerId::new(slot * self.shards + self.shard)
    }

    /// Puts an id to rest that [`PeerIds::take`] gave and no peer uses any more.
    pub(super) fn release(&mut self, peer_id: PeerId, now: Monotonic) {
        if let Some(slot) = self.slot(peer_id)
            && self.resting.len() < self.capacity as usize
        {
            self.resting.push_back((slot, now));
        }
    }

    /// The dense number of an id of this shard, below the capacity; `None` for any other.
    pub(super) fn slot(&self, peer_id: PeerId) -> Option<u32> {
        let slot = peer_id.get() / self.shards;
        (peer_id.get() % self.shards == self.shard && slot < self.fresh).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ids_lead_back_to_their_shard() {
        for (shard, shards) in [(0, 1), (0, 4), (3, 4), (6, 7)] {
            let mut ids = PeerIds::new(shard, shards, 100);
            for slot in 0..100 {
                let id = ids.take(Monotonic::ZERO).unwrap();
                assert_eq!(id.get() % shards, shard);
                assert_eq!(ids.slot(id), Some(slot));
            }
            assert_eq!(ids.take(Monotonic::ZERO), None);
        }
    }

    #[test]
    fn a_foreign_id_or_one_never_given_has_no_slot() {
        let mut ids = PeerIds::new(1, 4, 10);
        assert_eq!(ids.take(Monotonic::ZERO), PeerId::new(1));
        assert_eq!(ids.slot(PeerId::new(1).unwrap()), Some(0));
        for foreign in [0, 2, 5, 41, PeerId::NONE.get()] {
            assert_eq!(ids.slot(PeerId::new(foreign).unwrap()), None, "{foreign}");
        }
    }

    #[test]
    fn a_released_id_rests_for_a_minute() {
        let start = Monotonic::ZERO + SECOND;
        let mut ids = PeerIds::new(0, 1, 2);
        let first = ids.take(start).unwrap();
        let second = ids.take(start).unwrap();
        ids.release(first, start);
        ids.release(second, start + SECOND);
        assert_eq!(ids.take(start + SECOND * 59), None);
        assert_eq!(ids.take(start + SECOND * 60), Some(first));
        assert_eq!(ids.take(start + SECOND * 60), None);
        assert_eq!(ids.take(start + SECOND * 61), Some(second));
    }

    #[test]
    fn there_can_be_more_of_them() {
        let mut ids = PeerIds::new(1, 4, 1);
        assert_eq!(ids.take(Monotonic::ZERO), PeerId::new(1));
        assert_eq!(ids.take(Monotonic::ZERO), None);
        ids.grow(2);
        ids.grow(1);
        assert_eq!(ids.take(Monotonic::ZERO), PeerId::new(5));
        assert_eq!(ids.take(Monotonic::ZERO), None);
        assert!(ids.resting.capacity() >= 2);
    }

    #[test]
    fn rested_ids_come_before_fresh_ones() {
        let mut ids = PeerIds::new(0, 1, 1000);
        let first = ids.take(Monotonic::ZERO).unwrap();
        ids.release(first, Monotonic::ZERO);
        assert_ne!(ids.take(Monotonic::ZERO + SECOND), Some(first));
        assert_eq!(ids.take(Monotonic::ZERO + SECOND * 60), Some(first));
    }

    #[test]
    fn the_id_that_means_none_is_never_given() {
        let ids = PeerIds::new(0, 1, u32::MAX);
        assert_eq!(ids.capacity, PeerId::NONE.get());
        let last_shard = PeerIds::new(3, 4, u32::MAX);
        assert_eq!(last_shard.capacity * 4 + 3, PeerId::NONE.get());
    }
}
