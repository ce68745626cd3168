//! A configuration that is read again while the node runs: on a thread of its own, since a disk may be
//! slow, and with all that can fail done before anything is changed.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::Sender;
use signal_hook::iterator::Signals as Caught;

use super::{Node, SIGNALS, State};
use crate::node::auth::Authentication;
use crate::node::client_files::Profiles;
use crate::node::event::{NodeEvent, StopSignal};
use crate::node::log::{LogOptions, LogTarget, Renewal};
use crate::node::message::{Instruction, Report};
use crate::node::reload::{Changes, ConfigurationReader, Reading, ReloadReport, Rest};
use crate::node::revocations::RevocationWatch;
use crate::node::settings::{ProcessSettings, RestartSignal, Settings, StatusSettings};
use crate::node::shard::Terms;
use crate::node::start::{network, over_streams, registry_rules, session_settings};
use crate::node::status::StatusWriter;

/// A server's settings, and how they are read again.
pub(super) struct Reloading {
    settings: Settings,
    reader: Option<Arc<dyn ConfigurationReader>>,
    /// Who waits for the thread that reads.
    reading: Option<ReloadWanted>,
    /// Who came while it read.
    next: Option<ReloadWanted>,
}

/// Somebody wants the configuration read again.
#[derive(Clone, Debug, Default)]
pub struct ReloadWanted {
    /// What needs a restart is wanted too.
    pub disruptive: bool,
    /// Who wants to know what came of it.
    pub askers: Vec<Sender<Arc<ReloadReport>>>,
}

/// What was read, and opened, and can be taken over.
#[derive(Debug)]
pub struct Reread(Result<Prepared, Vec<String>>);

#[derive(Debug)]
struct Prepared {
    settings: Settings,
    warnings: Vec<String>,
    log: Renewal,
    /// The status file, if it is another one now.
    status: Option<Option<StatusWriter>>,
}

/// What a node that ends to begin again leaves behind.
pub struct Restart {
    pub(in crate::node) settings: Settings,
    pub(in crate::node) reader: Option<Arc<dyn ConfigurationReader>>,
    /// Has the signals that come meanwhile.
    pub(in crate::node) signals: Caught,
}

impl Reloading {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            reader: None,
            reading: None,
            next: None,
        }
    }

    /// What SIGUSR1 is taken for.
    pub(super) const fn restart_signal(&self) -> RestartSignal {
        self.settings.node.process.restart
    }

    pub(super) fn read_by(&mut self, reader: Arc<dyn ConfigurationReader>) {
        self.reader = Some(reader);
    }

    /// Has the password of the key forgotten.
    pub(super) fn forget_password(&self) {
        if let Some(reader) = &self.reader {
            reader.forget();
        }
    }

    /// What the next node begins with. Its log goes on where this one's has ended.
    pub(super) fn restart(self, signals: Caught) -> Restart {
        let Self {
            mut settings,
            reader,
            ..
        } = self;
        if let LogTarget::Truncate(path) = &settings.node.log.target {
            settings.node.log.target = LogTarget::Append(path.clone());
        }
        Restart {
            settings,
            reader,
            signals,
        }
    }

    /// Starts to read, unless that runs.
    fn begin(&mut self, wanted: ReloadWanted, reports: Sender<Report>) -> Result<(), String> {
        let Some(reader) = self.reader.clone() else {
            return Err("nobody has said how the configuration is read again".to_owned());
        };
        if self.reading.is_some() {
            let next = self.next.get_or_insert_default();
            next.disruptive |= wanted.disruptive;
            next.askers.extend(wanted.askers);
            return Ok(());
        }
        let (log, status) = (self.settings.node.log.clone(), self.settings.status.clone());
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                let read = reader.read();
                let read = read.and_then(|reading| prepare(reading, &log, status.as_ref()));
                let _nobody_listens = reports.send(Report::Reread(Box::new(Reread(read))));
            })
            .map_err(|error| format!("a thread can't be started: {error}"))?;
        self.reading = Some(wanted);
        Ok(())
    }
}

