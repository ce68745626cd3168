//! A UDP relay in a client's namespace: the network between client and server, made worse on
//! purpose. The client is pointed at it (`127.0.0.1`), the server sees the relay's outer socket.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::network::{Namespace, server_v4};
use crate::server::PORT;

/// The relay's threads; they end when it is dropped.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    port: u16,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on (as the filter left it).
    Pass,
    /// It is lost.
    Lose,
    /// It arrives twice.
    Twice,
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Looks at, and may change, each datagram.
pub(crate) type Filter = Box<dyn FnMut(Way, &mut [u8]) -> Fate + Send>;

struct Shared {
    inner: UdpSocket,
    outer: [UdpSocket; 2],
    active: AtomicUsize,
    taken: Mutex<Option<UdpSocket>>,
    client: Mutex<Option<SocketAddr>>,
    filter: Mutex<Filter>,
    ended: AtomicBool,
}

impl Relay {
    /// A relay between client `index` and the server that passes everything.
    pub(crate) fn start(namespace: &Namespace, index: usize) -> Self {
        let opened = namespace.spawn(move || {
            let bind = |ip: Ipv4Addr| UdpSocket::bind((ip, 0)).unwrap();
            let octet = u8::try_from(index).unwrap();
            let outer = [2, 3].map(|last| {
                let socket = bind(Ipv4Addr::new(10, 80, octet, last));
                socket
                    .connect(SocketAddr::new(server_v4(index), PORT))
                    .unwrap();
                socket
            });
            (bind(Ipv4Addr::LOCALHOST), outer)
        });
        let (inner, outer) = opened.join().unwrap();
        for socket in outer.iter().chain([&inner]) {
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
        }
        let port = inner.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            inner,
            outer,
            active: AtomicUsize::new(0),
            taken: Mutex::new(None),
            client: Mutex::new(None),
            filter: Mutex::new(Box::new(|_, _| Fate::Pass)),
            ended: AtomicBool::new(false),
        });
        let threads = [Way::ToServer, Way::ToClient].map(|way| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.carry(way))
        });
        Self {
            shared,
            threads: threads.into(),
            port,
        }
    }

    /// Where the client finds the relay.
    pub(crate) fn address(&self) -> (IpAddr, u16) {
        (IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// From now on, this decides over each datagram.
    pub(crate) fn filter(&self, filter: impl FnMut(Way, &mut [u8]) -> Fate + Send + 'static) {
        *self.shared.filter.lock().unwrap() = Box::new(filter);
    }

    /// From now on, everything passes untouched.
    pub(crate) fn pass_all(&self) {
        self.filter(|_, _| Fate::Pass);
    }

    /// The other outer address and port from now on, as after a NAT forgot the mapping.
    pub(crate) fn rebind(&self) {
        self.shared.active.fetch_xor(1, Ordering::Relaxed);
    }

    /// From now on, this client's datagrams leave from the address and port of `other`, as if its
    /// mapping had been given away; what comes back to there is still the other's.
    pub(crate) fn take_mapping_of(&self, other: &Self) {
        let active = other.shared.active.load(Ordering::Relaxed);
        let taken = other.shared.outer[active].try_clone().unwrap();
        *self.shared.taken.lock().unwrap() = Some(taken);
    }

    /// From now on, they leave from where they left before.
    pub(crate) fn give_mapping_back(&self) {
        *self.shared.taken.lock().unwrap() = None;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn carry(&self, way: Way) {
        let mut buffer = [0; 65_536];
        while !self.ended.load(Ordering::Relaxed) {
            let outer = &self.outer[self.active.load(Ordering::Relaxed)];
            let from = if way == Way::ToServer {
                &self.inner
            } else {
                outer
            };
            let (length, source) = match from.recv_from(&mut buffer) {
                Ok(received) => received,
                // The server is away: its kernel refused an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("the relay cannot receive: {error}"),
            };
            if way == Way::ToServer {
                *self.client.lock().unwrap() = Some(source);
            }
            let datagram = &mut buffer[..length];
            let copies = match (self.filter.lock().unwrap())(way, datagram) {
                Fate::Pass => 1,
                Fate::Lose => 0,
                Fate::Twice => 2,
            };
            for _ in 0..copies {
                self.send(way, datagram);
            }
        }
    }

    fn send(&self, way: Way, datagram: &[u8]) {
        // A datagram that cannot be sent is lost, as on any network.
        if way == Way::ToServer {
            let taken = self.taken.lock().unwrap();
            let own = &self.outer[self.active.load(Ordering::Relaxed)];
            let _ = taken.as_ref().unwrap_or(own).send(datagram);
        } else if let Some(client) = *self.client.lock().unwrap() {
            let _ = self.inner.send_to(datagram, client);
        }
    }
}

/// True for a data packet (either version of its header).
pub(crate) fn is_data(datagram: &[u8]) -> bool {
    matches!(datagram.first().map(|byte| byte >> 3), Some(6 | 9))
}
