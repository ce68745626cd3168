//! The shards of a node: one thread each, pinned to its core, and the queues to and between them.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use core_affinity::CoreId;
use crossbeam::channel::{self, Sender};

use crate::crypto::CookieKey;
use crate::limits::MAILBOX_MESSAGES;
use crate::node::event::NodeEvent;
use crate::node::message::Report;
use crate::node::porter::PorterDoor;
use crate::node::running::ShardHandle;
use crate::node::settings::Offloads;
use crate::node::shard::{Network, ShardParts};
use crate::node::start::StartError;
use crate::node::worker::{
    Exchange, ListenerSockets, OpeningRules, StreamListeners, StreamRules, Worker, WorkerParts,
};
use crate::random::SystemRandom;
use crate::reactor::{self, ReactorConfig, TcpListener, Tun, Waker};
use crate::session::{ClientKeyRules, OpenVpn2, SessionSettings, Steering};

/// What the shards of a node have in common.
pub(super) struct Common {
    /// What strangers meet; `None` for a node that nobody can contact.
    pub(super) door: Option<Door>,
    /// What clients are told of the network.
    pub(super) network: Network,
    /// How datagrams are spread over the shards.
    pub(super) steering: Steering,
    /// What the kernel does for many packets at once.
    pub(super) offloads: Offloads,
    /// What streams have in common.
    pub(super) streams: StreamRules,
    /// Where connections go that are not OpenVPN's.
    pub(super) porter: Option<PorterDoor>,
    /// How large a shard's ring is.
    pub(super) ring: ReactorConfig,
    /// Where shards report.
    pub(super) reports: Sender<Report>,
}

/// First contact, the same on every shard.
pub(super) struct Door {
    /// The rules of all sessions.
    pub(super) session: Arc<SessionSettings>,
    /// Those of sessions over TCP.
    pub(super) stream_session: Arc<SessionSettings>,
    /// How clients are dealt with that bring their own key, if they are.
    pub(super) client_keys: Option<Arc<ClientKeyRules>>,
    /// Made once, so that a cookie is good on every shard.
    pub(super) cookie: CookieKey,
}

/// What one shard alone has.
pub(super) struct Own {
    /// Its sockets, in the order of the listeners.
    pub(super) listeners: Vec<ListenerSockets>,
    /// Its TCP listeners.
    pub(super) streams: Vec<(TcpListener, OpeningRules)>,
    /// Its queue of the tun device.
    pub(super) tun: Tun,
    /// The core that its thread is pinned to.
    pub(super) core: usize,
}

/// Starts a thread for each shard, in their order.
///
/// # Errors
/// A thread or a wake-up can't be had. The threads that were started end.
pub(super) fn start(common: &Common, owns: Vec<Own>) -> Result<Vec<ShardHandle>, StartError> {
    let shards = owns.len() as u16;
    let wakers = owns.iter().map(|_| Waker::new());
    let wakers: Vec<Waker> = wakers
        .collect::<Result<_, _>>()
        .map_err(StartError::Thread)?;
    let exchanges = Exchange::between(&wakers);
    let members = owns.into_iter().zip(wakers.into_iter().zip(exchanges));
    (0..shards)
        .zip(members)
        .map(|(number, (own, (waker, exchange)))| start_one(common, number, own, waker, exchange))
        .collect()
}

fn start_one(
    common: &Common,
    number: u16,
    own: Own,
    waker: Waker,
    exchange: Exchange,
) -> Result<ShardHandle, StartError> {
    let (instructions, taken) = reactor::mailbox(MAILBOX_MESSAGES, waker.clone());
    let protocol = common.door.as_ref().map(|door| {
        let session = Arc::clone(&door.session);
        let protocol = OpenVpn2::new(session, door.cookie.clone(), &mut SystemRandom)
            .with_stream_settings(Arc::clone(&door.stream_session));
        match &door.client_keys {
            Some(rules) => protocol.with_client_keys(Arc::clone(rules)),
            None => protocol,
        }
    });
    let parts = WorkerParts {
        listeners: own.listeners,
        streams: StreamListeners {
            listeners: own.streams,
            rules: common.streams,
            porter: common.porter.clone(),
        },
        ring: common.ring,
        tun: own.tun,
        waker,
        exchange,
        instructions: taken,
        reports: common.reports.clone(),
    };
    let (network, reports) = (common.network.clone(), common.reports.clone());
    let (steering, offloads) = (common.steering, common.offloads);
    let core = CoreId { id: own.core };
    let thread = thread::Builder::new()
        .name(format!("shard-{number}"))
        .spawn(move || {
            let shard = ShardParts {
                number,
                steering,
                offloads,
                protocol,
                network,
                random: Box::new(SystemRandom),
            };
            let failure = survived(|| run(core, parts, shard, &reports));
            let shard = number;
            let _nobody_listens = reports.send(Report::Ended { shard, failure });
        })
        .map_err(StartError::Thread)?;
    Ok(ShardHandle::new(instructions, thread))
}

/// A shard's whole life; a sentence if it went wrong.
fn run(
    core: CoreId,
    parts: WorkerParts,
    shard: ShardParts,
    reports: &Sender<Report>,
) -> Option<String> {
    // Before the ring and the buffers are made, so that their memory is near the core.
    if !core_affinity::set_for_current(core) {
        return Some(format!(
            "shard {} can't run on core {}: this process may not use it (any more)",
            shard.number, core.id
        ));
    }
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

/// Waits until so many shards serve. What the first of them have to tell meanwhile goes to `publish`;
/// what they say to the registry is said again. Comes back: what the management interface wanted meanwhile.
///
/// # Errors
/// One of them ended instead.
pub(super) fn wait_until_ready(
    reports: &channel::Receiver<Report>,
    shards: usize,
    mut publish: impl FnMut(NodeEvent),
) -> Result<Vec<Report>, StartError> {
    let (mut ready, mut early) = (0, Vec::new());
    while ready < shards {
        match reports.recv() {
            Ok(Report::Ready) => ready += 1,
            Ok(Report::Ended {
                failure: Some(failure),
                ..
            }) => return Err(StartError::Shard(failure)),
            Ok(Report::Event(event)) => publish(event),
            Ok(report @ (Report::Asked { .. } | Report::Managed(_) | Report::Signal(_))) => {
                early.push(report);
            }
            Ok(_) => {}
            Err(_) => return Err(StartError::Shard("a shard ended at its start".to_owned())),
        }
    }
    Ok(early)
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
