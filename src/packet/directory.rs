//! What a shard knows of the clients of all shards: which shard an inner address, an inner network or
//! a path leads to.
//!
//! The node's registry says what is in it; each shard has one of its own. It is always a little late,
//! and nothing depends on its being right: what goes to the wrong shard is dropped there by name.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::path::FourTuple;
use super::{KeyedHash, Numbering, Path, Route, Routes, RoutesFull};
use crate::limits;
use crate::random::Random;

/// The clients of a node by what packets to or from them show.
///
/// The latest announcement counts, and a withdrawal by who is no longer the owner changes nothing: so
/// the two may overtake each other when a client moves from one shard to another.
#[derive(Debug)]
pub struct Directory {
    inner: Routes<Owner>,
    paths: HashMap<FourTuple, Holder, KeyedHash>,
    clients_max: usize,
}

/// Whose an address, a network or a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The shard that the client's session is on.
    pub shard: u16,
    /// The node's number for the client, never used twice: tells the former and the present owner on
    /// one shard apart.
    pub client_id: u64,
}

/// The path of a client that may send data packets without a peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPath {
    /// The path.
    pub path: Path,
    /// By what its packets are told apart. Where a peer id is given it may still be ignored, so that
    /// such packets find their shard; but then nobody else is kept from moving to that address.
    pub numbering: Numbering,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    owner: Owner,
    numbering: Numbering,
}

impl Directory {
    /// An empty directory for `clients_max` clients, with an address of each family and a path each.
    /// `random` keys the hash of the look-up by path.
    pub fn new(clients_max: u32, random: &mut dyn Random) -> Self {
        let room = clients_max as usize;
        Self {
            inner: Routes::new(room, limits::INNER_PREFIXES_MAX),
            paths: HashMap::with_capacity_and_hasher(room, KeyedHash::new(random)),
            clients_max: room,
        }
    }

    /// Makes room for `clients_max` clients, if that is more than there was for.
    pub fn grow(&mut self, clients_max: u32) {
        let more = (clients_max as usize).saturating_sub(self.clients_max);
        if more > 0 {
            self.clients_max += more;
            let free = self.paths.capacity() - self.paths.len();
            self.paths.reserve(free + more);
            self.inner.grow(more);
        }
    }

    /// An inner address is `owner`'s from now on.
    ///
    /// # Errors
    /// [`DirectoryFull`] when as many addresses of the family are known as there can be clients.
    pub fn announce_inner(&mut self, address: IpAddr, owner: Owner) -> Result<(), DirectoryFull> {
        if self.inner.others(address) >= self.clients_max {
            return Err(DirectoryFull);
        }
        self.inner.add_host(address, owner);
        Ok(())
    }

    /// An inner address is no longer `owner`'s.
    pub fn withdraw_inner(&mut self, address: IpAddr, owner: Owner) {
        self.inner.remove_host(address, owner);
    }

    /// An inner network is behind `owner` from now on. Host bits are ignored.
    ///
    /// # Errors
    /// [`DirectoryFull`] when the bound on networks is reached.
    pub fn announce_prefix(&mut self, prefix: IpNet, owner: Owner) -> Result<(), DirectoryFull> {
        self.inner
            .add_prefix(prefix, owner)
            .map_err(|RoutesFull| DirectoryFull)
    }

    /// An inner network is no longer behind `owner`.
    pub fn withdraw_prefix(&mut self, prefix: IpNet, owner: Owner) {
        self.inner.remove_prefix(prefix, owner);
    }

    /// Data packets without a peer id that come by this path are `owner`'s from now on.
    ///
    /// # Errors
    /// [`DirectoryFull`] when as many paths are known as there can be clients.
    pub fn announce_path(
        &mut self,
        client: &ClientPath,
        owner: Owner,
    ) -> Result<(), DirectoryFull> {
        let four_tuple = client.path.four_tuple();
        let known = self.paths.contains_key(&four_tuple);
        if !known && self.paths.len() >= self.clients_max {
            return Err(DirectoryFull);
        }
        let numbering = client.numbering;
        self.paths.insert(four_tuple, Holder { owner, numbering });
        Ok(())
    }

    /// Data packets by `path` are no longer `owner`'s.
    pub fn withdraw_path(&mut self, path: &Path, owner: Owner) {
        let four_tuple = path.four_tuple();
        let holder = self.paths.get(&four_tuple);
        if holder.is_some_and(|holder| holder.owner == owner) {
            self.paths.remove(&four_tuple);
        }
    }

    /// The shard whose client has an inner address, or else the longest network around it.
    pub fn owner_of_inner(&self, address: IpAddr) -> Option<u16> {
        Some(self.inner.find(address)?.owner.shard)
    }

    /// The same, with how well it matches.
    pub(super) fn route(&self, address: IpAddr) -> Option<Route<Owner>> {
        self.inner.find(address)
    }

