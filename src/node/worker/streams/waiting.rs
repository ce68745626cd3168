//! What the kernel did not take of a stream: bytes in their order, and where the packets in them end.
//!
//! Their memory is of this stream alone, so that a receiver that does not read takes no buffer from
//! others.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{STREAM_QUEUE_CONTROL, STREAM_WAITING_MAX};
use crate::wire::{parse_first_byte, stream_packets};

/// Packets that wait for room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: VecDeque<u8>,
    /// How many bytes of each packet, its length included, are still to be sent; and whether it is data.
    packets: VecDeque<(u32, bool)>,
    data: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Data packets that wait.
    pub(super) fn data(&self) -> usize {
        self.data
    }

    /// Lets packets wait of which the first `sent` bytes have left. What is begun has to be finished, and
    /// what is sealed should leave, or there is a gap in the packet ids: it is bounded by who seals it. How
    /// many were dropped.
    pub(super) fn push(&mut self, packets: &[u8], sent: usize) -> usize {
        let mut dropped = 0;
        for place in stream_packets(packets) {
            let whole = place.start - 2..place.end;
            if whole.end <= sent {
                continue;
            }
            let begun = whole.start < sent;
            let packet = packets.get(place).unwrap_or_default();
            let is_data = parse_first_byte(packet).is_ok_and(|(opcode, _)| opcode.is_data());
            let has_room = match is_data {
                true => self.bytes.len() + whole.len() <= STREAM_WAITING_MAX,
                false => self.packets.len() - self.data < STREAM_QUEUE_CONTROL,
            };
            match begun || has_room {
                true => self.push_one(packets, whole.start.max(sent)..whole.end, is_data),
                false => dropped += 1,
            }
        }
        dropped
    }

    fn push_one(&mut self, bytes: &[u8], range: Range<usize>, is_data: bool) {
        let bytes = bytes.get(range).unwrap_or_default();
        self.bytes.extend(bytes);
        self.packets.push_back((bytes.len() as u32, is_data));
        self.data += usize::from(is_data);
    }

    /// Copies the first bytes to `out`, as many as it has room for; how many.
    pub(super) fn copy_to(&self, out: &mut [u8]) -> usize {
        let (front, back) = self.bytes.as_slices();
        let first = front.len().min(out.len());
        let second = back.len().min(out.len() - first);
        for (part, room) in [(front, 0..first), (back, first..first + second)] {
            if let (Some(room), Some(part)) = (out.get_mut(room.clone()), part.get(..room.len())) {
                room.copy_from_slice(part);
            }
        }
        first + second
    }

    /// The first bytes have left.
    pub(super) fn sent(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        let mut left = count;
        while let Some((length, is_data)) = self.packets.front_mut() {
            if *length as usize > left {
                *length -= left as u32;
                return;
            }
            left -= *length as usize;
            self.data -= usize::from(*is_data);
            self.packets.pop_front();
        }
        // It may rest for days now.
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of one byte of payload: data or control, with a mark.
    fn packets(marks: impl IntoIterator<Item = (bool, u8)>) -> Vec<u8> {
        let packet = |(is_data, mark)| {
            let first = match is_data {
                true => DATA,
                false => CONTROL,
            };
            [0, 2, first, mark]
        };
        marks.into_iter().flat_map(packet).collect()
    }

    fn marks(waiting: &mut Waiting, at_once: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        while !waiting.is_empty() {
            let mut room = vec![0; at_once];
            let count = waiting.copy_to(&mut room);
            stream.extend_from_slice(&room[..count]);
            waiting.sent(count);
        }
        stream
    }

    #[test]
    fn what_is_sealed_waits_in_its_order() {
        let mut waiting = Waiting::default();
        let data = packets((0..5).map(|mark| (true, mark)));
        assert_eq!(waiting.push(&data, 0), 0);
        let control = packets((10..14).map(|mark| (false, mark)));
        assert_eq!(waiting.push(&control, 0), 0);
        assert_eq!((waiting.len(), waiting.data()), (9, 5));
        let expected = [data, control].concat();
        assert_eq!(marks(&mut waiting, 5), expected);
        assert_eq!((waiting.len(), waiting.data()), (0, 0));
    }

    #[test]
    fn what_is_never_read_has_a_bound() {
        let mut waiting = Waiting::default();
        let control = packets((0..100).map(|mark| (false, mark)));
        assert_eq!(waiting.push(&control, 0), 100 - STREAM_QUEUE_CONTROL);
        let long = [&[0xff, 0xff, DATA][..], &[7; 65_534]].concat();
        let kept = (0..200).filter(|_| waiting.push(&long, 0) == 0).count();
        let left = 4 * STREAM_QUEUE_CONTROL;
        assert_eq!(kept, (STREAM_WAITING_MAX - left) / long.len());
    }

    #[test]
    fn what_is_begun_is_finished() {
        for (sent, kept) in [(0, 12), (1, 11), (4, 8), (5, 7), (12, 0)] {
            let mut waiting = Waiting::default();
            let data = packets((0..3).map(|mark| (true, mark)));
            assert_eq!(waiting.push(&data, sent), 0, "{sent}");
            let left = marks(&mut waiting, 100);
            assert_eq!(left.len(), kept, "{sent}");
            assert_eq!(left, data[sent..], "{sent}");
        }
    }

    #[test]
    fn packets_leave_in_parts_of_any_size() {
        let all = packets((0..50).map(|mark| (mark % 3 == 0, mark)));
        for at_once in 1..30 {
            let mut waiting = Waiting::default();
            assert_eq!(waiting.push(&all, 0), 0);
            assert_eq!(marks(&mut waiting, at_once), all, "{at_once}");
        }
    }

    /// The first bytes of P_DATA_V1 and P_ACK_V1 under key 0.
    const DATA: u8 = 0x30;
    const CONTROL: u8 = 0x28;
}
