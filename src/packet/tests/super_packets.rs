//! Super-packets against a twin that never sees one: what goes in in one piece comes out as if each
//! packet had come by itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::limits::{SEGMENTS_MAX, SEGMENTS_PER_SEND, SEND_MAX};
use crate::packet::segment::tests::flows::{FLOWS, Turn, meaning, packets, turns};
use crate::packet::segment::tests::{Ip, Sample, pattern, reference};
use crate::wire::PING;

/// What a client sends between its packets.
#[derive(Clone, Copy, Debug)]
enum Between {
    Ping,
    /// A datagram of the control channel, as long as the one before it.
    Control,
    /// The one before it once more.
    Again,
    /// The one before it, changed.
    Forged,
    /// The two before it change places.
    Overtaken,
}

fn between() -> impl Strategy<Value = Option<Between>> {
    let what = prop_oneof![
        Just(Between::Ping),
        Just(Between::Control),
        Just(Between::Again),
        Just(Between::Forged),
        Just(Between::Overtaken),
    ];
    proptest::option::weighted(0.08, what)
}

/// A client's datagrams, and which flow each of its inner packets is of.
fn sent(
    client: &mut End,
    turns: &[Turn],
    between: &[Option<Between>],
) -> (Vec<Vec<u8>>, BTreeMap<Vec<u8>, usize>) {
    let (mut datagrams, mut flows) = (Vec::new(), BTreeMap::new());
    for ((flow, packet, _), between) in packets(turns).into_iter().zip(between.iter().cycle()) {
        // What is damaged so that it has no destination is not sent.
        datagrams.extend(
            client
                .send(&packet)
                .into_iter()
                .map(|(datagram, _)| datagram),
        );
        flows.insert(meaning(&packet), flow);
        let (Some(between), Some(last)) = (between, datagrams.last().cloned()) else {
            continue;
        };
        match between {
            Between::Ping => datagrams.push(client.sealed_payload(&PING)),
            Between::Control => datagrams.push([&[0x20], &last[1..]].concat()),
            Between::Again => datagrams.push(last),
            Between::Forged => {
                let mut forged = last;
                forged[9] ^= 1;
                datagrams.push(forged);
            }
            Between::Overtaken => {
                let count = datagrams.len();
                datagrams.swap(count - 1, count.saturating_sub(2));
            }
        }
    }
    (datagrams, flows)
}

/// Consecutive datagrams of equal length, the last of them perhaps shorter, as the kernel gives them.
fn received_as_one(datagrams: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let mut receives = Vec::new();
    let mut rest = datagrams;
    while let Some(first) = rest.first() {
        let equal = rest
            .iter()
            .take_while(|datagram| datagram.len() == first.len());
        let mut count = equal.count();
        count += usize::from(rest.get(count).is_some_and(|next| next.len() < first.len()));
        let count = count.min(SEGMENTS_MAX).min((SEND_MAX / first.len()).max(1));
        let (receive, others) = rest.split_at(count);
        receives.push(receive);
        rest = others;
    }
    receives
}

/// What came out of an end for its tun device, split again, and its control datagrams.
#[derive(Debug, Default)]
struct Out {
    inner: Vec<Vec<u8>>,
    control: Vec<Vec<u8>>,
    super_packets: usize,
}

impl End {
    fn with_room(&mut self, merging: Merging) {
        self.pool = Pool::new(160);
        self.inbound = InboundBatch::new(16, merging);
        self.outbound = OutboundBatch::new(4);
    }

    /// Receives all of it, a batch at a time; every buffer is back afterwards.
    fn receive_all(&mut self, receives: &[&[Vec<u8>]], path: Path) -> Out {
        let mut out = Out::default();
        for receives in receives.chunks(16) {
            for receive in receives {
                let mut packet = self.packet(&receive.concat(), 100);
                packet.segment_size = receive[0].len() as u32;
                self.inbound.received.push(received(packet, path)).unwrap();
            }
            while !self.inbound.received.is_empty() {
                self.run_inbound();
                self.take_all(&mut out);
            }
        }
        assert_eq!(self.pool.free(), self.pool.size());
        out
    }

