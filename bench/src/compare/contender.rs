//! Who is compared, and how each is brought up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::network::{BRANCH_NETWORK, CLIENT_OUTER, LAN_HOST, LAN_NETWORK, SERVER_OUTER};
use super::process::Process;
use super::programs::Programs;
use super::site::{
    CLIENT_CONFIGURATION, CLIENT_SOCKET, SERVER_CONFIGURATION, SERVER_SOCKET, WireguardKey,
    WireguardKeys,
};
use super::work::Bench;
use crate::failure::Failure;
use crate::peers::Peer;

/// One way from the client to the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// The server's kernel forwards, and nothing else.
    NoVpn,
    /// ringway at both ends, built so that it copies instead of encrypting.
    NullCipher,
    /// ringway at both ends.
    Ringway,
    /// The stock client, and ringway as its server.
    StockClient,
    /// The stock daemon at both ends.
    OpenVpn,
    /// A WireGuard in user space at both ends.
    Wireguard(Peer),
}

/// A contender that is up: what goes from the client to the LAN goes through it.
pub(super) struct Tunnel {
    /// Server and client; none without a VPN.
    programs: Option<[Process; 2]>,
    server_control: Option<PathBuf>,
    client_control: Option<PathBuf>,
}

impl Contender {
    /// In the order of the table.
    pub(super) fn all() -> Vec<Self> {
        let ours = [
            Self::NoVpn,
            Self::NullCipher,
            Self::Ringway,
            Self::StockClient,
            Self::OpenVpn,
        ];
        let peers = Peer::ALL.map(Self::Wireguard);
        ours.into_iter().chain(peers).collect()
    }

    /// The word of `--only` and of results.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoVpn => "no-vpn",
            Self::NullCipher => "ringway-null-cipher",
            Self::Ringway => "ringway",
            Self::StockClient => "stock-client",
            Self::OpenVpn => "openvpn",
            Self::Wireguard(peer) => peer.name(),
        }
    }

    /// What the table calls it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::NoVpn => "no VPN",
            Self::NullCipher => "ringway, null cipher",
            Self::Ringway => "ringway to ringway",
            Self::StockClient => "OpenVPN client to ringway",
            Self::OpenVpn => "OpenVPN at both ends",
            Self::Wireguard(peer) => peer.name(),
        }
    }

    /// Brings it up, and waits until the client reaches the LAN.
    pub(super) fn start(self, bench: &Bench<'_>, programs: &Programs) -> Result<Tunnel, Failure> {
        let mut tunnel = match self {
            Self::NoVpn => no_vpn(bench),
            Self::NullCipher | Self::Ringway => {
                let program = programs.path(self)?;
                openvpn_protocol(bench, [&program, &program])
            }
            Self::StockClient => {
                let ends = [programs.path(Self::Ringway)?, programs.path(Self::OpenVpn)?];
                openvpn_protocol(bench, [&ends[0], &ends[1]])
            }
            Self::OpenVpn => {
                let program = programs.path(self)?;
                openvpn_protocol(bench, [&program, &program])
            }
            Self::Wireguard(peer) => wireguard(bench, peer, &programs.path(self)?),
        }?;
        match tunnel.wait_for_lan(bench) {
            Ok(()) => Ok(tunnel),
            Err(failure) => {
                tunnel.stop(bench);
                Err(failure)
            }
        }
    }
}

impl Tunnel {
    /// The process id of the VPN server.
    pub(super) fn server_id(&self) -> Option<u32> {
        self.programs.as_ref().map(|[server, _]| server.id())
    }

    /// Where the server tells what it has counted.
    pub(super) fn server_control(&self) -> Option<&Path> {
        self.server_control.as_deref()
    }

    /// Where the client tells what it has counted.
    pub(super) fn client_control(&self) -> Option<&Path> {
        self.client_control.as_deref()
    }

    /// Fails if one of the two ends is no more.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let mut programs = self.programs.iter_mut().flatten();
        programs.try_for_each(Process::check_running)
    }

    /// The last lines of both ends.
    pub(super) fn tails(&self) -> String {
        self.programs.iter().flatten().map(Process::tail).collect()
    }

    /// Takes it down.
    pub(super) fn stop(self, bench: &Bench<'_>) {
        match self.programs {
            // The client first: it says goodbye.
            Some([server, client]) => [client, server].map(Process::stop).into_iter().collect(),
            None => {
                // The namespaces are about to go if this fails.
                let _gone = bench.network.client.ip(&["route", "del", LAN_NETWORK]);
                let _gone = bench.network.server.ip(&["route", "del", BRANCH_NETWORK]);
            }
        }
    }

    fn wait_for_lan(&mut self, bench: &Bench<'_>) -> Result<(), Failure> {
        let host = LAN_HOST.to_string();
        let end = Instant::now() + START_LIMIT;
        while let Err(failure) = bench
            .network
            .client
            .run(&["ping", "-c1", "-W1", "-q", &host])
        {
            bench.interrupt.check()?;
            self.check()?;
            if Instant::now() >= end {
                let log = format!("    {failure}\n{}", self.tails());
                let what = format!("the LAN was not reached in {} s", START_LIMIT.as_secs());
                return Err(Failure::Contender { what, log });
            }
            bench.interrupt.sleep(TURN)?;
        }
        Ok(())
    }
}

