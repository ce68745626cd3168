//! The link that asks somebody outside of this process: a script, or plug-ins. They say it at once, or later in
//! files that this link looks at.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use super::Answers;
use super::deferral::{Deferral, Seen};
use super::login::{Link, Login, LoginAt, Verdict};
use super::rota::Rota;

/// Who is asked.
pub(in crate::node) trait Outside: Send {
    /// Asks what it makes of a login, with the names of the files for a later answer. What comes back
    /// is kept until nobody waits any more. Must not wait.
    ///
    /// # Errors
    /// A file that it needs can't be made.
    fn ask(
        &mut self,
        login: &Login,
        files: Vec<(String, String)>,
        told: Told,
    ) -> io::Result<Box<dyn Any + Send>>;

    /// A client is gone that it has been asked about.
    fn left(&mut self, _client_id: u64) {}

    /// What the log says of a refusal that came later.
    fn refused_later(&self) -> &'static str;
}

/// Takes the answer at once; good on any thread.
pub(in crate::node) type Told = Box<dyn FnOnce(AtOnce) + Send>;

/// An answer.
#[derive(Debug)]
pub(in crate::node) enum AtOnce {
    /// Nothing against the login.
    Accepted,
    /// It is not to come in: what the log says.
    Refused(String),
    /// The answer comes later.
    Deferred,
}

/// Somebody outside, and the logins that they have.
pub(in crate::node) struct OutsideLink<O> {
    outside: O,
    directory: PathBuf,
    answers: Answers,
    /// What is said at once, on another thread.
    told: (Sender<Said>, Receiver<Said>),
    logins: HashMap<LoginAt, Asked>,
    /// Those whose answer comes later.
    deferred: Rota<LoginAt>,
}

struct Said {
    at: LoginAt,
    login: u64,
    answer: AtOnce,
}

/// A login that they have.
struct Asked {
    login: Arc<Login>,
    files: Deferral,
    /// What goes with the question.
    _kept: Box<dyn Any + Send>,
}

impl<O: Outside> OutsideLink<O> {
    /// The link that makes its files in this directory.
    pub(in crate::node) fn new(outside: O, directory: PathBuf, answers: Answers) -> Self {
        Self {
            outside,
            directory,
            answers,
            told: mpsc::channel(),
            logins: HashMap::new(),
            deferred: Rota::new(),
        }
    }

    fn ask(&mut self, login: &Arc<Login>) -> io::Result<()> {
        let files = Deferral::create(&self.directory)?;
        let (tell, answers) = (self.told.0.clone(), self.answers.clone());
        let (at, number) = (login.at, login.login);
        let told = move |answer| {
            let login = number;
            // The link ends with the node.
            let _nobody_listens = tell.send(Said { at, login, answer });
            answers.wake();
        };
        let kept = self.outside.ask(login, files.variables(), Box::new(told))?;
        let asked = Asked {
            login: Arc::clone(login),
            files,
            _kept: kept,
        };
        self.logins.insert(at, asked);
        Ok(())
    }

    fn said(&mut self, Said { at, login, answer }: Said, now: Instant) {
        let asked = self.logins.get(&at);
        if asked.is_none_or(|asked| asked.login.login != login) {
            return;
        }
        match answer {
            AtOnce::Accepted => self.accept(at),
            AtOnce::Refused(why) => self.refuse(at, None, &why),
            AtOnce::Deferred => self.look(at, now),
        }
    }

    /// Looks at what has been written for a login, and again later if that is no answer.
    fn look(&mut self, at: LoginAt, now: Instant) {
        let Some(asked) = self.logins.get_mut(&at) else {
            return;
        };
        match asked.files.look(&asked.login) {
            Seen::Nothing => {}
            Seen::Accepted => self.accept(at),
            Seen::Refused => self.refuse(at, None, self.outside.refused_later()),
            Seen::Unusable { reason, why } => self.refuse(at, reason, &why),
            Seen::Pending { timeout, extra } => {
                let pending = Verdict::Pending { timeout, extra };
                self.answers.answer(at, asked.login.login, pending);
            }
        }
        if self.logins.contains_key(&at) {
            self.deferred.add(at, now);
        }
    }

    fn accept(&mut self, at: LoginAt) {
        if let Some(asked) = self.logins.remove(&at) {
            let login = asked.login.login;
            self.answers.answer(at, login, Verdict::Accepted);
        }
    }

    /// Refuses it with this reason for the client, or with that of the file.
    fn refuse(&mut self, at: LoginAt, reason: Option<String>, why: &str) {
        if let Some(asked) = self.logins.remove(&at) {
            let reason = reason.unwrap_or_else(|| asked.files.reason());
            let (login, why) = (asked.login.login, why.into());
            let refused = Verdict::Refused { reason, why };
            self.answers.answer(at, login, refused);
        }
    }
}

impl<O: Outside> Link for OutsideLink<O> {
    fn judge(&mut self, login: &Arc<Login>) {
        if let Err(error) = self.ask(login) {
            let directory = self.directory.display();
            let why = format!("could not create a file in {directory}: {error}");
            self.answers.answer(
                login.at,
                login.login,
                Verdict::Refused {
                    reason: String::new(),
                    why: why.as_str().into(),
                },
            );
        }
    }

    fn files(&self, at: LoginAt) -> Vec<(String, String)> {
        let asked = self.logins.get(&at);
        asked
            .map(|asked| asked.files.variables())
            .unwrap_or_default()
    }

    fn forget(&mut self, at: LoginAt) {
        self.logins.remove(&at);
    }

    fn left(&mut self, client_id: u64) {
        self.outside.left(client_id);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.deferred.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Ok(said) = self.told.1.try_recv() {
            self.said(said, now);
        }
        for at in self.deferred.take_due(now) {
            self.look(at, now);
        }
    }
}
