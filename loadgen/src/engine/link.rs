//! A core's side of the kernel: the sockets of its sessions, and the buffers that go through them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringway::limits::{RECEIVE_BUFFER, SEND_BUFFER};
use ringway::packet::{Buffer, Origin, Packet, Path, Pool, Received, Spent, TrafficClass};
use ringway::reactor::{
    Completion, Datagram, Family, Lending, Listen, Outgoing, Reactor, ReactorConfig, RingError,
    Routing, Sent, SocketId, UdpError, UdpSocket, Waker,
};
use ringway::time::{Monotonic, Now};

use super::faults::{FaultRules, Faults};
use super::ports::{Ports, Source};

/// Sockets and buffers of one core.
pub(super) struct Link {
    reactor: Reactor,
    /// Buffers for what is sent and opened.
    pub(super) pool: Pool,
    receive: Lending,
    /// By the number of the socket.
    sockets: Vec<Option<Opened>>,
    faults: Option<Faults<Underway>>,
    completions: Vec<Completion>,
    /// What has come in and was not asked for yet.
    events: Vec<LinkEvent>,
    /// Datagrams that the kernel did not take.
    pub(super) unsent: u64,
}

/// Something that came in.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Datagrams of the server, on the socket of that number.
    Received(Received),
    /// Nobody listens where the socket of that number is connected to.
    Refused(usize),
    /// The kernel takes no runs on that socket.
    RunRefused(usize),
    /// The socket of that number receives no more.
    Lost(usize, io::Error),
}

/// A socket, and what it is bound to.
#[derive(Clone, Copy, Debug)]
struct Opened {
    id: SocketId,
    source: Source,
}

/// A datagram on a way with faults.
#[derive(Clone, Debug)]
struct Underway {
    socket: SocketId,
    bytes: Vec<u8>,
    /// Whom it comes from; nobody for one that leaves.
    from: Option<SocketAddr>,
}

impl Link {
    /// A link with room for so many sockets.
    ///
    /// # Errors
    /// io_uring is forbidden, lacks something, or is too small for so many.
    pub(super) fn new(sockets: usize, faults: FaultRules, seed: u64) -> Result<Self, RingError> {
        let config = ReactorConfig {
            receive_buffers: RECEIVE_BUFFERS,
            tun_buffers: 1,
            sends: SENDS,
            tun_writes: 1,
            sockets,
            streams: 0,
            tun_queues: 0,
        };
        let waker = Waker::new().map_err(RingError::Setup)?;
        let reactor = Reactor::new(config, waker)?;
        let mut pool = Pool::new((RECEIVE_BUFFERS + SENDS + OPENED) as u32);
        let lent = std::iter::from_fn(|| pool.take()).take(RECEIVE_BUFFERS);
        let receive = Lending::new(lent.collect());
        Ok(Self {
            reactor,
            receive,
            pool,
            sockets: vec![None; sockets],
            faults: (!faults.is_none()).then(|| Faults::new(faults, seed)),
            completions: Vec::new(),
            events: Vec::new(),
            unsent: 0,
        })
    }

    /// Whether datagrams meet faults on their way.
    pub(super) fn is_faulty(&self) -> bool {
        self.faults.is_some()
    }

    /// Opens a socket to the server; gives its number, which it keeps until it is closed.
    ///
    /// # Errors
    /// The system has none to give, or there is no way to the server.
    pub(super) fn open(
        &mut self,
        server: SocketAddr,
        from: Option<IpAddr>,
        ports: &Ports,
        now: Monotonic,
    ) -> Result<usize, OpenError> {
        let mut listen = Listen {
            family: match server {
                SocketAddr::V4(_) => Family::V4,
                SocketAddr::V6(_) => Family::V6,
            },
            address: from,
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            receive_offload: self.faults.is_none(),
            routing: Routing::default(),
        };
        let bound = ports.try_each(from, now, |port| {
            listen.port = port;
            match UdpSocket::bind(&listen) {
                Err(error) if error.is_in_use() && port != 0 => None,
                bound => Some(bound),
            }
        });
        let mut socket = bound.ok_or(OpenError::Ports)??;
        let port = socket.local_address().map_or(listen.port, |it| it.port());
        socket.widen_receive_buffer(RECEIVE_BUFFER)?;
        socket.widen_send_buffer(SEND_BUFFER)?;
        socket.connect(server)?;
        let id = self.reactor.add_socket(socket)?;
        if let Some(place) = self.sockets.get_mut(id.index()) {
            let source = (from, port);
            *place = Some(Opened { id, source });
        }
        Ok(id.index())
    }

