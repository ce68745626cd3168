//! The inner packets of a run: UDP in IPv4 or IPv6, with a [`Payload`] that says whose packet it is, which
//! one, and when it was meant to leave.
//!
//! Behind the payload a packet is filled with zeros up to its length: a sum over zeros costs nothing,
//! so that a packet is written in the time of its headers. Whoever reads one sums all of it.

use std::net::{IpAddr, SocketAddr};

use ringway::wire::{InnerPacket, Malformed};

/// What stands at the start of each datagram of a run; [`Payload::LENGTH`] bytes, big endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Drawn by each run, so that leftovers of another are not counted.
    pub run: u32,
    /// The session, as the generator numbers them.
    pub session: u32,
    /// Which way it goes.
    pub flow: Flow,
    /// From 0, by one for each packet of this session and flow.
    pub sequence: u64,
    /// When it was meant to leave, in nanoseconds of CLOCK_MONOTONIC of who sent it first.
    pub intended: u64,
}

/// Which way a packet goes, and what is expected of who receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Flow {
    /// From a client to the LAN host, which counts it.
    Up = b'U',
    /// From the LAN host to a client, which counts it.
    Down = b'D',
    /// From a client to the LAN host, which sends it back.
    EchoRequest = b'Q',
    /// An echo request on its way back, changed in nothing else.
    EchoReply = b'R',
}

impl Payload {
    /// Bytes that it takes at the start of a datagram.
    pub const LENGTH: usize = 28;

    /// Writes it at the start of `out`.
    ///
    /// # Errors
    /// [`Unbuildable::TooShort`] if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<(), Unbuildable> {
        let available = out.len();
        let head = out
            .first_chunk_mut::<{ Self::LENGTH }>()
            .ok_or(Unbuildable::TooShort {
                length: available,
                minimum: Self::LENGTH,
            })?;
        head[..3].copy_from_slice(&MAGIC);
        head[3] = self.flow as u8;
        head[4..8].copy_from_slice(&self.run.to_be_bytes());
        head[8..12].copy_from_slice(&self.session.to_be_bytes());
        head[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        head[20..].copy_from_slice(&self.intended.to_be_bytes());
        Ok(())
    }

    /// The payload at the start of a datagram; `None` if there is none.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let (magic, rest) = datagram.split_first_chunk::<3>()?;
        let ([flow], rest) = rest.split_first_chunk::<1>()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let intended = rest.first_chunk()?;
        (*magic == MAGIC).then_some(Self {
            run: u32::from_be_bytes(*run),
            session: u32::from_be_bytes(*session),
            flow: Flow::from_byte(*flow)?,
            sequence: u64::from_be_bytes(*sequence),
            intended: u64::from_be_bytes(*intended),
        })
    }

    /// Writes a whole IP packet of `length` bytes from `ends.source` to `ends.destination` into `out`.
    ///
    /// # Errors
    /// If the addresses are of two families, `length` does not hold headers and payload or is more
    /// than `out` has.
    pub fn write_packet(
        &self,
        out: &mut [u8],
        ends: Ends,
        length: usize,
    ) -> Result<(), Unbuildable> {
        let mut body = [0; Self::LENGTH];
        self.write(&mut body)?;
        write_packet(out, ends, length, &body)
    }
}

impl Flow {
    const fn from_byte(byte: u8) -> Option<Self> {
        const UP: u8 = Flow::Up as u8;
        const DOWN: u8 = Flow::Down as u8;
        const REQUEST: u8 = Flow::EchoRequest as u8;
        const REPLY: u8 = Flow::EchoReply as u8;
        match byte {
            UP => Some(Self::Up),
            DOWN => Some(Self::Down),
            REQUEST => Some(Self::EchoRequest),
            REPLY => Some(Self::EchoReply),
            _ => None,
        }
    }
}

/// Where a packet comes from and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The inner address and port of the sender.
    pub source: SocketAddr,
    /// Those of the receiver.
    pub destination: SocketAddr,
}

impl Ends {
    /// IP and UDP header together, for packets between such addresses.
    pub const fn headers(&self) -> usize {
        headers(self.destination.ip())
    }

    /// The way back.
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// Bytes of the IP and the UDP header in front of a datagram to `address`.
pub const fn headers(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 20 + UDP_HEADER,
        IpAddr::V6(_) => 40 + UDP_HEADER,
    }
}

