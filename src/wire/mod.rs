//! Floor 1: bytes to values and back, a file a format.
//!
//! Invariant: nothing here has state, a clock, a key or an allocation that the peer can size.

mod control;
mod data;
mod early_negotiation;
mod fragment;
mod framing;
mod inner;
mod key_method2;
mod message;
mod mss;
mod opcode;
mod options_string;
mod peer_info;
mod proxy_header;
mod push;
mod push_update;
mod sealed_key;
mod session_id;
mod stream;
mod words;

pub use control::{Acks, ControlBody, ControlHeader};
pub use data::{DataHeader, OCC_MAGIC, OccMessage, PING};
pub use early_negotiation::EarlyNegotiation;
pub use fragment::FragmentHeader;
pub use framing::{Framed, Framing, FramingError};
pub use inner::{InnerPacket, Transport};
pub use key_method2::{ClientKeyMessage, ServerKeyMessage};
pub use message::ControlMessage;
pub use mss::clamp_mss;
pub use opcode::{KeyId, Opcode, first_byte, parse_first_byte};
pub use options_string::{OptionsString, options_cipher, options_compress};
pub use peer_info::{ClientCiphers, PeerInfo, Proto};
pub use proxy_header::{BadProxyHeader, ProxyHeader, proxy_header};
pub use push::{PushAssembler, PushError, PushReply};
pub use push_update::{PushUpdate, UpdateItem, updated};
pub use sealed_key::split_sealed_key;
pub use session_id::{PeerId, SessionId};
pub use stream::{
    BadLength, STREAM_HEADER, begins_session, stream_header, stream_packet, stream_packets,
};
pub use words::{WordFault, words};

/// The side of a session that a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Listens, is the TLS server, pushes options.
    Server,
    /// Dials, is the TLS client, pulls options.
    Client,
}

/// Why bytes from the network are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the format does.
    #[error("truncated")]
    Truncated,
    /// The first byte carries no opcode of this protocol.
    #[error("unknown opcode")]
    Opcode,
    /// More acknowledgements than a packet may carry.
    #[error("too many acknowledgements")]
    TooManyAcks,
    /// A length field contradicts the bytes around it.
    #[error("bad length")]
    Length,
    /// A text that is not text, or lacks its terminating NUL.
    #[error("bad text")]
    Text,
    /// A value that the protocol does not know at this place.
    #[error("bad value")]
    Value,
}
