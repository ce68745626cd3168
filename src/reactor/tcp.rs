//! TCP: listeners, made and bound here, and the streams that they accept.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::limits::STREAM_LISTEN_BACKLOG;
use crate::packet::LocalAddress;
use crate::reactor::udp::{Family, Listen, OtherFamily, set_common};

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
    dialed: bool,
}

/// The step at which a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The address is of the other family.
    #[error(transparent)]
    Address(#[from] OtherFamily),
    /// No socket; for IPv6 usually because the system has it switched off.
    #[error("cannot make a TCP socket of family {family:?}: {source}")]
    Socket {
        /// The family.
        family: Family,
        /// What the system said.
        source: io::Error,
    },
    /// An option was refused.
    #[error("cannot set {option} on a TCP socket: {source}")]
    Option {
        /// The option, as the kernel calls it.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The address is not to be had.
    #[error("cannot bind TCP {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The peer can't be reached.
    #[error("cannot connect to TCP {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl TcpError {
    /// True when another socket has the address.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

impl TcpListener {
    /// Makes `count` listeners for one address, between which the kernel shares the connections. The
    /// first is bound as the only one, so that a server finds the port in use when another has it.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn bind_set(listen: &Listen, count: u16) -> Result<Vec<Self>, TcpError> {
        let first = Self::bind(listen, false)?;
        allow_joining(&first.socket)?;
        let bound = first.local_address();
        let bound = bound.map_err(|source| refused("the port", source))?;
        let joining = Listen {
            port: bound.port(),
            ..listen.clone()
        };
        let mut set = vec![first];
        for _ in 1..count {
            set.push(Self::bind(&joining, true)?);
        }
        for listener in &set {
            let listens = listener.socket.listen(STREAM_LISTEN_BACKLOG);
            listens.map_err(|source| TcpError::Bind {
                address: bound,
                source,
            })?;
        }
        Ok(set)
    }

    fn bind(listen: &Listen, join: bool) -> Result<Self, TcpError> {
        let family = listen.family;
        let address = listen.bind_address()?;
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(|source| TcpError::Socket { family, source })?;
        if family != Family::V4 {
            let only = socket.set_only_v6(family == Family::V6);
            only.map_err(|source| refused("IPV6_V6ONLY", source))?;
        }
        // Connections of a server before this one may still be on their way out.
        let reused = socket.set_reuse_address(true);
        reused.map_err(|source| refused("SO_REUSEADDR", source))?;
        // Its connections have what it has.
        set_common(&socket, listen)
            .map_err(|(option, source)| TcpError::Option { option, source })?;
        if join {
            allow_joining(&socket)?;
        }
        let bound = socket.bind(&SockAddr::from(address));
        bound.map_err(|source| TcpError::Bind { address, source })?;
        Ok(Self { socket })
    }

    /// The address it is bound to, with the port that the system chose; never a v4-mapped one.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        canonical(self.socket.local_addr()?)
    }
}

impl TcpStream {
    /// A connection that the kernel has accepted.
    pub(super) fn accepted(descriptor: OwnedFd) -> Self {
        Self {
            socket: descriptor.into(),
            dialed: false,
        }
    }

    /// Begins to connect to a peer, from the address of `from` if it has one or a port. What is sent by
    /// it leaves when it is connected; until then, and if that fails, there is nobody at its other end.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn connect(from: &Listen, to: SocketAddr) -> Result<Self, TcpError> {
        let family = from.family;
        let own = from.bind_address()?;
        let socket = Socket::new(
            Domain::for_address(own),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )
        .map_err(|source| TcpError::Socket { family, source })?;
        set_common(&socket, from)
            .map_err(|(option, source)| TcpError::Option { option, source })?;
        if from.address.is_some() || from.port != 0 {
            let reused = socket.set_reuse_address(true);
            reused.map_err(|source| refused("SO_REUSEADDR", source))?;
            let bound = socket.bind(&SockAddr::from(own));
            bound.map_err(|source| TcpError::Bind {
                address: own,
                source,
            })?;
        }
        match socket.connect(&SockAddr::from(to)) {
            Err(source) if source.raw_os_error() != Some(libc::EINPROGRESS) => {
                Err(TcpError::Connect {
                    address: to,
                    source,
                })
            }
            _ => Ok(Self {
                socket,
                dialed: true,
            }),
        }
    }

    /// Whether this side has connected, or begun to.
    pub const fn is_dialed(&self) -> bool {
        self.dialed
    }

    /// Whether somebody is at its other end.
    pub fn is_connected(&self) -> bool {
        self.socket.peer_addr().is_ok()
    }

    /// Who is at its other end; never a v4-mapped address.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        canonical(self.socket.peer_addr()?)
    }

    /// The address that was asked.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn local(&self) -> io::Result<LocalAddress> {
        let ip = canonical(self.socket.local_addr()?)?.ip();
        Ok(LocalAddress { ip, interface: 0 })
    }

    /// Its own address and port, if it is bound to some; never v4-mapped.
    pub fn bound(&self) -> Option<SocketAddr> {
        canonical(self.socket.local_addr().ok()?).ok()
    }

    /// The connection for who reads and writes it without a ring.
    pub fn into_std(self) -> std::net::TcpStream {
        self.socket.into()
    }

    /// Ends it in both directions.
    pub(super) fn shut_down(&self) {
        // One that is over is ended.
        let _ended = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Says that nothing more is sent by it.
    pub(super) fn finish_sending(&self) {
        // One that is over is ended.
        let _ended = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// Sends small segments at once.
    ///
    /// # Errors
    ///
    /// The system does not do it.
    pub fn send_at_once(&self) -> io::Result<()> {
        self.socket.set_tcp_nodelay(true)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn canonical(address: SockAddr) -> io::Result<SocketAddr> {
    let address = address.as_socket();
    address
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .ok_or_else(|| io::Error::other("the socket has no IP address"))
}

fn allow_joining(socket: &Socket) -> Result<(), TcpError> {
    let joined = socket.set_reuse_port(true);
    joined.map_err(|source| refused("SO_REUSEPORT", source))
}

const fn refused(option: &'static str, source: io::Error) -> TcpError {
    TcpError::Option { option, source }
}
