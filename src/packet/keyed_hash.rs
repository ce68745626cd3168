//! A hash for keys that strangers choose.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use crate::random::Random;

/// The standard library's hash behind a random prefix, so that nobody can aim keys at one bucket.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash([u64; 2]);

impl KeyedHash {
    pub(super) fn new(random: &mut dyn Random) -> Self {
        Self([random.next_u64(), random.next_u64()])
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeyedHash")
    }
}
