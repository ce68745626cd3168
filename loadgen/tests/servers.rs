//! The generator against real servers, ringway's and the stock daemon, in network namespaces of the
//! test's own: clients, a server, and a host behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use loadgen::result::{Ending, Report};
use ringway::cli::pki::{Authority, Purpose, day};
use ringway::crypto::{Metadata, TlsCryptV2ClientKey, TlsCryptV2ServerKey};
use ringway::random::SystemRandom;
use ringway::time::Now;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Three namespaces in a row, and a directory with keys and profiles.
struct Site {
    prefix: String,
    directory: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Ringway,
    OpenVpn,
}

impl Site {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let site = Self {
            prefix: format!("lg{}-{number}", std::process::id()),
            directory: tempfile::tempdir().unwrap(),
        };
        for namespace in ["c", "s", "l"] {
            run("ip", &["netns", "add", &site.name(namespace)]);
            site.ip(namespace, "link set lo up");
        }
        for (other, network) in [("c", "10.80.0"), ("l", "10.90.0")] {
            let far = site.name(other);
            site.ip(
                "s",
                &format!("link add name to-{other} type veth peer name eth netns {far}"),
            );
            site.ip("s", &format!("address add {network}.1/24 dev to-{other}"));
            site.ip(other, &format!("address add {network}.2/24 dev eth"));
            site.ip("s", &format!("link set to-{other} up"));
            site.ip(other, "link set eth up");
        }
        site.ip("l", "route add default via 10.90.0.1");
        let server = site.name("s");
        let forward = [
            "netns",
            "exec",
            &server,
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=1",
        ];
        run("ip", &forward);
        site.make_keys();
        site
    }

    fn name(&self, namespace: &str) -> String {
        format!("{}-{namespace}", self.prefix)
    }

    fn ip(&self, namespace: &str, words: &str) {
        let name = self.name(namespace);
        let words: Vec<&str> = ["-n", &name].into_iter().chain(words.split(' ')).collect();
        run("ip", &words);
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn make_keys(&self) {
        let (certificate, key) = authority();
        self.write("ca.crt", &certificate.pem());
        self.write("ca.key", &key);
        let authority = Authority::with_key(certificate.der(), &key).unwrap();
        let today = day(Now::read().unix);
        for (name, purpose) in [("server", Purpose::Server), ("client", Purpose::Client)] {
            let issued = authority
                .issue(name, purpose, today, &mut SystemRandom)
                .unwrap();
            self.write(&format!("{name}.crt"), &issued.certificate);
            self.write(&format!("{name}.key"), &issued.key);
        }
        let key: String = (0..16).map(|_| format!("{}\n", "5a".repeat(16))).collect();
        let key = format!(
            "-----BEGIN OpenVPN Static key V1-----\n{key}-----END OpenVPN Static key V1-----\n"
        );
        self.write("shared.key", &key);
        self.write("client.ovpn", &format!("{PROFILE}tls-crypt shared.key\n"));
        let server = TlsCryptV2ServerKey::generate(&mut SystemRandom);
        self.write("own-server.key", &server.to_text());
        let made = Metadata::Timestamp(Now::read().unix);
        let client = TlsCryptV2ClientKey::generate(&server, &made, &mut SystemRandom).unwrap();
        self.write("own-client.key", &client.to_text());
        self.write(
            "own.ovpn",
            &format!("{PROFILE}tls-crypt-v2 own-client.key\n"),
        );
    }

    /// Starts a server and waits until clients can come.
    fn serve(&self, server: Server, further: &str) -> Running {
        let log = self.path("server.log");
        self.write(
            "server.conf",
            &format!(
                "dev tun\nproto udp\nlocal 10.80.0.1\nport 1194\nserver 10.8.0.0 255.255.0.0\n\
                 topology subnet\nca ca.crt\ncert server.crt\nkey server.key\ndh none\n\
                 tls-crypt shared.key\nduplicate-cn\nconnect-freq-initial 1000000 1\nverb 3\n\
                 keepalive 1 3\n{further}"
            ),
        );
        let (program, name) = match server {
            Server::Ringway => (env!("CARGO_BIN_EXE_loadgen"), "ringway"),
            Server::OpenVpn => ("openvpn", "openvpn"),
        };
        let mut command = self.command_in("s", program, Some(name));
        command.args(["--config", "server.conf"]);
        let output = File::create(&log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let running = Running(command.spawn().unwrap());
        let ready = "Initialization Sequence Completed";
        wait_for_text(&log, ready);
        running
    }

    /// Starts the LAN host's side.
    fn serve_lan(&self) -> Running {
        let log = self.path("lan.log");
        let mut command = self.command_in("l", env!("CARGO_BIN_EXE_loadgen"), None);
        command.args(["lan", "--listen", "10.90.0.2:5201"]);
        command.stdout(File::create(&log).unwrap());
        let running = Running(command.spawn().unwrap());
        wait_for_text(&log, "listening on");
        running
    }

    /// A program in a namespace, in the directory of the test. Only this process is started: it can be
    /// ended by its id.
    fn command_in(&self, namespace: &str, program: &str, name: Option<&str>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name(namespace)));
        match name {
            None => command.arg(program),
            Some(name) => {
                // The name under which a program is called decides which one it is.
                let link = self.path(name);
                if program.contains('/') && !link.exists() {
                    std::os::unix::fs::symlink(program, &link).unwrap();
                }
                match link.exists() {
                    true => command.arg(link),
                    false => command.arg(program),
                }
            }
        };
        command.current_dir(self.directory.path());
        command.process_group(0);
        command.stdin(Stdio::null());
        command
    }

    fn start(&self, words: &str) -> Running {
        let mut command = self.command_in("c", env!("CARGO_BIN_EXE_loadgen"), None);
        command.args(["--json", "report.json"]);
        command.args(words.split_ascii_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    /// Makes a run, and gives back how it ended and what it reports.
    fn load(&self, words: &str) -> (Output, Report) {
        self.finish(self.start(words))
    }

    fn finish(&self, running: Running) -> (Output, Report) {
        let output = running.output();
        let report = Report::read(&self.path("report.json"));
        let said = String::from_utf8_lossy(&output.stderr);
        let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let report = report.unwrap_or_else(|error| panic!("{error}\n{said}\n{log}"));
        (output, report)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for namespace in ["c", "s", "l"] {
            let name = self.name(namespace);
            let _gone = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    fn output(mut self) -> Output {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut pipe = pipe.unwrap();
                pipe.read_to_end(&mut bytes).unwrap();
                bytes
            })
        };
        let stdout = read(stdout.map(|pipe| Box::new(pipe) as _));
        let stderr = read(stderr.map(|pipe| Box::new(pipe) as _));
        let status = self.0.wait().unwrap();
        Output {
            status,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn clients_come_and_leave_at_ringway() {
    come_and_leave(Server::Ringway);
}

#[test]
fn clients_come_and_leave_at_the_stock_daemon() {
    come_and_leave(Server::OpenVpn);
}

#[test]
fn clients_with_a_key_of_their_own_come_and_leave_at_both_servers() {
    for server in [Server::Ringway, Server::OpenVpn] {
        come_and_leave_with(server, "tls-crypt-v2 own-server.key\n", "own.ovpn");
    }
}

fn come_and_leave(server: Server) {
    come_and_leave_with(server, "", "client.ovpn");
}

fn come_and_leave_with(server: Server, further: &str, profile: &str) {
    let site = Site::new();
    let _server = site.serve(server, further);
    let (output, report) = site.load(&format!(
        "--config {profile} --sessions 50 --scenario handshake:rate=40 --duration 2s"
    ));
    assert!(output.status.success());
    let tally = &report.tally;
    assert_eq!(report.ending, Ending::Complete);
    assert!((40..=130).contains(&tally.attempts), "{}", tally.attempts);
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    let outcome = (tally.handshakes, tally.left);
    assert_eq!(outcome, (tally.attempts, tally.attempts));
    assert_eq!(tally.handshake.count(), tally.attempts);
    assert_eq!(report.own.len(), 1);
}

#[test]
fn clients_use_no_port_that_another_has_just_left() {
    let site = Site::new();
    // Few enough that the system's own choice would be such a port for every third client or so. The stock
    // daemon refuses those.
    let few = "net.ipv4.ip_local_port_range=40000 40099";
    let client = site.name("c");
    run("ip", &["netns", "exec", &client, "sysctl", "-qw", few]);
    let _server = site.serve(Server::OpenVpn, "");
    let (_, report) =
        site.load("--config client.ovpn --sessions 50 --scenario handshake:rate=30 --duration 2s");
    let tally = &report.tally;
    assert!((35..=90).contains(&tally.attempts), "{}", tally.attempts);
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    assert_eq!(tally.handshakes, tally.attempts);
}

#[test]
fn every_packet_through_ringway_is_accounted_for() {
    carry(Server::Ringway, "--cores 0,1");
}

#[test]
fn every_packet_through_the_stock_daemon_is_accounted_for() {
    carry(
        Server::OpenVpn,
        "--loss 0.01 --reorder 0.01 --dup 0.01 --seed 7",
    );
}

fn carry(server: Server, further: &str) {
    let site = Site::new();
    let (_server, _lan) = (site.serve(server, ""), site.serve_lan());
    let scenario = "bidirectional:size=900,rate=1000+latency:rate=100";
    let (_, report) = site.load(&format!(
        "--config client.ovpn --sessions 20 --scenario {scenario} --duration 3s --lan 10.90.0.2:5201 \
         --user load%d --password x {further}"
    ));
    let (tally, far) = (&report.tally, report.far_side.unwrap());
    assert_eq!((tally.handshakes, tally.failures_total()), (20, 0));
    assert_eq!((far.sessions, far.silent), (20, 0), "{:?}", tally.drops);
    assert_eq!(tally.first_packet.count(), 20);
    let sent = tally.echoes.sent + far.up.sent;
    assert_eq!(tally.up.packets, sent);
    for (what, delivery, least) in [
        ("up", far.up, 2500),
        ("down", tally.down_delivery, 2500),
        ("echoes", tally.echoes, 250),
    ] {
        let accounted = delivery.received + delivery.lost;
        assert_eq!(accounted, delivery.sent, "{what}: {delivery:?}");
        assert!(delivery.sent >= least, "{what}: {delivery:?}");
        assert!(delivery.loss() < 0.1, "{what}: {delivery:?}");
    }
    assert_eq!(tally.round_trip.count(), tally.echoes.received);
    if !further.contains("--loss") {
        return;
    }
    // One in a hundred each way, of some 3,000. Doubles are the data channel's to drop, and down the
    // packets of a client are too far apart to overtake one another.
    assert!(far.up.lost > 5 && far.up.reordered > 5, "{:?}", far.up);
    let down = tally.down_delivery;
    assert!(down.lost > 5 && down.duplicated == 0, "{down:?}");
    assert!(tally.drops.get("replay").is_some_and(|count| *count > 5));
}

#[test]
fn sessions_that_share_a_socket_are_told_apart_by_ringway() {
    let site = Site::new();
    let (_server, _lan) = (site.serve(Server::Ringway, ""), site.serve_lan());
    let (_, report) = site.load(
        "--config client.ovpn --sessions 24 --share-sockets 8 --duration 2s --lan 10.90.0.2:5201 \
         --scenario bidirectional:size=200,rate=500+latency:rate=100",
    );
    let (tally, far) = (&report.tally, report.far_side.unwrap());
    assert!(report.shared_sockets);
    assert_eq!((tally.handshakes, tally.failures_total()), (24, 0));
    assert_eq!((far.sessions, far.silent), (24, 0), "{:?}", tally.drops);
    assert_eq!(tally.left, 24);
    for delivery in [far.up, tally.down_delivery, tally.echoes] {
        assert!(delivery.received > 150, "{delivery:?}");
        assert!(delivery.loss() < 0.1, "{delivery:?}");
    }
}

#[test]
fn sessions_roam_renew_their_keys_and_return_at_ringway() {
    move_about(Server::Ringway);
}

#[test]
fn sessions_roam_renew_their_keys_and_return_at_the_stock_daemon() {
    move_about(Server::OpenVpn);
}

fn move_about(server: Server) {
    let site = Site::new();
    let (_server, _lan) = (site.serve(server, ""), site.serve_lan());
    let (_, report) = site.load(
        "--config client.ovpn --sessions 10 --duration 5s --lan 10.90.0.2:5201 \
         --scenario roam:interval=1s+reneg:interval=2s+churn:rate=3+latency:rate=100",
    );
    let tally = &report.tally;
    assert_eq!(tally.failures_total(), 0, "{:?}", tally.failures);
    assert!(tally.roams >= 30, "{}", tally.roams);
    assert!(tally.renegotiations >= 10, "{}", tally.renegotiations);
    assert!(tally.handshakes > 10, "{}", tally.handshakes);
    assert_eq!(tally.left, tally.handshakes);
    // What is on its way to a session that leaves, or to the port that it has left, is lost.
    assert!(tally.echoes.received > 300, "{:?}", tally.echoes);
    assert!(tally.echoes.loss() < 0.2, "{:?}", tally.echoes);
}

#[test]
fn an_absent_server_ends_the_run_with_reasons() {
    let site = Site::new();
    let (output, report) =
        site.load("--config client.ovpn --sessions 4 --scenario idle --duration 60s");
    assert!(!output.status.success());
    let Ending::Failed(why) = &report.ending else {
        panic!("{:?}", report.ending);
    };
    assert_eq!(why, "no session came up");
    let known = ["connection refused", "no answer within hand-window"];
    assert!(report.tally.failures_total() >= 4);
    for reason in report.tally.failures.keys() {
        assert!(known.iter().any(|it| reason.starts_with(it)), "{reason}");
    }
}

#[test]
fn a_server_that_is_killed_half_way_leaves_a_report() {
    let site = Site::new();
    let server = site.serve(Server::Ringway, "");
    let running = site.start("--config client.ovpn --sessions 10 --scenario idle --duration 8s");
    let log = site.path("server.log");
    // A session is up when it has its configuration: that is sent about when it is told of.
    let (mut told, mut since) = (0, Instant::now());
    wait_until(|| {
        let log = std::fs::read_to_string(&log).unwrap();
        if log.len() != told {
            (told, since) = (log.len(), Instant::now());
        }
        let is_quiet = since.elapsed() > Duration::from_millis(500);
        is_quiet && log.matches("PUSH_REPLY").count() >= 10
    });
    server.signal(Signal::KILL);
    let (_, report) = site.finish(running);
    assert_eq!(report.tally.handshakes, 10);
    let gone = "server gone: nothing heard for ping-restart";
    assert_eq!(
        report.tally.failures.get(gone),
        Some(&10),
        "{:?}",
        report.tally.failures
    );
    assert_eq!(report.ending, Ending::Complete);
}

#[test]
fn an_interrupted_run_leaves_a_report() {
    let site = Site::new();
    let _server = site.serve(Server::Ringway, "");
    let running = site.start("--config client.ovpn --sessions 5 --scenario idle --duration 600s");
    let log = site.path("server.log");
    wait_until(|| {
        let log = std::fs::read_to_string(&log).unwrap();
        log.matches("Peer Connection Initiated").count() >= 5
    });
    running.signal(Signal::INT);
    let (output, report) = site.finish(running);
    assert!(output.status.success());
    assert_eq!(report.ending, Ending::Interrupted);
    assert_eq!((report.tally.handshakes, report.tally.left), (5, 5));
}

#[test]
fn logins_and_certificates_are_each_sessions_own_and_refusals_have_their_reason() {
    let site = Site::new();
    site.write(
        "login",
        "#!/bin/sh\n[ \"$username\" != load3 ] && [ \"$password\" = \"secret-$username\" ] && \
         [ \"$common_name\" = \"host-${username#load}\" ]\n",
    );
    run("chmod", &["755", site.path("login").to_str().unwrap()]);
    let login = site.path("login");
    let login = format!(
        "script-security 3\nauth-user-pass-verify {} via-env\n",
        login.display()
    );
    let _server = site.serve(Server::OpenVpn, &login);
    let (_, report) = site.load(
        "--config client.ovpn --first 1 --sessions 5 --scenario idle --duration 1s \
         --ca-key ca.key --name host-%d --user load%d --password secret-load%d",
    );
    let tally = &report.tally;
    assert_eq!(tally.handshakes, 4, "{:?}", tally.failures);
    let reasons: Vec<&str> = tally.failures.keys().map(AsRef::as_ref).collect();
    assert_eq!(reasons, ["AUTH_FAILED"]);
}

/// What the profiles of all clients begin with.
const PROFILE: &str = "client\ndev tun\nproto udp\nremote 10.80.0.1 1194\nnobind\nremote-cert-tls server\n\
     ca ca.crt\ncert client.crt\nkey client.key\nhand-window 6\n";

/// A new authority: its certificate and its key.
fn authority() -> (rcgen::Certificate, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Test CA");
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate, key.serialize_pem())
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}

fn wait_for_text(file: &Path, text: &str) {
    wait_until(|| std::fs::read_to_string(file).is_ok_and(|log| log.contains(text)));
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}
