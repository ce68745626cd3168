//! Worlds from seeds: four shards, a few names that reconnect anywhere at any moment, sessions that
//! die, shards and a node thread that are busy or end, and channels from perfect to useless.
//!
//! A failing seed is in the panic's message; run it alone with `SIMULATION_SEED=n cargo test --lib
//! registry::tests::simulation`.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::world::{ClientState, Fate, World};
use super::{ClientProfile, RegistryRules, rules};
use crate::node::settings::V6Address;
use crate::random::{Random, SeededRandom};

/// Seeds; the full tier runs ten times as many.
const SEEDS: u64 = 4_000;

#[test]
fn every_world_settles_and_no_address_ever_has_two_owners() {
    let mut story = Story::default();
    for seed in seeds() {
        let told = catch_unwind(AssertUnwindSafe(|| play(seed)));
        match told {
            Ok(told) => story.add(told),
            Err(panic) => {
                println!("SIMULATION_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{story:?}");
    if story.worlds >= SEEDS {
        // A simulation in which nothing happens shows nothing.
        assert!(story.admitted > 10 * story.worlds, "{story:?}");
        assert!(story.released > 3 * story.worlds, "{story:?}");
        assert!(story.refused > story.worlds, "{story:?}");
        assert!(story.lost > 30 * story.worlds, "{story:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(format!("{:?}", play(7)), format!("{:?}", play(7)));
}

/// What happened.
#[derive(Debug, Default)]
struct Story {
    worlds: u64,
    admitted: u64,
    released: u64,
    refused: u64,
    sent: u64,
    lost: u64,
}

impl Story {
    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.admitted += other.admitted;
        self.released += other.released;
        self.refused += other.refused;
        self.sent += other.sent;
        self.lost += other.lost;
    }
}

fn play(seed: u64) -> Story {
    let mut random = SeededRandom::new(seed);
    let names = 1 + random.below(8);
    let rules = RegistryRules {
        duplicate_cn: random.below(8) == 0,
        client_files: random.below(3) == 0,
        hooks: random.below(3) == 0,
        ..match random.below(4) {
            0 => rules(1 + random.below(names) as u32, 100),
            1 => rules(100, 1 + random.below(names) as usize),
            _ => rules(100, 100),
        }
    };
    let lost = std::rc::Rc::new(std::cell::Cell::new(0));
    let mut world = World::new(rules, fates(&mut random, std::rc::Rc::clone(&lost)));
    for number in 0..names {
        world
            .files
            .insert(format!("name-{number}").as_str().into(), file(&mut random));
    }
    world.overtaking = random.below(2) == 0;
    world.capacity = 1 + random.below(64) as usize;
    let pace = 1 + random.below(1_000);
    for _ in 0..20 + random.below(60) {
        world.run(Duration::from_millis(random.below(pace)));
        act(&mut world, &mut random, names);
    }
    world.settle();
    let mut story = Story {
        worlds: 1,
        admitted: world.admissions() as u64,
        sent: world.sent as u64,
        lost: lost.get(),
        ..Story::default()
    };
    for client in &world.clients {
        match client.state {
            ClientState::Released => story.released += 1,
            ClientState::Refused(_) => story.refused += 1,
            _ => {}
        }
    }
    story
}

/// What somebody's file says: an address of the pool or of none, or an IPv6 one, or none at all, that
/// others may have in theirs, and networks that others may have too.
fn file(random: &mut SeededRandom) -> ClientProfile {
    let netmask = Ipv4Addr::new(255, 255, 255, 0);
    let last = 2 + random.below(6) as u8;
    let v4 = match random.below(4) {
        0 => Some(Ipv4Addr::new(10, 8, 0, last)),
        1 => Some(Ipv4Addr::new(10, 9, 0, last)),
        _ => None,
    };
    let v6 = (random.below(4) == 0).then(|| V6Address {
        address: format!("fd00:8::100{last}/64").parse().expect("an address"),
        gateway: "fd00:8::1".parse().expect("an address"),
    });
    let network = |random: &mut SeededRandom| format!("10.{}.0.0/16", 100 + random.below(4));
    ClientProfile {
        v4: v4.map(|address| (address, netmask)),
        v6,
        networks: (0..random.below(4))
            .map(|_| network(random).parse().expect("a network"))
            .collect(),
        ..ClientProfile::usual(1 + random.below(6) as u32)
    }
}

/// Something happens.
fn act(world: &mut World, random: &mut SeededRandom, names: u64) {
    let shard = random.below(4) as u16;
    let busy = Duration::from_millis(random.below(4_000));
    match random.below(40) {
        0..22 => {
            let name = format!("name-{}", random.below(names));
            world.connect(shard, &name);
        }
        22 => {
            for _ in 0..10 {
                world.connect(random.below(4) as u16, "name-0");
                world.run(Duration::from_millis(random.below(150)));
            }
        }
        23..33 if !world.clients.is_empty() => {
            let client = random.below(world.clients.len() as u64) as usize;
            world.die(client);
        }
        33..35 if !world.clients.is_empty() => {
            let client = random.below(world.clients.len() as u64) as usize;
            world.ignore_peer_id(client);
        }
        35..38 => world.occupy(shard, busy),
        38 => world.occupy_node(busy),
        39 if random.below(20) == 0 => world.end_shard(shard),
        _ => {}
    }
}

/// Channels from perfect to useless.
fn fates(
    random: &mut SeededRandom,
    lost: std::rc::Rc<std::cell::Cell<u64>>,
) -> impl FnMut(usize) -> Fate + use<> {
    let loss = random.below(5) * random.below(12);
    let doubling = random.below(2) * random.below(30);
    let delay = 1 + random.below(2) * random.below(1_500);
    let mut random = SeededRandom::new(random.next_u64());
    move |_| {
        if random.below(100) < loss {
            lost.set(lost.get() + 1);
            return Vec::new();
        }
        let copies = 1 + usize::from(random.below(100) < doubling);
        (0..copies)
            .map(|_| Duration::from_millis(random.below(delay)))
            .collect()
    }
}

fn seeds() -> std::ops::Range<u64> {
    let one = std::env::var("SIMULATION_SEED").ok();
    match one.and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None if std::env::var("RINGWAY_TESTS").is_ok_and(|tier| tier == "full") => 0..SEEDS * 10,
        None => 0..SEEDS,
    }
}
