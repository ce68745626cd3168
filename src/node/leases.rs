//! Address leases: which slot of the pool a client has, and which one it had last.
//!
//! Both families share the slot index: slot i is the i-th address of each pool. A name gets the
//! slot that it had, if that is free; else the lowest slot that nobody ever had; else the one that
//! was released the longest ago, so that an address rests as long as can be before it changes hands.
//! Wire: wire.md section 16.
//!
//! A slot may be named instead, for a client whose file has one of its addresses. Such slots are kept
//! for those who name them, as long as there are others.
//!
//! What a name had before the server started may be told (`ifconfig-pool-persist`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::event::Text;

/// The slots of a node's address pool.
#[derive(Debug)]
pub struct Leases {
    slots: u32,
    /// Slots from here on were never taken.
    fresh: u32,
    /// Taken slots and released ones; the name is whose it is, or was.
    used: HashMap<u32, Use>,
    /// Slots that somebody has named.
    reserved: BTreeSet<u32>,
    /// Released slots that nobody has named, the longest released first.
    rested: BTreeMap<u64, u32>,
    /// The slot that a name has or had last.
    remembered: HashMap<Text, u32>,
    releases: u64,
    /// How often a slot got another name.
    changes: u64,
}

/// The first address of each family; `None` for a family without a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// The first IPv4 address of slot 0.
    pub v4: Option<Ipv4Addr>,
    /// How many IPv4 addresses a slot has.
    pub v4_blocks: Blocks,
    /// The IPv6 address of slot 0.
    pub v6: Option<Ipv6Addr>,
    /// How many slots, within the networks of both families.
    pub slots: u32,
}

/// How many IPv4 addresses of a pool go to one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// One.
    #[default]
    Single,
    /// Four, of which the second is the other end's and the third the client's (`topology net30`).
    /// Wire: wire.md section 16.
    Net30,
}

impl Blocks {
    /// The number of addresses, as a power of two.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Single => 0,
            Self::Net30 => 2,
        }
    }

    /// Where the client's address stands in its block.
    const fn of_client(self) -> u32 {
        match self {
            Self::Single => 0,
            Self::Net30 => 2,
        }
    }
}

/// One client's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4, where there is a pool.
    pub v4: Option<Ipv4Addr>,
    /// IPv6, where there is a pool.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.v6.map(IpAddr::V6);
        self.v4.map(IpAddr::V4).into_iter().chain(v6)
    }
}

#[derive(Debug)]
struct Use {
    name: Option<Text>,
    state: State,
    /// Nobody else's than its name's, ever.
    fixed: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// By one, or by two that have an address of it each.
    Taken { tenants: u32 },
    /// With its place among the released.
    Released(u64),
}

