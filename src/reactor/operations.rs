//! A shard's reactor: what it wants of the kernel, and what the kernel has done.
//!
//! Nothing is submitted before [`Reactor::turn`]. A turn submits everything at once, waits, and then
//! collects all completions before it hands out the first.
//!
//! Who owns what: a buffer that the kernel may read or write stands in [`Memory`], as do all
//! structures that the kernel reads and all descriptors that it uses, from the moment an operation
//! is queued until its last completion. When a reactor goes, it ends its operations, waits for those
//! completions and only then frees the memory; if the kernel does not answer, it leaks it.

mod close;
mod collect;
mod memory;
mod sockets;
mod streams;
mod write_tun;

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use crate::limits;
use crate::packet::Buffer;
use crate::reactor::completion::{Completion, Outgoing, QueueFull, Refused, SocketId, TunId};
use crate::reactor::in_flight::Key;
use crate::reactor::operations::memory::{Memory, Operation, Reading, Source};
use crate::reactor::operations::sockets::Socket;
use crate::reactor::ring::{Ring, RingError};
use crate::reactor::send::{envelope, stream_envelope};
use crate::reactor::tun::Tun;
use crate::reactor::waker::Waker;

/// One shard's ring with its sockets, tun queues and buffers. It stays on the thread that made it.
pub struct Reactor {
    ring: Ring,
    memory: ManuallyDrop<Memory>,
    config: ReactorConfig,
    waker: Waker,
    sends: usize,
    tun_writes: usize,
    /// Sends of this turn, which are queued at its end.
    prepared: Vec<PreparedSend>,
    completed: Vec<cqueue::Entry>,
    counters: ReactorCounters,
    life: Life,
    /// A ring with one issuer refuses all other threads.
    stays_on_its_thread: PhantomData<*mut ()>,
}

/// A send that is not queued yet.
struct PreparedSend {
    socket: SocketId,
    /// Its place among those of its turn.
    order: usize,
    key: Key,
    entry: squeue::Entry,
}

/// Whether a reactor begins what has ended again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It does.
    Open,
    /// It does not, and is about to end the rest.
    Closing,
    /// The request that ends the rest is in flight.
    Cancelling,
}

/// How much can be in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactorConfig {
    /// Buffers lent to the kernel for datagrams.
    pub receive_buffers: usize,
    /// Buffers lent to the kernel for packets of the tun device.
    pub tun_buffers: usize,
    /// Sends.
    pub sends: usize,
    /// Writes to tun queues.
    pub tun_writes: usize,
    /// Sockets that are no streams.
    pub sockets: usize,
    /// Streams.
    pub streams: usize,
    /// Tun queues.
    pub tun_queues: usize,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        Self {
            receive_buffers: limits::RECEIVE_BUFFERS,
            tun_buffers: limits::TUN_BUFFERS,
            sends: limits::SENDS_IN_FLIGHT,
            tun_writes: limits::TUN_WRITES_IN_FLIGHT,
            sockets: limits::SOCKETS_PER_SHARD,
            streams: 0,
            tun_queues: limits::TUN_QUEUES_PER_SHARD,
        }
    }
}

impl ReactorConfig {
    fn operations(&self) -> usize {
        let sockets = self.sockets + self.streams;
        limits::ring_operations(sockets, self.tun_queues, self.sends, self.tun_writes)
    }

    /// Bytes that the kernel locks for the ring; they count against the limit of a process without
    /// CAP_IPC_LOCK.
    pub fn locked_memory(&self) -> u64 {
        limits::ring_memory(self.operations(), self.completions())
    }

    /// Completions that one turn can hand out at most.
    pub fn completions(&self) -> usize {
        limits::ring_completions(self.operations(), self.receive_buffers, self.tun_buffers)
    }
}

/// What a reactor has done and survived, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReactorCounters {
    /// Receives that brought datagrams.
    pub receives: u64,
    /// The datagrams that they brought.
    pub datagrams_received: u64,
    /// Sends that the kernel took.
    pub sends: u64,
    /// The datagrams that left with them.
    pub datagrams_sent: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Receives of streams that brought bytes.
    pub stream_receives: u64,
    /// Reads of tun queues that brought packets.
    pub tun_reads: u64,
    /// The packets that they brought, as their sender would have cut them.
    pub tun_packets_read: u64,
    /// Writes that tun queues took.
    pub tun_writes: u64,
    /// The packets that were written, before they were merged.
    pub tun_packets_written: u64,
    /// Datagrams without payload, dropped.
    pub empty_datagrams: u64,
    /// Datagrams longer than a buffer or without an address, dropped.
    pub malformed_datagrams: u64,
    /// Receives that failed for a passing reason, as when a connected peer is not there.
    pub receive_errors: u64,
    /// Times a socket found no buffer to receive into.
    pub receive_starved: u64,
    /// Reads of a tun queue that failed for a passing reason.
    pub tun_read_errors: u64,
    /// Packets of a tun queue after a header that makes no sense, dropped.
    pub malformed_tun_packets: u64,
    /// Times a tun queue found no buffer to read into.
    pub tun_starved: u64,
    /// Receives and reads that were begun, the first time or again.
    pub armed: u64,
    /// Completions of operations that nobody knows. Always zero, or the kernel and we disagree.
    pub stale_completions: u64,
}

