//! The three files by which a judge outside of this process says later what it makes of a login. Wire: as with
//! 2.6, `auth_control_file` gets `1` or `0`, `auth_failed_reason_file` what the client is told, and
//! `auth_pending_file` how long it may take, by which method, and what the client needs to know for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::files::TemporaryFile;
use super::login::Login;

/// The files of one login.
#[derive(Debug)]
pub(super) struct Deferral {
    control: TemporaryFile,
    reason: TemporaryFile,
    /// Until it has been read.
    pending: Option<TemporaryFile>,
}

/// What stands in them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing that is new.
    Nothing,
    /// Yes.
    Accepted,
    /// No.
    Refused,
    /// It takes longer, and the client should know.
    Pending { timeout: Duration, extra: String },
    /// What can't be done: what the client is told if not the reason of the file, and what the log says.
    Unusable { reason: Option<String>, why: String },
}

impl Deferral {
    /// # Errors
    /// The directory does not take files.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let create = |kind| TemporaryFile::create(directory, kind, b"");
        Ok(Self {
            control: create("acf")?,
            reason: create("afr")?,
            pending: Some(create("apf")?),
        })
    }

    /// Their names, as variables.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            ("auth_control_file".to_owned(), self.control.name()),
            ("auth_failed_reason_file".to_owned(), self.reason.name()),
        ];
        if let Some(pending) = &self.pending {
            variables.push(("auth_pending_file".to_owned(), pending.name()));
        }
        variables
    }

    /// What the client is told of a refusal, a line.
    pub(super) fn reason(&self) -> String {
        let text = self.reason.read();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Looks at what has been written.
    pub(super) fn look(&mut self, login: &Login) -> Seen {
        if !self.control.is_empty() {
            match self.control.read().as_bytes().first() {
                Some(b'1') => return Seen::Accepted,
                Some(b'0') => return Seen::Refused,
                _ => {}
            }
        }
        let Some(file) = self.pending.as_ref().filter(|file| !file.is_empty()) else {
            return Seen::Nothing;
        };
        let text = file.read();
        // Whole once its third line is.
        if text.lines().count() < PENDING_LINES || !text.ends_with('\n') {
            return Seen::Nothing;
        }
        self.pending = None;
        let mut lines = text.lines();
        let (timeout, method) = (lines.next(), lines.next().unwrap_or_default());
        let extra = lines.next().unwrap_or_default().to_owned();
        let timeout = timeout.and_then(|it| it.trim().parse().ok());
        let Some(timeout) = timeout.filter(|&it: &u32| it > 0) else {
            return Seen::Unusable {
                reason: None,
                why: "could not parse auth pending file timeout".to_owned(),
            };
        };
        let known = login.peer_info.value("IV_SSO").unwrap_or_default();
        if !known.split(',').any(|it| it == method) {
            let reason = format!(
                "Authentication failed, required pending auth method '{method}' not supported"
            );
            return Seen::Unusable {
                reason: Some(reason),
                why: format!("Client does not supported auth pending method '{method}'"),
            };
        }
        let timeout = Duration::from_secs(timeout.into());
        Seen::Pending { timeout, extra }
    }
}

/// Wire: `auth_pending_file` has a timeout, a method and what the client is told.
const PENDING_LINES: usize = 3;
