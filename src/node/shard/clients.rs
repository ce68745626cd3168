//! What becomes of a shard's sessions: what they report, what the registry decides about them, and
//! how they go.

use std::time::Duration;

use super::connections::{Admitting, Client, Connection, Key, Standing, Tunnel};
use super::dialed::DialedEvent;
use super::lifetime::{sum_bytes, sum_packets};
use super::logins::username_of;
use super::registration::RegistryBusy;
use super::{Congestion, Edges, Shard, narrate};
use crate::node::auth::Departure;
use crate::node::event::{
    AdmissionRefusal, ClientEvent, ClientTag, DataChannel, KeyAge, NodeEvent, Printable,
    ReleaseCause, Text,
};
use crate::node::leases::Addresses;
use crate::node::management::Killed;
use crate::node::message::Report;
use crate::node::registry::{AdmissionRequest, Place};
use crate::packet::{ClientPath, InnerAddresses, NewPeer, Numbering, Path, PeerIndex};
use crate::session::{Admission, Farewell, LeaveReason, SessionEvent};
use crate::time::Now;
use crate::wire::{OccMessage, PING, PeerId};

impl<E: Edges> Shard<E> {
    pub(super) fn session_event(&mut self, key: Key, event: SessionEvent, now: Now) {
        match event {
            SessionEvent::Secured {
                certificate,
                negotiated,
            } => {
                for told in narrate::secured(certificate.as_ref(), negotiated) {
                    self.tell(key, told);
                }
                if let Some(certificate) = certificate {
                    self.meet_server(key, &certificate);
                }
            }
            SessionEvent::Authenticated(admission) => self.authenticated(key, *admission, now),
            SessionEvent::LoginAgain(admission) => self.logs_in_again(key, &admission, now),
            SessionEvent::ChallengeAnswered(response) => self.challenge_answered(key, response),
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
                            message: narrate::without_token(&message).into(),
                        },
                    );
                }
            }
            SessionEvent::Informed(text) => {
                let text = text.into();
                self.tell(key, ClientEvent::Informed { text });
            }
            SessionEvent::Connected => self.connected(key),
            SessionEvent::Renegotiating => self.renegotiating(key, now),
            SessionEvent::Renegotiated { .. } => {}
            SessionEvent::RenegotiationFailed(reason) => {
                let connection = self.connections.get(key);
                let told = connection.map(|it| narrate::failed(&reason, it.session.settings()));
                for told in told.into_iter().flatten() {
                    self.tell(key, told);
                }
            }
            SessionEvent::PingDue => self.send_payload(key, &PING, now),
            SessionEvent::ExitNoticeDue => {
                let mut notice = Vec::new();
                OccMessage::Exit.emit(&mut notice);
                let dialed = self.connections.get(key).and_then(|it| it.dialed);
                for _ in 0..dialed.map_or(1, |dialed| dialed.exit_notices) {
                    self.send_payload(key, &notice, now);
                }
            }
            SessionEvent::Left(reason) => self.left(key, &reason, now),
            SessionEvent::Configured(options) => self.configured(key, options, now),
            SessionEvent::Updated(items) => self.updated(key, items),
            // `service` takes it.
            SessionEvent::Finished => {}
        }
    }

    /// The client is known; the registry says whether it may come in. It may have a number already.
    pub(super) fn ask_admission(
        &mut self,
        key: Key,
        admission: Admission,
        client_id: Option<u64>,
        now: Now,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.username = admission.credentials.as_ref().map(username_of);
        let by_user = self.network.logins.username_as_common_name;
        let user = connection.username.clone().filter(|_| by_user);
        let own = admission.identity.common_name.as_deref();
        let name = user.or_else(|| own.map(Text::from));
        let nameless = ClientTag {
            common_name: None,
            address: connection.tag.address,
        };
        connection.tag = ClientTag {
            common_name: name.clone(),
            address: nameless.address,
        };
        let name = name.unwrap_or_else(|| "".into());
        let peer_id = admission.peer_info.proto().data_v2();
        let numbering = match (connection.path.is_stream(), peer_id) {
            (true, peer_id) => Numbering::Stream { peer_id },
            (false, true) => Numbering::PeerId,
            (false, false) => Numbering::FourTuple,
        };
        let compression = self.network.compression;
        let (framing, option) = compression.of_client(admission.framed, &admission.peer_info);
        let request = AdmissionRequest {
            name,
            client_id,
            since: now.monotonic,
            path: ClientPath {
                path: connection.path,
                numbering,
            },
        };
        let lines = narrate::peer_info(&admission.peer_info);
        self.publish(NodeEvent::client(nameless, ClientEvent::PeerInfo { lines }));
        self.tell(key, ClientEvent::PeerInitiated);
        match self.registration.ask(key, request, now.monotonic) {
            Ok(session) => {
                let admitting = Admitting {
                    session,
                    numbering,
                    framing,
                    option,
                };
                self.connections.stand(key, Standing::Admitting(admitting));
            }
            Err(RegistryBusy) => self.turn_away(key, AdmissionRefusal::RegistryBusy, now),
        }
    }

    /// The registry lets a session in.
    pub(super) fn admit(&mut self, session: u64, client_id: u64, place: &Place, now: Now) {
        let Some(key) = self.registration.granted(session, now.monotonic) else {
            return;
        };
        let Some((path, admitting)) = self.admitting(key) else {
            return self.registration.left(session, now.monotonic);
        };
        let new = NewPeer {
            path,
            numbering: admitting.numbering,
            mtu: self.network.mtu,
            mssfix: self.network.mssfix,
        };
        let Ok(peer) = self.peers.insert(new, now.monotonic) else {
            // The registry has counted it in; it learns that the place is free again.
            let max = self.network.max_clients as usize;
            self.registration.left(session, now.monotonic);
            return self.turn_away(key, AdmissionRefusal::MaxClients { max }, now);
        };
        let addresses = place.addresses;
        let leading = place.leading();
        let inner = InnerAddresses {
            v4: leading.v4,
            v6: leading.v6,
        };
        self.peers.assign(peer, inner);
        // The registry counts all networks of the node against the same bound.
        let _has_room = self.peers.set_prefixes(peer, &place.networks);
        self.peers.bound_hosts(peer, place.hosts_max);
        self.connections.attach(key, peer);
        // Wire: 2.x has no client that cuts packets over TCP.
        let fragment = self.network.fragment.filter(|_| !path.is_stream());
        let peer_id = self.peers.peer_mut(peer).map_or(PeerId::NONE, |peer| {
            peer.set_framing(place.own.framing.unwrap_or(admitting.framing));
            if let Some(limit) = fragment {
                peer.cut_packets(limit);
            }
            peer.peer_id()
        });
        let mut grant = self.network.grant(peer_id, place);
        let times = place.own.times.unwrap_or(self.network.times);
        let client = Client {
            session,
            client_id,
            addresses,
            tunnel: Tunnel::new(peer, now.monotonic, times),
        };
        self.connections.stand(key, Standing::Client(client));
        if let Some(connection) = self.connections.get_mut(key) {
            // A file of its own says both, or neither.
            let option = admitting.option.filter(|_| place.own.framing.is_none());
            if let Some(option) = option {
                let usual = &connection.session.settings().push;
                let mut push = grant.push.as_deref().unwrap_or(usual).to_vec();
                push.push(option.to_owned());
                grant.push = Some(push.into());
            }
            connection.session.admit(now, &mut *self.random, &grant);
        }
        self.tell_place(key, place);
        self.service(key, now);
    }

    /// Tells what leads to a client from now on.
    fn tell_place(&mut self, key: Key, place: &Place) {
        let Addresses { v4, v6 } = place.addresses;
        self.tell(key, ClientEvent::PoolReturned { v4, v6 });
        for address in place.leading().iter() {
            self.tell(key, ClientEvent::Learned { address });
        }
        for &network in &place.networks {
            self.tell(key, ClientEvent::NetworkLearned { network });
        }
        if let Some(max) = place.quota_exceeded {
            self.tell(key, ClientEvent::RouteQuotaExceeded { max });
        }
    }

    /// The registry turns a session away.
    pub(super) fn refuse(&mut self, session: u64, refusal: AdmissionRefusal, now: Now) {
        if let Some(key) = self.registration.refused(session, now.monotonic) {
            self.turn_away(key, refusal, now);
        }
    }

    /// Tells a client that it can't come in. The registry knows nothing of it, or knows it gone.
    pub(super) fn turn_away(&mut self, key: Key, refusal: AdmissionRefusal, now: Now) {
        self.tell(key, ClientEvent::AdmissionRefused(refusal));
        self.connections.stand(key, Standing::Leaving);
        if let Some(connection) = self.connections.get_mut(key) {
            let reason = narrate::refusal(refusal);
            match narrate::is_for_good(refusal) {
                true => connection.session.reject(now, &mut *self.random, reason),
                false => connection.session.refuse(now, &mut *self.random, reason),
            }
        }
        self.service(key, now);
    }

    /// A newer session needs what this one has. Wire: stock drops the older one of a name without a
    /// word.
    pub(super) fn release(&mut self, session: u64, cause: ReleaseCause, now: Now) {
        let Some(key) = self.registration.released(session, now.monotonic) else {
            return;
        };
        let farewell = match cause {
            ReleaseCause::Name => Farewell::Silent,
            // It is somebody else, who can't know that it has to come again.
            ReleaseCause::Address => Farewell::Restart { next_remote: false },
        };
        if let Some(connection) = self.connections.get_mut(key) {
            connection
                .session
                .close(now, farewell, LeaveReason::Replaced);
            self.tell(key, ClientEvent::Replacing(cause));
            self.service(key, now);
        }
    }

    /// An administrator wants a session to end. Wire: stock drops a client without a word on `kill`, and
    /// lets it go some seconds after the message of `client-kill`.
    pub(super) fn kill(&mut self, session: u64, how: &Killed, now: Now) {
        let Some(key) = self.registration.released(session, now.monotonic) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match how {
            Killed::Silently => {
                let silent = Farewell::Silent;
                connection.session.close(now, silent, LeaveReason::Killed);
            }
            Killed::Told(text) => {
                let text = Printable(text).to_string();
                connection.session.dismiss(now, &text);
                let message = text.as_str().into();
                self.tell(key, ClientEvent::ControlSent { message });
            }
        }
        self.service(key, now);
    }

    /// A new key is being agreed on: what the present one did.
    pub(super) fn renegotiating(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let timing = connection.session.settings().timing;
        let latest = timing.renegotiation.map(|reneg| reneg.latest);
        let Some(tunnel) = connection.standing.tunnel_mut() else {
            return;
        };
        let Some(traffic) = self.peers.peer(tunnel.peer).map(|peer| peer.traffic) else {
            return;
        };
        let age = KeyAge {
            age: now.monotonic.since(tunnel.key_since).as_secs(),
            age_max: latest.map_or(0, |latest| latest.as_secs()),
            bytes: sum_bytes(&traffic) - sum_bytes(&tunnel.key_traffic),
            packets: sum_packets(&traffic) - sum_packets(&tunnel.key_traffic),
        };
        tunnel.key_since = now.monotonic;
        tunnel.key_traffic = traffic;
        self.tell(key, ClientEvent::Renegotiating(age));
    }

    pub(super) fn connected(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(agreement) = connection.session.agreement() else {
            return;
        };
        let cipher = agreement.cipher.name();
        let protocol_flags = narrate::protocol_flags(agreement).into();
        let (ping, ping_restart) = connection.session.keepalive();
        let Some(tunnel) = connection.standing.tunnel_mut() else {
            return;
        };
        tunnel.cipher = cipher.into();
        let Some(peer) = self.peers.peer(tunnel.peer) else {
            return;
        };
        let peer_id = peer.peer_id();
        let seconds =
            |interval: Option<Duration>| interval.map_or(0, |interval| interval.as_secs());
        let channel = DataChannel {
            cipher,
            peer_id,
            ping: seconds(ping),
            ping_restart: seconds(ping_restart),
            protocol_flags,
        };
        self.tell(key, ClientEvent::DataChannel(channel));
    }

    /// The session's tunnel is over: its name and addresses are free.
    pub(super) fn left(&mut self, key: Key, reason: &LeaveReason, now: Now) {
        let Some(standing) = self.connections.stand(key, Standing::Leaving) else {
            return;
        };
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let dialed = connection.dialed;
        self.end_login(key);
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let events = narrate::left(reason, &standing, connection.session.settings());
        let allowed = match &standing {
            Standing::Meeting if !events.is_empty() => {
                self.strangers.admit(now.monotonic, connection.path.remote)
            }
            _ => true,
        };
        for told in events.into_iter().filter(|_| allowed) {
            self.tell(key, told);
        }
        self.tell_gone(key, &standing, now);
        self.give_up_place(&standing, now);
        if let Some(dialed) = dialed {
            self.report_dialed(dialed.attempt, DialedEvent::Left(reason.clone()));
        }
    }

    /// Takes a session's place in the data path and the registry back.
    pub(super) fn give_up_place(&mut self, standing: &Standing, now: Now) {
        if let Some(tunnel) = standing.tunnel() {
            self.connections.detach(tunnel.peer);
            self.peers.remove(tunnel.peer, now.monotonic);
        }
        match standing {
            Standing::Admitting(Admitting { session, .. })
            | Standing::Client(Client { session, .. }) => {
                self.registration.left(*session, now.monotonic);
            }
            Standing::Meeting
            | Standing::Judging(_)
            | Standing::Dialing
            | Standing::Dialed(_)
            | Standing::Leaving => {}
        }
    }

    /// Says that a client is gone whose login was accepted, while it is known what it has carried.
    fn tell_gone(&mut self, key: Key, standing: &Standing, now: Now) {
        let peer = standing.tunnel().map(|tunnel| tunnel.peer);
        let peer = peer.and_then(|peer| self.peers.peer(peer));
        let traffic = peer.map(|peer| peer.traffic).unwrap_or_default();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let since = connection.since;
        if let Some(client_id) = connection.judged_as.take() {
            self.end_token(client_id);
            self.report(Report::ClientGone(Departure {
                client_id,
                received: traffic.received_bytes,
                sent: traffic.sent_bytes,
                lasted: Duration::from_secs(now.unix.saturating_sub(since)),
            }));
        }
    }

    /// Removes a session, whatever it was.
    pub(super) fn forget(&mut self, key: Key, now: Now) {
        self.end_login(key);
        if let Some(standing) = self.connections.stand(key, Standing::Leaving) {
            self.tell_gone(key, &standing, now);
            self.give_up_place(&standing, now);
        }
        if let Some(connection) = self.connections.remove(key) {
            if connection.path.is_stream() {
                self.close_stream(connection.path.socket);
            } else if connection.dialed.is_some() {
                self.io.edges.close_socket(connection.path.socket);
            }
        }
    }

    /// The client sends without its peer id: all shards are to know it by its path.
    pub(super) fn ignores_peer_id(&mut self, key: Key, now: Now) {
        if let Some(Connection {
            standing: Standing::Client(client),
            ..
        }) = self.connections.get(key)
        {
            self.registration
                .ignores_peer_id(client.session, client.client_id, now.monotonic);
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

    /// Tells clients that the server ends, as many as the kernel takes datagrams for in a turn:
    /// what does not fit would be lost, and repeated when the server is gone.
    pub(super) fn say_goodbye(&mut self) {
        let farewell = self.network.farewell;
        while self.io.edges.congestion() <= Congestion::Flowing
            && let Some(key) = self.farewells.pop()
        {
            let now = self.io.edges.now();
            self.close_dialed(key, farewell, now);
            if let Some(connection) = self.connections.get_mut(key) {
                // Wire: over TCP stock says nothing; its client hears that the connection is closed.
                let farewell = match connection.path.is_stream() {
                    true => Farewell::Silent,
                    false => farewell,
                };
                connection.session.close(now, farewell, LeaveReason::Closed);
            }
            self.service(key, now);
        }
    }

    pub(super) fn peer_of(&self, key: Key) -> Option<PeerIndex> {
        let tunnel = self.connections.get(key)?.standing.tunnel();
        Some(tunnel?.peer)
    }

    /// The path of a session that waits for the registry.
    fn admitting(&self, key: Key) -> Option<(Path, Admitting)> {
        let connection = self.connections.get(key)?;
        match connection.standing {
            Standing::Admitting(admitting) => Some((connection.path, admitting)),
            _ => None,
        }
    }
}
