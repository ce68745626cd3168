//! The measurements of a directory, as `bench/load` leaves them there, in tables: each figure of each server, and the
//! ratio of the servers in the same round.
//!
//! Beside a report `WORK-SERVER-KEY-ROUND.json` there may be what the same round has of something else under the same
//! name: `.rustls-before` and `.rustls-after` (`bench handshake`), `.runtime` (`ringway check --runtime`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::result::{Ending, Report, ReportFault, three_digits};

/// All figures of a directory.
#[derive(Debug, Default)]
pub struct Measurements {
    /// By the work and the server's key.
    works: BTreeMap<(String, String), Work>,
    /// What makes figures doubtful.
    notes: Vec<String>,
}

/// What was measured in one work with one key.
#[derive(Debug, Default)]
struct Work {
    servers: BTreeSet<String>,
    /// In the order in which they came first.
    figures: Vec<Row>,
}

/// One figure of all servers and rounds.
#[derive(Debug)]
struct Row {
    name: String,
    unit: String,
    values: BTreeMap<String, BTreeMap<u32, f64>>,
}

/// What a file's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    work: String,
    server: String,
    key: String,
    round: u32,
}

impl Measurements {
    /// Reads all that is there.
    ///
    /// # Errors
    /// The directory can't be read, or has a report in it that is none.
    pub fn read(directory: &Path) -> Result<Self, ReportFault> {
        let unreadable = |source: io::Error| ReportFault::File {
            path: directory.to_owned(),
            source,
        };
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|it| it.path())).collect();
        let mut paths = paths.map_err(unreadable)?;
        paths.sort();
        let mut all = Self::default();
        for path in paths {
            if path.extension() != Some(OsStr::new("json")) {
                continue;
            }
            let stem = path.file_stem().and_then(OsStr::to_str);
            if let Some(name) = stem.and_then(Name::read) {
                all.add(&name, &path)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, name: &Name, path: &Path) -> Result<(), ReportFault> {
        let report = Report::read(path)?;
        let said = path.file_name().unwrap_or_default().to_string_lossy();
        match &report.ending {
            Ending::Complete => {}
            Ending::Interrupted => self.notes.push(format!("{said} was interrupted")),
            Ending::Failed(why) => self.notes.push(format!("{said} ended early: {why}")),
        }
        let limits = report.limits.iter();
        let limits = limits.map(|limit| format!("{said}: the generator was the limit: {limit}"));
        self.notes.extend(limits);
        let key = (name.work.clone(), name.key.clone());
        let work = self.works.entry(key).or_default();
        work.servers.insert(name.server.clone());
        for figure in report.figures() {
            work.put(name, &figure.name, figure.unit, figure.value);
        }
        let handshake = report
            .server
            .and_then(|server| server.core_us_per_handshake);
        work.add_rustls(name, path, handshake);
        work.add_hand_offs(name, path);
        Ok(())
    }

    /// Markdown: a table for each work and key; ratios are of `against` in the same round, their median.
    pub fn table(&self, against: &str) -> String {
        let mut text = String::new();
        for ((work, key), measured) in &self.works {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "**{work}**, server key {key}\n");
            measured.write(&mut text, against);
            text.push('\n');
        }
        for note in &self.notes {
            let _infallible = writeln!(text, "NOTE: {note}");
        }
        text
    }
}

impl Work {
    fn put(&mut self, name: &Name, figure: &str, unit: &str, value: f64) {
        let known = self.figures.iter().position(|row| row.name == figure);
        let known = known.unwrap_or_else(|| {
            self.figures.push(Row {
                name: figure.to_owned(),
                unit: unit.to_owned(),
                values: BTreeMap::new(),
            });
            self.figures.len() - 1
        });
        if let Some(row) = self.figures.get_mut(known) {
            let rounds = row.values.entry(name.server.clone()).or_default();
            rounds.insert(name.round, value);
        }
    }