impl Node {
    /// Has more or less logged, until the configuration is read again.
    pub(super) fn change_log(&mut self, change: impl FnOnce(&mut LogOptions)) {
        if let Some(reloading) = &mut self.reloading {
            let log = &mut reloading.settings.node.log;
            change(log);
            self.log.renew(Renewal::amount(log));
        }
    }

    /// Has the configuration read again.
    pub(super) fn reload(&mut self, wanted: ReloadWanted) {
        if !matches!(self.state, State::Serving) {
            return;
        }
        let askers = wanted.askers.clone();
        let begun = match &mut self.reloading {
            Some(reloading) => reloading.begin(wanted, self.reporter.clone()),
            None => Err(OF_A_CLIENT.to_owned()),
        };
        if let Err(why) = begun {
            self.reloaded(failed(vec![why]), &askers);
        }
    }

    /// It was read.
    pub(super) fn reread(&mut self, Reread(read): Reread) {
        let Some(reloading) = &mut self.reloading else {
            return;
        };
        let wanted = reloading.reading.take().unwrap_or_default();
        let next = reloading.next.take();
        if !matches!(self.state, State::Serving) {
            return;
        }
        let report = match read {
            Ok(prepared) => self.take_over(prepared, wanted.disruptive),
            Err(faults) => failed(faults),
        };
        let restarts = report.rest == Rest::Restarting;
        self.reloaded(report, &wanted.askers);
        match restarts {
            true => self.begin_restart(),
            false => next.into_iter().for_each(|next| self.reload(next)),
        }
    }

    fn reloaded(&mut self, report: ReloadReport, askers: &[Sender<Arc<ReloadReport>>]) {
        let report = Arc::new(report);
        self.publish(NodeEvent::Reloaded(Arc::clone(&report)));
        for asker in askers {
            // Who asked may have given up.
            let _gone = asker.try_send(Arc::clone(&report));
        }
    }

    fn take_over(&mut self, prepared: Prepared, disruptive: bool) -> ReloadReport {
        let Prepared {
            settings,
            warnings,
            log,
            status,
        } = prepared;
        let Some(reloading) = &mut self.reloading else {
            return ReloadReport::default();
        };
        let confined = is_confined(&reloading.settings.node.process);
        let current = &mut reloading.settings;
        let changes = Changes::take_over(current, settings, disruptive && !confined);
        let rest = match (changes.left.is_empty(), disruptive, confined) {
            (true, ..) | (_, false, _) => Rest::Left,
            (false, true, true) => Rest::Confined,
            (false, true, false) => Rest::Restarting,
        };
        let report = ReloadReport {
            faults: Vec::new(),
            warnings: warnings.into_iter().map(Into::into).collect(),
            changes,
            sessions: self.registry.len(),
            rest,
        };
        self.log.renew(log);
        if rest != Rest::Restarting {
            self.put_into_force(status);
            self.echo();
        }
        report
    }

    /// Tells words of the configuration again, as stock does.
    fn echo(&mut self) {
        let reloading = self.reloading.as_ref();
        let words = reloading.map_or_else(Vec::new, |it| it.settings.echo.clone());
        for text in words {
            let text = text.as_str().into();
            self.publish(NodeEvent::Echoed { text });
        }
    }

