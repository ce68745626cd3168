//! The server under test: its configuration file and its process.

use std::net::IpAddr;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::network::{Topology, server_v4};
use crate::pki::{Authority, Identity, Kind};
use crate::process::Process;

/// A topology with a PKI: what every test starts from.
pub(crate) struct Site {
    /// Namespaces and directory.
    pub(crate) topology: Topology,
    /// The authority that server and clients trust.
    pub(crate) authority: Authority,
    identity: Identity,
}

impl Site {
    /// A site with room for `clients` clients.
    pub(crate) fn new(clients: usize) -> Self {
        let authority = Authority::new("interop CA");
        let identity = authority.server("vpn-server", Kind::Ec);
        Self {
            topology: Topology::new(clients),
            authority,
            identity,
        }
    }

    /// As [`Self::new`], with a server key of another kind.
    pub(crate) fn with_server_key(clients: usize, kind: Kind) -> Self {
        let authority = Authority::new("interop CA");
        let identity = authority.server("vpn-server", kind);
        Self {
            topology: Topology::new(clients),
            authority,
            identity,
        }
    }

    /// A server configuration that clients of this site can use; tests add and take away lines.
    pub(crate) fn server_config(&self) -> ServerConfig {
        self.server_config_with(&self.authority.pem(), &self.identity)
    }

    /// A server configuration with another authority or identity.
    pub(crate) fn server_config_with(&self, ca: &str, identity: &Identity) -> ServerConfig {
        let ca = self.topology.write("ca.crt", ca);
        let certificate = self.topology.write("server.crt", &identity.certificate);
        let key = self.topology.write("server.key", &identity.key);
        // `udp6` is the dual-stack listener of the stock daemon, which does not know the line about
        // shards and passes it over.
        let text = format!(
            "setenv opt ringway-shards {}\nport {PORT}\nproto udp6\ndev tun\ntopology subnet\n\
             server 10.8.0.0 255.255.255.0\nserver-ipv6 fd08::/64\n\
             ca {}\ncert {}\nkey {}\ndh none\nkeepalive 5 30\n\
             push \"route 10.90.0.0 255.255.255.0\"\npush \"route-ipv6 fd90::/64\"\n\
             persist-key\npersist-tun\nverb 3",
            shards(),
            ca.display(),
            certificate.display(),
            key.display(),
        );
        let lines = text.lines().map(str::to_owned).chain(offload_lines());
        ServerConfig {
            lines: lines.collect(),
        }
    }
}

/// The lines of a `server.conf`.
#[derive(Clone)]
pub(crate) struct ServerConfig {
    lines: Vec<String>,
}

impl ServerConfig {
    /// The lines of a file that somebody else has written, on as many shards as are tested.
    pub(crate) fn of(text: &str) -> Self {
        let shards = format!("setenv opt ringway-shards {}", shards());
        let lines = text.lines().map(str::to_owned).chain(offload_lines());
        Self {
            lines: lines.chain([shards]).collect(),
        }
    }

    /// Adds a line.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Adds a line that only the stock daemon needs.
    pub(crate) fn stock_line(self, line: &str) -> Self {
        if Implementation::chosen() == Implementation::Stock {
            self.line(line)
        } else {
            self
        }
    }

    /// Adds an inline block.
    pub(crate) fn block(self, name: &str, content: &str) -> Self {
        self.line(format!("<{name}>\n{}\n</{name}>", content.trim_end()))
    }

    /// Takes the lines of one directive away.
    pub(crate) fn without(mut self, directive: &str) -> Self {
        self.lines
            .retain(|line| line.split_whitespace().next() != Some(directive));
        self
    }

