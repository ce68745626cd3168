//! Many packets at once: the server reads, writes and sends them so where it may, and where it may
//! not the same bytes arrive.

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::report::Report;
use crate::server::{Implementation, OFFLOADS, Server, Site, offloads_off};
use crate::traffic::transfer_both_ways;

/// Packets, and the system calls that carried them, at the server during a transfer through a
/// stock client.
struct Carried {
    /// (packets, reads) of the tun device.
    read: (u64, u64),
    /// (packets, writes) of the tun device.
    written: (u64, u64),
    /// (datagrams, sends).
    sent: (u64, u64),
    /// (datagrams, receives).
    received: (u64, u64),
}

impl Carried {
    /// What a server carries that does without these offloads.
    fn without(offloads: &[&str]) -> Self {
        let site = Site::new(1);
        let control = site.topology.directory().join("control");
        let lines = offloads
            .iter()
            .map(|name| format!("setenv opt ringway-offload {name} off"))
            .chain([format!("setenv opt ringway-control {}", control.display())]);
        let config = lines.fold(site.server_config(), |config, line| config.line(line));
        let _server = Server::start(&site, &config);
        let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
        transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
        let report = Report::ask(&control);
        let pair =
            |[packets, calls]: [&str; 2]| (report.sum("ring", packets), report.sum("ring", calls));
        Self {
            read: pair(["tun_packets_read", "tun_reads"]),
            written: pair(["tun_packets_written", "tun_writes"]),
            sent: pair(["datagrams_sent", "sends"]),
            received: pair(["datagrams_received", "receives"]),
        }
    }
}

#[test]
fn a_transfer_goes_through_in_super_packets() {
    if !Implementation::is_ringway("super-packets") || !offloads_off().is_empty() {
        return;
    }
    let carried = Carried::without(&[]);
    for (what, (packets, calls)) in [
        ("tun reads", carried.read),
        ("tun writes", carried.written),
        ("sends", carried.sent),
    ] {
        assert!(
            packets > calls && calls > 0,
            "{packets} packets in {calls} {what}"
        );
    }
}

#[test]
fn without_offloads_a_transfer_goes_through_packet_by_packet() {
    if !Implementation::is_ringway("single packets") {
        return;
    }
    let carried = Carried::without(&OFFLOADS);
    for (what, (packets, calls)) in [
        ("tun reads", carried.read),
        ("tun writes", carried.written),
        ("sends", carried.sent),
        ("receives", carried.received),
    ] {
        assert!(
            packets == calls && calls > 5_000,
            "{packets} packets in {calls} {what}"
        );
    }
}

/// `scripts/test` runs these tests without each of the offloads.
#[test]
fn each_offload_is_done_without() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test");
    let script = std::fs::read_to_string(script).unwrap();
    let mut lines = script.lines().map(str::trim);
    let passes = lines.find_map(|line| line.strip_prefix("for offloads in ")?.strip_suffix("; do"));
    let mut names: Vec<_> = passes.unwrap().split([' ', ',']).collect();
    names.sort_unstable();
    let mut all = OFFLOADS;
    all.sort_unstable();
    assert_eq!(names, all);
}
