//! Connections over TCP: accepted, read, written and closed.

use std::io::{Read, Write};
use std::net::TcpStream as Peer;

use super::*;
use crate::limits::{STREAM_LISTEN_BACKLOG, STREAM_STEP};
use crate::reactor::{TcpError, TcpListener};

impl Rig {
    fn listen(&mut self, family: Family) -> u16 {
        let mut set = TcpListener::bind_set(&listen(family), 1).unwrap();
        let listener = set.remove(0);
        let port = listener.local_address().unwrap().port();
        self.reactor.add_listener(listener).unwrap();
        // It accepts from the next turn on.
        self.turn(Duration::ZERO);
        port
    }

    /// A connection from `client`, and who is said to be at its other end.
    fn accept(&mut self) -> (SocketId, SocketAddr) {
        match self.next() {
            Completion::Accepted { stream, .. } => {
                let remote = stream.remote().unwrap();
                (self.reactor.add_stream(stream).unwrap(), remote)
            }
            other => panic!("{other:?} is no connection"),
        }
    }

    fn next_bytes(&mut self) -> (SocketId, Vec<u8>) {
        match self.next() {
            Completion::StreamBytes {
                stream,
                buffer,
                range,
            } => {
                let bytes = buffer.bytes()[range].to_vec();
                self.reactor.return_receive_buffer(buffer).unwrap();
                (stream, bytes)
            }
            other => panic!("{other:?} are no bytes"),
        }
    }

    fn expect_end(&mut self, expected: SocketId) -> Option<io::Error> {
        match self.next() {
            Completion::StreamEnded { stream, error } => {
                assert_eq!(stream, expected);
                error
            }
            other => panic!("{other:?} is no end"),
        }
    }
}

#[test]
fn a_stream_is_accepted_and_carries_bytes_both_ways() {
    in_own_network(|| {
        for (family, host) in [
            (Family::V4, "127.0.0.1"),
            (Family::Dual, "127.0.0.1"),
            (Family::Dual, "::1"),
        ] {
            let mut rig = Rig::small();
            let port = rig.listen(family);
            let mut peer = Peer::connect((host, port)).unwrap();
            let (stream, remote) = rig.accept();
            assert_eq!(Some(remote), peer.local_addr().ok());
            assert_eq!(stream.index(), SMALL.sockets, "behind all other sockets");
            peer.write_all(b"to the server").unwrap();
            assert_eq!(rig.next_bytes(), (stream, b"to the server".to_vec()));
            for part in [&b"to the "[..], b"client"] {
                rig.send(&whole(stream, None, part), part);
            }
            for length in [7, 6] {
                let sent = rig.next_sent();
                assert_eq!(sent.result.unwrap(), length);
                rig.pool.give(sent.buffer);
            }
            let mut received = [0; 13];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"to the client");
            drop(peer);
            assert!(rig.expect_end(stream).is_none());
            rig.reactor.remove_socket(stream).unwrap();
        }
    });
}

