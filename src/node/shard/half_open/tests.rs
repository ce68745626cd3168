use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::limits::HALF_OPEN_PER_SOURCE;

const MILLISECOND: Duration = Duration::from_millis(1);

fn key(number: u64) -> Key {
    Key::from_u64(1 << 32 | number)
}

fn at(milliseconds: u64) -> Monotonic {
    Monotonic::from_nanos(milliseconds * 1_000_000)
}

fn filed(source: u64, progress: Progress, milliseconds: u64) -> Filed {
    let since = at(milliseconds);
    Filed {
        source: Source(source),
        rank: Rank { progress, since },
    }
}

/// All places taken, by so many sessions of each progress, a source each.
fn full(progresses: &[(Progress, usize)]) -> HalfOpen {
    let mut half_open = HalfOpen::new(1);
    let mut number = 0;
    for &(progress, count) in progresses {
        for _ in 0..count {
            half_open.insert(key(number), filed(number, progress, 10_000 - number));
            number += 1;
        }
    }
    assert_eq!(number, HALF_OPEN_MAX as u64);
    half_open
}

#[test]
fn who_has_come_less_far_goes_first_and_of_equals_who_waits_longest() {
    use Progress::{Handshaking, Left, Met};
    let newcomer = Source(1 << 40);
    for (what, half_open, going) in [
        ("left", full(&[(Met, 500), (Left, 24), (Met, 500)]), 523),
        ("met", full(&[(Handshaking, 1000), (Met, 24)]), 1023),
        ("handshaking", full(&[(Handshaking, 1024)]), 1023),
    ] {
        let room = half_open.room_for(newcomer, at(20_000));
        assert_eq!(room, Room::Displacing(key(going)), "{what}");
    }
    let mut half_open = full(&[(Met, 1024)]);
    half_open.remove(key(7), filed(7, Met, 10_000 - 7));
    assert_eq!(half_open.room_for(newcomer, at(20_000)), Room::Free);
}

#[test]
fn a_handshake_is_safe_for_its_tenure_and_no_longer() {
    let mut half_open = HalfOpen::new(1);
    for number in 0..HALF_OPEN_MAX as u64 {
        half_open.insert(key(number), filed(number, Progress::Handshaking, 5_000));
    }
    let (newcomer, tenure) = (Source(1 << 40), HALF_OPEN_TENURE);
    let last = at(5_000) + tenure - MILLISECOND;
    assert_eq!(half_open.room_for(newcomer, last), Room::None);
    let over = at(5_000) + tenure;
    assert_eq!(half_open.room_for(newcomer, over), Room::Displacing(key(0)));
}

#[test]
fn a_source_displaces_its_own_before_it_displaces_others() {
    let mut half_open = HalfOpen::new(1);
    half_open.insert(key(9_999), filed(1, Progress::Left, 0));
    for number in 0..HALF_OPEN_PER_SOURCE as u64 {
        assert_eq!(half_open.room_for(Source(2), at(1_000)), Room::Free);
        half_open.insert(key(number), filed(2, Progress::Met, 10 + number));
    }
    assert_eq!(
        half_open.room_for(Source(2), at(1_000)),
        Room::Displacing(key(0))
    );
    assert_eq!(half_open.room_for(Source(1), at(1_000)), Room::Free);
    assert_eq!(half_open.room_for(Source(3), at(1_000)), Room::Free);
}

#[test]
fn a_source_has_its_places_once_in_a_node() {
    for (shards, share) in [(1, 64), (2, 32), (4, 16), (5, 12), (16, 4), (64, 4)] {
        let mut half_open = HalfOpen::new(shards);
        let mut places = 0;
        while half_open.room_for(Source(1), at(0)) == Room::Free {
            half_open.insert(key(places), filed(1, Progress::Met, 0));
            places += 1;
        }
        assert_eq!(places, share, "of {shards} shards");
        assert!(places * u64::from(shards) <= 64 || shards > 16);
    }
}

#[test]
fn nothing_is_left_of_a_session_that_was_removed() {
    let mut half_open = HalfOpen::new(1);
    let present = filed(1, Progress::Met, 5);
    half_open.insert(key(1), present);
    half_open.remove(key(1), filed(1, Progress::Met, 4));
    assert_eq!(half_open.order.len(), 1, "filed otherwise");
    half_open.remove(key(1), present);
    half_open.remove(key(1), present);
    assert!(half_open.order.is_empty() && half_open.by_source.is_empty());
    assert!(half_open.counts.is_empty());
}

