//! What the LAN host leaves behind, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::LanOptions;
use super::order::Counts;
use super::socket::Served;
use crate::arrivals::Delivery;
use crate::result::{Durations, Machine, Traffic};

/// Everything that the LAN host saw.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LanReport {
    format: u32,
    command: String,
    started: f64,
    seconds: f64,
    machine: Machine,
    listened: Vec<String>,
    clients: Vec<String>,
    /// By the number that each run has drawn, in hexadecimal.
    runs: BTreeMap<String, RunSeen>,
    sessions: Vec<SessionSeen>,
    strange: u64,
    refused_addresses: u64,
    refused_sessions: u64,
    crowded_out: u64,
    send_failures: u64,
    socket_drops: u64,
    lateness: Durations,
    failures: Vec<String>,
}

/// What was seen of one run, or of one of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct RunSeen {
    sessions: u64,
    up: Delivery,
    up_bytes: u64,
    echoes: u64,
    down: Traffic,
    down_missed: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct SessionSeen {
    run: String,
    session: u32,
    #[serde(flatten)]
    seen: RunSeen,
}

impl LanReport {
    pub(super) fn new(
        options: &LanOptions,
        started: f64,
        lasted: Duration,
        served: Vec<Served>,
    ) -> Self {
        let mut report = Self {
            format: 1,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            started,
            seconds: lasted.as_secs_f64(),
            machine: Machine::look(),
            listened: options.listen.iter().map(ToString::to_string).collect(),
            clients: options.clients.iter().map(ToString::to_string).collect(),
            runs: BTreeMap::new(),
            sessions: Vec::new(),
            strange: 0,
            refused_addresses: 0,
            refused_sessions: 0,
            crowded_out: 0,
            send_failures: 0,
            socket_drops: 0,
            lateness: Durations::new(),
            failures: Vec::new(),
        };
        served.into_iter().for_each(|it| report.add(it));
        report
            .sessions
            .sort_by(|a, b| (&a.run, a.session).cmp(&(&b.run, b.session)));
        report
    }

    fn add(&mut self, served: Served) {
        let name = |run: u32| format!("{run:08x}");
        for (run, forgotten) in served.seen.forgotten {
            let seen = RunSeen::of(forgotten.sessions, forgotten.highest, forgotten.counts);
            self.runs.entry(name(run)).or_default().add(&seen);
        }
        for (session, highest, counts) in served.sessions {
            let seen = RunSeen::of(1, highest, counts);
            self.runs.entry(name(session.run)).or_default().add(&seen);
            self.sessions.push(SessionSeen {
                run: name(session.run),
                session: session.session,
                seen,
            });
        }
        self.strange += served.seen.strange;
        self.refused_addresses += served.seen.refused_addresses;
        self.refused_sessions += served.seen.refused_sessions;
        self.crowded_out += served.seen.crowded_out;
        self.send_failures += served.send_failures;
        self.socket_drops += served.socket_drops;
        self.lateness.add(&served.seen.lateness);
        let failure = served
            .failure
            .map(|why| format!("{}: {why}", served.address));
        self.failures.extend(failure);
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.flush()
    }
}

impl fmt::Display for LanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (run, seen) in &self.runs {
            let RunSeen { up, down, .. } = seen;
            writeln!(
                f,
                "run {run}: {} sessions; up {} received, {} lost, {} reordered, {} duplicated; \
                 {} echoed; down {} sent, {} not sent for lack of time",
                seen.sessions,
                up.received,
                up.lost,
                up.reordered,
                up.duplicated,
                seen.echoes,
                down.packets,
                seen.down_missed
            )?;
        }
        for (count, what) in [
            (self.strange, "datagrams of no run"),
            (
                self.refused_addresses,
                "datagrams from addresses outside --clients",
            ),
            (
                self.refused_sessions,
                "datagrams of sessions beyond --sessions-max",
            ),
            (self.crowded_out, "answers for which there was no room"),
            (self.send_failures, "datagrams that the system did not send"),
            (
                self.socket_drops,
                "datagrams for which the socket had no room",
            ),
        ] {
            if count > 0 {
                writeln!(f, "{count} {what}")?;
            }
        }
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        Ok(())
    }
}

impl RunSeen {
    fn of(sessions: u64, highest: u64, counts: Counts) -> Self {
        Self {
            sessions,
            up: counts.delivery(highest),
            up_bytes: counts.bytes,
            echoes: counts.echoes,
            down: Traffic {
                packets: counts.down_packets,
                bytes: counts.down_bytes,
            },
            down_missed: counts.down_missed,
        }
    }

    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.up += other.up;
        self.up_bytes += other.up_bytes;
        self.echoes += other.echoes;
        self.down += other.down;
        self.down_missed += other.down_missed;
    }
}
