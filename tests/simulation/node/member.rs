//! A shard with its queues in the kernel, and what must be true of it after each turn.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ringway::limits;
use ringway::node::leases::Addresses;
use ringway::node::shard::{ClientView, Shard, ShardParts};
use ringway::packet::{Offload, Origin, Packet, Parcel, Path, PeerIndex, Pool, Received};
use ringway::random::SeededRandom;
use ringway::time::Monotonic;
use ringway::wire::{DataHeader, KeyId, PeerId};

use super::edges::SimulatedEdges;
use super::node_thread::{NodeThread, shuffle};
use super::plan::Plan;

/// One shard of the node.
pub(crate) struct Member {
    pub(crate) number: u16,
    pub(crate) shard: Shard<SimulatedEdges>,
    /// What the kernel holds for its sockets and its tun queue.
    pub(crate) socket: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) tun: VecDeque<Vec<u8>>,
    /// What other shards have handed to it, with the time at which it is there.
    pub(crate) parcels: VecDeque<(Monotonic, Parcel)>,
    /// It does nothing before.
    pub(crate) busy_until: Monotonic,
    /// It wants to be served then, if nothing happens before.
    pub(crate) wake_at: Monotonic,
    /// It was told to stop, and has.
    pub(crate) stopped: bool,
    /// Its clients after the last turn.
    pub(crate) tenants: Vec<Tenant>,
    /// Where its clients without a peer id are, and where they were in the last turn.
    unnumbered_now: Vec<(SocketAddr, PeerIndex)>,
    unnumbered: Vec<(SocketAddr, PeerIndex)>,
    last_ids: HashMap<(Stream, KeyId), u64>,
}

/// A client of a shard, and what is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) client_id: u64,
    pub(crate) addresses: Addresses,
}

/// Data packets whose ids are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stream {
    Numbered(u32),
    Unnumbered(PeerIndex),
}

impl Member {
    pub(crate) fn new(parts: ShardParts, plan: &Plan, seed: u64, now: Monotonic) -> Self {
        let number = parts.number;
        let mut pool = Pool::new(plan.buffers);
        let seed = seed ^ u64::from(number) << 40;
        let edges = SimulatedEdges::new(now, seed, plan, &mut pool);
        Self {
            number,
            shard: Shard::new(parts, edges, pool),
            socket: VecDeque::new(),
            tun: VecDeque::new(),
            parcels: VecDeque::new(),
            busy_until: now,
            wake_at: now,
            stopped: false,
            tenants: Vec::new(),
            unnumbered_now: Vec::new(),
            unnumbered: Vec::new(),
            last_ids: HashMap::new(),
        }
    }

    /// When it takes its next turn.
    pub(crate) fn next_moment(&self, mail: Option<Monotonic>) -> Option<Monotonic> {
        if self.stopped {
            return None;
        }
        let given = !self.socket.is_empty() || !self.tun.is_empty();
        let at = match given {
            true => Monotonic::ZERO,
            false => {
                let parcel = self.parcels.front().map(|(at, _)| *at);
                let given = mail.into_iter().chain(parcel);
                given.fold(self.wake_at, Monotonic::min)
            }
        };
        Some(at.max(self.busy_until))
    }

    /// Gives it what is there for it, in any order, and lets it serve that.
    pub(crate) fn turn(
        &mut self,
        now: Monotonic,
        node: &mut NodeThread,
        random: &mut SeededRandom,
        mut obeyed: impl FnMut(&ringway::node::message::Instruction),
    ) {
        self.shard.edges_mut().begin_turn(now);
        let number = usize::from(self.number);
        self.shard.edges_mut().report_room = node.mail.room.saturating_sub(node.unread(number));
        let mut sources = [Source::Socket, Source::Tun, Source::Mail, Source::Parcels];
        shuffle(random, &mut sources);
        for source in sources {
            match source {
                Source::Socket => self.take_datagrams(),
                Source::Tun => self.take_tun_packets(),
                Source::Parcels => self.take_parcels(now),
                Source::Mail => {
                    while let Some(instruction) = node.instruction(number, now) {
                        obeyed(&instruction);
                        self.shard.obey(instruction);
                    }
                }
            }
        }
        self.shard.serve();
        let end = self.shard.edges().end_turn();
        self.busy_until = end;
        if self.shard.has_stopped(end) {
            self.shard.finish();
            self.stopped = true;
        }
        let patience = self.shard.patience(end);
        // Who finds the node thread's box full looks again, but not every millisecond for minutes.
        let retries = self.shard.load().unreported > 0;
        self.wake_at = end
            + if retries {
                patience.max(RETRY)
            } else {
                patience
            };
        if self.shard.edges().is_busy() {
            self.wake_at = self.wake_at.min(end + COMPLETION);
        }
    }

    fn take_datagrams(&mut self) {
        while let Some((from, run, segment_size)) = self.next_receive() {
            let path = Path {
                remote: from,
                local: None,
                socket: 0,
            };
            let Some(packet) = self.shard.edges_mut().receive(&run.concat()) else {
                return;
            };
            self.socket.drain(..run.len());
            let origin = Origin::Socket;
            self.shard.take_datagram(Received {
                packet: Packet {
                    segment_size,
                    ..packet
                },
                path,
                origin,
            });
        }
    }

