//! Packets to split and to merge, and a second, simple implementation of what is expected.

mod alike;
mod checksum;
pub(in crate::packet) mod flows;
mod merge;
pub(in crate::packet) mod reference;
mod split;

use super::*;
use crate::limits::{OPEN_FLOWS_MAX, PIECES_PER_PACKET, TUN_SEGMENTS_MAX};
use crate::packet::{Gathered, Offload, Piece, SegmentKind, Segments};

/// A packet of which every field can be set.
#[derive(Clone, Debug)]
pub(in crate::packet) struct Sample {
    pub(in crate::packet) ip: Ip,
    transport: Transport,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(in crate::packet) enum Ip {
    V4 {
        tos: u8,
        id: u16,
        /// Flags and fragment offset.
        fragment: u16,
        ttl: u8,
        options: Vec<u8>,
        addresses: [u8; 8],
    },
    V6 {
        class: u8,
        label: u32,
        hops: u8,
        extensions: Option<Extensions>,
        addresses: [u8; 32],
    },
}

/// Number of the first extension header, all of them, and where in them the number of the next is.
pub(in crate::packet) type Extensions = (u8, Vec<u8>, usize);

#[derive(Clone, Debug)]
pub(in crate::packet) enum Transport {
    Tcp {
        ports: [u16; 2],
        sequence: u32,
        acknowledged: u32,
        flags: u8,
        window: u16,
        urgent: u16,
        options: Vec<u8>,
    },
    Udp {
        ports: [u16; 2],
    },
}

impl Sample {
    pub(in crate::packet) fn tcp4(payload: Vec<u8>) -> Self {
        Self {
            ip: Ip::V4 {
                tos: 0,
                id: 0xfffe,
                fragment: 0,
                ttl: 64,
                options: vec![],
                addresses: [10, 8, 0, 2, 192, 0, 2, 1],
            },
            transport: Transport::Tcp {
                ports: [40_000, 443],
                sequence: 0xffff_fc00,
                acknowledged: 0x1122_3344,
                flags: ACK,
                window: 501,
                urgent: 0,
                options: vec![1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4],
            },
            payload,
        }
    }

    fn tcp6(payload: Vec<u8>) -> Self {
        let mut addresses = [0x20; 32];
        addresses[31] = 7;
        Self {
            ip: Ip::V6 {
                class: 0,
                label: 0xabcde,
                hops: 63,
                extensions: None,
                addresses,
            },
            ..Self::tcp4(payload)
        }
    }

    fn udp4(payload: Vec<u8>) -> Self {
        Self {
            transport: Transport::Udp { ports: [53, 9] },
            ..Self::tcp4(payload)
        }
    }

    fn udp6(payload: Vec<u8>) -> Self {
        Self {
            transport: Transport::Udp { ports: [53, 9] },
            ..Self::tcp6(payload)
        }
    }

    /// One of each kind, with that payload.
    pub(in crate::packet) fn each(payload: &[u8]) -> [Self; 4] {
        [Self::tcp4, Self::tcp6, Self::udp4, Self::udp6].map(|sample| sample(payload.to_vec()))
    }

    /// The packet, all checksums right.
    pub(in crate::packet) fn bytes(&self) -> Vec<u8> {
        let mut packet = self.ip.bytes(self.transport.protocol());
        packet.extend_from_slice(&self.transport.bytes());
        packet.extend_from_slice(&self.payload);
        reference::complete(&mut packet);
        packet
    }

    /// The next packet of the flow, with the same payload.
    pub(in crate::packet) fn following(&self) -> Self {
        let mut next = self.clone();
        if let Ip::V4 { id, .. } = &mut next.ip {
            *id = id.wrapping_add(1);
        }
        if let Transport::Tcp { sequence, .. } = &mut next.transport {
            *sequence = sequence.wrapping_add(self.payload.len() as u32);
        }
        next
    }