    /// Closes a socket, when what is queued is sent.
    pub(super) fn close(&mut self, socket: usize, ports: &Ports, now: Monotonic) {
        let opened = self.sockets.get_mut(socket).and_then(Option::take);
        if let Some(Opened { id, source }) = opened {
            ports.leave(source, now);
            // One that the reactor does not know is closed already.
            let _unknown = self.reactor.remove_socket(id);
        }
    }

    /// Sends a copy of these bytes as one datagram.
    pub(super) fn send_bytes(&mut self, socket: usize, bytes: &[u8], now: Monotonic) {
        let Some(mut buffer) = self.take_buffer() else {
            self.unsent += 1;
            return;
        };
        match buffer.bytes_mut().get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                let packet = Packet::single(buffer, 0, bytes.len() as u32);
                self.send(socket, packet, now);
            }
            None => self.pool.give(buffer),
        }
    }

    /// Sends a datagram, or several equal ones.
    pub(super) fn send(&mut self, socket: usize, packet: Packet, now: Monotonic) {
        let Some(&Some(Opened { id, .. })) = self.sockets.get(socket) else {
            self.unsent += packet.segments() as u64;
            return self.pool.give(packet.buffer);
        };
        let Some(faults) = &mut self.faults else {
            return self.pass_on(id, packet);
        };
        for piece in packet.pieces() {
            let bytes = packet.buffer.bytes().get(piece.range());
            let underway = Underway {
                socket: id,
                bytes: bytes.unwrap_or_default().to_vec(),
                from: None,
            };
            faults.take(underway, now);
        }
        self.pool.give(packet.buffer);
    }

    /// A buffer for what is to be sent; when all are in the kernel's hands it is waited for one.
    pub(super) fn take_buffer(&mut self) -> Option<Buffer> {
        if self.pool.free() == 0 {
            self.make_room();
        }
        self.pool.take()
    }

    /// Takes back what came from [`LinkEvent::Received`].
    pub(super) fn give_back(&mut self, Spent { buffer, origin }: Spent) {
        match origin {
            Origin::Socket => self.receive.give(buffer),
            Origin::Tun | Origin::Stream | Origin::Shard(_) => self.pool.give(buffer),
        }
    }

    /// Lets the kernel work, waits at most so long for something to come in, and appends it to `events`.
    ///
    /// # Errors
    /// The ring is unusable.
    pub(super) fn turn(
        &mut self,
        patience: Duration,
        events: &mut Vec<LinkEvent>,
    ) -> Result<(), RingError> {
        let now = Now::read().monotonic;
        self.deliver(now);
        let arrival = self.faults.as_ref().and_then(Faults::next);
        let patience = match (self.events.is_empty(), arrival) {
            (false, _) => Duration::ZERO,
            (true, Some(arrival)) => patience.min(arrival.since(now)),
            (true, None) => patience,
        };
        self.turn_reactor(patience)?;
        self.deliver(Now::read().monotonic);
        events.append(&mut self.events);
        Ok(())
    }

    /// Lets the kernel take what is queued, in the middle of other work.
    fn make_room(&mut self) {
        // A ring that is unusable says so again in the next turn.
        let _again = self.turn_reactor(Duration::ZERO);
    }

    fn turn_reactor(&mut self, patience: Duration) -> Result<(), RingError> {
        while let Some(buffer) = self.receive.take(self.reactor.lent().0) {
            if let Err(buffer) = self.reactor.return_receive_buffer(buffer) {
                self.receive.give(buffer);
                break;
            }
        }
        let mut completions = std::mem::take(&mut self.completions);
        let turned = self.reactor.turn(Some(patience), &mut completions);
        for completion in completions.drain(..) {
            self.settle(completion);
        }
        self.completions = completions;
        turned
    }

    fn settle(&mut self, completion: Completion) {
        match completion {
            Completion::Datagram(datagram) => self.received(datagram),
            Completion::Sent(sent) => self.sent(sent),
            Completion::ReceiveFailed { socket, error } => self.refused(socket, &error),
            Completion::SocketLost { socket, error } => {
                self.events.push(LinkEvent::Lost(socket.index(), error));
            }
            Completion::Woken
            | Completion::Writable(_)
            | Completion::TunPacket { .. }
            | Completion::TunWritten { .. }
            | Completion::TunLost { .. }
            | Completion::Accepted { .. }
            | Completion::AcceptFailed { .. }
            | Completion::StreamBytes { .. }
            | Completion::StreamEnded { .. } => {}
        }
    }

    fn received(&mut self, datagram: Datagram) {
        self.receive.note(datagram.range.len());
        if let Some(faults) = &mut self.faults {
            let bytes = datagram.buffer.bytes().get(datagram.range.clone());
            let underway = Underway {
                socket: datagram.socket,
                bytes: bytes.unwrap_or_default().to_vec(),
                from: Some(datagram.from),
            };
            faults.take(underway, Now::read().monotonic);
            return self.receive.give(datagram.buffer);
        }
        self.events.push(LinkEvent::Received(Received {
            packet: Packet {
                buffer: datagram.buffer,
                start: datagram.range.start as u32,
                len: datagram.range.len() as u32,
                segment_size: datagram.segment_size as u32,
            },
            path: path(datagram.socket.index(), datagram.from),
            origin: Origin::Socket,
        }));
    }

    fn sent(&mut self, sent: Sent) {
        self.pool.give(sent.buffer);
        let Err(error) = sent.result else {
            return;
        };
        self.unsent += sent.token;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => self.refused(sent.socket, &error),
            io::ErrorKind::InvalidInput if sent.token > 1 => {
                self.events.push(LinkEvent::RunRefused(sent.socket.index()));
            }
            _ => {}
        }
    }

    /// What the network says of the server, if the socket is still the one that asked.
    fn refused(&mut self, socket: SocketId, error: &io::Error) {
        let present = self.sockets.get(socket.index()).copied().flatten();
        let present = present.is_some_and(|opened| opened.id == socket);
        if present && error.kind() == io::ErrorKind::ConnectionRefused {
            self.events.push(LinkEvent::Refused(socket.index()));
        }
    }

    /// Hands on what has come through a way with faults.
    fn deliver(&mut self, now: Monotonic) {
        while let Some(Underway {
            socket,
            bytes,
            from,
        }) = self.faults.as_mut().and_then(|faults| faults.arrived(now))
        {
            let Some(mut buffer) = self.take_buffer() else {
                self.unsent += 1;
                continue;
            };
            let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) else {
                self.pool.give(buffer);
                continue;
            };
            room.copy_from_slice(&bytes);
            let packet = Packet::single(buffer, 0, bytes.len() as u32);
            match from {
                None => self.pass_on(socket, packet),
                Some(from) => self.events.push(LinkEvent::Received(Received {
                    packet,
                    path: path(socket.index(), from),
                    origin: Origin::Tun,
                })),
            }
        }
    }

    fn pass_on(&mut self, socket: SocketId, packet: Packet) {
        if self.reactor.room().0 == 0 {
            self.make_room();
        }
        let segments = packet.segments() as u64;
        let start = packet.start as usize;
        let outgoing = Outgoing {
            socket,
            to: None,
            local: None,
            class: TrafficClass::DEFAULT,
            range: start..start + packet.len as usize,
            segment_size: packet.segment_size as usize,
            token: segments,
        };
        if let Err((buffer, _)) = self.reactor.send(&outgoing, packet.buffer) {
            self.unsent += segments;
            self.pool.give(buffer);
        }
    }
}

/// Why there is no socket to the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The system did not give or connect one.
    #[error(transparent)]
    Socket(#[from] UdpError),
    /// Others have all ports.
    #[error("no source port is free")]
    Ports,
    /// The ring has no place.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// The way by which the datagrams of a socket come.
pub(super) fn path(socket: usize, remote: SocketAddr) -> Path {
    Path {
        remote,
        local: None,
        socket: socket as u16,
    }
}

/// Buffers that wait in the kernel for datagrams, at most.
const RECEIVE_BUFFERS: usize = 256;
/// Sends that the kernel has at once.
const SENDS: usize = 512;
/// Buffers for what is opened, and for what is put together to be sent.
const OPENED: usize = 128;
