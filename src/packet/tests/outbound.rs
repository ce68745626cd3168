use super::*;
use crate::wire::{PING, PeerId};

fn key_id(value: u8) -> KeyId {
    KeyId::from_low_bits(value)
}

fn to_client(len: usize) -> Vec<u8> {
    ip(LAN_V4, CLIENT_V4, &vec![7; len - 20])
}

#[test]
fn what_has_no_way_to_a_peer_is_counted_by_its_reason() {
    let mut pair = Pair::aes();
    for (inner, reason) in [
        (to_client(1501), DropReason::TooLarge),
        (ip(LAN_V4, [10, 8, 0, 3], b"x"), DropReason::NoRoute),
        (b"no packet".to_vec(), DropReason::InnerMalformed),
    ] {
        assert!(pair.server.send(&inner).is_empty());
        pair.server.assert_drops(&[(reason, 1)]);
    }
    assert_eq!(pair.server.send(&to_client(1500)).len(), 1);
}

#[test]
fn trap_16_a_key_opens_from_when_it_is_installed_and_seals_from_when_it_is_named() {
    let mut pair = Pair::aes();
    pair.server.peer().keys.retire(KeyId::FIRST);
    assert_eq!(pair.server.peer().keys.sending(), None);
    for id in [0, 1] {
        pair.install(DataCipher::Aes256Gcm, key_id(id));
    }
    assert!(pair.server.send(&to_client(100)).is_empty());
    pair.server.assert_drops(&[(DropReason::NotConnected, 1)]);
    let index = pair.server.peer;
    let now = pair.server.now;
    let refused = seal_payload(
        &mut pair.server.peers,
        index,
        &PING,
        &mut pair.server.pool,
        now,
    );
    assert_eq!(refused.err(), Some(DropReason::NotConnected));
    assert_eq!(pair.server.peer().keys.send_with(key_id(2)), Err(NoSuchKey));

    pair.server.peer().keys.send_with(key_id(1)).unwrap();
    let datagram = pair.server.sealed(&to_client(100));
    assert_eq!(datagram[0] & 7, 1);
    assert_eq!(pair.client.receive(&datagram, SERVER), [to_client(100)]);
}

#[test]
fn a_fourth_key_takes_the_place_of_the_oldest_that_does_not_send() {
    let mut pair = Pair::aes();
    for id in 1..=3 {
        pair.install(DataCipher::Aes256Gcm, key_id(id));
    }
    let ids: Vec<u8> = pair.server.peer().keys.key_ids().map(KeyId::get).collect();
    assert_eq!(ids, [0, 2, 3]);
    assert_eq!(pair.server.peer().keys.sending(), Some(KeyId::FIRST));
    pair.install(DataCipher::Aes256Gcm, key_id(2));
    let ids: Vec<u8> = pair.server.peer().keys.key_ids().map(KeyId::get).collect();
    assert_eq!(ids, [0, 3, 2]);
}

#[test]
fn a_key_near_its_limit_is_told_once_by_what_is_sent_too() {
    let mut pair = Pair::aes();
    let (_, mut keys) = keys(DataCipher::Aes256Gcm, 0);
    let datagram = datagram_with_packet_id(crate::limits::PACKET_ID_RENEGOTIATE, &PING);
    keys.open
        .open(pair.server.now, &datagram, &mut [0; 16])
        .unwrap();
    pair.server.peer().keys.install(KeyId::FIRST, keys);
    for _ in 0..2 {
        pair.server.sealed(&to_client(100));
    }
    let near_limit = PeerEvent::KeyNearLimit {
        peer: pair.server.peer,
        key_id: KeyId::FIRST,
    };
    assert_eq!(pair.server.events, [near_limit]);
}

#[test]
fn a_peer_that_is_gone_gets_nothing() {
    let mut pair = Pair::aes();
    let index = pair.server.peer;
    pair.server.peers.remove(index, pair.server.now);
    assert!(pair.server.send(&to_client(100)).is_empty());
    pair.server.assert_drops(&[(DropReason::NoRoute, 1)]);
}

#[test]
fn a_sealed_packet_is_noted_on_its_peer() {
    let mut pair = Pair::aes();
    pair.server.now = pair.server.now + Duration::from_secs(1);
    let datagram = pair.server.sealed(&to_client(100));
    let ping = pair.server.sealed_payload(&PING);
    let now = pair.server.now;
    assert_eq!(pair.server.peer().last_sent, now);
    let traffic = Traffic {
        sent_bytes: (datagram.len() + ping.len()) as u64,
        sent_packets: 2,
        ..Traffic::default()
    };
    assert_eq!(pair.server.peer().traffic, traffic);
}

