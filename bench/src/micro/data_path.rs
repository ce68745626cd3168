//! What one packet costs in [`outbound`] and [`inbound`].
//!
//! Two ends of a tunnel in one thread hand each other's buffers over, so that no kernel and no copy
//! between them is in the figures. `key alone` is [`SealKey::seal`] into one buffer: what the data path
//! stands on.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringway::crypto::{DataCipher, KeyMaterial, Role, SealKey};
use ringway::packet::{
    Directory, DropCounters, InboundBatch, Inner, InnerAddresses, Mssfix, NewPeer, Numbering,
    Origin, OutboundBatch, Packet, Path, PeerTable, Pool, Received, Surroundings, inbound,
    outbound,
};
use ringway::random::SeededRandom;
use ringway::session::Steering;
use ringway::time::Monotonic;
use ringway::wire::{DataHeader, KeyId, PeerId};

/// Measures all ciphers and sizes, and prints a line for each path.
pub(super) fn print(rounds: usize, packets: usize) -> Result<(), String> {
    println!("{rounds} rounds of {packets} packets; each column: min / median / max of the rounds");
    println!("cipher             bytes  path       ns per packet          Gbit/s of inner packets");
    for cipher in DataCipher::ALL {
        for size in [64, 1400] {
            let costs = measure(cipher, size, rounds, packets)?;
            costs.iter().for_each(|cost| println!("{cost}"));
        }
    }
    Ok(())
}

/// What a path costs with one cipher and one size of packet.
struct Cost {
    cipher: DataCipher,
    size: usize,
    path: &'static str,
    /// Nanoseconds a packet in each round, sorted.
    nanoseconds: Vec<f64>,
}

impl Cost {
    fn new(cipher: DataCipher, size: usize, path: &'static str, mut nanoseconds: Vec<f64>) -> Self {
        nanoseconds.sort_by(f64::total_cmp);
        Self {
            cipher,
            size,
            path,
            nanoseconds,
        }
    }

    /// The cheapest, the middle and the dearest round.
    fn spread(&self) -> [f64; 3] {
        let last = self.nanoseconds.len().saturating_sub(1);
        [0, last / 2, last].map(|at| self.nanoseconds.get(at).copied().unwrap_or(f64::NAN))
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [min, median, max] = self.spread();
        let rate = |nanoseconds: f64| self.size as f64 * 8.0 / nanoseconds;
        write!(
            formatter,
            "{:<18} {:>5}  {:<9} {min:>5.0} /{median:>5.0} /{max:>6.0}   {:>6.2} /{:>6.2} /{:>6.2}",
            self.cipher.name(),
            self.size,
            self.path,
            rate(max),
            rate(median),
            rate(min),
        )
    }
}

/// Carries `packets` packets from a client to a server in each of `rounds` rounds, after one that
/// does not count.
fn measure(
    cipher: DataCipher,
    size: usize,
    rounds: usize,
    packets: usize,
) -> Result<[Cost; 3], String> {
    let mut tunnel = Tunnel::new(cipher, size)?;
    tunnel.round(packets)?;
    let mut key = material()?.split(cipher, Role::Client).seal;
    let (mut key_alone, mut sealing, mut opening) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (sealed, opened) = tunnel.round(packets)?;
        let alone = seal_alone(&mut key, &tunnel.inner, packets)?;
        for (costs, time) in [
            (&mut key_alone, alone),
            (&mut sealing, sealed),
            (&mut opening, opened),
        ] {
            costs.push(time.as_nanos() as f64 / packets as f64);
        }
    }
    Ok([
        Cost::new(cipher, size, "key alone", key_alone),
        Cost::new(cipher, size, "outbound", sealing),
        Cost::new(cipher, size, "inbound", opening),
    ])
}

/// The time to seal so many packets without a data path around it.
fn seal_alone(key: &mut SealKey, inner: &[u8], packets: usize) -> Result<Duration, String> {
    let mut out = vec![0; inner.len() + SealKey::OVERHEAD];
    let header = DataHeader::V2 {
        key_id: KeyId::FIRST,
        peer_id: PeerId::NONE,
    };
    let start = Instant::now();
    for _ in 0..packets {
        let sealed = key.seal(header, black_box(inner), &mut out);
        sealed.map_err(|error| error.to_string())?;
    }
    Ok(start.elapsed())
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
            inbound: InboundBatch::new(BATCH),
            pool: Pool::new(3 * BATCH as u32),
            drops: DropCounters::new(),
            surroundings: Surroundings {
                own: 0,
                steering: Steering::new(1, &mut random),
                directory: Directory::new(1, &mut random),
                client_to_client: false,
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
        for spent in self.inbound.consumed.drain() {
            self.pool.give(spent.buffer);
        }
        let delivered = self.inbound.to_tun.drain();
        delivered
            .map(|packet| self.pool.give(packet.buffer))
            .count()
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

fn material() -> Result<KeyMaterial, String> {
    KeyMaterial::from_exporter([7; 256]).map_err(|zero| zero.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_and_size_runs_and_shows_its_spread() {
        for cipher in DataCipher::ALL {
            for size in [64, 1400] {
                let costs = measure(cipher, size, 3, BATCH + 1).unwrap();
                for cost in costs {
                    let [min, median, max] = cost.spread();
                    assert!(0.0 < min && min <= median && median <= max, "{cost}");
                    assert_eq!(cost.nanoseconds.len(), 3);
                }
            }
        }
    }

    #[test]
    fn a_line_shows_rates_from_the_slowest_to_the_fastest() {
        let cost = Cost::new(
            DataCipher::Aes256Gcm,
            1000,
            "inbound",
            vec![400.0, 100.0, 200.0],
        );
        let line = cost.to_string();
        let words: Vec<_> = line
            .split([' ', '/'])
            .filter(|word| !word.is_empty())
            .collect();
        let expected = "AES-256-GCM 1000 inbound 100 200 400 20.00 40.00 80.00";
        assert_eq!(words.join(" "), expected);
    }
}
