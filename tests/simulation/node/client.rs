//! A client: sessions of this library in the client role, one after the other, and their half of the
//! data path.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::{DataKeys, OpenError};
use ringway::random::SeededRandom;
use ringway::session::{
    Activity, Class, Farewell, LeaveReason, OpenVpn2, Session, SessionEvent, SessionSettings,
};
use ringway::time::Monotonic;
use ringway::wire::{DataHeader, KeyId, OccMessage, PING, PeerId};

use super::edges::wall;
use super::trace::Trace;

/// One client.
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) name: String,
    /// Its data packets carry a peer id.
    pub(crate) numbered: bool,
    settings: Arc<SessionSettings>,
    /// Where it sends from.
    pub(crate) address: SocketAddr,
    pub(crate) tunnel: Option<Tunnel>,
    /// Whether it wants to be connected.
    pub(crate) wants: bool,
    /// When it dials, if it has no tunnel and wants one.
    pub(crate) next_dial: Monotonic,
    pub(crate) next_data: Monotonic,
    pub(crate) next_whim: Monotonic,
    /// When it is served the next time, if nothing happens before.
    pub(crate) due: Monotonic,
    keys_made: u64,
}

/// One connection to the server, or an attempt at one.
pub(crate) struct Tunnel {
    session: Session,
    keys: HashMap<KeyId, Key>,
    sending: Option<KeyId>,
    pub(crate) connected: bool,
    /// What the server has assigned to it.
    pub(crate) addresses: Vec<IpAddr>,
    peer_id: Option<PeerId>,
    activity: Activity,
    pub(crate) left: Option<LeaveReason>,
}

/// One key generation.
struct Key {
    /// No other key of any client has it.
    serial: u64,
    keys: Box<DataKeys>,
    /// The shard that seals with it.
    shard: Option<u16>,
    /// The sends that were opened with it: a copy by the network has the number of its original.
    opened: HashSet<u64>,
}

impl Client {
    pub(crate) fn new(
        number: usize,
        name: String,
        settings: Arc<SessionSettings>,
        address: SocketAddr,
    ) -> Self {
        Self {
            number,
            name,
            numbered: !settings.peer_info.contains("IV_PROTO=0"),
            settings,
            address,
            tunnel: None,
            wants: true,
            next_dial: Monotonic::ZERO,
            next_data: Monotonic::ZERO,
            next_whim: Monotonic::ZERO,
            due: Monotonic::ZERO,
            keys_made: 0,
        }
    }

    /// Begins a new session; the one before is forgotten without a word.
    pub(crate) fn dial(&mut self, now: Monotonic, random: &mut SeededRandom) {
        let settings = Arc::clone(&self.settings);
        let session = Session::connect(settings, wall(now), random).expect("TLS starts");
        self.tunnel = Some(Tunnel {
            session,
            keys: HashMap::new(),
            sending: None,
            connected: false,
            addresses: Vec::new(),
            peer_id: None,
            activity: Activity {
                sent: now,
                received: now,
            },
            left: None,
        });
    }

    /// Says goodbye and stays away.
    pub(crate) fn leave(&mut self, now: Monotonic) {
        self.wants = false;
        if let Some(tunnel) = &mut self.tunnel {
            tunnel
                .session
                .close(wall(now), Farewell::Exit, LeaveReason::Closed);
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.tunnel
            .as_ref()
            .is_some_and(|tunnel| tunnel.connected && tunnel.left.is_none())
    }

    /// Whether an inner address is assigned to it.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.tunnel
            .as_ref()
            .is_some_and(|tunnel| tunnel.addresses.contains(&address))
    }

    /// When it has something to do by itself.
    pub(crate) fn next_moment(&self) -> Monotonic {
        let tunnel = self.tunnel.as_ref();
        let timeout = tunnel.and_then(|tunnel| tunnel.session.next_timeout());
        let dial = (tunnel.is_none() && self.wants).then_some(self.next_dial);
        let data = self.is_connected().then_some(self.next_data);
        let moments = [timeout, dial, data].into_iter().flatten();
        moments.fold(self.next_whim, Monotonic::min)
    }

