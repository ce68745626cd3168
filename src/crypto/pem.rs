//! PEM text of the keys that only OpenVPN knows. Nothing of a key is left behind in memory.

use data_encoding::{BASE64, DecodePartial};
use zeroize::Zeroizing;

/// The bytes between the lines of `label`; what stands around them is not looked at.
///
/// # Errors
/// Which part is missing or wrong.
pub(super) fn parse(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let (_, rest) = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or(KeyFileError::Begin(label))?;
    let (inner, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(KeyFileError::End(label))?;
    // Reserved at once: growing would leave copies of the key behind.
    let mut digits = Zeroizing::new(Vec::with_capacity(inner.len()));
    digits.extend(inner.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let length = BASE64
        .decode_len(digits.len())
        .map_err(|_| KeyFileError::Base64)?;
    let mut bytes = Zeroizing::new(vec![0; length]);
    let length = BASE64
        .decode_mut(&digits, &mut bytes)
        .map_err(|_: DecodePartial| KeyFileError::Base64)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The text of a key file.
pub(super) fn emit(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(BASE64.encode_len(bytes.len())));
    BASE64.encode_append(bytes, &mut digits);
    let lines = digits.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(
        digits.len() + lines + 2 * (label.len() + FRAME),
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Why a text is no key of the kind that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The opening line is missing.
    #[error("no line `-----BEGIN {0}-----`")]
    Begin(&'static str),
    /// The closing line is missing.
    #[error("no line `-----END {0}-----` after the key")]
    End(&'static str),
    /// Something between the lines is not base64.
    #[error("the key is not written in base64")]
    Base64,
    /// The key has another length.
    #[error("the key has {0} bytes, which is no length of such a key")]
    Length(usize),
}

/// Digits of a line.
const LINE: usize = 64;
/// Characters of an opening line beside its label.
const FRAME: usize = "-----BEGIN -----\n".len();

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "OpenVPN test key";

    #[test]
    fn any_bytes_are_written_and_read() {
        for length in [0, 1, 47, 48, 49, 128, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let text = emit(LABEL, &bytes);
            assert!(text.lines().all(|line| line.len() <= LINE), "{length}");
            let around = format!("before\r\n{}after", text.replace('\n', "\r\n"));
            assert_eq!(*parse(&around, LABEL).unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn texts_that_are_refused() {
        let text = emit(LABEL, &[7; 100]);
        for (changed, verdict) in [
            (text.replace("BEGIN", "BEGUN"), KeyFileError::Begin(LABEL)),
            (text.replace("test", "best"), KeyFileError::Begin(LABEL)),
            (text.replace("END", "AND"), KeyFileError::End(LABEL)),
            (text.replace("Bw", "B*"), KeyFileError::Base64),
            (text.replacen("Bw", "", 1), KeyFileError::Base64),
            (String::new(), KeyFileError::Begin(LABEL)),
        ] {
            assert_eq!(parse(&changed, LABEL).unwrap_err(), verdict);
        }
    }
}
