//! Streams against the kernel: what their receivers get, and what the shard is told of their room.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream as Peer;
use std::time::Duration;

use super::*;
use crate::limits::STREAM_WAITING_MAX;
use crate::reactor::testing::in_own_network;
use crate::reactor::{Completion, Family, Listen, ReactorConfig, Routing, TcpListener, Waker};
use crate::time::Now;

/// A reactor with streams, and who connects to them.
struct Rig {
    reactor: Reactor,
    streams: Streams,
    pool: Pool,
    port: u16,
    paths: Vec<Path>,
    done: VecDeque<Done>,
    dropped: u64,
    now: Monotonic,
}

impl Rig {
    fn new() -> Self {
        let config = ReactorConfig {
            streams: 2 * STREAM_FAREWELLS,
            ..ReactorConfig::default()
        };
        let mut reactor = Reactor::new(config, Waker::new().unwrap()).unwrap();
        let mut pool = Pool::new(256);
        let mut set = TcpListener::bind_set(&listen(), 1).unwrap();
        let listener = set.remove(0);
        let port = listener.local_address().unwrap().port();
        let id = reactor.add_listener(listener).unwrap();
        for _ in 0..32 {
            let lent = reactor.return_receive_buffer(pool.take().unwrap());
            lent.unwrap();
        }
        let spare = (0..8).map(|_| pool.take().unwrap()).collect();
        let rules = StreamRules {
            queue_limit: LIMIT,
            packet_max: 2048,
        };
        let listeners = vec![(id, OpeningRules::default())];
        Self {
            streams: Streams::new(rules, listeners, None, spare),
            reactor,
            pool,
            port,
            paths: Vec::new(),
            done: VecDeque::new(),
            dropped: 0,
            now: Now::read().monotonic,
        }
    }

    fn turn(&mut self) {
        let mut completions = Vec::new();
        let patience = Some(Duration::from_millis(5));
        self.reactor.turn(patience, &mut completions).unwrap();
        for completion in completions {
            match completion {
                Completion::Accepted { listener, stream } => {
                    let accepted = self.streams.accept(&mut self.reactor, listener, stream);
                    let Accepted::Stream(path, false) = accepted else {
                        panic!("no stream");
                    };
                    self.paths.push(path);
                }
                Completion::Sent(sent) => {
                    self.streams
                        .complete(&mut self.reactor, sent, &mut self.done);
                }
                Completion::StreamBytes {
                    stream,
                    buffer,
                    range,
                } => {
                    let (pool, mut out) = (&mut self.pool, Vec::new());
                    let brought = self.streams.receive(stream, buffer, range, pool, &mut out);
                    assert!(
                        out.is_empty(),
                        "nothing is taken of who is nobody's any more"
                    );
                    let returned = self.reactor.return_receive_buffer(brought.0.unwrap());
                    returned.unwrap();
                }
                Completion::StreamEnded { stream, .. } => {
                    self.streams.has_ended(stream);
                    if let Some(path) = self.streams.path_of(stream) {
                        self.close(&path);
                    }
                }
                Completion::Writable(stream) => {
                    self.streams.has_room(&self.reactor, stream);
                }
                other => panic!("{other:?}"),
            }
        }
        self.streams.go_on(&mut self.reactor, self.now);
        for done in self.done.drain(..) {
            match done {
                Done::Free(buffer) => self.pool.give(buffer),
                Done::Dropped(dropped) => self.dropped += dropped.packets,
                Done::RunRefused(_) => panic!("a stream has no runs"),
            }
        }
    }

