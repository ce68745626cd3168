//! Several shards with clients, and packets that come in on any of them.

use std::collections::HashSet;

use super::*;
use crate::session::{Class, OpenVpn2};
use crate::wire::{DataHeader, PING, SessionId};
use proptest::prelude::*;

/// The shards of a node, its clients, and no network.
pub(super) struct Node {
    pub(super) shards: Vec<ShardEnd>,
    pub(super) clients: Vec<Client>,
    pub(super) now: Monotonic,
    /// Parcels so far.
    pub(super) handed_over: usize,
}

/// One shard's data path.
pub(super) struct ShardEnd {
    pub(super) peers: PeerTable,
    pub(super) pool: Pool,
    pub(super) surroundings: Surroundings,
    pub(super) events: Vec<PeerEvent>,
    drops: DropCounters,
    inbound: InboundBatch,
    outbound: OutboundBatch,
    mailbox: Vec<Parcel>,
    /// Where the bytes of the pool's buffers are.
    buffers: HashSet<*const u8>,
}

/// A client, with the server's peer for it.
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) peer: PeerIndex,
    pub(super) path: Path,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    owner: Owner,
    keys: DataKeys,
    pub(super) header: DataHeader,
}

/// Something that left the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// An inner packet, to the tun queue of a shard.
    Tun(usize, Vec<u8>),
    /// An inner packet, which a client has opened.
    Client(usize, Vec<u8>),
    /// A datagram, to the sessions of a shard.
    Control(usize, Vec<u8>),
}

impl Node {
    pub(super) fn new(shards: u16) -> Self {
        let shards: Vec<_> = (0..shards).map(|own| ShardEnd::new(own, shards)).collect();
        Self {
            shards,
            clients: Vec::new(),
            now: Monotonic::ZERO + Duration::from_secs(1),
            handed_over: 0,
        }
    }

    /// Lets clients reach one another.
    pub(super) fn with_client_to_client(mut self) -> Self {
        for shard in &mut self.shards {
            shard.surroundings.client_to_client = true;
        }
        self
    }

    /// A new client on a shard, which all shards are told of.
    pub(super) fn connect(&mut self, shard: usize, numbering: Numbering) -> usize {
        self.connect_with(shard, numbering, 1500, Mssfix::Off)
    }

    pub(super) fn connect_with(
        &mut self,
        shard: usize,
        numbering: Numbering,
        mtu: u16,
        mssfix: Mssfix,
    ) -> usize {
        let number = self.clients.len();
        let path = path(1, 1000 + number as u16);
        let new = NewPeer {
            path,
            numbering,
            mtu,
            mssfix,
        };
        let last = number as u8 + 2;
        let (v4, v6) = (
            [10, 8, 0, last].into(),
            [0xfd00, 8, 0, 0, 0, 0, 0, last.into()].into(),
        );
        let end = &mut self.shards[shard];
        let peer = end.peers.insert(new, self.now).unwrap();
        let addresses = InnerAddresses {
            v4: Some(v4),
            v6: Some(v6),
        };
        end.peers.assign(peer, addresses);
        let (client_keys, server_keys) = keys(DataCipher::Aes256Gcm, number as u64);
        let key_id = KeyId::FIRST;
        let slots = &mut end.peers.peer_mut(peer).unwrap().keys;
        slots.install(key_id, server_keys);
        slots.send_with(key_id).unwrap();
        let owner = Owner {
            shard: shard as u16,
            client_id: number as u64,
        };
        let header = end.peers.peer(peer).unwrap().header(key_id);
        for shard in &mut self.shards {
            let directory = &mut shard.surroundings.directory;
            for address in addresses.iter() {
                directory.announce_inner(address, owner).unwrap();
            }
            let client = ClientPath { path, numbering };
            directory.announce_path(&client, owner).unwrap();
        }
        self.clients.push(Client {
            shard,
            peer,
            path,
            v4,
            v6,
            owner,
            keys: client_keys,
            header,
        });
        number
    }

