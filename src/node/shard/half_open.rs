//! The sessions that nobody has let in, or that have left: what strangers can make. The longest
//! silent one makes room for the next.
//!
//! Every question costs the same with one such session as with a thousand.

use std::collections::{BTreeSet, HashMap};

use super::connections::Key;
use crate::limits::{HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE};
use crate::time::Monotonic;

/// Half-open sessions by the time of their last word.
#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    silent: BTreeSet<(Monotonic, Key)>,
    by_source: BTreeSet<(u64, Monotonic, Key)>,
    counts: HashMap<u64, usize>,
}

/// How a session is filed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filed {
    /// The address or network that it came from.
    pub(super) source: u64,
    /// When it last spoke.
    pub(super) heard: Monotonic,
}

impl HalfOpen {
    pub(super) fn insert(&mut self, key: Key, Filed { source, heard }: Filed) {
        if self.silent.insert((heard, key)) {
            self.by_source.insert((source, heard, key));
            *self.counts.entry(source).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, key: Key, Filed { source, heard }: Filed) {
        if !self.silent.remove(&(heard, key)) {
            return;
        }
        self.by_source.remove(&(source, heard, key));
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }

    /// Which session must go before `source` gets another one, if any must.
    pub(super) fn displaced_by(&self, source: u64) -> Option<Key> {
        if self.counts.get(&source).copied().unwrap_or(0) >= HALF_OPEN_PER_SOURCE {
            let of_source = self
                .by_source
                .range((source, Monotonic::ZERO, Key::FIRST)..);
            return of_source.map(|&(_, _, key)| key).next();
        }
        if self.silent.len() < HALF_OPEN_MAX {
            return None;
        }
        self.silent.first().map(|&(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: usize) -> Key {
        Key::from_u64(1 << 32 | number as u64)
    }

    fn filed(source: u64, seconds: usize) -> Filed {
        let heard = Monotonic::ZERO + Duration::from_secs(seconds as u64);
        Filed { source, heard }
    }

    #[test]
    fn the_longest_silent_makes_room_when_all_places_are_taken() {
        let mut half_open = HalfOpen::default();
        for number in 0..HALF_OPEN_MAX {
            assert_eq!(half_open.displaced_by(7), None, "{number}");
            half_open.insert(key(number), filed(number as u64, HALF_OPEN_MAX - number));
        }
        let last = HALF_OPEN_MAX - 1;
        assert_eq!(half_open.displaced_by(7), Some(key(last)));
        half_open.remove(key(last), filed(last as u64, 1));
        assert_eq!(half_open.displaced_by(7), None);
        half_open.insert(key(last), filed(last as u64, HALF_OPEN_MAX + 1));
        assert_eq!(half_open.displaced_by(7), Some(key(last - 1)));
    }

    #[test]
    fn a_source_displaces_its_own_before_it_displaces_others() {
        let mut half_open = HalfOpen::default();
        half_open.insert(key(9_999), filed(1, 0));
        for number in 0..HALF_OPEN_PER_SOURCE {
            assert_eq!(half_open.displaced_by(2), None, "{number}");
            half_open.insert(key(number), filed(2, 10 + number));
        }
        assert_eq!(half_open.displaced_by(2), Some(key(0)));
        assert_eq!(half_open.displaced_by(1), None);
        assert_eq!(half_open.displaced_by(3), None);
    }

    #[test]
    fn nothing_is_left_of_a_session_that_was_removed() {
        let mut half_open = HalfOpen::default();
        half_open.insert(key(1), filed(1, 5));
        half_open.remove(key(1), filed(1, 4));
        assert_eq!(half_open.silent.len(), 1, "filed otherwise");
        half_open.remove(key(1), filed(1, 5));
        half_open.remove(key(1), filed(1, 5));
        assert!(half_open.silent.is_empty() && half_open.by_source.is_empty());
        assert!(half_open.counts.is_empty());
    }
}
