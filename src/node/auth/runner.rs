//! The server's side of the helper that starts scripts: who waits for which end.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::helper::{Request, ScriptEnd, encode, read_end};
use crate::limits::{SCRIPTS_RUNNING, SCRIPTS_WAITING};
use crate::node::settings::ScriptCommand;

/// Who is told of the end of a script, on a thread of the runner.
pub(in crate::node) type WhenEnded = Box<dyn FnOnce(ScriptEnd) + Send>;

/// The helper process, and the scripts that it runs or is to run.
pub(in crate::node) struct Runner {
    state: Arc<Mutex<State>>,
    /// Gone with the runner, and waited for.
    helper: Option<Child>,
}

struct State {
    socket: UnixStream,
    running: HashMap<u64, WhenEnded>,
    waiting: VecDeque<(Request, WhenEnded)>,
    last: u64,
    broken: bool,
}

impl Runner {
    /// Starts the helper: this program, to be told by its arguments how to confine itself. Before
    /// privileges go.
    ///
    /// # Errors
    /// It can't be started.
    pub(in crate::node) fn start(
        helper: &ScriptCommand,
        confinement: &[String],
    ) -> io::Result<Self> {
        let (own, other) = UnixStream::pair()?;
        let child = Command::new(&helper.program)
            .args(&helper.arguments)
            .args(confinement)
            .env_clear()
            .stdin(OwnedFd::from(other))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut runner = Self::over(own)?;
        runner.helper = Some(child);
        Ok(runner)
    }

    /// A helper at the other end of this socket. The ends of scripts are told by a thread, which is
    /// started by [`Runner::listen`].
    fn over(socket: UnixStream) -> io::Result<Self> {
        let state = State {
            socket,
            running: HashMap::new(),
            waiting: VecDeque::new(),
            last: 0,
            broken: false,
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            helper: None,
        })
    }

    /// Starts the thread that tells of ends. When privileges are gone.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(in crate::node) fn listen(&self) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let mut socket = lock(&state).socket.try_clone()?;
        thread::Builder::new()
            .name("scripts".to_owned())
            .spawn(move || {
                while let Ok((number, end)) = read_end(&mut socket) {
                    let told = lock(&state).ended(number);
                    if let Some(when_ended) = told {
                        when_ended(end);
                    }
                }
                let left = lock(&state).give_up();
                for when_ended in left {
                    when_ended(ScriptEnd::NotStarted(GONE.to_owned()));
                }
            })?;
        Ok(())
    }

    /// Has a program run with these arguments and this environment, for so long at most.
    pub(super) fn run(
        &self,
        words: Vec<String>,
        environment: Zeroizing<Vec<(String, String)>>,
        patience: Duration,
        when_ended: WhenEnded,
    ) {
        let leaves = false;
        self.ask(words, environment, patience, leaves, when_ended);
    }

    /// As [`Runner::run`]; what it has started goes on when it has ended well itself.
    pub(in crate::node) fn run_and_leave(
        &self,
        words: Vec<String>,
        environment: Zeroizing<Vec<(String, String)>>,
        patience: Duration,
        when_ended: WhenEnded,
    ) {
        let leaves = true;
        self.ask(words, environment, patience, leaves, when_ended);
    }

    fn ask(
        &self,
        words: Vec<String>,
        environment: Zeroizing<Vec<(String, String)>>,
        patience: Duration,
        leaves: bool,
        when_ended: WhenEnded,
    ) {
        let mut state = lock(&self.state);
        state.last += 1;
        let request = Request {
            number: state.last,
            patience,
            leaves,
            words,
            environment,
        };
        let refused = match (state.broken, state.waiting.len() >= SCRIPTS_WAITING) {
            (true, _) => GONE,
            (false, true) => "too many scripts wait",
            (false, false) => {
                state.waiting.push_back((request, when_ended));
                return state.send();
            }
        };
        drop(state);
        when_ended(ScriptEnd::NotStarted(refused.to_owned()));
    }
}

impl State {
    /// Sends what there is room for. What waits in the socket is bounded by what runs.
    fn send(&mut self) {
        while self.running.len() < SCRIPTS_RUNNING
            && let Some((request, when_ended)) = self.waiting.pop_front()
        {
            // Should it fail, the thread that listens finds the socket closed too.
            let _sent = self.socket.write_all(&encode(&request));
            self.running.insert(request.number, when_ended);
        }
    }

