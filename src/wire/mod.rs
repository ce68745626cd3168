//! Floor 1: bytes to values and back, a file a format.
//!
//! Invariant: nothing here has state, a clock, a key or an allocation that the peer can size.

mod opcode;
mod session_id;

pub use opcode::{KeyId, Opcode, first_byte, parse_first_byte};
pub use session_id::{PeerId, SessionId};

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
