//! The timers of a session.

use crate::time::Monotonic;

/// Everything that a session waits for by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The key exchange that runs must be done (`hand-window`).
    HandWindow,
    /// A new key is asked for (`reneg-sec`).
    Renegotiate,
    /// The new key is used for sending; until then the old one is.
    Promote,
    /// The key before the current one is given up (`tran-window`).
    LameDuck,
    /// Nothing was sent for the ping interval: look, and ping.
    Ping,
    /// Nothing was received for the restart interval: look, and give up.
    PingRestart,
    /// The client asks again for its configuration.
    PushRequest,
    /// The last retransmissions of a session that said goodbye are over.
    Farewell,
}

/// When each timer fires.
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Monotonic>; Timer::COUNT]);

impl Timer {
    const ALL: [Self; 8] = [
        Self::HandWindow,
        Self::Renegotiate,
        Self::Promote,
        Self::LameDuck,
        Self::Ping,
        Self::PingRestart,
        Self::PushRequest,
        Self::Farewell,
    ];
    const COUNT: usize = Self::ALL.len();
}

impl Timers {
    /// Sets `timer`, in place of an earlier setting.
    pub(super) fn set(&mut self, timer: Timer, at: Monotonic) {
        self.0[timer as usize] = Some(at);
    }

    /// Stops `timer`.
    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops all of them.
    pub(super) fn stop_all(&mut self) {
        self.0 = Default::default();
    }

    /// When `timer` fires, if it is set.
    pub(super) fn at(&self, timer: Timer) -> Option<Monotonic> {
        self.0[timer as usize]
    }

    /// A timer that is due, stopped by being returned.
    pub(super) fn expire(&mut self, now: Monotonic) -> Option<Timer> {
        let due = Timer::ALL
            .into_iter()
            .filter_map(|timer| self.at(timer).map(|at| (at, timer)))
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at);
        let (_, timer) = due?;
        self.stop(timer);
        Some(timer)
    }

    /// The earliest of all.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.0.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_once_in_their_order() {
        let mut timers = Timers::default();
        let at = Monotonic::from_nanos;
        timers.set(Timer::Ping, at(20));
        timers.set(Timer::LameDuck, at(10));
        timers.set(Timer::Promote, at(99));
        timers.set(Timer::Farewell, at(5));
        timers.stop(Timer::Farewell);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expire(at(9)), None);
        assert_eq!(timers.expire(at(20)), Some(Timer::LameDuck));
        assert_eq!(timers.expire(at(20)), Some(Timer::Ping));
        assert_eq!(timers.expire(at(20)), None);
        assert_eq!(timers.next(), Some(at(99)));
    }

    #[test]
    fn every_timer_has_its_place() {
        for (index, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
        }
    }
}