    /// Takes a client's peer out, and nothing else.
    pub(super) fn disconnect(&mut self, client: usize) {
        let Client { shard, peer, .. } = self.clients[client];
        self.shards[shard].peers.remove(peer, self.now).unwrap();
    }

    /// Tells all shards that a client is gone from its path.
    pub(super) fn withdraw_path(&mut self, client: usize) {
        let Client { path, owner, .. } = &self.clients[client];
        for shard in &mut self.shards {
            shard.surroundings.directory.withdraw_path(path, *owner);
        }
    }

    /// Tells all shards that a client is known by its path.
    pub(super) fn announce_by_path(&mut self, client: usize) {
        let Client { path, owner, .. } = self.clients[client];
        let numbering = Numbering::FourTuple;
        let client = ClientPath { path, numbering };
        for shard in &mut self.shards {
            let directory = &mut shard.surroundings.directory;
            directory.announce_path(&client, owner).unwrap();
        }
    }

    /// A client sends without its peer id from now on; gives what it would have sent.
    pub(super) fn ignore_peer_id(&mut self, client: usize) -> DataHeader {
        let key_id = KeyId::FIRST;
        let without = DataHeader::V1 { key_id };
        std::mem::replace(&mut self.clients[client].header, without)
    }

    /// Routes a network to a client, and tells all shards.
    pub(super) fn route(&mut self, client: usize, prefix: &str) {
        let prefix = prefix.parse().unwrap();
        let Client {
            shard, peer, owner, ..
        } = self.clients[client];
        self.shards[shard].peers.add_prefix(peer, prefix).unwrap();
        for shard in &mut self.shards {
            let directory = &mut shard.surroundings.directory;
            directory.announce_prefix(prefix, owner).unwrap();
        }
    }

    /// A client goes on with the keys of that seed.
    pub(super) fn rekey(&mut self, client: usize, key_id: KeyId, seed: u64) {
        let (client_keys, _) = keys(DataCipher::Aes256Gcm, seed);
        let header = self.peer(client).header(key_id);
        let client = &mut self.clients[client];
        (client.keys, client.header) = (client_keys, header);
    }

    pub(super) fn peer(&self, client: usize) -> &Peer {
        let Client { shard, peer, .. } = self.clients[client];
        self.shards[shard].peers.peer(peer).unwrap()
    }

    /// What becomes of a client's packet to the LAN that comes in on a shard.
    pub(super) fn send_up(&mut self, client: usize, shard: usize) -> Vec<Out> {
        let inner = self.clients[client].up();
        self.send(client, shard, &inner)
    }

    /// What becomes of a packet from the LAN for a client, read by a shard.
    pub(super) fn send_down(&mut self, client: usize, shard: usize) -> Vec<Out> {
        let inner = ip(LAN_V4, self.clients[client].v4, b"down");
        self.read_tun(shard, &inner)
    }

    /// What becomes of a client's inner packet that comes in on a shard.
    pub(super) fn send(&mut self, client: usize, shard: usize, inner: &[u8]) -> Vec<Out> {
        let datagram = self.clients[client].seal(inner);
        let path = self.clients[client].path;
        self.receive(shard, &datagram, path)
    }

    /// What becomes of a datagram that comes in on a shard.
    pub(super) fn receive(&mut self, shard: usize, datagram: &[u8], path: Path) -> Vec<Out> {
        let end = &mut self.shards[shard];
        let packet = filled(end.pool.take().unwrap(), datagram);
        end.inbound.received.push(received(packet, path)).unwrap();
        self.settle()
    }

    /// What becomes of an inner packet that a shard has read from the tun device.
    pub(super) fn read_tun(&mut self, shard: usize, inner: &[u8]) -> Vec<Out> {
        let end = &mut self.shards[shard];
        let packet = filled(end.pool.take().unwrap(), inner);
        end.outbound.inner.push(from_tun(packet)).unwrap();
        self.settle()
    }

