//! Asking for a user's name and password, and for that of a key, on the terminal alone.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::settings::{ClientSettings, Login};
use crate::config::{self, ClientConfiguration, Loaded, LoginQuestion};
use crate::limits::LOGIN_MAX;

/// The settings, with the answer to their question if they have one.
///
/// # Errors
/// Nobody answers, or not with what can be sent.
pub(super) fn complete(client: ClientConfiguration) -> Result<ClientSettings, AskError> {
    let mut settings = client.settings;
    if let Some(question) = client.question {
        settings.login = Some(ask(question)?);
    }
    Ok(settings)
}

/// Reads a configuration whose key is locked again: the password is asked for on the terminal, if there is
/// one. It is the other thing that comes back.
pub(super) fn unlocked(
    loaded: Loaded,
    words: &[String],
    directory: &Path,
) -> (Loaded, Option<Zeroizing<String>>) {
    if !loaded.asks_password {
        return (loaded, None);
    }
    match rpassword::prompt_password(KEY_PASSWORD) {
        Ok(password) => {
            let password = Zeroizing::new(password);
            let unlocked = config::load_unlocked(words, directory, &password);
            (unlocked, Some(password))
        }
        // The error says what to do about it.
        Err(_) => (loaded, None),
    }
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "auth-user-pass: there is no terminal to ask on: write name and password into a file, a \
         line each, and name it behind `auth-user-pass`"
    )]
    NoTerminal,
    #[error("auth-user-pass: asking on the terminal failed: {0}")]
    Terminal(#[from] io::Error),
    #[error("auth-user-pass: no name was entered")]
    NoName,
    #[error("auth-user-pass: more than {LOGIN_MAX} bytes were entered")]
    Long,
}

fn ask(question: LoginQuestion) -> Result<Login, AskError> {
    let username = match question.username {
        Some(username) => username,
        None => ask_name()?,
    };
    let password = rpassword::prompt_password(PASSWORD).map_err(no_terminal)?;
    answered(username, password.into())
}

fn ask_name() -> Result<String, AskError> {
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL);
    let mut terminal = terminal.map_err(no_terminal)?;
    terminal.write_all(NAME.as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn answered(username: String, password: Zeroizing<String>) -> Result<Login, AskError> {
    if username.is_empty() {
        return Err(AskError::NoName);
    }
    if username.len().max(password.len()) > LOGIN_MAX {
        return Err(AskError::Long);
    }
    Ok(Login { username, password })
}

/// A process without a terminal cannot open it.
fn no_terminal(error: io::Error) -> AskError {
    match error.raw_os_error() {
        Some(libc::ENXIO | libc::ENOENT | libc::ENODEV | libc::EACCES) => AskError::NoTerminal,
        _ => AskError::Terminal(error),
    }
}

/// The terminal of the process.
const TERMINAL: &str = "/dev/tty";

/// Wire: what 2.6 asks, for which programs wait that start it.
const NAME: &str = "Enter Auth Username: ";
const PASSWORD: &str = "Enter Auth Password: ";
const KEY_PASSWORD: &str = "Enter Private Key Password: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_to_fit() {
        let answered = |name: &str, password: String| answered(name.to_owned(), password.into());
        let login = answered("anna", "secret".to_owned()).unwrap();
        assert_eq!(
            (login.username.as_str(), login.password.as_str()),
            ("anna", "secret")
        );
        assert!(answered("anna", String::new()).is_ok());
        assert!(matches!(
            answered("", "x".to_owned()),
            Err(AskError::NoName)
        ));
        let long = "x".repeat(LOGIN_MAX + 1);
        assert!(matches!(answered("anna", long), Err(AskError::Long)));
    }

    #[test]
    fn a_process_without_a_terminal_is_told_what_to_write() {
        let error = no_terminal(io::Error::from_raw_os_error(libc::ENXIO));
        assert!(matches!(error, AskError::NoTerminal));
        let error = no_terminal(io::Error::from_raw_os_error(libc::EIO));
        assert!(matches!(error, AskError::Terminal(_)));
    }
}
