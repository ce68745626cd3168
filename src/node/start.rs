//! From settings to a running node: log, sockets, tun device, shards, in this order, so that what
//! fails says so before clients can connect.

mod client;
mod device_scripts;
mod facts;
mod locked;
mod login;
mod offloads;
mod routes;
mod rules;
mod shards;
mod sockets;
mod steering;

pub(super) use self::device_scripts::DeviceScripts;
pub use self::rules::client_session_settings;
pub(super) use self::rules::{network, over_streams, registry_rules, session_settings};

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use self::login::Judges;
use super::auth::{ClientNews, Runner};
use super::bus::Bus;
use super::client_files::Profiles;
use super::control_socket::{ControlSocket, ControlSocketError};
use super::event::{Direction, NodeEvent, SteeredBy, Text};
use super::lease_file::{LeaseFile, Remembered};
use super::leases::AddressPool;
use super::log::{Log, LogOptions, LogTarget};
use super::management::{ManagementError, ManagementListener, ManagementThread, Released, Starter};
use super::memory::{self, MemoryError};
use super::message::Report;
use super::plugins::PluginError;
use super::porter::{Porter, PorterParts};
use super::priority::{self, PriorityError};
use super::privileges::{Confinement, PrivilegesError, allow_locked_memory};
use super::registry::{Registry, RegistryRules};
use super::reload::ConfigurationReader;
use super::reporting::Unstarted;
use super::revocations::RevocationWatch;
use super::running::{Assembled, Node, Restart};
use super::settings::{
    ClientSettings, DeviceName, LeaseSettings, LockedSettings, ManagementSettings, NodeSettings,
    Offloads, ProcessSettings, RestartSignal, Settings, StatusSettings,
};
use super::status::{StatusFormat, StatusWriter};
use crate::crypto::CookieKey;
use crate::limits::{
    EVENTS_PER_SUBSCRIBER, NODE_REPORTS, START_PATIENCE, START_RETRY, locked_memory,
};
use crate::random::SystemRandom;
use crate::reactor::{RingError, TcpError, Tun, TunConfig, TunError, UdpError};
use crate::session::Steering;
use crate::time::Now;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log can't be written.
    #[error("the log {name} can't be written: {error}")]
    Log {
        /// Where it was to go.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// The status file can't be written.
    #[error("the status file '{}' can't be written: {error}", path.display())]
    Status {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file of address leases can't be read or written.
    #[error("the file of addresses '{}' can't be opened: {error}", path.display())]
    Leases {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The journal of `port-share` can't be opened.
    #[error("the directory of `port-share` can't be opened: {0}")]
    PortShare(io::Error),
    /// A socket can't be had.
    #[error(transparent)]
    Listener(#[from] UdpError),
    /// A TCP listener can't be had.
    #[error(transparent)]
    TcpListener(#[from] TcpError),
    /// The tun device can't be had.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The certificates can't be served.
    #[error("{0}")]
    Tls(String),
    /// The kernel lacks something.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A shard did not start, or ended by itself.
    #[error("{0}")]
    Shard(String),
    /// The control socket can't be had.
    #[error(transparent)]
    Control(#[from] ControlSocketError),
    /// The management interface can't be had.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// A file of users can't be used.
    #[error("{0}")]
    Users(String),
    /// Somebody on the management interface has ended a server that waited for it.
    #[error("ended by the management interface while the server waited for it")]
    Held,
    /// The configuration, which could only be read whole with the password of its key.
    #[error("{0}")]
    Configuration(String),
    /// The client can't go on: a word that is in the log.
    #[error("the client has ended: {0}")]
    Client(String),
    /// Something that a client needs can't be had.
    #[error("a client's {what} can't be had: {error}")]
    ClientNeeds {
        /// What it is.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The process can't give up its privileges.
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    /// The process can't have its priority.
    #[error(transparent)]
    Priority(#[from] PriorityError),
    /// The memory can't be kept out of swap.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Plug-ins can't be used.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// A script that is run before clients are served has failed.
    #[error("the script of --{name} has failed: {why}")]
    Script {
        /// Its directive.
        name: &'static str,
        /// How.
        why: String,
    },
    /// A thread or a wake-up can't be had.
    #[error("a thread can't be started: {0}")]
    Thread(io::Error),
}

impl Node {
    /// Starts a node. Who subscribes to `bus` before sees every event.
    ///
    /// # Errors
    /// What the machine does not give. It is in the log as well, unless that is the standard
    /// output: there the caller speaks.
    pub fn start(settings: Settings, bus: Bus) -> Result<Self, StartError> {
        Self::start_telling(settings, bus, &mut || {})
    }

    /// Starts a node that calls `waits` when it waits for somebody on the management interface to release it.
    ///
    /// # Errors
    /// As of [`Node::start`].
    pub fn start_telling(
        settings: Settings,
        bus: Bus,
        waits: &mut dyn FnMut(),
    ) -> Result<Self, StartError> {
        let log = settings.node.log.clone();
        let node = Self::assembled(&log, bus, waits, |starting| {
            let begun = starting.begin(Beginning::of(&settings))?;
            starting.echo(&settings.echo);
            starting.hold(settings.holds())?;
            starting.assemble(&settings, begun)
        })?;
        Ok(node.with_settings(settings))
    }

    /// Starts a node whose key is locked: somebody on the management interface is asked for the password, as
    /// often as it takes. Then the configuration is read with it by `reader`, and again later. It calls
    /// `waits` when it waits.
    ///
    /// # Errors
    /// As of [`Node::start`], and what is wrong with the configuration.
    pub fn start_locked(
        locked: LockedSettings,
        reader: Arc<dyn ConfigurationReader>,
        bus: Bus,
        waits: &mut dyn FnMut(),
    ) -> Result<Self, StartError> {
        let mut unlocked = None;
        let node = Self::assembled(&locked.log, bus, waits, |starting| {
            let begun = starting.begin(Beginning {
                management: Some(&locked.management),
                log: &locked.log,
                restart: locked.process.restart,
            })?;
            let holds = locked.management.hold;
            starting.hold(holds && !locked.asks_first)?;
            let settings = unlocked.insert(starting.unlock(&*reader)?);
            starting.echo(&settings.echo);
            starting.hold(holds && locked.asks_first)?;
            starting.assemble(settings, begun)
        })?;
        Ok(match unlocked {
            Some(settings) => node.with_settings(settings).read_again_by(reader),
            None => node,
        })
    }

    /// Starts the node that takes the place of one that has ended for it.
    ///
    /// # Errors
    /// As of [`Node::start`].
    pub fn restart(restart: Restart, bus: Bus) -> Result<Self, StartError> {
        let Restart {
            settings,
            reader,
            signals,
        } = restart;
        let node = Self::start(settings, bus)?.with_signals(signals);
        Ok(match reader {
            Some(reader) => node.read_again_by(reader),
            None => node,
        })
    }

    /// Starts a node that is a client: it dials, and nobody can dial it.
    ///
    /// # Errors
    /// As of [`Node::start`].
    pub fn start_client(settings: ClientSettings, bus: Bus) -> Result<Self, StartError> {
        let log = settings.node.log.clone();
        let mut waits = || {};
        Self::assembled(&log, bus, &mut waits, |starting| {
            starting.assemble_client(settings)
        })
    }

    fn assembled(
        options: &LogOptions,
        mut bus: Bus,
        waits: &mut dyn FnMut(),
        assemble: impl FnOnce(&mut Starting<'_>) -> Result<Assembled, StartError>,
    ) -> Result<Self, StartError> {
        memory::keep_secret();
        let subscription = bus.subscribe(EVENTS_PER_SUBSCRIBER);
        let log = Log::start(options, subscription).map_err(|error| StartError::Log {
            name: options.target.to_string(),
            error,
        })?;
        let mut starting = Starting {
            bus,
            steered: Vec::new(),
            management: None,
            waits,
        };
        let assembled = assemble(&mut starting);
        let Starting {
            mut bus,
            management,
            ..
        } = starting;
        match assembled {
            Ok(assembled) => Ok(Self::new(bus, log, assembled)),
            Err(error) => {
                // Who is connected to the management interface hears it as an event.
                if options.target != LogTarget::Stdout || management.is_some() {
                    let reason = error.to_string().as_str().into();
                    bus.publish(Now::read().unix, NodeEvent::StartFailed { reason });
                }
                // The log ends with the bus, and has all that was said until then.
                drop(management);
                drop(bus);
                log.finish();
                Err(error)
            }
        }
    }
}

/// The process that starts scripts, to be confined as this one, if some are to be run then.
fn start_runner(
    settings: &Settings,
    confinement: Option<&Confinement>,
) -> Result<Option<Arc<Runner>>, StartError> {
    let auth = settings.auth.as_ref();
    let of_clients = auth.filter(|auth| auth.script.is_some() || auth.hooks.is_some());
    let of_device = settings.device_scripts.as_ref();
    let of_device = of_device.filter(|it| it.scripts.has_last());
    let helper = of_clients.map(|auth| &auth.helper);
    let Some(helper) = helper.or(of_device.map(|it| &it.helper)) else {
        return Ok(None);
    };
    let words = confinement.map(Confinement::words).unwrap_or_default();
    let runner = Runner::start(helper, &words).map_err(StartError::Thread)?;
    Ok(Some(Arc::new(runner)))
}

/// A registry that keeps the addresses of those who had some before; if they are `fixed`, for ever.
fn registry_with(rules: RegistryRules, remembered: Vec<(Text, u32)>, fixed: bool) -> Registry {
    let mut registry = Registry::new(rules);
    for (name, slot) in remembered {
        registry.remember(name, slot, fixed);
    }
    registry
}

/// A node on its way: what it has to say goes to the bus from the beginning.
struct Starting<'a> {
    bus: Bus,
    /// Who brings packets to their shards.
    steered: Vec<(Direction, SteeredBy)>,
    /// It hears of a start that fails.
    management: Option<ManagementThread>,
    /// Hears that it waits for somebody there.
    waits: &'a mut dyn FnMut(),
}

/// What a start begins with.
struct Beginning<'a> {
    management: Option<&'a ManagementSettings>,
    log: &'a LogOptions,
    restart: RestartSignal,
}

impl<'a> Beginning<'a> {
    fn of(settings: &'a Settings) -> Self {
        Self {
            management: settings.management.as_ref(),
            log: &settings.node.log,
            restart: settings.node.process.restart,
        }
    }
}

/// What a start has begun with: the way to the node thread, and that of news of clients to the management
/// interface.
struct Begun {
    reporter: Sender<Report>,
    reports: Receiver<Report>,
    news: Option<Sender<ClientNews>>,
}

impl Starting<'_> {
    fn publish(&mut self, event: NodeEvent) {
        self.bus.publish(Now::read().unix, event);
    }

    fn begin(&mut self, with: Beginning<'_>) -> Result<Begun, StartError> {
        let (reporter, reports) = channel::bounded(NODE_REPORTS);
        let news = self.open_management(with, &reporter)?;
        self.publish(NodeEvent::Started);
        Ok(Begun {
            reporter,
            reports,
            news,
        })
    }

    /// Tells words of the configuration.
    fn echo(&mut self, words: &[String]) {
        for text in words {
            let text = text.as_str().into();
            self.publish(NodeEvent::Echoed { text });
        }
    }

    fn assemble(&mut self, settings: &Settings, begun: Begun) -> Result<Assembled, StartError> {
        let Begun {
            reporter,
            reports,
            news,
        } = begun;
        let cores = settings.node.shards.cores.as_slice().into();
        self.publish(NodeEvent::ShardsPlaced { cores });
        let confinement = Confinement::of(&settings.node.process)?;
        priority::ask(&settings.node.process)?;
        self.lock_memory(&settings.node.process)?;
        let reporting = open_reporting(&settings.node, settings.status.as_ref())?;
        let porter = settings.port_share.as_ref().map(PorterParts::open);
        let porter = porter.transpose().map_err(StartError::PortShare)?;
        let lease_file = self.open_leases(settings.leases.as_ref())?;
        let mut session = rules::session_settings(settings)?;
        let steering = Steering::new(shards(&settings.node), &mut SystemRandom);
        let wanted = offloads::wanted(&settings.node);
        let sockets = self.bind(settings, wanted)?;
        let streams = self.bind_streams(settings)?;
        self.steer_datagrams(settings, &sockets, &steering);
        let network = &settings.network;
        let v4 = network.v4.map(|v4| v4.device());
        let v6 = network.v6.map(|v6| (v6.server, v6.network.prefix_len()));
        let queues = self.open_tun(&settings.node, wanted, v4, v6)?;
        let device = queues.first().map_or("", Tun::name).to_owned();
        let device = device.as_str();
        let runner = start_runner(settings, confinement.as_ref())?;
        let scripts = DeviceScripts::new(settings, device, runner.clone(), news.as_ref());
        self.open_way(settings, device, scripts.as_ref())?;
        let offloads = self.settle_offloads(wanted, &sockets, &queues);
        let pool = settings.network.pool();
        let tun_steering = self.steer_tun(settings, confinement.is_some(), &queues, pool);
        self.tell_pool(settings, &pool);
        let remembered = lease_file.as_ref().map(|file| self.remembered(file, &pool));
        let ring = rules::ring(settings);
        let locked = locked_memory(settings.node.shards.cores.len(), ring.locked_memory());
        allow_locked_memory(locked);
        let judges = self.judges(settings, device, runner.clone(), news, confinement.as_ref())?;
        let rules = session.login.zip(judges.as_ref().map(Judges::asks));
        session.login = rules.and_then(|(configured, asks)| asks.rules(configured));
        let session = Arc::new(session);
        let stream_session = rules::over_streams(settings, &session);
        if let Some(confinement) = confinement {
            self.enter(&confinement, false)?;
        }
        // Threads from here on: they have what is left.
        let listening = runner.as_ref().map(|runner| runner.listen());
        listening.transpose().map_err(StartError::Thread)?;
        let porter = porter.map(|parts| parts.start(reporter.clone()));
        let porter = porter.transpose().map_err(StartError::Thread)?;
        let common = shards::Common {
            door: Some(shards::Door {
                cookie: CookieKey::new(&mut SystemRandom, session.timing.hand_window),
                client_keys: settings.node.wrapping.client_keys().cloned(),
                session,
                stream_session,
            }),
            network: rules::network(settings),
            steering,
            offloads,
            streams: rules::streams(settings),
            porter: porter.as_ref().map(Porter::door),
            ring,
            reports: reporter.clone(),
        };
        let shards = shards::start(
            &common,
            sockets::share_out(sockets, streams, queues, &settings.node.shards.cores),
        )?;
        let fixed = lease_file.as_ref().is_some_and(LeaseFile::is_fixed);
        let rules = registry_rules(settings, shards.len() as u16);
        let registry = registry_with(rules, remembered.unwrap_or_default(), fixed);
        let early = shards::wait_until_ready(&reports, shards.len(), |event| self.publish(event))?;
        for report in early {
            // There is room: nobody else has much to say yet.
            let _full = reporter.try_send(report);
        }
        let steered = std::mem::take(&mut self.steered);
        let reporting = reporting.start(shards.len(), steered, &reporter);
        let profiles = settings.client_files.clone();
        let profiles = profiles.map(|files| Profiles::start(files, reporter.clone()));
        let leases = lease_file.map(|file| file.start(pool)).transpose();
        let started = judges.map(|judges| judges.start(reporter.clone()));
        let started = started.transpose().map_err(StartError::Thread)?;
        let (authentication, plugins) = started.unzip();
        let scripts = scripts.map(|scripts| scripts.with_plugins(plugins.flatten()));
        Ok(Assembled {
            registry,
            authentication,
            profiles: profiles.transpose().map_err(StartError::Thread)?,
            leases: leases.map_err(StartError::Thread)?.flatten(),
            revocations: watch_revocations(&settings.node, &reporter)?,
            tun_steering,
            shards,
            porter,
            reports,
            reporter,
            reporting: reporting.map_err(StartError::Thread)?,
            management: self.management.take(),
            client: None,
            device_scripts: scripts,
        })
    }

    /// Tells which addresses there are for clients.
    fn tell_pool(&mut self, settings: &Settings, pool: &AddressPool) {
        let v6 = settings.network.v6;
        self.publish(NodeEvent::PoolOpened {
            v4: pool.v4.map(|first| (first, pool.slots)),
            v6: v6.map(|v6| (v6.pool_first, pool.slots, v6.network.prefix_len())),
        });
    }

    /// The device has its addresses: scripts and routes.
    fn open_way(
        &mut self,
        settings: &Settings,
        device: &str,
        scripts: Option<&DeviceScripts>,
    ) -> Result<(), StartError> {
        scripts.map_or(Ok(()), DeviceScripts::up)?;
        self.set_routes(&settings.routes, settings.route_table, device);
        if let Some(Err(why)) = scripts.map(DeviceScripts::route_up) {
            let text = format!("WARNING: {why}").into();
            self.publish(NodeEvent::Warned { text });
        }
        Ok(())
    }

    /// Who judges logins, if somebody does.
    fn judges(
        &mut self,
        settings: &Settings,
        device: &str,
        runner: Option<Arc<Runner>>,
        news: Option<Sender<ClientNews>>,
        confinement: Option<&Confinement>,
    ) -> Result<Option<login::Judges>, StartError> {
        let mut tell = |notice| self.publish(NodeEvent::Plugins(notice));
        let judges = settings.auth.as_ref();
        let judges = judges.map(|auth| {
            login::Judges::prepare(auth, settings, device, runner, news, confinement, &mut tell)
        });
        judges.transpose()
    }

    /// The management interface, if there is to be one, and the way of news of clients to it. It hears of everything
    /// from the beginning.
    fn open_management(
        &mut self,
        with: Beginning<'_>,
        reports: &Sender<Report>,
    ) -> Result<Option<Sender<ClientNews>>, StartError> {
        let Some(management) = with.management else {
            return Ok(None);
        };
        // It takes what comes several times a second, and waits for nobody any longer.
        let (news, clients) = channel::unbounded();
        let starter = Starter {
            listener: ManagementListener::bind(management)?,
            events: self.bus.subscribe(EVENTS_PER_SUBSCRIBER),
            clients,
            reports: reports.clone(),
            log: with.log.clone(),
            restart: with.restart,
        };
        self.management = Some(starter.start().map_err(StartError::Thread)?);
        Ok(Some(news))
    }

    /// Waits for the management interface, if that is wanted.
    fn hold(&mut self, wanted: bool) -> Result<(), StartError> {
        let Some(management) = self.management.as_ref().filter(|_| wanted) else {
            return Ok(());
        };
        (self.waits)();
        match management.wait() {
            Released::GoesOn => Ok(()),
            Released::Ends => Err(StartError::Held),
        }
    }

    /// Gives up privileges.
    fn enter(&mut self, confinement: &Confinement, of_client: bool) -> Result<(), StartError> {
        confinement.enter()?;
        // Another user may be dumped as the machine likes it.
        memory::keep_secret();
        self.publish(confinement.event(of_client));
        Ok(())
    }

    /// Keeps memory out of swap, if that is wanted.
    fn lock_memory(&mut self, process: &ProcessSettings) -> Result<(), StartError> {
        if memory::lock(process)? {
            self.publish(NodeEvent::MemoryLocked);
        }
        Ok(())
    }

    /// The file of address leases. One that is only read need not be there.
    fn open_leases(
        &mut self,
        settings: Option<&LeaseSettings>,
    ) -> Result<Option<LeaseFile>, StartError> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        match LeaseFile::open(settings) {
            Ok(file) => Ok(Some(file)),
            Err(error) if settings.interval.is_none() => {
                let path = settings.path.display();
                let text = format!("cannot open {path} for READ: {error}").into();
                self.publish(NodeEvent::Warned { text });
                Ok(None)
            }
            Err(error) => {
                let path = settings.path.clone();
                Err(StartError::Leases { path, error })
            }
        }
    }

    /// What the file of address leases says.
    fn remembered(&mut self, file: &LeaseFile, pool: &AddressPool) -> Vec<(Text, u32)> {
        let Remembered { leases, faults } = file.remembered(pool);
        let faults = faults.into();
        let names = leases.len();
        self.publish(NodeEvent::LeasesRead { names, faults });
        leases
    }

    /// The tun device, one queue a shard.
    fn open_tun(
        &mut self,
        node: &NodeSettings,
        wanted: Offloads,
        v4: Option<(Ipv4Addr, u8, Option<Ipv4Addr>)>,
        v6: Option<(Ipv6Addr, u8)>,
    ) -> Result<Vec<Tun>, StartError> {
        let config = TunConfig {
            name: match &node.device.name {
                DeviceName::Auto => None,
                DeviceName::Named(name) => Some(name.clone()),
            },
            ipv4: v4.map(|(address, prefix, _)| (address, prefix)),
            ipv4_peer: v4.and_then(|(_, _, peer)| peer),
            ipv6: v6,
            mtu: Some(node.device.mtu),
            queue_length: node.device.transmit_queue,
            offloads: offloads::of_tun(wanted),
        };
        let create = || Tun::create_set(&config, shards(node));
        let queues = patiently(create, TunError::is_in_use)?;
        let name: Text = queues.first().map_or("", Tun::name).into();
        self.publish(NodeEvent::TunOpened {
            name: name.clone(),
            mtu: u32::from(node.device.mtu),
        });
        let peer = config.ipv4_peer;
        let v4 = v4.and_then(|(address, prefix, _)| Ipv4Net::new(address, prefix).ok());
        let v6 = v6.and_then(|(address, prefix)| Ipv6Net::new(address, prefix).ok());
        let v4 = v4.map(|v4| (IpNet::from(v4), peer));
        let v6 = v6.map(|v6| (IpNet::from(v6), None));
        for (address, peer) in v4.into_iter().chain(v6) {
            self.publish(NodeEvent::TunAddressed {
                name: name.clone(),
                address,
                peer,
            });
        }
        Ok(queues)
    }
}

/// How many shards the settings ask for.
fn shards(node: &NodeSettings) -> u16 {
    u16::try_from(node.shards.cores.len()).unwrap_or(u16::MAX)
}

/// Tries again while what is wanted is in use: the kernel ends the ring of a process that was
/// killed only some time after the process, and with it sockets and device.
fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let give_up = Instant::now() + START_PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < give_up => {
                thread::sleep(START_RETRY);
            }
            result => return result,
        }
    }
}

fn open_reporting(
    node: &NodeSettings,
    status: Option<&StatusSettings>,
) -> Result<Unstarted, StartError> {
    let format = status.map(|status| status.format);
    let status = status.map(open_status).transpose()?;
    let control = node.control_socket.as_deref().map(ControlSocket::bind);
    Ok(Unstarted {
        status,
        control: control.transpose()?,
        format: format.unwrap_or(StatusFormat::V1),
    })
}

/// Looks after the revoked certificates from now on.
fn watch_revocations(
    node: &NodeSettings,
    reports: &Sender<Report>,
) -> Result<Vec<RevocationWatch>, StartError> {
    let watches = node.tls.revocations.iter().map(|revocations| {
        RevocationWatch::start(revocations, &node.tls.authorities, reports.clone())
    });
    watches
        .collect::<Result<_, _>>()
        .map_err(StartError::Thread)
}

fn open_status(status: &StatusSettings) -> Result<(StatusWriter, Duration), StartError> {
    let path = status.path.clone();
    let file = StatusWriter::open(path.clone(), status.format)
        .map_err(|error| StartError::Status { path, error })?;
    Ok((file, status.interval))
}
