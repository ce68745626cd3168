//! The link that has a script look at what is said of a client's own key (`tls-crypt-v2-verify`). Wire: what the script is
//! told and its exit status are those of 2.6, which asks at the client's first packet; here the handshake is over, so that
//! no stranger starts programs with a key that was copied. Either way a client that is refused hears nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Answers;
use super::files::TemporaryFile;
use super::helper::ScriptEnd;
use super::login::{Link, Login, LoginAt, LoginKind, Verdict};
use super::runner::Runner;
use crate::node::settings::ScriptCommand;

/// The script, and who runs it.
pub(in crate::node) struct KeyMetadataCheck {
    script: ScriptCommand,
    directory: PathBuf,
    patience: Duration,
    runner: Arc<Runner>,
    answers: Answers,
}

impl KeyMetadataCheck {
    /// This script, which may take so long, and whose files are made in `directory`.
    pub(in crate::node) const fn new(
        script: ScriptCommand,
        directory: PathBuf,
        patience: Duration,
        runner: Arc<Runner>,
        answers: Answers,
    ) -> Self {
        Self {
            script,
            directory,
            patience,
            runner,
            answers,
        }
    }

    fn ask(&self, login: &Login, kind: u8, text: &[u8]) {
        let (at, number) = (login.at, login.login);
        let answers = self.answers.clone();
        let file = match TemporaryFile::create(&self.directory, "tls_crypt_v2_metadata", text) {
            Ok(file) => file,
            Err(error) => {
                let why = format!("could not write metadata to file: {error}");
                return answers.answer(at, number, dropped(&why));
            }
        };
        let variables = [
            ("script_type", "tls-crypt-v2-verify".to_owned()),
            ("metadata_type", kind.to_string()),
            ("metadata_file", file.name()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let words = self.script.followed_by([]);
        let when_ended = move |end: ScriptEnd| {
            drop(file);
            let verdict = match end {
                ScriptEnd::Exited(0) => Verdict::Accepted,
                end => dropped(&end.told()),
            };
            answers.answer(at, number, verdict);
        };
        let environment = Zeroizing::new(variables.to_vec());
        self.runner
            .run(words, environment, self.patience, Box::new(when_ended));
    }
}

impl Link for KeyMetadataCheck {
    fn judge(&mut self, login: &Arc<Login>) {
        // The key is the session's for its life; who shares one with all others has none of its own.
        let asked = login.key_metadata.as_deref();
        let asked = asked.filter(|_| login.kind == LoginKind::Connect);
        match asked.map(<[u8]>::split_first) {
            None => {
                self.answers
                    .answer(login.at, login.login, Verdict::Accepted);
            }
            Some(None) => {
                let nothing = dropped("no metadata type");
                self.answers.answer(login.at, login.login, nothing);
            }
            Some(Some((kind, text))) => self.ask(login, *kind, text),
        }
    }

    fn judges_passwords(&self) -> bool {
        false
    }

    /// What the script says of it is not heard any more.
    fn forget(&mut self, _: LoginAt) {}
}

fn dropped(why: &str) -> Verdict {
    let why = format!("TLS CRYPT V2 VERIFY SCRIPT ERROR ({why})");
    Verdict::Dropped {
        why: why.as_str().into(),
    }
}
