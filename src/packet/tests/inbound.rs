use super::*;
use crate::wire::{DataHeader, OccMessage, PING, PeerId};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn key_id(value: u8) -> KeyId {
    KeyId::from_low_bits(value)
}

fn from_client() -> Vec<u8> {
    ip(CLIENT_V4, LAN_V4, b"from the client")
}

/// The length of the datagram that a payload becomes. Wire: wire.md sections 8.1 and 8.3.
fn sealed(cipher: DataCipher, header: usize, payload: &[u8]) -> usize {
    match cipher.digest() {
        None => header + 20 + payload.len(),
        Some(digest) => header + digest.output_len() + 16 + (payload.len() + 4) / 16 * 16 + 16,
    }
}

#[test]
fn every_cipher_and_header_carries_both_families_both_ways() {
    for (cipher, numbering) in DataCipher::ALL
        .into_iter()
        .flat_map(|cipher| NUMBERINGS.map(|numbering| (cipher, numbering)))
    {
        let mut pair = Pair::new(cipher, numbering);
        let header = match numbering {
            Numbering::FourTuple => 1,
            _ => 4,
        };
        for (client, lan) in [
            (IpAddr::V4(CLIENT_V4), IpAddr::V4(LAN_V4)),
            (IpAddr::V6(CLIENT_V6), IpAddr::V6(LAN_V6)),
        ] {
            let (up, down) = (ip(client, lan, &[1; 700]), ip(lan, client, b"down"));
            let [(datagram, to)] = pair.client.send(&up).try_into().unwrap();
            assert_eq!((datagram.len(), to), (sealed(cipher, header, &up), SERVER));
            assert_eq!(pair.server.receive(&datagram, CLIENT), [up]);
            let [(datagram, to)] = pair.server.send(&down).try_into().unwrap();
            assert_eq!(
                (datagram.len(), to),
                (sealed(cipher, header, &down), CLIENT)
            );
            assert_eq!(pair.client.receive(&datagram, SERVER), [down]);
        }
        pair.client.assert_drops(&[]);
        pair.server.assert_drops(&[]);
        let peer = pair.server.peer().peer_id();
        assert_eq!(peer == PeerId::NONE, numbering == Numbering::FourTuple);
    }
}

#[test]
fn a_received_packet_is_noted_on_its_peer_and_the_first_is_told_once_a_key() {
    let mut pair = Pair::aes();
    let first = pair.client.sealed(&from_client());
    let second = pair.client.sealed(&from_client());
    pair.server.now = pair.server.now + SECOND;
    for datagram in [&first, &second] {
        pair.server.receive(datagram, CLIENT);
    }
    let (peer, now) = (pair.server.peer, pair.server.now);
    let first_data = PeerEvent::FirstData {
        peer,
        key_id: KeyId::FIRST,
    };
    assert_eq!(pair.server.events, [first_data]);
    assert_eq!(pair.server.peer().last_received, now);
    let traffic = Traffic {
        received_bytes: 2 * first.len() as u64,
        received_packets: 2,
        ..Traffic::default()
    };
    assert_eq!(pair.server.peer().traffic, traffic);
    let sent = pair.client.peer().traffic;
    assert_eq!(
        (sent.sent_bytes, sent.sent_packets),
        (traffic.received_bytes, 2)
    );
}

