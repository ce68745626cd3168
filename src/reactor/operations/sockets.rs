//! The sockets of a reactor: each stands in its place until the kernel is done with it, also when its
//! owner already is. The next one in a place has another id.

use io_uring::opcode;
use io_uring::types::CancelBuilder;

use crate::reactor::completion::{QueueFull, Refused, SocketId};
use crate::reactor::operations::memory::{Operation, Reading};
use crate::reactor::operations::{Reactor, descriptor};
use crate::reactor::ring::RingError;
use crate::reactor::udp::UdpSocket;

/// All places for sockets.
pub(super) struct Sockets {
    places: Vec<Place>,
}

struct Place {
    generation: u32,
    occupant: Option<Occupant>,
}

/// A socket and what the kernel does with it.
pub(super) struct Occupant {
    pub(super) socket: UdpSocket,
    pub(super) receiving: Reading,
    /// Operations in flight that use it.
    uses: usize,
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
    pub(super) fn new(count: usize) -> Self {
        let place = || Place {
            generation: 0,
            occupant: None,
        };
        Self {
            places: std::iter::repeat_with(place).take(count).collect(),
        }
    }

    /// A socket that has not been removed.
    pub(super) fn find(&self, id: SocketId) -> Option<&UdpSocket> {
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

    /// An operation is done with a socket. The last one closes it when it has been removed.
    pub(super) fn release(&mut self, id: SocketId) {
        if let Some(occupant) = self.of_operation(id) {
            occupant.uses = occupant.uses.saturating_sub(1);
            self.close_unused(id);
        }
    }

    fn add(&mut self, socket: UdpSocket) -> Option<SocketId> {
        let free = self
            .places
            .iter()
            .position(|place| place.occupant.is_none());
        let index = free?;
        let place = self.places.get_mut(index)?;
        place.occupant = Some(Occupant {
            socket,
            receiving: Reading::Idle,
            uses: 0,
            awaits_room: false,
            leaving: Leaving::No,
        });
        Some(SocketId {
            index: u32::try_from(index).ok()?,
            generation: place.generation,
        })
    }

    fn close_unused(&mut self, id: SocketId) {
        let Some(place) = self.places.get_mut(id.index()) else {
            return;
        };
        let is_over = |occupant: &Occupant| occupant.leaving != Leaving::No && occupant.uses == 0;
        if place.occupant.as_ref().is_some_and(is_over) {
            place.occupant = None;
            place.generation = place.generation.wrapping_add(1);
        }
    }

    /// The socket in a place.
    fn at(&self, index: usize) -> Option<(SocketId, &Occupant)> {
        let place = self.places.get(index)?;
        let id = SocketId {
            index: u32::try_from(index).ok()?,
            generation: place.generation,
        };
        Some((id, place.occupant.as_ref()?))
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
        let added = self.memory.sockets.add(socket);
        added.ok_or(RingError::Full("socket"))
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
        sockets.close_unused(id);
        Ok(())
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

    /// Ends what is still in flight of sockets that have been removed.
    pub(super) fn cancel_removed(&mut self) {
        for index in 0..self.config.sockets {
            let Some((id, occupant)) = self.memory.sockets.at(index) else {
                continue;
            };
            if occupant.leaving != Leaving::Asked {
                continue;
            }
            let all = CancelBuilder::fd(descriptor(&occupant.socket)).all();
            let entry = opcode::AsyncCancel2::new(all).build();
            if self.start(Operation::CancelSocket(id), entry)
                && let Some(occupant) = self.memory.sockets.of_operation(id)
            {
                occupant.leaving = Leaving::Cancelling;
                occupant.uses += 1;
            }
        }
    }

    /// Begins the receives that have ended.
    pub(super) fn arm_sockets(&mut self) {
        for index in 0..self.config.sockets {
            let Some((id, occupant)) = self.memory.sockets.at(index) else {
                continue;
            };
            if occupant.receiving != Reading::Idle || occupant.leaving != Leaving::No {
                continue;
            }
            let descriptor = descriptor(&occupant.socket);
            let header = self.memory.receive_header.as_ptr();
            let group = self.memory.receive.group();
            let entry = opcode::RecvMsgMulti::new(descriptor, header, group).build();
            if self.start(Operation::Receive(id), entry)
                && let Some(occupant) = self.memory.sockets.of_operation(id)
            {
                occupant.receiving = Reading::Armed;
                occupant.uses += 1;
                self.counters.armed += 1;
            }
        }
    }
}
