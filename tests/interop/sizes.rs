//! How large packets may be: what is too large for the tunnel is answered or cut, and TCP connections
//! through it are kept to segments that fit, as the stock daemon does it.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, Namespace, server_v4, server_v6};
use crate::process::eventually;
use crate::server::{PORT, READY, RINGWAY, Server, Site};
use crate::traffic::{ping, ping_with};

/// A packet that may not be cut and is too large is answered with the tunnel's MTU, on either side. What
/// may be cut arrives.
#[test]
fn what_is_too_large_for_the_tunnel_is_answered_or_cut() {
    for mtu in [1_500, 1_400] {
        let site = Site::new(2);
        let [near, behind] = [0, 1].map(|index: usize| &site.topology.clients[index]);
        widen(&site, near, behind);
        let config = site.server_config().line(format!("tun-mtu {mtu}"));
        let _server = Server::start(&site, &config);
        let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
        let own: [IpAddr; 2] = [
            client.tunnel_v4(&site).into(),
            client.tunnel_v6(&site).into(),
        ];
        for to in own {
            assert_too_big(&site.topology.lan, to, mtu);
        }
        for to in [LAN_V4, LAN_V6] {
            assert_too_big(behind, to, mtu);
        }
        for (from, to) in [(&site.topology.lan, own), (near, [LAN_V4, LAN_V6])] {
            let [v4, v6] = to;
            let cut = ["-M", "dont", "-s", "4000"];
            ping_with(from, v4, 3, &cut).assert_all_received();
            // Routers cut nothing of IPv6: the sender does, when it knows how small.
            eventually("a first ping", || {
                (ping_with(from, v6, 1, &["-s", "4000"]).received == 1).then_some(())
            });
            ping_with(from, v6, 3, &["-s", "4000"]).assert_all_received();
        }
        for (from, to, address) in [
            (&site.topology.lan, near, own[0]),
            (&site.topology.lan, near, own[1]),
            (near, &site.topology.lan, LAN_V4),
            (near, &site.topology.lan, LAN_V6),
        ] {
            assert_arrives(from, to, address);
        }
    }
}

/// Links behind both ends that take larger packets than the tunnel.
fn widen(site: &Site, near: &Namespace, behind: &Namespace) {
    for namespace in [&site.topology.server, &site.topology.lan] {
        namespace.ip(&["link", "set", "lan", "mtu", WIDE]);
    }
    let link = ["link", "add", "inside", "mtu", WIDE, "type", "veth"];
    let peer = ["peer", "name", "up", "mtu", WIDE, "netns", behind.name()];
    near.ip(&[&link[..], &peer[..]].concat());
    for (namespace, device, last) in [(near, "inside", 1), (behind, "up", 2)] {
        for address in [format!("10.99.0.{last}/24"), format!("fd99::{last}/64")] {
            namespace.ip(&["address", "add", &address, "dev", device, "nodad"]);
        }
        namespace.ip(&["link", "set", "dev", device, "up"]);
    }
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        near.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
    }
    behind.ip(&["route", "add", "default", "via", "10.99.0.1"]);
    behind.ip(&["-6", "route", "add", "default", "via", "fd99::1"]);
}

fn assert_too_big(from: &Namespace, to: IpAddr, mtu: u32) {
    let said = match to {
        IpAddr::V4(_) => format!("Frag needed and DF set (mtu = {mtu})"),
        IpAddr::V6(_) => format!("Packet too big: mtu={mtu}"),
    };
    let uncut = ["-M", "do", "-s", "1600", "-w", "1"];
    ping_with(from, to, 2, &uncut).assert_said(&said);
}

/// A datagram of 4,000 bytes arrives as it was sent. The first may be lost, for the sender to learn how
/// small it has to be cut.
fn assert_arrives(from: &Namespace, to: &Namespace, address: IpAddr) {
    let bind = move |address: IpAddr| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap();
    let receiver = to.spawn(move || bind(address)).join().unwrap();
    let any: IpAddr = if address.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let sender = from.spawn(move || bind(any)).join().unwrap();
    let turn = Duration::from_millis(300);
    receiver.set_read_timeout(Some(turn)).unwrap();
    let datagram: Vec<u8> = (0..4_000_u32).map(|at| (at % 251) as u8).collect();
    eventually("a large datagram", || {
        // A word of the network about the one before may come back here.
        let _ = sender.send_to(&datagram, receiver.local_addr().unwrap());
        let mut received = [0; 8_000];
        let length = receiver.recv(&mut received).ok()?;
        assert_eq!(received[..length], datagram);
        Some(())
    });
}

/// The lines about segment sizes of a server and its client, and whether the client comes over IPv6.
struct Clamping {
    server: &'static str,
    client: &'static str,
    over_v6: bool,
}

const fn clamping(server: &'static str, client: &'static str) -> Clamping {
    Clamping {
        server,
        client,
        over_v6: false,
    }
}

#[test]
fn a_server_keeps_segments_to_the_size_that_a_stock_server_does() {
    for clamping in [
        clamping("", "mssfix 0"),
        Clamping {
            over_v6: true,
            ..clamping("", "mssfix 0")
        },
        clamping("mssfix 1300", "mssfix 0"),
        clamping("mssfix 1200 mtu", "mssfix 0"),
        clamping("mssfix 1000 fixed", "mssfix 0"),
        clamping("tun-mtu 1400", "mssfix 0"),
        clamping("max-packet-size 1300", "mssfix 0"),
        clamping("mssfix 1300\ncomp-lzo no", "mssfix 0\ncomp-lzo no"),
        clamping("fragment 1300", "mssfix 0\nfragment 1300"),
        clamping("fragment 1300 mtu", "mssfix 0\nfragment 1300"),
        clamping("fragment 1400\nmssfix 1300", "mssfix 0\nfragment 1300"),
    ] {
        let sizes = [[RINGWAY, STOCK], [STOCK, STOCK]].map(|it| clamping.sizes(it));
        clamping.assert_equal(sizes.map(|it| it.join().unwrap()));
    }
}

