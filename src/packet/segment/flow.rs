//! Which flow a packet belongs to, and whether others of it can follow in the same super-packet.

use super::checksum::{fold, pseudo_header, sum};
use super::fields::*;

/// What merging needs to know of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) flow: Flow,
    /// None if it can only leave alone.
    pub(super) segment: Option<Segment>,
}

/// Packets that must stay in order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// IP version, protocol and ports; zero if they are unknown.
    ports: u64,
    addresses: [u64; 4],
}

/// A packet that others can be merged with: TCP or UDP with a payload right behind a plain header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) protocol: u8,
    /// What has to be the same in all, beside the TCP options.
    pub(super) alike: [u64; 2],
    /// Bytes up to the transport header.
    pub(super) transport: usize,
    /// Bytes up to the payload.
    pub(super) header_len: usize,
    /// Of TCP.
    pub(super) sequence: u32,
    /// The IPv4 identification where it means something.
    pub(super) id: Option<u16>,
    /// PSH and FIN: what only the last of a super-packet can have.
    pub(super) end_flags: u8,
}

impl Head {
    /// Reads a whole IP packet; none if it is none.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Self> {
        let (ip, datagram) = packet.split_first_chunk::<V4_HEADER>()?;
        let [
            first,
            tos,
            t0,
            t1,
            i0,
            i1,
            f0,
            f1,
            ttl,
            protocol,
            _,
            _,
            addresses @ ..,
        ] = *ip;
        let addresses = [u64::from_be_bytes(addresses), 0, 0, 0];
        let has_offset = (f0 & !(V4_RESERVED | V4_DONT_FRAGMENT)) | f1 != 0;
        if first != V4_PLAIN || has_offset {
            return Some(Self::alone(addresses));
        }
        let total = usize::from(u16::from_be_bytes([t0, t1]));
        let is_atomic = f0 & V4_DONT_FRAGMENT != 0;
        let ip = Ip {
            addresses,
            protocol,
            header: V4_HEADER,
            alike: u64::from_be_bytes([4, tos, f0, ttl, 0, 0, 0, 0]),
            id: (!is_atomic).then(|| u16::from_be_bytes([i0, i1])),
        };
        Some(ip.head(datagram, total == packet.len()))
    }

    fn read_v6(packet: &[u8]) -> Option<Self> {
        let (ip, datagram) = packet.split_first_chunk::<V6_HEADER>()?;
        let [v0, v1, v2, v3, l0, l1, next, hops, addresses @ ..] = ip;
        let (addresses, _) = addresses.as_chunks();
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let ip = Ip {
            addresses: [0, 1, 2, 3]
                .map(|at| addresses.get(at).map_or(0, |a| u64::from_be_bytes(*a))),
            protocol: *next,
            header: V6_HEADER,
            alike: u64::from_be_bytes([*v0, *v1, *v2, *v3, *hops, 0, 0, 0]),
            id: None,
        };
        Some(ip.head(datagram, length == datagram.len()))
    }

    /// A packet whose ports are not where they usually are.
    const fn alone(addresses: [u64; 4]) -> Self {
        let flow = Flow {
            ports: 0,
            addresses,
        };
        Self {
            flow,
            segment: None,
        }
    }
}

/// An IP header without options or extension headers.
struct Ip {
    addresses: [u64; 4],
    protocol: u8,
    header: usize,
    alike: u64,
    id: Option<u16>,
}

impl Ip {
    fn head(self, datagram: &[u8], has_its_length: bool) -> Head {
        let Some(ports) = datagram.first_chunk::<4>() else {
            return Head::alone(self.addresses);
        };
        let segment = match self.protocol {
            TCP => self.tcp(datagram),
            UDP => self.udp(datagram),
            _ => return Head::alone(self.addresses),
        };
        let ports = u64::from(u32::from_be_bytes(*ports));
        let version_and_protocol = (self.header << 8) as u64 | u64::from(self.protocol);
        let flow = Flow {
            ports: version_and_protocol << 32 | ports,
            addresses: self.addresses,
        };
        Head {
            flow,
            segment: segment.filter(|_| has_its_length),
        }
    }

