//! The header that stands before a packet of a tun device with offloads: `struct virtio_net_hdr`, little
//! endian, as the device is told to have it.

use std::num::NonZeroU16;

use crate::packet::{Offload, SegmentKind, Segments};

/// Bytes of the header.
pub(in crate::reactor) const HEADER_SIZE: usize = crate::limits::TUN_HEADER;

/// A header that describes no packet which there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) struct Malformed;

/// The fields in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    flags: u8,
    kind: u8,
    header_len: u16,
    segment_size: u16,
    sum_start: u16,
    sum_offset: u16,
}

/// What a header says of the packet after it. All that it points to is inside the packet.
pub(in crate::reactor) fn parse(
    header: &[u8; HEADER_SIZE],
    packet: &[u8],
) -> Result<Offload, Malformed> {
    let fields = Fields::parse(header);
    let sums = fields.flags & NEEDS_CHECKSUM != 0;
    let kind = match fields.kind & !ECN {
        NO_SEGMENTS => None,
        TCP4 => Some(SegmentKind::Tcp4 { cwr: fields.cwr() }),
        TCP6 => Some(SegmentKind::Tcp6 { cwr: fields.cwr() }),
        UDP => Some(SegmentKind::Udp),
        _ => return Err(Malformed),
    };
    let Some(kind) = kind else {
        return match sums {
            false => Ok(Offload::None),
            true => checksum(fields, packet.len()),
        };
    };
    // A packet that was received with a good checksum has none to be made.
    let transport = match sums {
        true => fields.sum_start,
        false => after_ip_header(packet).ok_or(Malformed)?,
    };
    let size = NonZeroU16::new(fields.segment_size).ok_or(Malformed)?;
    let sum_end = usize::from(transport) + usize::from(sum_offset(kind)) + 2;
    if sum_end > packet.len() || usize::from(fields.header_len) > packet.len() {
        return Err(Malformed);
    }
    Ok(Offload::Segments(Segments {
        kind,
        size: size.get(),
        header_len: fields.header_len,
        transport,
    }))
}

/// The header for a packet with this left to do.
pub(in crate::reactor) fn emit(offload: Offload) -> [u8; HEADER_SIZE] {
    let fields = match offload {
        Offload::None => Fields::default(),
        Offload::Checksum { start, offset } => Fields {
            flags: NEEDS_CHECKSUM,
            sum_start: start,
            sum_offset: offset,
            ..Fields::default()
        },
        Offload::Segments(segments) => Fields {
            flags: NEEDS_CHECKSUM,
            kind: match segments.kind {
                SegmentKind::Tcp4 { cwr } => TCP4 | ecn(cwr),
                SegmentKind::Tcp6 { cwr } => TCP6 | ecn(cwr),
                SegmentKind::Udp => UDP,
            },
            header_len: segments.header_len,
            segment_size: segments.size,
            sum_start: segments.transport,
            sum_offset: sum_offset(segments.kind),
        },
    };
    fields.emit()
}

