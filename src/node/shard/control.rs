//! A shard's control path: datagrams and timers into sessions, and the datagrams of sessions out.

use super::backlog::Waiting;
use super::connections::{Connection, Key};
use super::half_open::Room;
use super::{Edges, Shard, State, narrate};
use crate::limits::HANDSHAKE_BUDGET;
use crate::node::event::{ClientEvent, NodeEvent};
use crate::packet::{DropReason, Path, Refusal, Traffic, seal_payload};
use crate::session::{Activity, Class, ControlDrop, Greeting, OpenVpn2, Session, SessionEvent};
use crate::time::Now;
use crate::wire::SessionId;

impl<E: Edges> Shard<E> {
    /// Serves waiting control datagrams, for a bounded time: a flood of handshakes must not hold
    /// up data.
    pub(super) fn serve_control(&mut self) {
        let mut now = self.io.edges.now();
        let start = now.monotonic;
        while let Some(Waiting { path, mut datagram }) = self.backlog.pop() {
            self.handle_control(path, &mut datagram, now);
            // After the step: one can take longer than the whole budget.
            now = self.io.edges.now();
            if now.monotonic.since(start) >= HANDSHAKE_BUDGET {
                break;
            }
        }
    }

    fn handle_control(&mut self, path: Path, datagram: &mut [u8], now: Now) {
        let Class::Control(client) = OpenVpn2::classify(datagram) else {
            self.io.drops.count(DropReason::Malformed);
            if path.is_stream() && self.connections.by_stream(path.socket).is_none() {
                self.close_stream(path.socket);
            }
            return;
        };
        let known = match path.is_stream() {
            true => self.connections.by_stream(path.socket),
            false => self
                .connections
                .dialed_on(path.socket)
                .or_else(|| self.connections.by_control(client, path.remote)),
        };
        let Some(key) = known else {
            if matches!(self.state, State::Stopping(_)) {
                // Who is answered now would wait for a server that is gone; who is not, asks again.
                return self.io.drops.count(DropReason::UnknownSession);
            }
            if path.is_stream() {
                return self.greet_stream(path, client, datagram, now);
            }
            return self.greet(path, client, datagram, now);
        };
        self.hear(key, path, datagram, now);
    }

    /// A datagram of a session.
    fn hear(&mut self, key: Key, path: Path, datagram: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let length = datagram.len() as u64;
        let handled = connection
            .session
            .handle_datagram(now, &mut *self.random, datagram);
        match handled {
            Ok(()) => {
                self.connections.spoke(key);
                self.count_control(key, |traffic| traffic.received_bytes += length);
                self.notice_answer(key);
            }
            Err(reason) => self.refused(path, Some(key), reason, now),
        }
        self.service(key, now);
    }

    /// A datagram of nobody that we know.
    fn greet(&mut self, path: Path, client: SessionId, datagram: &mut [u8], now: Now) {
        let Some(protocol) = &mut self.protocol else {
            return self.io.drops.count(DropReason::UnknownSession);
        };
        let mut answer = std::mem::take(&mut self.scratch);
        let greeting = protocol.greet(now, &mut *self.random, path.remote, datagram, &mut answer);
        match greeting {
            Ok(Greeting::Answer) => self.io.send_bytes(&answer, path, None),
            Ok(Greeting::Session(session)) => self.meet(*session, path, client, datagram, now),
            Err(reason) => self.refused(path, None, reason, now),
        }
        self.scratch = answer;
        if let Some(notice) = self.protocol.as_mut().and_then(OpenVpn2::take_notice) {
            self.publish(NodeEvent::Contacts(notice));
        }
    }

    /// A stranger that has shown that it receives at its address.
    pub(super) fn meet(
        &mut self,
        session: Session,
        path: Path,
        client: SessionId,
        datagram: &mut [u8],
        now: Now,
    ) {
        match self.connections.room_for(path.remote, now.monotonic) {
            Room::Free => {}
            Room::Displacing(other) => {
                self.io.drops.count(DropReason::HalfOpenLimit);
                self.forget(other, now);
            }
            // Its client repeats the datagram.
            Room::None => return self.io.drops.count(DropReason::HalfOpenLimit),
        }
        let key = self.connections.insert(now, session, path, client);
        if path.is_stream() {
            self.stream_met(path.socket);
        }
        if self.newcomers.admit(now.monotonic, path.remote) {
            self.tell(key, ClientEvent::TlsStarted { session: client });
        }
        self.hear(key, path, datagram, now);
    }

