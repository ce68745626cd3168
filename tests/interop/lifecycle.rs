//! How sessions end and begin again: goodbyes, crashes, silence, replacement, bounds.

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::pki::Kind;
use crate::server::{READY, Server, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

#[test]
fn ten_megabytes_both_ways_over_ipv4_and_ipv6() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    for target in [LAN_V4, LAN_V6] {
        transfer_both_ways(client.namespace(&site), &site.topology.lan, target);
    }
}

#[test]
fn server_that_ends_tells_its_clients() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new(1);
        let config = site.server_config().line("explicit-exit-notify 1");
        let mut server = Server::start(&site, &config);
        let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
        client.assert_reaches_all(&site);
        server.process.signal(signal);
        assert_eq!(
            server.process.wait_exit().code(),
            Some(0),
            "exit code after {signal:?}"
        );
        client
            .process
            .wait_for("Connection reset command was pushed by server");
        let name = if signal == Signal::TERM {
            "SIGTERM"
        } else {
            "SIGINT"
        };
        server
            .process
            .wait_for(&format!("{name}[hard,] received, process exiting"));
        let links = site.topology.server.ip(&["link", "show"]);
        assert!(
            !links.contains("tun0"),
            "the device is left behind: {links}"
        );
    }
}

#[test]
fn client_that_ends_tells_the_server() {
    let site = Site::new(1);
    let server = Server::start(&site, &site.server_config());
    let config = ClientConfig::new(&site, 0, "alice").line("explicit-exit-notify 1");
    let mut client = Client::connect(&site, &config);
    client.assert_reaches_all(&site);
    client.process.signal(Signal::TERM);
    assert_eq!(client.process.wait_exit().code(), Some(0));
    // 2.6 says it on the control channel; the session stays a moment to acknowledge.
    server
        .process
        .wait_for_any(&["[soft,delayed-exit]", "[soft,remote-exit]"]);
}

#[test]
fn server_killed_and_restarted() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without("keepalive")
        .line("keepalive 1 4");
    let mut server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    let address = client.tunnel_v4(&site);
    server.process.kill();
    drop(server);
    let _again = Server::start(&site, &config);
    client.process.wait_for_count(READY, 2);
    client.wait_until_reaching(&site);
    assert_eq!(
        client.tunnel_v4(&site),
        address,
        "the first client of an empty pool"
    );
}

#[test]
fn silent_client_is_given_up() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without("keepalive")
        .line("keepalive 1 3");
    let server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    client.process.signal(Signal::STOP);
    let line = server
        .process
        .wait_for("Inactivity timeout (--ping-restart)");
    assert!(line.contains("alice/"), "the line names the client: {line}");
    client.process.signal(Signal::CONT);
    // It wakes up, finds itself forgotten, and connects anew.
    client.process.wait_for_count(READY, 2);
    client.wait_until_reaching(&site);
}

/// A client whose machine died: its kernel, or nobody, answers what is sent to it. The others
/// notice nothing.
#[test]
fn vanished_client_does_no_harm_to_others() {
    let site = Site::new(2);
    let _server = Server::start(&site, &site.server_config());
    let [mut vanished, other] = [0, 1].map(|index| {
        Client::connect(
            &site,
            &ClientConfig::new(&site, index, &format!("client-{index}")),
        )
    });
    let address = vanished.tunnel_v4(&site).into();
    vanished.process.kill();
    let stream = PingStream::start(other.namespace(&site), LAN_V4);
    // Its kernel refuses each datagram first, then nobody is there at all.
    assert_eq!(ping(&site.topology.lan, address, 20).received, 0);
    vanished
        .namespace(&site)
        .ip(&["link", "set", "out", "down"]);
    assert_eq!(ping(&site.topology.lan, address, 20).received, 0);
    stream.stop_and_assert_all_received();
    other.assert_reaches_all(&site);
}

/// Pings both ways over an idle tunnel keep it up far beyond the limit of silence.
#[test]
fn keepalive_keeps_an_idle_tunnel() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without("keepalive")
        .line("keepalive 1 4");
    let server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert_eq!(client.process.count(READY), 1);
    assert_eq!(client.process.count("Inactivity timeout"), 0);
    assert_eq!(server.process.count("Inactivity timeout"), 0);
    client.assert_reaches_all(&site);
}

/// The machine with the certificate crashed, and comes back from elsewhere: it has its address
/// again at once, and what is sent to that address reaches the new session.
#[test]
fn trap_21_same_certificate_replaces_the_old_session_and_keeps_its_address() {
    let site = Site::new(3);
    let _server = Server::start(&site, &site.server_config());
    let identity = site.authority.client("alice", Kind::Ec);
    let other = Client::connect(&site, &ClientConfig::new(&site, 2, "bob"));
    let mut first = Client::connect(&site, &ClientConfig::with_identity(&site, 0, &identity));
    first.assert_reaches_all(&site);
    let addresses = (first.tunnel_v4(&site), first.tunnel_v6(&site));
    first.process.kill();

    let second = Client::connect(&site, &ClientConfig::with_identity(&site, 1, &identity));
    assert_eq!(
        (second.tunnel_v4(&site), second.tunnel_v6(&site)),
        addresses
    );
    second.assert_reaches_all(&site);
    other.assert_reaches_all(&site);
}

#[test]
fn client_that_restarts_keeps_its_address() {
    let site = Site::new(2);
    let _server = Server::start(&site, &site.server_config());
    let _other = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let addresses = (client.tunnel_v4(&site), client.tunnel_v6(&site));
    client.process.signal(Signal::USR1);
    client.process.wait_for_count(READY, 2);
    assert_eq!(
        (client.tunnel_v4(&site), client.tunnel_v6(&site)),
        addresses
    );
    client.assert_reaches_all(&site);
}

#[test]
fn duplicate_cn_gives_each_its_own_address() {
    let site = Site::new(2);
    let _server = Server::start(&site, &site.server_config().line("duplicate-cn"));
    let identity = site.authority.client("shared", Kind::Ec);
    let clients = [0, 1]
        .map(|index| Client::connect(&site, &ClientConfig::with_identity(&site, index, &identity)));
    let [first, second] = &clients;
    assert_ne!(first.tunnel_v4(&site), second.tunnel_v4(&site));
    assert_ne!(first.tunnel_v6(&site), second.tunnel_v6(&site));
    for client in &clients {
        client.assert_reaches_all(&site);
    }
}

#[test]
fn max_clients_is_a_bound_and_a_place_is_free_again() {
    let site = Site::new(2);
    let server = Server::start(&site, &site.server_config().line("max-clients 1"));
    let config = ClientConfig::new(&site, 0, "alice").line("explicit-exit-notify 1");
    let first = Client::connect(&site, &config);
    // A short window, so that it asks again soon after it was refused.
    let config = ClientConfig::new(&site, 1, "bob").line("hand-window 10");
    let second = Client::spawn(&site, &config);
    server.process.wait_for("maximum number of clients");
    assert_eq!(second.process.count(READY), 0);
    first.assert_reaches_all(&site);

    first.process.signal(Signal::TERM);
    second.wait_connected(&site);
    second.assert_reaches_all(&site);
}
