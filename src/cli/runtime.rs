//! `ringway check --runtime server.conf`: what the server that runs with this configuration has
//! counted; `ringway reload server.conf`: it is to read that again.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::run::fail;
use crate::config;
use crate::limits::{CONTROL_ANSWER_PATIENCE, CONTROL_RELOAD_PATIENCE, CONTROL_REPORT_MAX};
use crate::node::control_socket::{ERROR, RELOAD, RELOAD_DISRUPTIVE, REPORT};

/// Prints the report of the running server; fails when there is none.
pub(super) fn check(words: &[String]) -> ExitCode {
    put(words, REPORT, CONTROL_ANSWER_PATIENCE)
}

/// Has the running server read its configuration again, and prints what came of it.
pub(super) fn reload(disruptive: bool, words: &[String]) -> ExitCode {
    let request = match disruptive {
        true => RELOAD_DISRUPTIVE,
        false => RELOAD,
    };
    put(words, request, CONTROL_RELOAD_PATIENCE)
}

/// Puts a request to the server that runs with this configuration.
fn put(words: &[String], request: &str, patience: Duration) -> ExitCode {
    let loaded = match std::env::current_dir() {
        Ok(directory) => config::load(words, &directory),
        Err(error) => return fail(&format!("no working directory: {error}")),
    };
    let Some(configuration) = loaded.configuration else {
        for diagnostic in loaded.diagnostics.iter() {
            eprintln!("{diagnostic}");
        }
        return fail("no server was asked: nothing can run with this configuration");
    };
    let Some(path) = configuration.control_socket() else {
        return fail(NO_SOCKET);
    };
    match ask(path, request, patience) {
        Ok(report) => match io::stdout().write_all(report.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("printing failed: {error}")),
        },
        Err(error) => fail(&error.to_string()),
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no server runs with this configuration: '{path}' is not there")]
    Absent { path: String },
    #[error(
        "no server runs with this configuration: '{path}' was left behind by one that has ended"
    )]
    Dead { path: String },
    #[error("only the user who started the server may ask it, on '{path}'")]
    Forbidden { path: String },
    #[error("the server says: {0}")]
    Refused(String),
    #[error("the server at '{path}' does not answer: {error}")]
    Silent { path: String, error: io::Error },
}

fn ask(path: &Path, request: &str, patience: Duration) -> Result<String, AskError> {
    let name = || path.display().to_string();
    let connected = UnixStream::connect(path);
    let mut stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => AskError::Absent { path: name() },
        io::ErrorKind::ConnectionRefused => AskError::Dead { path: name() },
        io::ErrorKind::PermissionDenied => AskError::Forbidden { path: name() },
        _ => AskError::Silent {
            path: name(),
            error,
        },
    })?;
    let answer = converse(&mut stream, request, patience).map_err(|error| AskError::Silent {
        path: name(),
        error,
    })?;
    match answer.strip_prefix(ERROR) {
        Some(reason) => Err(AskError::Refused(reason.trim_end().to_owned())),
        None => Ok(answer),
    }
}

fn converse(stream: &mut UnixStream, request: &str, patience: Duration) -> io::Result<String> {
    // Others may be served first.
    stream.set_read_timeout(Some(2 * patience))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream
        .take(CONTROL_REPORT_MAX)
        .read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(answer),
    }
}

const NO_SOCKET: &str = "the configuration names no control socket: with the line `ringway-control PATH` \
                         (or `setenv opt ringway-control PATH`) the server makes one when it is started again";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// What is said of a server that answers so.
    fn asked(answer: &'static str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 7];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let said = ask(&path, REPORT, CONTROL_ANSWER_PATIENCE);
        assert_eq!(server.join().unwrap(), *b"report\n");
        said.map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_is_a_report_or_an_error() {
        assert_eq!(
            asked("shard 0: drops: total=0\n").unwrap(),
            "shard 0: drops: total=0\n"
        );
        assert_eq!(
            asked("ERROR: the node thread does not answer\n").unwrap_err(),
            "the server says: the node thread does not answer"
        );
        assert!(asked("").unwrap_err().contains("does not answer: "));
    }

    #[test]
    fn without_a_server_it_is_said_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let said = ask(&path, RELOAD, CONTROL_ANSWER_PATIENCE)
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("socket' is not there"), "{said}");
        drop(UnixListener::bind(&path).unwrap());
        let said = ask(&path, RELOAD, CONTROL_ANSWER_PATIENCE)
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("by one that has ended"), "{said}");
    }
}
