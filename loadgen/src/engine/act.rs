//! What a core does of itself: sessions come and go as the plan says, one stage after the other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ringway::time::{Monotonic, Now};

use super::Stage;
use super::client::{Client, Standing};
use super::control::{CONTROL_BUDGET, now_is_within};
use super::core::Core;

impl Core {
    /// Does what is due.
    pub(super) fn act(&mut self, now: Now) {
        if self.run.settings.stop.load(Ordering::Relaxed) {
            let soon = now.monotonic + LEAVE_WHEN_STOPPED;
            match self.stage {
                Stage::Over => {}
                Stage::Leaving(until) => self.stage = Stage::Leaving(until.min(soon)),
                _ => self.begin_leaving(now),
            }
        }
        match self.stage {
            Stage::Filling(phase) => self.fill(phase, now),
            Stage::Waiting(phase) => self.wait(phase, now),
            Stage::Running(phase, begin) => self.run_phase(phase, begin, now),
            Stage::Settling(since) => self.settle(since, now),
            Stage::Asking(until) => self.await_answers(until, now),
            Stage::Leaving(until) => self.leave_all(until, now),
            Stage::Over => {}
        }
    }

    /// When [`act`](Self::act) next has something to do.
    pub(super) fn next_act(&self) -> Option<Monotonic> {
        match self.stage {
            Stage::Filling(_) | Stage::Waiting(_) | Stage::Over => None,
            Stage::Running(_, begin) => {
                let end = begin + self.work.length;
                let due = self
                    .work
                    .next()
                    .map(|due| begin + Duration::from_nanos(due));
                let back = self.returning.front().map(|(due, _)| *due);
                let storm = self.held < self.work.sessions_at(Duration::ZERO);
                let storm = storm.then_some(begin);
                let nexts = [Some(end), due, storm, back, self.next_call()];
                nexts.into_iter().flatten().min()
            }
            Stage::Settling(since) => Some(since + self.settle_time()),
            Stage::Asking(until) => Some(self.next_call().map_or(until, |due| due.min(until))),
            Stage::Leaving(until) => Some(until),
        }
    }

    /// Whether there is something to do now that has no moment of its own.
    pub(super) fn has_more_to_do(&self) -> bool {
        match self.stage {
            Stage::Filling(_) | Stage::Running(..) => {
                let room = self.connecting < self.window();
                (room && !self.wanting.is_empty()) || self.is_sending_greedily()
            }
            Stage::Leaving(_) => !self.farewells.is_empty(),
            Stage::Waiting(_) | Stage::Settling(_) | Stage::Asking(_) => false,
            Stage::Over => true,
        }
    }

    /// Brings up what a phase begins with. A storm is part of its phase.
    fn fill(&mut self, phase: usize, now: Now) {
        if self.work.storm {
            self.stage = Stage::Waiting(phase);
            self.run.gates.filled(phase);
            return self.wait(phase, now);
        }
        self.hold(self.work.sessions_at(Duration::ZERO), now.monotonic);
        self.dial_wanting(now);
        if self.is_hopeless() {
            return self.run.give_up("no session came up");
        }
        if self.wanting.is_empty() && self.connecting == 0 {
            self.stage = Stage::Waiting(phase);
            self.run.gates.filled(phase);
            self.wait(phase, now);
        }
    }

    /// Whether as many as are tried at once have failed, and none ever came up.
    fn is_hopeless(&self) -> bool {
        let enough = self.held.min(FILL_WINDOW) as u64;
        let failures = self.tally.failures_total();
        enough > 0 && self.tally.handshakes == 0 && failures >= enough
    }

    /// All cores begin a phase at the same moment.
    fn wait(&mut self, phase: usize, now: Now) {
        if let Some(begin) = self.run.gates.begin(phase, now.monotonic) {
            self.stage = Stage::Running(phase, begin);
            self.order_streams(now.monotonic);
        }
    }

    fn run_phase(&mut self, phase: usize, begin: Monotonic, now: Now) {
        if now.monotonic < begin {
            return;
        }
        let since = now.monotonic.since(begin);
        if since >= self.work.length {
            return self.end_phase(phase, now);
        }
        self.hold(self.work.sessions_at(since), begin);
        if self.is_storm_over(phase, now) {
            return self.end_phase(phase, now);
        }
        while let Some((due, user)) = self.returning.front().copied()
            && due <= now.monotonic
        {
            self.returning.pop_front();
            if user < self.held {
                self.wanting.push_back((user, None));
            }
        }
        self.dial_wanting(now);
        let elapsed = since.as_nanos() as u64;
        self.take_arrivals(begin, elapsed, now);
        self.take_departures(elapsed, now);
        self.take_moves(elapsed, now);
        self.take_renewals(elapsed, now);
        self.send_streams(begin, elapsed, now.monotonic);
        self.serve_calls(now.monotonic);
    }