#[test]
fn a_source_is_a_24_of_ipv4_or_a_64_of_ipv6() {
    for (one, other, same) in [
        ("192.0.2.1:1", "192.0.2.255:2", true),
        ("192.0.2.1:1", "192.0.3.1:1", false),
        ("[::ffff:192.0.2.9]:1", "192.0.2.1:1", true),
        ("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:2", true),
        ("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false),
        ("[2001:db8:1:2::1]:1", "192.0.2.1:1", false),
    ] {
        let source = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(source(one) == source(other), same, "{one} {other}");
    }
}

/// A stranger's way to a place, and what takes it from there.
struct Stranger {
    source: u64,
    /// When it begins TLS after it has got a place; a silent one never does.
    hello: Option<Duration>,
    /// When it is let in, and its place free.
    done: Option<Duration>,
}

/// A shard's half-open places in simulated time, in steps of a millisecond.
struct Shard {
    half_open: HalfOpen,
    sessions: HashMap<Key, (Filed, Stranger)>,
    due: BTreeSet<(Monotonic, Key)>,
    next: u64,
    let_in: Vec<Key>,
}

impl Shard {
    fn new() -> Self {
        Self {
            half_open: HalfOpen::new(1),
            sessions: HashMap::new(),
            due: BTreeSet::new(),
            next: 0,
            let_in: Vec::new(),
        }
    }

    /// A stranger answers its cookie; the key of its session, if it gets one.
    fn contact(&mut self, stranger: Stranger, now: Monotonic) -> Option<Key> {
        match self.half_open.room_for(Source(stranger.source), now) {
            Room::None => return None,
            Room::Displacing(key) => self.remove(key),
            Room::Free => {}
        }
        self.next += 1;
        let key = key(self.next);
        let rank = Rank {
            progress: Progress::Met,
            since: now,
        };
        let source = Source(stranger.source);
        let filed = Filed { source, rank };
        for moment in stranger.hello.iter().chain(&stranger.done) {
            self.due.insert((now + *moment, key));
        }
        self.half_open.insert(key, filed);
        self.sessions.insert(key, (filed, stranger));
        assert!(self.sessions.len() <= HALF_OPEN_MAX);
        Some(key)
    }

    fn remove(&mut self, key: Key) {
        let (filed, _) = self.sessions.remove(&key).expect("it has a place");
        self.half_open.remove(key, filed);
    }

    /// Lets those go on that still have their place.
    fn pass(&mut self, now: Monotonic) {
        while let Some(&(moment, key)) = self.due.first()
            && moment <= now
        {
            self.due.pop_first();
            let Some((filed, _)) = self.sessions.get_mut(&key) else {
                continue;
            };
            let former = *filed;
            if former.rank.progress == Progress::Handshaking {
                self.let_in.push(key);
                self.remove(key);
                continue;
            }
            filed.rank = Rank {
                progress: Progress::Handshaking,
                since: now,
            };
            let present = *filed;
            self.half_open.remove(key, former);
            self.half_open.insert(key, present);
        }
    }
}

/// Which of an honest newcomer's three tries lead in, while `flood` comes a thousand times a second
/// so many times. It repeats its third packet as stock clients do.
fn tries(rate: u64, mut flood: impl FnMut(u64) -> Stranger) -> [bool; 3] {
    let mut shard = Shard::new();
    let (mut now, mut number) = (0, 0);
    [0, 60_000, 120_000].map(|_| {
        let mut session = None;
        for millisecond in 0..32_000_u64 {
            for _ in 0..rate {
                shard.contact(flood(number), at(now));
                number += 1;
            }
            // The first second is the flood's.
            let lost = session.is_none_or(|key| !shard.sessions.contains_key(&key));
            if [1_000, 3_000, 7_000, 15_000, 31_000].contains(&millisecond) && lost {
                session = shard.contact(HONEST, at(now));
            }
            now += 1;
            shard.pass(at(now));
            if session.is_some_and(|key| shard.let_in.contains(&key)) {
                return true;
            }
        }
        false
    })
}

/// Its hello comes a millisecond after its cookie, and three round trips later it is let in.
const HONEST: Stranger = Stranger {
    source: 7,
    hello: Some(Duration::from_millis(1)),
    done: Some(Duration::from_millis(600)),
};

#[test]
fn silent_contacts_at_any_rate_keep_nobody_out() {
    let silent = |source| Stranger {
        source,
        hello: None,
        done: None,
    };
    for rate in [1, 10, 100, 500] {
        let everywhere = tries(rate, |number| silent(1_000 + number % 5_000));
        assert_eq!(everywhere, [true; 3], "{rate} a millisecond");
    }
    // Out of the newcomer's own network there are 64 places only.
    for rate in [1, 10, 50] {
        let next_door = tries(rate, |_| silent(HONEST.source));
        assert_eq!(next_door, [true; 3], "{rate} a millisecond next door");
    }
}

#[test]
fn strangers_that_begin_tls_too_need_more_than_a_shard_can_sign() {
    // Each costs a signature, of which a shard makes some thousands a second.
    for rate in [1, 2, 4] {
        let beginning = |number| Stranger {
            source: 1_000 + number % 5_000,
            hello: Some(Duration::from_millis(1)),
            done: None,
        };
        let tries = tries(rate, beginning);
        assert!(tries.contains(&true), "{rate} a millisecond: {tries:?}");
    }
}

#[test]
fn a_crowd_behind_one_address_gets_in_within_the_repetitions_of_a_packet() {
    let mut shard = Shard::new();
    let mut waiting: Vec<Option<Key>> = vec![None; 200];
    for millisecond in 0..8_000 {
        if [0, 2_000, 6_000].contains(&millisecond) {
            for session in waiting.iter_mut().filter(|session| session.is_none()) {
                *session = shard.contact(HONEST, at(millisecond));
            }
            let kept = |key: &Key| shard.sessions.contains_key(key) || shard.let_in.contains(key);
            for session in &mut waiting {
                *session = session.filter(|key| kept(key));
            }
        }
        shard.pass(at(millisecond));
    }
    assert_eq!(shard.let_in.len(), 3 * HALF_OPEN_PER_SOURCE);
}
