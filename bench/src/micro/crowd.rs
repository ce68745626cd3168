//! What a packet costs a server among few and among many sessions: the path of a packet as it is, each from or for
//! the next session in no particular order, so that keys and tables come out of the caches that they are still in.
//!
//! A turn has the same number of packets however many sessions there are, and nothing of it is joined: what batches
//! save is not in the difference.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ringway::crypto::{DataCipher, KeyMaterial, Role};
use ringway::packet::{
    Directory, DropCounters, InboundBatch, Inner, InnerAddresses, Merging, Mssfix, NewPeer,
    Numbering, Offload, Origin, OutboundBatch, Packet, Path, PeerIndex, PeerTable, Pool, Received,
    Surroundings, inbound, outbound, seal_payload,
};
use ringway::random::{Random, SeededRandom};
use ringway::session::Steering;
use ringway::time::Monotonic;
use ringway::wire::{DataHeader, KeyId, PeerId};

use super::{Figure, Rounds};

/// Both directions of each size, the look-ups alone, and the cipher alone, for each number of sessions.
pub(super) fn measure(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let counts = COUNTS.map(|count| {
        let mut figures = Crowd::new(count)?.measure(rounds)?;
        figures.push(seal_alone(count, rounds)?);
        Ok(figures)
    });
    let figures: Result<Vec<_>, String> = counts.into_iter().collect();
    Ok(figures?.into_iter().flatten().collect())
}

/// A server with its sessions, and the other ends of these.
struct Crowd {
    server: PeerTable,
    clients: PeerTable,
    sessions: Vec<Member>,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    pool: Pool,
    drops: DropCounters,
    surroundings: Surroundings,
    random: SeededRandom,
}

/// One session.
struct Member {
    /// At its own end.
    client: PeerIndex,
    peer_id: PeerId,
    path: Path,
    address: [u8; 4],
}

impl Crowd {
    fn new(count: usize) -> Result<Self, String> {
        let mut random = SeededRandom::new(1);
        let table = |random: &mut SeededRandom| PeerTable::new(0, 1, count as u32, random);
        let mut crowd = Self {
            server: table(&mut random),
            clients: table(&mut random),
            sessions: Vec::with_capacity(count),
            inbound: InboundBatch::new(BATCH, Merging::default()),
            outbound: OutboundBatch::new(BATCH).sending_one_by_one(),
            pool: Pool::new(4 * BATCH as u32),
            drops: DropCounters::new(),
            surroundings: Surroundings {
                own: 0,
                steering: Steering::new(1, &mut random),
                directory: Directory::new(1, &mut random),
                client_to_client: false,
                refuses_ipv6: None,
            },
            random,
        };
        for number in 0..count {
            let member = crowd.admit(number as u32)?;
            crowd.sessions.push(member);
        }
        Ok(crowd)
    }

    /// Puts a session into both tables.
    fn admit(&mut self, number: u32) -> Result<Member, String> {
        let path = Path {
            remote: (Ipv4Addr::from_bits(0xc000_0200 + number), 1194).into(),
            local: None,
            socket: 0,
        };
        let server = insert(&mut self.server, path, Numbering::PeerId)?;
        let peer = self.server.peer(server).ok_or("the peer is gone")?;
        let peer_id = peer.peer_id();
        let client = insert(&mut self.clients, path, Numbering::DialedShared(peer_id))?;
        let address = Ipv4Addr::from_bits(0x0a08_0002 + number);
        let v4 = Some(address);
        self.server.assign(server, InnerAddresses { v4, v6: None });
        let material = material(number)?;
        for (table, index, role) in [
            (&mut self.server, server, Role::Server),
            (&mut self.clients, client, Role::Client),
        ] {
            let peer = table.peer_mut(index).ok_or("the peer is gone")?;
            peer.keys
                .install(KeyId::FIRST, material.split(CIPHER, role));
            let sends = peer.keys.send_with(KeyId::FIRST);
            sends.map_err(|none| none.to_string())?;
        }
        Ok(Member {
            client,
            peer_id,
            path,
            address: address.octets(),
        })
    }

    fn measure(mut self, rounds: &Rounds) -> Result<Vec<Figure>, String> {
        let count = self.sessions.len();
        let mut figures = Vec::new();
        for size in SIZES {
            let name = format!("inbound from {count} sessions");
            let turn = |crowd: &mut Self, packets| crowd.receive(size, packets);
            figures.push(self.carry(rounds, name, size, turn)?);
            let name = format!("outbound to {count} sessions");
            let turn = |crowd: &mut Self, packets| crowd.send(size, packets);
            figures.push(self.carry(rounds, name, size, turn)?);
        }
        figures.push(self.look_up(rounds)?);
        Ok(figures)
    }

    /// Times turns of equal size.
    fn carry(
        &mut self,
        rounds: &Rounds,
        name: String,
        size: usize,
        turn: impl Fn(&mut Self, usize) -> Result<Duration, String>,
    ) -> Result<Figure, String> {
        rounds.time_part(name, Some(size), |packets| {
            let turns = packets.div_ceil(BATCH);
            let mut spent = Duration::ZERO;
            for _ in 0..turns {
                spent += turn(self, BATCH)?;
            }
            Ok((spent, turns * BATCH))
        })
    }

