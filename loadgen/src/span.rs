//! Lengths of time as people write them: `90s`, `5m`, `1h`, `250ms`, or a number of seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// So many seconds; `None` if they are none, less than none, or more than a `Duration` holds.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let duration = Duration::try_from_secs_f64(seconds).ok()?;
        (!duration.is_zero()).then_some(Self(duration))
    }

    /// So many seconds, at least one.
    pub const fn of(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => 1e-3,
            "s" | "" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(NotASpan(text.to_owned())),
        };
        let number = digits.parse::<f64>().ok();
        number
            .and_then(|number| Self::from_seconds(number * unit))
            .ok_or_else(|| NotASpan(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1e3;
        for (unit, length) in [("h", 3_600_000.0), ("m", 60_000.0), ("s", 1_000.0)] {
            if millis % length == 0.0 {
                return write!(f, "{}{unit}", millis / length);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time above zero: \"90s\", \"5m\", or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_seconds(seconds)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                self.visit_f64(seconds as f64)
            }
        }

        deserializer.deserialize_any(Written)
    }
}

/// A text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no length of time above zero: write 90s, 5m, 1h or 250ms")]
pub struct NotASpan(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_back() {
        for (text, seconds, shown) in [
            ("90s", 90.0, "90s"),
            ("90", 90.0, "90s"),
            ("120", 120.0, "2m"),
            ("5m", 300.0, "5m"),
            ("1.5h", 5400.0, "90m"),
            ("2h", 7200.0, "2h"),
            ("1d", 86_400.0, "24h"),
            ("250ms", 0.25, "250ms"),
            ("0.25", 0.25, "250ms"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.seconds(), seconds, "{text}");
            assert_eq!(span.to_string(), shown);
        }
        for text in [
            "", "s", "0", "0s", "-1s", "nan", "inf", "1e300", "5 m", "5min", "ü",
        ] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}`")));
        }
    }

    #[test]
    fn json_has_the_text() {
        let span: Span = serde_json::from_str("30").unwrap();
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"30s\"");
        assert_eq!(serde_json::from_str::<Span>("\"30s\"").unwrap(), span);
        let error = serde_json::from_str::<Span>("-3").unwrap_err();
        assert!(error.to_string().contains("above zero"), "{error}");
    }
}
