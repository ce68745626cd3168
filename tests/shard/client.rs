//! A client: a session of this library and a plain socket.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway::crypto::tls::TlsEngine;
use ringway::crypto::{DataCipher, DataKeys, ReplayWindow, Role, StaticKey, Wrapping};
use ringway::random::SystemRandom;
use ringway::session::{
    Activity, Class, LeaveReason, OpenVpn2, Session, SessionEvent, SessionSettings, Timing,
};
use ringway::time::Now;
use ringway::wire::{DataHeader, KeyId, OccMessage, OptionsString, PeerId};

use crate::server::{ADDRESS, INNER};

/// One client.
pub(crate) struct Client {
    socket: UdpSocket,
    session: Session,
    keys: HashMap<KeyId, Box<DataKeys>>,
    configured: Vec<String>,
    /// Echo replies that came through the tunnel.
    replies: u64,
    /// Why it left, once it has.
    pub(crate) left: Option<LeaveReason>,
    /// The control datagrams that it sent.
    pub(crate) sent_control: Vec<Vec<u8>>,
    /// The last datagram of each channel that it received, as it came.
    pub(crate) heard_control: Vec<u8>,
    pub(crate) heard_data: Vec<u8>,
    /// What was inside of that of the data channel.
    heard_payload: Vec<u8>,
}

impl Client {
    /// One that has said nothing.
    pub(crate) fn new(engine: &Arc<impl TlsEngine + 'static>, from: Ipv4Addr) -> Self {
        Self::wrapped(engine, from, Wrapping::Plain, None)
    }

