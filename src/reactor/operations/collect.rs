//! What the kernel has done: completions of the ring become completions of the reactor.

use std::{io, mem};

use io_uring::cqueue;

use crate::limits::TUN_OFFSET;
use crate::packet::{Buffer, Offload};
use crate::reactor::completion::{Completion, Datagram, Sent, SocketId, TunId};
use crate::reactor::in_flight::Key;
use crate::reactor::operations::memory::{Operation, Reading, TUN_READ_AT};
use crate::reactor::operations::{Life, Reactor};
use crate::reactor::provided::Provided;
use crate::reactor::receive::{Unreadable, parse_datagram};
use crate::reactor::tun::virtio::{self, Malformed};

impl Reactor {
    pub(super) fn collect(&mut self, out: &mut Vec<Completion>) {
        let mut completed = mem::take(&mut self.completed);
        self.ring.collect(&mut completed);
        out.extend(
            completed
                .drain(..)
                .filter_map(|entry| self.complete(&entry)),
        );
        self.completed = completed;
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let key = Key::from_user_data(entry.user_data());
        match self.memory.in_flight.find(key) {
            None => {
                self.counters.stale_completions += 1;
                None
            }
            Some(&Operation::Receive(id)) => self.received(key, id, entry),
            Some(&Operation::ReceiveStream(id)) => self.stream_received(key, id, entry),
            Some(&Operation::Accept(id)) => self.accepted(key, id, entry),
            Some(&Operation::ReadTun(id)) => self.read_tun(key, id, entry),
            Some(_) => self.finished(key, entry),
        }
    }

    /// The only completion of an operation that has one.
    fn finished(&mut self, key: Key, entry: &cqueue::Entry) -> Option<Completion> {
        match self.memory.in_flight.remove(key)? {
            Operation::Send {
                socket,
                token,
                segments,
                range,
                buffer,
            } => {
                self.sends -= 1;
                self.memory.sockets.release(socket);
                let result = outcome(entry);
                if result.is_ok() {
                    self.counters.sends += 1;
                    self.counters.datagrams_sent += segments as u64;
                }
                Some(Completion::Sent(Sent {
                    socket,
                    token,
                    buffer,
                    range,
                    result,
                }))
            }
            Operation::WriteTun {
                tun,
                segments,
                header,
                write,
            } => {
                self.tun_writes -= 1;
                let result = outcome(entry).map(|written| written.saturating_sub(header));
                if result.is_ok() {
                    self.counters.tun_writes += 1;
                    self.counters.tun_packets_written += u64::from(segments);
                }
                Some(Completion::TunWritten {
                    tun,
                    segments,
                    result,
                    buffer: self.memory.writes.finish(write),
                })
            }
            Operation::Wake if self.life == Life::Open => {
                self.waker.acknowledge();
                self.listen_for_wake_ups();
                Some(Completion::Woken)
            }
            Operation::AwaitRoom(socket) => self.has_room(socket, outcome(entry)),
            Operation::CancelSocket(socket) => {
                if let Some(occupant) = self.memory.sockets.of_operation(socket) {
                    occupant.has_been_cancelled();
                }
                self.memory.sockets.look_at(socket);
                self.memory.sockets.release(socket);
                None
            }
            Operation::Cancel => {
                self.life = Life::Closing;
                None
            }
            Operation::Wake
            | Operation::Receive(_)
            | Operation::ReceiveStream(_)
            | Operation::Accept(_)
            | Operation::ReadTun(_) => None,
        }
    }

