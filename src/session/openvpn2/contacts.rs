//! How many strangers are answered and let in.
//!
//! Wire: `connect-freq-initial n sec` bounds the answers to first packets that nobody came back
//! for, so that the server is of little use to who wants it to send datagrams to others;
//! `connect-freq n sec` bounds new sessions. Both count in windows, of the first contact that finds
//! the window before it over. Two things differ from 2.6, which has one counter for the whole
//! daemon:
//!
//! - Each shard counts by itself and has its share of `n`, rounded up: N shards answer at least `n`
//!   and at most `n + N - 1`, and no shard is left without any.
//! - What was dropped does not count. So places that newcomers give back by answering are there at
//!   once for those who ask again, and not only in the next window.

use std::time::Duration;

use crate::time::Monotonic;

/// How many strangers are answered and let in; of a whole node, over all its listeners and shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactLimits {
    /// New sessions, `None` for no bound. Wire: `connect-freq`.
    pub new_sessions: Option<Rate>,
    /// Answers to first packets, before any state is kept; those that lead to a session do not
    /// count. Wire: `connect-freq-initial`.
    pub initial: Rate,
}

impl Default for ContactLimits {
    // Wire: the defaults of 2.6.
    fn default() -> Self {
        Self {
            new_sessions: None,
            initial: Rate {
                count: 100,
                per: Duration::from_secs(10),
            },
        }
    }
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long; at least a second.
    pub per: Duration,
}

/// What an administrator should hear of strangers that were not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactNotice {
    /// First packets are dropped for so long, or until newcomers have come back to their answers.
    Exceeded {
        /// The bound, as configured.
        limit: Rate,
        /// Until the next window.
        remaining: Duration,
    },
    /// First packets that were dropped in a window that is over.
    Dropped {
        /// The bound, as configured.
        limit: Rate,
        /// How many.
        packets: u64,
    },
}

/// One shard's share of [`ContactLimits`].
#[derive(Debug)]
pub(super) struct Contacts {
    initial: Option<Window>,
    new_sessions: Option<Window>,
    notice: Option<ContactNotice>,
}

impl Contacts {
    /// Without bounds.
    pub(super) const fn unbounded() -> Self {
        Self {
            initial: None,
            new_sessions: None,
            notice: None,
        }
    }

    /// The share of one of `shards` shards.
    pub(super) fn share(limits: ContactLimits, shards: u16) -> Self {
        Self {
            initial: Some(Window::new(limits.initial, shards)),
            new_sessions: limits.new_sessions.map(|rate| Window::new(rate, shards)),
            notice: None,
        }
    }

    /// Whether a first packet may be answered now.
    pub(super) fn may_answer(&mut self, now: Monotonic) -> bool {
        let Some(window) = &mut self.initial else {
            return true;
        };
        let limit = window.rate;
        if let Some(packets) = window.advance(now).filter(|&packets| packets > 0) {
            self.notice = Some(ContactNotice::Dropped { limit, packets });
        }
        let allowed = window.count();
        if !allowed && window.refused == 1 {
            let remaining = window.remaining(now);
            self.notice = Some(ContactNotice::Exceeded { limit, remaining });
        }
        allowed
    }

    /// Whether a stranger that has come back to its answer gets a session now.
    pub(super) fn may_begin(&mut self, now: Monotonic) -> bool {
        let Some(window) = &mut self.new_sessions else {
            return true;
        };
        window.advance(now);
        window.count()
    }

    /// An answer led to a session: it counts no longer.
    pub(super) fn give_back(&mut self) {
        if let Some(window) = &mut self.initial {
            window.counted = window.counted.saturating_sub(1);
        }
    }

    /// What is to be told, once.
    pub(super) fn take_notice(&mut self) -> Option<ContactNotice> {
        self.notice.take()
    }
}

/// One window of time at a time.
#[derive(Debug)]
struct Window {
    /// Of the whole node.
    rate: Rate,
    share: u32,
    /// When it began; `None` before the first contact.
    since: Option<Monotonic>,
    counted: u32,
    refused: u64,
}

impl Window {
    fn new(rate: Rate, shards: u16) -> Self {
        Self {
            rate,
            share: rate.count.div_ceil(u32::from(shards.max(1))),
            since: None,
            counted: 0,
            refused: 0,
        }
    }

    /// Begins a new window if the one before is over, and says how many were refused in that.
    fn advance(&mut self, now: Monotonic) -> Option<u64> {
        let open = |since| now.since(since) < self.rate.per;
        if self.since.is_some_and(open) {
            return None;
        }
        self.since = Some(now);
        self.counted = 0;
        Some(std::mem::take(&mut self.refused))
    }

