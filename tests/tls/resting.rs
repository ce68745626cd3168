//! A connection that rests after its handshake says and understands what a whole one does.

use rustls::ServerConnection;

use super::*;

/// What a connection may be after its handshake, at each end.
const RESTING: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

fn established(versions: RangeInclusive<TlsVersion>) -> Outcome {
    let authority = Authority::new("authority");
    let outcome = handshake(
        &plain(&authority, "alice", Usage::Client, versions.clone()),
        &plain(&authority, "gate", Usage::Server, versions),
    );
    outcome.assert_established();
    outcome
}

fn messages(tls: &mut dyn Tls) -> Vec<Vec<u8>> {
    let next = || tls.next_message().map(|message| message.to_vec());
    std::iter::from_fn(next).collect()
}

#[test]
fn messages_pass_whichever_end_rests() {
    for (client, server) in RESTING {
        let mut outcome = established(ONLY_1_3);
        for round in 0..3_u8 {
            let up = [vec![round; 1], vec![b'u'; 5_000]];
            let down = [vec![b'd'; 40], vec![round; 900], vec![7; 1]];
            up.iter()
                .for_each(|message| outcome.client.send_message(message).expect("sent"));
            down.iter()
                .for_each(|message| outcome.server.send_message(message).expect("sent"));
            exchange(&mut outcome);
            outcome.assert_established();
            assert_eq!(messages(&mut *outcome.server), up, "{client} {server}");
            assert_eq!(messages(&mut *outcome.client), down, "{client} {server}");
            // After the first round: numbers go on where they were.
            if client {
                outcome.client.rest();
            }
            if server {
                outcome.server.rest();
            }
        }
    }
}

#[test]
fn a_connection_that_rests_exports_nothing() {
    let mut exported = [0; 32];
    let mut outcome = established(ONLY_1_3);
    outcome
        .server
        .export("EXPORTER-label", &mut exported)
        .expect("exports");
    outcome.server.rest();
    let refused = outcome.server.export("EXPORTER-label", &mut exported);
    assert!(
        matches!(refused, Err(TlsError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(
        (outcome.server.peer(), outcome.server.negotiated()),
        (None, None)
    );
    // TLS 1.2 stays whole.
    let mut outcome = established(ONLY_1_2);
    outcome.server.rest();
    outcome
        .server
        .export("EXPORTER-label", &mut exported)
        .expect("exports");
}

#[test]
fn nothing_rests_in_the_middle_of_a_record() {
    let message = b"a message in two halves";
    for split in 1..message.len() + 5 + 17 {
        let mut outcome = established(ONLY_1_3);
        outcome.client.send_message(message).expect("sent");
        // What is not transmitted yet would be lost.
        outcome.client.rest();
        let mut bytes = Vec::new();
        outcome.client.transmit(&mut bytes);
        let (first, second) = bytes.split_at(split);
        outcome.server.receive(first).expect("a part");
        outcome.server.rest();
        assert!(outcome.server.peer().is_some(), "split at {split}");
        outcome.server.receive(second).expect("the rest");
        assert_eq!(messages(&mut *outcome.server), [message.to_vec()]);
        outcome.server.rest();
        assert!(outcome.server.peer().is_none(), "split at {split}");
        // And a resting one puts halves together.
        outcome.client.send_message(message).expect("sent");
        bytes.clear();
        outcome.client.transmit(&mut bytes);
        let (first, second) = bytes.split_at(split);
        outcome.server.receive(first).expect("a part");
        assert_eq!(messages(&mut *outcome.server), Vec::<Vec<u8>>::new());
        outcome.server.receive(second).expect("the rest");
        assert_eq!(messages(&mut *outcome.server), [message.to_vec()]);
    }
}

#[test]
fn what_is_tampered_with_ends_it_and_the_peer_is_told() {
    let length = b"words".len() + 1 + 16 + 5;
    for place in 0..length {
        let mut outcome = established(ONLY_1_3);
        outcome.server.rest();
        outcome.client.send_message(b"words").expect("sent");
        let mut bytes = Vec::new();
        outcome.client.transmit(&mut bytes);
        assert_eq!(bytes.len(), length);
        bytes[place] ^= 1;
        if matches!(place, 3 | 4) {
            // A length that has grown is seen once as much is there.
            bytes.extend([0; 256]);
        }
        let refused = outcome.server.receive(&bytes).expect_err("refused");
        assert!(
            matches!(refused, TlsError::Protocol(_)),
            "{place}: {refused}"
        );
        let mut alert = Vec::new();
        outcome.server.transmit(&mut alert);
        let told = outcome.client.receive(&alert).expect_err("told");
        assert!(matches!(told, TlsError::Alert(_)), "{place}: {told}");
        assert_eq!(messages(&mut *outcome.server), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_record_that_is_repeated_is_refused() {
    let mut outcome = established(ONLY_1_3);
    outcome.server.rest();
    outcome.client.send_message(b"once").expect("sent");
    let mut bytes = Vec::new();
    outcome.client.transmit(&mut bytes);
    outcome.server.receive(&bytes).expect("the first");
    assert!(outcome.server.receive(&bytes).is_err());
}

/// A peer of the library's own, which can close and renew its keys.
fn peer() -> (ServerConnection, Box<dyn Tls>) {
    let authority = Authority::new("authority");
    let identity = authority.identity("gate", Usage::Server);
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .expect("a version")
    .with_no_client_auth()
    .with_single_cert(identity.chain, identity.key)
    .expect("a key that fits");
    let mut peer = ServerConnection::new(Arc::new(config)).expect("a connection");
    let client = plain(&authority, "alice", Usage::Client, ONLY_1_3);
    let mut client = client
        .start(now(), &mut SeededRandom::new(1))
        .expect("starts");
    // Its tickets come behind the handshake, when the client may rest already.
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.transmit(&mut bytes);
        feed(&mut peer, &bytes);
        client.receive(&drain(&mut peer)).expect("flights");
        client.rest();
    }
    assert!(client.is_established() && client.peer().is_none());
    (peer, client)
}

fn feed(peer: &mut ServerConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        peer.read_tls(&mut bytes).expect("read");
        peer.process_new_packets().expect("understood");
    }
}

fn drain(peer: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).expect("written");
    }
    bytes
}

#[test]
fn a_peer_that_closes_or_renews_its_keys_ends_it() {
    let (mut server, mut client) = peer();
    server.send_close_notify();
    let closed = client.receive(&drain(&mut server));
    assert_eq!(closed, Err(TlsError::Alert("CloseNotify".to_owned())));

    let (mut server, mut client) = peer();
    server.refresh_traffic_keys().expect("renewed");
    let refused = client.receive(&drain(&mut server)).expect_err("refused");
    let expected = "the peer sent a renewal of traffic keys";
    assert_eq!(refused.to_string(), expected);
}
