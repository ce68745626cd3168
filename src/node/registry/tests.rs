//! Tables, then a model that only sees the orders and believes nothing.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn pool(slots: u32) -> AddressPool {
    AddressPool {
        v4: Some("10.8.0.2".parse().unwrap()),
        v6: Some("fd00:8::1000".parse().unwrap()),
        slots,
    }
}

fn at(shard: u16, session: u64) -> SessionAt {
    SessionAt { shard, session }
}

fn grant(to: SessionAt, client_id: u64, slot: u32) -> Order {
    Order::Grant {
        to,
        client_id,
        slot,
        addresses: pool(0).addresses(slot),
    }
}

fn refuse(to: SessionAt, refusal: AdmissionRefusal) -> Order {
    Order::Refuse { to, refusal }
}

#[test]
fn clients_are_numbered_from_0_and_get_addresses_in_order() {
    let mut registry = Registry::new(pool(10), 10, false);
    assert_eq!(
        registry.admit(at(0, 1), "a".into())[..],
        [Order::Grant {
            to: at(0, 1),
            client_id: 0,
            slot: 0,
            addresses: Addresses {
                v4: Some("10.8.0.2".parse().unwrap()),
                v6: Some("fd00:8::1000".parse().unwrap()),
            },
        }]
    );
    assert_eq!(
        registry.admit(at(1, 1), "b".into())[..],
        [grant(at(1, 1), 1, 1)]
    );
    assert_eq!(registry.len(), 2);
}

#[test]
fn a_reconnecting_client_waits_for_its_older_session_and_keeps_its_address() {
    let mut registry = Registry::new(pool(10), 10, false);
    registry.admit(at(0, 1), "a".into());
    registry.admit(at(0, 2), "b".into());
    assert_eq!(
        registry.admit(at(3, 1), "a".into())[..],
        [Order::Release { to: at(0, 1) }]
    );
    assert_eq!(registry.gone(at(0, 1))[..], [grant(at(3, 1), 2, 0)]);
    assert_eq!(registry.len(), 2);
    assert!(
        registry.gone(at(0, 1)).is_empty(),
        "an answer that comes twice is no second release"
    );
    assert_eq!(registry.len(), 2);
}

#[test]
fn of_two_that_wait_the_newer_wins() {
    let mut registry = Registry::new(pool(10), 10, false);
    registry.admit(at(0, 1), "a".into());
    registry.admit(at(1, 1), "a".into());
    assert_eq!(
        registry.admit(at(2, 1), "a".into())[..],
        [refuse(at(1, 1), AdmissionRefusal::Replaced)],
        "the holder is told to go only once"
    );
    assert_eq!(registry.gone(at(0, 1))[..], [grant(at(2, 1), 1, 0)]);
}

#[test]
fn one_that_gave_up_waiting_is_not_granted() {
    let mut registry = Registry::new(pool(10), 10, false);
    registry.admit(at(0, 1), "a".into());
    registry.admit(at(1, 1), "a".into());
    assert!(registry.gone(at(1, 1)).is_empty());
    assert!(registry.gone(at(0, 1)).is_empty());
    assert!(registry.is_empty());
    assert_eq!(
        registry.admit(at(2, 1), "a".into())[..],
        [grant(at(2, 1), 1, 0)]
    );
}

#[test]
fn a_full_node_refuses_new_names_but_lets_a_client_reconnect() {
    let mut registry = Registry::new(pool(10), 1, false);
    registry.admit(at(0, 1), "a".into());
    assert_eq!(
        registry.admit(at(0, 2), "b".into())[..],
        [refuse(at(0, 2), AdmissionRefusal::MaxClients { max: 1 })]
    );
    registry.admit(at(0, 3), "a".into());
    assert_eq!(registry.gone(at(0, 1))[..], [grant(at(0, 3), 1, 0)]);
}

#[test]
fn an_exhausted_pool_refuses_until_an_address_is_back() {
    let mut registry = Registry::new(pool(1), 10, false);
    registry.admit(at(0, 1), "a".into());
    assert_eq!(
        registry.admit(at(0, 2), "b".into())[..],
        [refuse(at(0, 2), AdmissionRefusal::PoolExhausted)]
    );
    registry.gone(at(0, 1));
    assert_eq!(
        registry.admit(at(0, 3), "b".into())[..],
        [grant(at(0, 3), 1, 0)]
    );
}