    /// Counts a refused control datagram, and tells of it where that is allowed.
    pub(super) fn refused(&mut self, path: Path, key: Option<Key>, reason: ControlDrop, now: Now) {
        self.io.drops.count(narrate::drop_reason(reason));
        let Some(refusal) = narrate::stranger_refusal(reason) else {
            return;
        };
        if !self.strangers.admit(now.monotonic, path.remote) {
            return;
        }
        match key.and_then(|key| self.connections.get(key)) {
            Some(connection) => {
                let client = connection.tag.clone();
                self.publish(NodeEvent::client(client, ClientEvent::WrapRefused(refusal)));
            }
            None => {
                self.publish(NodeEvent::StrangerRefused {
                    address: path.remote,
                    refusal,
                });
            }
        }
    }

    /// Tells of a data packet that was refused in a client's name, where that is allowed.
    pub(super) fn packet_refused(&mut self, key: Key, refusal: Refusal, now: Now) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let agreed = connection.session.agreement();
        let aead = agreed.is_none_or(|agreement| agreement.cipher.digest().is_none());
        if self.strangers.admit(now.monotonic, connection.path.remote) {
            self.tell(key, narrate::data_refusal(refusal, aead));
        }
    }

    /// A timer of the wheel: the session's own clock says what is due.
    pub(super) fn timer_fired(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.alarm.rings(now.monotonic) {
            return;
        }
        self.replace_worn_key(key, now);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let due = connection
            .session
            .next_timeout()
            .is_some_and(|at| at <= now.monotonic);
        if due {
            let tunnel = connection.standing.tunnel();
            let peer = tunnel.and_then(|tunnel| self.peers.peer(tunnel.peer));
            let activity = peer.map_or_else(Activity::default, |peer| Activity {
                sent: peer.last_sent,
                received: peer.last_received,
            });
            connection
                .session
                .handle_timeout(now, &mut *self.random, activity);
        }
        self.end_if_inactive(key, now);
        self.end_in_time(key, now);
        self.service(key, now);
    }

    /// Carries out what a session has to say, and sets its next timer.
    pub(super) fn service(&mut self, key: Key, now: Now) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            let Some(event) = connection.session.poll_event() else {
                break;
            };
            if matches!(event, SessionEvent::Finished) {
                self.transmit(key, now);
                return self.forget(key, now);
            }
            self.session_event(key, event, now);
        }
        self.transmit(key, now);
        if self.has_hung_up(key) {
            return self.forget(key, now);
        }
        let looks = [
            self.look_for_activity(key, now),
            self.look_for_life(key, now),
        ];
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let next = connection.session.next_timeout();
        let looks = looks.into_iter().flatten();
        if let Some(next) = next.into_iter().chain(looks).min() {
            connection.alarm.set(&mut self.wheel, next, key);
        }
    }

    fn transmit(&mut self, key: Key, now: Now) {
        let mut datagram = std::mem::take(&mut self.scratch);
        while let Some(connection) = self.connections.get_mut(key) {
            if !connection.session.poll_transmit(now, &mut datagram) {
                break;
            }
            let path = connection.path;
            let length = datagram.len() as u64;
            self.count_control(key, |traffic| traffic.sent_bytes += length);
            let peer = self.peer_of(key);
            self.io.send_bytes(&datagram, path, peer);
        }
        self.scratch = datagram;
    }

    /// Seals a payload of our own and sends it.
    pub(super) fn send_payload(&mut self, key: Key, payload: &[u8], now: Now) {
        let Some(peer) = self.peer_of(key) else {
            return;
        };
        self.follow_streams();
        let (peers, pool) = (&mut self.peers, &mut self.io.pool);
        match seal_payload(peers, peer, payload, pool, now.monotonic) {
            Ok(datagram) => self.io.send(datagram),
            Err(reason) => self.io.drops.count(reason),
        }
    }

    fn count_control(&mut self, key: Key, count: impl FnOnce(&mut Traffic)) {
        if let Some(peer) = self.peer_of(key).and_then(|peer| self.peers.peer_mut(peer)) {
            count(&mut peer.traffic);
        }
    }

    /// Publishes what happened to a client.
    pub(super) fn tell(&mut self, key: Key, event: ClientEvent) {
        if let Some(Connection { tag, dialed, .. }) = self.connections.get(key) {
            let (dialed, tag) = (dialed.is_some(), tag.clone());
            self.publish(match dialed {
                true => NodeEvent::Server {
                    server: tag,
                    event: Box::new(event),
                },
                false => NodeEvent::client(tag, event),
            });
        }
    }
}
