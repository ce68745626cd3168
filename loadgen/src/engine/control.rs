//! A core's control path: clients come, say what they have to say, and go.

use std::time::Duration;

use ringway::node::settings::TunnelSettings;
use ringway::packet::{InnerAddresses, Mssfix, NewPeer, Numbering, seal_payload};
use ringway::session::{Activity, Farewell, LeaveReason, Session, SessionEvent};
use ringway::time::{Monotonic, Now};
use ringway::wire::{OccMessage, PING, PeerId};

use super::client::{Client, Standing, Tunnel, reason};
use super::core::Core;
use super::link::{OpenError, path};
use super::sockets::Addressee;

impl Core {
    /// Begins a user's session, which was due at `intended`.
    pub(super) fn dial(&mut self, user: usize, intended: Monotonic, now: Now) {
        self.tally.attempts += 1;
        match self.begin(user, intended, now) {
            Ok(key) => self.service(key, now),
            Err(why) => {
                self.tally.failed(self.at(now.monotonic), why);
                self.went(user, now);
            }
        }
    }

    fn begin(&mut self, user: usize, intended: Monotonic, now: Now) -> Result<usize, String> {
        let number = self.number(user);
        let identity = self.run.settings.crowd.member(number);
        let session = Session::connect(identity.settings, now, &mut self.random)
            .map_err(|why| reason(&why, false))?
            .with_pull_filter(self.run.settings.crowd.filter());
        let session = match identity.credentials {
            Some(credentials) => session.with_credentials(credentials),
            None => session,
        };
        let socket = match self.sockets.with_room() {
            Some(socket) => socket,
            None => {
                let opened = self.open_socket(number, 0, now.monotonic);
                opened.map_err(|error| format!("no socket: {error}"))?
            }
        };
        let key = self.clients.insert(Client {
            user,
            session,
            socket,
            standing: Standing::Connecting,
            tunnel: None,
            intended,
            alarm: None,
            moves: 0,
        });
        self.sockets.add(socket, key);
        self.connecting += 1;
        if let Some(user) = self.users.get_mut(user) {
            user.client = Some(key);
        }
        Ok(key)
    }

    /// A socket for the session of this number, which has changed its own so often.
    fn open_socket(&mut self, number: u32, moves: u32, now: Monotonic) -> Result<usize, OpenError> {
        let from = self.run.source_of(number, moves);
        let (server, ports) = (self.run.settings.server, &self.run.ports);
        self.link.open(server, from, ports, now)
    }

    /// Takes what came in on the control channel, for a bounded time: data comes first.
    pub(super) fn serve_control(&mut self, now: Now) {
        while now_is_within(now, CONTROL_BUDGET)
            && let Some((socket, mut datagram)) = self.control.pop_front()
        {
            let key = match self.sockets.addressee(socket, &datagram) {
                None => continue,
                Some(Addressee::Known(key)) => key,
                Some(Addressee::OneOf(keys)) => {
                    self.hear_first(&keys, socket, &datagram, now);
                    continue;
                }
            };
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let handled = client
                .session
                .handle_datagram(now, &mut self.random, &mut datagram);
            if handled.is_err() {
                self.tally.dropped("control datagrams that were refused");
            }
            self.service(key, now);
        }
    }

    /// A first answer of the server to one of those that share a socket: it echoes whom it means.
    fn hear_first(&mut self, keys: &[usize], socket: usize, datagram: &[u8], now: Now) {
        for &key in keys {
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let mut copy = datagram.to_vec();
            let handled = client
                .session
                .handle_datagram(now, &mut self.random, &mut copy);
            if handled.is_ok() {
                self.sockets.met(socket, datagram, key);
                return self.service(key, now);
            }
        }
        self.tally.dropped("control datagrams that were refused");
    }

    /// Somebody answered that nobody listens at the server's port. Who was heard by it before goes on,
    /// as any client does: it may come back.
    pub(super) fn refused(&mut self, socket: usize, now: Now) {
        for key in self.sockets.clients_on(socket).to_vec() {
            let client = self.clients.get(key);
            if client.is_some_and(|client| !client.session.has_been_answered()) {
                let why = "connection refused: nobody listens at the server's port";
                self.give_up(key, why, now);
            }
        }
    }

    /// Ends a session for a reason of ours.
    pub(super) fn give_up(&mut self, key: usize, why: &str, now: Now) {
        if let Some(client) = self.clients.get(key) {
            if !matches!(client.standing, Standing::Leaving(_)) {
                self.tally.failed(self.at(now.monotonic), why.to_owned());
            }
            self.forget(key, now);
        }
    }

    /// Has a client say goodbye.
    pub(super) fn leave(&mut self, key: usize, now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if matches!(client.standing, Standing::Leaving(_)) {
            return;
        }
        if client.standing == Standing::Connecting {
            return self.forget(key, now);
        }
        self.tally.left += 1;
        self.is_leaving(key, now);
        if let Some(client) = self.clients.get_mut(key) {
            let farewell = Farewell::Exit;
            client.session.close(now, farewell, LeaveReason::Closed);
        }
        self.service(key, now);
    }

