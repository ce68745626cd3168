//! Connections that are not OpenVPN's, passed on to a web server (`port-share`): a thread of its own that
//! reads and writes them all.
//!
//! A shard finds out by the first bytes of a connection whose it is, and hands the descriptor and these
//! bytes over. Nothing else of it runs on a shard, and nothing waits: where there is no place for one
//! more, the connection is closed and counted there.
//!
//! Wire: 2.6 has a process for it, and passes bytes until either side has closed; here each direction
//! ends by itself.

mod journal;
mod passage;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use slab::Slab;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use self::journal::Journal;
use self::passage::{Passage, Progress, SERVER};
use super::event::NodeEvent;
use super::message::Report;
use super::settings::PortShareSettings;
use crate::limits::{
    PORT_SHARE_BUFFER, PORT_SHARE_COMPLAINT, PORT_SHARE_CONNECT, PORT_SHARE_CONNECTIONS,
    PORT_SHARE_KEEPALIVE, PORT_SHARE_WAITING,
};

/// The thread, from outside. Dropping it ends the thread, and all connections that it passes on.
#[derive(Debug)]
pub(super) struct Porter {
    door: PorterDoor,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The way to it, for shards.
#[derive(Clone, Debug)]
pub(super) struct PorterDoor {
    queue: Sender<Guest>,
    places: Arc<AtomicUsize>,
    wake: Arc<OwnedFd>,
}

/// What the thread needs that the process can only have before it gives up its privileges.
pub(super) struct PorterParts {
    server: SocketAddr,
    journal: Option<Journal>,
}

/// A connection that is to be passed on.
#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    client: SocketAddr,
    /// What has been read of it.
    head: Vec<u8>,
    place: Place,
}

/// One of the places for passed connections, given back when it goes.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PorterParts {
    /// Opens the journal's directory, if there is one.
    ///
    /// # Errors
    /// What the system said of it.
    pub(super) fn open(settings: &PortShareSettings) -> io::Result<Self> {
        let journal = settings.journal.as_deref().map(Journal::open).transpose()?;
        Ok(Self {
            server: settings.server,
            journal,
        })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// A thread or a descriptor can't be had.
    pub(super) fn start(self, reports: Sender<Report>) -> io::Result<Porter> {
        let (queue, guests) = channel::bounded(PORT_SHARE_WAITING);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags)?);
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut passing = Passing {
            poll,
            wake: Arc::clone(&wake),
            guests,
            stop: Arc::clone(&stop),
            server: self.server,
            journal: self.journal,
            passages: Slab::new(),
            dialed: VecDeque::new(),
            eager: Vec::new(),
            room: vec![0; PORT_SHARE_BUFFER].into_boxed_slice(),
            reports,
            complained: None,
            silenced: 0,
        };
        let thread = thread::Builder::new()
            .name("port-share".to_owned())
            .spawn(move || passing.run())?;
        Ok(Porter {
            door: PorterDoor {
                queue,
                places: Arc::default(),
                wake,
            },
            stop,
            thread: Some(thread),
        })
    }
}

impl Porter {
    /// The way to it.
    pub(super) fn door(&self) -> PorterDoor {
        self.door.clone()
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.door.wake();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl PorterDoor {
    /// Hands a connection over, with who is at its other end and what has been read of it. False if there
    /// is no place for it; it is closed then.
    pub(super) fn pass(&self, stream: TcpStream, client: SocketAddr, head: Vec<u8>) -> bool {
        let taken = self.places.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.places));
        if taken >= PORT_SHARE_CONNECTIONS {
            return false;
        }
        let guest = Guest {
            stream,
            client,
            head,
            place,
        };
        let taken = self.queue.try_send(guest).is_ok();
        self.wake();
        taken
    }

    /// Connections that are passed on, with those that wait for it.
    pub(super) fn len(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        // It fails only where there are more wake-ups already than can be counted.
        let _woken = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// The thread itself.
struct Passing {
    poll: OwnedFd,
    wake: Arc<OwnedFd>,
    guests: Receiver<Guest>,
    stop: Arc<AtomicBool>,
    server: SocketAddr,
    journal: Option<Journal>,
    passages: Slab<Passage>,
    /// Until when the web server has to accept them, in order.
    dialed: VecDeque<(Instant, usize, SocketAddr)>,
    /// Those that had to let others go first.
    eager: Vec<usize>,
    room: Box<[u8]>,
    reports: Sender<Report>,
    complained: Option<Instant>,
    silenced: u64,
}

impl Passing {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.stop.load(Ordering::Acquire) {
            events.clear();
            let patience = self.patience();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.poll, spare, patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return self.complain("it can't wait", &error.into()),
            }
            let mut woken = false;
            for event in &events {
                match event.data.u64() {
                    WAKE => woken = true,
                    token => {
                        self.has_news((token >> 1) as usize, (token & 1) as usize, event.flags)
                    }
                }
            }
            for key in std::mem::take(&mut self.eager) {
                self.go_on(key);
            }
            self.give_up_dialed();
            // Last, so that what was said of a connection before is not taken for one of these.
            if woken {
                let _counted = rustix::io::read(&*self.wake, &mut [0; 8]);
                while let Ok(guest) = self.guests.try_recv() {
                    self.welcome(guest);
                }
            }
        }
        for (_, passage) in std::mem::take(&mut self.passages) {
            self.close(passage);
        }
    }

