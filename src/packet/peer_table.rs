//! The peers of one shard, and the ways to find one: by index, peer id, path, socket and inner address.
//!
//! By its path is found who sends no peer id, or has not sent one yet: a client that was given a
//! peer id may have been told to ignore it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::path::FourTuple;
use super::peer::Recognised;
use super::{
    FullStreams, HostsBehind, InnerAddresses, KeyedHash, NewPeer, Numbering, Path, Peer, PeerIds,
    PeerIndex, Route, Routes, RoutesFull,
};
use crate::limits;
use crate::random::Random;
use crate::time::Monotonic;
use crate::wire::PeerId;

/// A shard's peers with their inner addresses.
#[derive(Debug)]
pub struct PeerTable {
    places: Vec<Place>,
    vacant: Vec<u32>,
    peers_max: u32,
    peer_ids: PeerIds,
    /// By the peer id's slot. Entries outlive their peer; the generation tells.
    by_peer_id: Vec<PeerIndex>,
    by_path: HashMap<FourTuple, PeerIndex, KeyedHash>,
    /// By the number of the socket that it was dialed on. Entries outlive their peer.
    dialed: Vec<Option<PeerIndex>>,
    /// By the number of its stream, from the first one on. Entries outlive their peer.
    streams: Vec<Option<PeerIndex>>,
    /// By the number of the socket that it was dialed on, which it shares, and what it has given us.
    dialed_shared: HashMap<(u16, PeerId), PeerIndex, KeyedHash>,
    routes: Routes<PeerIndex>,
    /// Peers on these ways are sent nothing.
    pub(super) full_streams: FullStreams,
}

impl PeerTable {
    /// A table of `shard` among `shards` with room for `peers_max` peers. `random` keys the hash of
    /// the look-up by path, so that nobody can aim addresses at one bucket.
    pub fn new(shard: u32, shards: u32, peers_max: u32, random: &mut dyn Random) -> Self {
        let ids = limits::peer_ids(peers_max);
        let room = peers_max as usize;
        Self {
            places: Vec::with_capacity(room),
            vacant: Vec::with_capacity(room),
            peers_max,
            peer_ids: PeerIds::new(shard, shards, ids),
            by_peer_id: Vec::new(),
            // Twice the room: removals then never make the map grow on the data path.
            by_path: HashMap::with_capacity_and_hasher(2 * room, KeyedHash::new(random)),
            dialed: Vec::new(),
            streams: Vec::new(),
            dialed_shared: HashMap::with_hasher(KeyedHash::new(random)),
            routes: Routes::new(room, limits::INNER_PREFIXES_MAX),
            full_streams: FullStreams::default(),
        }
    }

    /// Which streams take nothing more now: nothing is sealed for who is at their other end.
    pub fn follow_streams(&mut self, full: &FullStreams) {
        self.full_streams.follow(full);
    }

    /// Makes room for `peers_max` peers, if that is more than there was for.
    pub fn grow(&mut self, peers_max: u32) {
        if peers_max <= self.peers_max {
            return;
        }
        let more = (peers_max - self.peers_max) as usize;
        self.peers_max = peers_max;
        self.peer_ids.grow(limits::peer_ids(peers_max));
        let places = (peers_max as usize).saturating_sub(self.places.len());
        self.places.reserve(places);
        let vacant = (peers_max as usize).saturating_sub(self.vacant.len());
        self.vacant.reserve(vacant);
        self.by_path
            .reserve(self.by_path.capacity() - self.by_path.len() + 2 * more);
        self.routes.grow(more);
    }

    /// Puts a peer in, without keys and inner addresses. It is found by its path, in place of an older
    /// peer there, until it sends its peer id; one that was dialed, or has a stream, by its socket.
    ///
    /// # Errors
    /// [`TableFull`] when there is no place, or every peer id is in use or at rest.
    pub fn insert(&mut self, new: NewPeer, now: Monotonic) -> Result<PeerIndex, TableFull> {
        if self.len() >= self.peers_max as usize {
            return Err(TableFull);
        }
        let peer_id = match new.numbering {
            Numbering::PeerId | Numbering::Stream { peer_id: true } => {
                self.peer_ids.take(now).ok_or(TableFull)?
            }
            Numbering::FourTuple | Numbering::Stream { peer_id: false } => PeerId::NONE,
            Numbering::Dialed(theirs) | Numbering::DialedShared(theirs) => theirs,
        };
        let index = self.occupy(Peer::new(new, peer_id, now));
        if let Numbering::Dialed(_) | Numbering::Stream { .. } = new.numbering {
            self.note_socket(new.path.socket, index);
            return Ok(index);
        }
        if let Numbering::DialedShared(theirs) = new.numbering {
            self.dialed_shared.insert((new.path.socket, theirs), index);
            return Ok(index);
        }
        if let Some(slot) = self.peer_ids.slot(peer_id) {
            let slot = slot as usize;
            if slot >= self.by_peer_id.len() {
                self.by_peer_id.resize(slot + 1, index);
            }
            self.by_peer_id[slot] = index;
        }
        self.by_path.insert(new.path.four_tuple(), index);
        Ok(index)
    }

