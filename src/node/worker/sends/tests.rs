//! Sends against the real kernel: over a link that is slower than what is sent, and over one that
//! takes no runs.

mod faults;
mod lanes;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket as Receiver};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;
use crate::limits::{DEFERRED_SENDS, SEND_MAX};
use crate::packet::{Mssfix, NewPeer, Numbering, PeerTable, Pool};
use crate::random::SeededRandom;
use crate::reactor::testing::{in_own_network, run};
use crate::reactor::{Completion, Family, Listen, ReactorConfig, Routing, UdpSocket, Waker};
use crate::time::Monotonic;

/// Four thousand datagrams for each of two peers, single ones and runs: more than the link carries
/// while they are sent. What waits arrives in its order, and all of it.
#[test]
fn over_a_slow_link_each_peer_has_its_datagrams_in_order() {
    in_own_network(|| {
        let far = FarEnd::join(&[]);
        let rate = ["rate", "100mbit", "burst", "64kb", "limit", "10mb"];
        run(
            "tc",
            &[&["qdisc", "add", "dev", "near", "root", "tbf"], &rate[..]].concat(),
        );
        let mut line = Line::new(1);
        let mut next = [0; 2];
        let mut waited = 0;
        while next[0] < 4000 {
            for (peer, next) in next.iter_mut().enumerate() {
                for count in [1, 1, 16, 1, 7] {
                    line.send(peer, *next, count);
                    *next += count;
                }
            }
            line.turn(Duration::from_millis(2));
            waited = waited.max(line.sends.waiting());
        }
        line.finish();
        assert!(waited > 0, "the link was never full");
        assert_eq!(line.refused, [0, 0]);
        far.assert_received(&line, next);
    });
}

/// Without a slow link nothing waits, and what is sent in one turn still does not overtake what was
/// sent in the one before.
#[test]
fn turns_do_not_overtake_one_another() {
    in_own_network(|| {
        let far = FarEnd::join(&[]);
        let mut line = Line::new(8 << 20);
        let mut next = [0; 2];
        for _ in 0..40 {
            for _ in 0..40 {
                for (peer, next) in next.iter_mut().enumerate() {
                    line.send(peer, *next, 1);
                    *next += 1;
                }
            }
            line.turn(Duration::ZERO);
        }
        line.finish();
        far.assert_received(&line, next);
    });
}

/// The way to the first peer has a smaller MTU, for which the kernel cuts no runs: they leave one by
/// one, in pieces. The other peer's leave as they are.
#[test]
fn a_run_that_the_kernel_refuses_leaves_one_by_one() {
    in_own_network(|| {
        let far = FarEnd::join(&["10.78.0.2/32", "dev", "near", "mtu", "1000"]);
        let mut line = Line::new(8 << 20);
        let mut next = [0; 2];
        for _ in 0..20 {
            for peer in [1, 0, 1, 0] {
                for count in [1, 16, 3] {
                    line.send(peer, next[peer], count);
                    next[peer] += count;
                }
            }
            line.turn(Duration::from_millis(2));
        }
        line.finish();
        assert!(line.refused[0] > 0, "the kernel cut the runs");
        assert_eq!(line.refused[1], 0);
        assert_eq!(line.lost.iter().map(BTreeSet::len).sum::<usize>(), 0);
        far.assert_received(&line, next);
        // The other's runs were not taken apart: they are fewer sends than datagrams.
        let counters = line.reactor.counters();
        let saved = counters.datagrams_sent - counters.sends;
        assert_eq!(saved, 20 * 2 * (15 + 2));
    });
}

