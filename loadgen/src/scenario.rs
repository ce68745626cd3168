//! What clients do: the scenarios, their parameters, and how they are written on the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{PACKET_MAX, PHASE_MAX, RATE_MAX};
use crate::ramp::Ramp;
use crate::span::Span;

/// One thing that clients do. Any of them go together in a phase.
///
/// Rates are for all sessions together, in events or packets a second, and open-loop: what is due
/// is due, whether the server has answered or not. Sizes are those of inner IP packets in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scenario {
    /// Clients come at `rate`, get their addresses, and leave. None of them is held.
    Handshake {
        /// Arrivals a second.
        #[serde(default = "default_handshake_rate")]
        rate: Ramp,
    },
    /// All sessions connect at once, as after a restart of the server.
    Storm {},
    /// Packets to the LAN host.
    BulkUp {
        /// Of each packet.
        #[serde(default = "default_bulk_size")]
        size: u16,
        /// Packets a second; as fast as it goes if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Ramp>,
    },
    /// Packets from the LAN host.
    BulkDown {
        /// Of each packet.
        #[serde(default = "default_bulk_size")]
        size: u16,
        /// Packets a second; as fast as it goes if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Ramp>,
    },
    /// Both of these at once, each at `rate`.
    Bidirectional {
        /// Of each packet.
        #[serde(default = "default_bulk_size")]
        size: u16,
        /// Packets a second and direction; as fast as it goes if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Ramp>,
    },
    /// Packets of 64, 576 and 1,400 bytes, 7 to 4 to 1, over all sessions in turn.
    Imix {
        /// Which way.
        #[serde(default)]
        direction: Direction,
        /// Packets a second and direction; as fast as it goes if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Ramp>,
    },
    /// Echo requests, whose round trip is measured from the moment at which they were due.
    Latency {
        /// Requests a second.
        #[serde(default = "default_latency_rate")]
        rate: Ramp,
        /// Of request and reply.
        #[serde(default = "default_latency_size")]
        size: u16,
    },
    /// Sessions leave and return.
    Churn {
        /// Departures a second.
        #[serde(default = "default_churn_rate")]
        rate: Ramp,
    },
    /// Each session changes its source port once in `interval`, with what it sends going on.
    Roam {
        /// Between two changes of one session.
        #[serde(default = "default_roam_interval")]
        interval: Span,
    },
    /// Each session renegotiates its keys once in `interval`.
    Reneg {
        /// Between two renegotiations of one session.
        #[serde(default = "default_reneg_interval")]
        interval: Span,
    },
    /// Sessions are held, and say no more than that they are there.
    Idle {},
    /// A little of everything for a long time: IMIX both ways, round trips, departures, roaming, new keys.
    Soak {
        /// Packets of IMIX a second and direction.
        #[serde(default = "default_soak_rate")]
        rate: Ramp,
    },
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the clients to the LAN host.
    Up,
    /// From the LAN host to the clients.
    Down,
    /// Both.
    #[default]
    Both,
}

impl Scenario {
    /// The scenarios that this one is made of: itself, unless it is a name for several.
    pub fn elements(&self) -> Vec<Self> {
        match self.clone() {
            Self::Bidirectional { size, rate } => {
                vec![Self::BulkUp { size, rate }, Self::BulkDown { size, rate }]
            }
            Self::Soak { rate } => vec![
                Self::Imix {
                    direction: Direction::Both,
                    rate: Some(rate),
                },
                Self::Latency {
                    rate: Ramp::steady(10.0),
                    size: default_latency_size(),
                },
                Self::Churn {
                    rate: default_churn_rate(),
                },
                Self::Roam {
                    interval: Span::of(600),
                },
                Self::Reneg {
                    interval: Span::of(900),
                },
            ],
            single => vec![single],
        }
    }

    /// True if it is about sessions that are held, false if its sessions come and go by themselves.
    pub const fn holds_sessions(&self) -> bool {
        !matches!(self, Self::Handshake { .. })
    }

    /// True if sessions connect in its phase, and not only before it.
    pub const fn connects(&self) -> bool {
        matches!(
            self,
            Self::Handshake { .. } | Self::Storm {} | Self::Churn { .. }
        )
    }

    /// True if it is the coming up of all sessions at once.
    pub const fn is_storm(&self) -> bool {
        matches!(self, Self::Storm {})
    }

    /// True if the LAN host has to run.
    pub const fn needs_lan(&self) -> bool {
        matches!(
            self,
            Self::BulkUp { .. }
                | Self::BulkDown { .. }
                | Self::Bidirectional { .. }
                | Self::Imix { .. }
                | Self::Latency { .. }
                | Self::Soak { .. }
        )
    }

