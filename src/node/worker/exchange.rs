//! The queues between the shards of a node: packets that came in on the wrong shard, and their
//! buffers on the way back.
//!
//! Each ordered pair of shards has a queue of its own, so nobody contends with a third. A buffer goes
//! out with a packet and comes back by the queue beside it; no more than its queue holds are away at
//! once, so that there is always room for it on the way back. Wake-ups are collected: however many
//! packets a turn hands over, a shard is woken once.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::limits::{HAND_OFFS_IN_FLIGHT, hand_offs_per_pair};
use crate::packet::{Buffer, Parcel};
use crate::reactor::Waker;

/// One shard's ends of the queues to and from all others.
pub(in crate::node) struct Exchange {
    /// By shard; nothing at its own place.
    links: Vec<Option<Link>>,
    /// Buffers that are away.
    away: usize,
    /// Whose turn it is to be taken from.
    next: usize,
}

/// The queues between this shard and one other.
struct Link {
    parcels: Pipe<Parcel>,
    spent: Pipe<Buffer>,
    /// Buffers of this shard that the other one has.
    away: usize,
    waker: Waker,
    /// Whether it has to be woken.
    is_due: bool,
}

/// A queue each way.
struct Pipe<T> {
    to: Arc<ArrayQueue<T>>,
    from: Arc<ArrayQueue<T>>,
}

impl Exchange {
    /// The exchanges of all shards, each of which is woken by its waker.
    pub(in crate::node) fn between(wakers: &[Waker]) -> Vec<Self> {
        let room = hand_offs_per_pair(wakers.len());
        let parcels = queues(wakers.len(), room);
        let spent = queues(wakers.len(), room);
        let link = |own: usize, (other, waker): (usize, &Waker)| {
            (own != other).then(|| Link {
                parcels: Pipe::between(&parcels, own, other),
                spent: Pipe::between(&spent, own, other),
                away: 0,
                waker: waker.clone(),
                is_due: false,
            })
        };
        (0..wakers.len())
            .map(|own| Self {
                links: wakers.iter().enumerate().map(|at| link(own, at)).collect(),
                away: 0,
                next: 0,
            })
            .collect()
    }

    /// Hands a packet to another shard, which [`Exchange::wake`] will tell.
    ///
    /// # Errors
    /// The packet, when too many are on their way already, or there is no such shard.
    pub(super) fn hand_off(&mut self, to: u16, parcel: Parcel) -> Result<(), Parcel> {
        let link = self.links.get_mut(usize::from(to)).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.away < link.parcels.to.capacity()) else {
            return Err(parcel);
        };
        if self.away >= HAND_OFFS_IN_FLIGHT {
            return Err(parcel);
        }
        link.parcels.to.push(parcel)?;
        link.away += 1;
        link.is_due = true;
        self.away += 1;
        Ok(())
    }

    /// Wakes the shards that something was handed to since the last time.
    pub(super) fn wake(&mut self) {
        for link in self.links.iter_mut().flatten().filter(|link| link.is_due) {
            link.is_due = false;
            link.waker.wake();
        }
    }

    /// Whether another shard has handed something over.
    pub(super) fn has_parcels(&self) -> bool {
        let mut links = self.links.iter().flatten();
        links.any(|link| !link.parcels.from.is_empty())
    }

    /// Packets that other shards have handed over and that wait.
    pub(super) fn waiting(&self) -> usize {
        let links = self.links.iter().flatten();
        links.map(|link| link.parcels.from.len()).sum()
    }

    /// Buffers that other shards have.
    pub(super) fn away(&self) -> usize {
        self.away
    }

    /// A packet that another shard has handed over; the shards are taken from in turn.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        let count = self.links.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            let parcel = self.links[at]
                .as_ref()
                .and_then(|link| link.parcels.from.pop());
            if parcel.is_some() {
                self.next = at + 1;
                return parcel;
            }
        }
        None
    }

    /// Gives the buffer of a packet that was taken back to the shard that it came from.
    pub(super) fn give_back(&mut self, from: u16, buffer: Buffer) {
        if let Some(Some(link)) = self.links.get(usize::from(from)) {
            // There is room: no more buffers are away than fit. Nobody is woken for it.
            let _fits = link.spent.to.push(buffer);
        }
    }

    /// A buffer that another shard has given back.
    pub(super) fn reclaim(&mut self) -> Option<Buffer> {
        if self.away == 0 {
            return None;
        }
        for link in self.links.iter_mut().flatten() {
            if let Some(buffer) = link.spent.from.pop() {
                link.away -= 1;
                self.away -= 1;
                return Some(buffer);
            }
        }
        None
    }
}

