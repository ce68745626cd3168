//! Who has what: addresses, networks, slots of the pool, and seats.
//!
//! An address has one owner, and stays that one's until it is given back. A network leads to whoever
//! was given it last, as it does in OpenVPN: that takes nothing from the one before but the network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::notice::SessionAt;
use super::order::Steered;
use super::place::{OwnTerms, Place};
use crate::limits::INNER_PREFIXES_MAX;
use crate::node::event::{AdmissionRefusal, Text};
use crate::node::leases::{AddressPool, Addresses, Leases};
use crate::node::settings::ClientProfile;

/// What all clients have.
#[derive(Debug)]
pub(super) struct Holdings {
    pool: AddressPool,
    leases: Leases,
    addresses: HashMap<IpAddr, SessionAt>,
    networks: BTreeMap<IpNet, SessionAt>,
    /// Seats that were given back, the last one on top, and how many there are.
    vacant: Vec<u32>,
    seats: u32,
}

/// What one client has.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    /// What its shard is told.
    pub(super) place: Arc<Place>,
    /// The number by which all shards are told of it.
    pub(super) seat: u32,
    /// Slots of the pool with its addresses.
    slots: Vec<u32>,
}

impl Holding {
    /// That of a client without networks behind it.
    pub(super) fn new(
        addresses: Addresses,
        slots: Vec<u32>,
        seat: u32,
        profile: &ClientProfile,
    ) -> Self {
        let own = OwnTerms {
            v4_second: profile.v4.map(|(_, second)| second),
            v6: profile.v6,
            push: profile.push.clone(),
            framing: profile.framing,
            times: profile.times,
            withheld: profile.withheld,
        };
        let place = Arc::new(Place {
            addresses,
            astray: Vec::new(),
            networks: Vec::new(),
            own,
            hosts_max: 0,
            quota_exceeded: None,
        });
        Self { place, seat, slots }
    }
}

impl Holdings {
    pub(super) fn new(pool: AddressPool) -> Self {
        Self {
            pool,
            leases: Leases::new(pool.slots),
            addresses: HashMap::new(),
            networks: BTreeMap::new(),
            vacant: Vec::new(),
            seats: 0,
        }
    }

    /// The addresses for clients.
    pub(super) const fn pool(&self) -> &AddressPool {
        &self.pool
    }

    /// The pool has more slots behind those that it had. True if that is so.
    pub(super) fn grow(&mut self, pool: AddressPool) -> bool {
        let grows = pool.slots > self.pool.slots;
        if grows {
            self.pool = pool;
            self.leases.grow(pool.slots);
        }
        grows
    }

    /// Takes the slots of addresses that lie in the pool since it has grown, and tells them.
    pub(super) fn note_slots(&mut self, holding: &mut Holding) -> Vec<(IpAddr, u32)> {
        let mut noted = Vec::new();
        for address in holding.place.addresses.iter() {
            if let Some(slot) = self.pool.slot_of(address)
                && !holding.slots.contains(&slot)
            {
                self.leases.take_named(slot);
                holding.slots.push(slot);
                noted.push((address, slot));
            }
        }
        noted
    }

    /// Keeps an address of the pool for whose file names it.
    pub(super) fn reserve(&mut self, address: IpAddr) {
        if let Some(slot) = self.pool.slot_of(address) {
            self.leases.reserve(slot);
        }
    }

    /// Notes what a name had before the server started. See [`Leases::remember`].
    pub(super) fn remember(&mut self, name: Text, slot: u32, fixed: bool) {
        self.leases.remember(name, slot, fixed);
    }

    /// Which slot of the pool is or was whose.
    pub(super) const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Keeps the addresses that a client's file names.
    pub(super) fn reserve_named(&mut self, profile: &ClientProfile) {
        for address in named(profile) {
            self.reserve(address);
        }
    }

    /// Who has an address that a client's file names, but for this one.
    pub(super) fn holder_of(
        &self,
        profile: &ClientProfile,
        but: Option<SessionAt>,
    ) -> Option<SessionAt> {
        let mut holders = named(profile).filter_map(|address| self.addresses.get(&address));
        holders.find(|holder| but != Some(**holder)).copied()
    }

    /// Has what a client was given not lead to it. The addresses stay its own.
    pub(super) fn lead_nowhere(
        &mut self,
        session: SessionAt,
        holding: &mut Holding,
        refused: &[IpNet],
    ) {
        let place = Arc::make_mut(&mut holding.place);
        place.networks.retain(|network| {
            let leads = !refused.contains(network);
            if !leads && self.networks.get(network) == Some(&session) {
                self.networks.remove(network);
            }
            leads
        });
        let addresses = place.addresses.iter();
        let astray = addresses.filter(|address| refused.contains(&IpNet::from(*address)));
        place.astray = astray.collect();
    }

    /// Gives a client its addresses, and tells which slots they take. Of the addresses that its file
    /// names none may have a holder.
    ///
    /// # Errors
    /// There is no address for it.
    pub(super) fn take_addresses(
        &mut self,
        session: SessionAt,
        name: Option<&Text>,
        profile: &ClientProfile,
    ) -> Result<(Addresses, Vec<u32>), AdmissionRefusal> {
        let (addresses, slots) = self.addresses_for(name, profile)?;
        for address in addresses.iter() {
            self.addresses.insert(address, session);
        }
        Ok((addresses, slots))
    }

