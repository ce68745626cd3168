//! Datagrams that wait for room in the kernel: a queue for each receiver, served in turn.
//!
//! All queues together are bounded. When they are full, the longest of them loses its last datagram:
//! whoever sends to a slow line pushes out nobody else's.

use std::collections::VecDeque;

use crate::limits::{DEFERRED_SENDS, DEFERRED_SENDS_PER_RECEIVER};
use crate::node::shard::Outgoing;
use crate::packet::{Path, PeerIndex};

/// The queues of all receivers that have something waiting, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: VecDeque<Queue>,
    /// Empty queues that keep their memory.
    spare: Vec<VecDeque<Outgoing>>,
    len: usize,
}

#[derive(Debug)]
struct Queue {
    receiver: Receiver,
    waiting: VecDeque<Outgoing>,
    /// How many of them have come back since the last turn: they stand in front, in their order.
    returned: usize,
}

/// Whose datagrams keep their order among one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    Peer(PeerIndex),
    /// One that is no peer.
    Path(Path),
}

impl Queues {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What comes back from now on stands in front again.
    pub(super) fn begin_turn(&mut self) {
        for queue in &mut self.queues {
            queue.returned = 0;
        }
    }

    /// Whether something waits that this must not overtake.
    pub(super) fn waits_before(&self, outgoing: &Outgoing) -> bool {
        !self.is_empty() && self.find(Receiver::of(outgoing)).is_some()
    }

    /// Lets a datagram wait behind the others of its receiver.
    ///
    /// # Errors
    /// What is dropped: this one, or the last of the longest queue.
    pub(super) fn push(&mut self, outgoing: Outgoing) -> Result<(), Outgoing> {
        let place = self.place(Receiver::of(&outgoing));
        let mut dropped = Ok(());
        if self.len >= DEFERRED_SENDS
            || self.queues[place].waiting.len() >= DEFERRED_SENDS_PER_RECEIVER
        {
            let longest = self.longest(place);
            if longest == place {
                self.tidy(place);
                return Err(outgoing);
            }
            if let Some(last) = self.queues[longest].waiting.pop_back() {
                self.len -= 1;
                dropped = Err(last);
            }
        }
        self.queues[place].waiting.push_back(outgoing);
        self.len += 1;
        dropped
    }

    /// Takes back a datagram for which the kernel had no room: in front of what came later.
    pub(super) fn put_back(&mut self, outgoing: Outgoing) {
        let place = self.place(Receiver::of(&outgoing));
        let queue = &mut self.queues[place];
        let at = queue.returned.min(queue.waiting.len());
        queue.waiting.insert(at, outgoing);
        queue.returned += 1;
        self.len += 1;
    }

    /// Whether there is a receiver whose next datagram `can_send`.
    pub(super) fn has(&self, can_send: impl Fn(&Outgoing) -> bool) -> bool {
        let mut next = self.queues.iter().filter_map(|queue| queue.waiting.front());
        next.any(can_send)
    }

    /// Takes the next datagram of the next receiver that `can_send`.
    pub(super) fn pop(&mut self, can_send: impl Fn(&Outgoing) -> bool) -> Option<Outgoing> {
        let ready = |queue: &Queue| queue.waiting.front().is_some_and(&can_send);
        let place = self.queues.iter().position(ready)?;
        let mut queue = self.queues.remove(place)?;
        let next = queue.waiting.pop_front();
        self.len -= usize::from(next.is_some());
        queue.returned = queue.returned.saturating_sub(1);
        match queue.waiting.is_empty() {
            true => self.spare.push(queue.waiting),
            false => self.queues.push_back(queue),
        }
        next
    }

    /// Takes out a datagram that waits for a socket.
    pub(super) fn pop_for(&mut self, socket: u16) -> Option<Outgoing> {
        self.pop(|outgoing| outgoing.path.socket == socket)
    }

    /// Of the peers whose next datagram `counts`, the one for which most waits.
    pub(super) fn longest_of(&self, counts: impl Fn(&Outgoing) -> bool) -> Option<PeerIndex> {
        let counted = self.queues.iter().filter(|queue| {
            let next = queue.waiting.front();
            next.is_some_and(|next| next.peer.is_some() && counts(next))
        });
        let longest = counted.max_by_key(|queue| queue.waiting.len())?;
        longest.waiting.front()?.peer
    }

    /// Whether something waits for this peer.
    pub(super) fn waits_for(&self, peer: PeerIndex) -> bool {
        self.find(Receiver::Peer(peer)).is_some()
    }

    fn find(&self, receiver: Receiver) -> Option<usize> {
        let of = |queue: &Queue| queue.receiver == receiver;
        self.queues.iter().position(of)
    }

    /// The place of the receiver's queue, which is made if there is none.
    fn place(&mut self, receiver: Receiver) -> usize {
        self.find(receiver).unwrap_or_else(|| {
            self.queues.push_back(Queue {
                receiver,
                waiting: self.spare.pop().unwrap_or_default(),
                returned: 0,
            });
            self.queues.len() - 1
        })
    }

    /// The longest queue; `own` if no other is longer, or if it has all that one may have.
    fn longest(&self, own: usize) -> usize {
        let length = |place: usize| self.queues[place].waiting.len();
        if length(own) >= DEFERRED_SENDS_PER_RECEIVER {
            return own;
        }
        let longest = (0..self.queues.len()).max_by_key(|&place| length(place));
        let longer = longest.filter(|&place| length(place) > length(own));
        longer.unwrap_or(own)
    }

    /// Takes an empty queue out.
    fn tidy(&mut self, place: usize) {
        if self.queues[place].waiting.is_empty()
            && let Some(queue) = self.queues.remove(place)
        {
            self.spare.push(queue.waiting);
        }
    }
}

