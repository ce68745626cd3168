//! A session of ours on a plain socket, whose data channel is pings and echo requests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway::crypto::{CookieKey, DataKeys};
use ringway::random::SystemRandom;
use ringway::session::{
    Activity, Agreement, Class, Grant, Greeting, OpenVpn2, Session, SessionEvent, SessionSettings,
    V4Grant,
};
use ringway::time::Now;
use ringway::wire::{ControlHeader, DataHeader, KeyId, PING, PeerId, Role, SessionId};

use crate::process::LIMIT;

/// Our end of a session with the real openvpn.
pub(crate) struct Endpoint {
    socket: UdpSocket,
    role: Role,
    door: OpenVpn2,
    session: Option<Session>,
    peer: Option<SocketAddr>,
    peer_session: Option<SessionId>,
    keys: BTreeMap<u8, DataKeys>,
    sealing: Option<KeyId>,
    header: HeaderKind,
    agreement: Option<Agreement>,
    conversation: Vec<DataPacket>,
    probes: u16,
}

/// What the two said to each other.
pub(crate) struct Conversation {
    /// The client's session id.
    pub(crate) client: SessionId,
    /// The server's.
    pub(crate) server: SessionId,
    /// Cipher and key derivation.
    pub(crate) agreement: Agreement,
    /// The data packets of both, in their order.
    pub(crate) packets: Vec<DataPacket>,
}

/// A data packet.
#[derive(Clone)]
pub(crate) struct DataPacket {
    /// Who sent it.
    pub(crate) sender: Role,
    /// As it was on the wire.
    pub(crate) datagram: Vec<u8>,
    /// What is in it.
    pub(crate) plaintext: Vec<u8>,
}

/// The header of our data packets.
#[derive(Clone, Copy)]
enum HeaderKind {
    V1,
    V2(PeerId),
}

impl Endpoint {
    /// A server at `socket`.
    pub(crate) fn server(socket: UdpSocket, settings: SessionSettings, data_v2: bool) -> Self {
        let mut endpoint = Self::new(socket, settings);
        if data_v2 {
            endpoint.header = HeaderKind::V2(peer_id());
        }
        endpoint
    }

    /// A client of the server at `server`.
    pub(crate) fn client(socket: UdpSocket, settings: SessionSettings, server: SocketAddr) -> Self {
        let mut endpoint = Self::new(socket, settings);
        let settings = Arc::clone(endpoint.door.settings());
        let session = Session::connect(settings, Now::read(), &mut SystemRandom).unwrap();
        endpoint.session = Some(session);
        endpoint.peer = Some(server);
        endpoint
    }

    fn new(socket: UdpSocket, settings: SessionSettings) -> Self {
        socket.set_read_timeout(Some(TURN)).unwrap();
        let cookie = CookieKey::new(&mut SystemRandom, settings.timing.hand_window);
        Self {
            socket,
            role: settings.role,
            door: OpenVpn2::new(Arc::new(settings), cookie, &mut SystemRandom),
            session: None,
            peer: None,
            peer_session: None,
            keys: BTreeMap::new(),
            sealing: None,
            header: HeaderKind::V1,
            agreement: None,
            conversation: Vec::new(),
            probes: 0,
        }
    }

    /// Talks until all has been heard that keys of the first `generations` should let through.
    pub(crate) fn converse(mut self, generations: u8) -> Conversation {
        let end = Instant::now() + LIMIT;
        let mut next_probe = Instant::now();
        while !(0..generations).all(|key_id| self.has_heard_all(key_id)) {
            assert!(Instant::now() < end, "not all was heard that should be");
            self.receive();
            self.step();
            if self.sealing.is_some() && Instant::now() >= next_probe {
                self.probe();
                next_probe = Instant::now() + PROBE_INTERVAL;
            }
        }
        let (ours, theirs) = (self.session.unwrap().local_id(), self.peer_session.unwrap());
        let (client, server) = match self.role {
            Role::Client => (ours, theirs),
            Role::Server => (theirs, ours),
        };
        Conversation {
            client,
            server,
            agreement: self.agreement.unwrap(),
            packets: self.conversation,
        }
    }

    fn receive(&mut self) {
        let mut datagram = [0; 2048];
        let Ok((length, from)) = self.socket.recv_from(&mut datagram) else {
            return;
        };
        let datagram = &mut datagram[..length];
        match OpenVpn2::classify(datagram) {
            Class::Data(_) | Class::DataByPath => self.receive_data(datagram),
            _ => self.receive_control(from, datagram),
        }
    }

    fn receive_control(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let sender = ControlHeader::parse(datagram).unwrap().session_id;
        let now = Now::read();
        if self.session.is_none() {
            let mut answer = Vec::new();
            let door = &mut self.door;
            match door.greet(now, &mut SystemRandom, from, datagram, &mut answer) {
                Ok(Greeting::Answer) => {
                    self.socket.send_to(&answer, from).unwrap();
                    return;
                }
                Ok(Greeting::Session(session)) => self.session = Some(*session),
                Err(error) => panic!("{error}"),
            }
            self.peer = Some(from);
        }
        self.peer_session = Some(sender);
        let session = self.session.as_mut().unwrap();
        // A repeated packet is of no interest.
        let _ = session.handle_datagram(now, &mut SystemRandom, datagram);
    }

