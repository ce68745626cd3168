//! A shard's control path: datagrams, timers and the node thread's decisions into sessions, and
//! what sessions say out of them.

use std::collections::VecDeque;
use std::time::Duration;

use super::connections::{Client, Connection, Key, Standing};
use super::{Shard, narrate};
use crate::limits::{CONTROL_BACKLOG, CONTROL_DATAGRAM_MAX, HALF_OPEN_MAX, HANDSHAKE_BUDGET};
use crate::node::event::{
    AdmissionRefusal, ClientEvent, ClientTag, DataChannel, KeyAge, NodeEvent, Text,
};
use crate::node::leases::Addresses;
use crate::node::message::Report;
use crate::node::registry::SessionAt;
use crate::packet::{
    DropReason, InnerAddresses, NewPeer, Numbering, Packet, Path, PeerIndex, Received, Refusal,
    Traffic, seal_payload,
};
use crate::session::{
    Activity, Admission, Class, ControlDrop, Farewell, Greeting, LeaveReason, OpenVpn2, Session,
    SessionEvent,
};
use crate::time::Now;
use crate::wire::{OccMessage, PING, PeerId, SessionId};

/// Control datagrams that wait for their turn, copied out of their receive buffers.
pub(super) struct Backlog(VecDeque<(Path, Vec<u8>)>);

impl Backlog {
    pub(super) fn new() -> Self {
        Self(VecDeque::with_capacity(CONTROL_BACKLOG))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies a datagram.
    ///
    /// # Errors
    /// Why it is dropped.
    pub(super) fn push(&mut self, received: &Received) -> Result<(), DropReason> {
        let bytes = received.packet.bytes();
        if bytes.len() > CONTROL_DATAGRAM_MAX {
            return Err(DropReason::Oversized);
        }
        if self.0.len() >= CONTROL_BACKLOG {
            return Err(DropReason::QueueFull);
        }
        self.0.push_back((received.path, bytes.to_vec()));
        Ok(())
    }
}

impl Shard {
    /// Serves waiting control datagrams, for a bounded time: a flood of handshakes must not hold
    /// up data.
    pub(super) fn serve_control(&mut self) {
        let start = Now::read().monotonic;
        while let Some((path, mut datagram)) = self.backlog.0.pop_front() {
            let now = Now::read();
            self.handle_control(path, &mut datagram, now);
            if now.monotonic.since(start) >= HANDSHAKE_BUDGET {
                break;
            }
        }
    }

