//! The control socket: one line of request, one text of answer, connection by connection.
//!
//! Its thread asks the node thread by a report and waits for the answer a bounded time, so that it
//! never holds anything up but who asks. It serves one connection after the other; those that come
//! meanwhile wait in the kernel's backlog.
//!
//! The socket is its owner's alone: who may connect may ask.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, TryRecvError};
use crossbeam::select;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::counters::NodeReport;
use super::message::Report;
use super::running::ReloadWanted;
use super::title::title;
use crate::limits::{
    CONTROL_ANSWER_PATIENCE, CONTROL_BACKLOG_CONNECTIONS, CONTROL_RELOAD_PATIENCE,
    CONTROL_REQUEST_MAX, CONTROL_REQUEST_PATIENCE,
};

/// The request for the counters of node and shards.
pub const REPORT: &str = "report";

/// The request to read the configuration again.
pub const RELOAD: &str = "reload";

/// The same, and to restart if that is needed.
pub const RELOAD_DISRUPTIVE: &str = "reload --disruptive";

/// What an answer begins with that is none.
pub const ERROR: &str = "ERROR: ";

/// Who waits for the node's report.
pub type Asker = Sender<Arc<NodeReport>>;

/// The socket, before there is a thread that serves it.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    file: (u64, u64),
}

