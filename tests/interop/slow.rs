//! A client behind a slow line, to which much more is sent than the line carries: others do not notice.

use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::flood::Flood;
use crate::network::{LAN_V4, LAN_V6, TUNNEL_V4};
use crate::process::eventually;
use crate::server::{Implementation, Server, ServerConfig, Site, offload_lines};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// Two clients of one shard, so that all goes through one socket. The line of the first is slow where it
/// leaves the server: what its queue there has no room for is lost in the kernel, as on any line.
#[test]
fn others_lose_nothing_beside_a_slow_line() {
    // With the stock daemon's buffer the line never has more than it can hold: everybody waits for it.
    if !Implementation::is_ringway("a slow line") {
        return;
    }
    let site = Site::new(2);
    let config = site.server_config().without("setenv");
    let config = offload_lines().fold(config, ServerConfig::line);
    let config = config.line("setenv opt ringway-shards 1");
    let _server = Server::start(&site, &config);
    let [slow, quick] = [0, 1].map(|index| {
        let config = ClientConfig::new(&site, index, &format!("client-{index}"));
        Client::connect(&site, &config)
    });
    let line = |arguments: &[&str]| site.topology.server.run("tc", arguments);
    let add = ["qdisc", "add", "dev", "c0", "root", "tbf"];
    let rate = ["rate", "1mbit", "burst", "64kb", "limit", "256kb"];
    line(&[&add[..], &rate[..]].concat());
    let target = slow.tunnel_v4(&site).into();
    let flood = Flood::start(&site.topology.lan, target);
    eventually("losses of the slow line", || {
        let text = line(&["-s", "qdisc", "show", "dev", "c0"]);
        let (_, dropped) = text.split_once("(dropped ")?;
        let count: u32 = dropped.split(',').next()?.parse().ok()?;
        (count > 1_000).then_some(())
    });

    // A transfer fills queues of its own client, and so costs that one a ping now and then.
    transfer_both_ways(quick.namespace(&site), &site.topology.lan, LAN_V4);
    let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(quick.namespace(&site), to));
    std::thread::sleep(LONG_ENOUGH);
    for stream in streams {
        stream.stop_and_assert_all_received();
    }
    // Now and then one of the flood is lost for a ping: the client is still served.
    eventually("a ping over the slow line", || {
        (ping(slow.namespace(&site), TUNNEL_V4, 1).received == 1).then_some(())
    });
    drop(flood);
    slow.wait_until_reaching(&site);
}

/// For a hundred pings of either family.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
