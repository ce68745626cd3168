//! Where a client's tls-crypt-v2 key stands in its first packets: at the end, in clear, with its
//! length in the last two bytes.
//!
//! Wire: wire.md section 2.5. The wrapping of the packet does not cover it; it has a tag of its own.

use super::Malformed;
use crate::limits::{WRAPPED_KEY_MAX, WRAPPED_KEY_MIN};

/// The packet and the sealed key behind it.
///
/// # Errors
/// [`Malformed::Length`] for a length that is no sealed key's, or that leaves no packet,
/// [`Malformed::Truncated`] below two bytes.
pub fn split_sealed_key(datagram: &mut [u8]) -> Result<(&mut [u8], &[u8]), Malformed> {
    let length = datagram.last_chunk().ok_or(Malformed::Truncated)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(WRAPPED_KEY_MIN..=WRAPPED_KEY_MAX).contains(&length) {
        return Err(Malformed::Length);
    }
    let packet = datagram.len().checked_sub(length);
    let packet = packet
        .filter(|packet| *packet > 0)
        .ok_or(Malformed::Length)?;
    let (packet, sealed) = datagram
        .split_at_mut_checked(packet)
        .ok_or(Malformed::Length)?;
    Ok((packet, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(mut datagram: Vec<u8>) -> Result<(usize, usize), Malformed> {
        split_sealed_key(&mut datagram).map(|(packet, sealed)| (packet.len(), sealed.len()))
    }

    fn datagram(length: usize, field: u16) -> Vec<u8> {
        let mut datagram = vec![0xa5; length - 2];
        datagram.extend_from_slice(&field.to_be_bytes());
        datagram
    }

    #[test]
    fn the_last_two_bytes_say_where() {
        for (length, field, verdict) in [
            // Appendix A.2: a reset of 54 bytes and a sealed key of 296.
            (350, 296, Ok((54, 296))),
            (291, 290, Ok((1, 290))),
            (290, 290, Err(Malformed::Length)),
            (350, 289, Err(Malformed::Length)),
            (350, 351, Err(Malformed::Length)),
            (2_000, 1_024, Ok((976, 1_024))),
            (2_000, 1_025, Err(Malformed::Length)),
            (2_000, 0, Err(Malformed::Length)),
            (2_000, 0xffff, Err(Malformed::Length)),
            (2, 2, Err(Malformed::Length)),
        ] {
            assert_eq!(split(datagram(length, field)), verdict, "{length} {field}");
        }
        assert_eq!(split(vec![1]), Err(Malformed::Truncated));
    }
}
