//! `fragment`: packets are cut for ways that take no large ones, beside the stock daemon on either side.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::outgoing::{STOCK, wait_for_pings};
use crate::server::{READY, RINGWAY, Server, Site};
use crate::traffic::{ping_with, transfer_both_ways};

/// Who serves and who is the client.
const PAIRS: [[&str; 2]; 2] = [[RINGWAY, STOCK], [STOCK, RINGWAY]];

/// Packets that are cut into few and into many parts, and some that are not, both ways.
fn serves(lines: &[&str], [server, client]: [&str; 2]) {
    let site = Site::new(1);
    let config = lines
        .iter()
        .fold(site.server_config(), |config, line| config.line(*line));
    let running = Server::start_program(&site, &config, server);
    let config = ClientConfig::new(&site, 0, "alice");
    let config = lines.iter().fold(config, |config, line| config.line(*line));
    let client = Client::spawn_program(&site, &config, client);
    client.process.wait_for(READY);
    wait_for_pings(&site, &client);
    let namespace = client.namespace(&site);
    for (address, sizes) in [
        (LAN_V4, ["1472", "1300", "700", "8"]),
        (LAN_V6, ["1452", "1300", "700", "8"]),
    ] {
        for size in sizes {
            let whole = ["-M", "do", "-s", size];
            ping_with(namespace, address, 5, &whole).assert_all_received();
        }
    }
    // Pieces of the device's own are cut once more.
    ping_with(namespace, LAN_V4, 5, &["-M", "dont", "-s", "6000"]).assert_all_received();
    transfer_both_ways(namespace, &site.topology.lan, LAN_V4);
    drop(running);
}

#[test]
fn packets_are_cut_and_joined() {
    for pair in PAIRS {
        serves(&["fragment 1300"], pair);
        serves(&["fragment 400 mtu", "mssfix 0"], pair);
    }
}

#[test]
fn packets_are_framed_for_compression_and_then_cut() {
    for pair in PAIRS {
        serves(&["fragment 700", "mssfix 0", "comp-lzo no"], pair);
        serves(&["fragment 700", "mssfix 0", "compress"], pair);
    }
}

#[test]
fn packets_of_the_older_format_are_cut() {
    let cipher = "data-ciphers AES-256-CBC";
    for pair in PAIRS {
        serves(&["fragment 500", "mssfix 0", cipher], pair);
    }
}