    pub(in crate::packet) fn kind(&self, cwr: bool) -> SegmentKind {
        match (&self.transport, &self.ip) {
            (Transport::Udp { .. }, _) => SegmentKind::Udp,
            (Transport::Tcp { .. }, Ip::V4 { .. }) => SegmentKind::Tcp4 { cwr },
            (Transport::Tcp { .. }, Ip::V6 { .. }) => SegmentKind::Tcp6 { cwr },
        }
    }

    /// Bytes before the transport header, and before the payload.
    pub(in crate::packet) fn header(&self) -> (usize, usize) {
        let transport = self.ip.bytes(0).len();
        (transport, transport + self.transport.bytes().len())
    }

    pub(in crate::packet) fn set_flags(&mut self, new: u8) {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags = new;
        }
    }
}

impl Ip {
    fn bytes(&self, protocol: u8) -> Vec<u8> {
        match self {
            Self::V4 {
                tos,
                id,
                fragment,
                ttl,
                options,
                addresses,
            } => {
                let mut header = vec![0x45 + (options.len() / 4) as u8, *tos, 0, 0];
                header.extend_from_slice(&id.to_be_bytes());
                header.extend_from_slice(&fragment.to_be_bytes());
                header.extend_from_slice(&[*ttl, protocol, 0, 0]);
                header.extend_from_slice(addresses);
                header.extend_from_slice(options);
                header
            }
            Self::V6 {
                class,
                label,
                hops,
                extensions,
                addresses,
            } => {
                let first = 6 << 28 | u32::from(*class) << 20 | label;
                let mut header = first.to_be_bytes().to_vec();
                header.extend_from_slice(&[0, 0, protocol, *hops]);
                header.extend_from_slice(addresses);
                if let Some((number, bytes, next)) = extensions {
                    header[6] = *number;
                    header.extend_from_slice(bytes);
                    header[40 + next] = protocol;
                }
                header
            }
        }
    }
}

impl Transport {
    fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Tcp {
                ports,
                sequence,
                acknowledged,
                flags,
                window,
                urgent,
                options,
            } => {
                let mut header = ports.map(u16::to_be_bytes).concat();
                header.extend_from_slice(&sequence.to_be_bytes());
                header.extend_from_slice(&acknowledged.to_be_bytes());
                header.extend_from_slice(&[((5 + options.len() / 4) << 4) as u8, *flags]);
                header.extend_from_slice(&window.to_be_bytes());
                header.extend_from_slice(&[0, 0]);
                header.extend_from_slice(&urgent.to_be_bytes());
                header.extend_from_slice(options);
                header
            }
            Self::Udp { ports } => {
                let mut header = ports.map(u16::to_be_bytes).concat();
                header.extend_from_slice(&[0; 4]);
                header
            }
        }
    }
}

/// Bytes that are not all the same.
pub(in crate::packet) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// All packets that the cursor yields, each copied before the next overwrites it.
fn split_all(packet: &[u8], offload: Offload) -> Result<Vec<Vec<u8>>, Unsplittable> {
    let mut buffer = vec![0xa5; MARGIN];
    buffer.extend_from_slice(packet);
    buffer.extend_from_slice(&[0xa5; MARGIN]);
    let place = MARGIN..MARGIN + packet.len();
    let mut split = Split::new(&mut buffer, place.clone(), offload)?;
    let mut packets = Vec::new();
    while let Some(range) = split.next(&mut buffer) {
        assert!(place.start <= range.start && range.end <= place.end);
        packets.push(buffer[range].to_vec());
    }
    assert_eq!((split.remaining(), split.next(&mut buffer)), (0, None));
    assert!(buffer[..MARGIN].iter().all(|byte| *byte == 0xa5));
    assert!(buffer[place.end..].iter().all(|byte| *byte == 0xa5));
    Ok(packets)
}

/// The bytes of a packet in pieces.
fn gather(buffer: &[u8], packet: &Gathered, pieces: &[Piece]) -> Vec<u8> {
    let pieces = &pieces[packet.pieces.clone()];
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| &buffer[piece.range()])
        .copied()
        .collect();
    assert_eq!(bytes.len(), packet.len as usize);
    bytes
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

const MARGIN: usize = 70;
