//! Control messages: the local address of a datagram, its class, and the length of its segments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{LocalAddress, TrafficClass};
use crate::reactor::address::unmapped;

/// Room for the control messages of one datagram that is received, with some to spare: a cut one would lose
/// the local address.
pub(super) const CONTROL_SIZE: usize = 80;

/// Room for those of one that is sent.
const SENT_CONTROL_SIZE: usize = 88;

/// Control messages to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; SENT_CONTROL_SIZE],
    pub(super) length: usize,
}

impl Control {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; SENT_CONTROL_SIZE],
        length: 0,
    };

    /// The source address of a datagram that an IPv4 socket sends. Nothing if it is IPv6.
    pub(super) fn source_v4(&mut self, local: LocalAddress) -> Option<()> {
        let IpAddr::V4(ip) = local.ip else {
            return None;
        };
        // struct in_pktinfo: interface, source, destination (which only the kernel fills)
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&ip.octets());
        self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        Some(())
    }

    /// The source address of a datagram that an IPv6 socket sends; an IPv4 address is mapped.
    pub(super) fn source_v6(&mut self, local: LocalAddress) {
        let (ip, interface) = match local.ip {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 0),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => (v6, local.interface),
            IpAddr::V6(v6) => (v6, 0),
        };
        // struct in6_pktinfo: source, interface
        let mut info = [0; 20];
        info[..16].copy_from_slice(&ip.octets());
        info[16..].copy_from_slice(&interface.to_ne_bytes());
        self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }

    /// The class of a datagram to an IPv4 address, by a socket of either family.
    pub(super) fn class_v4(&mut self, class: TrafficClass) {
        let class = i32::from(class.byte()).to_ne_bytes();
        self.push(libc::IPPROTO_IP, libc::IP_TOS, &class);
    }

    /// The class of a datagram to an IPv6 address.
    pub(super) fn class_v6(&mut self, class: TrafficClass) {
        let class = i32::from(class.byte()).to_ne_bytes();
        self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
    }

    /// The length at which the kernel cuts the payload into datagrams.
    pub(super) fn segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER_SIZE + data.len();
        let at = self.length;
        let mut put = |offset: usize, bytes: &[u8]| {
            self.bytes[at + offset..at + offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &length.to_ne_bytes());
        put(LEVEL_AT, &level.to_ne_bytes());
        put(KIND_AT, &kind.to_ne_bytes());
        put(HEADER_SIZE, data);
        self.length += length.next_multiple_of(ALIGNMENT);
    }
}

/// What the kernel said about a received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) local: Option<LocalAddress>,
    pub(super) segment_size: Option<usize>,
}

/// Reads the control messages of a received datagram; stops at one that is cut off.
pub(super) fn parse_control(mut bytes: &[u8]) -> Received {
    let mut received = Received::default();
    while let Some((level, kind, data, rest)) = split_message(bytes) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => received.local = parse_pktinfo_v4(data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => received.local = parse_pktinfo_v6(data),
            (libc::SOL_UDP, libc::UDP_GRO) => {
                received.segment_size = data
                    .first_chunk()
                    .and_then(|size| usize::try_from(i32::from_ne_bytes(*size)).ok());
            }
            _ => {}
        }
        bytes = rest;
    }
    received
}

pub(super) fn split_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(LEVEL_AT..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(KIND_AT..)?.first_chunk()?);
    let data = bytes.get(HEADER_SIZE..length)?;
    let next = length.checked_next_multiple_of(ALIGNMENT)?;
    Some((level, kind, data, bytes.get(next..).unwrap_or_default()))
}

/// struct in_pktinfo. Of its two addresses the local one, which differs from that in the header
/// when a broadcast was received.
fn parse_pktinfo_v4(data: &[u8]) -> Option<LocalAddress> {
    let interface = u32::from_ne_bytes(*data.first_chunk()?);
    let ip: [u8; 4] = *data.get(4..)?.first_chunk()?;
    Some(LocalAddress {
        ip: Ipv4Addr::from(ip).into(),
        interface,
    })
}

