//! Clients with files of their own: addresses that are named, networks behind clients.

use std::net::Ipv6Addr;

use super::*;
use crate::node::settings::V6Address;

/// A registry whose clients have files.
fn table() -> Table {
    Table::new(RegistryRules {
        client_files: true,
        ..rules(10, 10)
    })
}

fn with_v4(last: u8) -> ClientProfile {
    ClientProfile {
        v4: Some((
            Ipv4Addr::new(10, 8, 0, last),
            Ipv4Addr::new(255, 255, 255, 0),
        )),
        ..ClientProfile::usual(256)
    }
}

fn with_networks(networks: &[&str]) -> ClientProfile {
    ClientProfile {
        networks: networks.iter().map(|it| it.parse().unwrap()).collect(),
        ..ClientProfile::usual(256)
    }
}

impl Table {
    /// A session asks, and its file is read.
    fn admit_with(&mut self, session: SessionAt, name: &str, profile: ClientProfile) -> Vec<Order> {
        let asked = self.admit(session, name, session.session);
        let of = session;
        let read = matches!(&asked[..], [Order::ReadProfile { of: it, client }]
            if *it == of && client.common_name.as_deref() == Some(name));
        assert!(read, "{asked:?}");
        self.read(session, Ok(Arc::new(profile)))
    }

    fn read(
        &mut self,
        session: SessionAt,
        profile: Result<Arc<ClientProfile>, AdmissionRefusal>,
    ) -> Vec<Order> {
        self.registry.profile_read(session, profile, self.now);
        let mut orders = self.orders();
        orders.retain(|order| !matches!(order, Order::Announce { .. } | Order::Steer { .. }));
        orders
    }

    /// What a session has.
    fn place(&self, session: SessionAt) -> Arc<Place> {
        let granted = self.registry.granted_to(session).expect("it was granted");
        Arc::clone(&granted.holding.place)
    }

    fn v4(&self, session: SessionAt) -> Ipv4Addr {
        self.place(session).addresses.v4.expect("it has one")
    }

    fn networks(&self, session: SessionAt) -> Vec<String> {
        let place = self.place(session);
        place.networks.iter().map(ToString::to_string).collect()
    }
}

fn is_granted(orders: &[Order], session: SessionAt) -> bool {
    matches!(orders, [Order::Grant { to, .. }, ..] if *to == session)
}

#[test]
fn nothing_is_decided_before_the_file_is_read() {
    let mut table = table();
    let first = table.admit(at(0, 1), "a", 0);
    assert!(matches!(first[..], [Order::ReadProfile { of, .. }] if of == at(0, 1)));
    assert_eq!(
        table.admit(at(0, 1), "a", 0),
        first,
        "what was lost is ordered again"
    );
    assert!(table.registry.is_empty());
    let usual = || Ok(Arc::new(ClientProfile::usual(256)));
    assert!(is_granted(&table.read(at(0, 1), usual()), at(0, 1)));
    assert_eq!(
        table.read(at(0, 1), usual()),
        [],
        "read twice, granted once"
    );
    assert_eq!(table.admit(at(0, 1), "a", 0), [grant(at(0, 1), 0, 0)]);

    table.admit(at(0, 2), "b", 0);
    table.gone(at(0, 2));
    assert_eq!(table.read(at(0, 2), usual()), [], "it has given up waiting");
    assert_eq!(table.read(at(0, 9), usual()), [], "nobody asked");
    assert_eq!(table.registry.len(), 1);
}

#[test]
fn who_is_shut_out_is_refused_and_asks_anew() {
    let mut table = table();
    let shut_out = ClientProfile {
        access: Access::Disabled,
        ..ClientProfile::usual(256)
    };
    for _ in 0..2 {
        let orders = table.admit_with(at(0, 1), "a", shut_out.clone());
        assert_eq!(orders, [refuse(at(0, 1), AdmissionRefusal::Disabled)]);
    }
    table.admit(at(0, 1), "a", 0);
    let orders = table.read(at(0, 1), Err(AdmissionRefusal::NoFile));
    assert_eq!(orders, [refuse(at(0, 1), AdmissionRefusal::NoFile)]);
    assert!(table.registry.sessions.is_empty());
}