    /// Runs timers, and returns the datagrams that it has to send.
    pub(crate) fn serve(&mut self, now: Monotonic, random: &mut SeededRandom) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let Some(tunnel) = &mut self.tunnel else {
            return sent;
        };
        if tunnel.session.next_timeout().is_some_and(|at| at <= now) {
            let activity = tunnel.activity;
            tunnel.session.handle_timeout(wall(now), random, activity);
        }
        let mut finished = false;
        while let Some(event) = tunnel.session.poll_event() {
            match event {
                SessionEvent::Keys { key_id, keys } => {
                    self.keys_made += 1;
                    let serial = (self.number as u64) << 32 | self.keys_made;
                    tunnel.keys.insert(key_id, Key::new(serial, keys));
                }
                SessionEvent::Promoted(key_id) => tunnel.sending = Some(key_id),
                SessionEvent::Retired(key_id) => {
                    tunnel.keys.remove(&key_id);
                }
                SessionEvent::Configured(options) => tunnel.configure(&options),
                SessionEvent::Connected => tunnel.connected = true,
                SessionEvent::PingDue => sent.extend(tunnel.seal(now, &PING).map(|(_, it)| it)),
                SessionEvent::ExitNoticeDue => {
                    let mut notice = Vec::new();
                    OccMessage::Exit.emit(&mut notice);
                    sent.extend(tunnel.seal(now, &notice).map(|(_, it)| it));
                }
                SessionEvent::Left(reason) => tunnel.left = Some(reason),
                SessionEvent::Finished => finished = true,
                _ => {}
            }
        }
        let mut datagram = Vec::new();
        while tunnel.session.poll_transmit(wall(now), &mut datagram) {
            sent.push(datagram.clone());
        }
        if finished {
            self.tunnel = None;
            self.next_dial = now + REST;
        }
        sent
    }

    /// Seals an inner packet; with the serial number of its key.
    pub(crate) fn seal(&mut self, now: Monotonic, payload: &[u8]) -> Option<(u64, Vec<u8>)> {
        self.tunnel.as_mut()?.seal(now, payload)
    }

    /// The serial number of the key that seals.
    pub(crate) fn sealing_key(&self) -> Option<u64> {
        let tunnel = self.tunnel.as_ref()?;
        Some(tunnel.keys.get(&tunnel.sending?)?.serial)
    }

    /// Takes a datagram, which is the `serial`th that was sent, and has left from `shard`. Returns
    /// the inner packet that was in it.
    pub(crate) fn take(
        &mut self,
        now: Monotonic,
        random: &mut SeededRandom,
        datagram: &mut [u8],
        (serial, shard): (u64, u16),
        trace: &mut Trace,
    ) -> Option<Vec<u8>> {
        let tunnel = self.tunnel.as_mut()?;
        match OpenVpn2::classify(datagram) {
            Class::Control(_) => {
                let session = &mut tunnel.session;
                if let Err(reason) = session.handle_datagram(wall(now), random, datagram) {
                    let name = &self.name;
                    trace.note(
                        now,
                        format_args!("{name} drops a control datagram: {reason}"),
                    );
                }
                None
            }
            Class::Data(_) | Class::DataByPath => tunnel.open(now, datagram, serial, shard),
            Class::Foreign => None,
        }
    }
}

impl Tunnel {
    /// What of the server's configuration the data path needs.
    fn configure(&mut self, options: &[String]) {
        for option in options {
            let mut words = option.split(' ');
            match (words.next(), words.next()) {
                (Some("ifconfig" | "ifconfig-ipv6"), Some(address)) => {
                    let address = address.split('/').next().unwrap_or_default();
                    self.addresses.push(address.parse().expect("an address"));
                }
                (Some("peer-id"), Some(number)) => {
                    self.peer_id = number.parse().ok().and_then(PeerId::new);
                }
                _ => {}
            }
        }
    }

    fn seal(&mut self, now: Monotonic, payload: &[u8]) -> Option<(u64, Vec<u8>)> {
        let key_id = self.sending?;
        let key = self
            .keys
            .get_mut(&key_id)
            .expect("the sending key is there");
        let header = match self.peer_id {
            Some(peer_id) => DataHeader::V2 { key_id, peer_id },
            None => DataHeader::V1 { key_id },
        };
        let mut out = vec![0; payload.len() + 64];
        let length = key.keys.seal.seal(header, payload, &mut out);
        out.truncate(length.expect("far from any limit"));
        self.activity.sent = now;
        Some((key.serial, out))
    }

    /// Opens a data packet; panics if its packet id was used before under its key, or if its key is
    /// used by two shards.
    fn open(
        &mut self,
        now: Monotonic,
        datagram: &[u8],
        serial: u64,
        shard: u16,
    ) -> Option<Vec<u8>> {
        let header = DataHeader::parse(datagram).ok()?;
        let key = self.keys.get_mut(&header.key_id())?;
        let mut bytes = vec![0; datagram.len()];
        match key.keys.open_datagram(now, datagram, &mut bytes) {
            Ok(length) => bytes.truncate(length),
            Err(OpenError::Replay { .. }) => {
                // The window is wider than any run: only an authentic packet is found in it. Zero is no
                // packet id and refused unread; a flipped bit makes it of a power of two.
                let number = match key.keys.seal.epoch() {
                    Some(_) => datagram.get(header.len() + 2..header.len() + 8),
                    None => datagram.get(header.len()..header.len() + 4),
                };
                let zero = number.is_some_and(|number| number.iter().all(|byte| *byte == 0));
                assert!(
                    zero || key.opened.contains(&serial),
                    "a packet id is used twice under one key"
                );
                return None;
            }
            Err(_) => return None,
        }
        key.opened.insert(serial);
        let first = *key.shard.get_or_insert(shard);
        assert_eq!(first, shard, "two shards seal with one key");
        self.activity.received = now;
        let special = bytes == PING || OccMessage::parse(&bytes).is_some();
        (!special).then_some(bytes)
    }
}

impl Key {
    fn new(serial: u64, mut keys: Box<DataKeys>) -> Self {
        if keys.seal.epoch().is_some() {
            // The server goes along.
            keys.seal.limit_usage(EPOCH_USAGE);
        }
        Self {
            serial,
            keys,
            shard: None,
            opened: HashSet::new(),
        }
    }
}

/// Packets and blocks that a client seals in an epoch.
const EPOCH_USAGE: u64 = 60;
/// Before a client dials again whose session has ended.
const REST: Duration = Duration::from_secs(1);
