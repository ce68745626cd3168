//! The class of a packet, by which routers on the way choose what goes first.

/// The six bits of a packet's differentiated services (RFC 2474), in the place where an IP header has them.
///
/// The two bits behind them say that the sender slows down when a router marks the packet (ECN). They stay
/// clear: a mark on the outer packet would reach nobody, as stock clients do not copy it back (RFC 6040).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficClass(u8);

impl TrafficClass {
    /// The class of packets that ask for none.
    pub const DEFAULT: Self = Self(0);

    /// The class of an IP packet; the default for what is none.
    pub fn of(packet: &[u8]) -> Self {
        let Some(&[first, second]) = packet.first_chunk() else {
            return Self::DEFAULT;
        };
        let class = match first >> 4 {
            4 => second,
            6 => first << 4 | second >> 4,
            _ => 0,
        };
        Self(class & SERVICES)
    }

    /// The byte of an IPv4 header, or the traffic class of an IPv6 header.
    pub const fn byte(self) -> u8 {
        self.0
    }
}

const SERVICES: u8 = 0xfc;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_say_their_class_and_ecn_is_left_out() {
        for (packet, class) in [
            (&[0x45, 0xb8, 0][..], 0xb8),
            (&[0x45, 0xbb], 0xb8),
            (&[0x46, 0x02], 0),
            (&[0x6b, 0x80, 0, 0], 0xb8),
            (&[0x6b, 0xb0, 0, 0], 0xb8),
            (&[0x6f, 0xcf, 0xff], 0xfc),
            (&[0x60, 0x0f], 0),
            (&[0x2a, 0xb8], 0),
            (&[0x45], 0),
            (&[], 0),
        ] {
            assert_eq!(TrafficClass::of(packet).byte(), class, "{packet:x?}");
        }
    }
}