impl Receiver {
    fn of(outgoing: &Outgoing) -> Self {
        match outgoing.peer {
            Some(peer) => Self::Peer(peer),
            None => Self::Path(outgoing.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, PeerTable, Pool, TrafficClass};

    /// Datagrams of some receivers: strangers, told apart by their port.
    struct Scene {
        queues: Queues,
        pool: Pool,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                queues: Queues::default(),
                pool: Pool::new(2 * DEFERRED_SENDS as u32),
            }
        }

        fn outgoing(&mut self, receiver: u16, mark: u16) -> Outgoing {
            let mut packet = Packet::single(self.pool.take().unwrap(), 0, 2);
            packet.bytes_mut().copy_from_slice(&mark.to_be_bytes());
            let path = Path {
                remote: ([192, 0, 2, 1], receiver).into(),
                local: None,
                socket: 0,
            };
            Outgoing {
                packet,
                path,
                class: TrafficClass::DEFAULT,
                peer: None,
            }
        }

        /// Who loses a datagram when one more comes, and which.
        fn push(&mut self, receiver: u16, mark: u16) -> Option<(u16, u16)> {
            let outgoing = self.outgoing(receiver, mark);
            let dropped = self.queues.push(outgoing).err()?;
            Some(self.read(dropped))
        }

        fn put_back(&mut self, receiver: u16, mark: u16) {
            let outgoing = self.outgoing(receiver, mark);
            self.queues.put_back(outgoing);
        }

        fn pop(&mut self, can_send: impl Fn(u16) -> bool) -> Option<(u16, u16)> {
            let next = self.queues.pop(|next| can_send(next.path.remote.port()))?;
            Some(self.read(next))
        }

        fn pop_all(&mut self) -> Vec<(u16, u16)> {
            std::iter::from_fn(|| self.pop(|_| true)).collect()
        }

        fn read(&mut self, outgoing: Outgoing) -> (u16, u16) {
            let mark = u16::from_be_bytes(outgoing.packet.bytes().try_into().unwrap());
            self.pool.give(outgoing.packet.buffer);
            (outgoing.path.remote.port(), mark)
        }
    }

    #[test]
    fn receivers_take_turns_and_each_keeps_its_order() {
        let mut scene = Scene::new();
        for (receiver, mark) in [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6)] {
            assert_eq!(scene.push(receiver, mark), None);
        }
        assert_eq!(scene.queues.len(), 6);
        let served = [(1, 1), (2, 4), (3, 6), (1, 2), (2, 5), (1, 3)];
        assert_eq!(scene.pop_all(), served);
        assert!(scene.queues.is_empty());
    }

    #[test]
    fn what_comes_back_stands_in_front_in_its_order() {
        let mut scene = Scene::new();
        scene.push(1, 30);
        scene.queues.begin_turn();
        for mark in [10, 20] {
            scene.put_back(1, mark);
        }
        scene.push(1, 40);
        // The next turn: the first was tried again, and came back again.
        assert_eq!(scene.pop(|_| true), Some((1, 10)));
        scene.queues.begin_turn();
        scene.put_back(1, 10);
        let marks: Vec<u16> = scene.pop_all().into_iter().map(|(_, mark)| mark).collect();
        assert_eq!(marks, [10, 20, 30, 40]);
    }

    #[test]
    fn one_that_cannot_be_sent_to_holds_up_nobody_else() {
        let mut scene = Scene::new();
        for (receiver, mark) in [(1, 1), (2, 2), (1, 3)] {
            scene.push(receiver, mark);
        }
        assert_eq!(scene.pop(|receiver| receiver != 1), Some((2, 2)));
        assert_eq!(scene.pop(|receiver| receiver != 1), None);
        assert_eq!(scene.pop_all(), [(1, 1), (1, 3)]);
    }

    #[test]
    fn a_full_house_costs_the_longest_queue_its_last() {
        let mut scene = Scene::new();
        let share = DEFERRED_SENDS_PER_RECEIVER as u16;
        let greedy = (DEFERRED_SENDS / DEFERRED_SENDS_PER_RECEIVER) as u16;
        for receiver in 1..=greedy {
            for mark in 0..share {
                assert_eq!(scene.push(receiver, mark), None);
            }
            // Its own share is used up, whatever the others have.
            assert_eq!(scene.push(receiver, share), Some((receiver, share)));
        }
        assert_eq!(scene.queues.len(), DEFERRED_SENDS);
        let (loser, lost) = scene.push(greedy + 1, 7).expect("somebody loses one");
        assert!((1..=greedy).contains(&loser) && lost == share - 1);
        assert_eq!(scene.queues.len(), DEFERRED_SENDS);
        let modest = scene.pop_all();
        assert!(modest.contains(&(greedy + 1, 7)));
    }

    #[test]
    fn peers_are_told_apart_also_on_one_path() {
        let mut scene = Scene::new();
        let mut peers = PeerTable::new(0, 1, 2, &mut crate::random::SeededRandom::new(1));
        let mut index = || {
            let new = crate::packet::NewPeer {
                path: scene.outgoing(1, 0).path,
                numbering: crate::packet::Numbering::PeerId,
                mtu: 1500,
                mssfix: crate::packet::Mssfix::Off,
            };
            peers.insert(new, crate::time::Monotonic::ZERO).unwrap()
        };
        let (one, other) = (index(), index());
        let mut outgoing = scene.outgoing(1, 1);
        outgoing.peer = Some(one);
        scene.queues.push(outgoing).unwrap();
        for (peer, waits) in [(one, true), (other, false)] {
            let mut next = scene.outgoing(1, 2);
            next.peer = Some(peer);
            assert_eq!(scene.queues.waits_before(&next), waits);
        }
    }
}
