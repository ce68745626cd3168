//! Floor 7: the OpenVPN configuration language.
//!
//! Two steps: what is written (words, lines, blocks), then [`settings::Settings`], valid by
//! construction. Between them stands one table of all directives that OpenVPN knows; `--help` and
//! docs/directives.md are made from it.
//!
//! Invariant: no running node.

mod assemble;
pub(crate) mod client_file;
mod command_line;
pub mod diagnostics;
pub mod directive;
pub mod directives;
pub mod documentation;
mod draft;
pub mod lexer;
pub mod modes;
mod pki;
pub mod usage;

pub use crate::node::settings;

#[cfg(test)]
mod tests;

use std::path::Path;

use diagnostics::{Diagnostic, Diagnostics, Severity};
use draft::Draft;
use lexer::Line;
use settings::{ClientSettings, LockedSettings, ProcessSettings, Settings, usable_cores};
use zeroize::Zeroizing;

use crate::wire::Role;

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What to do; `None` when `diagnostics` has errors.
    pub configuration: Option<Configuration>,
    /// Everything that was found, errors or not.
    pub diagnostics: Diagnostics,
    /// What is better written otherwise, although it is served: see [`modes::explained`].
    pub advice: Vec<Diagnostic>,
    /// Whose configuration it is, errors or not.
    pub role: Role,
    /// Whether its key is locked by a password that no file says, and nothing else is wrong: an error until
    /// [`load_unlocked`], unless a manager is asked.
    pub asks_password: bool,
    /// Whether the password of its key is wrong: an error.
    pub wrong_password: bool,
}

/// What a configuration makes of a node.
#[derive(Debug)]
pub enum Configuration {
    /// A server.
    Server(Box<Settings>),
    /// A client.
    Client(Box<ClientConfiguration>),
    /// A server whose manager is to be asked for the password of its key.
    Locked(Box<LockedSettings>),
}

impl Configuration {
    /// What becomes of the process.
    pub fn process(&self) -> &ProcessSettings {
        match self {
            Self::Server(settings) => &settings.node.process,
            Self::Client(client) => &client.settings.node.process,
            Self::Locked(locked) => &locked.process,
        }
    }

    /// The unix socket on which the running node is asked and told, if there is to be one.
    pub fn control_socket(&self) -> Option<&Path> {
        match self {
            Self::Server(settings) => settings.node.control_socket.as_deref(),
            Self::Client(client) => client.settings.node.control_socket.as_deref(),
            Self::Locked(locked) => locked.control_socket.as_deref(),
        }
    }

    /// A server's settings, `None` for a client.
    pub fn server(self) -> Option<Settings> {
        match self {
            Self::Server(settings) => Some(*settings),
            Self::Client(_) | Self::Locked(_) => None,
        }
    }

    /// A client's settings, `None` for a server.
    pub fn client(self) -> Option<ClientConfiguration> {
        match self {
            Self::Server(_) | Self::Locked(_) => None,
            Self::Client(client) => Some(*client),
        }
    }
}

/// A client's settings, and what someone has to be asked before they can be used.
#[derive(Debug)]
pub struct ClientConfiguration {
    /// The settings; without a login as long as there is a question.
    pub settings: ClientSettings,
    /// What is to be asked.
    pub question: Option<LoginQuestion>,
}

/// `auth-user-pass` without a file, or with a file of one line: the password is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginQuestion {
    /// The user's name if that is known, else it is asked for, too.
    pub username: Option<String>,
}

/// Reads a command line of OpenVPN's form, without the program's name: `--directive value...`,
/// `--config FILE`, or one file; `--strict` or `--compat-legacy` may stand among them (see
/// [`modes::Mode`]). Relative names start from `directory`.
pub fn load(arguments: &[String], directory: &Path) -> Loaded {
    load_on(usable_cores(), arguments, directory)
}

/// Reads it with the password of its key, which somebody has entered.
pub fn load_unlocked(
    arguments: &[String],
    directory: &Path,
    password: &Zeroizing<String>,
) -> Loaded {
    load_with(usable_cores(), arguments, directory, Some(password))
}

/// Reads it for a process that may use these cores.
pub(crate) fn load_on(usable_cores: Vec<usize>, arguments: &[String], directory: &Path) -> Loaded {
    load_with(usable_cores, arguments, directory, None)
}

/// The word by which this program is told to be the process that starts scripts.
pub(crate) const SCRIPT_HELPER: &str = "script-helper";

/// Reads it for a process that may use these cores, with a password for its key.
pub(crate) fn load_with(
    usable_cores: Vec<usize>,
    arguments: &[String],
    directory: &Path,
    password: Option<&Zeroizing<String>>,
) -> Loaded {
    let (mode, arguments) = modes::split(arguments);
    let read = command_line::read(&arguments, directory);
    let role = role(read.iter().flatten());
    let mut draft = Draft::new(role, directory.to_owned(), usable_cores);
    draft.tls.password = password.cloned();
    let mode = mode.unwrap_or_else(|both| {
        draft.diagnostics.push(both);
        modes::Mode::Usual
    });
    let mut advice = Vec::new();
    for line in read {
        match line {
            Ok(line) => modes::apply(&mut draft, &line, mode, &mut advice),
            Err(diagnostic) => {
                // Nothing can be said to be missing from what was not read.
                draft.incomplete |= diagnostic.directive != command_line::SYNTAX;
                draft.diagnostics.push(diagnostic);
            }
        }
    }
    let asks_manager = draft.process.management.asks.is_some();
    let (configuration, mut diagnostics) = assemble::assemble(&mut draft);
    diagnostics.sort();
    let alone = diagnostics.count(Severity::Error) == usize::from(!asks_manager);
    Loaded {
        configuration,
        asks_password: draft.tls.asks_password && alone,
        wrong_password: draft.tls.wrong_password,
        diagnostics,
        advice,
        role,
    }
}

/// Whose configuration these lines are.
fn role<'l>(mut lines: impl Iterator<Item = &'l Line>) -> Role {
    match lines.any(|line| OF_CLIENTS.contains(&line.name.as_str())) {
        true => Role::Client,
        false => Role::Server,
    }
}

/// Lines that no server has.
const OF_CLIENTS: [&str; 3] = ["client", "tls-client", "pull"];