/// The least length of an IP packet to `address` that holds a [`Payload`].
pub const fn least_length(address: IpAddr) -> usize {
    headers(address) + Payload::LENGTH
}

/// Writes a whole IP packet of `length` bytes into `out`: `body` behind the headers, and zeros behind it.
///
/// # Errors
/// If the addresses are of two families, `length` does not hold headers and body or is more than
/// `out` has.
pub fn write_packet(
    out: &mut [u8],
    ends: Ends,
    length: usize,
    body: &[u8],
) -> Result<(), Unbuildable> {
    let minimum = ends.headers() + body.len();
    let room = out.len();
    let total = u16::try_from(length).map_err(|_| Unbuildable::TooLong {
        length,
        room: 65_535,
    })?;
    if length < minimum {
        return Err(Unbuildable::TooShort { length, minimum });
    }
    let packet = out
        .get_mut(..length)
        .ok_or(Unbuildable::TooLong { length, room })?;
    let (head, rest) = packet
        .split_at_mut_checked(ends.headers() - UDP_HEADER)
        .ok_or(Unbuildable::TooShort { length, minimum })?;
    let addresses = write_ip_header(head, ends, total)?;
    let (udp, filled) = rest
        .split_first_chunk_mut::<UDP_HEADER>()
        .ok_or(Unbuildable::TooShort { length, minimum })?;
    let (front, zeros) = filled
        .split_at_mut_checked(body.len())
        .ok_or(Unbuildable::TooShort { length, minimum })?;
    front.copy_from_slice(body);
    zeros.fill(0);
    let datagram = total - (ends.headers() - UDP_HEADER) as u16;
    udp[..2].copy_from_slice(&ends.source.port().to_be_bytes());
    udp[2..4].copy_from_slice(&ends.destination.port().to_be_bytes());
    udp[4..6].copy_from_slice(&datagram.to_be_bytes());
    udp[6..].fill(0);
    let sum = addresses + u64::from(UDP) + u64::from(datagram) + sum(udp) + sum(body);
    let checksum = match fold(sum) {
        // Zero would say that there is no checksum.
        0 => 0xffff,
        other => other,
    };
    udp[6..].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// Writes the header of a packet of `total` bytes, and gives back the sum of its addresses.
fn write_ip_header(head: &mut [u8], ends: Ends, total: u16) -> Result<u64, Unbuildable> {
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [
                0x45, 0, 0, 0, 0, 0, 0x40, 0, HOPS, UDP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[12..16].copy_from_slice(&source.octets());
            header[16..].copy_from_slice(&destination.octets());
            let checksum = fold(sum(&header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            head.copy_from_slice(&header);
            Ok(sum(&source.octets()) + sum(&destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(total - 40).to_be_bytes());
            header[6] = UDP;
            header[7] = HOPS;
            header[8..24].copy_from_slice(&source.octets());
            header[24..].copy_from_slice(&destination.octets());
            head.copy_from_slice(&header);
            Ok(sum(&source.octets()) + sum(&destination.octets()))
        }
        _ => Err(Unbuildable::Families),
    }
}

/// A UDP packet whose checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it comes from and where it goes.
    pub ends: Ends,
    /// What stands behind the UDP header.
    pub body: &'a [u8],
    /// Length of the IP packet.
    pub length: usize,
}

impl<'a> Datagram<'a> {
    /// Reads an inner packet and checks all of it.
    ///
    /// # Errors
    /// What is wrong with it, or that it is a packet that no run sends.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let packet = InnerPacket::parse(bytes)?;
        if packet.destination().is_multicast() {
            return Err(Unreadable::Group);
        }
        let transport = packet.transport().ok_or(Unreadable::NotUdp)?;
        if transport.protocol != UDP || transport.fragment {
            return Err(Unreadable::NotUdp);
        }
        let bytes = packet.bytes();
        let (head, datagram) = bytes
            .split_at_checked(transport.offset)
            .ok_or(Malformed::Truncated)?;
        let (udp, body) = datagram
            .split_first_chunk::<UDP_HEADER>()
            .ok_or(Malformed::Truncated)?;
        let length = u16::from_be_bytes([udp[4], udp[5]]);
        if usize::from(length) != datagram.len() {
            return Err(Malformed::Length.into());
        }
        let addresses = match (packet.source(), packet.destination()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                if fold(sum(head)) != 0 {
                    return Err(Unreadable::Checksum);
                }
                sum(&source.octets()) + sum(&destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                sum(&source.octets()) + sum(&destination.octets())
            }
            _ => return Err(Malformed::Value.into()),
        };
        let none = [udp[6], udp[7]] == [0, 0];
        let total = addresses + u64::from(UDP) + u64::from(length) + sum(datagram);
        if none || fold(total) != 0 {
            return Err(Unreadable::Checksum);
        }
        let port = |high, low| u16::from_be_bytes([high, low]);
        Ok(Self {
            ends: Ends {
                source: SocketAddr::new(packet.source(), port(udp[0], udp[1])),
                destination: SocketAddr::new(packet.destination(), port(udp[2], udp[3])),
            },
            body,
            length: bytes.len(),
        })
    }
}

/// Why a packet can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbuildable {
    /// Source and destination do not share an address family.
    #[error("a packet has one address family")]
    Families,
    /// Headers and payload need more.
    #[error("{length} bytes hold no packet of a run: at least {minimum}")]
    TooShort {
        /// As asked for.
        length: usize,
        /// What is needed.
        minimum: usize,
    },
    /// More than the buffer has, or than an IP packet may.
    #[error("a packet of {length} bytes does not fit in {room}")]
    TooLong {
        /// As asked for.
        length: usize,
        /// What there is.
        room: usize,
    },
}

