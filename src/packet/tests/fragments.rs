//! Packets that are cut into several datagrams, and become one again.

use proptest::prelude::*;

use super::*;
use crate::limits::{FRAGMENT_LIFETIME, FRAGMENTED_PER_PEER, FRAGMENTED_PER_SHARD};
use crate::packet::FragmentLimit;
use crate::wire::{FragmentHeader, Framing, OCC_MAGIC, PING};

fn pair(limit: u16, framing: Framing) -> Pair {
    let mut pair = Pair::aes();
    for end in [&mut pair.client, &mut pair.server] {
        end.peer().cut_packets(FragmentLimit::Payload(limit));
        end.peer().set_framing(framing);
        let inbound = InboundBatch::new(4, MERGING);
        end.inbound = inbound.joining(1500 + 16);
    }
    pair
}

impl End {
    /// The datagrams that an inner packet becomes.
    fn cut(&mut self, inner: &[u8]) -> Vec<Vec<u8>> {
        let packet = self.packet(inner, 10);
        self.outbound.inner.push(from_tun(packet)).unwrap();
        self.run_outbound();
        let mut datagrams = Vec::new();
        for datagram in self.outbound.datagrams.drain() {
            let size = datagram.packet.segment_size as usize;
            datagrams.extend(datagram.packet.bytes().chunks(size).map(<[u8]>::to_vec));
            self.pool.give(datagram.packet.buffer);
        }
        for spent in self.outbound.consumed.drain() {
            self.pool.give(spent.buffer);
        }
        assert_eq!(self.pool.free(), self.pool.size());
        datagrams
    }

    /// What these bring together, one after the other.
    fn receive_each(&mut self, datagrams: &[Vec<u8>], path: Path) -> Vec<Vec<u8>> {
        let received = datagrams
            .iter()
            .map(|datagram| self.receive(datagram, path));
        received.collect::<Vec<_>>().concat()
    }
}

fn large(payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|at| at as u8).collect();
    ip(CLIENT_V4, LAN_V4, &payload)
}

/// A payload of the client behind this header, under the client's key.
fn part(packet_id: u32, header: FragmentHeader, bytes: &[u8]) -> Vec<u8> {
    datagram_with_packet_id(packet_id, &[&header.emit()[..], bytes].concat())
}

#[test]
fn packets_of_any_size_arrive_as_they_were_and_no_datagram_is_too_large() {
    for framing in [Framing::None, Framing::Prefix, Framing::Swap, Framing::V2] {
        for limit in [124, 500, 1300] {
            let mut pair = pair(limit, framing);
            for payload in [1, 100, 452, 456, 457, 1000, 1244, 1480] {
                let packet = large(payload);
                let mut datagrams = pair.client.cut(&packet);
                let whole = usize::from(limit) - 24 - 4 - framing.overhead();
                assert_eq!(datagrams.len() == 1, packet.len() <= whole);
                for datagram in &datagrams {
                    assert!(datagram.len() <= limit.into(), "{limit} {}", datagram.len());
                }
                let received = pair.server.receive_each(&datagrams, CLIENT);
                assert_eq!(received, std::slice::from_ref(&packet));
                // The other way around, too: of one packet any order will do.
                let packet = ip(LAN_V4, CLIENT_V4, &packet[20..]);
                datagrams = pair.server.cut(&packet);
                datagrams.reverse();
                assert_eq!(pair.client.receive_each(&datagrams, SERVER), [packet]);
            }
            pair.server.assert_drops(&[]);
            pair.client.assert_drops(&[]);
        }
    }
}

#[test]
fn packets_of_a_flow_leave_in_one_send_and_come_in_one_receive() {
    let mut pair = pair(500, Framing::None);
    let packet = large(1420);
    let sent = pair.client.send(&packet);
    let [(run, _)] = sent.try_into().unwrap();
    assert_eq!(run.len() % 4, 0, "parts of one length");
    let mut received = pair.server.packet(&run, 100);
    received.segment_size = (run.len() / 4) as u32;
    let received = super::received(received, CLIENT);
    pair.server.inbound.received.push(received).unwrap();
    pair.server.run_inbound();
    assert_eq!(pair.server.take_inner(), [packet]);
}

