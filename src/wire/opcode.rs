//! The first byte of every datagram: `opcode << 3 | key id`.

use super::Malformed;

/// The packet kinds that are in use. Wire: wire.md section 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Starts a renegotiation; the key id is the new one.
    SoftResetV1 = 3,
    /// A slice of the TLS byte stream.
    ControlV1 = 4,
    /// Acknowledgements only, without a message id.
    AckV1 = 5,
    /// Data with a one-byte header.
    DataV1 = 6,
    /// A client's first packet.
    HardResetClientV2 = 7,
    /// A server's answer to either client reset.
    HardResetServerV2 = 8,
    /// Data with a peer id.
    DataV2 = 9,
    /// A client's first packet with a tls-crypt-v2 key appended.
    HardResetClientV3 = 10,
    /// A slice of the TLS byte stream with a tls-crypt-v2 key appended.
    ControlWkcV1 = 11,
}

impl Opcode {
    /// True for the packets of the data channel.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::DataV1 | Self::DataV2)
    }

    /// True for the packets that a client's tls-crypt-v2 key stands behind.
    pub const fn carries_key(self) -> bool {
        matches!(self, Self::HardResetClientV3 | Self::ControlWkcV1)
    }

    /// True for the packets that start a session.
    pub const fn is_hard_reset(self) -> bool {
        matches!(
            self,
            Self::HardResetClientV2 | Self::HardResetServerV2 | Self::HardResetClientV3
        )
    }
}

impl TryFrom<u8> for Opcode {
    type Error = Malformed;

    fn try_from(value: u8) -> Result<Self, Malformed> {
        Ok(match value {
            3 => Self::SoftResetV1,
            4 => Self::ControlV1,
            5 => Self::AckV1,
            6 => Self::DataV1,
            7 => Self::HardResetClientV2,
            8 => Self::HardResetServerV2,
            9 => Self::DataV2,
            10 => Self::HardResetClientV3,
            11 => Self::ControlWkcV1,
            _ => return Err(Malformed::Opcode),
        })
    }
}

/// A key generation, 0 for the first of a session, then 1 to 7 around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyId(u8);

impl KeyId {
    /// The first generation of a session.
    pub const FIRST: Self = Self(0);

    /// The key id in the low three bits of `byte`.
    pub const fn from_low_bits(byte: u8) -> Self {
        Self(byte & 7)
    }

    /// The generation after this one; 7 is followed by 1.
    pub const fn next(self) -> Self {
        if self.0 == 7 {
            Self(1)
        } else {
            Self(self.0 + 1)
        }
    }

    /// The value, 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The first byte of a packet.
pub const fn first_byte(opcode: Opcode, key_id: KeyId) -> u8 {
    ((opcode as u8) << 3) | key_id.0
}

/// Opcode and key id of a packet.
///
/// # Errors
/// [`Malformed::Truncated`] for no bytes, [`Malformed::Opcode`] for an opcode out of use.
pub fn parse_first_byte(packet: &[u8]) -> Result<(Opcode, KeyId), Malformed> {
    let byte = *packet.first().ok_or(Malformed::Truncated)?;
    Ok((Opcode::try_from(byte >> 3)?, KeyId::from_low_bits(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_parses_to_itself_or_is_refused() {
        for byte in 0..=u8::MAX {
            match parse_first_byte(&[byte]) {
                Ok((opcode, key_id)) => assert_eq!(first_byte(opcode, key_id), byte),
                Err(reason) => {
                    assert_eq!(reason, Malformed::Opcode);
                    assert!(!(3..=11).contains(&(byte >> 3)));
                }
            }
        }
        assert_eq!(parse_first_byte(&[]), Err(Malformed::Truncated));
        assert_eq!(first_byte(Opcode::HardResetClientV2, KeyId::FIRST), 0x38);
    }

    #[test]
    fn generations_go_around_without_the_first() {
        let mut key_id = KeyId::FIRST;
        for expected in [1, 2, 3, 4, 5, 6, 7, 1, 2] {
            key_id = key_id.next();
            assert_eq!(key_id.get(), expected);
        }
    }
}