impl Reactor {
    /// A reactor without sockets, tun queues and buffers, for the thread that calls; `waker` wakes it.
    ///
    /// # Errors
    ///
    /// io_uring is forbidden or lacks something.
    pub fn new(config: ReactorConfig, waker: Waker) -> Result<Self, RingError> {
        let ring = Ring::new(config.operations(), config.completions())?;
        let memory = Memory::new(&config, &ring)?;
        let mut reactor = Self {
            completed: Vec::with_capacity(ring.params().cq_entries() as usize),
            ring,
            memory: ManuallyDrop::new(memory),
            config,
            waker,
            sends: 0,
            prepared: Vec::with_capacity(config.sends),
            tun_writes: 0,
            counters: ReactorCounters::default(),
            life: Life::Open,
            stays_on_its_thread: PhantomData,
        };
        reactor.listen_for_wake_ups();
        Ok(reactor)
    }

    /// Takes a tun queue and reads from it until the reactor goes.
    ///
    /// # Errors
    ///
    /// The reactor has all the tun queues it was made for.
    pub fn add_tun(&mut self, tun: Tun) -> Result<TunId, RingError> {
        if self.memory.tuns.len() >= self.config.tun_queues {
            return Err(RingError::Full("tun queue"));
        }
        let id = TunId(self.memory.tuns.len());
        self.memory.tuns.push(Source {
            device: tun,
            state: Reading::Idle,
        });
        Ok(id)
    }

