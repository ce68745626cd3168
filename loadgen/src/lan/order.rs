//! What a session asks of the LAN host, and what it is told: datagrams through the tunnel, like all others.
//!
//! ```text
//! order                                      answer
//!  0 "rl1O"                                   0 "rl1A"
//!  4 run, session, number: 4 bytes each       4 run, session, number: of the order
//! 16 cookie: 8 bytes                         16 verdict, reason: 1 byte each
//! 24 ask: 1 byte; 25 zero                    18 cookie: 8 bytes
//! 26 size: 2 bytes, 0 is IMIX                26 counts: 10 times 8 bytes, only behind the right cookie
//! 28 rate: 8 bytes, packets in 1,000 s
//! 36 duration: 4 bytes, milliseconds
//! 40 end
//! ```
//!
//! An order without the cookie that belongs to its source is answered with that cookie and has no
//! other effect. So nobody makes the host send to an address that did not ask for it, and an answer to a stranger
//! is shorter than what the stranger sent.

use crate::arrivals::Delivery;

/// One request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The run that the session belongs to.
    pub run: u32,
    /// The session, as the generator numbers them.
    pub session: u32,
    /// Grows with each new order of a session; one that is sent again keeps it.
    pub number: u32,
    /// From the host's challenge; 0 before that.
    pub cookie: u64,
    /// What is wanted.
    pub ask: Ask,
}

/// What a session wants of the LAN host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Packets to the address that the order comes from; ends what was sent before.
    Send(Stream),
    /// No more packets.
    Stop,
    /// What the host has seen of the session.
    Counts,
}

/// Packets from the LAN host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Length of each inner IP packet in bytes; `None` for IMIX.
    pub size: Option<u16>,
    /// Packets in 1,000 seconds; 0 for as fast as the host sends.
    pub rate_milli: u64,
    /// For how long, in milliseconds.
    pub duration_ms: u32,
}

/// What the LAN host says to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the order.
    pub run: u32,
    /// Of the order.
    pub session: u32,
    /// Of the order.
    pub number: u32,
    /// The answer itself.
    pub reply: Reply,
}

/// The answer to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Send the order again, with this.
    Challenge {
        /// Belongs to the session's address.
        cookie: u64,
    },
    /// It is done, or was done before.
    Accepted,
    /// It is not done.
    Refused(Refusal),
    /// What the host has seen of the session.
    Counts(Counts),
}

/// Why the LAN host does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// It has as many sessions as it may have.
    #[error("the LAN host has as many sessions as its --sessions-max")]
    Sessions = 1,
    /// All streams together would be faster than it may send.
    #[error("the LAN host's streams would be faster than its --rate-max")]
    Rate = 2,
    /// A stream of no packets, of too large ones, or for too long.
    #[error("the LAN host does not send streams of such packets, or for so long")]
    Stream = 3,
}

/// What the LAN host has seen of a session, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different packets of the client that arrived.
    pub received: u64,
    /// Bytes of them, as IP packets.
    pub bytes: u64,
    /// Those that had arrived before.
    pub duplicated: u64,
    /// Those that arrived after a later one.
    pub reordered: u64,
    /// Those too far behind to tell.
    pub late: u64,
    /// Echo requests that were answered.
    pub echoes: u64,
    /// Packets that were sent to the client.
    pub down_packets: u64,
    /// Bytes of them, as IP packets.
    pub down_bytes: u64,
    /// Packets that were due and not sent, because the host was too far behind.
    pub down_missed: u64,
    /// Datagrams of anybody for which the host's socket had no room since it was made; not a session's own.
    pub socket_drops: u64,
}

impl Order {
    /// Bytes of an order.
    pub const LENGTH: usize = 40;

    /// The datagram of it.
    pub fn write(&self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[..4].copy_from_slice(&ORDER);
        write_names(&mut out, [self.run, self.session, self.number]);
        out[16..24].copy_from_slice(&self.cookie.to_be_bytes());
        out[24] = match self.ask {
            Ask::Send(_) => SEND,
            Ask::Stop => STOP,
            Ask::Counts => COUNTS,
        };
        if let Ask::Send(stream) = self.ask {
            out[26..28].copy_from_slice(&stream.size.unwrap_or(0).to_be_bytes());
            out[28..36].copy_from_slice(&stream.rate_milli.to_be_bytes());
            out[36..].copy_from_slice(&stream.duration_ms.to_be_bytes());
        }
        out
    }

