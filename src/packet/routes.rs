//! From an inner address to whom it leads to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Inner destinations, single addresses and prefixes behind clients, and whose they are: a peer's in
/// the table of a shard, a shard's in its directory.
///
/// An address entry wins over any prefix, the longest prefix over the others.
#[derive(Debug)]
pub(super) struct Routes<T> {
    hosts_v4: Hosts<u32, T>,
    hosts_v6: Hosts<u128, T>,
    prefixes_v4: PrefixMap<Ipv4Net, T>,
    prefixes_v6: PrefixMap<Ipv6Net, T>,
    prefixes_max: usize,
}

impl<T: Copy + Eq> Routes<T> {
    /// Room for `hosts` addresses of each family, which the caller keeps to, and a bound of
    /// `prefixes_max` prefixes of both together.
    pub(super) fn new(hosts: usize, prefixes_max: usize) -> Self {
        Self {
            hosts_v4: HashMap::with_capacity_and_hasher(hosts, BuildHasherDefault::default()),
            hosts_v6: HashMap::with_capacity_and_hasher(hosts, BuildHasherDefault::default()),
            prefixes_v4: PrefixMap::new(),
            prefixes_v6: PrefixMap::new(),
            prefixes_max,
        }
    }

    /// Room for so many more addresses of each family.
    pub(super) fn grow(&mut self, more: usize) {
        let free = self.hosts_v4.capacity() - self.hosts_v4.len();
        self.hosts_v4.reserve(free + more);
        let free = self.hosts_v6.capacity() - self.hosts_v6.len();
        self.hosts_v6.reserve(free + more);
    }

    /// Whom packets to `address` go to, and how well it matches.
    pub(super) fn find(&self, address: IpAddr) -> Option<Route<T>> {
        match address {
            IpAddr::V4(address) => self.find_v4(address),
            IpAddr::V6(address) => self.find_v6(address),
        }
    }

    fn find_v4(&self, address: Ipv4Addr) -> Option<Route<T>> {
        if let Some(&owner) = self.hosts_v4.get(&address.to_bits()) {
            return Some(Route::host(owner));
        }
        if self.prefixes_v4.is_empty() {
            return None;
        }
        let (prefix, &owner) = self.prefixes_v4.get_lpm(&Ipv4Net::from(address))?;
        let length = prefix.prefix_len();
        Some(Route { owner, length })
    }

    fn find_v6(&self, address: Ipv6Addr) -> Option<Route<T>> {
        if let Some(&owner) = self.hosts_v6.get(&address.to_bits()) {
            return Some(Route::host(owner));
        }
        if self.prefixes_v6.is_empty() {
            return None;
        }
        let (prefix, &owner) = self.prefixes_v6.get_lpm(&Ipv6Net::from(address))?;
        let length = prefix.prefix_len();
        Some(Route { owner, length })
    }

    /// How many addresses there are of the family of `address`, itself left out.
    pub(super) fn others(&self, address: IpAddr) -> usize {
        match address {
            IpAddr::V4(address) => others(&self.hosts_v4, &address.to_bits()),
            IpAddr::V6(address) => others(&self.hosts_v6, &address.to_bits()),
        }
    }

    /// Routes a single address to `owner`, in place of whoever had it.
    pub(super) fn add_host(&mut self, address: IpAddr, owner: T) {
        match address {
            IpAddr::V4(address) => self.hosts_v4.insert(address.to_bits(), owner),
            IpAddr::V6(address) => self.hosts_v6.insert(address.to_bits(), owner),
        };
    }

    /// Whom a prefix leads to; its own entry, not one of a longer or shorter prefix.
    pub(super) fn owner_of_prefix(&self, prefix: IpNet) -> Option<T> {
        match prefix.trunc() {
            IpNet::V4(prefix) => self.prefixes_v4.get(&prefix).copied(),
            IpNet::V6(prefix) => self.prefixes_v6.get(&prefix).copied(),
        }
    }