    /// Everybody hears of the settings that are in force now. None of it costs a session.
    fn put_into_force(&mut self, status: Option<Option<StatusWriter>>) {
        let Some(Reloading { settings, .. }) = &self.reloading else {
            return;
        };
        let reports = || self.reporter.clone();
        let mut faults = Vec::new();
        let mut fault = |what: &str, error: &dyn std::fmt::Display| {
            faults.push(format!("{what} stays as it was: {error}"));
        };
        match session_settings(settings) {
            Ok(mut session) => {
                let asks = self.authentication.as_ref();
                let rules = session.login.zip(asks.map(Authentication::asks));
                session.login = rules.and_then(|(configured, asks)| asks.rules(configured));
                let session = Arc::new(session);
                let stream_session = over_streams(settings, &session);
                for shard in &mut self.shards {
                    let terms = Terms {
                        session: Arc::clone(&session),
                        stream_session: Arc::clone(&stream_session),
                        network: network(settings),
                    };
                    shard.tell(Instruction::Follow(Box::new(terms)));
                }
            }
            Err(error) => fault("what sessions go by", &error),
        }
        let files = settings.client_files.clone();
        match files.map(|files| Profiles::start(files, reports())) {
            None => self.profiles = None,
            Some(Ok(profiles)) => self.profiles = Some(profiles),
            Some(Err(error)) => fault("client-config-dir", &error),
        }
        let tls = &settings.node.tls;
        let watches = tls
            .revocations
            .iter()
            .map(|lists| RevocationWatch::start(lists, &tls.authorities, reports()));
        match watches.collect() {
            Ok(watches) => self.revocations = watches,
            Err(error) => fault("crl-verify", &error),
        }
        if let Some(writer) = status {
            let interval = settings.status.as_ref().map(|status| status.interval);
            let file = writer.zip(interval);
            if let Err(error) = self.reporting.renew_status(file) {
                fault("status", &error);
            }
        }
        self.registry
            .follow(registry_rules(settings, self.shards.len() as u16));
        for text in faults {
            self.publish(NodeEvent::Warned { text: text.into() });
        }
        self.carry_out_orders();
    }

    /// The clients are told, and what comes then is up to who runs this node.
    fn begin_restart(&mut self) {
        match Caught::new(SIGNALS) {
            Ok(signals) => self.state = State::Restarting(signals),
            Err(error) => {
                let text = format!("the server is not restarted: no signals: {error}");
                return self.publish(NodeEvent::Warned { text: text.into() });
            }
        }
        self.reporting.keep_status();
        let signal = StopSignal::HangUp;
        self.publish(NodeEvent::Stopping { signal });
        self.tell_closing(signal);
        self.stop_shards();
    }
}

/// Opens what is another than before, so that nothing can fail later.
fn prepare(
    reading: Reading,
    log: &LogOptions,
    status: Option<&StatusSettings>,
) -> Result<Prepared, Vec<String>> {
    let Reading {
        settings,
        mut warnings,
    } = reading;
    settings.tls_engine().map_err(|why| vec![why])?;
    let renewed = Renewal::prepare(log, &settings.node.log).map_err(|error| {
        let target = &settings.node.log.target;
        vec![format!("the log {target} can't be opened: {error}")]
    })?;
    warnings.extend(renewed.remark().map(str::to_owned));
    let status = match settings.status.as_ref() {
        same if same == status => None,
        None => Some(None),
        Some(other) => Some(Some(open_status(other).map_err(|error| {
            let path = other.path.display();
            vec![format!(
                "the status file '{path}' can't be written: {error}"
            )]
        })?)),
    };
    Ok(Prepared {
        settings,
        warnings,
        log: renewed,
        status,
    })
}

fn open_status(status: &StatusSettings) -> io::Result<StatusWriter> {
    StatusWriter::open(status.path.clone(), status.format)
}

const fn is_confined(process: &ProcessSettings) -> bool {
    process.user.is_some() || process.group.is_some() || process.chroot.is_some()
}

fn failed(faults: Vec<String>) -> ReloadReport {
    ReloadReport {
        faults: faults.into_iter().map(Into::into).collect(),
        ..ReloadReport::default()
    }
}

const OF_A_CLIENT: &str = "a client's configuration is read when it starts, and not again: SIGUSR1 has it \
                           connect anew, and a restart reads the file";
