//! The streams of one shard: packets out of what comes in by them, and into them, in order, what goes out.
//!
//! All that is sent by a stream in a turn is one chain of the kernel, in which nothing follows what was not
//! sent whole. What it did not take is copied into the stream's own memory and leaves from there as soon
//! as there is room; what comes meanwhile waits behind it. So a receiver that does not read costs others
//! nothing: no buffer of the pool waits for it.

mod opening;
mod waiting;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

pub(in crate::node) use self::opening::OpeningRules;
use self::opening::{Opening, Verdict};
use self::waiting::Waiting;
use crate::limits::{
    ACCEPT_PAUSE, BUFFER_SIZE, FIRST_STREAM, SOCKETS_PER_SHARD, STREAM_FAREWELL, STREAM_FAREWELLS,
    STREAM_SENDS,
};
use crate::node::event::StreamRefusal;
use crate::node::porter::PorterDoor;
use crate::node::shard::{Done, Dropped, Outgoing};
use crate::packet::{
    Brought, Buffer, DropReason, FullStreams, Origin, Packet, Path, Pool, Received,
    StreamedPackets, TrafficClass,
};
use crate::reactor::{self, Reactor, Refused, RingError, Sent, SocketId, TcpStream};
use crate::time::Monotonic;
use crate::wire::{BadLength, stream_packets};

/// All streams of a shard.
pub(super) struct Streams {
    rules: StreamRules,
    /// By their number, from [`FIRST_STREAM`] on.
    streams: Vec<Option<Stream>>,
    open: usize,
    /// Those that may have something to send, or to close.
    restless: VecDeque<SocketId>,
    /// Those that are to be closed.
    closing: VecDeque<(Monotonic, SocketId)>,
    /// Those that take nothing more now, and whether that has changed since somebody asked.
    full: FullStreams,
    full_changed: bool,
    /// Listeners that accept nobody until then.
    resting: VecDeque<(Monotonic, SocketId)>,
    /// For what has waited.
    buffers: Vec<Buffer>,
    brought: Brought,
    /// What is looked at first of connections that these listeners accept.
    listeners: Vec<(SocketId, OpeningRules)>,
    /// Where connections go that are not OpenVPN's.
    porter: Option<PorterDoor>,
}

/// What all streams of a node have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct StreamRules {
    /// The most data packets that wait for a receiver.
    pub(in crate::node) queue_limit: usize,
    /// Bytes of the longest packet that is taken.
    pub(in crate::node) packet_max: usize,
}

#[derive(Debug)]
struct Stream {
    socket: SocketId,
    path: Path,
    /// As long as it is not known whose it is.
    opening: Option<Opening>,
    reassembly: StreamedPackets,
    waiting: Waiting,
    /// Sends of this turn.
    in_flight: usize,
    /// The kernel will say when there is room.
    awaits_room: bool,
    /// It was dialed, and nobody is at its other end yet.
    connecting: bool,
    dialed: bool,
    /// Something was ever sent by it.
    has_spoken: bool,
    /// It brings nothing more.
    ended: bool,
    /// A send has failed: nothing more leaves.
    broken: bool,
    /// It is nobody's any more: what waits leaves, and the other side hears of the end behind it.
    closing: bool,
    /// It has heard of it.
    said_goodbye: bool,
}

/// What the beginning of a stream has brought.
pub(super) struct Opened {
    /// Its path, if it is known only now who is at its other end.
    pub(super) named: Option<Path>,
    /// Whose it is.
    pub(super) whose: Whose,
    /// The buffer, unless that is a client's.
    pub(super) free: Option<Buffer>,
}

/// Whose a stream is.
pub(super) enum Whose {
    /// A client's, with its bytes.
    Client(Buffer, Range<usize>),
    /// That can't be told yet, or nothing has come behind.
    Open,
    /// Somebody else's. It is gone: passed on to a web server, or closed.
    Foreign(Path, bool),
    /// Nobody's, and to be closed.
    Refused(Path, StreamRefusal),
}

