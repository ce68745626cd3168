//! The data path allocates nothing once it runs: an allocator that counts, and a million packets both
//! ways, in super-packets and one by one, between clients and between shards.
//!
//! What the cryptographic library allocates in C is not seen here.
#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringway::crypto::{DataCipher, KeyMaterial, Role};
use ringway::packet::{
    Datagram, Directory, DropCounters, InboundBatch, Inner, InnerAddresses, Merging, Mssfix,
    NewPeer, Numbering, Offload, Origin, OutboundBatch, Owner, Packet, Parcel, Path, PeerIndex,
    PeerTable, Pool, Received, SegmentKind, Segments, Spent, Surroundings, inbound, outbound,
};
use ringway::random::SeededRandom;
use ringway::session::Steering;
use ringway::time::Monotonic;
use ringway::wire::KeyId;

const BATCH: usize = 32;
const PACKETS: usize = 10_000;
const SUPER_PACKETS: usize = 1_000_000;

/// A TCP payload that fills the tunnel, and how many of them the kernel hands over at once.
const SEGMENT: usize = 1_360;
const SEGMENTS: usize = 40;

#[test]
fn a_million_packets_both_ways_in_super_packets_allocate_nothing() {
    let (up, down) = (
        super_packet([10, 8, 0, 2], [203, 0, 113, 7]),
        super_packet([203, 0, 113, 7], [10, 8, 0, 2]),
    );
    let carried = both_ways(&up, &down, SUPER_PACKETS);
    assert!(carried.super_packets * SEGMENTS > SUPER_PACKETS, "merged");
    assert!(carried.sends * SEGMENTS / 2 < carried.packets);
}

#[test]
fn ten_thousand_packets_both_ways_one_by_one_allocate_nothing() {
    let up = single(inner_packet([10, 8, 0, 2], [203, 0, 113, 7]));
    let down = single(inner_packet([203, 0, 113, 7], [10, 8, 0, 2]));
    let carried = both_ways(&up, &down, PACKETS);
    assert_eq!(carried.super_packets, 0);
}

/// Carries batches of one packet each way until so many have arrived, and counts.
fn both_ways(up: &(Vec<u8>, Offload), down: &(Vec<u8>, Offload), packets: usize) -> Carried {
    let mut pool = Pool::new(4 * BATCH as u32);
    let mut client = End::new(Role::Client, path(9));
    let mut server = End::new(Role::Server, path(1));
    let mut turn = |turn: usize, carried: &mut Carried| {
        // The client moves to another port now and then.
        let from = path(1 + (turn / 10 % 3) as u16);
        client.carry(up, &mut server, from, &mut pool, carried);
        server.carry(down, &mut client, path(9), &mut pool, carried);
    };
    let mut warm_up = Carried::default();
    (0..100).for_each(|number| turn(number, &mut warm_up));
    assert!(warm_up.packets >= 100 * 2 * BATCH);

    let before = ALLOCATIONS.get();
    let mut carried = Carried::default();
    for number in 0.. {
        turn(number, &mut carried);
        if carried.packets >= 2 * packets {
            break;
        }
    }
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(allocations, 0);
    assert_eq!(pool.free(), pool.size());
    assert_ne!(before, 0, "the allocator counts");
    carried
}

/// What has arrived.
#[derive(Default)]
struct Carried {
    packets: usize,
    /// Those of them that were written as one.
    super_packets: usize,
    sends: usize,
}

#[test]
fn ten_thousand_packets_between_clients_allocate_nothing_on_one_shard_and_on_two() {
    for shards in [1, 2] {
        let mut client = End::new(Role::Client, path(1));
        let other = usize::from(shards) - 1;
        let mut server = Server::new(shards);
        server.connect(0, [10, 8, 0, 2]);
        server.connect(other, [10, 8, 0, 3]);
        let across = single(inner_packet([10, 8, 0, 2], [10, 8, 0, 3]));
        let down = single(inner_packet([203, 0, 113, 7], [10, 8, 0, 3]));
        let mut turn = || {
            // By the first shard, whoever it is for.
            let sealed = client.seal(&across, &mut server.pools[0]);
            let across = server.carry(sealed);
            across + server.read_tun(&down)
        };
        let warm_up: usize = (0..100).map(|_| turn()).sum();
        assert_eq!(warm_up, 100 * 2 * BATCH);

        let before = ALLOCATIONS.get();
        let mut carried = 0;
        for _ in 0..PACKETS.div_ceil(BATCH) {
            carried += turn();
        }
        let allocations = ALLOCATIONS.get() - before;
        assert!(carried >= 2 * PACKETS, "{carried} packets arrived");
        assert_eq!(allocations, 0, "{shards} shards");
        let expected = [0, carried + warm_up][other];
        assert_eq!(server.handed_over, expected);
        for pool in &server.pools {
            assert_eq!(pool.free(), pool.size());
        }
    }
}

