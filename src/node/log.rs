//! The log: the first subscriber of the event bus. A thread turns events into lines and writes them.
//!
//! Formatting and writing happen here and nowhere else, so a full disk or a slow terminal costs
//! lines, never packets: what the subscription lost is said in the log as soon as it can be.

pub mod line;
mod mute;
mod target;

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};

use self::line::{Level, Line, Severity, lines};
use self::mute::{Judgement, Mute};
use self::target::Sink;
pub use self::target::{LogTarget, Stamp};
use super::bus::{Delivery, Published, Subscription};
use super::event::NodeEvent;
use super::privileges::renounce;
use super::writer::Writer;
use crate::time::Now;

/// The thread that writes the log; it ends with the bus.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
    renewals: Sender<Renewal>,
}

/// What is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Where.
    pub target: LogTarget,
    /// How much, 0 to 11.
    pub verb: u8,
    /// Lines of one kind in a row before the rest are only counted; `None` for all.
    pub mute: Option<NonZeroU32>,
    /// How a line begins.
    pub stamp: Stamp,
}

impl Log {
    /// Opens the target and starts writing.
    ///
    /// # Errors
    /// The target can't be opened, or no thread started.
    pub fn start(options: &LogOptions, subscription: Subscription) -> io::Result<Self> {
        let (renewals, renewed) = channel::unbounded();
        let mut scribe = Scribe {
            sink: Sink::open(&options.target, options.stamp)?,
            verb: options.verb,
            mute: Mute::new(options.mute),
            renewed,
        };
        let writer = Writer::start("log", move || scribe.run(&subscription))?;
        Ok(Self { writer, renewals })
    }

    /// Goes on by other options, at the next line.
    pub(super) fn renew(&self, renewal: Renewal) {
        // The thread lives as long as this.
        let _ended = self.renewals.send(renewal);
    }

    /// Waits until everything that was published is written; a log that takes nothing is left
    /// alone after [`WRITER_GRACE`](crate::limits::WRITER_GRACE). The bus must be gone by then.
    pub fn finish(self) {
        self.writer.finish();
    }
}

/// Other options for a log that runs, with what they need open.
#[derive(Debug)]
pub(super) struct Renewal {
    /// `None` to go on where it is.
    sink: Option<Sink>,
    verb: u8,
    /// `None` to go on counting.
    mute: Option<Mute>,
    remark: Option<String>,
}

impl Renewal {
    /// Opens the target of `new`. A file that is the same as `before` is opened anew without being
    /// emptied: it may have been moved away. If it can't be, it stays open, which is remarked upon.
    ///
    /// # Errors
    /// Another target can't be opened.
    pub(super) fn prepare(before: &LogOptions, new: &LogOptions) -> io::Result<Self> {
        let (mut sink, mut remark) = (None, None);
        let (target, same) = match (file_of(&before.target), file_of(&new.target)) {
            (Some(file), Some(same)) if file == same => (LogTarget::Append(file.clone()), true),
            _ => (new.target.clone(), before.target == new.target),
        };
        let is_file = file_of(&target).is_some();
        if !same || is_file || before.stamp != new.stamp {
            match Sink::open(&target, new.stamp) {
                Ok(opened) => sink = Some(opened),
                Err(error) if same => {
                    let text = format!(
                        "WARNING: the log {target} stays open as it was, for it can't be opened anew: {error}"
                    );
                    remark = Some(text);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            sink,
            verb: new.verb,
            mute: (before.mute != new.mute).then(|| Mute::new(new.mute)),
            remark,
        })
    }

    /// Another amount, in the same place.
    pub(super) fn amount(options: &LogOptions) -> Self {
        Self {
            sink: None,
            verb: options.verb,
            mute: Some(Mute::new(options.mute)),
            remark: None,
        }
    }

    /// What there is to remark.
    pub(super) fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }
}

/// The file that a target is, if it is one.
const fn file_of(target: &LogTarget) -> Option<&PathBuf> {
    match target {
        LogTarget::Truncate(path) | LogTarget::Append(path) => Some(path),
        LogTarget::Stdout | LogTarget::Syslog(_) | LogTarget::Tracing => None,
    }
}