/// What has become of a connection.
pub(super) enum Accepted {
    /// It is a stream now. If it is not known who is at its other end, that is told later.
    Stream(Path, bool),
    /// It is closed, since it does not come from a proxy.
    Untrusted(SocketAddr),
    /// It was gone already, or there is no place for it.
    None,
}

impl Streams {
    /// No stream yet; `buffers` are kept for what has waited.
    pub(super) fn new(
        rules: StreamRules,
        listeners: Vec<(SocketId, OpeningRules)>,
        porter: Option<PorterDoor>,
        buffers: Vec<Buffer>,
    ) -> Self {
        Self {
            rules,
            streams: Vec::new(),
            open: 0,
            restless: VecDeque::new(),
            closing: VecDeque::new(),
            full: FullStreams::default(),
            full_changed: false,
            resting: VecDeque::new(),
            buffers,
            brought: Brought::default(),
            listeners,
            porter,
        }
    }

    /// Takes a connection that was accepted, unless it is gone already or there is no place for it.
    pub(super) fn accept(
        &mut self,
        reactor: &mut Reactor,
        listener: SocketId,
        stream: TcpStream,
    ) -> Accepted {
        let Ok(remote) = stream.remote() else {
            return Accepted::None;
        };
        let mut listeners = self.listeners.iter();
        let rules = listeners.find_map(|(id, rules)| (*id == listener).then_some(rules));
        let rules = rules.filter(|rules| !rules.is_needless());
        if rules.is_some_and(|rules| !rules.admit(remote)) {
            return Accepted::Untrusted(remote);
        }
        let opening = rules.map(Opening::new);
        let awaits_header = opening.as_ref().is_some_and(Opening::awaits_header);
        match self.add(reactor, stream, remote, opening) {
            Ok(path) => Accepted::Stream(path, awaits_header),
            Err(_) => Accepted::None,
        }
    }

    /// Takes a connection with this peer at its other end, or soon.
    ///
    /// # Errors
    /// There is no place for it.
    pub(super) fn open(
        &mut self,
        reactor: &mut Reactor,
        stream: TcpStream,
        remote: SocketAddr,
    ) -> Result<Path, RingError> {
        self.add(reactor, stream, remote, None)
    }

    fn add(
        &mut self,
        reactor: &mut Reactor,
        stream: TcpStream,
        remote: SocketAddr,
        opening: Option<Opening>,
    ) -> Result<Path, RingError> {
        let connecting = stream.is_dialed();
        let local = stream.local().ok().filter(|_| !connecting);
        // One that can't be told so is only slower.
        let _at_once = stream.send_at_once();
        let socket = match opening {
            Some(_) => reactor.add_stream_step_by_step(stream)?,
            None => reactor.add_stream(stream)?,
        };
        let place = place_of(socket).unwrap_or_default();
        let path = Path {
            remote,
            local,
            socket: FIRST_STREAM + place as u16,
        };
        if place >= self.streams.len() {
            self.streams.resize_with(place + 1, || None);
        }
        self.open += 1;
        self.streams[place] = Some(Stream {
            socket,
            path,
            opening,
            reassembly: StreamedPackets::default(),
            waiting: Waiting::default(),
            in_flight: 0,
            // There is some when it is connected.
            awaits_room: connecting && reactor.await_room(socket).is_ok(),
            connecting,
            dialed: connecting,
            has_spoken: false,
            ended: false,
            broken: false,
            closing: false,
            said_goodbye: false,
        });
        Ok(path)
    }

