//! Bytes to lines: LF ends one, and a CR before it is not part of it.

use zeroize::Zeroizing;

use crate::limits::MANAGEMENT_LINE_MAX;

/// What has come and is not a whole line yet. Passwords come this way, so it is zeroed.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Zeroizing<Vec<u8>>,
}

/// Somebody sends a line without an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Takes what came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next line, if it is whole. What is no UTF-8 is replaced.
    pub(super) fn next(&mut self) -> Result<Option<Zeroizing<String>>, TooLong> {
        let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') else {
            return match self.bytes.len() > MANAGEMENT_LINE_MAX {
                true => Err(TooLong),
                false => Ok(None),
            };
        };
        if end > MANAGEMENT_LINE_MAX {
            return Err(TooLong);
        }
        let line = self.bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = Zeroizing::new(String::from_utf8_lossy(line).into_owned());
        self.bytes.drain(..=end);
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_or_without_a_carriage_return() {
        let mut lines = Lines::default();
        lines.push(b"pid\r\nsta");
        assert_eq!(lines.next(), Ok(Some(Zeroizing::new("pid".into()))));
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"te\n\n");
        assert_eq!(lines.next(), Ok(Some(Zeroizing::new("state".into()))));
        assert_eq!(lines.next(), Ok(Some(Zeroizing::new(String::new()))));
        assert_eq!(lines.next(), Ok(None));
    }

    #[test]
    fn a_line_has_a_longest_length() {
        let mut lines = Lines::default();
        lines.push(&[b'a'; MANAGEMENT_LINE_MAX]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"a");
        assert_eq!(lines.next(), Err(TooLong));
    }
}
