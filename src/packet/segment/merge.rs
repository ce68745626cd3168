//! Packets that were opened into one buffer, merged into super-packets for the tun device.
//!
//! The rules are those of the kernel's own receive offload, and a little stricter: splitting a
//! super-packet gives back the very packets that it was made of. What breaks a rule leaves as it came.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum::{finish, fold, pseudo_header, sum};
use super::fields::*;
use super::flow::{Flow, Head, Shape, Step};
use crate::limits::{OPEN_FLOWS_MAX, PIECES_PER_PACKET};
use crate::packet::{Gathered, Offload, Piece, SegmentKind, Segments};

/// Collects packets of one buffer in order of arrival, and decides which consecutive packets of a flow
/// leave as one. Packets of one flow leave in the order in which they came.
#[derive(Debug)]
pub struct Merge {
    merging: Merging,
    max: usize,
    arrived: Vec<Arrived>,
    /// What leaves, in the order in which their first packets came.
    leaving: Vec<Leaving>,
    /// Those of the leaving that a packet may still join.
    open: ArrayVec<Open, OPEN_FLOWS_MAX>,
    /// The one that was joined last, or made.
    latest: usize,
    /// The one that goes when there are too many.
    oldest: usize,
    packets: Vec<Gathered>,
    pieces: Vec<Piece>,
}

/// What the tun device takes as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merging {
    /// TCP segments.
    pub tcp: bool,
    /// UDP datagrams.
    pub udp: bool,
}

/// There is room for no more packets before [`Merge::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many packets to merge")]
pub struct MergeFull;

/// Bytes that leave: a packet, or its payload if it has joined another.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    piece: Piece,
    /// The one that joined after it.
    next: u32,
}

/// A packet, and those that joined it.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    first: u32,
    last: u32,
    segments: u32,
    len: u32,
    /// Payload bytes of each but the last.
    size: u32,
    /// The header; none for what none can join.
    shape: Option<Shape>,
    /// PSH and FIN of the last.
    end_flags: u8,
}

/// One of the leaving that the next packet of its flow may join.
#[derive(Clone, Copy, Debug)]
struct Open {
    flow: Flow,
    shape: Shape,
    next: Step,
    first: Piece,
    /// Its place among the leaving.
    leaving: usize,
    /// Whether the checksums of the first packet were looked at.
    is_verified: bool,
}

/// A packet that can be one of several.
struct Segment<'a> {
    packet: &'a [u8],
    piece: Piece,
    flow: Flow,
    shape: Shape,
    step: Step,
    /// Its header is known to be like that of the open one.
    is_alike: bool,
}

/// What becomes of a packet whose flow has an open one.
enum Admission {
    Joins,
    /// It opens one of its own; its checksums are known to be right if they were looked at.
    Apart {
        is_verified: bool,
    },
    /// A checksum is wrong: it is left as it is.
    Broken,
}

impl Merge {
    /// An empty one with room for `max_packets`; allocates now, and not later.
    pub fn new(max_packets: usize, merging: Merging) -> Self {
        Self {
            merging,
            max: max_packets,
            arrived: Vec::with_capacity(max_packets),
            leaving: Vec::with_capacity(max_packets),
            open: ArrayVec::new(),
            latest: 0,
            oldest: 0,
            packets: Vec::with_capacity(max_packets),
            pieces: Vec::with_capacity(max_packets),
        }
    }

    /// Takes the next packet, one whole IP packet without anything behind it. With `may_merge` false it
    /// leaves alone.
    ///
    /// # Errors
    /// [`MergeFull`] if it has as many as it has room for: then it has to be finished first.
    pub fn push(
        &mut self,
        bytes: &[u8],
        packet: Range<usize>,
        may_merge: bool,
    ) -> Result<(), MergeFull> {
        if self.arrived.len() >= self.max {
            return Err(MergeFull);
        }
        let piece = Piece {
            start: packet.start as u32,
            len: packet.len() as u32,
        };
        let packet = bytes.get(packet).unwrap_or_default();
        if self.merging == Merging::default() {
            self.leave(piece, None);
            return Ok(());
        }
        match self.look(bytes, packet) {
            Some((Head { flow, shape }, is_alike)) => {
                let shape = shape.filter(|shape| may_merge && self.merging.includes(*shape));
                let step = shape.and_then(|shape| shape.step(packet));
                let (Some(shape), Some(step)) = (shape, step) else {
                    self.open.retain(|open| !open.flow.meets(&flow));
                    self.leave(piece, None);
                    return Ok(());
                };
                let segment = Segment {
                    packet,
                    piece,
                    flow,
                    shape,
                    step,
                    is_alike,
                };
                self.push_segment(bytes, &segment);
            }
            None => {
                self.open.clear();
                self.leave(piece, None);
            }
        }
        Ok(())
    }

