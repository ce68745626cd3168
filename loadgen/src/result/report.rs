//! Everything that a run leaves behind: read again, it can be drawn, compared and merged.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Machine, OwnCore, Tally, Traffic};
use crate::arrivals::Delivery;
use crate::lan::order::Counts;
use crate::limits::REPORT_FILE_MAX;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::server_process::{ServerUse, Work, overlap};

/// A run: what it was, what it measured, and what may have been wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`Report::FORMAT`].
    pub format: u32,
    /// The command that made it.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// How long it lasted; of a merged report the longest part of it.
    pub seconds: f64,
    /// How it ended.
    pub ending: Ending,
    /// Where and with what.
    pub machine: Machine,
    /// From which everything random was drawn.
    pub seed: u64,
    /// The server's address and port.
    pub server_address: String,
    /// Which sessions it had; several ranges in a merged report.
    pub sessions: Vec<SessionNumbers>,
    /// What was done on purpose on the way, as it was asked for; empty if nothing was.
    #[serde(default)]
    pub faults: String,
    /// True if many sessions shared a socket, which no figure for others may do.
    #[serde(default)]
    pub shared_sockets: bool,
    /// What was planned.
    pub plan: Plan,
    /// When each of its phases really was.
    pub phases: Vec<PhaseTime>,
    /// What was counted.
    pub tally: Tally,
    /// What the generator itself used.
    #[serde(default)]
    pub own: Vec<OwnCore>,
    /// Why the generator was itself the limit, a sentence each; empty if it was not.
    #[serde(default)]
    pub limits: Vec<String>,
    /// What the server used, if its process was looked at.
    #[serde(default)]
    pub server: Option<ServerUse>,
    /// What the LAN host saw, if it was asked.
    #[serde(default)]
    pub far_side: Option<FarSide>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// As planned.
    Complete,
    /// By a signal.
    Interrupted,
    /// Before its time, for this reason.
    Failed(String),
}

/// Sessions by number; two generators have disjoint ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionNumbers {
    /// The number of the first.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// When a phase was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Its name in the plan.
    pub name: String,
    /// Seconds from the start of the run.
    pub began: f64,
    /// How long it lasted.
    pub seconds: f64,
}

/// What the LAN host saw of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarSide {
    /// Sessions that it had to tell of.
    pub sessions: u64,
    /// Sessions that got no answer when they asked it: their packets are in no figure here.
    pub silent: u64,
    /// What became of the packets of the clients.
    pub up: Delivery,
    /// Those that arrived, with their bytes.
    pub up_traffic: Traffic,
    /// Echo requests that arrived, and were answered.
    pub echoes: u64,
    /// What it sent to the clients by itself.
    pub down: Traffic,
    /// What it should have sent and did not, because it was too far behind.
    pub down_missed: u64,
    /// Datagrams for which its socket had no room, of all runs since it was started: they count as lost up, and the
    /// server did not lose them. Of several sockets the greatest.
    pub socket_drops: u64,
}

impl Report {
    /// What this program writes, and all that it reads.
    pub const FORMAT: u32 = 1;