/// A dialed socket goes while it is full, and the next one has its number. Nobody says of the old one
/// that it has room: the new one must not wait for that, nor send what was the old one's.
#[test]
fn a_socket_that_goes_while_it_is_full_leaves_nothing_to_the_next() {
    in_own_network(|| {
        let far = FarEnd::join(&[]);
        let rate = ["rate", "100kbit", "burst", "4kb", "limit", "10mb"];
        let add = ["qdisc", "add", "dev", "near", "root", "tbf"];
        run("tc", &[&add[..], &rate[..]].concat());
        let mut line = Line::new(1);
        for number in 0..40 {
            line.send(0, number, 1);
        }
        line.turn(Duration::ZERO);
        assert!(line.sends.waiting() > 0, "the link was never full");

        let old = line.sockets[0];
        line.reactor.remove_socket(old).unwrap();
        let mut done = Vec::new();
        line.sends.closed(old, |it| done.push(it));
        assert_eq!(line.sends.waiting(), 0);
        for done in done {
            let Done::Dropped(dropped) = done else {
                panic!("{done:?}");
            };
            line.note_dropped(dropped);
        }
        run("tc", &["qdisc", "del", "dev", "near", "root"]);
        let new = UdpSocket::bind(&listen()).unwrap();
        while line.reactor.counters().sends == 0 {
            line.turn(Duration::from_millis(1));
        }
        line.turn(Duration::from_millis(10));
        line.sockets[0] = line.reactor.add_socket(new).unwrap();
        line.sends.open(line.sockets[0]);
        assert_eq!(line.sockets[0].index(), old.index());
        for number in 40..50 {
            line.send(0, number, 1);
        }
        assert_eq!(
            line.sends.waiting(),
            0,
            "it waits for a socket that is gone"
        );
        line.finish();
        drop(far);
    });
}

/// What a shard has to send with: the datagrams of peer 0 and of peer 1 over one socket.
struct Line {
    reactor: Reactor,
    sends: Sends,
    sockets: Vec<SocketId>,
    pool: Pool,
    peers: [PeerIndex; 2],
    /// Numbers of the datagrams that were dropped, by peer.
    lost: [BTreeSet<u32>; 2],
    /// Runs that came back.
    refused: [usize; 2],
}

impl Line {
    fn new(send_buffer: usize) -> Self {
        Self::with_lanes(send_buffer, 1)
    }

    /// So many sockets, whose buffers have all this size, for one address.
    fn with_lanes(send_buffer: usize, count: u16) -> Self {
        let mut reactor = Reactor::new(ReactorConfig::default(), Waker::new().unwrap()).unwrap();
        let listen = Listen {
            send_buffer,
            ..listen()
        };
        let sockets = UdpSocket::bind_set(&listen, count).unwrap();
        let mut table = PeerTable::new(0, 1, 2, &mut SeededRandom::new(1));
        let peers = [0, 1].map(|peer| {
            let new = NewPeer {
                path: path(peer),
                numbering: Numbering::PeerId,
                mtu: 1500,
                mssfix: Mssfix::Off,
            };
            table.insert(new, Monotonic::ZERO).unwrap()
        });
        let sockets = sockets.into_iter().map(|it| reactor.add_socket(it));
        let sockets: Vec<_> = sockets.collect::<Result<_, _>>().unwrap();
        let mut lanes = Lanes::new();
        lanes.add(sockets.clone());
        Self {
            sockets,
            reactor,
            sends: Sends::new(lanes),
            pool: Pool::new((DEFERRED_SENDS + 2 * SENDS_IN_FLIGHT) as u32),
            peers,
            lost: Default::default(),
            refused: [0, 0],
        }
    }

    /// Sends datagrams with these numbers to a peer: as a run, unless runs to it were refused.
    fn send(&mut self, peer: usize, first: u32, count: u32) {
        let run = if self.refused[peer] == 0 { count } else { 1 };
        for first in (first..first + count).step_by(run as usize) {
            let mut buffer = self.pool.take().expect("a buffer is free");
            let datagrams = buffer.bytes_mut()[AT..].chunks_exact_mut(LENGTH);
            for (number, datagram) in (first..first + run).zip(datagrams) {
                write(datagram, peer, number);
            }
            let mut packet = Packet::single(buffer, AT as u32, run * LENGTH as u32);
            packet.segment_size = LENGTH as u32;
            self.hand_on(peer, packet);
        }
    }

