//! An installation that was the stock daemon's is ringway's from one start to the next, and the other
//! way round: the same files, the same clients, the same addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::client::{Client, ClientConfig};
use crate::network::branch_host;
use crate::outgoing::wait_for_pings;
use crate::pki::{Kind, static_key};
use crate::process::eventually;
use crate::server::{Implementation, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::ping;

/// Clients that were connected in turn, with their addresses.
fn addresses(site: &Site, names: &[(usize, &str)]) -> Vec<(Ipv4Addr, Ipv6Addr)> {
    let clients: Vec<Client> = names
        .iter()
        .map(|(index, name)| Client::connect(site, &ClientConfig::new(site, *index, name)))
        .collect();
    let addresses = clients.iter().map(|client| {
        wait_for_pings(site, client);
        (client.tunnel_v4(site), client.tunnel_v6(site))
    });
    addresses.collect()
}

fn with_file(site: &Site, words: &str) -> (ServerConfig, std::path::PathBuf) {
    let file = site.topology.directory().join("ipp.txt");
    let line = format!("ifconfig-pool-persist {}{words}", file.display());
    let config = site.server_config().line(line).line("user nobody");
    (config, file)
}

/// The last four bytes of both addresses of a slot.
fn slot(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    let v6 = format!("fd08::{:x}", 0x1000 + u32::from(number));
    (Ipv4Addr::new(10, 8, 0, 2 + number), v6.parse().unwrap())
}

#[test]
fn clients_keep_their_addresses_from_the_stock_daemon_to_ringway_and_back() {
    if !Implementation::is_ringway("clients_keep_their_addresses") {
        return;
    }
    let site = Site::new(3);
    let (config, file) = with_file(&site, "");
    let start = |program| Server::start_program(&site, &config, program);
    let read = || std::fs::read_to_string(&file).unwrap();

    let mut stock = start("openvpn");
    let names = [(1, "bob"), (0, "alice")];
    assert_eq!(addresses(&site, &names), [slot(0), slot(1)]);
    stock.stop();
    let of_stock = "bob,10.8.0.2,fd08::1000\nalice,10.8.0.3,fd08::1001\n";
    assert_eq!(read(), of_stock);

    let mut ringway = start(RINGWAY);
    let names = [(0, "alice"), (2, "carol"), (1, "bob")];
    assert_eq!(addresses(&site, &names), [slot(1), slot(2), slot(0)]);
    assert_eq!(read(), of_stock, "not the time to write yet");
    assert_eq!(ringway.stop().code(), Some(0));
    let of_ringway = format!("{of_stock}carol,10.8.0.4,fd08::1002\n");
    assert_eq!(read(), of_ringway);

    let mut stock = start("openvpn");
    let names = [(2, "carol"), (0, "alice")];
    assert_eq!(addresses(&site, &names), [slot(2), slot(1)]);
    stock.stop();
    assert_eq!(read(), of_ringway);
}

/// A file that is written often survives a server that is killed; one that is only read stays as it is,
/// and its addresses nobody else's.
#[test]
fn a_file_is_written_in_its_time_or_never() {
    let site = Site::new(1);
    let (config, file) = with_file(&site, " 1");
    let server = Server::start(&site, &config);
    let alice = [(0, "alice")];
    assert_eq!(addresses(&site, &alice), [slot(0)]);
    let line = "alice,10.8.0.2,fd08::1000\n";
    eventually("the file is written", || {
        (std::fs::read_to_string(&file).unwrap() == line).then_some(())
    });
    drop(server);

    let fixed = "bob,10.8.0.2,\nalice,10.8.0.9,\nzoe,10.9.0.9,\n";
    std::fs::write(&file, fixed).unwrap();
    let (config, _) = with_file(&site, " 0");
    let mut server = Server::start(&site, &config);
    server
        .process
        .wait_for("pool: IPv4 (10.9.0.9) out of pool range for CN=zoe");
    let clients = [(0, "carol"), (0, "alice")].map(|client| addresses(&site, &[client]));
    assert_eq!(clients, [[slot(1)], [slot(7)]]);
    server.stop();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), fixed);
}

/// A whole installation: files of clients, addresses, revoked certificates, a shared key, the status file.
/// The stock daemon has served it; ringway goes on with the very same files.
#[test]
fn an_installation_is_taken_over_with_all_its_files() {
    if !Implementation::is_ringway("an installation is taken over") {
        return;
    }
    let site = Site::new(3);
    let directory = site.topology.directory().display().to_string();
    std::fs::create_dir(site.topology.directory().join("ccd")).unwrap();
    let carol = site.authority.client("carol", Kind::Ec);
    let key = static_key();
    for (name, text) in [
        ("ta.key", key.clone()),
        ("crl.pem", site.authority.revocation_list(&[&carol], 60)),
        (
            "ccd/branch",
            "ifconfig-push 10.8.0.200 255.255.255.0\nifconfig-ipv6-push fd08::200/64\niroute 10.91.0.0 255.255.255.0\n\
             push \"dhcp-option DNS 10.90.0.2\"\n"
                .to_owned(),
        ),
    ] {
        site.topology.write(name, text);
    }
    let config = site
        .server_config()
        .line(format!("tls-crypt {directory}/ta.key"))
        .line(format!("crl-verify {directory}/crl.pem"))
        .line(format!("client-config-dir {directory}/ccd"))
        .line(format!("ifconfig-pool-persist {directory}/ipp.txt"))
        .line(format!("status {directory}/status.log 1"))
        .line("status-version 2")
        .line("route 10.91.0.0 255.255.0.0");
    let host = site.topology.branch(0);
    let identities = ["branch", "alice"].map(|name| site.authority.client(name, Kind::Ec));
    let connect = |index: usize| {
        let config = ClientConfig::with_identity(&site, index, &identities[index]);
        let client = Client::connect(&site, &config.block("tls-crypt", &key));
        wait_for_pings(&site, &client);
        client
    };
    let mut seen = Vec::new();
    for program in ["openvpn", RINGWAY] {
        let mut server = Server::start_program(&site, &config, program);
        let clients = [1, 0].map(connect);
        let [alice, branch] = &clients;
        assert_eq!(branch.tunnel_v4(&site), Ipv4Addr::new(10, 8, 0, 200));
        branch.process.wait_for("dhcp-option DNS 10.90.0.2");
        let [behind, _] = branch_host(0);
        eventually("the network behind the branch", || {
            (ping(&site.topology.lan, behind, 1).received == 1).then_some(())
        });
        let refused = ClientConfig::with_identity(&site, 2, &carol).block("tls-crypt", &key);
        let refused = Client::spawn(&site, &refused);
        let why = "VERIFY ERROR: depth=0, error=certificate revoked: CN=carol, serial=";
        server.process.wait_for(why);
        drop(refused);
        let row = "CLIENT_LIST,alice,10.80.1.2:";
        eventually("the row of a client in the status file", || {
            let text = std::fs::read_to_string(format!("{directory}/status.log")).ok()?;
            let whole =
                text.ends_with("END\n") && text.contains("ROUTING_TABLE,10.91.0.0/24,branch,");
            (whole && text.contains(row)).then_some(())
        });
        seen.push((
            alice.tunnel_v4(&site),
            alice.tunnel_v6(&site),
            branch.tunnel_v6(&site),
        ));
        drop(clients);
        server.stop();
        let leases = std::fs::read_to_string(format!("{directory}/ipp.txt")).unwrap();
        assert!(
            leases.starts_with("alice,10.8.0.2,fd08::1000\n"),
            "{leases}"
        );
    }
    assert_eq!(seen[0], seen[1], "the same addresses");
    drop(host);
}
