//! From settings to a running node: log, sockets, tun device, shards, in this order, so that what
//! fails says so before clients can connect.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam::channel::{self, Sender};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bus::Bus;
use super::event::{NodeEvent, Text};
use super::log::{Log, LogTarget};
use super::message::Report;
use super::registry::Registry;
use super::running::{Assembled, Node, ShardHandle, StatusReports};
use super::settings::{
    Bind, DeviceName, ExplicitExit, ListenerSettings, Settings, StatusSettings, WrappingSettings,
};
use super::shard::{Network, ShardParts};
use super::status::StatusFile;
use super::worker::{Worker, WorkerParts};
use crate::crypto::{CookieKey, Digest, KeyDirection, ReplayWindow};
use crate::limits::{
    EVENTS_PER_SUBSCRIBER, MAILBOX_MESSAGES, NODE_REPORTS, START_PATIENCE, START_RETRY,
};
use crate::random::SystemRandom;
use crate::reactor::{
    self, Family, Listen, RingError, Tun, TunConfig, TunError, UdpError, UdpSocket, Waker,
};
use crate::session::{Farewell, OpenVpn2, SessionSettings, Timing};
use crate::time::Now;
use crate::wire::{OptionsString, Role};

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
    /// A socket can't be had.
    #[error(transparent)]
    Listener(#[from] UdpError),
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
    pub fn start(settings: Settings, mut bus: Bus) -> Result<Self, StartError> {
        let log =
            Log::start(&settings.log, bus.subscribe(EVENTS_PER_SUBSCRIBER)).map_err(|error| {
                StartError::Log {
                    name: settings.log.target.to_string(),
                    error,
                }
            })?;
        let mut starting = Starting { bus };
        let assembled = starting.assemble(&settings);
        let Starting { mut bus } = starting;
        match assembled {
            Ok(assembled) => Ok(Self::new(bus, log, assembled)),
            Err(error) => {
                if settings.log.target != LogTarget::Stdout {
                    let reason = error.to_string().as_str().into();
                    bus.publish(Now::read().unix, NodeEvent::StartFailed { reason });
                }
                // The log ends with the bus, and has all that was said until then.
                drop(bus);
                log.finish();
                Err(error)
            }
        }
    }
}

/// A node on its way: what it has to say goes to the bus from the beginning.
struct Starting {
    bus: Bus,
}

impl Starting {
    fn publish(&mut self, event: NodeEvent) {
        self.bus.publish(Now::read().unix, event);
    }

    fn assemble(&mut self, settings: &Settings) -> Result<Assembled, StartError> {
        self.publish(NodeEvent::Started);
        let status = settings.status.as_ref().map(open_status).transpose()?;
        let session = Arc::new(session_settings(settings)?);
        let sockets = self.bind(&settings.listeners)?;
        let tun = self.open_tun(settings)?;
        let pool = settings.network.pool();
        self.publish(NodeEvent::PoolOpened {
            v4: pool.v4.map(|first| (first, pool.slots)),
            v6: settings
                .network
                .v6
                .map(|v6| (v6.pool_first, pool.slots, v6.network.prefix_len())),
        });
        let (reporter, reports) = channel::bounded(NODE_REPORTS);
        let shard = start_shard(sockets, tun, session, network(settings), reporter.clone())?;
        let registry = Registry::new(pool, settings.max_clients as usize, settings.duplicate_cn);
        wait_until_ready(&reports, 1)?;
        Ok(Assembled {
            registry,
            shards: vec![shard],
            reports,
            reporter,
            status,
        })
    }

    fn bind(&mut self, listeners: &[ListenerSettings]) -> Result<Vec<UdpSocket>, StartError> {
        let mut sockets = Vec::new();
        for listener in listeners {
            let listen = listen(listener);
            let socket = patiently(|| UdpSocket::bind(&listen), UdpError::is_in_use)?;
            if let Ok(address) = socket.local_address() {
                self.publish(NodeEvent::ListenerBound { address });
            }
            sockets.push(socket);
        }
        Ok(sockets)
    }