    /// Changes a client's socket.
    pub(super) fn roam(&mut self, key: usize, now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.moves += 1;
        let (user, moves, former) = (client.user, client.moves, client.socket);
        let socket = match self.open_socket(self.number(user), moves, now.monotonic) {
            Ok(socket) => socket,
            Err(error) => {
                return self.tally.dropped(format!("roaming: no socket: {error}"));
            }
        };
        self.flush(now.monotonic);
        self.leave_socket(former, key, now.monotonic);
        self.sockets.add(socket, key);
        if let Some(client) = self.clients.get_mut(key) {
            client.socket = socket;
            if let Some(tunnel) = client.tunnel {
                self.peers
                    .redial(tunnel.peer, path(socket, self.run.settings.server));
            }
        }
        self.tally.roams += 1;
        // The server learns of it from the next packet.
        self.send_payload(key, &PING, now.monotonic);
    }

    pub(super) fn timer_fired(&mut self, key: usize, now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // An entry that is older than the alarm, or another client's.
        if client.alarm.is_none_or(|alarm| alarm > now.monotonic) {
            return;
        }
        client.alarm = None;
        if client
            .session
            .next_timeout()
            .is_some_and(|due| due <= now.monotonic)
        {
            let tunnel = client.tunnel;
            let peer = tunnel.and_then(|tunnel| self.peers.peer(tunnel.peer));
            let activity = peer.map_or_else(Activity::default, |peer| Activity {
                sent: peer.last_sent,
                received: peer.last_received,
            });
            client
                .session
                .handle_timeout(now, &mut self.random, activity);
        }
        self.service(key, now);
    }

    /// Carries out what a session has to say, and sets its next alarm.
    pub(super) fn service(&mut self, key: usize, now: Now) {
        while let Some(event) = self
            .clients
            .get_mut(key)
            .and_then(|client| client.session.poll_event())
        {
            if matches!(event, SessionEvent::Finished) {
                self.transmit(key, now);
                return self.forget(key, now);
            }
            self.session_event(key, event, now);
        }
        self.transmit(key, now);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.is_over(now.monotonic) {
            return self.forget(key, now);
        }
        let linger = match client.standing {
            Standing::Leaving(until) => Some(until),
            Standing::Connecting | Standing::Up => None,
        };
        let next = [client.session.next_timeout(), linger];
        if let Some(next) = next.into_iter().flatten().min()
            && client.alarm.is_none_or(|alarm| next < alarm)
        {
            client.alarm = Some(next);
            self.wheel.set(next, key);
        }
    }

    fn session_event(&mut self, key: usize, event: SessionEvent, now: Now) {
        match event {
            SessionEvent::Configured(options) => self.configured(key, &options, now),
            SessionEvent::Connected => self.connected(key, now),
            SessionEvent::Keys { key_id, keys } => {
                if let Some(peer) = self.peer_of(key) {
                    peer.keys.install(key_id, *keys);
                }
            }
            SessionEvent::Promoted(key_id) => {
                if let Some(peer) = self.peer_of(key) {
                    // Keys come before their promotion; a peer that has lost them sends nothing.
                    let _missing = peer.keys.send_with(key_id);
                }
            }
            SessionEvent::Retired(key_id) => {
                if let Some(peer) = self.peer_of(key) {
                    peer.keys.retire(key_id);
                }
            }
            SessionEvent::Renegotiated { .. } => self.tally.renegotiations += 1,
            SessionEvent::RenegotiationFailed(why) => {
                let why = format!("renegotiation failed: {}", reason(&why, true));
                self.tally.failed(self.at(now.monotonic), why);
            }
            SessionEvent::PingDue => self.send_payload(key, &PING, now.monotonic),
            SessionEvent::ExitNoticeDue => {
                let mut notice = Vec::new();
                OccMessage::Exit.emit(&mut notice);
                self.send_payload(key, &notice, now.monotonic);
            }
            SessionEvent::Left(why) => self.left(key, &why, now),
            // The first is of no use here, the next two are a server's; `service` takes the last.
            SessionEvent::Secured { .. }
            | SessionEvent::Renegotiating
            | SessionEvent::Authenticated(_)
            | SessionEvent::LoginAgain(_)
            | SessionEvent::ChallengeAnswered(_)
            | SessionEvent::Pushed(_)
            | SessionEvent::Updated(_)
            | SessionEvent::Informed(_)
            | SessionEvent::Finished => {}
        }
    }