    fn connect(&mut self) -> (Peer, Path) {
        let peer = Peer::connect(("127.0.0.1", self.port)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let before = self.paths.len();
        while self.paths.len() == before {
            self.turn();
        }
        (peer, self.paths[before])
    }

    /// Sends so many data packets of 1000 bytes at once, and gives their bytes.
    fn send(&mut self, path: &Path, count: usize) -> Vec<u8> {
        let mut packet = vec![7; 1002];
        packet[..2].copy_from_slice(&1000_u16.to_be_bytes());
        packet[2] = DATA;
        let bytes = packet.repeat(count);
        let mut buffer = self.pool.take().unwrap();
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
        let outgoing = Outgoing {
            packet: Packet::single(buffer, 0, bytes.len() as u32),
            path: *path,
            class: TrafficClass::DEFAULT,
            peer: None,
        };
        let sent = self
            .streams
            .send(&mut self.reactor, outgoing, &mut self.done);
        assert!(sent.is_ok());
        bytes
    }

    fn close(&mut self, path: &Path) {
        self.streams.close(&mut self.reactor, path.socket, self.now);
    }

    fn is_full(&self, path: &Path) -> bool {
        self.streams.full.contains(path)
    }
}

fn listen() -> Listen {
    Listen {
        family: Family::V4,
        address: None,
        port: 0,
        send_buffer: 0,
        receive_buffer: 0,
        receive_offload: false,
        routing: Routing::default(),
    }
}

/// Who sends without pause hears the last words whole, and then the end, and no reset takes them away.
#[test]
fn the_last_words_are_heard() {
    in_own_network(|| {
        let mut rig = Rig::new();
        let (mut peer, path) = rig.connect();
        let mut writer = peer.try_clone().unwrap();
        let writes = std::thread::spawn(move || {
            // Until the other side has closed.
            while writer.write_all(&[0, 1, 7].repeat(10_000)).is_ok() {}
        });
        let said: Vec<u8> = (0..4).flat_map(|_| rig.send(&path, 50)).collect();
        rig.close(&path);
        let reads = std::thread::spawn(move || {
            let mut heard = Vec::new();
            let ended = peer.read_to_end(&mut heard);
            // The client closes, too.
            let _closed = peer.shutdown(std::net::Shutdown::Both);
            (heard, ended.map_err(|error| error.kind()))
        });
        while rig.streams.len() > 0 {
            rig.turn();
        }
        let (heard, ended) = reads.join().unwrap();
        assert_eq!(ended, Ok(said.len()));
        assert!(heard == said, "other bytes than were sent");
        writes.join().unwrap();
        assert_eq!(rig.dropped, 0);
    });
}

/// Who never closes is closed after a while, or when there are too many of its kind; and at once if nothing was
/// ever said to it.
#[test]
fn a_farewell_takes_its_time_and_no_more() {
    in_own_network(|| {
        let mut rig = Rig::new();
        let (silent, path) = rig.connect();
        rig.close(&path);
        assert_eq!(rig.streams.len(), 0);
        drop(silent);
        let mut peers = Vec::new();
        for _ in 0..=STREAM_FAREWELLS {
            let (peer, path) = rig.connect();
            rig.send(&path, 1);
            rig.turn();
            rig.close(&path);
            peers.push(peer);
        }
        assert_eq!(rig.streams.len(), STREAM_FAREWELLS);
        rig.turn();
        assert_eq!(rig.streams.len(), STREAM_FAREWELLS);
        rig.now = rig.now + STREAM_FAREWELL;
        rig.turn();
        assert_eq!(rig.streams.len(), 0);
    });
}

/// What was sealed is never dropped: the shard is told in time, and nothing is sealed as long as it is full. The next
/// connection of its number has room.
#[test]
fn who_does_not_read_is_told_as_full_and_nothing_sealed_is_lost() {
    in_own_network(|| {
        let mut rig = Rig::new();
        let (mut peer, path) = rig.connect();
        let mut said = Vec::new();
        while !rig.is_full(&path) || rig.streams.waiting() < LIMIT {
            for _ in 0..4 {
                if !rig.is_full(&path) {
                    said.extend(rig.send(&path, 60));
                }
            }
            rig.turn();
            assert!(said.len() < 64 << 20, "the kernel takes everything");
        }
        assert!(rig.streams.full().is_some_and(|full| full.contains(&path)));
        assert!(rig.streams.full().is_none(), "told once");
        assert!(rig.streams.waiting() * 1002 < STREAM_WAITING_MAX);
        peer.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        while heard.len() < said.len() {
            rig.turn();
            let mut bytes = vec![0; 1 << 20];
            match peer.read(&mut bytes) {
                Ok(length) => heard.extend_from_slice(&bytes[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(heard == said, "other bytes than were sent");
        assert_eq!(rig.dropped, 0);
        rig.turn();
        assert!(!rig.is_full(&path));
        assert!(rig.streams.full().is_some_and(|full| !full.contains(&path)));
        while !rig.is_full(&path) {
            rig.send(&path, 60);
        }
        drop(peer);
        while rig.streams.len() > 0 {
            rig.turn();
        }
        assert!(!rig.is_full(&path), "the next one of this number is not");
        assert!(rig.streams.full().is_some_and(|full| !full.contains(&path)));
    });
}

const LIMIT: usize = 64;
/// The first byte of a data packet.
const DATA: u8 = 9 << 3;
