//! A run from its options to its report.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadgen::html::page;
use loadgen::live::{self, Live};
use loadgen::plan::Plan;
use loadgen::result::{self, Ending, Machine, Report, SessionNumbers, unix_seconds};
use loadgen::scenario::{Direction, Scenario};
use loadgen::server_process::{Sampler, cores_of_list};
use loadgen::summary::summary;
use ringway::node::settings::usable_cores;
use ringway::random::{Random, SeededRandom};

use crate::crowd::Crowd;
use crate::descriptors;
use crate::engine::{FaultRules, Place, Progress, Run, RunSettings, Seen};
use crate::failure::Failure;
use crate::options::{self, Options};
use crate::profile::Profile;

/// Makes a run and tells what it measured.
///
/// # Errors
/// It could not begin.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    if let Some(directory) = &options.cd {
        std::env::set_current_dir(directory)
            .map_err(|error| Failure::Option(format!("--cd {}: {error}", directory.display())))?;
    }
    let plan = match &options.plan {
        Some(file) => Plan::from_file(file)?,
        None => Plan::from_words(&options.scenario, options.sessions, options.duration)?,
    };
    check(&plan, options)?;
    let profiles = match (&options.config, &options.profiles) {
        (Some(file), _) => vec![Profile::read(file)?],
        (None, Some(directory)) => Profile::read_all(directory)?,
        (None, None) => return Err(Failure::Option("--config FILE is missing".to_owned())),
    };
    let Some(server) = profiles.first().map(|profile| profile.server) else {
        return Err(Failure::Option(
            "--profiles: no profile is there".to_owned(),
        ));
    };
    let cores = cores(options)?;
    let visitors = visitors(&plan);
    let sessions = held(&plan) + visitors;
    let sockets = sessions.div_ceil(options.share_sockets);
    descriptors::allow(sockets, cores.len())?;
    let stop = crate::signals()?;
    let crowd = Crowd::new(profiles, options, sessions)?;
    let mut random = SeededRandom::new(options.seed ^ u64::from(std::process::id()) << 32);
    let started = unix_seconds();
    let machine = Machine::look();
    let run = Run::new(RunSettings {
        plan: plan.clone(),
        crowd,
        server,
        lan: options.lan,
        sources: options.from.clone(),
        first: options.first,
        visitors,
        sharing: options.share_sockets,
        faults: faults(options),
        seed: options.seed,
        number: random.next_u64() as u32,
        cores,
        stop: Arc::clone(&stop),
    });
    eprintln!("{sessions} sessions to {server} for {:?}", plan.duration());
    let sampler = sampler(options)?;
    let live = Live::new(plan.duration(), options.quiet);
    let names = plan.phases.iter().map(|phase| phase.name.clone());
    let names = names.collect();
    let outcome = run.work_off(watcher(live, sessions, names))?;
    let server_use = sampler.map(Sampler::stop);
    let ending = match (&outcome.given_up, stop.load(Ordering::Relaxed)) {
        (Some(why), _) => Ending::Failed(why.clone()),
        (None, true) => Ending::Interrupted,
        (None, false) => Ending::Complete,
    };
    let mut report = Report {
        format: Report::FORMAT,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started,
        seconds: outcome.seconds,
        ending,
        machine,
        seed: options.seed,
        server_address: server.to_string(),
        sessions: vec![SessionNumbers {
            first: options.first,
            count: sessions,
        }],
        faults: told_faults(options),
        shared_sockets: options.share_sockets > 1,
        plan,
        phases: outcome.phases.clone(),
        limits: result::limits(&outcome.own, &outcome.tally, outcome.hurried_ports),
        own: outcome.own.clone(),
        server: server_use,
        far_side: outcome.far_side,
        tally: outcome.tally.clone(),
    };
    report.relate_server();
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if let Some(file) = &options.html {
        crate::print(Some(file), &page(&report))?;
    }
    print!("{}", summary(&report));
    Ok(match report.ending {
        Ending::Failed(_) => ExitCode::FAILURE,
        Ending::Complete | Ending::Interrupted => ExitCode::SUCCESS,
    })
}