    fn handle_control(&mut self, path: Path, datagram: &mut [u8], now: Now) {
        let Class::Control(client) = OpenVpn2::classify(datagram) else {
            self.edges.drops.count(DropReason::Malformed);
            return;
        };
        let Some(key) = self.connections.by_control(client, path.remote) else {
            return self.greet(path, client, datagram, now);
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let length = datagram.len() as u64;
        let handled = connection
            .session
            .handle_datagram(now, &mut self.random, datagram);
        match handled {
            Ok(()) => self.count_control(key, |traffic| traffic.received_bytes += length),
            Err(reason) => self.refused(path, Some(key), reason, now),
        }
        self.service(key, now);
    }

    /// A datagram of nobody that we know.
    fn greet(&mut self, path: Path, client: SessionId, datagram: &mut [u8], now: Now) {
        let mut answer = std::mem::take(&mut self.scratch);
        let greeting =
            self.protocol
                .greet(now, &mut self.random, path.remote, datagram, &mut answer);
        match greeting {
            Ok(Greeting::Answer) => self.send_bytes(path, &answer),
            Ok(Greeting::Session(session)) => self.meet(*session, path, client, datagram, now),
            Err(reason) => self.refused(path, None, reason, now),
        }
        self.scratch = answer;
    }

    /// A stranger that has shown that it receives at its address.
    fn meet(
        &mut self,
        session: Session,
        path: Path,
        client: SessionId,
        datagram: &mut [u8],
        now: Now,
    ) {
        let (strangers, silent) = self.connections.half_open();
        if strangers >= HALF_OPEN_MAX
            && let Some(silent) = silent
        {
            self.edges.drops.count(DropReason::HalfOpenLimit);
            self.forget(silent, now);
        }
        let key = self.connections.insert(now, session, path, client);
        self.tell(key, ClientEvent::TlsStarted { session: client });
        if let Some(connection) = self.connections.get_mut(key)
            && let Err(reason) = connection
                .session
                .handle_datagram(now, &mut self.random, datagram)
        {
            self.refused(path, Some(key), reason, now);
        }
        self.service(key, now);
    }

    /// Counts a refused control datagram, and tells of it where that is allowed.
    fn refused(&mut self, path: Path, key: Option<Key>, reason: ControlDrop, now: Now) {
        self.edges.drops.count(narrate::drop_reason(reason));
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
        let address = self
            .connections
            .get(key)
            .map(|connection| connection.path.remote);
        if address.is_some_and(|address| self.strangers.admit(now.monotonic, address)) {
            self.tell(key, narrate::data_refusal(refusal));
        }
    }

    /// A timer of the wheel: the session's own clock says what is due.
    pub(super) fn timer_fired(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.scheduled = None;
        let due = connection
            .session
            .next_timeout()
            .is_some_and(|at| at <= now.monotonic);
        if due {
            let activity = match &connection.standing {
                Standing::Client(client) => {
                    self.peers
                        .peer(client.peer)
                        .map_or_else(Activity::default, |peer| Activity {
                            sent: peer.last_sent,
                            received: peer.last_received,
                        })
                }
                _ => Activity::default(),
            };
            connection
                .session
                .handle_timeout(now, &mut self.random, activity);
        }
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
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(next) = connection.session.next_timeout()
            && connection
                .scheduled
                .is_none_or(|scheduled| next < scheduled)
        {
            connection.scheduled = Some(next);
            self.wheel.set(next, key);
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
            self.send_bytes(path, &datagram);
        }
        self.scratch = datagram;
    }

    fn send_bytes(&mut self, path: Path, bytes: &[u8]) {
        let Some(mut buffer) = self.edges.pool.take() else {
            self.edges.drops.count(DropReason::PoolEmpty);
            return;
        };
        if let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        let packet = Packet::single(buffer, 0, bytes.len() as u32);
        self.edges.send(packet, path);
    }

    fn session_event(&mut self, key: Key, event: SessionEvent, now: Now) {
        match event {
            SessionEvent::Secured {
                certificate,
                negotiated,
            } => {
                for told in narrate::secured(&certificate, negotiated) {
                    self.tell(key, told);
                }
            }
            SessionEvent::Authenticated(admission) => self.ask_admission(key, *admission),
            SessionEvent::Keys { key_id, keys } => {
                if let Some(peer) = self.peer_of(key).and_then(|peer| self.peers.peer_mut(peer)) {
                    peer.keys.install(key_id, *keys);
                }
            }
            SessionEvent::Promoted(key_id) => {
                if let Some(peer) = self.peer_of(key).and_then(|peer| self.peers.peer_mut(peer)) {
                    // Keys come before their promotion; a peer that has lost them sends nothing.
                    let _missing = peer.keys.send_with(key_id);
                }
            }
            SessionEvent::Retired(key_id) => {
                if let Some(peer) = self.peer_of(key).and_then(|peer| self.peers.peer_mut(peer)) {
                    peer.keys.retire(key_id);
                }
            }
            SessionEvent::Pushed(messages) => {
                for message in messages {
                    self.tell(
                        key,
                        ClientEvent::ControlSent {
                            message: message.into(),
                        },
                    );
                }
            }
            SessionEvent::Connected => self.connected(key),
            SessionEvent::Renegotiating => self.renegotiating(key, now),
            SessionEvent::Renegotiated { .. } => {}
            SessionEvent::RenegotiationFailed(reason) => {
                for told in narrate::failed(&reason, self.protocol.settings()) {
                    self.tell(key, told);
                }
            }
            SessionEvent::PingDue => self.send_payload(key, &PING, now),
            SessionEvent::ExitNoticeDue => {
                let mut notice = Vec::new();
                OccMessage::Exit.emit(&mut notice);
                self.send_payload(key, &notice, now);
            }
            SessionEvent::Left(reason) => self.left(key, &reason, now),
            // A server's session is not configured by its peer; `service` takes the last one.
            SessionEvent::Configured(_) | SessionEvent::Finished => {}
        }
    }

    /// Seals a payload of our own and sends it.
    fn send_payload(&mut self, key: Key, payload: &[u8], now: Now) {
        let Some(peer) = self.peer_of(key) else {
            return;
        };
        let (peers, pool) = (&mut self.peers, &mut self.edges.pool);
        match seal_payload(peers, peer, payload, pool, now.monotonic) {
            Ok(datagram) => self.edges.send(datagram.packet, datagram.path),
            Err(reason) => self.edges.drops.count(reason),
        }
    }

    /// The client is known; the registry says whether it may come in.
    fn ask_admission(&mut self, key: Key, admission: Admission) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let name: Text = admission.identity.common_name.as_str().into();
        let nameless = connection.tag.clone();
        connection.tag = ClientTag::named(nameless.address, name.clone());
        connection.standing = Standing::Admitting {
            numbered: admission.peer_info.proto().data_v2(),
        };
        let lines = narrate::peer_info(&admission.peer_info);
        self.publish(NodeEvent::client(nameless, ClientEvent::PeerInfo { lines }));
        self.tell(key, ClientEvent::PeerInitiated);
        let session = self.name(key);
        self.report(Report::Admit { session, name });
    }

