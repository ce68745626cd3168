//! What a shard tells the registry.
//!
//! A notice may be lost; the shard repeats what it has not had answered. Of notices that arrive in
//! another order than they were sent, the overtaken ones count as lost: each has a number, and the
//! registry hears none after a higher one of the same shard.

use crate::node::event::Text;
use crate::packet::ClientPath;
use crate::time::Monotonic;

/// A message of a shard to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The shard.
    pub shard: u16,
    /// From 1, one more with each notice of that shard.
    pub number: u64,
    /// What it says.
    pub content: NoticeContent,
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeContent {
    /// A session has authenticated and waits. Answered by a grant or a refusal, at once or when the
    /// older session of its name is gone; repeated until then.
    Admit {
        /// What the shard calls the session; it never calls two sessions the same.
        session: u64,
        /// What it asks for.
        request: AdmissionRequest,
    },
    /// A session that had asked is gone, or has been refused; nothing more will be said of it.
    /// Repeated until the registry has heard it.
    Gone {
        /// Which one.
        session: u64,
    },
    /// A session that was admitted sends its data packets without the peer id that it was given.
    /// Repeated until the registry announces it.
    IgnoresPeerId {
        /// Which one.
        session: u64,
    },
    /// The shard knows all announcements up to this number.
    Announced {
        /// The number of the announcement.
        number: u64,
    },
}

/// What a session that wants to be admitted tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRequest {
    /// Its common name, empty if nothing names it: then it has nobody's place, and nobody its.
    pub name: Text,
    /// The number that it is known by already, if it is.
    pub client_id: Option<u64>,
    /// When it had authenticated. Of two sessions of one name the later one wins, whichever notice
    /// arrives first.
    pub since: Monotonic,
    /// Where its data packets come from, if they carry no peer id (`P_DATA_V1`): every shard must
    /// know it then, and who ignores its peer id is not known before it sends.
    pub path: ClientPath,
}

/// A session and the shard that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAt {
    /// The shard.
    pub shard: u16,
    /// What the shard calls the session; it never calls two sessions the same.
    pub session: u64,
}
