//! Sends that fail, each with the error that the test wants: what the kernel reports is exchanged, and
//! with it what it does to the sends behind.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::*;
use crate::crypto::{DataCipher, KeyMaterial, SealKey};
use crate::limits::{SEND_OFFLOAD_PAUSE, SENDS_IN_FLIGHT};
use crate::node::counters::Counters;
use crate::node::message::Report;
use crate::node::shard::{Edges, Io};
use crate::packet::{
    self, Buffer, Directory, Gathered, Inner, InnerAddresses, Offload, Origin, OutboundBatch,
    Parcel, Piece, Surroundings,
};
use crate::reactor::{RingError, TcpStream};
use crate::session::Steering;
use crate::time::Now;
use crate::wire::{KeyId, Role};

/// Whatever the error is by which the kernel refuses to cut a send.
#[test]
fn a_peer_whose_runs_are_refused_gets_single_datagrams_and_nobody_else_does() {
    for error in REFUSALS {
        in_own_network(move || {
            let mut end = End::new();
            end.io.edges.faults = vec![Fault::of_runs(0, error)];
            for _ in 0..10 {
                for (peer, count) in [(1, 16), (0, 16), (1, 7), (0, 7)] {
                    end.push(peer, count);
                }
                end.turn();
            }
            end.finish();
            // The one that was in the kernel's hands; the next came back with it.
            assert_eq!(end.io.edges.struck, 1, "{error}");
            assert_eq!(end.take_arrived(0), [1; 230]);
            assert_eq!(end.take_arrived(1), [16, 7].repeat(10));

            // Some time later it is tried again, and once more if need be.
            end.now = end.now + SEND_OFFLOAD_PAUSE;
            for _ in 0..3 {
                end.push(0, 5);
                end.finish();
            }
            assert_eq!(end.io.edges.struck, 2, "{error}");
            assert_eq!(end.take_arrived(0), [1; 15]);
            end.io.edges.faults.clear();
            for (later, runs) in [
                (SEND_OFFLOAD_PAUSE - Duration::from_secs(1), vec![1; 5]),
                (Duration::from_secs(1), vec![5]),
            ] {
                end.now = end.now + later;
                end.push(0, 5);
                end.finish();
                assert_eq!(end.take_arrived(0), runs, "{error} {later:?}");
            }
            assert_eq!(end.io.drops.total(), 0);
        });
    }
}

/// More is to be sent to a peer than the kernel is given at once: what waits behind a run that comes
/// back does not leave before it.
#[test]
fn what_waits_does_not_overtake_a_run_that_comes_back() {
    for passes in [0, 3, 200] {
        in_own_network(move || {
            let mut end = End::new();
            // Nothing is left of the first run of either peer. What was behind them waits, and is more
            // than can be in flight.
            for peer in [0, 1] {
                end.io.edges.faults.push(Fault {
                    times: 1,
                    ..Fault::of_all(peer, libc::EPERM)
                });
            }
            for peer in [0, 1] {
                for _ in 0..SENDS_IN_FLIGHT {
                    end.push(peer, 2);
                }
            }
            end.turn_kernel();
            assert_eq!(end.io.edges.struck, 2);
            let waiting = end.io.edges.sends.waiting();
            assert_eq!(waiting, 2 * (SENDS_IN_FLIGHT - 1) - SENDS_IN_FLIGHT);

            end.io.edges.faults = vec![Fault {
                passes,
                ..Fault::of_runs(0, libc::EMSGSIZE)
            }];
            end.finish();
            assert_eq!(end.io.edges.struck, 3);
            for (peer, runs) in [(0, passes), (1, SENDS_IN_FLIGHT - 1)] {
                end.lose(peer, 2);
                let arrived = end.take_arrived(peer);
                let whole = arrived.iter().filter(|count| **count == 2).count();
                assert_eq!(whole, runs, "{passes}: {peer}");
            }
            assert_eq!(end.io.drops.total(), 4);
        });
    }
}

