//! Datagrams on their way to the kernel: those in flight, and those that it did not take at once.
//!
//! A full socket buffer refuses a datagram (`MSG_DONTWAIT`). It then waits here, in front of what
//! came later for the same receiver, so that nobody's packets overtake one another, and the kernel is
//! asked to say when there is room.

use std::io;

use slab::Slab;

use super::lanes::Lanes;
use super::queues::Queues;
use crate::limits::SENDS_IN_FLIGHT;
use crate::node::shard::{Congestion, Done, Dropped, Outgoing};
use crate::packet::{DropReason, Packet, Path, PeerIndex, TrafficClass};
use crate::reactor::{self, Reactor, Refused, Sent, SocketId};

/// The sends of one shard.
pub(super) struct Sends {
    in_flight: Slab<Envelope>,
    waiting: Queues,
    lanes: Lanes,
    /// For whom the kernel has refused a run. It waits, and what came after it behind it, until
    /// [`Sends::take_refused`].
    refused: Vec<PeerIndex>,
}

/// What a datagram has beside its bytes, while the kernel has those.
#[derive(Clone, Copy, Debug)]
struct Envelope {
    path: Path,
    class: TrafficClass,
    segment_size: u32,
    peer: Option<PeerIndex>,
}

impl Sends {
    pub(super) fn new(lanes: Lanes) -> Self {
        Self {
            in_flight: Slab::with_capacity(SENDS_IN_FLIGHT),
            waiting: Queues::default(),
            lanes,
            refused: Vec::new(),
        }
    }

    /// The sockets by which they leave.
    pub(super) const fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// One more socket, of a tunnel that was dialed; by which number it is known.
    pub(super) fn open(&mut self, socket: SocketId) -> u16 {
        self.lanes.add(vec![socket])
    }

    /// What comes back from now on stands in front again.
    pub(super) fn begin_turn(&mut self) {
        self.waiting.begin_turn();
    }

    /// Datagrams, or runs of them, that wait for room.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something that waits needs nobody's word to go on.
    pub(super) fn can_go_on(&self) -> bool {
        let takes = |outgoing: &Outgoing| self.lanes.takes(outgoing);
        !self.refused.is_empty() || self.waiting.has(takes)
    }

    /// How busy the kernel is with them. A receiver that has a lane of its own holds up nobody.
    pub(super) fn congestion(&self) -> Congestion {
        let shares = |outgoing: &Outgoing| !self.lanes.is_apart(outgoing);
        match (self.waiting.is_empty(), self.in_flight.len()) {
            (true, 0) => Congestion::Idle,
            (false, _) if self.lanes.is_untold() => Congestion::Waiting,
            (_, SENDS_IN_FLIGHT..) => Congestion::Full,
            (false, _) if self.waiting.has(shares) => Congestion::Full,
            (true | false, _) => Congestion::Flowing,
        }
    }

    /// Sends a datagram, behind those of its receiver that wait.
    ///
    /// # Errors
    /// What is dropped, and why.
    pub(super) fn send(
        &mut self,
        reactor: &mut Reactor,
        outgoing: Outgoing,
    ) -> Result<(), Dropped> {
        if !self.lanes.takes(&outgoing) || self.waiting.waits_before(&outgoing) {
            return self.wait(outgoing);
        }
        let socket = self.lanes.socket_of(&outgoing);
        match self.begin(reactor, socket, outgoing) {
            None => Ok(()),
            Some((outgoing, Refusal::NoRoom)) => self.wait(outgoing),
            Some((outgoing, Refusal::Never)) => Err(dropped(outgoing, DropReason::SendError)),
        }
    }

    /// Tries those that wait again, as many as find room. `done` takes those that never will.
    pub(super) fn send_waiting(&mut self, reactor: &mut Reactor, mut done: impl FnMut(Done)) {
        self.lanes.try_untold();
        if self.in_flight.is_empty() {
            self.lanes.relieve(&self.waiting);
        }
        while let Some((socket, outgoing)) = self.next() {
            match self.begin(reactor, socket, outgoing) {
                None => {}
                Some((outgoing, Refusal::NoRoom)) => {
                    self.waiting.put_back(outgoing);
                    break;
                }
                Some((outgoing, Refusal::Never)) => {
                    done(Done::Dropped(dropped(outgoing, DropReason::SendError)));
                }
            }
        }
    }

    /// The next that waits and has room, and the socket that has it.
    fn next(&mut self) -> Option<(Option<SocketId>, Outgoing)> {
        let Self { lanes, refused, .. } = self;
        let is_refused = |peer: Option<PeerIndex>| peer.is_some_and(|peer| refused.contains(&peer));
        let can_send = |outgoing: &Outgoing| lanes.takes(outgoing) && !is_refused(outgoing.peer);
        let next = self.waiting.pop(can_send)?;
        Some((self.lanes.socket_of(&next), next))
    }

