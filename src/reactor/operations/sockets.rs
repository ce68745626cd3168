//! The sockets of a reactor: each stands in its place until the kernel is done with it, also when its
//! owner already is. The next one in a place has another id.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use io_uring::opcode;
use io_uring::squeue::Flags;
use io_uring::types::CancelBuilder;

use crate::limits::STREAM_STEP;
use crate::reactor::completion::{QueueFull, Refused, SocketId};
use crate::reactor::operations::memory::{Operation, Reading};
use crate::reactor::operations::{Reactor, descriptor};
use crate::reactor::ring::RingError;
use crate::reactor::tcp::{TcpListener, TcpStream};
use crate::reactor::udp::UdpSocket;

/// All places for sockets. What a turn costs does not grow with them: it looks at those alone that
/// have something to begin.
pub(super) struct Sockets {
    places: Vec<Place>,
    /// The places without a socket, the lowest number last.
    vacant: Vec<u32>,
    /// Those for streams, which come behind all others. The one that was left first is taken first, so that
    /// its number is not at once another one's.
    vacant_streams: VecDeque<u32>,
    first_stream: u32,
    /// The places with a receive to begin or operations to end; some of them perhaps twice.
    restless: Vec<u32>,
}

struct Place {
    generation: u32,
    occupant: Option<Occupant>,
}

/// A socket of any kind.
pub(super) enum Socket {
    Datagrams(UdpSocket),
    Listener(TcpListener),
    Stream(TcpStream),
}

/// A socket and what the kernel does with it.
pub(super) struct Occupant {
    pub(super) socket: Socket,
    pub(super) receiving: Reading,
    /// Operations in flight that use it.
    uses: usize,
    /// It receives a first few bytes at a time, each time when the owner says so.
    step_by_step: bool,
    /// One of them waits for room.
    awaits_room: bool,
    leaving: Leaving,
}

/// How far a socket has been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It has not.
    No,
    /// The next turn asks for the end of what does not end by itself.
    Asked,
    /// That request is in flight.
    Cancelling,
}

impl Sockets {
    pub(super) fn new(count: usize, streams: usize) -> Self {
        let place = || Place {
            generation: 0,
            occupant: None,
        };
        let places: Vec<Place> = std::iter::repeat_with(place)
            .take(count + streams)
            .collect();
        let first_stream = count as u32;
        Self {
            vacant: (0..first_stream).rev().collect(),
            vacant_streams: (first_stream..places.len() as u32).collect(),
            first_stream,
            restless: Vec::with_capacity(count + streams),
            places,
        }
    }

    /// A socket that has not been removed.
    pub(super) fn find(&self, id: SocketId) -> Option<&Socket> {
        let place = self.places.get(id.index())?;
        let occupant = place.occupant.as_ref()?;
        let present = place.generation == id.generation && occupant.leaving == Leaving::No;
        present.then_some(&occupant.socket)
    }

    /// The socket of an operation in flight, which keeps it there.
    pub(super) fn of_operation(&mut self, id: SocketId) -> Option<&mut Occupant> {
        let place = self.places.get_mut(id.index())?;
        let occupant = place.occupant.as_mut()?;
        (place.generation == id.generation).then_some(occupant)
    }

    /// One more operation uses a socket.
    pub(super) fn hold(&mut self, id: SocketId) {
        if let Some(occupant) = self.of_operation(id) {
            occupant.uses += 1;
        }
    }

    /// Whether a socket is a stream that receives step by step.
    pub(super) fn is_step_by_step(&self, id: SocketId) -> bool {
        let place = self.places.get(id.index());
        let occupant = place.and_then(|place| place.occupant.as_ref());
        occupant.is_some_and(|occupant| occupant.step_by_step)
    }

    /// Takes a stream out of its place, if the kernel has nothing to do with it.
    fn take_stream(&mut self, id: SocketId) -> Option<TcpStream> {
        self.find(id)?;
        let place = self.places.get_mut(id.index())?;
        let unused = |occupant: &mut Occupant| {
            occupant.uses == 0 && matches!(occupant.socket, Socket::Stream(_))
        };
        let Socket::Stream(stream) = place.occupant.take_if(unused)?.socket else {
            return None;
        };
        place.generation = place.generation.wrapping_add(1);
        self.vacant_streams.push_back(id.index);
        Some(stream)
    }

    /// An operation is done with a socket. The last one closes it when it has been removed.
    pub(super) fn release(&mut self, id: SocketId) {
        if let Some(occupant) = self.of_operation(id) {
            occupant.uses = occupant.uses.saturating_sub(1);
            self.close_unused(id);
        }
    }

    fn add(&mut self, socket: Socket) -> Option<SocketId> {
        let index = match socket {
            Socket::Stream(_) => self.vacant_streams.pop_front()?,
            Socket::Datagrams(_) | Socket::Listener(_) => self.vacant.pop()?,
        };
        self.restless.push(index);
        let place = self.places.get_mut(index as usize)?;
        place.occupant = Some(Occupant {
            socket,
            receiving: Reading::Idle,
            uses: 0,
            step_by_step: false,
            awaits_room: false,
            leaving: Leaving::No,
        });
        Some(SocketId {
            index,
            generation: place.generation,
        })
    }