impl Leases {
    /// A pool that nobody has used.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            fresh: 0,
            used: HashMap::new(),
            reserved: BTreeSet::new(),
            rested: BTreeMap::new(),
            remembered: HashMap::new(),
            releases: 0,
            changes: 0,
        }
    }

    /// Notes, before anybody has come, that `name` had a slot: it gets it again. If it is `fixed`,
    /// nobody else does, not even when there is no other. Of two names for a slot the later one counts,
    /// of two slots for a name the lower one. Wire: as in 2.6.
    pub fn remember(&mut self, name: Text, slot: u32, fixed: bool) {
        let known = self.remembered.get(&name);
        if slot >= self.slots || self.is_taken(slot) || known.is_some_and(|known| *known < slot) {
            return;
        }
        if let Some(higher) = self.remembered.remove(&name)
            && let Some(State::Released(place)) = self.used.remove(&higher).map(|it| it.state)
        {
            self.rested.remove(&place);
        }
        self.occupy(slot, Some(name));
        if let Some(entry) = self.used.get_mut(&slot) {
            entry.fixed = fixed;
        }
        self.release(slot);
    }

    /// There are so many slots from now on, if that is more than there were.
    pub fn grow(&mut self, slots: u32) {
        self.slots = self.slots.max(slots);
    }

    /// Names with the slots that they have or had, in the order of the slots.
    pub fn names(&self) -> Vec<(Text, u32)> {
        let named = self.remembered.iter();
        let mut named: Vec<_> = named.map(|(name, slot)| (name.clone(), *slot)).collect();
        named.sort_unstable_by_key(|(_, slot)| *slot);
        named
    }

    /// How often [`names`](Self::names) has changed.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes a slot for `name`, or for nobody in particular, who is not remembered. `None` when
    /// all are taken.
    pub fn take(&mut self, name: Option<&Text>) -> Option<u32> {
        let slot = name
            .and_then(|name| self.former(name))
            .or_else(|| self.next_fresh())
            .or_else(|| self.rested.first_key_value().map(|(_, &slot)| slot))
            .or_else(|| self.free_among_the_reserved())?;
        self.occupy(slot, name.cloned());
        Some(slot)
    }

    /// Takes a certain slot, also for one address of it while somebody else has the other. It is
    /// reserved from now on.
    pub fn take_named(&mut self, slot: u32) {
        self.reserve(slot);
        if let Some(entry) = self.used.get_mut(&slot)
            && let State::Taken { tenants } = &mut entry.state
        {
            *tenants += 1;
        } else {
            self.occupy(slot, None);
        }
    }

    /// Keeps a slot for who names it: nobody else gets it as long as there are others.
    pub fn reserve(&mut self, slot: u32) {
        if slot < self.slots
            && self.reserved.insert(slot)
            && let Some(entry) = self.used.get(&slot)
            && let State::Released(place) = entry.state
        {
            self.rested.remove(&place);
        }
    }

    /// Whether somebody has a slot.
    pub fn is_taken(&self, slot: u32) -> bool {
        let entry = self.used.get(&slot);
        entry.is_some_and(|entry| matches!(entry.state, State::Taken { .. }))
    }

    /// Gives a slot back; it stays remembered for its name. A slot that is not taken stays as it is.
    pub fn release(&mut self, slot: u32) {
        let Some(entry) = self.used.get_mut(&slot) else {
            return;
        };
        match &mut entry.state {
            State::Taken { tenants } if *tenants > 1 => *tenants -= 1,
            State::Taken { .. } => {
                entry.state = State::Released(self.releases);
                if !self.reserved.contains(&slot) && !entry.fixed {
                    self.rested.insert(self.releases, slot);
                }
                self.releases += 1;
            }
            State::Released(_) => {}
        }
    }

    /// The lowest slot that nobody ever had or named.
    fn next_fresh(&mut self) -> Option<u32> {
        while self.reserved.contains(&self.fresh) || self.used.contains_key(&self.fresh) {
            self.fresh += 1;
        }
        (self.fresh < self.slots).then_some(self.fresh)
    }

    fn free_among_the_reserved(&self) -> Option<u32> {
        let mut reserved = self.reserved.iter().copied();
        reserved.find(|slot| {
            let entry = self.used.get(slot);
            !entry.is_some_and(|it| it.fixed || matches!(it.state, State::Taken { .. }))
        })
    }

    /// The slot that `name` had, if it is free.
    fn former(&self, name: &Text) -> Option<u32> {
        let slot = *self.remembered.get(name)?;
        let free = !self.is_taken(slot) && !self.reserved.contains(&slot);
        free.then_some(slot)
    }

    fn occupy(&mut self, slot: u32, name: Option<Text>) {
        let before = self.used.remove(&slot);
        let fixed = before.as_ref().is_some_and(|before| before.fixed);
        let mut name = name;
        let mut former = None;
        if let Some(before) = before {
            if let State::Released(place) = before.state {
                self.rested.remove(&place);
            }
            match fixed {
                true => name = before.name,
                false => former = before.name,
            }
        }
        if let Some(former) = former
            && self.remembered.get(&former) == Some(&slot)
            && Some(&former) != name.as_ref()
        {
            self.remembered.remove(&former);
            self.changes += 1;
        }
        if let Some(name) = &name
            && self.remembered.insert(name.clone(), slot) != Some(slot)
        {
            self.changes += 1;
        }
        let state = State::Taken { tenants: 1 };
        let entry = Use { name, state, fixed };
        self.used.insert(slot, entry);
    }
}

impl AddressPool {
    /// The addresses of a slot below [`AddressPool::slots`].
    pub fn addresses(&self, slot: u32) -> Addresses {
        let own = self.v4_blocks.of_client();
        let block = self.block(slot);
        Addresses {
            v4: block.map(|first| Ipv4Addr::from(u32::from(first).wrapping_add(own))),
            v6: self
                .v6
                .map(|first| Ipv6Addr::from(u128::from(first).wrapping_add(u128::from(slot)))),
        }
    }

    /// The first IPv4 address of a slot below [`AddressPool::slots`]: what the file of leases names.
    pub fn block(&self, slot: u32) -> Option<Ipv4Addr> {
        let offset = slot << self.v4_blocks.bits();
        self.v4
            .map(|first| Ipv4Addr::from(u32::from(first).wrapping_add(offset)))
    }

