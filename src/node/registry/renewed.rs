//! A registry that goes by other rules from now on, with all clients that it has.

use super::{Admission, Order, Registry, RegistryRules, Steered};
use crate::node::leases::AddressPool;

impl Registry {
    /// Follows new rules. The pool may have grown, at its end; the number of shards,
    /// `duplicate_cn` and who is asked when clients come are as they were. Nobody is turned away who is in.
    pub fn follow(&mut self, rules: RegistryRules) {
        self.rules = RegistryRules {
            duplicate_cn: self.rules.duplicate_cn,
            hooks: self.rules.hooks,
            shards: self.rules.shards,
            ..rules
        };
        if self.holdings.grow(rules.pool) {
            self.note_slots();
        }
    }

    /// The addresses for clients.
    pub fn pool(&self) -> &AddressPool {
        self.holdings.pool()
    }

    /// An address that a client's file names may have come to lie in the pool: nobody else is given
    /// it.
    fn note_slots(&mut self) {
        for (at, session) in &mut self.sessions {
            let Admission::Granted(granted) = &mut session.state else {
                continue;
            };
            for address in self.holdings.note_slots(&mut granted.holding) {
                let shard = Some(at.shard);
                let what = Steered::Network(address.0.into());
                self.orders.push_back(Order::Steer { what, shard: None });
                let what = Steered::Slot(address.1);
                self.orders.push_back(Order::Steer { what, shard });
            }
        }
    }
}