/// The thread that serves it. Dropping this ends it, and removes the socket if the process still
/// may.
#[derive(Debug)]
pub(super) struct ControlThread {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
    /// Both are there until the end.
    alive: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// Another server answers there.
    #[error(
        "ringway-control: another server answers on '{}': every server needs a socket of its own",
        path.display()
    )]
    Live {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("ringway-control: '{}' is there and is no socket", path.display())]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system refused.
    #[error("ringway-control: no socket can be made at '{}': {error}", path.display())]
    System {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl ControlSocket {
    /// Binds the socket, in the place of one that a dead server has left behind.
    ///
    /// # Errors
    /// The place is taken, or can't be had.
    pub(super) fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let failed = |error| ControlSocketError::System {
            path: path.to_owned(),
            error,
        };
        clear(path)?;
        listen(path).map_err(failed)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// No thread, or the process is out of descriptors.
    pub(super) fn start(self, reports: Sender<Report>) -> io::Result<ControlThread> {
        let (listener, path, file) = (self.listener.try_clone()?, self.path, self.file);
        let (alive, end) = channel::bounded(0);
        let service = Service {
            listener: self.listener,
            reports,
            end,
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || service.run())?;
        Ok(ControlThread {
            listener,
            path,
            file,
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        drop(self.alive.take());
        // Ends the wait for the next connection.
        let _ended = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _panicked = thread.join();
        }
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _may_not = fs::remove_file(&self.path);
        }
    }
}

/// The thread's side.
struct Service {
    listener: UnixListener,
    reports: Sender<Report>,
    /// Closed at the end.
    end: Receiver<Infallible>,
}

impl Service {
    fn run(self) {
        loop {
            let accepted = self.listener.accept();
            if self.end.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            match accepted {
                // Who does not ask, or does not read, harms nobody else.
                Ok((stream, _)) => drop(self.serve(stream)),
                // No descriptor is free. It may be better soon.
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let request = request(&mut stream)?;
        let answer = match request.as_str() {
            REPORT => self.report(),
            RELOAD => self.reload(false),
            RELOAD_DISRUPTIVE => self.reload(true),
            other => {
                let known = format!("`{REPORT}`, `{RELOAD}` and `{RELOAD_DISRUPTIVE}`");
                format!("{ERROR}unknown request '{other}': there is {known}\n")
            }
        };
        stream.set_write_timeout(Some(CONTROL_REQUEST_PATIENCE))?;
        stream.write_all(answer.as_bytes())
    }

    fn report(&self) -> String {
        let (asker, answer) = channel::bounded(1);
        let question = Report::Asked { asker };
        let report = self.ask(question, &answer, CONTROL_ANSWER_PATIENCE);
        report.map_or_else(|why| why, |report| text(&report))
    }

    fn reload(&self, disruptive: bool) -> String {
        let (asker, answer) = channel::bounded(1);
        let askers = vec![asker];
        let question = Report::Reload(ReloadWanted { disruptive, askers });
        match self.ask(question, &answer, CONTROL_RELOAD_PATIENCE) {
            Ok(report) => {
                let lines = report.lines().into_iter();
                let text: String = lines.map(|(_, line)| format!("{line}\n")).collect();
                match report.faults.is_empty() {
                    true => text,
                    false => format!("{ERROR}{text}"),
                }
            }
            Err(why) => why,
        }
    }

    /// What the node thread answers, or that it does not.
    fn ask<T>(
        &self,
        question: Report,
        answer: &Receiver<T>,
        patience: Duration,
    ) -> Result<T, String> {
        if self.reports.try_send(question).is_err() {
            return Err(format!(
                "{ERROR}the node thread is too busy to take questions\n"
            ));
        }
        let answer = select! {
            recv(answer) -> answer => answer.ok(),
            recv(self.end) -> _ => answer.try_recv().ok(),
            default(patience) => None,
        };
        answer.ok_or_else(|| format!("{ERROR}the node thread does not answer\n"))
    }
}

/// The answer to [`REPORT`].
fn text(report: &NodeReport) -> String {
    let mut text = format!("{}, process {}\n", title(), std::process::id());
    for line in report.counters() {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// One line, ended by a line feed or by the end of what is sent.
fn request(stream: &mut UnixStream) -> io::Result<String> {
    let until = Instant::now() + CONTROL_REQUEST_PATIENCE;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < CONTROL_REQUEST_MAX {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if stream.read(&mut byte)? == 0 || byte == *b"\n" {
            let printable = |character: char| match character.is_control() {
                true => '_',
                false => character,
            };
            let text = String::from_utf8_lossy(&line);
            return Ok(text.trim().chars().map(printable).collect());
        }
        line.extend(byte);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// Removes a socket on which nobody answers.
fn clear(path: &Path) -> Result<(), ControlSocketError> {
    let failed = |error| ControlSocketError::System {
        path: path.to_owned(),
        error,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ControlSocketError::NoSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match is_live(path) {
        Ok(false) => fs::remove_file(path).map_err(failed),
        Ok(true) => Err(ControlSocketError::Live {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(error)),
    }
}

/// Whether somebody listens. A connection that would have to wait says so too.
fn is_live(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

fn listen(path: &Path) -> io::Result<ControlSocket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody connects before it listens, so at no time could anybody else.
    fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))?;
    socket.listen(CONTROL_BACKLOG_CONNECTIONS)?;
    Ok(ControlSocket {
        listener: UnixListener::from(std::os::fd::OwnedFd::from(socket)),
        path: path.to_owned(),
        file: identity(path)?,
    })
}

/// Device and inode of a socket's file, by which its owner knows it again.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

const OWNER_ONLY: u32 = 0o600;

/// How long the thread waits when there was no connection to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::counters::Counters;
    use crate::node::status::{StatusFormat, StatusSnapshot};
    use jiff::tz::TimeZone;

    struct Server {
        directory: tempfile::TempDir,
        control: ControlThread,
        node: JoinHandle<usize>,
        reports: Sender<Report>,
    }

    impl Server {
        /// With a node thread that answers and counts, and ends at the first other report.
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let (reports, taken) = channel::bounded(4);
            let socket = ControlSocket::bind(&directory.path().join("socket")).unwrap();
            let control = socket.start(reports.clone()).unwrap();
            let node = thread::spawn(move || {
                let asked = taken.iter().map_while(|report| match report {
                    Report::Asked { asker } => Some(asker),
                    _ => None,
                });
                asked.map(|asker| asker.send(report()).unwrap()).count()
            });
            Self {
                directory,
                control,
                node,
                reports,
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("socket")
        }

        fn ask(&self, request: &str) -> String {
            let mut stream = UnixStream::connect(self.path()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }

        /// How many questions the node thread has answered.
        fn finish(self) -> usize {
            drop(self.control);
            self.reports.send(Report::Ready).unwrap();
            self.node.join().unwrap()
        }
    }

    fn report() -> Arc<NodeReport> {
        Arc::new(NodeReport {
            status: StatusSnapshot::default(),
            format: StatusFormat::V1,
            zone: TimeZone::UTC,
            steered: Vec::new(),
            node: Counters::default().with("clients", [("registered", 5)]),
            shards: Vec::new(),
        })
    }

    #[test]
    fn a_line_is_answered_and_the_connection_closed() {
        let server = Server::start();
        let expected = format!(
            "{}, process {}\nnode: clients: registered=5\n",
            title(),
            std::process::id()
        );
        assert_eq!(server.ask("report\n"), expected);
        assert_eq!(server.ask(" report \r\n"), expected);
        assert_eq!(
            server.ask("reprot\x1b\n"),
            "ERROR: unknown request 'reprot_': there is `report`, `reload` and `reload --disruptive`\n"
        );
        assert_eq!(server.finish(), 2);
    }

    #[test]
    fn who_does_not_ask_is_given_up_and_who_asks_too_much_as_well() {
        let server = Server::start();
        let silent = UnixStream::connect(server.path()).unwrap();
        let mut babbling = UnixStream::connect(server.path()).unwrap();
        let _partly = babbling.write_all(&[b'a'; 2 * CONTROL_REQUEST_MAX]);
        // Behind both of them.
        assert!(server.ask("report\n").starts_with("OpenVPN "));
        for mut stream in [silent, babbling] {
            let mut answer = Vec::new();
            // The end, or a reset because of what was not read.
            let _reset = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"");
        }
        assert_eq!(server.finish(), 1);
    }

    #[test]
    fn a_hundred_at_once_are_all_answered() {
        let server = Server::start();
        let streams: Vec<UnixStream> = (0..100)
            .map(|_| {
                let mut stream = UnixStream::connect(server.path()).unwrap();
                stream.write_all(b"report\n").unwrap();
                stream
            })
            .collect();
        for mut stream in streams {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("registered=5\n"), "{answer}");
        }
        assert_eq!(server.finish(), 100);
    }

    #[test]
    fn a_node_that_does_not_answer_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (reports, asked) = channel::bounded(1);
        let control = ControlSocket::bind(&path).unwrap().start(reports).unwrap();
        for expected in [
            "ERROR: the node thread does not answer\n",
            "ERROR: the node thread is too busy to take questions\n",
        ] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(b"report\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, expected);
        }
        drop(asked);
        drop(control);
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
        let server = Server::start();
        let path = server.path();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(server.control);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_servers_socket_is_replaced_a_live_ones_and_a_file_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        // A process that another test starts has a copy of the listener for a moment.
        for _ in 0..1000 {
            if UnixStream::connect(&path).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let live = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, ControlSocketError::Live { .. }), "{error}");
        drop(live);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a letter").unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(
            matches!(error, ControlSocketError::NoSocket { .. }),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
        let nowhere = ControlSocket::bind(Path::new("/nonexistent/socket")).unwrap_err();
        assert!(
            matches!(nowhere, ControlSocketError::System { .. }),
            "{nowhere}"
        );
    }

    #[test]
    fn another_servers_socket_in_the_same_place_stays() {
        let server = Server::start();
        let path = server.path();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(server.control);
        assert!(path.exists());
    }
}
