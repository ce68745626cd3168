//! Inner IP packets: a view whose lengths are checked once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Malformed;
use crate::limits::EXTENSION_HEADERS_MAX;

/// An IPv4 or IPv6 packet whose header and total length are within its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPacket<'a> {
    bytes: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    header: Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    V4 {
        length: usize,
        protocol: u8,
        fragment: bool,
    },
    V6 {
        next: u8,
    },
}

/// Where the transport header of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The IP protocol number.
    pub protocol: u8,
    /// Bytes from the start of the packet.
    pub offset: usize,
    /// True if the packet is one of several fragments, so that the header may not be there at all.
    pub fragment: bool,
}

impl<'a> InnerPacket<'a> {
    /// The packet at the start of `bytes`; what follows its total length is left off.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if its header or its total length exceeds `bytes`,
    /// [`Malformed::Length`] if its lengths contradict each other, [`Malformed::Value`] if it is
    /// neither IPv4 nor IPv6.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => Err(Malformed::Value),
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header: &[u8; 20] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        let length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < header.len() || total < length {
            return Err(Malformed::Length);
        }
        let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
        Ok(Self {
            bytes: bytes.get(..total).ok_or(Malformed::Truncated)?,
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            header: Header::V4 {
                length,
                protocol: header[9],
                fragment: flags_and_offset & (V4_MORE_FRAGMENTS | V4_OFFSET) != 0,
            },
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = bytes
            .split_first_chunk::<40>()
            .ok_or(Malformed::Truncated)?;
        let total = header.len() + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (_, addresses) = header.split_at(8);
        let (source, destination) = addresses.split_at(16);
        Ok(Self {
            bytes: bytes.get(..total).ok_or(Malformed::Truncated)?,
            source: v6_address(source)?.into(),
            destination: v6_address(destination)?.into(),
            header: Header::V6 { next: header[6] },
        })
    }

    /// The packet, without what followed its total length.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// 4 or 6.
    pub const fn version(&self) -> u8 {
        match self.header {
            Header::V4 { .. } => 4,
            Header::V6 { .. } => 6,
        }
    }

    /// The source address; an IPv4-mapped IPv6 address stays one.
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// The destination address.
    pub const fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The protocol behind the IP header and, in IPv6, its extension headers.
    ///
    /// `None` if the extension headers leave the packet or are more than
    /// [`EXTENSION_HEADERS_MAX`].
    pub fn transport(&self) -> Option<Transport> {
        match self.header {
            Header::V4 {
                length,
                protocol,
                fragment,
            } => Some(Transport {
                protocol,
                offset: length,
                fragment,
            }),
            Header::V6 { next } => self.skip_extension_headers(next),
        }
    }

    fn skip_extension_headers(&self, mut protocol: u8) -> Option<Transport> {
        let mut offset = 40;
        let mut fragment = false;
        for _ in 0..=EXTENSION_HEADERS_MAX {
            let header = self.bytes.get(offset..)?;
            let length = match (protocol, header) {
                (V6_HOP_BY_HOP | V6_ROUTING | V6_DESTINATION, [_, units, ..]) => {
                    (usize::from(*units) + 1) * 8
                }
                (V6_FRAGMENT, [_, _, high, low, ..]) => {
                    // An offset or "more" bit; without both it is an atomic fragment, a whole packet.
                    fragment |= u16::from_be_bytes([*high, *low]) & !V6_FRAGMENT_RESERVED != 0;
                    8
                }
                (V6_AUTHENTICATION, [_, units, ..]) => (usize::from(*units) + 2) * 4,
                (V6_HOP_BY_HOP | V6_ROUTING | V6_DESTINATION, _) => return None,
                (V6_FRAGMENT | V6_AUTHENTICATION, _) => return None,
                _ => {
                    return Some(Transport {
                        protocol,
                        offset,
                        fragment,
                    });
                }
            };
            protocol = *header.first()?;
            offset += length;
            if fragment {
                // The rest of a fragment need not be a header.
                return Some(Transport {
                    protocol,
                    offset,
                    fragment,
                });
            }
        }
        None
    }
}

fn v6_address(bytes: &[u8]) -> Result<Ipv6Addr, Malformed> {
    let octets: [u8; 16] = bytes.try_into().map_err(|_| Malformed::Truncated)?;
    Ok(octets.into())
}

const V4_MORE_FRAGMENTS: u16 = 0x2000;
const V4_OFFSET: u16 = 0x1fff;

pub(super) const V6_HOP_BY_HOP: u8 = 0;
const V6_ROUTING: u8 = 43;
pub(super) const V6_FRAGMENT: u8 = 44;
const V6_AUTHENTICATION: u8 = 51;
const V6_DESTINATION: u8 = 60;
const V6_FRAGMENT_RESERVED: u16 = 0x0006;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const TCP: u8 = 6;

