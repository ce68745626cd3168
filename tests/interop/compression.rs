//! Compression lines, as a third of all servers has them: framed as they say, never compressed.

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::inner_networks::with_files;
use crate::network::LAN_V4;
use crate::outgoing::{STOCK, connect};
use crate::server::{Server, Site};
use crate::traffic::{ping_with, transfer_both_ways};

/// A client connects, and packets of all kinds go both ways.
fn assert_serves(site: &Site, client: &Client) {
    client.assert_reaches_all(site);
    let whole = ["-M", "do", "-s", "1472"];
    ping_with(client.namespace(site), LAN_V4, 5, &whole).assert_all_received();
    transfer_both_ways(client.namespace(site), &site.topology.lan, LAN_V4);
}

/// A server with these lines, and a client with those; the last push that the client got.
fn connected(server: &[&str], client: &[&str]) -> String {
    let site = Site::new(1);
    let config = server
        .iter()
        .fold(site.server_config(), |config, line| config.line(*line));
    let _server = Server::start(&site, &config);
    let config = ClientConfig::new(&site, 0, "alice");
    let config = client
        .iter()
        .fold(config, |config, line| config.line(*line));
    let client = Client::connect(&site, &config);
    assert_serves(&site, &client);
    client.process.wait_for("PUSH_REPLY")
}

#[test]
fn comp_lzo_no() {
    connected(&["comp-lzo no"], &["comp-lzo no"]);
    connected(
        &["comp-lzo no", "push \"comp-lzo no\""],
        &["allow-compression asym"],
    );
}

/// The client compresses as soon as it may, and is told not to.
#[test]
fn comp_lzo_adaptive() {
    connected(
        &["comp-lzo adaptive", "push \"comp-lzo no\""],
        &["comp-lzo adaptive", "allow-compression yes"],
    );
}

#[test]
fn compress_stub() {
    connected(&["compress"], &["compress"]);
    connected(&["compress stub-v2"], &["compress stub-v2"]);
    connected(&["push \"compress stub-v2\""], &[]);
}

/// The client compresses what it sends.
#[test]
fn compress_lz4() {
    for algorithm in ["lz4", "lz4-v2"] {
        let line = format!("compress {algorithm}");
        connected(&[&line], &[&line, "allow-compression yes"]);
    }
}

/// The client compresses what it sends, whatever it is told.
#[test]
fn a_client_may_compress_by_lzo() {
    for own in ["comp-lzo yes", "compress lzo"] {
        let site = Site::new(1);
        let server = Server::start(&site, &site.server_config().line("comp-lzo"));
        let config = ClientConfig::new(&site, 0, "alice")
            .line(own)
            .line("allow-compression yes")
            .line("pull-filter ignore comp")
            .line("verb 4");
        let client = Client::connect(&site, &config);
        let repetitive = ["-s", "1400", "-p", "2a"];
        ping_with(client.namespace(&site), LAN_V4, 50, &repetitive).assert_all_received();
        client.process.signal(Signal::USR2);
        // It says what compressing came to: less than before.
        let sizes = ["pre-compress bytes,", "post-compress bytes,"].map(|name| {
            let line = client.process.wait_for(name);
            let number = line.split_once(name).unwrap().1.trim().parse::<u64>();
            number.unwrap()
        });
        assert!(sizes[1] < sizes[0] / 2, "{own}: {sizes:?}");
        assert_serves(&site, &client);
        assert_eq!(server.process.count("Bad "), 0, "{own}");
    }
}

#[test]
fn compress_migrate() {
    let stub = connected(&["compress migrate"], &["comp-lzo no"]);
    assert!(
        stub.contains(",compress stub-v2,") || stub.contains(",compress stub-v2'"),
        "{stub}"
    );
    let none = connected(&["compress migrate"], &[]);
    assert!(!none.contains("comp"), "{none}");
}

/// ringway as the client of a stock server with these lines.
fn dialed(server: &[&str], client: &[&str]) {
    let site = Site::new(1);
    let config = server
        .iter()
        .fold(site.server_config(), |config, line| config.line(*line));
    let _server = Server::start_program(&site, &config, STOCK);
    let config = ClientConfig::new(&site, 0, "alice");
    let config = client
        .iter()
        .fold(config, |config, line| config.line(*line));
    let client = connect(&site, &config);
    assert_serves(&site, &client);
}

#[test]
fn a_client_frames_as_its_own_lines_say() {
    dialed(&["comp-lzo no"], &["comp-lzo no"]);
    dialed(&["compress"], &["compress stub"]);
    dialed(&["compress stub-v2"], &["compress stub-v2"]);
}

#[test]
fn a_client_frames_as_the_server_says() {
    dialed(&["comp-lzo no", "push \"comp-lzo no\""], &[]);
    dialed(&["compress migrate"], &["comp-lzo no"]);
    dialed(
        &["compress stub-v2", "push \"compress stub-v2\""],
        &["comp-lzo"],
    );
}

/// The server compresses what it sends.
#[test]
fn a_client_opens_what_a_server_compresses() {
    for algorithm in ["lz4", "lz4-v2", "lzo"] {
        let line = format!("compress {algorithm}");
        dialed(&[&line, "allow-compression yes"], &[&line]);
    }
}

/// A file of its own has a client framed in another way than others.
#[test]
fn one_client_frames_and_others_do_not() {
    let site = Site::new(2);
    let lines = "comp-lzo no\npush \"comp-lzo no\"\n";
    let config = with_files(&site, site.server_config());
    site.topology.write("ccd/alice", lines);
    let _server = Server::start(&site, &config);
    for (index, name) in [(0, "alice"), (1, "bob")] {
        let client = Client::connect(&site, &ClientConfig::new(&site, index, name));
        assert_serves(&site, &client);
        let told = client.process.wait_for("PUSH_REPLY");
        assert_eq!(told.contains("comp-lzo no"), name == "alice", "{told}");
    }
}
