//! UDP as fast as one thread sends it, and what of it arrives.
//!
//! Plain sockets: 64 datagrams a system call and none joined to super-packets, so that what is joined
//! was joined by the contender. Loss is therefore the rule. What the generator itself can do shows in the
//! figures of "no VPN".

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::network::Namespace;
use crate::failure::Failure;

/// What became of a flood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flood {
    /// Datagrams that the sender's kernel took.
    pub(super) sent: u64,
    /// Datagrams that arrived while they were sent.
    pub(super) received_in_time: u64,
    /// All that arrived.
    pub(super) received: u64,
    /// How long was sent.
    pub(super) duration: Duration,
}

impl Flood {
    /// Thousands of datagrams that arrived in a second.
    pub(super) fn kpps(&self) -> f64 {
        self.received_in_time as f64 / self.duration.as_secs_f64() / 1e3
    }

    /// The part of them that was lost.
    pub(super) fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received);
        lost as f64 / self.sent.max(1) as f64
    }
}

/// Sends datagrams of `size` bytes of content from `from` to `address`, which is in `to`.
pub(super) fn flood(
    from: &Namespace,
    to: &Namespace,
    address: Ipv4Addr,
    size: usize,
    duration: Duration,
) -> Result<Flood, Failure> {
    let receiver = to.spawn(move || Receiver::bind(address))?;
    let receiver = join(receiver)?;
    let target = receiver.address()?;
    let socket = join(from.spawn(move || connect(target))?)?;
    let begin = Instant::now() + HEAD_START;
    let end = begin + duration;
    let receiving = to.spawn(move || receiver.count(end))?;
    let sending = from.spawn(move || send(&socket, size, begin, end))?;
    let (sent, (received_in_time, received)) = (join(sending)?, join(receiving)?);
    Ok(Flood {
        sent,
        received_in_time,
        received,
        duration,
    })
}

/// A socket with room for what arrives while another has the core.
struct Receiver {
    socket: UdpSocket,
}

impl Receiver {
    fn bind(address: Ipv4Addr) -> Result<Self, Failure> {
        let bind = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((address, 0))?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            socket.set_read_timeout(Some(SILENCE))?;
            Ok(socket)
        };
        let socket = bind().map_err(|source| Failure::system("receiving UDP", source))?;
        Ok(Self { socket })
    }

    fn address(&self) -> Result<SocketAddr, Failure> {
        let address = self.socket.local_addr();
        address.map_err(|source| Failure::system("receiving UDP", source))
    }

    /// Counts what arrives until `end`, and then until nothing does.
    fn count(&self, end: Instant) -> Result<(u64, u64), Failure> {
        let (mut in_time, mut all) = (0, 0);
        let mut headers = MultiHeaders::<()>::preallocate(AT_A_TIME, None);
        let mut buffers = vec![[0; DATAGRAM_MAX]; AT_A_TIME];
        loop {
            let mut slices: Vec<_> = buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let flags = MsgFlags::MSG_WAITFORONE;
            let fd = self.socket.as_raw_fd();
            let received = match recvmmsg(fd, &mut headers, &mut slices, flags, None) {
                Ok(messages) => messages.count() as u64,
                Err(Errno::EAGAIN | Errno::EINTR) => 0,
                Err(error) => return Err(Failure::system("receiving UDP", error)),
            };
            all += received;
            match Instant::now() < end {
                true => in_time = all,
                false if received == 0 => return Ok((in_time, all)),
                false if Instant::now() > end + DRAIN_MAX => return Ok((in_time, all)),
                false => {}
            }
        }
    }
}

fn connect(target: SocketAddr) -> Result<UdpSocket, Failure> {
    let connect = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        Ok(socket)
    };
    connect().map_err(|source: io::Error| Failure::system("sending UDP", source))
}

/// How many the kernel took between `begin` and `end`.
fn send(socket: &UdpSocket, size: usize, begin: Instant, end: Instant) -> Result<u64, Failure> {
    let content = vec![0x5a; size];
    let slices = [IoSlice::new(&content)];
    let mut nothing: Vec<_> = (0..AT_A_TIME)
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let mut messages: Vec<_> = nothing
        .iter_mut()
        .map(|nothing| MMsgHdr::new(&slices, nothing))
        .collect();
    std::thread::sleep(begin.saturating_duration_since(Instant::now()));
    let mut sent = 0;
    while Instant::now() < end {
        match sendmmsg(socket, &mut messages, SendFlags::empty()) {
            Ok(count) => sent += count as u64,
            // A queue on the way is full, or a stranger refused one: neither ends a flood.
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::CONNREFUSED) => {}
            Err(error) => return Err(Failure::system("sending UDP", error)),
        }
    }
    Ok(sent)
}

/// The result of a thread.
pub(super) fn join<T>(thread: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| {
        let said = "a thread panicked".to_owned();
        Err(Failure::Impossible(said))
    })
}

/// Datagrams of one system call.
const AT_A_TIME: usize = 64;
const DATAGRAM_MAX: usize = 2048;
const RECEIVE_BUFFER: usize = 8 << 20;

/// The receiver waits when the sender begins.
const HEAD_START: Duration = Duration::from_millis(50);
/// After so much silence nothing comes any more.
const SILENCE: Duration = Duration::from_millis(200);
/// Strangers could go on for ever.
const DRAIN_MAX: Duration = Duration::from_secs(3);
