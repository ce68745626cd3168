//! The reliability layer of one key generation: message ids, acknowledgements, retransmission.
//!
//! Wire: wire.md section 3. Acknowledgements are individual; a duplicate is acknowledged again; a
//! message outside the window is dropped without one.

use std::collections::VecDeque;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::limits::{
    ACKS_MAX, ACKS_PIGGYBACK, CONTROL_IN_FLIGHT, CONTROL_RECEIVE_WINDOW, RETRANSMIT_MAX,
};
use crate::time::Monotonic;
use crate::wire::{Acks, Opcode};

/// Both directions of one key generation.
#[derive(Debug)]
pub(super) struct Reliable {
    in_flight: VecDeque<Outgoing>,
    next_id: u32,
    first_timeout: Duration,
    expected: u32,
    ahead: Vec<Incoming>,
    owed: Acks,
    recent: Acks,
}

/// A message that the peer has not acknowledged.
#[derive(Debug)]
struct Outgoing {
    id: u32,
    opcode: Opcode,
    payload: Vec<u8>,
    due: Monotonic,
    timeout: Duration,
    acknowledged_above: u8,
}

/// A message of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) id: u32,
    pub(super) opcode: Opcode,
    pub(super) payload: Vec<u8>,
}

/// What became of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// New, and kept until [`Reliable::next_in_order`] gives it out.
    Kept,
    /// Seen before; it is acknowledged again.
    Duplicate,
    /// Too far ahead, or nothing more can be acknowledged now; the peer will repeat it.
    OutsideWindow,
}

/// A packet to wrap and send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) opcode: Opcode,
    pub(super) message_id: Option<u32>,
    pub(super) acks: Acks,
    pub(super) payload: &'a [u8],
}

impl Reliable {
    /// A generation whose next message is `next_id` and that expects `expected` from its peer.
    pub(super) fn new(next_id: u32, expected: u32, first_timeout: Duration) -> Self {
        Self {
            in_flight: VecDeque::with_capacity(CONTROL_IN_FLIGHT),
            next_id,
            first_timeout,
            expected,
            ahead: Vec::new(),
            owed: Acks::new(),
            recent: Acks::new(),
        }
    }

    /// Whether another message can be sent now. The peer's window starts at the lowest message
    /// that it lacks, so the span of ids counts and not the number of messages.
    pub(super) fn has_room(&self) -> bool {
        let lowest = self
            .in_flight
            .front()
            .map_or(self.next_id, |oldest| oldest.id);
        self.next_id.wrapping_sub(lowest) < CONTROL_IN_FLIGHT as u32
    }

    /// Takes a message to be sent at once and repeated until it is acknowledged. The caller has
    /// seen [`Reliable::has_room`].
    pub(super) fn send(&mut self, now: Monotonic, opcode: Opcode, payload: Vec<u8>) {
        self.in_flight.push_back(Outgoing {
            id: self.next_id,
            opcode,
            payload,
            due: now,
            timeout: self.first_timeout,
            acknowledged_above: 0,
        });
        self.next_id = self.next_id.wrapping_add(1);
    }