/// Its older session ends all the same, and so does one that waited for that; a newer one stays.
#[test]
fn who_is_shut_out_loses_its_older_session() {
    let mut table = table();
    let shut_out = ClientProfile {
        access: Access::Disabled,
        ..ClientProfile::usual(256)
    };
    let usual = ClientProfile::usual(256);
    table.admit_with(at(0, 1), "a", usual.clone());
    let orders = table.admit_with(at(0, 2), "a", shut_out.clone());
    let expected = [
        release(at(0, 1)),
        refuse(at(0, 2), AdmissionRefusal::Disabled),
    ];
    assert_eq!(orders, expected);
    table.admit_with(at(0, 3), "a", usual.clone());
    let orders = table.admit_with(at(0, 4), "a", shut_out);
    let expected = [
        refuse(at(0, 3), AdmissionRefusal::Replaced),
        refuse(at(0, 4), AdmissionRefusal::Disabled),
    ];
    assert_eq!(orders, expected);
    table.gone(at(0, 1));
    let orders = table.admit_with(at(0, 5), "a", usual);
    assert!(is_granted(&orders, at(0, 5)));
}

#[test]
fn an_address_that_a_file_names_is_given_in_the_pool_and_beside_it() {
    let mut table = table();
    table.admit_with(at(0, 1), "a", with_v4(5));
    let place = table.place(at(0, 1));
    let partner: Ipv6Addr = "fd00:8::1003".parse().unwrap();
    assert_eq!(place.addresses.v4, Some([10, 8, 0, 5].into()));
    assert_eq!(place.addresses.v6, Some(partner), "of the same slot");
    assert_eq!(place.own.v4_second, Some([255, 255, 255, 0].into()));

    table.admit_with(at(0, 2), "b", with_v4(200));
    let place = table.place(at(0, 2));
    assert_eq!(place.addresses.v4, Some([10, 8, 0, 200].into()));
    assert_eq!(place.addresses.v6, Some("fd00:8::1000".parse().unwrap()));

    for (session, last) in (3..).zip([3, 4, 6]) {
        let usual = ClientProfile::usual(256);
        table.admit_with(at(0, session), &format!("c{session}"), usual);
        assert_eq!(
            table.v4(at(0, session)),
            Ipv4Addr::new(10, 8, 0, last),
            "5 is taken"
        );
    }
    table.gone(at(0, 1));
    table.admit_with(at(0, 6), "d", ClientProfile::usual(256));
    assert_eq!(table.v4(at(0, 6)), Ipv4Addr::new(10, 8, 0, 7), "5 is kept");
}

#[test]
fn an_ipv6_address_of_its_own_goes_with_an_ipv4_one_of_the_pool() {
    let mut table = table();
    let v6 = V6Address {
        address: "fd00:8::1005/64".parse().unwrap(),
        gateway: "fd00:8::1".parse().unwrap(),
    };
    let profile = ClientProfile {
        v6: Some(v6),
        ..ClientProfile::usual(256)
    };
    table.admit_with(at(0, 1), "a", profile);
    let place = table.place(at(0, 1));
    assert_eq!(place.addresses.v4, Some([10, 8, 0, 2].into()));
    assert_eq!(place.addresses.v6, Some(v6.address.addr()));
    assert_eq!(place.own.v6, Some(v6));
    table.admit_with(at(0, 2), "b", with_v4(7));
    let v6 = table.place(at(0, 2)).addresses.v6;
    assert_eq!(
        v6,
        Some("fd00:8::1001".parse().unwrap()),
        "its partner is a's"
    );
    assert_eq!(table.registry.holdings.count(), (4, 0));
}

#[test]
fn without_a_pool_only_a_file_has_an_address() {
    let mut table = Table::new(RegistryRules {
        client_files: true,
        pool: AddressPool {
            v4: None,
            v4_blocks: Blocks::Single,
            v6: None,
            slots: 0,
        },
        ..rules(0, 10)
    });
    assert!(is_granted(
        &table.admit_with(at(0, 1), "a", with_v4(5)),
        at(0, 1)
    ));
    let orders = table.admit_with(at(0, 2), "b", ClientProfile::usual(256));
    assert_eq!(orders, [refuse(at(0, 2), AdmissionRefusal::NoAddress)]);
}

