//! One connection on its way through: what comes in on one side leaves on the other, and so does its end.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::event::epoll::EventFlags;

use super::Place;
use crate::limits::PORT_SHARE_TURN;

/// A client and the web server.
#[derive(Debug)]
pub(super) struct Passage {
    sides: [Side; 2],
    /// To the web server, and to the client.
    ways: [Way; 2],
    connected: bool,
    /// The file of the journal.
    name: Option<String>,
    _place: Place,
}

#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// What the kernel said last, until it turns out otherwise.
    readable: bool,
    writable: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// What has been read and not written, from `at` on.
    waiting: Vec<u8>,
    at: usize,
    /// Nothing more comes in.
    ended: bool,
    /// The end has been passed on.
    over: bool,
}

/// How far one has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The kernel says when there is more to do.
    Waits,
    /// There is more to do, and it is the turn of others.
    HasMore,
    /// It is at its end.
    Over,
}

/// The web server's.
pub(super) const SERVER: usize = 1;

impl Passage {
    /// A client and a web server that may not have accepted yet, and what the client has said.
    pub(super) fn new(streams: [TcpStream; 2], head: Vec<u8>, place: Place) -> Self {
        let to_server = Way {
            waiting: head,
            ..Way::default()
        };
        Self {
            sides: streams.map(|stream| Side {
                stream,
                readable: false,
                writable: false,
            }),
            ways: [to_server, Way::default()],
            connected: false,
            name: None,
            _place: place,
        }
    }

    pub(super) fn streams(&self) -> [&TcpStream; 2] {
        self.sides.each_ref().map(|side| &side.stream)
    }

    /// Notes what the kernel says of a side. An error is found by whoever reads or writes next.
    pub(super) fn note(&mut self, side: usize, flags: EventFlags) {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if let Some(side) = self.sides.get_mut(side) {
            side.readable |= failed || flags.contains(EventFlags::IN);
            side.writable |= failed || flags.contains(EventFlags::OUT);
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Looks whether the web server has accepted by now.
    ///
    /// # Errors
    /// It has refused, or can't be reached.
    pub(super) fn look_connected(&mut self) -> io::Result<bool> {
        let [_, server] = self.streams();
        if let Some(error) = server.take_error()? {
            return Err(error);
        }
        self.connected = server.peer_addr().is_ok();
        Ok(self.connected)
    }

    /// Our address towards the web server.
    pub(super) fn own_address(&self) -> io::Result<SocketAddr> {
        let [_, server] = self.streams();
        server.local_addr()
    }

    pub(super) fn is_journaled_as(&mut self, name: String) {
        self.name = Some(name);
    }

    pub(super) fn journal_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Passes on what there is. `room` is for what is on its way.
    pub(super) fn go_on(&mut self, room: &mut [u8]) -> Progress {
        if !self.connected {
            return Progress::Waits;
        }
        let [to_server, to_client] = &mut self.ways;
        let [client, server] = &mut self.sides;
        let ways = [
            to_server.go_on(client, server, room),
            to_client.go_on(server, client, room),
        ];
        match ways {
            [Ok(Progress::Over), Ok(Progress::Over)] | [Err(_), _] | [_, Err(_)] => Progress::Over,
            [Ok(Progress::HasMore), _] | [_, Ok(Progress::HasMore)] => Progress::HasMore,
            _ => Progress::Waits,
        }
    }
}

impl Way {
    /// # Errors
    /// A side is gone, and with it the connection.
    fn go_on(&mut self, from: &mut Side, to: &mut Side, room: &mut [u8]) -> io::Result<Progress> {
        let mut moved = 0;
        while !self.over {
            let rest = self.waiting.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let written = to.write(rest)?;
                if written == 0 {
                    return Ok(Progress::Waits);
                }
                self.at += written;
                moved += written;
                continue;
            }
            (self.waiting, self.at) = (Vec::new(), 0);
            if self.ended {
                // Who has closed it before needs no word of it.
                let _ended = to.stream.shutdown(Shutdown::Write);
                self.over = true;
                break;
            }
            if moved >= PORT_SHARE_TURN {
                return Ok(Progress::HasMore);
            }
            let Some(read) = from.read(room)? else {
                return Ok(Progress::Waits);
            };
            let read = room.get(..read).unwrap_or_default();
            self.ended = read.is_empty();
            let written = to.write(read)?;
            moved += written;
            self.waiting = read.get(written..).unwrap_or_default().to_vec();
        }
        Ok(Progress::Over)
    }
}

impl Side {
    /// Bytes that were read, none at the end; `None` if there are none now.
    fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        while self.readable {
            match self.stream.read(room) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// How many bytes were written; none if there is no room now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.writable && !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }
}
