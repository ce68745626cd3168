//! What a shard has been told about who has which addresses, and has to acknowledge.
//!
//! Announcements may be lost and come twice; only the one that follows what is known is taken. See
//! [`Announcement`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::registry::{Announcement, Tenant};
use crate::packet::{Directory, DirectoryFull};

/// How far a shard has followed the registry's announcements.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// All changes up to here are known.
    known: u64,
    /// Something came, new or not, that has not been acknowledged.
    unanswered: bool,
    /// By seat.
    tenants: HashMap<u32, Arc<Tenant>>,
}

/// What a shard's directory has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who had a seat by what was known, with all that went with it.
    pub former: Option<Arc<Tenant>>,
    /// Who has it.
    pub present: Option<Arc<Tenant>>,
}

impl Announced {
    /// Takes an announcement if it is the next one.
    pub(super) fn take(&mut self, announcement: &Announcement) -> Option<Change> {
        if announcement.after > self.known {
            return None;
        }
        self.unanswered = true;
        if announcement.number <= self.known {
            return None;
        }
        self.known = announcement.number;
        let Announcement { seat, tenant, .. } = announcement;
        let former = match tenant {
            Some(tenant) => self.tenants.insert(*seat, Arc::clone(tenant)),
            None => self.tenants.remove(seat),
        };
        let present = tenant.clone();
        Some(Change { former, present })
    }

    /// The number up to which everything is known, if the registry waits to hear it.
    pub(super) fn poll_acknowledgement(&mut self) -> Option<u64> {
        std::mem::take(&mut self.unanswered).then_some(self.known)
    }

    pub(super) fn has_acknowledgement(&self) -> bool {
        self.unanswered
    }
}

/// Notes that a client no longer has what it had.
pub(super) fn withdraw(directory: &mut Directory, former: &Tenant) {
    let owner = former.owner();
    for address in former.addresses.iter() {
        directory.withdraw_inner(address, owner);
    }
    for network in &former.networks {
        directory.withdraw_prefix(*network, owner);
    }
    directory.withdraw_path(&former.path.path, owner);
}

/// Notes what a client has.
///
/// # Errors
/// Something of it has no room; the rest is noted.
pub(super) fn announce(directory: &mut Directory, present: &Tenant) -> Result<(), DirectoryFull> {
    let owner = present.owner();
    let mut noted = Ok(());
    for address in present.addresses.iter() {
        noted = noted.and(directory.announce_inner(address, owner));
    }
    for network in &present.networks {
        noted = noted.and(directory.announce_prefix(*network, owner));
    }
    noted.and(directory.announce_path(&present.path, owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::leases::Addresses;

    fn announcement(after: u64, number: u64, tenant: Option<Arc<Tenant>>) -> Announcement {
        Announcement {
            number,
            after,
            seat: 7,
            tenant,
        }
    }

    fn at(shard: u16) -> Option<Arc<Tenant>> {
        Some(Arc::new(Tenant {
            shard,
            session: 1,
            client_id: 1,
            path: crate::node::registry::tests::PATH,
            addresses: Addresses { v4: None, v6: None },
            networks: Vec::new(),
        }))
    }

    #[test]
    fn what_follows_is_taken_and_what_leaves_a_gap_is_not() {
        let mut announced = Announced::default();
        assert_eq!(announced.poll_acknowledgement(), None);
        let first = announcement(0, 3, at(2));
        let change = announced.take(&first).expect("it is the first");
        assert_eq!((change.former, change.present), (None, at(2)));
        assert_eq!(announced.poll_acknowledgement(), Some(3));
        assert_eq!(announced.poll_acknowledgement(), None);
        assert_eq!(announced.take(&announcement(4, 5, at(1))), None, "a gap");
        assert!(!announced.has_acknowledgement());
        assert_eq!(announced.take(&first), None, "known");
        assert_eq!(
            announced.poll_acknowledgement(),
            Some(3),
            "but it seems that the registry has not heard so"
        );
        let moved = announced
            .take(&announcement(2, 4, at(1)))
            .expect("it follows");
        assert_eq!((moved.former, moved.present), (at(2), at(1)));
        let left = announced
            .take(&announcement(4, 5, None))
            .expect("it follows");
        assert_eq!((left.former, left.present), (at(1), None));
        assert_eq!(announced.poll_acknowledgement(), Some(5));
        assert!(announced.tenants.is_empty());
    }
}
