//! Which server is tried next, and when: a state machine of remotes, addresses and pauses.
//!
//! It has no clock, socket or resolver: what is to be done comes out as [`Step`]s, what has happened
//! goes in with its time.
//!
//! ```text
//!              pause over             addresses              answered, configured
//!  [Paused] -----------> [Resolving] ----------> [Dialing] ------------------> [Connected]
//!      ^                      | none                 | refused, too slow, lost       | lost
//!      +----------------------+----------------------+-------------------------------+
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::RESOLVE_PATIENCE;
use crate::node::settings::RetryPause;
use crate::random::Random;
use crate::time::Monotonic;

/// The servers of a client, and how far it is with them.
#[derive(Debug)]
pub struct Dialer {
    rules: DialRules,
    /// Whose turn it is, as a place in the list of remotes.
    current: usize,
    /// Addresses of the current remote that have not been tried.
    addresses: VecDeque<SocketAddr>,
    /// Attempts since the last one that came to a tunnel.
    failures: u32,
    last_attempt: u64,
    state: State,
    steps: VecDeque<Step>,
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRules {
    /// A remote an entry, in the order in which they are tried; at least one.
    pub remotes: Vec<RemoteRules>,
    /// How many times all of them are tried before there is an end.
    pub rounds: Option<u32>,
}

/// What counts for one remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRules {
    /// How long it may take to answer at all.
    pub timeout: Duration,
    /// The pause after a failed attempt.
    pub pause: RetryPause,
}

/// Something that is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find the addresses of this remote, and say so by [`Dialer::resolved`].
    Resolve(usize),
    /// Begin a session.
    Dial(Attempt),
    /// End a session that has not answered in time.
    GiveUp(Attempt),
    /// Tell of a pause before the next attempt.
    Pause(Duration),
    /// All remotes were tried as often as is allowed.
    End,
}

/// An attempt to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, never used twice.
    pub number: u64,
    /// Which remote.
    pub remote: usize,
    /// One of its addresses.
    pub address: SocketAddr,
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the next address or remote.
    Another,
    /// To the same address again.
    Same,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing happens before then.
    Paused(Monotonic),
    /// Addresses are looked up; until then.
    Resolving(Monotonic),
    /// A session is beginning. With a time until the server must have answered.
    Dialing(Attempt, Option<Monotonic>),
    /// There is a tunnel.
    Connected(Attempt),
    /// Nothing will happen any more.
    Ended,
}