    fn ended(&mut self, number: u64) -> Option<WhenEnded> {
        let told = self.running.remove(&number);
        self.send();
        told
    }

    fn give_up(&mut self) -> Vec<WhenEnded> {
        self.broken = true;
        let waiting = self.waiting.drain(..).map(|(_, told)| told);
        waiting
            .chain(self.running.drain().map(|(_, told)| told))
            .collect()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _gone_already = lock(&self.state).socket.shutdown(Shutdown::Both);
        if let Some(mut helper) = self.helper.take() {
            let _status = helper.wait();
        }
    }
}

/// A thread that panicked with it has left it as it was between two steps.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

const GONE: &str = "the process that starts scripts is gone: restart the server";

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::node::auth::helper;

    /// A runner with its helper on a thread.
    pub(in crate::node::auth) fn runner() -> Runner {
        let (own, other) = UnixStream::pair().unwrap();
        thread::spawn(move || helper::serve(other));
        let runner = Runner::over(own).unwrap();
        runner.listen().unwrap();
        runner
    }

    fn run(runner: &Runner, script: &str, patience: Duration) -> mpsc::Receiver<ScriptEnd> {
        let (tell, told) = mpsc::channel();
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let environment = Zeroizing::new(vec![("colour".to_owned(), "blue".to_owned())]);
        let when_ended = Box::new(move |end| tell.send(end).unwrap());
        runner.run(words, environment, patience, when_ended);
        told
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    fn ended(told: &mpsc::Receiver<ScriptEnd>) -> ScriptEnd {
        told.recv_timeout(PATIENCE).unwrap()
    }

    #[test]
    fn a_script_has_its_environment_and_no_other_and_tells_by_its_status() {
        let runner = runner();
        for (script, expected) in [
            ("exit 0", ScriptEnd::Exited(0)),
            ("exit 7", ScriptEnd::Exited(7)),
            ("kill -9 $$", ScriptEnd::Killed(9)),
            (
                "test \"$colour\" = blue && test -z \"$HOME$CARGO\"",
                ScriptEnd::Exited(0),
            ),
        ] {
            assert_eq!(ended(&run(&runner, script, PATIENCE)), expected, "{script}");
        }
        let (tell, told) = mpsc::channel();
        let nothing = vec!["/nowhere/at/all".to_owned()];
        let when_ended = Box::new(move |end| tell.send(end).unwrap());
        runner.run(nothing, Zeroizing::default(), PATIENCE, when_ended);
        assert!(matches!(ended(&told), ScriptEnd::NotStarted(_)));
    }

    #[test]
    fn who_prints_without_end_or_hangs_with_children_holds_up_nobody() {
        let runner = runner();
        let loud = run(&runner, "head -c 104857600 /dev/zero", PATIENCE);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("child");
        let hang = format!("sleep 1000 & echo $! >{}; wait", file.display());
        let hangs = run(&runner, &hang, Duration::from_secs(2));
        let others: Vec<_> = (0..100).map(|_| run(&runner, "exit 3", PATIENCE)).collect();
        for other in others {
            assert_eq!(ended(&other), ScriptEnd::Exited(3));
        }
        assert_eq!(ended(&loud), ScriptEnd::Exited(0));
        assert_eq!(ended(&hangs), ScriptEnd::Slow);
        let child: u32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let begun = Instant::now();
        // Killed, and perhaps not waited for by whoever inherits it.
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.contains("(sleep)") && !stat.contains(") Z")
        };
        while lives() {
            assert!(begun.elapsed() < PATIENCE, "its child still runs");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_a_deferring_script_has_started_goes_on() {
        let runner = runner();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("answer");
        let defer = format!("(sleep 0.3; echo 1 >{}) & exit 2", file.display());
        let told = run(&runner, &defer, PATIENCE);
        assert_eq!(ended(&told), ScriptEnd::Exited(2));
        let begun = Instant::now();
        while !file.exists() {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn without_its_helper_every_script_has_failed() {
        let (own, other) = UnixStream::pair().unwrap();
        let runner = Runner::over(own).unwrap();
        runner.listen().unwrap();
        let before = run(&runner, "exit 0", PATIENCE);
        drop(other);
        assert_eq!(ended(&before), ScriptEnd::NotStarted(GONE.to_owned()));
        let after = run(&runner, "exit 0", PATIENCE);
        assert_eq!(ended(&after), ScriptEnd::NotStarted(GONE.to_owned()));
    }
}