    /// Looks at what a receive has brought of a stream, as long as it is not known whose it is.
    pub(super) fn look(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        mut buffer: Buffer,
        range: Range<usize>,
    ) -> Opened {
        let mut opened = Opened {
            named: None,
            whose: Whose::Open,
            free: None,
        };
        let Some(stream) = self.find(socket) else {
            opened.free = Some(buffer);
            return opened;
        };
        let Some(opening) = &mut stream.opening else {
            opened.whose = Whose::Client(buffer, range);
            return opened;
        };
        let (named, verdict) = opening.take(buffer.bytes().get(range).unwrap_or_default());
        if let Some(named) = named {
            stream.path.remote = named.source.unwrap_or(stream.path.remote);
            opened.named = Some(stream.path);
        }
        let path = stream.path;
        opened.whose = match verdict {
            Verdict::Open => {
                reactor.receive_again(socket, true);
                Whose::Open
            }
            Verdict::Client(head) => {
                stream.opening = None;
                reactor.receive_again(socket, false);
                // One step and the bytes before it are much less than a buffer.
                match buffer.bytes_mut().get_mut(..head.len()) {
                    Some(room) if !head.is_empty() => {
                        room.copy_from_slice(&head);
                        opened.whose = Whose::Client(buffer, 0..head.len());
                        return opened;
                    }
                    _ => Whose::Open,
                }
            }
            Verdict::Foreign(head) => {
                let passed = self.pass_on(reactor, socket, path.remote, head);
                Whose::Foreign(path, passed)
            }
            Verdict::Refused(refusal) => Whose::Refused(path, refusal),
        };
        opened.free = Some(buffer);
        opened
    }

    /// Passes a stream on to the web server. False if there is no place for it; it is closed then.
    fn pass_on(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        client: SocketAddr,
        head: Vec<u8>,
    ) -> bool {
        let (Some(porter), Some(stream)) = (&self.porter, reactor.take_stream(socket)) else {
            self.remove(reactor, socket);
            return false;
        };
        let passed = porter.pass(stream.into_std(), client, head);
        self.remove(reactor, socket);
        passed
    }

    /// How many connections the node passes on to a web server.
    pub(super) fn passed_on(&self) -> usize {
        self.porter.as_ref().map_or(0, PorterDoor::len)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.open
    }

    /// Packets that wait in all of them.
    pub(super) fn waiting(&self) -> usize {
        let open = self.streams.iter().flatten();
        open.map(|stream| stream.waiting.len()).sum()
    }

    /// Whether a send was one of a stream.
    pub(super) const fn is_theirs(sent: &Sent) -> bool {
        sent.token & TOKEN != 0
    }

    /// The path of a stream that is open.
    pub(super) fn path_of(&mut self, socket: SocketId) -> Option<Path> {
        self.find(socket).map(|stream| stream.path)
    }

    /// Whether something needs nobody's word to go on.
    pub(super) fn can_go_on(&self) -> bool {
        !self.restless.is_empty() && !self.buffers.is_empty()
    }

    /// When something is due by itself, if anything is.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        let firsts = [self.closing.front(), self.resting.front()];
        firsts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// A listener could not accept: it rests.
    pub(super) fn rest(&mut self, listener: SocketId, now: Monotonic) {
        self.resting.push_back((now + ACCEPT_PAUSE, listener));
    }

    /// Gives what a receive has brought to `out`, whole packets only. Returns the buffer if it is free, how
    /// many packets are lost for want of a buffer, and whether there was a length that no packet has:
    /// nothing more can be read from this stream then.
    pub(super) fn receive(
        &mut self,
        socket: SocketId,
        buffer: Buffer,
        range: Range<usize>,
        pool: &mut Pool,
        out: &mut Vec<Received>,
    ) -> (Option<Buffer>, u64, Result<(), BadLength>) {
        let mut brought = std::mem::take(&mut self.brought);
        let longest = self.rules.packet_max;
        let Some(stream) = self.find(socket).filter(|stream| !stream.closing) else {
            self.brought = brought;
            return (Some(buffer), 0, Ok(()));
        };
        let path = stream.path;
        let bytes = buffer.bytes().get(range.clone()).unwrap_or_default();
        let taken = stream.reassembly.take(bytes, longest, &mut brought);
        let mut lost = 0;
        let mut copied = |bytes: &[u8], packets: usize| match copy(bytes, pool) {
            Some(packet) => out.push(Received {
                packet,
                path,
                origin: Origin::Stream,
            }),
            None => lost += packets as u64,
        };
        if let Some(used) = brought.completed {
            copied(stream.reassembly.completed(), 1);
            let end = brought.rows.last().map_or(used, |(row, _)| row.end);
            let rest = bytes.get(end..).filter(|_| taken.is_ok());
            stream.reassembly.begin(rest.unwrap_or_default());
        }
        let last = brought.rows.pop();
        for (row, packets) in brought.rows.drain(..) {
            copied(bytes.get(row).unwrap_or_default(), packets);
        }
        self.brought = brought;
        let Some((row, _)) = last else {
            return (Some(buffer), lost, taken);
        };
        let (start, length) = (range.start + row.start, row.len());
        out.push(Received {
            packet: Packet::single(buffer, start as u32, length as u32),
            path,
            origin: Origin::Socket,
        });
        (None, lost, taken)
    }

