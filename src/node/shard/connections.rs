//! The sessions of one shard, each with its path and its standing, and the ways to find one.

use std::collections::HashMap;
use std::net::SocketAddr;

use slab::Slab;

use super::consistency::Sizes;
use super::dialed::Dialed;
use super::half_open::{Filed, HalfOpen, Progress, Rank, Room, Source};
use super::wheel::Alarm;
use crate::node::event::{ClientTag, Text};
use crate::node::leases::Addresses;
use crate::node::settings::SessionTimes;
use crate::packet::{Numbering, Path, PeerIndex, Traffic};
use crate::session::{Admission, Class, OpenVpn2, Session};
use crate::time::{Monotonic, Now};
use crate::wire::{Framing, SessionId};

/// All sessions of a shard.
pub(super) struct Connections {
    places: Slab<Place>,
    generation: u64,
    /// By the id that the client chose and its address; never by address alone, so that many
    /// sessions may share one.
    by_control: HashMap<(SessionId, SocketAddr), Key>,
    by_peer: HashMap<PeerIndex, Key>,
    /// Those that were dialed, by the number of their socket.
    dialed: HashMap<u16, Key>,
    /// Those that have a stream, by its number, and in no other way.
    by_stream: HashMap<u16, Key>,
    half_open: HalfOpen,
}

struct Place {
    generation: u64,
    connection: Box<Connection>,
}

/// A session with what the node knows of it.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) path: Path,
    /// Where it began. It is found there as long as it lives: a copy of its first packet, with a
    /// cookie that is still good there, would begin a second session with the same session ids.
    began_at: SocketAddr,
    /// The session id that the client chose.
    pub(super) client: SessionId,
    /// For a session of ours with a server.
    pub(super) dialed: Option<Dialed>,
    pub(super) tag: ClientTag,
    /// [`Connections::stand`] changes it.
    pub(super) standing: Standing,
    /// The user that it has logged in as.
    pub(super) username: Option<Text>,
    /// The number by which its login was accepted.
    pub(super) judged_as: Option<u64>,
    /// How it is filed among the half-open ones, while it is one of them.
    half_open: Option<Filed>,
    /// When it began, in Unix seconds.
    pub(super) since: u64,
    /// Its timer in the wheel.
    pub(super) alarm: Alarm,
}

/// What a session is to the node.
#[derive(Debug)]
pub(super) enum Standing {
    /// A stranger whose key exchange runs.
    Meeting,
    /// Its login is being judged.
    Judging(Box<Admission>),
    /// The registry decides.
    Admitting(Admitting),
    /// A client with its place in the data path.
    Client(Client),
    /// A session of ours with a server, which has not said yet how the tunnel is to be.
    Dialing,
    /// A tunnel of ours to a server.
    Dialed(Tunnel),
    /// It has no place any more, and says goodbye.
    Leaving,
}

/// A client that waits for the registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitting {
    /// What the registry calls it.
    pub(super) session: u64,
    /// By what its data packets will be told apart.
    pub(super) numbering: Numbering,
    /// What will stand around its payloads.
    pub(super) framing: Framing,
    /// What it is told for that, beside what all are told.
    pub(super) option: Option<&'static str>,
}

/// An admitted client.
#[derive(Debug)]
pub(super) struct Client {
    /// What the registry calls it.
    pub(super) session: u64,
    pub(super) client_id: u64,
    pub(super) addresses: Addresses,
    pub(super) tunnel: Tunnel,
}

/// Since when a session has done less than `inactive` asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) since: Monotonic,
    /// What its inner packets had come to by then.
    pub(super) inner_bytes: u64,
}

/// A place in the data path.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) peer: PeerIndex,
    pub(super) cipher: Text,
    /// Since when the present key is in use, and the traffic until then.
    pub(super) key_since: Monotonic,
    pub(super) key_traffic: Traffic,
    pub(super) times: SessionTimes,
    /// When it ends whatever happens, once (`session-timeout`).
    pub(super) expires: Option<Monotonic>,
    pub(super) rest: Rest,
    pub(super) sizes: Sizes,
}

/// Who sent a control datagram, as far as its clear bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A client that the registry has let in, or decides about.
    Client,
    /// A session that is half open.
    HalfOpen,
    /// Nobody that we know.
    Stranger,
}

/// A session's name: its place and how many sessions the shard had before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    place: u32,
    generation: u64,
}

impl Tunnel {
    /// A tunnel whose first key begins now.
    pub(super) fn new(peer: PeerIndex, now: Monotonic, times: SessionTimes) -> Self {
        Self {
            peer,
            cipher: Text::from(""),
            key_since: now,
            key_traffic: Traffic::default(),
            times,
            expires: times.session_timeout.map(|lasts| now + lasts),
            rest: Rest {
                since: now,
                inner_bytes: 0,
            },
            sizes: Sizes::default(),
        }
    }
}

