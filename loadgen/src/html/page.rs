//! What stands on the page, from top to bottom.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::chart::{Axis, Chart, Line, Scale};
use super::escape::escape;
use crate::result::{Durations, Ending, Moment, Report, three_digits};

/// The page of a report.
pub fn page(report: &Report) -> String {
    let mut html = String::from(HEAD);
    head(&mut html, report);
    notes(&mut html, report);
    figures(&mut html, report);
    for chart in [
        throughput(report),
        percentiles(report),
        handshakes(report),
        sessions(report),
        round_trips(report),
        cores(report),
        memory(report),
    ] {
        html.push_str(&chart.svg());
    }
    reasons(&mut html, "Sessions that failed", &report.tally.failures);
    reasons(&mut html, "Packets that were dropped", &report.tally.drops);
    plan(&mut html, report);
    html.push_str("</main></body></html>\n");
    html
}

// Writing to a String cannot fail, here and below.

fn head(html: &mut String, report: &Report) {
    let machine = &report.machine;
    let load = machine
        .load
        .map_or_else(String::new, |it| format!(", load {it:.1} at the start"));
    let commit = machine.commit.as_deref().unwrap_or("unknown");
    let began = jiff::Timestamp::from_second(report.started as i64);
    let began = began.map_or_else(|_| "?".to_owned(), |it| it.to_string());
    let _infallible = writeln!(
        html,
        "<h1>Load of {}</h1>\n<p><code>{}</code></p>\n<p>{began}, {:.0} s, {} on {}, {}, {} cores, {}{load}; \
         commit {}; seed {}.</p>",
        escape(&report.server_address),
        escape(&report.command),
        report.seconds,
        session_count(report),
        escape(&machine.host),
        escape(&machine.processor),
        machine.processors,
        escape(&machine.kernel),
        escape(commit),
        report.seed
    );
}

fn session_count(report: &Report) -> String {
    let count: u64 = report.sessions.iter().map(|it| u64::from(it.count)).sum();
    format!("{count} sessions")
}

/// What a reader has to know before the figures.
fn notes(html: &mut String, report: &Report) {
    let mut notes = Vec::new();
    match &report.ending {
        Ending::Complete => {}
        Ending::Interrupted => notes.push("It was interrupted.".to_owned()),
        Ending::Failed(why) => notes.push(format!("It ended before its time: {why}")),
    }
    let limits = report.limits.iter();
    notes.extend(limits.map(|it| format!("The generator itself was the limit: {it}.")));
    if report.shared_sockets {
        notes.push("Sessions shared sockets, which real clients do not.".to_owned());
    }
    if !report.faults.is_empty() {
        notes.push(format!("Faults on the way: {}.", report.faults));
    }
    if report.server.as_ref().is_some_and(|it| it.ended) {
        notes.push("The server's process ended during the run.".to_owned());
    }
    if let Some(far) = report.far_side.filter(|it| it.silent > 0) {
        let silent = far.silent;
        notes.push(format!(
            "The LAN host did not answer {silent} sessions: their packets are not in its counts."
        ));
    }
    if let Some(far) = report.far_side.filter(|it| it.down_missed > 0) {
        let missed = far.down_missed;
        notes.push(format!(
            "The LAN host was a limit: it left out {missed} packets that were due."
        ));
    }
    if let Some(far) = report.far_side.filter(|it| it.socket_drops > 0) {
        let drops = far.socket_drops;
        notes.push(format!(
            "The LAN host was a limit: its socket had no room for {drops} packets, which count as lost up."
        ));
    }
    if notes.is_empty() {
        return;
    }
    html.push_str("<ul class=\"notes\">\n");
    for note in notes {
        let _infallible = writeln!(html, "<li>{}</li>", escape(&note));
    }
    html.push_str("</ul>\n");
}

fn figures(html: &mut String, report: &Report) {
    html.push_str("<table>\n<tr><th>Figure</th><th>Value</th></tr>\n");
    for figure in report.figures() {
        let _infallible = writeln!(
            html,
            "<tr><td>{}</td><td>{} {}</td></tr>",
            escape(&figure.name),
            three_digits(figure.value),
            escape(figure.unit)
        );
    }
    html.push_str("</table>\n");
}

