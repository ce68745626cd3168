//! A shard on its thread: the ring turns, what it finished goes to the shard, the shard serves.

mod edges;
mod exchange;
mod lanes;
mod losses;
mod queues;
mod sends;
mod streams;

use std::ops::Range;

use crossbeam::channel::Sender;

use self::edges::RingEdges;
pub(super) use self::edges::{ListenerSockets, StreamListeners};
pub(super) use self::exchange::Exchange;
use self::streams::{Accepted, Whose};
pub(super) use self::streams::{OpeningRules, StreamRules};
use super::event::StreamRefusal;
use super::message::{Instruction, Report};
use super::shard::{Shard, ShardParts};
use crate::limits::HAND_OFFS_IN_FLIGHT;
use crate::packet::{Buffer, DropReason, Origin, Packet, Path, Received};
use crate::reactor::{
    Completion, Datagram, ReactorConfig, Receiver, RingError, SocketId, Tun, Waker,
};
use crate::time::Now;

/// What a worker is made of; sent to its thread, where it becomes a [`Worker`].
pub(super) struct WorkerParts {
    /// Its sockets, in the order of the listeners.
    pub(super) listeners: Vec<ListenerSockets>,
    /// Its TCP listeners.
    pub(super) streams: StreamListeners,
    /// How large its ring is.
    pub(super) ring: ReactorConfig,
    /// The shard's queue of the tun device.
    pub(super) tun: Tun,
    /// Wakes the shard.
    pub(super) waker: Waker,
    /// The queues to and from the other shards.
    pub(super) exchange: Exchange,
    /// What the node thread says.
    pub(super) instructions: Receiver<Instruction>,
    /// What the node thread is told.
    pub(super) reports: Sender<Report>,
}

/// One core's thread.
pub(super) struct Worker {
    shard: Shard<RingEdges>,
    instructions: Receiver<Instruction>,
    completions: Vec<Completion>,
    /// What a stream has brought.
    brought: Vec<Received>,
}

impl Worker {
    /// Builds the shard's ring on its own thread.
    ///
    /// # Errors
    /// io_uring is forbidden or lacks something.
    pub(super) fn new(parts: WorkerParts, shard: ShardParts) -> Result<Self, RingError> {
        let (edges, pool) = RingEdges::new(
            parts.ring,
            parts.listeners,
            parts.streams,
            parts.tun,
            parts.waker,
            parts.exchange,
            parts.reports,
        )?;
        Ok(Self {
            shard: Shard::new(shard, edges, pool),
            instructions: parts.instructions,
            completions: Vec::new(),
            brought: Vec::new(),
        })
    }

    /// Turns until the node thread says stop and the clients know it.
    ///
    /// # Errors
    /// The ring is unusable, or the tun device or a socket is gone.
    pub(super) fn run(&mut self) -> Result<(), WorkerError> {
        while !self.shard.has_stopped(Now::read().monotonic) {
            self.turn()?;
        }
        self.shard.finish();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), WorkerError> {
        let patience = match self.instructions.is_empty() {
            true => self.shard.patience(Now::read().monotonic),
            false => std::time::Duration::ZERO,
        };
        let mut completions = std::mem::take(&mut self.completions);
        let turned = self.shard.io.edges.turn(patience, &mut completions);
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        turned?;
        self.shard.io.edges.send_waiting();
        while let Some(instruction) = self.instructions.take() {
            self.shard.obey(instruction);
        }
        self.count_losses();
        self.take_parcels();
        self.shard.serve();
        Ok(())
    }

    /// Gives the shard the drops that it has not seen.
    fn count_losses(&mut self) {
        let io = &mut self.shard.io;
        let losses = io.edges.losses(Now::read().monotonic);
        for (reason, packets) in losses.into_iter().flatten() {
            io.lost(reason, packets);
        }
    }

    /// Takes what other shards have handed over, as much as one turn of theirs can be.
    fn take_parcels(&mut self) {
        for _ in 0..HAND_OFFS_IN_FLIGHT {
            let Some(parcel) = self.shard.io.edges.take_parcel() else {
                return;
            };
            self.shard.take_parcel(parcel);
        }
    }