    /// Sends packets, each behind its length, after those that wait. What is done at once goes to `done`.
    ///
    /// # Errors
    /// What is dropped, and why.
    pub(super) fn send(
        &mut self,
        reactor: &mut Reactor,
        outgoing: Outgoing,
        done: &mut VecDeque<Done>,
    ) -> Result<(), Dropped> {
        let stream = self.by_path(&outgoing.path);
        let Some(stream) = stream.filter(|stream| !stream.broken && !stream.closing) else {
            return Err(dropped(outgoing.packet, DropReason::StreamClosed));
        };
        let Packet {
            buffer, start, len, ..
        } = outgoing.packet;
        let range = start as usize..(start + len) as usize;
        let socket = stream.socket;
        stream.has_spoken = true;
        let sent = match stream.waiting.is_empty() {
            true => stream.begin(reactor, buffer, range.clone(), TOKEN),
            false => {
                stream.wait(buffer, range.clone(), 0, done);
                Ok(())
            }
        };
        let sent = match sent {
            Err((buffer, Refused::QueueFull(_))) => {
                stream.wait(buffer, range, 0, done);
                self.restless.push_back(socket);
                Ok(())
            }
            Err((buffer, _)) => {
                let packet = Packet::single(buffer, start, len);
                Err(dropped(packet, DropReason::SendError))
            }
            Ok(()) => Ok(()),
        };
        self.note_room(socket);
        sent
    }

