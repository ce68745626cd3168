//! A super-packet of the tun device, split into packets in its own buffer.
//!
//! The header of each packet is written in front of its payload, over the end of the packet before. So
//! each has to be done with before the next is asked for, and no payload is copied.

use std::ops::Range;

use super::checksum::{self, finish, nonzero, pseudo_header, sum};
use super::fields::*;
use crate::limits::TUN_SEGMENTS_MAX;
use crate::packet::{Offload, SegmentKind, Segments};
use crate::wire::InnerPacket;

/// A cursor over the packets of one super-packet. What is no super-packet is its one packet.
#[derive(Clone, Debug)]
pub struct Split {
    /// What is left of the payload; of what is one packet, the packet.
    rest: Range<usize>,
    /// Bytes of each payload but the last.
    size: usize,
    remaining: usize,
    /// The header of the next packet; none for what is one packet with its header in place.
    template: Option<Template>,
}

/// Why a packet cannot be split: it is not what its offload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsplittable {
    /// It is no whole IP packet.
    #[error("no whole IP packet")]
    NoPacket,
    /// Its checksum would be stored outside of it.
    #[error("the checksum lies outside of the packet")]
    Checksum,
    /// It has another transport protocol, or none whose header can be found.
    #[error("another transport protocol than its offload says")]
    Transport,
    /// Its headers are longer than the packet, or than any that are split.
    #[error("headers too long")]
    Header,
    /// It has more than [`TUN_SEGMENTS_MAX`] segments, or segments of no size.
    #[error("too many segments")]
    Segments,
}

impl Split {
    /// A cursor at the first packet of `packet`, which are bytes of `bytes`. If the packet is one whose
    /// checksum was left to do, it is completed now.
    ///
    /// Lengths and places of the headers come from the packet, not from the offload.
    ///
    /// # Errors
    /// [`Unsplittable`] if the packet is not what `offload` says; its bytes are as they were then.
    pub fn new(
        bytes: &mut [u8],
        packet: Range<usize>,
        offload: Offload,
    ) -> Result<Self, Unsplittable> {
        let place = packet.clone();
        let packet = bytes.get_mut(packet).ok_or(Unsplittable::NoPacket)?;
        match offload {
            Offload::None => Ok(Self::whole(place)),
            Offload::Checksum { start, offset } => {
                checksum::complete(packet, start, offset).map_err(|_| Unsplittable::Checksum)?;
                Ok(Self::whole(place))
            }
            Offload::Segments(segments) => Self::segments(packet, place.start, segments),
        }
    }

    const fn whole(place: Range<usize>) -> Self {
        Self {
            rest: place,
            size: 0,
            remaining: 1,
            template: None,
        }
    }

    fn segments(packet: &[u8], start: usize, segments: Segments) -> Result<Self, Unsplittable> {
        let inner = InnerPacket::parse(packet).map_err(|_| Unsplittable::NoPacket)?;
        let transport = inner.transport().ok_or(Unsplittable::Transport)?;
        let wanted = match segments.kind {
            SegmentKind::Tcp4 { .. } => (4, TCP),
            SegmentKind::Tcp6 { .. } => (6, TCP),
            SegmentKind::Udp => (inner.version(), UDP),
        };
        if (inner.version(), transport.protocol) != wanted || transport.fragment {
            return Err(Unsplittable::Transport);
        }
        let packet = inner.bytes();
        let template =
            Template::new(packet, transport.offset, segments.kind).ok_or(Unsplittable::Header)?;
        let payload = packet.len() - template.len();
        let size = usize::from(segments.size);
        let remaining = match size {
            0 => return Err(Unsplittable::Segments),
            size => payload.div_ceil(size).max(1),
        };
        if remaining > TUN_SEGMENTS_MAX {
            return Err(Unsplittable::Segments);
        }
        let end = start + packet.len();
        Ok(Self {
            rest: end - payload..end,
            size,
            remaining,
            template: Some(template),
        })
    }