#[test]
fn what_does_not_verify_is_counted_by_its_reason_and_changes_nothing() {
    let mut pair = Pair::aes();
    let good = pair.client.sealed(&from_client());
    let with = |position: usize, value: u8| {
        let mut datagram = good.clone();
        datagram[position] = value;
        datagram
    };
    let last = good.len() - 1;
    for (datagram, reason) in [
        (vec![], DropReason::Empty),
        (vec![0xff; 50], DropReason::Malformed),
        (vec![0x48, 0, 0], DropReason::Malformed),
        (good[..24].to_vec(), DropReason::Malformed),
        (with(3, 1), DropReason::UnknownPeer),
        (with(1, 1), DropReason::UnknownPeer),
        (with(0, 0x49), DropReason::UnknownKey),
        (with(last, good[last] ^ 1), DropReason::Authentication),
        (with(8, good[8] ^ 0x80), DropReason::Authentication),
    ] {
        pair.server.now = pair.server.now + SECOND;
        assert!(pair.server.receive(&datagram, path(9, 9)).is_empty());
        pair.server.assert_drops(&[(reason, 1)]);
        let told = pair.server.events.drain(..).map(|event| match event {
            PeerEvent::Refused { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        });
        let refused = reason == DropReason::Authentication;
        let expected: &[_] = if refused {
            &[Refusal::NotAuthentic]
        } else {
            &[]
        };
        assert_eq!(told.collect::<Vec<_>>(), expected, "{}", reason.name());
    }
    assert_eq!(pair.server.peer().traffic, Traffic::default());
    assert_eq!(pair.server.peer().last_received, Monotonic::ZERO + SECOND);
    assert_eq!(pair.server.peer().path(), &CLIENT);

    assert_eq!(pair.server.receive(&good, CLIENT), [from_client()]);
    assert!(pair.server.receive(&good, CLIENT).is_empty());
    pair.server.assert_drops(&[(DropReason::Replay, 1)]);
}

#[test]
fn control_datagrams_pass_by_untouched() {
    let mut pair = Pair::aes();
    let reset = [&[0x38][..], &[7; 13]].concat();
    let packet = pair.server.packet(&reset, 100);
    let received = received(packet, path(9, 9));
    pair.server.inbound.received.push(received).unwrap();
    pair.server.run_inbound();
    let control: Vec<_> = pair.server.inbound.control().collect();
    assert_eq!(control, [(&reset[..], path(9, 9))]);
    assert!(pair.server.take_inner().is_empty());
    pair.server.assert_drops(&[]);
}

#[test]
fn an_authentic_packet_with_a_peer_id_moves_its_peer() {
    let mut pair = Pair::aes();
    let elsewhere = path(77, 5555);
    let datagram = pair.client.sealed(&from_client());
    let mut tampered = datagram.clone();
    tampered[10] ^= 1;
    pair.server.receive(&tampered, elsewhere);
    assert_eq!(pair.server.peer().path(), &CLIENT);

    pair.server.receive(&datagram, CLIENT);
    pair.server.events.clear();
    // A replay is authentic, and moves nothing all the same.
    pair.server.receive(&datagram, elsewhere);
    let [PeerEvent::Refused { refusal, .. }] = pair.server.events[..] else {
        panic!("{:?}", pair.server.events);
    };
    assert_eq!(refusal, Refusal::Replay { packet_id: 1 });
    pair.server.events.clear();
    assert_eq!(pair.server.peer().path(), &CLIENT);

    let next = pair.client.sealed(&from_client());
    assert_eq!(pair.server.receive(&next, elsewhere), [from_client()]);
    let floated = PeerEvent::Floated {
        peer: pair.server.peer,
        from: CLIENT,
        to: elsewhere,
    };
    assert_eq!(pair.server.events, [floated]);
    let [(_, to)] = pair
        .server
        .send(&ip(LAN_V4, CLIENT_V4, b"down"))
        .try_into()
        .unwrap();
    assert_eq!(to, elsewhere);
}

#[test]
fn a_packet_without_a_peer_id_is_found_by_its_path_and_moves_nobody() {
    let mut pair = Pair::new(DataCipher::Aes128Gcm, Numbering::FourTuple);
    let datagram = pair.client.sealed(&from_client());
    assert!(pair.server.receive(&datagram, path(77, 5555)).is_empty());
    pair.server.assert_drops(&[(DropReason::UnknownPeer, 1)]);
    assert_eq!(pair.server.receive(&datagram, CLIENT), [from_client()]);
    assert_eq!(pair.server.peer().path(), &CLIENT);
}

#[test]
fn a_peer_that_was_given_a_peer_id_may_send_without_it() {
    // Wire: a client told to ignore `peer-id` sends the short header while we send the long one.
    let mut pair = Pair::aes();
    pair.client = End::new(Numbering::FourTuple, SERVER);
    let index = pair.client.peer;
    pair.client
        .peers
        .add_prefix(index, "0.0.0.0/0".parse().unwrap())
        .unwrap();
    pair.install(DataCipher::Aes256Gcm, KeyId::FIRST);
    pair.client.peer().keys.send_with(KeyId::FIRST).unwrap();
    let datagram = pair.client.sealed(&from_client());
    let again = pair.client.sealed(&from_client());
    for datagram in [&datagram, &again] {
        assert_eq!(pair.server.receive(datagram, CLIENT), [from_client()]);
    }
    let peer = pair.server.peer;
    let key_id = KeyId::FIRST;
    let first_data = PeerEvent::FirstData { peer, key_id };
    let ignores_it = PeerEvent::IgnoresPeerId { peer };
    assert_eq!(pair.server.events, [first_data, ignores_it]);

    let none = [&[0x48, 0xff, 0xff, 0xff][..], &datagram[1..]].concat();
    assert!(pair.server.receive(&none, path(9, 9)).is_empty());
    pair.server.assert_drops(&[(DropReason::UnknownPeer, 1)]);
    assert!(pair.server.receive(&none, CLIENT).is_empty());
    // Found by its path; its tag was made for the other header.
    pair.server.assert_drops(&[(DropReason::Authentication, 1)]);
}

#[test]
fn a_dialed_peer_is_found_by_its_socket_whatever_its_packets_say() {
    let theirs = PeerId::new(0x01_0203).unwrap();
    let mut pair = Pair::aes();
    pair.client = End::new(Numbering::Dialed(theirs), SERVER);
    let index = pair.client.peer;
    for everything in ["0.0.0.0/0", "::/0"] {
        let prefix = everything.parse().unwrap();
        pair.client.peers.add_prefix(index, prefix).unwrap();
    }
    pair.install(DataCipher::Aes256Gcm, KeyId::FIRST);
    pair.client.peer().keys.send_with(KeyId::FIRST).unwrap();
    pair.server.peer().keys.send_with(KeyId::FIRST).unwrap();
    assert_eq!(pair.client.sealed(&from_client())[..4], [0x48, 1, 2, 3]);

    let down = ip(LAN_V4, CLIENT_V4, b"down");
    let datagram = pair.server.sealed(&down);
    assert_ne!(datagram[1..4], [1, 2, 3]);
    // Wire: a stock server answers from the address that it was asked on; we would not see another.
    assert_eq!(pair.client.receive(&datagram, SERVER), [down]);
    assert_eq!(pair.client.peer().path(), &SERVER);
    let elsewhere = Path {
        socket: 1,
        ..SERVER
    };
    assert!(pair.client.receive(&datagram, elsewhere).is_empty());
    pair.client.assert_drops(&[(DropReason::UnknownPeer, 1)]);

    pair.client.peers.redial(index, elsewhere);
    let again = pair.server.sealed(&ip(LAN_V4, CLIENT_V4, b"there"));
    assert!(pair.client.receive(&again, SERVER).is_empty());
    pair.client.assert_drops(&[(DropReason::UnknownPeer, 1)]);
    assert_eq!(pair.client.receive(&again, elsewhere).len(), 1);
    assert_eq!(pair.client.peer().path(), &elsewhere);
    pair.client.peers.redial(index, SERVER);

    let now = pair.client.now;
    assert!(pair.client.peers.remove(index, now).is_some());
    assert!(pair.client.receive(&datagram, SERVER).is_empty());
    pair.client.assert_drops(&[(DropReason::UnknownPeer, 1)]);
}

#[test]
fn peers_that_share_a_socket_are_told_apart_by_what_they_were_given() {
    let [one, other] = [7, 8].map(|id| PeerId::new(id).unwrap());
    let mut pair = Pair::aes();
    pair.client = End::new(Numbering::DialedShared(one), SERVER);
    pair.install(DataCipher::Aes256Gcm, KeyId::FIRST);
    pair.server.peer().keys.send_with(KeyId::FIRST).unwrap();
    let datagram = pair.server.sealed(&ip(LAN_V4, CLIENT_V4, b"down"));
    // The server's end gave out a number of its own, which its seal is over.
    let theirs = DataHeader::parse(&datagram).unwrap();
    let DataHeader::V2 { peer_id, .. } = theirs else {
        panic!("{theirs:?}");
    };
    assert_ne!(peer_id, one);
    assert!(pair.client.receive(&datagram, SERVER).is_empty());
    pair.client.assert_drops(&[(DropReason::UnknownPeer, 1)]);

    let (now, first) = (pair.client.now, pair.client.peer);
    let new = |theirs| NewPeer {
        path: SERVER,
        numbering: Numbering::DialedShared(theirs),
        mtu: 1500,
        mssfix: Mssfix::Off,
    };
    let peers = &mut pair.client.peers;
    let second = peers.insert(new(other), now).unwrap();
    let third = peers.insert(new(peer_id), now).unwrap();
    assert_eq!(peers.dialed_as(SERVER.socket, one), Some(first));
    assert_eq!(peers.dialed_as(SERVER.socket, other), Some(second));
    assert_eq!(peers.dialed_as(SERVER.socket + 1, other), None);
    peers.remove(second, now).unwrap();
    assert_eq!(peers.dialed_as(SERVER.socket, other), None);

    pair.client.peer = third;
    pair.install(DataCipher::Aes256Gcm, KeyId::FIRST);
    let down = ip(LAN_V4, CLIENT_V4, b"again");
    let datagram = pair.server.sealed(&down);
    assert_eq!(pair.client.receive(&datagram, SERVER), [down]);
}

#[test]
fn hosts_behind_a_client_are_heard_of_and_those_behind_a_server_are_not() {
    let mut pair = Pair::aes();
    let network = "10.66.0.0/16".parse().unwrap();
    let index = pair.server.peer;
    pair.server.peers.add_prefix(index, network).unwrap();
    for source in [[10, 66, 1, 1], CLIENT_V4.octets()] {
        let up = pair.client.sealed(&ip(source, LAN_V4, b"x"));
        assert_eq!(pair.server.receive(&up, CLIENT).len(), 1);
    }
    for destination in [[10, 66, 1, 2], CLIENT_V4.octets()] {
        let down = ip(LAN_V4, destination, b"x");
        assert_eq!(pair.server.send(&down).len(), 1);
    }
    let now = pair.server.now;
    let hosts = pair.server.peer().hosts().unwrap();
    let heard: Vec<_> = hosts.heard_in(SECOND, now).collect();
    let host = |last| (IpAddr::from([10, 66, 1, last]), now);
    assert_eq!(heard, [host(1), host(2)]);

    let mut client = End::new(Numbering::Dialed(PeerId::NONE), SERVER);
    let everything = "0.0.0.0/0".parse().unwrap();
    client.peers.add_prefix(client.peer, everything).unwrap();
    assert!(client.peer().hosts().is_none());
}

#[test]
fn trap_20_only_the_peers_own_sources_pass() {
    let mut pair = Pair::aes();
    let index = pair.server.peer;
    pair.server
        .peers
        .add_prefix(index, "10.66.0.0/16".parse().unwrap())
        .unwrap();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let other = [10, 8, 0, 3];
    for (inner, drop) in [
        (ip(CLIENT_V4, LAN_V4, b"x"), None),
        (ip(CLIENT_V6, LAN_V6, b"x"), None),
        (ip([10, 66, 1, 1], LAN_V4, b"x"), None),
        (ip(other, LAN_V4, b"x"), Some(DropReason::SourceAddress)),
        (ip([0; 4], LAN_V4, b"x"), Some(DropReason::SourceAddress)),
        (
            ip(v6("fd00:8::3"), LAN_V6, b"x"),
            Some(DropReason::SourceAddress),
        ),
        (
            ip(v6("fe80::1"), v6("ff02::2"), b"x"),
            Some(DropReason::LinkLocalSource),
        ),
        (
            ip(v6("::"), v6("ff02::16"), b"x"),
            Some(DropReason::LinkLocalSource),
        ),
        (b"no packet".to_vec(), Some(DropReason::InnerMalformed)),
        (
            ip(CLIENT_V4, LAN_V4, b"x")[..20].to_vec(),
            Some(DropReason::InnerMalformed),
        ),
    ] {
        let datagram = pair.client.sealed_payload(&inner);
        let delivered = pair.server.receive(&datagram, CLIENT);
        let expected = if drop.is_none() { vec![inner] } else { vec![] };
        assert_eq!(delivered, expected);
        let drops: Vec<_> = drop.map(|reason| (reason, 1)).into_iter().collect();
        pair.server.assert_drops(&drops);
    }
}

#[test]
fn a_peer_without_addresses_reaches_nothing() {
    let mut pair = Pair::aes();
    pair.server
        .peers
        .assign(pair.server.peer, InnerAddresses::default());
    let datagram = pair.client.sealed(&from_client());
    assert!(pair.server.receive(&datagram, CLIENT).is_empty());
    pair.server.assert_drops(&[(DropReason::SourceAddress, 1)]);
}

#[test]
fn bytes_behind_the_inner_packet_are_cut_off() {
    let mut pair = Pair::aes();
    let padded = [from_client(), vec![0; 9]].concat();
    let datagram = pair.client.sealed_payload(&padded);
    assert_eq!(pair.server.receive(&datagram, CLIENT), [from_client()]);
}

#[test]
fn trap_22_a_ping_only_shows_that_the_peer_lives() {
    let mut pair = Pair::aes();
    let ping = pair.client.sealed_payload(&PING);
    assert_eq!(ping.len(), 40);
    pair.server.now = pair.server.now + SECOND;
    assert!(pair.server.receive(&ping, CLIENT).is_empty());
    pair.server.assert_drops(&[]);
    let now = pair.server.now;
    assert_eq!(pair.server.peer().last_received, now);
}

#[test]
fn an_exit_notice_is_told_and_no_message_about_the_channel_is_forwarded() {
    let mut pair = Pair::aes();
    let peer = pair.server.peer;
    let key_id = KeyId::FIRST;
    let first_data = PeerEvent::FirstData { peer, key_id };
    let mut exit = Vec::new();
    OccMessage::Exit.emit(&mut exit);
    let mut request = Vec::new();
    OccMessage::Request.emit(&mut request);
    let exit_notice = PeerEvent::ExitNotice { peer };
    let question = Question::Options;
    let asked = PeerEvent::Asked { peer, question };
    for (payload, events) in [
        (&request[..], &[first_data, asked][..]),
        (&request[..16], &[]),
        (&exit[..], &[exit_notice]),
        (&exit[..], &[exit_notice]),
    ] {
        let datagram = pair.client.sealed_payload(payload);
        assert!(pair.server.receive(&datagram, CLIENT).is_empty());
        assert_eq!(pair.server.events, events);
        pair.server.events.clear();
    }
    pair.server.assert_drops(&[]);
}

#[test]
fn trap_11_every_installed_key_opens_until_it_is_retired() {
    let mut pair = Pair::aes();
    let old = pair.client.sealed(&from_client());
    let older_still_on_its_way = pair.client.sealed(&from_client());
    pair.install(DataCipher::ChaCha20Poly1305, key_id(1));
    pair.client.peer().keys.send_with(key_id(1)).unwrap();
    let new = pair.client.sealed(&from_client());
    assert_eq!((old[0], new[0]), (0x48, 0x49));
    for datagram in [&new, &old] {
        assert_eq!(pair.server.receive(datagram, CLIENT), [from_client()]);
    }
    let peer = pair.server.peer;
    let first_data = |key_id| PeerEvent::FirstData { peer, key_id };
    assert_eq!(
        pair.server.events,
        [first_data(key_id(1)), first_data(KeyId::FIRST)]
    );

    pair.server.peer().keys.retire(KeyId::FIRST);
    assert!(
        pair.server
            .receive(&older_still_on_its_way, CLIENT)
            .is_empty()
    );
    pair.server.assert_drops(&[(DropReason::UnknownKey, 1)]);
}

#[test]
fn a_key_whose_packet_ids_run_out_is_told_once() {
    let mut pair = Pair::aes();
    let peer = pair.server.peer;
    let key_id = KeyId::FIRST;
    let renegotiate = crate::limits::PACKET_ID_RENEGOTIATE;
    let first_data = PeerEvent::FirstData { peer, key_id };
    let near_limit = PeerEvent::KeyNearLimit { peer, key_id };
    for (packet_id, events) in [
        (renegotiate - 1, &[first_data][..]),
        (renegotiate, &[near_limit]),
        (renegotiate + 1, &[]),
    ] {
        let datagram = datagram_with_packet_id(packet_id, &from_client());
        assert_eq!(pair.server.receive(&datagram, CLIENT), [from_client()]);
        assert_eq!(pair.server.events, events, "{packet_id:x}");
        pair.server.events.clear();
    }
}

#[test]
fn an_empty_pool_loses_the_packet_and_nothing_else() {
    let mut pair = Pair::aes();
    let datagram = pair.client.sealed(&from_client());
    let packet = pair.server.packet(&datagram, 0);
    let held: Vec<Buffer> = std::iter::from_fn(|| pair.server.pool.take()).collect();
    let path = CLIENT;
    pair.server
        .inbound
        .received
        .push(received(packet, path))
        .unwrap();
    pair.server.run_inbound();
    pair.server.assert_drops(&[(DropReason::PoolEmpty, 1)]);
    for buffer in held {
        pair.server.pool.give(buffer);
    }
    assert!(pair.server.take_inner().is_empty());
    // Its packet id was not spent.
    assert_eq!(pair.server.receive(&datagram, CLIENT), [from_client()]);
}

#[test]
fn what_the_outputs_have_no_room_for_waits_in_the_input() {
    let mut pair = Pair::aes();
    let inner: Vec<_> = (0..4).map(|n| ip(CLIENT_V4, LAN_V4, &[n])).collect();
    let datagrams: Vec<_> = inner
        .iter()
        .map(|inner| pair.client.sealed(inner))
        .collect();
    let path = CLIENT;
    for datagram in &datagrams[..2] {
        let packet = pair.server.packet(datagram, 0);
        pair.server
            .inbound
            .received
            .push(received(packet, path))
            .unwrap();
    }
    pair.server.run_inbound();
    // Two are held, so that two of the next three find room.
    for datagram in [&datagrams[2], &datagrams[3], &datagrams[0]] {
        let packet = pair.server.packet(datagram, 0);
        pair.server
            .inbound
            .received
            .push(received(packet, path))
            .unwrap();
    }
    pair.server.run_inbound();
    assert_eq!(pair.server.inbound.received.len(), 1);
    let [waiting] = pair
        .server
        .inbound
        .received
        .drain()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert_eq!(waiting.packet.bytes(), datagrams[0]);
    pair.server.pool.give(waiting.packet.buffer);
    assert_eq!(pair.server.take_inner(), inner);
    pair.server.assert_drops(&[]);
}

#[test]
fn the_segment_size_of_a_connection_through_the_tunnel_is_lowered() {
    // 1492 bytes less 28 of IPv4 and UDP, 24 of the data channel, and the inner headers.
    let mut pair = Pair::aes();
    for (client, lan, largest) in [
        (IpAddr::V4(CLIENT_V4), IpAddr::V4(LAN_V4), 1440 - 40),
        (IpAddr::V6(CLIENT_V6), IpAddr::V6(LAN_V6), 1440 - 60),
    ] {
        for (mss, expected) in [(1460, largest), (1000, 1000)] {
            let up = ip_with_protocol(TCP, client, lan, &syn(mss));
            // Sealed as it is: the server alone clamps here.
            let datagram = pair.client.sealed_payload(&up);
            let delivered = pair.server.receive(&datagram, CLIENT);
            assert_eq!(announced(&delivered[0]), expected, "{client} {mss}");
            let down = ip_with_protocol(TCP, lan, client, &syn(mss));
            let datagram = pair.server.sealed(&down);
            pair.client.peer().mssfix = Mssfix::Off;
            let delivered = pair.client.receive(&datagram, SERVER);
            assert_eq!(announced(&delivered[0]), expected, "{lan} {mss}");
        }
    }
}

proptest! {
    #[test]
    fn no_batch_of_garbage_panics_or_keeps_a_buffer(
        datagrams in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..80), 0_u8..4, any::<u8>()),
            1..4,
        ),
    ) {
        let mut pair = Pair::aes();
        for (bytes, kind, byte) in datagrams {
            let datagram = match kind {
                // Any bytes; bytes behind a header that is right; an authentic payload of any
                // bytes; a datagram with one of its bytes changed.
                0 => bytes,
                1 => [&[0x48, 0, 0, 0][..], &bytes].concat(),
                2 if !bytes.is_empty() => pair.client.sealed_payload(&bytes),
                _ => {
                    let mut datagram = pair.client.sealed(&from_client());
                    let position = usize::from(byte) % datagram.len();
                    datagram[position] ^= byte | 1;
                    datagram
                }
            };
            let packet = pair.server.packet(&datagram, 0);
            let received = received(packet, path(byte, 1));
            pair.server.inbound.received.push(received).unwrap();
        }
        pair.server.run_inbound();
        let delivered = pair.server.take_inner();
        for inner in delivered {
            prop_assert!(crate::wire::InnerPacket::parse(&inner).is_ok());
        }
    }
}