    fn take_all(&mut self, out: &mut Out) {
        let control = self.inbound.control().map(|(bytes, _)| bytes.to_vec());
        out.control.extend(control);
        self.inbound.write_tun(|buffer, packets, pieces| {
            for packet in packets {
                let whole = packet.bytes(&buffer, pieces).collect::<Vec<_>>().concat();
                assert_eq!(whole.len(), packet.len as usize);
                match packet.offload {
                    Offload::Segments(segments) => {
                        let split = reference::split(&whole, segments.size.into(), false);
                        assert_eq!(split.len(), packet.segments as usize);
                        out.inner.extend(split);
                        out.super_packets += 1;
                    }
                    _ => out.inner.push(whole),
                }
            }
            self.pool.give(buffer);
        });
        for spent in self.inbound.spent() {
            self.pool.give(spent.buffer);
        }
    }

    /// Drops and events so far, without an order.
    fn noted(&self) -> (Vec<(DropReason, u64)>, Vec<String>) {
        let mut events: Vec<_> = self
            .events
            .iter()
            .map(|event| format!("{event:?}"))
            .collect();
        events.sort();
        (self.drops.iter().collect(), events)
    }
}

/// A client, its server, and the server's twin that merges nothing.
fn with_twin() -> (Pair, End) {
    let (mut pair, mut other) = (Pair::aes(), Pair::aes());
    for (server, merging) in [
        (&mut pair.server, MERGING),
        (&mut other.server, Merging::default()),
    ] {
        server.with_room(merging);
        let index = server.peer;
        for network in ["10.8.0.0/16", "2020::/16"] {
            let network = network.parse().unwrap();
            server.peers.add_prefix(index, network).unwrap();
        }
    }
    (pair, other.server)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_received_as_one_is_what_came_one_by_one(
        turns in turns(),
        between in proptest::collection::vec(between(), 1..60),
    ) {
        let (mut pair, mut twin) = with_twin();
        let (datagrams, flows) = sent(&mut pair.client, &turns, &between);
        let one_by_one: Vec<&[Vec<u8>]> = datagrams.chunks(1).collect();
        let out = pair.server.receive_all(&received_as_one(&datagrams), CLIENT);
        let expected = twin.receive_all(&one_by_one, CLIENT);
        prop_assert_eq!(expected.super_packets, 0);
        prop_assert_eq!(out.control, expected.control);
        prop_assert_eq!(pair.server.noted(), twin.noted());
        let by_flow = |inner: Vec<Vec<u8>>| {
            let mut out = vec![Vec::new(); FLOWS + 1];
            for packet in inner {
                let packet = meaning(&packet);
                // What was cut off is no longer what was sent.
                out[flows.get(&packet).copied().unwrap_or(FLOWS)].push(packet);
            }
            out
        };
        prop_assert_eq!(by_flow(out.inner), by_flow(expected.inner));
    }

    #[test]
    fn what_leaves_in_runs_is_what_leaves_one_by_one(
        shapes in proptest::collection::vec(shape(), 1..24),
        refuses in any::<bool>(),
    ) {
        let (mut server, mut clients) = with_clients();
        let (mut twin, _) = with_clients();
        twin.outbound = OutboundBatch::new(4).sending_one_by_one();
        if refuses {
            let now = server.now;
            server.peers.peer_mut(server.peer).unwrap().refuse_runs(now);
        }
        let sent: Vec<_> = shapes.iter().map(Shape::packet).collect();
        let split = shapes.iter().flat_map(Shape::split);
        let split = split.map(|packet| (packet, Offload::None)).collect::<Vec<_>>();
        let runs = server.send_all(&sent);
        let expected = twin.send_all(&split);
        prop_assert_eq!(server.noted(), twin.noted());
        for (client, path) in clients.iter_mut().zip([CLIENT, SECOND]) {
            let of_client = |runs: &[Run]| {
                let runs = runs.iter().filter(|run| run.path == path);
                runs.flat_map(|run| run.datagrams.clone()).collect::<Vec<_>>()
            };
            let datagrams = of_client(&runs);
            prop_assert_eq!(&datagrams, &of_client(&expected));
            let mtu = usize::from(client.peer().mtu());
            let address = if path == CLIENT { 2 } else { 3 };
            let wanted = split.iter().map(|(packet, _)| packet);
            let wanted = wanted.filter(|packet| packet.len() <= mtu && destination(packet) == address);
            let opened = datagrams.iter().flat_map(|datagram| client.receive(datagram, SERVER));
            prop_assert_eq!(opened.collect::<Vec<_>>(), wanted.cloned().collect::<Vec<_>>());
        }
        for run in &runs {
            prop_assert!(run.path == CLIENT || run.path == SECOND);
            prop_assert!(!refuses || run.path == SECOND || run.datagrams.len() == 1);
        }
    }
}

