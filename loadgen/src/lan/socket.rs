//! The LAN host's socket and its loop: many datagrams a system call, and those of a bulk stream as one.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::time::Timespec;
use socket2::{Domain, Protocol, Socket, Type};

use super::host::{Host, Seen};
use super::order::{Ask, Counts, Order};
use super::outbox::{Outbox, Run};
use super::sessions::Name;
use crate::clock::monotonic_nanos;

/// A bound socket, one of a group if there are several threads.
#[derive(Debug)]
pub(super) struct Endpoint {
    socket: Socket,
    address: SocketAddr,
}

/// What one endpoint has to tell in the end.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) seen: Seen,
    pub(super) sessions: Vec<(Name, u64, Counts)>,
    /// Datagrams that the system did not send.
    pub(super) send_failures: u64,
    /// Datagrams for which the socket's buffer had no room.
    pub(super) socket_drops: u64,
    /// Why it ended before it was told to.
    pub(super) failure: Option<String>,
}

impl Endpoint {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_port(true)?;
        // What can be had: without the privilege it is less, and drops are counted.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address })
    }

    /// Datagrams for which there was no room, as the kernel counts them.
    fn drops(&self) -> u64 {
        let fd = self.socket.as_raw_fd();
        let inode = fs::metadata(format!("/proc/thread-self/fd/{fd}")).map_or(0, |it| it.ino());
        let tables = ["udp", "udp6"].map(|table| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            drops_of(&text.unwrap_or_default(), inode)
        });
        tables.into_iter().flatten().sum()
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Receives and sends until `stop` is set or the socket fails.
    pub(super) fn serve(self, host: Host, stop: &AtomicBool) -> Served {
        // Else a wait can last 50 microseconds longer than asked for.
        let _as_it_was = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut turn = Turn::new(&self, host);
        let mut failure = None;
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = turn.go() {
                failure = Some(error.to_string());
                break;
            }
        }
        let send_failures = turn.send_failures;
        let (seen, sessions) = turn.host.finish();
        Served {
            address: self.address,
            seen,
            sessions,
            send_failures,
            socket_drops: self.drops(),
            failure,
        }
    }
}

/// What the loop works with.
struct Turn<'a> {
    endpoint: &'a Endpoint,
    host: Host,
    out: Outbox,
    buffers: Vec<[u8; DATAGRAM_MAX]>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Bytes after which the kernel cuts what is sent, 0 for never.
    segment: usize,
    /// The kernel cuts what is sent.
    joins: bool,
    send_failures: u64,
    /// When the socket's drops were read.
    drops_read: Option<u64>,
}

impl<'a> Turn<'a> {
    fn new(endpoint: &'a Endpoint, host: Host) -> Self {
        Self {
            endpoint,
            host,
            out: Outbox::new(),
            buffers: vec![[0; DATAGRAM_MAX]; AT_A_TIME],
            headers: MultiHeaders::preallocate(AT_A_TIME, None),
            segment: 0,
            joins: true,
            send_failures: 0,
            drops_read: None,
        }
    }

    fn go(&mut self) -> io::Result<()> {
        self.wait()?;
        // Answers need room: what came is left in the socket until what was sent before has left.
        if !self.out.is_full() {
            self.receive()?;
        }
        let now = monotonic_nanos();
        self.host.send_due(now, &mut self.out);
        self.send()
    }

