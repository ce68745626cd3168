//! Tables of what the registry answers. Whole hand-overs with their shards are in `handover`, worlds
//! of them in `simulation`.

mod files;
mod handover;
mod simulation;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::node::leases::{Addresses, Blocks};
use crate::packet::{ClientPath, Path};

const START: Monotonic = Monotonic::ZERO;

fn pool(slots: u32) -> AddressPool {
    AddressPool {
        v4: Some("10.8.0.2".parse().unwrap()),
        v4_blocks: Blocks::Single,
        v6: Some("fd00:8::1000".parse().unwrap()),
        slots,
    }
}

fn rules(slots: u32, max_clients: usize) -> RegistryRules {
    RegistryRules {
        pool: pool(slots),
        max_clients,
        duplicate_cn: false,
        client_files: false,
        hooks: false,
        shards: 4,
    }
}

/// A registry, and what four shards tell it.
struct Table {
    registry: Registry,
    numbers: [u64; 4],
    now: Monotonic,
}

impl Table {
    fn new(rules: RegistryRules) -> Self {
        Self {
            registry: Registry::new(rules),
            numbers: [0; 4],
            now: START,
        }
    }

    /// Orders, announcements and steering left out: a test of their own is for them.
    fn hear(&mut self, shard: u16, content: NoticeContent) -> Vec<Order> {
        let mut orders = self.hear_all(shard, content);
        orders.retain(|order| !matches!(order, Order::Announce { .. } | Order::Steer { .. }));
        orders
    }

    fn hear_all(&mut self, shard: u16, content: NoticeContent) -> Vec<Order> {
        let number = &mut self.numbers[usize::from(shard)];
        *number += 1;
        let notice = Notice {
            shard,
            number: *number,
            content,
        };
        self.registry.hear(notice, self.now);
        self.orders()
    }

    fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.registry.poll_order()).collect()
    }

    /// A session that has authenticated in that second.
    fn admit(&mut self, session: SessionAt, name: &str, second: u64) -> Vec<Order> {
        let request = request(name, second);
        let SessionAt { shard, session } = session;
        self.hear(shard, NoticeContent::Admit { session, request })
    }

    fn gone(&mut self, session: SessionAt) -> Vec<Order> {
        let SessionAt { shard, session } = session;
        self.hear(shard, NoticeContent::Gone { session })
    }
}

fn request(name: &str, second: u64) -> AdmissionRequest {
    AdmissionRequest {
        name: name.into(),
        client_id: None,
        since: START + std::time::Duration::from_secs(second),
        path: PATH,
    }
}

fn at(shard: u16, session: u64) -> SessionAt {
    SessionAt { shard, session }
}

fn grant(to: SessionAt, client_id: u64, slot: u32) -> Order {
    let addresses = pool(0).addresses(slot);
    Order::Grant {
        to,
        client_id,
        place: Arc::new(Place {
            addresses,
            astray: Vec::new(),
            networks: Vec::new(),
            own: OwnTerms::default(),
            hosts_max: 254,
            quota_exceeded: None,
        }),
    }
}

fn refuse(to: SessionAt, refusal: AdmissionRefusal) -> Order {
    Order::Refuse { to, refusal }
}

fn release(to: SessionAt) -> Order {
    let cause = ReleaseCause::Name;
    Order::Release { to, cause }
}

fn forget(to: SessionAt) -> Order {
    Order::Forget { to }
}

/// Where the clients of tests are; their packets are told apart by it.
pub(in crate::node) const PATH: ClientPath = ClientPath {
    path: Path {
        remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1194),
        local: None,
        socket: 0,
    },
    numbering: Numbering::FourTuple,
};

#[test]
fn clients_are_numbered_from_0_and_get_addresses_in_order() {
    let mut table = Table::new(rules(10, 10));
    assert_eq!(table.admit(at(0, 1), "a", 0), [grant(at(0, 1), 0, 0)]);
    let addresses = Addresses {
        v4: Some("10.8.0.2".parse().unwrap()),
        v6: Some("fd00:8::1000".parse().unwrap()),
    };
    assert_eq!(pool(0).addresses(0), addresses);
    assert_eq!(table.admit(at(1, 1), "b", 0), [grant(at(1, 1), 1, 1)]);
    assert_eq!(table.registry.len(), 2);
}

