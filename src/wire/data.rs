//! Data packets: the header in clear, and the payloads that are not IP packets.
//!
//! Wire: wire.md sections 1 and 9.3.

use super::{KeyId, Malformed, Opcode, PeerId, first_byte, parse_first_byte};

/// What stands before the encrypted part of a data packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataHeader {
    /// One byte; the session is found by address.
    V1 {
        /// The key generation.
        key_id: KeyId,
    },
    /// Four bytes; the session is found by its peer id.
    V2 {
        /// The key generation.
        key_id: KeyId,
        /// The number that the server gave to the session.
        peer_id: PeerId,
    },
}

impl DataHeader {
    /// The longer of the two headers.
    pub const LEN_MAX: usize = 4;

    /// The header of `packet`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Opcode`] for a control packet, [`Malformed::Truncated`] for a short one.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let (opcode, key_id) = parse_first_byte(packet)?;
        match (opcode, packet) {
            (Opcode::DataV1, _) => Ok(Self::V1 { key_id }),
            (Opcode::DataV2, [_, high, middle, low, ..]) => Ok(Self::V2 {
                key_id,
                peer_id: PeerId::from_bytes([*high, *middle, *low]),
            }),
            (Opcode::DataV2, _) => Err(Malformed::Truncated),
            _ => Err(Malformed::Opcode),
        }
    }

    /// The header as on the wire: the first [`len`](Self::len) of these bytes.
    pub const fn to_bytes(self) -> [u8; Self::LEN_MAX] {
        match self {
            Self::V1 { key_id } => [first_byte(Opcode::DataV1, key_id), 0, 0, 0],
            Self::V2 { key_id, peer_id } => {
                let [high, middle, low] = peer_id.to_bytes();
                [first_byte(Opcode::DataV2, key_id), high, middle, low]
            }
        }
    }

    /// Bytes of this header.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::V1 { .. } => 1,
            Self::V2 { .. } => 4,
        }
    }

    /// The key generation.
    pub const fn key_id(self) -> KeyId {
        match self {
            Self::V1 { key_id } | Self::V2 { key_id, .. } => key_id,
        }
    }
}

/// An operation of the options consistency check, sent in place of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccMessage<'a> {
    /// Asks for the other side's options string.
    Request,
    /// An options string.
    Reply(&'a str),
    /// Asks for a [`Load`](Self::Load) in a datagram of so many bytes.
    LoadRequest(u16),
    /// A packet that is there for its length: so many bytes behind the operation.
    Load(usize),
    /// Asks how large datagrams were.
    SizesRequest,
    /// How large they were.
    Sizes {
        /// The largest that came.
        received: u16,
        /// The largest that was sent.
        sent: u16,
    },
    /// The sender leaves.
    Exit,
    /// Bytes that make no sense; neither answered nor forwarded.
    Other,
}

impl<'a> OccMessage<'a> {
    /// The operation in a decrypted payload, `None` if it does not start with [`OCC_MAGIC`].
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let operation = payload.strip_prefix(&OCC_MAGIC)?;
        Some(match operation {
            [REQUEST, ..] => Self::Request,
            [REPLY, text @ ..] => {
                let text = text.split(|byte| *byte == 0).next().unwrap_or(text);
                std::str::from_utf8(text).map_or(Self::Other, Self::Reply)
            }
            [LOAD_REQUEST, high, low, ..] => Self::LoadRequest(u16::from_be_bytes([*high, *low])),
            [LOAD, padding @ ..] => Self::Load(padding.len()),
            [SIZES_REQUEST, ..] => Self::SizesRequest,
            [SIZES, a, b, c, d, ..] => Self::Sizes {
                received: u16::from_be_bytes([*a, *b]),
                sent: u16::from_be_bytes([*c, *d]),
            },
            [EXIT, ..] => Self::Exit,
            _ => Self::Other,
        })
    }

    /// Appends the payload to `out`; nothing for [`OccMessage::Other`].
    pub fn emit(&self, out: &mut Vec<u8>) {
        let operation = match self {
            Self::Request => REQUEST,
            Self::Reply(_) => REPLY,
            Self::LoadRequest(_) => LOAD_REQUEST,
            Self::Load(_) => LOAD,
            Self::SizesRequest => SIZES_REQUEST,
            Self::Sizes { .. } => SIZES,
            Self::Exit => EXIT,
            Self::Other => return,
        };
        out.extend_from_slice(&OCC_MAGIC);
        out.push(operation);
        match self {
            Self::Reply(text) => {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::LoadRequest(bytes) => out.extend_from_slice(&bytes.to_be_bytes()),
            Self::Load(padding) => out.resize(out.len() + padding, 0),
            Self::Sizes { received, sent } => {
                out.extend_from_slice(&received.to_be_bytes());
                out.extend_from_slice(&sent.to_be_bytes());
            }
            Self::Request | Self::SizesRequest | Self::Exit | Self::Other => {}
        }
    }
}

