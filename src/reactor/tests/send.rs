//! Sending datagrams.

use std::mem::MaybeUninit;

use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};

use super::*;
use crate::reactor::control::split_message;

#[test]
fn a_full_send_queue_gives_the_buffer_back() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig { sends: 4, ..SMALL });
        let (socket, _) = rig.bind(Family::V4);
        let client = client("127.0.0.1");
        let to = client.local_addr().unwrap();
        for round in 0..3u8 {
            for number in 0..4u8 {
                let payload = [round, number];
                let mut outgoing = whole(socket, Some(to), &payload);
                outgoing.token = u64::from(number);
                rig.send(&outgoing, &payload);
            }
            assert_eq!(rig.reactor.room().0, 0);
            let buffer = rig.buffer_with(b"too many");
            let index = buffer.index();
            let (buffer, refused) = rig
                .reactor
                .send(&whole(socket, Some(to), b"too many"), buffer)
                .unwrap_err();
            assert_eq!(
                (buffer.index(), refused),
                (index, Refused::QueueFull(QueueFull))
            );
            rig.pool.give(buffer);
            for number in 0..4u8 {
                let sent = rig.next_sent();
                assert_eq!((sent.token, sent.result.unwrap()), (number.into(), 2));
                rig.pool.give(sent.buffer);
                assert_eq!(received(&client), [round, number]);
            }
        }
        assert_eq!((rig.reactor.room().0, rig.pool.free()), (4, 64));
    });
}

#[test]
fn a_full_socket_says_so_and_keeps_nobody_waiting() {
    in_own_network(|| {
        silent_neighbour();
        let mut rig = Rig::small();
        let (socket, away) = (rig.bind_tiny(), SILENT.parse().unwrap());
        for number in 0..8u8 {
            let payload = [number; 1200];
            let mut outgoing = whole(socket, Some(away), &payload);
            outgoing.token = number.into();
            rig.send(&outgoing, &payload);
        }
        let mut refused = Vec::new();
        for number in 0..8u8 {
            let sent = rig.next_sent();
            assert_eq!(sent.token, number.into());
            match sent.result {
                Ok(length) => assert_eq!((length, refused.len()), (1200, 0), "one overtook"),
                Err(error) => {
                    // What follows the one that has no room is not even tried: it would overtake.
                    let expected = match refused.is_empty() {
                        true => libc::EAGAIN,
                        false => libc::ECANCELED,
                    };
                    assert_eq!(error.raw_os_error(), Some(expected), "{number}");
                    assert_eq!(sent.buffer.bytes()[sent.range], [number; 1200]);
                    refused.push(number);
                }
            }
        }
        assert!((1..8).contains(&refused.len()), "{refused:?}");
    });
}

#[test]
fn a_long_range_leaves_as_equal_datagrams_and_may_arrive_as_one() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let (socket, _) = rig.bind(Family::Dual);
        let mut offloaded = listen(Family::V4);
        offloaded.receive_offload = true;
        let receiver = UdpSocket::bind(&offloaded).unwrap();
        let port = receiver.local_address().unwrap().port();
        let receiver = rig.reactor.add_socket(receiver).unwrap();
        let payload: Vec<u8> = (0..2500u32).map(|number| number.to_le_bytes()[0]).collect();

        let client = client("127.0.0.1");
        let mut outgoing = whole(socket, client.local_addr().ok(), &payload);
        outgoing.segment_size = 1000;
        rig.send(&outgoing, &payload);
        assert_eq!(rig.next_sent().result.unwrap(), 2500);
        for segment in payload.chunks(1000) {
            assert_eq!(received(&client), segment);
        }

        outgoing.to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        rig.send(&outgoing, &payload);
        let (mut sent, mut arrived) = (0, Vec::new());
        while sent == 0 || arrived.len() < payload.len() {
            match rig.next() {
                Completion::Sent(done) => sent += done.result.unwrap(),
                Completion::Datagram(datagram) => {
                    assert_eq!(datagram.socket, receiver);
                    // The kernel may hand over fewer at once, never segments of another length.
                    assert_eq!(datagram.segment_size, datagram.range.len().min(1000));
                    arrived.extend_from_slice(&datagram.buffer.bytes()[datagram.range]);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sent, arrived), (2500, payload));
        let counters = rig.reactor.counters();
        assert_eq!((counters.sends, counters.datagrams_sent), (2, 6));
        assert_eq!(counters.datagrams_received, 3);
        assert!((1..=3).contains(&counters.receives));
    });
}