    /// The order that a datagram is; `None` if it is none.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(datagram, ORDER)?;
        let [run, session, number] = fields.names()?;
        let cookie = fields.u64()?;
        let [ask, _zero] = fields.take()?;
        let size = u16::from_be_bytes(fields.take()?);
        let rate_milli = fields.u64()?;
        let duration_ms = fields.u32()?;
        let ask = match ask {
            SEND => Ask::Send(Stream {
                size: (size > 0).then_some(size),
                rate_milli,
                duration_ms,
            }),
            STOP => Ask::Stop,
            COUNTS => Ask::Counts,
            _ => return None,
        };
        Some(Self {
            run,
            session,
            number,
            cookie,
            ask,
        })
    }
}

impl Answer {
    /// Bytes of the longest answer.
    pub const LENGTH_MAX: usize = 26 + 10 * 8;

    /// Writes it at the start of `out`, and gives back how long it is.
    pub fn write(&self, out: &mut [u8; Self::LENGTH_MAX]) -> usize {
        out.fill(0);
        out[..4].copy_from_slice(&ANSWER);
        write_names(out, [self.run, self.session, self.number]);
        let mut length = 26;
        match self.reply {
            Reply::Challenge { cookie } => {
                out[16] = CHALLENGE;
                out[18..26].copy_from_slice(&cookie.to_be_bytes());
            }
            Reply::Accepted => out[16] = ACCEPTED,
            Reply::Refused(refusal) => [out[16], out[17]] = [REFUSED, refusal as u8],
            Reply::Counts(counts) => {
                out[16] = COUNTED;
                let (places, _) = out[26..].as_chunks_mut::<8>();
                for (place, count) in places.iter_mut().zip(counts.fields()) {
                    *place = count.to_be_bytes();
                }
                length = Self::LENGTH_MAX;
            }
        }
        length
    }

    /// The answer that a datagram is; `None` if it is none.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(datagram, ANSWER)?;
        let [run, session, number] = fields.names()?;
        let [verdict, reason] = fields.take()?;
        let cookie = fields.u64()?;
        let reply = match verdict {
            CHALLENGE => Reply::Challenge { cookie },
            ACCEPTED => Reply::Accepted,
            REFUSED => Reply::Refused(Refusal::from_byte(reason)?),
            COUNTED => {
                let mut counts = [0; 10];
                for count in &mut counts {
                    *count = fields.u64()?;
                }
                Reply::Counts(Counts::from_fields(counts))
            }
            _ => return None,
        };
        Some(Self {
            run,
            session,
            number,
            reply,
        })
    }
}

impl Refusal {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Sessions),
            2 => Some(Self::Rate),
            3 => Some(Self::Stream),
            _ => None,
        }
    }
}

impl Counts {
    /// What became of `sent` packets of the client.
    pub fn delivery(&self, sent: u64) -> Delivery {
        let arrived = Delivery {
            received: self.received,
            duplicated: self.duplicated,
            reordered: self.reordered,
            late: self.late,
            ..Delivery::default()
        };
        arrived.of(sent)
    }

    /// Adds those of another session.
    pub fn add(&mut self, other: &Self) {
        let mut sums = self.fields();
        for (sum, count) in sums.iter_mut().zip(other.fields()) {
            *sum = sum.saturating_add(count);
        }
        *self = Self::from_fields(sums);
    }

    const fn fields(&self) -> [u64; 10] {
        [
            self.received,
            self.bytes,
            self.duplicated,
            self.reordered,
            self.late,
            self.echoes,
            self.down_packets,
            self.down_bytes,
            self.down_missed,
            self.socket_drops,
        ]
    }

    const fn from_fields(fields: [u64; 10]) -> Self {
        let [
            received,
            bytes,
            duplicated,
            reordered,
            late,
            echoes,
            down_packets,
            down_bytes,
            down_missed,
            socket_drops,
        ] = fields;
        Self {
            received,
            bytes,
            duplicated,
            reordered,
            late,
            echoes,
            down_packets,
            down_bytes,
            down_missed,
            socket_drops,
        }
    }
}

