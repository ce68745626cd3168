//! How a server's packets are framed for compression.

use crate::wire::{Framing, PeerInfo};

/// How a server's packets are framed for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// For all clients alike.
    Framed(Framing),
    /// As little as each client's own configuration allows (`compress migrate`).
    Migrate,
}

impl Compression {
    /// How packets of a client are framed, and what it is told for that beside what all are told.
    /// `framed` is whether its own configuration frames.
    pub fn of_client(self, framed: bool, peer_info: &PeerInfo) -> (Framing, Option<&'static str>) {
        match self {
            Self::Framed(framing) => (framing, None),
            Self::Migrate if !framed => (Framing::None, None),
            // Wire: wire.md section 9.1.
            Self::Migrate if peer_info.value("IV_COMP_STUBv2") == Some("1") => {
                (Framing::V2, Some("compress stub-v2"))
            }
            Self::Migrate => (Framing::Prefix, Some("comp-lzo no")),
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::Framed(Framing::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_migrated_as_far_as_it_can_be() {
        let new = PeerInfo::parse("IV_LZO=1\nIV_COMP_STUBv2=1\n");
        let old = PeerInfo::parse("IV_LZO=1\nIV_COMP_STUB=1\n");
        let stub = (Framing::V2, Some("compress stub-v2"));
        let lzo = (Framing::Prefix, Some("comp-lzo no"));
        let none = (Framing::None, None);
        let swap = Compression::Framed(Framing::Swap);
        for (compression, framed, info, expected) in [
            (Compression::Migrate, false, &new, none),
            (Compression::Migrate, false, &old, none),
            (Compression::Migrate, true, &new, stub),
            (Compression::Migrate, true, &old, lzo),
            (swap, false, &new, (Framing::Swap, None)),
            (swap, true, &old, (Framing::Swap, None)),
            (Compression::default(), true, &old, none),
        ] {
            let of_client = compression.of_client(framed, info);
            assert_eq!(of_client, expected, "{compression:?} {framed}");
        }
    }
}
