//! Who answers later is looked at in turn: a few at a time, and a bounded number in a second. A thousand of
//! them are not a thousand files at once, for which a shard on the same core would wait, and are each looked at
//! once in a second, as by the stock server.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{DEFERRED_AT_ONCE, DEFERRED_PAUSE, DEFERRED_POLL};

/// Those who are looked at.
#[derive(Debug)]
pub(super) struct Rota<K> {
    waiting: VecDeque<K>,
    next: Option<Instant>,
}

impl<K> Rota<K> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            next: None,
        }
    }

    /// One more; it is looked at behind all others.
    pub(super) fn add(&mut self, key: K, now: Instant) {
        self.waiting.push_back(key);
        self.next.get_or_insert(now + DEFERRED_POLL);
    }

    /// When the next are due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Takes out those that are due. Who has still not answered is to be added again.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<K> {
        if self.next.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let turns = self.waiting.len().div_ceil(DEFERRED_AT_ONCE);
        let due = self.waiting.len().div_ceil(turns.max(1));
        self.next = u32::try_from(turns)
            .ok()
            .and_then(|turns| DEFERRED_POLL.checked_div(turns))
            .map(|pause| now + pause.max(DEFERRED_PAUSE));
        self.waiting.drain(..due).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_due_once_in_a_round_of_their_number() {
        for (count, round) in [
            (1, 200),
            (DEFERRED_AT_ONCE, 200),
            (DEFERRED_AT_ONCE + 1, 200),
            (4 * DEFERRED_AT_ONCE, 200),
            (1_000, 1_000),
        ] {
            let round = Duration::from_millis(round);
            let begin = Instant::now();
            let mut rota = Rota::new();
            for key in 0..count {
                rota.add(key, begin);
            }
            assert_eq!(rota.take_due(begin), [0; 0]);
            let mut looks = vec![Vec::new(); count];
            let mut most = 0;
            while let Some(at) = rota.next_timeout()
                && at < begin + 4 * round
            {
                let due = rota.take_due(at);
                most = most.max(due.len());
                for key in due {
                    looks[key].push(at);
                    rota.add(key, at);
                }
            }
            assert!(most <= DEFERRED_AT_ONCE, "{most}");
            // A turn early at most: numbers do not divide evenly.
            let turns = u32::try_from(count.div_ceil(DEFERRED_AT_ONCE)).unwrap();
            let early = round / turns + Duration::from_micros(1);
            for looks in looks {
                assert!((2..=4).contains(&looks.len()), "{count}: {looks:?}");
                for pair in looks.windows(2) {
                    let pause = pair[1] - pair[0];
                    assert!(pause + early > round, "{count}: {pause:?}");
                    assert!(pause < round * 11 / 10, "{count}: {pause:?}");
                }
            }
        }
    }

    #[test]
    fn nobody_is_waited_for_when_all_have_answered() {
        let now = Instant::now();
        let mut rota = Rota::new();
        assert_eq!(rota.next_timeout(), None);
        rota.add("anna", now);
        let at = rota.next_timeout().unwrap();
        assert_eq!(rota.take_due(at), ["anna"]);
        let at = rota.next_timeout().unwrap();
        assert_eq!(rota.take_due(at), [""; 0]);
        assert_eq!(rota.next_timeout(), None);
    }
}