/// Bytes 4 to 16.
fn write_names(out: &mut [u8], names: [u32; 3]) {
    for (place, name) in out[4..16].chunks_exact_mut(4).zip(names) {
        place.copy_from_slice(&name.to_be_bytes());
    }
}

/// What is still unread of a datagram.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of(datagram: &'a [u8], magic: [u8; 4]) -> Option<Self> {
        datagram.strip_prefix(&magic).map(Self)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn names(&mut self) -> Option<[u32; 3]> {
        Some([self.u32()?, self.u32()?, self.u32()?])
    }
}

const ORDER: [u8; 4] = *b"rl1O";
const ANSWER: [u8; 4] = *b"rl1A";

const SEND: u8 = 1;
const STOP: u8 = 2;
const COUNTS: u8 = 3;

const CHALLENGE: u8 = 1;
const ACCEPTED: u8 = 2;
const REFUSED: u8 = 3;
const COUNTED: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    fn order(ask: Ask) -> Order {
        Order {
            run: 0xdead_beef,
            session: 9,
            number: 3,
            cookie: 0x0102_0304_0506_0708,
            ask,
        }
    }

    const STREAM: Stream = Stream {
        size: Some(1400),
        rate_milli: 2_500_000,
        duration_ms: 10_000,
    };

    #[test]
    fn orders_and_answers_are_read_back() {
        let imix = Stream {
            size: None,
            ..STREAM
        };
        for ask in [Ask::Send(STREAM), Ask::Send(imix), Ask::Stop, Ask::Counts] {
            let bytes = order(ask).write();
            assert_eq!(Order::read(&bytes), Some(order(ask)));
            assert_eq!(Order::read(&bytes[..Order::LENGTH - 1]), None);
            assert_eq!((Answer::read(&bytes), Payload::read(&bytes)), (None, None));
        }
        let counts = Counts::from_fields([1, 2, 3, 4, 5, 6, 7, 8, 9, u64::MAX]);
        for (reply, expected) in [
            (Reply::Challenge { cookie: 77 }, 26),
            (Reply::Accepted, 26),
            (Reply::Refused(Refusal::Sessions), 26),
            (Reply::Refused(Refusal::Rate), 26),
            (Reply::Refused(Refusal::Stream), 26),
            (Reply::Counts(counts), Answer::LENGTH_MAX),
        ] {
            let answer = Answer {
                run: 1,
                session: 2,
                number: 3,
                reply,
            };
            let mut out = [0xa5; Answer::LENGTH_MAX];
            let length = answer.write(&mut out);
            assert_eq!(length, expected);
            assert_eq!(Answer::read(&out[..length]), Some(answer));
            assert_eq!(Answer::read(&out[..length - 1]), None);
        }
        // Whoever has no cookie gets less than was sent.
        const { assert!(26 < Order::LENGTH) };
    }

    #[test]
    fn golden_bytes_of_an_order() {
        let bytes = order(Ask::Send(STREAM)).write();
        let expected = [
            &b"rl1O"[..],
            &[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 9, 0, 0, 0, 3],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[1, 0, 0x05, 0x78],
            &[0, 0, 0, 0, 0, 0x26, 0x25, 0xa0],
            &[0, 0, 0x27, 0x10],
        ]
        .concat();
        assert_eq!(bytes[..], expected);
    }

    #[test]
    fn what_nobody_asks_is_no_order() {
        let mut bytes = order(Ask::Stop).write();
        bytes[24] = 9;
        assert_eq!(Order::read(&bytes), None);
        bytes[3] = b'X';
        assert_eq!(Order::read(&bytes), None);
    }

    #[test]
    fn counts_add_up_and_make_a_delivery() {
        let mut sum = Counts::from_fields([90, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let delivery = sum.delivery(100);
        let expected = Delivery {
            sent: 100,
            received: 90,
            lost: 10,
            duplicated: 3,
            reordered: 4,
            late: 5,
        };
        assert_eq!(delivery, expected);
        assert_eq!(sum.delivery(80).lost, 0);
        sum.add(&Counts::from_fields([u64::MAX, 1, 1, 1, 1, 1, 1, 1, 1, 1]));
        assert_eq!(
            sum,
            Counts::from_fields([u64::MAX, 3, 4, 5, 6, 7, 8, 9, 10, 11])
        );
    }
}
