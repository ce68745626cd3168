//! `ringway --config server.conf`: the server itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::daemon::{Side, Starting};
use super::login;
use crate::config::diagnostics::Diagnostic;
use crate::config::settings::{ProcessSettings, usable_cores};
use crate::config::{self, Configuration};
use crate::crypto::NULL_CIPHER;
use crate::node::bus::Bus;
use crate::node::reload::{ConfigurationReader, Reading};
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
    // Somebody is asked for a password while there is a terminal.
    let (loaded, password) = login::load(words, &directory);
    for diagnostic in loaded.diagnostics.iter() {
        eprintln!("{}", diagnostic.log_line());
    }
    let Some(configuration) = loaded.configuration else {
        return fail("Exiting due to fatal error");
    };
    match configuration {
        Configuration::Server(settings) => {
            let process = settings.node.process.clone();
            let reader = reader(words.to_vec(), directory, password);
            let start = || Node::start(*settings, Bus::new());
            in_its_place(&process, || Ok(start()?.read_again_by(reader)))
        }
        // So is the user.
        Configuration::Client(client) => match login::complete(*client) {
            Ok(settings) => {
                let process = settings.node.process.clone();
                in_its_place(&process, || Node::start_client(settings, Bus::new()))
            }
            Err(error) => fail(&error.to_string()),
        },
    }
}

/// Reads a server's configuration again, as it was read at first, with the password of its key if that
/// was entered.
fn reader(
    words: Vec<String>,
    directory: PathBuf,
    password: Option<Zeroizing<String>>,
) -> ConfigurationReader {
    // The thread that reads later may not be the one that may use them all.
    let cores = usable_cores();
    Arc::new(move || {
        let loaded = config::load_with(cores.clone(), &words, &directory, password.as_ref());
        let lines = loaded.diagnostics.iter().map(Diagnostic::log_line);
        let lines: Vec<String> = lines.collect();
        match loaded.configuration {
            Some(Configuration::Server(settings)) => Ok(Reading {
                settings: *settings,
                warnings: lines,
            }),
            Some(Configuration::Client(_)) => Err(vec![BECAME_A_CLIENT.to_owned()]),
            None => Err(lines),
        }
    })
}

/// Starts and runs a node in this process, or in one in the background.
fn in_its_place(
    process: &ProcessSettings,
    start: impl FnOnce() -> Result<Node, StartError>,
) -> ExitCode {
    // No thread exists yet: going to the background keeps only the one that asks for it.
    match Side::choose(process) {
        Ok(Side::Server(starting)) => serve(start, starting),
        Ok(Side::Waited(code)) => code,
        Err(error) => fail(&error.to_string()),
    }
}

fn serve(start: impl FnOnce() -> Result<Node, StartError>, starting: Starting) -> ExitCode {
    let node = match start() {
        Ok(node) => node,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = starting.ready() {
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