    fn hand_on(&mut self, peer: usize, packet: Packet) {
        assert!(packet.bytes().len() <= SEND_MAX);
        let outgoing = Outgoing {
            packet,
            path: path(peer),
            class: TrafficClass::DEFAULT,
            peer: Some(self.peers[peer]),
        };
        if let Err(dropped) = self.sends.send(&mut self.reactor, outgoing) {
            assert_eq!(dropped.reason, DropReason::QueueFull);
            self.note_dropped(dropped);
        }
    }

    /// A turn of a shard: what is done comes first, then what waits, then what is new.
    fn turn(&mut self, patience: Duration) {
        self.sends.begin_turn();
        let mut completions = Vec::new();
        self.reactor.turn(Some(patience), &mut completions).unwrap();
        let mut done = Vec::new();
        for completion in completions {
            match completion {
                Completion::Sent(sent) => {
                    done.extend(self.sends.complete(&mut self.reactor, sent));
                }
                Completion::Writable(socket) => self.sends.has_room(socket),
                other => panic!("{other:?}"),
            }
        }
        self.sends
            .send_waiting(&mut self.reactor, |it| done.push(it));
        for done in done {
            match done {
                Done::Free(buffer) => self.pool.give(buffer),
                Done::Dropped(dropped) => panic!("{dropped:?}"),
                Done::RunRefused(run) => panic!("{run:?}"),
            }
        }
        let refused: Vec<_> = std::iter::from_fn(|| self.sends.take_refused()).collect();
        for run in refused {
            self.send_one_by_one(run);
        }
    }

    fn send_one_by_one(&mut self, run: Outgoing) {
        let peer = self.peers.iter().position(|it| Some(*it) == run.peer);
        let peer = peer.unwrap();
        self.refused[peer] += 1;
        for piece in run.packet.pieces() {
            let (start, end) = (piece.start as usize, (piece.start + piece.len) as usize);
            let mut buffer = self.pool.take().expect("a buffer is free");
            buffer.bytes_mut()[AT..AT + LENGTH]
                .copy_from_slice(&run.packet.buffer.bytes()[start..end]);
            self.hand_on(peer, Packet::single(buffer, AT as u32, piece.len));
        }
        self.pool.give(run.packet.buffer);
    }

    fn note_dropped(&mut self, dropped: Dropped) {
        let buffer = dropped.buffer.unwrap();
        let (peer, first) = read(&buffer.bytes()[AT..]);
        let packets = u32::try_from(dropped.packets).unwrap();
        self.lost[peer].extend(first..first + packets);
        self.pool.give(buffer);
    }

    /// Turns until nothing waits and nothing is on its way.
    fn finish(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.sends.congestion() != Congestion::Idle {
            assert!(
                Instant::now() < deadline,
                "{} wait for ever",
                self.sends.waiting()
            );
            self.turn(Duration::from_millis(10));
        }
        assert_eq!(self.pool.free(), self.pool.size());
    }
}

/// The other end of the link, in a network of its own: what arrives there, in its order.
struct FarEnd {
    thread: JoinHandle<()>,
    arrived: mpsc::Receiver<(usize, u32)>,
    /// What was taken from there already.
    seen: RefCell<Vec<(usize, u32)>>,
    /// How many datagrams are to arrive.
    expected: Arc<AtomicUsize>,
}

