//! The 2048-bit static key of tls-auth and tls-crypt: its file, its halves, their direction.
//!
//! Wire: wire.md section 2.4.

use std::fmt::Write as _;

use aws_lc_rs::constant_time;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Role;
use crate::random::Random;

/// 256 bytes: two halves of a cipher key and an HMAC key, 64 bytes each.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticKey(Box<[u8; StaticKey::LEN]>);

impl StaticKey {
    /// Bytes of a key.
    pub const LEN: usize = 256;

    /// The key with these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    /// A new random key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut key = Self(Box::new([0; Self::LEN]));
        random.fill(key.0.as_mut_slice());
        key
    }

    /// The key in the text of a key file or of an inline block.
    ///
    /// # Errors
    /// Which part of the file is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, StaticKeyError> {
        let (_, rest) = text.split_once(HEADER).ok_or(StaticKeyError::Header)?;
        let (hex, _) = rest.split_once(FOOTER).ok_or(StaticKeyError::Footer)?;
        let mut key = Self(Box::new([0; Self::LEN]));
        let mut digits = 0;
        for character in hex.chars().filter(|character| !character.is_whitespace()) {
            let value = character.to_digit(16).ok_or(StaticKeyError::Digit)?;
            let byte = key.0.get_mut(digits / 2).ok_or(StaticKeyError::Length)?;
            *byte = *byte << 4 | value as u8;
            digits += 1;
        }
        match digits == 2 * Self::LEN {
            true => Ok(key),
            false => Err(StaticKeyError::Length),
        }
    }

    /// The text of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Reserved at once: growing would leave copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        let _ = writeln!(text, "#\n# 2048 bit OpenVPN static key\n#\n{HEADER}");
        for line in self.0.chunks(16) {
            for byte in line {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{FOOTER}");
        text
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// This key with each byte XORed by `other`'s.
    pub(super) fn xor(mut self, other: &Self) -> Self {
        for (byte, other) in self.0.iter_mut().zip(other.0.iter()) {
            *byte ^= other;
        }
        self
    }

    /// The first or the second half.
    pub(super) fn half(&self, half: Half) -> KeyHalf<'_> {
        let (first, second) = self.0.split_at(Self::LEN / 2);
        let (cipher, hmac) = match half {
            Half::First => first.split_at(Self::LEN / 4),
            Half::Second => second.split_at(Self::LEN / 4),
        };
        KeyHalf { cipher, hmac }
    }
}

/// In constant time.
impl PartialEq for StaticKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl Eq for StaticKey {}

impl std::fmt::Debug for StaticKey {
    /// Without the bytes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StaticKey")
    }
}

/// Which half of a static key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    First,
    Second,
}

/// One half of a static key; each part is 64 bytes, of which an algorithm uses the first ones.
pub(super) struct KeyHalf<'a> {
    pub(super) cipher: &'a [u8],
    pub(super) hmac: &'a [u8],
}

/// `--key-direction`, as one side has it configured; the other side has the opposite one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyDirection {
    /// None configured: both sides send with the first half.
    #[default]
    Both,
    /// 0, usual for a server: sends with the first half, receives with the second.
    Zero,
    /// 1, usual for a client: sends with the second half, receives with the first.
    One,
}

impl KeyDirection {
    /// The direction of tls-crypt and of the keys derived from it, which cannot be configured.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Server => Self::Zero,
            Role::Client => Self::One,
        }
    }

    pub(super) const fn sends(self) -> Half {
        match self {
            Self::Both | Self::Zero => Half::First,
            Self::One => Half::Second,
        }
    }

    pub(super) const fn receives(self) -> Half {
        match self {
            Self::Both | Self::One => Half::First,
            Self::Zero => Half::Second,
        }
    }
}

/// Why a text is no static key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaticKeyError {
    /// The opening line is missing.
    #[error("no line `-----BEGIN OpenVPN Static key V1-----`")]
    Header,
    /// The closing line is missing.
    #[error("no line `-----END OpenVPN Static key V1-----` after the key")]
    Footer,
    /// Something between the lines is neither a hexadecimal digit nor white space.
    #[error("the static key contains something that is not a hexadecimal digit")]
    Digit,
    /// The key has another length.
    #[error("the static key does not have 256 bytes")]
    Length,
}

const HEADER: &str = "-----BEGIN OpenVPN Static key V1-----";
const FOOTER: &str = "-----END OpenVPN Static key V1-----";
const TEXT_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    /// The bytes 00 01 .. ff, as in the vectors of appendix A.
    fn counting() -> [u8; 256] {
        std::array::from_fn(|index| index as u8)
    }

    #[test]
    fn a_file_is_written_and_read() {
        let key = StaticKey::from_bytes(&counting());
        let text = key.to_text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3 + 1 + 16 + 1);
        assert_eq!(lines[4], "000102030405060708090a0b0c0d0e0f");
        assert_eq!(lines[19], "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        assert!(text.len() <= TEXT_LEN);
        assert_eq!(StaticKey::parse(&text).unwrap().0, key.0);
        // Any width of line, upper case, and any text around it.
        let wide = text.replace("0f\n10", "0F10").replace("\n", "\r\n");
        assert_eq!(
            StaticKey::parse(&format!("junk\n{wide}junk")).unwrap().0,
            key.0
        );
    }

    #[test]
    fn files_that_are_refused() {
        let text = StaticKey::from_bytes(&counting()).to_text();
        for (changed, verdict) in [
            (text.replace("BEGIN", "BEGUN"), StaticKeyError::Header),
            (text.replace("END", "AND"), StaticKeyError::Footer),
            (text.replace("f0f1", "f0g1"), StaticKeyError::Digit),
            (text.replace("f0f1", "f0f"), StaticKeyError::Length),
            (text.replace("f0f1", "f0"), StaticKeyError::Length),
            (text.replace("f0f1", "f0f1f2"), StaticKeyError::Length),
            (String::new(), StaticKeyError::Header),
        ] {
            assert_eq!(StaticKey::parse(&changed).unwrap_err(), verdict);
        }
    }

    #[test]
    fn directions_choose_the_halves_of_section_2_4() {
        use Half::{First, Second};
        for (direction, sends, receives) in [
            (KeyDirection::Both, First, First),
            (KeyDirection::Zero, First, Second),
            (KeyDirection::One, Second, First),
        ] {
            assert_eq!((direction.sends(), direction.receives()), (sends, receives));
        }
        let key = StaticKey::from_bytes(&counting());
        let (first, second) = (key.half(First), key.half(Second));
        assert_eq!((first.cipher[0], first.hmac[0]), (0, 64));
        assert_eq!((second.cipher[0], second.hmac[0]), (128, 192));
        assert_eq!((first.cipher.len(), second.hmac.len()), (64, 64));
    }

    #[test]
    fn keys_differ_and_are_not_printed() {
        let mut random = SeededRandom::new(1);
        let (first, second) = (
            StaticKey::generate(&mut random),
            StaticKey::generate(&mut random),
        );
        assert_ne!(first.0, second.0);
        assert_eq!(format!("{first:?}"), "StaticKey");
        let xored = first.clone().xor(&second).xor(&second);
        assert_eq!(xored.0, first.0);
    }
}
