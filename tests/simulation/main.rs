//! Two sessions against each other over a simulated network with a virtual clock.
//!
//! A seed decides everything: loss, delay, order, duplication, damage, the largest datagram, who
//! renegotiates when. Each run ends connected and then in an orderly goodbye, or with the right
//! error; never stuck, never in a panic. A failing seed is in the panic's message; run it alone with
//! `SIMULATION_SEED=n cargo test --test simulation`.

#![allow(clippy::expect_used)] // a test says what it expects

mod network;
mod node;
mod stream;
mod tls;
mod world;

use std::time::Duration;

use network::Conditions;
use ringway::session::LeaveReason;
use tls::Engine;
use world::{Ending, Plan, World};

/// Seeds with the stand-in TLS; the full tier runs ten times as many.
const SEEDS: u64 = 3_000;
/// Seeds with the real TLS.
const SEEDS_RUSTLS: u64 = 150;

#[test]
fn a_perfect_network_connects_renegotiates_and_says_goodbye() {
    let ending = World::new(0, Engine::StandIn, Plan::calm(), Conditions::perfect()).run();
    let Ending::Goodbye(story) = ending else {
        panic!("{ending:?}")
    };
    assert!(story.renegotiations >= 3, "{story:?}");
    assert_eq!(story.data_lost_to_keys, 0, "{story:?}");
    assert!(story.data_delivered > 100, "{story:?}");
    assert!(
        story.connected_after < Duration::from_millis(500),
        "{story:?}"
    );
}

/// Both sides seal in epochs that end after some twenty packets, one sooner than the other.
#[test]
fn keys_with_epochs_are_replaced_without_a_packet_lost() {
    for epoch_usage in [(100, 80), (80, 100), (80, u64::MAX), (u64::MAX, 80)] {
        let plan = Plan {
            proto: 8094,
            epoch_usage,
            ..Plan::calm()
        };
        let ending = World::new(0, Engine::StandIn, plan, Conditions::perfect()).run();
        let Ending::Goodbye(story) = ending else {
            panic!("{ending:?}")
        };
        let lost = (story.data_lost_to_keys, story.data_lost_to_epochs);
        assert_eq!(lost, (0, 0), "{story:?}");
        assert!(story.renegotiations >= 3, "{story:?}");
        assert!(story.epoch >= 10, "{story:?}");
        assert!(story.data_delivered > 2_000, "{story:?}");
    }
    // Without them nothing has an epoch.
    let ending = World::new(0, Engine::StandIn, Plan::calm(), Conditions::perfect()).run();
    assert!(matches!(ending, Ending::Goodbye(story) if story.epoch == 0));
}

#[test]
fn every_seed_ends_well_on_a_bad_network() {
    let mut endings = Endings::default();
    for seed in seeds(SEEDS) {
        let mut conditions = Conditions::from_seed(seed);
        conditions.mtu = conditions.mtu.max(1_200);
        let ending = World::new(seed, Engine::StandIn, Plan::from_seed(seed), conditions).run();
        endings.count(seed, &ending);
    }
    endings.assert_mostly_connected();
}

/// Bytes in pieces of any size, which stand still now and then: whatever else happens, nothing is lost, overtaken or
/// doubled, so no key is missing for anything.
#[test]
fn every_seed_ends_well_over_a_stream() {
    let mut endings = Endings::default();
    for (engine, count) in [
        (Engine::StandIn, SEEDS / 3),
        (Engine::Rustls, SEEDS_RUSTLS / 3),
    ] {
        for seed in seeds(count) {
            let plan = Plan {
                over_stream: true,
                ..Plan::from_seed(seed)
            };
            let ending = World::new(seed, engine, plan, Conditions::from_seed(seed)).run();
            if let Ending::Goodbye(story) = &ending {
                let lost = (story.data_lost_to_keys, story.data_lost_to_epochs);
                assert_eq!(lost, (0, 0), "seed {seed}: {story:?}");
                assert!(story.data_delivered > 100, "seed {seed}: {story:?}");
            }
            endings.count(seed, &ending);
        }
    }
    endings.assert_mostly_connected();
}

