//! A figure that is steady, or goes evenly from one value to another while a phase lasts.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Written as `100`, or as `{ from = 0, to = 100 }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// At the beginning of the phase.
    pub from: f64,
    /// At its end.
    pub to: f64,
}

impl Ramp {
    /// The same all the time.
    pub const fn steady(value: f64) -> Self {
        Self {
            from: value,
            to: value,
        }
    }

    /// The value when `part` of the phase is over, from 0 to 1.
    pub const fn at(&self, part: f64) -> f64 {
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// The greater end.
    pub const fn greatest(&self) -> f64 {
        self.from.max(self.to)
    }

    /// What is wrong with it as a figure from 0 to `most`, not 0 all the time.
    pub fn fault(&self, most: f64) -> Option<String> {
        let Self { from, to } = *self;
        let bad = [from, to].into_iter().find(|it| !(0.0..=most).contains(it));
        match bad {
            Some(value) => Some(format!("{value} is not between 0 and {most}")),
            None if from == 0.0 && to == 0.0 => Some("0 all the time is nothing".to_owned()),
            None => None,
        }
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        match from == to {
            true => write!(f, "{from}"),
            false => write!(f, "{from}..{to}"),
        }
    }
}

impl Serialize for Ramp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.from == self.to {
            return serializer.serialize_f64(self.from);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("from", &self.from)?;
        map.serialize_entry("to", &self.to)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Ramp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Ramp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or { from = NUMBER, to = NUMBER }")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Ramp, E> {
        Ok(Ramp::steady(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Ramp, E> {
        Ok(Ramp::steady(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Ramp, E> {
        Ok(Ramp::steady(value as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ramp, A::Error> {
        let (mut from, mut to) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "from" => from = Some(map.next_value()?),
                "to" => to = Some(map.next_value()?),
                other => return Err(de::Error::unknown_field(other, &["from", "to"])),
            }
        }
        Ok(Ramp {
            from: from.ok_or_else(|| de::Error::missing_field("from"))?,
            to: to.ok_or_else(|| de::Error::missing_field("to"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_evenly_and_not_beyond_its_ends() {
        let ramp = Ramp {
            from: 10.0,
            to: 30.0,
        };
        for (part, value) in [
            (-1.0, 10.0),
            (0.0, 10.0),
            (0.25, 15.0),
            (1.0, 30.0),
            (2.0, 30.0),
        ] {
            assert_eq!(ramp.at(part), value);
        }
        assert_eq!(ramp.greatest(), 30.0);
    }

    #[test]
    fn both_forms_are_read_and_written_back() {
        for (text, ramp) in [
            ("5", Ramp::steady(5.0)),
            ("0.5", Ramp::steady(0.5)),
            (r#"{"from":1,"to":2.5}"#, Ramp { from: 1.0, to: 2.5 }),
        ] {
            let read: Ramp = serde_json::from_str(text).unwrap();
            assert_eq!(read, ramp);
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Ramp>(&written).unwrap(), ramp);
        }
        for (text, said) in [
            ("\"5\"", "a number, or { from"),
            (r#"{"from":1}"#, "missing field `to`"),
            (r#"{"from":1,"till":2}"#, "unknown field `till`"),
        ] {
            let error = serde_json::from_str::<Ramp>(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn figures_out_of_bounds_are_named() {
        for (ramp, fault) in [
            (Ramp::steady(1.0), None),
            (Ramp { from: 0.0, to: 9.0 }, None),
            (Ramp::steady(0.0), Some("0 all the time is nothing")),
            (Ramp::steady(-1.0), Some("-1 is not between 0 and 9")),
            (
                Ramp {
                    from: 1.0,
                    to: 10.0,
                },
                Some("10 is not between 0 and 9"),
            ),
            (Ramp::steady(f64::NAN), Some("NaN is not between 0 and 9")),
        ] {
            assert_eq!(ramp.fault(9.0).as_deref(), fault);
        }
    }
}