    fn has_room(&mut self, socket: SocketId, result: io::Result<usize>) -> Option<Completion> {
        let is_removed = self.memory.sockets.find(socket).is_none();
        if let Some(occupant) = self.memory.sockets.of_operation(socket) {
            occupant.has_waited();
        }
        self.memory.sockets.release(socket);
        let ends = result.is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED));
        (!ends && !is_removed).then_some(Completion::Writable(socket))
    }

    fn received(&mut self, key: Key, id: SocketId, entry: &cqueue::Entry) -> Option<Completion> {
        let buffer = selected(&mut self.memory.receive, entry);
        let is_removed = self.memory.sockets.find(id).is_none();
        let ended = self.ended(key, entry);
        self.note_reading(id, ended);
        match (buffer, outcome(entry)) {
            (buffer, _) if is_removed => {
                recycle(&mut self.memory.receive, buffer);
                None
            }
            (Some(buffer), Ok(length)) => self.datagram(id, buffer, length),
            (buffer, result) => {
                recycle(&mut self.memory.receive, buffer);
                let error = result.err()?;
                if ended == Reading::Lost {
                    return Some(Completion::SocketLost { socket: id, error });
                }
                match error.raw_os_error() {
                    Some(libc::ENOBUFS) => self.counters.receive_starved += 1,
                    Some(libc::ECANCELED) => {}
                    _ => {
                        self.counters.receive_errors += 1;
                        return Some(Completion::ReceiveFailed { socket: id, error });
                    }
                }
                None
            }
        }
    }

    /// How the multishot operation of a socket stands after a completion.
    pub(super) fn note_reading(&mut self, id: SocketId, reading: Reading) {
        if let Some(occupant) = self.memory.sockets.of_operation(id) {
            let former = std::mem::replace(&mut occupant.receiving, reading);
            if former == Reading::Armed && reading != Reading::Armed {
                self.memory.sockets.look_at(id);
                self.memory.sockets.release(id);
            }
        }
    }

    fn datagram(&mut self, socket: SocketId, buffer: Buffer, length: usize) -> Option<Completion> {
        let filled = buffer.bytes().get(..length).unwrap_or_default();
        match parse_datagram(filled) {
            Ok(parsed) => {
                let datagrams = parsed.range.len().div_ceil(parsed.segment_size.max(1));
                self.counters.receives += 1;
                self.counters.datagrams_received += datagrams as u64;
                Some(Completion::Datagram(Datagram {
                    socket,
                    buffer,
                    range: parsed.range,
                    segment_size: parsed.segment_size,
                    from: parsed.from,
                    local: parsed.local,
                }))
            }
            Err(unreadable) => {
                match unreadable {
                    Unreadable::Empty => self.counters.empty_datagrams += 1,
                    Unreadable::Malformed => self.counters.malformed_datagrams += 1,
                }
                recycle(&mut self.memory.receive, Some(buffer));
                None
            }
        }
    }

    fn read_tun(&mut self, key: Key, id: TunId, entry: &cqueue::Entry) -> Option<Completion> {
        let buffer = selected(&mut self.memory.tun_read, entry);
        let ended = self.ended(key, entry);
        if let Some(source) = self.memory.tuns.get_mut(id.0) {
            source.state = ended;
        }
        match (buffer, outcome(entry)) {
            (Some(buffer), Ok(length @ 1..)) => self.tun_packet(id, buffer, length),
            (buffer, result) => {
                recycle(&mut self.memory.tun_read, buffer);
                let error = result.err()?;
                if ended == Reading::Lost {
                    return Some(Completion::TunLost { tun: id, error });
                }
                match error.raw_os_error() {
                    Some(libc::ENOBUFS) => self.counters.tun_starved += 1,
                    Some(libc::ECANCELED) => {}
                    _ => self.counters.tun_read_errors += 1,
                }
                None
            }
        }
    }

    fn tun_packet(&mut self, tun: TunId, buffer: Buffer, length: usize) -> Option<Completion> {
        let source = self.memory.tuns.get(tun.0);
        let has_header = source.is_some_and(|source| source.device.has_header());
        let end = TUN_READ_AT + length;
        let filled = buffer.bytes().get(TUN_READ_AT..end).unwrap_or_default();
        let parsed = match has_header {
            false => Ok((Offload::None, TUN_READ_AT..end)),
            true => after_header(filled).map(|offload| (offload, TUN_OFFSET..end)),
        };
        match parsed {
            Ok((offload, range)) => {
                self.counters.tun_reads += 1;
                self.counters.tun_packets_read += packets(offload, range.len()) as u64;
                Some(Completion::TunPacket {
                    tun,
                    buffer,
                    range,
                    offload,
                })
            }
            Err(Malformed) => {
                self.counters.malformed_tun_packets += 1;
                recycle(&mut self.memory.tun_read, Some(buffer));
                None
            }
        }
    }

    /// Whether a multishot operation goes on after this completion.
    fn ended(&mut self, key: Key, entry: &cqueue::Entry) -> Reading {
        if cqueue::more(entry.flags()) {
            return Reading::Armed;
        }
        self.memory.in_flight.remove(key);
        match outcome(entry) {
            Err(error) if is_lasting(&error) => Reading::Lost,
            _ => Reading::Idle,
        }
    }
}

/// Packets of the device's MTU in a packet so long.
fn packets(offload: Offload, length: usize) -> usize {
    match offload {
        Offload::Segments(segments) => {
            let payload = length.saturating_sub(segments.header_len.into());
            payload.div_ceil(usize::from(segments.size).max(1)).max(1)
        }
        Offload::None | Offload::Checksum { .. } => 1,
    }
}

/// What the header at the front of what was read says of the packet behind it.
fn after_header(filled: &[u8]) -> Result<Offload, Malformed> {
    match filled.split_first_chunk() {
        Some((header, packet)) if !packet.is_empty() => virtio::parse(header, packet),
        _ => Err(Malformed),
    }
}

pub(super) fn outcome(entry: &cqueue::Entry) -> io::Result<usize> {
    usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()))
}

/// The buffer that the kernel chose for a completion.
pub(super) fn selected(from: &mut Provided, entry: &cqueue::Entry) -> Option<Buffer> {
    from.take(cqueue::buffer_select(entry.flags())?)
}

/// Lends a buffer again that came back with nothing in it.
pub(super) fn recycle(to: &mut Provided, buffer: Option<Buffer>) {
    if let Some(buffer) = buffer {
        let lent = to.provide(buffer);
        debug_assert!(lent.is_ok(), "its own place has just become free");
    }
}

/// Whether an error would come again at once, and for ever. What the network says of a peer
/// passes; what the kernel says of a descriptor stays.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EBADF
                | libc::EBADFD
                | libc::EFAULT
                | libc::EINVAL
                | libc::EIO
                | libc::ENODEV
                | libc::ENOTCONN
                | libc::ENOTSOCK
                | libc::EOPNOTSUPP
        )
    )
}
