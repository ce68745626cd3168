//! Many clients on four shards: each shard carries its own clients' packets, and none is handed
//! from one to another as long as the kernel is told who owns what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::process::eventually;
use crate::report::Report;
use crate::server::{Implementation, READY, Server, Site, shards};
use crate::traffic::{Echo, ping};

/// Clients that exchange packets with the LAN host.
struct Crowd {
    site: Site,
    server: Server,
    clients: Vec<Client>,
    echo: Echo,
}

impl Crowd {
    /// Connects `number` clients to a server with this line about steering. There is a place for
    /// one more.
    fn connect(number: usize, steering: &str) -> Self {
        let site = Site::new(number + 1);
        let config = site
            .server_config()
            .without("verb")
            .line("verb 4")
            .line(format!("setenv opt ringway-steering {steering}"))
            .line(format!(
                "setenv opt ringway-control {}",
                control(&site).display()
            ));
        let server = Server::start(&site, &config);
        let spawn = |index| {
            let config = ClientConfig::new(&site, index, &format!("client-{index}"));
            Client::spawn(&site, &config)
        };
        let clients: Vec<_> = (0..number).map(spawn).collect();
        for client in &clients {
            client.wait_connected(&site);
        }
        let echo = Echo::start(&site.topology.lan);
        Self {
            site,
            server,
            clients,
            echo,
        }
    }

    /// Has clients reconnect until each shard has one.
    fn spread(&self) {
        for client in self.clients.iter().cycle() {
            let in_use: BTreeSet<_> = self.clients.iter().map(Client::shard).collect();
            if in_use.len() == shards() as usize {
                return;
            }
            let of_its_shard = |other: &&Client| other.shard() == client.shard();
            if self.clients.iter().filter(of_its_shard).count() > 1 {
                client.reconnect_elsewhere(&self.site);
            }
        }
    }

    /// Each of `clients` gets this many packets back from the LAN host, half of them by IPv6.
    fn exchange(&self, clients: &[Client], packets: u32) {
        let exchanges: Vec<_> = clients
            .iter()
            .flat_map(|client| {
                [LAN_V4, LAN_V6].map(|address| {
                    let from = client.namespace(&self.site);
                    self.echo.exchange(from, address, packets / 2)
                })
            })
            .collect();
        for exchange in exchanges {
            exchange.join().expect("the exchange of a client");
        }
    }

    /// The LAN host speaks first.
    fn ping_each(&self) {
        for client in &self.clients {
            for to in [
                client.tunnel_v4(&self.site).into(),
                client.tunnel_v6(&self.site).into(),
            ] {
                ping(&self.site.topology.lan, to, 2).assert_all_received();
            }
        }
    }

    /// Some clients go and come back on another shard; each has its addresses again.
    fn reconnect(&self, clients: &[Client]) {
        for client in clients {
            let addresses = |client: &Client| {
                let site = &self.site;
                (client.tunnel_v4(site), client.tunnel_v6(site))
            };
            let before = addresses(client);
            client.reconnect_elsewhere(&self.site);
            assert_eq!(addresses(client), before);
        }
    }

    /// Some clients send from another address from now on; their sessions go along.
    fn float(&self, clients: &[Client]) {
        for client in clients {
            // Whoever was sent to another shard before has been ready more than once.
            let sessions = client.process.count(READY);
            client.move_to_second_address(&self.site);
            eventually("traffic from the new address", || {
                (ping(client.namespace(&self.site), LAN_V6, 1).received == 1).then_some(())
            });
            assert_eq!(client.process.count(READY), sessions, "the same session");
        }
        self.server
            .process
            .wait_for_count("floated from", clients.len());
    }

    fn report(&self) -> Report {
        Report::ask(&control(&self.site))
    }

    /// Hand-offs of datagrams and of packets of the tun device by now.
    fn hand_offs(&self) -> [u64; 2] {
        let report = self.report();
        ["datagram_sent", "tun_packet_sent"].map(|kind| report.sum("hand_offs", kind))
    }

