//! What the data path tells the session. Everything else is read from the peer when a timer fires.

use super::{Path, PeerIndex};
use crate::wire::KeyId;

/// Something about one peer that its session acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// An authenticated packet came from another address, which the peer table has adopted.
    Floated {
        /// The peer.
        peer: PeerIndex,
        /// The path until now.
        from: Path,
        /// The path from now on, for control packets too.
        to: Path,
    },
    /// The peer says goodbye over the data channel. Clients repeat it.
    ExitNotice {
        /// The peer.
        peer: PeerIndex,
    },
    /// A key nears the end of what it may protect; told once a key.
    KeyNearLimit {
        /// The peer.
        peer: PeerIndex,
        /// The key's generation.
        key_id: KeyId,
    },
    /// The first authenticated packet under a key: the peer surely has it. Told once a key.
    FirstData {
        /// The peer.
        peer: PeerIndex,
        /// The key's generation.
        key_id: KeyId,
    },
}

impl PeerEvent {
    /// Whose session this is for.
    pub const fn peer(&self) -> PeerIndex {
        match *self {
            Self::Floated { peer, .. }
            | Self::ExitNotice { peer }
            | Self::KeyNearLimit { peer, .. }
            | Self::FirstData { peer, .. } => peer,
        }
    }
}