struct End {
    peers: PeerTable,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    surroundings: Surroundings,
    drops: DropCounters,
}

impl End {
    fn new(role: Role, remote: Path) -> Self {
        let mut end = Self::shard(0, 1);
        let peer = end.insert(remote, role);
        match role {
            Role::Server => {
                let v4 = Some([10, 8, 0, 2].into());
                end.peers.assign(peer, InnerAddresses { v4, v6: None });
            }
            Role::Client => end
                .peers
                .add_prefix(peer, "0.0.0.0/0".parse().unwrap())
                .unwrap(),
        }
        end
    }

    /// Shard `own` of `shards`, without peers.
    fn shard(own: u16, shards: u16) -> Self {
        let mut random = SeededRandom::new(1);
        let merging = Merging {
            tcp: true,
            udp: true,
        };
        Self {
            peers: PeerTable::new(own.into(), shards.into(), 16, &mut random),
            inbound: InboundBatch::new(BATCH, merging),
            outbound: OutboundBatch::new(BATCH),
            surroundings: Surroundings {
                own,
                steering: Steering::new(shards, &mut random),
                directory: Directory::new(16, &mut random),
                client_to_client: false,
                refuses_ipv6: None,
            },
            drops: DropCounters::new(),
        }
    }

    fn insert(&mut self, remote: Path, role: Role) -> PeerIndex {
        let new = NewPeer {
            path: remote,
            numbering: Numbering::PeerId,
            mtu: 1500,
            mssfix: Mssfix::Packet(1492),
        };
        let peer = self.peers.insert(new, NOW).unwrap();
        let material = KeyMaterial::from_exporter([7; 256]).unwrap();
        let keys = &mut self.peers.peer_mut(peer).unwrap().keys;
        keys.install(KeyId::FIRST, material.split(DataCipher::Aes256Gcm, role));
        keys.send_with(KeyId::FIRST).unwrap();
        peer
    }

    /// Takes a batch of one packet from the tun device.
    fn read_tun(&mut self, (inner, offload): &(Vec<u8>, Offload), pool: &mut Pool) {
        for _ in 0..BATCH {
            let mut packet = Packet::single(pool.take().unwrap(), 64, inner.len() as u32);
            packet.bytes_mut().copy_from_slice(inner);
            let pushed = self.outbound.inner.push(Inner {
                packet,
                origin: Origin::Tun,
                offload: *offload,
            });
            pushed.unwrap();
        }
    }

    /// The datagrams of a batch of one packet.
    fn seal<'a>(
        &'a mut self,
        inner: &(Vec<u8>, Offload),
        pool: &mut Pool,
    ) -> impl Iterator<Item = Datagram> + use<'a> {
        self.read_tun(inner, pool);
        self.turn(pool);
        assert!(self.outbound.is_done());
        for Spent { buffer, origin } in self.outbound.consumed.drain() {
            assert_eq!(origin, Origin::Tun);
            pool.give(buffer);
        }
        self.outbound.datagrams.drain()
    }

    /// Works both directions.
    fn turn(&mut self, pool: &mut Pool) {
        inbound(
            &mut self.inbound,
            &mut self.peers,
            pool,
            &mut self.drops,
            &self.surroundings,
            NOW,
        );
        outbound(
            &mut self.outbound,
            &mut self.peers,
            pool,
            &mut self.drops,
            &self.surroundings,
            NOW,
        );
        self.inbound.events.drain().for_each(drop);
        self.outbound.events.drain().for_each(drop);
    }

    /// Sends a batch of one packet to the other end.
    fn carry(
        &mut self,
        inner: &(Vec<u8>, Offload),
        to: &mut Self,
        from: Path,
        pool: &mut Pool,
        carried: &mut Carried,
    ) {
        for datagram in self.seal(inner, pool) {
            carried.sends += 1;
            to.inbound.received.push(received(datagram, from)).unwrap();
        }
        while !to.inbound.received.is_empty() {
            to.turn(pool);
            for Spent { buffer, origin } in to.inbound.spent() {
                assert_eq!(origin, Origin::Socket);
                pool.give(buffer);
            }
            to.inbound.write_tun(|buffer, packets, _| {
                for packet in packets {
                    carried.packets += packet.segments as usize;
                    carried.super_packets += usize::from(packet.segments > 1);
                }
                pool.give(buffer);
            });
        }
    }
}

