//! Peers behind a stream: packets of any length in a row, each behind its length, and nobody else's.

use super::*;
use crate::limits::FIRST_STREAM;
use crate::wire::{PeerId, stream_header, stream_packets};

const STREAM: Path = Path {
    socket: FIRST_STREAM + 3,
    ..CLIENT
};

/// A client that knows nothing of streams, and a server that has it behind one.
fn pair(peer_id: bool) -> Pair {
    let mut pair = Pair::new(DataCipher::Aes256Gcm, Numbering::PeerId);
    let mut server = End::new(Numbering::Stream { peer_id }, STREAM);
    let given = server.peer().peer_id();
    assert_eq!(given == PeerId::NONE, !peer_id);
    let addresses = InnerAddresses {
        v4: Some(CLIENT_V4),
        v6: Some(CLIENT_V6),
    };
    server.peers.assign(server.peer, addresses);
    let (_, keys) = keys(DataCipher::Aes256Gcm, u64::from(KeyId::FIRST.get()));
    server.peer().keys.install(KeyId::FIRST, keys);
    server.peer().keys.send_with(KeyId::FIRST).unwrap();
    pair.server = server;
    pair
}

fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
    let frame = |packet: &Vec<u8>| {
        let header = stream_header(packet.len()).unwrap();
        [&header[..], packet].concat()
    };
    packets.iter().flat_map(frame).collect()
}

#[test]
fn packets_of_any_length_share_a_receive_and_keep_their_order() {
    for peer_id in [true, false] {
        let mut pair = pair(peer_id);
        let inner: Vec<Vec<u8>> = [700, 1, 700, 40, 1400]
            .map(|length| ip(CLIENT_V4, LAN_V4, &vec![length as u8; length]))
            .into();
        let mut packets: Vec<Vec<u8>> = inner.iter().map(|it| pair.client.sealed(it)).collect();
        // A control packet stands between them.
        packets.insert(2, vec![0x20; 30]);
        let stream = framed(&packets);
        let packet = pair.server.packet(&stream, 100);
        let received = received(packet, STREAM);
        pair.server.inbound.received.push(received).unwrap();
        pair.server.run_inbound();
        let control: Vec<_> = pair.server.inbound.control().collect();
        assert_eq!(control, [(&packets[2][..], STREAM)]);
        assert_eq!(pair.server.take_inner(), inner);
        pair.server.assert_drops(&[]);
        assert!(!pair.server.events.iter().any(|event| matches!(
            event,
            PeerEvent::Floated { .. } | PeerEvent::IgnoresPeerId { .. }
        )));
    }
}

#[test]
fn packets_of_any_length_leave_in_one_send() {
    let mut pair = pair(true);
    let lengths = [100, 1400, 1400, 30];
    let inner = lengths.map(|length| ip(LAN_V4, CLIENT_V4, &vec![7; length]));
    let mut pool = Pool::new(1);
    let mut stream = Vec::new();
    let now = pair.server.now;
    let server = &mut pair.server;
    for packet in &inner {
        let sealed =
            server
                .outbound
                .seal_for(&mut server.peers, server.peer, packet, &mut pool, now);
        sealed.unwrap();
    }
    server.outbound.finish(&mut server.peers, &mut pool);
    for datagram in server.outbound.datagrams.drain() {
        assert_eq!((datagram.path, datagram.packet.segments()), (STREAM, 1));
        stream.extend_from_slice(datagram.packet.bytes());
        pool.give(datagram.packet.buffer);
    }
    stream.extend(server.sealed_payload(b"a ping of sixteen"));
    let packets: Vec<_> = stream_packets(&stream).collect();
    assert_eq!(packets.len(), lengths.len() + 1);
    assert_eq!(packets.last().unwrap().end, stream.len());
    for (place, inner) in packets.into_iter().zip(&inner) {
        assert_eq!(
            &pair.client.receive(&stream[place], SERVER),
            std::slice::from_ref(inner)
        );
    }
}

/// Its peer id is good on its stream alone: neither on a socket nor on another stream.
#[test]
fn a_peer_behind_a_stream_is_nowhere_else() {
    let mut pair = pair(true);
    let inner = ip(CLIENT_V4, LAN_V4, b"moved");
    let other = Path {
        socket: FIRST_STREAM + 4,
        ..CLIENT
    };
    let sealed = pair.client.sealed(&inner);
    assert!(pair.server.receive(&sealed, CLIENT).is_empty());
    pair.server.assert_drops(&[(DropReason::UnknownPeer, 1)]);
    assert!(
        pair.server
            .receive(&framed(std::slice::from_ref(&sealed)), other)
            .is_empty()
    );
    pair.server.assert_drops(&[(DropReason::UnknownPeer, 1)]);
    assert_eq!(pair.server.receive(&framed(&[sealed]), STREAM), [inner]);
    assert_eq!(*pair.server.peer().path(), STREAM);
    let index = pair.server.peer;
    pair.server.peers.remove(index, pair.server.now).unwrap();
    assert_eq!(pair.server.peers.by_socket(STREAM.socket), None);
}

/// What a receiver could take for an attack: a packet id that is missing.
#[test]
fn nothing_is_sealed_for_a_stream_that_is_full() {
    let mut pair = pair(true);
    let inner = ip(LAN_V4, CLIENT_V4, &[7; 100]);
    let mut full = FullStreams::default();
    let packet_id = |datagram: &[u8]| u32::from_be_bytes(datagram[6..10].try_into().unwrap());
    let first = pair.server.sealed(&inner);
    full.set(STREAM.socket, true);
    pair.server.peers.follow_streams(&full);
    assert!(pair.server.send(&inner).is_empty());
    let (index, now) = (pair.server.peer, pair.server.now);
    let (peers, pool) = (&mut pair.server.peers, &mut pair.server.pool);
    let ping = seal_payload(peers, index, &crate::wire::PING, pool, now);
    assert_eq!(ping.err(), Some(DropReason::StreamFull));
    pair.server.assert_drops(&[(DropReason::StreamFull, 1)]);
    // Others are sent to meanwhile, and this one when it has room.
    full.set(STREAM.socket, false);
    full.set(STREAM.socket + 1, true);
    pair.server.peers.follow_streams(&full);
    let next = pair.server.sealed(&inner);
    assert_eq!(packet_id(&next), packet_id(&first) + 1);
}