/// The payload that keeps a tunnel alive: exactly these bytes.
pub const PING: [u8; 16] = [
    0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48,
];

/// How the payload of an [`OccMessage`] starts.
pub const OCC_MAGIC: [u8; 16] = [
    0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c,
];

const REQUEST: u8 = 0;
const REPLY: u8 = 1;
const LOAD_REQUEST: u8 = 2;
const LOAD: u8 = 3;
const SIZES_REQUEST: u8 = 4;
const SIZES: u8 = 5;
const EXIT: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_written() {
        let v2 = DataHeader::parse(&[0x4b, 0x01, 0x02, 0x03, 0xff]).unwrap();
        assert_eq!(
            v2,
            DataHeader::V2 {
                key_id: KeyId::from_low_bits(3),
                peer_id: PeerId::new(0x0001_0203).unwrap()
            }
        );
        assert_eq!((v2.len(), v2.to_bytes()), (4, [0x4b, 1, 2, 3]));
        let v1 = DataHeader::parse(&[0x37]).unwrap();
        assert_eq!(
            v1,
            DataHeader::V1 {
                key_id: KeyId::from_low_bits(7)
            }
        );
        assert_eq!((v1.len(), v1.to_bytes()[0]), (1, 0x37));
        assert_eq!((v1.key_id().get(), v2.key_id().get()), (7, 3));
    }

    #[test]
    fn headers_that_are_refused() {
        for (packet, verdict) in [
            (&[][..], Malformed::Truncated),
            (&[0x48, 0, 0], Malformed::Truncated),
            (&[0x38, 0, 0, 0], Malformed::Opcode),
            (&[0xff, 0, 0, 0], Malformed::Opcode),
        ] {
            assert_eq!(DataHeader::parse(packet), Err(verdict));
        }
    }

    #[test]
    fn occ_operations() {
        let payload = |operation: &[u8]| [&OCC_MAGIC, operation].concat();
        for (operation, message) in [
            (&b"\0"[..], OccMessage::Request),
            (
                b"\x01V4,dev-type tun\0",
                OccMessage::Reply("V4,dev-type tun"),
            ),
            (b"\x02\x05\xdc", OccMessage::LoadRequest(1500)),
            (b"\x03\0\0\0", OccMessage::Load(3)),
            (b"\x04", OccMessage::SizesRequest),
            (
                b"\x05\x05\xdc\x05\x78",
                OccMessage::Sizes {
                    received: 1500,
                    sent: 1400,
                },
            ),
            (b"\x06", OccMessage::Exit),
        ] {
            let bytes = payload(operation);
            assert_eq!(OccMessage::parse(&bytes), Some(message));
            let mut out = vec![0xa5];
            message.emit(&mut out);
            assert_eq!(out[1..], bytes);
        }
        for operation in [
            &b""[..],
            b"\x02\x05",
            b"\x05\x05\x00\x05",
            b"\x07",
            b"\x01\xff\0",
        ] {
            assert_eq!(
                OccMessage::parse(&payload(operation)),
                Some(OccMessage::Other)
            );
        }
        assert_eq!(OccMessage::parse(&PING), None);
        assert_eq!(OccMessage::parse(&OCC_MAGIC[..15]), None);
    }
}
