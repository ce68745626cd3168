//! What a shard wants of the world around it. A ring with sockets and a tun queue is one such world,
//! a simulation another.

use std::net::SocketAddr;

use crate::node::counters::Counters;
use crate::node::message::Report;
use crate::packet::{
    Buffer, DropReason, FullStreams, Gathered, Packet, Parcel, Path, PeerIndex, Piece, TrafficClass,
};
use crate::reactor::{RingError, TcpStream, UdpSocket};
use crate::time::Now;

/// The world as a shard sees it. Nothing here waits: what has no room comes back at once.
///
/// A buffer that is handed over comes back by [`Edges::reclaim`] when the world is done with it.
pub trait Edges {
    /// The time.
    fn now(&mut self) -> Now;

    /// Sends a datagram, or several for one receiver.
    ///
    /// # Errors
    /// Its buffer, and why it is dropped.
    fn send(&mut self, outgoing: Outgoing) -> Result<(), Dropped>;

    /// How busy the sockets are.
    fn congestion(&self) -> Congestion;

    /// Writes inner packets to the tun queue: all pieces are of `buffer`.
    ///
    /// # Errors
    /// The buffer, if nothing of it was written, and why and how many packets are dropped.
    fn write_tun(
        &mut self,
        buffer: Buffer,
        packets: &[Gathered],
        pieces: &[Piece],
    ) -> Result<(), Dropped>;

    /// Gives a buffer back that came from the sockets, to be lent to them again.
    ///
    /// # Errors
    /// The buffer, if they have all that they can take.
    fn return_receive_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer>;

    /// Gives a buffer back that came from the tun queue, to be lent to it again.
    ///
    /// # Errors
    /// The buffer, if it has all that it can take.
    fn return_tun_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer>;

    /// Hands a packet to another shard.
    ///
    /// # Errors
    /// The parcel, when the other shard has no room for it now, or there is no such shard.
    fn hand_off(&mut self, to: u16, parcel: Parcel) -> Result<(), Parcel>;

    /// Gives the buffer of a parcel that was taken back to the shard that it came from.
    fn give_back(&mut self, from: u16, buffer: Buffer);

    /// Has the world begin what it was given now, before something that takes its time.
    fn begin(&mut self);

    /// Something that the world is done with.
    fn reclaim(&mut self) -> Option<Done>;

    /// Receives from one more socket, and says by which number its datagrams are known.
    ///
    /// # Errors
    /// There are as many sockets as there can be.
    fn open_socket(&mut self, socket: UdpSocket) -> Result<u16, RingError>;

    /// Receives from one more stream, with this peer at its other end, and says by which path its packets
    /// are known.
    ///
    /// # Errors
    /// There are as many streams as there can be.
    fn open_stream(&mut self, stream: TcpStream, remote: SocketAddr) -> Result<Path, RingError>;

    /// Closes a socket that was opened so, once what is on its way has left. Its number may be that
    /// of another one then.
    fn close_socket(&mut self, socket: u16);

    /// Which streams take nothing more now, if that has changed since it was asked for. A world without
    /// streams has none.
    fn full_streams(&mut self) -> Option<&FullStreams> {
        None
    }

    /// Adds what the world has counted by itself.
    fn counters(&self, counters: Counters) -> Counters;

    /// Tells the node thread something.
    ///
    /// # Errors
    /// The report, when the node thread has no room for it now. A node thread that is gone takes
    /// everything.
    fn report(&mut self, report: Report) -> Result<(), Report>;
}

/// A datagram on its way, or several for one receiver.
#[derive(Debug)]
pub struct Outgoing {
    /// The UDP payloads.
    pub packet: Packet,
    /// Where they go and what they leave from.
    pub path: Path,
    /// The class of the packets around them.
    pub class: TrafficClass,
    /// Whose they are; nobody's for one that has no place in the data path yet.
    pub peer: Option<PeerIndex>,
}

/// Packets that went no further.
#[derive(Debug)]
pub struct Dropped {
    /// Their buffer, unless others of it are still on their way.
    pub buffer: Option<Buffer>,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// What the world says when it is done with something.
#[derive(Debug)]
pub enum Done {
    /// A buffer is free again.
    Free(Buffer),
    /// Packets went no further.
    Dropped(Dropped),
    /// The kernel refuses to cut a send into several datagrams for this peer: they came back, and leave
    /// one by one. What was to follow them comes back, too, behind them; the world sends nothing to the
    /// peer before it has given back all of that.
    RunRefused(Outgoing),
}

/// How busy the sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Congestion {
    /// Nothing is on its way.
    Idle,
    /// The next datagram goes to the kernel at once.
    Flowing,
    /// The next datagram waits, or would, until others are done; the ring says when.
    Full,
    /// Datagrams wait for room in the kernel's buffers: they must be tried again after a while.
    Waiting,
}