    /// Takes out a run that the kernel has refused, or the next that waits behind one: all of a peer one
    /// after the other, in their order. As long as one is left, nothing more is sent to the peer.
    pub(super) fn take_refused(&mut self) -> Option<Outgoing> {
        while let Some(&peer) = self.refused.last() {
            let next = self.waiting.pop(|outgoing| outgoing.peer == Some(peer));
            if next.is_some() {
                return next;
            }
            self.refused.pop();
        }
        None
    }

    /// A socket is closed: nobody will say that it has room, and its number may be another one's. What
    /// waits for it goes nowhere, and is given to `done`.
    pub(super) fn closed(&mut self, socket: SocketId, mut done: impl FnMut(Done)) {
        self.lanes.note_room(socket);
        let number = self.lanes.number_of(socket);
        while let Some(outgoing) = self.waiting.pop_for(number) {
            done(Done::Dropped(dropped(outgoing, DropReason::SendError)));
        }
    }

    /// A socket has room again.
    pub(super) fn has_room(&mut self, socket: SocketId) {
        self.lanes.note_room(socket);
    }

    /// Takes a send back from the kernel. The datagrams wait for another try if there was no room for
    /// them, or for [`Sends::take_refused`]; else their buffer is free, and there may be a reason why they
    /// were dropped.
    pub(super) fn complete(&mut self, reactor: &mut Reactor, sent: Sent) -> Option<Done> {
        let Some(envelope) = self.in_flight.try_remove(sent.token as usize) else {
            return Some(Done::Free(sent.buffer));
        };
        let Err(error) = sent.result else {
            return Some(Done::Free(sent.buffer));
        };
        let outgoing = Outgoing {
            packet: Packet {
                buffer: sent.buffer,
                start: sent.range.start as u32,
                len: sent.range.len() as u32,
                segment_size: envelope.segment_size,
            },
            path: envelope.path,
            class: envelope.class,
            peer: envelope.peer,
        };
        match (error.raw_os_error(), outgoing.peer) {
            // One before it in the kernel's row was not sent; nothing overtakes that.
            (Some(libc::ECANCELED), _) => {}
            (Some(libc::EAGAIN), _) => {
                let awaited = reactor.await_room(sent.socket).is_ok();
                self.lanes.note_full(sent.socket, awaited);
            }
            // A device's queue is full, of which nobody says when it has room.
            (Some(libc::ENOBUFS), _) => self.lanes.note_full(sent.socket, false),
            (Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO), Some(peer))
                if outgoing.packet.segments() > 1 =>
            {
                if !self.refused.contains(&peer) {
                    self.refused.push(peer);
                }
            }
            _ => return Some(Done::Dropped(dropped(outgoing, reason_of(&error)))),
        }
        self.waiting.put_back(outgoing);
        None
    }

    fn wait(&mut self, outgoing: Outgoing) -> Result<(), Dropped> {
        let waits = self.waiting.push(outgoing);
        waits.map_err(|outgoing| dropped(outgoing, DropReason::QueueFull))
    }

    /// Hands one send to the reactor; gives back what that does not take, and why.
    fn begin(
        &mut self,
        reactor: &mut Reactor,
        socket: Option<SocketId>,
        outgoing: Outgoing,
    ) -> Option<(Outgoing, Refusal)> {
        let Some(socket) = socket else {
            return Some((outgoing, Refusal::Never));
        };
        let Outgoing {
            packet,
            path,
            class,
            peer,
        } = outgoing;
        let Packet {
            buffer,
            start,
            len,
            segment_size,
        } = packet;
        let place = self.in_flight.vacant_entry();
        let to_kernel = reactor::Outgoing {
            socket,
            to: Some(path.remote),
            local: path.local,
            class,
            range: start as usize..(start + len) as usize,
            segment_size: segment_size as usize,
            token: place.key() as u64,
        };
        match reactor.send(&to_kernel, buffer) {
            Ok(()) => {
                place.insert(Envelope {
                    path,
                    class,
                    segment_size,
                    peer,
                });
                None
            }
            Err((buffer, refused)) => {
                let packet = Packet {
                    buffer,
                    start,
                    len,
                    segment_size,
                };
                let refusal = match refused {
                    Refused::QueueFull(_) => Refusal::NoRoom,
                    Refused::Unknown | Refused::Range | Refused::Address | Refused::Offload => {
                        Refusal::Never
                    }
                };
                let outgoing = Outgoing {
                    packet,
                    path,
                    class,
                    peer,
                };
                Some((outgoing, refusal))
            }
        }
    }
}

/// Why the reactor did not take a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It has as many as it can have in flight.
    NoRoom,
    /// It can't be sent at all.
    Never,
}

fn dropped(outgoing: Outgoing, reason: DropReason) -> Dropped {
    Dropped {
        packets: outgoing.packet.segments() as u64,
        buffer: Some(outgoing.packet.buffer),
        reason,
    }
}

fn reason_of(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => DropReason::SendTooLarge,
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
            DropReason::SendUnreachable
        }
        _ => DropReason::SendError,
    }
}

#[cfg(test)]
mod tests;