    /// A seat that nobody has.
    pub(super) fn take_seat(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.seats += 1;
            self.seats - 1
        })
    }

    /// Leads a client's networks to it, as many as it may have. Returns who had which of them before.
    pub(super) fn route(
        &mut self,
        session: SessionAt,
        holding: &mut Holding,
        profile: &ClientProfile,
    ) -> Vec<(SessionAt, IpNet)> {
        let place = Arc::make_mut(&mut holding.place);
        let addresses = place.addresses.iter().count();
        let quota = (profile.routes_max as usize).saturating_sub(addresses);
        let mut dispossessed = Vec::new();
        for &network in &profile.networks {
            if place.networks.contains(&network) {
                continue;
            }
            if place.networks.len() >= quota {
                place.quota_exceeded = Some(profile.routes_max);
                break;
            }
            let known = self.networks.contains_key(&network);
            if !known && self.networks.len() >= INNER_PREFIXES_MAX {
                place.quota_exceeded = Some(INNER_PREFIXES_MAX as u32);
                break;
            }
            let former = self.networks.insert(network, session);
            dispossessed.extend(former.map(|former| (former, network)));
            place.networks.push(network);
        }
        place.hosts_max = quota.saturating_sub(place.networks.len());
        dispossessed
    }

    /// Takes back what a client had, except for its seat. Returns who still has an address of one of
    /// its slots: the kernel brought packets for both to one shard.
    pub(super) fn release(
        &mut self,
        session: SessionAt,
        holding: &Holding,
    ) -> Vec<(Steered, SessionAt)> {
        for slot in &holding.slots {
            self.leases.release(*slot);
        }
        for address in holding.place.addresses.iter() {
            self.addresses.remove(&address);
        }
        for network in &holding.place.networks {
            if self.networks.get(network) == Some(&session) {
                self.networks.remove(network);
            }
        }
        let shared = holding.slots.iter().filter_map(|slot| {
            let addresses = self.pool.addresses(*slot);
            let other = addresses.iter().find_map(|it| self.addresses.get(&it))?;
            Some((Steered::Slot(*slot), *other))
        });
        shared.collect()
    }

    /// Takes a seat back.
    pub(super) fn vacate(&mut self, seat: u32) {
        self.vacant.push(seat);
    }

    /// What the kernel is told of a client.
    pub(super) fn steered(&self, holding: &Holding) -> Vec<Steered> {
        let Place {
            addresses,
            networks,
            ..
        } = &*holding.place;
        let slots = holding.slots.iter().copied().map(Steered::Slot);
        let others = addresses
            .iter()
            .filter(|address| self.pool.slot_of(*address).is_none())
            .map(|address| Steered::Network(address.into()));
        let networks = networks.iter().copied().map(Steered::Network);
        slots.chain(others).chain(networks).collect()
    }

    /// Whether nobody has what the kernel was told of.
    pub(super) fn is_free(&self, what: Steered) -> bool {
        match what {
            Steered::Slot(slot) => !self.leases.is_taken(slot),
            Steered::Network(network) => {
                let single = network.prefix_len() == network.max_prefix_len();
                let address = single && self.addresses.contains_key(&network.addr());
                !address && !self.networks.contains_key(&network)
            }
        }
    }

    /// How many addresses have an owner, and how many networks.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.addresses.len(), self.networks.len())
    }

    /// Both addresses of a client, and the slots that it takes for them.
    fn addresses_for(
        &mut self,
        name: Option<&Text>,
        profile: &ClientProfile,
    ) -> Result<(Addresses, Vec<u32>), AdmissionRefusal> {
        let own = Addresses {
            v4: profile.v4.map(|(address, _)| address),
            v6: profile.v6.map(|v6| v6.address.addr()),
        };
        let lacks_v4 = own.v4.is_none() && self.pool.v4.is_some();
        let lacks_v6 = own.v6.is_none() && self.pool.v6.is_some();
        let mut slots = Vec::new();
        let mut pooled = Addresses { v4: None, v6: None };
        if lacks_v4 || lacks_v6 {
            let slot = self
                .partner(own, lacks_v6)
                .or_else(|| self.leases.take(name))
                .ok_or(AdmissionRefusal::PoolExhausted)?;
            pooled = self.pool.addresses(slot);
            slots.push(slot);
        }
        for slot in own.iter().filter_map(|address| self.pool.slot_of(address)) {
            if !slots.contains(&slot) {
                self.leases.take_named(slot);
                slots.push(slot);
            }
        }
        let addresses = Addresses {
            v4: own.v4.or(pooled.v4),
            v6: own.v6.or(pooled.v6),
        };
        match addresses.iter().next() {
            Some(_) => Ok((addresses, slots)),
            None => Err(AdmissionRefusal::NoAddress),
        }
    }

    /// The slot of an IPv4 address that a file names, for the IPv6 address that goes with it.
    fn partner(&mut self, own: Addresses, lacks_v6: bool) -> Option<u32> {
        let slot = self.pool.slot_of(own.v4.filter(|_| lacks_v6)?.into())?;
        let v6 = self.pool.addresses(slot).v6?;
        if self.addresses.contains_key(&v6.into()) {
            return None;
        }
        self.leases.take_named(slot);
        Some(slot)
    }
}

/// The addresses that a client's file names.
fn named(profile: &ClientProfile) -> impl Iterator<Item = IpAddr> {
    let v4 = profile.v4.map(|(address, _)| address.into());
    let v6 = profile.v6.map(|v6| v6.address.addr().into());
    v4.into_iter().chain(v6)
}
