//! Renewal of a session's keys: a new generation is negotiated beside the one in use, takes its
//! place, or fails and leaves it.
//!
//! Wire: wire.md section 8.6.

use std::sync::Arc;
use std::time::Duration;

use super::event::{LeaveReason, SessionEvent};
use super::negotiation::{Negotiation, Stage};
use super::settings::SessionSettings;
use super::state::Session;
use super::timer::Timer;
use crate::random::Random;
use crate::time::Now;
use crate::wire::{KeyId, Opcode};

impl Session {
    /// The data channel got a first packet of this generation: the peer surely has its keys.
    ///
    /// So it has our key message, and the acknowledgement that is missing was lost. Waiting for it
    /// would end in a renegotiation that only one side believes to have failed: the peer would go on
    /// to the next generation, and we would ask again for the one that it has.
    pub fn peer_uses(&mut self, now: Now, random: &mut dyn Random, key_id: KeyId) {
        self.take_up_again(key_id);
        if key_id != self.current.key_id {
            return;
        }
        if self.current.settle_by_use() {
            self.established(now, random);
            self.drive(now, random);
        }
        self.promote();
    }

    /// Further generations begin with the TLS of `rules`, and what all are pushed is what these say; all else
    /// stays as it was agreed. `renewed` has the rules, before and after, of sessions that were told so: those
    /// that shared theirs go on sharing.
    pub fn begin_with(
        &mut self,
        rules: &SessionSettings,
        renewed: &mut Vec<(Arc<SessionSettings>, Arc<SessionSettings>)>,
    ) {
        let known = renewed
            .iter()
            .find(|(before, _)| Arc::ptr_eq(before, &self.settings));
        self.settings = match known {
            Some((_, after)) => Arc::clone(after),
            None => {
                let (tls, push) = (Arc::clone(&rules.tls), rules.push.clone());
                let own = SessionSettings::clone(&self.settings);
                let after = Arc::new(SessionSettings { tls, push, ..own });
                renewed.push((Arc::clone(&self.settings), Arc::clone(&after)));
                after
            }
        };
    }

    /// The peer uses a generation that we have given up: it has it, and would refuse to agree on that one
    /// again. So it goes on as if it had not been given up.
    fn take_up_again(&mut self, key_id: KeyId) {
        let Some(undecided) = self.undecided.take_if(|it| it.key_id == key_id) else {
            return;
        };
        if self.current.key_id == key_id && matches!(self.current.stage, Stage::Exchanged) {
            // It has agreed on that number anew, and this is the new one's key.
            return;
        }
        let given_up = std::mem::replace(&mut self.current, undecided);
        // Another attempt is not needed: one that has begun is dropped, and what was before both stays.
        self.timers.stop(Timer::Renegotiate);
        self.previous.get_or_insert(given_up);
    }

    /// The data channel's key is worn out, or soon will be: agree on a new one.
    pub fn renegotiate_soon(&mut self, now: Now) {
        if self.is_connected() && self.previous.is_none() {
            self.timers.set(Timer::Renegotiate, now.monotonic);
        }
    }

    /// A soft reset for the generation after the current one, which must be established.
    pub(super) fn begins_next_generation(&self, key_id: KeyId) -> bool {
        self.is_connected()
            && self.previous.is_none()
            && self.unjudged.is_none()
            && key_id == self.current.key_id.next()
    }

    /// Begins the next generation, ours or in answer to the peer's soft reset.
    pub(super) fn renegotiate(&mut self, now: Now, random: &mut dyn Random) {
        let timing = self.settings.timing;
        self.promote();
        if self.lame_duck != Some(self.current.key_id) {
            self.outgoing = self.lame_duck.replace(self.current.key_id);
            self.timers
                .set(Timer::LameDuck, now.monotonic + timing.tran_window);
        }
        let key_id = self.current.key_id.next();
        let opened = Negotiation::open(&self.settings, now, random, key_id, Opcode::SoftResetV1);
        self.timers.stop(Timer::Renegotiate);
        match opened {
            Ok(negotiation) => {
                self.previous = Some(std::mem::replace(&mut self.current, negotiation));
                self.timers
                    .set(Timer::HandWindow, now.monotonic + timing.hand_window);
                self.emit(SessionEvent::Renegotiating);
            }
            Err(reason) => {
                self.schedule_renegotiation(now, random);
                self.emit(SessionEvent::RenegotiationFailed(reason));
            }
        }
    }

