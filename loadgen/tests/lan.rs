//! The LAN host as a program, spoken to over the loopback device, without a tunnel in between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use loadgen::arrivals::Arrivals;
use loadgen::clock::monotonic_nanos;
use loadgen::lan::caller::{Caller, Outcome, Step};
use loadgen::lan::order::{Ask, Counts, Refusal, Stream};
use loadgen::payload::{Flow, Payload};
use serde_json::Value;

const RUN: u32 = 0x00c0_ffee;

/// `loadgen lan` on a port of its own.
struct Lan {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    report: tempfile::NamedTempFile,
}

impl Lan {
    fn start(listen: &str, words: &[&str]) -> Self {
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["lan", "--listen", listen, "--report"])
            .arg(report.path())
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            child,
            output,
            address: address.parse().unwrap(),
            report,
        }
    }

    fn client(&self) -> Client {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => "127.0.0.1:0".parse().unwrap(),
            SocketAddr::V6(_) => "[::1]:0".parse().unwrap(),
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Client {
            socket,
            down: Arrivals::default(),
            down_bytes: 0,
            down_lengths: Vec::new(),
        }
    }

    /// Ends it as Ctrl-C does: what it printed, and its report.
    fn stop(mut self) -> (String, Value) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let report = std::fs::read_to_string(self.report.path()).unwrap();
        (text, serde_json::from_str(&report).unwrap())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that did not has waited already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

struct Client {
    socket: UdpSocket,
    down: Arrivals,
    down_bytes: u64,
    down_lengths: Vec<usize>,
}

impl Client {
    fn send(&self, session: u32, flow: Flow, sequence: u64, length: usize) {
        let payload = Payload {
            run: RUN,
            session,
            flow,
            sequence,
            intended: sequence * 10,
        };
        let mut bytes = vec![0; length];
        payload.write(&mut bytes).unwrap();
        self.socket.send(&bytes).unwrap();
    }