    /// The slot that an address belongs to, if it is of the pool.
    pub fn slot_of(&self, address: IpAddr) -> Option<u32> {
        let slot = match address {
            IpAddr::V4(address) => u32::from(address)
                .checked_sub(u32::from(self.v4?))
                .map(|offset| offset >> self.v4_blocks.bits()),
            IpAddr::V6(address) => u128::from(address)
                .checked_sub(u128::from(self.v6?))
                .and_then(|slot| u32::try_from(slot).ok()),
        };
        slot.filter(|slot| *slot < self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(leases: &mut Leases, name: &str) -> Option<u32> {
        leases.take(Some(&name.into()))
    }

    #[test]
    fn a_slot_gives_the_same_index_in_both_families() {
        let pool = AddressPool {
            v4: Some("10.8.0.254".parse().unwrap()),
            v4_blocks: Blocks::Single,
            v6: Some("fd00:8::1000".parse().unwrap()),
            slots: 1000,
        };
        assert_eq!(
            pool.addresses(2),
            Addresses {
                v4: Some("10.8.1.0".parse().unwrap()),
                v6: Some("fd00:8::1002".parse().unwrap()),
            }
        );
        let v4_only = AddressPool { v6: None, ..pool };
        assert_eq!(v4_only.addresses(0).v6, None);
    }

    #[test]
    fn slots_are_given_from_the_lowest_until_none_is_left() {
        let mut leases = Leases::new(2);
        assert_eq!(take(&mut leases, "a"), Some(0));
        assert_eq!(take(&mut leases, "b"), Some(1));
        assert_eq!(take(&mut leases, "c"), None);
    }

    #[test]
    fn a_name_gets_its_slot_again_while_nobody_needed_it() {
        let mut leases = Leases::new(3);
        for name in ["a", "b"] {
            take(&mut leases, name);
        }
        leases.release(1);
        leases.release(0);
        assert_eq!(take(&mut leases, "c"), Some(2), "a fresh slot comes first");
        assert_eq!(take(&mut leases, "a"), Some(0));
        assert_eq!(
            take(&mut leases, "d"),
            Some(1),
            "b's slot, when all else is taken"
        );
        leases.release(0);
        assert_eq!(
            take(&mut leases, "b"),
            Some(0),
            "b's own slot is taken: it gets a's"
        );
    }

    #[test]
    fn the_longest_released_slot_changes_hands_first() {
        let mut leases = Leases::new(3);
        for name in ["a", "b", "c"] {
            take(&mut leases, name);
        }
        for slot in [2, 0, 1] {
            leases.release(slot);
        }
        let order: Vec<_> = ["x", "y", "z"]
            .into_iter()
            .map(|name| take(&mut leases, name))
            .collect();
        assert_eq!(order, [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn a_slot_released_twice_is_free_once() {
        let mut leases = Leases::new(1);
        take(&mut leases, "a");
        leases.release(0);
        leases.release(0);
        leases.release(7);
        assert_eq!(take(&mut leases, "b"), Some(0));
        assert_eq!(take(&mut leases, "c"), None);
    }

    #[test]
    fn a_named_slot_is_nobody_elses_as_long_as_there_are_others() {
        let mut leases = Leases::new(4);
        leases.reserve(1);
        leases.reserve(9);
        assert_eq!(take(&mut leases, "a"), Some(0));
        assert_eq!(take(&mut leases, "b"), Some(2), "1 is kept");
        leases.take_named(3);
        assert_eq!(take(&mut leases, "c"), Some(1), "there is no other");
        assert_eq!(take(&mut leases, "d"), None);
        leases.release(1);
        leases.release(2);
        assert_eq!(
            take(&mut leases, "c"),
            Some(2),
            "1 was its own, but is kept"
        );
        leases.release(3);
        leases.release(2);
        leases.take_named(2);
        assert_eq!(take(&mut leases, "b"), Some(1), "2 is somebody's now");
    }

    #[test]
    fn a_slot_that_two_have_an_address_of_is_free_when_both_are_gone() {
        let mut leases = Leases::new(1);
        leases.take_named(0);
        leases.take_named(0);
        leases.release(0);
        assert!(leases.is_taken(0));
        assert_eq!(take(&mut leases, "a"), None);
        leases.release(0);
        assert!(!leases.is_taken(0));
        leases.release(0);
        assert_eq!(take(&mut leases, "a"), Some(0));
    }

    /// Wire: as OpenVPN 2.6.14 reads a file that was changed by hand.
    #[test]
    fn a_name_that_is_remembered_gets_its_slot_and_others_get_it_last() {
        let mut leases = Leases::new(4);
        for (name, slot) in [("a", 3), ("b", 1), ("c", 1), ("a", 2), ("a", 3), ("far", 9)] {
            leases.remember(name.into(), slot, false);
        }
        let names = |of: &[(&str, u32)]| -> Vec<(Text, u32)> {
            of.iter()
                .map(|(name, slot)| ((*name).into(), *slot))
                .collect()
        };
        assert_eq!(leases.names(), names(&[("c", 1), ("a", 2)]));
        let before = leases.changes();
        assert_eq!(take(&mut leases, "a"), Some(2));
        assert_eq!(leases.changes(), before, "it had that before");
        assert_eq!(take(&mut leases, "b"), Some(0));
        assert_eq!(take(&mut leases, "x"), Some(3));
        assert_eq!(take(&mut leases, "y"), Some(1), "c's, as there is no other");
        assert_eq!(take(&mut leases, "c"), None);
        assert_eq!(
            leases.names(),
            names(&[("b", 0), ("y", 1), ("a", 2), ("x", 3)])
        );
        assert_ne!(leases.changes(), before);
    }

    #[test]
    fn a_fixed_slot_is_never_anybody_elses() {
        let mut leases = Leases::new(3);
        leases.remember("a".into(), 0, true);
        leases.remember("b".into(), 2, true);
        leases.reserve(2);
        assert_eq!(take(&mut leases, "x"), Some(1));
        assert_eq!(take(&mut leases, "y"), None);
        assert_eq!(take(&mut leases, "a"), Some(0));
        leases.release(0);
        assert_eq!(take(&mut leases, "y"), None, "also when it was given back");
        leases.take_named(0);
        leases.release(0);
        assert_eq!(
            take(&mut leases, "y"),
            None,
            "also when a file has named it"
        );
    }

    #[test]
    fn an_address_belongs_to_its_slot_or_to_none() {
        let pool = AddressPool {
            v4: Some("10.8.0.2".parse().unwrap()),
            v4_blocks: Blocks::Single,
            v6: Some("fd00::1000".parse().unwrap()),
            slots: 3,
        };
        for (address, slot) in [
            ("10.8.0.1", None),
            ("10.8.0.2", Some(0)),
            ("10.8.0.4", Some(2)),
            ("10.8.0.5", None),
            ("fd00::fff", None),
            ("fd00::1002", Some(2)),
            ("fd00::1003", None),
            ("fd01::1000", None),
            ("::1", None),
        ] {
            assert_eq!(pool.slot_of(address.parse().unwrap()), slot, "{address}");
        }
        let none = AddressPool { v6: None, ..pool };
        assert_eq!(none.slot_of("fd00::1000".parse().unwrap()), None);
    }

    /// Wire: the addresses that OpenVPN 2.6.14 gives out of `server 10.8.0.0 255.255.255.0`.
    #[test]
    fn a_slot_of_net30_has_four_addresses_and_the_client_the_third() {
        let pool = AddressPool {
            v4: Some("10.8.0.4".parse().unwrap()),
            v4_blocks: Blocks::Net30,
            v6: Some("fd00::1000".parse().unwrap()),
            slots: 62,
        };
        let client = |slot| pool.addresses(slot).v4.unwrap().to_string();
        assert_eq!(
            (client(0), client(1)),
            ("10.8.0.6".into(), "10.8.0.10".into())
        );
        assert_eq!(client(61), "10.8.0.250");
        assert_eq!(pool.block(1), Some("10.8.0.8".parse().unwrap()));
        assert_eq!(pool.addresses(1).v6, Some("fd00::1001".parse().unwrap()));
        for (address, slot) in [
            ("10.8.0.3", None),
            ("10.8.0.4", Some(0)),
            ("10.8.0.7", Some(0)),
            ("10.8.0.8", Some(1)),
            ("10.8.0.251", Some(61)),
            ("10.8.0.252", None),
            ("fd00::103d", Some(61)),
        ] {
            assert_eq!(pool.slot_of(address.parse().unwrap()), slot, "{address}");
        }
    }

    #[test]
    fn the_nameless_are_not_remembered() {
        let mut leases = Leases::new(2);
        assert_eq!(leases.take(None), Some(0));
        assert_eq!(leases.take(None), Some(1));
        leases.release(1);
        leases.release(0);
        assert_eq!(leases.take(None), Some(1));
        assert!(leases.remembered.is_empty());
    }
}