    fn receive_data(&mut self, datagram: &[u8]) {
        let key_id = DataHeader::parse(datagram).unwrap().key_id();
        // On a busy machine the peer may use keys that we are still about to make.
        let Some(keys) = self.keys.get_mut(&key_id.get()) else {
            return;
        };
        let mut plaintext = vec![0; datagram.len()];
        let opened = keys
            .open
            .open(Now::read().monotonic, datagram, &mut plaintext);
        plaintext.truncate(opened.unwrap());
        self.conversation.push(DataPacket {
            sender: other(self.role),
            datagram: datagram.to_vec(),
            plaintext,
        });
    }

    fn step(&mut self) {
        let now = Now::read();
        let Some(session) = &mut self.session else {
            return;
        };
        let activity = Activity {
            sent: now.monotonic,
            received: now.monotonic,
        };
        session.handle_timeout(now, &mut SystemRandom, activity);
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Authenticated(_) => {
                    session.admit(now, &mut SystemRandom, &grant());
                }
                SessionEvent::Keys { key_id, keys } => {
                    self.keys.insert(key_id.get(), *keys);
                }
                SessionEvent::Promoted(key_id) => self.sealing = Some(key_id),
                SessionEvent::Configured(options) => {
                    let peer_id = options
                        .iter()
                        .find_map(|it| it.strip_prefix("peer-id ")?.parse().ok());
                    if let Some(peer_id) = peer_id {
                        self.header = HeaderKind::V2(PeerId::new(peer_id).unwrap());
                    }
                }
                SessionEvent::Connected => self.agreement = session.agreement().cloned(),
                SessionEvent::Left(reason) => panic!("the session ended: {reason}"),
                _ => {}
            }
        }
        let mut datagram = Vec::new();
        while session.poll_transmit(now, &mut datagram) {
            self.socket.send_to(&datagram, self.peer.unwrap()).unwrap();
        }
    }

    fn probe(&mut self) {
        self.probes += 1;
        let (ours, theirs) = match self.role {
            Role::Server => (SERVER, CLIENT),
            Role::Client => (CLIENT, SERVER),
        };
        self.send(&PING);
        self.send(&echo_request(ours, theirs, self.probes));
    }

    fn send(&mut self, plaintext: &[u8]) {
        let key_id = self.sealing.unwrap();
        let header = match self.header {
            HeaderKind::V1 => DataHeader::V1 { key_id },
            HeaderKind::V2(peer_id) => DataHeader::V2 { key_id, peer_id },
        };
        let mut datagram = vec![0; 256];
        let keys = self.keys.get_mut(&key_id.get()).unwrap();
        let length = keys.seal.seal(header, plaintext, &mut datagram).unwrap();
        datagram.truncate(length);
        self.socket.send_to(&datagram, self.peer.unwrap()).unwrap();
        self.conversation.push(DataPacket {
            sender: self.role,
            datagram,
            plaintext: plaintext.to_vec(),
        });
    }

    /// Whether the peer has sent a ping and an answer with these keys, and answered one of our
    /// requests that was sealed with them.
    fn has_heard_all(&self, key_id: u8) -> bool {
        let all = self.conversation.iter();
        let (ours, theirs): (Vec<_>, Vec<_>) = all.partition(|it| it.sender == self.role);
        let with_these = |packet: &DataPacket| {
            let header = DataHeader::parse(&packet.datagram).unwrap();
            header.key_id().get() == key_id
        };
        let mut heard = theirs.iter().filter(|it| with_these(it));
        let pinged = heard.clone().any(|it| it.plaintext == PING);
        let replied = heard.any(|it| is_reply_with(&it.plaintext, &[]));
        let answered = ours.iter().filter(|it| with_these(it)).any(|request| {
            let echo = request.plaintext.get(ECHO_ID..).unwrap_or_default();
            !echo.is_empty() && theirs.iter().any(|it| is_reply_with(&it.plaintext, echo))
        });
        pinged && replied && answered
    }
}

/// Whoever is on the other side.
pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

/// What our server gives to its only client.
fn grant() -> Grant {
    let netmask = Ipv4Addr::new(255, 255, 255, 0);
    Grant {
        peer_id: peer_id(),
        v4: Some(V4Grant {
            address: CLIENT,
            second: netmask,
        }),
        v6: None,
        push: None,
        keepalive: None,
    }
}

/// A number in which the order of the bytes shows.
fn peer_id() -> PeerId {
    PeerId::new(0x0001_0203).unwrap()
}

/// An ICMP echo request in an IPv4 packet.
fn echo_request(from: Ipv4Addr, to: Ipv4Addr, sequence: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x52, 0x57];
    icmp.extend_from_slice(&sequence.to_be_bytes());
    icmp.extend_from_slice(b"ringway");
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let total = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend_from_slice(&icmp);
    packet
}

/// Whether it is an ICMP echo reply that ends with identifier, sequence number and content `echo`.
fn is_reply_with(packet: &[u8], echo: &[u8]) -> bool {
    packet.len() > ECHO_ID
        && (packet[0], packet[9], packet[20]) == (0x45, 1, 0)
        && packet.ends_with(echo)
}

/// The internet checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);

/// Where identifier, sequence number and content of an echo stand behind an IPv4 header.
const ECHO_ID: usize = 24;

/// How long the endpoint waits for a datagram before it looks at its timers.
const TURN: Duration = Duration::from_millis(20);

const PROBE_INTERVAL: Duration = Duration::from_millis(700);