    /// The shard whose client sends data packets without a peer id by `path`.
    pub fn owner_of_path(&self, path: &Path) -> Option<u16> {
        Some(self.paths.get(&path.four_tuple())?.owner.shard)
    }

    /// Whether a client is told apart by this path.
    pub(super) fn is_path_held(&self, path: &Path) -> bool {
        let holder = self.paths.get(&path.four_tuple());
        holder.is_some_and(|holder| holder.numbering == Numbering::FourTuple)
    }
}

/// The directory takes no more entries of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the directory of clients is full")]
pub struct DirectoryFull;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LocalAddress;
    use crate::random::SeededRandom;
    use proptest::prelude::*;

    const CLIENTS_MAX: u32 = 3;

    fn directory() -> Directory {
        Directory::new(CLIENTS_MAX, &mut SeededRandom::new(1))
    }

    const fn owner(shard: u16, client_id: u64) -> Owner {
        Owner { shard, client_id }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    const fn known(path: Path) -> ClientPath {
        ClientPath {
            path,
            numbering: Numbering::FourTuple,
        }
    }

    fn path(port: u16, socket: u16) -> Path {
        Path {
            remote: ([192, 0, 2, 1], port).into(),
            local: None,
            socket,
        }
    }

    #[test]
    fn the_latest_announcement_counts_and_a_late_withdrawal_does_not() {
        let mut directory = directory();
        let (old, new) = (owner(0, 1), owner(2, 2));
        let same_shard = owner(2, 3);
        for (owner, shard) in [(old, 0), (new, 2), (same_shard, 2)] {
            directory.announce_inner(ip("10.8.0.2"), owner).unwrap();
            directory
                .announce_prefix(net("10.66.0.0/16"), owner)
                .unwrap();
            directory.announce_path(&known(path(1, 0)), owner).unwrap();
            assert_eq!(directory.owner_of_inner(ip("10.8.0.2")), Some(shard));
            assert_eq!(directory.owner_of_inner(ip("10.66.1.1")), Some(shard));
            assert_eq!(directory.owner_of_path(&path(1, 0)), Some(shard));
        }
        for (owner, left) in [(old, Some(2)), (new, Some(2)), (same_shard, None)] {
            directory.withdraw_inner(ip("10.8.0.2"), owner);
            directory.withdraw_prefix(net("10.66.0.0/16"), owner);
            directory.withdraw_path(&path(1, 0), owner);
            assert_eq!(directory.owner_of_inner(ip("10.8.0.2")), left);
            assert_eq!(directory.owner_of_inner(ip("10.66.1.1")), left);
            assert_eq!(directory.owner_of_path(&path(1, 0)), left);
        }
    }

    #[test]
    fn a_path_is_both_addresses_and_the_listener_but_no_interface() {
        let mut directory = directory();
        let local = |last, interface| {
            let ip = [198, 51, 100, last].into();
            Some(LocalAddress { ip, interface })
        };
        let at = |local, port, socket| Path {
            local,
            ..path(port, socket)
        };
        directory
            .announce_path(&known(at(local(1, 1), 7, 1)), owner(3, 0))
            .unwrap();
        for (path, expected) in [
            (at(local(1, 1), 7, 1), Some(3)),
            (at(local(1, 2), 7, 1), Some(3)),
            (at(local(2, 1), 7, 1), None),
            (at(local(1, 1), 8, 1), None),
            (at(local(1, 1), 7, 0), None),
            (at(None, 7, 1), None),
        ] {
            assert_eq!(directory.owner_of_path(&path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_is_held_by_who_is_told_apart_by_it() {
        let mut directory = directory();
        let (client, path) = (owner(0, 1), path(1, 0));
        for (numbering, held) in [
            (Numbering::PeerId, false),
            (Numbering::FourTuple, true),
            (Numbering::PeerId, false),
        ] {
            let client_path = ClientPath { path, numbering };
            directory.announce_path(&client_path, client).unwrap();
            assert_eq!(directory.is_path_held(&path), held);
            assert_eq!(directory.owner_of_path(&path), Some(0));
        }
        directory.announce_path(&known(path), client).unwrap();
        directory.withdraw_path(&path, client);
        assert!(!directory.is_path_held(&path));
    }

    #[test]
    fn more_clients_than_there_can_be_are_refused_and_known_ones_are_not() {
        let mut directory = directory();
        for last in 1..=3 {
            let port = u16::from(last);
            directory
                .announce_inner([10, 8, 0, last].into(), owner(0, 0))
                .unwrap();
            directory
                .announce_path(&known(path(port, 0)), owner(0, 0))
                .unwrap();
        }
        let more = owner(1, 1);
        assert_eq!(
            directory.announce_inner(ip("10.8.0.4"), more),
            Err(DirectoryFull)
        );
        assert_eq!(
            directory.announce_path(&known(path(4, 0)), more),
            Err(DirectoryFull)
        );
        assert_eq!(directory.owner_of_inner(ip("10.8.0.4")), None);
        assert_eq!(directory.owner_of_path(&path(4, 0)), None);
        // Each family has its own room.
        assert_eq!(directory.announce_inner(ip("fd00::4"), more), Ok(()));
        assert_eq!(directory.announce_inner(ip("10.8.0.3"), more), Ok(()));
        assert_eq!(directory.announce_path(&known(path(3, 0)), more), Ok(()));
        directory.grow(CLIENTS_MAX + 1);
        directory.grow(CLIENTS_MAX);
        assert_eq!(directory.announce_inner(ip("10.8.0.4"), more), Ok(()));
        assert_eq!(directory.announce_path(&known(path(4, 0)), more), Ok(()));
        let fifth = directory.announce_inner(ip("10.8.0.5"), more);
        assert_eq!(fifth, Err(DirectoryFull));
        assert_eq!(directory.owner_of_path(&path(3, 0)), Some(1));
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Key {
        Inner(IpAddr),
        Prefix(IpNet),
        Path(Path),
    }

    /// A directory without any structure.
    #[derive(Default)]
    struct Model(Vec<(Key, Owner)>);

    impl Model {
        fn announce(&mut self, key: Key, owner: Owner) -> Result<(), DirectoryFull> {
            let kind = |key: &Key| match key {
                Key::Inner(address) => Some(u8::from(address.is_ipv4())),
                Key::Path(_) => Some(2),
                Key::Prefix(_) => None,
            };
            self.0.retain(|(known, _)| *known != key);
            let alike = self.0.iter().filter(|(known, _)| kind(known) == kind(&key));
            if kind(&key).is_some() && alike.count() >= CLIENTS_MAX as usize {
                return Err(DirectoryFull);
            }
            self.0.push((key, owner));
            Ok(())
        }

        fn withdraw(&mut self, key: Key, owner: Owner) {
            self.0.retain(|entry| *entry != (key, owner));
        }

        fn owner_of(&self, wanted: Key) -> Option<u16> {
            let (_, owner) = self.0.iter().find(|(key, _)| *key == wanted)?;
            Some(owner.shard)
        }

        fn owner_of_inner(&self, address: IpAddr) -> Option<u16> {
            let around = self.0.iter().filter_map(|(key, owner)| match key {
                Key::Prefix(prefix) if prefix.contains(&address) => {
                    Some((prefix.prefix_len(), owner.shard))
                }
                _ => None,
            });
            let longest = around.max().map(|(_, shard)| shard);
            self.owner_of(Key::Inner(address)).or(longest)
        }
    }

    fn key() -> impl Strategy<Value = Key> {
        let address = prop_oneof![
            (0_u8..6).prop_map(|last| IpAddr::from([10, 8, 0, last])),
            (0_u16..6).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
        ];
        let prefix = (address.clone(), 0_u8..=128).prop_map(|(address, len)| {
            let len = if address.is_ipv4() { len % 33 } else { len };
            IpNet::new(address, len).unwrap().trunc()
        });
        prop_oneof![
            address.prop_map(Key::Inner),
            prefix.prop_map(Key::Prefix),
            (0_u16..6, 0_u16..2).prop_map(|(port, socket)| Key::Path(path(port, socket))),
        ]
    }

    proptest! {
        #[test]
        fn it_says_what_a_plain_list_of_announcements_says(
            steps in prop::collection::vec((key(), any::<bool>(), 0_u16..3, 0_u64..3), 0..80),
        ) {
            let (mut directory, mut model) = (directory(), Model::default());
            for (key, announced, shard, client_id) in steps {
                let owner = owner(shard, client_id);
                if announced {
                    let result = match key {
                        Key::Inner(address) => directory.announce_inner(address, owner),
                        Key::Prefix(prefix) => directory.announce_prefix(prefix, owner),
                        Key::Path(path) => directory.announce_path(&known(path), owner),
                    };
                    prop_assert_eq!(result, model.announce(key, owner));
                } else {
                    match key {
                        Key::Inner(address) => directory.withdraw_inner(address, owner),
                        Key::Prefix(prefix) => directory.withdraw_prefix(prefix, owner),
                        Key::Path(path) => directory.withdraw_path(&path, owner),
                    }
                    model.withdraw(key, owner);
                }
                for last in 0..7 {
                    for address in [
                        IpAddr::from([10, 8, 0, last as u8]),
                        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]),
                    ] {
                        let found = directory.owner_of_inner(address);
                        prop_assert_eq!(found, model.owner_of_inner(address), "{}", address);
                    }
                    for socket in 0..2 {
                        let path = path(last, socket);
                        prop_assert_eq!(
                            directory.owner_of_path(&path),
                            model.owner_of(Key::Path(path))
                        );
                    }
                }
            }
        }
    }
}
