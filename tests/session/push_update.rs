//! What of the pushed configuration changes while a tunnel is up.

use std::sync::Arc;
use std::time::Duration;

use ringway::session::{SessionEvent, SessionSettings};
use ringway::wire::{UpdateItem, updated};

use crate::pair::{Pair, V2_6, Verdict, Wrap, client, grant, server};

const V2_7: &str = "IV_VER=2.7.6\nIV_CIPHERS=AES-256-GCM\nIV_PROTO=8094\nIV_MTU=1600\n";

/// The server pushes this to all, from now on.
fn push(pair: &mut Pair, options: &[&str]) {
    let push: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
    let now = pair.wall();
    let mut random = pair.random.clone();
    let server = pair.server();
    server.push_anew(now, &mut random, &push);
    let rules = SessionSettings {
        push,
        ..SessionSettings::clone(server.settings())
    };
    server.begin_with(&Arc::new(rules), &mut Vec::new());
}

/// The updates that the client was handed.
fn updates(pair: &Pair) -> Vec<Vec<String>> {
    let events = pair.client_events.iter();
    let updates = events.filter_map(|event| match event {
        SessionEvent::Updated(items) => Some(items.clone()),
        _ => None,
    });
    updates.collect()
}

#[test]
fn a_client_that_takes_updates_is_told_what_has_changed_each_time() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_7), server(Wrap::TlsCrypt));
    push(
        &mut pair,
        &[
            "route-gateway 10.8.0.1",
            "topology subnet",
            "route 10.1.0.0 255.255.0.0",
        ],
    );
    pair.settle();
    push(
        &mut pair,
        &["route-gateway 10.8.0.1", "topology subnet", "sndbuf 9"],
    );
    pair.settle();
    // The same again is nothing, and neither is what can't be changed in a tunnel.
    push(&mut pair, &["route-gateway 10.8.0.1", "topology subnet"]);
    pair.settle();
    assert_eq!(updates(&pair), [["route 10.1.0.0 255.255.0.0"], ["-route"]]);
    let said = pair.server_events.iter().filter_map(|event| match event {
        SessionEvent::Pushed(messages) => Some(messages.join("|")),
        _ => None,
    });
    let said: Vec<_> = said.skip(1).collect();
    assert_eq!(
        said,
        [
            "PUSH_UPDATE,route 10.1.0.0 255.255.0.0",
            "PUSH_UPDATE,-route"
        ]
    );
}

#[test]
fn a_long_update_arrives_whole() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_7), server(Wrap::TlsCrypt));
    let routes: Vec<_> = (0..200)
        .map(|number| format!("route 10.99.{number}.0 255.255.255.0"))
        .collect();
    let options: Vec<_> = routes.iter().map(String::as_str).collect();
    push(&mut pair, &options);
    pair.settle();
    let [items] = &updates(&pair)[..] else {
        panic!("one update: {:?}", updates(&pair));
    };
    let before = ["route-gateway 10.8.0.1", "topology subnet"].map(str::to_owned);
    let items = items
        .iter()
        .map(|item| UpdateItem::parse(item).expect("an item"));
    assert_eq!(updated(&before, items), routes);
}

#[test]
fn while_a_new_key_is_agreed_on_an_update_waits() {
    let mut pair = Pair::connected(client(Wrap::TlsCrypt, V2_7), server(Wrap::TlsCrypt));
    let now = pair.wall();
    pair.server().renegotiate_soon(now);
    let (activity, mut random) = (pair.activity(), pair.random.clone());
    pair.server().handle_timeout(now, &mut random, activity);
    push(&mut pair, &["topology subnet"]);
    assert!(updates(&pair).is_empty());
    pair.pass(Duration::from_secs(5));
    assert_eq!(updates(&pair), [["-route-gateway"]]);
}

#[test]
fn nobody_else_is_told() {
    let mut own = grant();
    own.push = Some(vec!["route 10.5.0.0 255.255.0.0".to_owned()].into());
    for (peer_info, grant) in [(V2_6, grant()), (V2_7, own)] {
        let mut pair = Pair::new(client(Wrap::TlsCrypt, peer_info), server(Wrap::TlsCrypt));
        pair.verdict = Verdict::Admit(grant);
        pair.pass(Duration::from_secs(2));
        assert!(pair.server().is_connected());
        push(&mut pair, &["route 10.1.0.0 255.255.0.0"]);
        pair.settle();
        assert!(updates(&pair).is_empty());
    }
}
