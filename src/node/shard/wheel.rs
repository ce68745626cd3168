//! A hierarchical timer wheel: when which session is to be looked at.
//!
//! Setting a timer and taking a due one cost the same with ten sessions as with a hundred
//! thousand. Each level has 64 places, each place of a level spans the whole level below. A timer
//! that is set again leaves its old entry behind; its [`Alarm`] knows which entry counts.

use crate::time::Monotonic;

/// The timers of one shard, for keys of type `K`.
#[derive(Debug)]
pub struct Wheel<K> {
    levels: [Level<K>; LEVELS],
    /// The tick up to which all timers were taken.
    tick: u64,
    cascading: Vec<Entry<K>>,
}

/// The one timer of somebody who sets it again and again.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Monotonic>);

#[derive(Debug)]
struct Level<K> {
    places: [Vec<Entry<K>>; PLACES],
    /// A bit for each place that holds something.
    occupied: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    tick: u64,
    key: K,
}

impl<K: Copy> Wheel<K> {
    /// A wheel that starts at `now`.
    pub fn new(now: Monotonic) -> Self {
        Self {
            levels: std::array::from_fn(|_| Level::new()),
            tick: tick_of(now),
            cascading: Vec::new(),
        }
    }

    /// Sets a timer; one in the past is due at once, never before its time otherwise.
    pub fn set(&mut self, at: Monotonic, key: K) {
        let tick = tick_of(at).saturating_add(1).max(self.tick + 1);
        self.insert(Entry { tick, key });
    }

    /// Takes all timers that are due at `now` out, in no particular order.
    pub fn expire(&mut self, now: Monotonic, due: &mut Vec<K>) {
        let target = tick_of(now);
        while self.tick < target {
            // Skip what is empty: to the next place of the lowest level that holds something, or
            // to the next cascade.
            let Some(next) = self.next_tick() else {
                self.tick = target;
                return;
            };
            if next > target {
                self.tick = target;
                return;
            }
            self.tick = next;
            self.cascade();
            let place = place_of(self.tick, 0);
            due.extend(self.levels[0].take(place).map(|entry| entry.key));
        }
    }

    /// When [`Wheel::expire`] next has something to do: not after any timer is due.
    pub fn next(&self) -> Option<Monotonic> {
        self.next_tick()
            .map(|tick| Monotonic::from_nanos(tick << TICK_BITS))
    }

    fn insert(&mut self, entry: Entry<K>) {
        let distance = entry.tick - self.tick;
        let level = (0..LEVELS - 1)
            .find(|level| distance < 1 << (PLACE_BITS * (level + 1)))
            .unwrap_or(LEVELS - 1);
        // What is further away than the wheel reaches waits in its last place and is put in again.
        let reach = (1 << (PLACE_BITS * LEVELS)) - 1;
        let tick = self.tick + distance.min(reach);
        self.levels[level].put(place_of(tick, level), entry);
    }

    /// The next tick at which a place falls due or is spread over the level below.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter_map(|level| self.next_tick_of(level))
            .min()
    }

    fn next_tick_of(&self, level: usize) -> Option<u64> {
        let occupied = self.levels[level].occupied;
        if occupied == 0 {
            return None;
        }
        let shift = PLACE_BITS * level;
        let current = self.tick >> shift;
        let ahead = occupied
            .rotate_right(((current + 1) % PLACES as u64) as u32)
            .trailing_zeros();
        Some((current + 1 + u64::from(ahead)) << shift)
    }

    /// Spreads the places of higher levels that begin at the present tick.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            if self.tick & ((1 << (PLACE_BITS * level)) - 1) != 0 {
                continue;
            }
            let mut entries = std::mem::take(&mut self.cascading);
            entries.extend(self.levels[level].take(place_of(self.tick, level)));
            for entry in entries.drain(..) {
                if entry.tick <= self.tick {
                    // Due at this very tick: the caller takes the lowest level's place next.
                    self.levels[0].put(place_of(self.tick, 0), entry);
                } else {
                    self.insert(entry);
                }
            }
            self.cascading = entries;
        }
    }
}

impl Alarm {
    /// Sees to it that `key` is woken at `at` or before.
    pub(super) fn set<K: Copy>(&mut self, wheel: &mut Wheel<K>, at: Monotonic, key: K) {
        if self.0.is_none_or(|earlier| at < earlier) {
            self.0 = Some(at);
            wheel.set(at, key);
        }
    }