/// A line of one value of each interval.
fn over_time(report: &Report, name: &str, value: impl Fn(&Moment) -> f64) -> Line {
    let interval = report.tally.interval_seconds;
    let series = report.tally.series.iter().enumerate();
    Line {
        name: name.to_owned(),
        points: series
            .map(|(index, moment)| (index as f64 * interval, value(moment)))
            .collect(),
    }
}

/// A drawing over the time of the run, with its phases; without the lines in which nothing happened.
fn timeline<'a>(
    report: &Report,
    title: &'a str,
    unit: &'a str,
    scale: Scale<'a>,
    lines: Vec<Line>,
) -> Chart<'a> {
    let phases = report.phases.iter();
    let happened = |line: &Line| line.points.iter().any(|it| it.1 != 0.0);
    Chart {
        title,
        x: Axis {
            label: "seconds since the start",
            scale: Scale::Even,
        },
        y: Axis { label: unit, scale },
        lines: lines.into_iter().filter(happened).collect(),
        marks: phases.map(|it| (it.began, it.name.clone())).collect(),
    }
}

fn throughput(report: &Report) -> Chart<'_> {
    let megabits = 8.0 / 1e6 / report.tally.interval_seconds;
    let lines = vec![
        over_time(report, "sent up", |it| it.up.bytes as f64 * megabits),
        over_time(report, "came down", |it| it.down.bytes as f64 * megabits),
    ];
    timeline(
        report,
        "Throughput of inner packets",
        "Mbit/s",
        Scale::Even,
        lines,
    )
}

fn handshakes(report: &Report) -> Chart<'_> {
    let a_second = 1.0 / report.tally.interval_seconds;
    let lines = vec![
        over_time(report, "succeeded", |it| it.handshakes as f64 * a_second),
        over_time(report, "failed", |it| it.failures as f64 * a_second),
    ];
    timeline(report, "Handshakes", "a second", Scale::Even, lines)
}

fn sessions(report: &Report) -> Chart<'_> {
    let held = over_time(report, "held", |it| it.sessions as f64);
    timeline(report, "Sessions", "", Scale::Even, vec![held])
}

fn round_trips(report: &Report) -> Chart<'_> {
    let mean = |it: &Moment| it.round_trip_sum_ns as f64 / it.round_trips as f64 / 1e6;
    let lines = vec![
        over_time(report, "mean", |it| {
            if it.round_trips > 0 {
                mean(it)
            } else {
                f64::NAN
            }
        }),
        over_time(report, "worst", |it| match it.round_trips {
            0 => f64::NAN,
            _ => it.round_trip_max_ns as f64 / 1e6,
        }),
    ];
    let measured = report.tally.round_trip.count() > 0;
    let lines = if measured { lines } else { Vec::new() };
    timeline(
        report,
        "Round trips over time",
        "ms",
        Scale::Logarithmic,
        lines,
    )
}

fn percentiles(report: &Report) -> Chart<'_> {
    let tally = &report.tally;
    let lines = [
        ("round trip", &tally.round_trip),
        ("handshake", &tally.handshake),
        ("first packet", &tally.first_packet),
        ("lateness of the generator's sends", &tally.lateness),
    ];
    Chart {
        title: "Latency by percentile",
        x: Axis {
            label: "percentile",
            scale: Scale::Named(&["0", "90", "99", "99.9", "99.99"]),
        },
        y: Axis {
            label: "ms",
            scale: Scale::Logarithmic,
        },
        lines: lines
            .into_iter()
            .filter(|(_, durations)| durations.count() > 0)
            .map(|(name, durations)| Line {
                name: name.to_owned(),
                points: curve(durations),
            })
            .collect(),
        marks: Vec::new(),
    }
}

