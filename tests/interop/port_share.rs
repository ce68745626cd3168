//! `port-share`: a web server behind the port of the VPN, for clients that are real and for strangers who are slow, many, or
//! come when it is down.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, TUNNEL_V4, server_v4, server_v6};
use crate::process::eventually;
use crate::report::Report;
use crate::server::{Implementation, PORT, Server, ServerConfig, Site};
use crate::streams::on_tcp;
use crate::traffic::{PingStream, ping};

/// Where the web server listens in the server's namespace.
const WEB: u16 = 8443;

fn sharing(site: &Site, journal: Option<&Path>) -> ServerConfig {
    let journal = journal
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    on_tcp(site.server_config()).line(format!("port-share 127.0.0.1 {WEB} {journal}"))
}

fn journal(site: &Site) -> PathBuf {
    let directory = site.topology.directory().join("journal");
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// A web server that answers so many connections, one after the other: with the length of what it was asked, and it
/// back. Each is asked whole before it answers.
fn web_server(site: &Site, connections: usize) -> JoinHandle<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let served = site.topology.server.spawn(move || {
        let listener = TcpListener::bind(("127.0.0.1", WEB)).unwrap();
        ready.send(()).unwrap();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).unwrap();
            stream
                .write_all(format!("{}:", asked.len()).as_bytes())
                .unwrap();
            stream.write_all(&asked).unwrap();
        }
    });
    is_ready.recv().unwrap();
    served
}

/// Asks by these parts, each sent by itself, and gives the answer.
fn ask(parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for part in parts {
        stream.write_all(part).unwrap();
        // So that each arrives by itself; nothing depends on it.
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn answer(asked: &[u8]) -> Vec<u8> {
    [format!("{}:", asked.len()).as_bytes(), asked].concat()
}

#[test]
fn a_client_and_web_clients_on_one_port() {
    let site = Site::new(2);
    let mut server = Server::start(&site, &sharing(&site, None));
    let client = ClientConfig::new(&site, 1, "alice").over_tcp();
    let client = Client::connect(&site, &client);
    let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(client.namespace(&site), to));
    // A TLS client's first record, one that is longer than a step, and a line.
    let long: Vec<u8> = [&[22, 3, 1, 2, 0][..], &vec![7; 300_000]].concat();
    let questions = [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        &long,
        b"GET / HTTP/1.0\r\n\r\n",
    ];
    // 2.6 passes no half close: who has asked and says so is not answered there.
    if Implementation::is_ringway("half closes that are passed on") {
        let web = web_server(&site, questions.len());
        let answered = site.topology.clients[0].spawn({
            let questions = questions.map(<[u8]>::to_vec);
            move || questions.map(|question| ask(&[&question]) == answer(&question))
        });
        assert_eq!(answered.join().unwrap(), [true; 3]);
        web.join().unwrap();
        server
            .process
            .wait_for("Non-OpenVPN client protocol detected: [AF_INET]10.80.0.");
    }
    for stream in streams {
        stream.stop_and_assert_all_received();
    }
    client.assert_reaches_all(&site);
    assert_eq!(server.stop().code(), Some(0), "the server's exit code");
}

/// Who begins byte by byte: web clients, and a real client behind a line that cuts so.
#[test]
fn slow_beginnings_of_either_kind() {
    if !Implementation::is_ringway("slow beginnings") {
        return;
    }
    let site = Site::new(1);
    let _server = Server::start(&site, &sharing(&site, None));
    let web = web_server(&site, 1);
    let question = b"GET / HTTP/1.0\r\n\r\n";
    let answered = site.topology.clients[0].spawn(move || {
        let parts: Vec<&[u8]> = question.chunks(1).collect();
        ask(&parts)
    });
    assert_eq!(answered.join().unwrap(), answer(question));
    web.join().unwrap();
    let (port, cut) = byte_by_byte(&site);
    let client = ClientConfig::new(&site, 0, "alice").remote([127, 0, 0, 1].into(), port);
    let client = Client::connect(&site, &client.over_tcp());
    ping(client.namespace(&site), TUNNEL_V4, 3).assert_all_received();
    drop(client);
    cut.join().unwrap();
}

/// Passes one connection of the client's namespace on to the server, its first 20 bytes one by one.
fn byte_by_byte(site: &Site) -> (u16, JoinHandle<()>) {
    let (told, port) = std::sync::mpsc::channel();
    let passes = site.topology.clients[0].spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        told.send(listener.local_addr().unwrap().port()).unwrap();
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect((server_v4(0), PORT)).unwrap();
        far.set_nodelay(true).unwrap();
        let mut first = [0; 20];
        near.read_exact(&mut first).unwrap();
        for byte in first {
            far.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let (mut from_far, mut to_near) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ends_with_them = std::io::copy(&mut from_far, &mut to_near);
            let _ended = to_near.shutdown(Shutdown::Both);
        });
        let _ends_with_them = std::io::copy(&mut near, &mut far);
        let _ended = far.shutdown(Shutdown::Both);
        back.join().unwrap();
    });
    (port.recv().unwrap(), passes)
}

