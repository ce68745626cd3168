//! A client behind a slow line, to which much more is sent than the line carries: others do not notice.

use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::flood::Flood;
use crate::network::{LAN_V4, LAN_V6, TUNNEL_V4};
use crate::process::eventually;
use crate::server::{Implementation, Server, ServerConfig, Site, offload_lines};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// Two clients of one shard. The line of the first is slow where it leaves the server: what its queue
/// there has no room for is lost in the kernel, as on any line.
#[test]
fn others_lose_nothing_beside_a_slow_line() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.shape("add", "1mbit", "256kb");
    let flood = scene.flood();
    eventually("losses of the slow line", || {
        let text = scene.queue();
        let (_, dropped) = text.split_once("(dropped ")?;
        let count: u32 = dropped.split(',').next()?.parse().ok()?;
        (count > 1_000).then_some(())
    });
    scene.assert_quick_is_served();
    // Now and then one of the flood is lost for a ping: the client is still served.
    eventually("a ping over the slow line", || {
        let slow = scene.slow.namespace(&scene.site);
        (ping(slow, TUNNEL_V4, 1).received == 1).then_some(())
    });
    drop(flood);
    scene.slow.wait_until_reaching(&scene.site);
}

/// The queue in front of that line has more room than all send buffers together. What waits there counts
/// against the socket that sent it, until nothing more can be sent to that client; to it alone.
#[test]
fn others_lose_nothing_beside_a_slow_line_with_a_long_queue() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.shape("add", "1mbit", "64mb");
    let flood = scene.flood();
    eventually("a send buffer's worth in the queue", || {
        let text = scene.queue();
        let (_, backlog) = text.split_once("backlog ")?;
        let amount = backlog.split_whitespace().next()?;
        let (number, unit) = amount.split_at(amount.find(|it: char| !it.is_ascii_digit())?);
        let number: u32 = number.parse().ok()?;
        let megabytes = match unit {
            "Mb" => number,
            "Kb" => number >> 10,
            _ => 0,
        };
        (megabytes >= 4).then_some(())
    });
    scene.assert_quick_is_served();
    drop(flood);
    scene.shape("change", "1gbit", "64mb");
    scene.slow.wait_until_reaching(&scene.site);
}

/// Two clients of a server with one shard.
struct Scene {
    slow: Client,
    quick: Client,
    _server: Server,
    site: Site,
}

impl Scene {
    /// None with the stock daemon's buffer: no line has more on its way than that holds, and everybody
    /// waits for it.
    fn new() -> Option<Self> {
        if !Implementation::is_ringway("a slow line") {
            return None;
        }
        let site = Site::new(2);
        let config = site.server_config().without("setenv");
        let config = offload_lines().fold(config, ServerConfig::line);
        let config = config.line("setenv opt ringway-shards 1");
        let server = Server::start(&site, &config);
        let [slow, quick] = [0, 1].map(|index| {
            let config = ClientConfig::new(&site, index, &format!("client-{index}"));
            Client::connect(&site, &config)
        });
        Some(Self {
            slow,
            quick,
            _server: server,
            site,
        })
    }

    /// Makes the line to the first client so slow, behind a queue of so many bytes.
    fn shape(&mut self, action: &str, rate: &str, limit: &str) {
        let on = ["qdisc", action, "dev", "c0", "root", "tbf"];
        let rate = ["rate", rate, "burst", "64kb", "limit", limit];
        self.line(&[&on[..], &rate].concat());
    }

    fn queue(&self) -> String {
        self.line(&["-s", "qdisc", "show", "dev", "c0"])
    }

    fn line(&self, arguments: &[&str]) -> String {
        self.site.topology.server.run("tc", arguments)
    }

    /// Much more for the first client than its line carries.
    fn flood(&self) -> Flood {
        let target = self.slow.tunnel_v4(&self.site).into();
        Flood::start(&self.site.topology.lan, target)
    }

    fn assert_quick_is_served(&self) {
        let (quick, lan) = (self.quick.namespace(&self.site), &self.site.topology.lan);
        // A transfer fills queues of its own client, and so costs that one a ping now and then.
        transfer_both_ways(quick, lan, LAN_V4);
        let streams = [LAN_V4, LAN_V6].map(|to| PingStream::start(quick, to));
        std::thread::sleep(LONG_ENOUGH);
        for stream in streams {
            stream.stop_and_assert_all_received();
        }
    }
}

/// For a hundred pings of either family.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