#[test]
fn what_is_said_beside_packets_has_a_header_too() {
    let mut pair = pair(500, Framing::Prefix);
    let ping = pair.client.sealed_payload(&PING);
    assert_eq!(ping.len(), 24 + 4 + 1 + 16);
    assert_eq!(pair.server.receive(&ping, CLIENT), [[0; 0]; 0]);
    let exit = pair.client.sealed_payload(&[&OCC_MAGIC[..], &[6]].concat());
    assert_eq!(pair.server.receive(&exit, CLIENT), [[0; 0]; 0]);
    let peer = pair.server.peer;
    assert!(pair.server.events.contains(&PeerEvent::ExitNotice { peer }));
    pair.server.assert_drops(&[]);
    assert_eq!(pair.client.peer().inner_bytes, 0);
    assert_eq!(
        pair.server.peer().inner_bytes,
        0,
        "pings are nobody's packets"
    );
}

#[test]
fn packets_whose_parts_are_mixed_arrive() {
    let mut pair = pair(500, Framing::None);
    let packets: Vec<_> = (0..FRAGMENTED_PER_PEER)
        .map(|more| large(800 + more))
        .collect();
    let cut: Vec<_> = packets
        .iter()
        .map(|packet| pair.client.cut(packet))
        .collect();
    for number in 0..2 {
        for datagrams in &cut {
            let came = pair.server.receive(&datagrams[number], CLIENT);
            assert_eq!(came.len(), number);
        }
    }
    pair.server.assert_drops(&[]);
}

#[test]
fn what_is_no_part_is_dropped_by_name() {
    let first = |index| FragmentHeader::Part { sequence: 7, index };
    let last = |index, size| FragmentHeader::Last {
        sequence: 7,
        index,
        size,
    };
    let peer = Pair::aes().server.peer;
    let refusal = crate::packet::Refusal::Fragment;
    for (parts, fragment, incomplete) in [
        // Not a multiple of four; nothing; more than the others have; behind any packet.
        (&[(first(0), 402)][..], 1, 0),
        (&[(first(0), 0)], 1, 0),
        (&[(last(1, 400), 401)], 1, 0),
        (&[(last(31, 400), 1)], 1, 0),
        (&[(last(1, 0), 1)], 1, 0),
        // Behind the last one, and two last ones.
        (&[(last(1, 400), 9), (first(2), 400)], 1, 1),
        (&[(first(2), 400), (last(1, 400), 9)], 1, 1),
        (&[(last(1, 400), 9), (last(2, 400), 9)], 1, 1),
        // Of another size: it begins anew.
        (&[(first(0), 400), (first(1), 404)], 0, 1),
    ] {
        let mut pair = pair(500, Framing::None);
        for ((header, length), packet_id) in parts.iter().zip(1..) {
            let datagram = part(packet_id, *header, &vec![0x45; *length]);
            assert_eq!(pair.server.receive(&datagram, CLIENT), [[0; 0]; 0]);
        }
        let counted = |reason| pair.server.drops.of(reason);
        assert_eq!(counted(DropReason::Fragment), fragment, "{parts:?}");
        assert_eq!(counted(DropReason::Incomplete), incomplete, "{parts:?}");
        let told = PeerEvent::Refused { peer, refusal };
        assert_eq!(pair.server.events.contains(&told), fragment > 0);
    }
    for bytes in [
        &[0, 0, 0][..],
        &[0, 0, 0, 3, 1],
        &[0, 0, 0, 4, 1],
        &[0x47; 40],
    ] {
        let mut pair = pair(500, Framing::None);
        let datagram = datagram_with_packet_id(1, bytes);
        assert_eq!(pair.server.receive(&datagram, CLIENT), [[0; 0]; 0]);
        pair.server.assert_drops(&[(DropReason::Fragment, 1)]);
    }
}

