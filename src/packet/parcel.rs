//! What one shard hands to another: a packet that came in on the wrong one.

use super::{HandOffKind, Packet, Path};

/// A packet in a pool buffer of the shard that hands it over.
///
/// The receiver opens or seals it from there into a buffer of its own pool, which is the only copy, and
/// sends the spent parcel back: a buffer never changes its pool, and nothing is allocated.
#[derive(Debug)]
pub struct Parcel {
    /// The shard that hands it over, whose buffer it is.
    pub from: u16,
    /// The bytes.
    pub packet: Packet,
    /// What they are.
    pub content: ParcelContent,
}

/// What a parcel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParcelContent {
    /// A datagram of either channel as it came from a socket, with its path.
    Datagram(Path),
    /// An IP packet for a client of the receiver.
    Inner(InnerSource),
}

/// Where an inner packet entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerSource {
    /// The tun device.
    Tun,
    /// A client of the sender, which has checked the packet's source.
    Client,
}

impl ParcelContent {
    /// What the hand-over is counted as.
    pub const fn kind(&self) -> HandOffKind {
        match self {
            Self::Datagram(_) => HandOffKind::Datagram,
            Self::Inner(InnerSource::Tun) => HandOffKind::TunPacket,
            Self::Inner(InnerSource::Client) => HandOffKind::ClientPacket,
        }
    }
}
