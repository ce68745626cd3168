//! A ring of provided buffers: the kernel takes the next one when a datagram arrives.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::packet::Buffer;
use crate::reactor::ring::{Ring, RingError};

/// Buffers that the kernel may fill, and the memory in which it finds them. The memory may be freed
/// only when no operation uses the group any more and the group is unregistered.
pub(super) struct Provided {
    group: u16,
    /// Bytes at the front of each buffer that the kernel does not see.
    offset: usize,
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    /// Entries of the ring less one; a power of two less one.
    mask: u16,
    /// Where the next entry goes; the kernel reads its copy at the end of the first entry.
    tail: u16,
    /// The buffers that the kernel has, by their ids.
    lent: Vec<Option<Buffer>>,
    free: Vec<u16>,
}

impl Provided {
    /// A ring for at most `capacity` buffers.
    pub(super) fn register(
        ring: &Ring,
        group: u16,
        capacity: usize,
        offset: usize,
    ) -> Result<Self, RingError> {
        let too_large = || RingError::TooLarge {
            entries: capacity,
            max: BUFFERS_MAX.into(),
        };
        let capacity = u16::try_from(capacity)
            .ok()
            .filter(|capacity| (1..=BUFFERS_MAX).contains(capacity))
            .ok_or_else(too_large)?;
        let entries = capacity.next_power_of_two();
        let layout = Layout::array::<BufRingEntry>(entries.into())
            .and_then(|layout| layout.align_to(page_size()))
            .map_err(|_| too_large())?;
        // SAFETY: the layout has a size, since there is at least one entry.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        let provided = Self {
            group,
            offset,
            entries: memory,
            layout,
            mask: entries - 1,
            tail: 0,
            lent: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).rev().collect(),
        };
        let address = provided.entries.as_ptr() as u64;
        let submitter = ring.submitter();
        // SAFETY: the memory is aligned to a page, zeroed (so its tail says that it is empty) and as
        // long as `entries` says. `Provided` keeps it until it is dropped, and its owner drops it after
        // the group is unregistered.
        unsafe { submitter.register_buf_ring_with_flags(address, entries, group, 0) }.map_err(
            |error| match error.raw_os_error() {
                Some(libc::EINVAL) => RingError::Missing("rings of provided buffers"),
                _ => RingError::Buffers(error),
            },
        )?;
        Ok(provided)
    }

    pub(super) fn unregister(&self, ring: &Ring) -> std::io::Result<()> {
        ring.submitter().unregister_buf_ring(self.group)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// Buffers that the kernel has and whose completions we have not seen.
    pub(super) fn lent(&self) -> usize {
        self.lent.len() - self.free.len()
    }

    /// Lends a buffer to the kernel; gives it back when all places are taken.
    pub(super) fn provide(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        let Some(id) = self.free.pop() else {
            return Err(buffer);
        };
        let Some(place) = self.lent.get_mut(usize::from(id)) else {
            return Err(buffer);
        };
        // The address is taken where the buffer now stays. Nothing touches its bytes before
        // `take`, and moving the table does not move them.
        let bytes = place.insert(buffer).bytes_mut();
        let visible = bytes.get_mut(self.offset..).unwrap_or_default();
        let (address, length) = (visible.as_mut_ptr() as u64, visible.len());
        self.publish(id, address, u32::try_from(length).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Takes back the buffer of a completion.
    pub(super) fn take(&mut self, id: u16) -> Option<Buffer> {
        let buffer = self.lent.get_mut(usize::from(id))?.take()?;
        self.free.push(id);
        Some(buffer)
    }

    fn publish(&mut self, id: u16, address: u64, length: u32) {
        let at = usize::from(self.tail & self.mask);
        // SAFETY: `at` is below the number of entries, so the pointer stays inside the memory.
        let entry = unsafe { self.entries.add(at) };
        // SAFETY: the memory is ours and zeroed, so it holds a valid entry. The kernel reads no entry
        // at or past the tail that it knows, and there are never more buffers lent than entries, so
        // it does not read this one now. Of the first entry it reads the tail, which these calls
        // do not write.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(length);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // Release: the kernel loads the tail with acquire and then reads the entry.
        self.kernel_tail().store(self.tail, Ordering::Release);
    }

    fn kernel_tail(&self) -> &AtomicU16 {
        let first = self.entries.as_ptr().cast_const();
        // SAFETY: `first` points to the first entry of the ring, which is initialized.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail is two aligned bytes inside the memory, which outlives the borrow of
        // `self`; we write it only through this atomic, and the kernel only reads it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout. The kernel reads it no more: the owner
        // drops a `Provided` only once it is unregistered, else it leaks it.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}

fn page_size() -> usize {
    // SAFETY: takes an integer and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(PAGE_SIZE_MAX)
}

/// Entries of one ring that the kernel allows.
const BUFFERS_MAX: u16 = 32_768;
/// The largest page of any Linux.
const PAGE_SIZE_MAX: usize = 64 * 1024;