    /// Each drop since the last time: the shard, the reason, how many.
    pub(super) fn take_drops(&mut self) -> Vec<(usize, DropReason, u64)> {
        let mut drops = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let counted = shard.drops.iter().filter(|(_, count)| *count > 0);
            drops.extend(counted.map(|(reason, count)| (number, reason, count)));
            shard.drops = DropCounters::new();
        }
        drops
    }

    /// Runs all shards until nothing is under way; every buffer is back in its own pool then.
    fn settle(&mut self) -> Vec<Out> {
        let mut out = Vec::new();
        for round in 0.. {
            let mut parcels = Vec::new();
            let mut spent = Vec::new();
            for number in 0..self.shards.len() {
                let (outputs, consumed) = self.shards[number].turn(self.now, &mut parcels);
                out.extend(outputs.into_iter().map(|output| self.judge(number, output)));
                spent.extend(consumed.into_iter().map(|spent| (number, spent)));
            }
            for (number, Spent { buffer, origin }) in spent {
                let home = match origin {
                    Origin::Socket | Origin::Tun => number,
                    Origin::Shard(shard) => usize::from(shard),
                };
                self.shards[home].pool.give(buffer);
            }
            if parcels.is_empty() {
                break;
            }
            for (_, _, parcel) in &parcels {
                // What a parcel held may become another one: a datagram the packet for a client.
                let from_client = ParcelContent::Inner(InnerSource::Client, Offload::None);
                assert!(round == 0 || round == 1 && parcel.content == from_client);
            }
            self.handed_over += parcels.len();
            for (from, to, parcel) in parcels {
                assert!(to != from && usize::from(parcel.from) == from);
                self.shards[to].mailbox.push(parcel);
            }
        }
        self.shards.iter_mut().for_each(ShardEnd::assert_whole);
        out
    }

    /// A datagram for a client must be what that client can open, where it is.
    fn judge(&mut self, shard: usize, output: Output) -> Out {
        match output {
            Output::Tun(inner) => Out::Tun(shard, inner),
            Output::Control(datagram) => Out::Control(shard, datagram),
            Output::Datagram(peer, path, bytes) => {
                let found = |client: &Client| (client.shard, client.peer) == (shard, peer);
                let number = self.clients.iter().position(found).unwrap();
                let client = &mut self.clients[number];
                assert_eq!(path, client.path);
                Out::Client(number, client.open(&bytes, self.now))
            }
        }
    }
}

/// What a shard puts out.
enum Output {
    Tun(Vec<u8>),
    Control(Vec<u8>),
    Datagram(PeerIndex, Path, Vec<u8>),
}

impl ShardEnd {
    fn new(own: u16, shards: u16) -> Self {
        let mut pool = Pool::new(8);
        let buffers: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let places = buffers.iter().map(|buffer| buffer.bytes().as_ptr());
        let places = places.collect();
        buffers.into_iter().for_each(|buffer| pool.give(buffer));
        let mut random = SeededRandom::new(3);
        Self {
            peers: PeerTable::new(own.into(), shards.into(), 8, &mut random),
            pool,
            surroundings: surroundings(own, shards),
            events: Vec::new(),
            drops: DropCounters::new(),
            inbound: InboundBatch::new(4, MERGING),
            outbound: OutboundBatch::new(4),
            mailbox: Vec::new(),
            buffers: places,
        }
    }

