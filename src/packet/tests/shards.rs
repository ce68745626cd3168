//! Packets that come in on any shard of a node.

use super::node::{Client, Node, Out, control_of, filled};
use super::*;
use crate::wire::PING;
use proptest::prelude::*;

#[test]
fn what_comes_in_on_the_wrong_shard_reaches_its_owner() {
    let mut node = Node::new(3);
    let mut expected = 0;
    for (owner, numbering) in (0..3).flat_map(|shard| NUMBERINGS.map(|kind| (shard, kind))) {
        let client = node.connect(owner, numbering);
        for arrival in 0..3 {
            let inner = node.clients[client].up();
            assert_eq!(node.send_up(client, arrival), [Out::Tun(owner, inner)]);
            assert_eq!(node.send(client, arrival, &PING), []);
            let down = ip(LAN_V6, node.clients[client].v6, b"down");
            let out = node.read_tun(arrival, &down);
            assert_eq!(out, [Out::Client(client, down)]);
            let control = control_of(owner as u16, &node.shards[0].surroundings.steering);
            let out = node.receive(arrival, &control, path(9, 9));
            assert_eq!(out, [Out::Control(owner, control)]);
            expected += 4 * usize::from(arrival != owner);
            assert_eq!(
                node.handed_over, expected,
                "{owner} {numbering:?} {arrival}"
            );
        }
    }
    assert_eq!(node.take_drops(), []);
}

#[test]
fn what_nobody_owns_is_dropped_where_it_came_in_or_where_it_belongs() {
    let mut node = Node::new(2);
    let client = node.connect(1, Numbering::FourTuple);
    let datagram = node.clients[client].seal(&PING);
    let peer_id = |id| [&[0x48, 0, 0, id][..], &[0; 40]].concat();
    for (datagram, path, drop, handed_over) in [
        (datagram, path(9, 9), (0, DropReason::UnknownPeer, 1), 0),
        (peer_id(0), path(9, 9), (0, DropReason::UnknownPeer, 1), 0),
        (peer_id(1), path(9, 9), (1, DropReason::UnknownPeer, 1), 1),
        (vec![0xff; 9], path(9, 9), (0, DropReason::Malformed, 1), 1),
        (vec![], path(9, 9), (0, DropReason::Empty, 1), 1),
    ] {
        assert_eq!(node.receive(0, &datagram, path), []);
        assert_eq!(node.take_drops(), [drop]);
        assert_eq!(node.handed_over, handed_over);
    }
    assert_eq!(node.read_tun(0, &ip(LAN_V4, [10, 9, 0, 1], b"x")), []);
    assert_eq!(node.take_drops(), [(0, DropReason::NoRoute, 1)]);
}

#[test]
fn nothing_is_handed_on_when_a_directory_is_late() {
    let mut node = Node::new(3).with_client_to_client();
    let client = node.connect(1, Numbering::FourTuple);
    let sender = node.connect(0, Numbering::PeerId);
    let Client { path, v4, .. } = node.clients[client];
    let datagram = node.clients[client].seal(&PING);
    // The client has left the second shard for the third, which the first has not heard.
    node.disconnect(client);
    let moved = Owner {
        shard: 2,
        client_id: 77,
    };
    let directory = &mut node.shards[1].surroundings.directory;
    let numbering = Numbering::FourTuple;
    let client_path = ClientPath { path, numbering };
    directory.announce_path(&client_path, moved).unwrap();
    directory.announce_inner(v4.into(), moved).unwrap();
    assert_eq!(node.receive(0, &datagram, path), []);
    assert_eq!(node.read_tun(0, &ip(LAN_V4, v4, b"x")), []);
    let from_client = ip(node.clients[sender].v4, v4, b"x");
    assert_eq!(node.send(sender, 0, &from_client), []);
    assert_eq!(node.take_drops(), [(1, DropReason::HandedOnTwice, 3)]);

    // It has left altogether.
    let directory = &mut node.shards[1].surroundings.directory;
    directory.withdraw_path(&path, moved);
    directory.withdraw_inner(v4.into(), moved);
    assert_eq!(node.receive(0, &datagram, path), []);
    assert_eq!(node.read_tun(0, &ip(LAN_V4, v4, b"x")), []);
    let expected = [(1, DropReason::UnknownPeer, 1), (1, DropReason::NoRoute, 1)];
    assert_eq!(node.take_drops(), expected);
}

