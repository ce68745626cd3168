//! The link that asks a script (`auth-user-pass-verify`). Wire: what a script is given and how it answers
//! is a contract of 2.6: its environment or a file, its exit status, and three files for what comes later.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Answers;
use super::files::TemporaryFile;
use super::helper::{DEFERRED, ScriptEnd};
use super::login::{Link, LinkAnswer, Login, LoginAt};
use super::runner::Runner;
use crate::limits::DEFERRED_POLL;
use crate::node::settings::{HandOver, VerifyScript};

/// The script, and the logins that it has.
pub(in crate::node) struct ScriptLink {
    script: VerifyScript,
    directory: PathBuf,
    patience: Duration,
    runner: Arc<Runner>,
    answers: Answers,
    /// Ends of scripts, told on another thread.
    ended: (Sender<Ended>, Receiver<Ended>),
    logins: HashMap<LoginAt, Asked>,
    next_look: Option<Instant>,
}

struct Ended {
    at: LoginAt,
    login: u64,
    end: ScriptEnd,
}

/// A login that a script has.
struct Asked {
    login: Arc<Login>,
    /// `auth_control_file`, `auth_failed_reason_file`, `auth_pending_file`.
    control: TemporaryFile,
    reason: TemporaryFile,
    /// Until it has been read.
    pending: Option<TemporaryFile>,
    _credentials: Option<TemporaryFile>,
    deferred: bool,
}

impl ScriptLink {
    /// The link for this script, which may take so long.
    pub(in crate::node) fn new(
        script: VerifyScript,
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
            ended: mpsc::channel(),
            logins: HashMap::new(),
            next_look: None,
        }
    }

    fn start(&mut self, login: &Arc<Login>) -> std::io::Result<()> {
        let create = |kind| TemporaryFile::create(&self.directory, kind, b"");
        let mut asked = Asked {
            login: Arc::clone(login),
            control: create("acf")?,
            reason: create("afr")?,
            pending: Some(create("apf")?),
            _credentials: None,
            deferred: false,
        };
        let mut words = vec![self.script.command.program.display().to_string()];
        words.extend(self.script.command.arguments.iter().cloned());
        if self.script.by == HandOver::File {
            let file = credentials_file(login);
            let file = TemporaryFile::create(&self.directory, "up", file.as_bytes())?;
            words.push(file.name());
            asked._credentials = Some(file);
        }
        let environment = environment(&self.script, login, &asked);
        let (at, number) = (login.at, login.login);
        let (tell, answers) = (self.ended.0.clone(), self.answers.clone());
        self.logins.insert(at, asked);
        let when_ended = move |end| {
            let login = number;
            // The link ends with the node.
            let _nobody_listens = tell.send(Ended { at, login, end });
            answers.wake();
        };
        let patience = self.patience;
        self.runner
            .run(words, environment, patience, Box::new(when_ended));
        Ok(())
    }

    fn script_ended(&mut self, Ended { at, login, end }: Ended, now: Instant) {
        let asked = self.logins.get_mut(&at);
        let Some(asked) = asked.filter(|asked| asked.login.login == login) else {
            return;
        };
        match end {
            ScriptEnd::Exited(0) => self.accept(at),
            ScriptEnd::Exited(DEFERRED) => {
                asked.deferred = true;
                self.next_look = Some(now);
            }
            end => self.refuse(at, &end.told()),
        }
    }

    /// Looks at what deferring scripts have written.
    fn look(&mut self, at: LoginAt) {
        let Some(asked) = self.logins.get_mut(&at) else {
            return;
        };
        match asked.control.read().as_bytes().first() {
            Some(b'1') => return self.accept(at),
            Some(b'0') => return self.refuse(at, "the script has refused it"),
            _ => {}
        }
        let Some(file) = &asked.pending else {
            return;
        };
        let text = file.read();
        // Whole once its third line is.
        if text.lines().count() < PENDING_LINES || !text.ends_with('\n') {
            return;
        }
        asked.pending = None;
        let mut lines = text.lines();
        let (timeout, method) = (lines.next(), lines.next().unwrap_or_default());
        let extra = lines.next().unwrap_or_default().to_owned();
        let timeout = timeout.and_then(|it| it.trim().parse().ok());
        let Some(timeout) = timeout.filter(|&it: &u32| it > 0) else {
            return self.refuse(at, "could not parse auth pending file timeout");
        };
        let known = asked.login.peer_info.value("IV_SSO").unwrap_or_default();
        if !known.split(',').any(|it| it == method) {
            let reason = format!(
                "Authentication failed, required pending auth method '{method}' not supported"
            );
            let why = format!("Client does not supported auth pending method '{method}'");
            return self.refuse_with(at, reason, &why);
        }
        let (login, timeout) = (asked.login.login, Duration::from_secs(timeout.into()));
        let pending = LinkAnswer::Pending { timeout, extra };
        self.answers.answer(at, login, pending);
    }

    fn accept(&mut self, at: LoginAt) {
        if let Some(asked) = self.logins.remove(&at) {
            let login = asked.login.login;
            self.answers.answer(at, login, LinkAnswer::Accepted);
        }
    }

    fn refuse(&mut self, at: LoginAt, why: &str) {
        let reason = self.logins.get(&at).map(|asked| asked.reason.read());
        let reason = reason.unwrap_or_default();
        // What a client is told is one line.
        let first = reason.lines().next().unwrap_or_default().to_owned();
        self.refuse_with(at, first, why);
    }

    fn refuse_with(&mut self, at: LoginAt, reason: String, why: &str) {
        if let Some(asked) = self.logins.remove(&at) {
            let why = format!("--auth-user-pass-verify: {why}").as_str().into();
            let login = asked.login.login;
            let refused = LinkAnswer::Refused { reason, why };
            self.answers.answer(at, login, refused);
        }
    }
}

