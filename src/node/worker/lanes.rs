//! By which socket a datagram leaves, and whether that one takes it.
//!
//! What waits in the queue of a device counts against the socket that sent it, whoever it is for. With one
//! socket for all, a receiver whose line is slower than what it is sent would fill that socket's buffer,
//! and everybody would go at the pace of that line. So each listener has some more sockets, its lanes: when
//! the shared one is full, the receiver for whom most waits moves to a lane of its own, and the others to one
//! that has room, until the first has room again.
//!
//! A receiver moves only while nothing is on its way to the kernel. What it was sent before is then in
//! the queue of its device, where what it is sent later comes to stand behind it.

use super::queues::Queues;
use crate::limits::{LANES_SHARED, SLOW_RECEIVERS, SOCKETS_PER_SHARD};
use crate::node::shard::Outgoing;
use crate::packet::PeerIndex;
use crate::reactor::SocketId;

/// The sockets of all listeners, and who uses which.
#[derive(Debug)]
pub(super) struct Lanes {
    /// By their number on the data path.
    listeners: Vec<Listener>,
    /// By the place of a socket in the ring.
    sockets: Vec<Socket>,
    /// Who has a lane of its own.
    tenants: Vec<Tenant>,
}

/// The sockets of one listener, or the one of a tunnel that was dialed.
#[derive(Debug, Default)]
struct Listener {
    /// The first of them is what the data path knows.
    lanes: Vec<SocketId>,
    /// The one by which everybody sends who has none of its own.
    shared: usize,
}

/// What is known of a socket.
#[derive(Clone, Copy, Debug)]
struct Socket {
    room: Room,
    /// Of the listener that it belongs to.
    number: u16,
}

/// Whether a socket takes datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It does.
    Some,
    /// It will say when it does.
    Awaited,
    /// It does not, and will not say: it is to be tried again.
    Untold,
}

/// A receiver for which the shared socket was not wide enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenant {
    peer: PeerIndex,
    listener: u16,
    lane: usize,
}

impl Lanes {
    pub(super) fn new() -> Self {
        let unused = Socket {
            room: Room::Some,
            number: 0,
        };
        Self {
            listeners: Vec::new(),
            sockets: vec![unused; SOCKETS_PER_SHARD],
            tenants: Vec::new(),
        }
    }

    /// Adds sockets of which the data path knows the first, and says by which number: the place of that
    /// one in the ring. The others are for receivers that are slow.
    pub(super) fn add(&mut self, lanes: Vec<SocketId>) -> u16 {
        let number = lanes.first().map_or(0, |first| first.index());
        for socket in &lanes {
            if let Some(known) = self.sockets.get_mut(socket.index()) {
                known.room = Room::Some;
                known.number = number as u16;
            }
        }
        if self.listeners.len() <= number {
            self.listeners.resize_with(number + 1, Listener::default);
        }
        self.listeners[number] = Listener { lanes, shared: 0 };
        number as u16
    }

    /// The number by which the data path knows a socket.
    pub(super) fn number_of(&self, socket: SocketId) -> u16 {
        let known = self.sockets.get(socket.index());
        known.map_or(socket.index() as u16, |known| known.number)
    }

    /// The first socket of that number.
    pub(super) fn first(&self, number: u16) -> Option<SocketId> {
        let listener = self.listeners.get(usize::from(number))?;
        listener.lanes.first().copied()
    }

    /// All of them, in the order of their listeners.
    pub(super) fn sockets(&self) -> impl Iterator<Item = SocketId> {
        let lanes = self.listeners.iter().map(|listener| &listener.lanes);
        lanes.flatten().copied()
    }

    /// How many receivers have a lane of their own.
    pub(super) fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// Whether a datagram leaves by a lane of its receiver's own.
    pub(super) fn is_apart(&self, outgoing: &Outgoing) -> bool {
        self.tenant(outgoing).is_some()
    }

    /// The socket by which a datagram leaves.
    pub(super) fn socket_of(&self, outgoing: &Outgoing) -> Option<SocketId> {
        let listener = self.listeners.get(usize::from(outgoing.path.socket))?;
        let tenant = self.tenant(outgoing);
        let lane = tenant.map_or(listener.shared, |tenant| tenant.lane);
        listener.lanes.get(lane).copied()
    }