/// A packet of the tun device: to which client, of which kind, and what is left to do on it.
#[derive(Clone, Debug)]
struct Shape {
    second: bool,
    kind: usize,
    flags: u8,
    /// Has IP options, or an extension header.
    extended: bool,
    payload: usize,
    /// Payload bytes of each segment; none for a single packet.
    size: Option<u16>,
    /// CWR is on the first segment alone.
    cwr: bool,
    /// Where its headers are said to end and to begin; else where they do.
    lie: Option<(u16, u16)>,
    completes: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let size = proptest::option::of(prop_oneof![1_u16..60, 200_u16..1600]);
    let flags = prop_oneof![Just(0x10), Just(0x18), Just(0x11), Just(0xd0), any::<u8>()];
    let lie = proptest::option::weighted(0.2, any::<(u16, u16)>());
    let lengths = (1..SEGMENTS_MAX, 0..1600_usize, size);
    let rarely = proptest::bool::weighted(0.2);
    let flip = any::<[bool; 3]>();
    (0..4_usize, flags, rarely, lengths, lie, flip).prop_map(
        |(kind, flags, extended, lengths, lie, flip)| {
            let (segments, odd, size) = lengths;
            // The last segment is of any length that it can have.
            let payload = size.map_or(odd % 1480, |size| {
                let size = usize::from(size);
                (size * segments - odd % size).min(65_000)
            });
            let [second, cwr, completes] = flip;
            Shape {
                second,
                kind,
                flags,
                extended,
                payload,
                size,
                cwr,
                lie,
                completes,
            }
        },
    )
}

impl Shape {
    fn sample(&self) -> Sample {
        let mut sample = Sample::each(&pattern(self.payload))[self.kind].clone();
        let last = if self.second { 3 } else { 2 };
        match &mut sample.ip {
            Ip::V4 {
                addresses, options, ..
            } => {
                *addresses = [203, 0, 113, 7, 10, 8, 0, last];
                *options = vec![1; if self.extended { 8 } else { 0 }];
            }
            Ip::V6 {
                addresses,
                extensions,
                ..
            } => {
                addresses[..16].copy_from_slice(&LAN_V6.octets());
                addresses[16..].copy_from_slice(&CLIENT_V6.octets());
                addresses[31] = last;
                *extensions = self.extended.then(|| (0, vec![0, 0, 1, 4, 0, 0, 0, 0], 0));
            }
        }
        sample.set_flags(self.flags);
        sample
    }

    /// Where the checksum is, from the transport header on.
    fn checksum_at(&self) -> usize {
        if self.kind < 2 { 16 } else { 6 }
    }

    /// As the tun device gives it.
    fn packet(&self) -> (Vec<u8>, Offload) {
        let sample = self.sample();
        let (transport, header_len) = sample.header();
        let mut packet = sample.bytes();
        let offload = match self.size {
            Some(size) => {
                let (header_len, transport) =
                    self.lie.unwrap_or((header_len as u16, transport as u16));
                Offload::Segments(Segments {
                    kind: sample.kind(self.cwr),
                    size,
                    header_len,
                    transport,
                })
            }
            None if self.completes => Offload::Checksum {
                start: transport as u16,
                offset: self.checksum_at() as u16,
            },
            None => return (packet, Offload::None),
        };
        let protocol = if self.kind < 2 { TCP } else { UDP };
        let sum = pseudo_header_sum(&packet, transport, protocol).to_be_bytes();
        let field = transport + self.checksum_at();
        packet[field..field + 2].copy_from_slice(&sum);
        (packet, offload)
    }

