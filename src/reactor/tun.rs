//! The tun device: made and configured here, read and written by a reactor.

mod existing;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::reactor::steering::forget_steering;
use crate::reactor::tun::existing::Existing;

/// One queue of a tun device, not blocking. Its packets are IP packets with nothing before them.
pub struct Tun {
    device: SyncDevice,
    name: String,
}

/// How a device is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunConfig {
    /// The device's name; the next free `tunN` if absent. At most 15 bytes.
    pub name: Option<String>,
    /// The IPv4 address and the length of its prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// The IPv6 address and the length of its prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The largest packet; the system's default if absent.
    pub mtu: Option<u16>,
    /// Packets that wait in the device until they are read; the system's default if absent.
    pub queue_length: Option<u32>,
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
        Self::create_queue(config, 1)
    }

    /// Makes a device as [`create`](Self::create) does, with `queues` queues: a shard each, in this
    /// order. They are one whole: when one is closed, the kernel renumbers the others.
    ///
    /// # Errors
    ///
    /// The step that the system refused. A device that somebody has open is refused although it could
    /// be joined: two servers would share its packets.
    pub fn create_set(config: &TunConfig, queues: u16) -> Result<Vec<Self>, TunError> {
        let mut set = vec![Self::create_queue(config, queues)?];
        for number in 1..queues {
            let queue = set[0].another(number)?;
            set.push(queue);
        }
        Ok(set)
    }

    fn create_queue(config: &TunConfig, queues: u16) -> Result<Self, TunError> {
        // Looked at first: the library below would make the device node, which is not ours to do.
        if !Path::new(DEVICE).exists() {
            return Err(TunError::NoDriver);
        }
        let asked = config.name.clone().unwrap_or_else(|| NEXT_FREE.to_owned());
        let multi_queue = match find(&asked)? {
            Some(existing) => joinable(&asked, existing, queues)?,
            None => queues > 1,
        };
        let device = builder(&asked, config, multi_queue)
            .build_sync()
            .map_err(|source| refused(asked.replace("%d", ""), source))?;
        let name = device.name().map_err(|source| TunError::Create {
            name: asked,
            source,
        })?;
        let tun = Self { device, name };
        tun.is_ours_alone()?;
        // A device that was made to stay keeps the program of a process that is gone. A kernel that
        // refuses has none.
        let _none_was_there = forget_steering(&tun);
        tun.configure(config)?;
        Ok(tun)
    }

    /// A device that nobody has configured, and which goes with this.
    pub(super) fn bare() -> Result<Self, TunError> {
        let config = TunConfig::default();
        let device = builder(NEXT_FREE, &config, true)
            .build_sync()
            .map_err(|source| refused(NEXT_FREE.replace("%d", ""), source))?;
        Ok(Self {
            device,
            name: NEXT_FREE.to_owned(),
        })
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
        if let Some(length) = config.queue_length {
            step("queue length", device.set_tx_queue_len(length))?;
        }
        if let Some((address, prefix)) = config.ipv6 {
            step("IPv6 address", device.add_address_v6(address, prefix))?;
        }
        step("state to up", device.enabled(true))
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
        Some((address, prefix)) => builder.ipv4(address, prefix, None),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::testing;

    #[test]
    fn a_device_is_what_was_asked_for() {
        testing::in_own_network(|| {
            let tun = Tun::create(&TunConfig {
                name: Some("ringway-t".to_owned()),
                ipv4: Some(("10.77.0.1".parse().unwrap(), 24)),
                ipv6: Some(("fd77::1".parse().unwrap(), 64)),
                mtu: Some(1400),
                queue_length: Some(333),
            })
            .unwrap();
            assert_eq!(tun.name(), "ringway-t");
            let shown = testing::run("ip", &["addr", "show", "dev", "ringway-t"]);
            for part in [
                "mtu 1400",
                "qlen 333",
                "inet 10.77.0.1/24",
                "inet6 fd77::1/64",
                ",UP",
            ] {
                assert!(shown.contains(part), "{part} is missing in {shown}");
            }
            let routes = testing::run("ip", &["route"]);
            assert!(routes.contains("10.77.0.0/24 dev ringway-t"), "{routes}");

            let again = Tun::create(&TunConfig {
                name: Some("ringway-t".to_owned()),
                ..TunConfig::default()
            });
            assert!(matches!(again, Err(TunError::Busy { .. })), "{again:?}");
            drop(tun);
            testing::eventually(|| !testing::run("ip", &["link"]).contains("ringway-t"));
        });
    }

    #[test]
    fn the_system_numbers_devices_without_a_name() {
        testing::in_own_network(|| {
            let first = Tun::create(&TunConfig::default()).unwrap();
            let second = Tun::create(&TunConfig::default()).unwrap();
            assert_eq!((first.name(), second.name()), ("tun0", "tun1"));
        });
    }

    #[test]
    fn queues_of_one_device_are_opened_in_order() {
        testing::in_own_network(|| {
            let config = named("ringway-q");
            let set = Tun::create_set(&config, 4).unwrap();
            assert_eq!(set.len(), 4);
            assert!(set.iter().all(|queue| queue.name() == "ringway-q"));
            assert_eq!(existing::find("ringway-q").unwrap().unwrap().queues, 4);
            for queue in &set {
                // The system may say something of its own accord.
                let mut read = || queue.device.recv(&mut [0; 2000]);
                let error = std::iter::repeat_with(&mut read).find_map(Result::err);
                assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
            }
            drop(set);
            testing::eventually(|| !testing::run("ip", &["link"]).contains("ringway-q"));
        });
    }

    #[test]
    fn one_queue_makes_a_plain_device() {
        testing::in_own_network(|| {
            let set = Tun::create_set(&named("ringway-q"), 1).unwrap();
            assert_eq!(set.len(), 1);
            assert!(!existing::find("ringway-q").unwrap().unwrap().multi_queue);
        });
    }

    #[test]
    fn a_device_that_another_server_has_is_in_use_with_any_number_of_queues() {
        testing::in_own_network(|| {
            let config = named("ringway-q");
            for (theirs, ours) in [(1, 1), (1, 4), (4, 1), (4, 4)] {
                let first = Tun::create_set(&config, theirs).unwrap();
                let error = Tun::create_set(&config, ours).unwrap_err();
                assert!(error.is_in_use(), "{theirs} {ours}: {error}");
                drop(first);
                testing::eventually(|| existing::find("ringway-q").unwrap().is_none());
            }
        });
    }

    #[test]
    fn a_device_that_was_made_to_stay_is_taken_if_it_has_room() {
        testing::in_own_network(|| {
            let tuntap = |name, more: &[&str]| {
                let words = [&["tuntap", "add", "dev", name, "mode"], more].concat();
                testing::run("ip", &words);
            };
            tuntap("single", &["tun"]);
            tuntap("many", &["tun", "multi_queue"]);
            tuntap("bridged", &["tap"]);
            for (name, queues, expected) in [
                ("single", 1, ""),
                ("single", 2, "can have one queue only, while 2 are wanted"),
                ("many", 1, ""),
                ("many", 4, ""),
                ("many", 1, ""),
                ("bridged", 1, "is no tun device"),
                ("lo", 1, "is no tun device"),
            ] {
                // A process that another test starts has a copy of our queues for a moment.
                let is_open = || {
                    existing::find(name)
                        .unwrap()
                        .is_some_and(|it| it.queues > 0)
                };
                testing::eventually(|| !is_open());
                let result = Tun::create_set(&named(name), queues);
                let text = result.map_or_else(|error| error.to_string(), |_| String::new());
                assert_eq!(text.is_empty(), expected.is_empty(), "{name}: {text}");
                assert!(text.contains(expected), "{name}: {text}");
            }
            assert!(existing::find("many").unwrap().is_some(), "it was to stay");
        });
    }

    fn named(name: &str) -> TunConfig {
        TunConfig {
            name: Some(name.to_owned()),
            ..TunConfig::default()
        }
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        testing::in_own_network(|| {
            let long = "a".repeat(16);
            let result = Tun::create(&TunConfig {
                name: Some(long.clone()),
                ..TunConfig::default()
            });
            assert!(matches!(&result, Err(TunError::Create { name, .. }) if *name == long));
        });
    }

    #[test]
    fn a_process_without_the_capability_is_told_its_name() {
        testing::in_own_network(|| {
            testing::drop_capability(testing::CAP_NET_ADMIN);
            let error = Tun::create(&TunConfig::default()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, TunError::Forbidden { .. }), "{text}");
            assert!(text.contains("CAP_NET_ADMIN"), "{text}");
        });
    }
}
