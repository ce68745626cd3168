//! Two ends of a tunnel against each other, through pool buffers, without a network.

mod float;
mod fragments;
mod framing;
mod inbound;
mod node;
mod outbound;
mod receives;
mod shards;
mod streams;
mod super_packets;
mod switch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::*;
use crate::crypto::{DataCipher, DataKeys, KeyMaterial};
use crate::random::{Random, SeededRandom};
use crate::session::Steering;
use crate::time::Monotonic;
use crate::wire::{KeyId, Role};

/// A client and a server that know each other by one key.
struct Pair {
    client: End,
    server: End,
}

impl Pair {
    fn new(cipher: DataCipher, numbering: Numbering) -> Self {
        let mut pair = Self {
            client: End::new(numbering, SERVER),
            server: End::new(numbering, CLIENT),
        };
        let (index, peers) = (pair.client.peer, &mut pair.client.peers);
        for everything in ["0.0.0.0/0", "::/0"] {
            peers
                .add_prefix(index, everything.parse().unwrap())
                .unwrap();
        }
        let addresses = InnerAddresses {
            v4: Some(CLIENT_V4),
            v6: Some(CLIENT_V6),
        };
        pair.server.peers.assign(pair.server.peer, addresses);
        pair.install(cipher, KeyId::FIRST);
        pair.client.peer().keys.send_with(KeyId::FIRST).unwrap();
        pair.server.peer().keys.send_with(KeyId::FIRST).unwrap();
        pair
    }

    fn aes() -> Self {
        Self::new(DataCipher::Aes256Gcm, Numbering::PeerId)
    }

    /// Gives both ends a key of that id, to open with.
    fn install(&mut self, cipher: DataCipher, key_id: KeyId) {
        let (client, server) = keys(cipher, u64::from(key_id.get()));
        self.client.peer().keys.install(key_id, client);
        self.server.peer().keys.install(key_id, server);
    }
}

/// One end: its table with the other end as the only peer.
struct End {
    peers: PeerTable,
    peer: PeerIndex,
    pool: Pool,
    drops: DropCounters,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    surroundings: Surroundings,
    events: Vec<PeerEvent>,
    now: Monotonic,
}

impl End {
    fn new(numbering: Numbering, remote: Path) -> Self {
        let mut peers = PeerTable::new(0, 1, 8, &mut SeededRandom::new(3));
        let new = NewPeer {
            path: remote,
            numbering,
            mtu: 1500,
            mssfix: Mssfix::Packet(1492),
        };
        let now = Monotonic::ZERO + Duration::from_secs(1);
        Self {
            peer: peers.insert(new, now).unwrap(),
            peers,
            pool: Pool::new(8),
            drops: DropCounters::new(),
            inbound: InboundBatch::new(4, MERGING),
            outbound: OutboundBatch::new(4),
            surroundings: surroundings(0, 1),
            events: Vec::new(),
            now,
        }
    }

    fn peer(&mut self) -> &mut Peer {
        self.peers.peer_mut(self.peer).unwrap()
    }

    /// A buffer that holds `bytes`, as the kernel fills one.
    fn packet(&mut self, bytes: &[u8], start: u32) -> Packet {
        let buffer = self.pool.take().unwrap();
        let mut packet = Packet::single(buffer, start, bytes.len() as u32);
        packet.bytes_mut().copy_from_slice(bytes);
        packet
    }

    /// What becomes of an inner packet; every buffer is back afterwards.
    fn send(&mut self, inner: &[u8]) -> Vec<(Vec<u8>, Path)> {
        let packet = self.packet(inner, 10);
        self.outbound.inner.push(from_tun(packet)).unwrap();
        self.run_outbound();
        let datagrams: Vec<Datagram> = self.outbound.datagrams.drain().collect();
        for spent in self.outbound.consumed.drain() {
            assert_eq!(spent.origin, Origin::Tun);
            self.pool.give(spent.buffer);
        }
        assert!(self.outbound.elsewhere.is_empty());
        let sent = datagrams.into_iter().map(|datagram| {
            let sent = (datagram.packet.bytes().to_vec(), datagram.path);
            self.pool.give(datagram.packet.buffer);
            sent
        });
        let sent = sent.collect();
        assert_eq!(self.pool.free(), self.pool.size());
        sent
    }

    fn run_outbound(&mut self) {
        outbound(
            &mut self.outbound,
            &mut self.peers,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            self.now,
        );
        self.events.extend(self.outbound.events.drain());
    }

    /// The datagram that an inner packet becomes.
    fn sealed(&mut self, inner: &[u8]) -> Vec<u8> {
        let [(datagram, _)] = self.send(inner).try_into().unwrap();
        datagram
    }

    /// The datagram of a payload that is not from the tun device.
    fn sealed_payload(&mut self, payload: &[u8]) -> Vec<u8> {
        let index = self.peer;
        let datagram =
            seal_payload(&mut self.peers, index, payload, &mut self.pool, self.now).unwrap();
        let bytes = datagram.packet.bytes().to_vec();
        self.pool.give(datagram.packet.buffer);
        bytes
    }

