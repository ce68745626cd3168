//! `inactive`: who sends nothing but pings is ended, and who does something is not.

use crate::client::{Client, ClientConfig};
use crate::network::TUNNEL_V4;
use crate::server::{READY, Server, Site};
use crate::traffic::PingStream;

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