    /// Has the next turn look whether a socket has something to begin or to end.
    pub(super) fn look_at(&mut self, id: SocketId) {
        self.restless.push(id.index);
    }

    fn close_unused(&mut self, id: SocketId) {
        let Some(place) = self.places.get_mut(id.index()) else {
            return;
        };
        let is_over = |occupant: &Occupant| occupant.leaving != Leaving::No && occupant.uses == 0;
        if place.occupant.as_ref().is_some_and(is_over) {
            place.occupant = None;
            place.generation = place.generation.wrapping_add(1);
            match id.index < self.first_stream {
                true => self.vacant.push(id.index),
                false => self.vacant_streams.push_back(id.index),
            }
        }
    }

    /// The socket in a place.
    fn at(&self, index: u32) -> Option<(SocketId, &Occupant)> {
        let place = self.places.get(index as usize)?;
        let id = SocketId {
            index,
            generation: place.generation,
        };
        Some((id, place.occupant.as_ref()?))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Listener(listener) => listener.as_fd(),
            Self::Stream(stream) => stream.as_fd(),
        }
    }
}

impl Occupant {
    /// No operation waits for room any more.
    pub(super) fn has_waited(&mut self) {
        self.awaits_room = false;
    }

    /// The request to end its operations is answered; if one could not be found, it is made again.
    pub(super) fn has_been_cancelled(&mut self) {
        if self.leaving == Leaving::Cancelling {
            self.leaving = Leaving::Asked;
        }
    }
}

impl Reactor {
    /// Takes a socket and receives from it until it is removed or the reactor goes.
    ///
    /// # Errors
    ///
    /// The reactor has all the sockets it was made for.
    pub fn add_socket(&mut self, socket: UdpSocket) -> Result<SocketId, RingError> {
        let added = self.memory.sockets.add(Socket::Datagrams(socket));
        added.ok_or(RingError::Full("socket"))
    }

    /// Takes a listener and accepts its connections until it is removed or the reactor goes.
    ///
    /// # Errors
    ///
    /// The reactor has all the sockets it was made for.
    pub fn add_listener(&mut self, listener: TcpListener) -> Result<SocketId, RingError> {
        let added = self.memory.sockets.add(Socket::Listener(listener));
        added.ok_or(RingError::Full("listener"))
    }

    /// Takes a stream and receives from it until it is removed or the reactor goes. Its number comes
    /// behind those of all sockets that are no streams.
    ///
    /// # Errors
    ///
    /// The reactor has all the streams it was made for.
    pub fn add_stream(&mut self, stream: TcpStream) -> Result<SocketId, RingError> {
        let added = self.memory.sockets.add(Socket::Stream(stream));
        added.ok_or(RingError::Full("stream"))
    }

    /// Takes a stream as [`Self::add_stream`] does, and receives from it once, at most
    /// [`STREAM_STEP`] bytes; and again when [`Self::receive_again`] says so. In between the kernel has
    /// nothing to do with it.
    ///
    /// # Errors
    ///
    /// The reactor has all the streams it was made for.
    pub fn add_stream_step_by_step(&mut self, stream: TcpStream) -> Result<SocketId, RingError> {
        let id = self.add_stream(stream)?;
        if let Some(occupant) = self.memory.sockets.of_operation(id) {
            occupant.step_by_step = true;
        }
        Ok(id)
    }

    /// Has a stream that receives step by step take the next one, or receive like all others from now
    /// on.
    pub fn receive_again(&mut self, stream: SocketId, step_by_step: bool) {
        if let Some(occupant) = self.memory.sockets.of_operation(stream)
            && occupant.receiving == Reading::Resting
        {
            occupant.step_by_step = step_by_step;
            occupant.receiving = Reading::Idle;
            self.memory.sockets.look_at(stream);
        }
    }

    /// Takes a stream out again, which somebody else is to read and write. `None` if there is no such
    /// one (any more), or the kernel has still something to do with it.
    pub fn take_stream(&mut self, stream: SocketId) -> Option<TcpStream> {
        self.memory.sockets.take_stream(stream)
    }

    /// Has a listener accept again after [`Completion::AcceptFailed`](super::Completion::AcceptFailed).
    pub fn accept_again(&mut self, listener: SocketId) {
        if let Some(occupant) = self.memory.sockets.of_operation(listener)
            && occupant.receiving == Reading::Resting
        {
            occupant.receiving = Reading::Idle;
            self.memory.sockets.look_at(listener);
        }
    }

    /// Ends the receive of a socket and closes it. What is queued is still sent, and the completions of
    /// its sends still come; nothing else of it does. Its place is free some turns later.
    ///
    /// # Errors
    ///
    /// There is no such socket (any more).
    pub fn remove_socket(&mut self, id: SocketId) -> Result<(), Refused> {
        let sockets = &mut self.memory.sockets;
        sockets.find(id).ok_or(Refused::Unknown)?;
        if let Some(occupant) = sockets.of_operation(id) {
            occupant.leaving = Leaving::Asked;
        }
        sockets.look_at(id);
        sockets.close_unused(id);
        Ok(())
    }