#[derive(Debug)]
struct Scribe {
    sink: Sink,
    verb: u8,
    mute: Mute,
    renewed: Receiver<Renewal>,
}

impl Scribe {
    fn run(&mut self, subscription: &Subscription) {
        loop {
            match subscription.next(PATIENCE) {
                Delivery::Event(Published { unix, event }) => {
                    self.renew();
                    if matches!(event, NodeEvent::Confined { .. }) {
                        // This thread is older than that. What forbids it here has forbidden it
                        // to the node as well, which then did not start.
                        let _unchanged = renounce();
                    }
                    self.write(unix, lines(&event, self.verb));
                }
                Delivery::Nothing => self.report_lost(subscription),
                Delivery::Ended => {
                    self.report_lost(subscription);
                    return self.sink.flush();
                }
            }
            if subscription.is_empty() {
                self.report_lost(subscription);
                self.sink.flush();
                // Whoever logs next would have to wake this thread, which costs the data path more than
                // the line does; what is logged meanwhile is written together.
                thread::sleep(GATHERING);
            }
        }
    }

    /// Follows the options that came meanwhile.
    fn renew(&mut self) {
        for renewal in self.renewed.try_iter() {
            if let Some(sink) = renewal.sink {
                self.sink.flush();
                self.sink = sink;
            }
            if let Some(mute) = renewal.mute {
                self.mute = mute;
            }
            self.verb = renewal.verb;
        }
    }

    fn report_lost(&mut self, subscription: &Subscription) {
        let lost = subscription.take_lost();
        if lost > 0 {
            let line = Line {
                level: LOST,
                text: format!("WARNING: {lost} events lost: the log could not be written in time"),
            };
            self.write(Now::read().unix, vec![line]);
        }
    }

    fn write(&mut self, unix: u64, lines: Vec<Line>) {
        let mut kept = Vec::with_capacity(lines.len());
        for line in lines {
            let Judgement { note, write } = self.mute.judge(line.level.group);
            kept.extend(note.map(|text| Line {
                level: line.level,
                text,
            }));
            if write {
                kept.push(line);
            }
        }
        if !kept.is_empty() {
            self.sink.write(unix, &kept);
        }
    }
}

/// How old a line can be when it is written.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the thread sleeps at most before it looks for losses.
const PATIENCE: Duration = Duration::from_secs(1);

const LOST: Level = Level {
    verb: 0,
    group: 0,
    severity: Severity::Warning,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::bus::Bus;
    use std::fs;
    use std::path::Path;

    fn options(target: LogTarget) -> LogOptions {
        LogOptions {
            target,
            verb: 3,
            mute: None,
            stamp: Stamp::None,
        }
    }

    fn warned(text: &str) -> NodeEvent {
        NodeEvent::Warned { text: text.into() }
    }

    fn log_of(options: &LogOptions, events: &[NodeEvent], path: &Path) -> String {
        let mut bus = Bus::new();
        let log = Log::start(options, bus.subscribe(64)).unwrap();
        for event in events {
            bus.publish(0, event.clone());
        }
        drop(bus);
        log.finish();
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_emptied_or_grows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let events = [warned("one"), NodeEvent::InitializationComplete];
        let told = "WARNING: one\nInitialization Sequence Completed\n";
        assert_eq!(
            log_of(
                &options(LogTarget::Append(path.clone())),
                &events[..1],
                &path
            ),
            "old\nWARNING: one\n"
        );
        assert_eq!(
            log_of(&options(LogTarget::Truncate(path.clone())), &events, &path),
            told
        );
    }

    #[test]
    fn losses_are_reported_after_what_was_queued() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut bus = Bus::new();
        let subscription = bus.subscribe(2);
        for text in ["one", "two", "three", "four", "five"] {
            bus.publish(0, warned(text));
        }
        let log = Log::start(&options(LogTarget::Append(path.clone())), subscription).unwrap();
        drop(bus);
        log.finish();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "WARNING: one\nWARNING: two\n\
             WARNING: 3 events lost: the log could not be written in time\n"
        );
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_an_error() {
        let nowhere = LogTarget::Append("/nonexistent/folder/log".into());
        assert!(Log::start(&options(nowhere), Bus::new().subscribe(1)).is_err());
    }
}