#[test]
fn parts_are_not_kept_for_long() {
    let mut pair = pair(500, Framing::None);
    for (pause, arrives) in [
        (FRAGMENT_LIFETIME - Duration::from_millis(1), 1),
        (FRAGMENT_LIFETIME, 0),
    ] {
        let [first, last] = pair.client.cut(&large(900)).try_into().unwrap();
        assert_eq!(pair.server.receive(&first, CLIENT), [[0; 0]; 0]);
        pair.server.now = pair.server.now + pause;
        assert_eq!(pair.server.receive(&last, CLIENT).len(), arrives);
    }
    pair.server.assert_drops(&[(DropReason::Incomplete, 1)]);
}

/// What a peer never finishes has a bound, and makes room in time.
#[test]
fn a_peer_that_finishes_nothing_takes_its_own_share_alone() {
    let mut pair = pair(500, Framing::None);
    let mut packet_id = 0;
    for round in 0..3 {
        for sequence in 0..=u8::MAX {
            packet_id += 1;
            let header = FragmentHeader::Part { sequence, index: 0 };
            let datagram = part(packet_id, header, &[round; 400]);
            assert_eq!(pair.server.receive(&datagram, CLIENT), [[0; 0]; 0]);
        }
    }
    let given_up = u64::from(packet_id) - FRAGMENTED_PER_PEER as u64;
    pair.server
        .assert_drops(&[(DropReason::Incomplete, given_up)]);
    assert!(FRAGMENTED_PER_PEER < FRAGMENTED_PER_SHARD.into());
}

/// A second last part would otherwise leave a gap, in which others' bytes are.
#[test]
fn nothing_but_what_a_peer_sent_comes_of_its_parts() {
    let mut pair = pair(500, Framing::None);
    let last = |index, sequence| FragmentHeader::Last {
        sequence,
        index,
        size: 400,
    };
    let first = FragmentHeader::Part {
        sequence: 1,
        index: 0,
    };
    let packet = large(880);
    for (header, bytes, packet_id) in [
        (last(2, 1), &packet[800..], 1),
        (last(1, 1), &packet[400..800], 2),
        (first, &packet[..400], 3),
    ] {
        let datagram = part(packet_id, header, bytes);
        assert_eq!(pair.server.receive(&datagram, CLIENT), [[0; 0]; 0]);
    }
    pair.server
        .assert_drops(&[(DropReason::Fragment, 1), (DropReason::Incomplete, 1)]);
}

proptest! {
    #[test]
    fn any_parts_of_a_peer_are_survived(
        parts in proptest::collection::vec(
            (any::<[u8; 4]>(), 0_usize..1400, 0_u64..4_000), 1..60),
    ) {
        let mut pair = pair(500, Framing::Swap);
        for ((mut header, length, pause), packet_id) in parts.into_iter().zip(1..) {
            // Few numbers and places, so that they meet.
            header[0] &= 0x01;
            header[2] &= 0x0f;
            header[3] &= 0x0f;
            let payload = [&header[..], &vec![0x45; length]].concat();
            pair.server.now = pair.server.now + Duration::from_millis(pause);
            pair.server.receive(&datagram_with_packet_id(packet_id, &payload), CLIENT);
        }
    }

    #[test]
    fn cut_packets_arrive_in_any_order(
        lengths in proptest::collection::vec(1_usize..1480, 1..20),
        limit in 124_u16..1500,
        seed: u64,
    ) {
        let mut pair = pair(limit, Framing::Prefix);
        let mut packets: Vec<_> = lengths.into_iter().map(large).collect();
        let mut datagrams: Vec<_> = packets.iter().flat_map(|it| pair.client.cut(it)).collect();
        let mut random = SeededRandom::new(seed);
        // Within the window of packet ids.
        for near in datagrams.chunks_mut(30) {
            for at in 1..near.len() {
                near.swap(at, random.below(at as u64 + 1) as usize);
            }
        }
        let mut arrived = pair.server.receive_each(&datagrams, CLIENT);
        arrived.sort();
        packets.sort();
        prop_assert_eq!(arrived, packets);
    }
}