    /// Works on all that has come in.
    fn turn(
        &mut self,
        now: Monotonic,
        parcels: &mut Vec<(usize, usize, Parcel)>,
    ) -> (Vec<Output>, Vec<Spent>) {
        for parcel in self.mailbox.drain(..) {
            parcel
                .unpack(&mut self.inbound, &mut self.outbound)
                .unwrap();
        }
        let (inside, outside) = (&mut self.inbound, &mut self.outbound);
        let surroundings = &self.surroundings;
        inbound(
            inside,
            &mut self.peers,
            &mut self.pool,
            &mut self.drops,
            surroundings,
            now,
        );
        outbound(
            outside,
            &mut self.peers,
            &mut self.pool,
            &mut self.drops,
            surroundings,
            now,
        );
        self.events
            .extend(inside.events.drain().chain(outside.events.drain()));
        let mut outputs = Vec::new();
        let mut spent: Vec<Spent> = Vec::new();
        inside.write_tun(|buffer, packets, pieces| {
            for packet in packets {
                let bytes: Vec<_> = packet.bytes(&buffer, pieces).collect();
                outputs.push(Output::Tun(bytes.concat()));
            }
            self.pool.give(buffer);
        });
        let control = inside.control();
        outputs.extend(control.map(|(datagram, _)| Output::Control(datagram.to_vec())));
        let datagrams = inside.to_clients.drain().chain(outside.datagrams.drain());
        for Datagram { packet, path, peer } in datagrams {
            outputs.push(Output::Datagram(peer, path, packet.bytes().to_vec()));
            self.pool.give(packet.buffer);
        }
        let own = usize::from(surroundings.own);
        let elsewhere = inside.elsewhere.drain().chain(outside.elsewhere.drain());
        parcels.extend(elsewhere.map(|(to, parcel)| (own, usize::from(to), parcel)));
        spent.extend(inside.spent().chain(outside.consumed.drain()));
        (outputs, spent)
    }

    /// All buffers of the pool are there, and none of another.
    fn assert_whole(&mut self) {
        let buffers: Vec<_> = std::iter::from_fn(|| self.pool.take()).collect();
        let places = buffers.iter().map(|buffer| buffer.bytes().as_ptr());
        assert_eq!(places.collect::<HashSet<_>>(), self.buffers);
        for buffer in buffers {
            self.pool.give(buffer);
        }
    }
}

impl Client {
    /// A packet to the LAN.
    pub(super) fn up(&self) -> Vec<u8> {
        ip(self.v4, LAN_V4, b"up")
    }

    fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; inner.len() + 64];
        let len = self.keys.seal.seal(self.header, inner, &mut datagram);
        datagram.truncate(len.unwrap());
        datagram
    }

    fn open(&mut self, datagram: &[u8], now: Monotonic) -> Vec<u8> {
        let mut inner = vec![0; datagram.len()];
        let len = self.keys.open.open(now, datagram, &mut inner);
        inner.truncate(len.unwrap());
        inner
    }
}

fn filled(buffer: Buffer, bytes: &[u8]) -> Packet {
    let mut packet = Packet::single(buffer, 10, bytes.len() as u32);
    packet.bytes_mut().copy_from_slice(bytes);
    packet
}

/// A control datagram that belongs to a shard.
fn control_of(shard: u16, steering: &Steering) -> Vec<u8> {
    let ids = (0_u64..).map(|id| SessionId(id.to_be_bytes()));
    let mut found = ids.filter(|id| steering.shard_of(Class::Control(*id)) == Some(shard));
    let SessionId(id) = found.next().unwrap();
    let datagram = [&[0x38][..], &id, &[0; 5]].concat();
    assert_eq!(OpenVpn2::classify(&datagram), Class::Control(SessionId(id)));
    datagram
}

#[test]
fn what_comes_in_on_the_wrong_shard_reaches_its_owner() {
    let mut node = Node::new(3);
    let mut expected = 0;
    for (owner, numbering) in (0..3).flat_map(|shard| NUMBERINGS.map(|kind| (shard, kind))) {
        let client = node.connect(owner, numbering);
        for arrival in 0..3 {
            let inner = node.clients[client].up();
            assert_eq!(node.send_up(client, arrival), [Out::Tun(owner, inner)]);
            assert_eq!(node.send(client, arrival, &PING), []);
            let down = ip(LAN_V6, node.clients[client].v6, b"down");
            let out = node.read_tun(arrival, &down);
            assert_eq!(out, [Out::Client(client, down)]);
            let control = control_of(owner as u16, &node.shards[0].surroundings.steering);
            let out = node.receive(arrival, &control, path(9, 9));
            assert_eq!(out, [Out::Control(owner, control)]);
            expected += 4 * usize::from(arrival != owner);
            assert_eq!(
                node.handed_over, expected,
                "{owner} {numbering:?} {arrival}"
            );
        }
    }
    assert_eq!(node.take_drops(), []);
}

