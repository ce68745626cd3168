//! A program under test: its log is captured line by line, it can be waited for, and it dies with
//! the test that started it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A started program with its captured output (standard output and standard error together).
///
/// Dropping it kills it. When the test is failing, the end of its log is printed; with
/// `RINGWAY_INTEROP_LOGS` in the environment (and libtest's `--nocapture`), all of it and always.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
}

impl Process {
    /// Starts `program` with `arguments` in the namespace `namespace`.
    pub(crate) fn spawn(name: &str, namespace: &str, program: &str, arguments: &[&str]) -> Self {
        let mut child = command_in(namespace, program, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Waits until a line that contains `needle` has been logged, and gives that line back.
    pub(crate) fn wait_for(&self, needle: &str) -> String {
        self.wait_for_any(&[needle])
    }

    /// Waits until a line that contains one of `needles` has been logged, and gives it back.
    pub(crate) fn wait_for_any(&self, needles: &[&str]) -> String {
        let found = self.log.wait(|lines| {
            lines
                .iter()
                .find(|line| needles.iter().any(|it| line.contains(it)))
                .cloned()
        });
        found.unwrap_or_else(|| panic!("{} did not log any of {needles:?}", self.name))
    }

    /// Waits until `count` lines contain `needle`.
    pub(crate) fn wait_for_count(&self, needle: &str, count: usize) {
        let reached = self.log.wait(|lines| {
            (lines.iter().filter(|line| line.contains(needle)).count() >= count).then_some(())
        });
        assert!(
            reached.is_some(),
            "{} did not log {needle:?} {count} times",
            self.name
        );
    }

    /// How many lines contain `needle` by now.
    pub(crate) fn count(&self, needle: &str) -> usize {
        self.log
            .state
            .lock()
            .unwrap()
            .lines
            .iter()
            .filter(|line| line.contains(needle))
            .count()
    }

    /// Everything logged by now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.state.lock().unwrap().lines.clone()
    }

    /// Waits until the program's thread called `thread` waits in a function of the kernel whose name
    /// contains `place`.
    pub(crate) fn wait_thread_in(&self, thread: &str, place: &str) {
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually(&format!("{thread} in {place}"), || {
            let mut tasks = std::fs::read_dir(&tasks).unwrap().map_while(Result::ok);
            let waits = tasks.any(|task| {
                let read = |name| std::fs::read_to_string(task.path().join(name));
                // A thread may end while it is looked at.
                read("comm").is_ok_and(|name| name.trim() == thread)
                    && read("wchan").is_ok_and(|name| name.contains(place))
            });
            waits.then_some(())
        });
    }

    /// The cores that the program's thread called `thread` may run on, as the kernel writes them.
    pub(crate) fn cores_of_thread(&self, thread: &str) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            .find(|status| status.starts_with(&format!("Name:\t{thread}\n")))
            .and_then(|status| {
                let mut lines = status.lines();
                let cores = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
                cores.map(|cores| cores.trim().to_owned())
            })
            .unwrap_or_else(|| panic!("{} has no thread {thread}", self.name))
    }

    /// What the kernel tells in this file about the program.
    pub(crate) fn told_by_kernel(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Waits until the program has ended by itself and all it wrote has been read.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let status = eventually(&format!("the end of {}", self.name), || {
            self.child.try_wait().unwrap()
        });
        self.log.wait(|_| None::<()>);
        status
    }

    /// Ends the program the hard way, as a crash or a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let all = std::env::var_os("RINGWAY_INTEROP_LOGS").is_some();
        if all || std::thread::panicking() {
            let lines = self.lines();
            let tail = if all { lines.len() } else { TAIL };
            println!("---- end of the log of {} ----", self.name);
            for line in &lines[lines.len().saturating_sub(tail)..] {
                println!("{line}");
            }
        }
    }
}

/// The captured lines, filled by one thread per stream.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    open_streams: usize,
}

impl Log {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.state.lock().unwrap().open_streams += 1;
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.state.lock().unwrap().lines.push(line);
                log.changed.notify_all();
            }
            log.state.lock().unwrap().open_streams -= 1;
            log.changed.notify_all();
        });
    }

    /// Asks `find` after each new line until it answers, the streams end or the limit is reached.
    fn wait<T>(&self, find: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + LIMIT;
        let mut state = self.state.lock().unwrap();
        loop {
            let found = find(&state.lines);
            let left = end.saturating_duration_since(Instant::now());
            if found.is_some() || state.open_streams == 0 || left.is_zero() {
                return found;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// A command that runs `program` in a namespace and is killed when the thread that starts it ends,
/// so that nothing survives a test binary that was itself killed.
pub(crate) fn command_in(namespace: &str, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "ip",
        "netns",
        "exec",
        namespace,
        program,
    ]);
    command.args(arguments);
    command
}

/// Runs a command to its end and gives back its standard output; panics when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {text}{error}",
        arguments.join(" ")
    );
    text
}

/// Asks `question` again and again until it has an answer; panics at the limit.
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How long any wait may take: far above what a loaded machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How many lines of a log a failing test prints.
const TAIL: usize = 60;