#[test]
fn whoever_has_an_address_that_a_newcomers_file_names_has_to_go_first() {
    let mut table = table();
    table.admit_with(at(0, 1), "b", ClientProfile::usual(256));
    let orders = table.admit_with(at(1, 2), "a", with_v4(2));
    let cause = ReleaseCause::Address;
    let release = Order::Release {
        to: at(0, 1),
        cause,
    };
    assert_eq!(orders, std::slice::from_ref(&release));
    assert_eq!(table.admit(at(1, 2), "a", 2), [], "it waits");
    assert_eq!(table.registry.len(), 1);
    table.now = table.now + REGISTRY_REPEAT;
    table.registry.handle_timeout(table.now);
    assert!(table.orders().contains(&release), "told again");

    // The one that had it comes back before it has heard that: what it had is kept.
    let usual = ClientProfile::usual(256);
    assert_eq!(table.admit_with(at(2, 3), "b", usual), []);
    let orders = table.gone(at(0, 1));
    assert!(is_granted(&orders, at(2, 3)));
    assert_eq!(table.v4(at(2, 3)), Ipv4Addr::new(10, 8, 0, 3));
    assert_eq!(table.v4(at(1, 2)), Ipv4Addr::new(10, 8, 0, 2));
    assert_eq!(table.registry.len(), 2);
    assert!(table.registry.releases.is_empty() && table.registry.claims.is_empty());
}

#[test]
fn of_two_files_with_one_address_the_later_client_has_it() {
    let mut table = table();
    table.admit_with(at(0, 1), "a", with_v4(200));
    table.admit_with(at(0, 2), "b", with_v4(200));
    table.admit_with(at(0, 3), "c", with_v4(200));
    let orders = table.gone(at(0, 1));
    let cause = ReleaseCause::Address;
    assert!(is_granted(&orders, at(0, 2)));
    assert!(
        orders.contains(&Order::Release {
            to: at(0, 2),
            cause
        }),
        "{orders:?}"
    );
    assert!(is_granted(&table.gone(at(0, 2)), at(0, 3)));
    assert_eq!(table.registry.holdings.count(), (2, 0));
}

#[test]
fn one_that_waits_for_an_address_and_dies_leaves_no_trace() {
    let mut table = table();
    table.admit_with(at(0, 1), "b", ClientProfile::usual(256));
    table.admit_with(at(1, 2), "a", with_v4(2));
    assert_eq!(table.gone(at(1, 2)), [forget(at(1, 2))]);
    assert_eq!(table.gone(at(0, 1)), [forget(at(0, 1))]);
    assert!(table.registry.sessions.is_empty() && table.registry.claims.is_empty());
    assert_eq!(table.registry.holdings.count(), (0, 0));
}

#[test]
fn a_reserved_address_is_given_to_whose_file_names_it() {
    let mut table = table();
    table.registry.reserve("10.8.0.2".parse().unwrap());
    table.registry.reserve("10.9.0.2".parse().unwrap());
    table.admit_with(at(0, 1), "b", ClientProfile::usual(256));
    assert_eq!(table.v4(at(0, 1)), Ipv4Addr::new(10, 8, 0, 3));
    assert!(is_granted(
        &table.admit_with(at(0, 2), "a", with_v4(2)),
        at(0, 2)
    ));
}

