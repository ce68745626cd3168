//! `bench micro`: the parts of the data path alone, on one core, without a kernel.

mod configuration;
mod crowd;
mod crypto;
mod data_path;
mod segments;
mod tables;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::Failure;
use crate::spread::Spread;

/// How much is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MicroOptions {
    /// Rounds, of which the least, the middle and the greatest are shown.
    #[arg(long, default_value = "51")]
    rounds: NonZeroUsize,
    /// Packets, look-ups and the like in a round.
    #[arg(long, default_value = "10000")]
    packets: NonZeroUsize,
    /// These parts alone, as in crypto,split.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Part>,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Sealing and opening: the library, and our keys around it.
    Crypto,
    /// The paths of a packet from the tun device to a datagram and back.
    Path,
    /// The same at a server with few and with many sessions.
    Crowd,
    /// Splitting a super-packet.
    Split,
    /// Merging packets.
    Merge,
    /// Whose an inner address is.
    Routes,
    /// Whose a datagram is.
    Peers,
    /// Packet ids of the receiver.
    Replay,
    /// Timers.
    Wheel,
    /// A server's configuration.
    Config,
}

/// Measures and prints.
pub(crate) fn run(options: &MicroOptions) -> Result<(), Failure> {
    let rounds = Rounds {
        rounds: options.rounds.get(),
        items: options.packets.get(),
    };
    println!(
        "{} rounds of {}; each figure is least / middle / greatest of the rounds\n",
        rounds.rounds, rounds.items
    );
    println!("| what | bytes | ns each | Gbit/s |\n|---|---|---|---|");
    let all = <Part as clap::ValueEnum>::value_variants();
    let mut rows = Vec::new();
    let only = options.only.as_slice();
    for part in if only.is_empty() { all } else { only } {
        let figures = part.measure(&rounds).map_err(Failure::Impossible)?;
        figures.iter().for_each(|figure| println!("{figure}"));
        rows.extend(figures.iter().map(Figure::to_json));
    }
    if let Some(file) = &options.json {
        let (rounds, items) = (rounds.rounds, rounds.items);
        let all = json!({ "rounds": rounds, "items": items, "figures": rows });
        std::fs::write(file, format!("{all:#}\n")).map_err(|source| Failure::file(file, source))?;
    }
    Ok(())
}

impl Part {
    fn measure(self, rounds: &Rounds) -> Result<Vec<Figure>, String> {
        match self {
            Self::Crypto => crypto::measure(rounds),
            Self::Path => data_path::measure(rounds),
            Self::Crowd => crowd::measure(rounds),
            Self::Split => segments::split(rounds),
            Self::Merge => segments::merge(rounds),
            Self::Routes => tables::routes(rounds),
            Self::Peers => tables::peers(rounds),
            Self::Replay => tables::replay(rounds),
            Self::Wheel => tables::wheel(rounds),
            Self::Config => configuration::measure(rounds),
        }
    }
}

/// How often how many.
struct Rounds {
    rounds: usize,
    items: usize,
}

impl Rounds {
    /// Times `round`, which does as many items as it is told, and once before that does not count.
    fn time(
        &self,
        what: impl Into<String>,
        bytes: Option<usize>,
        mut round: impl FnMut(usize) -> Result<(), String>,
    ) -> Result<Figure, String> {
        round(self.items)?;
        let mut times = Vec::with_capacity(self.rounds);
        for _ in 0..self.rounds {
            let start = Instant::now();
            round(self.items)?;
            times.push(start.elapsed().as_nanos() as f64 / self.items as f64);
        }
        Ok(Figure::new(what.into(), bytes, times))
    }

    /// The same for what must be prepared: `round` gives back how long the items took, and how many
    /// they were.
    fn time_part(
        &self,
        what: impl Into<String>,
        bytes: Option<usize>,
        mut round: impl FnMut(usize) -> Result<(Duration, usize), String>,
    ) -> Result<Figure, String> {
        round(self.items)?;
        let mut times = Vec::with_capacity(self.rounds);
        for _ in 0..self.rounds {
            let (time, count) = round(self.items)?;
            times.push(time.as_nanos() as f64 / count as f64);
        }
        Ok(Figure::new(what.into(), bytes, times))
    }
}

/// What one item costs.
struct Figure {
    what: String,
    /// Bytes of an item, where that says something.
    bytes: Option<usize>,
    /// Nanoseconds; never of nothing.
    spread: Spread,
}

impl Figure {
    fn new(what: String, bytes: Option<usize>, nanoseconds: Vec<f64>) -> Self {
        let (min, median, max) = (f64::NAN, f64::NAN, f64::NAN);
        let spread = Spread::of(nanoseconds).unwrap_or(Spread { min, median, max });
        Self {
            what,
            bytes,
            spread,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let Spread { min, median, max } = self.spread;
        let nanoseconds = json!({"min": min, "median": median, "max": max});
        json!({"what": self.what, "bytes": self.bytes, "ns": nanoseconds})
    }
}

impl std::fmt::Display for Figure {
    /// A line of a Markdown table.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { min, median, max } = self.spread;
        let what = &self.what;
        match self.bytes {
            Some(bytes) => {
                let rate = |nanoseconds: f64| bytes as f64 * 8.0 / nanoseconds;
                write!(
                    formatter,
                    "| {what} | {bytes} | {min:.0} / {median:.0} / {max:.0} | {:.2} / {:.2} / {:.2} |",
                    rate(max),
                    rate(median),
                    rate(min)
                )
            }
            None => write!(
                formatter,
                "| {what} | - | {min:.1} / {median:.1} / {max:.1} | - |"
            ),
        }
    }
}

/// Bytes of packets: small ones, middling ones, and those that fill a datagram.
const SIZES: [usize; 3] = [64, 512, 1400];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_runs_and_shows_its_spread() {
        let rounds = Rounds {
            rounds: 3,
            items: 70,
        };
        for part in <Part as clap::ValueEnum>::value_variants() {
            let figures = part.measure(&rounds).unwrap();
            assert!(!figures.is_empty(), "{part:?}");
            for figure in figures {
                let Spread { min, median, max } = figure.spread;
                assert!(0.0 < min && min <= median && median <= max, "{figure}");
            }
        }
    }

    #[test]
    fn a_line_shows_rates_from_the_slowest_to_the_fastest() {
        let figure = Figure::new("inbound".to_owned(), Some(1000), vec![400.0, 100.0, 200.0]);
        let expected = "| inbound | 1000 | 100 / 200 / 400 | 20.00 / 40.00 / 80.00 |";
        assert_eq!(figure.to_string(), expected);
        let figure = Figure::new("replay".to_owned(), None, vec![1.25]);
        assert_eq!(figure.to_string(), "| replay | - | 1.2 / 1.2 / 1.2 | - |");
        let json = r#"{"what":"replay","bytes":null,"ns":{"min":1.25,"median":1.25,"max":1.25}}"#;
        assert_eq!(figure.to_json().to_string(), json);
    }
}