    /// Routes a prefix to `owner`, in place of whoever had it. Host bits are ignored.
    ///
    /// # Errors
    /// [`RoutesFull`] when a new entry would exceed the bound.
    pub(super) fn add_prefix(&mut self, prefix: IpNet, owner: T) -> Result<(), RoutesFull> {
        let known = match prefix.trunc() {
            IpNet::V4(prefix) => self.prefixes_v4.contains_key(&prefix),
            IpNet::V6(prefix) => self.prefixes_v6.contains_key(&prefix),
        };
        if !known && self.prefixes_v4.len() + self.prefixes_v6.len() >= self.prefixes_max {
            return Err(RoutesFull);
        }
        match prefix.trunc() {
            IpNet::V4(prefix) => self.prefixes_v4.insert(prefix, owner),
            IpNet::V6(prefix) => self.prefixes_v6.insert(prefix, owner),
        };
        Ok(())
    }

    /// Forgets an address, if it still leads to `owner`: a newer session of the same client may have
    /// taken it.
    pub(super) fn remove_host(&mut self, address: IpAddr, owner: T) {
        match address {
            IpAddr::V4(address) => remove(&mut self.hosts_v4, address.to_bits(), owner),
            IpAddr::V6(address) => remove(&mut self.hosts_v6, address.to_bits(), owner),
        }
    }

    /// Forgets a prefix, if it still leads to `owner`.
    pub(super) fn remove_prefix(&mut self, prefix: IpNet, owner: T) {
        match prefix.trunc() {
            IpNet::V4(prefix) if self.prefixes_v4.get(&prefix) == Some(&owner) => {
                self.prefixes_v4.remove(&prefix);
            }
            IpNet::V6(prefix) if self.prefixes_v6.get(&prefix) == Some(&owner) => {
                self.prefixes_v6.remove(&prefix);
            }
            _ => {}
        }
    }
}

/// What an inner address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<T> {
    /// Whom.
    pub(super) owner: T,
    /// The length of the prefix that matches, greater than any for a single address.
    length: u8,
}

impl<T> Route<T> {
    const fn host(owner: T) -> Self {
        Self {
            owner,
            length: u8::MAX,
        }
    }

    /// Whether no other route to the same address can match better.
    pub(super) const fn is_host(&self) -> bool {
        self.length == u8::MAX
    }

    /// Whether it is to be followed rather than `other`, which leads to the same address.
    pub(super) const fn is_better_than<U>(&self, other: &Route<U>) -> bool {
        self.length > other.length
    }
}

/// The bound on inner networks is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of inner networks is full")]
pub struct RoutesFull;

type Hosts<K, T> = HashMap<K, T, BuildHasherDefault<AddressHasher>>;

fn remove<K: Eq + Hash, T: Eq>(hosts: &mut Hosts<K, T>, address: K, owner: T) {
    if hosts.get(&address) == Some(&owner) {
        hosts.remove(&address);
    }
}

fn others<K: Eq + Hash, T>(hosts: &Hosts<K, T>, address: &K) -> usize {
    hosts.len() - usize::from(hosts.contains_key(address))
}

/// Spreads one integer by a multiplication.
///
/// Every key is an address that this server assigned, so nobody outside chooses which keys collide;
/// a keyed hash would cost more than the rest of the look-up.
#[derive(Clone, Copy, Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // Both halves of the product: the table takes bits from the top and from the bottom.
        let product = u128::from(self.0 ^ value) * u128::from(GOLDEN_RATIO);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        self.write_u64(value as u64);
    }
}

