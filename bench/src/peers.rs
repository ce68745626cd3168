//! The VPNs of others that are compared when they are installed, and how to install them.

use std::path::PathBuf;

/// A WireGuard in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    WireguardGo,
    Boringtun,
    Gotatun,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::WireguardGo, Self::Boringtun, Self::Gotatun];

    /// What it is called in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
        }
    }

    /// The program's file name.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
            Self::Gotatun => "gotatun",
        }
    }

    /// The words before the name of the device: stay in the foreground, stay root.
    pub(crate) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::WireguardGo => &["--foreground"],
            Self::Boringtun | Self::Gotatun => &["--foreground", "--disable-drop-privileges"],
        }
    }

    /// A command that installs it.
    const fn installation(self) -> &'static str {
        match self {
            Self::WireguardGo => "apt-get install wireguard-go wireguard-tools",
            Self::Boringtun => {
                "cargo install --locked boringtun-cli; apt-get install wireguard-tools"
            }
            Self::Gotatun => "cargo install --locked gotatun-cli; apt-get install wireguard-tools",
        }
    }
}

/// Says of each program that a comparison uses where it is, or how to install it.
pub(crate) fn print() {
    let tools = [
        ("openvpn", "apt-get install openvpn"),
        ("iperf3", "apt-get install iperf3"),
        ("ethtool", "apt-get install ethtool"),
        ("wg", "apt-get install wireguard-tools"),
    ];
    let peers = Peer::ALL.map(|peer| (peer.program(), peer.installation()));
    for (program, installation) in tools.into_iter().chain(peers) {
        match find(program) {
            Some(path) => println!("{program:<14} {}", path.display()),
            None => println!("{program:<14} not installed: {installation}"),
        }
    }
}

/// Where a program is: in the path, where administrators' programs are, or where cargo installs them.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(home).join(".cargo"), PathBuf::from);
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    places.push(cargo.join("bin"));
    places
        .into_iter()
        .map(|place| place.join(program))
        .find(|file| file.is_file())
}
