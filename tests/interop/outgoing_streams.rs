//! ringway as a client over TCP: against the real openvpn server, and against its own.

use crate::client::ClientConfig;
use crate::network::{LAN_V4, server_v4, server_v6};
use crate::outgoing::{SERVERS, STOCK, WRAPPINGS, connect, stop, traces, wrapped};
use crate::process::eventually;
use crate::server::{PORT, READY, RINGWAY, Server, Site};
use crate::streams::on_tcp;
use crate::traffic::{PingStream, ping, transfer_both_ways};

fn is_reached_and_left(program: &str, wrapping: &str) {
    let site = Site::new(1);
    let server = on_tcp(site.server_config());
    let client = ClientConfig::new(&site, 0, "alice").over_tcp();
    let (server, client) = wrapped(&site, server, client, wrapping);
    let server = Server::start_program(&site, &server, program);
    let before = traces(&site.topology.clients[0]);
    let mut client = connect(&site, &client.line("explicit-exit-notify 1"));
    for said in [
        "it is ignored for --proto tcp",
        "Attempting to establish TCP connection with [AF_INET]",
        "TCP connection established with [AF_INET]",
        "TCPv4_CLIENT link local: (not bound)",
        "TCPv4_CLIENT link remote: [AF_INET]",
    ] {
        client.process.wait_for(said);
    }
    client.assert_reaches_all(&site);
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
    stop(&mut client);
    server.process.wait_for("Connection reset, restarting [");
    // The options of both sides fit: those of a client over UDP would not.
    assert_eq!(server.process.count("used inconsistently"), 0);
    assert_eq!(
        traces(&site.topology.clients[0]),
        before,
        "{program} {wrapping}"
    );
}

#[test]
fn a_stock_server_is_reached_over_tcp_with_each_wrapping_and_nothing_is_left_behind() {
    for wrapping in WRAPPINGS {
        is_reached_and_left(STOCK, wrapping);
    }
}

#[test]
fn our_server_is_reached_over_tcp_with_each_wrapping_and_nothing_is_left_behind() {
    for wrapping in WRAPPINGS {
        is_reached_and_left(RINGWAY, wrapping);
    }
}

#[test]
fn keys_are_renegotiated_over_tcp_and_ipv6_under_traffic() {
    for program in SERVERS {
        let site = Site::new(1);
        let config = on_tcp(site.server_config().line("reneg-sec 6"));
        let _server = Server::start_program(&site, &config, program);
        let config = ClientConfig::new(&site, 0, "alice").remote(server_v6(0), PORT);
        let config = config.over_tcp().line("reneg-sec 5");
        let mut client = connect(&site, &config);
        client
            .process
            .wait_for("TCPv6_CLIENT link remote: [AF_INET6]");
        let stream = PingStream::start(client.namespace(&site), LAN_V4);
        client.process.wait_for_count("Control Channel: TLSv1.", 3);
        stream.stop_and_assert_all_received();
        assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
        stop(&mut client);
    }
}

/// From TCP where nobody listens to UDP, and, when that is gone, back to where somebody listens over TCP.
#[test]
fn remotes_over_tcp_and_udp_take_turns() {
    let site = Site::new(1);
    let impatient = site
        .server_config()
        .without("keepalive")
        .line("keepalive 1 4");
    let mut over_udp = Server::start_program(&site, &impatient, STOCK);
    let config = ClientConfig::new(&site, 0, "alice")
        .without("remote")
        .line(format!(
            "connect-timeout 4\nconnect-retry 1 1\n\
             <connection>\nremote {0} {PORT}\nproto tcp-client\n</connection>\n\
             <connection>\nremote {0} {PORT}\nproto udp\n</connection>",
            server_v4(0)
        ));
    let mut client = connect(&site, &config);
    client
        .process
        .wait_for("TCP: connect to [AF_INET]10.80.0.1:1194 failed: Connection refused");
    client.process.wait_for("UDPv4 link remote: [AF_INET]");
    client.assert_reaches_all(&site);
    over_udp.process.kill();
    drop(over_udp);
    let mut over_tcp = Server::start_program(&site, &on_tcp(site.server_config()), STOCK);
    client.process.wait_for_count(READY, 2);
    client
        .process
        .wait_for("TCP connection established with [AF_INET]");
    eventually("pings over TCP", || {
        (ping(client.namespace(&site), LAN_V4, 3).received == 3).then_some(())
    });
    // Its end is seen at once, without a silence.
    let silences = client.process.count("Inactivity timeout");
    over_tcp.process.kill();
    client.process.wait_for("Connection reset, restarting");
    client
        .process
        .wait_for("SIGUSR1[soft,connection-reset] received, process restarting");
    assert_eq!(client.process.count("Inactivity timeout"), silences);
    stop(&mut client);
}

/// A server that takes the connection and says nothing, and an address where nobody answers at all.
#[test]
fn a_remote_that_is_silent_over_tcp_is_given_up_in_time() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &site.server_config(), STOCK);
    let silent = site.topology.server.spawn(|| {
        let listener = std::net::TcpListener::bind((server_v4(0), 1195)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        // Until the client goes.
        std::io::copy(&mut &stream, &mut std::io::sink()).unwrap();
    });
    let config = ClientConfig::new(&site, 0, "alice")
        .without("remote")
        .line(format!(
            "connect-timeout 3\nremote {0} 1195 tcp\nremote 10.80.0.77 1195 tcp\n\
             remote {0} {PORT} udp",
            server_v4(0)
        ));
    let mut client = connect(&site, &config);
    client.process.wait_for("Server poll timeout, restarting");
    silent.join().unwrap();
    client.assert_reaches_all(&site);
    stop(&mut client);
}
