//! Where lines are written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::line::{Line, Severity};
use crate::node::local_time::{local_time, system_log_time, system_zone};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard output.
    Stdout,
    /// A file that is emptied first.
    Truncate(PathBuf),
    /// A file that grows.
    Append(PathBuf),
    /// The system log, under this program name.
    Syslog(String),
    /// The subscriber of the `tracing` crate that the embedding program has installed.
    Tracing,
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("on the standard output"),
            Self::Truncate(path) | Self::Append(path) => write!(f, "'{}'", path.display()),
            Self::Syslog(name) => write!(f, "of the system as {name}"),
            Self::Tracing => f.write_str("of the embedding program"),
        }
    }
}

/// How a line begins, where the target does not stamp it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// `2026-11-22 02:14:15 `.
    Local,
    /// Nothing (`suppress-timestamps`).
    None,
    /// Seconds and microseconds since 1970 and the verb (`machine-readable-output`).
    Machine,
}

/// An open target.
#[derive(Debug)]
pub(super) enum Sink {
    Stream(Stream),
    Syslog {
        socket: UnixDatagram,
        name: String,
        zone: TimeZone,
    },
    Tracing,
}

/// Bytes in a row: a file or the standard output.
#[derive(Debug)]
pub(super) struct Stream {
    to: StreamTo,
    stamp: Stamp,
    zone: TimeZone,
    /// Whole lines.
    unwritten: String,
}

#[derive(Debug)]
enum StreamTo {
    Stdout,
    File(File),
}

impl Sink {
    pub(super) fn open(target: &LogTarget, stamp: Stamp) -> io::Result<Self> {
        let stream = |to| {
            Self::Stream(Stream {
                to,
                stamp,
                zone: system_zone(),
                unwritten: String::new(),
            })
        };
        Ok(match target {
            LogTarget::Stdout => stream(StreamTo::Stdout),
            LogTarget::Truncate(path) => {
                let file = appending(path)?;
                // A pipe, such as /dev/stdout may be, has no length.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                stream(StreamTo::File(file))
            }
            LogTarget::Append(path) => stream(StreamTo::File(appending(path)?)),
            LogTarget::Syslog(name) => {
                let socket = UnixDatagram::unbound()?;
                // Now, for a new root directory may hide it later. It may also not be there yet.
                let _later = socket.connect(SYSLOG_SOCKET);
                let name = name.clone();
                let zone = system_zone();
                Self::Syslog { socket, name, zone }
            }
            LogTarget::Tracing => Self::Tracing,
        })
    }

    /// Takes lines that belong together; a stream may write them later.
    pub(super) fn write(&mut self, unix: u64, lines: &[Line]) {
        match self {
            Self::Stream(stream) => stream.write(unix, lines),
            Self::Syslog { socket, name, zone } => {
                let time = system_log_time(unix, zone);
                for line in lines {
                    let datagram = syslog_datagram(&time, name, std::process::id(), line);
                    if socket.send(datagram.as_bytes()).is_err() {
                        // The daemon behind it was started again, or for the first time.
                        let _unheard = socket
                            .connect(SYSLOG_SOCKET)
                            .and_then(|()| socket.send(datagram.as_bytes()));
                    }
                }
            }
            Self::Tracing => lines.iter().for_each(trace),
        }
    }

    /// Writes what was taken. What can't be written is gone: the log has nowhere to complain to.
    pub(super) fn flush(&mut self) {
        if let Self::Stream(stream) = self {
            stream.flush();
        }
    }
}

impl Stream {
    fn write(&mut self, unix: u64, lines: &[Line]) {
        let text = self.text(unix, lines);
        self.unwritten.push_str(&text);
        if self.unwritten.len() >= WRITE_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.unwritten);
        if text.is_empty() {
            return;
        }
        let _unheard = match &mut self.to {
            StreamTo::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush())
            }
            StreamTo::File(file) => file.write_all(text.as_bytes()),
        };
    }

    fn text(&self, unix: u64, lines: &[Line]) -> String {
        let stamp = match self.stamp {
            Stamp::Local => format!("{} ", local_time(unix, &self.zone)),
            Stamp::None | Stamp::Machine => String::new(),
        };
        let mut text = String::new();
        for line in lines {
            text.push_str(&stamp);
            if self.stamp == Stamp::Machine {
                text.push_str(&format!("{unix}.000000 {:x} ", line.level.verb));
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }
}

/// Opened for appending even when it is emptied first: tools that rotate a log by truncating it
/// must not leave a hole.
fn appending(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(OWNER_ONLY)
        .open(path)
}

/// One message in the form that `/dev/log` takes. Source: RFC 3164, section 4.1, without the host.
fn syslog_datagram(time: &str, name: &str, process: u32, line: &Line) -> String {
    let priority = SYSLOG_DAEMON
        + match line.level.severity {
            Severity::Warning => 4,
            Severity::Info => 5,
            Severity::Debug => 7,
        };
    format!("<{priority}>{time} {name}[{process}]: {}", line.text)
}

fn trace(line: &Line) {
    let text = line.text.as_str();
    match line.level.severity {
        Severity::Warning => tracing::warn!(target: "ringway", "{text}"),
        Severity::Info => tracing::info!(target: "ringway", "{text}"),
        Severity::Debug => tracing::debug!(target: "ringway", "{text}"),
    }
}

/// Bytes of lines that are written even though more come: as much as a pipe takes in one piece.
const WRITE_AT_ONCE: usize = 4096;

/// The mode of a new log file, as OpenVPN makes it.
const OWNER_ONLY: u32 = 0o600;

const SYSLOG_SOCKET: &str = "/dev/log";

/// The facility for daemons, in its place above the severity. RFC 3164, section 4.1.1.
const SYSLOG_DAEMON: u8 = 3 << 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::log::line::Level;

    fn line(severity: Severity) -> Line {
        Line {
            level: Level {
                verb: 3,
                group: 0,
                severity,
            },
            text: "words".to_owned(),
        }
    }

    #[test]
    fn each_stamp_begins_its_line() {
        for (stamp, expected) in [
            (
                Stamp::Local,
                "2026-11-22 01:00:35 words\n2026-11-22 01:00:35 words\n",
            ),
            (Stamp::None, "words\nwords\n"),
            (
                Stamp::Machine,
                "1795309235.000000 3 words\n1795309235.000000 3 words\n",
            ),
        ] {
            let stream = Stream {
                to: StreamTo::Stdout,
                stamp,
                zone: TimeZone::UTC,
                unwritten: String::new(),
            };
            let two = [line(Severity::Info), line(Severity::Info)];
            assert_eq!(stream.text(1_795_309_235, &two), expected);
        }
    }

    #[test]
    fn a_syslog_message_carries_priority_name_and_process() {
        for (severity, expected) in [
            (
                Severity::Warning,
                "<28>Nov 22 01:00:35 ovpn-server[42]: words",
            ),
            (Severity::Info, "<29>Nov 22 01:00:35 ovpn-server[42]: words"),
            (
                Severity::Debug,
                "<31>Nov 22 01:00:35 ovpn-server[42]: words",
            ),
        ] {
            assert_eq!(
                syslog_datagram("Nov 22 01:00:35", "ovpn-server", 42, &line(severity)),
                expected
            );
        }
    }
}
