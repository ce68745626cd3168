//! A connection over TCP: bytes in their order, in pieces of any size, that stand still now and then.

use std::collections::VecDeque;
use std::time::Duration;

use ringway::packet::{Brought, StreamedPackets};
use ringway::random::{Random, SeededRandom};
use ringway::time::Monotonic;
use ringway::wire::{STREAM_HEADER, stream_header, stream_packets};

use crate::network::{Arrival, Conditions, End, Network};

/// What carries packets between the two.
pub(crate) enum Carrier {
    Datagrams(Network<End>),
    Stream(Box<Stream>),
}

/// Both directions of a connection.
pub(crate) struct Stream {
    conditions: Conditions,
    random: SeededRandom,
    to_client: Direction,
    to_server: Direction,
    arrived: VecDeque<Arrival<End>>,
}

#[derive(Default)]
struct Direction {
    /// Pieces, with the time at which each is there.
    pieces: VecDeque<(Monotonic, Vec<u8>)>,
    /// What the receiver has of them.
    streamed: StreamedPackets,
    /// It does not go on before.
    still_until: Monotonic,
}

impl Carrier {
    pub(crate) fn send(&mut self, now: Monotonic, to: End, packet: &[u8]) {
        match self {
            Self::Datagrams(network) => network.send(now, to, packet),
            Self::Stream(stream) => stream.send(now, to, packet),
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Monotonic> {
        match self {
            Self::Datagrams(network) => network.next_arrival(),
            Self::Stream(stream) => stream.next_arrival(),
        }
    }

    pub(crate) fn arrive(&mut self, now: Monotonic) -> Option<Arrival<End>> {
        match self {
            Self::Datagrams(network) => network.arrive(now),
            Self::Stream(stream) => stream.arrive(now),
        }
    }

    /// From now on nothing gets through.
    pub(crate) fn cut(&mut self) {
        match self {
            Self::Datagrams(network) => network.cut(),
            Self::Stream(stream) => {
                for direction in [&mut stream.to_client, &mut stream.to_server] {
                    direction.pieces.clear();
                }
            }
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

impl Stream {
    /// Of the conditions delay and jitter count; what is lost is sent again by TCP, which takes time.
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            random: SeededRandom::new(seed ^ 0x7c97_7c97),
            to_client: Direction::default(),
            to_server: Direction::default(),
            arrived: VecDeque::new(),
        }
    }

    fn send(&mut self, now: Monotonic, to: End, packet: &[u8]) {
        let header = stream_header(packet.len()).expect("a packet");
        let bytes = [&header[..], packet].concat();
        let mut rest = &bytes[..];
        let jitter = self.conditions.jitter.as_nanos() as u64;
        let lossy = (self.conditions.loss * 1e6) as u64;
        let random = &mut self.random;
        let direction = match to {
            End::Client => &mut self.to_client,
            End::Server => &mut self.to_server,
        };
        if random.below(100) == 0 {
            let still = Duration::from_millis(random.below(8_000));
            direction.still_until = direction.still_until.max(now + still);
        }
        while !rest.is_empty() {
            let size = match random.below(4) {
                0 => 1 + random.below(3) as usize,
                1 => rest.len(),
                _ => 1 + random.below(rest.len() as u64) as usize,
            };
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            // It leaves together with what is still on its way.
            if random.below(3) == 0
                && let Some((_, last)) = direction.pieces.back_mut()
            {
                last.extend_from_slice(piece);
                continue;
            }
            let again = random.below(1_000_000) < lossy;
            let again = Duration::from_millis(if again { 200 + random.below(800) } else { 0 });
            let jitter = Duration::from_nanos(random.below(jitter + 1));
            let at = now + self.conditions.delay + jitter + again;
            let last = direction.pieces.back().map_or(at, |(at, _)| *at);
            let at = at.max(last).max(direction.still_until);
            direction.pieces.push_back((at, piece.to_vec()));
        }
    }

    fn next_arrival(&self) -> Option<Monotonic> {
        if !self.arrived.is_empty() {
            return Some(Monotonic::ZERO);
        }
        let directions = [&self.to_client, &self.to_server];
        let fronts = directions.map(|direction| direction.pieces.front().map(|(at, _)| *at));
        fronts.into_iter().flatten().min()
    }

    fn arrive(&mut self, now: Monotonic) -> Option<Arrival<End>> {
        while self.arrived.is_empty() {
            let at = self.next_arrival().filter(|at| *at <= now)?;
            let is_next = |direction: &Direction| {
                let front = direction.pieces.front();
                front.is_some_and(|(there, _)| *there == at)
            };
            let (to, direction) = match is_next(&self.to_client) {
                true => (End::Client, &mut self.to_client),
                false => (End::Server, &mut self.to_server),
            };
            let (_, piece) = direction.pieces.pop_front().expect("it is next");
            for bytes in direction.receive(&piece) {
                self.arrived.push_back(Arrival {
                    to,
                    bytes,
                    damaged: false,
                });
            }
        }
        self.arrived.pop_front()
    }
}

impl Direction {
    /// The packets that are whole with this piece, as a shard takes them.
    fn receive(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let (mut brought, mut packets) = (Brought::default(), Vec::new());
        let taken = self.streamed.take(piece, PACKET_MAX, &mut brought);
        assert!(taken.is_ok(), "{taken:?}");
        if let Some(used) = brought.completed {
            packets.push(self.streamed.completed()[STREAM_HEADER..].to_vec());
            let end = brought.rows.last().map_or(used, |(row, _)| row.end);
            self.streamed.begin(piece.get(end..).unwrap_or_default());
        }
        for (row, _) in &brought.rows {
            let row = &piece[row.clone()];
            packets.extend(stream_packets(row).map(|place| row[place].to_vec()));
        }
        packets
    }
}

/// Longer than any that is sent.
const PACKET_MAX: usize = 2_048;