    /// Whether the phase is a storm and nothing else, and all sessions of all cores have come up.
    fn is_storm_over(&mut self, phase: usize, now: Now) -> bool {
        if !self.work.ends_when_up {
            return false;
        }
        if self.done_with != Some(phase) && self.established >= self.held as u64 {
            self.done_with = Some(phase);
            self.run.gates.done(phase);
        }
        self.run.gates.is_over(phase, now.monotonic)
    }

    fn end_phase(&mut self, phase: usize, now: Now) {
        let next = phase + 1;
        if next < self.run.settings.plan.phases.len() {
            self.work = self.run.work(next, self.share);
            self.stage = Stage::Filling(next);
            return;
        }
        self.stage = Stage::Settling(now.monotonic);
    }

    /// Waits for packets that are still on their way.
    fn settle(&mut self, since: Monotonic, now: Now) {
        if now.monotonic < since + self.settle_time() {
            return;
        }
        if self.run.settings.lan.is_none() {
            return self.begin_leaving(now);
        }
        self.ask_for_counts(now.monotonic);
        self.stage = Stage::Asking(now.monotonic + ASK_MAX);
    }

    fn settle_time(&self) -> Duration {
        self.run.settings.lan.map_or(Duration::ZERO, |_| {
            SETTLE + 2 * self.run.settings.faults.delay
        })
    }

    fn await_answers(&mut self, until: Monotonic, now: Now) {
        self.serve_calls(now.monotonic);
        if now.monotonic >= until || !self.awaits_answers() {
            self.begin_leaving(now);
        }
    }

    fn begin_leaving(&mut self, now: Now) {
        self.wanting.clear();
        self.returning.clear();
        self.held = 0;
        // Who is on the way up may still come to its end, and leaves then.
        let up = |(key, client): (usize, &Client)| (client.standing == Standing::Up).then_some(key);
        self.farewells = self.clients.iter().filter_map(up).collect();
        self.stage = Stage::Leaving(now.monotonic + LEAVE_MAX);
    }

    fn leave_all(&mut self, until: Monotonic, now: Now) {
        for _ in 0..LEAVES_A_TURN {
            let Some(key) = self.farewells.pop() else {
                break;
            };
            self.leave(key, now);
        }
        if self.clients.is_empty() || now.monotonic >= until {
            let unfinished = "handshake not finished when the run was over";
            for _ in 0..self.connecting {
                self.tally.failed(self.at(now.monotonic), unfinished);
            }
            self.stage = Stage::Over;
        }
    }

    /// Holds so many users from now on; who is new was due at `due`.
    fn hold(&mut self, target: usize, due: Monotonic) {
        let target = target.min(self.held_max);
        let due = self.work.storm.then_some(due);
        for number in self.held..target {
            let Some(user) = self.users.get_mut(number) else {
                continue;
            };
            user.since = due.or(user.since);
            if user.client.is_none() {
                self.wanting.push_back((number, due));
            }
        }
        for user in target..self.held {
            if let Some(key) = self.users.get(user).and_then(|user| user.client) {
                self.farewells.push(key);
            }
        }
        self.held = target;
    }

    /// Users that are held, and not those that come and leave.
    pub(super) fn is_held(&self, user: usize) -> bool {
        user < self.held
    }

    fn dial_wanting(&mut self, now: Now) {
        while let Some(key) = self.farewells.pop() {
            self.leave(key, now);
        }
        while now_is_within(now, CONTROL_BUDGET) {
            if self.connecting >= self.window() {
                return;
            }
            let Some((user, due)) = self.wanting.pop_front() else {
                return;
            };
            let Some(known) = self.users.get_mut(user) else {
                continue;
            };
            if known.client.is_some() || user >= self.held {
                continue;
            }
            let intended = *known.since.get_or_insert(now.monotonic);
            if let Some(due) = due {
                let late = Now::read().monotonic.since(due);
                self.tally.lateness.record(late.as_nanos() as u64);
            }
            self.dial(user, intended, now);
        }
    }