    /// Whether an entry that fell due is the one that counts; then there is none until the next
    /// [`Alarm::set`]. Entries left behind wake nobody, or each would go on for ever.
    pub(super) fn rings(&mut self, now: Monotonic) -> bool {
        let rings = self.0.is_some_and(|at| at <= now);
        if rings {
            self.0 = None;
        }
        rings
    }
}

impl<K> Level<K> {
    fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Vec::new()),
            occupied: 0,
        }
    }

    fn put(&mut self, place: usize, entry: Entry<K>) {
        self.places[place].push(entry);
        self.occupied |= 1 << place;
    }

    fn take(&mut self, place: usize) -> impl Iterator<Item = Entry<K>> + '_ {
        self.occupied &= !(1 << place);
        self.places[place].drain(..)
    }
}

fn tick_of(at: Monotonic) -> u64 {
    at.as_nanos() >> TICK_BITS
}

fn place_of(tick: u64, level: usize) -> usize {
    (tick >> (PLACE_BITS * level)) as usize % PLACES
}

/// A tick is 2^22 nanoseconds, about 4 ms; four levels reach 19 hours.
const TICK_BITS: u32 = 22;
const PLACE_BITS: usize = 6;
const PLACES: usize = 1 << PLACE_BITS;
const LEVELS: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::random::{Random, SeededRandom};

    #[test]
    fn a_timer_is_due_at_its_time_and_not_before() {
        let start = Monotonic::from_nanos(123_456_789_000);
        for delay in
            [0, 1, 4, 300, 1_100, 70_000, 3_600_000, 100_000_000].map(Duration::from_millis)
        {
            let mut wheel = Wheel::new(start);
            wheel.set(start + delay, 'a');
            let mut due = Vec::new();
            if delay > Duration::ZERO {
                wheel.expire(start + delay - Duration::from_nanos(1), &mut due);
                assert!(due.is_empty(), "{delay:?} early");
            }
            // Follow the wheel's own advice, as a shard does.
            let mut steps = 0;
            while due.is_empty() {
                let next = wheel.next().expect("a timer is set");
                wheel.expire(next, &mut due);
                steps += 1;
                assert!(steps < 20, "{delay:?} takes too many steps");
            }
            assert_eq!(due, ['a']);
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn an_alarm_that_is_set_earlier_leaves_nothing_behind() {
        let second = Duration::from_secs(1);
        let (mut wheel, mut alarm) = (Wheel::new(Monotonic::ZERO), Alarm::default());
        let (mut now, mut rung, mut fell_due) = (Monotonic::ZERO, 0, 0);
        let mut due = Vec::new();
        while now < Monotonic::ZERO + second * 10_000 {
            // A ping every ten seconds; each time something is sent that is repeated two later.
            let ping =
                Monotonic::ZERO + second * 10 * (now.since(Monotonic::ZERO).as_secs() / 10) as u32;
            alarm.set(&mut wheel, ping + 10 * second, 'a');
            if now < ping + 2 * second {
                alarm.set(&mut wheel, ping + 2 * second, 'a');
            }
            now = wheel.next().expect("an alarm is set");
            wheel.expire(now, &mut due);
            fell_due += due.len();
            rung += due.drain(..).filter(|_| alarm.rings(now)).count();
        }
        assert_eq!(rung, 2_000);
        assert!(fell_due <= 3_000, "{fell_due} entries for {rung} alarms");
    }

    #[test]
    fn random_timers_all_fire_within_two_ticks() {
        let mut random = SeededRandom::new(42);
        let mut wheel = Wheel::new(Monotonic::ZERO);
        let mut now = Monotonic::ZERO;
        let mut expected: BTreeMap<u64, Monotonic> = BTreeMap::new();
        let mut fired = 0;
        for key in 0..20_000 {
            let range = 1 << random.below(36);
            let at = now + Duration::from_micros(random.below(range));
            wheel.set(at, key);
            expected.insert(key, at);
            now = now + Duration::from_micros(random.below(200_000));
            let mut due = Vec::new();
            wheel.expire(now, &mut due);
            for key in due {
                let at = expected.remove(&key).expect("fires once");
                assert!(at <= now, "timer {key} fired before its time");
                fired += 1;
            }
            let late = expected
                .values()
                .filter(|at| now.since(**at).as_nanos() > 2 << TICK_BITS);
            if key % 1000 == 0 {
                assert_eq!(late.count(), 0, "a timer was forgotten");
            }
        }
        assert!(fired > 5_000, "{fired}");
    }
}
