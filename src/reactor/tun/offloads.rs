//! What a tun device does for many packets at once: asked for, and granted.

use std::io;
use std::os::fd::AsRawFd;

use tun_rs::SyncDevice;

use crate::reactor::tun::virtio::HEADER_SIZE;

/// The work on whole super-packets that a device takes off us, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOffloads {
    /// Reads of many TCP segments as one packet, and of packets whose checksum is still to be made.
    pub tso: bool,
    /// The same of UDP.
    pub uso: bool,
    /// Writes of many segments as one packet.
    pub merge: bool,
}

impl TunOffloads {
    /// Everything.
    pub const ALL: Self = Self {
        tso: true,
        uso: true,
        merge: true,
    };

    /// Whether any is asked for, so that each packet has a header before it.
    pub const fn any(self) -> bool {
        self.tso || self.uso || self.merge
    }
}

/// Agrees with the kernel about the header of an open device, and about what it puts into one packet.
/// Says which of `wanted` it does. All queues of a device have the same, and the last word counts.
pub(super) fn negotiate(device: &SyncDevice, wanted: TunOffloads) -> io::Result<TunOffloads> {
    // A device that was made to stay keeps what another process has said of its header.
    let size = HEADER_SIZE as libc::c_int;
    let little_endian: libc::c_int = 1;
    set_by_reference(device, libc::TUNSETVNETHDRSZ as _, &size)?;
    set_by_reference(device, libc::TUNSETVNETLE as _, &little_endian)?;
    let merge = wanted.merge;
    for offered in [
        wanted,
        TunOffloads {
            uso: false,
            ..wanted
        },
        TunOffloads {
            tso: false,
            ..wanted
        },
    ] {
        if set_offloads(device, flags(offered)).is_ok() {
            return Ok(offered);
        }
    }
    set_offloads(device, 0)?;
    Ok(TunOffloads {
        merge,
        ..TunOffloads::default()
    })
}

/// The kernel's flags, `TUN_F_*`.
fn flags(offloads: TunOffloads) -> libc::c_uint {
    let mut flags = 0;
    if offloads.tso {
        flags |= libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    }
    if offloads.uso {
        flags |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
    }
    if flags != 0 {
        flags |= libc::TUN_F_CSUM;
    }
    flags
}

fn set_offloads(device: &SyncDevice, flags: libc::c_uint) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the descriptor is open for as long as `device` is borrowed, and the argument of this
    // request is the number itself.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD as _, flags) };
    outcome(result)
}

fn set_by_reference(
    device: &SyncDevice,
    request: libc::Ioctl,
    value: &libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `device` is borrowed, and these requests read one
    // integer, which lives until the call returns.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, std::ptr::from_ref(value)) };
    outcome(result)
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