    /// Takes a send back from the kernel. What it did not take waits.
    pub(super) fn complete(
        &mut self,
        reactor: &mut Reactor,
        sent: Sent,
        done: &mut VecDeque<Done>,
    ) {
        let has_waited = sent.token & WAITED != 0;
        let (count, broken) = match sent.result {
            Ok(count) => (count, false),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ECANCELED | libc::ENOBUFS) => (0, false),
                _ => (0, true),
            },
        };
        let length = sent.range.len();
        let mut buffer = Some(sent.buffer);
        if let Some(stream) = self.find(sent.socket) {
            stream.in_flight = stream.in_flight.saturating_sub(1);
            // Had the kernel gone on behind what it did not send whole, bytes would be missing.
            stream.broken |= broken || (!has_waited && count > 0 && !stream.waiting.is_empty());
            if stream.broken {
                stream.waiting = Waiting::default();
                // It ends for its receiver, too.
                reactor.shut_down(stream.socket);
            } else if has_waited {
                stream.waiting.sent(count);
            } else if count < length
                && let Some(buffer) = buffer.take()
            {
                stream.wait(buffer, sent.range, count, done);
            }
            stream.ask_for_room(reactor, count < length);
            let socket = stream.socket;
            if stream.is_restless() {
                self.restless.push_back(socket);
            }
            self.note_room(socket);
        }
        match buffer {
            Some(buffer) if has_waited => self.buffers.push(buffer),
            buffer => done.extend(buffer.map(Done::Free)),
        }
    }

    /// Whether a socket is a stream, or was one.
    pub(super) fn is_stream(socket: SocketId) -> bool {
        place_of(socket).is_some()
    }

    /// A stream has room again. True if it is connected with that.
    pub(super) fn has_room(&mut self, reactor: &Reactor, socket: SocketId) -> bool {
        let Some(stream) = self.find(socket) else {
            return false;
        };
        if stream.connecting && !reactor.is_connected(socket) {
            // Its receive says why, if nobody has asked before.
            return false;
        }
        stream.awaits_room = false;
        let connected = std::mem::replace(&mut stream.connecting, false);
        self.restless.push_back(socket);
        connected
    }

    /// Whether nobody was ever at the other end of a stream.
    pub(super) fn is_connecting(&mut self, socket: SocketId) -> bool {
        self.find(socket).is_some_and(|stream| stream.connecting)
    }

    /// Sends what waits where there is room, closes what has nothing more to send or takes too long, and lets
    /// listeners accept again.
    pub(super) fn go_on(&mut self, reactor: &mut Reactor, now: Monotonic) {
        for _ in 0..self.restless.len() {
            let Some(socket) = self.restless.pop_front() else {
                break;
            };
            if !self.send_waiting(reactor, socket) {
                self.restless.push_front(socket);
                break;
            }
        }
        while let Some(&(at, socket)) = self.closing.front()
            && at <= now
        {
            self.closing.pop_front();
            self.remove(reactor, socket);
        }
        while let Some(&(at, listener)) = self.resting.front()
            && at <= now
        {
            self.resting.pop_front();
            reactor.accept_again(listener);
        }
    }

    /// Closes a stream. Who was told something by it is to hear the last of it: that leaves first, then the
    /// other side is told the end and has a while to close its own. Others are closed at once, and so is the
    /// oldest of those if there are too many.
    pub(super) fn close(&mut self, reactor: &mut Reactor, number: u16, now: Monotonic) {
        let Some(stream) = self.by_number(number) else {
            return;
        };
        let socket = stream.socket;
        if stream.is_over() || !stream.has_spoken {
            return self.remove(reactor, socket);
        }
        if !std::mem::replace(&mut stream.closing, true) {
            stream.say_goodbye(reactor);
            self.closing.push_back((now + STREAM_FAREWELL, socket));
            if self.closing.len() > STREAM_FAREWELLS
                && let Some((_, oldest)) = self.closing.pop_front()
            {
                self.remove(reactor, oldest);
            }
        }
    }

    /// A stream brings nothing more.
    pub(super) fn has_ended(&mut self, socket: SocketId) {
        if let Some(stream) = self.find(socket) {
            stream.ended = true;
        }
    }

    /// Which streams take nothing more now, if that has changed since it was asked for.
    pub(super) fn full(&mut self) -> Option<&FullStreams> {
        std::mem::take(&mut self.full_changed).then_some(&self.full)
    }

    /// Notes whether a stream takes more.
    fn note_room(&mut self, socket: SocketId) {
        let limit = self.rules.queue_limit;
        let Some(stream) = self.find(socket) else {
            return;
        };
        let is_full = stream.waiting.data() >= limit || stream.in_flight >= STREAM_SENDS;
        let number = stream.path.socket;
        self.full_changed |= self.full.set(number, is_full);
    }

    fn remove(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let place = place_of(socket);
        if let Some(place) = place.and_then(|place| self.streams.get_mut(place))
            && let Some(stream) = place.take_if(|stream| stream.socket == socket)
        {
            self.open -= 1;
            // The next one of this number has room.
            self.full_changed |= self.full.set(stream.path.socket, false);
            self.closing.retain(|(_, other)| *other != socket);
            // One that is gone already is closed.
            let _closed = reactor.remove_socket(socket);
        }
    }

    /// Sends what waits for a stream. False if that has to be tried again.
    fn send_waiting(&mut self, reactor: &mut Reactor, socket: SocketId) -> bool {
        let mut spare = self.buffers.pop();
        let Some(stream) = self.find(socket) else {
            self.buffers.extend(spare);
            return true;
        };
        if stream.closing {
            stream.say_goodbye(reactor);
        }
        let is_closed = stream.closing && stream.is_over();
        let mut tried = true;
        if !stream.waiting.is_empty() && stream.can_send() {
            let Some(mut buffer) = spare.take() else {
                return false;
            };
            let room = buffer.bytes_mut().get_mut(..WAITING_AT_ONCE);
            let length = stream.waiting.copy_to(room.unwrap_or_default());
            if let Err((buffer, _)) = stream.begin(reactor, buffer, 0..length, TOKEN | WAITED) {
                spare = Some(buffer);
                tried = false;
            }
        }
        self.buffers.extend(spare);
        match is_closed {
            true => self.remove(reactor, socket),
            false => self.note_room(socket),
        }
        tried
    }

    fn find(&mut self, socket: SocketId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(place_of(socket)?)?.as_mut()?;
        (stream.socket == socket).then_some(stream)
    }

    fn by_path(&mut self, path: &Path) -> Option<&mut Stream> {
        let stream = self.by_number(path.socket)?;
        (stream.path.remote == path.remote).then_some(stream)
    }

    fn by_number(&mut self, number: u16) -> Option<&mut Stream> {
        let place = usize::from(number.checked_sub(FIRST_STREAM)?);
        self.streams.get_mut(place)?.as_mut()
    }
}