impl Standing {
    /// Its place in the data path, if it has one.
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        match self {
            Self::Client(client) => Some(&client.tunnel),
            Self::Dialed(tunnel) => Some(tunnel),
            Self::Meeting
            | Self::Judging(_)
            | Self::Admitting(_)
            | Self::Dialing
            | Self::Leaving => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn tunnel_mut(&mut self) -> Option<&mut Tunnel> {
        match self {
            Self::Client(client) => Some(&mut client.tunnel),
            Self::Dialed(tunnel) => Some(tunnel),
            Self::Meeting
            | Self::Judging(_)
            | Self::Admitting(_)
            | Self::Dialing
            | Self::Leaving => None,
        }
    }
}

impl Key {
    /// No key comes before it.
    pub(super) const FIRST: Self = Self {
        place: 0,
        generation: 0,
    };

    /// Some key, another one for each value.
    #[cfg(test)]
    pub(super) fn from_u64(value: u64) -> Self {
        Self {
            place: value as u32,
            generation: value >> 32,
        }
    }
}

impl Connections {
    /// No session yet, in one of so many shards.
    pub(super) fn new(shards: u16) -> Self {
        Self {
            places: Slab::new(),
            generation: 0,
            by_control: HashMap::new(),
            by_peer: HashMap::new(),
            dialed: HashMap::new(),
            by_stream: HashMap::new(),
            half_open: HalfOpen::new(shards),
        }
    }

    /// Takes a new session in.
    pub(super) fn insert(
        &mut self,
        now: Now,
        session: Session,
        path: Path,
        client: SessionId,
    ) -> Key {
        let rank = Rank {
            progress: Progress::Met,
            since: now.monotonic,
        };
        let source = Source::of(path.remote);
        let filed = Filed { source, rank };
        let connection = Connection {
            session,
            path,
            began_at: path.remote,
            client,
            dialed: None,
            tag: ClientTag::nameless(path.remote),
            standing: Standing::Meeting,
            username: None,
            judged_as: None,
            half_open: Some(filed),
            since: now.unix,
            alarm: Alarm::default(),
        };
        let key = self.place(connection);
        match path.is_stream() {
            true => self.by_stream.insert(path.socket, key),
            false => self.by_control.insert((client, path.remote), key),
        };
        self.half_open.insert(key, filed);
        key
    }

    /// Takes a session of ours in that dials a server. It is not half open in the sense of
    /// strangers, and found by its socket alone.
    pub(super) fn insert_dialed(
        &mut self,
        now: Now,
        session: Session,
        path: Path,
        dialed: Dialed,
    ) -> Key {
        let client = session.local_id();
        let key = self.place(Connection {
            session,
            path,
            began_at: path.remote,
            client,
            dialed: Some(dialed),
            tag: ClientTag::nameless(path.remote),
            standing: Standing::Dialing,
            username: None,
            judged_as: None,
            half_open: None,
            since: now.unix,
            alarm: Alarm::default(),
        });
        self.dialed.insert(path.socket, key);
        if path.is_stream() {
            self.by_stream.insert(path.socket, key);
        }
        key
    }

    fn place(&mut self, connection: Connection) -> Key {
        self.generation += 1;
        let generation = self.generation;
        let connection = Box::new(connection);
        let place = self.places.insert(Place {
            generation,
            connection,
        });
        Key {
            place: place as u32,
            generation,
        }
    }

    /// The session that was dialed on this socket.
    pub(super) fn dialed_on(&self, socket: u16) -> Option<Key> {
        self.dialed.get(&socket).copied()
    }

    /// The session of a stream.
    pub(super) fn by_stream(&self, stream: u16) -> Option<Key> {
        self.by_stream.get(&stream).copied()
    }

    /// The session that was dialed under this number.
    pub(super) fn by_attempt(&self, attempt: u64) -> Option<Key> {
        let is_it = |key: &Key| {
            let dialed = self.get(*key).and_then(|connection| connection.dialed);
            dialed.is_some_and(|dialed| dialed.attempt == attempt)
        };
        self.dialed.values().copied().find(is_it)
    }

    /// Whether a stranger at `remote` can have a session.
    pub(super) fn room_for(&self, remote: SocketAddr, now: Monotonic) -> Room {
        self.half_open.room_for(Source::of(remote), now)
    }

    /// Gives a session another standing, and its former one to the caller.
    pub(super) fn stand(&mut self, key: Key, standing: Standing) -> Option<Standing> {
        let connection = self.get_mut(key)?;
        let progress = match standing {
            Standing::Meeting => Some(Progress::Met),
            Standing::Leaving => Some(Progress::Left),
            Standing::Judging(_)
            | Standing::Admitting { .. }
            | Standing::Client(_)
            | Standing::Dialing
            | Standing::Dialed(_) => None,
        };
        let progress = progress.filter(|_| connection.dialed.is_none());
        let former = std::mem::replace(&mut connection.standing, standing);
        self.file(key, progress);
        Some(former)
    }

