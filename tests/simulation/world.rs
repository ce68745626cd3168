//! A client, a server's door and session, data in both directions, and a clock.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::{
    CookieKey, DataCipher, DataKeys, Digest, KeyDirection, Metadata, OpenError, ReplayWindow,
    StaticKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey, Wrapping,
};
use ringway::random::{Random, SeededRandom};
use ringway::session::{
    Activity, Class, ClientKeyRules, Farewell, Grant, Greeting, LeaveReason, OpenVpn2,
    Renegotiation, Session, SessionEvent, SessionSettings, Timing, V4Grant,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{DataHeader, KeyId, OptionsString, PeerId, Role};

use crate::network::{Arrival, Conditions, End, Network};
use crate::stream::{Carrier, Stream};
use crate::tls::{self, Engine};

/// What the two are going to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// 0 plain, 1 tls-auth, 2 tls-crypt, 3 tls-crypt-v2.
    pub(crate) wrapping: u64,
    /// The client's `IV_PROTO`.
    pub(crate) proto: u32,
    pub(crate) client_renegotiates: Option<Duration>,
    pub(crate) server_renegotiates: Option<Duration>,
    /// The registry takes so long.
    pub(crate) admission_takes: Duration,
    /// The client says goodbye after so long.
    pub(crate) goodbye_after: Duration,
    /// Over one connection, and not by datagrams.
    pub(crate) over_stream: bool,
    /// The connection ends after so long.
    pub(crate) end_after: Option<Duration>,
    /// The network dies after so long.
    pub(crate) cut_after: Option<Duration>,
    /// Packets and blocks that client and server seal in an epoch, where keys have epochs.
    pub(crate) epoch_usage: (u64, u64),
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Connected, and then ended by the client's goodbye.
    Goodbye(Story),
    /// One side gave up, for this reason.
    Failed(LeaveReason),
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) connected_after: Duration,
    pub(crate) renegotiations: u32,
    pub(crate) renegotiations_failed: u32,
    pub(crate) data_delivered: u64,
    /// Data that arrived unharmed, of a key that the receiver did not have.
    pub(crate) data_lost_to_keys: u64,
    /// The same, of an epoch that was over or too far away.
    pub(crate) data_lost_to_epochs: u64,
    /// The highest epoch that was sealed in.
    pub(crate) epoch: u16,
}

/// A running simulation.
pub(crate) struct World {
    seed: u64,
    start: Monotonic,
    now: Monotonic,
    plan: Plan,
    random: SeededRandom,
    network: Carrier,
    door: OpenVpn2,
    client: Side,
    server: Option<Side>,
    admission: Option<Monotonic>,
    next_data: Monotonic,
    story: Story,
    said_goodbye: bool,
    exit_notice: bool,
    failure: Option<LeaveReason>,
}

/// One end: its session and its half of the data path.
struct Side {
    end: End,
    session: Session,
    keys: HashMap<u8, DataKeys>,
    sending: Option<KeyId>,
    connected: bool,
    left: Option<LeaveReason>,
    finished: bool,
    activity: Activity,
}

