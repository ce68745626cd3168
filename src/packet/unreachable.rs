//! The answer to an IPv6 packet that goes no further (`block-ipv6`): no route to its destination.

use std::net::{IpAddr, Ipv6Addr};

use super::segment::checksum::{finish, pseudo_header, sum};
use crate::wire::InnerPacket;

/// The longest answer: it has to pass every link (RFC 4443, section 3.1).
pub(super) const ANSWER_MAX: usize = 1280;

/// Writes the answer to `packet` into `buffer`, of no more than `mtu` bytes, with `from` as its source.
///
/// `None` if there must be none (RFC 4443, section 2.4 e): to an error message, to what went to many, and to
/// who has no address of its own.
pub(super) fn no_route<'b>(
    packet: InnerPacket<'_>,
    from: Ipv6Addr,
    mtu: usize,
    buffer: &'b mut [u8; ANSWER_MAX],
) -> Option<&'b [u8]> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source(), packet.destination())
    else {
        return None;
    };
    if source.is_unspecified() || source.is_multicast() || destination.is_multicast() {
        return None;
    }
    if is_error(packet) {
        return None;
    }
    let room = mtu.min(ANSWER_MAX).checked_sub(HEADERS)?;
    let quoted = packet.bytes().get(..room).unwrap_or(packet.bytes());
    let answer = buffer.get_mut(..HEADERS + quoted.len())?;
    let (header, message) = answer.split_first_chunk_mut::<IPV6_HEADER>()?;
    let length = u16::try_from(message.len()).ok()?;
    *header = [0; IPV6_HEADER];
    header[0] = 6 << 4;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6] = ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&from.octets());
    header[24..].copy_from_slice(&source.octets());
    let (icmp, quote) = message.split_first_chunk_mut::<ICMP_HEADER>()?;
    *icmp = [0; ICMP_HEADER];
    icmp[0] = UNREACHABLE;
    icmp[1] = NO_ROUTE;
    quote.copy_from_slice(quoted);
    let checksum = pseudo_header(&header[8..], ICMPV6, message.len()) + sum(message);
    message
        .get_mut(2..4)?
        .copy_from_slice(&finish(checksum).to_be_bytes());
    buffer.get(..HEADERS + quoted.len())
}

/// An ICMPv6 message below 128 is about an error; what can't be told is none.
fn is_error(packet: InnerPacket<'_>) -> bool {
    packet.transport().is_some_and(|transport| {
        let kind = packet.bytes().get(transport.offset);
        transport.protocol == ICMPV6 && kind.is_some_and(|kind| *kind < 128)
    })
}

const IPV6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
const HEADERS: usize = IPV6_HEADER + ICMP_HEADER;
const ICMPV6: u8 = 58;
const UNREACHABLE: u8 = 1;
const NO_ROUTE: u8 = 0;
const HOP_LIMIT: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        for address in [source, destination] {
            packet.extend(address.parse::<Ipv6Addr>().unwrap().octets());
        }
        packet.extend(payload);
        packet
    }

    fn answered(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
        let mut buffer = [0xa5; ANSWER_MAX];
        let inner = InnerPacket::parse(packet).unwrap();
        no_route(inner, "fe80::7".parse().unwrap(), mtu, &mut buffer).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_sender_gets_what_it_sent_back() {
        let sent = packet("fd00::2", "2001:db8::1", 17, &[7; 9]);
        let answer = answered(&sent, 1500).unwrap();
        let inner = InnerPacket::parse(&answer).unwrap();
        assert_eq!(inner.bytes().len(), answer.len());
        assert_eq!(inner.source(), "fe80::7".parse::<IpAddr>().unwrap());
        assert_eq!(inner.destination(), "fd00::2".parse::<IpAddr>().unwrap());
        assert_eq!(answer[HEADERS..], sent);
        assert_eq!(answer[40..42], [1, 0]);
        // With the checksum in it, the sum comes out as that of a message without an error.
        let sum = pseudo_header(&answer[8..40], ICMPV6, answer.len() - 40) + sum(&answer[40..]);
        assert_eq!(finish(sum), 0);
    }

    #[test]
    fn no_answer_is_longer_than_it_may_be() {
        let sent = packet("fd00::2", "2001:db8::1", 17, &[7; 1400]);
        assert_eq!(answered(&sent, 1500).unwrap().len(), ANSWER_MAX);
        assert_eq!(answered(&sent, 600).unwrap().len(), 600);
        assert_eq!(answered(&sent, 40), None);
    }

    #[test]
    fn some_packets_have_no_answer() {
        for (source, destination, next, payload) in [
            ("::", "2001:db8::1", 58, [135; 8]),
            ("ff02::1", "2001:db8::1", 17, [0; 8]),
            ("fe80::1", "ff02::2", 58, [133; 8]),
            // An error message.
            ("fd00::2", "2001:db8::1", 58, [1; 8]),
        ] {
            let sent = packet(source, destination, next, &payload);
            assert_eq!(answered(&sent, 1500), None, "{source} {destination}");
        }
        let echo = packet("fd00::2", "2001:db8::1", 58, &[128; 8]);
        assert!(answered(&echo, 1500).is_some());
        let v4 = [&[0x45, 0, 0, 20][..], &[0; 16]].concat();
        assert_eq!(answered(&v4, 1500), None);
    }
}
