//! What the data path tells the session. Everything else is read from the peer when a timer fires.

use std::net::{IpAddr, SocketAddr};

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
    /// A peer that was given a peer id sends without it: it is known by its path. Told once a peer.
    IgnoresPeerId {
        /// The peer.
        peer: PeerIndex,
    },
    /// The peer says goodbye over the data channel. Clients repeat it.
    ExitNotice {
        /// The peer.
        peer: PeerIndex,
    },
    /// The peer asks about the channel, or tries how large datagrams can be.
    Asked {
        /// The peer.
        peer: PeerIndex,
        /// What it wants to know.
        question: Question,
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
    /// A packet that claims to be this peer's was refused, which an administrator may want to read.
    Refused {
        /// The peer that the packet names; nothing proves that it sent it.
        peer: PeerIndex,
        /// What is wrong with it.
        refusal: Refusal,
    },
}

/// What a peer wants to know about the channel. Wire: wire.md section 9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What our options are.
    Options,
    /// A datagram of so many bytes is to be sent to it.
    Load(u16),
    /// A payload of so many bytes came that is there for its length.
    Loaded(u16),
    /// How large datagrams were that came and went for this.
    Sizes,
}

/// Why a packet of a peer was refused, with what a log line says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The tag does not verify.
    NotAuthentic,
    /// The packet id was seen before, or is too old.
    Replay {
        /// The packet id.
        packet_id: u64,
    },
    /// Authentic, but not framed as what this peer sends should be.
    Framing,
    /// Authentic, but not a packet or a part of one, as what this peer sends should be.
    Fragment,
    /// Authentic, but from an inner address that is not the peer's.
    Source(IpAddr),
    /// Authentic, but from a new address that another client is known by.
    Taken(SocketAddr),
}

impl PeerEvent {
    /// Whose session this is for.
    pub const fn peer(&self) -> PeerIndex {
        match *self {
            Self::Floated { peer, .. }
            | Self::IgnoresPeerId { peer }
            | Self::ExitNotice { peer }
            | Self::Asked { peer, .. }
            | Self::KeyNearLimit { peer, .. }
            | Self::FirstData { peer, .. }
            | Self::Refused { peer, .. } => peer,
        }
    }
}