    /// The server has said how the tunnel is to be.
    fn configured(&mut self, key: usize, options: &[String], now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let pushed = match TunnelSettings::from_push(&self.run.settings.crowd.client, options) {
            Ok(pushed) => pushed,
            Err(refused) => {
                return self.give_up(key, &format!("what the server pushes: {refused}"), now);
            }
        };
        let theirs = pushed.peer_id.unwrap_or(PeerId::NONE);
        let numbering = match self.sockets.are_shared() {
            false => Numbering::Dialed(theirs),
            true if theirs == PeerId::NONE => {
                let why = "--share-sockets: the server gives no peer ids";
                return self.give_up(key, why, now);
            }
            true => Numbering::DialedShared(theirs),
        };
        let new = NewPeer {
            path: path(client.socket, self.run.settings.server),
            numbering,
            mtu: pushed.tunnel.mtu,
            mssfix: Mssfix::Off,
        };
        let Ok(peer) = self.peers.insert(new, now.monotonic) else {
            return self.give_up(key, "no place for one more tunnel", now);
        };
        let addresses = InnerAddresses {
            v4: pushed.tunnel.v4.map(|v4| v4.address()),
            v6: pushed.tunnel.v6.map(|v6| v6.address.addr()),
        };
        client.tunnel = Some(Tunnel {
            peer,
            addresses,
            place: None,
        });
        let user = client.user;
        self.by_peer.insert(peer, key);
        for address in addresses.iter() {
            self.by_address.insert(address, user);
        }
    }

    fn connected(&mut self, key: usize, now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let (user, intended) = (client.user, client.intended);
        client.standing = Standing::Up;
        self.connecting -= 1;
        self.established += 1;
        let at = self.at(now.monotonic);
        let took = now.monotonic.since(intended).as_nanos() as u64;
        self.tally.established(at, took);
        self.tally.holds(at, self.established);
        if let Some(user) = self.users.get_mut(user) {
            user.since = None;
        }
        if self.is_held(user) {
            self.carries(key);
            self.greet_lan(key, intended, now);
            self.order_stream(user, now.monotonic);
        } else {
            self.leave(key, now);
        }
    }

    /// The tunnel is over.
    fn left(&mut self, key: usize, why: &LeaveReason, now: Now) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        if !matches!(client.standing, Standing::Leaving(_)) {
            let answered = client.session.has_been_answered();
            self.tally
                .failed(self.at(now.monotonic), reason(why, answered));
            self.is_leaving(key, now);
        }
        self.give_up_tunnel(key, now);
    }

    fn is_leaving(&mut self, key: usize, now: Now) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.standing {
            Standing::Connecting => self.connecting -= 1,
            Standing::Up => self.established -= 1,
            Standing::Leaving(_) => {}
        }
        client.standing = Standing::Leaving(now.monotonic + LINGER);
        self.carries_no_more(key);
    }

    fn give_up_tunnel(&mut self, key: usize, now: Now) {
        let tunnel = self
            .clients
            .get_mut(key)
            .and_then(|client| client.tunnel.take());
        if let Some(tunnel) = tunnel {
            self.by_peer.remove(&tunnel.peer);
            for address in tunnel.addresses.iter() {
                self.by_address.remove(&address);
            }
            self.peers.remove(tunnel.peer, now.monotonic);
        }
    }

    /// Removes a client, whatever it was.
    fn forget(&mut self, key: usize, now: Now) {
        self.is_leaving(key, now);
        self.give_up_tunnel(key, now);
        let Some(client) = self.clients.try_remove(key) else {
            return;
        };
        self.leave_socket(client.socket, key, now.monotonic);
        self.went(client.user, now);
    }

    fn transmit(&mut self, key: usize, now: Now) {
        let mut datagram = std::mem::take(&mut self.scratch);
        while let Some(client) = self.clients.get_mut(key) {
            if !client.session.poll_transmit(now, &mut datagram) {
                break;
            }
            self.link
                .send_bytes(client.socket, &datagram, now.monotonic);
        }
        self.scratch = datagram;
    }

    /// Seals a payload that is no inner packet and sends it.
    fn send_payload(&mut self, key: usize, payload: &[u8], now: Monotonic) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let Some(tunnel) = client.tunnel else {
            return;
        };
        let socket = client.socket;
        let pool = &mut self.link.pool;
        match seal_payload(&mut self.peers, tunnel.peer, payload, pool, now) {
            Ok(datagram) => self.link.send(socket, datagram.packet, now),
            Err(reason) => self.drops.count(reason),
        }
    }

    pub(super) fn peer_of(&mut self, key: usize) -> Option<&mut ringway::packet::Peer> {
        let tunnel = self.clients.get(key)?.tunnel?;
        self.peers.peer_mut(tunnel.peer)
    }

    /// A client has no use for a socket any more; the last one closes it.
    fn leave_socket(&mut self, socket: usize, key: usize, now: Monotonic) {
        if self.sockets.remove(socket, key) {
            self.link.close(socket, &self.run.ports, now);
        }
    }
}

/// Whether no more than `budget` has passed since a turn began to work.
pub(super) fn now_is_within(began: Now, budget: Duration) -> bool {
    Now::read().monotonic.since(began.monotonic) < budget
}

/// How long handshakes may take before packets are looked at again. A step of one takes less.
pub(super) const CONTROL_BUDGET: Duration = Duration::from_millis(1);
/// How long a client that has said goodbye stays to hear that it was heard.
const LINGER: Duration = Duration::from_secs(1);