    /// What there is to know of a packet, and whether its header is like that of the latest open one:
    /// then that one says it all. None if it is no IP packet.
    fn look(&self, bytes: &[u8], packet: &[u8]) -> Option<(Head, bool)> {
        let latest = self.open.get(self.latest);
        if let Some(open) = latest.filter(|open| open.has_header_of(packet, bytes)) {
            let head = Head {
                flow: open.flow,
                shape: Some(open.shape),
            };
            return Some((head, true));
        }
        Some((Head::read(packet)?, false))
    }

    fn push_segment(&mut self, bytes: &[u8], segment: &Segment<'_>) {
        let open = match segment.is_alike {
            true => Some(self.latest),
            false => self
                .open
                .iter()
                .position(|open| open.flow.is(&segment.flow)),
        };
        match open {
            Some(at) => self.push_to(at, bytes, segment),
            None => self.begin(segment, false),
        }
    }

    /// Takes a packet whose flow has an open one.
    fn push_to(&mut self, at: usize, bytes: &[u8], segment: &Segment<'_>) {
        match self.admission(at, bytes, segment) {
            Admission::Joins => self.join(at, segment),
            Admission::Apart { is_verified } => {
                self.open.swap_remove(at);
                self.begin(segment, is_verified);
            }
            Admission::Broken => {
                self.open.swap_remove(at);
                self.leave(segment.piece, None);
            }
        }
    }

    fn admission(&mut self, at: usize, bytes: &[u8], segment: &Segment<'_>) -> Admission {
        let apart = Admission::Apart { is_verified: false };
        let Some(open) = self.open.get_mut(at) else {
            return apart;
        };
        let Some(leaving) = self.leaving.get(open.leaving) else {
            return apart;
        };
        let shape = segment.shape;
        let payload = segment.payload();
        let is_alike = segment.is_alike || open.has_header_of(segment.packet, bytes);
        if !is_alike
            || !shape.is_expected(segment.step, open.next)
            || payload > leaving.size
            || leaving.len + payload > TOTAL_MAX
            || leaving.segments >= SEGMENTS_MAX
        {
            return apart;
        }
        if !shape.has_right_checksums(segment.packet) {
            return Admission::Broken;
        }
        if !open.is_verified {
            let first = bytes.get(open.first.range()).unwrap_or_default();
            if !shape.has_right_checksums(first) {
                return Admission::Apart { is_verified: true };
            }
            open.is_verified = true;
        }
        Admission::Joins
    }

    /// Adds the payload to what is open there.
    fn join(&mut self, at: usize, segment: &Segment<'_>) {
        let Some(open) = self.open.get_mut(at) else {
            return;
        };
        let Some(leaving) = self.leaving.get_mut(open.leaving) else {
            return;
        };
        let payload = segment.payload();
        let arrived = self.arrived.len() as u32;
        if let Some(last) = self.arrived.get_mut(leaving.last as usize) {
            last.next = arrived;
        }
        let piece = Piece {
            start: segment.piece.start + segment.shape.header_len() as u32,
            len: payload,
        };
        self.arrived.push(Arrived { piece, next: 0 });
        leaving.last = arrived;
        leaving.segments += 1;
        leaving.len += payload;
        leaving.end_flags = segment.step.end_flags;
        if payload < leaving.size || segment.step.end_flags != 0 {
            self.open.swap_remove(at);
        } else {
            open.next = open.shape.step_after(segment.step, payload);
            self.latest = at;
        }
    }

    /// Lets a packet leave by itself, and others join it if none of its flags forbids that.
    fn begin(&mut self, segment: &Segment<'_>, is_verified: bool) {
        if segment.step.end_flags != 0 {
            return self.leave(segment.piece, None);
        }
        let open = Open {
            flow: segment.flow,
            shape: segment.shape,
            next: segment.shape.step_after(segment.step, segment.payload()),
            first: segment.piece,
            leaving: self.leaving.len(),
            is_verified,
        };
        self.leave(segment.piece, Some(segment.shape));
        self.latest = self.open.len();
        if self.open.try_push(open).is_err() {
            self.latest = self.oldest;
            if let Some(oldest) = self.open.get_mut(self.oldest) {
                *oldest = open;
            }
            self.oldest = (self.oldest + 1) % OPEN_FLOWS_MAX;
        }
    }