    /// How many handshakes run at once, if nothing says when each is due.
    fn window(&self) -> usize {
        match self.work.storm {
            true => usize::MAX,
            false => FILL_WINDOW,
        }
    }

    fn take_arrivals(&mut self, begin: Monotonic, elapsed: u64, now: Now) {
        while now_is_within(now, CONTROL_BUDGET) {
            let Some(due) = self
                .work
                .arrivals
                .as_mut()
                .and_then(|pace| pace.due(elapsed))
            else {
                return;
            };
            self.tally.lateness.record(elapsed - due);
            match self.visitors.pop_front() {
                Some(user) => self.dial(user, begin + Duration::from_nanos(due), now),
                None => self.tally.missed += 1,
            }
        }
    }

    fn take_departures(&mut self, elapsed: u64, now: Now) {
        while let Some(due) = self
            .work
            .departures
            .as_mut()
            .and_then(|pace| pace.due(elapsed))
        {
            self.tally.lateness.record(elapsed - due);
            match self.next_carrier() {
                Some(key) => self.leave(key, now),
                None => self.tally.missed += 1,
            }
        }
    }

    fn take_moves(&mut self, elapsed: u64, now: Now) {
        while let Some(due) = self.work.moves.as_mut().and_then(|pace| pace.due(elapsed)) {
            self.tally.lateness.record(elapsed - due);
            if let Some(key) = self.next_carrier() {
                self.roam(key, now);
            }
        }
    }

    fn take_renewals(&mut self, elapsed: u64, now: Now) {
        while let Some(due) = self
            .work
            .renewals
            .as_mut()
            .and_then(|pace| pace.due(elapsed))
        {
            self.tally.lateness.record(elapsed - due);
            if let Some(key) = self.next_carrier()
                && let Some(client) = self.clients.get_mut(key)
            {
                client.session.renegotiate_soon(now);
                self.service(key, now);
            }
        }
    }

    /// A user's session is over, or did not begin: who is held comes back, as real clients do.
    pub(super) fn went(&mut self, user: usize, now: Now) {
        if let Some(user) = self.users.get_mut(user) {
            user.client = None;
        }
        if user >= self.held_max {
            if let Some(user) = self.users.get_mut(user) {
                user.since = None;
            }
            self.visitors.push_back(user);
        } else if user < self.held {
            self.returning
                .push_back((now.monotonic + RETURN_PAUSE, user));
        }
    }

    /// The next client that carries data, in turn.
    pub(super) fn next_carrier(&mut self) -> Option<usize> {
        if self.carriers.is_empty() {
            return None;
        }
        self.turn_of = (self.turn_of + 1) % self.carriers.len();
        self.carriers.get(self.turn_of).copied()
    }

    /// A client has come up that is to carry data.
    pub(super) fn carries(&mut self, key: usize) {
        let place = self.carriers.len();
        if let Some(client) = self.clients.get_mut(key)
            && client.standing == Standing::Up
            && let Some(tunnel) = &mut client.tunnel
        {
            tunnel.place = Some(place);
            self.carriers.push(key);
        }
    }

    /// A client carries no data any more; the last one takes its place.
    pub(super) fn carries_no_more(&mut self, key: usize) {
        let place = self
            .clients
            .get_mut(key)
            .and_then(|client| client.tunnel.as_mut()?.place.take());
        let Some(place) = place else {
            return;
        };
        self.carriers.swap_remove(place);
        if let Some(&moved) = self.carriers.get(place)
            && let Some(client) = self.clients.get_mut(moved)
            && let Some(tunnel) = &mut client.tunnel
        {
            tunnel.place = Some(place);
        }
    }
}

/// Handshakes that a core has at once while it brings up what a phase begins with.
const FILL_WINDOW: usize = 64;
/// Goodbyes that are said before the ring turns again.
const LEAVES_A_TURN: usize = 128;
/// The pause before a session that was lost is begun anew. Wire: `connect-retry` of clients.
const RETURN_PAUSE: Duration = Duration::from_secs(1);
/// How long packets may be on their way.
const SETTLE: Duration = Duration::from_millis(300);
/// How long the LAN host may take to say what it has seen.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How long goodbyes may take, and handshakes that are under way: as long as a client whose packet is lost
/// twice, which it sends again after two seconds and after four more.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// The same for somebody who waits for the end.
const LEAVE_WHEN_STOPPED: Duration = Duration::from_secs(3);
