//! What a server says in its answer to a tls-crypt-v2 client's first packet: a list of type, length
//! and value, behind the message id of the reset.
//!
//! Wire: wire.md section 2.5. Only a client that showed in its replay id that it understands the list
//! is sent one.

use super::Malformed;

/// What the list says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarlyNegotiation {
    /// The server has forgotten the client's key: it is to send it along once more.
    pub resend_key: bool,
}

impl EarlyNegotiation {
    /// The list in the payload of a reset; an empty one says nothing. Types that are not known are
    /// passed over.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] for an entry that ends too early, [`Malformed::Length`] for flags of
    /// another length than theirs.
    pub fn parse(mut payload: &[u8]) -> Result<Self, Malformed> {
        let mut negotiation = Self::default();
        while let Some(([t0, t1, l0, l1], rest)) = payload.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
            if u16::from_be_bytes([*t0, *t1]) == FLAGS {
                let flags = <[u8; 2]>::try_from(value).map_err(|_| Malformed::Length)?;
                negotiation.resend_key = u16::from_be_bytes(flags) & RESEND_KEY != 0;
            }
            payload = rest;
        }
        match payload.is_empty() {
            true => Ok(negotiation),
            false => Err(Malformed::Truncated),
        }
    }

    /// The list with all that is said, which is nothing if nothing is.
    pub fn to_bytes(self) -> Vec<u8> {
        if !self.resend_key {
            return Vec::new();
        }
        [FLAGS, 2, RESEND_KEY]
            .into_iter()
            .flat_map(u16::to_be_bytes)
            .collect()
    }
}

const FLAGS: u16 = 1;
const RESEND_KEY: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASKS: EarlyNegotiation = EarlyNegotiation { resend_key: true };
    const NOTHING: EarlyNegotiation = EarlyNegotiation { resend_key: false };

    #[test]
    fn lists_and_what_they_say() {
        for (bytes, verdict) in [
            // Appendix A.2.
            (&[0, 1, 0, 2, 0, 1][..], Ok(ASKS)),
            (&[], Ok(NOTHING)),
            (&[0, 1, 0, 2, 0, 0], Ok(NOTHING)),
            (&[0, 1, 0, 2, 0x80, 0x03], Ok(ASKS)),
            (&[0, 9, 0, 3, 7, 7, 7, 0, 1, 0, 2, 0, 1], Ok(ASKS)),
            (&[0, 1, 0, 2, 0, 1, 0, 9, 0, 0], Ok(ASKS)),
            (&[0, 1, 0, 2, 0], Err(Malformed::Truncated)),
            (&[0, 1, 0], Err(Malformed::Truncated)),
            (&[0, 9, 0xff, 0xff, 1], Err(Malformed::Truncated)),
            (&[0, 1, 0, 1, 1], Err(Malformed::Length)),
            (&[0, 1, 0, 3, 0, 1, 0], Err(Malformed::Length)),
        ] {
            assert_eq!(EarlyNegotiation::parse(bytes), verdict, "{bytes:?}");
        }
        assert_eq!(ASKS.to_bytes(), [0, 1, 0, 2, 0, 1]);
        assert!(NOTHING.to_bytes().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(said) = EarlyNegotiation::parse(&bytes) {
                prop_assert_eq!(EarlyNegotiation::parse(&said.to_bytes()), Ok(said));
            }
        }
    }
}