    /// What a datagram from `path` brings for the tun device; every buffer is back afterwards.
    fn receive(&mut self, datagram: &[u8], path: Path) -> Vec<Vec<u8>> {
        let packet = self.packet(datagram, 100);
        self.inbound.received.push(received(packet, path)).unwrap();
        self.run_inbound();
        self.take_inner()
    }

    fn run_inbound(&mut self) {
        inbound(
            &mut self.inbound,
            &mut self.peers,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            self.now,
        );
        self.events.extend(self.inbound.events.drain());
    }

    fn take_inner(&mut self) -> Vec<Vec<u8>> {
        let mut inner = Vec::new();
        self.inbound.write_tun(|buffer, packets, pieces| {
            inner.extend(packets.iter().map(|packet| {
                assert_eq!(packet.offload, Offload::None);
                packet.bytes(&buffer, pieces).collect::<Vec<_>>().concat()
            }));
            self.pool.give(buffer);
        });
        for spent in self.inbound.spent() {
            assert_eq!(spent.origin, Origin::Socket);
            self.pool.give(spent.buffer);
        }
        assert!(self.inbound.to_clients.is_empty() && self.inbound.elsewhere.is_empty());
        assert_eq!(self.pool.free(), self.pool.size());
        inner
    }

    /// Asserts that exactly these drops were counted since the last call.
    fn assert_drops(&mut self, expected: &[(DropReason, u64)]) {
        let counted: Vec<_> = self.drops.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, expected);
        self.drops = DropCounters::new();
    }
}

fn received(packet: Packet, path: Path) -> Received {
    Received {
        packet,
        path,
        origin: Origin::Socket,
    }
}

fn from_tun(packet: Packet) -> Inner {
    Inner {
        packet,
        origin: Origin::Tun,
        offload: Offload::None,
    }
}

/// What shard `own` of `shards` knows before any client is announced.
fn surroundings(own: u16, shards: u16) -> Surroundings {
    let mut random = SeededRandom::new(5);
    Surroundings {
        own,
        steering: Steering::new(shards, &mut random),
        directory: Directory::new(64, &mut random),
        client_to_client: false,
        refuses_ipv6: None,
    }
}

/// The client's keys and the server's.
fn keys(cipher: DataCipher, seed: u64) -> (DataKeys, DataKeys) {
    let material = KeyMaterial::from_exporter(key_bytes(seed)).unwrap();
    (
        material.split(cipher, Role::Client),
        material.split(cipher, Role::Server),
    )
}

fn key_bytes(seed: u64) -> [u8; 256] {
    let mut bytes = [0; 256];
    SeededRandom::new(seed).fill(&mut bytes);
    bytes
}

/// A client's datagram under the key of [`KeyId::FIRST`] with a packet id that no test can count up
/// to; AES-256-GCM by hand. Wire: wire.md sections 7 and 8.1.
fn datagram_with_packet_id(packet_id: u32, payload: &[u8]) -> Vec<u8> {
    let to_server = key_bytes(0);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &to_server[..32]).unwrap());
    let packet_id = packet_id.to_be_bytes();
    let nonce: [u8; 12] = [&packet_id[..], &to_server[64..72]]
        .concat()
        .try_into()
        .unwrap();
    let clear = [&[0x48, 0, 0, 0][..], &packet_id].concat();
    let mut ciphertext = payload.to_vec();
    let tag = key.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&clear[..]),
        &mut ciphertext,
    );
    [&clear[..], tag.unwrap().as_ref(), &ciphertext].concat()
}

fn path(last: u8, port: u16) -> Path {
    Path {
        remote: ([192, 0, 2, last], port).into(),
        local: None,
        socket: 0,
    }
}

/// An IP packet with a payload that is no transport header.
fn ip(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, payload: &[u8]) -> Vec<u8> {
    ip_with_protocol(UNASSIGNED, source, destination, payload)
}

fn ip_with_protocol(
    protocol: u8,
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    payload: &[u8],
) -> Vec<u8> {
    match (source.into(), destination.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + payload.len() as u16).to_be_bytes();
            let head = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0];
            [&head[..], &source.octets(), &destination.octets(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let len = (payload.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            [&head[..], &source.octets(), &destination.octets(), payload].concat()
        }
        families => panic!("{families:?}"),
    }
}

/// A SYN that announces segments of `mss` bytes.
fn syn(mss: u16) -> Vec<u8> {
    let mut segment = vec![0; 24];
    segment[12] = 6 << 4;
    segment[13] = 2;
    segment[20..22].copy_from_slice(&[2, 4]);
    segment[22..].copy_from_slice(&mss.to_be_bytes());
    segment
}

/// The segment size that the SYN at the end of a packet announces.
fn announced(packet: &[u8]) -> u16 {
    u16::from_be_bytes(*packet.last_chunk().unwrap())
}

const NUMBERINGS: [Numbering; 2] = [Numbering::PeerId, Numbering::FourTuple];

const CLIENT: Path = Path {
    remote: std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40000),
    local: None,
    socket: 0,
};
const SERVER: Path = Path {
    remote: std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 1194),
    local: None,
    socket: 0,
};
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, 2);
const LAN_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const LAN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

const MERGING: Merging = Merging {
    tcp: true,
    udp: true,
};

/// An IP protocol number that nothing looks into.
const UNASSIGNED: u8 = 253;
const TCP: u8 = 6;
