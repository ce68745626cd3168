//! A report in a few lines, for who has just made it.

use std::fmt::Write as _;

use crate::result::{Ending, Report, three_digits};

/// How it ended, its figures in columns, why sessions failed, and what limits what was measured.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = match &report.ending {
        Ending::Complete => writeln!(text, "done in {:.1} s", report.seconds),
        Ending::Interrupted => writeln!(text, "interrupted after {:.1} s", report.seconds),
        Ending::Failed(why) => writeln!(text, "ended after {:.1} s: {why}", report.seconds),
    };
    let figures = report.figures();
    let width = figures.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for figure in &figures {
        let value = three_digits(figure.value);
        let line = format!("  {:width$} {value:>10} {}", figure.name, figure.unit);
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    for (what, counts) in [
        ("sessions failed", &report.tally.failures),
        ("packets dropped", &report.tally.drops),
    ] {
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in counts {
            let _infallible = writeln!(text, "{what}: {count} {}", printable(reason));
        }
    }
    if let Some(far) = report.far_side.filter(|it| it.silent > 0) {
        let silent = far.silent;
        let _infallible = writeln!(text, "the LAN host did not answer {silent} sessions");
    }
    if let Some(far) = report.far_side.filter(|it| it.down_missed > 0) {
        let missed = far.down_missed;
        let _infallible = writeln!(
            text,
            "LIMIT: the LAN host left out {missed} packets that were due"
        );
    }
    if let Some(far) = report.far_side.filter(|it| it.socket_drops > 0) {
        let drops = far.socket_drops;
        let _infallible = writeln!(
            text,
            "LIMIT: the LAN host's socket had no room for {drops} packets: they count as lost up"
        );
    }
    if report.server.as_ref().is_some_and(|it| it.ended) {
        text.push_str("the server's process ended during the run\n");
    }
    for limit in &report.limits {
        let _infallible = writeln!(text, "LIMIT: the generator itself: {limit}");
    }
    text
}

/// Reasons can be a server's words, and a terminal obeys what it reads.
fn printable(text: &str) -> String {
    let shown = text
        .chars()
        .map(|it| if it.is_control() { '\u{fffd}' } else { it });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::testing::sample;

    #[test]
    fn a_run_in_a_few_lines() {
        let mut report = sample();
        report.tally.failed(0, "AUTH_FAILED: \u{1b}[2J");
        report.tally.failed(0, "AUTH_FAILED: \u{1b}[2J");
        report.tally.dropped("replay");
        let far = report.far_side.as_mut().unwrap();
        (far.silent, far.down_missed, far.socket_drops) = (3, 4, 5);
        report.server.as_mut().unwrap().ended = true;
        report.limits = vec!["full".to_owned()];
        let text = summary(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "done in 4.0 s");
        let handshakes = "  handshakes                         2.50 /s";
        assert!(lines.contains(&handshakes), "{text}");
        let tail = [
            "sessions failed: 2 AUTH_FAILED: \u{fffd}[2J",
            "sessions failed: 1 server refused <the login> & \"more\"",
            "packets dropped: 1 replay",
            "the LAN host did not answer 3 sessions",
            "LIMIT: the LAN host left out 4 packets that were due",
            "LIMIT: the LAN host's socket had no room for 5 packets: they count as lost up",
            "the server's process ended during the run",
            "LIMIT: the generator itself: full",
        ];
        assert_eq!(lines[lines.len() - tail.len()..], tail);
        assert_eq!(lines.len(), 1 + report.figures().len() + tail.len());
    }

    #[test]
    fn each_ending_has_its_line() {
        let mut report = sample();
        report.ending = Ending::Interrupted;
        assert!(summary(&report).starts_with("interrupted after 4.0 s\n"));
        report.ending = Ending::Failed("no server".to_owned());
        assert!(summary(&report).starts_with("ended after 4.0 s: no server\n"));
    }
}
