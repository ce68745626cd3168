//! Super-packets: one split into packets in place, and packets merged into one.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use ringway::packet::{Merge, Merging, Offload, SegmentKind, Segments, Split};

use super::{Figure, Rounds};

/// Costs a packet of splitting.
pub(super) fn split(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    FLOWS.iter().map(|flow| flow.time_split(rounds)).collect()
}

/// Costs a packet of merging.
pub(super) fn merge(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    FLOWS.iter().map(|flow| flow.time_merge(rounds)).collect()
}

/// A super-packet of IPv4.
struct Flow {
    name: &'static str,
    protocol: u8,
    kind: SegmentKind,
    /// Bytes of both headers.
    header: usize,
    /// Payload bytes of a packet.
    size: usize,
    /// Packets that it is split into.
    count: usize,
}

impl Flow {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x5a; self.header + self.size * self.count];
        self.write_header(&mut bytes);
        bytes
    }

    /// The headers, which splitting overwrites none of but merging takes for the first packet's.
    fn write_header(&self, bytes: &mut [u8]) {
        let [high, low] = ((self.header + self.size * self.count) as u16).to_be_bytes();
        let header = &mut bytes[..self.header];
        header.fill(0);
        header[..12].copy_from_slice(&[0x45, 0, high, low, 0, 1, 0x40, 0, 64, self.protocol, 0, 0]);
        header[12..20].copy_from_slice(&[10, 8, 0, 2, 203, 0, 113, 7]);
        let ports = [0x9c, 0x40, 0x14, 0x51];
        header[20..24].copy_from_slice(&ports);
        if self.protocol == TCP {
            // Sequence and acknowledgement, a header of 32 bytes with ACK, and time stamps.
            header[24..32].copy_from_slice(&[1; 8]);
            header[32..36].copy_from_slice(&[0x80, 0x10, 1, 0xf6]);
            header[40..44].copy_from_slice(&[1, 1, 8, 10]);
        }
    }

    fn split(&self, bytes: &mut [u8]) -> Result<Split, String> {
        let whole = 0..bytes.len();
        let segments = Segments {
            kind: self.kind,
            size: self.size as u16,
            header_len: self.header as u16,
            transport: 20,
        };
        Split::new(bytes, whole, Offload::Segments(segments)).map_err(|error| error.to_string())
    }

    fn time_split(&self, rounds: &Rounds) -> Result<Figure, String> {
        let mut bytes = self.bytes();
        let name = format!("split, {}", self.name);
        rounds.time_part(name, Some(self.size), |items| {
            let (mut took, mut count) = (Duration::ZERO, 0);
            while count < items {
                self.write_header(&mut bytes);
                let start = Instant::now();
                let mut split = self.split(&mut bytes)?;
                while let Some(place) = split.next(&mut bytes) {
                    black_box(place);
                    count += 1;
                }
                took += start.elapsed();
            }
            Ok((took, count))
        })
    }

    /// The packets, one after another in one buffer.
    fn packets(&self) -> Result<(Vec<u8>, Vec<Range<usize>>), String> {
        let mut bytes = self.bytes();
        let (mut packets, mut places) = (Vec::new(), Vec::new());
        let mut split = self.split(&mut bytes)?;
        while let Some(place) = split.next(&mut bytes) {
            let start = packets.len();
            packets.extend_from_slice(bytes.get(place).unwrap_or_default());
            places.push(start..packets.len());
        }
        Ok((packets, places))
    }

    fn time_merge(&self, rounds: &Rounds) -> Result<Figure, String> {
        let (pristine, places) = self.packets()?;
        let mut bytes = pristine.clone();
        let mut merge = Merge::new(
            places.len(),
            Merging {
                tcp: true,
                udp: true,
            },
        );
        let name = format!("merge, {}", self.name);
        rounds.time_part(name, Some(self.size), |items| {
            let (mut took, mut count) = (Duration::ZERO, 0);
            while count < items {
                bytes.copy_from_slice(&pristine);
                let start = Instant::now();
                for place in &places {
                    let pushed = merge.push(&bytes, place.clone(), true);
                    pushed.map_err(|error| error.to_string())?;
                }
                merge.finish(&mut bytes);
                let merged: u32 = merge.packets().iter().map(|packet| packet.segments).sum();
                let leaving = merge.packets().len();
                merge.clear();
                took += start.elapsed();
                count += places.len();
                if merged as usize != places.len() || leaving > places.len().div_ceil(32) {
                    return Err(format!("{} packets became {leaving}", places.len()));
                }
            }
            Ok((took, count))
        })
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

const FLOWS: [Flow; 3] = [
    Flow {
        name: "TCP",
        protocol: TCP,
        kind: SegmentKind::Tcp4 { cwr: false },
        header: 52,
        size: 1400,
        count: 46,
    },
    Flow {
        name: "UDP",
        protocol: UDP,
        kind: SegmentKind::Udp,
        header: 28,
        size: 1400,
        count: 46,
    },
    Flow {
        name: "UDP",
        protocol: UDP,
        kind: SegmentKind::Udp,
        header: 28,
        size: 64,
        count: 64,
    },
];