impl FarEnd {
    /// A link from this network to another, and perhaps a route over it.
    fn join(route: &[&str]) -> Self {
        // As a shard is: what a thread sends from two cores the link delivers by two backlogs, of which
        // either may be the quicker.
        let core = core_affinity::get_core_ids().unwrap().pop().unwrap();
        assert!(core_affinity::set_for_current(core));
        let (ready, is_ready) = mpsc::channel();
        let (joined, is_joined) = mpsc::channel();
        let (arrives, arrived) = mpsc::channel();
        let expected = Arc::new(AtomicUsize::new(usize::MAX));
        let until = Arc::clone(&expected);
        let thread = thread::spawn(move || {
            in_own_network(move || {
                ready.send(rustix::thread::gettid()).unwrap();
                is_joined.recv().unwrap();
                for address in ["10.78.0.2/24", "10.78.0.3/24"] {
                    run("ip", &["addr", "add", address, "dev", "far"]);
                }
                run("ip", &["link", "set", "far", "up"]);
                let socket = UdpSocket::bind(&Listen {
                    port: PORT,
                    receive_buffer: 64 << 20,
                    ..listen()
                });
                ready.send(rustix::thread::gettid()).unwrap();
                let socket = socket.unwrap().as_fd().try_clone_to_owned().unwrap();
                receive(&socket.into(), &until, &arrives);
            });
        });
        let far = is_ready.recv().unwrap().as_raw_nonzero().to_string();
        let peer = ["peer", "name", "far", "netns", &far];
        run(
            "ip",
            &[&["link", "add", "near", "type", "veth"], &peer[..]].concat(),
        );
        run("ip", &["addr", "add", "10.78.0.1/24", "dev", "near"]);
        run("ip", &["link", "set", "near", "up"]);
        if !route.is_empty() {
            run("ip", &[&["route", "add"], route].concat());
        }
        joined.send(()).unwrap();
        is_ready.recv().unwrap();
        Self {
            thread,
            arrived,
            seen: RefCell::default(),
            expected,
        }
    }

    /// Waits until this one of a peer's has arrived; what arrives until then is kept.
    fn await_last(&self, peer: usize, number: u32) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.borrow().contains(&(peer, number)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = self.arrived.recv_timeout(left).expect("it arrives");
            self.seen.borrow_mut().push(next);
        }
    }

    /// Asserts that it got the numbers below `sent` that were not dropped, each peer's in their order.
    fn assert_received(self, line: &Line, sent: [u32; 2]) {
        let wanted = [0, 1].map(|peer| {
            let numbers = 0..sent[peer];
            let left = numbers.filter(|number| !line.lost[peer].contains(number));
            left.collect::<Vec<_>>()
        });
        let count = wanted.iter().map(Vec::len).sum();
        self.expected.store(count, Ordering::Relaxed);
        self.thread.join().expect("the far end");
        let mut arrived = [vec![], vec![]];
        for (peer, number) in self.seen.take().into_iter().chain(self.arrived.iter()) {
            arrived[peer].push(number);
        }
        for (peer, arrived) in arrived.iter().enumerate() {
            let turn = arrived.windows(2).position(|pair| pair[0] >= pair[1]);
            let around = turn.map(|at| &arrived[at.saturating_sub(3)..(at + 5).min(arrived.len())]);
            assert_eq!(around, None, "out of order for peer {peer}");
            assert!(*arrived == wanted[peer], "others than those that were sent");
        }
    }
}

/// Notes what arrives, until there are as many as expected or none comes any more.
fn receive(socket: &Receiver, expected: &AtomicUsize, arrives: &mpsc::Sender<(usize, u32)>) {
    socket.set_nonblocking(false).unwrap();
    let turn = Duration::from_millis(20);
    socket.set_read_timeout(Some(turn)).unwrap();
    let mut bytes = [0; 2 * LENGTH];
    let (mut count, mut last) = (0, Instant::now());
    while count < expected.load(Ordering::Relaxed) && last.elapsed() < PATIENCE {
        if let Ok(length) = socket.recv(&mut bytes) {
            assert_eq!(length, LENGTH);
            arrives.send(read(&bytes)).unwrap();
            (count, last) = (count + 1, Instant::now());
        }
    }
}

fn write(datagram: &mut [u8], peer: usize, number: u32) {
    datagram[0] = peer as u8;
    datagram[1..5].copy_from_slice(&number.to_be_bytes());
}

fn read(datagram: &[u8]) -> (usize, u32) {
    let number = datagram[1..5].try_into().unwrap();
    (datagram[0].into(), u32::from_be_bytes(number))
}

fn path(peer: usize) -> Path {
    let address = [[10, 78, 0, 2], [10, 78, 0, 3]][peer];
    Path {
        remote: SocketAddr::from((address, PORT)),
        local: None,
        socket: 0,
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

const PORT: u16 = 1194;
/// Of each datagram.
const LENGTH: usize = 1200;
/// Where in a buffer datagrams begin.
const AT: usize = 64;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
