//! Writes to tun queues: the pieces of each packet for the kernel, and the buffers in which they stand,
//! which several writes share.

use std::cell::UnsafeCell;

use slab::Slab;

use crate::limits::{PIECES_PER_PACKET, TUN_HEADER};
use crate::packet::{Buffer, Offload, Piece};
use crate::reactor::completion::{QueueFull, Refused};
use crate::reactor::tun::virtio;

/// What writes in flight point to; all of it is allocated once.
pub(super) struct Writes {
    slots: Vec<UnsafeCell<Slot>>,
    free: Vec<u32>,
    buffers: Slab<Lent>,
}

/// One write: its header and where its pieces stand. Belongs to the kernel while the write is in flight.
struct Slot {
    header: [u8; TUN_HEADER],
    pieces: [libc::iovec; PIECES_PER_PACKET + 1],
}

/// A buffer and how many writes read it.
struct Lent {
    buffer: Buffer,
    writes: u32,
}

/// A write in flight: its slot, and the buffer that it reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    slot: u32,
    buffer: usize,
}

/// What the kernel is to be given of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector {
    pub(super) pieces: *const libc::iovec,
    pub(super) count: u32,
}

impl Writes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            slots: (0..count)
                .map(|_| UnsafeCell::new(Slot::vacant()))
                .collect(),
            free: (0..u32::try_from(count).unwrap_or(u32::MAX))
                .rev()
                .collect(),
            buffers: Slab::with_capacity(count),
        }
    }

    /// Takes a buffer for the writes to come, unless none can begin now.
    pub(super) fn lend(&mut self, buffer: Buffer) -> Result<usize, Buffer> {
        if self.free.is_empty() {
            return Err(buffer);
        }
        Ok(self.buffers.insert(Lent { buffer, writes: 0 }))
    }

    /// The buffer, if no write reads it.
    pub(super) fn settle(&mut self, buffer: usize) -> Option<Buffer> {
        if self.buffers.get(buffer)?.writes > 0 {
            return None;
        }
        self.buffers.try_remove(buffer).map(|lent| lent.buffer)
    }

    /// A write of these pieces of a buffer, after a header if the device has one.
    pub(super) fn begin(
        &mut self,
        buffer: usize,
        header: Option<Offload>,
        pieces: &[Piece],
    ) -> Result<(Write, Vector), Refused> {
        let lent = self.buffers.get_mut(buffer).ok_or(Refused::Range)?;
        let bytes = lent.buffer.bytes();
        let inside = |piece: &Piece| piece.range().end <= bytes.len();
        let empty = pieces.iter().all(|piece| piece.len == 0);
        if empty || pieces.len() > PIECES_PER_PACKET || !pieces.iter().all(inside) {
            return Err(Refused::Range);
        }
        let slot = self.free.pop().ok_or(QueueFull)?;
        let cell = self.slots.get(slot as usize).ok_or(QueueFull)?;
        // SAFETY: the pointer comes from a cell of ours. The slot was free, so the kernel is done with
        // it; we hand out no references, and the type is used by one thread only.
        let filled = unsafe { &mut *cell.get() };
        let vector = filled.fill(header, bytes.as_ptr(), pieces);
        lent.writes += 1;
        Ok((Write { slot, buffer }, vector))
    }

    /// A write is done: the buffer, if it was the last that read it.
    pub(super) fn finish(&mut self, write: Write) -> Option<Buffer> {
        self.free.push(write.slot);
        let lent = self.buffers.get_mut(write.buffer)?;
        lent.writes = lent.writes.saturating_sub(1);
        self.settle(write.buffer)
    }
}

impl Slot {
    fn vacant() -> Self {
        Self {
            header: [0; TUN_HEADER],
            pieces: [piece(std::ptr::null(), 0); PIECES_PER_PACKET + 1],
        }
    }

    /// The pieces are inside the bytes at `base`, and there are as many as the slot has room for.
    fn fill(&mut self, header: Option<Offload>, base: *const u8, pieces: &[Piece]) -> Vector {
        let mut count = 0;
        if let (Some(offload), [first, ..]) = (header, &mut self.pieces[..]) {
            self.header = virtio::emit(offload);
            *first = piece(self.header.as_ptr(), TUN_HEADER);
            count = 1;
        }
        let room = self.pieces.iter_mut().skip(count);
        for (place, wanted) in room.zip(pieces) {
            // The kernel reads there, and we write nothing there before it is done.
            *place = piece(
                base.wrapping_add(wanted.start as usize),
                wanted.len as usize,
            );
        }
        Vector {
            pieces: self.pieces.as_ptr(),
            count: (count + pieces.len()) as u32,
        }
    }
}

/// One that the kernel only reads.
fn piece(start: *const u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start.cast_mut().cast(),
        iov_len: len,
    }
}