#[test]
fn what_nobody_owns_is_dropped_where_it_came_in_or_where_it_belongs() {
    let mut node = Node::new(2);
    let client = node.connect(1, Numbering::FourTuple);
    let datagram = node.clients[client].seal(&PING);
    let peer_id = |id| [&[0x48, 0, 0, id][..], &[0; 40]].concat();
    for (datagram, path, drop, handed_over) in [
        (datagram, path(9, 9), (0, DropReason::UnknownPeer, 1), 0),
        (peer_id(0), path(9, 9), (0, DropReason::UnknownPeer, 1), 0),
        (peer_id(1), path(9, 9), (1, DropReason::UnknownPeer, 1), 1),
        (vec![0xff; 9], path(9, 9), (0, DropReason::Malformed, 1), 1),
        (vec![], path(9, 9), (0, DropReason::Empty, 1), 1),
    ] {
        assert_eq!(node.receive(0, &datagram, path), []);
        assert_eq!(node.take_drops(), [drop]);
        assert_eq!(node.handed_over, handed_over);
    }
    assert_eq!(node.read_tun(0, &ip(LAN_V4, [10, 9, 0, 1], b"x")), []);
    assert_eq!(node.take_drops(), [(0, DropReason::NoRoute, 1)]);
}

#[test]
fn nothing_is_handed_on_when_a_directory_is_late() {
    let mut node = Node::new(3).with_client_to_client();
    let client = node.connect(1, Numbering::FourTuple);
    let sender = node.connect(0, Numbering::PeerId);
    let Client { path, v4, .. } = node.clients[client];
    let datagram = node.clients[client].seal(&PING);
    // The client has left the second shard for the third, which the first has not heard.
    node.disconnect(client);
    let moved = Owner {
        shard: 2,
        client_id: 77,
    };
    let directory = &mut node.shards[1].surroundings.directory;
    let numbering = Numbering::FourTuple;
    let client_path = ClientPath { path, numbering };
    directory.announce_path(&client_path, moved).unwrap();
    directory.announce_inner(v4.into(), moved).unwrap();
    assert_eq!(node.receive(0, &datagram, path), []);
    assert_eq!(node.read_tun(0, &ip(LAN_V4, v4, b"x")), []);
    let from_client = ip(node.clients[sender].v4, v4, b"x");
    assert_eq!(node.send(sender, 0, &from_client), []);
    assert_eq!(node.take_drops(), [(1, DropReason::HandedOnTwice, 3)]);

    // It has left altogether.
    let directory = &mut node.shards[1].surroundings.directory;
    directory.withdraw_path(&path, moved);
    directory.withdraw_inner(v4.into(), moved);
    assert_eq!(node.receive(0, &datagram, path), []);
    assert_eq!(node.read_tun(0, &ip(LAN_V4, v4, b"x")), []);
    let expected = [(1, DropReason::UnknownPeer, 1), (1, DropReason::NoRoute, 1)];
    assert_eq!(node.take_drops(), expected);
}

#[test]
fn a_control_datagram_of_a_third_shard_is_not_handed_on() {
    let mut node = Node::new(3);
    let steering = node.shards[0].surroundings.steering;
    let mut buffer = node.shards[0].pool.take().unwrap();
    let control = control_of(2, &steering);
    buffer.bytes_mut()[..control.len()].copy_from_slice(&control);
    node.shards[1].mailbox.push(Parcel {
        from: 0,
        packet: Packet::single(buffer, 0, control.len() as u32),
        content: ParcelContent::Datagram(path(9, 9)),
    });
    assert_eq!(node.settle(), []);
    assert_eq!(node.take_drops(), [(1, DropReason::HandedOnTwice, 1)]);
}

#[test]
fn the_own_table_is_believed_rather_than_an_equal_entry_of_the_directory() {
    let mut node = Node::new(2);
    let client = node.connect(0, Numbering::PeerId);
    let late = Owner {
        shard: 1,
        client_id: 77,
    };
    let v4 = node.clients[client].v4;
    let directory = &mut node.shards[0].surroundings.directory;
    directory.announce_inner(v4.into(), late).unwrap();
    assert_eq!(node.send_down(client, 0).len(), 1);
    assert_eq!(node.handed_over, 0);
}

