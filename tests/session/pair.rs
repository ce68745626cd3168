//! A client and a server that hear each other at once and completely.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::tls::TlsEngine;
use ringway::crypto::tls::stand_in::StandInEngine;
use ringway::crypto::{
    CookieKey, DataCipher, Digest, KeyDirection, ReplayWindow, StaticKey, Wrapping,
};
use ringway::random::SeededRandom;
use ringway::session::{
    Activity, ControlDrop, Grant, Greeting, LeaveReason, OpenVpn2, Session, SessionEvent,
    SessionSettings, Timing, V4Grant, V6Grant,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{KeyId, OptionsString, PeerId, Role};

/// How control packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrap {
    Plain,
    TlsAuth,
    TlsCrypt,
}

/// A client's session, the server's door, and behind it the server's session once there is one.
pub(crate) struct Pair {
    pub(crate) now: Monotonic,
    pub(crate) random: SeededRandom,
    pub(crate) door: OpenVpn2,
    pub(crate) client: Session,
    pub(crate) server: Option<Session>,
    pub(crate) client_events: Vec<SessionEvent>,
    pub(crate) server_events: Vec<SessionEvent>,
    /// Every datagram so far, and whether the client sent it.
    pub(crate) tape: Vec<(bool, Vec<u8>)>,
    /// What the registry says.
    pub(crate) verdict: Verdict,
}

/// What the registry says of a client.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Admit(Grant),
    Refuse(&'static str),
    Reject(&'static str),
    Later,
}

pub(crate) const ALL_WRAPS: [Wrap; 3] = [Wrap::Plain, Wrap::TlsAuth, Wrap::TlsCrypt];

impl Pair {
    pub(crate) fn new(client: SessionSettings, server: SessionSettings) -> Self {
        let mut random = SeededRandom::new(7);
        let now = Monotonic::from_nanos(1_000_000_000_000);
        let (cookie, settings) = (cookie(&mut random), Arc::new(server));
        let client = Session::connect(Arc::new(client), wall(now), &mut random);
        Self {
            now,
            door: OpenVpn2::new(settings, cookie, &mut random),
            client: client.expect("TLS starts"),
            server: None,
            client_events: Vec::new(),
            server_events: Vec::new(),
            tape: Vec::new(),
            verdict: Verdict::Admit(grant()),
            random,
        }
    }

    /// Two peers with these settings that have connected.
    pub(crate) fn connected(client: SessionSettings, server: SessionSettings) -> Self {
        let mut pair = Self::new(client, server);
        pair.settle();
        pair.pass(Duration::from_secs(2));
        assert!(pair.client.is_connected(), "{:?}", pair.client_events);
        assert!(pair.server().is_connected(), "{:?}", pair.server_events);
        pair
    }

    pub(crate) fn server(&mut self) -> &mut Session {
        self.server.as_mut().expect("the client got past the door")
    }

    pub(crate) fn wall(&self) -> Now {
        wall(self.now)
    }

    /// Carries datagrams until nobody has more to say.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000 {
            if !self.carry_once() {
                return;
            }
        }
        panic!("the two never fall silent");
    }

    /// Lets time pass, with all timers on the way.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let next = [
                self.client.next_timeout(),
                self.server.as_ref().and_then(Session::next_timeout),
            ];
            let next = next.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = next.max(self.now);
            let (now, activity) = (self.wall(), self.activity());
            self.client.handle_timeout(now, &mut self.random, activity);
            if let Some(server) = &mut self.server {
                server.handle_timeout(now, &mut self.random, activity);
            }
        }
        self.now = end;
    }

    /// Data that always flows, so that no ping timer ends a test.
    pub(crate) fn activity(&self) -> Activity {
        Activity {
            sent: self.now,
            received: self.now,
        }
    }

    /// A first data packet of a generation comes to the server.
    pub(crate) fn server_hears_data(&mut self, key_id: KeyId) {
        let (now, mut random) = (self.wall(), self.random.clone());
        self.server().peer_uses(now, &mut random, key_id);
    }

    /// A datagram that came to the server from the client's address.
    pub(crate) fn deliver_to_server(&mut self, datagram: &[u8]) -> Result<(), ControlDrop> {
        let (now, mut copy) = (self.wall(), datagram.to_vec());
        if let Some(server) = &mut self.server {
            return server.handle_datagram(now, &mut self.random, &mut copy);
        }
        let mut answer = Vec::new();
        let greeting = self
            .door
            .greet(now, &mut self.random, address(), datagram, &mut answer)?;
        match greeting {
            Greeting::Answer => {
                self.tape.push((false, answer.clone()));
                let _ = self.deliver_to_client(&answer);
                Ok(())
            }
            Greeting::Session(mut session) => {
                let taken = session.handle_datagram(now, &mut self.random, &mut copy);
                self.server = Some(*session);
                taken
            }
        }
    }

    pub(crate) fn deliver_to_client(&mut self, datagram: &[u8]) -> Result<(), ControlDrop> {
        let now = self.wall();
        self.client
            .handle_datagram(now, &mut self.random, &mut datagram.to_vec())
    }

    /// The client's datagrams that are due, taken off the wire.
    pub(crate) fn intercept_client(&mut self) -> Vec<Vec<u8>> {
        transmits(&mut self.client, wall(self.now))
    }

    /// The server's.
    pub(crate) fn intercept_server(&mut self) -> Vec<Vec<u8>> {
        let now = self.wall();
        self.server
            .as_mut()
            .map_or_else(Vec::new, |server| transmits(server, now))
    }

    fn carry_once(&mut self) -> bool {
        let mut carried = false;
        for datagram in self.intercept_client() {
            carried = true;
            self.tape.push((true, datagram.clone()));
            let _ = self.deliver_to_server(&datagram);
        }
        for datagram in self.intercept_server() {
            carried = true;
            self.tape.push((false, datagram.clone()));
            let _ = self.deliver_to_client(&datagram);
        }
        carried | self.collect_events()
    }

    /// True when the registry's decision made something happen.
    pub(crate) fn collect_events(&mut self) -> bool {
        let now = self.wall();
        let mut decided = false;
        while let Some(event) = self.client.poll_event() {
            self.client_events.push(event);
        }
        let Some(server) = &mut self.server else {
            return false;
        };
        while let Some(event) = server.poll_event() {
            if matches!(event, SessionEvent::Authenticated(_)) {
                decided = true;
                match &self.verdict {
                    Verdict::Admit(grant) => server.admit(now, &mut self.random, grant),
                    Verdict::Refuse(reason) => server.refuse(now, &mut self.random, reason),
                    Verdict::Reject(reason) => server.reject(now, &mut self.random, reason),
                    Verdict::Later => {}
                }
            }
            self.server_events.push(event);
        }
        decided
    }
}

