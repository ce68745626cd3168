//! Whatever around the server stops reading: the packets of others pass, and newcomers connect.
//!
//! The stock daemon waits for its log, its status file, its device and a client's machine, so that
//! those tests are about ringway alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::flood::Flood;
use crate::network::{LAN_V4, LAN_V6};
use crate::process::{Process, eventually, run};
use crate::server::{Implementation, READY, RINGWAY, Server, Site};
use crate::traffic::{PingStream, ping};

/// A pipe with a name, between the server and a reader that may stop.
struct Fifo {
    path: PathBuf,
    end: File,
    text: String,
}

impl Fifo {
    fn new(site: &Site, name: &str) -> Self {
        let path = site.topology.directory().join(name);
        run("mkfifo", &["-m", "0600", &path.display().to_string()]);
        // Open for both, so that opening it waits for nobody.
        let end = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        Self {
            path,
            end,
            text: String::new(),
        }
    }

    /// Reads until `needle` has come, and nothing more than there is by then.
    fn read_until(&mut self, needle: &str) {
        eventually(&format!("{needle:?} in the pipe"), || {
            let mut bytes = [0; 4096];
            match self.end.read(&mut bytes) {
                Ok(length) => self.text += &String::from_utf8_lossy(&bytes[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            self.text.contains(needle).then_some(())
        });
    }

    /// Fills the pipe, so that who writes to it waits.
    fn fill(&mut self) {
        for size in [4096, 1] {
            while self.end.write(&vec![b'.'; size]).is_ok() {}
        }
    }
}

/// Two who are there before it stops, one who comes then.
struct Clients<'a> {
    site: &'a Site,
    early: Vec<Client>,
}

impl<'a> Clients<'a> {
    fn connect(site: &'a Site) -> Self {
        let connect = |index| {
            let config = ClientConfig::new(site, index, &format!("early-{index}"));
            Client::connect(site, &config)
        };
        Self {
            site,
            early: [0, 1].map(connect).into(),
        }
    }

    /// While `stall` lasts: nothing of what the early ones send or get is lost, a third connects,
    /// and new keys are made.
    fn assert_served_during(&self, stall: impl FnOnce()) {
        let streams: Vec<_> = self
            .early
            .iter()
            .zip([LAN_V4, LAN_V6])
            .map(|(client, to)| PingStream::start(client.namespace(self.site), to))
            .collect();
        let handshakes = |client: &Client| client.process.count("Control Channel: TLSv1.");
        let before = self.early.iter().map(handshakes).collect::<Vec<_>>();
        stall();
        let late = Client::connect(self.site, &ClientConfig::new(self.site, 2, "late"));
        late.assert_reaches_all(self.site);
        for (client, before) in self.early.iter().zip(before) {
            client
                .process
                .wait_for_count("Control Channel: TLSv1.", before + 1);
            client.assert_reaches_all(self.site);
            assert_eq!(client.process.count(READY), 1, "the same session");
        }
        for stream in streams {
            stream.stop_and_assert_all_received();
        }
    }
}

/// The log is a pipe, given as `log` or as the standard output, and its reader stops. When it goes
/// on, all is there that was written meanwhile.
fn log_that_nobody_reads(as_standard_output: bool) {
    if !Implementation::is_ringway("a log that nobody reads") {
        return;
    }
    let site = Site::new(3);
    let mut log = Fifo::new(&site, "log");
    let pipe = log.path.display().to_string();
    let config = site.server_config().line("reneg-sec 6");
    let config = if as_standard_output {
        config
    } else {
        config.line(format!("log {pipe}"))
    };
    let config = site.topology.write("server.conf", config.text());
    let command = format!("exec {RINGWAY} --config {} > {pipe} 2>&1", config.display());
    let mut server = Process::spawn(
        "the server",
        site.topology.server.name(),
        "sh",
        &["-c", &command],
    );
    log.read_until(READY);

    let clients = Clients::connect(&site);
    log.read_until("[early-1] Peer Connection Initiated");
    clients.assert_served_during(|| log.fill());
    assert!(!log.text.contains("[late]"));
    log.read_until("[late] Peer Connection Initiated");
    assert!(!log.text.contains("events lost"), "{}", log.text);

    // It ends, too, if nobody reads its last words.
    log.fill();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn log_file_that_takes_nothing() {
    log_that_nobody_reads(false);
}

#[test]
fn standard_output_that_nobody_reads() {
    log_that_nobody_reads(true);
}

/// The status file does not take what is written to it, as on a file system that hangs.
#[test]
fn status_file_that_takes_nothing() {
    if !Implementation::is_ringway("a status file that takes nothing") {
        return;
    }
    let site = Site::new(3);
    let mut status = Fifo::new(&site, "status");
    let config = site
        .server_config()
        .line("reneg-sec 6")
        .line("status-version 2")
        .line(format!("status {} 1", status.path.display()));
    let mut server = Server::start(&site, &config);
    let clients = Clients::connect(&site);
    status.read_until("CLIENT_LIST,early-1,");
    clients.assert_served_during(|| status.fill());
    assert!(!status.text.contains("CLIENT_LIST,late,"));
    status.read_until("CLIENT_LIST,late,");

    // It ends, too, while the thread that writes the file still hangs in that.
    status.fill();
    server.process.wait_thread_in("status", "pipe_w");
    assert_eq!(server.stop().code(), Some(0));
}

/// A client's machine is there and the client stands still, while much is sent to it.
#[test]
fn client_that_reads_nothing() {
    floods_one_client(
        |_, client| client.process.signal(Signal::STOP),
        |_, client| client.process.signal(Signal::CONT),
    );
}

/// A client's machine is not there any more: packets to it wait for its Ethernet address.
#[test]
fn client_whose_machine_does_not_answer() {
    if !Implementation::is_ringway("a client whose machine is gone") {
        return;
    }
    floods_one_client(
        |site, client| {
            let namespace = client.namespace(site);
            namespace.ip(&["link", "set", "out", "arp", "off"]);
            let device = format!("c{FLOODED}");
            site.topology
                .server
                .ip(&["neigh", "flush", "dev", device.as_str()]);
        },
        |site, client| {
            let namespace = client.namespace(site);
            namespace.ip(&["link", "set", "out", "arp", "on"]);
        },
    );
}

/// `stop` keeps what is sent to one client from being read, until `go`. Meanwhile much is sent.
fn floods_one_client(stop: impl FnOnce(&Site, &Client), go: impl FnOnce(&Site, &Client)) {
    let site = Site::new(FLOODED + 1);
    let config = site
        .server_config()
        .without("keepalive")
        .line("keepalive 5 60")
        .line("reneg-sec 6");
    let _server = Server::start(&site, &config);
    let clients = Clients::connect(&site);
    let config = ClientConfig::new(&site, FLOODED, "flooded").line("reneg-sec 0");
    let flooded = Client::connect(&site, &config);
    flooded.assert_reaches_all(&site);
    let target = flooded.tunnel_v4(&site).into();
    let mut flood = None;
    clients.assert_served_during(|| {
        stop(&site, &flooded);
        flood = Some(Flood::start(&site.topology.lan, target));
    });
    drop(flood);
    go(&site, &flooded);
    flooded.wait_until_reaching(&site);
}

/// The tun device takes nothing: what clients send each other passes, and a newcomer connects.
#[test]
fn device_that_takes_nothing() {
    if !Implementation::is_ringway("a tun device that takes nothing") {
        return;
    }
    let site = Site::new(4);
    let config = site.server_config().line("client-to-client");
    let server = Server::start(&site, &config);
    let clients = Clients::connect(&site);
    let flooder = Client::connect(&site, &ClientConfig::new(&site, 3, "flooder"));
    let [first, second] = [0, 1].map(|index: usize| &clients.early[index]);
    let to = second.tunnel_v6(&site).into();
    let stream = PingStream::start(first.namespace(&site), to);
    let flood = Flood::start(flooder.namespace(&site), LAN_V4);
    site.topology.server.ip(&["link", "set", "tun0", "down"]);
    let late = Client::spawn(&site, &ClientConfig::new(&site, 2, "late"));
    late.process.wait_for(READY);
    let to = first.tunnel_v4(&site).into();
    eventually("a ping of the newcomer", || {
        (ping(late.namespace(&site), to, 1).received == 1).then_some(())
    });
    ping(late.namespace(&site), to, 20).assert_all_received();
    stream.stop_and_assert_all_received();
    drop(flood);
    // The device lost its IPv6 address.
    site.topology.server.ip(&["link", "set", "tun0", "up"]);
    eventually("a ping through the device", || {
        (ping(late.namespace(&site), LAN_V4, 1).received == 1).then_some(())
    });
    for client in [first, second, &late] {
        ping(client.namespace(&site), LAN_V4, 5).assert_all_received();
    }
    assert_eq!(server.process.count("Peer Connection Initiated"), 4);
}

/// The client that much is sent to; others are in its way if the server waits for it.
const FLOODED: usize = 3;
