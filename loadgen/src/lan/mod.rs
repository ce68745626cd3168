//! The far side: `loadgen lan` on the host or in the namespace behind the server.
//!
//! It counts what clients send, sends back their echo requests, and sends to them what they ask for. They
//! talk with it through the tunnel, in datagrams like all others ([`order`]): the generator and the
//! LAN host need no other connection, whatever the server and the network are.
//!
//! Ordinary UDP sockets, one datagram a packet: what is joined to super-packets was joined by the
//! server and the kernels.

pub mod caller;
mod host;
pub mod order;
mod outbox;
mod report;
mod sessions;
mod socket;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use ipnet::IpNet;

use self::host::{Bounds, Host};
use self::report::LanReport;
use self::socket::{Endpoint, Served};
use crate::limits::LAN_THREADS_MAX;
use crate::result::unix_seconds;

/// Count, echo and generate traffic on the LAN host behind the server.
#[derive(Clone, Debug, Args)]
pub struct LanOptions {
    /// Address and port to listen on; both families with [::]; can be given several times
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:5201")]
    pub listen: Vec<SocketAddr>,
    /// Networks of the clients; others get no answer
    #[arg(long, value_name = "NETWORK/BITS", value_delimiter = ',')]
    pub clients: Vec<IpNet>,
    /// Threads for each address, each with its own sessions
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Sessions that each thread knows at a time
    #[arg(long, value_name = "N", default_value_t = 131_072)]
    pub sessions_max: usize,
    /// Packets a second that all clients of a thread together may ask for
    #[arg(long, value_name = "N", default_value_t = 5_000_000.0)]
    pub rate_max: f64,
    /// End after so long; without it Ctrl-C or SIGTERM ends it
    #[arg(long, value_name = "TIME")]
    pub duration: Option<crate::span::Span>,
    /// Write what was seen to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Serves until `stop` is set or the time is over, then tells what was seen.
///
/// # Errors
/// If an option makes no sense, an address can't be listened on, or the report not written.
pub fn run(options: &LanOptions, stop: &Arc<AtomicBool>) -> Result<(), LanFault> {
    if options.threads == 0 || options.threads > LAN_THREADS_MAX {
        return Err(LanFault::Threads(options.threads));
    }
    let started = unix_seconds();
    let began = Instant::now();
    let mut endpoints = Vec::new();
    let mut addresses = Vec::new();
    for listen in &options.listen {
        let mut address = *listen;
        for _ in 0..options.threads {
            let endpoint = Endpoint::bind(address).map_err(|source| LanFault::Listen {
                address: *listen,
                source,
            })?;
            // Port 0 is chosen once for all threads.
            address = endpoint.address();
            endpoints.push(endpoint);
        }
        addresses.push(address);
    }
    for address in &addresses {
        println!("listening on {address}");
    }
    let served = serve(options, endpoints, began, stop);
    let report = LanReport::new(options, started, began.elapsed(), served);
    print!("{report}");
    match &options.report {
        Some(path) => report.write(path).map_err(|source| LanFault::Report {
            path: path.clone(),
            source,
        }),
        None => Ok(()),
    }
}

/// Runs a thread for each endpoint until all have ended.
fn serve(
    options: &LanOptions,
    endpoints: Vec<Endpoint>,
    began: Instant,
    stop: &Arc<AtomicBool>,
) -> Vec<Served> {
    let bounds = Bounds {
        clients: options.clients.clone(),
        sessions: options.sessions_max,
        rate: options.rate_max,
    };
    let threads: Vec<_> = endpoints
        .into_iter()
        .map(|endpoint| {
            let host = Host::new(bounds.clone(), &mut ringway::random::SystemRandom);
            let stop = Arc::clone(stop);
            std::thread::spawn(move || endpoint.serve(host, &stop))
        })
        .collect();
    while !threads.iter().all(|it| it.is_finished()) {
        let over = options
            .duration
            .is_some_and(|it| began.elapsed() >= it.duration());
        if over {
            stop.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let ended = threads.into_iter().map(std::thread::JoinHandle::join);
    ended.filter_map(Result::ok).collect()
}

/// Why the LAN host does not run, or leaves no report.
#[derive(Debug, thiserror::Error)]
pub enum LanFault {
    /// No address, or another program has it.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// None or too many.
    #[error("--threads {0}: 1 to {LAN_THREADS_MAX}")]
    Threads(usize),
    /// The report can't be written.
    #[error("{}: {source}", path.display())]
    Report {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
