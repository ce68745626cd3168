//! What a node tells of itself while it runs: the status file at its times, the log when SIGUSR2
//! comes, the control socket when somebody asks. All three have the same source, a round of
//! questions to the shards.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use jiff::tz::TimeZone;

use super::control_socket::{Asker, ControlSocket, ControlThread};
use super::counters::{Counters, NodeReport};
use super::event::{Direction, NodeEvent, SteeredBy};
use super::local_time::system_zone;
use super::message::Report;
use super::rounds::{Answer, Round, Rounds};
use super::status::{StatusFile, StatusFormat, StatusSnapshot, StatusWriter};
use crate::time::Now;

/// The open places that are told, before there are threads.
pub(super) struct Unstarted {
    pub(super) status: Option<(StatusWriter, Duration)>,
    pub(super) control: Option<ControlSocket>,
    /// The format of status file and log.
    pub(super) format: StatusFormat,
}

/// The threads behind those places, and the questions to the shards.
pub(super) struct Reporting {
    rounds: Rounds<Asker>,
    status: Option<StatusReports>,
    control: Option<ControlThread>,
    format: StatusFormat,
    zone: TimeZone,
    steered: Vec<(Direction, SteeredBy)>,
}

struct StatusReports {
    file: StatusFile,
    interval: Duration,
    /// When the next version is due, if there is to be one.
    next: Option<Instant>,
}

impl Unstarted {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread can't be had.
    pub(super) fn start(
        self,
        shards: usize,
        steered: Vec<(Direction, SteeredBy)>,
        reports: &Sender<Report>,
    ) -> io::Result<Reporting> {
        let status = self.status.map(started);
        let control = self.control.map(|socket| socket.start(reports.clone()));
        Ok(Reporting {
            rounds: Rounds::new(shards),
            status: status.transpose()?,
            control: control.transpose()?,
            format: self.format,
            zone: system_zone(),
            steered,
        })
    }
}

impl Reporting {
    /// Another status file from now on, or none. The one before has all that it was given.
    ///
    /// # Errors
    /// A thread can't be had; the file stays as it is.
    pub(super) fn renew_status(
        &mut self,
        file: Option<(StatusWriter, Duration)>,
    ) -> io::Result<()> {
        let format = file.as_ref().map(|(writer, _)| writer.format());
        let former = std::mem::replace(&mut self.status, file.map(started).transpose()?);
        self.format = format.unwrap_or(StatusFormat::V1);
        if let Some(former) = former {
            former.file.finish();
        }
        Ok(())
    }

    /// The log is to say everything.
    pub(super) fn want_in_log(&mut self) {
        self.rounds.wanted().log = true;
    }

    /// Somebody waits for an answer.
    pub(super) fn want(&mut self, asker: Asker) {
        self.rounds.wanted().askers.push(asker);
    }

    /// The status file stays as it is: the clients are leaving.
    pub(super) fn keep_status(&mut self) {
        if let Some(status) = &mut self.status {
            status.next = None;
        }
    }

    /// When there is something to do without anybody asking.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let status = self.status.as_ref().and_then(|status| status.next);
        self.rounds.until().into_iter().chain(status).min()
    }

    /// Begins a round if one is due or wanted: the shards to be asked now.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<usize> {
        if let Some(status) = &mut self.status
            && status.next.is_some_and(|next| next <= now)
        {
            status.next = Some(now + status.interval);
            self.rounds.wanted().file = true;
        }
        self.rounds.begin(now)
    }

    /// What a shard says.
    pub(super) fn answered(&mut self, shard: u16, answer: Answer) {
        self.rounds.answered(usize::from(shard), answer);
    }

    /// Ends the round that is complete, or whose time is up, and tells what it brought. `node` says
    /// what the node thread counts. What there is for the log comes back.
    pub(super) fn end(
        &mut self,
        now: Instant,
        node: impl FnOnce() -> Counters,
    ) -> Option<NodeEvent> {
        let round = self.rounds.end(now)?;
        let (file, log) = (round.wanted.file && round.is_complete(), round.wanted.log);
        let (report, askers) = self.report(round, node());
        if let Some(status) = self.status.as_ref().filter(|_| file) {
            // A file that can't be written fast enough is left out, not waited for.
            let _left_out = status.file.offer(report.status.clone());
        }
        let report = Arc::new(report);
        for asker in askers {
            // Who asked may have given up.
            let _gone = asker.try_send(Arc::clone(&report));
        }
        log.then_some(NodeEvent::Reported(report))
    }

    /// Ends the threads: what the status file was given is written, and nobody who asks gets an
    /// answer any more.
    pub(super) fn finish(&mut self) {
        drop(self.control.take());
        if let Some(status) = self.status.take() {
            status.file.finish();
        }
    }

    fn report(&self, round: Round<Asker>, node: Counters) -> (NodeReport, Vec<Asker>) {
        let (mut clients, mut shards) = (Vec::new(), Vec::new());
        for answer in round.answers {
            shards.push(answer.map(|answer| {
                clients.extend(answer.clients);
                answer.counters
            }));
        }
        let status = StatusSnapshot {
            unix: Now::read().unix,
            clients,
            longest_queue: 0,
        };
        let report = NodeReport {
            status,
            format: self.format,
            zone: self.zone.clone(),
            steered: self.steered.clone(),
            node,
            shards,
        };
        (report, round.wanted.askers)
    }
}

fn started((writer, interval): (StatusWriter, Duration)) -> io::Result<StatusReports> {
    Ok(StatusReports {
        file: writer.start()?,
        interval,
        next: Some(Instant::now()),
    })
}