impl Dialer {
    /// A dialer that begins at once.
    pub fn new(rules: DialRules, now: Monotonic) -> Self {
        Self {
            rules,
            current: 0,
            addresses: VecDeque::new(),
            failures: 0,
            last_attempt: 0,
            state: State::Paused(now),
            steps: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Dialer::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Monotonic> {
        match self.state {
            State::Paused(until) | State::Resolving(until) => Some(until),
            State::Dialing(_, until) => until,
            State::Connected(_) | State::Ended => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        if self.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        match self.state {
            State::Paused(_) => self.begin(now),
            State::Resolving(_) => self.fail(Next::Another, None, now),
            State::Dialing(attempt, _) => {
                self.steps.push_back(Step::GiveUp(attempt));
                self.fail(Next::Another, None, now);
            }
            State::Connected(_) | State::Ended => {}
        }
    }

    /// The addresses of the remote that was asked for; none if it has none.
    pub fn resolved(&mut self, addresses: Vec<SocketAddr>, now: Monotonic) {
        if !matches!(self.state, State::Resolving(_)) {
            return;
        }
        self.addresses = addresses.into();
        match self.addresses.front() {
            Some(&address) => self.dial(address, now),
            None => self.fail(Next::Another, None, now),
        }
    }

    /// The server has answered: from now on the key exchange has its own bound.
    pub fn answered(&mut self, attempt: u64) {
        if let State::Dialing(current, until) = &mut self.state
            && current.number == attempt
        {
            *until = None;
        }
    }

    /// The tunnel carries packets.
    pub fn connected(&mut self, attempt: u64) {
        if let State::Dialing(current, _) = self.state
            && current.number == attempt
        {
            self.failures = 0;
            self.state = State::Connected(current);
        }
    }

    /// The attempt or its tunnel is over. `pause` is the least that the server asks for.
    pub fn lost(&mut self, attempt: u64, next: Next, pause: Option<Duration>, now: Monotonic) {
        if self.attempt().is_some_and(|it| it.number == attempt) {
            self.fail(next, pause, now);
        }
    }

    /// Nothing more is to be tried.
    pub fn stop(&mut self) {
        self.state = State::Ended;
        self.steps.clear();
    }

    /// The attempt that runs, or whose tunnel is there.
    pub fn attempt(&self) -> Option<Attempt> {
        match self.state {
            State::Dialing(attempt, _) | State::Connected(attempt) => Some(attempt),
            State::Paused(_) | State::Resolving(_) | State::Ended => None,
        }
    }

    /// Whose turn it is, as a place in the list of remotes.
    pub fn current_remote(&self) -> usize {
        self.current
    }

    /// Whether there is a tunnel.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    fn begin(&mut self, now: Monotonic) {
        if self.is_exhausted() {
            self.stop();
            return self.steps.push_back(Step::End);
        }
        match self.addresses.front() {
            Some(&address) => self.dial(address, now),
            None => {
                self.state = State::Resolving(now + RESOLVE_PATIENCE);
                self.steps.push_back(Step::Resolve(self.current));
            }
        }
    }

    fn dial(&mut self, address: SocketAddr, now: Monotonic) {
        self.last_attempt += 1;
        let attempt = Attempt {
            number: self.last_attempt,
            remote: self.current,
            address,
        };
        let timeout = self.remote().map_or(Duration::ZERO, |it| it.timeout);
        self.state = State::Dialing(attempt, Some(now + timeout));
        self.steps.push_back(Step::Dial(attempt));
    }

    fn fail(&mut self, next: Next, pause: Option<Duration>, now: Monotonic) {
        self.failures = self.failures.saturating_add(1);
        let rounds = self.failures.saturating_sub(1) / self.rules.remotes.len().max(1) as u32;
        let own = self
            .remote()
            .map_or(Duration::ZERO, |it| it.pause.after(rounds));
        let pause = pause.map_or(own, |asked| asked.max(own));
        if next == Next::Another {
            self.addresses.pop_front();
            if self.addresses.is_empty() {
                self.current = (self.current + 1) % self.rules.remotes.len().max(1);
            }
        }
        self.state = State::Paused(now + pause);
        if !self.is_exhausted() {
            self.steps.push_back(Step::Pause(pause));
        }
    }

    fn remote(&self) -> Option<&RemoteRules> {
        self.rules.remotes.get(self.current)
    }

    /// Wire: `connect-retry-max` counts attempts for each remote.
    fn is_exhausted(&self) -> bool {
        let remotes = self.rules.remotes.len() as u64;
        let most = self.rules.rounds.map(|rounds| u64::from(rounds) * remotes);
        most.is_some_and(|most| u64::from(self.failures) >= most)
    }
}

/// Puts a list of remotes into a random order (`remote-random`).
pub fn shuffle<T>(remotes: &mut [T], random: &mut dyn Random) {
    for last in (1..remotes.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        remotes.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Monotonic = Monotonic::from_nanos(5_000_000_000);

    fn dialer(remotes: usize, rounds: Option<u32>) -> Dialer {
        let remote = RemoteRules {
            timeout: 10 * SECOND,
            pause: RetryPause {
                first: SECOND,
                longest: 30 * SECOND,
            },
        };
        let remotes = vec![remote; remotes];
        Dialer::new(DialRules { remotes, rounds }, START)
    }

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 1194).into()
    }

    fn steps(dialer: &mut Dialer) -> Vec<Step> {
        std::iter::from_fn(|| dialer.poll_step()).collect()
    }

    fn attempt(number: u64, remote: usize, last: u8) -> Attempt {
        Attempt {
            number,
            remote,
            address: address(last),
        }
    }

    #[test]
    fn a_silent_server_is_followed_by_the_next_address_and_then_the_next_remote() {
        let mut dialer = dialer(2, None);
        dialer.handle_timeout(START);
        assert_eq!(steps(&mut dialer), [Step::Resolve(0)]);
        dialer.resolved(vec![address(1), address(2)], START);
        assert_eq!(steps(&mut dialer), [Step::Dial(attempt(1, 0, 1))]);

        let late = START + 10 * SECOND;
        assert_eq!(dialer.next_timeout(), Some(late));
        dialer.handle_timeout(late);
        let given_up = [Step::GiveUp(attempt(1, 0, 1)), Step::Pause(SECOND)];
        assert_eq!(steps(&mut dialer), given_up);
        dialer.handle_timeout(late);
        assert_eq!(steps(&mut dialer), [], "the pause is not over");
        dialer.handle_timeout(late + SECOND);
        assert_eq!(steps(&mut dialer), [Step::Dial(attempt(2, 0, 2))]);
        dialer.lost(1, Next::Another, None, late + SECOND);
        assert_eq!(steps(&mut dialer), [], "what is late changes nothing");
        dialer.lost(2, Next::Another, None, late + SECOND);
        dialer.handle_timeout(late + 2 * SECOND);
        assert_eq!(steps(&mut dialer), [Step::Pause(SECOND), Step::Resolve(1)]);
        dialer.resolved(Vec::new(), late + 2 * SECOND);
        dialer.handle_timeout(late + 3 * SECOND);
        assert_eq!(steps(&mut dialer), [Step::Pause(SECOND), Step::Resolve(0)]);
    }

    #[test]
    fn an_answer_ends_the_wait_and_a_tunnel_ends_the_count() {
        let mut dialer = dialer(1, Some(2));
        dialer.handle_timeout(START);
        dialer.resolved(vec![address(1)], START);
        dialer.lost(1, Next::Another, None, START);
        dialer.handle_timeout(START + SECOND);
        dialer.resolved(vec![address(1)], START + SECOND);
        dialer.answered(2);
        assert_eq!(dialer.next_timeout(), None);
        dialer.connected(2);
        assert!(dialer.is_connected());
        dialer.lost(2, Next::Same, Some(7 * SECOND), START + SECOND);
        steps(&mut dialer);
        assert_eq!(dialer.next_timeout(), Some(START + 8 * SECOND));
        dialer.handle_timeout(START + 8 * SECOND);
        assert_eq!(
            steps(&mut dialer),
            [Step::Dial(attempt(3, 0, 1))],
            "one more is allowed"
        );
        dialer.lost(3, Next::Same, None, START + 8 * SECOND);
        dialer.handle_timeout(START + 9 * SECOND);
        assert_eq!(steps(&mut dialer), [Step::End]);
        assert_eq!(dialer.next_timeout(), None);
    }

    #[test]
    fn pauses_grow_by_rounds_up_to_their_bound() {
        let mut dialer = dialer(2, None);
        let (mut now, mut pauses) = (START, Vec::new());
        for _ in 0..26 {
            now = dialer.next_timeout().unwrap();
            dialer.handle_timeout(now);
            dialer.resolved(Vec::new(), now);
            pauses.extend(
                steps(&mut dialer)
                    .into_iter()
                    .filter_map(|step| match step {
                        Step::Pause(pause) => Some(pause.as_secs()),
                        _ => None,
                    }),
            );
        }
        assert_eq!(
            pauses,
            [
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 30, 30, 30, 30, 30,
                30
            ]
        );
        assert!(now > START + 100 * SECOND);
    }

    /// Whatever happens, there is one attempt at a time with a number of its own, every state but a
    /// tunnel ends by the clock, and no pause is longer than it may be.
    #[test]
    fn whatever_happens_one_attempt_runs_and_it_goes_on() {
        for seed in 0..300 {
            let mut random = SeededRandom::new(seed);
            let remotes = 1 + random.below(4) as usize;
            let mut dialer = dialer(remotes, None);
            let (mut now, mut running, mut last) = (START, None, 0);
            for _ in 0..400 {
                now = now + Duration::from_millis(random.below(4_000));
                let number = dialer.last_attempt.saturating_sub(random.below(3));
                match random.below(7) {
                    0 => dialer.answered(number),
                    1 => dialer.connected(number),
                    2 | 3 => {
                        let next = [Next::Same, Next::Another][random.below(2) as usize];
                        let known = dialer.attempt().is_some_and(|it| it.number == number);
                        dialer.lost(number, next, None, now);
                        running = running.filter(|_| !known);
                    }
                    4 => {
                        let count = random.below(3) as u8;
                        dialer.resolved((0..count).map(address).collect(), now);
                    }
                    _ => dialer.handle_timeout(now),
                }
                for step in steps(&mut dialer) {
                    match step {
                        Step::Dial(attempt) => {
                            assert_eq!(running.replace(attempt), None, "seed {seed}");
                            assert!(attempt.number > last && attempt.remote < remotes);
                            last = attempt.number;
                        }
                        Step::GiveUp(attempt) => assert_eq!(running.take(), Some(attempt)),
                        Step::Pause(pause) => assert!(pause <= 30 * SECOND),
                        Step::Resolve(remote) => assert!(remote < remotes),
                        Step::End => panic!("seed {seed}: there is no bound on rounds"),
                    }
                }
                assert_eq!(dialer.attempt(), running, "seed {seed}");
                let waits = dialer.next_timeout().is_some() || running.is_some();
                assert!(waits, "seed {seed}: nothing will happen any more");
            }
        }
    }

    #[test]
    fn a_shuffled_list_has_the_same_entries_in_any_order() {
        let mut orders = std::collections::HashSet::new();
        let mut random = SeededRandom::new(1);
        for _ in 0..200 {
            let mut list = [1, 2, 3];
            shuffle(&mut list, &mut random);
            let mut sorted = list;
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 2, 3]);
            orders.insert(list);
        }
        assert_eq!(orders.len(), 6);
    }
}
