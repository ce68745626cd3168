//! Packets from one client to another.

use super::node::{Node, Out};
use super::*;

/// Two clients, on the same shard or on two, that may reach one another.
fn pairs() -> [(Node, usize, usize); 2] {
    [1, 2].map(|shards| {
        let mut node = Node::new(shards).with_client_to_client();
        let from = node.connect(0, Numbering::PeerId);
        let to = node.connect(usize::from(shards) - 1, Numbering::PeerId);
        (node, from, to)
    })
}

#[test]
fn a_client_reaches_another_without_the_tun_device_if_it_may() {
    for (mut node, from, to) in pairs() {
        let handed_over = node.shards.len() - 1;
        for (number, (source, destination)) in [
            (
                IpAddr::V4(node.clients[from].v4),
                IpAddr::V4(node.clients[to].v4),
            ),
            (
                IpAddr::V6(node.clients[from].v6),
                IpAddr::V6(node.clients[to].v6),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let inner = ip(source, destination, &[7; 900]);
            // Every byte arrives as it was sent, the time to live too.
            let out = node.send(from, 0, &inner);
            assert_eq!(out, [Out::Client(to, inner)]);
            assert_eq!(node.handed_over, (number + 1) * handed_over);
        }
        let datagram = 20 + 900 + 24;
        let sent = node.peer(to).traffic;
        assert_eq!((sent.sent_packets, sent.sent_bytes), (2, 2 * datagram + 20));

        for shard in &mut node.shards {
            shard.surroundings.client_to_client = false;
        }
        let inner = ip(node.clients[from].v4, node.clients[to].v4, b"x");
        assert_eq!(node.send(from, 0, &inner), [Out::Tun(0, inner)]);
        assert_eq!(node.take_drops(), []);
    }
}

#[test]
fn networks_behind_clients_are_reached_and_all_else_goes_to_the_tun_device() {
    for (mut node, from, to) in pairs() {
        node.route(to, "10.66.0.0/16");
        node.route(to, "fd66::/16");
        let (v4, v6) = (node.clients[from].v4, node.clients[from].v6);
        let v6_address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        for inner in [
            ip(v4, [10, 66, 3, 3], b"x"),
            ip(v6, v6_address("fd66::7"), b"x"),
        ] {
            assert_eq!(node.send(from, 0, &inner), [Out::Client(to, inner)]);
        }
        node.route(to, "0.0.0.0/0");
        node.route(to, "::/0");
        for inner in [
            ip(v4, [224, 0, 0, 251], b"x"),
            ip(v4, [255; 4], b"x"),
            ip(v6, v6_address("ff02::fb"), b"x"),
        ] {
            assert_eq!(node.send(from, 0, &inner), [Out::Tun(0, inner)]);
        }
    }
    let (mut node, from, _) = pairs().into_iter().last().unwrap();
    // The server itself, a client that there is not, the world.
    for destination in [[10, 8, 0, 1], [10, 8, 0, 99], [192, 0, 2, 9]] {
        let inner = ip(node.clients[from].v4, destination, b"x");
        assert_eq!(node.send(from, 0, &inner), [Out::Tun(0, inner)]);
    }
    assert_eq!(node.take_drops(), []);
}

#[test]
fn a_packet_to_oneself_comes_back_once() {
    let (mut node, client, _) = pairs().into_iter().last().unwrap();
    node.route(client, "10.66.0.0/16");
    let v4 = node.clients[client].v4;
    for destination in [v4, [10, 66, 0, 1].into()] {
        let inner = ip(v4, destination, b"x");
        assert_eq!(node.send(client, 0, &inner), [Out::Client(client, inner)]);
    }
}

#[test]
fn a_source_is_checked_before_a_packet_goes_to_another_client() {
    for (mut node, from, to) in pairs() {
        let inner = ip([10, 8, 0, 77], node.clients[to].v4, b"x");
        assert_eq!(node.send(from, 0, &inner), []);
        assert_eq!(node.take_drops(), [(0, DropReason::SourceAddress, 1)]);
        assert_eq!(node.handed_over, 0);
    }
}

#[test]
fn the_tunnel_of_the_destination_has_its_own_rules() {
    for shards in [1, 2] {
        let mut node = Node::new(shards).with_client_to_client();
        let last = usize::from(shards) - 1;
        let large = node.connect_with(0, Numbering::PeerId, 1500, Mssfix::Inner(1400));
        let small = node.connect_with(last, Numbering::PeerId, 1000, Mssfix::Inner(900));
        let (from, to) = (node.clients[large].v4, node.clients[small].v4);
        let fits = ip(from, to, &[0; 980]);
        let too_large = ip(from, to, &[0; 981]);
        assert_eq!(node.send(large, 0, &fits), [Out::Client(small, fits)]);
        assert_eq!(node.send(large, 0, &too_large), []);
        assert_eq!(node.take_drops(), [(last, DropReason::TooLarge, 1)]);

        // The smaller of both tunnels counts, whoever begins.
        for (from, to, shard) in [(large, small, 0), (small, large, last)] {
            let addresses = (node.clients[from].v4, node.clients[to].v4);
            let inner = ip_with_protocol(TCP, addresses.0, addresses.1, &syn(1460));
            let [Out::Client(client, inner)] = &node.send(from, shard, &inner)[..] else {
                panic!("{shards}");
            };
            assert_eq!((*client, announced(inner)), (to, 900 - 40));
        }
    }
}

#[test]
fn a_client_that_has_no_key_yet_is_not_reached_by_the_tun_device_instead() {
    for (mut node, from, to) in pairs() {
        let last = node.shards.len() - 1;
        let peer = node.clients[to].peer;
        let keys = &mut node.shards[last].peers.peer_mut(peer).unwrap().keys;
        keys.retire(KeyId::FIRST);
        let inner = ip(node.clients[from].v4, node.clients[to].v4, b"x");
        assert_eq!(node.send(from, 0, &inner), []);
        assert_eq!(node.take_drops(), [(last, DropReason::NotConnected, 1)]);
    }
}

#[test]
fn the_key_of_the_destination_is_told_to_near_its_limit() {
    for (mut node, from, to) in pairs() {
        let last = node.shards.len() - 1;
        let peer = node.clients[to].peer;
        let (_, mut server_keys) = keys(DataCipher::Aes256Gcm, 0);
        let renegotiate = crate::limits::PACKET_ID_RENEGOTIATE;
        let near = datagram_with_packet_id(renegotiate, &crate::wire::PING);
        let now = node.now;
        server_keys.open.open(now, &near, &mut [0; 16]).unwrap();
        let slots = &mut node.shards[last].peers.peer_mut(peer).unwrap().keys;
        let key_id = KeyId::from_low_bits(1);
        slots.install(key_id, server_keys);
        slots.send_with(key_id).unwrap();
        node.rekey(to, key_id, 0);
        for _ in 0..2 {
            let inner = ip(node.clients[from].v4, node.clients[to].v4, b"x");
            assert_eq!(node.send(from, 0, &inner), [Out::Client(to, inner)]);
        }
        let told = PeerEvent::KeyNearLimit { peer, key_id };
        let events = &node.shards[last].events;
        assert_eq!(events.iter().filter(|event| **event == told).count(), 1);
    }
}