    /// Its name, as it is written.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Handshake { .. } => "handshake",
            Self::Storm {} => "storm",
            Self::BulkUp { .. } => "bulk-up",
            Self::BulkDown { .. } => "bulk-down",
            Self::Bidirectional { .. } => "bidirectional",
            Self::Imix { .. } => "imix",
            Self::Latency { .. } => "latency",
            Self::Churn { .. } => "churn",
            Self::Roam { .. } => "roam",
            Self::Reneg { .. } => "reneg",
            Self::Idle {} => "idle",
            Self::Soak { .. } => "soak",
        }
    }

    /// What is wrong with its parameters.
    pub fn fault(&self) -> Option<String> {
        let (rate, size, interval) = match self {
            Self::Handshake { rate } | Self::Churn { rate } | Self::Soak { rate } => {
                (Some(rate), None, None)
            }
            Self::BulkUp { size, rate }
            | Self::BulkDown { size, rate }
            | Self::Bidirectional { size, rate } => (rate.as_ref(), Some(*size), None),
            Self::Imix { rate, .. } => (rate.as_ref(), None, None),
            Self::Latency { rate, size } => (Some(rate), Some(*size), None),
            Self::Roam { interval } | Self::Reneg { interval } => (None, None, Some(*interval)),
            Self::Storm {} | Self::Idle {} => (None, None, None),
        };
        let rate = rate
            .and_then(|rate| rate.fault(RATE_MAX))
            .map(|fault| format!("rate: {fault}"));
        let size = size
            .filter(|size| !(SIZE_MIN..=PACKET_MAX).contains(size))
            .map(|size| format!("size: {size} is not between {SIZE_MIN} and {PACKET_MAX}"));
        let interval = interval
            .filter(|interval| interval.duration() > PHASE_MAX)
            .map(|interval| format!("interval: {interval} is longer than any phase"));
        rate.or(size)
            .or(interval)
            .map(|fault| format!("{}: {fault}", self.name()))
    }
}

impl fmt::Display for Scenario {
    /// As [`Scenario::from_str`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Handshake { rate } | Self::Churn { rate } | Self::Soak { rate } => {
                write!(f, ":rate={rate}")
            }
            Self::BulkUp { size, rate }
            | Self::BulkDown { size, rate }
            | Self::Bidirectional { size, rate } => {
                write!(f, ":size={size}")?;
                rate.map_or(Ok(()), |rate| write!(f, ",rate={rate}"))
            }
            Self::Imix { direction, rate } => {
                let direction = match direction {
                    Direction::Up => "up",
                    Direction::Down => "down",
                    Direction::Both => "both",
                };
                write!(f, ":direction={direction}")?;
                rate.map_or(Ok(()), |rate| write!(f, ",rate={rate}"))
            }
            Self::Latency { rate, size } => write!(f, ":rate={rate},size={size}"),
            Self::Roam { interval } | Self::Reneg { interval } => write!(f, ":interval={interval}"),
            Self::Storm {} | Self::Idle {} => Ok(()),
        }
    }
}

impl FromStr for Scenario {
    type Err = NotAScenario;

    /// `NAME` or `NAME:PARAMETER=VALUE,...`, a rate that grows as `FROM..TO`.
    fn from_str(text: &str) -> Result<Self, NotAScenario> {
        let refuse = |why: String| NotAScenario {
            text: text.to_owned(),
            why,
        };
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let mut table = toml::Table::new();
        table.insert("scenario".to_owned(), name.into());
        for parameter in parameters.split(',').filter(|it| !it.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or_else(|| refuse(format!("`{parameter}` has no value")))?;
            if table.insert(name.to_owned(), value_of(value)).is_some() {
                return Err(refuse(format!("`{name}` stands there twice")));
            }
        }
        let scenario: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| refuse(error.message().to_owned()))?;
        match scenario.fault() {
            Some(fault) => Err(refuse(fault)),
            None => Ok(scenario),
        }
    }
}

/// A number, a ramp `FROM..TO`, or a text.
fn value_of(text: &str) -> toml::Value {
    let number = |text: &str| {
        let integer = text.parse().map(toml::Value::Integer).ok();
        integer.or_else(|| text.parse().map(toml::Value::Float).ok())
    };
    let ramp = text.split_once("..").and_then(|(from, to)| {
        let ends = [("from", number(from)?), ("to", number(to)?)];
        let table = ends.map(|(name, value)| (name.to_owned(), value));
        Some(toml::Value::Table(table.into_iter().collect()))
    });
    ramp.or_else(|| number(text))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// Why a text on the command line is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "scenario `{text}`: {why}; write NAME or NAME:PARAMETER=VALUE,..., for example latency:rate=100,size=64"
)]
pub struct NotAScenario {
    text: String,
    why: String,
}

/// The length of the `n`th packet of IMIX: of each twelve, seven of 64 bytes, four of 576 and one of 1,400.
pub const fn imix_size(n: u64) -> u16 {
    IMIX[(n % IMIX.len() as u64) as usize]
}

/// Interleaved, so that a run of any length has about the mean size.
const IMIX: [u16; 12] = [64, 576, 64, 64, 576, 64, 1400, 64, 576, 64, 576, 64];

/// What holds a payload in IPv4. In IPv6 packets below 76 bytes are sent with 76.
const SIZE_MIN: u16 = 56;

