//! tls-auth: an HMAC over every control packet.
//!
//! Wire: wire.md section 2.2. `op SID | HMAC | replay id, time | body`, where the HMAC covers the replay
//! id and the time first, then opcode and session id, then the body.

use aws_lc_rs::{constant_time, hmac};

use super::wrapping::{ReplayStamp, WrapError, WrapKind};
use super::{Digest, KeyDirection, StaticKey};
use crate::wire::{ControlHeader, Malformed};

/// The HMAC keys of both directions.
pub struct TlsAuth {
    digest: Digest,
    send: hmac::Key,
    receive: hmac::Key,
}

impl TlsAuth {
    pub(super) fn new(key: &StaticKey, direction: KeyDirection, digest: Digest) -> Self {
        Self {
            digest,
            send: digest.hmac_key(key.half(direction.sends()).hmac),
            receive: digest.hmac_key(key.half(direction.receives()).hmac),
        }
    }

    pub(super) const fn overhead(&self) -> usize {
        ControlHeader::LEN + self.digest.output_len() + ReplayStamp::LEN
    }

    pub(super) fn seal(
        &self,
        stamp: ReplayStamp,
        header: [u8; ControlHeader::LEN],
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let stamp = stamp.to_bytes();
        let tag = hmac(&self.send, &[&stamp, &header, body]);
        out.extend_from_slice(&header);
        out.extend_from_slice(tag.as_ref());
        out.extend_from_slice(&stamp);
        out.extend_from_slice(body);
    }

    /// The stamp and the body of a datagram.
    pub(super) fn open<'a>(
        &self,
        datagram: &'a [u8],
    ) -> Result<(ReplayStamp, &'a [u8]), WrapError> {
        let (header, rest) = datagram
            .split_at_checked(ControlHeader::LEN)
            .ok_or(Malformed::Truncated)?;
        let (tag, rest) = rest
            .split_at_checked(self.digest.output_len())
            .ok_or(Malformed::Truncated)?;
        let (stamp, body) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let expected = hmac(&self.receive, &[stamp, header, body]);
        constant_time::verify_slices_are_equal(expected.as_ref(), tag)
            .map_err(|_| WrapError::Authentication(WrapKind::TlsAuth))?;
        Ok((ReplayStamp::from_bytes(*stamp), body))
    }
}

impl std::fmt::Debug for TlsAuth {
    /// Without the keys.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsAuth")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The HMAC of `parts`, one after the other.
pub(super) fn hmac(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}
