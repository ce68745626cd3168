//! The header before a payload, or a part of one, where both sides have `fragment`.
//!
//! Wire: wire.md section 9.2. Four bytes, inside of what is sealed and outside of the frame for
//! compression.

/// What a payload is of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentHeader {
    /// All of it.
    Whole,
    /// A part, and not the last one.
    Part {
        /// Which packet it is of, counted over all that were cut.
        sequence: u8,
        /// The place among its parts, below [`FragmentHeader::PARTS_MAX`].
        index: u8,
    },
    /// The last part.
    Last {
        /// As of the others.
        sequence: u8,
        /// As of the others.
        index: u8,
        /// Bytes of each of the others, a multiple of [`FragmentHeader::UNIT`].
        size: u16,
    },
}

impl FragmentHeader {
    /// Its length in bytes.
    pub const LEN: usize = 4;

    /// At most so many parts can a packet have.
    pub const PARTS_MAX: usize = 32;

    /// All parts but the last one have a multiple of so many bytes.
    pub const UNIT: usize = 4;

    /// The header of a payload, and what stands behind it; `None` if that has none.
    pub fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = payload.split_first_chunk()?;
        let word = u32::from_be_bytes(*header);
        let sequence = (word >> SEQUENCE_SHIFT) as u8;
        let index = (word >> INDEX_SHIFT) as u8 & INDEX_MASK;
        let header = match (word & TYPE_MASK, sequence, index) {
            (WHOLE, 0, 0) => Self::Whole,
            (PART, ..) => Self::Part { sequence, index },
            (LAST, ..) => Self::Last {
                sequence,
                index,
                size: (word >> SIZE_SHIFT & SIZE_MASK) as u16 * Self::UNIT as u16,
            },
            _ => return None,
        };
        Some((header, rest))
    }

    /// Its bytes.
    pub fn emit(self) -> [u8; Self::LEN] {
        let place = |sequence: u8, index: u8| {
            u32::from(sequence) << SEQUENCE_SHIFT | u32::from(index & INDEX_MASK) << INDEX_SHIFT
        };
        let word = match self {
            Self::Whole => WHOLE,
            Self::Part { sequence, index } => PART | place(sequence, index),
            Self::Last {
                sequence,
                index,
                size,
            } => {
                let units = u32::from(size) / Self::UNIT as u32;
                LAST | place(sequence, index) | units << SIZE_SHIFT
            }
        };
        word.to_be_bytes()
    }
}

const TYPE_MASK: u32 = 3;
const WHOLE: u32 = 0;
const PART: u32 = 1;
const LAST: u32 = 2;
const SEQUENCE_SHIFT: u32 = 2;
const INDEX_SHIFT: u32 = 10;
const INDEX_MASK: u8 = 31;
const SIZE_SHIFT: u32 = 15;
const SIZE_MASK: u32 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first two were captured from the stock daemon.
    #[test]
    fn headers_are_read_and_written() {
        let (part, last) = (
            |sequence, index| FragmentHeader::Part { sequence, index },
            |sequence, index, size| FragmentHeader::Last {
                sequence,
                index,
                size,
            },
        );
        for (word, header) in [
            (0x0000_0099, part(38, 0)),
            (0x0059_849a, last(38, 1, 716)),
            (0, FragmentHeader::Whole),
            (0x0000_7ffd, part(255, 31)),
            (0x1fff_fffe, last(255, 31, 65_532)),
        ] {
            let bytes: [u8; 4] = u32::to_be_bytes(word);
            let payload = [&bytes[..], b"rest"].concat();
            let parsed = FragmentHeader::parse(&payload);
            assert_eq!(parsed, Some((header, &b"rest"[..])), "{word:08x}");
            assert_eq!(header.emit(), bytes, "{word:08x}");
        }
    }

    #[test]
    fn what_is_none_is_not_read() {
        for payload in [
            &[0, 0, 0][..],
            // A whole packet with a number, and with a place.
            &[0, 0, 0, 4],
            &[0, 0, 4, 0],
            // The fourth type.
            &[0, 0, 0, 3],
        ] {
            assert_eq!(FragmentHeader::parse(payload), None, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(bytes: [u8; 4]) {
            if let Some((header, rest)) = FragmentHeader::parse(&bytes) {
                prop_assert!(rest.is_empty());
                let parsed = FragmentHeader::parse(&header.emit()).map(|(header, _)| header);
                prop_assert_eq!(parsed, Some(header));
            }
        }
    }
}