#[test]
fn the_longest_match_counts_over_all_shards() {
    let mut node = Node::new(2);
    let wide = node.connect(0, Numbering::PeerId);
    let narrow = node.connect(1, Numbering::PeerId);
    node.route(wide, "10.0.0.0/8");
    node.route(narrow, "10.66.1.0/24");
    for (destination, client) in [
        (Ipv4Addr::from([10, 66, 2, 1]), wide),
        ([10, 66, 1, 1].into(), narrow),
        (node.clients[narrow].v4, narrow),
        (node.clients[wide].v4, wide),
    ] {
        for shard in 0..2 {
            let inner = ip(LAN_V4, destination, b"x");
            let out = node.read_tun(shard, &inner);
            assert_eq!(out, [Out::Client(client, inner)], "{destination} {shard}");
        }
    }
    // The same for sources: inside the wide network, but another client's.
    for (client, source, passes) in [
        (wide, Ipv4Addr::from([10, 66, 2, 1]), true),
        (wide, [10, 66, 1, 1].into(), false),
        (wide, node.clients[narrow].v4, false),
        (narrow, [10, 66, 1, 1].into(), true),
        (narrow, [10, 66, 2, 1].into(), false),
    ] {
        let shard = node.clients[client].shard;
        let out = node.send(client, shard, &ip(source, LAN_V4, b"x"));
        assert_eq!(out.len(), usize::from(passes), "{client} {source}");
        let dropped = [(shard, DropReason::SourceAddress, 1)];
        let drops: &[_] = if passes { &[] } else { &dropped };
        assert_eq!(node.take_drops(), drops);
    }
}

#[test]
fn an_empty_pool_keeps_a_packet_from_being_handed_over() {
    let mut node = Node::new(2);
    let client = node.connect(1, Numbering::PeerId);
    let datagram = node.clients[client].seal(&PING);
    let down = ip(LAN_V4, node.clients[client].v4, b"x");
    let end = &mut node.shards[0];
    let packets = [&datagram, &down].map(|bytes| filled(end.pool.take().unwrap(), bytes));
    let held: Vec<Buffer> = std::iter::from_fn(|| end.pool.take()).collect();
    let [datagram, down] = packets;
    let from = node.clients[client].path;
    end.inbound.received.push(received(datagram, from)).unwrap();
    end.outbound.inner.push(from_tun(down)).unwrap();
    let mut parcels = Vec::new();
    let (outputs, spent) = end.turn(node.now, &mut parcels);
    assert!(outputs.is_empty() && parcels.is_empty());
    let origins: Vec<_> = spent.iter().map(|spent| spent.origin).collect();
    assert_eq!(origins, [Origin::Socket, Origin::Tun]);
    for buffer in held
        .into_iter()
        .chain(spent.into_iter().map(|spent| spent.buffer))
    {
        end.pool.give(buffer);
    }
    assert_eq!(node.take_drops(), [(0, DropReason::PoolEmpty, 2)]);
}

#[test]
fn a_single_shard_hands_nothing_over_whatever_it_has_heard() {
    let mut node = Node::new(1).with_client_to_client();
    let client = node.connect(0, Numbering::FourTuple);
    let elsewhere = Owner {
        shard: 3,
        client_id: 77,
    };
    let Client { path, v4, .. } = node.clients[client];
    let directory = &mut node.shards[0].surroundings.directory;
    let numbering = Numbering::FourTuple;
    let client_path = ClientPath { path, numbering };
    directory.announce_path(&client_path, elsewhere).unwrap();
    directory.announce_inner(v4.into(), elsewhere).unwrap();
    assert_eq!(node.send_up(client, 0).len(), 1);
    assert_eq!(node.send_down(client, 0).len(), 1);
    assert_eq!(node.take_drops(), []);
}