    /// The report in a file.
    ///
    /// # Errors
    /// If the file can't be read, or has no report of this format.
    pub fn read(path: &Path) -> Result<Self, ReportFault> {
        let unreadable = |source| ReportFault::File {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let mut file = File::open(path).map_err(unreadable)?.take(REPORT_FILE_MAX);
        file.read_to_string(&mut text).map_err(unreadable)?;
        Self::from_json(&text).map_err(|why| ReportFault::Content {
            path: path.to_owned(),
            why,
        })
    }

    /// The report in a text, or what is wrong with it.
    fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }

        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        // A later format may have any fields: its number is read first.
        let Format { format } = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
        if format != Self::FORMAT {
            let known = Self::FORMAT;
            return Err(format!(
                "it has format {format}, and this program reads {known}"
            ));
        }
        serde_json::from_str(text).map_err(|fault| fault.to_string())
    }

    /// All of it, for programs.
    pub fn to_json(&self) -> String {
        // No key of a map is anything but text, which is all that could be refused.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Writes it to a file, as JSON.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportFault> {
        fs::write(path, self.to_json()).map_err(|source| ReportFault::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Packets of the clients that arrived behind the server; what was sent, if nobody was there to count.
    pub fn up_traffic(&self) -> Traffic {
        self.far_side.map_or(self.tally.up, |far| far.up_traffic)
    }

    /// What became of the clients' packets, if somebody counted them.
    pub fn up_delivery(&self) -> Option<Delivery> {
        self.far_side.map(|far| far.up)
    }

    /// Works out what the server used for each thing that it did in the phases of the plan.
    pub fn relate_server(&mut self) {
        let windows = self.windows();
        let done = self.done();
        let scenarios = || self.plan.phases.iter().flat_map(|phase| &phase.run);
        let connects = scenarios()
            .flat_map(Scenario::elements)
            .any(|it| it.connects());
        let holds = scenarios().any(Scenario::holds_sessions);
        // A straggler of those that came up before, and the few that are there at once while others come and go, are
        // no work that a server's time could be divided by.
        let when = |told: bool, count: f64| if told { count } else { 0.0 };
        let work = Work {
            handshakes: when(connects, done.handshakes),
            packets: done.up_packets + done.down_packets,
            bytes: done.up_bytes + done.down_bytes,
            sessions: when(holds, done.sessions),
        };
        if let Some(server) = &mut self.server {
            server.relate(&windows, work);
        }
    }

    /// When the phases were, from and to; all of the run, if it came to none.
    ///
    /// Only whole intervals of the series count, as long as there are any: what happened just before a phase
    /// is in the interval in which it began.
    fn windows(&self) -> Vec<(f64, f64)> {
        let interval = self.tally.interval_seconds;
        let phases = self.phases.iter();
        let windows: Vec<_> = phases.map(|it| (it.began, it.began + it.seconds)).collect();
        let whole = windows.iter().map(|(from, to)| {
            let from = (from / interval).ceil() * interval;
            (from, ((to / interval).floor() * interval).max(from))
        });
        let whole: Vec<_> = whole.filter(|(from, to)| to > from).collect();
        match (whole.is_empty(), windows.is_empty()) {
            (false, _) => whole,
            (true, false) => windows,
            (true, true) => vec![(0.0, self.seconds)],
        }
    }

    /// What was done in the phases: bringing up sessions before one, and leaving behind it, is not part of
    /// its rates.
    pub(super) fn done(&self) -> Done {
        let windows = self.windows();
        let arrived = self.up_delivery().map_or(1.0, |it| 1.0 - it.loss());
        let interval = self.tally.interval_seconds;
        let mut done = Done {
            seconds: windows.iter().map(|it| it.1 - it.0).sum(),
            ..Done::default()
        };
        for (index, moment) in self.tally.series.iter().enumerate() {
            let begin = index as f64 * interval;
            let inside: f64 = windows
                .iter()
                .map(|window| overlap(*window, (begin, begin + interval)) / interval)
                .sum();
            done.up_packets += moment.up.packets as f64 * arrived * inside;
            done.up_bytes += moment.up.bytes as f64 * arrived * inside;
            done.down_packets += moment.down.packets as f64 * inside;
            done.down_bytes += moment.down.bytes as f64 * inside;
            done.handshakes += moment.handshakes as f64 * inside;
            done.sessions = done.sessions.max(moment.sessions as f64);
        }
        done
    }
}

/// What was done in the phases of a run. Parts of intervals make it fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// How long they were.
    pub(super) seconds: f64,
    pub(super) handshakes: f64,
    /// Packets that arrived behind the server; that were sent, if nobody was there to count.
    pub(super) up_packets: f64,
    pub(super) up_bytes: f64,
    pub(super) down_packets: f64,
    pub(super) down_bytes: f64,
    /// The most sessions that were held at once, before the phases, too.
    pub(super) sessions: f64,
}

impl FarSide {
    /// Adds one session, which sent `sent` packets up and whose down packets are counted elsewhere.
    pub fn add_session(&mut self, sent: u64, counts: &Counts) {
        self.sessions += 1;
        self.up += counts.delivery(sent);
        self.up_traffic += Traffic {
            packets: counts.received,
            bytes: counts.bytes,
        };
        self.echoes += counts.echoes;
        self.down += Traffic {
            packets: counts.down_packets,
            bytes: counts.down_bytes,
        };
        self.down_missed += counts.down_missed;
        self.socket_drops = self.socket_drops.max(counts.socket_drops);
    }

