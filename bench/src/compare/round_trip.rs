//! Round-trip times: one datagram of 64 bytes at a time, answered by an echo in the LAN.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::flood::join;
use super::network::Namespace;
use crate::failure::Failure;

/// The times of answered datagrams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RoundTrips {
    /// Half of them took less than this, in microseconds.
    pub(super) median: f64,
    /// All but one in a hundred took less than this, in microseconds.
    pub(super) p99: f64,
    /// How many were answered.
    pub(super) answered: u64,
    /// The part of them that was not answered.
    pub(super) loss: f64,
}

/// Sends datagrams from `from` to an echo at `address` in `to`, for so long.
pub(super) fn round_trips(
    from: &Namespace,
    to: &Namespace,
    address: Ipv4Addr,
    duration: Duration,
) -> Result<RoundTrips, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let bound = to.spawn(move || {
        let bind = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        bind().map_err(|source| Failure::system("echo", source))
    })?;
    let socket = join(bound)?;
    let target = socket
        .local_addr()
        .map_err(|source| Failure::system("echo", source))?;
    let asked = Arc::clone(&ended);
    let echo = to.spawn(move || {
        echo(&socket, &asked);
        Ok(())
    })?;
    let asking = from.spawn(move || {
        let ask = || -> io::Result<RoundTrips> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            ask(&socket, duration)
        };
        ask().map_err(|source| Failure::system("round trips", source))
    })?;
    let times = join(asking);
    ended.store(true, Ordering::Relaxed);
    join(echo)?;
    times
}

fn echo(socket: &UdpSocket, ended: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !ended.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = buffer.get(..length).unwrap_or_default();
            // Who has left misses nothing.
            let _gone = socket.send_to(answer, from);
        }
    }
}

fn ask(socket: &UdpSocket, duration: Duration) -> io::Result<RoundTrips> {
    // Of nanoseconds, to three digits; it grows as it needs.
    let mut times = Histogram::<u64>::new(3).map_err(io::Error::other)?;
    let (begin, mut number, mut buffer) = (Instant::now(), 0_u64, [0; 64]);
    while begin.elapsed() < duration {
        number += 1;
        buffer[..8].copy_from_slice(&number.to_be_bytes());
        let sent = Instant::now();
        socket.send(&buffer)?;
        if answered(socket, number)? {
            let time = sent.elapsed().as_nanos() as u64;
            times.record(time).map_err(io::Error::other)?;
        }
        std::thread::sleep(PAUSE);
    }
    let answered = times.len();
    if answered == 0 {
        let said = "no datagram was answered";
        return Err(io::Error::new(io::ErrorKind::TimedOut, said));
    }
    Ok(RoundTrips {
        median: times.value_at_quantile(0.5) as f64 / 1e3,
        p99: times.value_at_quantile(0.99) as f64 / 1e3,
        answered,
        loss: (number - answered) as f64 / number as f64,
    })
}

/// Whether the datagram of this number comes back; answers to earlier ones are passed over.
fn answered(socket: &UdpSocket, number: u64) -> io::Result<bool> {
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) if buffer.starts_with(&number.to_be_bytes()) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Between two datagrams, long enough for everything to fall asleep.
const PAUSE: Duration = Duration::from_millis(1);
/// After which a datagram counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);