#[test]
fn an_empty_pool_loses_the_packet_and_nothing_else() {
    let mut pair = Pair::aes();
    let packet = pair.server.packet(&to_client(100), 0);
    let held: Vec<Buffer> = std::iter::from_fn(|| pair.server.pool.take()).collect();
    pair.server.outbound.inner.push(from_tun(packet)).unwrap();
    pair.server.run_outbound();
    pair.server.assert_drops(&[(DropReason::PoolEmpty, 1)]);
    assert!(pair.server.outbound.datagrams.is_empty());
    let spent = pair.server.outbound.consumed.pop().unwrap();
    assert_eq!(spent.origin, Origin::Tun);
    pair.server.pool.give(spent.buffer);
    for buffer in held {
        pair.server.pool.give(buffer);
    }
    assert_eq!(pair.server.pool.free(), pair.server.pool.size());
    assert_eq!(pair.server.send(&to_client(100)).len(), 1);
}

#[test]
fn datagrams_keep_the_order_of_their_packets() {
    let mut pair = Pair::aes();
    // Each is longer than the one before, so that each leaves by itself.
    let inner: Vec<_> = (40..44).map(to_client).collect();
    for packet in &inner {
        let packet = pair.server.packet(packet, 0);
        pair.server.outbound.inner.push(from_tun(packet)).unwrap();
    }
    pair.server.run_outbound();
    let datagrams: Vec<_> = pair.server.outbound.datagrams.drain().collect();
    for (datagram, inner) in datagrams.iter().zip(&inner) {
        assert_eq!(datagram.peer, pair.server.peer);
        let bytes = datagram.packet.bytes();
        assert_eq!(
            pair.client.receive(bytes, SERVER),
            std::slice::from_ref(inner)
        );
    }
    assert_eq!(datagrams.len(), 4);
}

/// Lengths of the datagrams of each send that equal and unequal packets to one peer become.
fn runs(pair: &mut Pair, lengths: &[usize]) -> Vec<Vec<usize>> {
    for (number, length) in lengths.iter().enumerate() {
        // Each from another address: of another flow.
        let source = [203, 0, 113, number as u8];
        let packet = ip(source, CLIENT_V4, &vec![7; length - 20]);
        let packet = pair.server.packet(&packet, 0);
        pair.server.outbound.inner.push(from_tun(packet)).unwrap();
    }
    pair.server.run_outbound();
    for spent in pair.server.outbound.consumed.drain() {
        pair.server.pool.give(spent.buffer);
    }
    let datagrams: Vec<_> = pair.server.outbound.datagrams.drain().collect();
    let runs = datagrams.into_iter().map(|datagram| {
        let bytes = datagram.packet.buffer.bytes();
        let pieces = datagram.packet.pieces();
        let pieces: Vec<_> = pieces.map(|it| bytes[it.range()].to_vec()).collect();
        pair.server.pool.give(datagram.packet.buffer);
        pieces
    });
    let runs: Vec<Vec<Vec<u8>>> = runs.collect();
    let mut arrived = Vec::new();
    for datagram in runs.iter().flatten() {
        let inner = pair.client.receive(datagram, SERVER);
        arrived.extend(inner.iter().map(Vec::len));
    }
    assert_eq!(arrived, lengths, "all of them, in their order");
    let lengths = |run: &Vec<Vec<u8>>| run.iter().map(|it| it.len() - 24).collect();
    runs.iter().map(lengths).collect()
}

#[test]
fn equal_packets_to_a_peer_leave_in_one_send_whatever_their_flows() {
    let mut pair = Pair::aes();
    pair.server.outbound = OutboundBatch::new(80);
    pair.server.pool = Pool::new(100);
    let table: [(&[usize], &[&[usize]]); 5] = [
        (&[100, 100, 100], &[&[100, 100, 100]]),
        // A shorter one ends the run, though it goes with it.
        (&[100, 60, 60], &[&[100, 60], &[60]]),
        (&[100, 60, 100], &[&[100, 60], &[100]]),
        // A longer one begins another.
        (&[60, 100, 100], &[&[60], &[100, 100]]),
        (&[60], &[&[60]]),
    ];
    for (lengths, expected) in table {
        assert_eq!(runs(&mut pair, lengths), expected, "{lengths:?}");
    }
    let many = runs(&mut pair, &[100; 70]);
    let counts: Vec<usize> = many.iter().map(Vec::len).collect();
    assert_eq!(counts, [crate::limits::SEGMENTS_PER_SEND, 6]);
    let large = runs(&mut pair, &[1500; 50]);
    let counts: Vec<usize> = large.iter().map(Vec::len).collect();
    assert_eq!(counts, [crate::limits::SEND_MAX / 1524, 8]);
}

#[test]
fn a_send_has_one_class_that_of_its_packets() {
    let mut pair = Pair::aes();
    pair.server.outbound = OutboundBatch::new(16);
    pair.server.pool = Pool::new(16);
    let mut classes = |copies: bool, classes: &[u8]| -> Vec<(u8, usize)> {
        pair.server.outbound.copy_classes(copies);
        for class in classes {
            let mut packet = to_client(100);
            packet[1] = *class;
            let packet = pair.server.packet(&packet, 0);
            pair.server.outbound.inner.push(from_tun(packet)).unwrap();
        }
        pair.server.run_outbound();
        for spent in pair.server.outbound.consumed.drain() {
            pair.server.pool.give(spent.buffer);
        }
        let datagrams: Vec<_> = pair.server.outbound.datagrams.drain().collect();
        let sends = datagrams.into_iter().map(|datagram| {
            let segments = datagram.packet.segments();
            pair.server.pool.give(datagram.packet.buffer);
            (datagram.class.byte(), segments)
        });
        sends.collect()
    };
    let mixed = [0, 0xb8, 0xbb, 0xb8, 0, 0x20];
    assert_eq!(
        classes(true, &mixed),
        [(0, 1), (0xb8, 3), (0, 1), (0x20, 1)]
    );
    assert_eq!(classes(false, &mixed), [(0, 6)]);
}