/// What the rest depends on: behind what is not sent whole nothing is sent, and it is known how much was.
#[test]
fn nothing_follows_what_is_not_sent_whole() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        let mut peer = Peer::connect(("127.0.0.1", port)).unwrap();
        let (stream, _) = rig.accept();
        let (mut sent_in_all, mut cancelled, mut mark) = (Vec::new(), 0, 0_u8);
        let mut full = false;
        for _ in 0..200 {
            let mut payloads = Vec::new();
            for _ in 0..4 {
                mark = mark.wrapping_add(1);
                let payload = vec![mark; 50_000];
                rig.send(&whole(stream, None, &payload), &payload);
                payloads.push(payload);
            }
            for payload in payloads {
                let sent = rig.next_sent();
                assert_eq!(sent.range.len(), payload.len());
                rig.pool.give(sent.buffer);
                match sent.result {
                    Ok(length) => {
                        assert!(!full, "nothing is sent behind what was not sent whole");
                        full = length < payload.len();
                        sent_in_all.extend_from_slice(&payload[..length]);
                    }
                    Err(error) => {
                        let code = error.raw_os_error();
                        assert!(
                            matches!(code, Some(libc::EAGAIN | libc::ECANCELED)),
                            "{error}"
                        );
                        cancelled += usize::from(code == Some(libc::ECANCELED));
                        full = true;
                    }
                }
            }
            if full {
                break;
            }
        }
        assert!(full && cancelled > 0, "{cancelled}");
        rig.reactor.await_room(stream).unwrap();
        let mut received = vec![0; sent_in_all.len()];
        peer.read_exact(&mut received).unwrap();
        assert!(received == sent_in_all, "other bytes than were sent");
        assert!(matches!(rig.next(), Completion::Writable(socket) if socket == stream));
        rig.send(&whole(stream, None, b"more"), b"more");
        let sent = rig.next_sent();
        assert_eq!(sent.result.unwrap(), 4);
        rig.pool.give(sent.buffer);
        let mut more = [0; 4];
        peer.read_exact(&mut more).unwrap();
        assert_eq!(&more, b"more");
    });
}

#[test]
fn streams_without_a_buffer_go_on_when_there_is_one() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        let mut peer = Peer::connect(("127.0.0.1", port)).unwrap();
        let (stream, _) = rig.accept();
        let mut held = Vec::new();
        let total = 4 << 20;
        let writer = thread::spawn(move || {
            let bytes: Vec<u8> = (0..total).map(|at: usize| (at % 251) as u8).collect();
            peer.write_all(&bytes).unwrap();
            peer
        });
        let mut received = Vec::new();
        while received.len() < total {
            match rig.next() {
                Completion::StreamBytes {
                    stream: from,
                    buffer,
                    range,
                } => {
                    assert_eq!(from, stream);
                    received.extend_from_slice(&buffer.bytes()[range]);
                    held.push(buffer);
                }
                other => panic!("{other:?}"),
            }
            if held.len() == SMALL.receive_buffers {
                // All are in use: the kernel can bring nothing for a while.
                rig.turn(Duration::from_millis(5));
                for buffer in held.drain(..) {
                    rig.reactor.return_receive_buffer(buffer).unwrap();
                }
            }
        }
        let right = received
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at % 251) as u8);
        assert!(right && received.len() == total);
        drop(writer.join().unwrap());
        assert!(rig.expect_end(stream).is_none());
    });
}

#[test]
fn a_reset_ends_the_stream_and_a_removed_one_is_closed() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        let peer = Peer::connect(("127.0.0.1", port)).unwrap();
        let (stream, _) = rig.accept();
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&peer).set_linger(linger).unwrap();
        drop(peer);
        let error = rig.expect_end(stream).expect("a reset is an error");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        rig.reactor.remove_socket(stream).unwrap();

        let mut peer = Peer::connect(("127.0.0.1", port)).unwrap();
        let (other, _) = rig.accept();
        assert_ne!(
            other.index(),
            stream.index(),
            "a number is not at once another one's"
        );
        // Queued before it goes, so it is still sent.
        rig.send(&whole(other, None, b"goodbye"), b"goodbye");
        rig.reactor.remove_socket(other).unwrap();
        let sent = rig.next_sent();
        assert_eq!(sent.result.unwrap(), 7);
        rig.pool.give(sent.buffer);
        rig.turn(Duration::from_millis(1));
        rig.turn(Duration::from_millis(1));
        let mut said = Vec::new();
        peer.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"goodbye");
        assert!(rig.pending.is_empty(), "{:?}", rig.pending);
    });
}

#[test]
fn more_connections_than_places_are_told_so() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        let peers: Vec<_> = (0..=SMALL.streams)
            .map(|_| Peer::connect(("127.0.0.1", port)).unwrap())
            .collect();
        for _ in 0..SMALL.streams {
            rig.accept();
        }
        match rig.next() {
            Completion::Accepted { stream, .. } => {
                assert!(rig.reactor.add_stream(stream).is_err());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.reactor.counters().accepted, peers.len() as u64);
    });
}