#[test]
fn a_network_goes_to_who_comes_last_and_with_that_one() {
    let mut table = table();
    let (a, b) = (at(0, 1), at(1, 2));
    table.admit_with(
        a,
        "a",
        with_networks(&["10.1.0.0/16", "10.2.0.0/16", "10.1.0.0/16"]),
    );
    assert_eq!(table.networks(a), ["10.1.0.0/16", "10.2.0.0/16"]);
    let held = table.place(a);
    table.admit(b, "b", 2);
    let shared = Arc::new(with_networks(&["10.2.0.0/16", "fd91::/64"]));
    table.registry.profile_read(b, Ok(shared), table.now);
    assert_eq!(
        held.networks.len(),
        2,
        "what was handed out does not change"
    );
    let orders = table.orders();
    let what = Steered::Network("10.2.0.0/16".parse().unwrap());
    assert!(orders.contains(&Order::Steer {
        what,
        shard: Some(1)
    }));
    let told: Vec<_> = orders
        .iter()
        .filter_map(|order| match order {
            Order::Announce {
                to: 0,
                announcement,
            } => announcement.tenant.as_deref(),
            _ => None,
        })
        .map(|tenant| (tenant.client_id, tenant.networks.len()))
        .collect();
    assert_eq!(told, [(0, 1), (1, 2)], "first who has lost it");
    assert_eq!(table.networks(a), ["10.1.0.0/16"]);

    let SessionAt { shard, session } = b;
    let orders = table.hear_all(shard, NoticeContent::Gone { session });
    assert!(orders.contains(&Order::Steer { what, shard: None }));
    assert_eq!(table.networks(a), ["10.1.0.0/16"], "it does not fall back");
    let what = Steered::Network("10.1.0.0/16".parse().unwrap());
    assert!(!orders.contains(&Order::Steer { what, shard: None }));
    assert_eq!(table.registry.holdings.count(), (2, 1));
}

#[test]
fn networks_lead_to_a_client_when_it_may_come_in_and_not_before() {
    let mut table = Table::new(RegistryRules {
        client_files: true,
        hooks: true,
        ..rules(10, 10)
    });
    let asked = |orders: Vec<Order>, of| matches!(&orders[..], [Order::Connect(it)] if it.of == of);
    let learns = |orders: &[Order]| matches!(orders, [Order::Learn { .. }]);
    let (a, b, c) = (at(0, 1), at(1, 2), at(2, 3));
    let networks = ["10.1.0.0/16"];
    let orders = table.admit_with(a, "a", with_networks(&networks));
    assert!(asked(orders, a));
    assert_eq!(table.networks(a), [] as [&str; 0], "nobody has said yes");
    table.registry.connected(a, Ok(None), table.now);
    assert!(learns(&table.orders()));
    table.registry.learned(a, &[], table.now);
    let orders = table.orders();
    assert!(orders.iter().any(|it| matches!(it, Order::Grant { .. })));
    assert_eq!(table.networks(a), networks);

    // A client that is refused takes nothing from who is in.
    let orders = table.admit_with(b, "b", with_networks(&networks));
    assert!(asked(orders, b));
    let refusal = AdmissionRefusal::Hook;
    table.registry.connected(b, Err(refusal), table.now);
    let refused = Order::Refuse { to: b, refusal };
    assert!(table.orders().contains(&refused));
    assert_eq!(table.networks(a), networks);

    // A file that is read twice is no answer of those who are asked when a client connects.
    table.admit(c, "c", 3);
    let profile = Arc::new(with_networks(&networks));
    let orders = table.read(c, Ok(Arc::clone(&profile)));
    assert!(asked(orders, c));
    assert_eq!(table.read(c, Ok(profile)), []);
    assert_eq!(table.networks(a), networks);
    table.registry.connected(c, Ok(None), table.now);
    assert_eq!(
        table.networks(c),
        networks,
        "as the file says that was read first"
    );
    assert_eq!(table.networks(a), [] as [&str; 0]);
}

#[test]
fn addresses_count_with_networks_and_what_is_too_much_is_left_out() {
    let mut table = table();
    let networks = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
    for (session, (most, had, exceeded)) in (1..).zip([
        (5, 3, None),
        (4, 2, Some(4)),
        (2, 0, Some(2)),
        (1, 0, Some(1)),
    ]) {
        let profile = ClientProfile {
            routes_max: most,
            ..with_networks(&networks)
        };
        table.admit_with(at(0, session), &format!("c{session}"), profile);
        let place = table.place(at(0, session));
        assert_eq!(
            (place.networks.len(), place.quota_exceeded),
            (had, exceeded),
            "{most}"
        );
    }
}