impl Link for ScriptLink {
    fn judge(&mut self, login: &Arc<Login>) {
        if let Err(error) = self.start(login) {
            let directory = self.directory.display();
            let why = format!("could not create a file in {directory}: {error}");
            self.answers.answer(
                login.at,
                login.login,
                LinkAnswer::Refused {
                    reason: String::new(),
                    why: why.as_str().into(),
                },
            );
        }
    }

    fn forget(&mut self, at: LoginAt) {
        self.logins.remove(&at);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next_look
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Ok(ended) = self.ended.1.try_recv() {
            self.script_ended(ended, now);
        }
        if self.next_look.is_some_and(|at| at <= now) {
            let deferred = self.logins.iter().filter(|(_, asked)| asked.deferred);
            let deferred: Vec<_> = deferred.map(|(at, _)| *at).collect();
            for at in deferred {
                self.look(at);
            }
            let left = self.logins.values().any(|asked| asked.deferred);
            self.next_look = left.then(|| now + DEFERRED_POLL);
        }
    }
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
    asked: &Asked,
) -> Zeroizing<Vec<(String, String)>> {
    let mut variables = Zeroizing::new(Vec::new());
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    let credentials = login.credentials.as_ref();
    if script.by == HandOver::Environment && script.password_in_environment {
        let password = credentials.map(|it| it.password.to_string());
        set("password", password.unwrap_or_default());
    }
    set("auth_control_file", asked.control.name());
    set("auth_failed_reason_file", asked.reason.name());
    if let Some(pending) = &asked.pending {
        set("auth_pending_file", pending.name());
    }
    set("username", login.username().unwrap_or_default().to_owned());
    set("script_type", "user-pass-verify".to_owned());
    variables.extend(login.environment.iter().cloned());
    variables
}

/// Wire: `auth_pending_file` has a timeout, a method and what the client is told.
const PENDING_LINES: usize = 3;
