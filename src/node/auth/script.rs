//! A script as a judge of logins (`auth-user-pass-verify`). Wire: what a script is given and how it answers is a
//! contract of 2.6: its environment or a file, and its exit status.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::files::TemporaryFile;
use super::helper::{DEFERRED, ScriptEnd};
use super::login::Login;
use super::outside::{AtOnce, Outside, Told};
use super::runner::Runner;
use crate::node::settings::{HandOver, VerifyScript};

/// The script, and who runs it.
pub(in crate::node) struct Script {
    script: VerifyScript,
    directory: PathBuf,
    patience: Duration,
    runner: Arc<Runner>,
}

impl Script {
    /// This script, which may take so long, and whose files are made in `directory`.
    pub(in crate::node) fn new(
        script: VerifyScript,
        directory: PathBuf,
        patience: Duration,
        runner: Arc<Runner>,
    ) -> Self {
        Self {
            script,
            directory,
            patience,
            runner,
        }
    }
}

impl Outside for Script {
    fn ask(
        &mut self,
        login: &Login,
        files: Vec<(String, String)>,
        told: Told,
    ) -> io::Result<Box<dyn Any + Send>> {
        let mut words = self.script.command.followed_by([]);
        let mut credentials = None;
        if self.script.by == HandOver::File {
            let text = credentials_file(login);
            let file = TemporaryFile::create(&self.directory, "up", text.as_bytes())?;
            words.push(file.name());
            credentials = Some(file);
        }
        let environment = environment(&self.script, login, files);
        let when_ended = move |end: ScriptEnd| {
            told(match end {
                ScriptEnd::Exited(0) => AtOnce::Accepted,
                ScriptEnd::Exited(DEFERRED) => AtOnce::Deferred,
                end => AtOnce::Refused(failed(&end.told())),
            });
        };
        self.runner
            .run(words, environment, self.patience, Box::new(when_ended));
        Ok(Box::new(credentials))
    }

    fn refused_later(&self) -> &'static str {
        "Failed running command (--auth-user-pass-verify): the script has refused it"
    }
}

/// Stock's words.
fn failed(why: &str) -> String {
    format!("Failed running command (--auth-user-pass-verify): {why}")
}

/// The file of a script that is not told by its environment: user name and password, a line each.
fn credentials_file(login: &Login) -> Zeroizing<String> {
    let credentials = login.credentials.as_ref();
    let mut text = Zeroizing::new(String::with_capacity(1024));
    if let Some(credentials) = credentials {
        text.push_str(&credentials.username);
        text.push('\n');
        text.push_str(&credentials.password);
        text.push('\n');
    } else {
        text.push_str("\n\n");
    }
    text
}

fn environment(
    script: &VerifyScript,
    login: &Login,
    files: Vec<(String, String)>,
) -> Zeroizing<Vec<(String, String)>> {
    let mut variables = Zeroizing::new(Vec::new());
    if script.by == HandOver::Environment && script.password_in_environment {
        variables.push(("password".to_owned(), login.password().to_string()));
    }
    variables.extend(files);
    let username = login.username().unwrap_or_default();
    variables.push(("username".to_owned(), username.to_owned()));
    variables.push(("script_type".to_owned(), "user-pass-verify".to_owned()));
    variables.extend(login.environment.iter().cloned());
    variables
}