/// 2^64 divided by the golden ratio, odd.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PeerIndex;
    use std::collections::HashSet;

    fn peer(number: u32) -> PeerIndex {
        PeerIndex::new(number, 0)
    }

    fn find(routes: &Routes<PeerIndex>, address: &str) -> Option<PeerIndex> {
        Some(routes.find(ip(address))?.owner)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_match_wins_and_an_address_beats_all() {
        let mut routes = Routes::new(8, 8);
        for (prefix, owner) in [
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.2.3/32", 3),
            ("fd00::/8", 4),
            ("fd00:1::/32", 5),
        ] {
            routes
                .add_prefix(prefix.parse().unwrap(), peer(owner))
                .unwrap();
        }
        routes.add_host(ip("10.1.2.3"), peer(6));
        routes.add_host(ip("fd00:1::9"), peer(7));
        for (address, expected) in [
            ("10.9.9.9", Some(1)),
            ("10.1.9.9", Some(2)),
            ("10.1.2.3", Some(6)),
            ("fd00:2::1", Some(4)),
            ("fd00:1::1", Some(5)),
            ("fd00:1::9", Some(7)),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(find(&routes, address), expected.map(peer), "{address}");
        }
    }

    #[test]
    fn routes_of_two_tables_compare_by_how_well_they_match() {
        let mut routes = Routes::new(1, 4);
        for prefix in ["10.0.0.0/8", "10.8.0.0/16", "10.8.0.1/32"] {
            routes.add_prefix(prefix.parse().unwrap(), peer(1)).unwrap();
        }
        routes.add_host(ip("10.8.0.2"), peer(1));
        let route = |address| routes.find(ip(address)).unwrap();
        let ascending = ["10.9.0.1", "10.8.0.9", "10.8.0.1", "10.8.0.2"].map(route);
        for (rank, better) in ascending.iter().enumerate() {
            assert_eq!(better.is_host(), rank == 3);
            assert!(!better.is_better_than(better));
            for worse in &ascending[..rank] {
                assert!(better.is_better_than(worse) && !worse.is_better_than(better));
            }
        }
    }

    #[test]
    fn host_bits_of_a_prefix_are_ignored() {
        let mut routes = Routes::new(1, 1);
        routes
            .add_prefix("192.168.7.9/24".parse().unwrap(), peer(1))
            .unwrap();
        routes
            .add_prefix("192.168.7.8/24".parse().unwrap(), peer(2))
            .unwrap();
        assert_eq!(find(&routes, "192.168.7.200"), Some(peer(2)));
    }

    #[test]
    fn the_bound_on_prefixes_holds() {
        let mut routes = Routes::new(1, 1);
        assert_eq!(
            routes.add_prefix("10.0.0.0/8".parse().unwrap(), peer(1)),
            Ok(())
        );
        assert_eq!(
            routes.add_prefix("fd00::/8".parse().unwrap(), peer(1)),
            Err(RoutesFull)
        );
        // A known prefix needs no more room.
        assert_eq!(
            routes.add_prefix("10.0.0.0/8".parse().unwrap(), peer(2)),
            Ok(())
        );
        assert_eq!(find(&routes, "10.1.1.1"), Some(peer(2)));
    }

    #[test]
    fn removing_leaves_what_a_newer_session_took() {
        let mut routes = Routes::new(4, 4);
        let (old, new) = (peer(1), peer(2));
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        for address in ["10.8.0.2", "fd00::2"] {
            routes.add_host(ip(address), old);
        }
        for network in ["10.66.0.0/16", "fd66::/16"] {
            routes.add_prefix(prefix(network), old).unwrap();
        }
        routes.add_host(ip("10.8.0.2"), new);
        routes.add_prefix(prefix("fd66::/16"), new).unwrap();
        for address in ["10.8.0.2", "fd00::2"] {
            routes.remove_host(ip(address), old);
        }
        for network in ["10.66.0.0/16", "fd66::/16"] {
            routes.remove_prefix(prefix(network), old);
        }
        assert_eq!(find(&routes, "10.8.0.2"), Some(new));
        assert_eq!(find(&routes, "fd00::2"), None);
        assert_eq!(find(&routes, "10.66.1.1"), None);
        assert_eq!(find(&routes, "fd66::1"), Some(new));
    }

    #[test]
    fn a_pool_of_addresses_hashes_without_collisions_in_either_half() {
        let hashes: Vec<u64> = (0x0a08_0000_u32..0x0a08_4000)
            .map(|address| {
                let mut hasher = AddressHasher::default();
                hasher.write_u32(address);
                hasher.finish()
            })
            .collect();
        let low: HashSet<_> = hashes.iter().map(|hash| *hash as u32).collect();
        let high: HashSet<_> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(low.len() > 0x3f00, "{}", low.len());
        assert_eq!(high.len(), 128);
    }
}
