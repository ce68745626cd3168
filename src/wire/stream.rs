//! Packets in a stream of bytes: a length in two bytes, and the packet.
//!
//! Wire: wire.md section 14. The length leaves itself out; none is 0, and none is longer than the
//! receiver's buffer. A stream with another one can't be read any further.

use std::ops::{Range, RangeInclusive};

use super::opcode::{KeyId, Opcode, parse_first_byte};

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

/// Whether a connection that begins with `bytes` is one of a client: its first packet is a reset, and
/// as long as resets are. `None` if that can't be told yet.
///
/// Wire: wire.md section 14. 2.x decides by two bytes if it has no more, and takes the client with a
/// key of its own (tls-crypt-v2) for a stranger then.
pub fn begins_session(bytes: &[u8]) -> Option<bool> {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    let (is_plain, has_key) = (RESET.contains(&length), RESET_WITH_KEY.contains(&length));
    match bytes.get(STREAM_HEADER) {
        None => (!is_plain && !has_key).then_some(false),
        Some(&byte) => Some(match parse_first_byte(&[byte]) {
            Ok((Opcode::HardResetClientV2, KeyId::FIRST)) => is_plain,
            Ok((Opcode::HardResetClientV3, KeyId::FIRST)) => has_key,
            _ => false,
        }),
    }
}

/// How long a reset is.
const RESET: RangeInclusive<usize> = 14..=255;
/// How long one is with the client's sealed key behind it.
const RESET_WITH_KEY: RangeInclusive<usize> = 336..=1278;

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
    fn a_session_begins_with_a_reset() {
        let first = |length: u16, byte: u8| [&length.to_be_bytes()[..], &[byte, 0]].concat();
        for (bytes, expected) in [
            (vec![], None),
            (vec![0], None),
            (vec![b'G'], None),
            (vec![0, 13], Some(false)),
            (vec![0, 14], None),
            (vec![0, 255], None),
            (vec![1, 0], Some(false)),
            (vec![1, 80], None),
            (vec![4, 254], None),
            (vec![4, 255], Some(false)),
            (first(13, 0x38), Some(false)),
            (first(14, 0x38), Some(true)),
            (first(255, 0x38), Some(true)),
            (first(256, 0x38), Some(false)),
            (first(336, 0x38), Some(false)),
            (first(335, 0x50), Some(false)),
            (first(336, 0x50), Some(true)),
            (first(1278, 0x50), Some(true)),
            (first(1279, 0x50), Some(false)),
            (first(14, 0x50), Some(false)),
            (first(14, 0x39), Some(false)),
            (first(14, 0x20), Some(false)),
            (b"GET / HTTP/1.1".to_vec(), Some(false)),
            // A TLS client's first record.
            (vec![22, 3, 1, 2, 0], Some(false)),
            (b"SSH-2.0-OpenSSH".to_vec(), Some(false)),
        ] {
            assert_eq!(begins_session(&bytes), expected, "{bytes:?}");
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
