//! The eBPF program on the tun device, and the maps that it looks into.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use ipnet::IpNet;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::limits::{ADDRESS_SLOTS_MAX, INNER_PREFIXES_MAX};
use crate::reactor::steering::bpf::{self, Kind, Map};
use crate::reactor::steering::program::{Layout, Maps, program};
use crate::reactor::steering::{SteeringError, denied};
use crate::reactor::tun::Tun;

/// Tells the kernel which shard has an inner address, for the choice of the queue on which it hands
/// over packets to that address. Belongs to the node thread.
///
/// To make it, `CAP_BPF` is needed (`CAP_SYS_ADMIN` has it too), whatever
/// `kernel.unprivileged_bpf_disabled` says: maps of prefixes are for nobody else. To attach it, the open
/// device is enough. To change what is in the maps, the kernels that this program runs on ask for no
/// capability, so all of it goes on when privileges have been dropped; a system call filter in front
/// can refuse it still, which [`can_update_without_capabilities`] finds out.
#[derive(Debug)]
pub struct TunSteering {
    v4: Family,
    v6: Family,
    slots: u32,
    program: OwnedFd,
}

#[derive(Debug)]
struct Family {
    pool: Map,
    prefixes: Map,
}

impl TunSteering {
    /// Maps in which nobody has an address, and the program for a device with a queue for each of `shards`
    /// shards (none counts as one). The pool has `slots` addresses of each family that begins somewhere, of
    /// IPv4 blocks of addresses: two to the power of `v4_block_bits`. Of an IPv6 pool, addresses that differ from its first in the first 64 bits are not looked for.
    ///
    /// # Errors
    ///
    /// The kernel refuses a map or the program; the text says what is missing.
    pub fn new(
        v4_first: Option<Ipv4Addr>,
        v4_block_bits: u8,
        v6_first: Option<Ipv6Addr>,
        slots: u32,
        shards: u16,
    ) -> Result<Self, SteeringError> {
        let slots = slots.min(ADDRESS_SLOTS_MAX);
        let v4 = Family::new(slots, size_of::<Ipv4Addr>())?;
        let v6 = Family::new(slots, size_of::<Ipv6Addr>())?;
        let slots_from = |begins: bool| if begins { slots.cast_signed() } else { 0 };
        let layout = Layout {
            v4: v4.maps(),
            v6: v6.maps(),
            v4_slots: slots_from(v4_first.is_some()),
            v4_first: v4_first.unwrap_or(Ipv4Addr::UNSPECIFIED),
            v4_block_bits,
            v6_slots: slots_from(v6_first.is_some()),
            v6_first: v6_first.unwrap_or(Ipv6Addr::UNSPECIFIED),
            shards: shards.max(1),
        };
        let program = bpf::load(&program(&layout)).map_err(|refused| {
            let verdict = refused.verdict;
            denied(refused.error, |source| SteeringError::Program {
                source,
                verdict,
            })
        })?;
        Ok(Self {
            v4,
            v6,
            slots,
            program,
        })
    }

    /// How many addresses of a pool it knows by their slots; others are prefixes.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// From now on the device chooses its queues so: with the number of a shard in the order in which they
    /// were opened.
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel too old. The kernel then goes on choosing.
    pub fn attach(&self, tun: &Tun) -> Result<(), SteeringError> {
        choose_queues_by(tun, self.program.as_raw_fd()).map_err(SteeringError::Attach)
    }

    /// Gives a slot of the pool to a shard, in both families.
    ///
    /// # Errors
    ///
    /// There is no such slot, or the kernel refuses.
    pub fn assign_slot(&self, slot: u32, shard: u16) -> Result<(), SteeringError> {
        self.set_slot(slot, owned_by(shard))
    }

    /// Takes a slot back: it is nobody's.
    ///
    /// # Errors
    ///
    /// There is no such slot, or the kernel refuses.
    pub fn clear_slot(&self, slot: u32) -> Result<(), SteeringError> {
        self.set_slot(slot, NOBODY)
    }

