//! Tunnels that this node has dialed: each on a socket of its own, by which it is found, and to which
//! all packets of the tun queue go.
//!
//! The node thread says where to dial and hears how it goes ([`DialedEvent`]); the server on the
//! other side decides what a client here is, so nobody asks the registry.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connections::{Key, Standing, Tunnel};
use super::{Edges, Shard};
use crate::crypto::tls::PeerCertificate;
use crate::node::event::{ClientEvent, ClientTag, Text};
use crate::node::message::Report;
use crate::node::settings::{Compression, Inactivity, SessionTimes};
use crate::packet::{Mssfix, NewPeer, Numbering, Path};
use crate::reactor::{TcpStream, UdpSocket};
use crate::session::{Credentials, Farewell, LeaveReason, PullFilter, Session, SessionSettings};
use crate::time::Now;
use crate::wire::{Framing, PeerId};

/// An attempt to reach a server.
pub struct Dial {
    /// Its number, never used twice: what the node thread calls the tunnel.
    pub attempt: u64,
    /// What leads to the server.
    pub socket: DialedSocket,
    /// The server's address.
    pub remote: SocketAddr,
    /// The rules of the session.
    pub settings: Arc<SessionSettings>,
    /// What it logs in with, if it does.
    pub credentials: Option<Credentials>,
    /// What it follows of what the server pushes.
    pub filter: PullFilter,
    /// The clamp on TCP segments inside the tunnel.
    pub mssfix: Mssfix,
}

impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Dial");
        debug
            .field("attempt", &self.attempt)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// What leads to a server.
#[derive(Debug)]
pub enum DialedSocket {
    /// A socket that is connected to it.
    Datagrams(UdpSocket),
    /// A stream that connects to it.
    Stream(TcpStream),
}

/// The end of a tunnel that was dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HangUp {
    /// Which one.
    pub attempt: u64,
    /// How the server is told.
    pub farewell: Farewell,
    /// How many times it is told so, if that is by the data channel, where nobody acknowledges.
    pub exit_notices: u8,
}

/// What happens to a dialed tunnel.
#[derive(Debug)]
pub enum DialedEvent {
    /// A stream has the server at its other end.
    Connected,
    /// The server has answered at all.
    Answered,
    /// The server has said how the tunnel is to be.
    Configured {
        /// The name of its certificate.
        server: Text,
        /// What it has said, an option an entry.
        options: Vec<String>,
    },
    /// The server has changed what it has said; the items of its update.
    Updated(Vec<String>),
    /// The tunnel is over, or did not come about.
    Left(LeaveReason),
    /// The shard can't take the socket, or TLS can't begin: a sentence.
    Failed(String),
}

/// What a connection has beside its session if it was dialed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialed {
    pub(super) attempt: u64,
    pub(super) mssfix: Mssfix,
    /// Whether the server's first answer has been told.
    answered: bool,
    /// Whether it stays until the server has acknowledged the last words.
    lingers: bool,
    /// How many times a server is told by the data channel that we leave.
    pub(super) exit_notices: u8,
}

impl<E: Edges> Shard<E> {
    /// Begins a session with a server.
    pub(super) fn dial(&mut self, dial: Dial, now: Now) {
        let attempt = dial.attempt;
        if let Err(refused) = self.begin_dialed(dial, now) {
            self.report_dialed(attempt, DialedEvent::Failed(refused));
        }
    }

    fn begin_dialed(&mut self, dial: Dial, now: Now) -> Result<(), String> {
        let session = Session::connect(dial.settings, now, &mut *self.random);
        let session = session.map_err(|reason| reason.to_string())?;
        let session = session.with_pull_filter(dial.filter);
        let session = match dial.credentials {
            Some(credentials) => session.with_credentials(credentials),
            None => session,
        };
        let edges = &mut self.io.edges;
        let opened = match dial.socket {
            DialedSocket::Datagrams(socket) => edges.open_socket(socket).map(|socket| Path {
                remote: dial.remote,
                local: None,
                socket,
            }),
            DialedSocket::Stream(stream) => edges.open_stream(stream, dial.remote),
        };
        let path = opened.map_err(|error| error.to_string())?;
        let dialed = Dialed {
            attempt: dial.attempt,
            mssfix: dial.mssfix,
            answered: false,
            lingers: false,
            exit_notices: 1,
        };
        let key = self.connections.insert_dialed(now, session, path, dialed);
        self.service(key, now);
        Ok(())
    }