    /// How many packets are left.
    pub const fn remaining(&self) -> usize {
        self.remaining
    }

    /// The place of the next packet in `bytes`, the same as [`Split::new`] was given; none after the
    /// last. Overwrites what came before it.
    pub fn next(&mut self, bytes: &mut [u8]) -> Option<Range<usize>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let Some(template) = &mut self.template else {
            return Some(self.rest.clone());
        };
        let payload = self.rest.start;
        let is_last = self.remaining == 0;
        let end = match is_last {
            true => self.rest.end,
            false => payload + self.size,
        };
        let place = payload.checked_sub(template.len())?..end;
        let (header, payload) = bytes
            .get_mut(place.clone())?
            .split_at_mut_checked(template.len())?;
        template.write(header, payload, is_last);
        self.rest.start = end;
        Some(place)
    }
}

/// The header of the next packet, and sums over what is the same in all.
#[derive(Clone, Debug)]
struct Template {
    ip: [u8; IP_HEADER_MAX],
    ip_len: usize,
    /// The IPv4 header without what changes.
    ip_sum: u64,
    version: Version,
    transport: [u8; TCP_HEADER_MAX],
    transport_len: usize,
    /// The pseudo-header without its length, and the transport header without what changes.
    transport_sum: u64,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    V4 { id: u16 },
    V6,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Tcp {
        sequence: u32,
        flags: u8,
        /// CWR is on the first packet alone.
        cwr: bool,
    },
    Udp,
}

impl Template {
    /// The header of a packet whose transport header is at `transport`; none if it is too long.
    fn new(packet: &[u8], transport: usize, kind: SegmentKind) -> Option<Self> {
        let (ip_header, datagram) = packet.split_at_checked(transport)?;
        let mut ip = [0; IP_HEADER_MAX];
        ip.get_mut(..transport)?.copy_from_slice(ip_header);
        let (version, ip_sum) = take_ip_fields(&mut ip);
        let (protocol, transport_len) = read_transport(datagram, kind)?;
        let mut header = [0; TCP_HEADER_MAX];
        header
            .get_mut(..transport_len)?
            .copy_from_slice(datagram.get(..transport_len)?);
        let checksum = take_transport_fields(&mut header, protocol);
        let pseudo_sum = match (version, transport) {
            (Version::V4 { .. }, V4_HEADER) => {
                pseudo_header(&ip[V4_ADDRESSES], protocol.number(), 0)
            }
            (Version::V6, V6_HEADER) => pseudo_header(&ip[V6_ADDRESSES], protocol.number(), 0),
            // RFC 8200, section 8.1: what routes the packet may keep its last destination elsewhere.
            // The field has the sum over the right one, and over the whole length.
            _ => u64::from(checksum) + u64::from(!(datagram.len() as u16)),
        };
        Some(Self {
            ip,
            ip_len: transport,
            ip_sum,
            version,
            transport_sum: pseudo_sum + sum(&header),
            transport: header,
            transport_len,
            protocol,
        })
    }

    const fn len(&self) -> usize {
        self.ip_len + self.transport_len
    }

    /// Writes the header of the next packet, which has that payload.
    fn write(&mut self, header: &mut [u8], payload: &[u8], is_last: bool) {
        let length = self.transport_len + payload.len();
        self.next_ip_header(length);
        self.next_transport_header(length, payload, is_last);
        let (ip, transport) = header.split_at_mut(self.ip_len);
        ip.copy_from_slice(&self.ip[..self.ip_len]);
        transport.copy_from_slice(&self.transport[..self.transport_len]);
    }

