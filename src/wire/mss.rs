//! Clamping of the segment size that TCP announces, so that its packets fit through the tunnel.

use super::InnerPacket;

/// Lowers the segment size that a TCP SYN announces to `max` bytes; true if it was higher.
///
/// The checksum is corrected by the difference, so it must be complete: not one that the sender left
/// to an offload. Fragments, and packets without the option, stay as they are.
pub fn clamp_mss(packet: &mut [u8], max: u16) -> bool {
    let Some((tcp, option)) = find_mss(packet) else {
        return false;
    };
    let Some(segment) = packet.get_mut(tcp..) else {
        return false;
    };
    let Some(value) = segment.get_mut(option..option + 2) else {
        return false;
    };
    let old = u16::from_be_bytes([value[0], value[1]]);
    if old <= max {
        return false;
    }
    value.copy_from_slice(&max.to_be_bytes());
    let Some(checksum) = segment.get_mut(16..18) else {
        return false;
    };
    let before = u16::from_be_bytes([checksum[0], checksum[1]]);
    // A value at an odd offset straddles two words of the sum, which then sees its bytes swapped.
    let after = match option % 2 {
        0 => adjust_checksum(before, old, max),
        _ => adjust_checksum(before, old.swap_bytes(), max.swap_bytes()),
    };
    checksum.copy_from_slice(&after.to_be_bytes());
    true
}

/// The offset of the TCP header in the packet, and of the MSS value in the TCP header.
fn find_mss(packet: &[u8]) -> Option<(usize, usize)> {
    let inner = InnerPacket::parse(packet).ok()?;
    let transport = inner.transport()?;
    if transport.protocol != TCP || transport.fragment {
        return None;
    }
    let segment = inner.bytes().get(transport.offset..)?;
    let flags = *segment.get(13)?;
    if flags & TCP_SYN == 0 {
        return None;
    }
    let header_length = usize::from(*segment.get(12)? >> 4) * 4;
    let header = segment.get(..header_length)?;
    let mut at = 20;
    loop {
        match header.get(at..)? {
            [OPTION_END, ..] | [] => return None,
            [OPTION_NOP, ..] => at += 1,
            [OPTION_MSS, 4, _, _, ..] => return Some((transport.offset, at + 2)),
            [_, length, ..] if *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
}

/// RFC 1624, equation 3.
fn adjust_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

const TCP: u8 = 6;
const TCP_SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::inner::tests::{v4, v6};
    use crate::wire::inner::{V6_FRAGMENT, V6_HOP_BY_HOP};
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// A SYN with these options, which must fill whole words.
    fn syn(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0];
        segment.push(((5 + options.len() / 4) as u8) << 4);
        segment.extend_from_slice(&[0x02, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(options);
        segment
    }

    /// The checksum over pseudo-header and segment; 0 for a segment whose own checksum is right.
    fn checksum(packet: &[u8]) -> u16 {
        let inner = InnerPacket::parse(packet).unwrap();
        let segment = &inner.bytes()[inner.transport().unwrap().offset..];
        let mut bytes = Vec::new();
        for address in [inner.source(), inner.destination()] {
            match address {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
        }
        bytes.extend_from_slice(&[0, TCP]);
        bytes.extend_from_slice(&(segment.len() as u16).to_be_bytes());
        bytes.extend_from_slice(segment);
        let sum: u64 = bytes
            .chunks(2)
            .map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)))
            .sum();
        match (sum % 0xffff) as u16 {
            0 => 0,
            remainder => !remainder,
        }
    }

    fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
        let value = checksum(&packet);
        let at = InnerPacket::parse(&packet)
            .unwrap()
            .transport()
            .unwrap()
            .offset
            + 16;
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
        packet
    }

    #[test]
    fn the_segment_size_of_a_syn_is_lowered_and_its_checksum_right() {
        let even = [2, 4, 0x05, 0xb4, 1, 1, 1, 0];
        let odd = [1, 2, 4, 0x05, 0xb4, 1, 1, 0];
        let hop_by_hop = |segment: Vec<u8>| [&[TCP, 0, 0, 0, 0, 0, 0, 0][..], &segment].concat();
        for options in [even, odd] {
            for packet in [
                v4(TCP, &syn(&options)),
                v6(TCP, &syn(&options)),
                v6(V6_HOP_BY_HOP, &hop_by_hop(syn(&options))),
            ] {
                let mut packet = with_checksum(packet);
                assert!(clamp_mss(&mut packet, 1300));
                assert_eq!(checksum(&packet), 0);
                let wanted = [2, 4, 0x05, 0x14];
                assert!(packet.windows(4).any(|window| window == wanted));
                let clamped = packet.clone();
                assert!(!clamp_mss(&mut packet, 1300));
                assert_eq!(packet, clamped);
            }
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        let options = [2, 4, 0x05, 0xb4];
        let mut no_syn = v4(TCP, &syn(&options));
        no_syn[20 + 13] = 0x10;
        let mut first_fragment = v4(TCP, &syn(&options));
        first_fragment[6] = 0x20;
        let mut long_header = v4(TCP, &syn(&options));
        long_header[20 + 12] = 0xf0;
        let in_fragment = [&[TCP, 0, 0, 1, 0, 0, 0, 1][..], &syn(&options)].concat();
        for packet in [
            no_syn,
            first_fragment,
            long_header,
            v6(V6_FRAGMENT, &in_fragment),
            v4(17, &syn(&options)),
            v4(TCP, &syn(&[])),
            v4(TCP, &syn(&[0, 2, 4, 0xff])),
            v4(TCP, &syn(&[3, 0, 2, 4])),
            v4(TCP, &syn(&[3, 9, 2, 4])),
            v4(TCP, &syn(&options)[..22]),
            vec![],
        ] {
            let mut changed = packet.clone();
            assert!(!clamp_mss(&mut changed, 100), "{packet:02x?}");
            assert_eq!(changed, packet);
        }
    }

    proptest! {
        #[test]
        fn clamping_keeps_any_checksum_right(
            old: u16, max: u16, sequence: [u8; 4], odd: bool, payload: Vec<u8>,
        ) {
            let [high, low] = old.to_be_bytes();
            let options = match odd {
                false => [2, 4, high, low, 1, 1, 1, 0],
                true => [1, 2, 4, high, low, 1, 1, 0],
            };
            let mut segment = syn(&options);
            segment[4..8].copy_from_slice(&sequence);
            segment.extend_from_slice(&payload);
            let mut packet = with_checksum(v4(TCP, &segment));
            prop_assert_eq!(clamp_mss(&mut packet, max), old > max);
            prop_assert_eq!(checksum(&packet), 0);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, version in 4_u8..=6) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | (*first & 0x0f);
            }
            let length = bytes.len();
            clamp_mss(&mut bytes, 1);
            prop_assert_eq!(bytes.len(), length);
        }
    }
}