/// Each further 1 is a tenth of those that are left: 1 is p90, 2 is p99. As far as there are enough for it.
fn curve(durations: &Durations) -> Vec<(f64, f64)> {
    let end = (durations.count() as f64).log10().min(4.0);
    let steps = (end * STEPS).floor() as u32;
    let places = (0..=steps).map(|step| f64::from(step) / STEPS);
    let points = places.filter_map(|place| {
        let nanos = durations.quantile(1.0 - 10_f64.powf(-place))?;
        Some((place, nanos as f64 / 1e6))
    });
    points.collect()
}

fn cores(report: &Report) -> Chart<'_> {
    let mut lines = Vec::new();
    for own in &report.own {
        let shares = own.shares.iter().enumerate();
        lines.push(Line {
            name: format!("generator, core {}", own.core),
            points: shares
                .map(|(index, share)| (index as f64 * report.tally.interval_seconds, share * 100.0))
                .collect(),
        });
    }
    if let Some(server) = &report.server {
        lines.push(Line {
            name: format!("process {} {}", server.pid, server.name),
            points: server
                .samples
                .iter()
                .map(|it| (it.at_seconds, it.process * 100.0))
                .collect(),
        });
        for (index, core) in server.cores.iter().enumerate() {
            let samples = server.samples.iter();
            lines.push(Line {
                name: format!("server's core {}, whatever it does", core.core),
                points: samples
                    .filter_map(|it| Some((it.at_seconds, it.cores.get(index)? * 100.0)))
                    .collect(),
            });
        }
    }
    timeline(report, "Use of cores", "% of a core", Scale::Even, lines)
}

fn memory(report: &Report) -> Chart<'_> {
    let samples = report.server.iter().flat_map(|it| &it.samples);
    let line = Line {
        name: "resident".to_owned(),
        points: samples
            .map(|it| (it.at_seconds, it.resident_bytes as f64 / 1024.0 / 1024.0))
            .collect(),
    };
    timeline(
        report,
        "Memory of the server's process",
        "MiB",
        Scale::Even,
        vec![line],
    )
}

fn reasons(html: &mut String, title: &str, counts: &BTreeMap<Cow<'static, str>, u64>) {
    if counts.is_empty() {
        return;
    }
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let _infallible = writeln!(
        html,
        "<h2>{}</h2>\n<table>\n<tr><th>Reason</th><th>Count</th></tr>",
        escape(title)
    );
    for (reason, count) in counts {
        let _infallible = writeln!(html, "<tr><td>{}</td><td>{count}</td></tr>", escape(reason));
    }
    html.push_str("</table>\n");
}

fn plan(html: &mut String, report: &Report) {
    html.push_str("<h2>Plan</h2>\n<table>\n<tr><th>Phase</th><th>Length</th><th>Sessions</th><th>Scenarios</th></tr>\n");
    for phase in &report.plan.phases {
        let scenarios: Vec<String> = phase.run.iter().map(ToString::to_string).collect();
        let _infallible = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&phase.name),
            phase.duration,
            phase.sessions,
            escape(&scenarios.join(" + "))
        );
    }
    html.push_str("</table>\n");
}

/// Points of a curve between two names of its axis.
const STEPS: f64 = 25.0;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>loadgen</title>
<style>
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60666e; --rule: #dde1e6; --paper: #ffffff;
  --c0: #1f6fd1; --c1: #d1621f; --c2: #2b8a4b; --c3: #a03bb5; --c4: #b8860b; --c5: #c2185b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa3ad; --rule: #333a42; --paper: #15181c;
  --c0: #6aa9ff; --c1: #ff9a5c; --c2: #69c98a; --c3: #d58be6; --c4: #e3bd5b; --c5: #ff7aa8; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 16px; }