/// Wherever the connection ends, so do both sessions, and say so.
#[test]
fn the_end_of_a_stream_is_that_of_its_session() {
    for seed in seeds(SEEDS / 10) {
        let end_after = Some(Duration::from_millis(1 + seed * 97 % 120_000));
        let plan = Plan {
            over_stream: true,
            end_after,
            goodbye_after: Duration::from_secs(1_000),
            ..Plan::from_seed(seed)
        };
        let ending = World::new(seed, Engine::StandIn, plan, Conditions::from_seed(seed)).run();
        assert!(
            matches!(ending, Ending::Failed(LeaveReason::ConnectionReset)),
            "{seed}: {ending:?}"
        );
    }
}

#[test]
fn the_real_tls_ends_well_too() {
    let mut endings = Endings::default();
    for seed in seeds(SEEDS_RUSTLS) {
        let mut conditions = Conditions::from_seed(seed);
        conditions.mtu = conditions.mtu.max(1_200);
        let ending = World::new(seed, Engine::Rustls, Plan::from_seed(seed), conditions).run();
        endings.count(seed, &ending);
    }
    endings.assert_mostly_connected();
}

#[test]
fn a_path_too_narrow_for_the_handshake_ends_in_a_timeout() {
    for seed in 0..20 {
        let conditions = Conditions {
            mtu: 400,
            ..Conditions::perfect()
        };
        let ending = World::new(seed, Engine::StandIn, Plan::calm(), conditions).run();
        assert!(
            matches!(ending, Ending::Failed(LeaveReason::HandWindow)),
            "{seed}: {ending:?}"
        );
    }
}

#[test]
fn a_dead_network_ends_in_a_timeout() {
    let conditions = Conditions {
        loss: 1.0,
        ..Conditions::perfect()
    };
    let ending = World::new(1, Engine::StandIn, Plan::calm(), conditions).run();
    assert!(
        matches!(ending, Ending::Failed(LeaveReason::HandWindow)),
        "{ending:?}"
    );
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    let plan = Plan {
        cut_after: Some(Duration::from_secs(30)),
        ..Plan::calm()
    };
    let ending = World::new(1, Engine::StandIn, plan, Conditions::perfect()).run();
    assert!(
        matches!(ending, Ending::Failed(LeaveReason::PingRestart)),
        "{ending:?}"
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let run = || {
        let conditions = Conditions::from_seed(77);
        format!(
            "{:?}",
            World::new(77, Engine::StandIn, Plan::from_seed(77), conditions).run()
        )
    };
    assert_eq!(run(), run());
}

/// How the seeds of one test ended.
#[derive(Default)]
struct Endings {
    goodbyes: u64,
    timeouts: u64,
    highest_epoch: u16,
}

impl Endings {
    fn count(&mut self, seed: u64, ending: &Ending) {
        match ending {
            Ending::Goodbye(story) => {
                // Where one side gave a renegotiation up, the other may have thought it done.
                let agreed = story.renegotiations_failed == 0;
                assert!(
                    !agreed || story.data_lost_to_keys == 0,
                    "seed {seed}: {story:?}"
                );
                self.goodbyes += 1;
                self.highest_epoch = self.highest_epoch.max(story.epoch);
            }
            // What a bad enough network does to anybody.
            Ending::Failed(
                LeaveReason::HandWindow | LeaveReason::PingRestart | LeaveReason::KeyExpired,
            ) => self.timeouts += 1,
            Ending::Failed(reason) => panic!("seed {seed} failed: {reason}"),
        }
    }

    fn assert_mostly_connected(&self) {
        println!("{} goodbyes, {} timeouts", self.goodbyes, self.timeouts);
        assert!(self.highest_epoch > 10, "keys with epochs were replaced");
        assert!(
            self.goodbyes > self.timeouts * 9,
            "{} of {}",
            self.goodbyes,
            self.timeouts
        );
    }
}

fn seeds(count: u64) -> Box<dyn Iterator<Item = u64>> {
    match std::env::var("SIMULATION_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => Box::new(std::iter::once(seed)),
        None if std::env::var("RINGWAY_TESTS").is_ok_and(|tier| tier == "full") => {
            Box::new(0..count * 10)
        }
        None => Box::new(0..count),
    }
}
