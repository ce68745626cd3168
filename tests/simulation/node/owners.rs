//! Who has had which inner address, turn by turn: as the shards see it, not the registry.

use std::collections::HashMap;
use std::net::IpAddr;

use super::member::{Member, Tenant};

/// The owners of all inner addresses until now.
#[derive(Default)]
pub(crate) struct Owners {
    /// By address: from which turn on who has had it.
    changes: HashMap<IpAddr, Vec<(u64, Option<String>)>>,
}

impl Owners {
    /// A shard has taken a turn; its clients were `before`. Panics if an address has two owners.
    pub(crate) fn note(&mut self, turn: u64, at: usize, before: &[Tenant], members: &[Member]) {
        let present = &members[at].tenants;
        if present == before {
            return;
        }
        for tenant in before {
            self.change(turn, tenant, None);
        }
        for tenant in present {
            self.change(turn, tenant, Some(&tenant.name));
        }
        for (other, member) in members.iter().enumerate() {
            for (place, tenant) in present.iter().enumerate() {
                let rivals = member.tenants.iter().enumerate();
                let rival = rivals
                    .filter(|(rival, _)| (other, *rival) != (at, place))
                    .find(|(_, rival)| {
                        rival
                            .inner()
                            .any(|address| tenant.inner().any(|it| it == address))
                    });
                assert!(
                    rival.is_none(),
                    "an address has two owners: {tenant:?} on shard {at}, {rival:?} on {other}"
                );
            }
        }
    }

    /// Whether an address was `name`'s at any moment of a turn.
    pub(crate) fn had(&self, turn: u64, address: IpAddr, name: &str) -> bool {
        let Some(changes) = self.changes.get(&address) else {
            return false;
        };
        let after = changes.partition_point(|(at, _)| *at < turn);
        let during = changes[after..].iter().take_while(|(at, _)| *at == turn);
        let mut owners = changes[..after].last().into_iter().chain(during);
        owners.any(|(_, owner)| owner.as_deref() == Some(name))
    }

    /// Whether an address was `name`'s before a turn and after it.
    pub(crate) fn kept(&self, turn: u64, address: IpAddr, name: &str) -> bool {
        let Some(changes) = self.changes.get(&address) else {
            return false;
        };
        let owner = changes.last();
        owner.is_some_and(|(at, owner)| *at < turn && owner.as_deref() == Some(name))
    }

    fn change(&mut self, turn: u64, tenant: &Tenant, owner: Option<&str>) {
        for address in tenant.inner() {
            let changes = self.changes.entry(address).or_default();
            changes.push((turn, owner.map(str::to_owned)));
        }
    }
}