    /// Gives what is not of the pool to a shard: a route behind a client, or a single address.
    ///
    /// # Errors
    ///
    /// There are [`INNER_PREFIXES_MAX`] of a family already, or the kernel refuses.
    pub fn add_prefix(&self, prefix: IpNet, shard: u16) -> Result<(), SteeringError> {
        let (map, key) = self.prefix(prefix);
        map.update(&key, owned_by(shard))
            .map_err(SteeringError::Update)
    }

    /// Takes a prefix back; one that nobody has stays so.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn remove_prefix(&self, prefix: IpNet) -> Result<(), SteeringError> {
        let (map, key) = self.prefix(prefix);
        match map.delete(&key) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(SteeringError::Update(error))
            }
            _ => Ok(()),
        }
    }

    fn set_slot(&self, slot: u32, value: u32) -> Result<(), SteeringError> {
        if slot >= self.slots {
            return Err(SteeringError::Slot {
                slot,
                slots: self.slots,
            });
        }
        let key = slot.to_ne_bytes();
        for family in [&self.v4, &self.v6] {
            family
                .pool
                .update(&key, value)
                .map_err(SteeringError::Update)?;
        }
        Ok(())
    }

    fn prefix(&self, prefix: IpNet) -> (&Map, Vec<u8>) {
        let prefix = prefix.trunc();
        let mut key = u32::from(prefix.prefix_len()).to_ne_bytes().to_vec();
        match prefix {
            IpNet::V4(prefix) => {
                key.extend(prefix.addr().octets());
                (&self.v4.prefixes, key)
            }
            IpNet::V6(prefix) => {
                key.extend(prefix.addr().octets());
                (&self.v6.prefixes, key)
            }
        }
    }
}

impl Family {
    fn new(slots: u32, address: usize) -> Result<Self, SteeringError> {
        let refused = |source| denied(source, SteeringError::Map);
        // A map has at least one entry.
        let pool = Map::create(Kind::Array, slots.max(1)).map_err(refused)?;
        let entries = u32::try_from(INNER_PREFIXES_MAX).unwrap_or(u32::MAX);
        let prefixes = Map::create(Kind::Prefixes(address), entries).map_err(refused)?;
        Ok(Self { pool, prefixes })
    }

    fn maps(&self) -> Maps {
        Maps {
            pool: self.pool.descriptor(),
            prefixes: self.prefixes.descriptor(),
        }
    }
}

/// Leaves the choice of queues to the kernel: it learns from what is written to a queue which flows
/// belong there. A device that was made to stay keeps the program of a process that is gone.
///
/// # Errors
///
/// The device is gone, or the kernel too old to have a program there.
pub(in crate::reactor) fn forget_steering(tun: &Tun) -> io::Result<()> {
    choose_queues_by(tun, -1)
}

/// Whether the maps can be changed by a process that has given up all capabilities, found by trying
/// it on a thread that has none, on a map of its own. Call it while `CAP_BPF` is there.
///
/// # Errors
///
/// There is no map to try it on.
pub fn can_update_without_capabilities() -> Result<bool, SteeringError> {
    let map = Map::create(Kind::Prefixes(size_of::<Ipv4Addr>()), 1)
        .map_err(|source| denied(source, SteeringError::Map))?;
    let attempt = || -> io::Result<()> {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none)?;
        map.update(&[0; 8], NOBODY)
    };
    let result = std::thread::scope(|scope| scope.spawn(attempt).join());
    Ok(matches!(result, Ok(Ok(()))))
}

fn choose_queues_by(tun: &Tun, program: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the device is borrowed, and the kernel reads one
    // integer, which lives until the call returns.
    let result = unsafe {
        libc::ioctl(
            tun.as_fd().as_raw_fd(),
            libc::TUNSETSTEERINGEBPF,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What stands in a map for a shard.
fn owned_by(shard: u16) -> u32 {
    u32::from(shard) + 1
}

/// What stands there for none; what an array begins with.
const NOBODY: u32 = 0;

#[cfg(test)]
mod tests;