/// The kernel's answers are taken in the middle of the shard's work: what comes later in that work does
/// not leave before a run that comes back, either.
#[test]
fn what_comes_does_not_overtake_a_run_that_comes_back() {
    in_own_network(|| {
        let mut end = End::new();
        end.io.edges.faults = vec![Fault {
            passes: 3,
            ..Fault::of_runs(0, libc::EMSGSIZE)
        }];
        for _ in 0..SENDS_IN_FLIGHT - 12 {
            end.push(1, 2);
        }
        end.push_all(0, &[2; 40]);
        assert_eq!(end.io.edges.struck, 1);
        end.finish();
        assert_eq!(end.take_arrived(0), [&[2; 3][..], &[1; 74]].concat());
        assert_eq!(end.take_arrived(1), [2; SENDS_IN_FLIGHT - 12]);
        assert_eq!(end.io.drops.total(), 0);
    });
}

/// What no other try would mend goes no further, and is counted. It takes nobody else's with it, and
/// nothing is tried for ever.
#[test]
fn what_fails_is_counted_by_its_reason_and_stops_nobody() {
    let table = [
        (libc::ECONNREFUSED, DropReason::SendUnreachable),
        (libc::EHOSTUNREACH, DropReason::SendUnreachable),
        (libc::ENETUNREACH, DropReason::SendUnreachable),
        (libc::EMSGSIZE, DropReason::SendTooLarge),
        (libc::EINVAL, DropReason::SendError),
        (libc::EIO, DropReason::SendError),
        (libc::EPERM, DropReason::SendError),
        (libc::EACCES, DropReason::SendError),
        (libc::ENOMEM, DropReason::SendError),
    ];
    for (error, reason) in table {
        in_own_network(move || {
            let mut end = End::new();
            let is_refusal = REFUSALS.contains(&error);
            let count = if is_refusal { 1 } else { 4 };
            end.io.edges.faults = vec![Fault::of_all(0, error)];
            for _ in 0..10 {
                for peer in [1, 0, 1, 0] {
                    end.push(peer, count);
                }
                end.turn();
            }
            end.finish();
            assert_eq!(end.io.edges.struck, 20, "{error}");
            // Each failure costs those behind it one more turn, and no more than that.
            assert!(end.turns <= 10 + 20 + 1, "{error}: {} turns", end.turns);
            assert_eq!(end.take_arrived(1), vec![count as usize; 20], "{error}");
            let counted: Vec<_> = end
                .io
                .drops
                .iter()
                .filter(|(_, count)| *count > 0)
                .collect();
            assert_eq!(counted, [(reason, 20 * u64::from(count))], "{error}");
            assert!(end.io.edges.arrived[0].is_empty());

            // It was no reason to give the peer up.
            end.io.edges.faults.clear();
            end.lose(0, 20 * count);
            end.push(0, 3);
            end.finish();
            assert_eq!(end.take_arrived(0), [3]);
        });
    }
}

/// What another try may mend waits for it, and nothing of it is lost.
#[test]
fn what_has_no_room_is_sent_again_until_it_has() {
    for error in [libc::EAGAIN, libc::ENOBUFS] {
        in_own_network(move || {
            let mut end = End::new();
            end.io.edges.faults = vec![Fault {
                times: 30,
                ..Fault::of_all(0, error)
            }];
            for _ in 0..10 {
                for (peer, count) in [(1, 16), (0, 16), (1, 1), (0, 1)] {
                    end.push(peer, count);
                }
                end.turn();
            }
            end.finish();
            assert_eq!(end.io.edges.struck, 30, "{error}");
            for peer in [0, 1] {
                assert_eq!(end.take_arrived(peer), [16, 1].repeat(10), "{error}");
            }
            assert_eq!(end.io.drops.total(), 0);
        });
    }
}

/// Sends to a peer that fail.
#[derive(Clone, Copy, Debug)]
struct Fault {
    peer: usize,
    error: i32,
    /// Only sends of several datagrams.
    runs_only: bool,
    /// So many pass before.
    passes: usize,
    /// So many fail.
    times: usize,
}

