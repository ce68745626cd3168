//! The tun device: made and configured here, read and written by a reactor.

mod address;
mod existing;
mod offloads;
#[cfg(test)]
mod tests;
pub(super) mod virtio;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::limits;
use crate::reactor::steering::forget_steering;
use crate::reactor::tun::existing::Existing;
pub use crate::reactor::tun::offloads::TunOffloads;

/// One queue of a tun device, not blocking. Its packets are IP packets; before each stands a header
/// if the device has offloads.
pub struct Tun {
    device: SyncDevice,
    name: String,
    has_header: bool,
    /// Whether nobody had made the device before.
    is_new: bool,
    offloads: TunOffloads,
}

/// How a device is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunConfig {
    /// The device's name; the next free `tunN` if absent. At most 15 bytes.
    pub name: Option<String>,
    /// The IPv4 address and the length of its prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// The other end of the device, if it is a line between two.
    pub ipv4_peer: Option<Ipv4Addr>,
    /// The IPv6 address and the length of its prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The largest packet; the system's default if absent.
    pub mtu: Option<u16>,
    /// Packets that wait in each queue of the device until they are read. If absent,
    /// [`TUN_QUEUE`](limits::TUN_QUEUE), or what a device has that was made before us.
    pub queue_length: Option<u32>,
    /// What the device is to do for many packets at once. What it does not do is done without.
    pub offloads: TunOffloads,
}