    /// The registry lets a session in.
    pub(super) fn admit(&mut self, session: u64, client_id: u64, addresses: Addresses, now: Now) {
        let key = Key::from_u64(session);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Standing::Admitting { numbered } = connection.standing else {
            return;
        };
        let numbering = if numbered {
            Numbering::PeerId
        } else {
            Numbering::FourTuple
        };
        let new = NewPeer {
            path: connection.path,
            numbering,
            mtu: self.network.mtu,
            mssfix: self.network.mssfix,
        };
        let Ok(peer) = self.peers.insert(new, now.monotonic) else {
            let max = self.network.max_clients as usize;
            return self.refuse(session, AdmissionRefusal::MaxClients { max }, now);
        };
        let inner = InnerAddresses {
            v4: addresses.v4,
            v6: addresses.v6,
        };
        self.peers.assign(peer, inner);
        self.connections.attach(key, peer);
        let peer_id = self
            .peers
            .peer(peer)
            .map_or(PeerId::NONE, |peer| peer.peer_id());
        let grant = self.network.grant(peer_id, addresses);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.standing = Standing::Client(Client {
                peer,
                client_id,
                addresses,
                cipher: Text::from(""),
                key_since: now.monotonic,
                key_traffic: Traffic::default(),
            });
            connection.session.admit(now, &mut self.random, &grant);
        }
        self.tell(
            key,
            ClientEvent::PoolReturned {
                v4: addresses.v4,
                v6: addresses.v6,
            },
        );
        for address in inner.iter() {
            self.tell(key, ClientEvent::Learned { address });
        }
        self.service(key, now);
    }

    /// The registry turns a session away.
    pub(super) fn refuse(&mut self, session: u64, refusal: AdmissionRefusal, now: Now) {
        let key = Key::from_u64(session);
        self.tell(key, ClientEvent::AdmissionRefused(refusal));
        if let Some(connection) = self.connections.get_mut(key) {
            connection.standing = Standing::Leaving;
            let reason = narrate::refusal(refusal);
            connection.session.refuse(now, &mut self.random, reason);
        }
        self.service(key, now);
    }

    /// A newer session has this one's name. Wire: stock drops the older one without a word.
    pub(super) fn release(&mut self, session: u64, now: Now) {
        let key = Key::from_u64(session);
        match self.connections.get_mut(key) {
            Some(connection) => {
                connection
                    .session
                    .close(now, Farewell::Silent, LeaveReason::Replaced);
                self.tell(key, ClientEvent::Replacing);
                self.service(key, now);
            }
            // It left by itself in the meantime; the registry has been told, or is now.
            None => {
                let session = SessionAt {
                    shard: self.number,
                    session,
                };
                self.report(Report::Gone { session });
            }
        }
    }

