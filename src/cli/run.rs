//! `ringway --config server.conf`: the server itself.

use std::process::ExitCode;

use super::daemon::{Side, Starting};
use super::login;
use crate::config::settings::ProcessSettings;
use crate::config::{self, Configuration};
use crate::crypto::NULL_CIPHER;
use crate::node::bus::Bus;
use crate::node::{Node, StartError};

/// Reads the configuration, says what is wrong with it, and serves it if it can be served.
pub(super) fn run(words: &[String]) -> ExitCode {
    if NULL_CIPHER {
        eprintln!(
            "WARNING: THIS BUILD ENCRYPTS NOTHING: it was made with the feature bench-null-cipher, for \
             measurements in a closed network. Anybody can read and forge what goes through it."
        );
    }
    let loaded = match std::env::current_dir() {
        Ok(directory) => config::load(words, &directory),
        Err(error) => return fail(&format!("no working directory: {error}")),
    };
    for diagnostic in loaded.diagnostics.iter() {
        eprintln!("{}", diagnostic.log_line());
    }
    let Some(configuration) = loaded.configuration else {
        return fail("Exiting due to fatal error");
    };
    match configuration {
        Configuration::Server(settings) => {
            let process = settings.node.process.clone();
            in_its_place(&process, || Node::start(*settings, Bus::new()))
        }
        // The user is asked while there is a terminal.
        Configuration::Client(client) => match login::complete(*client) {
            Ok(settings) => {
                let process = settings.node.process.clone();
                in_its_place(&process, || Node::start_client(settings, Bus::new()))
            }
            Err(error) => fail(&error.to_string()),
        },
    }
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
    match node.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// Says why on the standard error, and is the exit code of a failure.
pub(super) fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