    fn tcp(&self, datagram: &[u8]) -> Option<Segment> {
        let header: &[u8; TCP_HEADER] = datagram.first_chunk()?;
        let [
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            a0,
            a1,
            a2,
            a3,
            length,
            flags,
            w0,
            w1,
            _,
            _,
            u0,
            u1,
        ] = *header;
        let header_len = usize::from(length >> 4) * 4;
        if header_len < TCP_HEADER || datagram.len() <= header_len {
            return None;
        }
        if flags & !(ECE | FIN | PSH) != ACK || [u0, u1] != [0, 0] {
            return None;
        }
        let tcp = [a0, a1, a2, a3, length, flags & ECE, w0, w1];
        Some(Segment {
            protocol: TCP,
            alike: [self.alike, u64::from_be_bytes(tcp)],
            transport: self.header,
            header_len: self.header + header_len,
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            id: self.id,
            end_flags: flags & (FIN | PSH),
        })
    }

    fn udp(&self, datagram: &[u8]) -> Option<Segment> {
        let [_, _, _, _, l0, l1, c0, c1] = *datagram.first_chunk::<UDP_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length != datagram.len() || length == UDP_HEADER || [c0, c1] == [0, 0] {
            return None;
        }
        Some(Segment {
            protocol: UDP,
            alike: [self.alike, 0],
            transport: self.header,
            header_len: self.header + UDP_HEADER,
            sequence: 0,
            id: self.id,
            end_flags: 0,
        })
    }
}

impl Flow {
    /// True if a packet of the one must not overtake one of the other.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let ports = self.ports == other.ports || self.ports == 0 || other.ports == 0;
        ports && self.addresses == other.addresses
    }
}

impl Segment {
    /// What the next one of its flow has to be, after one with that many bytes of payload.
    pub(super) const fn following(mut self, payload: usize) -> Self {
        if self.protocol == TCP {
            self.sequence = self.sequence.wrapping_add(payload as u32);
        }
        if let Some(id) = self.id {
            self.id = Some(id.wrapping_add(1));
        }
        self
    }

    /// True if the fixed headers are what they have to be.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.alike == other.alike && self.sequence == other.sequence && self.id == other.id
    }

    /// True if two packets with such a header have equal TCP options.
    pub(super) fn has_options_of(&self, packet: &[u8], other: &[u8]) -> bool {
        if self.protocol != TCP {
            return true;
        }
        let options = self.transport + TCP_HEADER..self.header_len;
        packet.get(options.clone()) == other.get(options)
    }

    /// True if the checksums of the packet are right, and written as [`Split`](super::Split) writes
    /// them: 0xffff in IPv4 and TCP is the other form of zero, which senders do not use.
    pub(super) fn has_right_checksums(&self, packet: &[u8]) -> bool {
        self.has_right_sums(packet).unwrap_or(false)
    }

    fn has_right_sums(&self, packet: &[u8]) -> Option<bool> {
        let addresses = match self.transport {
            V4_HEADER => {
                let ip: &[u8; V4_HEADER] = packet.first_chunk()?;
                if fold(sum(ip)) != 0xffff || ip[V4_CHECKSUM] == [0xff, 0xff] {
                    return Some(false);
                }
                packet.get(V4_ADDRESSES)?
            }
            _ => packet.get(V6_ADDRESSES)?,
        };
        let datagram = packet.get(self.transport..)?;
        let pseudo_sum = pseudo_header(addresses, self.protocol, datagram.len());
        if self.protocol == TCP && datagram.get(TCP_CHECKSUM)? == [0xff, 0xff] {
            return Some(false);
        }
        Some(fold(pseudo_sum + sum(datagram)) == 0xffff)
    }
}

const V4_PLAIN: u8 = 0x45;
const V4_RESERVED: u8 = 0x80;
const V4_DONT_FRAGMENT: u8 = 0x40;
