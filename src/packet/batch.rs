//! What travels between the stages of the data path: packets in pool buffers, in bounded lists.

use super::{Buffer, Offload, Path, PeerIndex, Piece, TrafficClass};
use crate::wire::stream_packets;

/// A bounded list of packets, or of what belongs to them; allocates once, when it is made.
#[derive(Debug)]
pub struct Batch<T> {
    items: Vec<T>,
    max: usize,
}

impl<T> Batch<T> {
    /// An empty batch with room for `max` items.
    pub fn new(max: usize) -> Self {
        Self {
            items: Vec::with_capacity(max),
            max,
        }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// Hands the item back when the batch is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        self.items.push(item);
        Ok(())
    }

    /// Takes the last item out.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop()
    }

    /// Takes all items out, in order.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = T> + '_ {
        self.items.drain(..)
    }

    /// Takes out the first items in order, at most `count` of them.
    pub(super) fn drain_first(&mut self, count: usize) -> impl ExactSizeIterator<Item = T> + '_ {
        let count = count.min(self.items.len());
        self.items.drain(..count)
    }

    /// Appends an item for which the caller has seen to it that there is room.
    pub(super) fn put(&mut self, item: T) {
        debug_assert!(!self.is_full(), "more items than the caller made room for");
        self.items.push(item);
    }

    /// How many more items fit.
    pub(super) const fn room(&self) -> usize {
        self.max - self.items.len()
    }

    /// Keeps the items for which `stays` says so, in order.
    pub(super) fn retain(&mut self, stays: impl FnMut(&mut T) -> bool) {
        self.items.retain_mut(stays);
    }

    /// The item at a place.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.items.get(place)
    }

    /// Forgets all items.
    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// The items in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        self.items.iter()
    }

    /// The items in order, to be changed in place.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> + '_ {
        self.items.iter_mut()
    }

    /// How many items it holds.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// True when it holds none.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True when no more fit.
    pub const fn is_full(&self) -> bool {
        self.items.len() >= self.max
    }
}

/// Bytes inside a pool buffer: one packet, or a super-packet of several in a row, all equally long but
/// the last, which may be shorter.
#[derive(Debug)]
pub struct Packet {
    /// Where the bytes are.
    pub buffer: Buffer,
    /// Where in the buffer they begin.
    pub start: u32,
    /// How many there are.
    pub len: u32,
    /// The length of each segment but the last; equal to `len` for a single packet.
    pub segment_size: u32,
}

impl Packet {
    /// One packet at `start..start + len` of `buffer`.
    pub const fn single(buffer: Buffer, start: u32, len: u32) -> Self {
        Self {
            buffer,
            start,
            len,
            segment_size: len,
        }
    }

    /// The packet's bytes; empty if the range lies outside of the buffer.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes().get(self.range()).unwrap_or_default()
    }

    /// The packet's bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        self.buffer.bytes_mut().get_mut(range).unwrap_or_default()
    }

    /// How many packets it is.
    pub const fn segments(&self) -> usize {
        match (self.segment_size, self.len) {
            (0, _) | (_, 0) => 1,
            (size, len) => len.div_ceil(size) as usize,
        }
    }

    /// Where in the buffer each of its packets is: the place of the first byte, and the length.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        let size = self.segment_size.max(1);
        let (start, end) = (self.start, self.start.saturating_add(self.len));
        (0..self.segments() as u32).map(move |number| {
            let start = start.saturating_add(number.saturating_mul(size));
            let len = end.saturating_sub(start).min(size);
            Piece { start, len }
        })
    }

    pub(super) const fn range(&self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

/// A datagram as it came from a socket, or several of one sender.
#[derive(Debug)]
pub struct Received {
    /// The UDP payload, or payloads. What came from a stream is not equally long, but stands behind its
    /// length, at most [`SEGMENTS_MAX`](crate::limits::SEGMENTS_MAX) packets, all whole.
    pub packet: Packet,
    /// Where it came from and what it was sent to.
    pub path: Path,
    /// Whose socket it was, and whose buffer.
    pub origin: Origin,
}

/// An IP packet for a peer, or a super-packet of one flow.
#[derive(Debug)]
pub struct Inner {
    /// The IP packet. A super-packet has one header and the payloads of all: `offload` says how to split it.
    pub packet: Packet,
    /// Who took it in, and whose buffer it is in.
    pub origin: Origin,
    /// What is left to do on it.
    pub offload: Offload,
}

/// By which way a packet came in, which is where its buffer goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A socket of this shard, in a buffer that was lent to the kernel for datagrams.
    Socket,
    /// The tun queue of this shard, in a buffer that was lent to the kernel for its packets.
    Tun,
    /// A stream of this shard, in a buffer of its pool.
    Stream,
    /// The shard of that number, in a buffer of its pool.
    Shard(u16),
}

