//! From a client's settings to a running node: one shard, no listener, and a dialer.

use std::sync::Arc;

use crossbeam::channel;

use super::{Starting, offloads, open_reporting, rules, shards, sockets, watch_revocations};
use crate::limits::{NODE_REPORTS, locked_memory};
use crate::node::client::{Client, ClientRules, Tunnel, TunnelRules};
use crate::node::event::NodeEvent;
use crate::node::leases::{AddressPool, Blocks};
use crate::node::priority;
use crate::node::privileges::{Confinement, allow_locked_memory};
use crate::node::registry::{Registry, RegistryRules};
use crate::node::running::Assembled;
use crate::node::settings::ClientSettings;
use crate::node::start::StartError;
use crate::random::SystemRandom;
use crate::reactor::{Family, Listen, Routing, Tun, UdpSocket};
use crate::session::Steering;
use crate::time::Now;

impl Starting<'_> {
    pub(super) fn assemble_client(
        &mut self,
        mut settings: ClientSettings,
    ) -> Result<Assembled, StartError> {
        self.publish(NodeEvent::Started);
        // One tunnel is one core's work.
        settings.node.shards.cores.truncate(1);
        let cores = settings.node.shards.cores.as_slice().into();
        self.publish(NodeEvent::ShardsPlaced { cores });
        let confinement = Confinement::of(&settings.node.process)?;
        priority::ask(&settings.node.process)?;
        self.lock_memory(&settings.node.process)?;
        let reporting = open_reporting(&settings.node, None)?;
        let session = Arc::new(rules::client_session_settings(&settings)?);
        let wanted = offloads::wanted(&settings.node);
        let queues = self.open_tun(&settings.node, wanted, None, None)?;
        // What a socket can do does not depend on where it is dialed.
        let tried = vec![vec![UdpSocket::bind(&Listen {
            family: Family::V4,
            address: None,
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            receive_offload: wanted.udp_gro,
            routing: Routing::default(),
        })?]];
        let offloads = self.settle_offloads(wanted, &tried, &queues);
        let device = queues.first().map_or("", Tun::name).to_owned();
        let ring = rules::client_ring(&settings);
        allow_locked_memory(locked_memory(1, ring.locked_memory()));
        let (reporter, reports) = channel::bounded(NODE_REPORTS);
        // Before the privileges go: its thread keeps what it needs of them.
        let tunnel = Tunnel::start(&device, TunnelRules::of(&settings), reporter.clone());
        let tunnel = tunnel.map_err(|error| StartError::ClientNeeds {
            what: "way to change addresses and routes",
            error,
        })?;
        if let Some(confinement) = confinement {
            self.enter(&confinement, true)?;
            tunnel.is_confined();
        }
        // Threads from here on: they have what is left.
        let common = shards::Common {
            door: None,
            network: rules::client_network(&settings),
            steering: Steering::new(1, &mut SystemRandom),
            offloads,
            streams: rules::client_streams(&settings),
            porter: None,
            ring,
            reports: reporter.clone(),
        };
        let owns = sockets::share_out(Vec::new(), Vec::new(), queues, &settings.node.shards.cores);
        let shards = shards::start(&common, owns)?;
        shards::wait_until_ready(&reports, shards.len(), |event| self.publish(event))?;
        let reporting = reporting.start(shards.len(), Vec::new(), &reporter);
        let revocations = watch_revocations(&settings.node, &reporter)?;
        let now = Now::read().monotonic;
        let rules = ClientRules {
            stream_session: rules::client_over_streams(&settings, &session),
            settings,
            session,
            receive_offload: offloads.udp_gro,
        };
        let client = Client::start(rules, tunnel, &reporter, &mut SystemRandom, now);
        Ok(Assembled {
            registry: nobody(),
            authentication: None,
            profiles: None,
            device_scripts: None,
            leases: None,
            revocations,
            tun_steering: None,
            shards,
            porter: None,
            reports,
            reporter,
            reporting: reporting.map_err(StartError::Thread)?,
            management: None,
            client: Some(client.map_err(|error| StartError::ClientNeeds {
                what: "thread",
                error,
            })?),
        })
    }
}

/// A registry that lets nobody in.
fn nobody() -> Registry {
    Registry::new(RegistryRules {
        pool: AddressPool {
            v4: None,
            v4_blocks: Blocks::Single,
            v6: None,
            slots: 0,
        },
        max_clients: 0,
        duplicate_cn: false,
        client_files: false,
        hooks: false,
        shards: 1,
    })
}
