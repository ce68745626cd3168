//! What one shard hands to another: a packet that came in on the wrong one.

use super::{
    DropReason, HandOffKind, InboundBatch, Inner, Offload, Origin, OutboundBatch, Packet, Path,
    Pool, Received,
};

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

impl Parcel {
    /// A copy of bytes that must not leave this shard, since their buffer is lent to the kernel again.
    pub(super) fn copied(
        from: u16,
        bytes: &[u8],
        content: ParcelContent,
        pool: &mut Pool,
    ) -> Result<Self, DropReason> {
        let mut buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
        let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) else {
            pool.give(buffer);
            return Err(DropReason::Oversized);
        };
        room.copy_from_slice(bytes);
        Ok(Self {
            from,
            packet: Packet::single(buffer, 0, bytes.len() as u32),
            content,
        })
    }

    /// Puts what another shard has handed over where this shard's own packets of that kind are worked
    /// on. Its buffer comes back with its origin among what they have consumed.
    ///
    /// # Errors
    /// The parcel, when the batch it belongs to is full.
    pub fn unpack(
        self,
        inbound: &mut InboundBatch,
        outbound: &mut OutboundBatch,
    ) -> Result<(), Self> {
        let Self {
            from,
            packet,
            content,
        } = self;
        let origin = Origin::Shard(from);
        let pushed = match content {
            ParcelContent::Datagram(path) => {
                let received = Received {
                    packet,
                    path,
                    origin,
                };
                let refused = inbound.received.push(received);
                refused.map_err(|received| received.packet)
            }
            ParcelContent::Inner(_, offload) => {
                let inner = Inner {
                    packet,
                    origin,
                    offload,
                };
                let refused = outbound.inner.push(inner);
                refused.map_err(|inner| inner.packet)
            }
        };
        pushed.map_err(|packet| Self {
            from,
            packet,
            content,
        })
    }
}

/// What a parcel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParcelContent {
    /// A datagram of either channel as it came from a socket, with its path.
    Datagram(Path),
    /// An IP packet for a client of the receiver, or a super-packet.
    Inner(InnerSource, Offload),
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
            Self::Inner(InnerSource::Tun, _) => HandOffKind::TunPacket,
            Self::Inner(InnerSource::Client, _) => HandOffKind::ClientPacket,
        }
    }
}
