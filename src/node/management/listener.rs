//! The sockets of the management interface: TCP, or a unix socket whose file goes with the server.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::limits::MANAGEMENT_CONNECTIONS;
use crate::node::control_socket::identity;
use crate::node::event::FamilyAddress;
use crate::node::settings::{ManagementSettings, ManagementSocket};

/// Why there is no management interface.
#[derive(Debug, thiserror::Error)]
#[error("management: {place} can't be listened on: {error}")]
pub struct ManagementError {
    /// Where it was to be.
    place: String,
    /// What the system said.
    error: io::Error,
}

/// A socket that listens.
pub(in crate::node) struct ManagementListener {
    pub(super) settings: ManagementSettings,
    socket: Listening,
    place: String,
}

enum Listening {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        path: PathBuf,
        file: (u64, u64),
    },
}

/// Somebody who is connected.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ManagementListener {
    /// Binds the socket. A unix socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// The place is taken, or can't be had.
    pub(in crate::node) fn bind(settings: &ManagementSettings) -> Result<Self, ManagementError> {
        let place = match &settings.socket {
            ManagementSocket::Tcp(address) => FamilyAddress(*address).to_string(),
            ManagementSocket::Unix(path) => path.display().to_string(),
        };
        let socket = listen(&settings.socket).map_err(|error| ManagementError {
            place: place.clone(),
            error,
        })?;
        let place = match &socket {
            Listening::Tcp(listener) => {
                let address = listener.local_addr();
                address.map_or(place, |address| FamilyAddress(address).to_string())
            }
            Listening::Unix { .. } => place,
        };
        Ok(Self {
            settings: settings.clone(),
            socket,
            place,
        })
    }

    /// A line of log.
    pub(super) fn describe(&self) -> String {
        let what = match self.socket {
            Listening::Tcp(_) => "TCP Socket",
            Listening::Unix { .. } => "unix domain socket",
        };
        format!("MANAGEMENT: {what} listening on {}", self.place)
    }

    /// How many may be connected at a time.
    pub(super) const fn capacity(&self) -> usize {
        match self.socket {
            Listening::Tcp(_) => 1,
            Listening::Unix { .. } => MANAGEMENT_CONNECTIONS,
        }
    }

    /// Who has connected, with what is to be said of it; nobody is let in without the right user.
    pub(super) fn accept(&self) -> io::Result<(Result<Stream, String>, String)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let _slower = stream.set_nodelay(true);
                let told = format!(
                    "MANAGEMENT: Client connected from {}",
                    FamilyAddress(address)
                );
                Ok((Ok(Stream::Tcp(stream)), told))
            }
            Listening::Unix { listener, path, .. } => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let told = format!("MANAGEMENT: Client connected from {}", path.display());
                let checked = self.refusal(&stream);
                Ok((checked.map_or(Ok(Stream::Unix(stream)), Err), told))
            }
        }
    }

    /// Why who is at the other end may not come in.
    fn refusal(&self, stream: &UnixStream) -> Option<String> {
        let (user, group) = (self.settings.client_user, self.settings.client_group);
        if user.is_none() && group.is_none() {
            return None;
        }
        let wrong = |what: &str, is: u32, wanted: u32, directive: &str| {
            format!(
                "{REJECTED} {what} of socket peer ({is}) doesn't match required value ({wanted}) as given by --{directive}"
            )
        };
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
            return Some(format!("{REJECTED} cannot get UID/GID of socket peer"));
        };
        let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
        if let Some(user) = user.filter(|&user| user != uid) {
            return Some(wrong("UID", uid, user, "management-client-user"));
        }
        let group = group.filter(|&group| group != gid)?;
        Some(wrong("GID", gid, group, "management-client-group"))
    }
}

impl AsFd for ManagementListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp(listener) => listener.as_fd(),
            Listening::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

impl Drop for ManagementListener {
    fn drop(&mut self) {
        if let Listening::Unix { path, file, .. } = &self.socket
            && identity(path).is_ok_and(|found| found == *file)
        {
            let _may_not = fs::remove_file(path);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen(socket: &ManagementSocket) -> io::Result<Listening> {
    match socket {
        ManagementSocket::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&(*address).into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(Listening::Tcp(socket.into()))
        }
        ManagementSocket::Unix(path) => {
            // As stock: whatever socket is there makes room.
            if fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(Listening::Unix {
                listener: UnixListener::from(std::os::fd::OwnedFd::from(socket)),
                path: path.clone(),
                file: identity(path)?,
            })
        }
    }
}

const BACKLOG: i32 = 16;
const REJECTED: &str = "MANAGEMENT: unix domain socket client connection rejected --";
