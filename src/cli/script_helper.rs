//! The process that a server starts to start scripts: not for people, so it is in no help.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::run::fail;
use crate::node::auth::helper;
use crate::node::confine;

/// The first word of such a process; [`crate::config`] names it to the node.
pub(super) const NAME: &str = crate::config::SCRIPT_HELPER;

/// Confines itself as it is told and starts scripts, until the server is gone. The socket is its standard
/// input.
pub(super) fn run(words: &[String]) -> ExitCode {
    if let Err(error) = confine(words) {
        return fail(&error.to_string());
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    match socket.map(UnixStream::from).and_then(helper::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}