    /// The next datagram; packets of streams are counted on the way.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2000];
        let length = self.socket.recv(&mut buffer).ok()?;
        let bytes = buffer[..length].to_vec();
        if let Some(payload) = Payload::read(&bytes)
            && payload.flow == Flow::Down
        {
            assert_eq!(payload.run, RUN);
            assert!(payload.intended <= monotonic_nanos());
            self.down.note(payload.sequence);
            self.down_bytes += length as u64;
            self.down_lengths.push(length);
        }
        Some(bytes)
    }

    /// The next datagram, however busy this machine is.
    fn wait(&mut self) -> Vec<u8> {
        let begin = Instant::now();
        loop {
            if let Some(bytes) = self.receive() {
                return bytes;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "nothing came");
        }
    }

    fn order(&mut self, caller: &mut Caller, ask: Ask) -> Outcome {
        caller.ask(ask, monotonic_nanos());
        loop {
            match caller.step(monotonic_nanos()) {
                Step::Send(bytes) => {
                    self.socket.send(&bytes).unwrap();
                }
                Step::Wait(_) => {
                    if let Some(bytes) = self.receive()
                        && let Some(outcome) = caller.handle(&bytes, monotonic_nanos())
                    {
                        return outcome;
                    }
                }
                Step::Ended(outcome) => return outcome,
            }
        }
    }

    fn counts(&mut self, caller: &mut Caller) -> Counts {
        match self.order(caller, Ask::Counts) {
            Outcome::Counts(counts) => counts,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_left_out_doubled_and_late_is_counted_exactly() {
    let lan = Lan::start("127.0.0.1:0", &["--clients", "127.0.0.0/8"]);
    let mut sessions: Vec<_> = (0..3)
        .map(|session| (lan.client(), Caller::new(RUN, session)))
        .collect();
    // Of 1,000 each, session n loses every (10 + n)th, sends every 50th twice, and swaps every 20th
    // with the one behind it.
    let mut expected = Vec::new();
    for (session, (client, _)) in (0_u32..).zip(&sessions) {
        let lost = |sequence: u64| sequence % (10 + u64::from(session)) == 5;
        let mut order: Vec<u64> = (0..1000).filter(|it| !lost(*it)).collect();
        let lost = 1000 - order.len() as u64;
        for at in (0..order.len() - 1).step_by(20) {
            order.swap(at, at + 1);
        }
        let (mut reordered, mut doubled) = (0, 0);
        let mut greatest = None;
        for (index, sequence) in order.iter().enumerate() {
            reordered += u64::from(greatest.is_some_and(|it| it > *sequence));
            greatest = greatest.max(Some(*sequence));
            client.send(session, Flow::Up, *sequence, 500);
            if index % 50 == 0 {
                doubled += 1;
                client.send(session, Flow::Up, *sequence, 500);
            }
            // The socket has room for all, the test does not lean on it.
            if index % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        expected.push([1000 - lost, lost, reordered, doubled]);
    }
    for ((client, caller), expected) in sessions.iter_mut().zip(&expected) {
        let counts = client.counts(caller);
        let delivery = counts.delivery(1000);
        let found = [
            delivery.received,
            delivery.lost,
            delivery.reordered,
            delivery.duplicated,
        ];
        assert_eq!(found, *expected);
        assert_eq!((counts.bytes, delivery.late), (expected[0] * 528, 0));
        assert!(expected.iter().all(|it| *it > 0));
    }
    let (text, report) = lan.stop();
    let run = &report["runs"]["00c0ffee"];
    let sum = |index: usize| expected.iter().map(|it| it[index]).sum::<u64>();
    assert_eq!(run["sessions"], 3);
    for (field, index) in [
        ("received", 0),
        ("lost", 1),
        ("reordered", 2),
        ("duplicated", 3),
    ] {
        assert_eq!(run["up"][field], sum(index), "{field}");
        for session in 0..3 {
            let of_session = &report["sessions"][session];
            assert_eq!(of_session["up"][field], expected[session][index], "{field}");
        }
    }
    let line = format!("up {} received, {} lost", sum(0), sum(1));
    assert!(text.contains(&line), "{text}");
    assert_eq!(report["socket_drops"], 0);
}

#[test]
fn echoes_come_back_as_they_went_in_both_families() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let lan = Lan::start(listen, &["--threads", "2"]);
        let mut client = lan.client();
        for sequence in 0..50 {
            let length = 28 + sequence as usize * 20;
            client.send(8, Flow::EchoRequest, sequence, length);
            let bytes = client.wait();
            let expected = Payload {
                run: RUN,
                session: 8,
                flow: Flow::EchoReply,
                sequence,
                intended: sequence * 10,
            };
            assert_eq!(Payload::read(&bytes), Some(expected));
            assert_eq!(bytes.len(), length);
        }
        let (_, report) = lan.stop();
        assert_eq!(report["runs"]["00c0ffee"]["echoes"], 50);
    }
}

#[test]
fn a_stream_arrives_whole_and_nobody_gets_one_unasked() {
    let lan = Lan::start("127.0.0.1:0", &["--rate-max", "3000"]);
    let (mut client, mut other) = (lan.client(), lan.client());
    let mut caller = Caller::new(RUN, 1);
    let stream = |rate: u64| {
        Ask::Send(Stream {
            size: None,
            rate_milli: rate * 1000,
            duration_ms: 500,
        })
    };
    let refused = client.order(&mut caller, stream(3001));
    assert_eq!(refused, Outcome::Refused(Refusal::Rate));
    assert_eq!(client.order(&mut caller, stream(2400)), Outcome::Accepted);

    let begin = Instant::now();
    let counts = loop {
        while client.receive().is_some() {}
        let counts = client.counts(&mut caller);
        if counts.down_packets + counts.down_missed == 1200 {
            break counts;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{counts:?}");
    };
    let delivery = client.down.delivery(Some(counts.down_packets));
    assert_eq!((delivery.lost, delivery.duplicated), (0, 0));
    assert_eq!(
        counts.down_bytes,
        client.down_bytes + 28 * counts.down_packets
    );
    for (size, part) in [(64, 700), (576, 400), (1400, 100)] {
        let count = client
            .down_lengths
            .iter()
            .filter(|it| **it == size - 28)
            .count();
        // All of them, unless this machine stood still for a second.
        let missed = counts.down_missed as usize;
        assert!(
            (part - missed.min(part)..=part).contains(&count),
            "{size}: {count}"
        );
    }
    assert_eq!(other.receive(), None);
    let (_, report) = lan.stop();
    assert_eq!(
        report["runs"]["00c0ffee"]["down"]["packets"],
        counts.down_packets
    );
}

fn refused(words: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(words)
        .output()
        .unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn what_it_cannot_do_it_says() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (words, said) in [
        (
            &["lan", "--listen", address.as_str()][..],
            "listening on 127.0.0.1:",
        ),
        (
            &["lan", "--listen", "192.0.2.1:1"],
            "listening on 192.0.2.1:1: ",
        ),
        (&["lan", "--threads", "0"], "--threads 0: 1 to 64"),
        (
            &["lan", "--clients", "10.0.0.0/33"],
            "invalid value '10.0.0.0/33'",
        ),
        (
            &[
                "lan",
                "--listen",
                "127.0.0.1:0",
                "--duration",
                "1ms",
                "--report",
                "/nonexistent/r",
            ],
            "/nonexistent/r: ",
        ),
    ] {
        let error = refused(words);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn it_ends_by_itself_when_its_time_is_over() {
    let mut lan = Lan::start("127.0.0.1:0", &["--duration", "100ms"]);
    assert!(lan.child.wait().unwrap().success());
    let report = std::fs::read_to_string(lan.report.path()).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["seconds"].as_f64().unwrap() >= 0.1);
    assert_eq!(report["runs"], serde_json::json!({}));
}