    /// True when the peer has acknowledged all that was sent.
    pub(super) fn all_acknowledged(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Takes acknowledgements of the peer. Three for later messages repeat an earlier one at once.
    pub(super) fn acknowledge(&mut self, now: Monotonic, ids: &[u32]) {
        for &id in ids {
            let Some(position) = self.in_flight.iter().position(|outgoing| outgoing.id == id)
            else {
                continue;
            };
            self.in_flight.remove(position);
            for earlier in self.in_flight.iter_mut().take(position) {
                earlier.acknowledged_above += 1;
                if earlier.acknowledged_above == FAST_RETRANSMIT_AFTER {
                    earlier.acknowledged_above = 0;
                    earlier.due = now;
                }
            }
        }
    }

    /// Takes a message of the peer.
    pub(super) fn receive(&mut self, id: u32, opcode: Opcode, payload: &[u8]) -> Received {
        let ahead_by = id.wrapping_sub(self.expected);
        let duplicate = ahead_by > u32::MAX / 2 || self.ahead.iter().any(|kept| kept.id == id);
        if !duplicate && ahead_by >= CONTROL_RECEIVE_WINDOW as u32 {
            return Received::OutsideWindow;
        }
        // An acknowledgement that can't be remembered must not be lost: the peer repeats.
        if !self.owed.contains(&id) && self.owed.try_push(id).is_err() {
            return Received::OutsideWindow;
        }
        if duplicate {
            return Received::Duplicate;
        }
        self.ahead.push(Incoming {
            id,
            opcode,
            payload: payload.to_vec(),
        });
        Received::Kept
    }

    /// The next message in the order of ids, if it has arrived.
    pub(super) fn next_in_order(&mut self) -> Option<Incoming> {
        let position = self
            .ahead
            .iter()
            .position(|kept| kept.id == self.expected)?;
        self.expected = self.expected.wrapping_add(1);
        Some(self.ahead.swap_remove(position))
    }

    /// The next packet that is due: a message with acknowledgements on it, or acknowledgements
    /// alone, which are never delayed. `acks_max` bounds those of a packet on their own.
    pub(super) fn poll(&mut self, now: Monotonic, acks_max: usize) -> Option<Packet<'_>> {
        let due = self
            .in_flight
            .iter()
            .position(|outgoing| outgoing.due <= now);
        let Some(position) = due else {
            if self.owed.is_empty() {
                return None;
            }
            let acks = self.take_acks(acks_max);
            return Some(Packet {
                opcode: Opcode::AckV1,
                message_id: None,
                acks,
                payload: &[],
            });
        };
        let acks = self.take_acks(ACKS_PIGGYBACK.min(acks_max));
        let outgoing = self.in_flight.get_mut(position)?;
        outgoing.due = now + outgoing.timeout;
        outgoing.timeout = (outgoing.timeout * 2).min(RETRANSMIT_MAX);
        Some(Packet {
            opcode: outgoing.opcode,
            message_id: Some(outgoing.id),
            acks,
            payload: &outgoing.payload,
        })
    }

    /// Gives back the memory of windows that are empty.
    pub(super) fn rest(&mut self) {
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// When [`Reliable::poll`] has a message to repeat.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        self.in_flight.iter().map(|outgoing| outgoing.due).min()
    }

    /// Acknowledgements for one packet: those not sent yet, then the most recently sent ones again,
    /// so that one lost packet costs no retransmission.
    fn take_acks(&mut self, max: usize) -> Acks {
        let new = self.owed.len().min(max);
        let mut acks: Acks = self.owed.drain(..new).collect();
        let room = max - new;
        let repeated: ArrayVec<u32, ACKS_MAX> = self
            .recent
            .iter()
            .filter(|id| !acks.contains(id))
            .copied()
            .take(room)
            .collect();
        let kept: ArrayVec<u32, ACKS_MAX> = self
            .recent
            .iter()
            .filter(|id| !acks.contains(id))
            .copied()
            .collect();
        self.recent = acks.iter().copied().chain(kept).take(ACKS_MAX).collect();
        acks.extend(repeated);
        acks
    }
}

