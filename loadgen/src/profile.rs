//! The client profile: read by the library, as every client's is.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use ringway::config::diagnostics::{Diagnostics, Severity};
use ringway::config::{self, ClientConfiguration};
use ringway::node::settings::{ClientSettings, RemoteSettings, WrappingSettings};

use crate::failure::Failure;

/// What the profile says of the server and of its clients.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Where it was read.
    pub(crate) file: PathBuf,
    /// Whether somebody would have to be asked for the login.
    pub(crate) asks_login: bool,
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
        let configuration = configuration.client();
        let not_a_client =
            || refuse("a server's configuration: a client's has `client`".to_owned());
        let ClientConfiguration {
            settings: client,
            question,
        } = configuration.ok_or_else(not_a_client)?;
        let server = find_server(&client.remotes).map_err(refuse)?;
        Ok(Self {
            file: file.to_owned(),
            asks_login: question.is_some(),
            client,
            server,
        })
    }

    /// Reads all profiles of a directory, in the order of their names.
    ///
    /// # Errors
    /// There is none, or one of them can't be used.
    pub(crate) fn read_all(directory: &Path) -> Result<Vec<Self>, Failure> {
        let refuse = |why: String| Failure::Profile {
            profile: directory.to_owned(),
            why,
        };
        let entries = std::fs::read_dir(directory).map_err(|error| refuse(error.to_string()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|it| it == "ovpn" || it == "conf")
            })
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(refuse("no *.ovpn and no *.conf is there".to_owned()));
        }
        files.iter().map(|file| Self::read(file)).collect()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrapping = match self.client.node.wrapping {
            WrappingSettings::Plain => "no wrapping",
            WrappingSettings::TlsAuth { .. } => "tls-auth",
            WrappingSettings::TlsCrypt { .. } => "tls-crypt",
            WrappingSettings::TlsCryptV2Client { .. }
            | WrappingSettings::TlsCryptV2Server { .. } => "tls-crypt-v2",
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
