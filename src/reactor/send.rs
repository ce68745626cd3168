//! What the kernel reads of a send besides the payload: one slot for each operation, allocated once.

use std::cell::UnsafeCell;
use std::mem;

use crate::packet::TrafficClass;
use crate::reactor::address::Name;
use crate::reactor::completion::{Outgoing, Refused};
use crate::reactor::control::Control;
use crate::reactor::udp::{Family, UdpSocket};

/// Slots that stay where they are; each belongs to the kernel from its submission to its completion.
pub(super) struct SendSlots {
    slots: Vec<UnsafeCell<SendSlot>>,
}

struct SendSlot {
    header: libc::msghdr,
    payload: libc::iovec,
    envelope: Envelope,
}

/// The addresses of a send in the kernel's form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) name: Name,
    pub(super) control: Control,
}

impl SendSlots {
    pub(super) fn new(count: usize) -> Self {
        Self {
            slots: (0..count)
                .map(|_| UnsafeCell::new(SendSlot::vacant()))
                .collect(),
        }
    }

    /// Fills a slot and says where its header stands.
    ///
    /// # Safety
    ///
    /// No operation that uses the slot is in flight.
    pub(super) unsafe fn fill(
        &self,
        index: usize,
        envelope: Envelope,
        payload: *mut u8,
        length: usize,
    ) -> Option<*const libc::msghdr> {
        let slot = self.slots.get(index)?.get();
        // SAFETY: the pointer comes from a cell of ours; the caller vouches that the kernel is done
        // with it, we hand out no references, and the type is used by one thread only.
        let slot = unsafe { &mut *slot };
        slot.envelope = envelope;
        slot.payload.iov_base = payload.cast();
        slot.payload.iov_len = length;
        let Envelope { name, control } = &mut slot.envelope;
        slot.header.msg_namelen = name.length;
        slot.header.msg_name = match name.length {
            0 => std::ptr::null_mut(),
            _ => name.bytes.as_mut_ptr().cast(),
        };
        slot.header.msg_controllen = control.length as _;
        slot.header.msg_control = match control.length {
            0 => std::ptr::null_mut(),
            _ => control.bytes.as_mut_ptr().cast(),
        };
        slot.header.msg_iov = &raw mut slot.payload;
        slot.header.msg_iovlen = 1;
        Some(&raw const slot.header)
    }
}

impl SendSlot {
    fn vacant() -> Self {
        Self {
            header: empty_header(),
            payload: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            envelope: Envelope {
                name: Name::EMPTY,
                control: Control::EMPTY,
            },
        }
    }
}

/// A header that names nothing.
pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: the structure consists of integers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

/// Checks a send against its socket and writes its addresses down.
pub(super) fn envelope(
    outgoing: &Outgoing,
    socket: &UdpSocket,
    buffer_size: usize,
) -> Result<Envelope, Refused> {
    let range = &outgoing.range;
    if range.is_empty() || range.end > buffer_size || outgoing.segment_size == 0 {
        return Err(Refused::Range);
    }
    let v4 = socket.family() == Family::V4;
    let name = match outgoing.to {
        None if socket.is_connected() => Name::EMPTY,
        None => return Err(Refused::Address),
        Some(to) if v4 => Name::for_v4(to).ok_or(Refused::Address)?,
        Some(to) if socket.family() == Family::V6 && to.is_ipv4() => return Err(Refused::Address),
        Some(to) => Name::for_v6(to),
    };
    let mut control = Control::EMPTY;
    match outgoing.local {
        None => {}
        Some(local) if v4 => control.source_v4(local).ok_or(Refused::Address)?,
        Some(local) => control.source_v6(local),
    }
    if outgoing.class != TrafficClass::DEFAULT {
        // What a socket of IPv6 sends to an address of IPv4 has a header of IPv4.
        match v4 || outgoing.to.is_some_and(|to| to.is_ipv4()) {
            true => control.class_v4(outgoing.class),
            false => control.class_v6(outgoing.class),
        }
    }
    if range.len() > outgoing.segment_size {
        let size = u16::try_from(outgoing.segment_size).map_err(|_| Refused::Range)?;
        control.segment(size);
    }
    Ok(Envelope { name, control })
}

/// Checks a send by a stream, which needs no address.
pub(super) fn stream_envelope(
    outgoing: &Outgoing,
    buffer_size: usize,
) -> Result<Envelope, Refused> {
    let range = &outgoing.range;
    if range.is_empty() || range.end > buffer_size {
        return Err(Refused::Range);
    }
    Ok(Envelope {
        name: Name::EMPTY,
        control: Control::EMPTY,
    })
}