/// The shards of a server, each with its pool.
struct Server {
    shards: Vec<End>,
    pools: Vec<Pool>,
    parcels: Vec<(u16, Parcel)>,
    handed_over: usize,
}

impl Server {
    fn new(shards: u16) -> Self {
        let mut ends: Vec<_> = (0..shards).map(|own| End::shard(own, shards)).collect();
        for end in &mut ends {
            end.surroundings.client_to_client = true;
        }
        Self {
            shards: ends,
            pools: (0..shards).map(|_| Pool::new(3 * BATCH as u32)).collect(),
            parcels: Vec::with_capacity(BATCH),
            handed_over: 0,
        }
    }

    /// A client on a shard, which all shards know of.
    fn connect(&mut self, shard: usize, address: [u8; 4]) {
        let end = &mut self.shards[shard];
        let peer = end.insert(path(1), Role::Server);
        let v4 = Some(address.into());
        end.peers.assign(peer, InnerAddresses { v4, v6: None });
        let owner = Owner {
            shard: shard as u16,
            client_id: address[3].into(),
        };
        for shard in &mut self.shards {
            let directory = &mut shard.surroundings.directory;
            directory.announce_inner(address.into(), owner).unwrap();
        }
    }

    /// The first shard receives datagrams; gives how many datagrams to clients became of them.
    fn carry(&mut self, datagrams: impl Iterator<Item = Datagram>) -> usize {
        for datagram in datagrams {
            let received = received(datagram, path(1));
            self.shards[0].inbound.received.push(received).unwrap();
        }
        self.settle()
    }

    /// The first shard reads a batch of one packet from the tun device.
    fn read_tun(&mut self, inner: &(Vec<u8>, Offload)) -> usize {
        self.shards[0].read_tun(inner, &mut self.pools[0]);
        self.settle()
    }

    /// Turns every shard once, in order: parcels go from the first to the second.
    fn settle(&mut self) -> usize {
        let mut sent = 0;
        for number in 0..self.shards.len() {
            let shard = &mut self.shards[number];
            for (to, parcel) in self.parcels.drain(..) {
                assert_eq!(usize::from(to), number);
                let unpacked = parcel.unpack(&mut shard.inbound, &mut shard.outbound);
                unpacked.unwrap();
                self.handed_over += 1;
            }
            shard.turn(&mut self.pools[number]);
            let (inside, outside) = (&mut shard.inbound, &mut shard.outbound);
            for Spent { buffer, origin } in inside.spent().chain(outside.consumed.drain()) {
                let home = match origin {
                    Origin::Socket | Origin::Tun | Origin::Stream => number,
                    Origin::Shard(shard) => usize::from(shard),
                };
                self.pools[home].give(buffer);
            }
            for datagram in inside.to_clients.drain().chain(outside.datagrams.drain()) {
                sent += datagram.packet.segments();
                self.pools[number].give(datagram.packet.buffer);
            }
            let elsewhere = inside.elsewhere.drain().chain(outside.elsewhere.drain());
            self.parcels.extend(elsewhere);
        }
        sent
    }
}

fn received(datagram: Datagram, path: Path) -> Received {
    Received {
        packet: datagram.packet,
        path,
        origin: Origin::Socket,
    }
}

const NOW: Monotonic = Monotonic::from_nanos(1_000);

fn path(port: u16) -> Path {
    Path {
        remote: ([192, 0, 2, 1], port).into(),
        local: None,
        socket: 0,
    }
}

fn inner_packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 1400];
    packet[..4].copy_from_slice(&[0x45, 0, 0x05, 0x78]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

fn single(packet: Vec<u8>) -> (Vec<u8>, Offload) {
    (packet, Offload::None)
}

/// A TCP connection's next payloads, as the kernel hands them over.
fn super_packet(source: [u8; 4], destination: [u8; 4]) -> (Vec<u8>, Offload) {
    let length = (40 + SEGMENT * SEGMENTS) as u16;
    let mut packet = vec![0; usize::from(length)];
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 6]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet[32..34].copy_from_slice(&[5 << 4, 0x10]);
    let segments = Segments {
        kind: SegmentKind::Tcp4 { cwr: false },
        size: SEGMENT as u16,
        header_len: 40,
        transport: 20,
    };
    (packet, Offload::Segments(segments))
}

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every method hands its arguments to the system's allocator unchanged; counting touches a
// thread-local integer that needs neither initialisation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
