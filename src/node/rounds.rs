//! Questions to all shards at once: for the status file, for the log, for who asks on the control
//! socket. One round of questions at a time serves all who want one.
//!
//! A shard that does not answer in time is told as silent, not waited for. It is asked again only
//! once it has answered, so that no more than one question waits for it; its answer is welcome
//! whenever it comes.

use std::time::Instant;

use super::counters::ShardCounters;
use super::status::ClientStatus;
use crate::limits::REPORT_PATIENCE;

/// The round that runs, and who wants the next one.
#[derive(Debug)]
pub(super) struct Rounds<A> {
    /// Whether each shard owes an answer.
    owes: Vec<bool>,
    wanted: Wanted<A>,
    running: Option<(Instant, Round<A>)>,
}

/// Who wants to know.
#[derive(Debug)]
pub(super) struct Wanted<A> {
    /// The status file.
    pub(super) file: bool,
    /// The log.
    pub(super) log: bool,
    /// Somebody who waits for an answer.
    pub(super) askers: Vec<A>,
}

/// What the shards have said.
#[derive(Debug)]
pub(super) struct Round<A> {
    pub(super) wanted: Wanted<A>,
    /// By number of the shard.
    pub(super) answers: Vec<Option<Answer>>,
}

/// What one shard says.
#[derive(Debug)]
pub struct Answer {
    /// Its clients, as rows of the status file.
    pub clients: Vec<ClientStatus>,
    /// What it has counted.
    pub counters: ShardCounters,
}

impl<A> Rounds<A> {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            owes: vec![false; shards],
            wanted: Wanted::default(),
            running: None,
        }
    }

    /// Who wants the next round; to be added to.
    pub(super) fn wanted(&mut self) -> &mut Wanted<A> {
        &mut self.wanted
    }

    /// Begins a round if somebody wants one and none runs: the shards to be asked now.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<usize> {
        if self.running.is_some() || !self.wanted.is_anybody() {
            return Vec::new();
        }
        let wanted = std::mem::take(&mut self.wanted);
        let answers = self.owes.iter().map(|_| None).collect();
        self.running = Some((now + REPORT_PATIENCE, Round { wanted, answers }));
        let asked = self.owes.iter_mut().enumerate();
        asked
            .filter_map(|(shard, owes)| (!std::mem::replace(owes, true)).then_some(shard))
            .collect()
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, shard: usize, answer: Answer) {
        if let Some(owes) = self.owes.get_mut(shard) {
            *owes = false;
        }
        if let Some((_, round)) = &mut self.running
            && let Some(place) = round.answers.get_mut(shard)
        {
            *place = Some(answer);
        }
    }

    /// The round, once everybody has answered or its time is up.
    pub(super) fn end(&mut self, now: Instant) -> Option<Round<A>> {
        let (until, round) = self.running.as_ref()?;
        if now < *until && !round.is_complete() {
            return None;
        }
        self.running.take().map(|(_, round)| round)
    }

    /// When the round that runs ends at the latest.
    pub(super) fn until(&self) -> Option<Instant> {
        self.running.as_ref().map(|(until, _)| *until)
    }
}

impl<A> Wanted<A> {
    fn is_anybody(&self) -> bool {
        self.file || self.log || !self.askers.is_empty()
    }
}

impl<A> Default for Wanted<A> {
    fn default() -> Self {
        Self {
            file: false,
            log: false,
            askers: Vec::new(),
        }
    }
}

impl<A> Round<A> {
    /// Whether every shard has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::counters::Counters;
    use std::time::Duration;

    fn answer(number: u64) -> Answer {
        Answer {
            clients: Vec::new(),
            counters: ShardCounters {
                counters: Counters::default().with("test", [("number", number)]),
                ..ShardCounters::default()
            },
        }
    }

    /// The numbers in the answers.
    fn numbers<A>(round: &Round<A>) -> Vec<Option<u64>> {
        let number = |answer: &Answer| answer.counters.counters.find("test", "number");
        let answers = round.answers.iter();
        answers
            .map(|answer| answer.as_ref().and_then(number))
            .collect()
    }

    #[test]
    fn one_round_serves_all_who_want_one() {
        let now = Instant::now();
        let mut rounds = Rounds::new(2);
        assert_eq!(rounds.begin(now), [] as [usize; 0]);
        rounds.wanted().file = true;
        rounds.wanted().askers.push("anna");
        assert_eq!(rounds.begin(now), [0, 1]);
        rounds.answered(1, answer(11));
        assert!(rounds.end(now).is_none());
        // Who comes meanwhile waits for the next round.
        rounds.wanted().askers.push("ben");
        assert_eq!(rounds.begin(now), [] as [usize; 0]);
        rounds.answered(0, answer(10));
        let round = rounds.end(now).unwrap();
        assert_eq!(numbers(&round), [Some(10), Some(11)]);
        assert_eq!(round.wanted.askers, ["anna"]);
        assert!(round.wanted.file && !round.wanted.log && round.is_complete());
        assert_eq!(rounds.begin(now), [0, 1]);
        assert_eq!(rounds.until(), Some(now + REPORT_PATIENCE));
    }

    #[test]
    fn a_silent_shard_is_not_waited_for_and_not_asked_twice() {
        let start = Instant::now();
        let mut rounds = Rounds::new(2);
        rounds.wanted().log = true;
        rounds.wanted().askers.push(());
        assert_eq!(rounds.begin(start), [0, 1]);
        rounds.answered(0, answer(1));
        let late = start + REPORT_PATIENCE;
        assert!(rounds.end(late - Duration::from_millis(1)).is_none());
        let round = rounds.end(late).unwrap();
        assert_eq!(numbers(&round), [Some(1), None]);
        assert!(!round.is_complete());

        rounds.wanted().log = true;
        assert_eq!(rounds.begin(late), [0]);
        // The answer to the first question, in the second round.
        rounds.answered(1, answer(2));
        rounds.answered(0, answer(3));
        assert_eq!(numbers(&rounds.end(late).unwrap()), [Some(3), Some(2)]);

        // One that comes when nobody wants it only says that the shard can be asked again.
        rounds.answered(1, answer(4));
        rounds.wanted().log = true;
        assert_eq!(rounds.begin(late), [0, 1]);
    }
}