    /// Lets a packet leave that has joined none.
    fn leave(&mut self, piece: Piece, shape: Option<Shape>) {
        let arrived = self.arrived.len() as u32;
        self.arrived.push(Arrived { piece, next: 0 });
        self.leaving.push(Leaving {
            first: arrived,
            last: arrived,
            segments: 1,
            len: piece.len,
            size: piece.len - shape.map_or(0, |shape| shape.header_len() as u32),
            shape,
            end_flags: 0,
        });
    }

    /// Writes the headers of what was merged, and lays out what leaves: [`Merge::packets`] and
    /// [`Merge::pieces`] have it from then on. The next packet that is pushed is the first again.
    pub fn finish(&mut self, bytes: &mut [u8]) {
        self.packets.clear();
        self.pieces.clear();
        for leaving in self.leaving.drain(..) {
            let begin = self.pieces.len();
            let mut next = leaving.first;
            for _ in 0..leaving.segments {
                let Some(arrived) = self.arrived.get(next as usize) else {
                    break;
                };
                self.pieces.push(arrived.piece);
                next = arrived.next;
            }
            let offload = match self.pieces.get(begin) {
                Some(first) => leaving.write_header(bytes, *first),
                None => Offload::None,
            };
            self.packets.push(Gathered {
                offload,
                pieces: begin..self.pieces.len(),
                len: leaving.len,
                segments: leaving.segments,
            });
        }
        self.arrived.clear();
        self.open.clear();
    }

    /// What leaves, after [`Merge::finish`].
    pub fn packets(&self) -> &[Gathered] {
        &self.packets
    }

    /// The pieces of all packets, after [`Merge::finish`].
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.arrived.clear();
        self.leaving.clear();
        self.open.clear();
        self.packets.clear();
        self.pieces.clear();
    }
}

impl Merging {
    const fn includes(self, shape: Shape) -> bool {
        match shape.protocol {
            TCP => self.tcp,
            _ => self.udp,
        }
    }
}

impl Open {
    /// True if a packet has the same header as the first one, but for what differs anyway.
    fn has_header_of(&self, packet: &[u8], bytes: &[u8]) -> bool {
        let first = bytes.get(self.first.range()).unwrap_or_default();
        self.shape.is_in(packet, first)
    }
}

impl Segment<'_> {
    /// Bytes of its payload.
    fn payload(&self) -> u32 {
        self.piece.len - self.shape.header_len() as u32
    }
}

impl Leaving {
    /// Writes the header of what was merged; what the kernel is to be told.
    fn write_header(&self, bytes: &mut [u8], first: Piece) -> Offload {
        let (Some(shape), 2..) = (self.shape, self.segments) else {
            return Offload::None;
        };
        let packet = bytes.get_mut(first.range()).unwrap_or_default();
        let Some((ip, transport)) = packet.split_at_mut_checked(shape.transport()) else {
            return Offload::None;
        };
        let length = self.len as usize - shape.transport();
        let addresses = match shape.transport() {
            V4_HEADER => {
                put(ip, V4_TOTAL_LENGTH, self.len as u16);
                put(ip, V4_CHECKSUM, 0);
                put(ip, V4_CHECKSUM, finish(sum(ip)));
                V4_ADDRESSES
            }
            _ => {
                put(ip, V6_PAYLOAD_LENGTH, length as u16);
                V6_ADDRESSES
            }
        };
        let addresses = ip.get(addresses).unwrap_or_default();
        // The kernel adds the rest of the sum, or leaves that to the network card.
        let checksum = fold(pseudo_header(addresses, shape.protocol, length));
        if shape.protocol == TCP {
            if let Some(flags) = transport.get_mut(TCP_FLAGS) {
                *flags |= self.end_flags;
            }
            put(transport, TCP_CHECKSUM, checksum);
        } else {
            put(transport, UDP_LENGTH, length as u16);
            put(transport, UDP_CHECKSUM, checksum);
        }
        let kind = match (shape.protocol, shape.transport()) {
            (TCP, V4_HEADER) => SegmentKind::Tcp4 { cwr: false },
            (TCP, _) => SegmentKind::Tcp6 { cwr: false },
            _ => SegmentKind::Udp,
        };
        Offload::Segments(Segments {
            kind,
            size: self.size as u16,
            header_len: shape.header_len() as u16,
            transport: shape.transport() as u16,
        })
    }
}

/// Bytes of an IPv4 packet; more do not fit in its header.
const TOTAL_MAX: u32 = 65_535;

const SEGMENTS_MAX: u32 = PIECES_PER_PACKET as u32;
