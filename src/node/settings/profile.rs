//! Files of single clients: where they are, and what one of them says.
//!
//! What a file says is a value here. The language that it is written in is a floor above, which
//! hands down how to read it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::{NetworkSettings, SessionTimes, V6Address};
use crate::wire::Framing;

/// The files of single clients (`client-config-dir`).
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The directory that they are in, as the process sees it when it serves; without one clients have the
    /// lines that they are given when they connect.
    pub directory: Option<PathBuf>,
    /// Whether a client without a file of its own may not come in (`ccd-exclusive`).
    pub exclusive: bool,
    /// What all of them start from.
    pub basis: ProfileBasis,
    /// How one is read.
    pub reader: ProfileReader,
}

/// Reads the file of one client, if it has one, and lines that it is given besides.
pub type ProfileReader = fn(Option<&Path>, &[ProfileLines], &ProfileBasis) -> ProfileRead;

/// Lines for one client, written as those of its file.
#[derive(Clone, PartialEq, Eq)]
pub struct ProfileLines {
    /// Who gave them, for messages.
    pub source: String,
    /// The lines.
    pub text: String,
}

impl fmt::Debug for ProfileLines {
    /// Without the lines: there may be secrets in them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProfileLines")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// What a client's file is understood by.
#[derive(Clone, Debug)]
pub struct ProfileBasis {
    /// The options that every client is sent.
    pub push: Arc<[String]>,
    /// The addresses inside the tunnel.
    pub network: NetworkSettings,
    /// Where clients' own IPv4 addresses are to be, if it is asked (`ifconfig-push-constraint`).
    pub constraint: Option<Ipv4Net>,
    /// How many addresses and networks lead to a client at most, unless its file says otherwise
    /// (`max-routes-per-client`).
    pub routes_max: u32,
    /// How long clients may be silent, do nothing and stay, unless their file says otherwise.
    pub times: SessionTimes,
    /// The directory that names of further files start from.
    pub directory: PathBuf,
}

/// What came of a client's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRead {
    /// What it says.
    pub profile: ClientProfile,
    /// What is wrong with it, a line of log each; the other lines count.
    pub faults: Vec<String>,
    /// Options that are not sent because of a `push-remove` line, as the line says it.
    pub removed: Vec<String>,
    /// Options that are not sent because the client has that network itself.
    pub own_networks: Vec<String>,
}

/// What the file of one client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientProfile {
    /// Whether the client may come in.
    pub access: Access,
    /// Its IPv4 address with the second word of `ifconfig`, instead of one of the pool.
    pub v4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Its IPv6 address with the server's, instead of one of the pool.
    pub v6: Option<V6Address>,
    /// The networks behind it; no bit is set behind a prefix.
    pub networks: Vec<IpNet>,
    /// At most so many addresses and networks lead to it.
    pub routes_max: u32,
    /// What it is sent instead of what every client is sent.
    pub push: Option<Arc<[String]>>,
    /// How its packets are framed for compression, if not as those of every client.
    pub framing: Option<Framing>,
    /// How long it may be silent, do nothing and stay, if not as every client.
    pub times: Option<SessionTimes>,
    /// Which of its addresses it is not told.
    pub withheld: Withheld,
}

/// Which of its addresses a client is not told (`push-remove ifconfig-ipv6`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// The IPv4 address.
    pub v4: bool,
    /// The IPv6 address.
    pub v6: bool,
}

/// Whether a client may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Granted,
    /// It may not (`disable`).
    Disabled,
}

impl ClientProfile {
    /// That of a client without a file.
    pub const fn usual(routes_max: u32) -> Self {
        Self {
            access: Access::Granted,
            v4: None,
            v6: None,
            networks: Vec::new(),
            routes_max,
            push: None,
            framing: None,
            times: None,
            withheld: Withheld {
                v4: false,
                v6: false,
            },
        }
    }
}