#[test]
fn a_client_keeps_segments_to_the_size_that_a_stock_client_does() {
    for clamping in [
        clamping("mssfix 0", ""),
        clamping("mssfix 0", "mssfix 1300"),
        clamping("mssfix 0", "mssfix 1200 mtu"),
        clamping("mssfix 0", "mssfix 1000 fixed"),
    ] {
        let sizes = [[STOCK, RINGWAY], [STOCK, STOCK]].map(|it| clamping.sizes(it));
        clamping.assert_equal(sizes.map(|it| it.join().unwrap()));
    }
}

#[test]
fn segments_stay_as_they_are_if_nobody_is_to_change_them() {
    let sizes = clamping("mssfix 0", "mssfix 0").sizes([RINGWAY, RINGWAY]);
    assert_eq!(sizes.join().unwrap(), UNCHANGED);
}

impl Clamping {
    /// The largest segments that client and LAN host send one another over IPv4, then over IPv6,
    /// with these programs as server and client.
    fn sizes(&self, [server, client]: [&'static str; 2]) -> thread::JoinHandle<[u32; 4]> {
        let lines = [self.server, self.client];
        let over_v6 = self.over_v6;
        thread::spawn(move || {
            let site = Site::new(1);
            // On a socket of both families the stock daemon counts the longer header for everybody.
            let proto = if over_v6 { "proto udp6" } else { "proto udp4" };
            let config = site.server_config().without("proto").line(proto);
            let config = config.line(lines[0]);
            let _server = Server::start_program(&site, &config, server);
            let address = if over_v6 { server_v6(0) } else { server_v4(0) };
            let config = ClientConfig::new(&site, 0, "alice").remote(address, PORT);
            let client = Client::spawn_program(&site, &config.line(lines[1]), client);
            client.process.wait_for(READY);
            let namespace = client.namespace(&site);
            for target in [LAN_V4, LAN_V6] {
                eventually("a ping", || {
                    (ping(namespace, target, 1).received == 1).then_some(())
                });
            }
            let [v4, v6] = [LAN_V4, LAN_V6].map(|to| segments(namespace, &site.topology.lan, to));
            [v4, v6].concat().try_into().unwrap()
        })
    }

    fn assert_equal(&self, [ours, theirs]: [[u32; 4]; 2]) {
        let lines = [self.server, self.client];
        assert_eq!(ours, theirs, "{lines:?} {}", self.over_v6);
        assert_ne!(ours, UNCHANGED, "{lines:?}");
    }
}

/// How large the segments are that both ends of a connection send.
fn segments(from: &Namespace, to: &Namespace, address: IpAddr) -> Vec<u32> {
    for namespace in [from, to] {
        // Options would count.
        namespace.run("sysctl", &["-q", "-w", "net.ipv4.tcp_timestamps=0"]);
    }
    let listener = to.spawn(move || TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let listener = listener.join().unwrap();
    let target = listener.local_addr().unwrap();
    let near = from.spawn(move || TcpStream::connect(target).unwrap());
    let (far, near) = (listener.accept().unwrap().0, near.join().unwrap());
    [near, far]
        .map(|stream| SockRef::from(&stream).tcp_mss().unwrap())
        .to_vec()
}

const STOCK: &str = "openvpn";

/// The MTU of links behind the tunnel.
const WIDE: &str = "9000";

/// What fits into packets of 1,500 bytes.
const UNCHANGED: [u32; 4] = [1460, 1460, 1440, 1440];

/// The obsolete line makes the same devices, here and there.
#[test]
fn link_mtu_makes_the_mtu_that_it_makes_with_stock() {
    let cases: [&[&str]; 4] = [
        &["link-mtu 1400"],
        &["link-mtu 1400", "cipher AES-256-GCM"],
        &["link-mtu 1450", "cipher AES-256-CBC", "auth SHA256"],
        &["udp-mtu 1400", "cipher CHACHA20-POLY1305"],
    ];
    for lines in cases {
        let mtus = ["openvpn", RINGWAY].map(|program| {
            let site = Site::new(1);
            let config = site.server_config();
            let config = lines.iter().fold(config, |config, line| config.line(*line));
            let _server = Server::start_program(&site, &config, program);
            let config = ClientConfig::new(&site, 0, "alice");
            let client = Client::spawn(&site, &config);
            client.process.wait_for(READY);
            let shown = |namespace: &Namespace| {
                let line = namespace.ip(&["-o", "link", "show", "tun0"]);
                let (_, mtu) = line.split_once(" mtu ").expect("the device has an MTU");
                mtu.split(' ').next().map(str::to_owned)
            };
            [&site.topology.server, client.namespace(&site)].map(shown)
        });
        let [[server, _], ours] = mtus;
        assert_ne!(server.as_deref(), Some("1500"), "{lines:?}");
        // The stock daemon tells its clients 1500 all the same.
        assert_eq!(ours, [server.clone(), server], "{lines:?}");
    }
}