    /// The time in `inbound` for a turn of datagrams, each of any session.
    fn receive(&mut self, size: usize, packets: usize) -> Result<Duration, String> {
        for _ in 0..packets {
            let member = self.random.below(self.sessions.len() as u64) as usize;
            let member = self.sessions.get(member).ok_or("no session")?;
            let inner = udp_packet(size, member.address, OUTSIDE);
            let (clients, pool) = (&mut self.clients, &mut self.pool);
            let sealed = seal_payload(clients, member.client, &inner, pool, NOW);
            let sealed = sealed.map_err(|reason| format!("not sealed: {}", reason.name()))?;
            let received = Received {
                packet: sealed.packet,
                path: member.path,
                origin: Origin::Socket,
            };
            let pushed = self.inbound.received.push(received);
            pushed.map_err(|_| "the batch is full")?;
        }
        let start = Instant::now();
        inbound(
            &mut self.inbound,
            &mut self.server,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            NOW,
        );
        let spent = start.elapsed();
        self.inbound.events.drain().for_each(drop);
        for spent in self.inbound.spent() {
            self.pool.give(spent.buffer);
        }
        let mut opened = 0;
        self.inbound.write_tun(|buffer, packets, _| {
            opened += packets.len();
            self.pool.give(buffer);
        });
        arrived(opened, packets).map(|()| spent)
    }

    /// The time in `outbound` for a turn of inner packets, each for any session.
    fn send(&mut self, size: usize, packets: usize) -> Result<Duration, String> {
        for _ in 0..packets {
            let member = self.random.below(self.sessions.len() as u64) as usize;
            let member = self.sessions.get(member).ok_or("no session")?;
            let inner = udp_packet(size, OUTSIDE, member.address);
            let buffer = self.pool.take().ok_or("the pool is empty")?;
            let mut packet = Packet::single(buffer, 64, inner.len() as u32);
            packet.bytes_mut().copy_from_slice(&inner);
            let pushed = self.outbound.inner.push(Inner {
                packet,
                origin: Origin::Tun,
                offload: Offload::None,
            });
            pushed.map_err(|_| "the batch is full")?;
        }
        let start = Instant::now();
        outbound(
            &mut self.outbound,
            &mut self.server,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            NOW,
        );
        let spent = start.elapsed();
        self.outbound.events.drain().for_each(drop);
        for spent in self.outbound.consumed.drain() {
            self.pool.give(spent.buffer);
        }
        let mut sealed = 0;
        for datagram in self.outbound.datagrams.drain() {
            sealed += datagram.packet.segments();
            self.pool.give(datagram.packet.buffer);
        }
        arrived(sealed, packets).map(|()| spent)
    }

    /// Whose a datagram is by its peer id, and whose an inner packet is by its address, without anything else that a
    /// packet needs.
    fn look_up(&mut self, rounds: &Rounds) -> Result<Figure, String> {
        let count = self.sessions.len();
        let random = &mut self.random;
        let order: Vec<_> = (0..rounds.items)
            .map(|_| random.below(count as u64) as usize)
            .filter_map(|number| self.sessions.get(number))
            .map(|member| (member.peer_id, member.address.into()))
            .collect();
        let name = format!("both look-ups among {count} sessions");
        rounds.time(name, None, |_| {
            let found = order.iter().filter(|(peer_id, address)| {
                let by_id = self.server.by_peer_id(black_box(*peer_id));
                let by_address = self.server.by_inner(black_box(*address));
                by_id.is_some() && by_id == by_address
            });
            arrived(found.count(), order.len())
        })
    }
}

/// The cipher alone, with any of so many keys: what of a packet among many sessions is its key, in no cache.
fn seal_alone(count: usize, rounds: &Rounds) -> Result<Figure, String> {
    let keys =
        (0..count as u32).map(|number| Ok(Box::new(material(number)?.split(CIPHER, Role::Server))));
    let mut keys: Vec<_> = keys.collect::<Result<_, String>>()?;
    let mut random = SeededRandom::new(1);
    let order: Vec<_> = (0..rounds.items)
        .map(|_| random.below(count as u64) as usize)
        .collect();
    let (plaintext, mut out) = ([0x5a; SIZES[0]], [0; 256]);
    let header = DataHeader::V1 {
        key_id: KeyId::FIRST,
    };
    let name = format!("sealing alone with any of {count} keys");
    rounds.time(name, Some(SIZES[0]), |_| {
        let sealed = order.iter().filter(|key| {
            let key = keys.get_mut(**key);
            key.is_some_and(|key| key.seal.seal(header, &plaintext, &mut out).is_ok())
        });
        arrived(sealed.count(), order.len())
    })
}

/// Each session has keys of its own, as real ones have.
fn material(number: u32) -> Result<KeyMaterial, String> {
    let mut secret = [7; KeyMaterial::LEN];
    secret
        .iter_mut()
        .step_by(8)
        .zip(number.to_be_bytes())
        .for_each(|(byte, part)| *byte ^= part);
    KeyMaterial::from_exporter(secret).map_err(|zero| zero.to_string())
}

fn insert(table: &mut PeerTable, path: Path, numbering: Numbering) -> Result<PeerIndex, String> {
    let new = NewPeer {
        path,
        numbering,
        mtu: 1500,
        mssfix: Mssfix::Packet(1492),
    };
    table.insert(new, NOW).map_err(|full| full.to_string())
}

fn arrived(there: usize, packets: usize) -> Result<(), String> {
    match there == packets {
        true => Ok(()),
        false => Err(format!("{there} of {packets} arrived")),
    }
}

/// An IPv4 packet of `size` bytes in all, as UDP carries them.
fn udp_packet(size: usize, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x5a; size];
    let [high, low] = (size as u16).to_be_bytes();
    packet[..12].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

const CIPHER: DataCipher = DataCipher::Aes256Gcm;
/// Somewhere behind the server.
const OUTSIDE: [u8; 4] = [203, 0, 113, 7];
const NOW: Monotonic = Monotonic::ZERO;
/// Packets in one turn.
const BATCH: usize = 64;
const SIZES: [usize; 2] = [64, 1400];
const COUNTS: [usize; 4] = [10, 1_000, 10_000, 100_000];
