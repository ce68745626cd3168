//! A shard that goes by other rules from now on. Its sessions go on: what was agreed with a client
//! stays, and its further keys are made with the certificates that are in force by then.

use std::fmt;
use std::sync::Arc;

use super::{Edges, Network, Shard};
use crate::session::SessionSettings;
use crate::time::Now;

/// What a shard goes by.
pub struct Terms {
    /// The rules of sessions that begin from now on; their certificates are for all.
    pub session: Arc<SessionSettings>,
    /// The same of sessions over streams.
    pub stream_session: Arc<SessionSettings>,
    /// What clients have in common.
    pub network: Network,
}

impl fmt::Debug for Terms {
    /// Without the rules of sessions, which have keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Terms")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl<E: Edges> Shard<E> {
    pub(super) fn follow_terms(&mut self, terms: Terms, now: Now) {
        let Terms {
            session,
            stream_session,
            network,
        } = terms;
        self.make_room(network.max_clients);
        let mut renewed = Vec::new();
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            let rules = match connection.path.is_stream() {
                true => &stream_session,
                false => &session,
            };
            let random = &mut *self.random;
            connection.session.push_anew(now, random, &rules.push);
            connection.session.begin_with(rules, &mut renewed);
            self.service(key, now);
        }
        let shards = self.surroundings.steering.shards();
        // A bucket that is the same is not to be filled by a reload.
        let contact = Some(network.contact).filter(|it| *it != self.network.contact);
        self.protocol = self.protocol.take().map(|protocol| {
            let protocol = protocol.with_settings(session);
            let protocol = protocol.with_stream_settings(stream_session);
            match contact {
                Some(limits) => protocol.with_limits(limits, shards),
                None => protocol,
            }
        });
        self.surroundings.client_to_client = network.client_to_client;
        self.surroundings.refuses_ipv6 = network.refuses_ipv6;
        self.inbound.copy_classes(network.copies_classes);
        self.outbound.copy_classes(network.copies_classes);
        self.network = network;
    }

    /// No table grows while packets pass: it is done here, once.
    fn make_room(&mut self, clients_max: u32) {
        self.peers.grow(clients_max);
        self.surroundings.directory.grow(clients_max);
        self.registration.grow(clients_max as usize);
    }
}
