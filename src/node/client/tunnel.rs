//! Brings tunnels up and down on the machine, on a thread of its own: addresses, routes, scripts.
//!
//! What a tunnel needs is done step by step; when one is refused, all before it are undone. With the
//! same settings as before nothing is done at all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Receiver, Sender};
use netlink_packet_route::AddressFamily;

use super::environment::{self, Occasion};
use super::plan;
use crate::limits::TUNNEL_JOBS;
use crate::node::event::{FamilyAddress, NodeEvent, Text, TunnelEvent};
use crate::node::machine::{Change, Netlink, gateway_of};
use crate::node::message::Report;
use crate::node::privileges::{keep_for_network, renounce_all_but_network};
use crate::node::scripts;
use crate::node::settings::{ClientSettings, ScriptCommand, ScriptSettings, TunnelSettings};

/// The thread that changes the machine. Dropping it takes the tunnel down and waits for that.
pub(in crate::node) struct Tunnel {
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
    /// Keep no more privileges than that needs: the process has given up its own.
    Confine,
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
pub(in crate::node) struct TunnelRules {
    pub(super) scripts: ScriptSettings,
    /// Whether routes are left to a script.
    pub(super) routes_by_script: bool,
    /// Variables for scripts.
    pub(super) environment: Vec<(String, String)>,
}

impl TunnelRules {
    /// What a client's settings say.
    pub(in crate::node) fn of(settings: &ClientSettings) -> Self {
        Self {
            scripts: settings.scripts.clone(),
            routes_by_script: settings.routes_by_script,
            environment: settings.node.environment.clone(),
        }
    }
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
    pub(in crate::node) fn start(
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
        let (ready, kept) = channel::bounded(1);
        let thread = thread::Builder::new()
            .name("tunnel".to_owned())
            .spawn(move || {
                let _nobody_waits = ready.send(keep_for_network());
                works.run(&asked);
            })?;
        let tunnel = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        kept.recv().map_err(io::Error::other)??;
        Ok(tunnel)
    }

