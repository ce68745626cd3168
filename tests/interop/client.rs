//! The real openvpn client: its configuration file and its process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::network::{LAN_V4, LAN_V6, Namespace, TUNNEL_V4, TUNNEL_V6};
use crate::pki::{Identity, Kind};
use crate::process::{Process, eventually};
use crate::server::{Implementation, PORT, READY, Site, address, offload_lines, shards};
use crate::traffic::ping;

/// The lines of a client's configuration file, all certificates and keys inline.
#[derive(Clone)]
pub(crate) struct ClientConfig {
    index: usize,
    lines: Vec<String>,
}

impl ClientConfig {
    /// Client number `index` with a fresh certificate for `name`.
    pub(crate) fn new(site: &Site, index: usize, name: &str) -> Self {
        Self::with_identity(site, index, &site.authority.client(name, Kind::Ec))
    }

    /// Client number `index` with this certificate.
    pub(crate) fn with_identity(site: &Site, index: usize, identity: &Identity) -> Self {
        let text = "client\ndev tun\nnobind\nremote-cert-tls server\nconnect-retry 1 2\nverb 3\n\
                    persist-key\npersist-tun";
        let config = Self {
            index,
            // The stock client passes these over.
            lines: text
                .lines()
                .map(str::to_owned)
                .chain(offload_lines())
                .collect(),
        };
        config
            .remote(address(index), PORT)
            .block("ca", &site.authority.pem())
            .block("cert", &identity.certificate)
            .block("key", &identity.key)
    }

    /// Connects to this address instead.
    pub(crate) fn remote(self, server: IpAddr, port: u16) -> Self {
        let family = if server.is_ipv4() { "udp4" } else { "udp6" };
        self.without("remote")
            .line(format!("remote {server} {port} {family}"))
    }

    /// Connects over TCP.
    pub(crate) fn over_tcp(mut self) -> Self {
        for line in self
            .lines
            .iter_mut()
            .filter(|line| line.starts_with("remote "))
        {
            *line = line.replace(" udp", " tcp");
        }
        self
    }

    /// Writes lines as 2.3 reads them: transports without a family, and no pause between tries over
    /// UDP.
    pub(crate) fn in_words_of_2_3(self) -> Self {
        let mut config = self.without("connect-retry");
        let remotes = config.lines.iter_mut();
        for remote in remotes.filter(|line| line.starts_with("remote ")) {
            *remote = remote.replace(" udp4", " udp").replace(" tcp4", " tcp");
        }
        config
    }

    /// Adds a line.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Adds an inline block.
    pub(crate) fn block(self, name: &str, content: &str) -> Self {
        self.line(format!("<{name}>\n{}\n</{name}>", content.trim_end()))
    }

    /// Writes the file, with this ending of its name.
    fn write(&self, site: &Site, ending: &str) -> PathBuf {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        let name = format!("client{}.{ending}", self.index);
        site.topology.write(&name, text)
    }

    /// Takes an inline block away.
    pub(crate) fn without_block(mut self, name: &str) -> Self {
        self.lines
            .retain(|line| !line.starts_with(&format!("<{name}>")));
        self
    }

    /// Takes the lines of one directive away.
    pub(crate) fn without(mut self, directive: &str) -> Self {
        self.lines
            .retain(|line| line.split_whitespace().next() != Some(directive));
        self
    }
}

/// A running client.
pub(crate) struct Client {
    /// Its process and log.
    pub(crate) process: Process,
    index: usize,
}

impl Client {
    /// Starts the client and waits until it is connected.
    pub(crate) fn connect(site: &Site, config: &ClientConfig) -> Self {
        let client = Self::spawn(site, config);
        client.wait_connected(site);
        client
    }

    /// Waits until the client says that it is connected; from then on no packet may be lost.
    pub(crate) fn wait_connected(&self, site: &Site) {
        self.process.wait_for_any(&[READY, READY_3]);
        for namespace in [&site.topology.server, self.namespace(site)] {
            namespace.wait_for_addresses();
        }
        if Implementation::chosen() == Implementation::Stock {
            // The stock daemon begins to carry packets up to a second later, and may lose one more
            // when it has come to that.
            eventually("pings without loss through the tunnel", || {
                (ping(self.namespace(site), TUNNEL_V4, 30).received == 30).then_some(())
            });
        }
    }

    /// Starts the client without waiting for anything.
    pub(crate) fn spawn(site: &Site, config: &ClientConfig) -> Self {
        Self::spawn_program(site, config, "openvpn")
    }

    /// Starts another client program than the system's.
    pub(crate) fn spawn_program(site: &Site, config: &ClientConfig, program: &str) -> Self {
        let path = config.write(site, "conf");
        Self::spawn_file(site, config.index, program, &path)
    }