h1 { font-size: 22px; } h2 { font-size: 17px; }
code { overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 8px 0 20px; }
td, th { border-bottom: 1px solid var(--rule); padding: 3px 18px 3px 0; text-align: left; }
td:nth-child(2) { font-variant-numeric: tabular-nums; }
.notes { border-left: 4px solid var(--c1); padding: 6px 6px 6px 28px; }
figure { margin: 0 0 26px; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; }
.grid { stroke: var(--rule); } .mark { stroke: var(--soft); stroke-dasharray: 4 4; }
.tick, .label { fill: var(--soft); font-size: 12px; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 2px 0; }
.legend li::before { content: ""; display: inline-block; width: 14px; height: 3px; margin: 0 6px 4px 0;
  background: currentColor; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
.legend .c0 { color: var(--c0); } .legend .c1 { color: var(--c1); } .legend .c2 { color: var(--c2); }
.legend .c3 { color: var(--c3); } .legend .c4 { color: var(--c4); } .legend .c5 { color: var(--c5); }
</style></head>
<body><main>
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Tally;
    use crate::result::testing::sample;
    use crate::server_process::Sample;

    /// Reads all of it as XML, and gives back its text and how many elements of each name it has.
    fn parse(html: &str) -> (String, BTreeMap<String, usize>) {
        let xml = html.strip_prefix("<!DOCTYPE html>\n").unwrap();
        let document = roxmltree::Document::parse(xml).unwrap();
        let (mut text, mut elements) = (String::new(), BTreeMap::new());
        for node in document.descendants() {
            if node.is_text() {
                text.push_str(node.text().unwrap());
            } else if node.is_element() {
                *elements
                    .entry(node.tag_name().name().to_owned())
                    .or_insert(0) += 1;
            }
        }
        (text, elements)
    }

    #[test]
    fn the_page_is_well_formed_and_has_the_figures() {
        let mut report = sample();
        report.server.as_mut().unwrap().samples = vec![
            Sample {
                at_seconds: 1.0,
                process: 0.5,
                cores: vec![0.75],
                resident_bytes: 12 << 20,
            };
            3
        ];
        report.limits = vec!["<b>core</b> full".to_owned()];
        let (text, elements) = parse(&page(&report));
        for expected in [
            "Load of 192.0.2.1:1194",
            "loadgen --scenario 'a&b' <x>",
            "10 sessions on lab, A <fast> one, 2 cores, Linux 6.18",
            "commit abcdef0; seed 7",
            "The generator itself was the limit: <b>core</b> full.",
            "server refused <the login> & \"more\"",
            "bidirectional:size=1400 + latency:rate=100,size=64",
            "10.9 Mbit/s",
            "Throughput of inner packets",
            "server's core 0, whatever it does",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        for figure in report.figures() {
            assert!(text.contains(&figure.name), "{}", figure.name);
        }
        assert_eq!(elements["svg"], 7);
        assert_eq!(elements.get("script"), None);
        assert_eq!(elements.get("b"), None);
        assert_eq!(elements["polyline"], 2 + 3 + 3 + 2 + 3 + 1);
    }

    #[test]
    fn nothing_is_fetched() {
        let html = page(&sample());
        let without_name = html.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http", "src=", "url(", "@import", "<link", "<script", "href",
        ] {
            assert!(!without_name.contains(word), "{word}");
        }
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_a_page() {
        let mut report = sample();
        report.tally = Tally::new(std::time::Duration::from_secs(1));
        report.own.clear();
        report.server = None;
        report.far_side = None;
        report.started = f64::MAX;
        report.ending = Ending::Failed("no answer from <server>".to_owned());
        let (text, elements) = parse(&page(&report));
        assert!(text.contains("It ended before its time: no answer from <server>"));
        assert_eq!(elements.get("svg"), None);
    }

    #[test]
    fn a_curve_goes_as_far_as_there_are_values_for_it() {
        let mut durations = Durations::new();
        (1..=100).for_each(|it| durations.record(it * 1_000_000));
        let points = curve(&durations);
        let (place, millis) = *points.last().unwrap();
        assert_eq!(place, 2.0);
        assert!((millis - 99.0).abs() < 0.5, "{millis}");
        let (place, millis) = points[25];
        assert_eq!(place, 1.0);
        assert!((millis - 90.0).abs() < 0.5, "{millis}");
        assert_eq!(curve(&Durations::new()), []);
    }
}