impl Plan {
    pub(crate) fn calm() -> Self {
        Self {
            wrapping: 2,
            proto: 990,
            client_renegotiates: None,
            server_renegotiates: Some(Duration::from_secs(60)),
            admission_takes: Duration::ZERO,
            goodbye_after: Duration::from_secs(300),
            over_stream: false,
            end_after: None,
            cut_after: None,
            epoch_usage: (u64::MAX, u64::MAX),
        }
    }

    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed ^ 0x91a7);
        let protos = [0, 2, 6, 990, 478, 8094, 8094];
        let interval = |choice| match choice {
            0 => None,
            other => Some(Duration::from_secs(other * 20)),
        };
        Self {
            wrapping: random.below(4),
            proto: protos[random.below(protos.len() as u64) as usize],
            client_renegotiates: interval(random.below(5)),
            server_renegotiates: interval(random.below(5)),
            admission_takes: Duration::from_millis(random.below(3_000)),
            goodbye_after: Duration::from_secs(120 + random.below(300)),
            over_stream: false,
            end_after: None,
            cut_after: None,
            epoch_usage: (50 + random.below(500), 50 + random.below(500)),
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, engine: Engine, plan: Plan, conditions: Conditions) -> Self {
        let mut random = SeededRandom::new(seed);
        let now = Monotonic::from_nanos(1_000_000_000_000);
        let server = Arc::new(settings(Role::Server, engine, &plan));
        let client = Arc::new(settings(Role::Client, engine, &plan));
        let cookie = CookieKey::new(&mut random, server.timing.hand_window);
        let door = OpenVpn2::new(server, cookie, &mut random);
        let door = match plan.wrapping {
            3 => door.with_client_keys(Arc::new(ClientKeyRules {
                key: server_key(),
                without_cookie: false,
                max_age: None,
                keeps_metadata: false,
            })),
            _ => door,
        };
        let session = Session::connect(client, wall(now), &mut random).expect("TLS starts");
        let mut conditions = conditions;
        if plan.wrapping == 0 {
            // Without a wrapping only UDP's checksum finds damage, and drops it.
            conditions.loss += conditions.damage;
            conditions.damage = 0.0;
        }
        Self {
            seed,
            start: now,
            now,
            plan,
            network: match plan.over_stream {
                true => Carrier::Stream(Box::new(Stream::new(seed, conditions))),
                false => Carrier::Datagrams(Network::new(seed, conditions)),
            },
            door,
            client: Side::new(End::Client, session, now),
            server: None,
            admission: None,
            next_data: now,
            story: Story::default(),
            said_goodbye: false,
            exit_notice: false,
            failure: None,
            random,
        }
    }

    /// Runs to the end of the story.
    pub(crate) fn run(mut self) -> Ending {
        let start = self.now;
        let end = start + Duration::from_secs(3_600);
        loop {
            self.step(start);
            if let Some(reason) = self.failure.take() {
                return Ending::Failed(reason);
            }
            if self.said_goodbye && self.is_over() {
                return Ending::Goodbye(self.story);
            }
            assert!(
                self.now < end,
                "seed {} is stuck: {:?}",
                self.seed,
                self.story
            );
            let next = self
                .next_moment()
                .expect("a world with nothing to wait for is stuck");
            self.now = next.max(self.now);
        }
    }

    fn is_over(&self) -> bool {
        self.client.finished && self.server.as_ref().is_none_or(|server| server.finished)
    }

    fn next_moment(&self) -> Option<Monotonic> {
        let mut moments = vec![
            self.network.next_arrival(),
            self.client.session.next_timeout(),
        ];
        moments.push(
            self.server
                .as_ref()
                .and_then(|server| server.session.next_timeout()),
        );
        moments.push(self.admission);
        moments.push(self.plan.end_after.map(|after| self.start + after));
        if self.client.connected && !self.said_goodbye {
            moments.push(Some(self.next_data));
        }
        moments.into_iter().flatten().min()
    }

    fn step(&mut self, start: Monotonic) {
        let now = wall(self.now);
        while let Some(arrival) = self.network.arrive(self.now) {
            self.deliver(arrival);
        }
        if self.admission.is_some_and(|at| at <= self.now) {
            self.admission = None;
            if let Some(server) = &mut self.server {
                server.session.admit(now, &mut self.random, &grant());
            }
        }
        let elapsed = self.now.since(start);
        if self.plan.cut_after.is_some_and(|after| elapsed >= after) {
            self.network.cut();
        }
        if self.plan.end_after.is_some_and(|after| elapsed >= after) {
            self.plan.end_after = None;
            self.network.cut();
            // Both sides hear of it, as a shard tells its session.
            let sides = [Some(&mut self.client), self.server.as_mut()];
            for side in sides.into_iter().flatten() {
                let reason = LeaveReason::ConnectionReset;
                side.session.close(now, Farewell::Silent, reason);
            }
        }
        if self.client.connected && elapsed >= self.plan.goodbye_after && !self.said_goodbye {
            self.said_goodbye = true;
            self.client
                .session
                .close(now, Farewell::Exit, LeaveReason::Closed);
        }
        self.send_data();
        for side in [Some(&mut self.client), self.server.as_mut()]
            .into_iter()
            .flatten()
        {
            if side.session.next_timeout().is_some_and(|at| at <= self.now) {
                side.session
                    .handle_timeout(now, &mut self.random, side.activity);
            }
        }
        self.drain(start);
        if std::mem::take(&mut self.exit_notice)
            && let Some(server) = &mut self.server
        {
            server.session.peer_exits(now);
        }
    }

    fn deliver(&mut self, arrival: Arrival<End>) {
        let Arrival {
            to,
            bytes: mut datagram,
            damaged,
        } = arrival;
        let now = wall(self.now);
        let class = OpenVpn2::classify(&datagram);
        if matches!(class, Class::Data(_) | Class::DataByPath) {
            return self.deliver_data(to, &datagram, damaged);
        }
        if to == End::Client {
            let _ = self
                .client
                .session
                .handle_datagram(now, &mut self.random, &mut datagram);
            return;
        }
        if let Some(server) = &mut self.server {
            let _ = server
                .session
                .handle_datagram(now, &mut self.random, &mut datagram);
            return;
        }
        if self.network.is_stream() {
            let greeted = self.door.greet_stream(now, &mut self.random, &datagram);
            let mut session = greeted.expect("the first packet begins the session");
            session
                .handle_datagram(now, &mut self.random, &mut datagram)
                .expect("what the door accepted, the session accepts");
            self.server = Some(Side::new(End::Server, session, self.now));
            return;
        }
        let mut answer = Vec::new();
        let greeting = self
            .door
            .greet(now, &mut self.random, address(), &datagram, &mut answer);
        match greeting {
            Ok(Greeting::Answer) => self.network.send(self.now, End::Client, &answer),
            Ok(Greeting::Session(mut session)) => {
                session
                    .handle_datagram(now, &mut self.random, &mut datagram)
                    .expect("what the door accepted, the session accepts");
                self.server = Some(Side::new(End::Server, *session, self.now));
            }
            Err(_) => {}
        }
    }

    /// Data every 200 ms in both directions while both ends say that it flows.
    fn send_data(&mut self) {
        if self.now < self.next_data || self.said_goodbye {
            return;
        }
        self.next_data = self.now + Duration::from_millis(200);
        let Some(server) = self.server.as_mut().filter(|server| server.connected) else {
            return;
        };
        if !self.client.connected {
            return;
        }
        for side in [&mut self.client, server] {
            let epoch = side.sealing_epoch();
            self.story.epoch = self.story.epoch.max(epoch.unwrap_or(0));
            let to = match side.end {
                End::Client => End::Server,
                End::Server => End::Client,
            };
            if let Some(datagram) = side.seal(self.now, b"some data that flows through the tunnel")
            {
                self.network.send(self.now, to, &datagram);
            }
        }
    }

    fn deliver_data(&mut self, to: End, datagram: &[u8], damaged: bool) {
        let side = match (to, &mut self.server) {
            (End::Client, _) => &mut self.client,
            (End::Server, Some(server)) => server,
            (End::Server, None) => return,
        };
        if side.left.is_some() {
            return;
        }
        let Ok(header) = DataHeader::parse(datagram) else {
            return;
        };
        let mut plain = [0; 2_048];
        match side.keys.get_mut(&header.key_id().get()) {
            Some(keys) => match keys.open_datagram(self.now, datagram, &mut plain) {
                Ok(_) => {
                    self.story.data_delivered += 1;
                    side.activity.received = self.now;
                }
                Err(error) if self.network.is_stream() => panic!("{error}: nothing overtakes"),
                Err(OpenError::Replay { .. } | OpenError::Authentication) => {}
                Err(OpenError::UnknownEpoch) if damaged => {}
                Err(OpenError::UnknownEpoch) => self.story.data_lost_to_epochs += 1,
                Err(error) => assert!(datagram.len() < 40, "{error}"),
            },
            // A damaged header names any key; a whole packet under one that we lack is lost.
            None if side.connected && !damaged => self.story.data_lost_to_keys += 1,
            None => {}
        }
    }

    fn drain(&mut self, start: Monotonic) {
        let now = wall(self.now);
        let mut datagram = Vec::new();
        let sides = [Some(&mut self.client), self.server.as_mut()];
        for side in sides.into_iter().flatten() {
            while let Some(event) = side.session.poll_event() {
                match event {
                    SessionEvent::Authenticated(_) => {
                        self.admission = Some(self.now + self.plan.admission_takes);
                    }
                    SessionEvent::Renegotiated { .. } => self.story.renegotiations += 1,
                    SessionEvent::RenegotiationFailed(_) => self.story.renegotiations_failed += 1,
                    SessionEvent::PingDue => {
                        let to = if side.end == End::Client {
                            End::Server
                        } else {
                            End::Client
                        };
                        if let Some(ping) = side.seal(self.now, &ringway::wire::PING) {
                            self.network.send(self.now, to, &ping);
                        }
                    }
                    // The notice goes over the data channel, which loses it now and then.
                    SessionEvent::ExitNoticeDue => self.exit_notice = true,
                    SessionEvent::Connected if side.end == End::Client => {
                        side.connected = true;
                        self.story.connected_after = self.now.since(start);
                    }
                    SessionEvent::Left(reason) => {
                        let expected = matches!(reason, LeaveReason::Closed)
                            || (self.said_goodbye && side.end == End::Server);
                        if !expected && self.failure.is_none() {
                            self.failure = Some(reason.clone());
                        }
                        side.left = Some(reason);
                    }
                    SessionEvent::Keys { key_id, mut keys } => {
                        let (client, server) = self.plan.epoch_usage;
                        if keys.seal.epoch().is_some() {
                            keys.seal.limit_usage(match side.end {
                                End::Client => client,
                                End::Server => server,
                            });
                        }
                        side.take(SessionEvent::Keys { key_id, keys });
                    }
                    event => side.take(event),
                }
            }
            let to = if side.end == End::Client {
                End::Server
            } else {
                End::Client
            };
            while side.session.poll_transmit(now, &mut datagram) {
                assert!(datagram.len() <= 1_200, "{} bytes", datagram.len());
                self.network.send(self.now, to, &datagram);
            }
        }
    }
}