    /// Takes the lines away that push the routes to the LAN.
    pub(crate) fn without_pushed_routes(mut self) -> Self {
        self.lines.retain(|line| !line.starts_with("push \"route"));
        self
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A running server.
pub(crate) struct Server {
    /// Its process and log.
    pub(crate) process: Process,
}

impl Server {
    /// Starts the server and waits until clients can connect.
    pub(crate) fn start(site: &Site, config: &ServerConfig) -> Self {
        let path = site.topology.write("server.conf", config.text());
        Self::start_with(site, &["--config", &path.display().to_string()])
    }

    /// Starts this program as the server, whichever one is under test, and waits until clients can
    /// connect.
    pub(crate) fn start_program(site: &Site, config: &ServerConfig, program: &str) -> Self {
        let path = site.topology.write("server.conf", config.text());
        let namespace = site.topology.server.name();
        let arguments = ["--config", &path.display().to_string()];
        let process = Process::spawn("the server", namespace, program, &arguments);
        process.wait_for(READY);
        Self { process }
    }

    /// Starts the server with these arguments and waits until clients can connect.
    pub(crate) fn start_with(site: &Site, arguments: &[&str]) -> Self {
        let server = Self::spawn(site, arguments);
        server.process.wait_for(READY);
        server
    }

    /// Starts the server program without waiting for anything.
    pub(crate) fn spawn(site: &Site, arguments: &[&str]) -> Self {
        let program = Implementation::chosen().program();
        let namespace = site.topology.server.name();
        Self {
            process: Process::spawn("the server", namespace, program, arguments),
        }
    }

    /// Starts the server program without these capabilities (`setuid,setgid`), and waits for nothing.
    pub(crate) fn spawn_without(site: &Site, capabilities: &str, arguments: &[String]) -> Self {
        let program = Implementation::chosen().program();
        let taken: Vec<String> = capabilities
            .split(',')
            .map(|capability| format!("-{capability}"))
            .collect();
        let words = ["--bounding-set", &taken.join(","), program];
        let arguments: Vec<&str> = words
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let namespace = site.topology.server.name();
        Self {
            process: Process::spawn("the server", namespace, "setpriv", &arguments),
        }
    }

    /// Asks the server to end, and gives its exit status.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait_exit()
    }
}

/// A thread of the server that panicked is a failure, even if everything else went on.
impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.process.count("panicked at"), 0, "the server panicked");
        }
    }
}

/// Which server is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Implementation {
    /// This project's binary.
    Ringway,
    /// The real openvpn, to show that a test expects the right thing.
    Stock,
}

impl Implementation {
    /// The one that `RINGWAY_INTEROP_SERVER` names, else [`DEFAULT`].
    pub(crate) fn chosen() -> Self {
        match std::env::var("RINGWAY_INTEROP_SERVER").as_deref() {
            Ok("openvpn") => Self::Stock,
            Ok("ringway") => Self::Ringway,
            Ok(other) => panic!("RINGWAY_INTEROP_SERVER is {other:?}: write openvpn or ringway"),
            Err(_) => DEFAULT,
        }
    }

    /// True when ringway is under test; else says on the output that `test` showed nothing.
    pub(crate) fn is_ringway(test: &str) -> bool {
        let ringway = Self::chosen() == Self::Ringway;
        if !ringway {
            println!("{test}: nothing to compare, this is about ringway's own command line");
        }
        ringway
    }

    fn program(self) -> &'static str {
        match self {
            Self::Ringway => RINGWAY,
            Self::Stock => "openvpn",
        }
    }
}

/// How many shards the server has: what `RINGWAY_INTEROP_SHARDS` says, else [`SHARDS`].
pub(crate) fn shards() -> u32 {
    let number = std::env::var("RINGWAY_INTEROP_SHARDS").map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("RINGWAY_INTEROP_SHARDS is {text:?}: write a number"))
    });
    number.unwrap_or(SHARDS)
}

/// The offloads that ringway does without: those that `RINGWAY_INTEROP_OFFLOAD_OFF` names.
pub(crate) fn offloads_off() -> Vec<String> {
    let text = std::env::var("RINGWAY_INTEROP_OFFLOAD_OFF").unwrap_or_default();
    match text.as_str() {
        "" => vec![],
        "all" => OFFLOADS.map(str::to_owned).to_vec(),
        names => names.split(',').map(offload).collect(),
    }
}

fn offload(name: &str) -> String {
    assert!(
        OFFLOADS.contains(&name),
        "RINGWAY_INTEROP_OFFLOAD_OFF has {name:?}: write some of {OFFLOADS:?} with commas between them, or all"
    );
    name.to_owned()
}

/// The lines that say so, for a server or a client.
pub(crate) fn offload_lines() -> impl Iterator<Item = String> {
    let line = |name| format!("setenv opt ringway-offload {name} off");
    offloads_off().into_iter().map(line)
}

/// The server tested when the environment says nothing.
const DEFAULT: Implementation = Implementation::Ringway;

/// Shards when the environment says nothing: more than the cores of a small machine.
const SHARDS: u32 = 4;

/// The names of the offloads.
pub(crate) const OFFLOADS: [&str; 5] = ["udp-gro", "udp-gso", "tun-tso", "tun-uso", "tun-merge"];

/// The ringway binary of this build.
pub(crate) const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");

/// What server and client log when they are ready; monitoring tools look for it.
pub(crate) const READY: &str = "Initialization Sequence Completed";

/// The server's UDP port.
pub(crate) const PORT: u16 = 1194;

/// Where client `index` finds the server over IPv4.
pub(crate) fn address(index: usize) -> IpAddr {
    server_v4(index)
}
