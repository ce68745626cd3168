//! Packets that were opened into one buffer, merged into super-packets for the tun device.
//!
//! The rules are those of the kernel's own receive offload, and a little stricter: splitting a
//! super-packet gives back the very packets that it was made of. What breaks a rule leaves as it came.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum::{finish, fold, pseudo_header, sum};
use super::fields::*;
use super::flow::{Flow, Head, Segment};
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
    next: usize,
}

/// A packet, and those that joined it.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    first: usize,
    last: usize,
    segments: u32,
    len: usize,
    /// Payload bytes of each but the last.
    size: usize,
    /// The header; none for what leaves alone.
    segment: Option<Segment>,
}

/// What the next packet of a flow has to be in order to join.
#[derive(Clone, Copy, Debug)]
struct Open {
    flow: Flow,
    /// The first packet, with the sequence number and the id that come next.
    next: Segment,
    /// Its place among the leaving.
    leaving: usize,
    /// Whether the checksums of the first packet were looked at.
    is_verified: bool,
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
        let Some(head) = Head::read(packet) else {
            self.open.clear();
            self.leave(piece, None);
            return Ok(());
        };
        let segment = head.segment.filter(|segment| match segment.protocol {
            TCP => may_merge && self.merging.tcp,
            _ => may_merge && self.merging.udp,
        });
        match segment {
            Some(segment) => self.push_segment(bytes, piece, packet, head.flow, segment),
            None => {
                self.open.retain(|open| !open.flow.meets(&head.flow));
                self.leave(piece, None);
            }
        }
        Ok(())
    }

    fn push_segment(
        &mut self,
        bytes: &[u8],
        piece: Piece,
        packet: &[u8],
        flow: Flow,
        segment: Segment,
    ) {
        let admission = match self.find(&flow) {
            Some(at) => {
                let admission = self.admission(at, bytes, packet, &segment);
                if let Admission::Joins = admission {
                    return self.join(at, piece, &segment);
                }
                self.open.swap_remove(at);
                admission
            }
            None => Admission::Apart { is_verified: false },
        };
        match admission {
            Admission::Apart { is_verified } if segment.end_flags == 0 => {
                let leaving = self.leave(piece, Some(segment));
                let next = segment.following(piece.len as usize - segment.header_len);
                self.open(Open {
                    flow,
                    next,
                    leaving,
                    is_verified,
                });
            }
            _ => {
                self.leave(piece, None);
            }
        }
    }

    /// The open one of a flow.
    fn find(&self, flow: &Flow) -> Option<usize> {
        if self
            .open
            .get(self.latest)
            .is_some_and(|open| open.flow == *flow)
        {
            return Some(self.latest);
        }
        self.open.iter().position(|open| open.flow == *flow)
    }

    fn admission(
        &mut self,
        at: usize,
        bytes: &[u8],
        packet: &[u8],
        segment: &Segment,
    ) -> Admission {
        let apart = Admission::Apart { is_verified: false };
        let Some(open) = self.open.get_mut(at) else {
            return apart;
        };
        let Some(leaving) = self.leaving.get(open.leaving) else {
            return apart;
        };
        let Some(first) = self.arrived.get(leaving.first) else {
            return apart;
        };
        let Some(first) = bytes.get(first.piece.range()) else {
            return apart;
        };
        let payload = packet.len() - segment.header_len;
        if !open.next.is_alike(segment)
            || !segment.has_options_of(packet, first)
            || payload > leaving.size
            || leaving.len + payload > TOTAL_MAX
            || leaving.segments as usize >= PIECES_PER_PACKET
        {
            return apart;
        }
        if !segment.has_right_checksums(packet) {
            return Admission::Broken;
        }
        if !open.is_verified && !segment.has_right_checksums(first) {
            return Admission::Apart { is_verified: true };
        }
        open.is_verified = true;
        Admission::Joins
    }

    /// Adds the payload to what is open there.
    fn join(&mut self, at: usize, mut piece: Piece, segment: &Segment) {
        let Some(open) = self.open.get_mut(at) else {
            return;
        };
        let Some(leaving) = self.leaving.get_mut(open.leaving) else {
            return;
        };
        piece.start += segment.header_len as u32;
        piece.len -= segment.header_len as u32;
        let payload = piece.len as usize;
        let arrived = self.arrived.len();
        if let Some(last) = self.arrived.get_mut(leaving.last) {
            last.next = arrived;
        }
        self.arrived.push(Arrived { piece, next: 0 });
        leaving.last = arrived;
        leaving.segments += 1;
        leaving.len += payload;
        if let Some(first) = &mut leaving.segment {
            first.end_flags |= segment.end_flags;
        }
        if payload < leaving.size || segment.end_flags != 0 {
            self.open.swap_remove(at);
        } else {
            open.next = segment.following(payload);
            self.latest = at;
        }
    }

    /// Lets a packet leave that has joined none; its place among the leaving.
    fn leave(&mut self, piece: Piece, segment: Option<Segment>) -> usize {
        let arrived = self.arrived.len();
        self.arrived.push(Arrived { piece, next: 0 });
        let header = segment.map_or(0, |segment| segment.header_len);
        self.leaving.push(Leaving {
            first: arrived,
            last: arrived,
            segments: 1,
            len: piece.len as usize,
            size: piece.len as usize - header,
            segment,
        });
        self.leaving.len() - 1
    }

    /// Opens one, in place of the oldest if there are too many.
    fn open(&mut self, open: Open) {
        self.latest = self.open.len();
        if let Err(full) = self.open.try_push(open) {
            self.latest = self.oldest;
            if let Some(place) = self.open.get_mut(self.oldest) {
                *place = full.element();
            }
            self.oldest = (self.oldest + 1) % OPEN_FLOWS_MAX;
        }
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
                let Some(arrived) = self.arrived.get(next) else {
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
                len: leaving.len as u32,
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

impl Leaving {
    /// Writes the header of what was merged; what the kernel is to be told.
    fn write_header(&self, bytes: &mut [u8], first: Piece) -> Offload {
        let Some(segment) = &self.segment else {
            return Offload::None;
        };
        let packet = bytes.get_mut(first.range()).unwrap_or_default();
        let Some((ip, transport)) = packet.split_at_mut_checked(segment.transport) else {
            return Offload::None;
        };
        if self.segments == 1 {
            return Offload::None;
        }
        let length = self.len - segment.transport;
        let addresses = match segment.transport {
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
        let checksum = fold(pseudo_header(addresses, segment.protocol, length));
        let kind = match (segment.protocol, segment.transport) {
            (TCP, V4_HEADER) => SegmentKind::Tcp4 { cwr: false },
            (TCP, _) => SegmentKind::Tcp6 { cwr: false },
            _ => SegmentKind::Udp,
        };
        if segment.protocol == TCP {
            if let Some(flags) = transport.get_mut(TCP_FLAGS) {
                *flags |= segment.end_flags;
            }
            put(transport, TCP_CHECKSUM, checksum);
        } else {
            put(transport, UDP_LENGTH, length as u16);
            put(transport, UDP_CHECKSUM, checksum);
        }
        Offload::Segments(Segments {
            kind,
            size: self.size as u16,
            header_len: segment.header_len as u16,
            transport: segment.transport as u16,
        })
    }
}

/// Bytes of an IPv4 packet; more do not fit in its header.
const TOTAL_MAX: usize = 65_535;