#[test]
fn a_reconnecting_client_waits_for_its_older_session_and_keeps_its_address() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    table.admit(at(0, 2), "b", 0);
    assert_eq!(table.admit(at(3, 1), "a", 1), [release(at(0, 1))]);
    assert_eq!(
        table.admit(at(3, 1), "a", 1),
        [],
        "it asks again, and waits"
    );
    assert_eq!(
        table.gone(at(0, 1)),
        [grant(at(3, 1), 2, 0), forget(at(0, 1))]
    );
    assert_eq!(
        table.gone(at(0, 1)),
        [forget(at(0, 1))],
        "an answer that comes twice is no second release"
    );
    assert_eq!(table.registry.len(), 2);
    assert_eq!(table.registry.names.len(), 2);
}

#[test]
fn of_those_that_wait_the_one_that_came_last_wins_whoever_is_heard_first() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 5);
    assert_eq!(
        table.admit(at(3, 1), "a", 4),
        [refuse(at(3, 1), AdmissionRefusal::Replaced)],
        "older than the one that has the name"
    );
    table.admit(at(1, 1), "a", 7);
    assert_eq!(
        table.admit(at(2, 1), "a", 6),
        [refuse(at(2, 1), AdmissionRefusal::Replaced)],
        "older than the one that waits"
    );
    assert_eq!(
        table.admit(at(2, 2), "a", 8),
        [refuse(at(1, 1), AdmissionRefusal::Replaced)],
        "the holder has been told to go"
    );
    assert_eq!(
        table.admit(at(1, 1), "a", 7),
        [refuse(at(1, 1), AdmissionRefusal::Replaced)],
        "it has not got its answer, and does not come before the newer one by asking again"
    );
    assert_eq!(
        table.gone(at(0, 1)),
        [grant(at(2, 2), 1, 0), forget(at(0, 1))]
    );
}

#[test]
fn one_that_gave_up_waiting_is_not_granted() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    table.admit(at(1, 1), "a", 1);
    assert_eq!(table.gone(at(1, 1)), [forget(at(1, 1))]);
    assert_eq!(table.gone(at(0, 1)), [forget(at(0, 1))]);
    assert!(table.registry.is_empty());
    assert_eq!(table.admit(at(2, 1), "a", 2), [grant(at(2, 1), 1, 0)]);
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    assert_eq!(table.admit(at(0, 1), "a", 0), [grant(at(0, 1), 0, 0)]);
    table.admit(at(1, 1), "a", 1);
    assert_eq!(
        table.admit(at(0, 1), "a", 0),
        [release(at(0, 1))],
        "it has to go before it has heard of its place"
    );
    assert_eq!(table.registry.len(), 1);
}

#[test]
fn a_release_is_repeated_until_the_session_is_gone() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    for shard in 0..4 {
        let number = 1;
        let content = NoticeContent::Announced { number };
        table.hear(shard, content);
    }
    assert_eq!(table.registry.next_timeout(), None);
    table.admit(at(1, 1), "a", 1);
    for _ in 0..3 {
        let due = table.now + REGISTRY_REPEAT;
        assert_eq!(table.registry.next_timeout(), Some(due));
        table.registry.handle_timeout(table.now);
        assert_eq!(table.orders(), [], "not before its time");
        table.now = due;
        table.registry.handle_timeout(due);
        assert_eq!(table.orders(), [release(at(0, 1))]);
    }
    table.gone(at(1, 1));
    assert!(
        table.registry.next_timeout().is_some(),
        "it has been told to go, whoever waits for it"
    );
    table.gone(at(0, 1));
    assert!(table.registry.releases.is_empty());
}

#[test]
fn a_notice_that_was_overtaken_is_not_heard() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    table.gone(at(0, 1));
    let late = Notice {
        shard: 0,
        number: 1,
        content: NoticeContent::Admit {
            session: 1,
            request: request("a", 0),
        },
    };
    table.registry.hear(late.clone(), START);
    assert_eq!(
        table.orders(),
        [],
        "it would have given a dead session a place"
    );
    table.registry.hear(Notice { shard: 9, ..late }, START);
    assert_eq!(table.orders(), [], "there is no such shard");
}

#[test]
fn a_full_node_refuses_new_names_but_lets_a_client_reconnect() {
    let mut table = Table::new(rules(10, 1));
    table.admit(at(0, 1), "a", 0);
    assert_eq!(
        table.admit(at(0, 2), "b", 0),
        [refuse(at(0, 2), AdmissionRefusal::MaxClients { max: 1 })]
    );
    table.admit(at(0, 3), "a", 1);
    assert_eq!(
        table.gone(at(0, 1)),
        [grant(at(0, 3), 1, 0), forget(at(0, 1))]
    );
}