#[test]
fn a_full_batch_hands_the_parcel_back() {
    let mut pool = Pool::new(2);
    let (mut inbound, mut outbound) = (InboundBatch::new(1, MERGING), OutboundBatch::new(1));
    for content in [
        ParcelContent::Datagram(CLIENT),
        ParcelContent::Inner(InnerSource::Client, Offload::None),
    ] {
        let parcel = |mark, pool: &mut Pool| Parcel {
            from: 5,
            packet: filled(pool.take().unwrap(), &[mark]),
            content,
        };
        let first = parcel(1, &mut pool);
        assert!(first.unpack(&mut inbound, &mut outbound).is_ok());
        let second = parcel(2, &mut pool);
        let refused = second.unpack(&mut inbound, &mut outbound).unwrap_err();
        assert_eq!((refused.from, refused.packet.bytes()), (5, &[2][..]));
        assert_eq!(refused.content, content);
        pool.give(refused.packet.buffer);
        let datagrams = inbound.received.drain().map(Received::spent);
        let packets = outbound.inner.drain().map(Inner::spent);
        let spent: Vec<Spent> = datagrams.chain(packets).collect();
        let [Spent { buffer, origin }] = spent.try_into().unwrap();
        assert_eq!(origin, Origin::Shard(5));
        pool.give(buffer);
    }
}

/// Something that happens to a node; clients and shards by numbers that are taken modulo.
#[derive(Clone, Debug)]
enum Step {
    /// From a client to the LAN.
    Up(usize),
    /// From the LAN to a client.
    Down(usize),
    /// From a client to a client.
    Across(usize, usize),
    /// A client goes on from another address, and says so.
    Move(usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        client.clone().prop_map(Step::Up),
        client.clone().prop_map(Step::Down),
        (client.clone(), client.clone()).prop_map(|(from, to)| Step::Across(from, to)),
        (client, 5000_u16..5004).prop_map(|(client, port)| Step::Move(client, port)),
    ]
}

const CLIENTS: usize = 6;

proptest! {
    /// Wherever packets come in, each gets to its one place.
    #[test]
    fn every_packet_gets_to_its_place(
        shards in 1_u16..4,
        client_to_client in any::<bool>(),
        steps in prop::collection::vec((step(), 0_usize..4), 1..60),
    ) {
        let mut node = Node::new(shards);
        if client_to_client {
            node = node.with_client_to_client();
        }
        for number in 0..CLIENTS {
            // One of three is known by its path alone.
            let numbering = NUMBERINGS[usize::from(number % 3 == 0)];
            let client = node.connect(number % usize::from(shards), numbering);
            if numbering == Numbering::PeerId {
                prop_assert_eq!(node.send_up(client, 0).len(), 1);
            }
        }
        for (step, arrival) in steps {
            let arrival = arrival % usize::from(shards);
            let handed_over = node.handed_over;
            let (out, expected) = match step {
                Step::Up(client) => {
                    let inner = node.clients[client].up();
                    let expected = Out::Tun(node.clients[client].shard, inner);
                    (node.send_up(client, arrival), expected)
                }
                Step::Down(client) => {
                    let inner = ip(LAN_V4, node.clients[client].v4, b"down");
                    (node.send_down(client, arrival), Out::Client(client, inner))
                }
                Step::Across(from, to) => {
                    let inner = ip(node.clients[from].v6, node.clients[to].v6, b"across");
                    let expected = match client_to_client {
                        true => Out::Client(to, inner.clone()),
                        false => Out::Tun(node.clients[from].shard, inner.clone()),
                    };
                    (node.send(from, arrival, &inner), expected)
                }
                Step::Move(client, port) => {
                    if client % 3 != 0 {
                        node.clients[client].path = path(2, port);
                    }
                    let inner = node.clients[client].up();
                    let expected = Out::Tun(node.clients[client].shard, inner);
                    (node.send_up(client, arrival), expected)
                }
            };
            prop_assert_eq!(out, [expected]);
            // A datagram to its owner, and what it holds to another client's.
            prop_assert!(node.handed_over - handed_over <= 2);
        }
        prop_assert_eq!(node.take_drops(), []);
        if shards == 1 {
            prop_assert_eq!(node.handed_over, 0);
        }
    }
}