    /// Lends a buffer to the kernel for datagrams: once for each at start, then for each that came
    /// with a datagram.
    ///
    /// # Errors
    ///
    /// The buffer, when the kernel has as many as it can.
    pub fn return_receive_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.memory.receive.provide(buffer)
    }

    /// Lends a buffer to the kernel for packets of the tun device.
    ///
    /// # Errors
    ///
    /// The buffer, when the kernel has as many as it can.
    pub fn return_tun_buffer(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        self.memory.tun_read.provide(buffer)
    }

    /// Queues a send for the next turn. It never waits in the kernel: what the socket does not take
    /// at once comes back as `WouldBlock`, and with it, as cancelled, what was to follow on the same
    /// socket in that turn. Of what a stream does not take at once a part may have been sent; what was to
    /// follow is cancelled then, too.
    ///
    /// # Errors
    ///
    /// The buffer, and why the send was not queued.
    pub fn send(&mut self, outgoing: &Outgoing, buffer: Buffer) -> Result<(), (Buffer, Refused)> {
        let Some(socket) = self.memory.sockets.find(outgoing.socket) else {
            return Err((buffer, Refused::Unknown));
        };
        let size = buffer.bytes().len();
        let (enveloped, flags) = match socket {
            Socket::Datagrams(socket) => (envelope(outgoing, socket, size), libc::MSG_DONTWAIT),
            // All or an error: only then does the kernel not go on with what was to follow.
            Socket::Stream(_) => (
                stream_envelope(outgoing, size),
                libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL,
            ),
            Socket::Listener(_) => (Err(Refused::Unknown), 0),
        };
        let envelope = match enveloped {
            Ok(envelope) => envelope,
            Err(refused) => return Err((buffer, refused)),
        };
        let descriptor = descriptor(socket);
        let vacant = self.memory.in_flight.vacant();
        let Some(place) = vacant.filter(|_| self.sends < self.config.sends) else {
            return Err((buffer, QueueFull.into()));
        };
        let range = &outgoing.range;
        let (key, operation) = place.occupy(Operation::Send {
            socket: outgoing.socket,
            token: outgoing.token,
            segments: range.len().div_ceil(outgoing.segment_size),
            range: range.clone(),
            buffer,
        });
        let payload = operation.payload(range);
        // SAFETY: the slot has the index of an operation that has just begun, so none before it
        // is in flight.
        let header = unsafe {
            self.memory
                .slots
                .fill(key.index(), envelope, payload, range.len())
        };
        let header = header.unwrap_or(std::ptr::null());
        let entry = opcode::SendMsg::new(descriptor, header)
            .flags(flags.cast_unsigned())
            .build();
        self.sends += 1;
        self.memory.sockets.hold(outgoing.socket);
        let order = self.prepared.len();
        self.prepared.push(PreparedSend {
            socket: outgoing.socket,
            order,
            key,
            entry,
        });
        Ok(())
    }

    /// Queues the sends that were prepared. Those of one socket are a chain: when the kernel has no room
    /// for one it does not try the next, for which there may be room again, and which would overtake.
    /// Nothing stands between them, or it would be part of the chain.
    fn queue_sends(&mut self) {
        let mut prepared = mem::take(&mut self.prepared);
        prepared.sort_unstable_by_key(|send| (send.socket.index, send.order));
        for number in 0..prepared.len() {
            let PreparedSend { key, socket, .. } = prepared[number];
            let next = prepared.get(number + 1);
            let flags = match next.is_some_and(|next| next.socket == socket) {
                true => squeue::Flags::IO_LINK,
                false => squeue::Flags::empty(),
            };
            self.begin(key, prepared[number].entry.clone().flags(flags));
        }
        prepared.clear();
        self.prepared = prepared;
    }

    /// Submits everything that is queued, waits for a completion or until the time is over (none is
    /// without end), and appends what happened to `out`: at most
    /// [`ReactorConfig::completions`] in number, possibly nothing.
    ///
    /// # Errors
    ///
    /// The ring is unusable. What had happened before is in `out` all the same.
    pub fn turn(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<(), RingError> {
        self.attend_to_sockets();
        self.arm_tuns();
        self.queue_sends();
        let mut waited = self.ring.turn_for(self.sends.max(1), timeout);
        self.collect(out);
        // No send waits in the kernel: all are done as soon as it has gone through the chains, which
        // it does until it has the completions that it was asked for, and others count too. What the
        // next turn sends must find no chain unfinished, or it overtakes.
        for _ in 0..self.config.sends {
            if self.sends == 0 || waited.is_err() {
                break;
            }
            waited = self.ring.turn_for(self.sends, Some(Duration::ZERO));
            self.collect(out);
        }
        waited
    }

    /// What it has done and survived.
    pub fn counters(&self) -> ReactorCounters {
        self.counters
    }

    /// Datagrams that the kernel dropped for want of room in a socket's receive buffer, since the
    /// socket was made; it begins anew after 2^32.
    pub fn overflowed(&self, socket: SocketId) -> u32 {
        match self.memory.sockets.find(socket) {
            // A socket that does not say is one that counts nothing.
            Some(Socket::Datagrams(socket)) => socket.overflowed().unwrap_or(0),
            _ => 0,
        }
    }

    /// Sends and tun writes that can still be queued before a turn.
    pub fn room(&self) -> (usize, usize) {
        (
            self.config.sends - self.sends,
            self.config.tun_writes - self.tun_writes,
        )
    }

    /// Whether a send or a write to the tun device is queued, or not done.
    pub fn has_work(&self) -> bool {
        self.sends > 0 || self.tun_writes > 0
    }

    /// Buffers that the kernel has for datagrams, and for packets of the tun device.
    pub fn lent(&self) -> (usize, usize) {
        (self.memory.receive.lent(), self.memory.tun_read.lent())
    }

    /// Begins the reads that have ended, if there is a buffer to read into.
    fn arm_tuns(&mut self) {
        if self.memory.tun_read.lent() > 0 {
            for index in 0..self.memory.tuns.len() {
                self.arm_tun(TunId(index));
            }
        }
    }

    fn arm_tun(&mut self, id: TunId) {
        let Some(source) = self.memory.tuns.get(id.0) else {
            return;
        };
        if source.state != Reading::Idle {
            return;
        }
        let group = self.memory.tun_read.group();
        let entry = opcode::ReadMulti::new(descriptor(&source.device), 0, group).build();
        if self.start(Operation::ReadTun(id), entry)
            && let Some(source) = self.memory.tuns.get_mut(id.0)
        {
            source.state = Reading::Armed;
            self.counters.armed += 1;
        }
    }

    fn listen_for_wake_ups(&mut self) {
        let event = Fd(self.waker.event().as_raw_fd());
        let count = self.memory.wake_count.as_mut_ptr().cast();
        let entry = opcode::Read::new(event, count, size_of::<u64>() as u32).build();
        let started = self.start(Operation::Wake, entry);
        debug_assert!(started, "limits::WAKE_UPS keeps a place for it");
    }

    /// Begins an operation without a payload. False if there is no place, which the sizes of the
    /// ring rule out.
    fn start(&mut self, operation: Operation, entry: squeue::Entry) -> bool {
        let Some(place) = self.memory.in_flight.vacant() else {
            return false;
        };
        let (key, _) = place.occupy(operation);
        self.begin(key, entry)
    }

    fn begin(&mut self, key: Key, entry: squeue::Entry) -> bool {
        let entry = entry.user_data(key.as_user_data());
        // SAFETY: whatever the entry points to stands in `memory`: buffers in the table of
        // operations in flight, beside the writes and in the provided rings, headers in their slots, descriptors in
        // their lists. None of it moves or is freed before the operation is removed from the table,
        // which its last completion does.
        let queued = unsafe { self.ring.push(&entry) };
        debug_assert!(
            queued,
            "the queue has an entry for each operation in flight"
        );
        queued
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor")
            .field("in_flight", &self.memory.in_flight.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn descriptor(device: &impl AsFd) -> Fd {
    Fd(device.as_fd().as_raw_fd())
}
