//! Brings tunnels up and down on the machine, on a thread of its own: addresses, routes, scripts.
//!
//! What a tunnel needs is done step by step; when one is refused, all before it are undone. With the
//! same settings as before nothing is done at all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Receiver, Sender};
use netlink_packet_route::AddressFamily;

use super::changes::Change;
use super::environment::{self, Occasion};
use super::netlink::{Netlink, gateway_of};
use super::{plan, scripts};
use crate::limits::TUNNEL_JOBS;
use crate::node::event::{NodeEvent, Text, TunnelEvent};
use crate::node::message::Report;
use crate::node::settings::{ScriptCommand, ScriptSettings, TunnelSettings};

/// The thread that changes the machine. Dropping it takes the tunnel down and waits for that.
pub(super) struct Tunnel {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Bring this tunnel up, in place of another one.
    Up(Box<Wanted>),
    /// Take the tunnel down.
    Down,
}

/// A tunnel as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The attempt that led to it.
    pub(super) attempt: u64,
    /// The server's address.
    pub(super) remote: SocketAddr,
    /// The name of its certificate.
    pub(super) server: Text,
    pub(super) settings: TunnelSettings,
}

/// What counts for every tunnel.
#[derive(Clone, Debug)]
pub(super) struct TunnelRules {
    pub(super) scripts: ScriptSettings,
    /// Whether routes are left to a script.
    pub(super) routes_by_script: bool,
    /// Variables for scripts.
    pub(super) environment: Vec<(String, String)>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelReport {
    /// The tunnel of this attempt is up.
    Up(u64),
    /// It is not, and nothing is left of it.
    Failed(u64),
    /// There is no tunnel any more.
    Down,
}

impl Tunnel {
    /// Starts the thread for a device.
    ///
    /// # Errors
    /// There is no thread, no netlink, or no such device.
    pub(super) fn start(
        device: &str,
        rules: TunnelRules,
        reports: Sender<Report>,
    ) -> io::Result<Self> {
        let mut netlink = Netlink::open()?;
        let index = netlink.device(device)?;
        let (jobs, asked) = channel::bounded(TUNNEL_JOBS);
        let mut works = Works {
            netlink,
            device: device.into(),
            rules,
            machine: None,
            index,
            reports,
            up: None,
        };
        let thread = thread::Builder::new()
            .name("tunnel".to_owned())
            .spawn(move || works.run(&asked))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Gives the thread something to do, behind what it has. False if it has too much: the caller
    /// gave it two things without waiting for an answer.
    pub(super) fn give(&self, job: Job) -> bool {
        let jobs = self.jobs.as_ref();
        jobs.is_some_and(|jobs| jobs.try_send(job).is_ok())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}

/// The thread's own.
struct Works {
    netlink: Netlink,
    device: Text,
    rules: TunnelRules,
    /// The gateway of the machine's default route, as it was before the tunnel.
    machine: Option<IpAddr>,
    index: u32,
    reports: Sender<Report>,
    up: Option<Up>,
}

/// A tunnel that is up, with what was done for it.
struct Up {
    wanted: Wanted,
    changes: Vec<Change>,
}

impl Works {
    fn run(&mut self, asked: &Receiver<Job>) {
        for job in asked {
            let report = match job {
                Job::Up(wanted) => self.bring_up(*wanted),
                Job::Down => {
                    self.take_down();
                    TunnelReport::Down
                }
            };
            // Who has gone does not wait.
            let _nobody_listens = self.reports.send(Report::Tunnel(report));
        }
        self.take_down();
    }

    fn bring_up(&mut self, wanted: Wanted) -> TunnelReport {
        let attempt = wanted.attempt;
        if let Some(up) = &mut self.up
            && up.wanted.settings == wanted.settings
            && up.wanted.remote.ip() == wanted.remote.ip()
        {
            let device = self.device.clone();
            up.wanted = wanted;
            self.tell(TunnelEvent::Preserved { device });
            return match self.restart_scripts() {
                Ok(()) => TunnelReport::Up(attempt),
                Err(Told) => {
                    self.take_down();
                    TunnelReport::Failed(attempt)
                }
            };
        }
        self.take_down();
        let mut changes = Vec::new();
        let made = self.make_all(&wanted, &mut changes);
        let is_up = made.is_ok();
        self.up = Some(Up { wanted, changes });
        if is_up {
            return TunnelReport::Up(attempt);
        }
        self.take_down();
        TunnelReport::Failed(attempt)
    }

    /// Makes what the tunnel needs, and notes each change that was made.
    fn make_all(&mut self, wanted: &Wanted, made: &mut Vec<Change>) -> Result<(), Told> {
        let settings = &wanted.settings;
        let step = format!("bringing {} up", self.device);
        let brought_up = self.netlink.bring_up(self.index, settings.mtu);
        brought_up.map_err(|error| self.failed(&step, &error))?;
        let (device, mtu) = (self.device.clone(), settings.mtu);
        self.tell(TunnelEvent::DeviceUp { device, mtu });
        for change in plan::addresses(settings, self.index) {
            self.make(change, made)?;
        }
        let default = self.netlink.default_route(AddressFamily::Inet);
        self.machine = default.ok().flatten().as_ref().and_then(gateway_of);
        self.run_script(UP, wanted, false)?;
        let remote = wanted.remote.ip();
        let routes = plan::routes(settings, self.index, remote, &mut self.netlink);
        let routes = routes.map_err(|error| self.failed("planning the routes", &error))?;
        for change in routes.into_iter().filter(|_| !self.rules.routes_by_script) {
            self.make(change, made)?;
        }
        self.run_script(ROUTE_UP, wanted, false)
    }

    fn make(&mut self, change: Change, made: &mut Vec<Change>) -> Result<(), Told> {
        match change.make(&mut self.netlink) {
            Ok(()) => {
                self.tell_made(&change);
                made.push(change);
                Ok(())
            }
            // Wire: stock says so and goes on. It was not ours to remove either.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                let _goes_on = self.failed(&format!("adding {change}"), &error);
                Ok(())
            }
            Err(error) => Err(self.failed(&format!("adding {change}"), &error)),
        }
    }

    /// Undoes what was done for the tunnel that is up, if there is one.
    fn take_down(&mut self) {
        let Some(up) = self.up.take() else {
            return;
        };
        // Who is told of the end can't hinder it.
        let _told = self.run_script(ROUTE_PRE_DOWN, &up.wanted, false);
        let down_before = self.rules.scripts.down_before;
        if down_before {
            let _told = self.run_script(DOWN, &up.wanted, false);
        }
        for change in up.changes.iter().rev() {
            match change.undo(&mut self.netlink) {
                Ok(()) => self.tell_undone(change),
                Err(error) => {
                    let _goes_on = self.failed(&format!("removing {change}"), &error);
                }
            }
        }
        if !down_before {
            let _told = self.run_script(DOWN, &up.wanted, false);
        }
    }

    /// The tunnel is back and the device has stayed (`up-restart`).
    fn restart_scripts(&mut self) -> Result<(), Told> {
        match &self.up {
            Some(up) if self.rules.scripts.at_restart => {
                let _goes_on = self.run_script(DOWN, &up.wanted, true);
                self.run_script(UP, &up.wanted, true)
            }
            _ => Ok(()),
        }
    }

    /// Runs a script, if there is one for that.
    fn run_script(
        &self,
        script: &'static str,
        wanted: &Wanted,
        is_restart: bool,
    ) -> Result<(), Told> {
        let scripts = &self.rules.scripts;
        let command: &Option<ScriptCommand> = match script {
            UP => &scripts.up,
            DOWN => &scripts.down,
            ROUTE_UP => &scripts.route_up,
            _ => &scripts.route_pre_down,
        };
        let Some(command) = command else {
            return Ok(());
        };
        let occasion = Occasion { script, is_restart };
        let own = &self.rules.environment;
        let variables = environment::variables(own, wanted, &self.device, self.machine, occasion);
        let arguments = match script {
            UP | DOWN => environment::arguments(wanted, &self.device, occasion),
            _ => Vec::new(),
        };
        let result = scripts::run(command, &arguments, &variables);
        result.map_err(|error| self.failed(&format!("running the {script} script"), &error))
    }

    fn tell_made(&self, change: &Change) {
        match change {
            Change::Address(_, address) => self.publish(NodeEvent::TunAddressed {
                name: self.device.clone(),
                address: *address,
            }),
            Change::Route(_, route) => self.tell(TunnelEvent::RouteAdded(*route)),
            Change::Displaced(_) => {}
        }
    }

    fn tell_undone(&self, change: &Change) {
        match change {
            Change::Address(_, address) => {
                let (device, address) = (self.device.clone(), *address);
                self.tell(TunnelEvent::AddressRemoved { device, address });
            }
            Change::Route(_, route) => self.tell(TunnelEvent::RouteRemoved(*route)),
            Change::Displaced(_) => {}
        }
    }

    fn failed(&self, step: &str, why: &dyn std::fmt::Display) -> Told {
        self.tell(TunnelEvent::StepFailed {
            step: step.into(),
            why: why.to_string().into(),
        });
        Told
    }

    fn tell(&self, event: TunnelEvent) {
        self.publish(NodeEvent::Tunnel(event));
    }

    fn publish(&self, event: NodeEvent) {
        let _nobody_listens = self.reports.send(Report::Event(event));
    }
}

const UP: &str = "up";
const DOWN: &str = "down";
const ROUTE_UP: &str = "route-up";
const ROUTE_PRE_DOWN: &str = "route-pre-down";

/// Something went wrong, and has been told.
struct Told;