#[test]
fn listeners_of_a_set_share_connections_and_keep_others_out() {
    in_own_network(|| {
        let set = TcpListener::bind_set(&listen(Family::Dual), 3).unwrap();
        let port = set[0].local_address().unwrap().port();
        let taken = Listen {
            port,
            ..listen(Family::Dual)
        };
        let error = TcpListener::bind_set(&taken, 2).unwrap_err();
        assert!(error.is_in_use(), "{error}");
        assert!(matches!(error, TcpError::Bind { .. }));
        let mut rigs: Vec<Rig> = Vec::new();
        for listener in set {
            let mut rig = Rig::new(ReactorConfig {
                streams: 64,
                ..SMALL
            });
            rig.reactor.add_listener(listener).unwrap();
            rig.turn(Duration::ZERO);
            rigs.push(rig);
        }
        let peers: Vec<_> = (0..60)
            .map(|_| Peer::connect(("127.0.0.1", port)).unwrap())
            .collect();
        for rig in &mut rigs {
            rig.turn(Duration::from_millis(1));
        }
        let accepted: Vec<u64> = rigs
            .iter()
            .map(|rig| rig.reactor.counters().accepted)
            .collect();
        assert_eq!(
            accepted.iter().sum::<u64>(),
            peers.len() as u64,
            "{accepted:?}"
        );
        assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
        assert!(peers.len() < STREAM_LISTEN_BACKLOG as usize);
    });
}

/// Of a stream that is read step by step no byte is lost or read twice, whoever reads it in the end.
#[test]
fn a_stream_is_read_in_steps_and_goes_to_somebody_else_or_on() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        for goes_on in [false, true] {
            let mut peer = Peer::connect(("127.0.0.1", port)).unwrap();
            let Completion::Accepted { stream, .. } = rig.next() else {
                panic!("no connection");
            };
            let stream = rig.reactor.add_stream_step_by_step(stream).unwrap();
            let sent: Vec<u8> = (0..10_000).map(|at| (at % 251) as u8).collect();
            peer.write_all(&sent).unwrap();
            let mut received = Vec::new();
            for step in 0..2 {
                let (from, bytes) = rig.next_bytes();
                assert_eq!(from, stream);
                assert!(bytes.len() <= STREAM_STEP as usize, "{}", bytes.len());
                received.extend_from_slice(&bytes);
                // Nothing more comes before it is asked for.
                rig.turn(Duration::from_millis(5));
                assert!(rig.pending.is_empty(), "{:?}", rig.pending);
                if step == 0 {
                    rig.reactor.receive_again(stream, true);
                }
            }
            if goes_on {
                rig.reactor.receive_again(stream, false);
                while received.len() < sent.len() {
                    received.extend_from_slice(&rig.next_bytes().1);
                }
                rig.reactor.remove_socket(stream).unwrap();
            } else {
                let mut taken = rig.reactor.take_stream(stream).unwrap().into_std();
                assert!(rig.reactor.take_stream(stream).is_none());
                drop(peer);
                taken.set_nonblocking(false).unwrap();
                taken.read_to_end(&mut received).unwrap();
            }
            assert!(received == sent, "other bytes than were sent");
        }
    });
}

/// One that the kernel still reads can't be taken out.
#[test]
fn a_stream_that_is_read_stays() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let port = rig.listen(Family::V4);
        let mut peer = Peer::connect(("127.0.0.1", port)).unwrap();
        let (stream, _) = rig.accept();
        rig.turn(Duration::ZERO);
        assert!(rig.reactor.take_stream(stream).is_none());
        peer.write_all(b"still").unwrap();
        assert_eq!(rig.next_bytes(), (stream, b"still".to_vec()));
    });
}