    /// A new key is being agreed on: what the present one did.
    fn renegotiating(&mut self, key: Key, now: Now) {
        let latest = self
            .protocol
            .settings()
            .timing
            .renegotiation
            .map(|reneg| reneg.latest);
        let Some(Connection {
            standing: Standing::Client(client),
            ..
        }) = self.connections.get_mut(key)
        else {
            return;
        };
        let Some(traffic) = self.peers.peer(client.peer).map(|peer| peer.traffic) else {
            return;
        };
        let age = KeyAge {
            age: now.monotonic.since(client.key_since).as_secs(),
            age_max: latest.map_or(0, |latest| latest.as_secs()),
            bytes: sum_bytes(&traffic) - sum_bytes(&client.key_traffic),
            packets: sum_packets(&traffic) - sum_packets(&client.key_traffic),
        };
        client.key_since = now.monotonic;
        client.key_traffic = traffic;
        self.tell(key, ClientEvent::Renegotiating(age));
    }

    fn connected(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(agreement) = connection.session.agreement() else {
            return;
        };
        let cipher = agreement.cipher.name();
        let protocol_flags = narrate::protocol_flags(agreement).into();
        let Standing::Client(client) = &mut connection.standing else {
            return;
        };
        client.cipher = cipher.into();
        let Some(peer) = self.peers.peer(client.peer) else {
            return;
        };
        let peer_id = peer.peer_id();
        let timing = self.protocol.settings().timing;
        let seconds =
            |interval: Option<Duration>| interval.map_or(0, |interval| interval.as_secs());
        let channel = DataChannel {
            cipher,
            peer_id,
            ping: seconds(timing.ping),
            ping_restart: seconds(timing.ping_restart),
            protocol_flags,
        };
        self.tell(key, ClientEvent::DataChannel(channel));
    }

    /// The session's tunnel is over: its name and addresses are free.
    fn left(&mut self, key: Key, reason: &LeaveReason, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let standing = std::mem::replace(&mut connection.standing, Standing::Leaving);
        for told in narrate::left(reason, &standing, self.protocol.settings()) {
            self.tell(key, told);
        }
        self.give_up_place(key, &standing, now);
    }

    /// Takes a session's place in the data path and the registry back.
    fn give_up_place(&mut self, key: Key, standing: &Standing, now: Now) {
        if let Standing::Client(client) = standing {
            self.connections.detach(client.peer);
            self.peers.remove(client.peer, now.monotonic);
        }
        if matches!(standing, Standing::Client(_) | Standing::Admitting { .. }) {
            let session = self.name(key);
            self.report(Report::Gone { session });
        }
    }

    /// Removes a session, whatever it was.
    fn forget(&mut self, key: Key, now: Now) {
        if let Some(connection) = self.connections.remove(key) {
            self.give_up_place(key, &connection.standing, now);
        }
    }

    /// The peer table has adopted another path.
    pub(super) fn floated(&mut self, key: Key, to: Path) {
        let peer_id = self
            .peer_of(key)
            .and_then(|peer| self.peers.peer(peer))
            .map(|peer| peer.peer_id());
        if let Some(peer_id) = peer_id {
            self.tell(
                key,
                ClientEvent::Floated {
                    peer_id,
                    to: to.remote,
                },
            );
        }
        self.connections.moved(key, to);
    }

    /// Tells every client that the server ends.
    pub(super) fn say_goodbye(&mut self, now: Now) {
        let farewell = self.network.farewell;
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.session.close(now, farewell, LeaveReason::Closed);
            }
            self.service(key, now);
        }
    }

    fn count_control(&mut self, key: Key, count: impl FnOnce(&mut Traffic)) {
        if let Some(peer) = self.peer_of(key).and_then(|peer| self.peers.peer_mut(peer)) {
            count(&mut peer.traffic);
        }
    }

    fn peer_of(&self, key: Key) -> Option<PeerIndex> {
        match &self.connections.get(key)?.standing {
            Standing::Client(client) => Some(client.peer),
            _ => None,
        }
    }

    fn name(&self, key: Key) -> SessionAt {
        SessionAt {
            shard: self.number,
            session: key.to_u64(),
        }
    }

    /// Publishes what happened to a client.
    fn tell(&mut self, key: Key, event: ClientEvent) {
        if let Some(Connection { tag, .. }) = self.connections.get(key) {
            let client = tag.clone();
            self.publish(NodeEvent::client(client, event));
        }
    }
}

/// Payload bytes of both directions.
const fn sum_bytes(traffic: &Traffic) -> u64 {
    traffic.received_bytes + traffic.sent_bytes
}

/// Packets of both directions.
const fn sum_packets(traffic: &Traffic) -> u64 {
    traffic.received_packets + traffic.sent_packets
}