    /// A client that sends `DATA_V1` from ports that lead to any shard: sooner or later its packets
    /// come to one that has to hand them on.
    fn assert_data_v1_is_handed_on(&self) {
        let index = self.clients.len();
        let config = ClientConfig::new(&self.site, index, "data-v1");
        let client = Client::connect(&self.site, &config.line("pull-filter ignore \"peer-id\""));
        eventually("a datagram handed on", || {
            client.assert_reaches_all(&self.site);
            let handed = self.hand_offs()[0] > 0;
            if !handed {
                client.reconnect_elsewhere(&self.site);
            }
            handed.then_some(())
        });
        client.assert_reaches_all(&self.site);
    }
}

/// `clients` clients, a multiple of four, exchange `packets` packets in all with the LAN host, half
/// of them each way; a quarter of the clients reconnects meanwhile and a quarter floats. Each shard
/// carries its part in both directions.
fn nothing_is_handed_over(clients: usize, packets: u32) {
    if !Implementation::is_ringway("hand-offs between shards") {
        return;
    }
    let crowd = Crowd::connect(clients, "both");
    let each = packets.div_ceil(2 * u32::try_from(clients).unwrap());
    crowd.spread();
    crowd.ping_each();
    crowd.exchange(&crowd.clients, each / 2);
    let report = crowd.report();
    for direction in ["received_packets", "sent_packets"] {
        let carried = report.each("clients", direction);
        let enough = carried.iter().all(|it| *it >= u64::from(each / 2));
        assert!(enough, "{direction} by each shard: {carried:?}");
    }
    let (restless, others) = crowd.clients.split_at(clients / 2);
    let (reconnecting, floating) = restless.split_at(clients / 4);
    std::thread::scope(|scope| {
        scope.spawn(|| crowd.exchange(others, each / 2));
        scope.spawn(|| crowd.reconnect(reconnecting));
        scope.spawn(|| crowd.float(floating));
    });
    crowd.exchange(restless, each / 2);
    crowd.ping_each();

    assert_eq!(crowd.hand_offs(), [0, 0], "{:?}", crowd.report());
    if shards() > 1 {
        crowd.assert_data_v1_is_handed_on();
    }
}

#[test]
fn sixteen_clients_and_no_hand_off() {
    nothing_is_handed_over(16, 40_000);
}

#[test]
#[ignore = "full tier"]
fn sixty_four_clients_a_million_packets_and_no_hand_off() {
    nothing_is_handed_over(64, 1_000_000);
}

/// Without one program or the other, or both, everything arrives; what comes to the wrong shard
/// is handed on and counted.
fn served_with_steering(steering: &str, [datagrams, tun_packets]: [bool; 2]) {
    if !Implementation::is_ringway("steering programs") {
        return;
    }
    let crowd = Crowd::connect(8, steering);
    crowd.ping_each();
    crowd.exchange(&crowd.clients, 2_000);
    let (reconnecting, floating) = crowd.clients.split_at(4);
    crowd.reconnect(reconnecting);
    crowd.float(floating);
    crowd.ping_each();
    crowd.exchange(&crowd.clients, 2_000);
    for client in &crowd.clients {
        client.assert_reaches_all(&crowd.site);
    }
    let handed = crowd.hand_offs();
    let expected = [datagrams, tun_packets].map(|it| it && shards() > 1);
    assert_eq!(handed.map(|it| it > 0), expected, "{handed:?}");
}

#[test]
fn without_the_program_of_the_sockets() {
    served_with_steering("tun", [true, false]);
}

#[test]
fn without_the_program_of_the_tun_device() {
    served_with_steering("udp", [false, true]);
}

#[test]
fn without_both_programs() {
    served_with_steering("none", [true, true]);
}

fn control(site: &Site) -> PathBuf {
    site.topology.directory().join("control")
}
