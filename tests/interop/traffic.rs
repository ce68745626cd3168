//! Pings and checksummed transfers between namespaces.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, Digest, SHA256};

use crate::network::Namespace;
use crate::process::{LIMIT, Process, command_in};

/// Which of some pings were answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PingReport {
    pub(crate) sent: u32,
    pub(crate) received: u32,
    text: String,
}

impl PingReport {
    /// Asserts that none was lost.
    pub(crate) fn assert_all_received(&self) {
        assert!(
            self.sent > 0 && self.received == self.sent,
            "lost pings: {}",
            self.text
        );
    }

    /// Asserts that `ping` wrote this.
    pub(crate) fn assert_said(&self, words: &str) {
        assert!(self.text.contains(words), "not {words:?}: {}", self.text);
    }

    /// Asserts that each answer came with this time to live (or hop limit).
    pub(crate) fn assert_ttl(&self, wanted: u8) {
        let wanted = format!(" ttl={wanted} ");
        let mut answers = self.text.lines().filter(|line| line.contains(ANSWER));
        assert!(answers.all(|line| line.contains(&wanted)), "{}", self.text);
    }
}

/// Sends `count` pings, 20 a second, and waits up to 6 seconds for the answers.
pub(crate) fn ping(from: &Namespace, to: IpAddr, count: u32) -> PingReport {
    ping_with(from, to, count, &[])
}

