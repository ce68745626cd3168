//! The tun device: made and configured here, read and written by a reactor.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use tun_rs::{DeviceBuilder, SyncDevice};

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
    /// Whether the device may have several queues.
    pub multi_queue: bool,
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
    /// Makes a device, gives it its addresses and brings it up. It goes away with its last queue.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn create(config: &TunConfig) -> Result<Self, TunError> {
        // Looked at first: the library below would make the device node, which is not ours to do.
        if !Path::new(DEVICE).exists() {
            return Err(TunError::NoDriver);
        }
        let asked = config.name.clone().unwrap_or_else(|| NEXT_FREE.to_owned());
        let device = builder(&asked, config)
            .build_sync()
            .map_err(|source| refused(asked.replace("%d", ""), source))?;
        let name = device.name().map_err(|source| TunError::Create {
            name: asked,
            source,
        })?;
        let tun = Self { device, name };
        tun.configure(config)?;
        Ok(tun)
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

fn builder(name: &str, config: &TunConfig) -> DeviceBuilder {
    let builder = DeviceBuilder::new()
        .name(name)
        .packet_information(false)
        .multi_queue(config.multi_queue)
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
                multi_queue: false,
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
    fn queues_of_one_device_share_its_name() {
        testing::in_own_network(|| {
            let config = TunConfig {
                name: Some("ringway-q".to_owned()),
                multi_queue: true,
                ..TunConfig::default()
            };
            let first = Tun::create(&config).unwrap();
            let second = Tun::create(&config).unwrap();
            assert_eq!(first.name(), second.name());
            drop(first);
            assert!(testing::run("ip", &["link"]).contains("ringway-q"));
        });
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