    /// How long to wait; `None` for as long as it takes.
    fn patience(&self) -> Option<Timespec> {
        let wait = match self.dialed.front() {
            _ if !self.eager.is_empty() => Duration::ZERO,
            None => return None,
            Some((until, _, _)) => until.saturating_duration_since(Instant::now()) + TICK,
        };
        Some(Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: wait.subsec_nanos().into(),
        })
    }

    /// Begins to pass a connection on.
    fn welcome(&mut self, guest: Guest) {
        match self.dial(&guest) {
            Ok(server) => {
                let entry = self.passages.vacant_entry();
                let key = entry.key();
                let passage = Passage::new([guest.stream, server], guest.head, guest.place);
                let watched = (0..).zip(passage.streams()).try_for_each(|(side, stream)| {
                    let token = EventData::new_u64((key as u64) << 1 | side);
                    let all = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    epoll::add(&self.poll, stream.as_fd(), token, all)
                });
                match watched {
                    Ok(()) => {
                        entry.insert(passage);
                        let until = Instant::now() + PORT_SHARE_CONNECT;
                        self.dialed.push_back((until, key, guest.client));
                    }
                    Err(error) => self.complain("it can't wait", &error.into()),
                }
            }
            Err(error) => self.unreachable(&error),
        }
    }

    fn dial(&self, guest: &Guest) -> io::Result<TcpStream> {
        guest.stream.set_nonblocking(true)?;
        let asked = TcpKeepalive::new().with_time(PORT_SHARE_KEEPALIVE);
        SockRef::from(&guest.stream).set_tcp_keepalive(&asked)?;
        let domain = Domain::for_address(self.server);
        let server = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        server.set_tcp_nodelay(true)?;
        match server.connect(&SockAddr::from(self.server)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(server.into()),
        }
    }

    /// The kernel says something of one side of a connection.
    fn has_news(&mut self, key: usize, side: usize, flags: EventFlags) {
        let Some(passage) = self.passages.get_mut(key) else {
            return;
        };
        passage.note(side, flags);
        if side == SERVER && !passage.is_connected() {
            match passage.look_connected() {
                Ok(false) => return,
                Ok(true) => self.connected(key),
                Err(error) => {
                    self.unreachable(&error);
                    return self.end(key);
                }
            }
        }
        self.go_on(key);
    }

    /// The web server has accepted: the journal says whom, before it reads the first byte.
    fn connected(&mut self, key: usize) {
        let dialed = self.dialed.iter().position(|(_, other, _)| *other == key);
        let Some((_, _, client)) = dialed.and_then(|place| self.dialed.remove(place)) else {
            return;
        };
        let (Some(journal), Some(passage)) = (&self.journal, self.passages.get_mut(key)) else {
            return;
        };
        let written = passage.own_address().and_then(|own| {
            let name = journal.write(own, client)?;
            passage.is_journaled_as(name);
            Ok(())
        });
        if let Err(error) = written {
            self.complain("unable to write journal file", &error);
        }
    }

    fn go_on(&mut self, key: usize) {
        let Some(passage) = self.passages.get_mut(key) else {
            return;
        };
        match passage.go_on(&mut self.room) {
            Progress::Waits => {}
            Progress::HasMore if self.eager.contains(&key) => {}
            Progress::HasMore => self.eager.push(key),
            Progress::Over => self.end(key),
        }
    }

    fn end(&mut self, key: usize) {
        self.dialed.retain(|(_, other, _)| *other != key);
        self.eager.retain(|other| *other != key);
        if let Some(passage) = self.passages.try_remove(key) {
            self.close(passage);
        }
    }

    fn close(&self, passage: Passage) {
        if let (Some(journal), Some(name)) = (&self.journal, passage.journal_name()) {
            journal.remove(name);
        }
    }

    /// Ends what the web server has not accepted in time.
    fn give_up_dialed(&mut self) {
        let now = Instant::now();
        while let Some(&(until, key, _)) = self.dialed.front()
            && until <= now
        {
            self.unreachable(&io::ErrorKind::TimedOut.into());
            self.end(key);
        }
    }

    /// Wire: the words of 2.6.
    fn unreachable(&mut self, error: &io::Error) {
        self.complain("connect to port-share server failed", error);
    }

    /// Says what went wrong, but not each time.
    fn complain(&mut self, what: &str, error: &io::Error) {
        let now = Instant::now();
        let last = self.complained;
        if last.is_some_and(|last| now.duration_since(last) < PORT_SHARE_COMPLAINT) {
            self.silenced += 1;
            return;
        }
        self.complained = Some(now);
        let server = self.server;
        let mut text = format!("PORT SHARE PROXY: {what} ({server}): {error}");
        if self.silenced > 0 {
            text += &format!(
                ", and {} more like it since the last such line",
                self.silenced
            );
            self.silenced = 0;
        }
        let text = text.as_str().into();
        // The next one says it, if there is no room for this one.
        let _told = self
            .reports
            .try_send(Report::Event(NodeEvent::Warned { text }));
    }
}

/// What the kernel says of the wake-up.
const WAKE: u64 = u64::MAX;
/// How much the kernel says at once.
const EVENTS: usize = 256;
/// The kernel may wake a little early.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
