//! One hand-over, with every message and every two messages of it lost, late or doubled; and the
//! hand-overs that are worth a story of their own.

use std::time::Duration;

use super::world::{ClientState, Fate, World};
use super::{AdmissionRefusal, rules};

const PROMPT: Duration = Duration::from_millis(1);

/// What happens to a message.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Lost,
    /// Whatever follows comes first.
    Late,
    Doubled,
}

const MISHAPS: [Mishap; 3] = [Mishap::Lost, Mishap::Late, Mishap::Doubled];

impl Mishap {
    fn fate(self) -> Fate {
        match self {
            Self::Lost => vec![],
            Self::Late => vec![Duration::from_millis(1_500)],
            Self::Doubled => vec![PROMPT, Duration::from_millis(2_500)],
        }
    }
}

fn prompt(_number: usize) -> Fate {
    vec![PROMPT]
}

/// A client reconnects on another shard and leaves; returns how many messages that took.
fn hand_over(mishaps: Vec<(usize, Mishap)>) -> usize {
    let told = format!("{mishaps:?}");
    let fate = move |number| {
        let mishap = mishaps.iter().find(|(at, _)| *at == number);
        mishap.map_or_else(|| prompt(number), |(_, mishap)| mishap.fate())
    };
    let mut world = World::new(rules(8, 8), fate);
    world.overtaking = true;
    let other = world.connect(3, "other").expect("it serves");
    let first = world.connect(0, "roamer").expect("it serves");
    world.run(Duration::from_secs(8));
    world.ignore_peer_id(first);
    world.run(Duration::from_secs(8));
    let slot = world.slot(first);
    assert!(slot.is_some() && world.slot(other).is_some(), "{told}");

    let second = world.connect(2, "roamer").expect("it serves");
    world.run(Duration::from_secs(8));
    assert_eq!(world.slot(second), slot, "{told}");
    assert_eq!(world.clients[first].state, ClientState::Released, "{told}");

    world.die(second);
    world.run(Duration::from_secs(8));
    assert_eq!(world.registry.len(), 1, "{told}");
    let sent = world.sent;
    world.settle();
    assert_eq!(world.sent, sent, "{told}: it has settled by itself");
    sent
}

#[test]
fn a_hand_over_survives_each_mishap() {
    let messages = hand_over(Vec::new());
    assert!((20..80).contains(&messages), "{messages} messages");
    for at in 0..messages {
        for mishap in MISHAPS {
            hand_over(vec![(at, mishap)]);
        }
    }
}

#[test]
fn a_hand_over_survives_any_two_mishaps() {
    // What a mishap brings about can meet with one itself.
    let messages = hand_over(Vec::new()) + 8;
    for first in 0..messages {
        for second in first + 1..messages {
            for one in MISHAPS {
                for other in MISHAPS {
                    hand_over(vec![(first, one), (second, other)]);
                }
            }
        }
    }
}

#[test]
fn an_undisturbed_hand_over_takes_four_messages_one_after_another() {
    let mut world = World::new(rules(8, 8), prompt);
    world.connect(0, "roamer");
    world.run(Duration::from_secs(1));
    let second = world.connect(1, "roamer").expect("it serves");
    // The question, the release, the goodbye, the grant.
    world.run(PROMPT * 3);
    assert_eq!(world.slot(second), None);
    world.run(PROMPT);
    assert_eq!(world.slot(second), Some(0));
}

#[test]
fn a_busy_shard_delays_its_own_clients_and_nobody_else() {
    let mut world = World::new(rules(8, 8), prompt);
    let first = world.connect(0, "roamer").expect("it serves");
    world.run(Duration::from_secs(1));
    world.occupy(0, Duration::from_secs(30));
    let second = world.connect(1, "roamer").expect("it serves");
    for name in ["a", "b", "c"] {
        let client = world.connect(2, name).expect("it serves");
        world.run(PROMPT * 4);
        assert!(
            world.slot(client).is_some(),
            "{name} waits for the busy one"
        );
    }
    world.run(Duration::from_secs(25));
    assert_eq!(world.clients[second].state, ClientState::Asking);
    assert_eq!(world.slot(first), Some(0), "it has not heard anything");
    assert!(world.sent < 300, "{} messages to nobody", world.sent);
    world.run(Duration::from_secs(6));
    assert_eq!(world.slot(second), Some(0));
    world.settle();
}

#[test]
fn of_ten_that_reconnect_in_a_second_the_last_one_stays() {
    for busy in [Duration::ZERO, Duration::from_secs(3)] {
        let mut world = World::new(rules(8, 8), prompt);
        let first = world.connect(0, "roamer").expect("it serves");
        world.run(Duration::from_secs(1));
        world.occupy(0, busy);
        let ten: Vec<_> = (0..10)
            .map(|number| {
                world.run(Duration::from_millis(100));
                let shard = [1, 3, 2, 0, 2][number % 5];
                world.connect(shard, "roamer").expect("it serves")
            })
            .collect();
        world.run(Duration::from_secs(6));
        world.settle();
        assert_eq!(world.slot(ten[9]), Some(0));
        assert_eq!(world.clients[first].state, ClientState::Released);
        for former in &ten[..9] {
            let state = &world.clients[*former].state;
            let refused = ClientState::Refused(AdmissionRefusal::Replaced);
            let expected = [refused, ClientState::Released];
            assert!(expected.contains(state), "{former}: {state:?}");
        }
    }
}

#[test]
fn a_node_thread_that_is_busy_delays_everybody_and_loses_nothing() {
    let mut world = World::new(rules(64, 64), prompt);
    let names: Vec<_> = (0..40).map(|number| format!("client-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        world.connect(number as u16 % 4, name);
    }
    world.run(Duration::from_secs(1));
    world.occupy_node(Duration::from_secs(20));
    for (number, name) in names.iter().enumerate() {
        world.connect((number as u16 + 1) % 4, name);
    }
    for client in 0..20 {
        world.die(client);
    }
    world.run(Duration::from_secs(25));
    let sent = world.sent;
    world.settle();
    assert_eq!(world.sent, sent, "nothing was left to say");
    assert!((40..80).all(|client| world.slot(client) == Some(client as u32 - 40)));
}
