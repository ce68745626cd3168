//! `passtos`: routers between the two ends see the class of the packet inside.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, eth, socket};
use rustix::process::Signal;
use socket2::Socket;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, Namespace, server_v4, server_v6};
use crate::outgoing;
use crate::process::eventually;
use crate::server::{Implementation, PORT, Server, Site};
use crate::traffic::ping_with;

/// Datagrams between the two ends that have passed a link: how many of each class, by whether they are the
/// server's.
#[derive(Debug, Default)]
struct Seen(BTreeMap<(bool, u8), usize>);

impl Seen {
    fn of(&self, from_server: bool, class: u8) -> usize {
        self.0.get(&(from_server, class)).copied().unwrap_or(0)
    }
}

/// What passes the links of a namespace.
struct Capture(Socket);

impl Capture {
    fn start(namespace: &Namespace) -> Self {
        let socket = namespace.spawn(|| {
            let all = Some(eth::ALL);
            socket(AddressFamily::PACKET, SocketType::DGRAM, all).unwrap()
        });
        let socket = Socket::from(socket.join().unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        Self(socket)
    }

    /// All that has passed until now.
    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        let mut bytes = [MaybeUninit::uninit(); 2_048];
        while let Ok(length) = self.0.recv(&mut bytes) {
            let length = length.min(bytes.len());
            // SAFETY: the kernel has written so many bytes.
            let packet = bytes[..length]
                .iter()
                .map(|byte| unsafe { byte.assume_init() });
            if let Some(key) = outer(&packet.collect::<Vec<u8>>()) {
                *seen.0.entry(key).or_default() += 1;
            }
        }
        seen
    }
}

/// Whether a packet is of the tunnel: from the server or to it, and its class.
fn outer(packet: &[u8]) -> Option<(bool, u8)> {
    let (protocol, class, header) = match packet.first()? >> 4 {
        4 => (packet.get(9)?, *packet.get(1)?, 20),
        6 => {
            let class = packet.first()? << 4 | packet.get(1)? >> 4;
            (packet.get(6)?, class, 40)
        }
        _ => return None,
    };
    let ports = packet.get(header..header + 4)?;
    let from_server = ports.starts_with(&PORT.to_be_bytes());
    let to_server = ports.ends_with(&PORT.to_be_bytes());
    (*protocol == UDP && (from_server || to_server)).then_some((from_server, class))
}

const UDP: u8 = 17;
/// Expedited forwarding, and a class of bulk traffic.
const CLASSES: [u8; 2] = [0xb8, 0x20];
const PINGS: u32 = 5;

/// Pings of two classes one after the other, which show both directions: echoes have the class of what they
/// answer.
fn pings(from: &Namespace, to: IpAddr) {
    for class in CLASSES {
        let class = class.to_string();
        let further = ["-i", "0.05", "-Q", &class];
        ping_with(from, to, PINGS, &further).assert_all_received();
    }
}

#[test]
fn datagrams_have_the_class_of_the_packet_inside() {
    let site = Site::new(1);
    let mut config = site.server_config();
    for copies in [false, true] {
        if copies {
            config = config.line("passtos");
        }
        let _server = Server::start(&site, &config);
        let mut client_config = ClientConfig::new(&site, 0, "alice");
        if copies {
            client_config = client_config.line("passtos");
        }
        let client = Client::connect(&site, &client_config);
        assert_classes(&site, &client, copies, &[LAN_V4]);
    }
}

/// Stock sets the class of its socket by packets of IPv4 alone, and for datagrams of IPv4 alone.
#[test]
fn both_families_have_classes_inside_and_outside() {
    if !Implementation::is_ringway("classes of both families") {
        return;
    }
    for server in [server_v4(0), server_v6(0)] {
        let site = Site::new(1);
        let config = site.server_config();
        let running = Server::start(&site, &config);
        let client = ClientConfig::new(&site, 0, "alice");
        let client = client.remote(server, PORT).line("passtos");
        let client = outgoing::connect(&site, &client);
        // While a session goes on.
        site.topology
            .write("server.conf", config.line("passtos").text());
        running.process.signal(Signal::HUP);
        running.process.wait_for("no session is touched: passtos");
        assert_classes(&site, &client, true, &[LAN_V4, LAN_V6]);
    }
}

fn assert_classes(site: &Site, client: &Client, copies: bool, hosts: &[IpAddr]) {
    let namespace = client.namespace(site);
    for host in hosts {
        eventually("a way through the tunnel", || {
            (ping_with(namespace, *host, 1, &[]).received == 1).then_some(())
        });
        let capture = Capture::start(namespace);
        pings(namespace, *host);
        let seen = capture.seen();
        for class in CLASSES {
            for from_server in [false, true] {
                let expected = if copies { PINGS as usize } else { 0 };
                // Stock's own packets have the class of the last one that was copied.
                let count = seen.of(from_server, class);
                assert!(
                    count >= expected && (copies || count == 0),
                    "{class:#x} {from_server} to {host}: {seen:?}"
                );
            }
        }
    }
}
