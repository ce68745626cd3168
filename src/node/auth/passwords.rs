//! The server's own judge of passwords (`ringway-password-file`). A hash of Argon2id takes a core some ten milliseconds, on
//! purpose: a few threads of their own do that, behind everything else that the machine has to do.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};

use super::Answers;
use super::login::{Link, Login, LoginAt, Verdict};
use crate::limits::{LOGINS_WAITING, PASSWORD_THREADS};
use crate::node::logins::{Followed, PasswordFile};

/// The judge. Its threads end with it.
pub(in crate::node) struct Passwords {
    asked: Sender<Arc<Login>>,
    answers: Answers,
}

impl Passwords {
    /// The one who knows what stands in this file.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub(in crate::node) fn start(
        file: Followed<PasswordFile>,
        answers: Answers,
    ) -> io::Result<Self> {
        let (asked, heard) = channel::bounded(LOGINS_WAITING);
        let file = Arc::new(file);
        for _ in 0..PASSWORD_THREADS {
            let (file, heard) = (Arc::clone(&file), heard.clone());
            let answers = answers.clone();
            thread::Builder::new()
                .name("passwords".to_owned())
                .spawn(move || judge(&file, &heard, &answers))?;
        }
        Ok(Self { asked, answers })
    }
}

fn judge(file: &Followed<PasswordFile>, heard: &Receiver<Arc<Login>>, answers: &Answers) {
    // It may not: then it is as eager as everybody else.
    let _as_before = rustix::process::nice(NICE);
    for login in heard {
        let name = login.username().unwrap_or_default();
        let verdict = match file.now().verify(name, &login.password()) {
            true => Verdict::Accepted,
            false => refused("wrong name or password"),
        };
        answers.answer(login.at, login.login, verdict);
    }
}

impl Link for Passwords {
    fn judge(&mut self, login: &Arc<Login>) {
        if self.asked.try_send(Arc::clone(login)).is_err() {
            let busy = "too many passwords wait to be looked at";
            let busy = Verdict::Refused {
                reason: login.try_again(BUSY_BACKOFF, busy),
                why: format!("ringway-password-file: {busy}").as_str().into(),
            };
            self.answers.answer(login.at, login.login, busy);
        }
    }

    /// What is made of it is not heard any more.
    fn forget(&mut self, _: LoginAt) {}
}

fn refused(why: &str) -> Verdict {
    Verdict::Refused {
        reason: String::new(),
        why: format!("ringway-password-file: {why}").as_str().into(),
    }
}

/// Seconds after which a client may come again when too many wait.
const BUSY_BACKOFF: u64 = 10;

/// How far its threads stand back behind others.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::auth::Message;
    use crate::node::auth::manager::tests::asked;
    use crate::node::logins::{hash, with};
    use crate::random::SeededRandom;

    #[test]
    fn the_right_password_is_accepted_and_a_new_file_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let write = |password: &str| {
            let hash = hash(password, &mut SeededRandom::new(1));
            let text = with("", "alice", &hash).unwrap();
            let new = directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        write("secret");
        let file = Followed::read(&path, PasswordFile::parse).unwrap();
        let (messages, heard) = channel::unbounded();
        let mut link = Passwords::start(file, Answers { messages, link: 0 }).unwrap();
        let (login, _) = asked(1, 1, Vec::new());
        let login = login.shared();
        let mut verdict = || {
            link.judge(&login);
            match heard.recv_timeout(Duration::from_secs(60)).unwrap() {
                Message::Answered { answer, .. } => answer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(verdict(), Verdict::Accepted);
        write("another");
        assert!(verdict().is_refusal());
        write("secret");
        assert_eq!(verdict(), Verdict::Accepted);
    }
}
