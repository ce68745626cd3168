//! The PROXY protocol: a server behind a proxy that says whose a connection is, with real clients behind it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::network::{TUNNEL_V4, server_v4};
use crate::process::eventually;
use crate::server::{Implementation, PORT, Server, Site};
use crate::streams::on_tcp;
use crate::traffic::ping;

/// A proxy in the client's namespace for one connection, which writes this header, in pieces of so many bytes.
fn proxy(site: &Site, header: &[u8], at_once: usize) -> (u16, JoinHandle<()>) {
    let header = header.to_vec();
    let (told, port) = std::sync::mpsc::channel();
    let passes = site.topology.clients[0].spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        told.send(listener.local_addr().unwrap().port()).unwrap();
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect((server_v4(0), PORT)).unwrap();
        far.set_nodelay(true).unwrap();
        for piece in header.chunks(at_once) {
            far.write_all(piece).unwrap();
            // So that each arrives by itself; nothing depends on it.
            std::thread::sleep(Duration::from_millis(2));
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

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    let start = b"\r\n\r\n\0\r\nQUIT\n";
    [&start[..], &[command, family], &length, content].concat()
}

/// Both versions, both families, in one piece and in many, with fields behind the addresses.
#[test]
fn the_source_that_a_proxy_names_is_the_client() {
    if !Implementation::is_ringway("the PROXY protocol") {
        return;
    }
    let site = Site::new(1);
    let status = site.topology.directory().join("status");
    let config = on_tcp(site.server_config())
        .line("setenv opt ringway-proxy-protocol 10.80.0.0/24")
        .line(format!("status {} 1", status.display()));
    let server = Server::start(&site, &config);
    let v4 = [
        203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 4, 170, 4, 0, 2, 1, 2,
    ];
    let from: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let v6 = [&from.octets()[..], &[0; 16], &[0x12, 0x67, 4, 170]].concat();
    for (header, at_once, source, listed) in [
        (
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 1194\r\n".to_vec(),
            100,
            "[AF_INET]203.0.113.7:4711",
            "alice,203.0.113.7:4711,",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1194\r\n".to_vec(),
            1,
            "[AF_INET6]2001:db8::7:4711",
            "alice,2001:db8::7,",
        ),
        (
            v2(0x21, 0x11, &v4),
            1,
            "[AF_INET]203.0.113.9:4711",
            "alice,203.0.113.9:4711,",
        ),
        (
            v2(0x21, 0x21, &v6),
            100,
            "[AF_INET6]2001:db8::9:4711",
            "alice,2001:db8::9,",
        ),
        (
            b"PROXY UNKNOWN\r\n".to_vec(),
            7,
            "[AF_INET]10.80.0.",
            "alice,10.80.0.",
        ),
        (
            v2(0x20, 0x00, &[]),
            7,
            "[AF_INET]10.80.0.",
            "alice,10.80.0.",
        ),
    ] {
        let (port, passes) = proxy(&site, &header, at_once);
        let client = ClientConfig::new(&site, 0, "alice").remote([127, 0, 0, 1].into(), port);
        let client = Client::connect(&site, &client.over_tcp());
        server
            .process
            .wait_for(&format!("TCP connection established with {source}"));
        server
            .process
            .wait_for(&format!("[alice] Peer Connection Initiated with {source}"));
        ping(client.namespace(&site), TUNNEL_V4, 3).assert_all_received();
        eventually("its address in the status file", || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            text.contains(listed).then_some(())
        });
        drop(client);
        passes.join().unwrap();
    }
}

/// Who comes without a header is closed and counted in the log, and so is who is none of the proxies; on the other
/// listener it goes on as before.
#[test]
fn who_does_not_come_from_a_proxy_is_closed() {
    if !Implementation::is_ringway("the PROXY protocol") {
        return;
    }
    let site = Site::new(2);
    let config = site
        .server_config()
        .without("proto")
        .without("port")
        .line(format!("local 0.0.0.0 {PORT} tcp4"))
        .line("local 0.0.0.0 1195 tcp4")
        .line(format!(
            "ringway-proxy-protocol {PORT} 10.80.0.0/24 fd80::/16"
        ));
    let server = Server::start(&site, &config);
    for (client, bytes) in [
        (0, &[0, 14, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0][..]),
        (0, b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n"),
        (1, b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 1194\r\n"),
    ] {
        let closed = site.topology.clients[client].spawn(move || {
            let mut stream = TcpStream::connect((server_v4(client), PORT)).unwrap();
            // One who is none of the proxies is perhaps closed already.
            let _written = stream.write_all(bytes);
            stream
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            match stream.read(&mut [0; 16]) {
                Ok(length) => length == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            }
        });
        assert!(closed.join().unwrap(), "{bytes:?}");
    }
    for line in [
        "TCP connection closed: no PROXY header: [AF_INET]10.80.0.",
        "TCP connection closed: a malformed PROXY header: [AF_INET]10.80.0.",
        "TCP connection closed: it is none of the proxies: [AF_INET]10.80.1.",
    ] {
        server.process.wait_for(line);
    }
    let client = ClientConfig::new(&site, 1, "bob").remote(server_v4(1), 1195);
    let client = Client::connect(&site, &client.over_tcp());
    client.assert_reaches_all(&site);
}

/// Behind the header it is decided whose the connection is, and the journal of `port-share` has the address that the
/// proxy names.
#[test]
fn a_web_client_behind_a_proxy() {
    if !Implementation::is_ringway("the PROXY protocol") {
        return;
    }
    let site = Site::new(1);
    let journal = site.topology.directory().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let config = on_tcp(site.server_config())
        .line("ringway-proxy-protocol")
        .line(format!("port-share 127.0.0.1 8443 {}", journal.display()));
    let _server = Server::start(&site, &config);
    let (told, is_told) = std::sync::mpsc::channel();
    let web = site.topology.server.spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:8443").unwrap();
        told.send(()).unwrap();
        let (mut stream, client) = listener.accept().unwrap();
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).unwrap();
        let named = std::fs::read_to_string(journal.join(format!("[AF_INET]{client}")));
        (asked, named.unwrap())
    });
    is_told.recv().unwrap();
    let stranger = site.topology.clients[0].spawn(|| {
        let mut stream = TcpStream::connect((server_v4(0), PORT)).unwrap();
        let asked = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\nGET /";
        stream.write_all(asked).unwrap();
        let _until_its_end = stream.read(&mut [0; 16]);
    });
    let (asked, named) = web.join().unwrap();
    assert_eq!(
        (&asked, named.as_str()),
        (b"GET /", "[AF_INET]203.0.113.7:4711")
    );
    stranger.join().unwrap();
}
