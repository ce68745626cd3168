//! Packet ids of the receiver: each is taken once, and not long after later ones.
//!
//! Wire: wire.md section 8.5. A ring of bits, one an id, as RFC 6479 has it: a word is cleared when the
//! highest id enters it, so nothing is ever shifted.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::limits::{REPLAY_TIME, REPLAY_WINDOW, REPLAY_WINDOW_MAX};
use crate::time::Monotonic;

/// The ids that have arrived under one key.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: u64,
    width: u64,
    /// A power of two of words, at least one more than the width needs: the word that the highest id
    /// has just entered holds no bit of an id that is still in the window.
    words: Box<[u64]>,
    aging: Aging,
}

impl ReplayWindow {
    /// A window of `width` ids below the highest one, in which an id is taken until `time` after a
    /// higher one. A width above [`REPLAY_WINDOW_MAX`] is cut to it; with 0 ids only ever rise.
    pub fn new(width: u32, time: Duration) -> Self {
        let width = width.min(REPLAY_WINDOW_MAX);
        let words = (width.div_ceil(u64::BITS) + 1).next_power_of_two();
        Self {
            highest: 0,
            width: u64::from(width),
            words: vec![0; words as usize].into_boxed_slice(),
            aging: Aging::new(time),
        }
    }

    /// Takes `id` of a packet that has been authenticated, once.
    ///
    /// # Errors
    /// Why the id is not taken; nothing has changed then.
    pub fn check_and_mark(&mut self, id: u64, now: Monotonic) -> Result<(), Replay> {
        if id > self.highest {
            self.advance(id);
            self.aging.record(id, now);
            self.set(id);
            return Ok(());
        }
        self.check_not_old(id)?;
        if self.is_set(id) {
            return Err(Replay::Seen);
        }
        if id < self.aging.expired_below(now) {
            return Err(Replay::Expired);
        }
        self.set(id);
        Ok(())
    }

    /// Refuses an id that can no longer be taken, before the work of authenticating its packet.
    ///
    /// # Errors
    /// [`Replay::Zero`] and [`Replay::Old`].
    pub const fn check_not_old(&self, id: u64) -> Result<(), Replay> {
        if id == 0 {
            Err(Replay::Zero)
        } else if id < self.highest && self.highest - id >= self.width {
            Err(Replay::Old)
        } else {
            Ok(())
        }
    }

    /// A window as wide, into which nothing has come.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.width as u32, self.time())
    }

    /// How long an id is taken after a higher one.
    pub const fn time(&self) -> Duration {
        self.aging.limit
    }

    /// The highest id that was taken, 0 before the first.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Forgets everything, for a sender that starts over.
    pub fn reset(&mut self) {
        self.highest = 0;
        self.words.fill(0);
        self.aging.reset();
    }

    /// Clears the words between the old highest id and the new one.
    fn advance(&mut self, id: u64) {
        let (from, to) = (self.highest / BITS, id / BITS);
        let entered = (to - from).min(self.words.len() as u64);
        for word in (to - entered + 1)..=to {
            let index = self.index(word);
            if let Some(word) = self.words.get_mut(index) {
                *word = 0;
            }
        }
        self.highest = id;
    }

    fn set(&mut self, id: u64) {
        let index = self.index(id / BITS);
        if let Some(word) = self.words.get_mut(index) {
            *word |= 1 << (id % BITS);
        }
    }

    fn is_set(&self, id: u64) -> bool {
        self.words
            .get(self.index(id / BITS))
            .is_none_or(|word| word >> (id % BITS) & 1 == 1)
    }

    const fn index(&self, word: u64) -> usize {
        word as usize & (self.words.len() - 1)
    }
}

impl Default for ReplayWindow {
    /// 64 ids, 15 seconds.
    fn default() -> Self {
        Self::new(REPLAY_WINDOW, REPLAY_TIME)
    }
}

/// Why a packet id is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replay {
    /// Ids start at 1.
    #[error("packet id 0")]
    Zero,
    /// Below the window.
    #[error("packet id below the window")]
    Old,
    /// Has arrived already.
    #[error("packet id has arrived already")]
    Seen,
    /// Within the window, but too long after a higher one.
    #[error("packet id too long after a higher one")]
    Expired,
}

/// When the highest ids arrived, in steps of a sixteenth of the time limit.
///
/// An id expires once a higher one has been here for the limit. Of the higher ones the first to arrive
/// counts, and at its arrival it was the highest of all: so only those are recorded.
#[derive(Clone, Debug)]
struct Aging {
    limit: Duration,
    marks: ArrayVec<Mark, MARKS>,
    expired_below: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    begun: Monotonic,
    last: Monotonic,
    highest: u64,
}

impl Aging {
    const fn new(limit: Duration) -> Self {
        Self {
            limit,
            marks: ArrayVec::new_const(),
            expired_below: 0,
        }
    }

    fn record(&mut self, id: u64, now: Monotonic) {
        let step = self.limit / STEPS;
        if let Some(mark) = self.marks.last_mut()
            && now.since(mark.begun) < step
        {
            mark.last = now;
            mark.highest = id;
            return;
        }
        if self.marks.is_full() {
            // Marks begin a step apart, and there are two more than steps in the limit: the oldest
            // two have expired, and the second says so for both.
            self.marks.remove(0);
        }
        self.marks.push(Mark {
            begun: now,
            last: now,
            highest: id,
        });
    }