    /// Takes a peer out, with all that leads to it. Its peer id goes to rest.
    pub fn remove(&mut self, index: PeerIndex, now: Monotonic) -> Option<Box<Peer>> {
        let place = self.places.get_mut(index.place())?;
        if place.generation != index.generation() {
            return None;
        }
        let peer = place.peer.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.vacant.push(index.place() as u32);
        if !peer.is_dialed() {
            self.peer_ids.release(peer.peer_id(), now);
        }
        let shared = (peer.path.socket, peer.peer_id());
        if self.dialed_shared.get(&shared) == Some(&index) {
            self.dialed_shared.remove(&shared);
        }
        self.forget_path(&peer.path, index);
        for address in peer.addresses.iter() {
            self.routes.remove_host(address, index);
        }
        for &prefix in &peer.prefixes {
            self.routes.remove_prefix(prefix, index);
        }
        Some(peer)
    }

    /// The peer at `index`, unless it is gone.
    pub fn peer(&self, index: PeerIndex) -> Option<&Peer> {
        let place = self.places.get(index.place())?;
        (place.generation == index.generation()).then_some(())?;
        place.peer.as_deref()
    }

    /// The peer at `index`, unless it is gone.
    pub fn peer_mut(&mut self, index: PeerIndex) -> Option<&mut Peer> {
        let place = self.places.get_mut(index.place())?;
        (place.generation == index.generation()).then_some(())?;
        place.peer.as_deref_mut()
    }

    /// The peer with this peer id.
    pub fn by_peer_id(&self, peer_id: PeerId) -> Option<PeerIndex> {
        let slot = self.peer_ids.slot(peer_id)?;
        let index = *self.by_peer_id.get(slot as usize)?;
        let peer = self.peer(index)?;
        (peer.peer_id() == peer_id).then_some(index)
    }

    /// The newest peer on this path that has not sent its peer id.
    pub fn by_path(&self, path: &Path) -> Option<PeerIndex> {
        self.by_path.get(&path.four_tuple()).copied()
    }

    /// The peer that was dialed on this socket, or has this stream; nobody on a listener's.
    pub(super) fn by_socket(&self, socket: u16) -> Option<PeerIndex> {
        let index = match socket.checked_sub(limits::FIRST_STREAM) {
            Some(stream) => *self.streams.get(usize::from(stream))?,
            None => *self.dialed.get(usize::from(socket))?,
        };
        let index = index?;
        self.peer(index).map(|_| index)
    }

    /// The peer that was dialed on this socket, which others share, and has given us this number.
    pub(super) fn dialed_as(&self, socket: u16, theirs: PeerId) -> Option<PeerIndex> {
        // Nobody shares one in a node: its packets do not pay for a look.
        if self.dialed_shared.is_empty() {
            return None;
        }
        self.dialed_shared.get(&(socket, theirs)).copied()
    }

    /// The peer that an inner address leads to.
    pub fn by_inner(&self, address: IpAddr) -> Option<PeerIndex> {
        self.route(address).map(|route| route.owner)
    }

    /// Who has an inner address, and how well that matches.
    pub(super) fn route(&self, address: IpAddr) -> Option<Route<PeerIndex>> {
        self.routes.find(address)
    }