    /// Adds what it saw of other sessions.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.silent += other.silent;
        self.up += other.up;
        self.up_traffic += other.up_traffic;
        self.echoes += other.echoes;
        self.down += other.down;
        self.down_missed += other.down_missed;
        self.socket_drops = self.socket_drops.max(other.socket_drops);
    }
}

impl SessionNumbers {
    /// True if a session is in both.
    pub const fn overlaps(&self, other: &Self) -> bool {
        let (first, second) = (self.first as u64, other.first as u64);
        first < second + other.count as u64 && second < first + self.count as u64
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportFault {
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has something else.
    #[error("{}: no report of loadgen: {why}; reports are what --json writes", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::span::Span;

    const SECOND: u64 = 1_000_000_000;

    /// Of four seconds, in which everything happened once.
    pub(crate) fn sample() -> Report {
        let plan = Plan::from_words("bidirectional+latency", 10, Span::of(4)).unwrap();
        let mut tally = Tally::new(Duration::from_secs(4));
        tally.attempts = 11;
        for session in 0..10 {
            tally.established(session * SECOND / 10, (session + 1) * 2_000_000);
        }
        tally.failed(SECOND, "server refused <the login> & \"more\"");
        for second in 0..4 {
            let at = second * SECOND;
            tally.holds(at, 10);
            let (packets, bytes) = (1000, 1_400_000);
            tally.sent(at, Traffic { packets, bytes });
            tally.received(at, Traffic { packets, bytes });
            for micros in 1..=100 {
                tally.returned(at, micros * 10_000);
                tally.lateness.record(micros * 100);
            }
        }
        tally.down_delivery = Delivery {
            sent: 4004,
            received: 4000,
            lost: 4,
            reordered: 2,
            ..Delivery::default()
        };
        let mut report = Report {
            format: Report::FORMAT,
            command: "loadgen --scenario 'a&b' <x>".to_owned(),
            started: 1.8e9,
            seconds: 4.0,
            ending: Ending::Complete,
            machine: Machine {
                host: "lab".to_owned(),
                processor: "A <fast> one".to_owned(),
                processors: 2,
                kernel: "Linux 6.18".to_owned(),
                load: Some(0.5),
                commit: Some("abcdef0".to_owned()),
            },
            seed: 7,
            server_address: "192.0.2.1:1194".to_owned(),
            sessions: vec![SessionNumbers {
                first: 0,
                count: 10,
            }],
            faults: String::new(),
            shared_sockets: false,
            plan,
            phases: vec![PhaseTime {
                name: "bidirectional+latency".to_owned(),
                began: 0.0,
                seconds: 4.0,
            }],
            tally,
            own: vec![OwnCore {
                core: 1,
                cpu_seconds: 1.5,
                shares: vec![0.25, 0.5, 0.375, 0.375],
            }],
            limits: vec![],
            server: Some(ServerUse {
                pid: 17,
                name: "openvpn".to_owned(),
                seconds: 4.0,
                process_cpu_seconds: 1.0,
                cores: vec![crate::server_process::ServerCore {
                    core: 0,
                    busy_seconds: 2.0,
                }],
                rest_bytes: 10_000_000,
                peak_bytes: 12_000_000,
                ..ServerUse::default()
            }),
            far_side: Some(FarSide {
                sessions: 10,
                up: Delivery {
                    sent: 4000,
                    received: 3900,
                    lost: 100,
                    ..Delivery::default()
                },
                up_traffic: Traffic {
                    packets: 3900,
                    bytes: 5_460_000,
                },
                ..FarSide::default()
            }),
        };
        report.relate_server();
        report
    }

    #[test]
    fn a_file_gives_back_the_very_report() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let report = sample();
        report.write(file.path()).unwrap();
        assert_eq!(Report::read(file.path()).unwrap(), report);
        // 5.46 MB up and 5.6 down for two busy seconds of its core.
        let server = report.server.unwrap();
        let cost = server.core_ms_per_gigabit.unwrap();
        assert!(
            (cost - 2000.0 / (11.06e6 * 8.0 / 1e9)).abs() < 1e-6,
            "{cost}"
        );
        assert_eq!(server.bytes_per_session, Some(200_000.0));
    }

    #[test]
    fn what_was_done_before_a_phase_is_not_its_work() {
        let mut report = sample();
        report.phases[0].began = 1.25;
        report.phases[0].seconds = 2.5;
        // Of 1.25 to 3.75 one interval is whole.
        let done = report.done();
        assert_eq!(
            (done.seconds, done.handshakes, done.sessions),
            (1.0, 0.0, 10.0)
        );
        assert_eq!((done.up_packets, done.down_packets), (975.0, 1000.0));
        report.phases[0].seconds = 0.5;
        let done = report.done();
        assert_eq!((done.seconds, done.down_packets), (0.5, 500.0));
        report.relate_server();
        assert_eq!(report.server.unwrap().core_us_per_handshake, None);
    }

    #[test]
    fn only_what_a_phase_is_about_has_a_cost() {
        for (words, handshake, session) in [
            ("handshake", true, false),
            ("idle", false, true),
            ("storm", true, true),
            ("idle+churn", true, true),
        ] {
            let mut report = sample();
            report.plan = Plan::from_words(words, 10, Span::of(4)).unwrap();
            report.relate_server();
            let server = report.server.unwrap();
            let has = server.core_us_per_handshake.is_some();
            assert_eq!(
                (has, server.bytes_per_session.is_some()),
                (handshake, session),
                "{words}"
            );
        }
    }

    #[test]
    fn a_run_that_came_to_no_phase_is_taken_whole() {
        let mut report = sample();
        report.phases.clear();
        assert_eq!(report.done(), sample().done());
    }

    #[test]
    fn every_ending_is_written_and_read() {
        for (ending, text) in [
            (Ending::Complete, "\"complete\""),
            (Ending::Interrupted, "\"interrupted\""),
            (Ending::Failed("no".to_owned()), "{\"failed\":\"no\"}"),
        ] {
            assert_eq!(serde_json::to_string(&ending).unwrap(), text);
            assert_eq!(serde_json::from_str::<Ending>(text).unwrap(), ending);
        }
    }

    #[test]
    fn what_is_no_report_says_why() {
        let mut later = serde_json::to_value(sample()).unwrap();
        later["format"] = 2.into();
        let mut lacking = serde_json::to_value(sample()).unwrap();
        lacking.as_object_mut().unwrap().remove("tally");
        for (text, why) in [
            (String::new(), "it is empty"),
            (" \n".to_owned(), "it is empty"),
            ("{".to_owned(), "EOF"),
            ("[]".to_owned(), "invalid"),
            ("{}".to_owned(), "missing field `format`"),
            (
                later.to_string(),
                "it has format 2, and this program reads 1",
            ),
            (lacking.to_string(), "missing field `tally`"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = Report::read(file.path()).unwrap_err().to_string();
            let name = file.path().display().to_string();
            assert!(
                error.starts_with(&format!("{name}: no report of loadgen: ")),
                "{error}"
            );
            assert!(error.contains(why), "{error}");
        }
        let error = Report::read(Path::new("/nonexistent/a.json")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/a.json: "));
        assert!(sample().write(Path::new("/nonexistent/a.json")).is_err());
    }

    #[test]
    fn the_far_side_is_the_sum_of_its_sessions() {
        let counts = Counts {
            received: 90,
            bytes: 9000,
            duplicated: 1,
            reordered: 2,
            echoes: 3,
            down_packets: 4,
            down_bytes: 400,
            down_missed: 5,
            socket_drops: 7,
            ..Counts::default()
        };
        let mut far = FarSide::default();
        far.add_session(100, &counts);
        far.add_session(90, &counts);
        assert_eq!((far.sessions, far.up.sent, far.up.lost), (2, 190, 10));
        assert_eq!((far.up_traffic.bytes, far.down.bytes), (18_000, 800));
        far.silent = 1;
        let other = far;
        far.add(&other);
        assert_eq!((far.sessions, far.silent, far.up.lost), (4, 2, 20));
        assert_eq!((far.echoes, far.down_missed), (12, 20));
        assert_eq!(far.socket_drops, 7, "all of them are of the same socket");
    }

    #[test]
    fn sessions_overlap_or_do_not() {
        let numbers = |first, count| SessionNumbers { first, count };
        for (first, second, verdict) in [
            (numbers(0, 10), numbers(10, 10), false),
            (numbers(0, 11), numbers(10, 10), true),
            (numbers(5, 1), numbers(0, 10), true),
            (numbers(u32::MAX, 9), numbers(0, 9), false),
        ] {
            assert_eq!(first.overlaps(&second), verdict);
            assert_eq!(second.overlaps(&first), verdict);
        }
    }
}