    fn split(&self) -> Vec<Vec<u8>> {
        let sample = self.sample();
        let mut packet = sample.bytes();
        let field = sample.header().0 + self.checksum_at();
        match self.size {
            Some(size) => return reference::split(&packet, size.into(), self.cwr),
            // As the kernel completes it: of two forms of the same sum the one that says something to UDP.
            None if self.completes && packet[field..field + 2] == [0, 0] => {
                packet[field..field + 2].fill(0xff);
            }
            None => {}
        }
        vec![packet]
    }
}

fn pseudo_header_sum(packet: &[u8], transport: usize, protocol: u8) -> u16 {
    let addresses = match packet[0] >> 4 {
        4 => &packet[12..20],
        _ => &packet[8..40],
    };
    let length = ((packet.len() - transport) as u32).to_be_bytes();
    !reference::checksum(&[addresses, &length[..], &[0, protocol]].concat())
}

/// The last byte of the address that a packet is for.
fn destination(packet: &[u8]) -> u8 {
    packet[if packet[0] >> 4 == 4 { 19 } else { 39 }]
}

/// One send: the datagrams that the kernel makes of it.
#[derive(Debug)]
struct Run {
    path: Path,
    datagrams: Vec<Vec<u8>>,
}

impl End {
    /// What becomes of inner packets, as many at once as the batch takes; every buffer is back afterwards.
    fn send_all(&mut self, packets: &[(Vec<u8>, Offload)]) -> Vec<Run> {
        let mut runs = Vec::new();
        for packets in packets.chunks(4) {
            for (bytes, offload) in packets {
                let packet = self.packet(bytes, 10);
                let inner = Inner {
                    offload: *offload,
                    ..from_tun(packet)
                };
                self.outbound.inner.push(inner).unwrap();
            }
            while !self.outbound.is_done() {
                self.run_outbound();
                for datagram in self.outbound.datagrams.drain() {
                    let packet = datagram.packet;
                    let path = datagram.path;
                    assert_eq!(*self.peers.peer(datagram.peer).unwrap().path(), path);
                    assert!(packet.len as usize <= SEND_MAX);
                    assert!(packet.segments() <= SEGMENTS_PER_SEND);
                    let datagrams = packet.pieces().map(|piece| {
                        assert!(piece.len > 0);
                        packet.buffer.bytes()[piece.range()].to_vec()
                    });
                    let datagrams = datagrams.collect();
                    runs.push(Run { path, datagrams });
                    self.pool.give(packet.buffer);
                }
                for spent in self.outbound.consumed.drain() {
                    self.pool.give(spent.buffer);
                }
            }
        }
        assert_eq!(self.pool.free(), self.pool.size());
        runs
    }
}

/// A server with two clients: one with a peer id, and one without.
fn with_clients() -> (End, [End; 2]) {
    let Pair {
        mut client,
        mut server,
    } = Pair::aes();
    client.with_room(MERGING);
    server.with_room(MERGING);
    let mut second = End::new(Numbering::FourTuple, SERVER);
    let new = NewPeer {
        path: SECOND,
        numbering: Numbering::FourTuple,
        mtu: 1500,
        mssfix: Mssfix::Off,
    };
    let index = server.peers.insert(new, server.now).unwrap();
    let mut address_v6 = CLIENT_V6.octets();
    address_v6[15] = 3;
    let addresses = InnerAddresses {
        v4: Some(Ipv4Addr::new(10, 8, 0, 3)),
        v6: Some(address_v6.into()),
    };
    server.peers.assign(index, addresses);
    let everything = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
    for network in everything {
        second.peers.add_prefix(second.peer, network).unwrap();
    }
    let (own, servers) = keys(DataCipher::Aes256Gcm, 9);
    second.peer().keys.install(KeyId::FIRST, own);
    let peer = server.peers.peer_mut(index).unwrap();
    peer.keys.install(KeyId::FIRST, servers);
    peer.keys.send_with(KeyId::FIRST).unwrap();
    (server, [client, second])
}

const UDP: u8 = 17;

const SECOND: Path = Path {
    remote: std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 40001),
    local: None,
    socket: 0,
};