/// The step at which a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The system has no tun driver, or the container hides it.
    #[error(
        "there is no {DEVICE}: load the kernel module (modprobe tun), or give the container the device \
         (docker run --device {DEVICE})"
    )]
    NoDriver,
    /// The process may not make network devices.
    #[error(
        "not allowed to make the tun device {name}: the capability CAP_NET_ADMIN is missing (run as \
         root, or AmbientCapabilities=CAP_NET_ADMIN in the unit, or docker run --cap-add NET_ADMIN): \
         {source}"
    )]
    Forbidden {
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the device.
    #[error("the tun device {name} is in use by another process: {source}")]
    Busy {
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is a device of this name, and it is another kind.
    #[error(
        "the network device {name} exists and is no tun device: choose another name, or remove it \
         (ip link delete {name})"
    )]
    NoTun {
        /// The device.
        name: String,
    },
    /// There is a device of this name, with one queue, and several are wanted.
    #[error(
        "the tun device {name} exists and can have one queue only, while {queues} are wanted: remove it \
         (ip link delete {name}) and it will be made anew, or make it with several (ip tuntap add \
         dev {name} mode tun multi_queue), or use one shard"
    )]
    SingleQueue {
        /// The device.
        name: String,
        /// Queues that were asked for.
        queues: u16,
    },
    /// A further queue was refused.
    #[error("cannot open queue {number} of the tun device {name}: {source}")]
    Queue {
        /// The device.
        name: String,
        /// The queue, counted from 0.
        number: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The device was not made.
    #[error("cannot make the tun device {name}: {source}")]
    Create {
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A property was refused; the device is removed again.
    #[error("cannot set the {property} of {name}: {source}")]
    Configure {
        /// The device.
        name: String,
        /// What was to be set.
        property: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl TunError {
    /// True when another process has the device.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

impl Tun {
    /// Makes a device, gives it its addresses and brings it up. It goes away with its last queue,
    /// unless somebody made it before us, to stay.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn create(config: &TunConfig) -> Result<Self, TunError> {
        let tun = Self::open(config, 1)?;
        tun.configure(config)?;
        Ok(tun)
    }

    /// Makes a device as [`create`](Self::create) does, with `queues` queues: a shard each, in this
    /// order. They are one whole: when one is closed, the kernel renumbers the others.
    ///
    /// # Errors
    ///
    /// The step that the system refused. A device that somebody has open is refused although it could
    /// be joined: two servers would share its packets.
    pub fn create_set(config: &TunConfig, queues: u16) -> Result<Vec<Self>, TunError> {
        let mut set = vec![Self::open(config, queues)?];
        for number in 1..queues {
            let queue = set[0].another(number)?;
            set.push(queue);
        }
        // Only now do packets come, which the further queues find as they were agreed upon.
        set[0].agree(config)?;
        set[0].configure(config)?;
        Ok(set)
    }

    /// The first queue of a device that is not up yet.
    fn open(config: &TunConfig, queues: u16) -> Result<Self, TunError> {
        // Looked at first: the library below would make the device node, which is not ours to do.
        if !Path::new(DEVICE).exists() {
            return Err(TunError::NoDriver);
        }
        let asked = config.name.clone().unwrap_or_else(|| NEXT_FREE.to_owned());
        let existing = find(&asked)?;
        let is_new = existing.is_none();
        let multi_queue = match existing {
            Some(existing) => joinable(&asked, existing, queues)?,
            None => queues > 1,
        };
        let mut tun = Self::build(&asked, config, multi_queue)?;
        tun.is_new = is_new;
        tun.is_ours_alone()?;
        // A device that was made to stay keeps the program of a process that is gone. A kernel that
        // refuses has none.
        let _none_was_there = forget_steering(&tun);
        tun.offloads = tun.agree(config)?;
        Ok(tun)
    }

    /// With a header before each packet if there are to be offloads and the kernel has it.
    fn build(asked: &str, config: &TunConfig, multi_queue: bool) -> Result<Self, TunError> {
        let build = |header| {
            let builder = builder(asked, config, multi_queue).offload(header);
            builder.build_sync().map(|device| (device, header))
        };
        let built = match config.offloads.any() {
            true => build(true).or_else(|_| build(false)),
            false => build(false),
        };
        let (device, has_header) =
            built.map_err(|source| refused(asked.replace("%d", ""), source))?;
        let name = device.name().map_err(|source| TunError::Create {
            name: asked.to_owned(),
            source,
        })?;
        Ok(Self {
            device,
            name,
            has_header,
            is_new: true,
            offloads: TunOffloads::default(),
        })
    }

    /// What the device does of what is wanted.
    fn agree(&self, config: &TunConfig) -> Result<TunOffloads, TunError> {
        if !self.has_header {
            return Ok(TunOffloads::default());
        }
        offloads::negotiate(&self.device, config.offloads).map_err(|source| TunError::Configure {
            name: self.name.clone(),
            property: "offloads",
            source,
        })
    }

    /// A device that nobody has configured, and which goes with this.
    pub(super) fn bare(offloads: TunOffloads) -> Result<Self, TunError> {
        let config = TunConfig {
            offloads,
            ..TunConfig::default()
        };
        let mut tun = Self::build(NEXT_FREE, &config, true)?;
        tun.offloads = tun.agree(&config)?;
        Ok(tun)
    }

    /// One more queue of the same device, which stays as it is.
    fn another(&self, number: u16) -> Result<Self, TunError> {
        let opened = self.device.try_clone().and_then(|device| {
            device.set_nonblocking(true)?;
            Ok(device)
        });
        let device = opened.map_err(|source| TunError::Queue {
            name: self.name.clone(),
            number,
            source,
        })?;
        Ok(Self {
            device,
            name: self.name.clone(),
            has_header: self.has_header,
            is_new: self.is_new,
            offloads: self.offloads,
        })
    }

    /// Looks again, now that we have a queue: of two servers that saw the same device free, at most one
    /// finds itself alone.
    fn is_ours_alone(&self) -> Result<(), TunError> {
        match find(&self.name)? {
            Some(existing) if existing.queues != 1 => Err(in_use(self.name.clone())),
            _ => Ok(()),
        }
    }

    /// The name of the device, with the number that the system chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the device does for many packets at once.
    pub fn offloads(&self) -> TunOffloads {
        self.offloads
    }

    /// Whether a header stands before each packet.
    pub(super) fn has_header(&self) -> bool {
        self.has_header
    }

    fn configure(&self, config: &TunConfig) -> Result<(), TunError> {
        let device = &self.device;
        let step = |property, result: io::Result<()>| {
            result.map_err(|source| TunError::Configure {
                name: self.name.clone(),
                property,
                source,
            })
        };
        step("non-blocking mode", device.set_nonblocking(true))?;
        if let Some(mtu) = config.mtu {
            step("MTU", device.set_mtu(mtu))?;
        }
        let length = match self.is_new {
            true => config.queue_length.or(Some(limits::TUN_QUEUE)),
            false => config.queue_length,
        };
        if let Some(length) = length {
            step("queue length", device.set_tx_queue_len(length))?;
        }
        step("state to up", device.enabled(true))?;
        // To a device that is not up the kernel would give it some time later.
        if let Some((ip, prefix)) = config.ipv6 {
            let added = device
                .if_index()
                .and_then(|index| address::add(index, ip, prefix));
            step("IPv6 address", added)?;
        }
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the device owns the descriptor and closes it only when it is dropped, which the
        // borrow of `self` rules out.
        unsafe { BorrowedFd::borrow_raw(self.device.as_raw_fd()) }
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tun({})", self.name)
    }
}

fn find(name: &str) -> Result<Option<Existing>, TunError> {
    existing::find(name).map_err(|source| TunError::Create {
        name: name.to_owned(),
        source,
    })
}

/// Whether a device that exists is to be opened as one with several queues.
fn joinable(name: &str, existing: Existing, queues: u16) -> Result<bool, TunError> {
    let name = || name.to_owned();
    if !existing.is_tun {
        return Err(TunError::NoTun { name: name() });
    }
    if existing.queues > 0 {
        return Err(in_use(name()));
    }
    if queues > 1 && !existing.multi_queue {
        return Err(TunError::SingleQueue {
            name: name(),
            queues,
        });
    }
    Ok(existing.multi_queue)
}

fn in_use(name: String) -> TunError {
    TunError::Busy {
        name,
        source: io::Error::from_raw_os_error(libc::EBUSY),
    }
}

fn builder(name: &str, config: &TunConfig, multi_queue: bool) -> DeviceBuilder {
    let builder = DeviceBuilder::new()
        .name(name)
        .packet_information(false)
        .multi_queue(multi_queue)
        .enable(false);
    match config.ipv4 {
        Some((address, prefix)) => builder.ipv4(address, prefix, config.ipv4_peer),
        None => builder,
    }
}

fn refused(name: String, source: io::Error) -> TunError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::Forbidden { name, source },
        Some(libc::EBUSY) => TunError::Busy { name, source },
        Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => TunError::NoDriver,
        _ => TunError::Create { name, source },
    }
}

/// Where the driver is opened.
pub(super) const DEVICE: &str = "/dev/net/tun";

/// The kernel puts the first free number in.
const NEXT_FREE: &str = "tun%d";