impl<T> Pipe<T> {
    fn between(queues: &[Vec<Arc<ArrayQueue<T>>>], own: usize, other: usize) -> Self {
        Self {
            to: Arc::clone(&queues[own][other]),
            from: Arc::clone(&queues[other][own]),
        }
    }
}

/// A queue for each ordered pair: from the first index to the second.
fn queues<T>(shards: usize, room: usize) -> Vec<Vec<Arc<ArrayQueue<T>>>> {
    let row = |_| {
        (0..shards)
            .map(|_| Arc::new(ArrayQueue::new(room)))
            .collect()
    };
    (0..shards).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{InnerSource, Offload, Packet, ParcelContent, Pool};

    fn exchanges(shards: usize) -> Vec<Exchange> {
        let wakers: Vec<_> = (0..shards).map(|_| Waker::new().unwrap()).collect();
        Exchange::between(&wakers)
    }

    fn parcel(from: u16, mut buffer: Buffer, mark: u8) -> Parcel {
        buffer.bytes_mut()[0] = mark;
        Parcel {
            from,
            packet: Packet::single(buffer, 0, 1),
            content: ParcelContent::Inner(InnerSource::Tun, Offload::None),
        }
    }

    fn marks(exchange: &mut Exchange) -> Vec<(u16, u8)> {
        let taken = std::iter::from_fn(|| exchange.take());
        taken
            .map(|parcel| (parcel.from, parcel.packet.bytes()[0]))
            .collect()
    }

    #[test]
    fn parcels_arrive_where_they_were_sent_in_order() {
        let mut pool = Pool::new(4);
        let mut shards = exchanges(3);
        for (from, to, mark) in [(0, 2, 1), (0, 1, 2), (0, 2, 3), (1, 2, 4)] {
            let parcel = parcel(from, pool.take().unwrap(), mark);
            assert!(shards[usize::from(from)].hand_off(to, parcel).is_ok());
        }
        assert!(!shards[0].has_parcels());
        assert!(shards[1].has_parcels() && shards[2].has_parcels());
        assert_eq!(marks(&mut shards[1]), [(0, 2)]);
        assert_eq!(marks(&mut shards[2]), [(0, 1), (1, 4), (0, 3)], "in turn");
        assert!(!shards[2].has_parcels());
    }

    #[test]
    fn a_buffer_that_is_away_bounds_what_follows_until_it_is_back() {
        let room = hand_offs_per_pair(2);
        let mut pool = Pool::new(room as u32 + 1);
        let mut shards = exchanges(2);
        for _ in 0..room {
            let parcel = parcel(0, pool.take().unwrap(), 0);
            assert!(shards[0].hand_off(1, parcel).is_ok());
        }
        // Taken, but not given back: the room beside it on the way back is still needed.
        let taken = shards[1].take().unwrap();
        let refused = shards[0].hand_off(1, parcel(0, pool.take().unwrap(), 7));
        let refused = refused.unwrap_err();
        assert_eq!(refused.packet.bytes(), [7]);
        assert!(shards[0].reclaim().is_none());

        shards[1].give_back(taken.from, taken.packet.buffer);
        assert!(shards[0].reclaim().is_some());
        assert!(shards[0].reclaim().is_none());
        assert!(shards[0].hand_off(1, refused).is_ok());
    }

    #[test]
    fn nothing_is_handed_to_oneself_or_to_nobody() {
        let mut pool = Pool::new(1);
        let mut shards = exchanges(2);
        let mut refused = parcel(0, pool.take().unwrap(), 0);
        for to in [0, 2, u16::MAX] {
            refused = shards[0].hand_off(to, refused).unwrap_err();
        }
    }

    #[test]
    fn a_shard_has_a_bound_over_all_others() {
        const SHARDS: usize = 200;
        let per_pair = hand_offs_per_pair(SHARDS);
        assert!(per_pair * (SHARDS - 1) > HAND_OFFS_IN_FLIGHT);
        let mut pool = Pool::new(HAND_OFFS_IN_FLIGHT as u32 + 1);
        let mut shards = exchanges(SHARDS);
        let mut sent = 0;
        while let Some(buffer) = pool.take() {
            let to = 1 + sent % (SHARDS as u16 - 1);
            if shards[0].hand_off(to, parcel(0, buffer, 0)).is_err() {
                break;
            }
            sent += 1;
        }
        assert_eq!(usize::from(sent), HAND_OFFS_IN_FLIGHT);
    }
}
