//! Payloads that are cut into several datagrams, where both sides have `fragment`.

use std::ops::Range;

use super::reassembly::Waiting;
use super::{DropReason, Mssfix, Path};
use crate::crypto::SealCost;
use crate::limits::FRAGMENTED_PER_PEER;
use crate::wire::FragmentHeader;

/// How large a datagram may be, as `fragment` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentLimit {
    /// `fragment N`: its UDP payload.
    Payload(u16),
    /// `fragment N mtu`: the outer IP packet, all headers with it.
    Packet(u16),
}

impl FragmentLimit {
    /// The bytes that it names.
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Payload(bytes) | Self::Packet(bytes) => bytes,
        }
    }

    /// What of a payload one datagram can hold, behind its header.
    fn part_max(self, path: &Path, cost: SealCost) -> usize {
        let whole = match self {
            Self::Payload(bytes) => Mssfix::Payload(bytes),
            Self::Packet(bytes) => Mssfix::Packet(bytes),
        };
        let whole = whole.inner_packet_max(path, cost).unwrap_or_default();
        usize::from(whole).saturating_sub(FragmentHeader::LEN)
    }
}

/// What a peer needs for it.
#[derive(Debug)]
pub(super) struct Fragments {
    limit: FragmentLimit,
    /// The number of the packet that was cut last.
    sequence: u8,
    /// Its packets of which parts are missing.
    pub(super) waiting: Waiting,
}

/// How a payload is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes of it, in its frame.
    length: usize,
    /// Bytes of each part but the last.
    size: usize,
    /// The packet's number; `None` for a payload that stays whole.
    sequence: Option<u8>,
}

impl Fragments {
    pub(super) const fn new(limit: FragmentLimit) -> Self {
        Self {
            limit,
            sequence: 0,
            waiting: [u16::MAX; FRAGMENTED_PER_PEER],
        }
    }

    /// How a payload of so many bytes in its frame is cut, when sealing has this `cost`. The parts are of one
    /// length, or nearly, so that they can leave in one send.
    ///
    /// # Errors
    /// [`DropReason::TooLarge`] if it has too many parts.
    pub(super) fn cut(
        &mut self,
        length: usize,
        path: &Path,
        cost: SealCost,
    ) -> Result<Cut, DropReason> {
        let max = self.limit.part_max(path, cost);
        if length <= max {
            return Ok(Cut {
                length,
                size: length,
                sequence: None,
            });
        }
        let aligned = max / FragmentHeader::UNIT * FragmentHeader::UNIT;
        if length > FragmentHeader::PARTS_MAX * aligned {
            return Err(DropReason::TooLarge);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let even = length.div_ceil(length.div_ceil(aligned));
        Ok(Cut {
            length,
            size: even.next_multiple_of(FragmentHeader::UNIT),
            sequence: Some(self.sequence),
        })
    }
}

impl Cut {
    /// How many parts there are.
    pub(super) const fn parts(&self) -> usize {
        match self.sequence {
            None => 1,
            Some(_) => self.length.div_ceil(self.size),
        }
    }

    /// The header of a part, and where it is in the payload.
    pub(super) fn part(&self, number: usize) -> (FragmentHeader, Range<usize>) {
        let start = number * self.size;
        let end = self.length.min(start + self.size);
        let index = number as u8;
        let header = match self.sequence {
            None => FragmentHeader::Whole,
            Some(sequence) if end < self.length => FragmentHeader::Part { sequence, index },
            Some(sequence) => FragmentHeader::Last {
                sequence,
                index,
                size: self.size as u16,
            },
        };
        (header, start..end)
    }
}

/// What of these `parts`, one behind the other, is in `range`.
pub(super) fn slices(parts: [&[u8]; 3], range: Range<usize>) -> [&[u8]; 3] {
    let mut start = 0;
    parts.map(|part| {
        let from = range.start.saturating_sub(start).min(part.len());
        let to = range.end.saturating_sub(start).min(part.len());
        start += part.len();
        part.get(from..to).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> Path {
        Path {
            remote: "192.0.2.1:1194".parse().unwrap(),
            local: None,
            socket: 0,
        }
    }

    const AEAD: SealCost = SealCost {
        overhead: 24,
        block: 1,
        inside: 0,
    };

    /// A payload of so many bytes, and the sizes of what it becomes.
    #[test]
    fn payloads_are_cut_where_the_limit_says() {
        // AES-CBC with SHA1.
        let cbc = SealCost {
            overhead: 4 + 20 + 16,
            block: 16,
            inside: 5,
        };
        let payload = FragmentLimit::Payload;
        let packet = FragmentLimit::Packet;
        for (limit, cost, length, sizes) in [
            (payload(1300), AEAD, 1272, &[1272][..]),
            (payload(1300), AEAD, 1273, &[640, 633]),
            (packet(1300), AEAD, 1244, &[1244]),
            (packet(1300), AEAD, 1245, &[624, 621]),
            (payload(500), AEAD, 1500, &[376, 376, 376, 372]),
            (payload(500), AEAD, 1416, &[472, 472, 472]),
            (payload(1300), cbc, 1239, &[1239]),
            (payload(1300), cbc, 1240, &[620, 620]),
            (payload(68), AEAD, 32 * 40, &[40; 32]),
        ] {
            let mut fragments = Fragments::new(limit);
            let cut = fragments.cut(length, &path(), cost).unwrap();
            let cut: Vec<_> = (0..cut.parts()).map(|number| cut.part(number)).collect();
            let lengths: Vec<_> = cut.iter().map(|(_, range)| range.len()).collect();
            assert_eq!(lengths, sizes, "{limit:?} {length}");
            let last = sizes.len() - 1;
            for (number, (header, range)) in cut.into_iter().enumerate() {
                let (sequence, index, size) = (1, number as u8, sizes[0] as u16);
                let expected = match number == last {
                    _ if last == 0 => FragmentHeader::Whole,
                    false => FragmentHeader::Part { sequence, index },
                    true => FragmentHeader::Last {
                        sequence,
                        index,
                        size,
                    },
                };
                assert_eq!(header, expected);
                assert_eq!(range.start, number * sizes[0]);
            }
        }
    }

    #[test]
    fn what_would_have_too_many_parts_is_not_cut() {
        for (limit, length) in [(68, 32 * 40 + 1), (28, 1), (0, 1), (31, 200)] {
            let mut fragments = Fragments::new(FragmentLimit::Payload(limit));
            let cut = fragments.cut(length, &path(), AEAD);
            assert_eq!(cut, Err(DropReason::TooLarge), "{limit}");
        }
    }

    #[test]
    fn each_packet_has_a_number_of_its_own() {
        let mut fragments = Fragments::new(FragmentLimit::Payload(500));
        let mut number = || fragments.cut(1000, &path(), AEAD).unwrap().sequence;
        let numbers: Vec<_> = (0..=256).map(|_| number().unwrap()).collect();
        assert_eq!([numbers[0], numbers[1], numbers[255]], [1, 2, 0]);
        assert_eq!(numbers[256], numbers[0]);
    }

    #[test]
    fn a_range_goes_over_the_borders_of_parts() {
        let parts = [&b"a"[..], b"bcd", b"ef"];
        for (range, expected) in [
            (0..6, "abcdef"),
            (0..1, "a"),
            (1..4, "bcd"),
            (2..5, "cde"),
            (5..6, "f"),
        ] {
            assert_eq!(slices(parts, range).concat(), expected.as_bytes());
        }
    }
}
