//! The reactor against the real kernel, in networks of the tests' own.

mod life;
mod receive;
mod removal;
mod send;
mod streams;
mod super_packets;
mod tun;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket as Client};
use std::thread;
use std::time::{Duration, Instant};

use crate::packet::{Buffer, Gathered, LocalAddress, Offload, Piece, Pool, TrafficClass};
use crate::reactor::testing::{eventually, in_own_network, run};
use crate::reactor::{
    Completion, Datagram, Family, Listen, Outgoing, QueueFull, Reactor, ReactorConfig, Refused,
    Routing, Sent, SocketId, Tun, TunConfig, TunId, TunOffloads, UdpSocket, Waker, mailbox,
};

/// A reactor with its buffers, and what it has handed out and no test has looked at.
struct Rig {
    reactor: Reactor,
    pool: Pool,
    pending: VecDeque<Completion>,
    waker: Waker,
}

impl Rig {
    /// A reactor with all buffers lent that it can lend, and 64 more for sending.
    fn new(config: ReactorConfig) -> Self {
        let waker = Waker::new().unwrap();
        let mut reactor = Reactor::new(config, waker.clone()).unwrap();
        let mut pool =
            Pool::new(u32::try_from(config.receive_buffers + config.tun_buffers + 64).unwrap());
        for _ in 0..config.receive_buffers {
            reactor.return_receive_buffer(pool.take().unwrap()).unwrap();
        }
        for _ in 0..config.tun_buffers {
            reactor.return_tun_buffer(pool.take().unwrap()).unwrap();
        }
        Self {
            reactor,
            pool,
            pending: VecDeque::new(),
            waker,
        }
    }

    fn small() -> Self {
        Self::new(SMALL)
    }

    fn bind(&mut self, family: Family) -> (SocketId, u16) {
        let socket = UdpSocket::bind(&listen(family)).unwrap();
        let port = socket.local_address().unwrap().port();
        (self.reactor.add_socket(socket).unwrap(), port)
    }

    /// A socket whose buffer is full after a few packets.
    fn bind_tiny(&mut self) -> SocketId {
        let mut tiny = listen(Family::V4);
        tiny.send_buffer = 1;
        let socket = UdpSocket::bind(&tiny).unwrap();
        self.reactor.add_socket(socket).unwrap()
    }

    /// Sends to the silent neighbour until there is no room; says how many packets found some.
    fn fill(&mut self, socket: SocketId) -> usize {
        let payload = [0; 1200];
        let outgoing = whole(socket, SILENT.parse().ok(), &payload);
        for sent in 0..100 {
            self.send(&outgoing, &payload);
            let done = self.next_sent();
            self.pool.give(done.buffer);
            match done.result {
                Ok(length) => assert_eq!(length, 1200),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return sent;
                }
            }
        }
        panic!("it is never full");
    }

    /// Turns once, and adds what happened to what is pending.
    fn turn(&mut self, timeout: Duration) {
        let mut out = Vec::new();
        self.reactor.turn(Some(timeout), &mut out).unwrap();
        self.pending.extend(out);
    }

    /// The next completion; a test that gets none within [`PATIENCE`] has failed.
    fn next(&mut self) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(completion) = self.pending.pop_front() {
                return completion;
            }
            self.turn(PATIENCE);
        }
        panic!("nothing happened: {:?}", self.reactor);
    }

    fn next_datagram(&mut self) -> Datagram {
        match self.next() {
            Completion::Datagram(datagram) => datagram,
            other => panic!("{other:?} is no datagram"),
        }
    }

    fn next_sent(&mut self) -> Sent {
        match self.next() {
            Completion::Sent(sent) => sent,
            other => panic!("{other:?} is no send"),
        }
    }

    fn next_tun_packet(&mut self) -> (Buffer, std::ops::Range<usize>) {
        match self.next() {
            Completion::TunPacket { buffer, range, .. } => (buffer, range),
            other => panic!("{other:?} is no packet"),
        }
    }

    /// The next write that is done, before packets that arrived meanwhile.
    fn next_tun_written(&mut self) -> (Buffer, io::Result<usize>) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let written =
                |completion: &Completion| matches!(completion, Completion::TunWritten { .. });
            let at = self.pending.iter().position(written);
            match at.and_then(|at| self.pending.remove(at)) {
                Some(Completion::TunWritten { buffer, result, .. }) => {
                    return (buffer.unwrap(), result);
                }
                _ => self.turn(PATIENCE),
            }
        }
        panic!("nothing was written: {:?}", self.reactor);
    }

    /// The payload of the next datagram, whose buffer goes back.
    fn next_payload(&mut self) -> Vec<u8> {
        let datagram = self.next_datagram();
        let payload = datagram.buffer.bytes()[datagram.range].to_vec();
        self.reactor.return_receive_buffer(datagram.buffer).unwrap();
        payload
    }

    fn buffer_with(&mut self, payload: &[u8]) -> Buffer {
        let mut buffer = self.pool.take().unwrap();
        buffer.bytes_mut()[SEND_AT..SEND_AT + payload.len()].copy_from_slice(payload);
        buffer
    }

    /// Writes one packet that stands in the buffer as it is.
    fn write_whole(&mut self, tun: TunId, buffer: Buffer, range: std::ops::Range<usize>) {
        let piece = piece(range.start, range.len());
        let packet = gathered(Offload::None, 0..1, &[piece]);
        let written = self.reactor.write_tun(tun, buffer, &[packet], &[piece]);
        assert_eq!((written.begun, written.refused), (1, None));
        assert!(written.buffer.is_none());
    }

    fn send(&mut self, outgoing: &Outgoing, payload: &[u8]) {
        let buffer = self.buffer_with(payload);
        self.reactor.send(outgoing, buffer).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.reactor.counters().stale_completions, 0);
        }
    }
}

