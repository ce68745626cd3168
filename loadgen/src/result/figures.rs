//! The figures of a report that people look at and compare.

use super::{Durations, Report};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is of; the same in all reports.
    pub name: String,
    /// Its unit, as it is written.
    pub unit: &'static str,
    /// Itself.
    pub value: f64,
    /// Which way it gets better.
    pub better: Better,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The greater.
    More,
    /// The smaller.
    Less,
}

impl Report {
    /// All figures that the run had; what did not happen has none.
    pub fn figures(&self) -> Vec<Figure> {
        use Better::{Less, More};
        let mut found = Found(Vec::new());
        let (tally, done) = (&self.tally, self.done());
        let a_second = |count: f64| (done.seconds > 0.0).then(|| count / done.seconds);

        if tally.attempts > 0 {
            found.one("sessions established", "", More, tally.handshakes as f64);
            found.one("sessions failed", "", Less, tally.failures_total() as f64);
        }
        if done.handshakes > 0.0 {
            found.some("handshakes", "/s", More, a_second(done.handshakes));
        }
        found.durations("handshake", &tally.handshake);
        found.durations("first packet", &tally.first_packet);
        let ways = [
            ("up", done.up_packets, done.up_bytes, self.up_delivery()),
            (
                "down",
                done.down_packets,
                done.down_bytes,
                Some(tally.down_delivery),
            ),
        ];
        for (way, packets, bytes, delivery) in ways {
            if packets > 0.0 {
                let megabits = a_second(bytes * 8.0 / 1e6);
                found.some(&format!("goodput {way}"), "Mbit/s", More, megabits);
                found.some(&format!("packets {way}"), "/s", More, a_second(packets));
            }
            if let Some(delivery) = delivery.filter(|it| it.sent > 0) {
                found.one(&format!("lost {way}"), "%", Less, delivery.loss() * 100.0);
                let reordered = delivery.reordered as f64;
                found.one(&format!("reordered {way}"), "", Less, reordered);
                let duplicated = delivery.duplicated as f64;
                found.one(&format!("duplicated {way}"), "", Less, duplicated);
            }
        }
        if tally.echoes.sent > 0 {
            let percent = tally.echoes.loss() * 100.0;
            found.one("round trips lost", "%", Less, percent);
        }
        found.durations("round trip", &tally.round_trip);
        self.server_figures(&mut found);
        found.0
    }

    fn server_figures(&self, found: &mut Found) {
        use Better::Less;
        let Some(server) = &self.server else {
            return;
        };
        let kib = server.bytes_per_session.map(|bytes| bytes / 1024.0);
        for (name, unit, value) in [
            (
                "server's cores per gigabit",
                "ms",
                server.core_ms_per_gigabit,
            ),
            (
                "server's process per gigabit",
                "ms",
                server.process_ms_per_gigabit,
            ),
            ("server's cores per packet", "us", server.core_us_per_packet),
            (
                "server's process per packet",
                "us",
                server.process_us_per_packet,
            ),
            (
                "server's cores per handshake",
                "us",
                server.core_us_per_handshake,
            ),
            (
                "server's process per handshake",
                "us",
                server.process_us_per_handshake,
            ),
            ("server's memory per session", "KiB", kib),
            (
                "server's memory at rest",
                "MiB",
                Some(server.rest_bytes as f64 / MIB),
            ),
            (
                "server's memory at the peak",
                "MiB",
                Some(server.peak_bytes as f64 / MIB),
            ),
        ] {
            found.some(name, unit, Less, value);
        }
    }
}

/// Figures so far.
struct Found(Vec<Figure>);

impl Found {
    fn one(&mut self, name: &str, unit: &'static str, better: Better, value: f64) {
        self.0.push(Figure {
            name: name.to_owned(),
            unit,
            value,
            better,
        });
    }

    fn some(&mut self, name: &str, unit: &'static str, better: Better, value: Option<f64>) {
        if let Some(value) = value {
            self.one(name, unit, better, value);
        }
    }

    /// Percentiles, in milliseconds.
    fn durations(&mut self, name: &str, durations: &Durations) {
        // Of ten there is a p90, of a hundred a p99: what is beyond is the maximum by another name.
        let enough = |part: f64| durations.count() as f64 * (1.0 - part) > 0.999;
        for (part, percentile) in PERCENTILES.into_iter().filter(|it| enough(it.0)) {
            if let Some(nanos) = durations.quantile(part) {
                let name = format!("{name} {percentile}");
                self.one(&name, "ms", Better::Less, nanos as f64 / 1e6);
            }
        }
        if let Some(nanos) = durations.max() {
            let name = format!("{name} max");
            self.one(&name, "ms", Better::Less, nanos as f64 / 1e6);
        }
    }
}

/// A value with three digits, or all before the point.
pub fn three_digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 || small == 0.0 => format!("{value:.2}"),
        small if small >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

const PERCENTILES: [(f64, &str); 5] = [
    (0.5, "p50"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (0.9999, "p99.99"),
];
const MIB: f64 = (1 << 20) as f64;

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    fn value(figures: &[Figure], name: &str) -> Option<f64> {
        let mut named = figures.iter().filter(|it| it.name == name);
        let value = named.next().map(|it| it.value);
        assert!(named.next().is_none(), "{name} twice");
        value
    }

    #[test]
    fn a_run_in_figures() {
        let figures = sample().figures();
        for (name, expected) in [
            ("handshakes", 2.5),
            ("sessions established", 10.0),
            ("sessions failed", 1.0),
            ("goodput up", 5.46 * 8.0 / 4.0),
            ("goodput down", 5.6 * 8.0 / 4.0),
            ("packets up", 975.0),
            ("packets down", 1000.0),
            ("lost up", 2.5),
            ("lost down", 4.0 / 4004.0 * 100.0),
            ("reordered down", 2.0),
            ("server's memory per session", 200_000.0 / 1024.0),
        ] {
            let found = value(&figures, name).unwrap();
            assert!((found - expected).abs() < 1e-9, "{name}: {found}");
        }
        // 10 to 1,000 microseconds, and 2 to 20 milliseconds.
        for (name, expected) in [
            ("round trip p50", 0.5),
            ("round trip p99", 0.99),
            ("round trip max", 1.0),
            ("handshake p50", 10.0),
        ] {
            let found = value(&figures, name).unwrap();
            assert!((found / expected - 1.0).abs() < 2e-3, "{name}: {found}");
        }
        for absent in ["first packet p50", "handshake p99", "round trip p99.9"] {
            assert_eq!(value(&figures, absent), None);
        }
        assert_eq!(value(&figures, "round trips lost"), None);
    }

    #[test]
    fn a_run_without_anything_has_no_figures() {
        let mut report = sample();
        report.tally = super::super::Tally::new(std::time::Duration::from_secs(1));
        report.server = None;
        report.far_side = None;
        report.seconds = 0.0;
        report.phases.clear();
        assert_eq!(report.figures(), []);
    }

    #[test]
    fn values_have_three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.01234, "0.0123"),
            (0.5, "0.500"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (123.4, "123"),
            (123_456.0, "123456"),
            (-2.0, "-2.00"),
        ] {
            assert_eq!(three_digits(value), text);
        }
    }
}
