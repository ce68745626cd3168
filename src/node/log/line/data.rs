//! Data packets that were refused.

use super::{DATA_ERROR, LEARN, Page};
use crate::node::event::{DataRefusal, RealAddress};

impl Page<'_> {
    pub(super) fn data_refused(&mut self, refusal: DataRefusal) {
        match refusal {
            DataRefusal::NotAuthentic { aead } => {
                let what = match aead {
                    true => "cipher final failed",
                    false => "packet HMAC authentication failed",
                };
                let opening = opening(aead);
                self.say(DATA_ERROR, format_args!("{opening}: {what}"));
            }
            DataRefusal::Replay { packet_id, aead } => self.say(
                DATA_ERROR,
                format_args!(
                    "{}: bad packet ID (may be a replay): [ #{packet_id} ] -- see \
                     the man page entry for --no-replay and --replay-window for more info or \
                     silence this warning with --mute-replay-warnings",
                    opening(aead)
                ),
            ),
            DataRefusal::Framing => self.say(
                DATA_ERROR,
                format_args!(
                    "Bad compression stub decompression header byte: the client's compress or comp-lzo \
                     line differs from the server's"
                ),
            ),
            DataRefusal::Fragment => self.say(
                DATA_ERROR,
                format_args!(
                    "FRAG_IN error: no header as `fragment` makes it; the other side has no such line, or \
                     parts of a packet differ"
                ),
            ),
            DataRefusal::AddressTaken { to } => {
                let to = RealAddress(to);
                self.say(
                    LEARN,
                    format_args!("Disallow float to an address taken by another client {to}"),
                );
            }
        }
    }
}

/// How a line begins that tells of a packet that can't be opened.
const fn opening(aead: bool) -> &'static str {
    match aead {
        true => "AEAD Decrypt error",
        false => "Authenticate/Decrypt packet error",
    }
}
