//! The beginning of a connection, as long as it is not known whose it is: read step by step, so that the
//! kernel has nothing to do with it when it goes to somebody else.

use crate::wire::begins_session;

/// What is looked at before a connection's first packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct OpeningRules {
    /// Who does not begin a session is passed on to a web server.
    pub(in crate::node) port_share: bool,
}

impl OpeningRules {
    /// Whether there is anything to look at.
    pub(super) fn is_needless(&self) -> bool {
        *self == Self::default()
    }
}

/// What has come of a connection.
#[derive(Debug)]
pub(super) struct Opening {
    rules: OpeningRules,
    head: Vec<u8>,
}

/// Whose a connection is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// That can't be told yet.
    Open,
    /// A client's: these are the beginning of its packets.
    Client(Vec<u8>),
    /// Somebody's who does not speak the protocol, with all that has been read.
    Foreign(Vec<u8>),
}

impl Opening {
    pub(super) const fn new(rules: OpeningRules) -> Self {
        Self {
            rules,
            head: Vec::new(),
        }
    }

    /// Takes what has come next.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Verdict {
        self.head.extend_from_slice(bytes);
        let begins = match self.rules.port_share {
            true => begins_session(&self.head),
            false => Some(true),
        };
        match begins {
            None => Verdict::Open,
            Some(true) => Verdict::Client(std::mem::take(&mut self.head)),
            Some(false) => Verdict::Foreign(std::mem::take(&mut self.head)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, or at once.
    #[test]
    fn the_first_three_bytes_tell_whose_it_is_however_they_come() {
        let client = [0, 14, 0x38, 1, 2, 3];
        for (bytes, told_by) in [
            (&client[..], 3),
            (b"GET / HTTP/1.1", 2),
            (&[22, 3, 1, 2], 2),
        ] {
            let rules = OpeningRules { port_share: true };
            let mut opening = Opening::new(rules.clone());
            for byte in &bytes[..told_by - 1] {
                assert_eq!(opening.take(&[*byte]), Verdict::Open, "{bytes:?}");
            }
            let is_client = bytes == client;
            let verdict = |bytes: &[u8]| match is_client {
                true => Verdict::Client(bytes.to_vec()),
                false => Verdict::Foreign(bytes.to_vec()),
            };
            let told = opening.take(&bytes[told_by - 1..told_by]);
            assert_eq!(told, verdict(&bytes[..told_by]));
            assert_eq!(Opening::new(rules).take(bytes), verdict(bytes));
        }
    }
}