impl Fields {
    fn parse(header: &[u8; HEADER_SIZE]) -> Self {
        let [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1] = *header;
        Self {
            flags,
            kind,
            header_len: u16::from_le_bytes([h0, h1]),
            segment_size: u16::from_le_bytes([s0, s1]),
            sum_start: u16::from_le_bytes([c0, c1]),
            sum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    fn emit(self) -> [u8; HEADER_SIZE] {
        let [h0, h1] = self.header_len.to_le_bytes();
        let [s0, s1] = self.segment_size.to_le_bytes();
        let [c0, c1] = self.sum_start.to_le_bytes();
        let [o0, o1] = self.sum_offset.to_le_bytes();
        [self.flags, self.kind, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    fn cwr(self) -> bool {
        self.kind & ECN != 0
    }
}

fn checksum(fields: Fields, length: usize) -> Result<Offload, Malformed> {
    let Fields {
        sum_start: start,
        sum_offset: offset,
        ..
    } = fields;
    match usize::from(start) + usize::from(offset) + 2 <= length {
        true => Ok(Offload::Checksum { start, offset }),
        false => Err(Malformed),
    }
}

/// Where the header after a plain IP header begins.
fn after_ip_header(packet: &[u8]) -> Option<u16> {
    let first = *packet.first()?;
    match first >> 4 {
        4 => Some(u16::from(first & 0x0f) * 4),
        6 => Some(40),
        _ => None,
    }
}

fn ecn(cwr: bool) -> u8 {
    if cwr { ECN } else { 0 }
}

/// Where the checksum stands in a transport header.
fn sum_offset(kind: SegmentKind) -> u16 {
    match kind {
        SegmentKind::Tcp4 { .. } | SegmentKind::Tcp6 { .. } => 16,
        SegmentKind::Udp => 6,
    }
}

// <linux/virtio_net.h>: VIRTIO_NET_HDR_F_NEEDS_CSUM and VIRTIO_NET_HDR_GSO_*
const NEEDS_CHECKSUM: u8 = 1;
const NO_SEGMENTS: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_written_is_read_within_the_packet(
            header: [u8; HEADER_SIZE],
            packet in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let Ok(offload) = parse(&header, &packet) else {
                return Ok(());
            };
            let sum_end = match offload {
                Offload::None => 0,
                Offload::Checksum { start, offset } => usize::from(start) + usize::from(offset) + 2,
                Offload::Segments(segments) => {
                    prop_assert!(segments.size > 0);
                    prop_assert!(usize::from(segments.header_len) <= packet.len());
                    usize::from(segments.transport) + usize::from(sum_offset(segments.kind)) + 2
                }
            };
            prop_assert!(sum_end <= packet.len());
            prop_assert_eq!(parse(&emit(offload), &packet), Ok(offload));
        }
    }

    fn segments(kind: SegmentKind, size: u16, header_len: u16, transport: u16) -> Offload {
        Offload::Segments(Segments {
            kind,
            size,
            header_len,
            transport,
        })
    }

    #[test]
    fn headers_as_the_kernel_writes_them() {
        let tcp4 = SegmentKind::Tcp4 { cwr: false };
        let tcp6 = SegmentKind::Tcp6 { cwr: true };
        for (offload, bytes) in [
            (Offload::None, [0; 10]),
            (
                Offload::Checksum {
                    start: 20,
                    offset: 6,
                },
                [1, 0, 0, 0, 0, 0, 20, 0, 6, 0],
            ),
            (
                segments(tcp4, 1448, 52, 20),
                [1, 1, 52, 0, 0xa8, 0x05, 20, 0, 16, 0],
            ),
            (
                segments(tcp6, 1428, 72, 40),
                [1, 0x84, 72, 0, 0x94, 0x05, 40, 0, 16, 0],
            ),
            (
                segments(SegmentKind::Udp, 1200, 28, 20),
                [1, 5, 28, 0, 0xb0, 0x04, 20, 0, 6, 0],
            ),
        ] {
            assert_eq!(emit(offload), bytes, "{offload:?}");
            assert_eq!(parse(&bytes, &[0x45; 3000]), Ok(offload), "{bytes:?}");
        }
    }

    #[test]
    fn headers_and_verdicts() {
        let tcp4 = SegmentKind::Tcp4 { cwr: false };
        for (what, header, length, expected) in [
            (
                "a checksum that is known to be good",
                [2, 0, 0, 0, 0, 0, 99, 0, 99, 0],
                28,
                Ok(Offload::None),
            ),
            (
                "a sum at the very end",
                [1, 0, 0, 0, 0, 0, 20, 0, 6, 0],
                28,
                Ok(Offload::Checksum {
                    start: 20,
                    offset: 6,
                }),
            ),
            (
                "a sum behind the end",
                [1, 0, 0, 0, 0, 0, 20, 0, 7, 0],
                28,
                Err(Malformed),
            ),
            (
                "a sum far away",
                [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
                65_535,
                Err(Malformed),
            ),
            (
                "segments whose checksum is good already",
                [2, 1, 52, 0, 100, 0, 0, 0, 0, 0],
                200,
                Ok(segments(tcp4, 100, 52, 20)),
            ),
            (
                "segments of nothing",
                [1, 1, 52, 0, 0, 0, 20, 0, 16, 0],
                200,
                Err(Malformed),
            ),
            (
                "a transport header behind the end",
                [1, 1, 52, 0, 100, 0, 190, 0, 16, 0],
                200,
                Err(Malformed),
            ),
            (
                "headers longer than the packet",
                [1, 1, 201, 0, 100, 0, 20, 0, 16, 0],
                200,
                Err(Malformed),
            ),
            (
                "fragments of UDP, which nobody asked for",
                [1, 3, 28, 0, 100, 0, 20, 0, 6, 0],
                200,
                Err(Malformed),
            ),
        ] {
            assert_eq!(parse(&header, &vec![0x45; length]), expected, "{what}");
        }
        let unsummed = [2, 5, 48, 0, 100, 0, 0, 0, 0, 0];
        let udp6 = Ok(segments(SegmentKind::Udp, 100, 48, 40));
        assert_eq!(parse(&unsummed, &[0x60; 200]), udp6);
        assert_eq!(parse(&unsummed, &[0x00; 200]), Err(Malformed));
        assert_eq!(parse(&unsummed, &[]), Err(Malformed));
    }
}
