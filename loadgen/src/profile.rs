//! The client profile: read by the library, as every client's is.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use ringway::config;
use ringway::config::diagnostics::{Diagnostics, Severity};
use ringway::node::settings::{ClientSettings, RemoteSettings, WrappingSettings};

use crate::failure::Failure;

/// What the profile says of the server and of its clients.
#[derive(Debug)]
pub(crate) struct Profile {
    /// The whole configuration of one client.
    pub(crate) client: ClientSettings,
    /// The server: the first address of the first remote that has one.
    pub(crate) server: SocketAddr,
}

impl Profile {
    /// Reads a profile and looks up its server.
    ///
    /// # Errors
    /// It can't be read, is not a client's, or names no server that can be found.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::Profile {
            profile: file.to_owned(),
            why,
        };
        let here = std::env::current_dir().map_err(|error| refuse(error.to_string()))?;
        let arguments = ["--config".to_owned(), file.display().to_string()];
        let loaded = config::load(&arguments, &here);
        let configuration = loaded
            .configuration
            .ok_or_else(|| refuse(errors(&loaded.diagnostics)))?;
        let client = configuration
            .client()
            .ok_or_else(|| refuse("a server's configuration: a client's has `client`".to_owned()))?
            .settings;
        let server = find_server(&client.remotes).map_err(refuse)?;
        Ok(Self { client, server })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrapping = match self.client.node.wrapping {
            WrappingSettings::Plain => "no wrapping",
            WrappingSettings::TlsAuth { .. } => "tls-auth",
            WrappingSettings::TlsCrypt { .. } => "tls-crypt",
        };
        write!(formatter, "{}, {wrapping}", self.server)
    }
}

/// What is wrong, a line each.
fn errors(diagnostics: &Diagnostics) -> String {
    let errors = diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error);
    let lines: Vec<_> = errors.map(ToString::to_string).collect();
    lines.join("\n")
}

/// The first address that a remote has.
fn find_server(remotes: &[RemoteSettings]) -> Result<SocketAddr, String> {
    let mut whys = Vec::new();
    for remote in remotes {
        match (remote.host.as_str(), remote.port).to_socket_addrs() {
            Ok(mut addresses) => {
                if let Some(found) = addresses.find(|it| remote.family.contains(it.ip())) {
                    return Ok(found);
                }
                whys.push(format!(
                    "{} has no address of the family asked for",
                    remote.host
                ));
            }
            Err(error) => whys.push(format!("{}: {error}", remote.host)),
        }
    }
    Err(whys.join("; "))
}
