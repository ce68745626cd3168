//! Results as a Markdown table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contender::Contender;
use super::counters::Segments;
use super::machine::Machine;
use super::network::{Cores, Link};
use super::results::{Key, Results, Row};
use super::work::Work;

/// Everything that a report tells of.
pub(super) struct Report<'a> {
    pub(super) results: &'a Results,
    pub(super) machine: &'a Machine,
    pub(super) command: &'a str,
    pub(super) cores: Cores,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    pub(super) links: &'a [Link],
    pub(super) works: &'a [Work],
    pub(super) contenders: &'a [Contender],
}

impl Report<'_> {
    /// A heading, a table for each link, and what failed.
    pub(super) fn markdown(&self) -> String {
        let Machine {
            commit,
            date,
            processor,
            kernel,
            load,
        } = self.machine;
        let mut text = format!(
            "`{}`, commit {commit}, {date}, {processor}, {kernel}, load {load:.1} at the start; {} rounds by \
             turns, {} s a measurement, server's side on core {}, client's on core {}.\n",
            self.command, self.rounds, self.seconds, self.cores.server, self.cores.client
        );
        for link in self.links {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\n{}\n\n{HEAD}", describe(*link));
            for row in self.keys().filter(|key| key.link == *link) {
                if let Some(row) = self.results.row(row) {
                    text.push_str(&line(&row));
                }
            }
        }
        let failures = self.keys().filter_map(|key| {
            let reason = self.results.failure(key)?;
            let Key {
                link,
                work,
                contender,
            } = key;
            let what = format!("{}, {work}, {}", contender.title(), link.name());
            Some((what, reason.trim_end()))
        });
        let mut last = "";
        for (what, reason) in failures {
            // A contender that does not come up fails at everything, for one reason.
            if reason != last {
                let _infallible = write!(text, "\nFAILED: {what}: {reason}\n");
                last = reason;
            }
        }
        text
    }

    /// An object for each result.
    pub(super) fn json(&self) -> Vec<Value> {
        self.keys()
            .filter_map(|key| {
                let row = self.results.row(key);
                let failure = self.results.failure(key);
                (row.is_some() || failure.is_some()).then(|| self.object(key, row, failure))
            })
            .collect()
    }

    fn object(&self, key: Key, row: Option<Row>, failure: Option<&str>) -> Value {
        let mut object = json!({
            "link": key.link.name(),
            "work": key.work.to_string(),
            "contender": key.contender.name(),
            "unit": key.work.unit(),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "command": self.command,
            "commit": self.machine.commit,
            "date": self.machine.date,
            "machine": self.machine.processor,
            "kernel": self.machine.kernel,
            "load": self.machine.load,
        });
        let mut set = |name: &str, value: Value| {
            if let Some(fields) = object.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if let Some(row) = row {
            set("median", json!(row.spread.median));
            set("min", json!(row.spread.min));
            set("max", json!(row.spread.max));
            set("values", json!(row.values));
            set("loss", json!(row.loss));
            set("p99", json!(row.p99));
            set("ratio_to_openvpn", json!(row.to_openvpn));
            set("ratio_to_no_vpn", json!(row.to_no_vpn));
            set("server_core_ms_per_gigabit", json!(row.core));
            set("server_process_ms_per_gigabit", json!(row.process));
            set("server_segments", segments(row.server));
            set("client_segments", segments(row.client));
        }
        if let Some(failure) = failure {
            set("failed", json!(failure.lines().next()));
        }
        object
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.links.iter().flat_map(move |&link| {
            self.works.iter().flat_map(move |&work| {
                self.contenders.iter().map(move |&contender| Key {
                    link,
                    work,
                    contender,
                })
            })
        })
    }
}

fn describe(link: Link) -> &'static str {
    match link {
        Link::Whole => {
            "The outer link passes super-packets whole, as virtual Ethernet does by itself:"
        }
        Link::Segmented => {
            "`tx-udp-segmentation` off at both ends of the outer link: the sender's kernel cuts, and the \
             receiver gets packets one by one:"
        }
        Link::SegmentedGro => {
            "The same, with GRO on at both ends: the receiver's kernel joins again what the sender's has cut:"
        }
    }
}