#[test]
fn an_exhausted_pool_refuses_until_an_address_is_back() {
    let mut table = Table::new(rules(1, 10));
    table.admit(at(0, 1), "a", 0);
    assert_eq!(
        table.admit(at(0, 2), "b", 0),
        [refuse(at(0, 2), AdmissionRefusal::PoolExhausted)]
    );
    table.gone(at(0, 1));
    assert_eq!(table.admit(at(0, 2), "b", 0), [grant(at(0, 2), 1, 0)]);
}

#[test]
fn with_duplicate_cn_nobody_is_replaced() {
    let mut table = Table::new(RegistryRules {
        duplicate_cn: true,
        ..rules(10, 10)
    });
    assert_eq!(table.admit(at(0, 1), "a", 0), [grant(at(0, 1), 0, 0)]);
    assert_eq!(table.admit(at(0, 2), "a", 0), [grant(at(0, 2), 1, 1)]);
    table.gone(at(0, 1));
    assert_eq!(table.registry.len(), 1);
}

#[test]
fn orders_steer_then_announce_then_grant_and_withdraw_before_they_steer_away() {
    let mut table = Table::new(rules(10, 10));
    let mut request = request("a", 0);
    let path = ClientPath {
        path: PATH.path,
        numbering: Numbering::PeerId,
    };
    request.path = path;
    let session = 1;
    let announcements = |number, client| -> Vec<_> {
        let announcement = Announcement {
            number,
            after: number - 1,
            seat: 0,
            tenant: client,
        };
        let announce = |to| Order::Announce {
            to,
            announcement: announcement.clone(),
        };
        (0..4).map(announce).collect()
    };
    let what = Steered::Slot(0);
    let steer = |shard| Order::Steer { what, shard };
    let orders = table.hear_all(2, NoticeContent::Admit { session, request });
    let tenant = |shard, client_id, path| {
        Some(Arc::new(Tenant {
            shard,
            session: 1,
            client_id,
            path,
            addresses: pool(0).addresses(0),
            networks: Vec::new(),
        }))
    };
    let (first, last) = (steer(Some(2)), grant(at(2, 1), 0, 0));
    let told = announcements(1, tenant(2, 0, path));
    assert_eq!(orders, [vec![first], told, vec![last]].concat());

    let orders = table.hear_all(2, NoticeContent::IgnoresPeerId { session });
    assert_eq!(orders, announcements(2, tenant(2, 0, PATH)));
    let unknown = NoticeContent::IgnoresPeerId { session: 99 };
    assert_eq!(table.hear_all(2, unknown), []);

    table.admit(at(3, 1), "a", 1);
    let orders = table.hear_all(2, NoticeContent::Gone { session });
    let (first, last) = (steer(Some(3)), grant(at(3, 1), 1, 0));
    let told = announcements(3, tenant(3, 1, PATH));
    assert_eq!(
        orders,
        [vec![first], told, vec![last, forget(at(2, 1))]].concat(),
        "from hand to hand, never without a shard in between"
    );

    let orders = table.hear_all(3, NoticeContent::Gone { session });
    let last = vec![steer(None), forget(at(3, 1))];
    assert_eq!(orders, [announcements(4, None), last].concat());
}

#[test]
fn the_sessions_of_a_shard_that_has_ended_are_gone() {
    let mut table = Table::new(rules(10, 10));
    table.admit(at(0, 1), "a", 0);
    table.admit(at(0, 2), "b", 0);
    table.admit(at(1, 1), "c", 0);
    table.admit(at(0, 3), "c", 1);
    table.admit(at(0, 4), "a", 1);
    table.admit(at(1, 2), "b", 1);
    assert_eq!(table.registry.len(), 3);
    table.registry.shard_ended(0, table.now);
    let mut orders = table.orders();
    orders.retain(|order| matches!(order, Order::Grant { .. }));
    assert_eq!(orders, [grant(at(1, 2), 3, 1)], "b reconnects elsewhere");
    assert_eq!(table.registry.len(), 2);
    assert_eq!(table.registry.sessions.len(), 2);
    assert_eq!(table.admit(at(0, 5), "d", 2), [], "it is heard no more");
    table.now = START + REGISTRY_REPEAT;
    table.registry.handle_timeout(table.now);
    assert!(
        table
            .orders()
            .iter()
            .all(|order| !matches!(order, Order::Announce { to: 0, .. })),
        "and told nothing"
    );
}