    /// What the kernel hands over at once: datagrams of one sender, all equally long but the last.
    fn next_receive(&self) -> Option<(SocketAddr, Vec<Vec<u8>>, u32)> {
        let (from, first) = self.socket.front()?;
        let mut run = vec![first.clone()];
        for (sender, bytes) in self.socket.iter().skip(1) {
            let is_last = run.last().is_some_and(|last| last.len() < first.len());
            if sender != from || bytes.len() > first.len() || is_last || run.len() == RUN_MAX {
                break;
            }
            run.push(bytes.clone());
        }
        Some((*from, run, first.len() as u32))
    }

    fn take_tun_packets(&mut self) {
        while let Some(bytes) = self.tun.front() {
            let Some(packet): Option<Packet> = self.shard.edges_mut().read_tun(bytes) else {
                return;
            };
            self.tun.pop_front();
            self.shard.take_tun_packet(packet, Offload::None);
        }
    }

    fn take_parcels(&mut self, now: Monotonic) {
        while let Some((_, parcel)) = self.parcels.pop_front_if(|(at, _)| *at <= now) {
            self.shard.take_parcel(parcel);
        }
    }

    /// Its books balance.
    pub(crate) fn check(&mut self) {
        let pool = self.shard.pool();
        let known = pool.free() + self.shard.edges().buffers();
        assert_eq!(
            known,
            pool.size(),
            "shard {}: a buffer is lost",
            self.number
        );
        let load = self.shard.load();
        assert!(load.half_open <= limits::HALF_OPEN_MAX, "{load:?}");
        assert!(load.control_backlog <= BACKLOGS, "{load:?}");
        let unreported = limits::REPORTS_BEFORE_LOSS + load.sessions + 1;
        assert!(load.unreported <= unreported, "{load:?}");
        self.check_clients();
        self.note_unnumbered();
    }

    /// Each client has its peer with the addresses that it was granted, and nobody else has one.
    fn check_clients(&mut self) {
        let peers = self.shard.peers();
        let tenant = |client: ClientView<'_>| {
            let peer = peers.peer(client.peer);
            let assigned = peer.map(|peer| peer.addresses().iter().collect::<Vec<_>>());
            let granted = client.addresses.iter().collect();
            assert_eq!(assigned, Some(granted), "{client:?}");
            Tenant {
                name: client.name.to_owned(),
                client_id: client.client_id,
                addresses: client.addresses,
            }
        };
        let tenants: Vec<Tenant> = self.shard.clients().map(tenant).collect();
        assert_eq!(tenants.len(), peers.len(), "a peer without a session");
        self.tenants = tenants;
    }

    fn note_unnumbered(&mut self) {
        let peers = self.shard.peers().iter();
        let unnumbered = peers.filter(|(_, peer)| peer.peer_id() == PeerId::NONE);
        let present: Vec<_> = unnumbered
            .map(|(index, peer)| (peer.path().remote, index))
            .collect();
        self.unnumbered = std::mem::replace(&mut self.unnumbered_now, present);
        self.unnumbered.extend(&self.unnumbered_now);
        self.unnumbered.sort_unstable();
        self.unnumbered.dedup();
    }

    /// The one peer without a peer id that was at an address during the last turn; `None` if there
    /// was more than one: one that has died is sent to where another one is now.
    fn unnumbered_at(&self, remote: SocketAddr) -> Option<PeerIndex> {
        let there = self.unnumbered.iter().filter(|(at, _)| *at == remote);
        let mut there = there.map(|(_, peer)| *peer);
        there.next().filter(|_| there.next().is_none())
    }

    /// A data packet leaves: its packet id has never been used under its key. A key's first id is
    /// 1, in epoch 1 if it has epochs, so an id that is not above the last one belongs to a new key, and
    /// begins there. Behind a classic id, which is half as long, bytes are read that change nothing.
    pub(crate) fn check_packet_id(&mut self, datagram: &[u8], to: SocketAddr) {
        let header = DataHeader::parse(datagram).expect("we write whole headers");
        let stream = match header {
            DataHeader::V2 { peer_id, .. } => Some(Stream::Numbered(peer_id.get())),
            DataHeader::V1 { .. } => self.unnumbered_at(to).map(Stream::Unnumbered),
        };
        let Some(stream) = stream else { return };
        let id = datagram[header.len()..].first_chunk().expect("a packet id");
        let id = u64::from_be_bytes(*id);
        let begins = id >> 32 == 1 || id == 1 << 48 | 1;
        let last = self.last_ids.insert((stream, header.key_id()), id);
        assert!(
            begins || last.is_none_or(|last| id > last),
            "shard {}: {stream:?}: packet id {id:x} after {last:x?}",
            self.number
        );
    }
}

impl Tenant {
    /// Its inner addresses.
    pub(crate) fn inner(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter()
    }
}

#[derive(Clone, Copy)]
enum Source {
    Socket,
    Tun,
    Mail,
    Parcels,
}

/// Control datagrams that may wait, of all kinds of senders.
const BACKLOGS: usize =
    limits::CLIENT_BACKLOG + limits::HALF_OPEN_BACKLOG + limits::STRANGER_BACKLOG;
const RETRY: std::time::Duration = std::time::Duration::from_millis(20);
const COMPLETION: std::time::Duration = std::time::Duration::from_millis(20);

/// Datagrams in one receive.
const RUN_MAX: usize = 40;
