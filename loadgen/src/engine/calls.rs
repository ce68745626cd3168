//! What a core's sessions ask of the LAN host: packets to them, and in the end what it has seen of
//! theirs.

use std::time::Duration;

use loadgen::lan::caller::{Caller, Outcome, Step};
use loadgen::lan::order::{Ask, Stream};
use loadgen::payload::{Ends, headers, write_packet};
use ringway::time::Monotonic;
use std::net::SocketAddr;

use super::core::Core;
use super::traffic::CLIENT_PORT;
use super::{Stage, work::Down};

impl Core {
    /// Has the LAN host send what the phase wants of it to all sessions that are there.
    pub(super) fn order_streams(&mut self, now: Monotonic) {
        let users: Vec<usize> = self
            .carriers
            .iter()
            .filter_map(|key| Some(self.clients.get(*key)?.user))
            .collect();
        for user in users {
            self.order_stream(user, now);
        }
        let changes = self.work.down.is_some_and(|down| down.changes());
        self.reorder = changes.then_some(now + REORDER);
    }

    /// The same for one session.
    pub(super) fn order_stream(&mut self, user: usize, now: Monotonic) {
        let (Stage::Running(_, begin), Some(down)) = (self.stage, self.work.down) else {
            return;
        };
        let since = now.since(begin);
        let left = self.work.length.saturating_sub(since);
        let duration_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        if duration_ms == 0 {
            return;
        }
        let Down { size, .. } = down;
        let stream = Stream {
            size,
            rate_milli: self.work.down_rate_milli(since),
            duration_ms,
        };
        self.ask(user, Ask::Send(stream), now);
    }

    /// Asks what the LAN host has seen of all sessions that had anything to do with it.
    pub(super) fn ask_for_counts(&mut self, now: Monotonic) {
        for user in 0..self.users.len() {
            let Some(known) = self.users.get(user) else {
                continue;
            };
            let has_packets = known.up + known.requests > 0 || known.caller.is_some();
            if has_packets && known.client.is_some() {
                self.ask(user, Ask::Counts, now);
            } else if has_packets {
                self.far.silent += 1;
            }
        }
    }

    /// Whether an answer is still awaited.
    pub(super) fn awaits_answers(&self) -> bool {
        !self.calling.is_empty()
    }

    /// When [`serve_calls`](Self::serve_calls) next has something to do.
    pub(super) fn next_call(&self) -> Option<Monotonic> {
        [self.next_call, self.reorder].into_iter().flatten().min()
    }

    /// Says again what got no answer.
    pub(super) fn serve_calls(&mut self, now: Monotonic) {
        if self.reorder.is_some_and(|due| due <= now) {
            self.order_streams(now);
        }
        if self.next_call.is_none_or(|due| due > now) {
            return;
        }
        self.next_call = None;
        for user in std::mem::take(&mut self.calling) {
            self.step_call(user, now);
        }
    }

    /// An answer has come, which may have ended the order.
    pub(super) fn answered(&mut self, user: usize, outcome: Option<Outcome>, now: Monotonic) {
        self.calling.retain(|calling| *calling != user);
        match outcome {
            Some(outcome) => self.call_ended(user, outcome),
            None => self.step_call(user, now),
        }
    }

    fn ask(&mut self, user: usize, ask: Ask, now: Monotonic) {
        let (run, session) = (self.run.settings.number, self.number(user));
        let Some(known) = self.users.get_mut(user) else {
            return;
        };
        let caller = known
            .caller
            .get_or_insert_with(|| Box::new(Caller::new(run, session)));
        caller.ask(ask, now.as_nanos());
        self.calling.retain(|calling| *calling != user);
        self.step_call(user, now);
    }

    /// Goes on with an open order.
    fn step_call(&mut self, user: usize, now: Monotonic) {
        while let Some(caller) = self
            .users
            .get_mut(user)
            .and_then(|user| user.caller.as_mut())
        {
            match caller.step(now.as_nanos()) {
                Step::Send(order) => self.send_order(user, &order, now),
                Step::Wait(None) => return,
                Step::Wait(Some(due)) => {
                    let due = Monotonic::from_nanos(due);
                    self.next_call = Some(self.next_call.map_or(due, |next| next.min(due)));
                    self.calling.push(user);
                    return;
                }
                Step::Ended(outcome) => return self.call_ended(user, outcome),
            }
        }
    }

    fn call_ended(&mut self, user: usize, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => {}
            Outcome::Refused(refusal) => self.tally.dropped(format!("orders refused: {refusal}")),
            Outcome::Counts(counts) => {
                if let Some(user) = self.users.get_mut(user) {
                    self.far.add_session(user.up, &counts);
                    user.down_sent = Some(counts.down_packets);
                }
            }
            Outcome::Silent => self.far.silent += 1,
        }
    }

    fn send_order(&mut self, user: usize, order: &[u8], now: Monotonic) {
        let client = self.users.get(user).and_then(|user| user.client);
        let client = client.and_then(|key| self.clients.get(key));
        let Some((lan, client)) = self.run.settings.lan.zip(client) else {
            return;
        };
        let Some((source, tunnel)) = client.address_towards(lan.ip()).zip(client.tunnel) else {
            return;
        };
        let ends = Ends {
            source: SocketAddr::new(source, CLIENT_PORT),
            destination: lan,
        };
        let length = headers(lan.ip()) + order.len();
        // An order always fits; one that can't leave now is said again.
        if write_packet(&mut self.packet, ends, length, order).is_ok() {
            let _again = self.seal(tunnel.peer, length, now);
        }
    }
}

/// How often the LAN host is told of a rate that changes.
const REORDER: Duration = Duration::from_secs(1);