/// What a plan needs that the options do not give, or that does not go together.
fn check(plan: &Plan, options: &Options) -> Result<(), Failure> {
    if plan.needs_lan() && options.lan.is_none() {
        return Err(Failure::Option(
            "the scenario sends packets to a host behind the server: run `loadgen lan` there and \
             say --lan ADDRESS:PORT"
                .to_owned(),
        ));
    }
    for phase in &plan.phases {
        let mut elements = phase.run.iter().flat_map(Scenario::elements);
        let roams = elements.any(|element| matches!(element, Scenario::Roam { .. }));
        if roams && options.share_sockets > 1 {
            return Err(Failure::Option(format!(
                "--share-sockets: phase `{}` has sessions roam, which need a socket of their own",
                phase.name
            )));
        }
        let elements = phase.run.iter().flat_map(Scenario::elements);
        if elements.filter(is_downward).count() > 1 {
            return Err(Failure::Option(format!(
                "phase `{}` has two scenarios in which the LAN host sends: it sends each session one",
                phase.name
            )));
        }
    }
    Ok(())
}

fn cores(options: &Options) -> Result<Vec<usize>, Failure> {
    let usable = usable_cores();
    match &options.cores {
        Some(list) => options::cores(list, &usable)
            .map_err(|why| Failure::Option(format!("--cores {list}: {why}"))),
        None => Ok(usable.last().copied().into_iter().collect()),
    }
}

/// Sessions that are held, at most.
fn held(plan: &Plan) -> u32 {
    let mut scenarios = plan.phases.iter().flat_map(|phase| &phase.run);
    match scenarios.any(Scenario::holds_sessions) {
        true => plan.sessions_max(),
        false => 0,
    }
}

/// Clients that come and leave, at once at most: as many as were asked for if nobody is held.
fn visitors(plan: &Plan) -> u32 {
    let mut scenarios = plan.phases.iter().flat_map(|phase| &phase.run);
    if scenarios.all(Scenario::holds_sessions) {
        return 0;
    }
    match (held(plan), plan.sessions_max()) {
        (0, sessions @ 2..) => sessions,
        _ => VISITORS,
    }
}

fn is_downward(element: &Scenario) -> bool {
    match element {
        Scenario::BulkDown { .. } => true,
        Scenario::Imix { direction, .. } => *direction != Direction::Up,
        _ => false,
    }
}

fn faults(options: &Options) -> FaultRules {
    FaultRules {
        loss: options.loss,
        duplicate: options.dup,
        reorder: options.reorder,
        delay: options.delay.map_or(Duration::ZERO, |span| span.duration()),
    }
}

fn told_faults(options: &Options) -> String {
    let parts = [
        ("loss", options.loss),
        ("dup", options.dup),
        ("reorder", options.reorder),
    ];
    let parts = parts.iter().filter(|(_, part)| *part > 0.0);
    let parts = parts.map(|(name, part)| format!("--{name} {part}"));
    let delay = options.delay.map(|delay| format!("--delay {delay}"));
    parts.chain(delay).collect::<Vec<_>>().join(" ")
}

/// Looks at the server's process, if it is known.
fn sampler(options: &Options) -> Result<Option<Sampler>, Failure> {
    let Some(pid) = options.server_pid else {
        return Ok(None);
    };
    let cores = options.server_cores.as_deref().map(|list| {
        let why = || Failure::Option(format!("--server-cores {list}: write 0 or 0-3"));
        cores_of_list(list).ok_or_else(why)
    });
    Ok(Some(Sampler::start(pid, cores.transpose()?.as_deref())?))
}

/// Shows once a second how far it is.
fn watcher(mut live: Live, wanted: u32, names: Vec<String>) -> impl FnMut(&Progress) {
    let began = Instant::now();
    let mut last = began;
    let mut before = Seen::default();
    move |progress| {
        let seconds = last.elapsed();
        if seconds < Duration::from_secs(1) {
            return;
        }
        last = Instant::now();
        let seen = progress.seen();
        let name = |phase: usize| names.get(phase).map_or("", String::as_str);
        let doing = match seen.place {
            Place::Before(phase) => format!("coming up for {}", name(phase)),
            Place::In(phase) => name(phase).to_owned(),
            Place::Behind => "leaving".to_owned(),
        };
        live.show(&live::Progress {
            doing: &doing,
            elapsed: began.elapsed(),
            sessions: seen.sessions,
            wanted: wanted.into(),
            failures: seen.failures,
            last: seen.since(&before),
            seconds: seconds.as_secs_f64(),
        });
        before = seen;
    }
}

/// Clients that come and leave at once, where nobody says how many.
const VISITORS: u32 = 1024;