fn line(row: &Row) -> String {
    let Key {
        work, contender, ..
    } = row.key;
    let spread = row.spread;
    let lost = match (row.p99, row.loss) {
        (Some(p99), _) => format!("99 %: {}", number(p99)),
        (None, Some(loss)) => format!("{:.1} %", loss * 100.0),
        (None, None) => "-".to_owned(),
    };
    let cells = [
        work.to_string(),
        contender.title().to_owned(),
        format!(
            "{} ({} to {}) {}",
            number(spread.median),
            number(spread.min),
            number(spread.max),
            work.unit()
        ),
        lost,
        ratio(row.to_openvpn),
        ratio(row.to_no_vpn),
        pair(row.server.send, row.server.receive),
        pair(row.server.tun_write, row.server.tun_read),
        cell(row.core, number),
        cell(row.process, number),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn ratio(value: Option<f64>) -> String {
    cell(value, |value| format!("{value:.2}"))
}

fn pair(first: Option<f64>, second: Option<f64>) -> String {
    let one = |value| cell(value, |value| format!("{value:.1}"));
    match (first, second) {
        (None, None) => "-".to_owned(),
        _ => format!("{} / {}", one(first), one(second)),
    }
}

fn cell(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

/// Three digits or all before the point.
fn number(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn segments(segments: Segments) -> Value {
    json!({
        "send": segments.send,
        "receive": segments.receive,
        "tun_write": segments.tun_write,
        "tun_read": segments.tun_read,
    })
}

const HEAD: &str = "\
| work | contender | median (least to greatest) | lost | of OpenVPN | of no VPN | packets a send / receive \
| a tun write / read | server's core, ms/Gbit | its process, ms/Gbit |
|---|---|---|---|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::super::results::tests::{key, sample};
    use super::*;

    fn report(check: impl FnOnce(&Report<'_>)) {
        let mut results = Results::default();
        for (contender, value) in [(Contender::Ringway, 8.0), (Contender::OpenVpn, 0.5)] {
            results.add(key(contender), 0, sample(value));
        }
        results.fail(
            key(Contender::NoVpn),
            "no such thing\n    log: last words\n",
        );
        let machine = Machine {
            commit: "1234567".to_owned(),
            date: "2026-11-22".to_owned(),
            processor: "abacus, 2 cores".to_owned(),
            kernel: "Linux 6".to_owned(),
            load: 0.25,
        };
        check(&Report {
            results: &results,
            machine: &machine,
            command: "bench compare",
            cores: Cores {
                server: 0,
                client: 1,
            },
            rounds: 1,
            seconds: 5,
            links: &[Link::Whole],
            works: &[key(Contender::Ringway).work],
            contenders: &[Contender::NoVpn, Contender::Ringway, Contender::OpenVpn],
        });
    }

    #[test]
    fn the_table_has_a_line_for_each_result_and_tells_failures() {
        report(|report| {
            let text = report.markdown();
            let head = "`bench compare`, commit 1234567, 2026-11-22, abacus, 2 cores, Linux 6, load 0.2 at the start; 1 rounds";
            assert!(text.starts_with(head), "{text}");
            let lines: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("| tcp1-up"))
                .collect();
            assert_eq!(
                lines,
                [
                    "| tcp1-up | ringway to ringway | 8.00 (8.00 to 8.00) Gbit/s | 25.0 % | 16.00 | - | 8.0 / - | - | 250 | 62.5 |",
                    "| tcp1-up | OpenVPN at both ends | 0.50 (0.50 to 0.50) Gbit/s | 25.0 % | 1.00 | - | 0.5 / - | - | 4000 | 1000 |",
                ]
            );
            assert!(text.ends_with(
                "\nFAILED: no VPN, tcp1-up, whole: no such thing\n    log: last words\n"
            ));
        });
    }

    #[test]
    fn json_says_the_same() {
        report(|report| {
            let rows = report.json();
            assert_eq!(rows.len(), 3);
            assert_eq!(rows[0]["failed"], "no such thing");
            assert_eq!(rows[0]["median"], Value::Null);
            let ours = &rows[1];
            for (name, expected) in [
                ("contender", json!("ringway")),
                ("work", json!("tcp1-up")),
                ("unit", json!("Gbit/s")),
                ("median", json!(8.0)),
                ("ratio_to_openvpn", json!(16.0)),
                ("ratio_to_no_vpn", json!(null)),
                ("server_core_ms_per_gigabit", json!(250.0)),
                ("commit", json!("1234567")),
                ("machine", json!("abacus, 2 cores")),
            ] {
                assert_eq!(ours[name], expected, "{name}");
            }
            assert_eq!(ours["server_segments"]["send"], json!(8.0));
        });
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, expected) in [
            (0.123, "0.12"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (1234.5, "1234"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