    /// Assigns inner addresses in place of the peer's former ones; they lead to it from now on, and
    /// no longer to who had them before.
    pub fn assign(&mut self, index: PeerIndex, addresses: InnerAddresses) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let former = std::mem::replace(&mut peer.addresses, addresses);
        for address in former.iter() {
            self.routes.remove_host(address, index);
        }
        for address in addresses.iter() {
            self.routes.add_host(address, index);
        }
    }

    /// Routes an inner network to the peer, and to no other any more.
    ///
    /// # Errors
    /// [`RoutesFull`] when the bound on prefixes is reached.
    pub fn add_prefix(&mut self, index: PeerIndex, prefix: IpNet) -> Result<(), RoutesFull> {
        let former = self.routes.owner_of_prefix(prefix);
        if self.peer(index).is_none() || former == Some(index) {
            return Ok(());
        }
        self.routes.add_prefix(prefix, index)?;
        self.forget_prefix(former, prefix);
        if let Some(peer) = self.peer_mut(index) {
            peer.prefixes.push(prefix);
            // Behind a server is all the world, and nobody asks who there was heard of.
            if !peer.is_dialed() {
                let hosts = || Box::new(HostsBehind::new(limits::HOSTS_BEHIND_MAX));
                peer.hosts.get_or_insert_with(hosts);
            }
        }
        Ok(())
    }

    /// Routes these inner networks and no others to the peer.
    ///
    /// # Errors
    /// [`RoutesFull`] when the bound on prefixes is reached; those before are routed.
    pub fn set_prefixes(&mut self, index: PeerIndex, prefixes: &[IpNet]) -> Result<(), RoutesFull> {
        let former = self.peer(index).map(|peer| peer.prefixes.clone());
        let former = former.into_iter().flatten();
        for prefix in former.filter(|former| !prefixes.contains(former)) {
            self.routes.remove_prefix(prefix, index);
            self.forget_prefix(Some(index), prefix);
        }
        prefixes
            .iter()
            .try_for_each(|prefix| self.add_prefix(index, *prefix))
    }

    /// So many hosts in the networks behind the peer are remembered at most. Those so far are not.
    pub fn bound_hosts(&mut self, index: PeerIndex, max: usize) {
        if let Some(hosts) = self.peer_mut(index).and_then(|peer| peer.hosts.as_mut()) {
            **hosts = HostsBehind::new(max);
        }
    }

    /// Routes an inner network to no peer of this table any more.
    pub fn remove_prefix(&mut self, prefix: IpNet) {
        if let Some(owner) = self.routes.owner_of_prefix(prefix) {
            self.routes.remove_prefix(prefix, owner);
            self.forget_prefix(Some(owner), prefix);
        }
    }

    /// Notes that a packet with the peer's id was authenticated: its path leads to it no longer.
    pub(super) fn sends_peer_id(&mut self, index: PeerIndex) {
        if let Some(peer) = self.peer_mut(index) {
            let path = peer.path;
            peer.recognised = Recognised::ByPeerId;
            self.forget_path(&path, index);
        }
    }

    /// Whether a peer other than `than` is told apart by this path.
    pub(super) fn is_held_by_other(&self, path: &Path, than: PeerIndex) -> bool {
        let holder = self.by_path(path).filter(|holder| *holder != than);
        holder
            .and_then(|holder| self.peer(holder))
            .is_some_and(|holder| holder.recognised == Recognised::ByPath)
    }

    /// Adopts another path for a peer that sends its peer id. Only after a packet from there was
    /// authenticated.
    pub(super) fn float(&mut self, index: PeerIndex, to: Path) {
        if let Some(peer) = self.peer_mut(index) {
            peer.path = to;
        }
    }

    /// Moves a peer that was dialed on a socket of its own to another one; what comes in on the former one is nobody's.
    pub fn redial(&mut self, index: PeerIndex, to: Path) {
        let own = |peer: &&mut Peer| peer.recognised == Recognised::BySocket;
        let Some(peer) = self.peer_mut(index).filter(own) else {
            return;
        };
        let former = std::mem::replace(&mut peer.path, to).socket;
        if let Some(place) = self.dialed.get_mut(usize::from(former)) {
            *place = place.filter(|there| *there != index);
        }
        self.note_socket(to.socket, index);
    }

    /// All peers.
    pub fn iter(&self) -> impl Iterator<Item = (PeerIndex, &Peer)> + '_ {
        self.places.iter().zip(0..).filter_map(|(place, number)| {
            let peer = place.peer.as_deref()?;
            Some((PeerIndex::new(number, place.generation), peer))
        })
    }

    /// How many peers there are.
    pub const fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// True without any peer.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn occupy(&mut self, peer: Peer) -> PeerIndex {
        let peer = Some(Box::new(peer));
        if let Some(number) = self.vacant.pop()
            && let Some(place) = self.places.get_mut(number as usize)
        {
            place.peer = peer;
            return PeerIndex::new(number, place.generation);
        }
        let number = self.places.len() as u32;
        self.places.push(Place {
            generation: 0,
            peer,
        });
        PeerIndex::new(number, 0)
    }

    fn note_socket(&mut self, socket: u16, index: PeerIndex) {
        let (places, place) = match socket.checked_sub(limits::FIRST_STREAM) {
            Some(stream) => (&mut self.streams, usize::from(stream)),
            None => (&mut self.dialed, usize::from(socket)),
        };
        if place >= places.len() {
            places.resize(place + 1, None);
        }
        places[place] = Some(index);
    }

    fn forget_prefix(&mut self, of: Option<PeerIndex>, prefix: IpNet) {
        if let Some(peer) = of.and_then(|index| self.peer_mut(index)) {
            peer.prefixes.retain(|own| *own != prefix);
            if let Some(hosts) = &mut peer.hosts {
                hosts.forget(prefix);
            }
        }
    }

    fn forget_path(&mut self, path: &Path, index: PeerIndex) {
        let four_tuple = path.four_tuple();
        if self.by_path.get(&four_tuple) == Some(&index) {
            self.by_path.remove(&four_tuple);
        }
    }
}