const FAST_RETRANSMIT_AFTER: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reliable() -> Reliable {
        Reliable::new(0, 0, 2 * SECOND)
    }

    fn at(seconds: u32) -> Monotonic {
        Monotonic::ZERO + SECOND * seconds
    }

    fn sent_ids(reliable: &mut Reliable, now: Monotonic) -> Vec<u32> {
        std::iter::from_fn(|| reliable.poll(now, ACKS_MAX).map(|packet| packet.message_id))
            .flatten()
            .collect()
    }

    fn acks(reliable: &mut Reliable) -> Vec<u32> {
        reliable
            .poll(at(0), ACKS_MAX)
            .map(|packet| packet.acks.to_vec())
            .unwrap_or_default()
    }

    #[test]
    fn a_message_is_repeated_with_doubling_pauses_until_acknowledged() {
        let mut reliable = reliable();
        reliable.send(at(0), Opcode::ControlV1, vec![7]);
        let mut sent_at = Vec::new();
        for second in 0..50 {
            if !sent_ids(&mut reliable, at(second)).is_empty() {
                sent_at.push(second);
            }
        }
        assert_eq!(sent_at, [0, 2, 6, 14, 30, 46]);
        reliable.acknowledge(at(50), &[0]);
        assert!(reliable.all_acknowledged());
        assert_eq!(reliable.next_timeout(), None);
    }

    #[test]
    fn the_window_spans_ids() {
        let mut reliable = reliable();
        for _ in 0..CONTROL_IN_FLIGHT {
            assert!(reliable.has_room());
            reliable.send(at(0), Opcode::ControlV1, Vec::new());
        }
        assert!(!reliable.has_room());
        reliable.acknowledge(at(0), &[1, 2, 3]);
        assert!(!reliable.has_room(), "message 0 is still missing");
        reliable.acknowledge(at(0), &[0]);
        assert!(reliable.has_room());
    }

    #[test]
    fn three_later_acknowledgements_repeat_at_once() {
        let mut reliable = reliable();
        for _ in 0..4 {
            reliable.send(at(0), Opcode::ControlV1, Vec::new());
        }
        assert_eq!(sent_ids(&mut reliable, at(0)), [0, 1, 2, 3]);
        reliable.acknowledge(at(0), &[1, 2]);
        assert!(sent_ids(&mut reliable, at(0)).is_empty());
        reliable.acknowledge(at(0), &[3]);
        assert_eq!(sent_ids(&mut reliable, at(0)), [0]);
    }

    #[test]
    fn messages_come_out_in_order_and_once() {
        let mut reliable = reliable();
        for (id, verdict) in [
            (1, Received::Kept),
            (1, Received::Duplicate),
            (11, Received::Kept),
            (12, Received::OutsideWindow),
            (u32::MAX, Received::Duplicate),
        ] {
            assert_eq!(
                reliable.receive(id, Opcode::ControlV1, &[id as u8]),
                verdict,
                "id {id}"
            );
        }
        assert_eq!(reliable.next_in_order(), None);
        assert_eq!(reliable.receive(0, Opcode::ControlV1, &[0]), Received::Kept);
        assert_eq!(reliable.next_in_order().map(|message| message.id), Some(0));
        assert_eq!(
            reliable.next_in_order().map(|message| message.payload),
            Some(vec![1])
        );
        assert_eq!(reliable.next_in_order(), None);
        assert_eq!(
            reliable.receive(0, Opcode::ControlV1, &[0]),
            Received::Duplicate
        );
    }

    #[test]
    fn acknowledgements_are_new_ones_first_then_recent_ones_again() {
        let mut reliable = reliable();
        reliable.receive(0, Opcode::ControlV1, &[]);
        assert_eq!(acks(&mut reliable), [0]);
        reliable.receive(1, Opcode::ControlV1, &[]);
        // Wire: the acknowledgement in wire.md appendix A.1 carries 1 (new) and 0 (repeated).
        assert_eq!(acks(&mut reliable), [1, 0]);
        assert!(
            acks(&mut reliable).is_empty(),
            "repeated ones alone are no reason to send"
        );
        for id in 2..8 {
            reliable.receive(id, Opcode::ControlV1, &[]);
        }
        reliable.send(at(0), Opcode::ControlV1, Vec::new());
        assert_eq!(
            acks(&mut reliable),
            [2, 3, 4, 5],
            "a packet with a payload carries four"
        );
        assert_eq!(acks(&mut reliable), [6, 7, 2, 3, 4, 5, 1, 0]);
    }

    #[test]
    fn no_more_is_taken_than_can_be_acknowledged() {
        let mut reliable = reliable();
        for id in 0..ACKS_MAX as u32 {
            assert_eq!(reliable.receive(id, Opcode::ControlV1, &[]), Received::Kept);
        }
        assert_eq!(
            reliable.receive(8, Opcode::ControlV1, &[]),
            Received::OutsideWindow
        );
        assert_eq!(acks(&mut reliable).len(), ACKS_MAX);
        assert_eq!(reliable.receive(8, Opcode::ControlV1, &[]), Received::Kept);
    }
}