    /// Ends a dialed session.
    pub(super) fn hang_up(&mut self, hang_up: HangUp, now: Now) {
        let HangUp {
            attempt,
            farewell,
            exit_notices,
        } = hang_up;
        let Some(key) = self.connections.by_attempt(attempt) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(key)
            && let Some(dialed) = &mut connection.dialed
        {
            dialed.exit_notices = exit_notices;
        }
        self.close_dialed(key, farewell, now);
        self.service(key, now);
    }

    /// Says goodbye to a server.
    pub(super) fn close_dialed(&mut self, key: Key, farewell: Farewell, now: Now) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Some(dialed) = &mut connection.dialed
        {
            dialed.lingers = farewell != Farewell::Silent;
            connection.session.close(now, farewell, LeaveReason::Closed);
        }
    }

    /// The server has shown its certificate.
    pub(super) fn meet_server(&mut self, key: Key, certificate: &PeerCertificate) {
        if let Some(connection) = self.connections.get_mut(key)
            && matches!(connection.standing, Standing::Dialing)
        {
            let name = certificate.common_name.as_str().into();
            connection.tag = ClientTag::named(connection.path.remote, name);
            self.tell(key, ClientEvent::PeerInitiated);
        }
    }

    /// The server has said how the tunnel is to be: it gets its place in the data path.
    pub(super) fn configured(&mut self, key: Key, options: Vec<String>, now: Now) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let Some(dialed) = connection.dialed else {
            return;
        };
        let path = connection.path;
        let server = connection.tag.common_name.clone();
        let server = server.unwrap_or_default();
        let new = NewPeer {
            path,
            numbering: Numbering::Dialed(their_peer_id(&options)),
            mtu: number(&options, "tun-mtu").unwrap_or(connection.session.settings().tun_mtu),
            mssfix: dialed.mssfix,
        };
        let Ok(peer) = self.peers.insert(new, now.monotonic) else {
            let full = "the shard has no place for one more tunnel".to_owned();
            self.report_dialed(dialed.attempt, DialedEvent::Failed(full));
            return self.close_dialed(key, Farewell::Silent, now);
        };
        for everything in EVERYTHING {
            // There is always room: few tunnels are dialed.
            let _full = self.peers.add_prefix(peer, everything);
        }
        let framing = match self.network.compression {
            Compression::Framed(own) => Framing::of_push(&options).unwrap_or(own),
            Compression::Migrate => Framing::None,
        };
        // Wire: 2.x refuses the line beside TCP.
        let fragment = self.network.fragment.filter(|_| !path.is_stream());
        if let Some(peer) = self.peers.peer_mut(peer) {
            peer.set_framing(framing);
            if let Some(limit) = fragment {
                peer.cut_packets(limit);
            }
        }
        self.connections.attach(key, peer);
        let times = times(&options, self.network.times);
        let tunnel = Tunnel::new(peer, now.monotonic, times);
        self.connections.stand(key, Standing::Dialed(tunnel));
        self.report_dialed(dialed.attempt, DialedEvent::Configured { server, options });
    }

    /// The server has changed what it has said of the tunnel.
    pub(super) fn updated(&mut self, key: Key, items: Vec<String>) {
        if let Some(dialed) = self.connections.get(key).and_then(|it| it.dialed) {
            self.report_dialed(dialed.attempt, DialedEvent::Updated(items));
        }
    }

    /// Tells once that the server has answered, after anything came from it.
    pub(super) fn notice_answer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(dialed) = &mut connection.dialed
            && !dialed.answered
            && connection.session.has_been_answered()
        {
            dialed.answered = true;
            let attempt = dialed.attempt;
            self.report_dialed(attempt, DialedEvent::Answered);
        }
    }

    /// A stream that was dialed has the server at its other end.
    pub fn stream_connected(&mut self, stream: u16) {
        if let Some(attempt) = self.attempt_on(stream) {
            self.report_dialed(attempt, DialedEvent::Connected);
        }
    }

    /// A stream that was dialed has nobody at its other end, and will have nobody. True if it is one.
    pub(super) fn could_not_connect(&mut self, stream: u16, error: &io::Error) -> bool {
        let Some(attempt) = self.attempt_on(stream) else {
            return false;
        };
        self.report_dialed(attempt, DialedEvent::Failed(error.to_string()));
        true
    }

    fn attempt_on(&self, socket: u16) -> Option<u64> {
        let connection = self.connections.get(self.connections.dialed_on(socket)?)?;
        Some(connection.dialed?.attempt)
    }

    /// Whether a session that was dialed, and has left, has nothing more to say.
    pub(super) fn has_hung_up(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            let left = matches!(connection.standing, Standing::Leaving);
            let stays = |dialed: &Dialed| dialed.lingers && !connection.session.is_quiet();
            left && connection.dialed.as_ref().is_some_and(|it| !stays(it))
        })
    }

    pub(super) fn report_dialed(&mut self, attempt: u64, event: DialedEvent) {
        let event = Box::new(event);
        self.report(Report::Dialed { attempt, event });
    }
}

