//! What goes into a reactor and what comes out of it.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use crate::packet::{Buffer, LocalAddress, Offload, TrafficClass};
use crate::reactor::tcp::TcpStream;

/// Something that the kernel finished.
#[derive(Debug)]
pub enum Completion {
    /// A datagram, or several equal ones. The buffer goes back with
    /// [`Reactor::return_receive_buffer`](super::Reactor::return_receive_buffer), it or another.
    Datagram(Datagram),
    /// A send is done, well or not; the buffer is free.
    Sent(Sent),
    /// A packet that the system routed to the tun device. The buffer goes back with
    /// [`Reactor::return_tun_buffer`](super::Reactor::return_tun_buffer), it or another.
    TunPacket {
        /// The queue it was read from.
        tun: TunId,
        /// Holds the packet.
        buffer: Buffer,
        /// Where in the buffer.
        range: Range<usize>,
        /// What is left to do on it.
        offload: Offload,
    },
    /// A write to the tun device is done, well or not.
    TunWritten {
        /// The queue it was written to.
        tun: TunId,
        /// How many packets had been merged into the one that was written.
        segments: u32,
        /// Bytes of the packet. `WouldBlock`: the device takes no more now; the packet is dropped.
        result: io::Result<usize>,
        /// The buffer, when this was the last of its writes.
        buffer: Option<Buffer>,
    },
    /// Somebody has connected to a listener.
    Accepted {
        /// The listener.
        listener: SocketId,
        /// The connection, which is nowhere yet.
        stream: TcpStream,
    },
    /// A listener accepts nobody until [`Reactor::accept_again`](super::Reactor::accept_again).
    AcceptFailed {
        /// The listener.
        listener: SocketId,
        /// What the system lacks.
        error: io::Error,
    },
    /// The next bytes of a stream. The buffer goes back as that of a datagram does.
    StreamBytes {
        /// The stream.
        stream: SocketId,
        /// Holds them.
        buffer: Buffer,
        /// Where in the buffer; never empty.
        range: Range<usize>,
    },
    /// A stream brings nothing more. It stays until it is removed.
    StreamEnded {
        /// The stream.
        stream: SocketId,
        /// What went wrong, if the other side has not just closed it.
        error: Option<io::Error>,
    },
    /// A socket that [waited for it](super::Reactor::await_room) has room to send.
    Writable(SocketId),
    /// Another thread called: the mailboxes are to be looked at.
    Woken,
    /// A receive failed for a reason that passes, as when nobody listens where a socket is connected to.
    ReceiveFailed {
        /// The socket, which goes on receiving.
        socket: SocketId,
        /// What the network said.
        error: io::Error,
    },
    /// A socket receives no more: reading it again would fail again.
    SocketLost {
        /// The socket.
        socket: SocketId,
        /// What its last read said.
        error: io::Error,
    },
    /// A tun queue delivers no more; its device has been removed.
    TunLost {
        /// The queue.
        tun: TunId,
        /// What its last read said.
        error: io::Error,
    },
}

/// One receive: a datagram, or with receive offload several of one sender and one length.
#[derive(Debug)]
pub struct Datagram {
    /// The socket it arrived on.
    pub socket: SocketId,
    /// Holds the payload.
    pub buffer: Buffer,
    /// Where in the buffer; never empty.
    pub range: Range<usize>,
    /// Length of each datagram in the range but the last, which may be shorter. The length of the
    /// range when it is one datagram.
    pub segment_size: usize,
    /// The sender; never a v4-mapped IPv6 address.
    pub from: SocketAddr,
    /// The address that the sender asked, if the socket reports it.
    pub local: Option<LocalAddress>,
}

/// Where a send goes, and what of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The socket that sends.
    pub socket: SocketId,
    /// The receiver; nothing for a connected socket. A stream has one, whatever stands here.
    pub to: Option<SocketAddr>,
    /// The address to send from; the system's choice if absent. Replies carry the one that was asked.
    pub local: Option<LocalAddress>,
    /// The class that its packets ask for; by default that of the socket. A stream has one of its own.
    pub class: TrafficClass,
    /// The payload in the buffer.
    pub range: Range<usize>,
    /// Length of each datagram but the last. A range that is longer leaves as several datagrams, which
    /// the kernel cuts (at most 64 of them and 65,507 bytes). A stream knows no datagrams.
    pub segment_size: usize,
    /// Comes back with the completion, as it is.
    pub token: u64,
}

/// A send that is done.
#[derive(Debug)]
pub struct Sent {
    /// The socket that sent.
    pub socket: SocketId,
    /// As given.
    pub token: u64,
    /// As given.
    pub buffer: Buffer,
    /// As given.
    pub range: Range<usize>,
    /// Bytes sent; of a stream perhaps the first few. `WouldBlock`: the socket's buffer is full, and the
    /// payload still the first to send.
    pub result: io::Result<usize>,
}

/// What became of a row of writes.
#[derive(Debug)]
pub struct Written {
    /// How many of the packets were begun, from the first on.
    pub begun: usize,
    /// Why the next one was not, if there was one.
    pub refused: Option<Refused>,
    /// The buffer, if none was begun.
    pub buffer: Option<Buffer>,
}

/// All places for operations of this kind are taken: turn the reactor first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many operations in flight")]
pub struct QueueFull;

/// Why a send or write was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its place is free again after a turn.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// The socket or tun queue is not this reactor's.
    #[error("no such socket or tun queue")]
    Unknown,
    /// The range is empty or not inside the buffer, or the segment size is zero or above 65,535, or a
    /// packet has too many pieces.
    #[error("the payload is not inside its buffer")]
    Range,
    /// A super-packet for a tun device that takes none.
    #[error("the tun device has no offloads")]
    Offload,
    /// An IPv6 address for an IPv4 socket or the other way round, or no address for a socket that
    /// is not connected.
    #[error("the address does not fit the socket")]
    Address,
}

/// A socket of one reactor. Its number counts from 0 in the order of registration; that of a socket that
/// was removed goes to a later one, whose id differs from it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SocketId {
    /// The number of the socket.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A tun queue of one reactor; its number counts from 0 in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunId(pub(super) usize);

impl TunId {
    /// The number of the queue.
    pub fn index(self) -> usize {
        self.0
    }
}