/// Why a packet is none of a run's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no packet at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// For several, which a run's never are. The stock daemon sends each client what its host says to all on
    /// its tun device, such as router solicitations.
    #[error("for a group")]
    Group,
    /// Another protocol, or a fragment.
    #[error("not a whole UDP packet")]
    NotUdp,
    /// It was changed on the way, or has no checksum.
    #[error("wrong checksum")]
    Checksum,
}

impl Unreadable {
    /// As what such packets are counted.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Group => "inner packets for a group, such as neighbour discovery",
            Self::NotUdp => "inner packets that no run sends",
            Self::Malformed(_) | Self::Checksum => "broken inner packets",
        }
    }
}

/// Sum of the 16-bit words, the last one filled up with a zero; not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    // Sums of 32-bit words fold to the same 16 bits, and two of them at a time fit a register.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = 0_u64;
    for word in words {
        sum += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum + u64::from(u32::from_be_bytes(last))
}

/// The ones' complement of a sum, in 16 bits: 0 for a sum that already holds its checksum.
const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Two letters and a version.
const MAGIC: [u8; 3] = *b"rl1";
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload = Payload {
        run: 0x0102_0304,
        session: 70_000,
        flow: Flow::Up,
        sequence: 0x1122_3344_5566,
        intended: 99_000_000_001,
    };

    fn ends(source: &str, destination: &str) -> Ends {
        Ends {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn v4() -> Ends {
        ends("10.8.0.2:40000", "10.90.0.2:5201")
    }

    fn v6() -> Ends {
        ends("[fd00:8::2]:40000", "[fd90::2]:5201")
    }

    /// From an independent implementation of RFC 1071.
    const V4_HEADER_SUM: [u8; 2] = [0x26, 0x4c];
    const V4_UDP_SUM: [u8; 2] = [0xbc, 0xad];

    #[test]
    fn a_packet_is_byte_for_byte_what_the_protocols_say() {
        let mut out = [0xa5; 64];
        PAYLOAD.write_packet(&mut out, v4(), 60).unwrap();
        let expected = [
            &[0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17][..],
            &V4_HEADER_SUM,
            &[10, 8, 0, 2, 10, 90, 0, 2],
            &[0x9c, 0x40, 0x14, 0x51, 0, 40],
            &V4_UDP_SUM,
            b"rl1U",
            &[1, 2, 3, 4, 0, 1, 0x11, 0x70],
            &[0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66],
            &[0, 0, 0, 0x17, 0x0c, 0xdc, 0x1e, 0x01],
            &[0; 4],
            // What is behind the packet stays as it was.
            &[0xa5; 4],
        ]
        .concat();
        assert_eq!(out[..], expected);
    }

    #[test]
    fn what_is_written_is_read_back_in_both_families() {
        for ends in [v4(), v6()] {
            for flow in [Flow::Up, Flow::Down, Flow::EchoRequest, Flow::EchoReply] {
                let least = least_length(ends.destination.ip());
                for length in [least, least + 1, 576, 1400, 1401, 65_535] {
                    let payload = Payload { flow, ..PAYLOAD };
                    let mut out = vec![0xa5; length + 3];
                    payload.write_packet(&mut out, ends, length).unwrap();
                    let read = Datagram::read(&out).unwrap();
                    assert_eq!((read.ends, read.length), (ends, length));
                    assert_eq!(Payload::read(read.body), Some(payload));
                }
            }
        }
    }

    #[test]
    fn one_changed_byte_is_noticed_wherever_it_is() {
        for ends in [v4(), v6()] {
            let mut packet = vec![0; 200];
            PAYLOAD.write_packet(&mut packet, ends, 200).unwrap();
            for at in 0..packet.len() {
                // Class, flow label and hop limit are no part of any sum in IPv6.
                if ends == v6() && matches!(at, 0..4 | 7) {
                    continue;
                }
                packet[at] ^= 0x10;
                assert!(Datagram::read(&packet).is_err(), "byte {at} of {ends:?}");
                packet[at] ^= 0x10;
            }
            assert!(Datagram::read(&packet).is_ok());
        }
    }

    #[test]
    fn lengths_and_families_that_do_not_go() {
        let mixed = Ends {
            source: v4().source,
            destination: v6().destination,
        };
        let mut out = [0; 100];
        for (ends, length, expected) in [
            (mixed, 80, Unbuildable::Families),
            (
                v4(),
                55,
                Unbuildable::TooShort {
                    length: 55,
                    minimum: 56,
                },
            ),
            (
                v6(),
                64,
                Unbuildable::TooShort {
                    length: 64,
                    minimum: 76,
                },
            ),
            (
                v4(),
                101,
                Unbuildable::TooLong {
                    length: 101,
                    room: 100,
                },
            ),
            (
                v4(),
                65_536,
                Unbuildable::TooLong {
                    length: 65_536,
                    room: 65_535,
                },
            ),
        ] {
            assert_eq!(PAYLOAD.write_packet(&mut out, ends, length), Err(expected));
        }
    }

    #[test]
    fn strangers_are_not_read() {
        let mut packet = [0; 100];
        PAYLOAD.write_packet(&mut packet, v4(), 100).unwrap();
        let changed = |at: usize, value: u8| {
            let mut packet = packet;
            packet[at] = value;
            let header_sum = {
                packet[10..12].fill(0);
                fold(sum(&packet[..20]))
            };
            packet[10..12].copy_from_slice(&header_sum.to_be_bytes());
            packet
        };
        for (bytes, verdict) in [
            (changed(9, 6), Unreadable::NotUdp),
            (changed(6, 0x20), Unreadable::NotUdp),
            (changed(3, 99), Malformed::Length.into()),
            (changed(3, 27), Malformed::Truncated.into()),
            (changed(25, 20), Malformed::Length.into()),
        ] {
            assert_eq!(Datagram::read(&bytes), Err(verdict));
        }
        let mut unsummed = packet;
        unsummed[26..28].fill(0);
        assert_eq!(Datagram::read(&unsummed), Err(Unreadable::Checksum));

        let mut body = [0; Payload::LENGTH];
        PAYLOAD.write(&mut body).unwrap();
        assert_eq!(Payload::read(&body[..Payload::LENGTH - 1]), None);
        for (at, value) in [(0, b'x'), (2, b'2'), (3, b'X')] {
            let mut other = body;
            other[at] = value;
            assert_eq!(Payload::read(&other), None);
        }
    }

    #[test]
    fn a_sum_of_zero_is_written_as_all_ones() {
        // The body is chosen so that everything adds up to 0xffff.
        let mut out = [0; 30];
        write_packet(&mut out, v4(), 30, &[0, 0]).unwrap();
        let checksum = [out[26], out[27]];
        write_packet(&mut out, v4(), 30, &checksum).unwrap();
        assert_eq!(out[26..28], [0xff, 0xff]);
        assert!(Datagram::read(&out).is_ok());
    }
}