#[test]
fn a_control_datagram_of_a_third_shard_is_not_handed_on() {
    let mut node = Node::new(3);
    let steering = node.shards[0].surroundings.steering;
    let mut buffer = node.shards[0].pool.take().unwrap();
    let control = control_of(2, &steering);
    buffer.bytes_mut()[..control.len()].copy_from_slice(&control);
    node.shards[1].mailbox.push(Parcel {
        from: 0,
        packet: Packet::single(buffer, 0, control.len() as u32),
        content: ParcelContent::Datagram(path(9, 9)),
    });
    assert_eq!(node.settle(), []);
    assert_eq!(node.take_drops(), [(1, DropReason::HandedOnTwice, 1)]);
}

#[test]
fn the_own_table_is_believed_rather_than_an_equal_entry_of_the_directory() {
    let mut node = Node::new(2);
    let client = node.connect(0, Numbering::PeerId);
    let late = Owner {
        shard: 1,
        client_id: 77,
    };
    let v4 = node.clients[client].v4;
    let directory = &mut node.shards[0].surroundings.directory;
    directory.announce_inner(v4.into(), late).unwrap();
    assert_eq!(node.send_down(client, 0).len(), 1);
    assert_eq!(node.handed_over, 0);
}

#[test]
fn the_longest_match_counts_over_all_shards() {
    let mut node = Node::new(2);
    let wide = node.connect(0, Numbering::PeerId);
    let narrow = node.connect(1, Numbering::PeerId);
    node.route(wide, "10.0.0.0/8");
    node.route(narrow, "10.66.1.0/24");
    for (destination, client) in [
        (Ipv4Addr::from([10, 66, 2, 1]), wide),
        ([10, 66, 1, 1].into(), narrow),
        (node.clients[narrow].v4, narrow),
        (node.clients[wide].v4, wide),
    ] {
        for shard in 0..2 {
            let inner = ip(LAN_V4, destination, b"x");
            let out = node.read_tun(shard, &inner);
            assert_eq!(out, [Out::Client(client, inner)], "{destination} {shard}");
        }
    }
    // The same for sources: inside the wide network, but another client's.
    for (client, source, passes) in [
        (wide, Ipv4Addr::from([10, 66, 2, 1]), true),
        (wide, [10, 66, 1, 1].into(), false),
        (wide, node.clients[narrow].v4, false),
        (narrow, [10, 66, 1, 1].into(), true),
        (narrow, [10, 66, 2, 1].into(), false),
    ] {
        let shard = node.clients[client].shard;
        let out = node.send(client, shard, &ip(source, LAN_V4, b"x"));
        assert_eq!(out.len(), usize::from(passes), "{client} {source}");
        let dropped = [(shard, DropReason::SourceAddress, 1)];
        let drops: &[_] = if passes { &[] } else { &dropped };
        assert_eq!(node.take_drops(), drops);
    }
}

#[test]
fn an_empty_pool_keeps_a_packet_from_being_handed_over() {
    let mut node = Node::new(2);
    let client = node.connect(1, Numbering::PeerId);
    let datagram = node.clients[client].seal(&PING);
    let down = ip(LAN_V4, node.clients[client].v4, b"x");
    let end = &mut node.shards[0];
    let packets = [&datagram, &down].map(|bytes| filled(end.pool.take().unwrap(), bytes));
    let held: Vec<Buffer> = std::iter::from_fn(|| end.pool.take()).collect();
    let [datagram, down] = packets;
    let from = node.clients[client].path;
    end.inbound.received.push(received(datagram, from)).unwrap();
    end.outbound.inner.push(from_tun(down)).unwrap();
    let mut parcels = Vec::new();
    let (outputs, spent) = end.turn(node.now, &mut parcels);
    assert!(outputs.is_empty() && parcels.is_empty());
    let origins: Vec<_> = spent.iter().map(|spent| spent.origin).collect();
    assert_eq!(origins, [Origin::Socket, Origin::Tun]);
    for buffer in held
        .into_iter()
        .chain(spent.into_iter().map(|spent| spent.buffer))
    {
        end.pool.give(buffer);
    }
    assert_eq!(node.take_drops(), [(0, DropReason::PoolEmpty, 2)]);
}

#[test]
fn a_single_shard_hands_nothing_over_whatever_it_has_heard() {
    let mut node = Node::new(1).with_client_to_client();
    let client = node.connect(0, Numbering::FourTuple);
    let elsewhere = Owner {
        shard: 3,
        client_id: 77,
    };
    let Client { path, v4, .. } = node.clients[client];
    let directory = &mut node.shards[0].surroundings.directory;
    let numbering = Numbering::FourTuple;
    let client_path = ClientPath { path, numbering };
    directory.announce_path(&client_path, elsewhere).unwrap();
    directory.announce_inner(v4.into(), elsewhere).unwrap();
    assert_eq!(node.send_up(client, 0).len(), 1);
    assert_eq!(node.send_down(client, 0).len(), 1);
    assert_eq!(node.take_drops(), []);
}

