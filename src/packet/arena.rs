//! Inner packets on their way to the tun device: opened one after another into one buffer, and there
//! merged into super-packets without being moved.

use std::ops::Range;

use super::{Buffer, Gathered, Merge, Merging, Piece, Pool};

/// A buffer that is filled with packets.
#[derive(Debug)]
pub(super) struct Arena {
    buffer: Buffer,
    used: usize,
    merge: Merge,
}

/// The arenas of a batch, and what those that are empty are made of.
#[derive(Debug)]
pub(super) struct Arenas {
    filled: Vec<Arena>,
    /// So many of them are finished.
    finished: usize,
    spare: Vec<Merge>,
}

/// Why a packet was not made out of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// There is no buffer.
    NoRoom,
    /// It is not what it should be.
    Unusable,
}

impl Arena {
    /// All bytes of its buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// All bytes of its buffer, to write.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    /// Where a packet of up to `len` bytes can be opened, if there is room.
    pub(super) fn place(&self, len: usize) -> Option<Range<usize>> {
        let start = self.used.next_multiple_of(ALIGNMENT);
        let end = start.checked_add(len)?;
        (end <= self.buffer.bytes().len()).then_some(start..end)
    }

    /// Keeps what was opened up to `end`.
    pub(super) fn keep(&mut self, end: usize) {
        self.used = end;
    }

    /// Hands the packet at `range` on to the tun device, behind those before it. False if it holds as
    /// many as it can.
    pub(super) fn deliver(&mut self, range: Range<usize>) -> bool {
        self.merge.push(self.buffer.bytes(), range, true).is_ok()
    }
}

impl Arenas {
    /// Room for `count` arenas of up to `packets` packets each.
    pub(super) fn new(count: usize, packets: usize, merging: Merging) -> Self {
        Self {
            filled: Vec::with_capacity(count),
            finished: 0,
            spare: (0..count).map(|_| Merge::new(packets, merging)).collect(),
        }
    }

    /// How many are filled.
    pub(super) fn len(&self) -> usize {
        self.filled.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Arena> {
        self.filled.get(number)
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Arena> {
        self.filled.get_mut(number)
    }

    /// The one that is being filled and its number, if it has room for a packet of up to `len` bytes;
    /// else a fresh one. Nothing when there is no buffer for one.
    pub(super) fn with_room(
        &mut self,
        len: usize,
        pool: &mut Pool,
    ) -> Option<(usize, &mut Arena, Range<usize>)> {
        let last = self.filled.get(self.finished..).and_then(<[_]>::last);
        let last = last.and_then(|arena| arena.place(len));
        if last.is_none() {
            let merge = self.spare.pop()?;
            let Some(buffer) = pool.take() else {
                self.spare.push(merge);
                return None;
            };
            let used = 0;
            self.filled.push(Arena {
                buffer,
                used,
                merge,
            });
        }
        let number = self.filled.len().checked_sub(1)?;
        let arena = self.filled.get_mut(number)?;
        let place = arena.place(len)?;
        Some((number, arena, place))
    }

    /// Has `inflate` make a packet of up to `room` bytes out of the one at `piece` in arena `number`. It
    /// gives its length. Nothing when it can't, or when there is no buffer.
    pub(super) fn inflate(
        &mut self,
        number: usize,
        piece: Range<usize>,
        room: usize,
        pool: &mut Pool,
        inflate: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
    ) -> Result<(usize, Range<usize>), InflateError> {
        let (to, _, place) = self.with_room(room, pool).ok_or(InflateError::NoRoom)?;
        let start = place.start;
        let (before, from) = self.filled.split_at_mut(to);
        let target = from.first_mut().ok_or(InflateError::NoRoom)?;
        let len = match before.get(number) {
            Some(source) => {
                let packet = source.bytes().get(piece).unwrap_or_default();
                let out = target.bytes_mut().get_mut(place).unwrap_or_default();
                inflate(packet, out)
            }
            None => {
                let (packets, out) = target.bytes_mut().split_at_mut(start);
                let out = out.get_mut(..room).unwrap_or_default();
                inflate(packets.get(piece).unwrap_or_default(), out)
            }
        };
        let len = len.ok_or(InflateError::Unusable)?;
        target.keep(start + len);
        Ok((to, start..start + len))
    }

    /// Writes the headers of what was merged. Arenas without anything for the tun device are empty
    /// again.
    pub(super) fn finish(&mut self, pool: &mut Pool) {
        for arena in self.filled.iter_mut().skip(self.finished) {
            arena.merge.finish(arena.buffer.bytes_mut());
        }
        let idle = |arena: &mut Arena| arena.merge.packets().is_empty();
        for Arena { buffer, merge, .. } in self.filled.extract_if(self.finished.., idle) {
            pool.give(buffer);
            self.spare.push(merge);
        }
        self.finished = self.filled.len();
    }

    /// Gives each filled buffer with its packets and their pieces to `write`, in order.
    pub(super) fn drain(&mut self, mut write: impl FnMut(Buffer, &[Gathered], &[Piece])) {
        for Arena {
            buffer, mut merge, ..
        } in self.filled.drain(..)
        {
            write(buffer, merge.packets(), merge.pieces());
            merge.clear();
            self.spare.push(merge);
        }
        self.finished = 0;
    }
}

/// A packet begins where the cipher likes to write. Less than what a datagram has beside its payload, so
/// that what came in one buffer fits one again.
const ALIGNMENT: usize = 16;