    /// Sorts one thing that the kernel finished.
    fn complete(&mut self, completion: Completion) -> Result<(), WorkerError> {
        match self.shard.io.edges.settle(completion) {
            None => {}
            Some(Completion::Datagram(datagram)) => {
                let socket = self.shard.io.edges.number_of(datagram.socket);
                self.shard.take_datagram(received(datagram, socket));
            }
            Some(Completion::TunPacket {
                buffer,
                range,
                offload,
                ..
            }) => {
                let packet = Packet::single(buffer, range.start as u32, range.len() as u32);
                self.shard.take_tun_packet(packet, offload);
            }
            Some(Completion::Accepted { listener, stream }) => {
                match self.shard.io.edges.accept_stream(listener, stream) {
                    Accepted::Stream(path, awaits_header) => {
                        self.shard.stream_opened(path, awaits_header);
                    }
                    Accepted::Untrusted(address) => {
                        let refusal = StreamRefusal::Untrusted;
                        self.shard.stream_refused(address, refusal);
                    }
                    Accepted::None => self.shard.io.lost(DropReason::SessionLimit, 1),
                }
            }
            Some(Completion::StreamBytes {
                stream,
                buffer,
                range,
            }) => self.take_stream_bytes(stream, buffer, range),
            Some(Completion::StreamEnded { stream, error }) => {
                let edges = &mut self.shard.io.edges;
                let unconnected = error.filter(|_| edges.is_connecting(stream));
                edges.stream_has_ended(stream);
                if let Some(path) = edges.path_of(stream) {
                    self.shard.stream_ended(path.socket, unconnected.as_ref());
                }
            }
            Some(Completion::Writable(stream)) => {
                if let Some(path) = self.shard.io.edges.path_of(stream) {
                    self.shard.stream_connected(path.socket);
                }
            }
            Some(Completion::AcceptFailed { listener, error }) => {
                self.shard.io.edges.rest(listener);
                self.shard.accept_failed(&error);
            }
            Some(Completion::SocketLost { error, .. }) => {
                return Err(WorkerError::SocketLost(error));
            }
            Some(Completion::TunLost { error, .. }) => return Err(WorkerError::TunLost(error)),
            // The mailbox is looked at in every turn; the others are settled, or counted by the reactor.
            Some(
                Completion::Woken
                | Completion::ReceiveFailed { .. }
                | Completion::Sent(_)
                | Completion::TunWritten { .. },
            ) => {}
        }
        Ok(())
    }

    /// Gives the shard the packets that a stream has brought.
    fn take_stream_bytes(&mut self, stream: SocketId, buffer: Buffer, range: Range<usize>) {
        let (named, whose) = self.shard.io.edges.look_at_stream(stream, buffer, range);
        if let Some(path) = named {
            self.shard.stream_named(path);
        }
        let (buffer, range) = match whose {
            Whose::Client(buffer, range) => (buffer, range),
            Whose::Open => return,
            Whose::Foreign(path, passed) => return self.shard.stream_passed_on(path, passed),
            Whose::Refused(path, refusal) => {
                self.shard.stream_refused(path.remote, refusal);
                return self.shard.stream_ended(path.socket, None);
            }
        };
        let mut brought = std::mem::take(&mut self.brought);
        let io = &mut self.shard.io;
        let taken = io
            .edges
            .take_stream_bytes(stream, buffer, range, &mut io.pool, &mut brought);
        for received in brought.drain(..) {
            self.shard.take_datagram(received);
        }
        self.brought = brought;
        if let Err(bad) = taken
            && let Some(path) = self.shard.io.edges.path_of(stream)
        {
            self.shard.stream_failed(path, bad);
        }
    }
}

/// Why a shard ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// The ring is unusable.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The tun device was removed.
    #[error("the tun device is gone: {0}")]
    TunLost(std::io::Error),
    /// A socket receives no more.
    #[error("a listening socket is gone: {0}")]
    SocketLost(std::io::Error),
}

fn received(datagram: Datagram, socket: u16) -> Received {
    Received {
        packet: Packet {
            buffer: datagram.buffer,
            start: datagram.range.start as u32,
            len: datagram.range.len() as u32,
            segment_size: datagram.segment_size as u32,
        },
        path: Path {
            remote: datagram.from,
            local: datagram.local,
            socket,
        },
        origin: Origin::Socket,
    }
}
