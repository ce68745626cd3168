//! Connections over TCP, which are streams of packets: who has just connected and has no session yet, and
//! what becomes of a session whose stream ends.
//!
//! A session lives where its connection is, whatever the steering would say: nobody else reads it. It is
//! found by its stream, and so is its peer; it never moves. Who has connected has shown already that it
//! receives at its address, so there is no cookie, and its first packet begins the session. Until then it
//! is a stranger, of whom there are so many, and so many of a source, for a bounded time; all that is
//! kept for one is the beginning of a packet.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::half_open::Source;
use super::{Edges, Shard};
use crate::limits::{STREAM_FIRST_PACKET, STREAM_STRANGERS, half_open_per_source};
use crate::node::event::{NodeEvent, StreamRefusal};
use crate::packet::{DropReason, Path};
use crate::session::{ControlDrop, Farewell, LeaveReason};
use crate::time::{Monotonic, Now};
use crate::wire::{BadLength, SessionId};

/// The streams without a session, the oldest first.
#[derive(Debug)]
pub(super) struct StreamStrangers {
    /// Places of one source.
    per_source: usize,
    waiting: VecDeque<StreamStranger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamStranger {
    since: Monotonic,
    stream: u16,
    /// `None` as long as a proxy has not said it.
    source: Option<Source>,
}

impl StreamStrangers {
    /// Nobody yet, in one of so many shards.
    pub(super) fn new(shards: u16) -> Self {
        Self {
            per_source: half_open_per_source(shards),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a newcomer in, of which it may not be known yet who it is. For want of a place the oldest has to
    /// go, of its source if that has too many.
    fn enter(&mut self, stream: u16, source: Option<Source>, now: Monotonic) -> Option<u16> {
        let displaced = match source.and_then(|source| self.oldest_of_many(source)) {
            None => (self.waiting.len() >= STREAM_STRANGERS).then_some(0),
            own => own,
        };
        let displaced = displaced.and_then(|place| self.waiting.remove(place));
        self.waiting.push_back(StreamStranger {
            since: now,
            stream,
            source,
        });
        displaced.map(|stranger| stranger.stream)
    }

    /// It is known now who somebody is. The oldest of its source has to go if that has too many.
    fn name(&mut self, stream: u16, source: Source) -> Option<u16> {
        let displaced = self.oldest_of_many(source);
        let displaced = displaced.and_then(|place| self.waiting.remove(place));
        let mut waiting = self.waiting.iter_mut();
        if let Some(stranger) = waiting.find(|it| it.stream == stream) {
            stranger.source = Some(source);
        }
        displaced.map(|stranger| stranger.stream)
    }

    /// The place of the oldest of a source that has all the places it may have.
    fn oldest_of_many(&self, source: Source) -> Option<usize> {
        let own = |stranger: &StreamStranger| stranger.source == Some(source);
        let of_source = self.waiting.iter().filter(|it| own(it)).count();
        let is_full = of_source >= self.per_source;
        self.waiting.iter().position(own).filter(|_| is_full)
    }

    /// A stream has a session now, or is closed. True if it had none.
    fn leave(&mut self, stream: u16) -> bool {
        let place = self.waiting.iter().position(|it| it.stream == stream);
        place.and_then(|place| self.waiting.remove(place)).is_some()
    }

    /// Takes out one that has taken too long.
    fn expire(&mut self, now: Monotonic) -> Option<u16> {
        self.next_timeout().filter(|at| *at <= now)?;
        self.waiting.pop_front().map(|stranger| stranger.stream)
    }

    /// When the oldest one has taken too long.
    pub(super) fn next_timeout(&self) -> Option<Monotonic> {
        let oldest = self.waiting.front()?;
        Some(oldest.since + STREAM_FIRST_PACKET)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<E: Edges> Shard<E> {
    /// Somebody has connected; a proxy, if that has still to say who it is.
    pub fn stream_opened(&mut self, path: Path, awaits_header: bool) {
        let now = self.io.edges.now().monotonic;
        let source = (!awaits_header).then(|| Source::of(path.remote));
        let displaced = self.stream_strangers.enter(path.socket, source, now);
        self.displace_stream(displaced);
        if !awaits_header {
            self.tell_accepted(path, now);
        }
    }

    /// A proxy has said who is at the other end.
    pub fn stream_named(&mut self, path: Path) {
        let now = self.io.edges.now().monotonic;
        let source = Source::of(path.remote);
        let displaced = self.stream_strangers.name(path.socket, source);
        self.displace_stream(displaced);
        self.tell_accepted(path, now);
    }

    /// A connection that is to come from a proxy does not, or not as one from a proxy does.
    pub fn stream_refused(&mut self, address: SocketAddr, refusal: StreamRefusal) {
        let now = self.io.edges.now().monotonic;
        self.io.drops.count(DropReason::ProxyHeader);
        if self.strangers.admit(now, address) {
            self.publish(NodeEvent::StreamRefused { address, refusal });
        }
    }

    fn tell_accepted(&mut self, path: Path, now: Monotonic) {
        let address = path.remote;
        if self.newcomers.admit(now, address) {
            self.publish(NodeEvent::StreamAccepted { address });
        }
    }

    fn displace_stream(&mut self, displaced: Option<u16>) {
        if let Some(displaced) = displaced {
            self.io.drops.count(DropReason::HalfOpenLimit);
            self.close_stream(displaced);
        }
    }

    /// A stream brings nothing more: its session is over. With an error if nobody ever was at its other
    /// end.
    pub fn stream_ended(&mut self, stream: u16, unconnected: Option<&io::Error>) {
        let now = self.io.edges.now();
        if unconnected.is_some_and(|error| self.could_not_connect(stream, error)) {
            // What becomes of it is told already.
            if let Some(key) = self.connections.by_stream(stream) {
                self.close_dialed(key, Farewell::Silent, now);
                self.service(key, now);
            }
            return self.close_stream(stream);
        }
        // What it brought before is for the session that it has.
        self.serve_data(now);
        self.backlog.forget(stream);
        if let Some(key) = self.connections.by_stream(stream) {
            if let Some(connection) = self.connections.get_mut(key) {
                let reason = LeaveReason::ConnectionReset;
                connection.session.close(now, Farewell::Silent, reason);
            }
            self.service(key, now);
            // Where it was over already it only waited for acknowledgements.
            self.forget(key, now);
        }
        self.close_stream(stream);
    }

    /// A stream can't be read any further.
    pub fn stream_failed(&mut self, path: Path, bad: BadLength) {
        let now = self.io.edges.now().monotonic;
        self.io.drops.count(DropReason::Malformed);
        if self.strangers.admit(now, path.remote) {
            self.publish(NodeEvent::BadStreamLength {
                address: path.remote,
                length: bad.length as u32,
                longest: bad.longest as u32,
            });
        }
        self.stream_ended(path.socket, None);
    }

    /// A stream that does not begin a session is in other hands, or closed if there is no place for it.
    pub fn stream_passed_on(&mut self, path: Path, passed: bool) {
        let now = self.io.edges.now().monotonic;
        self.stream_strangers.leave(path.socket);
        if !passed {
            self.io.drops.count(DropReason::PortShareLimit);
        }
        if self.newcomers.admit(now, path.remote) {
            let address = path.remote;
            self.publish(NodeEvent::StreamPassedOn { address, passed });
        }
    }

    /// A listener could not accept anybody, and will try again.
    pub fn accept_failed(&mut self, error: &io::Error) {
        let now = self.io.edges.now().monotonic;
        let everybody = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        if self.strangers.admit(now, everybody) {
            let text = format!("TCP: connections can't be accepted now: {error}");
            let text = text.as_str().into();
            self.publish(NodeEvent::Warned { text });
        }
    }

    /// The first packet of a stream.
    pub(super) fn greet_stream(
        &mut self,
        path: Path,
        client: SessionId,
        datagram: &mut [u8],
        now: Now,
    ) {
        let Some(protocol) = &mut self.protocol else {
            return self.close_stream(path.socket);
        };
        match protocol.greet_stream(now, &mut *self.random, datagram) {
            Ok(session) => self.meet(session, path, client, datagram, now),
            // It may begin a little later: its client repeats the packet.
            Err(ControlDrop::TooManySessions) => {
                self.refused(path, None, ControlDrop::TooManySessions, now);
            }
            Err(reason) => {
                self.refused(path, None, reason, now);
                self.close_stream(path.socket);
            }
        }
    }

    /// Closes strangers that have taken too long.
    pub(super) fn expire_streams(&mut self) {
        let now = self.io.edges.now().monotonic;
        while let Some(stream) = self.stream_strangers.expire(now) {
            self.close_stream(stream);
        }
    }

    /// A stream has a session.
    pub(super) fn stream_met(&mut self, stream: u16) {
        self.stream_strangers.leave(stream);
    }

    /// Closes a stream that has no session (any more).
    pub(super) fn close_stream(&mut self, stream: u16) {
        self.stream_strangers.leave(stream);
        self.backlog.forget(stream);
        self.io.edges.close_socket(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{FIRST_STREAM, HALF_OPEN_PER_SOURCE};

    fn enter(
        strangers: &mut StreamStrangers,
        stream: u16,
        network: u8,
        seconds: u64,
    ) -> Option<u16> {
        let source = Some(source(network));
        strangers.enter(FIRST_STREAM + stream, source, at(seconds))
    }

    fn source(network: u8) -> Source {
        Source::of(([198, 51, network, 7], 1).into())
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::ZERO + std::time::Duration::from_secs(seconds)
    }

    #[test]
    fn one_source_displaces_its_own_and_all_together_the_oldest() {
        let mut strangers = StreamStrangers::new(1);
        assert_eq!(enter(&mut strangers, 1000, 255, 0), None);
        let own = HALF_OPEN_PER_SOURCE as u16;
        for stream in 0..own {
            assert_eq!(enter(&mut strangers, stream, 0, 1), None);
        }
        for stream in 0..5 {
            let displaced = enter(&mut strangers, own + stream, 0, 2);
            assert_eq!(displaced, Some(FIRST_STREAM + stream));
        }
        let others = STREAM_STRANGERS as u16 - own - 1;
        for stream in 0..others {
            let network = 1 + (stream / 40) as u8;
            assert_eq!(enter(&mut strangers, 2000 + stream, network, 3), None);
        }
        assert_eq!(strangers.len(), STREAM_STRANGERS);
        let displaced = enter(&mut strangers, 3000, 200, 4);
        assert_eq!(displaced, Some(FIRST_STREAM + 1000), "the oldest of all");
        assert_eq!(strangers.len(), STREAM_STRANGERS);
    }

    #[test]
    fn who_says_nothing_goes_and_who_has_a_session_stays() {
        let mut strangers = StreamStrangers::new(1);
        for (stream, since) in [(1, 0), (2, 1), (3, 1)] {
            enter(&mut strangers, stream, 0, since);
        }
        assert!(strangers.leave(FIRST_STREAM + 2));
        assert!(!strangers.leave(FIRST_STREAM + 2));
        let patience = STREAM_FIRST_PACKET.as_secs();
        assert_eq!(strangers.next_timeout(), Some(at(patience)));
        assert_eq!(strangers.expire(at(patience - 1)), None);
        assert_eq!(strangers.expire(at(patience + 1)), Some(FIRST_STREAM + 1));
        assert_eq!(strangers.expire(at(patience + 1)), Some(FIRST_STREAM + 3));
        assert_eq!(strangers.expire(at(patience + 1)), None);
        assert_eq!((strangers.next_timeout(), strangers.len()), (None, 0));
    }

    /// Connections of a proxy are nobody's until it says whose they are; then each source has its places.
    #[test]
    fn who_is_named_later_counts_from_then_on() {
        let mut strangers = StreamStrangers::new(1);
        let own = HALF_OPEN_PER_SOURCE as u16;
        for stream in 0..own + 2 {
            assert_eq!(strangers.enter(FIRST_STREAM + stream, None, at(0)), None);
        }
        for stream in 0..own {
            assert_eq!(strangers.name(FIRST_STREAM + stream, source(1)), None);
        }
        let other = strangers.name(FIRST_STREAM + own, source(2));
        assert_eq!(other, None, "another source");
        let displaced = strangers.name(FIRST_STREAM + own + 1, source(1));
        assert_eq!(displaced, Some(FIRST_STREAM));
        let displaced = enter(&mut strangers, 1000, 1, 1);
        assert_eq!(displaced, Some(FIRST_STREAM + 1));
        assert_eq!(strangers.len(), usize::from(own) + 1);
    }
}