    /// One whose control channel is wrapped.
    pub(crate) fn wrapped(
        engine: &Arc<impl TlsEngine + 'static>,
        from: Ipv4Addr,
        wrapping: Wrapping,
        key: Option<StaticKey>,
    ) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((from, 0))).expect("binds");
        socket.connect(ADDRESS).expect("connects");
        let mut settings = settings(Arc::clone(engine) as Arc<dyn TlsEngine>);
        (settings.wrapping, settings.static_key) = (Arc::new(wrapping), key);
        let session = Session::connect(Arc::new(settings), Now::read(), &mut SystemRandom);
        Self {
            socket,
            session: session.expect("TLS starts"),
            keys: HashMap::new(),
            configured: Vec::new(),
            replies: 0,
            heard_payload: Vec::new(),
            left: None,
            sent_control: Vec::new(),
            heard_control: Vec::new(),
            heard_data: Vec::new(),
        }
    }

    /// One that has connected.
    pub(crate) fn connected(engine: &Arc<impl TlsEngine + 'static>) -> Self {
        let mut client = Self::new(engine, Ipv4Addr::LOCALHOST);
        assert!(client.connect(), "{:?}", client.left);
        client
    }

    /// Whether it connects in good time.
    pub(crate) fn connect(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.session.is_connected() && self.left.is_none() && Instant::now() < deadline {
            self.pump(Duration::from_millis(5));
        }
        self.session.is_connected()
    }

    /// The same over a path on which a round trip takes so long.
    pub(crate) fn connect_from_afar(&mut self, round_trip: Duration) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.session.is_connected() && self.left.is_none() && Instant::now() < deadline {
            self.pump(Duration::ZERO);
            std::thread::sleep(round_trip);
        }
        self.session.is_connected()
    }

    /// Whether it is connected, as far as it knows.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Sends what is due and takes what has come, for at least so long.
    pub(crate) fn pump(&mut self, patience: Duration) {
        let (now, end) = (Now::read(), Instant::now() + patience);
        if self
            .session
            .next_timeout()
            .is_some_and(|at| at <= now.monotonic)
        {
            let activity = Activity {
                sent: now.monotonic,
                received: now.monotonic,
            };
            self.session
                .handle_timeout(now, &mut SystemRandom, activity);
        }
        loop {
            self.speak();
            let left = end.saturating_duration_since(Instant::now());
            self.socket.set_nonblocking(left.is_zero()).expect("sets");
            if !left.is_zero() {
                self.socket.set_read_timeout(Some(left)).expect("sets");
            }
            let mut datagram = [0; 4096];
            let Ok(length) = self.socket.recv(&mut datagram) else {
                return;
            };
            self.take(&mut datagram[..length]);
        }
    }

    /// Whether an echo request to the server's inner address comes back.
    pub(crate) fn echo(&mut self) -> bool {
        let before = self.replies;
        for _ in 0..ECHO_TRIES {
            let datagram = self.sealed_echo();
            self.send(&datagram);
            let deadline = Instant::now() + ECHO_PATIENCE;
            while self.replies == before && Instant::now() < deadline {
                self.pump(Duration::from_millis(1));
            }
            if self.replies > before {
                return true;
            }
        }
        false
    }

    /// Asks a question about the channel until an answer comes: the whole datagram's length, and what is in it.
    pub(crate) fn ask(&mut self, question: &OccMessage<'_>) -> (usize, Vec<u8>) {
        let mut payload = Vec::new();
        question.emit(&mut payload);
        for _ in 0..ECHO_TRIES {
            self.heard_payload.clear();
            let datagram = self.sealed(&payload);
            self.send(&datagram);
            let deadline = Instant::now() + ECHO_PATIENCE;
            while self.heard_payload.is_empty() && Instant::now() < deadline {
                self.pump(Duration::from_millis(1));
            }
            if !self.heard_payload.is_empty() {
                return (self.heard_data.len(), self.heard_payload.clone());
            }
        }
        panic!("no answer to {question:?}");
    }

    /// A data packet with an echo request, ready to be sent.
    pub(crate) fn sealed_echo(&mut self) -> Vec<u8> {
        self.sealed(&echo_request(self.address()))
    }

    /// A data packet with this payload.
    pub(crate) fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = DataHeader::V2 {
            key_id: KeyId::FIRST,
            peer_id: PeerId::new(self.peer_id()).expect("24 bits"),
        };
        let mut datagram = [0; 2048];
        let keys = self.keys.get_mut(&KeyId::FIRST).expect("keys");
        let length = keys.seal.seal(header, payload, &mut datagram);
        datagram[..length.expect("seals")].to_vec()
    }

    /// Sends any bytes from its address.
    pub(crate) fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send(datagram);
        assert_eq!(sent.expect("sends"), datagram.len());
    }

    /// Its address inside the tunnel.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.option("ifconfig ").parse().expect("an address")
    }

    /// The number of its data packets.
    pub(crate) fn peer_id(&self) -> u32 {
        self.option("peer-id ").parse().expect("a number")
    }

    fn option(&self, name: &str) -> &str {
        let mut values = self
            .configured
            .iter()
            .filter_map(|line| line.strip_prefix(name));
        let value = values.next().expect("it was pushed");
        value.split(' ').next().unwrap_or_default()
    }

    fn speak(&mut self) {
        let mut datagram = Vec::new();
        while self.session.poll_transmit(Now::read(), &mut datagram) {
            let _lost = self.socket.send(&datagram);
            self.sent_control.push(datagram.clone());
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Keys { key_id, keys } => {
                    self.keys.insert(key_id, keys);
                }
                SessionEvent::Configured(options) => self.configured = options,
                SessionEvent::Left(reason) => self.left = Some(reason),
                _ => {}
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let now = Now::read();
        match OpenVpn2::classify(datagram) {
            Class::Control(_) => {
                self.heard_control = datagram.to_vec();
                let _dropped = self
                    .session
                    .handle_datagram(now, &mut SystemRandom, datagram);
            }
            Class::Data(_) | Class::DataByPath => {
                self.heard_data = datagram.to_vec();
                let mut inner = [0; 4096];
                let keys = self.keys.get_mut(&KeyId::FIRST).expect("keys");
                let opened = keys.open_datagram(now.monotonic, datagram, &mut inner);
                let length = opened.expect("authentic");
                self.heard_payload = inner[..length].to_vec();
                // An echo reply.
                if inner[..length].get(20) == Some(&0) {
                    self.replies += 1;
                }
            }
            Class::Foreign => panic!("a datagram of another protocol"),
        }
    }
}

/// Connects many at once.
pub(crate) fn connect_all(clients: &mut [Client]) {
    let deadline = Instant::now() + PATIENCE;
    while clients.iter().any(|client| !client.session.is_connected()) {
        assert!(Instant::now() < deadline, "not all connect");
        for client in clients.iter_mut() {
            client.pump(Duration::ZERO);
        }
    }
}

fn settings(tls: Arc<dyn TlsEngine>) -> SessionSettings {
    SessionSettings {
        role: Role::Client,
        wrapping: Arc::new(Wrapping::Plain),
        static_key: None,
        tls,
        ciphers: vec![DataCipher::Aes256Gcm],
        options_string: OptionsString::stock(Role::Client).to_string(),
        tun_mtu: 1500,
        push: Vec::new(),
        peer_info: "IV_VER=2.6.14\nIV_CIPHERS=AES-256-GCM\nIV_PROTO=990\n".to_owned(),
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

/// An IPv4 packet with an ICMP echo request to the server.
fn echo_request(from: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&INNER.octets());
    packet.extend_from_slice(&[8, 0, 0, 0, 0, 7, 0, 7]);
    let header = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&header);
    let message = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&message);
    packet
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

const PATIENCE: Duration = Duration::from_secs(30);
const ECHO_PATIENCE: Duration = Duration::from_millis(300);
const ECHO_TRIES: usize = 3;