    /// Whether a stream has somebody at its other end: one that is dialed has not at first.
    pub fn is_connected(&self, stream: SocketId) -> bool {
        match self.memory.sockets.find(stream) {
            Some(Socket::Stream(stream)) => stream.is_connected(),
            _ => false,
        }
    }

    /// Ends a stream in both directions, which its receive will tell.
    pub fn shut_down(&self, stream: SocketId) {
        if let Some(Socket::Stream(stream)) = self.memory.sockets.find(stream) {
            stream.shut_down();
        }
    }

    /// Ends a stream in the direction in which it is sent, behind all that was.
    pub fn finish_sending(&self, stream: SocketId) {
        if let Some(Socket::Stream(stream)) = self.memory.sockets.find(stream) {
            stream.finish_sending();
        }
    }

    /// Has [`Completion::Writable`](super::Completion::Writable) come once, as soon as the kernel's buffer of
    /// a socket has room: at least half of it, if it was full. It comes once, however often this is
    /// called until then.
    ///
    /// # Errors
    ///
    /// There is no such socket (any more).
    pub fn await_room(&mut self, id: SocketId) -> Result<(), Refused> {
        let socket = self.memory.sockets.find(id).ok_or(Refused::Unknown)?;
        let descriptor = descriptor(socket);
        let occupant = self.memory.sockets.of_operation(id);
        if occupant.is_none_or(|occupant| occupant.awaits_room) {
            return Ok(());
        }
        let entry = opcode::PollAdd::new(descriptor, libc::POLLOUT as u32).build();
        if !self.start(Operation::AwaitRoom(id), entry) {
            return Err(QueueFull.into());
        }
        if let Some(occupant) = self.memory.sockets.of_operation(id) {
            occupant.awaits_room = true;
            occupant.uses += 1;
        }
        Ok(())
    }

    /// Begins the receives that have ended, and ends what is still in flight of sockets that have been
    /// removed.
    pub(super) fn attend_to_sockets(&mut self) {
        let mut restless = std::mem::take(&mut self.memory.sockets.restless);
        restless.retain(|&index| self.is_restless_after(index));
        restless.append(&mut self.memory.sockets.restless);
        self.memory.sockets.restless = restless;
    }

    /// Does for a socket what is due. True if that was not possible now.
    fn is_restless_after(&mut self, index: u32) -> bool {
        let Some((id, occupant)) = self.memory.sockets.at(index) else {
            return false;
        };
        match (occupant.leaving, occupant.receiving) {
            (Leaving::Asked, _) => !self.cancel_socket(id),
            (Leaving::No, Reading::Idle) => !self.arm_socket(id),
            _ => false,
        }
    }

    /// Ends what is in flight of a socket. False if there is no place for the request.
    fn cancel_socket(&mut self, id: SocketId) -> bool {
        let Some(occupant) = self.memory.sockets.of_operation(id) else {
            return true;
        };
        let all = CancelBuilder::fd(descriptor(&occupant.socket)).all();
        let entry = opcode::AsyncCancel2::new(all).build();
        let started = self.start(Operation::CancelSocket(id), entry);
        if started && let Some(occupant) = self.memory.sockets.of_operation(id) {
            occupant.leaving = Leaving::Cancelling;
            occupant.uses += 1;
        }
        started
    }

    /// Begins the receive of a socket, or has a listener accept. False if there is nothing to receive into,
    /// or no place for it.
    fn arm_socket(&mut self, id: SocketId) -> bool {
        let has_buffers = self.memory.receive.lent() > 0;
        let header = self.memory.receive_header.as_ptr();
        let group = self.memory.receive.group();
        let Some(occupant) = self.memory.sockets.of_operation(id) else {
            return true;
        };
        let descriptor = descriptor(&occupant.socket);
        let (operation, entry) = match occupant.socket {
            Socket::Listener(_) => (
                Operation::Accept(id),
                opcode::AcceptMulti::new(descriptor)
                    .flags(libc::SOCK_CLOEXEC)
                    .build(),
            ),
            _ if !has_buffers => return false,
            Socket::Datagrams(_) => (
                Operation::Receive(id),
                opcode::RecvMsgMulti::new(descriptor, header, group).build(),
            ),
            Socket::Stream(_) if occupant.step_by_step => (
                Operation::ReceiveStream(id),
                opcode::Recv::new(descriptor, std::ptr::null_mut(), STREAM_STEP)
                    .buf_group(group)
                    .build()
                    .flags(Flags::BUFFER_SELECT),
            ),
            Socket::Stream(_) => (
                Operation::ReceiveStream(id),
                opcode::RecvMulti::new(descriptor, group).build(),
            ),
        };
        let started = self.start(operation, entry);
        if started && let Some(occupant) = self.memory.sockets.of_operation(id) {
            occupant.receiving = Reading::Armed;
            occupant.uses += 1;
            self.counters.armed += 1;
        }
        started
    }
}
