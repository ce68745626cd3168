//! Floor 4: the data path over batches of packets.
//!
//! Invariant: no clock, no socket, no thread, no TLS.

mod arena;
mod batch;
mod directory;
mod drop_reason;
mod event;
mod fragments;
mod full_streams;
mod hand_offs;
mod hosts_behind;
mod inbound;
mod key_slots;
mod keyed_hash;
mod mssfix;
mod offload;
mod outbound;
mod parcel;
mod path;
mod peer;
mod peer_ids;
mod peer_index;
mod peer_table;
mod pool;
mod reassembly;
mod routes;
mod runs;
mod segment;
mod streamed;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic_class;
mod unreachable;

pub use batch::{Batch, Datagram, Inner, Origin, Packet, Received, Spent};
pub use directory::{ClientPath, Directory, DirectoryFull, Owner};
pub use drop_reason::{DropCounters, DropReason};
pub use event::{PeerEvent, Question, Refusal};
pub use fragments::FragmentLimit;
use fragments::{Cut, Fragments, slices};
pub use full_streams::FullStreams;
pub use hand_offs::{HandOffCounters, HandOffKind, HandOffs};
pub use hosts_behind::HostsBehind;
pub use inbound::{InboundBatch, inbound};
pub use key_slots::{KeySlots, NoSuchKey};
use keyed_hash::KeyedHash;
pub use mssfix::Mssfix;
pub use offload::{Gathered, Offload, Piece, SegmentKind, Segments};
use outbound::check_room;
pub use outbound::{OutboundBatch, outbound, seal_payload};
pub use parcel::{InnerSource, Parcel, ParcelContent};
pub use path::{LocalAddress, Path};
pub use peer::{InnerAddresses, NewPeer, Numbering, Peer, Traffic};
use peer_ids::PeerIds;
pub use peer_index::PeerIndex;
pub use peer_table::{PeerTable, TableFull};
pub use pool::{Buffer, Pool};
pub use routes::RoutesFull;
use routes::{Route, Routes};
pub use segment::{Merge, MergeFull, Merging, Split, Unsplittable};
pub use streamed::{Brought, StreamedPackets};
use surroundings::Destination;
pub use surroundings::Surroundings;
pub use traffic_class::TrafficClass;
