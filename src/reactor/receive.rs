//! A received datagram in its buffer: what the kernel wrote before the payload.

use std::net::SocketAddr;
use std::ops::Range;

use io_uring::types::RecvMsgOut;

use crate::limits::DATAGRAM_OFFSET;
use crate::packet::LocalAddress;
use crate::reactor::address::{NAME_SIZE, parse_name};
use crate::reactor::control::{CONTROL_SIZE, parse_control};
use crate::reactor::send::empty_header;

/// A datagram that can be handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) range: Range<usize>,
    pub(super) segment_size: usize,
    pub(super) from: SocketAddr,
    pub(super) local: Option<LocalAddress>,
}

/// Why it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// No payload. Anybody can send that; no protocol of ours does.
    Empty,
    /// Longer than the buffer, or without an address.
    Malformed,
}

/// Reads what the kernel wrote; `filled` is the part of the buffer that it used.
pub(super) fn parse_datagram(filled: &[u8]) -> Result<Parsed, Unreadable> {
    let message =
        RecvMsgOut::parse(filled, &receive_header()).map_err(|()| Unreadable::Malformed)?;
    if message.is_payload_truncated() {
        return Err(Unreadable::Malformed);
    }
    let length = message.payload_data().len();
    if length == 0 {
        return Err(Unreadable::Empty);
    }
    let from = parse_name(message.name_data()).ok_or(Unreadable::Malformed)?;
    let received = parse_control(message.control_data());
    let segment_size = received
        .segment_size
        .filter(|size| (1..length).contains(size));
    Ok(Parsed {
        range: DATAGRAM_OFFSET..DATAGRAM_OFFSET + length,
        segment_size: segment_size.unwrap_or(length),
        from,
        local: received.local,
    })
}

/// Tells the kernel how much room to leave before the payload.
pub(super) fn receive_header() -> libc::msghdr {
    let mut header = empty_header();
    header.msg_namelen = NAME_SIZE as libc::socklen_t;
    header.msg_controllen = CONTROL_SIZE as _;
    header
}

/// struct io_uring_recvmsg_out: lengths of name, control and payload, and flags.
const DESCRIPTION_SIZE: usize = 16;

const _: () = assert!(DESCRIPTION_SIZE + NAME_SIZE + CONTROL_SIZE == DATAGRAM_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::address::Name;
    use crate::reactor::control::Control;

    fn message(payload: &[u8], flags: i32, from: Option<&str>, control: &Control) -> Vec<u8> {
        let name = from.map_or(Name::EMPTY, |from| Name::for_v6(from.parse().unwrap()));
        let mut bytes = Vec::new();
        for field in [
            name.length,
            u32::try_from(control.length).unwrap(),
            u32::try_from(payload.len()).unwrap(),
            flags.cast_unsigned(),
        ] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(name.bytes);
        bytes.extend(control.bytes);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn messages_and_verdicts() {
        let from = Some("[::ffff:192.0.2.7]:9");
        let none = &Control::EMPTY;
        for (what, bytes, expected) in [
            ("whole", message(b"abc", 0, from, none), Ok(128..131)),
            ("empty", message(b"", 0, from, none), Err(Unreadable::Empty)),
            (
                "cut",
                message(b"abc", libc::MSG_TRUNC, from, none),
                Err(Unreadable::Malformed),
            ),
            (
                "no sender",
                message(b"abc", 0, None, none),
                Err(Unreadable::Malformed),
            ),
            (
                "header cut",
                message(b"", 0, from, none)[..127].to_vec(),
                Err(Unreadable::Malformed),
            ),
            ("nothing", Vec::new(), Err(Unreadable::Malformed)),
        ] {
            let parsed = parse_datagram(&bytes);
            assert_eq!(parsed.map(|parsed| parsed.range), expected, "{what}");
        }
        let parsed = parse_datagram(&message(b"abc", 0, from, none)).unwrap();
        assert_eq!(parsed.from, "192.0.2.7:9".parse().unwrap());
        assert_eq!((parsed.segment_size, parsed.local), (3, None));
    }
}
