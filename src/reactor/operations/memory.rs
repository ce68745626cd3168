//! Everything that the kernel may touch, in one place with one end.

use std::io;
use std::ops::Range;

use crate::limits::{self, TUN_HEADER, TUN_OFFSET};
use crate::packet::Buffer;
use crate::reactor::completion::{SocketId, TunId};
use crate::reactor::in_flight::InFlight;
use crate::reactor::operations::ReactorConfig;
use crate::reactor::operations::sockets::Sockets;
use crate::reactor::provided::Provided;
use crate::reactor::receive::receive_header;
use crate::reactor::ring::{Ring, RingError};
use crate::reactor::send::SendSlots;
use crate::reactor::tun::Tun;
use crate::reactor::write::{Write, Writes};

/// What operations in flight point to. Dropped when there are none, else never.
pub(super) struct Memory {
    pub(super) in_flight: InFlight<Operation>,
    pub(super) slots: SendSlots,
    pub(super) writes: Writes,
    pub(super) receive: Provided,
    pub(super) tun_read: Provided,
    /// The header that all receives share; a vector so that it has a place of its own.
    pub(super) receive_header: Vec<libc::msghdr>,
    /// Where the kernel writes the count of wake-ups.
    pub(super) wake_count: Vec<u64>,
    pub(super) sockets: Sockets,
    pub(super) tuns: Vec<Source>,
}

/// A tun queue and how it is read.
pub(super) struct Source {
    pub(super) device: Tun,
    pub(super) state: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// An operation is in flight.
    Armed,
    /// None is, since it ended: an empty datagram, an error, no buffer. The next turn begins it
    /// again if there is a buffer.
    Idle,
    /// It failed for a reason that passes, or has taken one step, and is begun again when the owner says so.
    Resting,
    /// It failed for good, or has come to its end.
    Lost,
}

#[derive(Debug)]
pub(super) enum Operation {
    Wake,
    Cancel,
    Receive(SocketId),
    ReceiveStream(SocketId),
    Accept(SocketId),
    AwaitRoom(SocketId),
    CancelSocket(SocketId),
    ReadTun(TunId),
    Send {
        socket: SocketId,
        token: u64,
        segments: usize,
        range: Range<usize>,
        buffer: Buffer,
    },
    WriteTun {
        tun: TunId,
        segments: u32,
        header: usize,
        write: Write,
    },
}

impl Memory {
    /// Room for what `config` names; registers the rings of buffers.
    pub(super) fn new(config: &ReactorConfig, ring: &Ring) -> Result<Self, RingError> {
        let operations = config.operations();
        Ok(Self {
            in_flight: InFlight::new(u32::try_from(operations).unwrap_or(u32::MAX)),
            slots: SendSlots::new(operations),
            writes: Writes::new(config.tun_writes),
            receive: Provided::register(ring, RECEIVE_GROUP, config.receive_buffers, 0)?,
            tun_read: Provided::register(ring, TUN_GROUP, config.tun_buffers, TUN_READ_AT)?,
            receive_header: vec![receive_header()],
            wake_count: vec![0; limits::WAKE_UPS],
            sockets: Sockets::new(config.sockets, config.streams),
            tuns: Vec::with_capacity(config.tun_queues),
        })
    }

    /// Takes the rings of buffers back.
    pub(super) fn unregister(&self, ring: &Ring) -> io::Result<()> {
        self.receive.unregister(ring)?;
        self.tun_read.unregister(ring)
    }
}

impl Operation {
    /// Where its payload stands; nowhere if it has none.
    pub(super) fn payload(&mut self, range: &Range<usize>) -> *mut u8 {
        match self {
            Self::Send { buffer, .. } => buffer
                .bytes_mut()
                .get_mut(range.clone())
                .map_or(std::ptr::null_mut(), <[u8]>::as_mut_ptr),
            _ => std::ptr::null_mut(),
        }
    }
}

/// Where the kernel begins to write what it reads from a tun device, so that the packet stands at
/// [`TUN_OFFSET`] after its header.
pub(super) const TUN_READ_AT: usize = TUN_OFFSET - TUN_HEADER;
/// The kernel's number for the ring of receive buffers.
const RECEIVE_GROUP: u16 = 0;
/// The kernel's number for the ring of tun buffers.
const TUN_GROUP: u16 = 1;