    /// Starts the command line client of OpenVPN 3.
    pub(crate) fn spawn_3(site: &Site, config: &ClientConfig, program: &str) -> Self {
        let path = config.write(site, "ovpn").display().to_string();
        let namespace = site.topology.clients[config.index].name();
        let name = format!("client {}", config.index);
        Self {
            process: Process::spawn(&name, namespace, program, &[&path]),
            index: config.index,
        }
    }

    /// Starts client number `index` with a configuration file that stands somewhere.
    pub(crate) fn spawn_file(site: &Site, index: usize, program: &str, path: &Path) -> Self {
        let namespace = site.topology.clients[index].name();
        let arguments = ["--config", &path.display().to_string()];
        let name = format!("client {index}");
        Self {
            process: Process::spawn(&name, namespace, program, &arguments),
            index,
        }
    }

    /// The client's namespace.
    pub(crate) fn namespace<'a>(&self, site: &'a Site) -> &'a Namespace {
        &site.topology.clients[self.index]
    }

    /// The shard that has the session: peer ids lead to it. The stock daemon gives them in a row.
    pub(crate) fn shard(&self) -> u32 {
        let lines = self.process.lines();
        let pushed = lines.iter().rfind(|line| line.contains("PUSH_REPLY"));
        let words = pushed.and_then(|line| line.split_once(",peer-id "));
        let digits = words.and_then(|(_, rest)| rest.split([',', '\'']).next());
        let peer_id: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap();
        peer_id % shards()
    }

    /// Has the client reconnect until its new session is on another shard than the one before; with
    /// a server that has only one, once.
    pub(crate) fn reconnect_elsewhere(&self, site: &Site) {
        let (connections, before) = (self.process.count(READY), self.shard());
        let elsewhere = (1..=RECONNECTS).any(|round| {
            self.process.signal(Signal::USR1);
            self.process.wait_for_count(READY, connections + round);
            self.wait_connected(site);
            shards() == 1
                || Implementation::chosen() == Implementation::Stock
                || self.shard() != before
        });
        assert!(elsewhere, "{RECONNECTS} sessions on shard {before}");
    }

    /// Takes the client's first address away: from now on it sends from its second one.
    pub(crate) fn move_to_second_address(&self, site: &Site) {
        let (namespace, index) = (self.namespace(site), self.index);
        let [first, second] = [2, 3].map(|last| format!("10.80.{index}.{last}/24"));
        namespace.ip(&["address", "del", &first, "dev", "out"]);
        // Without this it would never be chosen as a source.
        namespace.ip(&["address", "replace", &second, "dev", "out"]);
    }

    /// The tunnel address that the server gave.
    pub(crate) fn tunnel_v4(&self, site: &Site) -> Ipv4Addr {
        let addresses = self.namespace(site).addresses_of("tun0");
        let mut v4 = addresses.iter().filter_map(|it| match it {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        v4.next()
            .unwrap_or_else(|| panic!("no IPv4 address on tun0: {addresses:?}"))
    }

    /// The IPv6 tunnel address that the server gave.
    pub(crate) fn tunnel_v6(&self, site: &Site) -> Ipv6Addr {
        let addresses = self.namespace(site).addresses_of("tun0");
        let mut v6 = addresses.iter().filter_map(|it| match it {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        });
        v6.next()
            .unwrap_or_else(|| panic!("no IPv6 address on tun0: {addresses:?}"))
    }

    /// Asserts that server and LAN host answer each of some pings over IPv4 and IPv6, and that the
    /// LAN host reaches the client.
    pub(crate) fn assert_reaches_all(&self, site: &Site) {
        for target in [TUNNEL_V4, TUNNEL_V6, LAN_V4, LAN_V6] {
            ping(self.namespace(site), target, 3).assert_all_received();
        }
        let own = [
            IpAddr::V4(self.tunnel_v4(site)),
            IpAddr::V6(self.tunnel_v6(site)),
        ];
        for target in own {
            ping(&site.topology.lan, target, 3).assert_all_received();
        }
    }

    /// Waits until pings pass (again), then asserts that they do so without loss.
    pub(crate) fn wait_until_reaching(&self, site: &Site) {
        let namespace = self.namespace(site);
        eventually("a first ping through the tunnel", || {
            (ping(namespace, LAN_V4, 1).received == 1).then_some(())
        });
        self.assert_reaches_all(site);
    }
}

/// What the command line client of OpenVPN 3 says when it is connected.
const READY_3: &str = "EVENT: CONNECTED";

/// Far more than chance needs to give another shard.
const RECONNECTS: usize = 30;