/// The class of a datagram that has come.
fn class_of_next(receiver: &Client) -> Option<u8> {
    let (mut payload, mut control) = ([MaybeUninit::uninit(); 64], [MaybeUninit::uninit(); 64]);
    let mut payload = [MaybeUninitSlice::new(&mut payload)];
    let mut header = MsgHdrMut::new()
        .with_buffers(&mut payload)
        .with_control(&mut control);
    SockRef::from(receiver).recvmsg(&mut header, 0).unwrap();
    let length = header.control_len();
    // SAFETY: the kernel has written so many bytes.
    let control = control[..length]
        .iter()
        .map(|byte| unsafe { byte.assume_init() });
    let control: Vec<u8> = control.collect();
    let (level, kind, data, _) = split_message(&control)?;
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            data.first().copied()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_class_is_that_of_all_datagrams_of_a_send_in_both_families() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let expedited = TrafficClass::of(&[0x45, 0xb8]);
        for (family, address) in [
            (Family::V4, "127.0.0.1"),
            (Family::V6, "::1"),
            (Family::Dual, "127.0.0.1"),
            (Family::Dual, "::1"),
        ] {
            let (socket, _) = rig.bind(family);
            let client = client(address);
            let options = SockRef::from(&client);
            match client.local_addr().unwrap().is_ipv4() {
                true => options.set_recv_tos_v4(true).unwrap(),
                false => options.set_recv_tclass_v6(true).unwrap(),
            }
            let local = LocalAddress {
                ip: address.parse().unwrap(),
                interface: 0,
            };
            for class in [TrafficClass::DEFAULT, expedited, TrafficClass::DEFAULT] {
                let mut outgoing = whole(socket, client.local_addr().ok(), b"threesegments");
                outgoing.segment_size = 5;
                outgoing.local = Some(local);
                outgoing.class = class;
                rig.send(&outgoing, b"threesegments");
                assert_eq!(rig.next_sent().result.unwrap(), 13);
                for _ in 0..3 {
                    assert_eq!(
                        class_of_next(&client),
                        Some(class.byte()),
                        "{family:?} {address}"
                    );
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_sent_is_refused_before_the_kernel_sees_it() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let (v4, _) = rig.bind(Family::V4);
        let (v6, _) = rig.bind(Family::V6);
        let (dual, _) = rig.bind(Family::Dual);
        let to_v4: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let to_v6: SocketAddr = "[::1]:9".parse().unwrap();
        let local_v6 = LocalAddress {
            ip: "::1".parse().unwrap(),
            interface: 0,
        };
        let base = whole(dual, Some(to_v4), b"abc");
        let end = crate::limits::BUFFER_SIZE;
        for (outgoing, expected) in [
            (
                Outgoing {
                    socket: SocketId {
                        index: 3,
                        generation: 0,
                    },
                    ..base.clone()
                },
                Refused::Unknown,
            ),
            (
                Outgoing {
                    range: 5..5,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    range: 5..end + 1,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    segment_size: 0,
                    ..base.clone()
                },
                Refused::Range,
            ),
            (
                Outgoing {
                    to: None,
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v4,
                    to: Some(to_v6),
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v6,
                    ..base.clone()
                },
                Refused::Address,
            ),
            (
                Outgoing {
                    socket: v4,
                    local: Some(local_v6),
                    ..base.clone()
                },
                Refused::Address,
            ),
        ] {
            let buffer = rig.pool.take().unwrap();
            let (buffer, refused) = rig.reactor.send(&outgoing, buffer).unwrap_err();
            assert_eq!(refused, expected, "{outgoing:?}");
            rig.pool.give(buffer);
        }
        rig.turn(Duration::ZERO);
        assert!(rig.pending.is_empty());
    });
}

#[test]
fn a_full_socket_says_once_when_it_has_room() {
    in_own_network(|| {
        silent_neighbour();
        let mut rig = Rig::small();
        let full = rig.bind_tiny();
        let (free, _) = rig.bind(Family::V4);
        let is = |completion, expected| match completion {
            Completion::Writable(socket) => assert_eq!(socket, expected),
            other => panic!("{other:?}"),
        };
        for round in 0..3 {
            let sent = rig.fill(full);
            assert!(sent > 0);
            rig.reactor.await_room(full).unwrap();
            rig.reactor.await_room(full).unwrap();
            rig.turn(Duration::from_millis(20));
            assert!(rig.pending.is_empty(), "{:?}", rig.pending);
            // Another has room, and says so at once.
            rig.reactor.await_room(free).unwrap();
            is(rig.next(), free);
            // Now that it is known, what waits for the neighbour leaves.
            let neighbour = ["neigh", "replace", "10.78.0.2", "dev", "left"];
            let known = ["lladdr", "02:00:00:00:00:02", "nud", "permanent"];
            run("ip", &[&neighbour[..], &known].concat());
            is(rig.next(), full);
            rig.turn(Duration::from_millis(20));
            assert!(rig.pending.is_empty(), "{round}: {:?}", rig.pending);
            run("ip", &["neigh", "del", "10.78.0.2", "dev", "left"]);
        }
        rig.reactor.remove_socket(free).unwrap();
        assert_eq!(rig.reactor.await_room(free), Err(Refused::Unknown));
    });
}
