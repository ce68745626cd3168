//! How payloads are framed for compression. Packets may come compressed, and never leave so.
//!
//! Wire: wire.md section 9.1.

use std::ops::Range;

/// What stands around the payload of a data packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    #[default]
    None,
    /// A byte before it: `comp-lzo` in all forms, `compress lzo`.
    Prefix,
    /// A byte in place of its first one, which stands at the end: `compress`, `compress stub`,
    /// `compress lz4`.
    Swap,
    /// Two bytes before it, if they are needed: `compress stub-v2`, `compress lz4-v2`.
    V2,
}

/// What is inside a frame, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The payload as it is.
    Plain(Range<usize>),
    /// A block of LZ4 with the payload.
    Lz4(Range<usize>),
    /// A stream of LZO with the payload.
    Lzo(Range<usize>),
}

/// What does not begin as a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no compression frame")]
pub struct FramingError;

impl Framing {
    /// What a line or a pushed option with this name and word means; `None` if the word is no algorithm.
    pub fn named(name: &str, word: Option<&str>) -> Option<Self> {
        Some(match (name, word) {
            ("comp-lzo", None | Some("yes" | "no" | "adaptive")) | ("compress", Some("lzo")) => {
                Self::Prefix
            }
            ("compress", None | Some("stub" | "lz4")) => Self::Swap,
            ("compress", Some("stub-v2" | "lz4-v2")) => Self::V2,
            _ => return None,
        })
    }

    /// What pushed options say of it, the last of them.
    pub fn of_push(options: &[String]) -> Option<Self> {
        options.iter().rev().find_map(|option| {
            let mut words = option.split_whitespace();
            Self::named(words.next()?, words.next())
        })
    }

    /// Bytes that a frame adds.
    pub const fn overhead(self) -> usize {
        match self {
            Self::None | Self::V2 => 0,
            Self::Prefix | Self::Swap => 1,
        }
    }

    /// The parts of a frame with this payload, not compressed; `None` where a payload is its own frame.
    /// In the second form so are all that begin as IP packets and special payloads do.
    pub fn parts(self, payload: &[u8]) -> Option<[&[u8]; 3]> {
        let (first, rest) = payload.split_at_checked(1)?;
        match self {
            Self::None | Self::V2 => None,
            Self::Prefix => Some([&[PLAIN], payload, &[]]),
            Self::Swap => Some([&[PLAIN_SWAPPED], rest, first]),
        }
    }

    /// Where in a frame its content is. A swapped byte is put back to its place.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn open(self, frame: &mut [u8]) -> Result<Framed, FramingError> {
        let len = frame.len();
        match (self, frame) {
            (Self::None, _) => Ok(Framed::Plain(0..len)),
            (Self::Prefix, [PLAIN, _, ..]) => Ok(Framed::Plain(1..len)),
            (Self::Prefix, [LZO, ..]) => Ok(Framed::Lzo(1..len)),
            (Self::Swap, [kind @ (PLAIN | PLAIN_SWAPPED | LZ4), .., last]) => {
                let compressed = std::mem::replace(kind, *last) == LZ4;
                let inside = 0..len - 1;
                Ok(match compressed {
                    true => Framed::Lz4(inside),
                    false => Framed::Plain(inside),
                })
            }
            (Self::V2, [V2, V2_PLAIN, ..]) => Ok(Framed::Plain(2..len)),
            (Self::V2, [V2, V2_LZ4, ..]) => Ok(Framed::Lz4(2..len)),
            (Self::V2, [first, ..]) if *first != V2 => Ok(Framed::Plain(0..len)),
            _ => Err(FramingError),
        }
    }
}

const PLAIN: u8 = 0xfa;
const PLAIN_SWAPPED: u8 = 0xfb;
const LZO: u8 = 0x66;
const LZ4: u8 = 0x69;
const V2: u8 = 0x50;
const V2_PLAIN: u8 = 0;
const V2_LZ4: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_opened() {
        let plain = |range| Ok(Framed::Plain(range));
        let lz4 = |range| Ok(Framed::Lz4(range));
        for (framing, frame, expected, after) in [
            (Framing::None, "fa45", plain(0..2), "fa45"),
            (Framing::Prefix, "fa4501", plain(1..3), "fa4501"),
            (Framing::Prefix, "664501", Ok(Framed::Lzo(1..3)), "664501"),
            (Framing::Prefix, "694501", Err(FramingError), "694501"),
            (Framing::Prefix, "450102", Err(FramingError), "450102"),
            (Framing::Prefix, "fa", Err(FramingError), "fa"),
            (Framing::Prefix, "", Err(FramingError), ""),
            (Framing::Swap, "fb010245", plain(0..3), "45010245"),
            (Framing::Swap, "fb45", plain(0..1), "4545"),
            (Framing::Swap, "fa010245", plain(0..3), "45010245"),
            (Framing::Swap, "6901021f", lz4(0..3), "1f01021f"),
            (Framing::Swap, "664501", Err(FramingError), "664501"),
            (Framing::Swap, "fb", Err(FramingError), "fb"),
            (Framing::Swap, "", Err(FramingError), ""),
            (Framing::V2, "4501", plain(0..2), "4501"),
            (Framing::V2, "500050", plain(2..3), "500050"),
            (Framing::V2, "50011f", lz4(2..3), "50011f"),
            (Framing::V2, "5002ff", Err(FramingError), "5002ff"),
            (Framing::V2, "5003ff", Err(FramingError), "5003ff"),
            (Framing::V2, "50", Err(FramingError), "50"),
            (Framing::V2, "", Err(FramingError), ""),
        ] {
            let mut bytes = hex(frame);
            assert_eq!(framing.open(&mut bytes), expected, "{framing:?} {frame}");
            assert_eq!(bytes, hex(after), "{framing:?} {frame}");
        }
    }

    #[test]
    fn the_last_pushed_option_says_how_packets_are_framed() {
        for (options, expected) in [
            (&["ping 10"][..], None),
            (&["comp-lzo no", "ping 10"], Some(Framing::Prefix)),
            (&["comp-lzo no", "compress stub-v2"], Some(Framing::V2)),
            (&["compress"], Some(Framing::Swap)),
            (&["compress zstd"], None),
        ] {
            let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
            assert_eq!(Framing::of_push(&options), expected, "{options:?}");
        }
    }

    #[test]
    fn what_is_framed_opens_to_itself() {
        for framing in [Framing::None, Framing::Prefix, Framing::Swap, Framing::V2] {
            for payload in ["45", "4501", "6001020304", "2a187bf3"].map(hex) {
                let mut frame = match framing.parts(&payload) {
                    Some(parts) => parts.concat(),
                    None => payload.clone(),
                };
                assert_eq!(frame.len(), payload.len() + framing.overhead());
                let Ok(Framed::Plain(inside)) = framing.open(&mut frame) else {
                    panic!("{framing:?}");
                };
                assert_eq!(frame[inside], payload);
            }
        }
        assert_eq!(Framing::Prefix.parts(&[]), None);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }
}