impl Side {
    fn new(end: End, session: Session, now: Monotonic) -> Self {
        Self {
            end,
            session,
            keys: HashMap::new(),
            sending: None,
            connected: false,
            left: None,
            finished: false,
            activity: Activity {
                sent: now,
                received: now,
            },
        }
    }

    fn take(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Keys { key_id, keys } => {
                self.keys.insert(key_id.get(), *keys);
            }
            SessionEvent::Promoted(key_id) => {
                assert!(
                    self.keys.contains_key(&key_id.get()),
                    "{key_id:?} promoted without keys"
                );
                self.sending = Some(key_id);
            }
            SessionEvent::Retired(key_id) => {
                assert_ne!(self.sending, Some(key_id), "the sending key is retired");
                self.keys.remove(&key_id.get());
            }
            SessionEvent::Connected => self.connected = true,
            SessionEvent::Finished => self.finished = true,
            _ => {}
        }
    }

    /// The epoch of the key that seals, if it has some.
    fn sealing_epoch(&self) -> Option<u16> {
        self.keys.get(&self.sending?.get())?.seal.epoch()
    }

    fn seal(&mut self, now: Monotonic, payload: &[u8]) -> Option<Vec<u8>> {
        let key_id = self.sending?;
        let peer_id = PeerId::new(7).expect("24 bits");
        let mut out = vec![0; payload.len() + 64];
        let keys = self
            .keys
            .get_mut(&key_id.get())
            .expect("the sending key is there");
        let header = DataHeader::V2 { key_id, peer_id };
        let length = keys
            .seal
            .seal(header, payload, &mut out)
            .expect("far from any limit");
        out.truncate(length);
        self.activity.sent = now;
        Some(out)
    }
}

