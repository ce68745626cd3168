//! Receives of many datagrams: each is looked at by itself, and all that they bring is in its place.

use super::node::{Node, Out, control_of, filled};
use super::*;
use crate::limits::{ARENAS, BUFFER_SIZE, SEGMENTS_MAX, SEND_MAX};
use crate::packet::segment::tests::{Sample, pattern, reference};

/// The kernel puts datagrams of one sender and one length together, whatever they are.
#[test]
fn each_datagram_of_a_receive_is_looked_at_by_itself() {
    let mut pair = Pair::aes();
    let inner: Vec<_> = (0..100).map(|n| ip(CLIENT_V4, LAN_V4, &[n; 30])).collect();
    let mut datagrams: Vec<_> = inner.iter().map(|it| pair.client.sealed(it)).collect();
    let length = datagrams[0].len();
    datagrams[20][30] ^= 1;
    let control = [&[0x38][..], &vec![7; length - 1]].concat();
    datagrams.insert(50, control.clone());
    let replayed = datagrams[3].clone();
    datagrams.push(replayed);
    datagrams.push(datagrams[4][..length - 10].to_vec());
    let run = datagrams.concat();
    let mut packet = pair.server.packet(&run, 128);
    packet.segment_size = length as u32;
    let received = received(packet, CLIENT);
    pair.server.inbound.received.push(received).unwrap();
    pair.server.run_inbound();
    let seen: Vec<_> = pair.server.inbound.control().collect();
    assert_eq!(seen, [(&control[..], CLIENT)]);
    let arrived = pair.server.take_inner();
    let expected: Vec<_> = [&inner[..20], &inner[21..]].concat();
    assert_eq!(arrived, expected);
    let drops = [(DropReason::Authentication, 1), (DropReason::Replay, 2)];
    pair.server.assert_drops(&drops);
}

#[test]
fn a_receive_with_more_datagrams_than_any_kernel_makes_loses_the_rest() {
    let mut pair = Pair::aes();
    let count = SEGMENTS_MAX + 3;
    let mut packet = pair.server.packet(&vec![0x38; count * 20], 0);
    packet.segment_size = 20;
    let received = received(packet, CLIENT);
    pair.server.inbound.received.push(received).unwrap();
    pair.server.run_inbound();
    let seen = pair.server.inbound.control().count();
    assert_eq!(seen, SEGMENTS_MAX);
    assert!(pair.server.take_inner().is_empty());
    pair.server.assert_drops(&[(DropReason::Malformed, 3)]);
}

/// A data packet names its peer in bytes that are not authenticated: in one receive of one sender there
/// may be packets for any shard.
#[test]
fn each_datagram_of_a_receive_goes_to_the_shard_that_it_names() {
    let mut node = Node::new(3);
    let clients = [0, 1, 2, 0].map(|shard| node.connect(shard, Numbering::PeerId));
    let path = node.clients[clients[0]].path;
    let inner = clients.map(|client| ip(node.clients[client].v4, LAN_V4, &[7; 80]));
    let order = [0, 0, 1, 0, 2, 2, 3, 0, 1, 0];
    let mut datagrams = order
        .map(|at| node.clients[clients[at]].seal(&inner[at]))
        .to_vec();
    let length = datagrams[0].len();
    let control = |shard| {
        let mut control = control_of(shard, &node.shards[0].surroundings.steering);
        control.resize(length, 0);
        control
    };
    let control = [0, 2].map(control);
    datagrams.insert(3, control[1].clone());
    datagrams.insert(6, control[0].clone());
    datagrams.push(datagrams[0][..20].to_vec());

    let shard = &mut node.shards[0];
    let mut packet = filled(shard.pool.take().unwrap(), &datagrams.concat());
    packet.segment_size = length as u32;
    shard.inbound.received.push(received(packet, path)).unwrap();
    let out = node.settle();
    let tun = |shard, client: usize| Out::Tun(shard, inner[client].clone());
    let expected = [
        [0, 0, 0, 3, 0, 0].map(|client| tun(0, client)).to_vec(),
        vec![Out::Control(0, control[0].clone())],
        [1, 1].map(|client| tun(1, client)).to_vec(),
        [2, 2].map(|client| tun(2, client)).to_vec(),
        vec![Out::Control(2, control[1].clone())],
    ];
    assert_eq!(out, expected.concat());
    assert_eq!(node.handed_over, 5);
    assert_eq!(node.take_drops(), [(0, DropReason::Malformed, 1)]);
    // Whoever is heard from an address has moved there.
    let own = clients.map(|client| node.clients[client].path);
    let now = clients.map(|client| *node.peer(client).path());
    assert_eq!(now[0], own[0]);
    assert_eq!(now[1..], [path; 3]);
}