impl Fault {
    /// All runs fail.
    fn of_runs(peer: usize, error: i32) -> Self {
        Self {
            peer,
            error,
            runs_only: true,
            passes: 0,
            times: usize::MAX,
        }
    }

    /// All sends fail.
    fn of_all(peer: usize, error: i32) -> Self {
        Self {
            runs_only: false,
            ..Self::of_runs(peer, error)
        }
    }

    fn strikes(&mut self, peer: usize, segments: usize) -> bool {
        if peer != self.peer || self.times == 0 || self.runs_only && segments == 1 {
            return false;
        }
        if let Some(passes) = self.passes.checked_sub(1) {
            self.passes = passes;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// A shard's way out, from inner packets to the kernel, with two peers.
struct End {
    io: Io<FaultyEdges>,
    peers: PeerTable,
    outbound: OutboundBatch,
    surroundings: Surroundings,
    now: Monotonic,
    /// Datagrams so far, by peer.
    sent: [u32; 2],
    turns: usize,
}

impl End {
    fn new() -> Self {
        open_a_hole();
        let mut random = SeededRandom::new(1);
        let mut peers = PeerTable::new(0, 1, 2, &mut random);
        for number in [0, 1] {
            let new = NewPeer {
                path: path(number),
                numbering: Numbering::PeerId,
                mtu: 1500,
                mssfix: Mssfix::Off,
            };
            let index = peers.insert(new, Monotonic::ZERO).unwrap();
            let addresses = InnerAddresses {
                v4: Some(inner_address(number).into()),
                v6: None,
            };
            peers.assign(index, addresses);
            let material = KeyMaterial::from_exporter([7; 256]).unwrap();
            let keys = &mut peers.peer_mut(index).unwrap().keys;
            keys.install(
                KeyId::FIRST,
                material.split(DataCipher::Aes256Gcm, Role::Server),
            );
            keys.send_with(KeyId::FIRST).unwrap();
        }
        let pool = Pool::new((DEFERRED_SENDS + 6 * SENDS_IN_FLIGHT) as u32);
        Self {
            io: Io::new(FaultyEdges::new(), pool),
            peers,
            outbound: OutboundBatch::new(64),
            surroundings: Surroundings {
                own: 0,
                steering: Steering::new(1, &mut random),
                directory: Directory::new(8, &mut random),
                client_to_client: false,
                refuses_ipv6: None,
            },
            now: Monotonic::ZERO,
            sent: [0, 0],
            turns: 0,
        }
    }

    /// Sends so many equal datagrams to a peer: as a run, if it gets any.
    fn push(&mut self, peer: usize, count: u32) {
        self.push_all(peer, &[count]);
    }

    /// Sends several times so many, before anything is taken back.
    fn push_all(&mut self, peer: usize, counts: &[u32]) {
        for count in counts {
            self.sent[peer] += count;
            for _ in 0..*count {
                let inner = self.inner_packet(inner_address(peer));
                self.outbound.inner.push(inner).unwrap();
            }
            packet::outbound(
                &mut self.outbound,
                &mut self.peers,
                &mut self.io.pool,
                &mut self.io.drops,
                &self.surroundings,
                self.now,
            );
            assert!(self.outbound.is_done());
            for datagram in self.outbound.datagrams.drain() {
                self.io.send(datagram);
            }
            for spent in self.outbound.consumed.drain() {
                self.io.pool.give(spent.buffer);
            }
        }
        self.reclaim();
    }

    /// An IPv4 packet of no protocol.
    fn inner_packet(&mut self, to: [u8; 4]) -> Inner {
        let total = (INNER as u16).to_be_bytes();
        let head = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 253, 0, 0];
        let mut bytes = [&head[..], &[203, 0, 113, 7], &to].concat();
        bytes.resize(INNER, 0);
        let buffer = self.io.pool.take().expect("a buffer is free");
        let mut packet = Packet::single(buffer, 0, INNER as u32);
        packet.bytes_mut().copy_from_slice(&bytes);
        Inner {
            packet,
            origin: Origin::Tun,
            offload: Offload::None,
        }
    }

    /// The next datagrams to a peer do not arrive.
    fn lose(&mut self, peer: usize, count: u32) {
        self.sent[peer] -= count;
        self.io.edges.first[peer] += count;
    }

    fn reclaim(&mut self) {
        let (peers, now) = (&mut self.peers, self.now);
        self.io
            .reclaim(|peer| peers.peer_mut(peer).unwrap().refuse_runs(now));
    }

    /// What the kernel does until it is the shard's turn.
    fn turn_kernel(&mut self) {
        self.turns += 1;
        self.io.edges.sends.begin_turn();
        self.io.edges.turn_ring();
        let edges = &mut self.io.edges;
        let done = &mut edges.done;
        let sends = &mut edges.sends;
        sends.send_waiting(&mut edges.reactor, |it| done.push_back(it));
    }

    fn turn(&mut self) {
        self.turn_kernel();
        self.reclaim();
    }

    /// Turns until nothing waits and nothing is on its way.
    fn finish(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.turn();
        while self.io.edges.congestion() != Congestion::Idle {
            assert!(Instant::now() < deadline, "it goes on for ever");
            self.turn();
        }
        assert_eq!(self.io.pool.free(), self.io.pool.size());
    }

    /// Datagrams of each send that arrived at a peer since the last time; all that was sent to it has
    /// arrived, in its order.
    fn take_arrived(&mut self, peer: usize) -> Vec<usize> {
        let arrived = std::mem::take(&mut self.io.edges.arrived[peer]);
        let first = self.io.edges.first[peer];
        let numbers: Vec<u32> = arrived.iter().flatten().copied().collect();
        let wanted: Vec<u32> = (first..).take(numbers.len()).collect();
        assert_eq!(numbers, wanted, "peer {peer}");
        self.io.edges.first[peer] += numbers.len() as u32;
        assert_eq!(numbers.len(), self.sent[peer] as usize, "peer {peer}");
        self.sent[peer] = 0;
        arrived.iter().map(Vec::len).collect()
    }
}

/// The kernel, with a device that takes everything, and what is told of it.
struct FaultyEdges {
    reactor: Reactor,
    sends: Sends,
    done: VecDeque<Done>,
    faults: Vec<Fault>,
    /// How often one has struck.
    struck: usize,
    /// Packet ids of the datagrams of each send that arrived, by peer, and the one that is next.
    arrived: [Vec<Vec<u32>>; 2],
    first: [u32; 2],
}

impl FaultyEdges {
    fn new() -> Self {
        let mut reactor = Reactor::new(ReactorConfig::default(), Waker::new().unwrap()).unwrap();
        let socket = UdpSocket::bind(&Listen {
            send_buffer: 8 << 20,
            ..listen()
        });
        let mut lanes = Lanes::new();
        lanes.add(vec![reactor.add_socket(socket.unwrap()).unwrap()]);
        Self {
            reactor,
            sends: Sends::new(lanes),
            done: VecDeque::new(),
            faults: Vec::new(),
            struck: 0,
            arrived: Default::default(),
            first: [1, 1],
        }
    }

    fn turn_ring(&mut self) {
        let mut completions = Vec::new();
        self.reactor
            .turn(Some(Duration::ZERO), &mut completions)
            .unwrap();
        let mut is_broken = false;
        for completion in completions {
            match completion {
                Completion::Sent(sent) => {
                    let sent = self.judge(sent, &mut is_broken);
                    self.done
                        .extend(self.sends.complete(&mut self.reactor, sent));
                }
                Completion::Writable(socket) => self.sends.has_room(socket),
                other => panic!("{other:?}"),
            }
        }
    }

    /// One of the sends of a turn, which are a chain: after one that fails none is tried.
    fn judge(&mut self, mut sent: Sent, is_broken: &mut bool) -> Sent {
        assert!(sent.result.is_ok(), "{:?}", sent.result);
        let size = self.sends.in_flight[sent.token as usize].segment_size as usize;
        let bytes = &sent.buffer.bytes()[sent.range.clone()];
        let segments = bytes.len().div_ceil(size);
        // Wire: opcode and key id, peer id, packet id.
        let peer = usize::from(bytes[3]);
        let mut faults = self.faults.iter_mut();
        let error = match *is_broken {
            true => Some(libc::ECANCELED),
            false => faults.find_map(|it| it.strikes(peer, segments).then_some(it.error)),
        };
        self.struck += usize::from(!*is_broken && error.is_some());
        *is_broken |= error.is_some();
        match error {
            Some(error) => sent.result = Err(io::Error::from_raw_os_error(error)),
            None => {
                let number = |it: &[u8]| u32::from_be_bytes(it[4..8].try_into().unwrap());
                self.arrived[peer].push(bytes.chunks(size).map(number).collect());
            }
        }
        sent
    }
}

impl Edges for FaultyEdges {
    fn now(&mut self) -> Now {
        Now::read()
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Dropped> {
        if self.reactor.room().0 == 0 {
            self.turn_ring();
        }
        self.sends.send(&mut self.reactor, outgoing)
    }

    fn begin(&mut self) {
        self.turn_ring();
    }

    fn congestion(&self) -> Congestion {
        self.sends.congestion()
    }

    fn reclaim(&mut self) -> Option<Done> {
        let refused = || self.sends.take_refused().map(Done::RunRefused);
        self.done.pop_front().or_else(refused)
    }

    fn write_tun(&mut self, buffer: Buffer, _: &[Gathered], _: &[Piece]) -> Result<(), Dropped> {
        panic!("{buffer:?}");
    }

    fn return_receive_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        Err(buffer)
    }

    fn return_tun_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        Err(buffer)
    }

    fn hand_off(&mut self, _: u16, parcel: Parcel) -> Result<(), Parcel> {
        Err(parcel)
    }

    fn give_back(&mut self, _: u16, buffer: Buffer) {
        panic!("{buffer:?}");
    }

    fn open_socket(&mut self, _: UdpSocket) -> Result<u16, RingError> {
        Err(RingError::Full("socket"))
    }

    fn open_stream(&mut self, _: TcpStream, _: SocketAddr) -> Result<Path, RingError> {
        Err(RingError::Full("stream"))
    }

    fn close_socket(&mut self, socket: u16) {
        panic!("{socket}");
    }

    fn counters(&self, counters: Counters) -> Counters {
        counters
    }

    fn report(&mut self, report: Report) -> Result<(), Report> {
        Err(report)
    }
}

/// A link on which nobody takes what is sent to the two peers.
fn open_a_hole() {
    let far = ["peer", "name", "far"];
    run(
        "ip",
        &[&["link", "add", "near", "type", "veth"], &far[..]].concat(),
    );
    run("ip", &["addr", "add", "10.78.0.1/24", "dev", "near"]);
    for end in ["near", "far"] {
        run("ip", &["link", "set", end, "up"]);
    }
    let nobody = ["lladdr", "02:00:00:00:00:02", "nud", "permanent"];
    for peer in [0, 1] {
        let address = path(peer).remote.ip().to_string();
        let neighbour = ["neigh", "add", &address, "dev", "near"];
        run("ip", &[&neighbour[..], &nobody].concat());
    }
}

fn inner_address(peer: usize) -> [u8; 4] {
    [10, 8, 0, 2 + peer as u8]
}

/// Bytes of each inner packet.
const INNER: usize = LENGTH - SealKey::OVERHEAD;

/// By what the kernel refuses to cut a send.
const REFUSALS: [i32; 3] = [libc::EMSGSIZE, libc::EINVAL, libc::EIO];
