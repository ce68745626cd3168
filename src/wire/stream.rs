//! Packets in a stream of bytes: a length in two bytes, and the packet.
//!
//! Wire: wire.md section 14. The length leaves itself out; none is 0, and none is longer than the
//! receiver's buffer. A stream with another one can't be read any further.

use std::ops::Range;

/// The length that stands before `packet` bytes; `None` if there is none, or more than a length can say.
pub fn stream_header(packet: usize) -> Option<[u8; STREAM_HEADER]> {
    let length = u16::try_from(packet).ok().filter(|&length| length > 0)?;
    Some(length.to_be_bytes())
}

/// Where in `bytes`, which begin with a length, the packet is; `None` if they end before it does.
///
/// # Errors
/// [`BadLength`] if the length is none that a packet has, of which the longest has `longest` bytes.
pub fn stream_packet(bytes: &[u8], longest: usize) -> Result<Option<Range<usize>>, BadLength> {
    let Some(header) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*header));
    if length == 0 || length > longest {
        return Err(BadLength { length, longest });
    }
    let end = STREAM_HEADER + length;
    Ok((end <= bytes.len()).then_some(STREAM_HEADER..end))
}

/// The places of the packets in `bytes`, as far as these hold whole ones.
pub fn stream_packets(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let packet = stream_packet(rest, usize::from(u16::MAX)).ok()??;
        let place = at + packet.start..at + packet.end;
        at = place.end;
        Some(place)
    })
}

/// A length that no packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} bytes, which must be > 0 and <= {longest}")]
pub struct BadLength {
    /// The one that came.
    pub length: usize,
    /// The longest that is taken.
    pub longest: usize,
}

/// Bytes of a length.
pub const STREAM_HEADER: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_there_when_its_last_byte_is() {
        for (bytes, expected) in [
            (&[][..], Ok(None)),
            (&[0], Ok(None)),
            (&[0, 3], Ok(None)),
            (&[0, 3, 7, 7], Ok(None)),
            (&[0, 3, 7, 7, 7], Ok(Some(2..5))),
            (&[0, 3, 7, 7, 7, 0, 0], Ok(Some(2..5))),
            (&[0, 0, 7], Err(0)),
            (&[0, 5], Err(5)),
            (b"GET / HTTP/1.1", Err(0x4745)),
        ] {
            let found = stream_packet(bytes, 4).map_err(|bad| bad.length);
            assert_eq!(found, expected, "{bytes:?}");
        }
    }

    #[test]
    fn packets_stand_one_behind_the_other() {
        let bytes = [0, 1, 9, 0, 2, 8, 8, 0, 1, 7, 0, 4, 6];
        let packets: Vec<_> = stream_packets(&bytes).collect();
        assert_eq!(packets, [2..3, 5..7, 9..10]);
        assert_eq!(stream_packets(&[0, 0, 1]).count(), 0);
    }

    #[test]
    fn a_length_says_what_stands_behind_it() {
        for (packet, expected) in [
            (0, None),
            (1, Some([0, 1])),
            (1500, Some([5, 220])),
            (65_535, Some([255, 255])),
            (65_536, None),
        ] {
            assert_eq!(stream_header(packet), expected, "{packet}");
        }
    }
}
