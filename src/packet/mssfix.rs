//! How large the TCP segments inside a tunnel may be, from the `mssfix` directive.

use super::Path;
use crate::crypto::SealCost;
use crate::wire::STREAM_HEADER;

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
        let ip_header = match path.remote.ip().to_canonical().is_ipv4() {
            true => IPV4_HEADER,
            false => IPV6_HEADER,
        };
        let (transport_header, frame) = match path.is_stream() {
            true => (TCP_HEADER, STREAM_HEADER as u16),
            false => (UDP_HEADER, 0),
        };
        let outer_headers = ip_header + transport_header;
        let inner = match self {
            Self::Off => return None,
            Self::Payload(bytes) => cost.payload_max(bytes.saturating_sub(frame)),
            Self::Packet(bytes) => cost.payload_max(bytes.saturating_sub(outer_headers + frame)),
            Self::Inner(bytes) => bytes,
        };
        Some(inner)
    }
}

const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;
const UDP_HEADER: u16 = 8;
/// Without its options, as stock counts.
const TCP_HEADER: u16 = 20;

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
        let stream = Path {
            socket: crate::limits::FIRST_STREAM,
            ..v4
        };
        for (mssfix, path, expected) in [
            (Mssfix::Off, v4, None),
            (Mssfix::Packet(1492), v4, Some(1492 - 28 - 24)),
            (Mssfix::Packet(1492), mapped, Some(1492 - 28 - 24)),
            (Mssfix::Packet(1492), v6, Some(1492 - 48 - 24)),
            (Mssfix::Payload(1450), v6, Some(1450 - 24)),
            (Mssfix::Packet(1492), stream, Some(1492 - 40 - 2 - 24)),
            (Mssfix::Payload(1450), stream, Some(1450 - 2 - 24)),
            (Mssfix::Inner(1400), v4, Some(1400)),
            (Mssfix::Packet(10), v4, Some(0)),
        ] {
            assert_eq!(mssfix.inner_packet_max(&path, aead), expected, "{mssfix:?}");
        }
    }
}
