//! How large the TCP segments inside a tunnel may be, from the `mssfix` directive.

use super::Path;
use crate::crypto::SealCost;

/// The bound that `mssfix` names, in bytes of the layer that its flag says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mssfix {
    /// `mssfix 0`: segments stay as they are.
    #[default]
    Off,
    /// `mssfix N`: the datagram's UDP payload.
    Payload(u16),
    /// `mssfix N mtu`: the outer IP packet, all headers with it.
    Packet(u16),
    /// `mssfix N fixed`: the inner IP packet.
    Inner(u16),
}

impl Mssfix {
    /// The largest inner IP packet that TCP may make, in bytes, when sealing has this `cost`;
    /// `None` leaves segments alone.
    pub fn inner_packet_max(self, path: &Path, cost: SealCost) -> Option<u16> {
        let outer_headers = if path.remote.ip().to_canonical().is_ipv4() {
            IPV4_UDP_HEADERS
        } else {
            IPV6_UDP_HEADERS
        };
        let inner = match self {
            Self::Off => return None,
            Self::Payload(bytes) => cost.payload_max(bytes),
            Self::Packet(bytes) => cost.payload_max(bytes.saturating_sub(outer_headers)),
            Self::Inner(bytes) => bytes,
        };
        Some(inner)
    }
}

const IPV4_UDP_HEADERS: u16 = 20 + 8;
const IPV6_UDP_HEADERS: u16 = 40 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_counts_from_its_own_layer() {
        let path = |remote: &str| Path {
            remote: remote.parse().unwrap(),
            local: None,
            socket: 0,
        };
        let (v4, v6) = (path("192.0.2.1:1194"), path("[2001:db8::1]:1194"));
        let mapped = path("[::ffff:192.0.2.1]:1194");
        let aead = SealCost {
            overhead: 24,
            block: 1,
            inside: 0,
        };
        // AES-CBC with SHA1: a packet id and a byte of padding in blocks of 16.
        let cbc = SealCost {
            overhead: 4 + 20 + 16,
            block: 16,
            inside: 5,
        };
        let inner = |mssfix: Mssfix, cost| mssfix.inner_packet_max(&v4, cost);
        assert_eq!(inner(Mssfix::Packet(1492), cbc), Some(1424 / 16 * 16 - 5));
        assert_eq!(inner(Mssfix::Payload(1455), cbc), Some(1408 - 5));
        assert_eq!(inner(Mssfix::Inner(1400), cbc), Some(1400));
        assert_eq!(inner(Mssfix::Payload(41), cbc), Some(0));
        for (mssfix, path, expected) in [
            (Mssfix::Off, v4, None),
            (Mssfix::Packet(1492), v4, Some(1492 - 28 - 24)),
            (Mssfix::Packet(1492), mapped, Some(1492 - 28 - 24)),
            (Mssfix::Packet(1492), v6, Some(1492 - 48 - 24)),
            (Mssfix::Payload(1450), v6, Some(1450 - 24)),
            (Mssfix::Inner(1400), v4, Some(1400)),
            (Mssfix::Packet(10), v4, Some(0)),
        ] {
            assert_eq!(mssfix.inner_packet_max(&path, aead), expected, "{mssfix:?}");
        }
    }
}
