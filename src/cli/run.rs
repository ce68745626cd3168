//! `ringway --config server.conf`: the server itself.

use std::process::ExitCode;

use super::daemon::{Side, Starting};
use super::login;
use crate::config::settings::Settings;
use crate::config::{self, Configuration};
use crate::crypto::NULL_CIPHER;
use crate::node::Node;
use crate::node::bus::Bus;

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
    let settings = match configuration {
        Configuration::Server(settings) => *settings,
        Configuration::Client(client) => match login::complete(*client) {
            Ok(_) => return fail("a client cannot be run yet, only checked"),
            Err(error) => return fail(&error.to_string()),
        },
    };
    // No thread exists yet: going to the background keeps only the one that asks for it.
    match Side::choose(&settings.node.process) {
        Ok(Side::Server(starting)) => serve(settings, starting),
        Ok(Side::Waited(code)) => code,
        Err(error) => fail(&error.to_string()),
    }
}

fn serve(settings: Settings, starting: Starting) -> ExitCode {
    let node = match Node::start(settings, Bus::new()) {
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