#[test]
fn with_duplicate_cn_nobody_is_replaced() {
    let mut registry = Registry::new(pool(10), 10, true);
    assert_eq!(
        registry.admit(at(0, 1), "a".into())[..],
        [grant(at(0, 1), 0, 0)]
    );
    assert_eq!(
        registry.admit(at(0, 2), "a".into())[..],
        [grant(at(0, 2), 1, 1)]
    );
    registry.gone(at(0, 1));
    assert_eq!(registry.len(), 1);
}

#[test]
fn asking_twice_changes_nothing() {
    let mut registry = Registry::new(pool(10), 10, false);
    registry.admit(at(0, 1), "a".into());
    assert!(registry.admit(at(0, 1), "b".into()).is_empty());
    assert_eq!(registry.len(), 1);
}

/// What a world of shards does to the registry.
#[derive(Clone, Debug)]
enum Step {
    /// A new session of one of a few names, on one of a few shards.
    Admit { shard: u16, name: usize },
    /// A shard answers one of the releases that it owes, whichever.
    Answer(prop::sample::Index),
    /// A session ends by itself, whichever.
    Close(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u16, 0..6_usize).prop_map(|(shard, name)| Step::Admit { shard, name }),
        2 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(Step::Close),
    ]
}

/// The world as the shards see it.
#[derive(Default)]
struct World {
    asked: Vec<SessionAt>,
    owners: HashMap<SessionAt, (u32, usize)>,
    names: HashMap<SessionAt, usize>,
    owed: Vec<SessionAt>,
    client_ids: HashSet<u64>,
}

impl World {
    fn obey(&mut self, orders: Orders, max_clients: usize, slots: u32, duplicate_cn: bool) {
        for order in orders {
            match order {
                Order::Grant {
                    to,
                    client_id,
                    slot,
                    addresses,
                } => {
                    assert!(self.answered(to), "granted without asking: {to:?}");
                    assert!(self.client_ids.insert(client_id), "number used twice");
                    assert!(slot < slots);
                    assert_eq!(addresses, pool(slots).addresses(slot));
                    let name = self.names[&to];
                    for (other, (taken, holder)) in &self.owners {
                        assert_ne!(*taken, slot, "{other:?} still has the address of {to:?}");
                        assert!(duplicate_cn || *holder != name, "{other:?} has the name");
                    }
                    self.owners.insert(to, (slot, name));
                    assert!(self.owners.len() <= max_clients);
                }
                Order::Refuse { to, .. } => {
                    assert!(self.answered(to), "refused without asking: {to:?}");
                }
                Order::Release { to } => {
                    assert!(self.owners.contains_key(&to), "released without a place");
                    assert!(!self.owed.contains(&to), "released twice");
                    self.owed.push(to);
                }
            }
        }
    }

    fn answered(&mut self, session: SessionAt) -> bool {
        let before = self.asked.len();
        self.asked.retain(|asked| *asked != session);
        self.asked.len() + 1 == before
    }

    fn forget(&mut self, session: SessionAt) {
        self.asked.retain(|asked| *asked != session);
        self.owed.retain(|owed| *owed != session);
        self.owners.remove(&session);
    }
}

proptest! {
    #[test]
    fn no_address_has_two_owners_and_everyone_is_answered(
        steps in prop::collection::vec(step(), 1..120),
        slots in 1..5_u32,
        max_clients in 1..5_usize,
        duplicate_cn: bool,
    ) {
        let mut registry = Registry::new(pool(slots), max_clients, duplicate_cn);
        let mut world = World::default();
        for (number, step) in steps.into_iter().enumerate() {
            let orders = match step {
                Step::Admit { shard, name } => {
                    let session = at(shard, number as u64);
                    world.asked.push(session);
                    world.names.insert(session, name);
                    registry.admit(session, format!("name{name}").into())
                }
                Step::Answer(index) if !world.owed.is_empty() => {
                    let session = *index.get(&world.owed);
                    world.forget(session);
                    registry.gone(session)
                }
                Step::Close(index) => {
                    let mut alive: Vec<_> =
                        world.owners.keys().chain(&world.asked).copied().collect();
                    alive.sort();
                    if alive.is_empty() {
                        continue;
                    }
                    let session = *index.get(&alive);
                    world.forget(session);
                    registry.gone(session)
                }
                Step::Answer(_) => continue,
            };
            world.obey(orders, max_clients, slots, duplicate_cn);
            prop_assert_eq!(registry.len(), world.owners.len());
        }
        while let Some(session) = world.owed.pop() {
            world.forget(session);
            let orders = registry.gone(session);
            world.obey(orders, max_clients, slots, duplicate_cn);
        }
        prop_assert!(world.asked.is_empty(), "never answered: {:?}", world.asked);
    }
}