    fn open_tun(&mut self, settings: &Settings) -> Result<Tun, StartError> {
        let network = &settings.network;
        let v4 = network.v4.map(|v4| (v4.server, v4.network.prefix_len()));
        let v6 = network.v6.map(|v6| (v6.server, v6.network.prefix_len()));
        let config = TunConfig {
            name: match &settings.device.name {
                DeviceName::Auto => None,
                DeviceName::Named(name) => Some(name.clone()),
            },
            ipv4: v4,
            ipv6: v6,
            mtu: Some(settings.device.mtu),
            queue_length: settings.device.transmit_queue,
            multi_queue: false,
        };
        let tun = patiently(|| Tun::create(&config), TunError::is_in_use)?;
        let name: Text = tun.name().into();
        self.publish(NodeEvent::TunOpened {
            name: name.clone(),
            mtu: u32::from(settings.device.mtu),
        });
        let v4 = v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
        let v6 = v6.and_then(|(address, prefix)| Ipv6Net::new(address, prefix).ok());
        for address in v4.map(IpNet::from).into_iter().chain(v6.map(IpNet::from)) {
            self.publish(NodeEvent::TunAddressed {
                name: name.clone(),
                address,
            });
        }
        Ok(tun)
    }
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

fn open_status(status: &StatusSettings) -> Result<StatusReports, StartError> {
    let path = status.path.clone();
    let file = StatusFile::start(path.clone(), status.format)
        .map_err(|error| StartError::Status { path, error })?;
    Ok(StatusReports::new(file, status.interval))
}

fn listen(listener: &ListenerSettings) -> Listen {
    let (family, address) = match listener.bind {
        Bind::DualStack => (Family::Dual, None),
        Bind::V4(address) => (
            Family::V4,
            (!address.is_unspecified()).then_some(address.into()),
        ),
        Bind::V6(address) => (
            Family::V6,
            (!address.is_unspecified()).then_some(address.into()),
        ),
    };
    let bytes = |size: Option<std::num::NonZeroU32>| size.map_or(0, |size| size.get() as usize);
    Listen {
        family,
        address,
        port: listener.port,
        reuse_port: false,
        send_buffer: bytes(listener.send_buffer),
        receive_buffer: bytes(listener.receive_buffer),
        // Super-packets need a data path that splits them.
        receive_offload: false,
    }
}

fn start_shard(
    sockets: Vec<UdpSocket>,
    tun: Tun,
    session: Arc<SessionSettings>,
    network: Network,
    reports: Sender<Report>,
) -> Result<ShardHandle, StartError> {
    let waker = Waker::new().map_err(StartError::Thread)?;
    let (instructions, taken) = reactor::mailbox(MAILBOX_MESSAGES, waker.clone());
    let cookie = CookieKey::new(&mut SystemRandom, session.timing.hand_window);
    let protocol = OpenVpn2::new(session, cookie, &mut SystemRandom);
    let parts = WorkerParts {
        sockets,
        tun,
        waker,
        instructions: taken,
        reports: reports.clone(),
    };
    let thread = thread::Builder::new()
        .name("shard-0".to_owned())
        .spawn(move || {
            let shard = ShardParts {
                number: 0,
                shards: 1,
                protocol,
                network,
                random: Box::new(SystemRandom),
            };
            let failure = survived(|| run_shard(parts, shard, &reports));
            let _nobody_listens = reports.send(Report::Ended { failure });
        })
        .map_err(StartError::Thread)?;
    Ok(ShardHandle::new(instructions, thread))
}

/// A shard's whole life; a sentence if it went wrong.
fn run_shard(parts: WorkerParts, shard: ShardParts, reports: &Sender<Report>) -> Option<String> {
    let mut worker = match Worker::new(parts, shard) {
        Ok(worker) => worker,
        Err(error) => return Some(error.to_string()),
    };
    let _nobody_listens = reports.send(Report::Ready);
    worker.run().err().map(|error| error.to_string())
}

/// What became of a shard, a panic included: nobody else would tell the node thread, which would
/// wait for ever while nothing is served.
fn survived(run: impl FnOnce() -> Option<String>) -> Option<String> {
    panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Some("a shard panicked, which is a bug in this program".to_owned()))
}

fn wait_until_ready(reports: &channel::Receiver<Report>, shards: usize) -> Result<(), StartError> {
    let mut ready = 0;
    while ready < shards {
        match reports.recv() {
            Ok(Report::Ready) => ready += 1,
            Ok(Report::Ended {
                failure: Some(failure),
            }) => return Err(StartError::Shard(failure)),
            Ok(_) => {}
            Err(_) => return Err(StartError::Shard("a shard ended at its start".to_owned())),
        }
    }
    Ok(())
}

fn session_settings(settings: &Settings) -> Result<SessionSettings, StartError> {
    let handshake = settings.handshake;
    let options = OptionsString {
        tun_mtu: u32::from(settings.device.mtu),
        auth: settings.auth.map_or("[null-digest]", Digest::name),
        tls_auth: match &settings.wrapping {
            WrappingSettings::TlsAuth { direction, .. } => Some(match direction {
                KeyDirection::Both => None,
                KeyDirection::Zero => Some(0),
                KeyDirection::One => Some(1),
            }),
            WrappingSettings::Plain | WrappingSettings::TlsCrypt { .. } => None,
        },
        ..OptionsString::stock(Role::Server)
    };
    Ok(SessionSettings {
        role: Role::Server,
        wrapping: Arc::new(settings.wrapping.wrapping()),
        static_key: settings.wrapping.static_key().cloned(),
        tls: Arc::new(settings.tls.engine().map_err(StartError::Tls)?),
        ciphers: settings.ciphers.clone(),
        options_string: options.to_string(),
        tun_mtu: settings.device.mtu,
        push: settings.push.clone(),
        peer_info: String::new(),
        replay_window: ReplayWindow::new(settings.replay.packets, settings.replay.time),
        timing: Timing {
            hand_window: handshake.hand_window,
            tran_window: handshake.tran_window,
            tls_timeout: handshake.tls_timeout,
            renegotiation: handshake.renegotiate,
            ping: settings.keepalive.ping,
            ping_restart: settings.keepalive.ping_restart,
        },
    })
}

fn network(settings: &Settings) -> Network {
    Network {
        v4_netmask: settings.network.v4.map(|v4| v4.client_netmask),
        v6: settings
            .network
            .v6
            .map(|v6| (v6.network.prefix_len(), v6.server)),
        mtu: settings.device.mtu,
        mssfix: settings.mssfix,
        max_clients: settings.max_clients,
        farewell: match settings.explicit_exit {
            ExplicitExit::Silent => Farewell::Silent,
            ExplicitExit::Restart => Farewell::Restart { next_remote: false },
            ExplicitExit::RestartNext => Farewell::Restart { next_remote: true },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_panics_has_failed() {
        let calm = || Some("no io_uring".to_owned());
        assert_eq!(survived(calm).as_deref(), Some("no io_uring"));
        assert_eq!(survived(|| None), None);
        let failure = survived(|| panic!("as a test wants it"));
        assert!(failure.is_some_and(|failure| failure.contains("panicked")));
    }
}
