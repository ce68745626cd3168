//! Control packets: the clear header, and the body that the wrapping protects.
//!
//! Wire: wire.md section 2. The header is in clear under every wrapping; the body is what is left once
//! the wrapping is taken off (with no wrapping, it follows the header at once).

use arrayvec::ArrayVec;

use super::{KeyId, Malformed, Opcode, SessionId, first_byte, parse_first_byte};
use crate::limits::ACKS_MAX;

/// Acknowledged message ids, in the order of the packet.
pub type Acks = ArrayVec<u32, ACKS_MAX>;

/// The first nine bytes of every control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlHeader {
    /// The packet kind; never a data opcode.
    pub opcode: Opcode,
    /// The key generation that the packet belongs to.
    pub key_id: KeyId,
    /// The session id of the packet's sender.
    pub session_id: SessionId,
}

impl ControlHeader {
    /// Bytes of a header.
    pub const LEN: usize = 9;

    /// The header of `packet`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Opcode`] for a data packet or an unknown opcode, [`Malformed::Value`] for a hard
    /// reset with a key id other than 0, [`Malformed::Truncated`] below nine bytes.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let (opcode, key_id) = parse_first_byte(packet)?;
        if opcode.is_data() {
            return Err(Malformed::Opcode);
        }
        if opcode.is_hard_reset() && key_id != KeyId::FIRST {
            return Err(Malformed::Value);
        }
        let (_, rest) = packet.split_first().ok_or(Malformed::Truncated)?;
        let session_id = rest.first_chunk::<8>().ok_or(Malformed::Truncated)?;
        Ok(Self {
            opcode,
            key_id,
            session_id: SessionId(*session_id),
        })
    }

    /// The header as on the wire.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = first_byte(self.opcode, self.key_id);
        bytes[1..].copy_from_slice(&self.session_id.0);
        bytes
    }
}

/// What a control packet says once its wrapping is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlBody<'a> {
    /// Messages of the receiver that have arrived at the sender.
    pub acks: Acks,
    /// An echo of the receiver's session id; present exactly when there are acknowledgements.
    pub remote: Option<SessionId>,
    /// The packet's own number; absent exactly in ACK_V1.
    pub message_id: Option<u32>,
    /// A slice of the TLS stream; empty in resets and ACK_V1.
    pub payload: &'a [u8],
}

impl<'a> ControlBody<'a> {
    /// The body of an unwrapped packet with this opcode.
    ///
    /// Bytes after the acknowledgements of an ACK_V1 are ignored, as 2.x does.
    ///
    /// # Errors
    /// [`Malformed::TooManyAcks`] above [`ACKS_MAX`], [`Malformed::Truncated`] for a short body,
    /// [`Malformed::Opcode`] for a data opcode.
    pub fn parse(opcode: Opcode, body: &'a [u8]) -> Result<Self, Malformed> {
        if opcode.is_data() {
            return Err(Malformed::Opcode);
        }
        let (count, mut rest) = body.split_first().ok_or(Malformed::Truncated)?;
        if usize::from(*count) > ACKS_MAX {
            return Err(Malformed::TooManyAcks);
        }
        let mut acks = Acks::new();
        for _ in 0..*count {
            acks.push(u32::from_be_bytes(take(&mut rest)?));
        }
        let remote = match acks.is_empty() {
            true => None,
            false => Some(SessionId(take(&mut rest)?)),
        };
        if opcode == Opcode::AckV1 {
            return Ok(Self {
                acks,
                remote,
                message_id: None,
                payload: &[],
            });
        }
        let message_id = Some(u32::from_be_bytes(take(&mut rest)?));
        Ok(Self {
            acks,
            remote,
            message_id,
            payload: rest,
        })
    }