/// The datagrams of a session that are due.
pub(crate) fn transmits(session: &mut Session, now: Now) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut datagram = Vec::new();
    while session.poll_transmit(now, &mut datagram) {
        assert!(datagram.len() <= 1_200, "{} bytes", datagram.len());
        datagrams.push(datagram.clone());
        assert!(datagrams.len() < 64, "a session transmits without end");
    }
    datagrams
}

/// Why a session left, if it did.
pub(crate) fn left(events: &[SessionEvent]) -> Option<&LeaveReason> {
    events.iter().find_map(|event| match event {
        SessionEvent::Left(reason) => Some(reason),
        _ => None,
    })
}

/// The messages that a server configured its client with.
pub(crate) fn pushed(events: &[SessionEvent]) -> Option<&[String]> {
    events.iter().find_map(|event| match event {
        SessionEvent::Pushed(messages) => Some(messages.as_slice()),
        _ => None,
    })
}

pub(crate) fn count(events: &[SessionEvent], wanted: impl Fn(&SessionEvent) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}

/// Stock 2.6's peer info.
pub(crate) const V2_6: &str = "IV_VER=2.6.14\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\n\
     IV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nIV_PROTO=990\n";

pub(crate) fn client(wrap: Wrap, peer_info: &str) -> SessionSettings {
    let engine = StandInEngine::client("alice");
    settings(Role::Client, wrap, peer_info, Arc::new(engine))
}

pub(crate) fn server(wrap: Wrap) -> SessionSettings {
    let engine = StandInEngine::server("gate");
    settings(Role::Server, wrap, "", Arc::new(engine))
}

pub(crate) fn static_key() -> StaticKey {
    StaticKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

pub(crate) fn wrapping(wrap: Wrap, role: Role) -> Wrapping {
    let direction = match role {
        Role::Server => KeyDirection::Zero,
        Role::Client => KeyDirection::One,
    };
    match wrap {
        Wrap::Plain => Wrapping::Plain,
        Wrap::TlsAuth => Wrapping::tls_auth(&static_key(), direction, Digest::Sha256),
        Wrap::TlsCrypt => Wrapping::tls_crypt(&static_key(), role),
    }
}

pub(crate) fn settings(
    role: Role,
    wrap: Wrap,
    peer_info: &str,
    tls: Arc<dyn TlsEngine>,
) -> SessionSettings {
    SessionSettings {
        role,
        wrapping: Arc::new(wrapping(wrap, role)),
        static_key: (wrap != Wrap::Plain).then(static_key),
        tls,
        ciphers: vec![
            DataCipher::Aes256Gcm,
            DataCipher::Aes128Gcm,
            DataCipher::ChaCha20Poly1305,
        ],
        options_string: OptionsString::stock(role).to_string(),
        tun_mtu: 1500,
        push: ["route-gateway 10.8.0.1", "topology subnet"]
            .map(str::to_owned)
            .to_vec(),
        peer_info: peer_info.to_owned(),
        replay_window: ReplayWindow::default(),
        timing: Timing {
            hand_window: Duration::from_secs(60),
            tran_window: Duration::from_secs(3_600),
            tls_timeout: Duration::from_secs(2),
            renegotiation: None,
            ping: None,
            ping_restart: None,
        },
        login: None,
    }
}

pub(crate) fn cookie(random: &mut SeededRandom) -> CookieKey {
    CookieKey::new(random, Duration::from_secs(60))
}

pub(crate) fn grant() -> Grant {
    Grant {
        peer_id: PeerId::new(7).expect("24 bits"),
        v4: Some(V4Grant {
            address: Ipv4Addr::new(10, 8, 0, 2),
            second: Ipv4Addr::new(255, 255, 255, 0),
        }),
        v6: None,
        push: None,
        keepalive: None,
    }
}

pub(crate) fn v6_grant() -> V6Grant {
    V6Grant {
        address: "fd00:8::1000".parse().expect("an address"),
        prefix: 64,
        server: "fd00:8::1".parse().expect("an address"),
    }
}

pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 50_000))
}

pub(crate) fn wall(monotonic: Monotonic) -> Now {
    Now {
        monotonic,
        unix: 1_795_000_000 + monotonic.as_nanos() / 1_000_000_000,
    }
}