    /// The process has given up its privileges.
    pub(in crate::node) fn is_confined(&self) {
        // Nothing was given before.
        let _has_room = self.give(Job::Confine);
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
                Job::Confine => {
                    if let Err(error) = renounce_all_but_network() {
                        let _told = self.failed("giving up privileges", &error);
                    }
                    continue;
                }
            };
            // Who has gone does not wait.
            let _nobody_listens = self.reports.send(Report::Tunnel(report));
        }
        self.take_down();
    }

    fn bring_up(&mut self, wanted: Wanted) -> TunnelReport {
        let attempt = wanted.attempt;
        // Wire: 2.6 runs it a moment earlier, when the server is known and before that has said what to do.
        let _goes_on = self.run_script(IP_CHANGE, &wanted, false);
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
        let by_script = self.rules.routes_by_script;
        for change in routes.into_iter().filter(|_| !by_script) {
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
            IP_CHANGE => &scripts.ip_change,
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
            // Wire: one argument, of two words.
            IP_CHANGE => vec![FamilyAddress(wanted.remote).in_two_words()],
            _ => Vec::new(),
        };
        let result = scripts::run(command, &arguments, variables.iter());
        result.map_err(|error| self.failed(&format!("running the {script} script"), &error))
    }

    fn tell_made(&self, change: &Change) {
        match change {
            Change::Address(_, address) => self.publish(NodeEvent::TunAddressed {
                name: self.device.clone(),
                address: *address,
                peer: None,
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
const IP_CHANGE: &str = "ipchange";

/// Something went wrong, and has been told.
struct Told;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::settings::{
        Bypass, DefaultRoute, Destination, Redirect, TunnelRoute, V4Address, V6Address, Via,
    };
    use crate::reactor::testing::{in_own_network, run};

    /// A machine with a network and a default route, and a device for the tunnel.
    struct Machine {
        tunnel: Tunnel,
        reports: Receiver<Report>,
        before: String,
    }

    impl Machine {
        fn new() -> Self {
            for words in [
                "link add outer type veth peer name outer-end",
                "link add inner type veth peer name inner-end",
                "link set outer addrgenmode none up",
                "link set outer-end addrgenmode none up",
                "link set inner addrgenmode none up",
                "link set inner-end addrgenmode none up",
                "address add 192.0.2.2/24 dev outer",
                "route add default via 192.0.2.1 metric 5",
            ] {
                ip(words);
            }
            let (reporter, reports) = channel::unbounded();
            let rules = TunnelRules {
                scripts: ScriptSettings::default(),
                routes_by_script: false,
                environment: Vec::new(),
            };
            Self {
                tunnel: Tunnel::start("inner", rules, reporter).unwrap(),
                reports,
                before: shown(),
            }
        }

        /// What becomes of a job, and how many changes were told on the way.
        fn does(&self, job: Job) -> (TunnelReport, usize) {
            assert!(self.tunnel.give(job));
            let mut changes = 0;
            loop {
                match self.reports.recv_timeout(Duration::from_secs(60)).unwrap() {
                    Report::Tunnel(report) => return (report, changes),
                    Report::Event(NodeEvent::Tunnel(TunnelEvent::DeviceUp { .. })) => {}
                    Report::Event(_) => changes += 1,
                    other => panic!("{other:?}"),
                }
            }
        }

        fn brings_up(&self, attempt: u64, settings: TunnelSettings) -> (TunnelReport, usize) {
            self.does(Job::Up(Box::new(Wanted {
                attempt,
                remote: "203.0.113.9:1194".parse().unwrap(),
                server: "vpn".into(),
                settings,
            })))
        }
    }

    fn ip(words: &str) -> String {
        run("ip", &words.split(' ').collect::<Vec<_>>())
    }

    fn shown() -> String {
        let all = ["-o address show", "route show", "-6 route show"];
        all.map(ip).concat()
    }

    fn settings(routes: &[(&str, Via)]) -> TunnelSettings {
        let route = |&(network, via): &(&str, Via)| TunnelRoute {
            destination: Destination::Network(network.parse().unwrap()),
            via,
            metric: None,
        };
        TunnelSettings {
            v4: Some(V4Address::Subnet {
                address: "10.8.0.2/24".parse().unwrap(),
                gateway: None,
            }),
            v6: Some(V6Address {
                address: "fd08::2/64".parse().unwrap(),
                gateway: "fd08::1".parse().unwrap(),
            }),
            mtu: 1400,
            routes: routes.iter().map(route).collect(),
            redirect: None,
            block_ipv6: false,
            dhcp_options: Vec::new(),
            environment: Vec::new(),
            route_table: None,
            exit_when_silent: false,
            explicit_exit: None,
        }
    }

    #[test]
    fn a_tunnel_is_brought_up_kept_changed_and_taken_down() {
        in_own_network(|| {
            let machine = Machine::new();
            let first = settings(&[("10.90.0.0/24", Via::Tunnel), ("fd90::/64", Via::Tunnel)]);
            assert_eq!(
                machine.brings_up(1, first.clone()),
                (TunnelReport::Up(1), 4)
            );
            let routes = shown();
            for line in [
                "10.90.0.0/24 dev inner scope link",
                "fd90::/64 dev inner",
                "inet 10.8.0.2/24 brd 10.8.0.255",
                "inet6 fd08::2/64",
            ] {
                assert!(routes.contains(line), "no {line}:\n{routes}");
            }
            assert!(ip("link show inner").contains("mtu 1400"));
            // Told once: that all is as it was.
            assert_eq!(machine.brings_up(2, first), (TunnelReport::Up(2), 1));
            assert_eq!(shown(), routes);

            let gateway = Via::Gateway("192.0.2.77".parse().unwrap());
            let second = settings(&[("10.91.0.0/24", gateway), ("10.92.0.0/24", Via::Machine)]);
            assert_eq!(machine.brings_up(3, second).0, TunnelReport::Up(3));
            let routes = shown();
            assert!(!routes.contains("10.90.0.0/24"), "{routes}");
            assert!(routes.contains("10.91.0.0/24 via 192.0.2.77"), "{routes}");
            assert!(routes.contains("10.92.0.0/24 via 192.0.2.1"), "{routes}");
            assert_eq!(machine.does(Job::Down).0, TunnelReport::Down);
            assert_eq!(shown(), machine.before);
        });
    }

    #[test]
    fn the_default_route_is_halved_or_replaced_and_comes_back() {
        in_own_network(|| {
            let machine = Machine::new();
            for (how, lines) in [
                (
                    DefaultRoute::Halves,
                    &[
                        "0.0.0.0/1 dev inner",
                        "128.0.0.0/1 dev inner",
                        "default via",
                    ][..],
                ),
                (DefaultRoute::Replaced, &["default dev inner"]),
            ] {
                let redirect = Redirect {
                    v4: true,
                    v6: true,
                    how,
                    bypass: Bypass::Always,
                };
                let settings = TunnelSettings {
                    redirect: Some(redirect),
                    block_ipv6: true,
                    ..settings(&[])
                };
                assert_eq!(machine.brings_up(1, settings).0, TunnelReport::Up(1));
                let routes = shown();
                let server = "203.0.113.9 via 192.0.2.1 dev outer";
                for line in lines.iter().chain(&[server, "unreachable 2000::/4"]) {
                    assert!(routes.contains(line), "{how:?}: no {line}:\n{routes}");
                }
                assert_eq!(machine.does(Job::Down).0, TunnelReport::Down);
                assert_eq!(shown(), machine.before, "{how:?}");
            }
        });
    }

    #[test]
    fn a_step_that_is_refused_undoes_all_before_it() {
        in_own_network(|| {
            let machine = Machine::new();
            let nowhere = Via::Gateway("198.51.100.1".parse().unwrap());
            ip("route del default");
            let before = shown();
            for routes in [
                &[("10.90.0.0/24", Via::Tunnel), ("10.91.0.0/24", nowhere)][..],
                &[("10.90.0.0/24", Via::Machine)],
            ] {
                let (report, told) = machine.brings_up(5, settings(routes));
                assert_eq!(report, TunnelReport::Failed(5));
                assert!(told > 1, "what was refused, and what was undone");
                assert_eq!(shown(), before);
            }
        });
    }

    #[test]
    fn what_is_there_already_is_nobodys_to_remove() {
        in_own_network(|| {
            let machine = Machine::new();
            ip("route add 10.90.0.0/24 dev outer");
            let before = shown();
            let settings = settings(&[("10.90.0.0/24", Via::Tunnel)]);
            assert_eq!(machine.brings_up(1, settings).0, TunnelReport::Up(1));
            drop(machine);
            assert_eq!(shown(), before);
        });
    }
}
