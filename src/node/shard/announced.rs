//! What a shard has been told about who has which addresses, and has to acknowledge.
//!
//! Announcements may be lost and come twice; only the one that follows what is known is taken. See
//! [`Announcement`].

use std::collections::HashMap;

use crate::node::leases::Addresses;
use crate::node::registry::{Announcement, Tenant};

/// How far a shard has followed the registry's announcements.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// All changes up to here are known.
    known: u64,
    /// Something came, new or not, that has not been acknowledged.
    unanswered: bool,
    /// By slot.
    tenants: HashMap<u32, Tenant>,
}

/// What a shard's directory has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The addresses of a slot.
    pub addresses: Addresses,
    /// Who had them by what was known.
    pub former: Option<Tenant>,
    /// Who has them.
    pub present: Option<Tenant>,
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
        let Announcement {
            slot,
            addresses,
            tenant,
            ..
        } = *announcement;
        let former = match tenant {
            Some(tenant) => self.tenants.insert(slot, tenant),
            None => self.tenants.remove(&slot),
        };
        Some(Change {
            addresses,
            former,
            present: tenant,
        })
    }

    /// The number up to which everything is known, if the registry waits to hear it.
    pub(super) fn poll_acknowledgement(&mut self) -> Option<u64> {
        std::mem::take(&mut self.unanswered).then_some(self.known)
    }

    pub(super) fn has_acknowledgement(&self) -> bool {
        self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(after: u64, number: u64, tenant: Option<Tenant>) -> Announcement {
        Announcement {
            number,
            after,
            slot: 7,
            addresses: Addresses { v4: None, v6: None },
            tenant,
        }
    }

    fn at(shard: u16) -> Option<Tenant> {
        Some(Tenant {
            shard,
            client_id: 1,
            path: crate::node::registry::tests::PATH,
        })
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