const fn default_handshake_rate() -> Ramp {
    Ramp::steady(100.0)
}

const fn default_latency_rate() -> Ramp {
    Ramp::steady(100.0)
}

const fn default_latency_size() -> u16 {
    64
}

const fn default_bulk_size() -> u16 {
    1400
}

const fn default_churn_rate() -> Ramp {
    Ramp::steady(1.0)
}

const fn default_soak_rate() -> Ramp {
    Ramp::steady(1000.0)
}

const fn default_roam_interval() -> Span {
    Span::of(30)
}

const fn default_reneg_interval() -> Span {
    Span::of(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line() {
        let span = |text: &str| text.parse::<Span>().unwrap();
        for (text, scenario, shown) in [
            (
                "handshake",
                Scenario::Handshake {
                    rate: Ramp::steady(100.0),
                },
                "handshake:rate=100",
            ),
            ("storm", Scenario::Storm {}, "storm"),
            ("idle:", Scenario::Idle {}, "idle"),
            (
                "bulk-up:size=600,rate=0..2500.5",
                Scenario::BulkUp {
                    size: 600,
                    rate: Some(Ramp {
                        from: 0.0,
                        to: 2500.5,
                    }),
                },
                "bulk-up:size=600,rate=0..2500.5",
            ),
            (
                "bulk-down",
                Scenario::BulkDown {
                    size: 1400,
                    rate: None,
                },
                "bulk-down:size=1400",
            ),
            (
                "imix:direction=up,rate=12",
                Scenario::Imix {
                    direction: Direction::Up,
                    rate: Some(Ramp::steady(12.0)),
                },
                "imix:direction=up,rate=12",
            ),
            (
                "latency:size=100,rate=10",
                Scenario::Latency {
                    rate: Ramp::steady(10.0),
                    size: 100,
                },
                "latency:rate=10,size=100",
            ),
            (
                "roam:interval=500ms",
                Scenario::Roam {
                    interval: span("500ms"),
                },
                "roam:interval=500ms",
            ),
            (
                "reneg",
                Scenario::Reneg {
                    interval: span("60s"),
                },
                "reneg:interval=1m",
            ),
        ] {
            let read: Scenario = text.parse().unwrap();
            assert_eq!(read, scenario, "{text}");
            assert_eq!(read.to_string(), shown);
            assert_eq!(shown.parse(), Ok(scenario));
        }
    }

    #[test]
    fn words_that_are_refused_say_why() {
        for (text, why) in [
            ("", "unknown variant ``"),
            (
                "bulk",
                "unknown variant `bulk`, expected one of `handshake`, `storm`",
            ),
            ("storm:rate=1", "unknown field `rate`"),
            ("latency:rate", "`rate` has no value"),
            ("latency:rate=1,rate=2", "`rate` stands there twice"),
            ("latency:rate=fast", "a number, or { from"),
            ("latency:rate=0", "latency: rate: 0 all the time is nothing"),
            ("latency:rate=-1..5", "-1 is not between 0 and"),
            (
                "latency:size=55",
                "latency: size: 55 is not between 56 and 9000",
            ),
            ("bulk-up:size=70000", "70000"),
            ("roam:interval=0", "a length of time above zero"),
            (
                "roam:interval=31d",
                "interval: 744h is longer than any phase",
            ),
        ] {
            let error = text.parse::<Scenario>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("scenario `{text}`: ")),
                "{error}"
            );
            assert!(error.contains(why), "{error}");
            assert!(error.ends_with("for example latency:rate=100,size=64"));
        }
    }

    #[test]
    fn every_name_is_read_back() {
        let names = [
            "handshake",
            "storm",
            "bulk-up",
            "bulk-down",
            "bidirectional",
            "imix",
            "latency",
            "churn",
            "roam",
            "reneg",
            "idle",
            "soak",
        ];
        for name in names {
            let scenario: Scenario = name.parse().unwrap();
            assert_eq!(scenario.name(), name);
            for element in scenario.elements() {
                assert_eq!(element.elements(), std::slice::from_ref(&element));
                assert_eq!(element.fault(), None);
            }
        }
    }

    #[test]
    fn bulk_both_ways_is_up_and_down() {
        let both: Scenario = "bidirectional:size=900,rate=7".parse().unwrap();
        let parts = ["bulk-up:size=900,rate=7", "bulk-down:size=900,rate=7"];
        assert_eq!(both.elements(), parts.map(|it| it.parse().unwrap()));
        assert!(both.needs_lan() && both.holds_sessions());
        let handshake: Scenario = "handshake".parse().unwrap();
        assert!(!handshake.needs_lan() && !handshake.holds_sessions());
    }

    #[test]
    fn twelve_packets_of_imix_are_seven_four_and_one() {
        for start in [0, 5, u64::MAX - 20] {
            let sizes: Vec<u16> = (start..start + 12).map(imix_size).collect();
            let count = |size| sizes.iter().filter(|it| **it == size).count();
            assert_eq!((count(64), count(576), count(1400)), (7, 4, 1));
        }
    }
}
