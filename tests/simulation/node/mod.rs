//! Whole nodes: shards as they run in a server, the registry and the mail between them, clients that
//! come, go, move, come again and die, over a bad network and beside a kernel that brings packets to
//! the wrong shard.
//!
//! A seed decides everything. After each turn of a shard: an inner address has one owner, no key seals
//! or opens on two shards, no packet id is used twice under a key, every buffer is somewhere, every
//! bound holds; an inner packet arrives unchanged, once, where it is addressed to, from who may send
//! it. When the storm is over, everybody who wants to be connected is, traffic flows, and nothing is
//! left of the others.
//!
//! A failing seed runs again with its last steps told. Run it alone with
//! `SIMULATION_SEED=n cargo test --test simulation node`.

mod client;
mod edges;
mod ledger;
mod life;
mod member;
mod node_thread;
mod owners;
mod plan;
mod rules;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use self::plan::Plan;
use self::world::{Story, World};
use crate::seeds;
use crate::tls::Engine;

/// Seeds with the stand-in TLS; the full tier runs ten times as many.
const SEEDS: u64 = 500;
/// Seeds with the real TLS.
const SEEDS_RUSTLS: u64 = 10;

#[test]
fn a_calm_node_connects_all_and_loses_nothing() {
    let story = World::run(0, Plan::calm(), true);
    assert_eq!((story.dials, story.floats), (12, 0), "{story:?}");
    assert!(story.up > 500 && story.down > 500, "{story:?}");
}

#[test]
fn a_client_that_has_moved_has_no_second_session_where_it_was() {
    World::run_echo_from_a_former_address(Plan {
        shards: 1,
        clients: 1,
        wrapping: 1,
        engine: Engine::Rustls,
        ..Plan::calm()
    });
}

#[test]
fn every_node_keeps_its_books_in_a_storm() {
    run_all(SEEDS, Engine::StandIn);
}

#[test]
fn with_the_real_tls_too() {
    run_all(SEEDS_RUSTLS, Engine::Rustls);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let run = || World::run(5, Plan::from_seed(5, Engine::StandIn), false);
    assert_eq!(run(), run());
}

/// Runs seeds on all cores. One that fails runs once more, and is told.
fn run_all(count: u64, engine: Engine) {
    let seeds: Vec<u64> = seeds(count).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(AssertUnwindSafe(|| run(seed, engine, false))).is_err() {
                failed.push(seed);
                next.store(seeds.len(), Ordering::Relaxed);
            }
        }
        failed
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let failed = threads
            .into_iter()
            .map(|thread| thread.join().expect("joins"));
        failed.flatten().collect()
    });
    if let Some(&seed) = failed.first() {
        eprintln!("seed {seed} fails; alone: SIMULATION_SEED={seed} cargo test --test simulation");
        let plan = Plan::from_seed(seed, engine);
        eprintln!("{plan:#?}");
        let story = run(seed, engine, true);
        panic!("seed {seed} failed, and now it does not: {story:?}");
    }
}

fn run(seed: u64, engine: Engine, told: bool) -> Story {
    World::run(seed, Plan::from_seed(seed, engine), told)
}