    /// What the TLS library alone needed just before and after, and its part of a handshake of the server.
    fn add_rustls(&mut self, name: &Name, report: &Path, handshake: Option<f64>) {
        let beside = ["rustls-before", "rustls-after"].map(|kind| {
            let text = fs::read_to_string(report.with_extension(format!("{kind}.json"))).ok()?;
            let measured: serde_json::Value = serde_json::from_str(&text).ok()?;
            measured.pointer("/handshakes/0/rustls_us/median")?.as_f64()
        });
        let found: Vec<f64> = beside.into_iter().flatten().collect();
        if found.is_empty() {
            return;
        }
        let alone = found.iter().sum::<f64>() / found.len() as f64;
        self.put(name, "rustls alone per handshake", "us", alone);
        if let Some(handshake) = handshake {
            let part = alone / handshake;
            self.put(name, "rustls alone of the cores' handshake", "", part);
        }
    }

    /// How often shards handed packets to one another.
    fn add_hand_offs(&mut self, name: &Name, report: &Path) {
        let Ok(text) = fs::read_to_string(report.with_extension("runtime")) else {
            return;
        };
        let sent: u64 = text
            .lines()
            .filter_map(|line| line.split_once(": hand_offs: "))
            .flat_map(|(_, counts)| counts.split(' '))
            .filter_map(|count| count.split_once('='))
            .filter(|(name, _)| name.ends_with("_sent"))
            .filter_map(|(_, count)| count.parse::<u64>().ok())
            .sum();
        self.put(name, "packets handed to another shard", "", sent as f64);
    }

