//! The two identities of a peer: the session id that it chooses, the peer id that the server gives.

use std::fmt;

/// Eight random bytes that each side picks for a session; in clear at bytes 1 to 8 of every control packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 8]);

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The 24-bit number by which a DATA_V2 packet names its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u32);

impl PeerId {
    /// "No peer id": such a packet is looked up by its address.
    pub const NONE: Self = Self(0x00ff_ffff);

    /// A peer id, `None` above 24 bits.
    pub const fn new(value: u32) -> Option<Self> {
        if value <= 0x00ff_ffff {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The value, below 2^24.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Big-endian, as on the wire.
    pub const fn to_bytes(self) -> [u8; 3] {
        let [_, high, middle, low] = self.0.to_be_bytes();
        [high, middle, low]
    }

    /// From its three bytes on the wire.
    pub const fn from_bytes([high, middle, low]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, high, middle, low]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_is_three_bytes_big_endian() {
        assert_eq!(
            PeerId::new(0x0001_0203).map(PeerId::to_bytes),
            Some([1, 2, 3])
        );
        assert_eq!(PeerId::from_bytes([0xff; 3]), PeerId::NONE);
        assert_eq!(PeerId::new(0x0100_0000), None);
    }

    #[test]
    fn a_session_id_prints_as_hex() {
        assert_eq!(
            format!("{:?}", SessionId([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff])),
            "00010203fcfdfeff"
        );
    }
}
