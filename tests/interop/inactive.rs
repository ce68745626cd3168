//! `inactive`: who sends nothing but pings is ended, and who does something is not; and the other times of a
//! session, for all and for single clients.

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::inner_networks::with_files;
use crate::network::TUNNEL_V4;
use crate::server::{READY, RINGWAY, Server, Site};
use crate::traffic::{PingStream, ping};

#[test]
fn who_does_nothing_is_ended() {
    let site = Site::new(2);
    let config = site.server_config().without("keepalive");
    let config = config.line("keepalive 1 10").line("inactive 4 300");
    let server = Server::start(&site, &config);
    let busy = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let stream = PingStream::start(busy.namespace(&site), TUNNEL_V4);
    let idle = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    let line = server
        .process
        .wait_for("Inactivity timeout (--inactive), exiting");
    assert!(line.contains("bob/"), "{line}");
    server
        .process
        .wait_for("SIGTERM[soft,inactive] received, client-instance exiting");
    // It is told nothing, notices, and comes again.
    idle.process.wait_for_count(READY, 2);
    stream.stop_and_assert_all_received();
    assert_eq!(busy.process.count(READY), 1);
}

/// Told by its own file, and by the server.
#[test]
fn a_client_that_does_nothing_ends() {
    let site = Site::new(2);
    let pushed = "push \"inactive 3 1000000\"";
    for (server_line, client_line) in [("verb 3", "inactive 3 1000000"), (pushed, "verb 3")] {
        let _server = Server::start(&site, &site.server_config().line(server_line));
        for (index, program) in ["openvpn", RINGWAY].into_iter().enumerate() {
            let config = ClientConfig::new(&site, index, "alice").line(client_line);
            let mut client = Client::spawn_program(&site, &config, program);
            client.process.wait_for(READY);
            client
                .process
                .wait_for("Inactivity timeout (--inactive), exiting");
            client
                .process
                .wait_for("SIGTERM[soft,inactive] received, process exiting");
            assert_eq!(client.process.wait_exit().code(), Some(0), "{program}");
        }
    }
}

#[test]
fn a_client_that_is_silent_is_ended_with_ping_exit() {
    let site = Site::new(1);
    let config = site.server_config().without("keepalive");
    let server = Server::start(&site, &config.line("ping-exit 4"));
    let config = ClientConfig::new(&site, 0, "alice").line("ping 1");
    let client = Client::connect(&site, &config);
    client.process.signal(Signal::KILL);
    let line = server
        .process
        .wait_for("[alice] Inactivity timeout (--ping-exit), exiting");
    assert!(line.contains("alice/"), "{line}");
    server
        .process
        .wait_for("SIGTERM[soft,ping-exit] received, client-instance exiting");
}

/// What a client's file says of its times counts in place of what the server's says: for alice they are
/// shorter, for bob there are none.
#[test]
fn a_file_has_the_times_of_its_client() {
    let site = Site::new(3);
    let config = with_files(&site, site.server_config()).line("session-timeout 6");
    site.topology.write("ccd/alice", "session-timeout 2\n");
    site.topology.write("ccd/bob", "session-timeout 0\n");
    site.topology
        .write("ccd/carol", "session-timeout 0\ninactive 3 1000000\n");
    let server = Server::start(&site, &config);
    let clients = ["alice", "bob", "carol"].into_iter().enumerate();
    let clients: Vec<Client> = clients
        .map(|(index, name)| {
            let config = ClientConfig::new(&site, index, name).line("ping 1");
            let client = Client::spawn(&site, &config.line("ping-restart 600"));
            client.process.wait_for(READY);
            client
        })
        .collect();
    let line = server.process.wait_for("Session timeout, exiting");
    assert!(line.contains("alice/"), "{line}");
    let line = server
        .process
        .wait_for("Inactivity timeout (--inactive), exiting");
    assert!(line.contains("carol/"), "{line}");
    // By now bob's would be over, too, if it were that of all.
    clients[0].process.signal(Signal::USR1);
    server.process.wait_for_count("Session timeout, exiting", 2);
    clients[0].process.signal(Signal::USR1);
    server.process.wait_for_count("Session timeout, exiting", 3);
    let ended = server.process.lines();
    let mut ended = ended.iter().filter(|line| line.contains("exiting"));
    assert!(ended.all(|line| !line.contains("bob/")));
    ping(clients[1].namespace(&site), TUNNEL_V4, 5).assert_all_received();
}