/// A buffer whose packet has been dealt with. It stays with its origin, so that none is lent, or given
/// to a pool, where it does not belong.
#[derive(Debug)]
pub struct Spent {
    /// The buffer.
    pub buffer: Buffer,
    /// Where it goes back to.
    pub origin: Origin,
}

impl Received {
    /// How many datagrams it is.
    pub(super) fn segments(&self) -> usize {
        match self.path.is_stream() {
            true => stream_packets(self.packet.bytes()).count(),
            false => self.packet.segments(),
        }
    }

    /// Where in the buffer each of them is.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let start = self.packet.start;
        let framed = self.path.is_stream();
        let framed = framed.then(|| stream_packets(self.packet.bytes()));
        let equal = framed.is_none().then(|| self.packet.pieces());
        let framed = framed.into_iter().flatten().map(move |place| Piece {
            start: start + place.start as u32,
            len: place.len() as u32,
        });
        framed.chain(equal.into_iter().flatten())
    }

    /// Its buffer, when the datagram is no longer needed.
    pub fn spent(self) -> Spent {
        Spent {
            buffer: self.packet.buffer,
            origin: self.origin,
        }
    }
}

impl Inner {
    /// Its buffer, when the packet is no longer needed.
    pub fn spent(self) -> Spent {
        Spent {
            buffer: self.packet.buffer,
            origin: self.origin,
        }
    }
}

impl Origin {
    /// True for what another shard has handed over; that is not handed on again.
    pub(super) const fn is_other_shard(self) -> bool {
        matches!(self, Self::Shard(_))
    }
}

/// A datagram on its way to a socket, or several for one peer.
#[derive(Debug)]
pub struct Datagram {
    /// The UDP payload, or payloads.
    pub packet: Packet,
    /// Where it goes and what it leaves from.
    pub path: Path,
    /// The class of the packets around it, all of one; the default unless it is copied from what is inside.
    pub class: TrafficClass,
    /// Whose it is: for its queue, and for what the kernel says of the send.
    pub peer: PeerIndex,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Pool;

    #[test]
    fn a_full_batch_hands_the_item_back() {
        let mut batch = Batch::new(2);
        assert_eq!(batch.push(1), Ok(()));
        assert_eq!(batch.push(2), Ok(()));
        assert_eq!(batch.push(3), Err(3));
        assert!(batch.is_full());
        batch.retain(|item| *item != 1);
        assert_eq!(batch.push(3), Ok(()));
        assert_eq!(batch.drain().collect::<Vec<_>>(), [2, 3]);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_range_outside_of_the_buffer_is_empty() {
        let mut pool = Pool::new(1);
        let mut packet = Packet::single(pool.take().unwrap(), 10, 3);
        packet.bytes_mut().copy_from_slice(b"abc");
        assert_eq!(packet.bytes(), b"abc");
        assert_eq!(&packet.buffer.bytes()[9..14], b"\0abc\0");
        packet.start = u32::MAX;
        assert_eq!(packet.bytes(), b"");
        assert_eq!(packet.bytes_mut(), b"");
    }
}
