//! The engine: the clients of a plan, on a ring and a thread for each core.

mod act;
mod calls;
mod client;
mod control;
mod core;
mod faults;
mod gates;
mod link;
mod own_time;
mod ports;
mod progress;
mod sockets;
mod traffic;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use loadgen::pace::Share;
use loadgen::plan::Plan;
use loadgen::result::{FarSide, OwnCore, PhaseTime, Tally};
use loadgen::scenario::Scenario;
use ringway::time::{Monotonic, Now};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use self::core::{Core, CoreEnd};
pub(crate) use self::faults::FaultRules;
use self::gates::Gates;
use self::ports::Ports;
pub(crate) use self::progress::{Place, Progress, Seen};
use self::work::Work;
use crate::crowd::Crowd;
use crate::failure::Failure;

/// A run, as all its cores know it.
pub(crate) struct Run {
    settings: RunSettings,
    progress: Progress,
    ports: Ports,
    begin: Monotonic,
    /// From the library's clock to the one that all processes of the machine share.
    clock: u64,
    gates: Gates,
    given_up: Mutex<Option<String>>,
}

/// What a run is to be.
pub(crate) struct RunSettings {
    pub(crate) plan: Plan,
    pub(crate) crowd: Crowd,
    /// Where the server is.
    pub(crate) server: SocketAddr,
    /// Where the LAN host is, if there is one.
    pub(crate) lan: Option<SocketAddr>,
    /// The addresses that clients send from; the system's choice if there is none.
    pub(crate) sources: Vec<IpAddr>,
    /// The number of the first session.
    pub(crate) first: u32,
    /// Clients that come and leave, at most so many at once.
    pub(crate) visitors: u32,
    /// Sessions that share a socket, at most; 1 for each its own.
    pub(crate) sharing: u32,
    pub(crate) faults: FaultRules,
    pub(crate) seed: u64,
    /// Tells this run's packets from others'.
    pub(crate) number: u32,
    /// The cores to run on.
    pub(crate) cores: Vec<usize>,
    /// Set to end it before its time.
    pub(crate) stop: Arc<AtomicBool>,
}

/// How far a core is in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It brings up the sessions that the phase of this number begins with.
    Filling(usize),
    /// It has them, and waits for the other cores.
    Waiting(usize),
    /// The phase has begun then.
    Running(usize, Monotonic),
    /// All phases are over since then; it waits for what is on its way.
    Settling(Monotonic),
    /// Until then it waits for the LAN host to say what it has seen.
    Asking(Monotonic),
    /// Its clients say goodbye, at most until then.
    Leaving(Monotonic),
    Over,
}

/// What all cores leave behind.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) own: Vec<OwnCore>,
    /// What the LAN host saw, if there is one.
    pub(crate) far_side: Option<FarSide>,
    pub(crate) phases: Vec<PhaseTime>,
    pub(crate) seconds: f64,
    /// How often a source port was used that somebody had left shortly before.
    pub(crate) hurried_ports: u64,
    /// Why it ended before its time, if it did so by itself.
    pub(crate) given_up: Option<String>,
}

impl Run {
    /// A run that begins now.
    pub(crate) fn new(settings: RunSettings) -> Self {
        let begin = Now::read().monotonic;
        let shared = clock_gettime(ClockId::Monotonic);
        let shared = shared.tv_sec as u64 * 1_000_000_000 + shared.tv_nsec as u64;
        let cores = settings.cores.len();
        Self {
            gates: Gates::new(settings.plan.phases.len(), cores),
            progress: Progress::new(cores),
            ports: Ports::of_system(settings.number),
            begin,
            clock: shared.saturating_sub(begin.as_nanos()),
            given_up: Mutex::new(None),
            settings,
        }
    }

    /// Runs to the end of the plan, or until it is stopped. `meanwhile` is called some times a second.
    ///
    /// # Errors
    /// A core can't begin. What is measured until a later failure is in the outcome.
    pub(crate) fn work_off(self, mut meanwhile: impl FnMut(&Progress)) -> Result<Outcome, Failure> {
        let run = Arc::new(self);
        let threads: Vec<_> = run
            .settings
            .cores
            .iter()
            .enumerate()
            .map(|(index, &core)| {
                let run = Arc::clone(&run);
                thread::Builder::new()
                    .name(format!("core {core}"))
                    .spawn(move || run.work_on(index, core))
            })
            .collect();
        while threads.iter().flatten().any(|thread| !thread.is_finished()) {
            meanwhile(&run.progress);
            thread::sleep(LOOK);
        }
        let mut tally = Tally::new(run.settings.plan.duration());
        let mut own = Vec::new();
        let mut far_side = run.settings.lan.map(|_| FarSide::default());
        for thread in threads {
            let thread = thread.map_err(|error| Failure::Core(error.to_string()))?;
            let ended = thread.join();
            let ended = ended.map_err(|_| Failure::Core("a core's thread broke".to_owned()))?;
            let end = ended?;
            tally.add(&end.tally, 0);
            own.push(end.own);
            if let Some(far_side) = &mut far_side {
                far_side.add(&end.far);
            }
        }
        let now = Now::read().monotonic;
        let given_up = run.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Outcome {
            tally,
            own,
            far_side,
            phases: run.gates.phases(&run.settings.plan, run.begin, now),
            seconds: now.since(run.begin).as_secs_f64(),
            hurried_ports: run.ports.hurried(),
            given_up: given_up.clone(),
        })
    }

    fn work_on(self: Arc<Self>, index: usize, core: usize) -> Result<CoreEnd, Failure> {
        let mut set = CpuSet::new();
        set.set(core);
        let share = Share {
            index: index as u32,
            of: self.settings.cores.len() as u32,
        };
        let made = sched_setaffinity(None, &set)
            .map_err(|error| Failure::Core(format!("core {core}: {error}")))
            .and_then(|()| {
                let core = Core::new(Arc::clone(&self), share, core);
                core.map_err(|error| Failure::Core(error.to_string()))
            });
        let core = made.inspect_err(|_| self.settings.stop.store(true, Ordering::Relaxed))?;
        let (end, result) = core.work();
        if let Err(error) = result {
            self.give_up(&error.to_string());
        }
        Ok(end)
    }

    /// Ends the run because it makes no sense to go on.
    fn give_up(&self, why: &str) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.get_or_insert_with(|| why.to_owned());
        self.settings.stop.store(true, Ordering::Relaxed);
    }

    /// A core's part of a phase.
    fn work(&self, phase: usize, share: Share) -> Work {
        Work::new(
            &self.settings.plan.phases[phase],
            share,
            self.settings.seed ^ phase as u64,
        )
    }

    /// Whether any phase holds sessions.
    fn holds(&self) -> bool {
        let mut scenarios = self
            .settings
            .plan
            .phases
            .iter()
            .flat_map(|phase| &phase.run);
        scenarios.any(Scenario::holds_sessions)
    }

    /// Where a session sends from, after so many moves.
    fn source_of(&self, number: u32, moves: u32) -> Option<IpAddr> {
        let count = self.settings.sources.len();
        let place = (number as usize + moves as usize).checked_rem(count)?;
        self.settings.sources.get(place).copied()
    }

    /// A moment as packets have it: in the clock that all processes of the machine share.
    fn clock_of(&self, moment: Monotonic) -> u64 {
        moment.as_nanos() + self.clock
    }
}

/// How often somebody looks how far it is.
const LOOK: Duration = Duration::from_millis(100);
