//! Datagrams on their way to the kernel: those in flight, and those that it did not take at once.
//!
//! A full socket buffer refuses a datagram (`MSG_DONTWAIT`). It then waits here, in front of what
//! came later, so that no peer's packets overtake one another. The queue is bounded: what does not
//! fit is dropped and counted.

use std::collections::VecDeque;
use std::io;

use slab::Slab;

use crate::limits::{DEFERRED_SENDS, SENDS_IN_FLIGHT};
use crate::node::shard::Congestion;
use crate::packet::{Buffer, DropReason, Packet, Path};
use crate::reactor::{Outgoing, Reactor, Refused, Sent, SocketId};

/// The sends of one shard.
pub(super) struct Sends {
    in_flight: Slab<Envelope>,
    waiting: VecDeque<(Packet, Path)>,
    /// How many of `waiting` came back in this turn: they stand in front, in their order.
    returned: usize,
}

/// What a datagram has beside its bytes, while the kernel has those.
#[derive(Clone, Copy, Debug)]
struct Envelope {
    path: Path,
    segment_size: u32,
}

impl Sends {
    pub(super) fn new() -> Self {
        Self {
            in_flight: Slab::with_capacity(SENDS_IN_FLIGHT),
            waiting: VecDeque::with_capacity(DEFERRED_SENDS),
            returned: 0,
        }
    }

    /// What comes back from now on stands in front again.
    pub(super) fn begin_turn(&mut self) {
        self.returned = 0;
    }

    /// How busy the kernel is with them.
    pub(super) fn congestion(&self) -> Congestion {
        match (self.waiting.is_empty(), self.in_flight.len()) {
            (false, _) => Congestion::Waiting,
            (true, 0) => Congestion::Idle,
            (true, SENDS_IN_FLIGHT..) => Congestion::Full,
            (true, _) => Congestion::Flowing,
        }
    }

    /// Sends a datagram, behind those that wait.
    ///
    /// # Errors
    /// Its buffer, and why it is dropped.
    pub(super) fn send(
        &mut self,
        reactor: &mut Reactor,
        sockets: &[SocketId],
        packet: Packet,
        path: Path,
    ) -> Result<(), (Buffer, DropReason)> {
        if self.waiting.len() >= DEFERRED_SENDS {
            return Err((packet.buffer, DropReason::QueueFull));
        }
        if !self.waiting.is_empty() {
            self.waiting.push_back((packet, path));
            return Ok(());
        }
        match self.begin(reactor, sockets, packet, path) {
            Ok(()) => Ok(()),
            Err((packet, Refusal::NoRoom)) => {
                self.waiting.push_back((packet, path));
                Ok(())
            }
            Err((packet, Refusal::Never)) => Err((packet.buffer, DropReason::SendError)),
        }
    }

    /// Tries those that wait again, in order, until one finds no room. `dropped` takes the buffers
    /// of those that never will.
    pub(super) fn send_waiting(
        &mut self,
        reactor: &mut Reactor,
        sockets: &[SocketId],
        mut dropped: impl FnMut(Buffer, DropReason),
    ) {
        while let Some((packet, path)) = self.waiting.pop_front() {
            match self.begin(reactor, sockets, packet, path) {
                Ok(()) => {}
                Err((packet, Refusal::NoRoom)) => return self.waiting.push_front((packet, path)),
                Err((packet, Refusal::Never)) => dropped(packet.buffer, DropReason::SendError),
            }
        }
    }

    /// Takes a send back from the kernel. The datagram waits for another try if there was no room
    /// for it; else its buffer is free, and there may be a reason why the datagram was dropped.
    pub(super) fn complete(&mut self, sent: Sent) -> Option<(Buffer, Option<DropReason>)> {
        let envelope = self.in_flight.try_remove(sent.token as usize);
        match (sent.result, envelope) {
            (Err(error), Some(Envelope { path, segment_size }))
                if is_full(&error) && self.waiting.len() < DEFERRED_SENDS =>
            {
                let packet = Packet {
                    buffer: sent.buffer,
                    start: sent.range.start as u32,
                    len: sent.range.len() as u32,
                    segment_size,
                };
                self.waiting
                    .insert(self.returned.min(self.waiting.len()), (packet, path));
                self.returned += 1;
                None
            }
            (result, _) => Some((sent.buffer, result.err().map(|error| reason_of(&error)))),
        }
    }

    /// Hands one datagram to the reactor.
    fn begin(
        &mut self,
        reactor: &mut Reactor,
        sockets: &[SocketId],
        packet: Packet,
        path: Path,
    ) -> Result<(), (Packet, Refusal)> {
        let Some(&socket) = sockets.get(usize::from(path.socket)) else {
            return Err((packet, Refusal::Never));
        };
        let Packet {
            buffer,
            start,
            len,
            segment_size,
        } = packet;
        let place = self.in_flight.vacant_entry();
        let outgoing = Outgoing {
            socket,
            to: Some(path.remote),
            local: path.local,
            range: start as usize..(start + len) as usize,
            segment_size: segment_size as usize,
            token: place.key() as u64,
        };
        match reactor.send(&outgoing, buffer) {
            Ok(()) => {
                place.insert(Envelope { path, segment_size });
                Ok(())
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
                Err((packet, refusal))
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

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn reason_of(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => DropReason::SendTooLarge,
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
            DropReason::SendUnreachable
        }
        Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::SendFull,
        _ => DropReason::SendError,
    }
}