    fn next_ip_header(&mut self, length: usize) {
        match &mut self.version {
            Version::V4 { id } => {
                let total = (self.ip_len + length) as u16;
                let checksum = finish(self.ip_sum + u64::from(total) + u64::from(*id));
                put(&mut self.ip, V4_TOTAL_LENGTH, total);
                put(&mut self.ip, V4_ID, *id);
                put(&mut self.ip, V4_CHECKSUM, checksum);
                // RFC 6864, section 4: the id of a packet that may be fragmented must not repeat;
                // without fragments it means nothing. Counting on is right for both, and the kernel
                // leaves as many ids out when it makes a super-packet.
                *id = id.wrapping_add(1);
            }
            Version::V6 => {
                let payload_length = (self.ip_len - V6_HEADER + length) as u16;
                put(&mut self.ip, V6_PAYLOAD_LENGTH, payload_length);
            }
        }
    }

    fn next_transport_header(&mut self, length: usize, payload: &[u8], is_last: bool) {
        let total = self.transport_sum + length as u64 + sum(payload);
        match &mut self.protocol {
            Protocol::Tcp {
                sequence,
                flags,
                cwr,
            } => {
                let now = match is_last {
                    true => *flags,
                    false => *flags & !(FIN | PSH),
                };
                let high_and_low = u64::from(*sequence >> 16) + u64::from(*sequence & 0xffff);
                let checksum = finish(total + high_and_low + u64::from(now));
                self.transport[TCP_SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
                self.transport[TCP_FLAGS] = now;
                put(&mut self.transport, TCP_CHECKSUM, checksum);
                *sequence = sequence.wrapping_add(payload.len() as u32);
                if *cwr {
                    *flags &= !CWR;
                }
            }
            Protocol::Udp => {
                // The length stands in the pseudo-header and in the header.
                let checksum = nonzero(finish(total + length as u64));
                put(&mut self.transport, UDP_LENGTH, length as u16);
                put(&mut self.transport, UDP_CHECKSUM, checksum);
            }
        }
    }
}

impl Protocol {
    const fn number(self) -> u8 {
        match self {
            Self::Tcp { .. } => TCP,
            Self::Udp => UDP,
        }
    }
}

/// What changes from packet to packet, and the sum of what does not: clears the fields that change.
fn take_ip_fields(ip: &mut [u8; IP_HEADER_MAX]) -> (Version, u64) {
    if ip[0] >> 4 == 6 {
        return (Version::V6, 0);
    }
    let id = u16::from_be_bytes([ip[4], ip[5]]);
    for field in [V4_TOTAL_LENGTH, V4_ID, V4_CHECKSUM] {
        put(ip, field, 0);
    }
    (Version::V4 { id }, sum(ip))
}

/// What the transport header says, and its length; none if it is longer than the datagram.
fn read_transport(datagram: &[u8], kind: SegmentKind) -> Option<(Protocol, usize)> {
    let (SegmentKind::Tcp4 { cwr } | SegmentKind::Tcp6 { cwr }) = kind else {
        return Some((Protocol::Udp, UDP_HEADER));
    };
    let header: &[u8; TCP_HEADER] = datagram.first_chunk()?;
    let length = usize::from(header[TCP_DATA_OFFSET] >> 4) * 4;
    let [_, _, _, _, a, b, c, d, ..] = *header;
    let protocol = Protocol::Tcp {
        sequence: u32::from_be_bytes([a, b, c, d]),
        flags: header[TCP_FLAGS],
        cwr,
    };
    (length >= TCP_HEADER).then_some((protocol, length))
}

/// Clears the fields that change from packet to packet; what the checksum was.
fn take_transport_fields(header: &mut [u8; TCP_HEADER_MAX], protocol: Protocol) -> u16 {
    let field = match protocol {
        Protocol::Tcp { .. } => {
            header[TCP_SEQUENCE].fill(0);
            header[TCP_FLAGS] = 0;
            TCP_CHECKSUM
        }
        Protocol::Udp => {
            put(header, UDP_LENGTH, 0);
            UDP_CHECKSUM
        }
    };
    let checksum = u16::from_be_bytes([header[field.start], header[field.start + 1]]);
    put(header, field, 0);
    checksum
}

/// An IPv4 header with options, or an IPv6 header with 28 bytes of extension headers.
const IP_HEADER_MAX: usize = V4_HEADER_MAX + 8;