fn parse_pktinfo_v6(data: &[u8]) -> Option<LocalAddress> {
    let ip: [u8; 16] = *data.first_chunk()?;
    let interface = u32::from_ne_bytes(*data.get(16..)?.first_chunk()?);
    Some(LocalAddress {
        ip: unmapped(Ipv6Addr::from(ip)),
        interface,
    })
}

// struct cmsghdr: length with header (size_t), level (int), type (int)
const LEVEL_AT: usize = size_of::<usize>();
const KIND_AT: usize = LEVEL_AT + size_of::<i32>();
const HEADER_SIZE: usize = KIND_AT + size_of::<i32>();
const ALIGNMENT: usize = align_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_c_library() {
        assert_eq!(HEADER_SIZE, size_of::<libc::cmsghdr>());
        assert_eq!(LEVEL_AT, std::mem::offset_of!(libc::cmsghdr, cmsg_level));
        assert_eq!(KIND_AT, std::mem::offset_of!(libc::cmsghdr, cmsg_type));
        assert_eq!(12, size_of::<libc::in_pktinfo>());
        assert_eq!(4, std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst));
        assert_eq!(20, size_of::<libc::in6_pktinfo>());
        // SAFETY: arithmetic only.
        let address = unsafe { libc::CMSG_SPACE(20) } as usize;
        // SAFETY: arithmetic only.
        let segment = unsafe { libc::CMSG_SPACE(4) } as usize;
        assert!(address + segment <= CONTROL_SIZE);
        // Sent: an address, a class as an int, and a length of segments.
        // SAFETY: arithmetic only.
        let length = unsafe { libc::CMSG_SPACE(2) } as usize;
        assert!(address + segment + length <= SENT_CONTROL_SIZE);
    }

    #[test]
    fn sources_come_back_as_local_addresses() {
        // (given, as an IPv4 socket reads it, as an IPv6 socket does)
        for (ip, v4, v6) in [
            ("192.0.2.1", Some(0), Some(0)),
            ("2001:db8::1", None, Some(0)),
            ("fe80::1", None, Some(7)),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let local = LocalAddress { ip, interface: 7 };
            let mut control = Control::EMPTY;
            assert_eq!(control.source_v4(local).map(|()| 0), v4, "{ip}");
            if v4.is_some() {
                assert_eq!(control.length, 32);
            }
            let expected = v4.map(|interface| LocalAddress { ip, interface });
            assert_eq!(
                parse_control(&control.bytes[..control.length]).local,
                expected
            );

            let mut control = Control::EMPTY;
            control.source_v6(local);
            assert_eq!(control.length, 40);
            let expected = v6.map(|interface| LocalAddress { ip, interface });
            assert_eq!(
                parse_control(&control.bytes[..control.length]).local,
                expected
            );
        }
    }

    #[test]
    fn a_segment_size_follows_the_address() {
        let mut control = Control::EMPTY;
        control.source_v6(LocalAddress {
            ip: "2001:db8::1".parse().unwrap(),
            interface: 0,
        });
        control.segment(1400);
        assert_eq!(control.length, 64);
        assert_eq!(control.bytes[40..48], 18usize.to_ne_bytes());
        assert_eq!(control.bytes[56..58], 1400u16.to_ne_bytes());

        // On receipt the size is an int.
        let mut control = Control::EMPTY;
        control.push(libc::SOL_UDP, libc::UDP_GRO, &1400i32.to_ne_bytes());
        control.push(libc::IPPROTO_IP, libc::IP_TTL, &64i32.to_ne_bytes());
        let received = parse_control(&control.bytes[..control.length]);
        assert_eq!((received.segment_size, received.local), (Some(1400), None));
    }

    #[test]
    fn a_cut_message_is_not_read() {
        let mut control = Control::EMPTY;
        control.source_v6(LocalAddress {
            ip: "2001:db8::1".parse().unwrap(),
            interface: 0,
        });
        for length in 0..36 {
            assert_eq!(parse_control(&control.bytes[..length]), Received::default());
        }
        for length in [0, 1, 15, usize::MAX] {
            control.bytes[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                parse_control(&control.bytes),
                Received::default(),
                "{length}"
            );
        }
    }
}
