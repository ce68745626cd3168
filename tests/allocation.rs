//! The data path allocates nothing once it runs: an allocator that counts, and 10,000 packets both ways.
//!
//! What the cryptographic library allocates in C is not seen here.
#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringway::crypto::{DataCipher, KeyMaterial, Role};
use ringway::packet::{
    Datagram, DropCounters, InboundBatch, InnerAddresses, Mssfix, NewPeer, Numbering,
    OutboundBatch, Packet, Path, PeerIndex, PeerTable, Pool, Received, inbound, outbound,
};
use ringway::random::SeededRandom;
use ringway::time::Monotonic;
use ringway::wire::KeyId;

const BATCH: usize = 32;
const PACKETS: usize = 10_000;

#[test]
fn ten_thousand_packets_both_ways_allocate_nothing() {
    let mut pool = Pool::new(3 * BATCH as u32);
    let mut client = End::new(Role::Client, path(9));
    let mut server = End::new(Role::Server, path(1));
    let up = inner_packet([10, 8, 0, 2], [203, 0, 113, 7]);
    let down = inner_packet([203, 0, 113, 7], [10, 8, 0, 2]);
    let mut turn = |turn: usize| {
        // The client moves to another port now and then.
        let from = path(1 + (turn / 10 % 3) as u16);
        let there = client.carry(&up, &mut server, from, &mut pool);
        there + server.carry(&down, &mut client, path(9), &mut pool)
    };
    let warm_up: usize = (0..100).map(&mut turn).sum();
    assert_eq!(warm_up, 100 * 2 * BATCH);

    let before = ALLOCATIONS.get();
    let mut carried = 0;
    for number in 0..PACKETS.div_ceil(BATCH) {
        carried += turn(number);
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(carried >= 2 * PACKETS, "{carried} packets arrived");
    assert_eq!(allocations, 0);
    assert_eq!(pool.free(), pool.size());
    assert_ne!(before, 0, "the allocator counts");
}

struct End {
    peers: PeerTable,
    peer: PeerIndex,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    drops: DropCounters,
}

impl End {
    fn new(role: Role, remote: Path) -> Self {
        let mut peers = PeerTable::new(0, 1, 16, &mut SeededRandom::new(1));
        let new = NewPeer {
            path: remote,
            numbering: Numbering::PeerId,
            mtu: 1500,
            mssfix: Mssfix::Packet(1492),
        };
        let peer = peers.insert(new, Monotonic::ZERO).unwrap();
        match role {
            Role::Server => {
                let v4 = Some([10, 8, 0, 2].into());
                peers.assign(peer, InnerAddresses { v4, v6: None });
            }
            Role::Client => peers
                .add_prefix(peer, "0.0.0.0/0".parse().unwrap())
                .unwrap(),
        }
        let material = KeyMaterial::from_exporter([7; 256]).unwrap();
        let keys = &mut peers.peer_mut(peer).unwrap().keys;
        keys.install(KeyId::FIRST, material.split(DataCipher::Aes256Gcm, role));
        keys.send_with(KeyId::FIRST).unwrap();
        Self {
            peers,
            peer,
            inbound: InboundBatch::new(BATCH),
            outbound: OutboundBatch::new(BATCH),
            drops: DropCounters::new(),
        }
    }

    /// Sends a batch of one packet to the other end; gives how many arrived.
    fn carry(&mut self, inner: &[u8], to: &mut Self, from: Path, pool: &mut Pool) -> usize {
        let now = Monotonic::from_nanos(1_000);
        for _ in 0..BATCH {
            let mut packet = Packet::single(pool.take().unwrap(), 64, inner.len() as u32);
            packet.bytes_mut().copy_from_slice(inner);
            self.outbound.inner.push(packet).unwrap();
        }
        outbound(
            &mut self.outbound,
            &mut self.peers,
            pool,
            &mut self.drops,
            now,
        );
        self.outbound
            .consumed
            .drain()
            .for_each(|buffer| pool.give(buffer));
        for Datagram { packet, peer, .. } in self.outbound.datagrams.drain() {
            assert_eq!(peer, self.peer);
            let path = from;
            to.inbound.received.push(Received { packet, path }).unwrap();
        }
        inbound(&mut to.inbound, &mut to.peers, pool, &mut to.drops, now);
        to.inbound.events.drain().for_each(drop);
        to.inbound
            .consumed
            .drain()
            .for_each(|buffer| pool.give(buffer));
        let arrived = to.inbound.to_tun.drain();
        arrived.map(|packet| pool.give(packet.buffer)).count()
    }
}

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
