//! `ringway --config server.conf`: the server itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::daemon::{ProcessError, Side, Starting};
use super::login;
use crate::config::diagnostics::Diagnostic;
use crate::config::settings::{ProcessSettings, usable_cores};
use crate::config::{self, Configuration, Loaded};
use crate::crypto::NULL_CIPHER;
use crate::node::bus::Bus;
use crate::node::reload::{ConfigurationReader, Reading, StillLocked};
use crate::node::{Ended, Node, StartError};

/// Reads the configuration, says what is wrong with it, and serves it if it can be served.
pub(super) fn run(words: &[String]) -> ExitCode {
    if NULL_CIPHER {
        eprintln!(
            "WARNING: THIS BUILD ENCRYPTS NOTHING: it was made with the feature bench-null-cipher, for \
             measurements in a closed network. Anybody can read and forge what goes through it."
        );
    }
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return fail(&format!("no working directory: {error}")),
    };
    let loaded = config::load(words, &directory);
    let (loaded, password) = match loaded.configuration {
        Some(Configuration::Locked(_)) => (loaded, None),
        // Somebody is asked for a password while there is a terminal.
        _ => login::unlocked(loaded, words, &directory),
    };
    let said: Vec<String> = log_lines(&loaded).collect();
    said.iter().for_each(|line| eprintln!("{line}"));
    let Some(configuration) = loaded.configuration else {
        return fail("Exiting due to fatal error");
    };
    let process = configuration.process().clone();
    let reader = Reader {
        words: words.to_vec(),
        directory,
        cores: usable_cores(),
        password: Mutex::new(password),
        said,
    };
    let reader: Arc<dyn ConfigurationReader> = Arc::new(reader);
    match configuration {
        Configuration::Server(settings) => in_its_place(&process, |waits| {
            let node = Node::start_telling(*settings, Bus::new(), waits)?;
            Ok(node.read_again_by(reader))
        }),
        Configuration::Locked(locked) => in_its_place(&process, |waits| {
            Node::start_locked(*locked, reader, Bus::new(), waits)
        }),
        // So is the user.
        Configuration::Client(client) => match login::complete(*client) {
            Ok(settings) => in_its_place(&process, |_| Node::start_client(settings, Bus::new())),
            Err(error) => fail(&error.to_string()),
        },
    }
}

/// Reads a server's configuration again, as it was read at first.
struct Reader {
    words: Vec<String>,
    directory: PathBuf,
    /// The thread that reads later may not be the one that may use them all.
    cores: Vec<usize>,
    /// That of its key, if it was entered.
    password: Mutex<Option<Zeroizing<String>>>,
    /// What was said of it before there was a log.
    said: Vec<String>,
}

impl Reader {
    fn load(&self, password: Option<&Zeroizing<String>>) -> Loaded {
        config::load_with(self.cores.clone(), &self.words, &self.directory, password)
    }

    fn password(&self) -> std::sync::MutexGuard<'_, Option<Zeroizing<String>>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigurationReader for Reader {
    fn read(&self) -> Result<Reading, Vec<String>> {
        let password = self.password().clone();
        reading(self.load(password.as_ref()))
    }

    fn unlock(&self, password: &Zeroizing<String>) -> Result<Reading, StillLocked> {
        let loaded = self.load(Some(password));
        if loaded.wrong_password {
            return Err(StillLocked::WrongPassword);
        }
        let mut reading = reading(loaded).map_err(StillLocked::Faults)?;
        reading.warnings.retain(|line| !self.said.contains(line));
        *self.password() = Some(password.clone());
        Ok(reading)
    }

    fn forget(&self) {
        *self.password() = None;
    }
}

fn reading(loaded: Loaded) -> Result<Reading, Vec<String>> {
    let lines: Vec<String> = log_lines(&loaded).collect();
    match loaded.configuration {
        Some(Configuration::Server(settings)) => Ok(Reading {
            settings: *settings,
            warnings: lines,
        }),
        Some(Configuration::Client(_)) => Err(vec![BECAME_A_CLIENT.to_owned()]),
        Some(Configuration::Locked(_)) => Err(vec![LOCKED.to_owned()]),
        None => Err(lines),
    }
}

fn log_lines(loaded: &Loaded) -> impl Iterator<Item = String> {
    loaded.diagnostics.iter().map(Diagnostic::log_line)
}

/// Starts and runs a node in this process, or in one in the background. `start` says when it waits for the
/// management interface.
fn in_its_place(
    process: &ProcessSettings,
    start: impl FnOnce(&mut dyn FnMut()) -> Result<Node, StartError>,
) -> ExitCode {
    // No thread exists yet: going to the background keeps only the one that asks for it.
    match Side::choose(process) {
        Ok(Side::Server(starting)) => serve(start, starting),
        Ok(Side::Waited(code)) => code,
        Err(error) => fail(&error.to_string()),
    }
}

fn serve(
    start: impl FnOnce(&mut dyn FnMut()) -> Result<Node, StartError>,
    starting: Starting,
) -> ExitCode {
    let mut starting = Some(starting);
    // Whoever is to say that it goes on may wait for the process that was started.
    let mut ready =
        || -> Result<(), ProcessError> { starting.take().map_or(Ok(()), Starting::ready) };
    let mut early = Ok(());
    let started = start(&mut || early = ready());
    let node = match started {
        Ok(node) => node,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = early.and_then(|()| ready()) {
        return fail(&error.to_string());
    }
    let mut ended = node.run();
    loop {
        ended = match ended {
            Ok(Ended::Stopped) => return ExitCode::SUCCESS,
            Ok(Ended::Restart(restart)) => Node::restart(*restart, Bus::new()).and_then(Node::run),
            Err(error) => return fail(&error.to_string()),
        };
    }
}

/// Says why on the standard error, and is the exit code of a failure.
pub(super) fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

const BECAME_A_CLIENT: &str = "Options error: the configuration is a client's now, and the process is a \
                               server: stop it and start it again";
const LOCKED: &str = "Options error: the key is locked, and its password has been forgotten or was not \
                      needed before: stop the server and start it again";
