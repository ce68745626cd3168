//! `block-ipv6` of a server: its clients' IPv6 packets go nowhere, and who sends one hears so at once.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::outgoing::connect;
use crate::server::{Implementation, Server, ServerConfig, Site};
use crate::traffic::{ping, ping_with};

/// With IPv6 in the tunnel, and without: then a client's addresses are its own affair, as is what it sends there.
#[test]
fn a_client_is_told_that_its_ipv6_goes_nowhere() {
    // The stock daemon's page says the same, and its server lets such packets pass.
    if !Implementation::is_ringway("blocked") {
        return;
    }
    let with = |site: &Site| site.server_config().line("block-ipv6");
    let without = |site: &Site| {
        let config = site.server_config().without("server-ipv6");
        let config: ServerConfig = config.without_pushed_routes().line("block-ipv6");
        config
            .line("push \"route 10.90.0.0 255.255.255.0\"")
            .line("push \"ifconfig-ipv6 fd77::2/64 fd77::1\"")
            .line("push \"route-ipv6 fd90::/64\"")
    };
    for (config, from) in [
        (&with as &dyn Fn(&Site) -> ServerConfig, "fd08::1"),
        (&without, "fe80::7"),
    ] {
        let site = Site::new(2);
        let _server = Server::start(&site, &config(&site));
        let stock = Client::spawn(&site, &ClientConfig::new(&site, 0, "alice"));
        stock.process.wait_for(crate::server::READY);
        let ours = connect(&site, &ClientConfig::new(&site, 1, "bob"));
        for client in [stock, ours] {
            let namespace = client.namespace(&site);
            namespace.wait_for_addresses();
            ping(namespace, LAN_V4, 3).assert_all_received();
            let report = ping_with(namespace, LAN_V6, 2, &[]);
            assert_eq!(report.received, 0);
            report.assert_said("Destination unreachable: No route");
            report.assert_said(&format!("From {from}"));
        }
    }
}