    /// A session's peer has said something new.
    pub(super) fn spoke(&mut self, key: Key) {
        let begins = |connection: &Connection| {
            let met = |filed: Filed| filed.rank.progress == Progress::Met;
            // Until TLS answers the client's hello we have nothing to say.
            let session = &connection.session;
            connection.half_open.is_some_and(met) && session.hears_us() && !session.is_quiet()
        };
        if self.get(key).is_some_and(begins) {
            self.file(key, Some(Progress::Handshaking));
        }
    }

    /// Files a session among the half-open ones, or takes it out there.
    fn file(&mut self, key: Key, progress: Option<Progress>) {
        let Some(connection) = self.get_mut(key) else {
            return;
        };
        let source = Source::of(connection.path.remote);
        let since = connection.session.last_heard();
        let present = progress.map(|progress| Filed {
            source,
            rank: Rank { progress, since },
        });
        let former = std::mem::replace(&mut connection.half_open, present);
        if let Some(former) = former {
            self.half_open.remove(key, former);
        }
        if let Some(present) = present {
            self.half_open.insert(key, present);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Connection> {
        let place = self.places.get(key.place as usize)?;
        (place.generation == key.generation).then_some(&*place.connection)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        let place = self.places.get_mut(key.place as usize)?;
        (place.generation == key.generation).then_some(&mut *place.connection)
    }

    /// The session that `client` calls so, at its address.
    pub(super) fn by_control(&self, client: SessionId, remote: SocketAddr) -> Option<Key> {
        self.by_control.get(&(client, remote)).copied()
    }

    /// Who sent a control datagram.
    pub(super) fn sender_of(&self, datagram: &[u8], path: &Path) -> Sender {
        let Class::Control(client) = OpenVpn2::classify(datagram) else {
            return Sender::Stranger;
        };
        if self.dialed_on(path.socket).is_some() {
            return Sender::Client;
        }
        let key = match path.is_stream() {
            true => self.by_stream(path.socket),
            false => self.by_control(client, path.remote),
        };
        match key.and_then(|key| self.get(key)) {
            Some(connection) if connection.half_open.is_some() => Sender::HalfOpen,
            Some(_) => Sender::Client,
            None => Sender::Stranger,
        }
    }

    /// The session of a peer.
    pub(super) fn by_peer(&self, peer: PeerIndex) -> Option<Key> {
        self.by_peer.get(&peer).copied()
    }

    /// Makes a session the one of `peer`.
    pub(super) fn attach(&mut self, key: Key, peer: PeerIndex) {
        self.by_peer.insert(peer, key);
    }

    /// A peer is no longer anybody's.
    pub(super) fn detach(&mut self, peer: PeerIndex) {
        self.by_peer.remove(&peer);
    }

    /// The session's datagrams come from and go to another path now.
    pub(super) fn moved(&mut self, key: Key, path: Path) {
        let Some(connection) = self.get_mut(key) else {
            return;
        };
        let former = (connection.client, connection.path.remote);
        let present = (connection.client, path.remote);
        connection.path = path;
        connection.tag.address = path.remote;
        let began_there = connection.began_at == former.1;
        if !began_there && self.by_control.get(&former) == Some(&key) {
            self.by_control.remove(&former);
        }
        // Whoever is found there stays so: else a client that calls itself like another could take
        // that one's control channel by sending from its address.
        self.by_control.entry(present).or_insert(key);
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, key: Key) -> Option<Box<Connection>> {
        self.get(key)?;
        let connection = self.places.remove(key.place as usize).connection;
        for remote in [connection.began_at, connection.path.remote] {
            let name = (connection.client, remote);
            if self.by_control.get(&name) == Some(&key) {
                self.by_control.remove(&name);
            }
        }
        if self.by_stream(connection.path.socket) == Some(key) {
            self.by_stream.remove(&connection.path.socket);
        }
        if self.dialed_on(connection.path.socket) == Some(key) {
            self.dialed.remove(&connection.path.socket);
        }
        if let Some(filed) = connection.half_open {
            self.half_open.remove(key, filed);
        }
        Some(connection)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        let key = |(place, entry): (usize, &Place)| Key {
            place: place as u32,
            generation: entry.generation,
        };
        self.places.iter().map(key).collect()
    }

    /// All sessions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.places.iter().map(|(_, place)| &*place.connection)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn half_open_len(&self) -> usize {
        self.half_open.len()
    }

    /// True when every session has said and heard all that it will.
    pub(super) fn all_quiet(&self) -> bool {
        self.places
            .iter()
            .all(|(_, entry)| entry.connection.session.is_quiet())
    }
}