#[test]
fn a_peer_whose_runs_the_kernel_refuses_gets_single_datagrams_for_a_while() {
    let mut pair = Pair::aes();
    let now = pair.server.now;
    pair.server.peer().refuse_runs(now);
    assert_eq!(runs(&mut pair, &[100, 100]).len(), 2);
    pair.server.now = now + crate::limits::SEND_OFFLOAD_PAUSE;
    assert_eq!(runs(&mut pair, &[100, 100]).len(), 1);
    pair.server.outbound = OutboundBatch::new(4).sending_one_by_one();
    assert_eq!(runs(&mut pair, &[100, 100]).len(), 2);
}

/// A super-packet whose segments are larger than the tunnel's MTU: the kernel makes none, as the device
/// has that MTU, but nothing says so.
#[test]
fn each_segment_that_is_too_large_is_dropped_by_itself() {
    let mut pair = Pair::aes();
    let mut udp = vec![0; 8 + 2 * 1_473 + 5];
    let length = (udp.len() as u16).to_be_bytes();
    udp[4..6].copy_from_slice(&length);
    for (size, sent, dropped) in [(1_473, 1, 2), (1_472, 3, 0)] {
        let packet = ip_with_protocol(17, LAN_V4, CLIENT_V4, &udp);
        let packet = pair.server.packet(&packet, 10);
        let segments = Segments {
            kind: SegmentKind::Udp,
            size,
            header_len: 28,
            transport: 20,
        };
        let inner = Inner {
            offload: Offload::Segments(segments),
            ..from_tun(packet)
        };
        pair.server.outbound.inner.push(inner).unwrap();
        pair.server.run_outbound();
        let packets = pair.server.outbound.datagrams.iter();
        assert_eq!(packets.map(|it| it.packet.segments()).sum::<usize>(), sent);
        for datagram in pair.server.outbound.datagrams.drain() {
            pair.server.pool.give(datagram.packet.buffer);
        }
        for spent in pair.server.outbound.consumed.drain() {
            pair.server.pool.give(spent.buffer);
        }
        let drops: &[_] = match dropped {
            0 => &[],
            dropped => &[(DropReason::TooLarge, dropped)],
        };
        pair.server.assert_drops(drops);
    }
}

#[test]
fn a_peer_that_is_named_needs_no_route_and_its_packets_leave_in_one_run() {
    let mut pair = Pair::aes();
    pair.client = End::new(Numbering::Dialed(PeerId::NONE), SERVER);
    pair.install(DataCipher::Aes256Gcm, KeyId::FIRST);
    let End {
        peers,
        peer,
        pool,
        outbound,
        now,
        ..
    } = &mut pair.client;
    let packet = ip(CLIENT_V4, LAN_V4, &[7; 100]);
    let refused = outbound.seal_for(peers, *peer, &packet, pool, *now);
    assert_eq!(refused, Err(DropReason::NotConnected));
    peers
        .peer_mut(*peer)
        .unwrap()
        .keys
        .send_with(KeyId::FIRST)
        .unwrap();
    let large = ip(CLIENT_V4, LAN_V4, &[7; 1481]);
    let refused = outbound.seal_for(peers, *peer, &large, pool, *now);
    assert_eq!(refused, Err(DropReason::TooLarge));
    for _ in 0..3 {
        outbound
            .seal_for(peers, *peer, &packet, pool, *now)
            .unwrap();
    }
    assert!(outbound.datagrams.is_empty());
    outbound.finish(peers, pool);
    let mut sent: Vec<Datagram> = outbound.datagrams.drain().collect();
    assert_eq!(sent.len(), 1);
    let run = sent.remove(0);
    assert_eq!((run.packet.segments(), run.peer), (3, *peer));
    let pieces: Vec<Vec<u8>> = run
        .packet
        .pieces()
        .map(|piece| run.packet.buffer.bytes()[piece.range()].to_vec())
        .collect();
    pool.give(run.packet.buffer);
    for datagram in pieces {
        assert_eq!(
            pair.server.receive(&datagram, CLIENT),
            std::slice::from_ref(&packet)
        );
    }
    // And what comes from there comes from anywhere.
    pair.server.peer().keys.send_with(KeyId::FIRST).unwrap();
    let down = ip(LAN_V4, CLIENT_V4, b"down");
    let datagram = pair.server.sealed(&down);
    assert_eq!(pair.client.receive(&datagram, SERVER), [down]);
}
