//! The files of a comparison: keys and configurations, in a directory that goes with it.

use std::fs;
use std::io;
use std::path::Path;

use ringway::cli::pki::day;
use ringway::cli::quickstart::{QuickstartOptions, prepare};
use ringway::random::SystemRandom;
use ringway::time::Now;

use super::network::{BRANCH_NETWORK, Cores, LAN_NETWORK, SERVER_OUTER};
use super::process::run;
use crate::failure::Failure;

/// Makes what `ringway quickstart` makes, and adds what the comparison needs. The stock daemon gets the
/// same files: it passes over the lines that only ringway knows.
pub(super) fn write_configurations(directory: &Path, cores: Cores) -> Result<(), Failure> {
    let options = QuickstartOptions {
        directory: directory.to_owned(),
        port: 1194,
        pool: POOL.parse().map_err(|_| impossible(&POOL))?,
        public_address: Some(SERVER_OUTER.to_string()),
    };
    let today = day(Now::read().unix);
    prepare(&options, today, &mut SystemRandom, &mut io::sink())
        .map_err(|error| impossible(&error))?;
    let lan = network_and_mask(LAN_NETWORK)?;
    let branch = network_and_mask(BRANCH_NETWORK)?;
    let clients = directory.join(CLIENTS);
    fs::create_dir(&clients).map_err(|source| Failure::file(&clients, source))?;
    let path = clients.join("DEFAULT");
    fs::write(&path, format!("iroute {branch}\n"))
        .map_err(|source| Failure::file(&path, source))?;
    for (file, core, socket, more) in [
        (
            SERVER_CONFIGURATION,
            cores.server,
            SERVER_SOCKET,
            format!("push \"route {lan}\"\nroute {branch}\nclient-config-dir {CLIENTS}\n"),
        ),
        (
            CLIENT_CONFIGURATION,
            cores.client,
            CLIENT_SOCKET,
            String::new(),
        ),
    ] {
        let path = directory.join(file);
        let text = fs::read_to_string(&path).map_err(|source| Failure::file(&path, source))?;
        let text = format!(
            "{text}{more}setenv opt ringway-cores {core}\nsetenv opt ringway-control {socket}\n"
        );
        fs::write(&path, text).map_err(|source| Failure::file(&path, source))?;
    }
    Ok(())
}

/// As a `route` has it.
fn network_and_mask(network: &str) -> Result<String, Failure> {
    let network: ipnet::Ipv4Net = network.parse().map_err(|_| impossible(&network))?;
    Ok(format!("{} {}", network.network(), network.netmask()))
}

/// A key of each end.
pub(super) struct WireguardKeys {
    pub(super) server: WireguardKey,
    pub(super) client: WireguardKey,
}

/// One end's key.
pub(super) struct WireguardKey {
    /// The file of the private key.
    pub(super) file: String,
    pub(super) public: String,
}

impl WireguardKeys {
    /// Makes new ones.
    pub(super) fn make(directory: &Path) -> Result<Self, Failure> {
        let key = |name: &str| {
            let file = directory.join(name).display().to_string();
            let script = "umask 077 && wg genkey >\"$0\" && wg pubkey <\"$0\"";
            let public = run(&["sh", "-c", script, &file])?.trim().to_owned();
            Ok(WireguardKey { file, public })
        };
        Ok(Self {
            server: key("wireguard-server.key")?,
            client: key("wireguard-client.key")?,
        })
    }
}

fn impossible(error: &dyn std::fmt::Display) -> Failure {
    Failure::Impossible(format!("making keys and configurations: {error}"))
}

/// The server's configuration, which quickstart calls so.
pub(super) const SERVER_CONFIGURATION: &str = "server.conf";
/// The client's.
pub(super) const CLIENT_CONFIGURATION: &str = "client.ovpn";
/// The files of its clients.
const CLIENTS: &str = "sites";
/// Where the server answers.
pub(super) const SERVER_SOCKET: &str = "server.sock";
/// Where the client answers.
pub(super) const CLIENT_SOCKET: &str = "client.sock";

/// Addresses inside the tunnel.
const POOL: &str = "10.8.0.0/24";
