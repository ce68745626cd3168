//! A session of either role under test, with an honest peer that it can talk to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::CookieKey;
use ringway::random::SeededRandom;
use ringway::session::{
    Activity, Farewell, Greeting, LeaveReason, OpenVpn2, Session, SessionEvent,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{KeyId, Role};

use super::{V2_5, V2_6, grant, now, settings};

/// A session under test, its honest peer, and what both have said so far.
pub(super) struct Stage {
    pub(super) role: Role,
    time: Monotonic,
    random: SeededRandom,
    client: Session,
    server: Session,
    admits: bool,
    left: u32,
    finished: u32,
    keys: u8,
    sending: Option<KeyId>,
}

impl Stage {
    pub(super) fn new(choice: u8) -> Self {
        let mut random = SeededRandom::new(11);
        let (time, peer_info) = (Monotonic::from_nanos(1_000_000_000_000), V2_6);
        let peer_info = if choice & 16 == 0 { peer_info } else { V2_5 };
        let wall = now(1_000);
        let key = CookieKey::new(&mut random, Duration::from_secs(60));
        let server = settings(Role::Server, choice, peer_info);
        let client = settings(Role::Client, choice, peer_info);
        let mut door = OpenVpn2::new(Arc::new(server), key, &mut random);
        let client = Session::connect(Arc::new(client), wall, &mut random);
        let mut client = client.expect("starts");
        let from = SocketAddr::from(([192, 0, 2, 1], 1_000));
        let (mut datagram, mut answer) = (Vec::new(), Vec::new());
        let server = loop {
            assert!(client.poll_transmit(wall, &mut datagram));
            match door.greet(wall, &mut random, from, &datagram, &mut answer) {
                Ok(Greeting::Answer) => {
                    let taken = client.handle_datagram(wall, &mut random, &mut answer);
                    taken.expect("our own answer");
                }
                Ok(Greeting::Session(session)) => break *session,
                Err(drop) => panic!("our own packet: {drop}"),
            }
        };
        let mut stage = Self {
            role: if choice & 4 == 0 {
                Role::Server
            } else {
                Role::Client
            },
            time,
            random,
            client,
            server,
            admits: choice & 32 == 0,
            left: 0,
            finished: 0,
            keys: 0,
            sending: None,
        };
        let taken = stage
            .server
            .handle_datagram(wall, &mut stage.random, &mut datagram);
        taken.expect("what the door takes, the session takes");
        if choice & 8 != 0 {
            stage.converse(20);
            stage.pass(Duration::from_secs(2));
            stage.converse(20);
        }
        stage
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: self.time,
            ..now(self.time.as_nanos() / 1_000_000_000)
        }
    }

    pub(super) fn session(&mut self) -> &mut Session {
        match self.role {
            Role::Server => &mut self.server,
            Role::Client => &mut self.client,
        }
    }

    pub(super) fn other(&self) -> &Session {
        match self.role {
            Role::Server => &self.client,
            Role::Client => &self.server,
        }
    }

    pub(super) fn deliver(&mut self, datagram: &[u8]) {
        let (now, mut copy) = (self.now(), datagram.to_vec());
        let mut random = self.random.clone();
        let _ = self.session().handle_datagram(now, &mut random, &mut copy);
        self.random = random;
        self.check();
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.time + duration;
        for turns in 0.. {
            assert!(turns < 10_000, "timers without end");
            let next = [self.client.next_timeout(), self.server.next_timeout()];
            let Some(next) = next.into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.time = next.max(self.time);
            let now = self.now();
            let activity = Activity {
                sent: self.time,
                received: self.time,
            };
            for session in [&mut self.client, &mut self.server] {
                session.handle_timeout(now, &mut self.random, activity);
            }
            self.check();
            // What is due and not sent would be due for ever.
            let role = self.role;
            let other = if role == Role::Server {
                &mut self.client
            } else {
                &mut self.server
            };
            let mut datagram = Vec::new();
            while other.poll_transmit(now, &mut datagram) {}
        }
        self.time = end;
    }

    /// Lets the two honest ends talk.
    pub(super) fn converse(&mut self, turns: usize) {
        let now = self.now();
        let mut datagram = Vec::new();
        for _ in 0..turns {
            let mut to_server = Vec::new();
            while self.client.poll_transmit(now, &mut datagram) {
                to_server.push(datagram.clone());
            }
            let mut to_client = Vec::new();
            while self.server.poll_transmit(now, &mut datagram) {
                to_client.push(datagram.clone());
            }
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            for datagram in &mut to_server {
                let _ = self.server.handle_datagram(now, &mut self.random, datagram);
            }
            for datagram in &mut to_client {
                let _ = self.client.handle_datagram(now, &mut self.random, datagram);
            }
            self.take_events();
        }
    }

    pub(super) fn command(&mut self, command: u8) {
        let (now, mut random) = (self.now(), self.random.clone());
        let session = self.session();
        match command % 9 {
            0 => session.admit(now, &mut random, &grant()),
            1 => session.refuse(now, &mut random, "no"),
            2 => session.close(now, Farewell::Exit, LeaveReason::Closed),
            3 => session.close(now, Farewell::Silent, LeaveReason::Replaced),
            4 => {
                let farewell = Farewell::Restart { next_remote: true };
                session.close(now, farewell, LeaveReason::Closed);
            }
            5 => session.renegotiate_soon(now),
            6 => session.peer_exits(now),
            7 => session.peer_uses(now, &mut random, KeyId::from_low_bits(command / 9)),
            _ => session.close(now, Farewell::AuthFailed("no"), LeaveReason::Closed),
        }
        self.random = random;
        self.check();
    }

    /// Takes everything out of the session under test.
    fn check(&mut self) {
        self.take_events();
        let now = self.now();
        let mut datagram = Vec::new();
        let mut sent = 0;
        while self.session().poll_transmit(now, &mut datagram) {
            assert!(datagram.len() <= ringway::limits::CONTROL_DATAGRAM_SENT);
            sent += 1;
        }
        assert!(sent <= 16, "{sent} datagrams at once");
        assert!(self.finished == 0 || sent == 0, "the dead do not talk");
    }

    fn take_events(&mut self) {
        let (now, admits) = (self.now(), self.admits);
        let mut random = self.random.clone();
        let under_test = self.role;
        for role in [Role::Server, Role::Client] {
            let session = match role {
                Role::Server => &mut self.server,
                Role::Client => &mut self.client,
            };
            let mut events = 0;
            while let Some(event) = session.poll_event() {
                events += 1;
                assert!(events < 100, "events without end");
                if matches!(event, SessionEvent::Authenticated(_)) && admits {
                    session.admit(now, &mut random, &grant());
                }
                if role != under_test {
                    continue;
                }
                assert_eq!(self.finished, 0, "{event:?} after the end");
                match event {
                    SessionEvent::Left(_) => self.left += 1,
                    SessionEvent::Finished => self.finished += 1,
                    SessionEvent::Keys { key_id, .. } => {
                        assert_eq!(self.left, 0, "keys after the end");
                        self.keys |= 1 << key_id.get();
                    }
                    SessionEvent::Promoted(key_id) => {
                        assert_eq!(self.left, 0, "promoted after the end");
                        assert!(self.keys & 1 << key_id.get() != 0, "there is no such key");
                        self.sending = Some(key_id);
                    }
                    SessionEvent::Retired(key_id) => {
                        assert_ne!(self.sending, Some(key_id), "it is in use");
                        self.keys &= !(1 << key_id.get());
                        assert!(self.keys.count_ones() <= 3);
                    }
                    _ => {}
                }
            }
        }
        self.random = random;
        assert!(self.left <= 1 && self.finished <= self.left);
    }

    /// Whatever happened, a session that is told to close is over soon.
    pub(super) fn end(mut self) {
        let now = self.now();
        self.session()
            .close(now, Farewell::Exit, LeaveReason::Closed);
        self.check();
        self.pass(Duration::from_secs(6));
        self.check();
        assert_eq!((self.left, self.finished), (1, 1));
        assert_eq!(self.session().next_timeout(), None);
    }
}