fn listen(family: Family) -> Listen {
    Listen {
        family,
        address: None,
        port: 0,
        send_buffer: 0,
        receive_buffer: 4 << 20,
        receive_offload: false,
        routing: Routing::default(),
    }
}

/// A send of `payload` as one datagram.
fn whole(socket: SocketId, to: Option<SocketAddr>, payload: &[u8]) -> Outgoing {
    Outgoing {
        socket,
        to,
        local: None,
        class: TrafficClass::DEFAULT,
        range: SEND_AT..SEND_AT + payload.len(),
        segment_size: payload.len(),
        token: 0,
    }
}

fn piece(start: usize, len: usize) -> Piece {
    Piece {
        start: u32::try_from(start).unwrap(),
        len: u32::try_from(len).unwrap(),
    }
}

/// A packet of those of `pieces` that are at `at`.
fn gathered(offload: Offload, at: std::ops::Range<usize>, pieces: &[Piece]) -> Gathered {
    Gathered {
        offload,
        len: pieces[at.clone()].iter().map(|piece| piece.len).sum(),
        segments: u32::try_from(at.len()).unwrap(),
        pieces: at,
    }
}

fn client(address: &str) -> Client {
    let client = Client::bind((address, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn received(client: &Client) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let length = client.recv(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

/// Packets to a neighbour that never answers wait for it, and count against their socket.
fn silent_neighbour() {
    let pair = ["type", "veth", "peer", "name", "right"];
    run("ip", &[&["link", "add", "left"], &pair[..]].concat());
    run("ip", &["addr", "add", "10.78.0.1/24", "dev", "left"]);
    run("ip", &["link", "set", "left", "up"]);
    run("ip", &["link", "set", "right", "up"]);
}

/// A device on which the system says nothing of its own accord.
fn tun_device() -> Tun {
    run("sysctl", &["-q", "net.ipv6.conf.default.disable_ipv6=1"]);
    Tun::create(&TunConfig {
        name: Some("ringway-e".to_owned()),
        ipv4: Some(("10.79.0.1".parse().unwrap(), 24)),
        mtu: Some(1500),
        ..TunConfig::default()
    })
    .unwrap()
}

const SMALL: ReactorConfig = ReactorConfig {
    receive_buffers: 16,
    tun_buffers: 16,
    sends: 16,
    tun_writes: 16,
    sockets: 4,
    streams: 4,
    tun_queues: 1,
};
/// Behind the device `left`.
const SILENT: &str = "10.78.0.2:1194";
const SEND_AT: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);
