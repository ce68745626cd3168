//! `topology net30` and `p2p`: what the stock daemon does with a configuration, ringway does after it,
//! with the same files and to the same clients.

use crate::client::{Client, ClientConfig};
use crate::inner_networks::with_files;
use crate::outgoing::wait_for_pings;
use crate::server::{Implementation, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::ping;

/// What an administrator sees of a server with two clients.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// What each client was sent, up to what the server chooses for itself, and has on its device.
    clients: Vec<(String, String)>,
    device: String,
    routes: Vec<String>,
    leases: String,
}

/// The options of the last PUSH_REPLY before the peer id.
fn pushed(client: &Client) -> String {
    let lines = client.process.lines();
    let line = lines.iter().rfind(|line| line.contains("PUSH_REPLY"));
    let (_, options) = line.unwrap().split_once("PUSH_REPLY,").unwrap();
    options.split_once(",peer-id").unwrap().0.to_owned()
}

/// The addresses of a device, from the word `inet` on.
fn v4_of(text: &str) -> String {
    let words = text.split_whitespace().skip_while(|it| *it != "inet");
    let words: Vec<_> = words.skip(1).take(3).collect();
    words.join(" ")
}

/// A server of this program, its clients one after the other, and its end.
fn see(site: &Site, config: &ServerConfig, program: &str, names: &[(usize, &str)]) -> Seen {
    let mut server = Server::start_program(site, config, program);
    let shown = |arguments: &[&str]| site.topology.server.ip(arguments);
    let clients: Vec<Client> = names
        .iter()
        .map(|(index, name)| Client::connect(site, &ClientConfig::new(site, *index, name)))
        .collect();
    for client in &clients {
        wait_for_pings(site, client);
        let to = client.tunnel_v4(site).into();
        ping(&site.topology.lan, to, 3).assert_all_received();
    }
    let routes = shown(&["-4", "route", "show", "dev", "tun0"]);
    let mut routes: Vec<String> = routes.lines().map(|line| line.trim().to_owned()).collect();
    routes.sort();
    let device = v4_of(&shown(&["-o", "-4", "address", "show", "dev", "tun0"]));
    let told = clients.iter().map(|client| {
        let own = client
            .namespace(site)
            .ip(&["-o", "-4", "address", "show", "dev", "tun0"]);
        (pushed(client), v4_of(&own))
    });
    let clients = told.collect();
    server.stop();
    let leases = site.topology.directory().join("ipp.txt");
    Seen {
        clients,
        device,
        routes,
        leases: std::fs::read_to_string(leases).unwrap(),
    }
}

fn with(site: &Site, lines: &[&str]) -> ServerConfig {
    let file = site.topology.directory().join("ipp.txt");
    let config = site.server_config().without("topology");
    let config = lines.iter().fold(config, |config, line| config.line(*line));
    config.line(format!("ifconfig-pool-persist {}", file.display()))
}

/// Also without a line for it: it is the default of 2.6.
#[test]
fn net30_is_as_the_stock_daemon_has_it() {
    if !Implementation::is_ringway("net30_is_as_the_stock_daemon_has_it") {
        return;
    }
    for lines in [&["topology net30"][..], &["client-to-client"]] {
        let site = Site::new(2);
        let config = with_files(&site, with(&site, lines));
        let clients = [(0, "alice"), (1, "bob")];
        let stock = see(&site, &config, "openvpn", &clients);
        let own = "ifconfig 10.8.0.6 10.8.0.5";
        let (said, device) = &stock.clients[0];
        assert!(said.ends_with(own), "{said}");
        assert_eq!(device, "10.8.0.6 peer 10.8.0.5/32");
        assert_eq!(
            stock.leases,
            "alice,10.8.0.4,fd08::1000\nbob,10.8.0.8,fd08::1001\n"
        );
        assert_eq!(see(&site, &config, RINGWAY, &clients), stock);
        // An address of the client's own, outside of the pool, with the other end.
        site.topology
            .write("ccd/bob", "ifconfig-push 10.8.0.254 10.8.0.253\n");
        let stock = see(&site, &config, "openvpn", &clients);
        assert!(
            stock.clients[1]
                .0
                .ends_with("ifconfig 10.8.0.254 10.8.0.253")
        );
        let ringway = see(&site, &config, RINGWAY, &clients);
        assert_eq!(
            (ringway.clients, ringway.routes),
            (stock.clients, stock.routes)
        );
    }
}

#[test]
fn p2p_is_as_the_stock_daemon_has_it() {
    if !Implementation::is_ringway("p2p_is_as_the_stock_daemon_has_it") {
        return;
    }
    let site = Site::new(2);
    let config = with(&site, &["topology p2p"]);
    let clients = [(1, "bob"), (0, "alice")];
    let stock = see(&site, &config, "openvpn", &clients);
    assert_eq!(stock.clients[0].1, "10.8.0.4 peer 10.8.0.1/32");
    assert_eq!(see(&site, &config, RINGWAY, &clients), stock);
}

/// What `server` says in one line, written out.
#[test]
fn lines_without_a_server_line_make_the_same_tunnel() {
    if !Implementation::is_ringway("lines_without_a_server_line_make_the_same_tunnel") {
        return;
    }
    let site = Site::new(2);
    let lines = [
        "mode server",
        "tls-server",
        "topology net30",
        "ifconfig 10.8.0.1 10.8.0.2",
        "ifconfig-pool 10.8.0.40 10.8.0.47",
        "route 10.8.0.0 255.255.255.0",
        "push \"route 10.8.0.1\"",
        "push \"topology net30\"",
    ];
    let config = with(&site, &lines).without("server");
    let clients = [(0, "alice"), (1, "bob")];
    let stock = see(&site, &config, "openvpn", &clients);
    assert_eq!(stock.clients[1].1, "10.8.0.46 peer 10.8.0.45/32");
    let ringway = see(&site, &config, RINGWAY, &clients);
    assert_eq!(
        (ringway.clients, ringway.device),
        (stock.clients, stock.device)
    );
    assert_eq!(ringway.leases, stock.leases);
}
