//! Which flow a packet belongs to, and whether others of it can follow in the same super-packet.

use super::checksum::{fold, pseudo_header, sum};
use super::fields::*;

/// What merging needs to know of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) flow: Flow,
    /// None if the packet can only leave alone.
    pub(super) shape: Option<Shape>,
}

/// Packets that must stay in order among each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    addresses: [u64; 4],
    /// IP version, protocol and ports; zero if they are unknown.
    ports: u64,
}

/// The header of a packet that others can be merged with: plain IP, then TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) protocol: u8,
    /// Bytes up to the transport header.
    transport: u8,
    /// Bytes up to the payload.
    header_len: u8,
    /// The IPv4 identification means something.
    has_id: bool,
}

/// What differs from packet to packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Of TCP.
    sequence: u32,
    id: u16,
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
            _,
            _,
            _,
            _,
            _,
            f0,
            f1,
            _,
            protocol,
            _,
            _,
            addresses @ ..,
        ] = *ip;
        let flow = Flow {
            addresses: [u64::from_be_bytes(addresses), 0, 0, 0],
            ports: 0,
        };
        let has_offset = (f0 & !(V4_RESERVED | V4_DONT_FRAGMENT)) | f1 != 0;
        if first != V4_PLAIN || has_offset {
            return Some(Self { flow, shape: None });
        }
        // RFC 6864: of a datagram that cannot be fragmented it means nothing.
        let has_id = f0 & V4_DONT_FRAGMENT == 0;
        Some(flow.head(datagram, protocol, V4_HEADER as u8, has_id))
    }

    fn read_v6(packet: &[u8]) -> Option<Self> {
        let (ip, datagram) = packet.split_first_chunk::<V6_HEADER>()?;
        let [_, _, _, _, _, _, next, _, addresses @ ..] = ip;
        let mut flow = Flow {
            addresses: [0; 4],
            ports: 0,
        };
        let (words, _) = addresses.as_chunks();
        for (to, from) in flow.addresses.iter_mut().zip(words) {
            *to = u64::from_be_bytes(*from);
        }
        Some(flow.head(datagram, *next, V6_HEADER as u8, false))
    }
}

impl Flow {
    /// The head of a packet whose IP header has no options or extension headers.
    fn head(mut self, datagram: &[u8], protocol: u8, ip_header: u8, has_id: bool) -> Head {
        let header_len = match protocol {
            TCP => tcp_header(datagram),
            UDP => Some(UDP_HEADER as u8),
            _ => None,
        };
        if let (TCP | UDP, Some(ports)) = (protocol, datagram.first_chunk()) {
            let version_and_protocol = u64::from(u16::from_be_bytes([ip_header, protocol]));
            self.ports = version_and_protocol << 32 | u64::from(u32::from_be_bytes(*ports));
        }
        let shape = header_len.map(|header_len| Shape {
            protocol,
            transport: ip_header,
            header_len: ip_header + header_len,
            has_id,
        });
        Head { flow: self, shape }
    }

    /// True if it is the very same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.ports == other.ports && self.has_addresses_of(other)
    }

    /// True if a packet of the one must not overtake one of the other.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let may_be_same = self.ports == other.ports || self.ports == 0 || other.ports == 0;
        may_be_same && self.has_addresses_of(other)
    }

    /// Word by word: a comparison of the whole array waits for stores that are under way.
    fn has_addresses_of(&self, other: &Self) -> bool {
        let [a, b, c, d] = self.addresses;
        let [w, x, y, z] = other.addresses;
        (a ^ w) | (b ^ x) | (c ^ y) | (d ^ z) == 0
    }
}

impl Shape {
    /// Bytes up to the transport header.
    pub(super) fn transport(self) -> usize {
        usize::from(self.transport)
    }

    /// Bytes up to the payload.
    pub(super) fn header_len(self) -> usize {
        usize::from(self.header_len)
    }

    /// True if a packet has the header of another of this shape, but for what differs from packet to
    /// packet.
    pub(super) fn is_in(self, packet: &[u8], other: &[u8]) -> bool {
        let mask = match (self.transport(), self.protocol) {
            (V4_HEADER, TCP) => &V4_TCP,
            (V4_HEADER, _) => &V4_UDP,
            (_, TCP) => &V6_TCP,
            (_, _) => &V6_UDP,
        };
        let length = self.header_len();
        let (Some(packet), Some(other)) = (packet.get(..length), other.get(..length)) else {
            return false;
        };
        let (ones, _) = packet.as_chunks();
        let (others, _) = other.as_chunks();
        let mut difference = 0;
        for ((one, other), mask) in ones.iter().zip(others).zip(mask) {
            difference |= (u32::from_ne_bytes(*one) ^ u32::from_ne_bytes(*other)) & mask;
        }
        difference == 0
    }

