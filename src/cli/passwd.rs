//! `ringway passwd`: names and hashes of passwords in a file.
//!
//! The password comes from the terminal, twice, or from standard input if that is none, one line.
//! Never from the command line: everybody on the machine can read that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits::LOGIN_MAX;
use crate::node::logins::{PasswordFile, PasswordFileError, hash, removed, with};
use crate::random::SystemRandom;

/// What stands behind `passwd`.
#[derive(Debug, clap::Args)]
pub(super) struct PasswdOptions {
    /// Remove the user.
    #[arg(long)]
    remove: bool,
    /// The file; it is made if it is not there, for its owner alone.
    file: PathBuf,
    /// The user's name.
    name: String,
}

/// Why the file stays as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum PasswdError {
    #[error("'{}' can't be {done}: {error}", file.display())]
    File {
        file: PathBuf,
        done: &'static str,
        error: io::Error,
    },
    #[error("'{}': {error}", file.display())]
    Form {
        file: PathBuf,
        error: PasswordFileError,
    },
    #[error("there is no '{name}' in '{}'", file.display())]
    Unknown { file: PathBuf, name: String },
    #[error("the name '{0}' can't be used: a name has no colon and does not begin with #")]
    Name(String),
    #[error("the password could not be read: {0}")]
    Terminal(#[from] io::Error),
    #[error("the two passwords differ")]
    Differ,
    #[error("a password has between 1 and {LOGIN_MAX} bytes, and no line feed")]
    Length,
}

pub(super) fn run(options: &PasswdOptions) -> Result<(), PasswdError> {
    let PasswdOptions { remove, file, name } = options;
    let text = read(file)?;
    let form = |error| PasswdError::Form {
        file: file.clone(),
        error,
    };
    let _readable = PasswordFile::parse(&text).map_err(form)?;
    let text = if *remove {
        removed(&text, name).ok_or_else(|| PasswdError::Unknown {
            file: file.clone(),
            name: name.clone(),
        })?
    } else {
        // The name first: nobody should be asked for a password in vain.
        with(&text, name, "").map_err(|_| PasswdError::Name(name.clone()))?;
        let password = ask()?;
        with(&text, name, &hash(&password, &mut SystemRandom)).map_err(form)?
    };
    replace(file, &text).map_err(|error| PasswdError::File {
        file: file.clone(),
        done: "written",
        error,
    })
}

fn read(file: &Path) -> Result<String, PasswdError> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(PasswdError::File {
            file: file.to_owned(),
            done: "read",
            error,
        }),
        Ok(text) => Ok(text),
    }
}

fn ask() -> Result<Zeroizing<String>, PasswdError> {
    let password = if io::stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
        let second = Zeroizing::new(rpassword::prompt_password("Again: ")?);
        if first != second {
            return Err(PasswdError::Differ);
        }
        first
    } else {
        let mut line = Zeroizing::new(String::with_capacity(LOGIN_MAX + 2));
        io::stdin().lock().read_line(&mut line)?;
        let length = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(length);
        line
    };
    if password.is_empty() || password.len() > LOGIN_MAX {
        return Err(PasswdError::Length);
    }
    Ok(password)
}

/// Puts a new file in the place of the one before, so that a server that reads it now finds the one or
/// the other. Its owner and its mode stay.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    // One that a crash has left is in nobody's way.
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let before = fs::metadata(file).ok();
    let mode = before
        .as_ref()
        .map_or(0o600, |it| it.permissions().mode() & 0o777);
    let options = |it: &mut OpenOptions| it.write(true).create_new(true).mode(0o600).open(&new);
    let mut written: File = options(&mut OpenOptions::new())?;
    let done = written
        .write_all(text.as_bytes())
        .and_then(|()| match &before {
            // A server may run as the user whose file it is.
            Some(it) => fchown(&written, Some(it.uid()), Some(it.gid())),
            None => Ok(()),
        })
        .and_then(|()| written.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| written.sync_all())
        .and_then(|()| fs::rename(&new, file));
    if done.is_err() {
        let _gone_already = fs::remove_file(&new);
    }
    done
}
