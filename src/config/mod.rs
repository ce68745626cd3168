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

use diagnostics::{Diagnostic, Diagnostics};
use draft::Draft;
use lexer::Line;
use settings::{ClientSettings, NodeSettings, Settings, usable_cores};
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
    /// Whether its key is locked by a password that no file says: an error, until [`load_unlocked`].
    pub asks_password: bool,
}

/// What a configuration makes of a node.
#[derive(Debug)]
pub enum Configuration {
    /// A server.
    Server(Box<Settings>),
    /// A client.
    Client(Box<ClientConfiguration>),
}

impl Configuration {
    /// What every node is told.
    pub fn node(&self) -> &NodeSettings {
        match self {
            Self::Server(settings) => &settings.node,
            Self::Client(client) => &client.settings.node,
        }
    }

    /// A server's settings, `None` for a client.
    pub fn server(self) -> Option<Settings> {
        match self {
            Self::Server(settings) => Some(*settings),
            Self::Client(_) => None,
        }
    }

    /// A client's settings, `None` for a server.
    pub fn client(self) -> Option<ClientConfiguration> {
        match self {
            Self::Server(_) => None,
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
    let (configuration, mut diagnostics) = assemble::assemble(&mut draft);
    diagnostics.sort();
    Loaded {
        configuration,
        diagnostics,
        advice,
        role,
        asks_password: draft.tls.asks_password,
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