    /// Appends the body to `out`. Acknowledgements without a `remote` are left out: they would mean
    /// nothing to the receiver.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self.remote {
            Some(remote) if !self.acks.is_empty() => {
                out.push(self.acks.len() as u8);
                for ack in &self.acks {
                    out.extend_from_slice(&ack.to_be_bytes());
                }
                out.extend_from_slice(&remote.0);
            }
            _ => out.push(0),
        }
        if let Some(message_id) = self.message_id {
            out.extend_from_slice(&message_id.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
    }

    /// Bytes that [`emit`](Self::emit) appends.
    pub fn encoded_len(&self) -> usize {
        let acks = match self.remote {
            Some(_) if !self.acks.is_empty() => self.acks.len() * 4 + 8,
            _ => 0,
        };
        let message_id = if self.message_id.is_some() { 4 } else { 0 };
        1 + acks + message_id + self.payload.len()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Appendix A.1: the server's reset after the tls-crypt wrapping is off.
    const RESET_REPLY: [u8; 17] = [
        1, 0, 0, 0, 0, 0x98, 0xe6, 0x95, 0x70, 0x88, 0x9e, 0x71, 0xf3, 0, 0, 0, 0,
    ];

    #[test]
    fn the_header_of_a_captured_reset() {
        let bytes = [0x38, 0x98, 0xe6, 0x95, 0x70, 0x88, 0x9e, 0x71, 0xf3];
        let header = ControlHeader::parse(&bytes).unwrap();
        assert_eq!(header.opcode, Opcode::HardResetClientV2);
        assert_eq!(header.key_id, KeyId::FIRST);
        assert_eq!(
            header.session_id,
            SessionId([0x98, 0xe6, 0x95, 0x70, 0x88, 0x9e, 0x71, 0xf3])
        );
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn headers_that_are_refused() {
        let with = |first: u8| [first, 1, 2, 3, 4, 5, 6, 7, 8];
        for (packet, verdict) in [
            (&with(0x30)[..], Malformed::Opcode),
            (&with(0x48), Malformed::Opcode),
            (&with(0x08), Malformed::Opcode),
            (&with(0x60), Malformed::Opcode),
            (&with(0x39), Malformed::Value),
            (&with(0x47), Malformed::Value),
            (&with(0x51), Malformed::Value),
            (&with(0x20)[..8], Malformed::Truncated),
            (&[], Malformed::Truncated),
        ] {
            assert_eq!(ControlHeader::parse(packet), Err(verdict), "{packet:02x?}");
        }
        assert_eq!(ControlHeader::parse(&with(0x1b)).unwrap().key_id.get(), 3);
    }

    #[test]
    fn the_body_of_a_captured_reset_reply() {
        let body = ControlBody::parse(Opcode::HardResetServerV2, &RESET_REPLY).unwrap();
        assert_eq!(body.acks.as_slice(), [0]);
        assert_eq!(
            body.remote,
            Some(SessionId([0x98, 0xe6, 0x95, 0x70, 0x88, 0x9e, 0x71, 0xf3]))
        );
        assert_eq!(body.message_id, Some(0));
        assert_eq!(body.payload, []);
        let mut out = vec![0xa5];
        body.emit(&mut out);
        assert_eq!(out[1..], RESET_REPLY);
        assert_eq!(body.encoded_len(), RESET_REPLY.len());
    }

    #[test]
    fn a_body_cut_anywhere_before_its_payload_is_truncated() {
        for length in 0..RESET_REPLY.len() {
            assert_eq!(
                ControlBody::parse(Opcode::ControlV1, &RESET_REPLY[..length]),
                Err(Malformed::Truncated),
                "{length}"
            );
        }
    }

    #[test]
    fn bodies_that_are_refused() {
        let mut nine = vec![9];
        nine.resize(1 + 9 * 4 + 8 + 4, 0);
        assert_eq!(
            ControlBody::parse(Opcode::ControlV1, &nine),
            Err(Malformed::TooManyAcks)
        );
        nine[0] = 8;
        let body = ControlBody::parse(Opcode::ControlV1, &nine).unwrap();
        assert_eq!((body.acks.len(), body.payload.len()), (8, 4));
        assert_eq!(
            ControlBody::parse(Opcode::DataV2, &nine),
            Err(Malformed::Opcode)
        );
    }

    #[test]
    fn an_ack_has_no_message_id_and_its_trailing_bytes_are_ignored() {
        let mut bytes = RESET_REPLY.to_vec();
        bytes.extend_from_slice(b"trailing");
        let body = ControlBody::parse(Opcode::AckV1, &bytes).unwrap();
        assert_eq!(body.acks.as_slice(), [0]);
        assert_eq!((body.message_id, body.payload), (None, &[][..]));
        assert_eq!(body.encoded_len(), 13);
    }

    proptest! {
        #[test]
        fn any_body_survives_emit_and_parse(
            acks in proptest::collection::vec(any::<u32>(), 0..=ACKS_MAX),
            remote in any::<[u8; 8]>(),
            message_id in any::<u32>(),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let body = ControlBody {
                remote: (!acks.is_empty()).then_some(SessionId(remote)),
                acks: acks.into_iter().collect(),
                message_id: Some(message_id),
                payload: &payload,
            };
            let mut out = Vec::new();
            body.emit(&mut out);
            prop_assert_eq!(out.len(), body.encoded_len());
            prop_assert_eq!(ControlBody::parse(Opcode::ControlV1, &out).unwrap(), body);
        }
    }
}