    fn expired_below(&mut self, now: Monotonic) -> u64 {
        let expired = self
            .marks
            .iter()
            .take_while(|mark| now.since(mark.last) > self.limit)
            .count();
        if let Some(last) = self.marks.drain(..expired).last() {
            self.expired_below = last.highest;
        }
        self.expired_below
    }

    fn reset(&mut self) {
        self.marks.clear();
        self.expired_below = 0;
    }
}

const BITS: u64 = u64::BITS as u64;
const STEPS: u32 = 16;
const MARKS: usize = STEPS as usize + 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZERO: Monotonic = Monotonic::ZERO;

    #[test]
    fn ids_are_taken_once_within_the_window() {
        let mut window = ReplayWindow::default();
        for (id, verdict) in [
            (0, Err(Replay::Zero)),
            (1, Ok(())),
            (1, Err(Replay::Seen)),
            (3, Ok(())),
            (2, Ok(())),
            (2, Err(Replay::Seen)),
            (3, Err(Replay::Seen)),
            (67, Ok(())),
            (3, Err(Replay::Old)),
            (4, Ok(())),
            (66, Ok(())),
            (66, Err(Replay::Seen)),
            (0, Err(Replay::Zero)),
            // A jump over the whole ring clears it.
            (100_000, Ok(())),
            (99_937, Ok(())),
            (99_936, Err(Replay::Old)),
            (99_937, Err(Replay::Seen)),
            (u64::MAX, Ok(())),
            (u64::MAX, Err(Replay::Seen)),
            (u64::MAX - 63, Ok(())),
            (u64::MAX - 64, Err(Replay::Old)),
        ] {
            assert_eq!(window.check_and_mark(id, ZERO), verdict, "{id}");
        }
        window.reset();
        assert_eq!(window.highest(), 0);
        assert_eq!(window.check_and_mark(1, ZERO), Ok(()));
    }

    #[test]
    fn a_window_without_width_only_rises() {
        let mut window = ReplayWindow::new(0, REPLAY_TIME);
        for (id, verdict) in [
            (5, Ok(())),
            (5, Err(Replay::Seen)),
            (4, Err(Replay::Old)),
            (7, Ok(())),
            (6, Err(Replay::Old)),
        ] {
            assert_eq!(window.check_and_mark(id, ZERO), verdict, "{id}");
        }
    }

    #[test]
    fn the_widest_window() {
        let mut window = ReplayWindow::new(u32::MAX, REPLAY_TIME);
        assert_eq!(window.check_and_mark(65_537, ZERO), Ok(()));
        assert_eq!(window.check_and_mark(1, ZERO), Err(Replay::Old));
        assert_eq!(window.check_and_mark(2, ZERO), Ok(()));
        assert_eq!(window.check_and_mark(2, ZERO), Err(Replay::Seen));
    }

    #[test]
    fn an_id_expires_once_a_higher_one_is_old() {
        let at = |seconds: u64| ZERO + Duration::from_secs(seconds);
        let mut window = ReplayWindow::default();
        assert_eq!(window.check_and_mark(10, at(100)), Ok(()));
        assert_eq!(window.check_and_mark(20, at(110)), Ok(()));
        assert_eq!(window.check_and_mark(8, at(115)), Ok(()));
        assert_eq!(window.check_and_mark(9, at(116)), Err(Replay::Expired));
        // 10 has been there too long, but nothing above 11 has.
        assert_eq!(window.check_and_mark(11, at(116)), Ok(()));
        assert_eq!(window.check_and_mark(19, at(125)), Ok(()));
        assert_eq!(window.check_and_mark(18, at(126)), Err(Replay::Expired));
        assert_eq!(window.check_and_mark(21, at(500)), Ok(()));
        assert_eq!(window.check_and_mark(17, at(500)), Err(Replay::Expired));
    }

    #[test]
    fn a_steady_stream_expires_what_is_older_than_the_limit() {
        let mut window = ReplayWindow::new(1024, REPLAY_TIME);
        // Even ids, ten a second, for a minute: many more than there are marks.
        let at = |id: u64| ZERO + Duration::from_millis(id * 50);
        for id in (2..=1200).step_by(2) {
            assert_eq!(window.check_and_mark(id, at(id)), Ok(()));
        }
        // Now id 1200 arrived at 60 s. What 900 (45 s) overtook is at the limit.
        let now = at(1200);
        assert_eq!(window.check_and_mark(801, now), Err(Replay::Expired));
        assert_eq!(window.check_and_mark(877, now), Err(Replay::Expired));
        assert_eq!(window.check_and_mark(901, now), Ok(()));
        assert_eq!(window.check_and_mark(1199, now), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_ids(
            width in 0_u32..300,
            steps in proptest::collection::vec((any::<bool>(), 0_u64..400), 1..300),
        ) {
            let mut window = ReplayWindow::new(width, REPLAY_TIME);
            let mut seen = std::collections::BTreeSet::new();
            for (up, distance) in steps {
                let highest = seen.last().copied().unwrap_or(0);
                let id: u64 = if up { highest + distance } else { highest.saturating_sub(distance) };
                let wanted = id > highest
                    || (id > 0 && highest - id < u64::from(width) && !seen.contains(&id));
                prop_assert_eq!(window.check_not_old(id).is_ok() || !wanted, true);
                prop_assert_eq!(window.check_and_mark(id, ZERO).is_ok(), wanted, "{}", id);
                if wanted {
                    seen.insert(id);
                }
            }
        }
    }
}
