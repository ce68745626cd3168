//! The status file in its three versions: what ringway writes beside what the stock daemon writes of the same
//! clients.

use std::collections::BTreeSet;

use crate::client::{Client, ClientConfig};
use crate::network::branch_host;
use crate::outgoing::wait_for_pings;
use crate::pki::Kind;
use crate::process::eventually;
use crate::server::{Implementation, RINGWAY, Server, Site};
use crate::traffic::ping;

/// A row without what differs from one run to the next: times, ports, counts, and who wrote it.
fn alike(row: &str) -> String {
    let separator = if row.contains('\t') { '\t' } else { ',' };
    let cells = row.split(separator).map(|cell| {
        let cell = match cell.split_once(" ringway ") {
            Some((version, _)) => version,
            None => cell.split(" x86_64").next().unwrap_or(cell),
        };
        let number = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        // 2026-11-22 23:00:00
        let time = cell.len() == 19 && cell.as_bytes().get(10) == Some(&b' ');
        match cell.rsplit_once(':') {
            _ if number => "N".to_owned(),
            _ if time => "TIME".to_owned(),
            Some((address, port))
                if address.parse::<std::net::Ipv4Addr>().is_ok() && !port.is_empty() =>
            {
                format!("{address}:PORT")
            }
            _ => cell.to_owned(),
        }
    });
    cells.collect::<Vec<_>>().join(&separator.to_string())
}

/// What stands before the first row of clients, and so on; rows of one kind in any order.
fn shape(text: &str) -> Vec<BTreeSet<String>> {
    let mut sections: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
    for row in text.lines() {
        let title = [
            "HEADER",
            "ROUTING TABLE",
            "GLOBAL STATS",
            "END",
            "GLOBAL_STATS",
            "Common Name",
            "Virtual",
        ];
        if title.iter().any(|title| row.starts_with(title)) {
            sections.push(BTreeSet::new());
        }
        if let Some(section) = sections.last_mut() {
            section.insert(alike(row));
        }
    }
    sections
}

#[test]
fn the_files_of_both_servers_are_alike() {
    if !Implementation::is_ringway("both servers' status files") {
        return;
    }
    let site = Site::new(3);
    let status = site.topology.directory().join("status");
    std::fs::create_dir(site.topology.directory().join("ccd")).unwrap();
    site.topology.write(
        "ccd/branch",
        "iroute 10.91.1.0 255.255.255.0\niroute-ipv6 fd91:1::/64\n",
    );
    let host = site.topology.branch(1);
    let names = ["alice", "branch", "carol"];
    let identities = names.map(|name| site.authority.client(name, Kind::Ec));
    for version in [1, 2, 3] {
        let config = site
            .server_config()
            .line(format!("status {} 1", status.display()))
            .line(format!("status-version {version}"))
            .line("route 10.91.1.0 255.255.255.0")
            .line("route-ipv6 fd91:1::/64")
            .line(format!(
                "client-config-dir {}/ccd",
                site.topology.directory().display()
            ));
        let file = |program| {
            let _absent = std::fs::remove_file(&status);
            let mut server = Server::start_program(&site, &config, program);
            let clients: Vec<Client> = (0..3)
                .map(|index| {
                    let config = ClientConfig::with_identity(&site, index, &identities[index]);
                    let client = Client::connect(&site, &config);
                    wait_for_pings(&site, &client);
                    client
                })
                .collect();
            for behind in branch_host(1) {
                eventually("the host behind a client", || {
                    (ping(&site.topology.server, behind, 1).received == 1).then_some(())
                });
            }
            // All three are in it with the host behind one, and it is whole.
            let text = eventually("a status file with all clients", || {
                let text = std::fs::read_to_string(&status).ok()?;
                let hosts = ["10.91.1.2C", "fd91:1::2C"];
                let all = names.iter().all(|name| text.matches(name).count() >= 3)
                    && hosts.iter().all(|host| text.contains(host));
                (all && text.ends_with("END\n")).then_some(text)
            });
            drop(clients);
            server.stop();
            text
        };
        let (stock, ours) = (file("openvpn"), file(RINGWAY));
        assert_eq!(
            shape(&ours),
            shape(&stock),
            "version {version}\n{stock}\n{ours}"
        );
        assert_eq!(ours.ends_with('\n'), stock.ends_with('\n'));
        assert!(!ours.contains('\r') && !stock.contains('\r'));
    }
    drop(host);
}
