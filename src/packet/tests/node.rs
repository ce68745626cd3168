//! A node without a network: several shards, their clients, and what is handed between them.

use std::collections::HashSet;

use super::*;
use crate::session::{Class, OpenVpn2};
use crate::wire::{DataHeader, SessionId};

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
    pub(super) drops: DropCounters,
    pub(super) inbound: InboundBatch,
    pub(super) outbound: OutboundBatch,
    pub(super) mailbox: Vec<Parcel>,
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
    pub(super) owner: Owner,
    keys: DataKeys,
    pub(super) header: DataHeader,
}

/// Something that left the node.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(super) fn settle(&mut self) -> Vec<Out> {
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
                    Origin::Socket | Origin::Tun | Origin::Stream => number,
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
pub(super) enum Output {
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
    pub(super) fn turn(
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
        for Datagram {
            packet, path, peer, ..
        } in datagrams
        {
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

    pub(super) fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; inner.len() + 64];
        let len = self.keys.seal.seal(self.header, inner, &mut datagram);
        datagram.truncate(len.unwrap());
        datagram
    }

    fn open(&mut self, datagram: &[u8], now: Monotonic) -> Vec<u8> {
        let mut inner = vec![0; datagram.len()];
        let len = self.keys.open_datagram(now, datagram, &mut inner);
        inner.truncate(len.unwrap());
        inner
    }
}

pub(super) fn filled(buffer: Buffer, bytes: &[u8]) -> Packet {
    let mut packet = Packet::single(buffer, 10, bytes.len() as u32);
    packet.bytes_mut().copy_from_slice(bytes);
    packet
}

/// A control datagram that belongs to a shard.
pub(super) fn control_of(shard: u16, steering: &Steering) -> Vec<u8> {
    let ids = (0_u64..).map(|id| SessionId(id.to_be_bytes()));
    let mut found = ids.filter(|id| steering.shard_of(Class::Control(*id)) == Some(shard));
    let SessionId(id) = found.next().unwrap();
    let datagram = [&[0x38][..], &id, &[0; 5]].concat();
    assert_eq!(OpenVpn2::classify(&datagram), Class::Control(SessionId(id)));
    datagram
}
