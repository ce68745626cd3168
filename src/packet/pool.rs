//! The pool of packet buffers: fixed in number, moved and never copied.
//!
//! A [`Buffer`] has one owner at a time. While the kernel uses it the reactor holds it, so that no
//! other floor can touch bytes that are being written; dropping a buffer instead of giving it back
//! makes the pool smaller for good, never unsound.

use crate::limits::BUFFER_SIZE;

/// Buffers that are not in use, most recently used first (its bytes are still in the cache).
#[derive(Debug)]
pub struct Pool {
    free: Vec<Buffer>,
    size: usize,
}

impl Pool {
    /// `count` buffers of [`BUFFER_SIZE`] zeroed bytes. The system gives their pages when they are
    /// first touched.
    pub fn new(count: u32) -> Self {
        let free: Vec<Buffer> = (0..count).rev().map(Buffer::zeroed).collect();
        Self {
            size: free.len(),
            free,
        }
    }

    /// A buffer, or nothing when all are in use: the caller drops its packet and counts.
    pub fn take(&mut self) -> Option<Buffer> {
        self.free.pop()
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        debug_assert!(self.free.len() < self.size, "a buffer of another pool");
        self.free.push(buffer);
    }

    /// All buffers, in use or not.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Buffers that are not in use.
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

/// [`BUFFER_SIZE`] bytes and the place of the buffer in its pool.
pub struct Buffer {
    index: u32,
    bytes: Box<[u8]>,
}

impl Buffer {
    /// The buffer's number in its pool, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn zeroed(index: u32) -> Self {
        Self {
            index,
            bytes: vec![0; BUFFER_SIZE].into_boxed_slice(),
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pool_says_so_and_a_buffer_keeps_its_bytes() {
        let mut pool = Pool::new(2);
        assert_eq!((pool.size(), pool.free()), (2, 2));
        let mut first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_eq!((first.index(), second.index()), (0, 1));
        assert_eq!(second.bytes().len(), BUFFER_SIZE);
        assert!(pool.take().is_none());
        assert_eq!((pool.size(), pool.free()), (2, 0));

        first.bytes_mut()[BUFFER_SIZE - 1] = 7;
        pool.give(first);
        let again = pool.take().unwrap();
        assert_eq!((again.index(), again.bytes()[BUFFER_SIZE - 1]), (0, 7));
    }
}
