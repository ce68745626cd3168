//! What a packet of the tun device needs done beside its bytes, and packets that are written in pieces.
//!
//! The kernel hands over up to 64 KiB of one flow as one packet with one header, and takes the same
//! back. It also leaves checksums to whoever sends the packet on.

use std::ops::Range;

use super::Buffer;

/// What is left to do on a packet of the tun device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: it is one packet, and its checksums are what they are.
    #[default]
    None,
    /// It is one packet whose transport checksum has only the pseudo-header in it: the sum of
    /// everything from `start` on is to be stored at `start + offset`. Both in bytes, `start` from the
    /// beginning of the packet.
    Checksum {
        /// Where the sum begins.
        start: u16,
        /// Where it is stored, from there.
        offset: u16,
    },
    /// It is several packets of one flow: one header, and the payloads of all.
    Segments(Segments),
}

/// How a super-packet is made of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The transport protocol.
    pub kind: SegmentKind,
    /// Payload bytes of each segment but the last, which may have fewer. Never zero.
    pub size: u16,
    /// Bytes of all headers before the payload. The kernel's word for it is not to be trusted on
    /// packets that it forwards.
    pub header_len: u16,
    /// Where the transport header begins, in bytes from the beginning of the packet.
    pub transport: u16,
}

/// The transport protocols whose packets come in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4 {
        /// The first segment has CWR set, and it alone.
        cwr: bool,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// As with IPv4.
        cwr: bool,
    },
    /// UDP over either.
    Udp,
}

/// A packet for the tun device whose bytes stand in pieces of one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// What the kernel is to be told of it.
    pub offload: Offload,
    /// Its pieces, as places in a list of them; at least one, and at most
    /// [`limits::PIECES_PER_PACKET`](crate::limits::PIECES_PER_PACKET).
    pub pieces: Range<usize>,
    /// Bytes of all pieces.
    pub len: u32,
    /// How many packets it was merged from.
    pub segments: u32,
}

impl Gathered {
    /// Its bytes, piece by piece; empty where a piece lies outside of the buffer.
    pub fn bytes<'a>(
        &self,
        buffer: &'a Buffer,
        pieces: &'a [Piece],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let own = pieces.get(self.pieces.clone()).unwrap_or_default();
        let bytes = |piece: &Piece| buffer.bytes().get(piece.range());
        own.iter()
            .map(move |piece| bytes(piece).unwrap_or_default())
    }
}

/// Bytes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they begin.
    pub start: u32,
    /// How many there are.
    pub len: u32,
}

impl Piece {
    /// As a range of the buffer's bytes.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}