    /// What differs from packet to packet; none if the packet has no payload, or lengths that are not
    /// its own, or no checksum.
    pub(super) fn step(self, packet: &[u8]) -> Option<Step> {
        let (ip, datagram) = packet.split_at_checked(self.transport())?;
        let (length, id) = match *ip {
            [_, _, t0, t1, i0, i1, ..] if self.transport() == V4_HEADER => {
                let total = u16::from_be_bytes([t0, t1]);
                (usize::from(total).checked_sub(V4_HEADER)?, [i0, i1])
            }
            [_, _, _, _, l0, l1, ..] => (usize::from(u16::from_be_bytes([l0, l1])), [0, 0]),
            _ => return None,
        };
        if length != datagram.len() || packet.len() <= self.header_len() {
            return None;
        }
        let (sequence, end_flags) = match (self.protocol, datagram) {
            (TCP, [_, _, _, _, a, b, c, d, _, _, _, _, _, flags, ..]) => {
                (u32::from_be_bytes([*a, *b, *c, *d]), flags & (FIN | PSH))
            }
            (UDP, [_, _, _, _, l0, l1, c0, c1, ..]) => {
                if usize::from(u16::from_be_bytes([*l0, *l1])) != length || [*c0, *c1] == [0, 0] {
                    return None;
                }
                (0, 0)
            }
            _ => return None,
        };
        Some(Step {
            sequence,
            id: u16::from_be_bytes(id),
            end_flags,
        })
    }

    /// The step after one with that many bytes of payload.
    pub(super) const fn step_after(self, step: Step, payload: u32) -> Step {
        Step {
            sequence: match self.protocol {
                TCP => step.sequence.wrapping_add(payload),
                _ => 0,
            },
            id: step.id.wrapping_add(1),
            end_flags: 0,
        }
    }

    /// True if a step is the one that is expected. What ends a super-packet may come with any.
    pub(super) const fn is_expected(self, step: Step, expected: Step) -> bool {
        step.sequence == expected.sequence && (!self.has_id || step.id == expected.id)
    }

    /// True if the checksums of the packet are right, and written as [`Split`](super::Split) writes
    /// them: 0xffff in IPv4 and TCP is the other form of zero, which senders do not use.
    pub(super) fn has_right_checksums(self, packet: &[u8]) -> bool {
        self.has_right_sums(packet).unwrap_or(false)
    }

    fn has_right_sums(self, packet: &[u8]) -> Option<bool> {
        let datagram = packet.get(self.transport()..)?;
        let pseudo_sum = match self.transport() {
            V4_HEADER => {
                let ip: &[u8; V4_HEADER] = packet.first_chunk()?;
                if fold(sum(ip)) != 0xffff || ip[V4_CHECKSUM] == [0xff, 0xff] {
                    return Some(false);
                }
                pseudo_header(&ip[V4_ADDRESSES], self.protocol, datagram.len())
            }
            _ => {
                let ip: &[u8; V6_HEADER] = packet.first_chunk()?;
                pseudo_header(&ip[V6_ADDRESSES], self.protocol, datagram.len())
            }
        };
        if self.protocol == TCP && datagram.get(TCP_CHECKSUM)? == [0xff, 0xff] {
            return Some(false);
        }
        Some(fold(pseudo_sum + sum(datagram)) == 0xffff)
    }
}

/// The length of a TCP header that others can follow.
fn tcp_header(datagram: &[u8]) -> Option<u8> {
    let header: &[u8; TCP_HEADER] = datagram.first_chunk()?;
    let [.., length, flags, _, _, _, _, u0, u1] = *header;
    let length = (length >> 4) * 4;
    let is_plain = flags & !(ECE | FIN | PSH) == ACK && [u0, u1] == [0, 0];
    (is_plain && usize::from(length) >= TCP_HEADER).then_some(length)
}

/// The bits of a header that are the same in all packets of a super-packet.
const fn mask(transport: usize, protocol: u8) -> [u32; HEADER_MAX / 4] {
    let mut mask = [0xff; HEADER_MAX];
    let length = match transport {
        V4_HEADER => V4_TOTAL_LENGTH.start,
        _ => V6_PAYLOAD_LENGTH.start,
    };
    clear(&mut mask, length, 2);
    if transport == V4_HEADER {
        clear(&mut mask, V4_ID.start, 2);
        clear(&mut mask, V4_CHECKSUM.start, 2);
    }
    if protocol == TCP {
        clear(&mut mask, transport + TCP_SEQUENCE.start, 4);
        mask[transport + TCP_FLAGS] = !(FIN | PSH);
        clear(&mut mask, transport + TCP_CHECKSUM.start, 2);
    } else {
        clear(&mut mask, transport + UDP_LENGTH.start, 2);
        clear(&mut mask, transport + UDP_CHECKSUM.start, 2);
    }
    let mut words = [0; HEADER_MAX / 4];
    let mut at = 0;
    while at < words.len() {
        let byte = at * 4;
        let bytes = [mask[byte], mask[byte + 1], mask[byte + 2], mask[byte + 3]];
        words[at] = u32::from_ne_bytes(bytes);
        at += 1;
    }
    words
}

const fn clear(mask: &mut [u8; HEADER_MAX], start: usize, length: usize) {
    let mut at = start;
    while at < start + length {
        mask[at] = 0;
        at += 1;
    }
}

static V4_TCP: [u32; HEADER_MAX / 4] = mask(V4_HEADER, TCP);
static V4_UDP: [u32; HEADER_MAX / 4] = mask(V4_HEADER, UDP);
static V6_TCP: [u32; HEADER_MAX / 4] = mask(V6_HEADER, TCP);
static V6_UDP: [u32; HEADER_MAX / 4] = mask(V6_HEADER, UDP);

/// The longest header that is merged.
const HEADER_MAX: usize = V6_HEADER + TCP_HEADER_MAX;

const V4_PLAIN: u8 = 0x45;
const V4_RESERVED: u8 = 0x80;
const V4_DONT_FRAGMENT: u8 = 0x40;