    fn write(&self, text: &mut String, against: &str) {
        let against = self.servers.get(against);
        let others = self.servers.iter().filter(|it| Some(*it) != against);
        let others: Vec<&String> = others.collect();
        let mut heads = vec![String::new()];
        heads.extend(others.iter().chain(&against).map(|it| (*it).clone()));
        if let Some(against) = against {
            heads.extend(others.iter().map(|it| format!("{it} / {against}")));
        }
        let rule = "---|".repeat(heads.len());
        let _infallible = writeln!(text, "| {} |\n|{rule}", heads.join(" | "));
        for row in &self.figures {
            let name = match row.unit.as_str() {
                "" => row.name.clone(),
                unit => format!("{}, {unit}", row.name),
            };
            let mut cells = vec![name];
            cells.extend(others.iter().chain(&against).map(|it| row.cell(it)));
            if let Some(against) = against {
                cells.extend(others.iter().map(|it| row.ratio(it, against)));
            }
            let _infallible = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
}

impl Row {
    /// The median of a server's rounds, and the least and greatest of several.
    fn cell(&self, server: &str) -> String {
        let rounds = self.values.get(server);
        let values = sorted(rounds.into_iter().flat_map(BTreeMap::values).copied());
        let Some(middle) = median(&values) else {
            return "-".to_owned();
        };
        let middle = three_digits(middle);
        match values.as_slice() {
            [least, .., greatest] => {
                let (least, greatest) = (three_digits(*least), three_digits(*greatest));
                format!("{middle} ({least} to {greatest})")
            }
            _ => middle,
        }
    }

    /// The median of the ratios of the rounds that both had.
    fn ratio(&self, server: &str, against: &str) -> String {
        let (Some(own), Some(others)) = (self.values.get(server), self.values.get(against)) else {
            return "-".to_owned();
        };
        let ratios = own.iter().filter_map(|(round, value)| {
            let other = others.get(round).filter(|it| **it != 0.0)?;
            Some(value / other)
        });
        median(&sorted(ratios)).map_or_else(|| "-".to_owned(), three_digits)
    }
}

impl Name {
    /// `WORK-SERVER-KEY-ROUND`, where only the work may have a hyphen in it.
    fn read(stem: &str) -> Option<Self> {
        let mut parts = stem.rsplitn(4, '-');
        let round = parts.next()?.parse().ok()?;
        let [key, server, work] = [parts.next()?, parts.next()?, parts.next()?];
        Some(Self {
            work: work.to_owned(),
            server: server.to_owned(),
            key: key.to_owned(),
            round,
        })
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    let upper = sorted.get(sorted.len() / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::testing::sample;

    #[test]
    fn names_say_what_was_measured() {
        for (stem, expected) in [
            (
                "handshakes-ringway-ec-1",
                Some(("handshakes", "ringway", "ec", 1)),
            ),
            (
                "imix-up-openvpn-rsa2048-12",
                Some(("imix-up", "openvpn", "rsa2048", 12)),
            ),
            ("handshakes-ringway-ec-1.rustls-before", None),
            ("ringway-ec-1", None),
            ("a-b-c-d", None),
        ] {
            let expected = expected.map(|(work, server, key, round)| Name {
                work: work.to_owned(),
                server: server.to_owned(),
                key: key.to_owned(),
                round,
            });
            assert_eq!(Name::read(stem), expected, "{stem}");
        }
    }

    #[test]
    fn rounds_become_medians_and_ratios_of_the_same_round() {
        let directory = tempfile::tempdir().unwrap();
        let put = |server: &str, round: u32, packets: f64| {
            let mut report = sample();
            report.server.as_mut().unwrap().core_us_per_packet = Some(packets);
            report.server.as_mut().unwrap().core_us_per_handshake = Some(400.0);
            let file = format!("imix-up-{server}-ec-{round}.json");
            report.write(&directory.path().join(file)).unwrap();
        };
        for (round, ours, theirs) in [(1, 2.0, 10.0), (2, 3.0, 12.0), (3, 4.0, 40.0)] {
            put("ringway", round, ours);
            put("openvpn", round, theirs);
        }
        let beside = |kind: &str, text: &str| {
            let file = directory
                .path()
                .join(format!("imix-up-ringway-ec-2.{kind}"));
            fs::write(file, text).unwrap();
        };
        let rustls = |us: u32| format!(r#"{{"handshakes":[{{"rustls_us":{{"median":{us}}}}}]}}"#);
        beside("rustls-before.json", &rustls(190));
        beside("rustls-after.json", &rustls(210));
        beside(
            "runtime",
            "node: x=1\nshard 0: hand_offs: datagram_sent=3 datagram_received=9\nshard 1: \
             hand_offs: client_packet_sent=4\n",
        );
        fs::write(directory.path().join("notes.json"), "something else").unwrap();
        let table = Measurements::read(directory.path())
            .unwrap()
            .table("openvpn");
        for line in [
            "**imix-up**, server key ec",
            "|  | ringway | openvpn | ringway / openvpn |",
            "|---|---|---|---|",
            "| server's cores per packet, us | 3.00 (2.00 to 4.00) | 12.0 (10.0 to 40.0) | 0.200 |",
            "| rustls alone per handshake, us | 200 | - | - |",
            "| rustls alone of the cores' handshake | 0.500 | - | - |",
            "| packets handed to another shard | 7.00 | - | - |",
        ] {
            assert!(table.lines().any(|it| it == line), "{line}\n{table}");
        }
        let alone = Measurements::read(directory.path())
            .unwrap()
            .table("nobody");
        assert!(alone.contains("|  | openvpn | ringway |\n"), "{alone}");
    }

    #[test]
    fn what_makes_figures_doubtful_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let mut report = sample();
        report.ending = Ending::Failed("no server".to_owned());
        report.limits = vec!["full".to_owned()];
        let file = directory.path().join("storm-5-ringway-ec-1.json");
        report.write(&file).unwrap();
        let table = Measurements::read(directory.path()).unwrap().table("x");
        let notes: Vec<&str> = table.lines().filter(|it| it.starts_with("NOTE")).collect();
        let expected = [
            "NOTE: storm-5-ringway-ec-1.json ended early: no server",
            "NOTE: storm-5-ringway-ec-1.json: the generator was the limit: full",
        ];
        assert_eq!(notes, expected);
        fs::write(&file, "{}").unwrap();
        assert!(Measurements::read(directory.path()).is_err());
        assert!(Measurements::read(&directory.path().join("absent")).is_err());
    }
}
