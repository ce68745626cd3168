//! Sockets that go while the reactor stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_socket_is_removed_under_traffic_and_its_place_used_again() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            sockets: 2,
            ..SMALL
        });
        let (other, other_port) = rig.bind(Family::V4);
        let mut before = None;
        for round in 0..30u8 {
            let (socket, port) = rig.bind_eventually();
            assert_eq!(socket.index(), 1);
            assert_ne!(before.replace(socket), Some(socket));
            let flood = Flood::to(port);
            let datagram = rig.next_datagram();
            assert_eq!(datagram.socket, socket);
            rig.reactor.return_receive_buffer(datagram.buffer).unwrap();

            // Queued before it goes, so it is still sent.
            let client = client("127.0.0.1");
            rig.send(&whole(socket, client.local_addr().ok(), &[round]), &[round]);
            rig.reactor.remove_socket(socket).unwrap();
            assert_eq!(rig.reactor.remove_socket(socket), Err(Refused::Unknown));
            assert_eq!(rig.reactor.overflowed(socket), 0);
            let buffer = rig.pool.take().unwrap();
            let outgoing = whole(socket, client.local_addr().ok(), b"too late");
            let (buffer, refused) = rig.reactor.send(&outgoing, buffer).unwrap_err();
            assert_eq!(refused, Refused::Unknown);
            rig.pool.give(buffer);
            rig.give_pending_back();
            match rig.next() {
                Completion::Sent(sent) => {
                    assert_eq!((sent.socket, sent.result.unwrap()), (socket, 1));
                    rig.pool.give(sent.buffer);
                }
                // Nothing but that comes of it any more.
                other => panic!("{other:?}"),
            }
            assert_eq!(received(&client), [round]);
            rig.turn(Duration::from_millis(1));
            assert!(rig.pending.is_empty(), "{:?}", rig.pending);

            // The other one has not noticed.
            client.send_to(b"still", ("127.0.0.1", other_port)).unwrap();
            let datagram = rig.next_datagram();
            assert_eq!(datagram.socket, other);
            rig.reactor.return_receive_buffer(datagram.buffer).unwrap();
            drop(flood);
            eventually(|| {
                rig.turn(Duration::ZERO);
                Client::bind(("0.0.0.0", port)).is_ok()
            });
        }
        assert_eq!(
            (rig.reactor.counters().stale_completions, rig.pool.free()),
            (0, 64)
        );
    });
}

#[test]
fn a_socket_that_waits_for_room_is_removed_too() {
    in_own_network(|| {
        silent_neighbour();
        let mut rig = Rig::new(ReactorConfig {
            sockets: 1,
            ..SMALL
        });
        for _ in 0..3 {
            let mut tiny = listen(Family::V4);
            tiny.send_buffer = 1;
            let mut socket = None;
            eventually(|| {
                rig.turn(Duration::ZERO);
                socket = rig.reactor.add_socket(UdpSocket::bind(&tiny).unwrap()).ok();
                socket.is_some()
            });
            let socket = socket.unwrap();
            rig.fill(socket);
            rig.reactor.await_room(socket).unwrap();
            rig.turn(Duration::from_millis(5));
            rig.reactor.remove_socket(socket).unwrap();
            rig.turn(Duration::from_millis(5));
            assert!(rig.pending.is_empty(), "{:?}", rig.pending);
        }
    });
}

#[test]
fn a_socket_that_was_never_used_leaves_its_place_at_once() {
    let mut rig = Rig::new(ReactorConfig {
        sockets: 1,
        tun_queues: 0,
        ..SMALL
    });
    let (first, _) = rig.bind(Family::V4);
    rig.reactor.remove_socket(first).unwrap();
    let (second, _) = rig.bind(Family::V4);
    assert_eq!(first.index(), second.index());
    assert_ne!(first, second);
    assert_eq!(rig.reactor.remove_socket(first), Err(Refused::Unknown));
    rig.turn(Duration::ZERO);
    rig.reactor.remove_socket(second).unwrap();
}

/// A thread that sends to a port until it is dropped.
struct Flood {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flood {
    fn to(port: u16) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let client = client("127.0.0.1");
            while !until.load(Ordering::Relaxed) {
                // Not an error that matters: nobody may be there any more.
                let _sent = client.send_to(b"flood", ("127.0.0.1", port));
            }
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Rig {
    /// A socket as soon as there is a place for it.
    fn bind_eventually(&mut self) -> (SocketId, u16) {
        let mut added = None;
        eventually(|| {
            self.turn(Duration::ZERO);
            let socket = UdpSocket::bind(&listen(Family::V4)).unwrap();
            let port = socket.local_address().unwrap().port();
            added = self.reactor.add_socket(socket).ok().map(|id| (id, port));
            added.is_some()
        });
        added.unwrap()
    }

    /// Lends the buffers of datagrams that nobody has looked at again.
    fn give_pending_back(&mut self) {
        for completion in std::mem::take(&mut self.pending) {
            match completion {
                Completion::Datagram(datagram) => {
                    self.reactor.return_receive_buffer(datagram.buffer).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
