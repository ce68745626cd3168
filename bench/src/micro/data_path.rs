//! What one packet costs in [`outbound`] and [`inbound`].
//!
//! Two ends of a tunnel in one thread hand each other's buffers over, so that no kernel and no copy
//! between them is in the figures.

use std::time::{Duration, Instant};

use ringway::crypto::{DataCipher, Role};
use ringway::packet::{
    Directory, DropCounters, InboundBatch, Inner, InnerAddresses, Merging, Mssfix, NewPeer,
    Numbering, Offload, Origin, OutboundBatch, Packet, Path, PeerTable, Pool, Received,
    Surroundings, inbound, outbound,
};
use ringway::random::SeededRandom;
use ringway::session::Steering;
use ringway::time::Monotonic;
use ringway::wire::KeyId;

use super::crypto::material;
use super::{Figure, Rounds, SIZES};

/// Measures all ciphers and sizes, a row for each path.
pub(super) fn measure(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for cipher in DataCipher::USUAL {
        for size in SIZES {
            figures.extend(of(rounds, cipher, size)?);
        }
    }
    Ok(figures)
}

/// Carries packets from a client to a server in each round, after one that does not count.
fn of(rounds: &Rounds, cipher: DataCipher, size: usize) -> Result<[Figure; 2], String> {
    let mut tunnel = Tunnel::new(cipher, size)?;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=rounds.rounds {
        let (sealed, opened) = tunnel.round(rounds.items)?;
        if round > 0 {
            let each = |time: Duration| time.as_nanos() as f64 / rounds.items as f64;
            times[0].push(each(sealed));
            times[1].push(each(opened));
        }
    }
    let [sealing, opening] = times;
    let figure = |path, times| Figure::new(format!("{path}, {}", cipher.name()), Some(size), times);
    Ok([figure("outbound", sealing), figure("inbound", opening)])
}

/// A client's outbound path and a server's inbound path, with one pool.
struct Tunnel {
    client: PeerTable,
    server: PeerTable,
    outbound: OutboundBatch,
    inbound: InboundBatch,
    pool: Pool,
    drops: DropCounters,
    surroundings: Surroundings,
    inner: Vec<u8>,
}

impl Tunnel {
    fn new(cipher: DataCipher, size: usize) -> Result<Self, String> {
        let mut random = SeededRandom::new(1);
        Ok(Self {
            client: table(Role::Client, cipher)?,
            server: table(Role::Server, cipher)?,
            outbound: OutboundBatch::new(BATCH),
            inbound: InboundBatch::new(BATCH, Merging::default()),
            pool: Pool::new(3 * BATCH as u32),
            drops: DropCounters::new(),
            surroundings: Surroundings {
                own: 0,
                steering: Steering::new(1, &mut random),
                directory: Directory::new(1, &mut random),
                client_to_client: false,
                refuses_ipv6: None,
            },
            inner: udp_packet(size),
        })
    }

    /// The time in `outbound` and the time in `inbound` for so many packets.
    fn round(&mut self, packets: usize) -> Result<(Duration, Duration), String> {
        let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
        let mut arrived = 0;
        while arrived < packets {
            let count = BATCH.min(packets - arrived);
            self.read(count)?;
            sealing += self.seal();
            self.hand_over();
            opening += self.open();
            arrived += count;
            let delivered = self.deliver();
            if delivered != count {
                return Err(format!("{delivered} of {count} packets arrived"));
            }
        }
        Ok((sealing, opening))
    }

    /// Fills the outbound batch, as reading the tun device does.
    fn read(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let buffer = self.pool.take().ok_or("the pool is empty")?;
            let mut packet = Packet::single(buffer, 64, self.inner.len() as u32);
            packet.bytes_mut().copy_from_slice(&self.inner);
            let pushed = self.outbound.inner.push(Inner {
                packet,
                origin: Origin::Tun,
                offload: Offload::None,
            });
            pushed.map_err(|_| "the batch is full")?;
        }
        Ok(())
    }

    fn seal(&mut self) -> Duration {
        let start = Instant::now();
        outbound(
            &mut self.outbound,
            &mut self.client,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            Monotonic::ZERO,
        );
        start.elapsed()
    }

    /// Moves the client's datagrams into the server's inbound batch.
    fn hand_over(&mut self) {
        self.outbound.events.drain().for_each(drop);
        for spent in self.outbound.consumed.drain() {
            self.pool.give(spent.buffer);
        }
        for datagram in self.outbound.datagrams.drain() {
            let received = Received {
                packet: datagram.packet,
                path: datagram.path,
                origin: Origin::Socket,
            };
            // A datagram that is refused shows as one that did not arrive.
            if let Err(refused) = self.inbound.received.push(received) {
                self.pool.give(refused.packet.buffer);
            }
        }
    }

    fn open(&mut self) -> Duration {
        let start = Instant::now();
        inbound(
            &mut self.inbound,
            &mut self.server,
            &mut self.pool,
            &mut self.drops,
            &self.surroundings,
            Monotonic::ZERO,
        );
        start.elapsed()
    }

    /// Gives all buffers back; how many packets there were for the server's tun device.
    fn deliver(&mut self) -> usize {
        self.inbound.events.drain().for_each(drop);
        for spent in self.inbound.spent() {
            self.pool.give(spent.buffer);
        }
        let mut delivered = 0;
        self.inbound.write_tun(|buffer, packets, _| {
            delivered += packets.len();
            self.pool.give(buffer);
        });
        delivered
    }
}

/// One end's table with the other end as its only peer.
fn table(role: Role, cipher: DataCipher) -> Result<PeerTable, String> {
    let mut peers = PeerTable::new(0, 1, 1, &mut SeededRandom::new(1));
    let new = NewPeer {
        path: Path {
            remote: ([192, 0, 2, 1], 1194).into(),
            local: None,
            socket: 0,
        },
        numbering: Numbering::PeerId,
        mtu: 1500,
        mssfix: Mssfix::Packet(1492),
    };
    let index = peers
        .insert(new, Monotonic::ZERO)
        .map_err(|full| full.to_string())?;
    let addresses = match role {
        Role::Server => INNER_SOURCE,
        Role::Client => INNER_DESTINATION,
    };
    let v4 = Some(addresses.into());
    peers.assign(index, InnerAddresses { v4, v6: None });
    let peer = peers.peer_mut(index).ok_or("the peer is gone")?;
    peer.keys
        .install(KeyId::FIRST, material()?.split(cipher, role));
    peer.keys
        .send_with(KeyId::FIRST)
        .map_err(|none| none.to_string())?;
    Ok(peers)
}

/// An IPv4 packet of `size` bytes in all, as UDP carries them.
fn udp_packet(size: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; size];
    let [high, low] = (size as u16).to_be_bytes();
    packet[..12].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet[12..16].copy_from_slice(&INNER_SOURCE);
    packet[16..20].copy_from_slice(&INNER_DESTINATION);
    packet
}

const INNER_SOURCE: [u8; 4] = [10, 8, 0, 2];
const INNER_DESTINATION: [u8; 4] = [203, 0, 113, 7];

/// Packets in one turn.
const BATCH: usize = 64;