#[test]
fn a_full_batch_hands_the_parcel_back() {
    let mut pool = Pool::new(2);
    let (mut inbound, mut outbound) = (InboundBatch::new(1, MERGING), OutboundBatch::new(1));
    for content in [
        ParcelContent::Datagram(CLIENT),
        ParcelContent::Inner(InnerSource::Client, Offload::None),
    ] {
        let parcel = |mark, pool: &mut Pool| Parcel {
            from: 5,
            packet: filled(pool.take().unwrap(), &[mark]),
            content,
        };
        let first = parcel(1, &mut pool);
        assert!(first.unpack(&mut inbound, &mut outbound).is_ok());
        let second = parcel(2, &mut pool);
        let refused = second.unpack(&mut inbound, &mut outbound).unwrap_err();
        assert_eq!((refused.from, refused.packet.bytes()), (5, &[2][..]));
        assert_eq!(refused.content, content);
        pool.give(refused.packet.buffer);
        let datagrams = inbound.received.drain().map(Received::spent);
        let packets = outbound.inner.drain().map(Inner::spent);
        let spent: Vec<Spent> = datagrams.chain(packets).collect();
        let [Spent { buffer, origin }] = spent.try_into().unwrap();
        assert_eq!(origin, Origin::Shard(5));
        pool.give(buffer);
    }
}

/// Something that happens to a node; clients and shards by numbers that are taken modulo.
#[derive(Clone, Debug)]
enum Step {
    /// From a client to the LAN.
    Up(usize),
    /// From the LAN to a client.
    Down(usize),
    /// From a client to a client.
    Across(usize, usize),
    /// A client goes on from another address, and says so.
    Move(usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        client.clone().prop_map(Step::Up),
        client.clone().prop_map(Step::Down),
        (client.clone(), client.clone()).prop_map(|(from, to)| Step::Across(from, to)),
        (client, 5000_u16..5004).prop_map(|(client, port)| Step::Move(client, port)),
    ]
}

const CLIENTS: usize = 6;

proptest! {
    /// Wherever packets come in, each gets to its one place.
    #[test]
    fn every_packet_gets_to_its_place(
        shards in 1_u16..4,
        client_to_client in any::<bool>(),
        steps in prop::collection::vec((step(), 0_usize..4), 1..60),
    ) {
        let mut node = Node::new(shards);
        if client_to_client {
            node = node.with_client_to_client();
        }
        for number in 0..CLIENTS {
            // One of three is known by its path alone.
            let numbering = NUMBERINGS[usize::from(number % 3 == 0)];
            let client = node.connect(number % usize::from(shards), numbering);
            if numbering == Numbering::PeerId {
                prop_assert_eq!(node.send_up(client, 0).len(), 1);
            }
        }
        for (step, arrival) in steps {
            let arrival = arrival % usize::from(shards);
            let handed_over = node.handed_over;
            let (out, expected) = match step {
                Step::Up(client) => {
                    let inner = node.clients[client].up();
                    let expected = Out::Tun(node.clients[client].shard, inner);
                    (node.send_up(client, arrival), expected)
                }
                Step::Down(client) => {
                    let inner = ip(LAN_V4, node.clients[client].v4, b"down");
                    (node.send_down(client, arrival), Out::Client(client, inner))
                }
                Step::Across(from, to) => {
                    let inner = ip(node.clients[from].v6, node.clients[to].v6, b"across");
                    let expected = match client_to_client {
                        true => Out::Client(to, inner.clone()),
                        false => Out::Tun(node.clients[from].shard, inner.clone()),
                    };
                    (node.send(from, arrival, &inner), expected)
                }
                Step::Move(client, port) => {
                    if client % 3 != 0 {
                        node.clients[client].path = path(2, port);
                    }
                    let inner = node.clients[client].up();
                    let expected = Out::Tun(node.clients[client].shard, inner);
                    (node.send_up(client, arrival), expected)
                }
            };
            prop_assert_eq!(out, [expected]);
            // A datagram to its owner, and what it holds to another client's.
            prop_assert!(node.handed_over - handed_over <= 2);
        }
        prop_assert_eq!(node.take_drops(), []);
        if shards == 1 {
            prop_assert_eq!(node.handed_over, 0);
        }
    }
}