    /// Counts one; false if it is one too many.
    fn count(&mut self) -> bool {
        let allowed = self.counted < self.share;
        if allowed {
            self.counted += 1;
        } else {
            self.refused += 1;
        }
        allowed
    }

    fn remaining(&self, now: Monotonic) -> Duration {
        let end = self.since.map_or(now, |since| since + self.rate.per);
        end.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Monotonic {
        Monotonic::ZERO + SECOND * seconds
    }

    fn rate(count: u32, seconds: u32) -> Rate {
        let per = SECOND * seconds;
        Rate { count, per }
    }

    fn initial(count: u32, seconds: u32, shards: u16) -> Contacts {
        let limits = ContactLimits {
            new_sessions: None,
            initial: rate(count, seconds),
        };
        Contacts::share(limits, shards)
    }

    fn answered(contacts: &mut Contacts, now: Monotonic, tries: usize) -> usize {
        (0..tries).filter(|_| contacts.may_answer(now)).count()
    }

    #[test]
    fn the_shares_of_all_shards_are_at_least_the_whole_and_never_nothing() {
        for (count, shards, share) in [
            (100, 1, 100),
            (100, 4, 25),
            (100, 3, 34),
            (100, 64, 2),
            (1, 64, 1),
            (7, 8, 1),
            (u32::MAX, 2, 1 << 31),
        ] {
            assert_eq!(Window::new(rate(count, 10), shards).share, share);
            let whole = u64::from(share) * u64::from(shards);
            assert!(whole >= u64::from(count), "{count} over {shards}");
        }
    }

    #[test]
    fn so_many_are_answered_in_a_window_and_again_in_the_next() {
        let mut contacts = initial(100, 10, 4);
        for (second, answers) in [(5, 25), (14, 0), (15, 25), (16, 0), (40, 25)] {
            let got = answered(&mut contacts, at(second), 1_000);
            assert_eq!(got, answers, "at {second}");
        }
    }

    #[test]
    fn who_comes_back_gives_the_place_to_the_next_at_once() {
        let mut contacts = initial(100, 10, 1);
        assert_eq!(answered(&mut contacts, at(0), 200), 100);
        for _ in 0..100 {
            contacts.give_back();
        }
        assert_eq!(
            answered(&mut contacts, at(2), 200),
            100,
            "the others, again"
        );
        // Without an answer there is nothing to give back.
        let mut contacts = initial(5, 10, 1);
        for _ in 0..50 {
            contacts.give_back();
        }
        assert_eq!(answered(&mut contacts, at(0), 200), 5);
    }

    #[test]
    fn new_sessions_have_a_bound_of_their_own() {
        let limits = ContactLimits {
            new_sessions: Some(rate(8, 60)),
            initial: rate(4, 10),
        };
        let mut contacts = Contacts::share(limits, 2);
        let begun = |contacts: &mut Contacts, second| {
            let second = at(second);
            (0..10).filter(|_| contacts.may_begin(second)).count()
        };
        assert_eq!(begun(&mut contacts, 1), 4);
        assert_eq!(begun(&mut contacts, 60), 0);
        assert_eq!(begun(&mut contacts, 61), 4);
    }

    #[test]
    fn the_bound_is_told_once_a_window_and_the_drops_after_it() {
        let mut contacts = initial(2, 10, 1);
        let limit = rate(2, 10);
        assert_eq!(answered(&mut contacts, at(0), 2), 2);
        assert_eq!(contacts.take_notice(), None);
        assert_eq!(answered(&mut contacts, at(3), 50), 0);
        let remaining = 7 * SECOND;
        let exceeded = ContactNotice::Exceeded { limit, remaining };
        assert_eq!(contacts.take_notice(), Some(exceeded));
        assert_eq!(answered(&mut contacts, at(9), 50), 0);
        assert_eq!(contacts.take_notice(), None);
        assert_eq!(answered(&mut contacts, at(10), 1), 1);
        let packets = 100;
        let dropped = ContactNotice::Dropped { limit, packets };
        assert_eq!(contacts.take_notice(), Some(dropped));
        assert_eq!(answered(&mut contacts, at(20), 1), 1);
        assert_eq!(contacts.take_notice(), None, "nothing was dropped");
    }

    #[test]
    fn without_bounds_everybody_is_answered() {
        let mut contacts = Contacts::unbounded();
        assert_eq!(answered(&mut contacts, at(0), 10_000), 10_000);
        assert!((0..10_000).all(|_| contacts.may_begin(at(0))));
    }
}