    /// Until something came, can be sent, or is due; at most for a while.
    fn wait(&self) -> io::Result<()> {
        let now = monotonic_nanos();
        let next = self.host.next(now).unwrap_or(u64::MAX);
        let mut interest = PollFlags::IN;
        let mut wait = next.saturating_sub(now).min(LOOK_EVERY);
        if !self.out.is_empty() {
            interest |= PollFlags::OUT;
            wait = LOOK_EVERY;
        }
        if wait == 0 {
            return Ok(());
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: wait as i64,
        };
        let mut fds = [PollFd::new(&self.endpoint.socket, interest)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let fd = self.endpoint.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = match recvmmsg(fd, &mut self.headers, &mut slices, flags, None) {
            Ok(messages) => messages,
            // Somebody refused what was sent to them: no fault of this socket.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = monotonic_nanos();
        for message in messages {
            let Some(from) = message.address.as_ref().and_then(socket_address) else {
                continue;
            };
            for bytes in message.iovs() {
                // The kernel's table takes long to read: once for all who ask in a row.
                let asked = Order::read(bytes).is_some_and(|order| order.ask == Ask::Counts);
                if asked && self.drops_read.is_none_or(|then| now > then + DROPS_EVERY) {
                    self.drops_read = Some(now);
                    self.host.socket_drops = self.endpoint.drops();
                }
                self.host.handle(now, from, bytes, &mut self.out);
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let runs = alike(&self.out, self.joins);
            let segment = match runs.first() {
                Some(run) if run.count > 1 => run.segment,
                _ => 0,
            };
            if segment != self.segment {
                let cut = sockopt::UdpGsoSegment;
                match setsockopt(&self.endpoint.socket, cut, &(segment as i32)) {
                    Ok(()) => self.segment = segment,
                    Err(_) if self.joins => {
                        self.joins = false;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let addresses: Vec<_> = runs.iter().map(|run| SocketAddrAny::from(run.to)).collect();
            let slices: Vec<_> = runs.iter().map(|run| [IoSlice::new(run.bytes)]).collect();
            let mut nothing: Vec<_> = addresses
                .iter()
                .map(|_| SendAncillaryBuffer::default())
                .collect();
            let mut messages: Vec<_> = addresses
                .iter()
                .zip(&slices)
                .zip(&mut nothing)
                .map(|((to, slice), nothing)| MMsgHdr::new_with_addr(to, slice, nothing))
                .collect();
            let sent = sendmmsg(&self.endpoint.socket, &mut messages, SendFlags::DONTWAIT);
            match sent {
                Ok(count) => {
                    let left = runs.iter().take(count).map(|run| run.count).sum();
                    self.out.remove(left);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::BADF | rustix::io::Errno::NOTSOCK) => {
                    return Err(io::Error::other("the socket was closed"));
                }
                // Not every way takes them together.
                Err(
                    rustix::io::Errno::INVAL | rustix::io::Errno::IO | rustix::io::Errno::MSGSIZE,
                ) if segment > 0 => self.joins = false,
                // One that can't be sent, now or at all, does not hold up the others.
                Err(_) => {
                    let first = runs.first().map_or(1, |run| run.count);
                    self.send_failures += first as u64;
                    self.out.remove(first);
                }
            }
        }
        Ok(())
    }
}

/// The runs that one call can send: all of datagrams of one length, or all of one datagram. Where the kernel
/// does not cut, each datagram is by itself.
fn alike(out: &Outbox, joins: bool) -> Vec<Run<'_>> {
    if !joins {
        let singles = out.iter().map(|(to, bytes)| Run {
            to,
            bytes,
            segment: bytes.len(),
            count: 1,
        });
        return singles.collect();
    }
    let mut runs = out.runs().peekable();
    let first = runs.peek().copied();
    let same = |run: &Run<'_>| {
        first.is_some_and(|first| match first.count {
            1 => run.count == 1,
            _ => run.count > 1 && run.segment == first.segment,
        })
    };
    runs.take_while(same).collect()
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = storage.as_sockaddr_in6()?;
    // The scope of a link-local address is part of where an answer goes.
    Some(std::net::SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
}

/// The last column of a table as /proc/net/udp, of the socket with this inode in the tenth.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let mut rows = table.lines().map(str::split_whitespace);
    rows.find_map(|mut row| (row.nth(9)? == inode).then(|| row.last()?.parse().ok())?)
}

/// Datagrams of one system call.
const AT_A_TIME: usize = 64;
/// Longer ones are cut, and then counted as shorter than they were.
const DATAGRAM_MAX: usize = 9_216;
/// Room for what comes while another program has the core.
const RECEIVE_BUFFER: usize = 16 << 20;
/// In nanoseconds.
const DROPS_EVERY: u64 = 250_000_000;
/// How often it looks whether it is to end.
const LOOK_EVERY: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use ringway::random::SeededRandom;

    use super::super::host::Bounds;
    use super::*;

    #[test]
    fn drops_are_those_of_the_socket() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             7: 00000000:1451 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7001 2 0000000000000000 5\n\
             9: 00000000:1451 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7002 2 0000000000000000 41\n";
        for (inode, drops) in [(7001, Some(5)), (7002, Some(41)), (7003, None)] {
            assert_eq!(drops_of(table, inode), drops);
        }
    }

    #[test]
    fn joined_and_single_datagrams_arrive_as_they_are_in_their_order() {
        for joins in [true, false] {
            let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let receive_limit = Some(std::time::Duration::from_secs(10));
            receiver.set_read_timeout(receive_limit).unwrap();
            let to = receiver.local_addr().unwrap();
            let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let bounds = Bounds {
                clients: Vec::new(),
                sessions: 1,
                rate: 1.0,
            };
            let host = Host::new(bounds, &mut SeededRandom::new(1));
            let mut turn = Turn::new(&endpoint, host);
            turn.joins = joins;
            let lengths = [700, 700, 700, 300, 20, 20, 1_400, 500, 500, 700, 700];
            for (number, length) in lengths.into_iter().enumerate() {
                assert!(turn.out.push(to, &[number as u8], length));
            }
            turn.send().unwrap();
            assert!(turn.out.is_empty() && turn.joins == joins);
            for (number, length) in lengths.into_iter().enumerate() {
                let mut bytes = [0; 2_000];
                let received = receiver.recv(&mut bytes).unwrap();
                assert_eq!((received, bytes[0]), (length, number as u8));
            }
        }
    }

    #[test]
    fn a_full_socket_counts_what_it_dropped() {
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(endpoint.drops(), 0);
        endpoint.socket.set_recv_buffer_size(1).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 1400], endpoint.address()).unwrap();
        }
        let mut taken = 0;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1500];
        while endpoint.socket.recv(&mut buffer).is_ok() {
            taken += 1;
        }
        assert!(taken < 200);
        assert_eq!(endpoint.drops(), 200 - taken);
    }
}