    /// The generation under negotiation is done: the one before becomes the lame duck.
    pub(super) fn established(&mut self, now: Now, random: &mut dyn Random) {
        let Some(previous) = self.previous.take() else {
            return;
        };
        self.timers.stop(Timer::HandWindow);
        self.undecided = None;
        self.retire_outgoing();
        // Wire: the new key is held back until the peer surely has it, unless the old one has not
        // been in use for that long itself (wire.md section 8.6).
        let delay = self.settings.timing.promotion_delay();
        let promotion = if previous.started + delay > now.monotonic {
            now.monotonic
        } else {
            (self.current.started + delay).max(now.monotonic)
        };
        self.timers.set(Timer::Promote, promotion);
        self.schedule_renegotiation(now, random);
        let key_id = self.current.key_id;
        self.emit(SessionEvent::Renegotiated { key_id });
    }

    /// The key exchange that runs has failed: the first one ends the session, a later one leaves
    /// the generation before it in place until its life ends.
    pub(super) fn fail(&mut self, now: Now, reason: LeaveReason) {
        let Some(previous) = self.previous.take() else {
            return match reason {
                LeaveReason::HandWindow => self.leave_at_once(reason),
                _ => self.leave(now, reason),
            };
        };
        let failed = std::mem::replace(&mut self.current, previous);
        // Of the generation that failed.
        self.unjudged = None;
        self.timers.stop(Timer::HandWindow);
        self.timers.set(
            Timer::Renegotiate,
            now.monotonic + self.settings.timing.hand_window,
        );
        self.retire_outgoing();
        // With both key messages exchanged the peer may believe that it is done, and seal with the
        // new key: its packets are still opened.
        if matches!(failed.stage, Stage::Exchanged) {
            self.undecided = Some(failed);
        } else {
            self.emit(SessionEvent::Retired(failed.key_id));
        }
        self.emit(SessionEvent::RenegotiationFailed(reason));
    }

    /// The life of the generation before the newest one is over.
    pub(super) fn lame_duck_expired(&mut self, now: Now) {
        if let Some(unjudged) = self.unjudged.take() {
            return self.never_accepted(now, unjudged);
        }
        let replaced = self.previous.is_none() && self.lame_duck != Some(self.current.key_id);
        if replaced {
            self.promote();
            if let Some(key_id) = self.lame_duck.take() {
                self.emit(SessionEvent::Retired(key_id));
            }
        } else {
            // No later generation was established: there is no key left to live on.
            self.leave(now, LeaveReason::KeyExpired);
        }
    }

    /// Brings a generation that is held back into use for sending.
    pub(super) fn promote(&mut self) {
        if self.timers.at(Timer::Promote).is_some() {
            self.timers.stop(Timer::Promote);
            self.promote_judged();
        }
    }

    pub(super) fn retire_outgoing(&mut self) {
        if let Some(key_id) = self.outgoing.take() {
            self.emit(SessionEvent::Retired(key_id));
        }
    }

    pub(super) fn schedule_renegotiation(&mut self, now: Now, random: &mut dyn Random) {
        if let Some(renegotiation) = self.settings.timing.renegotiation {
            let spread = renegotiation.latest.saturating_sub(renegotiation.earliest);
            let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
            let jitter = Duration::from_nanos(random.below(nanos.saturating_add(1)));
            self.timers.set(
                Timer::Renegotiate,
                now.monotonic + renegotiation.earliest + jitter,
            );
        }
    }
}