    /// Whether the socket by which a datagram leaves takes it.
    pub(super) fn takes(&self, outgoing: &Outgoing) -> bool {
        self.socket_of(outgoing)
            .is_some_and(|socket| self.has_room(socket))
    }

    /// Whether a socket is full and will not say when it has room.
    pub(super) fn is_untold(&self) -> bool {
        self.sockets.iter().any(|it| it.room == Room::Untold)
    }

    /// A socket took no more. If it is `awaited` it says when it does.
    pub(super) fn note_full(&mut self, socket: SocketId, awaited: bool) {
        if let Some(known) = self.sockets.get_mut(socket.index())
            && known.room != Room::Awaited
        {
            known.room = match awaited {
                true => Room::Awaited,
                false => Room::Untold,
            };
        }
    }

    /// A socket has room again.
    pub(super) fn note_room(&mut self, socket: SocketId) {
        if let Some(known) = self.sockets.get_mut(socket.index()) {
            known.room = Room::Some;
        }
    }

    /// Those that do not say are to be tried again.
    pub(super) fn try_untold(&mut self) {
        for known in &mut self.sockets {
            if known.room == Room::Untold {
                known.room = Room::Some;
            }
        }
    }

    /// Leads everybody past sockets that are full. Nothing may be on its way to the kernel.
    pub(super) fn relieve(&mut self, waiting: &Queues) {
        for number in 0..self.listeners.len() {
            self.relieve_one(number as u16, waiting);
        }
    }

    fn relieve_one(&mut self, number: u16, waiting: &Queues) {
        let Some(listener) = self.listeners.get(usize::from(number)) else {
            return;
        };
        let shared = listener.shared;
        if listener.lanes.len() <= LANES_SHARED || (shared == 0 && self.lane_has_room(number, 0)) {
            return;
        }
        if !self.lane_has_room(number, shared) {
            let stays = |next: &Outgoing| next.path.socket == number && !self.is_apart(next);
            if let Some(slow) = waiting.longest_of(stays) {
                self.settle(slow, number, waiting);
            }
        }
        let wide = (0..LANES_SHARED).find(|&lane| self.lane_has_room(number, lane));
        if let Some(listener) = self.listeners.get_mut(usize::from(number)) {
            listener.shared = wide.unwrap_or(shared);
        }
    }

    /// Gives a receiver a lane: one that is free, that is left by receivers who need it no more, or the
    /// one with the fewest.
    fn settle(&mut self, peer: PeerIndex, listener: u16, waiting: &Queues) {
        let lanes = self.listeners.get(usize::from(listener));
        let lanes = LANES_SHARED..lanes.map_or(0, |listener| listener.lanes.len());
        if self.tenants.len() >= lanes.len().min(SLOW_RECEIVERS) {
            // For whom nothing waits at a lane with room is not slow any more, or gone.
            let mut tenants = std::mem::take(&mut self.tenants);
            tenants.retain(|it| {
                waiting.waits_for(it.peer) || !self.lane_has_room(it.listener, it.lane)
            });
            self.tenants = tenants;
        }
        if self.tenants.len() >= SLOW_RECEIVERS {
            return;
        }
        let crowd = |lane: usize| {
            let tenants = self.tenants.iter();
            let tenants = tenants.filter(|it| it.listener == listener && it.lane == lane);
            (tenants.count(), !self.lane_has_room(listener, lane))
        };
        if let Some(lane) = lanes.min_by_key(|&lane| crowd(lane)) {
            self.tenants.push(Tenant {
                peer,
                listener,
                lane,
            });
        }
    }

    fn tenant(&self, outgoing: &Outgoing) -> Option<&Tenant> {
        if self.tenants.is_empty() {
            return None;
        }
        let (peer, listener) = (outgoing.peer?, outgoing.path.socket);
        let mut tenants = self.tenants.iter();
        tenants.find(|it| it.peer == peer && it.listener == listener)
    }

    fn has_room(&self, socket: SocketId) -> bool {
        let known = self.sockets.get(socket.index());
        known.is_some_and(|known| known.room == Room::Some)
    }

    fn lane_has_room(&self, number: u16, lane: usize) -> bool {
        let listener = self.listeners.get(usize::from(number));
        let socket = listener.and_then(|listener| listener.lanes.get(lane));
        socket.is_some_and(|&socket| self.has_room(socket))
    }
}

#[cfg(test)]
mod tests;