impl Stream {
    /// Hands one send to the reactor.
    fn begin(
        &mut self,
        reactor: &mut Reactor,
        buffer: Buffer,
        range: Range<usize>,
        token: u64,
    ) -> Result<(), (Buffer, Refused)> {
        let outgoing = reactor::Outgoing {
            socket: self.socket,
            to: None,
            local: None,
            class: TrafficClass::DEFAULT,
            segment_size: range.len(),
            range,
            token,
        };
        reactor.send(&outgoing, buffer)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Copies packets behind those that wait.
    fn wait(
        &mut self,
        buffer: Buffer,
        range: Range<usize>,
        sent: usize,
        done: &mut VecDeque<Done>,
    ) {
        let packets = buffer.bytes().get(range).unwrap_or_default();
        let lost = self.waiting.push(packets, sent);
        done.push_back(Done::Free(buffer));
        if lost > 0 {
            done.push_back(Done::Dropped(Dropped {
                buffer: None,
                reason: DropReason::StreamFull,
                packets: lost as u64,
            }));
        }
    }

    fn ask_for_room(&mut self, reactor: &mut Reactor, is_full: bool) {
        if is_full && !self.broken && !self.awaits_room {
            self.awaits_room = reactor.await_room(self.socket).is_ok();
        }
    }

    /// Tells the other side the end, once all has left.
    fn say_goodbye(&mut self, reactor: &Reactor) {
        if self.has_sent_all() && !std::mem::replace(&mut self.said_goodbye, true) {
            reactor.finish_sending(self.socket);
        }
    }

    fn has_sent_all(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    /// Whether nothing would come of it any more.
    fn is_over(&self) -> bool {
        let is_done = match self.dialed {
            true => self.waiting.is_empty(),
            false => self.ended && self.has_sent_all(),
        };
        is_done || self.broken || self.connecting
    }

    const fn can_send(&self) -> bool {
        self.in_flight == 0 && !self.awaits_room && !self.broken
    }

    /// Whether there is something to do for it that nobody will say again.
    fn is_restless(&self) -> bool {
        match self.waiting.is_empty() {
            true => self.closing && self.in_flight == 0 && (self.is_over() || !self.said_goodbye),
            false => self.can_send(),
        }
    }
}

/// Where a stream stands here: the reactor counts them behind all other sockets.
fn place_of(socket: SocketId) -> Option<usize> {
    socket.index().checked_sub(SOCKETS_PER_SHARD)
}

fn dropped(packet: Packet, reason: DropReason) -> Dropped {
    Dropped {
        packets: stream_packets(packet.bytes()).count() as u64,
        buffer: Some(packet.buffer),
        reason,
    }
}

fn copy(bytes: &[u8], pool: &mut Pool) -> Option<Packet> {
    let mut buffer = pool.take()?;
    let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) else {
        pool.give(buffer);
        return None;
    };
    room.copy_from_slice(bytes);
    Some(Packet::single(buffer, 0, bytes.len() as u32))
}

/// Marks the sends of streams.
const TOKEN: u64 = 1 << 63;
/// Those of what has waited.
const WAITED: u64 = 1 << 62;
/// How much of that one send has.
const WAITING_AT_ONCE: usize = BUFFER_SIZE;

#[cfg(test)]
mod tests;