    /// A packet from 10.8.0.2 to 192.0.2.1.
    pub(crate) fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
        packet.extend_from_slice(&[10, 8, 0, 2, 192, 0, 2, 1]);
        packet.extend_from_slice(payload);
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet
    }

    /// A packet from fd00:8::2 to 2001:db8::1.
    pub(crate) fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&"fd00:8::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn addresses_and_transport_of_both_families() {
        let mut bytes = v4(17, &[1, 2, 3]);
        bytes.push(0xee);
        let packet = InnerPacket::parse(&bytes).unwrap();
        assert_eq!((packet.version(), packet.bytes().len()), (4, 23));
        assert_eq!(packet.source().to_string(), "10.8.0.2");
        assert_eq!(packet.destination().to_string(), "192.0.2.1");
        let transport = Transport {
            protocol: 17,
            offset: 20,
            fragment: false,
        };
        assert_eq!(packet.transport(), Some(transport));

        let bytes = v6(58, &[128, 0]);
        let packet = InnerPacket::parse(&bytes).unwrap();
        assert_eq!((packet.version(), packet.bytes().len()), (6, 42));
        assert_eq!(packet.source().to_string(), "fd00:8::2");
        assert_eq!(packet.destination().to_string(), "2001:db8::1");
        assert_eq!(packet.transport().unwrap().protocol, 58);
    }

    #[test]
    fn packets_that_are_refused() {
        let mut short_header = v4(6, &[]);
        short_header[0] = 0x44;
        let mut long_header = v4(6, &[]);
        long_header[0] = 0x46;
        let mut small_total = v4(6, &[]);
        small_total[3] = 19;
        let mut large_total = v4(6, &[]);
        large_total[3] = 21;
        let mut large_payload = v6(6, &[0; 4]);
        large_payload[5] = 5;
        for (bytes, verdict) in [
            (&[][..], Malformed::Truncated),
            (&[0x45; 19], Malformed::Truncated),
            (&[0x60; 39], Malformed::Truncated),
            (&[0x50; 60], Malformed::Value),
            (&short_header, Malformed::Length),
            (&long_header, Malformed::Length),
            (&small_total, Malformed::Length),
            (&large_total, Malformed::Truncated),
            (&large_payload, Malformed::Truncated),
        ] {
            assert_eq!(InnerPacket::parse(bytes), Err(verdict), "{bytes:02x?}");
        }
    }

    #[test]
    fn extension_headers_are_skipped_within_their_bound() {
        let transport = |bytes: &[u8]| InnerPacket::parse(bytes).unwrap().transport();
        let mut extended = vec![V6_ROUTING, 0, 0, 0, 0, 0, 0, 0];
        extended.extend_from_slice(&[V6_AUTHENTICATION, 1]);
        extended.extend_from_slice(&[0; 14]);
        extended.extend_from_slice(&[TCP, 1]);
        extended.extend_from_slice(&[0; 10]);
        extended.push(0xee);
        assert_eq!(
            transport(&v6(V6_HOP_BY_HOP, &extended)),
            Some(Transport {
                protocol: TCP,
                offset: 40 + 8 + 16 + 12,
                fragment: false
            })
        );
        // Hop-by-hop headers without end, and one that leaves the packet.
        assert_eq!(transport(&v6(V6_HOP_BY_HOP, &[0; 800])), None);
        assert_eq!(
            transport(&v6(V6_HOP_BY_HOP, &[TCP, 9, 0, 0, 0, 0, 0, 0])),
            None
        );
        assert_eq!(transport(&v6(V6_FRAGMENT, &[TCP, 0])), None);

        let fragment = |offset: [u8; 2]| [TCP, 0, offset[0], offset[1], 0, 0, 0, 1, 0xee];
        assert!(
            !transport(&v6(V6_FRAGMENT, &fragment([0, 0])))
                .unwrap()
                .fragment
        );
        assert!(
            transport(&v6(V6_FRAGMENT, &fragment([0, 1])))
                .unwrap()
                .fragment
        );
        assert!(
            transport(&v6(V6_FRAGMENT, &fragment([1, 0])))
                .unwrap()
                .fragment
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, version in 4_u8..=6) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | (*first & 0x0f);
            }
            let before = bytes.len();
            if let Ok(packet) = InnerPacket::parse(&bytes) {
                prop_assert!(packet.bytes().len() <= before);
                let _ = packet.transport();
            }
        }
    }
}