/// The number that the server gives us for data packets.
fn their_peer_id(options: &[String]) -> PeerId {
    number(options, "peer-id")
        .and_then(PeerId::new)
        .unwrap_or(PeerId::NONE)
}

/// How long a session may last and do nothing. Wire: what the server pushes wins; 0 is for ever. Its pings
/// are the session's.
fn times(options: &[String], own: SessionTimes) -> SessionTimes {
    let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    let lasts = number(options, "session-timeout").map(seconds);
    let inactive = words_of(options, "inactive").and_then(|mut words| {
        let patience = seconds(words.next()?.parse().ok()?);
        let bytes = match words.next() {
            Some(word) => word.parse().ok()?,
            None => 0,
        };
        Some(patience.map(|patience| Inactivity { patience, bytes }))
    });
    SessionTimes {
        session_timeout: lasts.unwrap_or(own.session_timeout),
        inactivity: inactive.unwrap_or(own.inactivity),
        ..own
    }
}

/// The number behind the last option of this name.
fn number<T: std::str::FromStr>(options: &[String], name: &str) -> Option<T> {
    words_of(options, name)?.next()?.parse().ok()
}

/// The words behind the last option of this name.
fn words_of<'o>(options: &'o [String], name: &str) -> Option<impl Iterator<Item = &'o str>> {
    let words = options.iter().rev().map(|option| option.split_once(' '));
    let value = words.flatten().find(|(word, _)| *word == name)?.1;
    Some(value.split_ascii_whitespace())
}

/// What lies behind a server: whatever the routes of this machine send there.
const EVERYTHING: [ipnet::IpNet; 2] = [
    ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(
        std::net::Ipv4Addr::UNSPECIFIED,
        0,
    )),
    ipnet::IpNet::V6(ipnet::Ipv6Net::new_assert(
        std::net::Ipv6Addr::UNSPECIFIED,
        0,
    )),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_push() {
        for (options, peer_id, mtu) in [
            (
                &["route 10.0.0.0", "peer-id 7", "tun-mtu 1400"][..],
                Some(7),
                Some(1400),
            ),
            (&["peer-id 7", "peer-id 8"], Some(8), None),
            (&["peer-id -1", "tun-mtu 70000"], None, None),
            (&["peer-id", "peer-idle 5"], None, None),
        ] {
            let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
            let expected = peer_id.and_then(PeerId::new).unwrap_or(PeerId::NONE);
            assert_eq!(their_peer_id(&options), expected, "{options:?}");
            assert_eq!(number::<u16>(&options, "tun-mtu"), mtu, "{options:?}");
        }
    }
}
