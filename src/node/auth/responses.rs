//! What clients answer to challenges while their logins are judged: handed on to all who may have asked, as in stock.
//! Who judges the login says what it makes of that in the way that it says everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use zeroize::Zeroizing;

use super::Answers;
use super::environment;
use super::files::TemporaryFile;
use super::helper::ScriptEnd;
use super::login::{Login, Verdict};
use super::manager::ClientNews;
use super::runner::Runner;
use super::visits::Hooks;
use crate::node::plugins::{Hook, PluginHost, Question};
use crate::node::settings::ScriptCommand;
use crate::session::ChallengeResponse;

/// Who is told.
pub(super) struct Responses {
    directory: PathBuf,
    patience: Duration,
    /// `client-crresponse`.
    script: Option<(ScriptCommand, Arc<Runner>)>,
    plugins: Option<Arc<PluginHost>>,
    /// The management interface.
    news: Option<Sender<ClientNews>>,
}

impl Responses {
    pub(super) fn new(hooks: &Hooks, news: Option<Sender<ClientNews>>) -> Self {
        let plugins = hooks.plugins.clone();
        Self {
            directory: hooks.directory.clone(),
            patience: hooks.patience,
            script: hooks.scripts.challenge.clone().zip(hooks.runner.clone()),
            plugins: plugins.filter(|host| host.wants(Hook::ClientCrResponse)),
            news,
        }
    }

    /// Hands a response on, with the files for the answer of who judges the login; a script that fails has
    /// refused it. Wire: what each is told is a contract of 2.6.
    pub(super) fn tell(
        &self,
        login: &Arc<Login>,
        files: Vec<(String, String)>,
        response: &ChallengeResponse,
        answers: Answers,
    ) {
        if let Some(news) = &self.news {
            let responded = ClientNews::Responded(Arc::clone(login), response.clone());
            let _nobody_listens = news.send(responded);
        }
        let mut variables = Zeroizing::new(files);
        variables.extend(environment::with_username(login));
        if let Some(host) = &self.plugins {
            let question = Question::new(Hook::ClientCrResponse, self.patience)
                .about(login.client_id)
                .knowing([("crresponse", &**response.0)])
                .knowing(variables.iter().map(|(name, value)| (name, value)));
            // Wire: what it returns counts for nothing.
            let _question = host.ask(question, |_| {});
        }
        if let Some((script, runner)) = &self.script {
            self.run(script, runner, login, variables, response, answers);
        }
    }

    fn run(
        &self,
        script: &ScriptCommand,
        runner: &Runner,
        login: &Login,
        mut variables: Zeroizing<Vec<(String, String)>>,
        response: &ChallengeResponse,
        answers: Answers,
    ) {
        let (at, number) = (login.at, login.login);
        let refuse = move |why: String| {
            let why = why.as_str().into();
            let reason = String::new();
            answers.answer(at, number, Verdict::Refused { reason, why });
        };
        // Not by the environment: it may be as good as a password.
        let file = TemporaryFile::create(&self.directory, "cr", response.0.as_bytes());
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                let directory = self.directory.display();
                return refuse(format!("could not create a file in {directory}: {error}"));
            }
        };
        let words = script.followed_by([file.name()]);
        variables.push(("script_type".to_owned(), "client-crresponse".to_owned()));
        let when_ended = move |end: ScriptEnd| {
            drop(file);
            if end != ScriptEnd::Exited(0) {
                let end = end.told();
                refuse(format!(
                    "Failed running command (--client-crresponse): {end}"
                ));
            }
        };
        runner.run(words, variables, self.patience, Box::new(when_ended));
    }
}