/// As [`ping`], with further arguments.
///
/// With a deadline `ping` goes on until it has `count` answers; without one it waits for the last
/// answer only twice as long as for those before, which a busy machine exceeds. What counts is the
/// answers to the first `count`.
pub(crate) fn ping_with(from: &Namespace, to: IpAddr, count: u32, further: &[&str]) -> PingReport {
    let (deadline, to) = ((6 + count / 20).to_string(), to.to_string());
    let answers = count.to_string();
    let arguments = [
        &["-n", "-i", "0.05", "-w", &deadline, "-c", &answers],
        further,
        &[&to],
    ];
    let output = command_in(from.name(), "ping", &arguments.concat())
        .output()
        .unwrap();
    let [text, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    let said = text + &error;
    assert!(transmitted(&said) > 0, "ping said: {said}");
    let answered: BTreeSet<u32> = said.lines().filter_map(answered).collect();
    let received = answered.range(1..=count).count();
    PingReport {
        sent: count,
        received: u32::try_from(received).unwrap(),
        text: said,
    }
}

/// The number of the ping that a line of output is the answer to.
fn answered(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once(ANSWER)?;
    let number = rest.split_once("icmp_seq=")?.1.split(' ').next()?;
    Some(number.parse().unwrap())
}

/// How many pings the summary says were sent.
fn transmitted(text: &str) -> u32 {
    let line = text
        .lines()
        .find(|line| line.contains("packets transmitted"));
    let number = line.and_then(|line| line.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("ping said: {text}"))
}

/// Pings that go on, 20 a second, until they are stopped.
pub(crate) struct PingStream {
    process: Process,
}

impl PingStream {
    /// Starts them; at most [`PING_SECONDS`] seconds' worth.
    pub(crate) fn start(from: &Namespace, to: IpAddr) -> Self {
        let (count, to) = ((20 * PING_SECONDS).to_string(), to.to_string());
        let arguments = ["-n", "-i", "0.05", "-W", "5", "-c", &count, &to];
        Self {
            process: Process::spawn("ping", from.name(), "ping", &arguments),
        }
    }

    /// Waits for some more answers, stops the stream and asserts that each ping was answered, and
    /// once. The last ones may be on their way.
    pub(crate) fn stop_and_assert_all_received(mut self) {
        self.process
            .wait_for_count(ANSWER, self.process.count(ANSWER) + 10);
        self.process.signal(rustix::process::Signal::INT);
        self.process.wait_exit();
        let lines = self.process.lines();
        let sent = transmitted(&lines.join("\n"));
        let numbers: Vec<u32> = lines.iter().filter_map(|line| answered(line)).collect();
        let answered: BTreeSet<u32> = numbers.iter().copied().collect();
        let last = *answered.last().unwrap();
        let lost: Vec<u32> = (1..=last)
            .filter(|number| !answered.contains(number))
            .collect();
        assert!(lost.is_empty(), "pings {lost:?} of {last} were lost");
        assert_eq!(numbers.len(), answered.len(), "answers that came twice");
        assert!(
            sent - last <= UNANSWERED_MAX,
            "nothing was answered after ping {last} of {sent}"
        );
    }
}

/// A host that sends every UDP datagram back, over both families, until it is dropped.
pub(crate) struct Echo {
    port: u16,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it in `namespace`.
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let bound = namespace.spawn(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
        let socket = bound.join().unwrap();
        socket.set_read_timeout(Some(ECHO_TURN)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !asked.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // Who left meanwhile gets nothing.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Self {
            port,
            ended,
            thread: Some(thread),
        }
    }

    /// Sends small datagrams from a namespace to this host, at `address`, and ends when `count` have
    /// come back. A few are on their way at a time; a lost one is made up for by another.
    pub(crate) fn exchange(&self, from: &Namespace, address: IpAddr, count: u32) -> JoinHandle<()> {
        let target = SocketAddr::new(address, self.port);
        from.spawn(move || {
            let any: IpAddr = match target {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.connect(target).unwrap();
            socket.set_read_timeout(Some(ECHO_PATIENCE)).unwrap();
            let (mut answered, mut under_way) = (0, 0_u32);
            let mut last_answer = Instant::now();
            while answered < count {
                while under_way < ECHO_WINDOW {
                    // A refusal of an earlier one may be reported here.
                    let _ = socket.send(&[0x5a; 64]);
                    under_way += 1;
                }
                if socket.recv(&mut [0; 128]).is_ok() {
                    answered += 1;
                    under_way = under_way.saturating_sub(1);
                    last_answer = Instant::now();
                } else {
                    under_way = 0;
                    let silence = last_answer.elapsed();
                    assert!(silence < LIMIT, "{answered} of {count} from {target}");
                }
            }
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends 10 MB each way over one TCP connection from `from` to `to` (an address in `listener`),
/// and asserts that what arrived is what was sent.
pub(crate) fn transfer_both_ways(from: &Namespace, listener: &Namespace, to: IpAddr) {
    let bound = listener.spawn(move || TcpListener::bind(SocketAddr::new(to, 0)).unwrap());
    let socket = bound.join().unwrap();
    let target = socket.local_addr().unwrap();
    let far = std::thread::spawn(move || {
        let mut stream = with_limits(socket.accept().unwrap().0);
        let received = receive(&mut stream);
        (send(&mut stream, 0xfeed_f00d), received)
    });
    let near = from.spawn(move || {
        let mut stream = with_limits(TcpStream::connect_timeout(&target, LIMIT).unwrap());
        let sent = send(&mut stream, 0x0dd_ba11);
        (sent, receive(&mut stream))
    });
    let (near_sent, near_received) = near.join().expect("the near end of the transfer");
    let (far_sent, far_received) = far.join().expect("the far end of the transfer");
    assert_eq!(
        near_sent.as_ref(),
        far_received.as_ref(),
        "{TRANSFER} bytes to {to}"
    );
    assert_eq!(
        far_sent.as_ref(),
        near_received.as_ref(),
        "{TRANSFER} bytes from {to}"
    );
}

fn with_limits(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a reproducible stream of bytes that no compression shortens, and its end.
fn send(stream: &mut TcpStream, seed: u64) -> Digest {
    let mut digest = Context::new(&SHA256);
    let mut state = seed;
    for _ in 0..TRANSFER / CHUNK {
        let mut chunk = [0; CHUNK];
        for word in chunk.chunks_exact_mut(8) {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_be_bytes());
        }
        digest.update(&chunk);
        stream.write_all(&chunk).expect("send through the tunnel");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    digest.finish()
}

fn receive(stream: &mut TcpStream) -> Digest {
    let mut digest = Context::new(&SHA256);
    let mut buffer = [0; CHUNK];
    let mut total = 0;
    loop {
        let length = stream
            .read(&mut buffer)
            .expect("receive through the tunnel");
        if length == 0 {
            assert_eq!(total, TRANSFER, "bytes received");
            return digest.finish();
        }
        total += length;
        digest.update(&buffer[..length]);
    }
}

/// Pings of the end that may be on their way: five seconds' worth, for a machine that is busy.
const UNANSWERED_MAX: u32 = 100;

const TRANSFER: usize = 10_000_000;
const CHUNK: usize = 8_000;
const PING_SECONDS: u32 = 120;
/// What only the line of an answer has: those of refusals and redirects have numbers, too.
const ANSWER: &str = " bytes from ";

/// Datagrams that one exchange has on their way at a time: many exchanges together must fit into
/// the queues between them.
const ECHO_WINDOW: u32 = 4;
const ECHO_PATIENCE: Duration = Duration::from_millis(300);
const ECHO_TURN: Duration = Duration::from_millis(50);