fn settings(role: Role, engine: Engine, plan: &Plan) -> SessionSettings {
    let key = StaticKey::from_bytes(&std::array::from_fn(|index| index as u8));
    let (wrapping, static_key) = match (plan.wrapping, role) {
        (0, _) => (Wrapping::Plain, None),
        (1, Role::Server) => (
            Wrapping::tls_auth(&key, KeyDirection::Zero, Digest::Sha256),
            Some(key),
        ),
        (1, Role::Client) => (
            Wrapping::tls_auth(&key, KeyDirection::One, Digest::Sha256),
            Some(key),
        ),
        (2, _) => (Wrapping::tls_crypt(&key, role), Some(key)),
        (_, Role::Server) => (Wrapping::Plain, None),
        (_, Role::Client) => {
            let metadata = Metadata::User(vec![7; 500]);
            let mut random = SeededRandom::new(11);
            let key = TlsCryptV2ClientKey::generate(&server_key(), &metadata, &mut random);
            let key = key.expect("short metadata");
            (Wrapping::tls_crypt_v2(&key), Some(key.key().clone()))
        }
    };
    let (interval, name) = match role {
        Role::Server => (plan.server_renegotiates, "gate"),
        Role::Client => (plan.client_renegotiates, "alice"),
    };
    let ping = (role == Role::Server).then(|| Duration::from_secs(10));
    SessionSettings {
        role,
        wrapping: Arc::new(wrapping),
        static_key,
        tls: tls::engine(role, engine, name),
        ciphers: vec![DataCipher::Aes256Gcm, DataCipher::ChaCha20Poly1305],
        options_string: OptionsString::stock(role).to_string(),
        tun_mtu: 1500,
        push: vec!["ping 10".to_owned(), "ping-restart 60".to_owned()],
        peer_info: format!(
            "IV_VER=2.6.14\nIV_PROTO={}\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1600\n",
            plan.proto
        ),
        replay_window: ReplayWindow::default(),
        timing: Timing {
            hand_window: Duration::from_secs(60),
            tran_window: Duration::from_secs(3_600),
            tls_timeout: Duration::from_secs(2),
            renegotiation: interval.map(|interval| Renegotiation {
                earliest: interval * 9 / 10,
                latest: interval,
            }),
            ping,
            ping_restart: ping.map(|ping| ping * 12),
        },
        login: None,
    }
}

fn server_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::generate(&mut SeededRandom::new(12))
}

fn grant() -> Grant {
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

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 50_000))
}

fn wall(monotonic: Monotonic) -> Now {
    Now {
        monotonic,
        unix: 1_795_000_000 + monotonic.as_nanos() / 1_000_000_000,
    }
}