/// The table has no place or no peer id left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer table is full")]
pub struct TableFull;

#[derive(Debug)]
struct Place {
    generation: u32,
    peer: Option<Box<Peer>>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::packet::Mssfix;
    use crate::random::SeededRandom;
    use std::time::Duration;

    const START: Monotonic = Monotonic::from_nanos(1_000_000_000);

    fn table(peers_max: u32) -> PeerTable {
        PeerTable::new(1, 4, peers_max, &mut SeededRandom::new(1))
    }

    fn path(port: u16) -> Path {
        Path {
            remote: ([192, 0, 2, 1], port).into(),
            local: None,
            socket: 0,
        }
    }

    fn new_peer(port: u16, numbering: Numbering) -> NewPeer {
        NewPeer {
            path: path(port),
            numbering,
            mtu: 1500,
            mssfix: Mssfix::Off,
        }
    }

    fn addresses(last: u8) -> InnerAddresses {
        InnerAddresses {
            v4: Some([10, 8, 0, last].into()),
            v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into()),
        }
    }

    fn owner_of(table: &PeerTable, address: IpAddr) -> Option<PeerIndex> {
        table.route(address).map(|route| route.owner)
    }

    #[test]
    fn a_peer_is_found_by_all_that_is_its_own_and_by_nothing_after_it_left() {
        let mut table = table(2);
        let index = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        let peer_id = table.peer(index).unwrap().peer_id();
        assert_eq!(peer_id.get(), 1);
        table.assign(index, addresses(2));
        table
            .add_prefix(index, "10.66.0.0/16".parse().unwrap())
            .unwrap();
        let find = |table: &PeerTable| {
            let inner = |text: &str| owner_of(table, text.parse().unwrap());
            [
                table.by_peer_id(peer_id),
                table.by_path(&path(1)),
                inner("10.8.0.2"),
                inner("fd00::2"),
                inner("10.66.1.1"),
            ]
        };
        assert_eq!(find(&table), [Some(index); 5]);
        assert_eq!(
            table.iter().map(|(index, _)| index).collect::<Vec<_>>(),
            [index]
        );

        assert!(table.remove(index, START).is_some());
        assert_eq!(find(&table), [None; 5]);
        assert!(table.peer(index).is_none());
        assert!(table.remove(index, START).is_none());
        assert!(table.is_empty());
    }

    #[test]
    fn an_index_never_names_the_next_peer_at_its_place() {
        let mut table = table(1);
        let old = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        table.remove(old, START);
        let new = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        assert_eq!((old.place(), old.generation()), (0, 0));
        assert_eq!((new.place(), new.generation()), (0, 1));
        assert!(table.peer(old).is_none() && table.peer_mut(old).is_none());
        assert!(table.remove(old, START).is_none());
        assert!(table.peer(new).is_some());
    }

    #[test]
    fn a_peer_id_rests_between_two_peers() {
        let mut table = table(1);
        let ids: Vec<u32> = (0..limits::peer_ids(1))
            .map(|_| {
                let index = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
                table.remove(index, START).unwrap().peer_id().get()
            })
            .collect();
        assert_eq!(ids[..4], [1, 5, 9, 13]);
        assert_eq!(
            ids.len(),
            HashSet::<_>::from_iter(&ids).len(),
            "each id once"
        );
        let soon = START + Duration::from_secs(59);
        assert_eq!(
            table.insert(new_peer(1, Numbering::PeerId), soon),
            Err(TableFull)
        );
        assert!(table.is_empty());
        let later = START + limits::PEER_ID_REST;
        let index = table.insert(new_peer(1, Numbering::PeerId), later).unwrap();
        assert_eq!(table.by_peer_id(PeerId::new(1).unwrap()), Some(index));
    }

    #[test]
    fn the_bound_on_peers_holds_and_old_clients_need_no_peer_id() {
        let mut table = table(2);
        let old_client = table
            .insert(new_peer(1, Numbering::FourTuple), START)
            .unwrap();
        assert_eq!(table.peer(old_client).unwrap().peer_id(), PeerId::NONE);
        assert_eq!(table.by_peer_id(PeerId::NONE), None);
        assert_eq!(table.by_path(&path(1)), Some(old_client));
        let client = table.insert(new_peer(2, Numbering::PeerId), START).unwrap();
        assert_eq!(
            table.insert(new_peer(3, Numbering::FourTuple), START),
            Err(TableFull)
        );
        assert_eq!(table.len(), 2);
        assert_ne!(old_client, client);
        table.grow(3);
        table.grow(1);
        assert!(table.places.capacity() >= 3 && table.by_path.capacity() >= 6);
        assert!(table.insert(new_peer(3, Numbering::PeerId), START).is_ok());
        let fourth = table.insert(new_peer(4, Numbering::PeerId), START);
        assert_eq!(fourth, Err(TableFull));
    }

    #[test]
    fn a_path_leads_to_the_newest_peer_there_that_has_not_sent_its_peer_id() {
        let mut table = table(3);
        let old = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        let new = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        assert_eq!(table.by_path(&path(1)), Some(new));
        table.remove(old, START);
        assert_eq!(table.by_path(&path(1)), Some(new));

        let other = table.insert(new_peer(2, Numbering::PeerId), START).unwrap();
        table.sends_peer_id(other);
        assert_eq!(table.by_path(&path(2)), None);
        // Who floats is not found by its path, and takes it from nobody.
        table.float(other, path(1));
        assert_eq!(table.peer(other).unwrap().path(), &path(1));
        assert_eq!(table.by_path(&path(1)), Some(new));
        table.remove(other, START);
        assert_eq!(table.by_path(&path(1)), Some(new));
        table.sends_peer_id(new);
        assert_eq!(table.by_path(&path(1)), None);
    }

    #[test]
    fn an_interface_is_no_part_of_the_path_a_peer_is_found_by() {
        let mut table = table(1);
        let mut new = new_peer(1, Numbering::FourTuple);
        let local = |interface, last| {
            let ip = [198, 51, 100, last].into();
            Some(crate::packet::LocalAddress { ip, interface })
        };
        new.path.local = local(1, 1);
        let index = table.insert(new, START).unwrap();
        let at = |local| Path { local, ..path(1) };
        assert_eq!(table.by_path(&at(local(2, 1))), Some(index));
        assert_eq!(table.by_path(&at(local(1, 2))), None);
        assert_eq!(
            table.by_path(&Path {
                socket: 1,
                ..at(local(1, 1))
            }),
            None
        );
    }

    #[test]
    fn a_network_leads_to_who_was_given_it_last_and_to_nobody_after_it_is_taken() {
        let mut table = table(2);
        let [old, new] = [1, 2].map(|port| {
            table
                .insert(new_peer(port, Numbering::PeerId), START)
                .unwrap()
        });
        let network: IpNet = "10.66.0.0/16".parse().unwrap();
        let inside = "10.66.1.1".parse().unwrap();
        for index in [old, old, new] {
            table.add_prefix(index, network).unwrap();
            assert_eq!(owner_of(&table, inside), Some(index));
        }
        let prefixes = |table: &PeerTable, index| table.peer(index).unwrap().prefixes().to_vec();
        assert_eq!(prefixes(&table, old), []);
        assert_eq!(prefixes(&table, new), [network]);
        table.remove(old, START);
        assert_eq!(owner_of(&table, inside), Some(new));
        table.remove_prefix(network);
        assert_eq!(owner_of(&table, inside), None);
        assert_eq!(prefixes(&table, new), []);
        table.remove_prefix(network);

        let others: Vec<IpNet> = vec![
            "10.67.0.0/16".parse().unwrap(),
            "fd67::/32".parse().unwrap(),
        ];
        table.set_prefixes(new, &[network, others[0]]).unwrap();
        assert_eq!(prefixes(&table, new), [network, others[0]]);
        table.set_prefixes(new, &others).unwrap();
        assert_eq!(prefixes(&table, new), others);
        assert_eq!(owner_of(&table, inside), None);
        assert_eq!(owner_of(&table, "fd67::1".parse().unwrap()), Some(new));
    }

    #[test]
    fn assigning_again_replaces() {
        let mut table = table(1);
        let index = table.insert(new_peer(1, Numbering::PeerId), START).unwrap();
        table.assign(index, addresses(2));
        table.assign(index, addresses(3));
        assert_eq!(owner_of(&table, [10, 8, 0, 2].into()), None);
        assert_eq!(owner_of(&table, [10, 8, 0, 3].into()), Some(index));
        assert_eq!(table.peer(index).unwrap().addresses(), addresses(3));
    }
}