/// What is opened fills several buffers: nothing is merged across them, and nothing changes places.
#[test]
fn what_is_more_than_a_buffer_holds_is_in_the_next() {
    let mut pair = Pair::aes();
    pair.server.pool = Pool::new(2 * ARENAS as u32 + 2);
    pair.server.inbound = InboundBatch::new(ARENAS, MERGING);
    let mut next = Sample::tcp4(pattern(1_400));
    let mut inner = Vec::new();
    let receives: Vec<Vec<Vec<u8>>> = (0..ARENAS)
        .map(|_| {
            let packets: Vec<_> = (0..SEND_MAX / 1_500)
                .map(|_| {
                    let packet = next.bytes();
                    next = next.following();
                    packet
                })
                .collect();
            inner.extend(packets.iter().cloned());
            packets
                .iter()
                .map(|it| pair.client.sealed_payload(it))
                .collect()
        })
        .collect();
    for receive in &receives {
        let mut packet = pair.server.packet(&receive.concat(), 100);
        packet.segment_size = receive[0].len() as u32;
        pair.server
            .inbound
            .received
            .push(received(packet, CLIENT))
            .unwrap();
    }
    let (mut arrived, mut buffers) = (Vec::new(), Vec::new());
    while !pair.server.inbound.received.is_empty() {
        let before = pair.server.inbound.received.len();
        pair.server.run_inbound();
        let taken = before - pair.server.inbound.received.len();
        // As many as are sure to find room, however badly they fit.
        assert!(taken > 0 && taken * receives[0].concat().len() <= ARENAS / 2 * BUFFER_SIZE);
        let mut filled = 0;
        pair.server.inbound.write_tun(|buffer, packets, pieces| {
            for packet in packets {
                let whole = packet.bytes(&buffer, pieces).collect::<Vec<_>>().concat();
                arrived.extend(split(&whole, packet.offload));
            }
            filled += packets.iter().map(|it| it.len as usize).sum::<usize>();
            buffers.push(packets.len());
            pair.server.pool.give(buffer);
        });
        assert!(taken == 1 || filled > BUFFER_SIZE, "all of it was in one");
        for spent in pair.server.inbound.spent() {
            pair.server.pool.give(spent.buffer);
        }
    }
    assert_eq!(arrived.len(), inner.len());
    assert!(arrived == inner);
    // One flow: a packet for the tun device each, but where a buffer or the length of a packet ends.
    assert!(
        buffers.len() >= ARENAS && buffers.iter().all(|packets| *packets <= 2),
        "{buffers:?}"
    );
    pair.server.assert_drops(&[]);
    assert_eq!(pair.server.pool.free(), pair.server.pool.size());
}

/// What the kernel could say of a receive, and what is looked at then.
#[test]
fn no_length_of_a_receive_reaches_beyond_it() {
    let mut pair = Pair::aes();
    let inner = ip(CLIENT_V4, LAN_V4, &[7; 30]);
    for (segment_size, len, delivered, drops) in [
        // As long as one, and said to be longer.
        (75, 74, 1, &[][..]),
        (u32::MAX, 74, 1, &[]),
        (0, 74, 0, &[(DropReason::Malformed, 1)]),
        (74, 148, 2, &[]),
        (74, 222, 2, &[(DropReason::Malformed, 1)]),
        (
            73,
            74,
            0,
            &[(DropReason::Malformed, 1), (DropReason::Authentication, 1)],
        ),
        (0, 0, 0, &[(DropReason::Empty, 1)]),
        (74, 0, 0, &[(DropReason::Empty, 1)]),
        // Beyond the buffer.
        (
            BUFFER_SIZE as u32,
            BUFFER_SIZE as u32,
            0,
            &[(DropReason::Empty, 1)],
        ),
    ] {
        let datagrams = [0, 1].map(|_| pair.client.sealed(&inner)).concat();
        assert_eq!(datagrams.len(), 148);
        let mut packet = pair.server.packet(&datagrams, 100);
        (packet.segment_size, packet.len) = (segment_size, len);
        pair.server
            .inbound
            .received
            .push(received(packet, CLIENT))
            .unwrap();
        pair.server.run_inbound();
        let arrived = pair.server.take_inner();
        assert_eq!(
            arrived,
            vec![inner.clone(); delivered],
            "{segment_size} {len}"
        );
        pair.server.assert_drops(drops);
    }
}

/// The largest that a datagram can bring is an inner packet far larger than the tunnel's MTU: the tun
/// device takes it, another client does not.
#[test]
fn a_datagram_of_any_length_is_opened_and_not_sent_on_to_a_client() {
    let mut node = Node::new(1).with_client_to_client();
    let clients = [0, 0].map(|shard| node.connect(shard, Numbering::PeerId));
    let (from, to) = (&node.clients[clients[0]], &node.clients[clients[1]]);
    let (v4, other) = (from.v4, to.v4);
    let largest = SEND_MAX - 24;
    let up = ip(v4, LAN_V4, &vec![7; largest - 20]);
    assert_eq!(node.send(clients[0], 0, &up), [Out::Tun(0, up)]);
    for (length, passes) in [(1_500, true), (1_501, false), (largest, false)] {
        let across = ip(v4, other, &vec![7; length - 20]);
        let expected = Out::Client(clients[1], across.clone());
        let expected = passes.then_some(expected).into_iter().collect::<Vec<_>>();
        assert_eq!(node.send(clients[0], 0, &across), expected);
        let drop = (0, DropReason::TooLarge, 1);
        let drops = (!passes).then_some(drop).into_iter().collect::<Vec<_>>();
        assert_eq!(node.take_drops(), drops);
    }
}

fn split(whole: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    match offload {
        Offload::Segments(segments) => reference::split(whole, segments.size.into(), false),
        _ => vec![whole.to_vec()],
    }
}