/// The journal says who is behind a connection as long as it lasts, in a process that has given up its privileges.
#[test]
fn the_journal_names_the_client() {
    let site = Site::new(1);
    let directory = journal(&site);
    let config = sharing(&site, Some(&directory));
    let config = match Implementation::is_ringway("a journal without privileges") {
        true => {
            // `nobody` of every system.
            std::os::unix::fs::chown(&directory, Some(65_534), Some(65_534)).unwrap();
            config.line("user nobody").line("group nogroup")
        }
        false => config,
    };
    let mut server = Server::start(&site, &config);
    let (seen, is_seen) = std::sync::mpsc::channel();
    let (close, is_closed) = std::sync::mpsc::channel::<()>();
    let web = site.topology.server.spawn(move || {
        let listener = TcpListener::bind(("127.0.0.1", WEB)).unwrap();
        seen.send(None).unwrap();
        let (mut stream, address) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        seen.send(Some(address)).unwrap();
        let _closed = is_closed.recv();
    });
    assert_eq!(is_seen.recv().unwrap(), None);
    let (address, connected) = std::sync::mpsc::channel();
    let (end, is_ended) = std::sync::mpsc::channel::<()>();
    let stranger = site.topology.clients[0].spawn(move || {
        let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
        address.send(stream.local_addr().unwrap()).unwrap();
        stream.write_all(b"GET /").unwrap();
        let _ended = is_ended.recv();
    });
    let client = connected.recv().unwrap();
    let ours = is_seen.recv().unwrap().unwrap();
    let file = directory.join(format!("[AF_INET]{ours}"));
    let named = std::fs::read_to_string(&file).unwrap();
    if Implementation::is_ringway("addresses of clients over IPv4, and who may read them") {
        assert_eq!(named, format!("[AF_INET]{client}"));
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    } else {
        assert!(named.ends_with(&client.to_string()), "{named}");
    }
    drop((end, close));
    stranger.join().unwrap();
    web.join().unwrap();
    eventually("the end of the journal's file", || {
        (!file.exists()).then_some(())
    });
    assert_eq!(server.stop().code(), Some(0), "the server's exit code");
}

/// A web server that is not there closes connections, with one line for all of them, and touches no client.
#[test]
fn a_web_server_that_is_down() {
    if !Implementation::is_ringway("a web server that is down") {
        return;
    }
    let site = Site::new(2);
    let server = Server::start(&site, &sharing(&site, None));
    let client = ClientConfig::new(&site, 1, "alice").remote(server_v6(1), PORT);
    let client = Client::connect(&site, &client.over_tcp());
    let strangers = site.topology.clients[0].spawn(|| {
        (0..50).all(|_| {
            let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            is_closed(&mut stream)
        })
    });
    assert!(strangers.join().unwrap(), "each is closed");
    let line = "PORT SHARE PROXY: connect to port-share server failed (127.0.0.1:8443): Connection refused";
    server.process.wait_for(line);
    assert_eq!(server.process.count("port-share server failed"), 1);
    client.assert_reaches_all(&site);
}

/// More web clients at once than there are places, all of which stay: those without a place are closed and counted, and
/// a client still connects.
#[test]
fn many_web_clients_at_once() {
    if !Implementation::is_ringway("many web clients") {
        return;
    }
    const MANY: usize = 1100;
    const PLACES: usize = 1024;
    let site = Site::new(2);
    let socket = site.topology.directory().join("control.sock");
    let config = sharing(&site, None)
        .without("setenv")
        .line("setenv opt ringway-shards 1")
        .line(format!("setenv opt ringway-control {}", socket.display()));
    // Each takes two descriptors of the server.
    let path = site.topology.write("server.conf", config.text());
    let path = path.display().to_string();
    let program = crate::server::RINGWAY;
    let words = ["--nofile=8192:8192", program, "--config", &path];
    let server = crate::process::Process::spawn(
        "the server",
        site.topology.server.name(),
        "prlimit",
        &words,
    );
    server.wait_for(crate::server::READY);
    let raised = rustix::process::Rlimit {
        current: Some(8192),
        maximum: Some(8192),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (end, is_ended) = std::sync::mpsc::channel::<()>();
    let web = site.topology.server.spawn(move || {
        let listener = TcpListener::bind(("127.0.0.1", WEB)).unwrap();
        ready.send(()).unwrap();
        let kept: Vec<_> = (0..PLACES).map(|_| listener.accept().unwrap()).collect();
        let _ended = is_ended.recv();
        drop(kept);
    });
    is_ready.recv().unwrap();
    // Of one network no more than these may have said nothing yet.
    const AT_ONCE: usize = 50;
    let mut strangers = Vec::new();
    while strangers.len() < MANY {
        let some = site.topology.clients[0].spawn(|| {
            let streams = (0..AT_ONCE).map(|_| {
                let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
                stream.write_all(b"\x16\x03\x01").unwrap();
                stream
            });
            streams.collect::<Vec<_>>()
        });
        strangers.extend(some.join().unwrap());
        eventually("a place for each, or none", || {
            let report = Report::ask_about(&socket, 1);
            let closed = report.sum("drops", "port_share_limit") as usize;
            let passed = report.sum("queues", "streams_passed_on") as usize;
            let places = strangers.len().min(PLACES);
            (passed == places && closed == strangers.len() - places).then_some(())
        });
    }
    let client = ClientConfig::new(&site, 1, "alice").over_tcp();
    let client = Client::connect(&site, &client);
    client.assert_reaches_all(&site);
    drop(strangers);
    eventually("the end of all of them", || {
        let passed = Report::ask_about(&socket, 1).sum("queues", "streams_passed_on");
        // What the web server keeps open is half closed.
        (passed == PLACES as u64).then_some(())
    });
    drop(end);
    web.join().unwrap();
    eventually("the end of all of them", || {
        (Report::ask_about(&socket, 1).sum("queues", "streams_passed_on") == 0).then_some(())
    });
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
