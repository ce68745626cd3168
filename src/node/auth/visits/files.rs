//! The two files of `client-connect`: one for lines that the client is to have, one for an answer that comes later.
//! Wire: names and contents are those of 2.6.

use std::io;
use std::path::Path;

use crate::limits::CLIENT_LINES_MAX;
use crate::node::auth::files::TemporaryFile;

/// The files of one client.
#[derive(Debug)]
pub(super) struct ConnectFiles {
    configuration: TemporaryFile,
    answer: TemporaryFile,
}

/// What stands in the file of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaterAnswer {
    /// Nothing.
    Nothing,
    /// `1`.
    Yes,
    /// `0`, or what is no answer.
    No,
    /// `2`.
    Later,
}

/// More was written than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl ConnectFiles {
    /// # Errors
    /// The directory does not take files.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            configuration: TemporaryFile::create(directory, "cc", b"")?,
            answer: TemporaryFile::create(directory, "ccr", b"")?,
        })
    }

    /// The name of the file for lines.
    pub(super) fn configuration(&self) -> String {
        self.configuration.name()
    }

    /// Their names, as variables.
    pub(super) fn variables(&self) -> [(String, String); 2] {
        [
            (
                "client_connect_deferred_file".to_owned(),
                self.answer.name(),
            ),
            (
                "client_connect_config_file".to_owned(),
                self.configuration.name(),
            ),
        ]
    }

    /// The lines that have been written.
    ///
    /// # Errors
    /// There is more than anybody reads: half of it may be worse than nothing.
    pub(super) fn lines(&self) -> Result<String, TooLong> {
        let text = self.configuration.read_up_to(CLIENT_LINES_MAX + 1);
        match text.len() as u64 > CLIENT_LINES_MAX {
            true => Err(TooLong),
            false => Ok(text),
        }
    }

    /// The answer that has been written.
    pub(super) fn answer(&self) -> LaterAnswer {
        match self.answer.read().as_bytes().first() {
            None => LaterAnswer::Nothing,
            Some(b'1') => LaterAnswer::Yes,
            Some(b'2') => LaterAnswer::Later,
            Some(_) => LaterAnswer::No,
        }
    }
}
