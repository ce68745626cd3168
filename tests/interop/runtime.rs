//! What a running server tells of itself: in its log on SIGUSR2, and to `ringway check --runtime`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::process::{command_in, eventually};
use crate::server::{Implementation, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::PingStream;

/// A server with a control socket, and its configuration file.
struct Asked {
    site: Site,
    socket: PathBuf,
    config: PathBuf,
}

impl Asked {
    fn new(change: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let site = Site::new(1);
        let socket = site.topology.directory().join("control");
        let line = format!("setenv opt ringway-control {}", socket.display());
        let config = change(site.server_config().line(line));
        let config = site.topology.write("server.conf", config.text());
        Self {
            site,
            socket,
            config,
        }
    }

    fn start(&self) -> Server {
        Server::start_with(
            &self.site,
            &["--config", &self.config.display().to_string()],
        )
    }

    fn check_runtime(&self) -> Output {
        let config = self.config.display().to_string();
        let namespace = self.site.topology.server.name();
        let arguments = ["check", "--runtime", "--config", &config];
        command_in(namespace, RINGWAY, &arguments).output().unwrap()
    }

    /// The report, after it has been printed without a complaint.
    fn report(&self) -> String {
        let output = self.check_runtime();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The sum over all shards of a number.
fn sum(report: &str, group: &str, name: &str) -> u64 {
    let mut shards = report.lines().filter(|line| line.starts_with("shard "));
    let marked = format!(": {group}: ");
    let lines = shards.by_ref().filter(|line| line.contains(&marked));
    let values = lines.flat_map(|line| line.split(' '));
    let prefix = format!("{name}=");
    let found = values.filter_map(|pair| pair.strip_prefix(&prefix));
    found.map(|value| value.parse::<u64>().unwrap()).sum()
}

#[test]
fn usr2_puts_status_and_counters_into_the_log() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config());
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    server.process.signal(Signal::USR2);
    for line in ["OpenVPN CLIENT LIST", "alice,10.80.0.2:", "GLOBAL STATS"] {
        server.process.wait_for(line);
    }
    if Implementation::chosen() == Implementation::Ringway {
        let node = server.process.wait_for("node: clients: registered=1 ");
        let shards = node.split_once("shards=").unwrap().1;
        let shards: u32 = shards.split(' ').next().unwrap().parse().unwrap();
        for shard in 0..shards {
            server
                .process
                .wait_for(&format!("shard {shard}: clients: "));
            server
                .process
                .wait_for(&format!("shard {shard}: drops: total="));
        }
        let log = server.process.lines().join("\n");
        let rows = log.lines().filter_map(|line| line.split_once(" shard "));
        let rows: String = rows.map(|(_, row)| format!("shard {row}\n")).collect();
        assert_eq!(sum(&rows, "clients", "connected"), 1, "{log}");
        assert!(sum(&rows, "clients", "received_packets") > 0, "{log}");
        assert!(sum(&rows, "clients", "sent_packets") > 0, "{log}");
    }
}

/// A server that is nobody still answers who started it, and nobody else.
#[test]
fn check_runtime_prints_what_the_server_has_counted() {
    if !Implementation::is_ringway("the control socket") {
        return;
    }
    let asked = Asked::new(|config| config.line("user nobody").line("group nogroup"));
    let mut server = asked.start();
    let file = fs::metadata(&asked.socket).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o777), (0, 0o600));
    let client = Client::connect(&asked.site, &ClientConfig::new(&asked.site, 0, "alice"));
    client.assert_reaches_all(&asked.site);

    let report = asked.report();
    assert!(report.starts_with("OpenVPN 2.6."), "{report}");
    assert!(
        report.contains("\nnode: clients: registered=1 "),
        "{report}"
    );
    assert!(!report.contains("no answer"), "{report}");
    assert_eq!(sum(&report, "clients", "connected"), 1, "{report}");
    let packets = sum(&report, "clients", "received_packets");
    assert!(packets > 0, "{report}");
    client.assert_reaches_all(&asked.site);
    let later = sum(&asked.report(), "clients", "received_packets");
    assert!(later > packets, "{later} after {packets}");

    assert_eq!(server.stop().code(), Some(0));
    let output = asked.check_runtime();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Nobody may not remove root's socket: the next server replaces it.
    assert!(said.contains("left behind by one that has ended"), "{said}");
    drop(server);
    let again = asked.start();
    assert!(asked.report().contains("registered="));

    let second = Server::spawn(
        &asked.site,
        &[
            "--config",
            &asked.config.display().to_string(),
            "--port",
            "1195",
        ],
    );
    second.process.wait_for("another server answers on");
    drop(again);
}

/// A hundred who ask at once, and a hundred who connect and say nothing: packets flow, and the
/// others are answered.
#[test]
fn hundred_questions_at_once_harm_nobody() {
    if !Implementation::is_ringway("the control socket") {
        return;
    }
    let asked = Asked::new(|config| config);
    let _server = asked.start();
    let client = Client::connect(&asked.site, &ClientConfig::new(&asked.site, 0, "alice"));
    let stream = PingStream::start(client.namespace(&asked.site), crate::network::LAN_V4);
    let connect = || UnixStream::connect(&asked.socket).unwrap();
    let asking: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"report\n").unwrap();
            stream
        })
        .collect();
    for mut stream in asking {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains("\nnode: clients: registered=1 "),
            "{answer}"
        );
    }
    let silent: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    drop(silent);
    eventually("an answer after the silent ones", || {
        let output = asked.check_runtime();
        output.status.success().then_some(())
    });
    stream.stop_and_assert_all_received();
}