/// An address that a file named lay behind the pool, and lies in it when that has grown.
#[test]
fn a_pool_that_grows_keeps_what_its_clients_have() {
    let rules = |slots| RegistryRules {
        client_files: true,
        ..rules(slots, 3)
    };
    let mut table = Table::new(rules(1));
    table.admit_with(at(0, 1), "a", ClientProfile::usual(256));
    let named = table.admit_with(at(1, 2), "b", with_v4(3));
    assert!(
        is_refused(&named, AdmissionRefusal::PoolExhausted),
        "{named:?}"
    );
    let profile = ClientProfile {
        v6: Some(V6Address {
            address: "fd00:8::1001/64".parse().unwrap(),
            gateway: Ipv6Addr::UNSPECIFIED,
        }),
        ..with_v4(3)
    };
    table.admit_with(at(1, 3), "b", profile);
    assert_eq!(table.v4(at(1, 3)), Ipv4Addr::new(10, 8, 0, 3));
    table.registry.follow(rules(3));
    let steered = table.orders();
    let slot = Order::Steer {
        what: Steered::Slot(1),
        shard: Some(1),
    };
    assert!(steered.contains(&slot), "{steered:?}");
    table.admit_with(at(2, 4), "c", ClientProfile::usual(256));
    assert_eq!(
        table.v4(at(2, 4)),
        Ipv4Addr::new(10, 8, 0, 4),
        "the next one is taken"
    );
    table.gone(at(1, 3));
    table.gone(at(2, 4));
    table.admit_with(at(2, 5), "c", ClientProfile::usual(256));
    assert_eq!(table.v4(at(2, 5)), Ipv4Addr::new(10, 8, 0, 4));
    let full = table.admit_with(at(3, 6), "d", ClientProfile::usual(256));
    assert!(
        is_granted(&full, at(3, 6)),
        "the named slot is free again: {full:?}"
    );
    table.registry.follow(RegistryRules {
        max_clients: 2,
        ..rules(3)
    });
    assert_eq!(table.registry.len(), 3, "nobody has to go");
    table.gone(at(2, 5));
    let full = table.admit_with(at(2, 7), "c", ClientProfile::usual(256));
    let refusal = AdmissionRefusal::MaxClients { max: 2 };
    assert!(is_refused(&full, refusal), "{full:?}");
}

fn is_refused(orders: &[Order], why: AdmissionRefusal) -> bool {
    matches!(orders, [Order::Refuse { refusal, .. }] if *refusal == why)
}

/// One that waits for a place in the stead of its own may have to leave when that is handed down to it: everybody still
/// hears of who has gone.
#[test]
fn who_is_shut_out_when_a_place_is_handed_down_hides_nobodys_going() {
    let mut table = Table::new(RegistryRules {
        client_files: true,
        hooks: true,
        ..rules(1, 10)
    });
    let (a, b, c) = (at(0, 1), at(1, 2), at(2, 3));
    let beside_the_pool = |last: u8| ClientProfile {
        v6: Some(V6Address {
            address: format!("fd00:9::{last}/64").parse().unwrap(),
            gateway: Ipv6Addr::UNSPECIFIED,
        }),
        ..with_v4(last)
    };
    table.admit_with(a, "a", beside_the_pool(200));
    table.registry.connected(a, Ok(None), table.now);
    table.registry.learned(a, &[], table.now);
    table.orders();
    let seat = table.registry.granted_to(a).unwrap().holding.seat;
    // It is to have the address of a, and one of the pool, whose only slot is c's.
    table.admit_with(b, "b", beside_the_pool(201));
    let other = Arc::new(with_v4(200));
    table.registry.connected(b, Ok(Some(other)), table.now);
    table.orders();
    table.admit_with(c, "c", ClientProfile::usual(256));
    let SessionAt { shard, session } = a;
    let orders = table.hear_all(shard, NoticeContent::Gone { session });
    let refusal = AdmissionRefusal::PoolExhausted;
    assert!(orders.contains(&Order::Refuse { to: b, refusal }));
    let told = orders.iter().filter(|order| {
        matches!(order, Order::Announce { announcement, .. }
            if announcement.seat == seat && announcement.tenant.is_none())
    });
    assert_eq!(told.count(), 4, "each shard hears of a: {orders:?}");
    assert_eq!(table.registry.len(), 1);
}