fn no_vpn(bench: &Bench<'_>) -> Result<Tunnel, Failure> {
    let via = SERVER_OUTER.to_string();
    let client = &bench.network.client;
    client.ip(&["route", "replace", LAN_NETWORK, "via", &via])?;
    let via = CLIENT_OUTER.to_string();
    let server = &bench.network.server;
    server.ip(&["route", "replace", BRANCH_NETWORK, "via", &via])?;
    Ok(Tunnel {
        programs: None,
        server_control: None,
        client_control: None,
    })
}

/// Server and client of the OpenVPN protocol, with the files that `ringway quickstart` makes.
fn openvpn_protocol(bench: &Bench<'_>, ends: [&Path; 2]) -> Result<Tunnel, Failure> {
    let network = bench.network;
    let start = |name: &str, program: &Path, configuration: &str| {
        let place = match name {
            "server" => network.server.place(),
            _ => network.client.place(),
        };
        let program = program.display().to_string();
        let mut words = vec![program.as_str(), "--config", configuration];
        if is_stock(&program) {
            // Packets shall go through the daemon: the kernel module is another contender.
            words.push("--disable-dco");
        }
        Process::spawn(place, name, &words, bench.directory, bench.interrupt)
    };
    let control = |program: &Path, socket: &str| {
        let ours = !is_stock(&program.display().to_string());
        ours.then(|| bench.directory.join(socket))
    };
    let mut server = start("server", ends[0], SERVER_CONFIGURATION)?;
    server.wait_for("Initialization Sequence Completed")?;
    let mut client = start("client", ends[1], CLIENT_CONFIGURATION)?;
    client.wait_for("Initialization Sequence Completed")?;
    Ok(Tunnel {
        server_control: control(ends[0], SERVER_SOCKET),
        client_control: control(ends[1], CLIENT_SOCKET),
        programs: Some([server, client]),
    })
}

fn is_stock(program: &str) -> bool {
    program.ends_with("/openvpn")
}

fn wireguard(bench: &Bench<'_>, peer: Peer, program: &Path) -> Result<Tunnel, Failure> {
    let keys = WireguardKeys::make(bench.directory)?;
    let listen = ["listen-port", WIREGUARD_PORT, "peer", &keys.client.public];
    let endpoint = format!("{SERVER_OUTER}:{WIREGUARD_PORT}");
    let dial = ["peer", &keys.server.public, "endpoint", &endpoint];
    let end = WireguardEnd {
        bench,
        peer,
        program: &program.display().to_string(),
    };
    let server = end.start(
        "server",
        &keys.server,
        &listen,
        ["10.8.0.1/24", &format!("10.8.0.2/32,{BRANCH_NETWORK}")],
    )?;
    let client = end.start("client", &keys.client, &dial, ["10.8.0.2/24", "0.0.0.0/0"])?;
    Ok(Tunnel {
        programs: Some([server, client]),
        server_control: None,
        client_control: None,
    })
}

/// What both ends of a WireGuard have in common.
struct WireguardEnd<'a> {
    bench: &'a Bench<'a>,
    peer: Peer,
    program: &'a str,
}

impl WireguardEnd<'_> {
    /// Starts an end with an address, and lets it take these addresses from the other end.
    fn start(
        &self,
        name: &str,
        key: &WireguardKey,
        other: &[&str],
        [address, allowed]: [&str; 2],
    ) -> Result<Process, Failure> {
        let Bench {
            network,
            directory,
            interrupt,
            ..
        } = self.bench;
        let namespace = match name {
            "server" => &network.server,
            _ => &network.client,
        };
        // Its control socket has this name, in a directory that all namespaces share.
        let device = format!(
            "rw{}{}",
            std::process::id(),
            name.get(..1).unwrap_or_default()
        );
        let words = [&[self.program], self.peer.arguments(), &[&device]].concat();
        let mut process = Process::spawn(namespace.place(), name, &words, directory, interrupt)?;
        let socket = PathBuf::from(format!("/run/wireguard/{device}.sock"));
        let end = Instant::now() + START_LIMIT;
        while !socket.exists() {
            process.check_running()?;
            if Instant::now() > end {
                return Err(process.failure("made no device"));
            }
            interrupt.sleep(TURN)?;
        }
        let own = ["wg", "set", &device, "private-key", &key.file];
        let set = [&own[..], other, &["allowed-ips", allowed]].concat();
        // The socket is there before the device answers on it.
        while let Err(failure) = namespace.run(&set) {
            process.check_running()?;
            if Instant::now() > end {
                return Err(failure);
            }
            interrupt.sleep(TURN)?;
        }
        namespace.ip(&["address", "add", address, "dev", &device])?;
        namespace.ip(&["link", "set", &device, "mtu", WIREGUARD_MTU, "up"])?;
        let behind = match name {
            "server" => BRANCH_NETWORK,
            _ => LAN_NETWORK,
        };
        namespace.ip(&["route", "add", behind, "dev", &device])?;
        Ok(process)
    }
}

const TURN: Duration = Duration::from_millis(50);
/// Far above what a busy machine needs.
const START_LIMIT: Duration = Duration::from_secs(60);

const WIREGUARD_PORT: &str = "51820";
/// The largest whose packets fit into the outer link's 1,500 bytes.
const WIREGUARD_MTU: &str = "1440";
