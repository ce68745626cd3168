//! What one sees while a run lasts: a bar and a line of figures in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::result::{Moment, Traffic, three_digits};

/// The view of a run. It writes to standard error, so that results can go elsewhere.
#[derive(Debug)]
pub struct Live {
    bar: Option<ProgressBar>,
    /// Between two plain lines.
    every: u64,
    shown: Option<u64>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// What it is doing: the phase's name, or what is between phases.
    pub doing: &'a str,
    /// Since the run began.
    pub elapsed: Duration,
    /// Established sessions now.
    pub sessions: u64,
    /// How many there should be.
    pub wanted: u64,
    /// Failures since the run began.
    pub failures: u64,
    /// What happened in the last whole interval.
    pub last: Moment,
    /// How long that interval was, in seconds.
    pub seconds: f64,
}

impl Live {
    /// The view of a run that lasts `expected`; `quiet` shows nothing.
    pub fn new(expected: Duration, quiet: bool) -> Self {
        let terminal = stderr().is_terminal() && !quiet;
        Self {
            bar: terminal.then(|| bar(expected)),
            every: if quiet { u64::MAX } else { PLAIN_EVERY },
            shown: None,
        }
    }

    /// Shows where the run is; call it about once a second.
    pub fn show(&mut self, progress: &Progress<'_>) {
        let line = progress.line();
        if let Some(bar) = &self.bar {
            bar.set_position(progress.elapsed.as_millis() as u64);
            bar.set_message(line);
            return;
        }
        let seconds = progress.elapsed.as_secs();
        if self.is_due(seconds) {
            eprintln!("{seconds:>6} s  {line}");
        }
    }

    /// Takes the bar away: the result is to stand there.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    /// True once in each stretch of `every` seconds.
    fn is_due(&mut self, seconds: u64) -> bool {
        let stretch = Some(seconds / self.every);
        let due = self.shown != stretch && self.every != u64::MAX;
        self.shown = stretch;
        due
    }
}

impl Progress<'_> {
    fn line(&self) -> String {
        let mut parts = vec![printable(self.doing)];
        parts.push(format!("{} of {} sessions", self.sessions, self.wanted));
        let rate = |count: u64| three_digits(count as f64 / self.seconds.max(f64::MIN_POSITIVE));
        if self.last.handshakes > 0 {
            parts.push(format!("{} handshakes/s", rate(self.last.handshakes)));
        }
        for (way, Traffic { packets, bytes }) in [("up", self.last.up), ("down", self.last.down)] {
            if packets > 0 {
                let megabits = bytes as f64 * 8.0 / 1e6 / self.seconds.max(f64::MIN_POSITIVE);
                let megabits = three_digits(megabits);
                parts.push(format!(
                    "{way} {megabits} Mbit/s, {} packets/s",
                    rate(packets)
                ));
            }
        }
        if self.last.round_trips > 0 {
            let mean = self.last.round_trip_sum_ns as f64 / self.last.round_trips as f64 / 1e6;
            let worst = self.last.round_trip_max_ns as f64 / 1e6;
            let [mean, worst] = [mean, worst].map(three_digits);
            parts.push(format!("round trip {mean} ms, at most {worst}"));
        }
        if self.failures > 0 {
            parts.push(format!("{} failed", self.failures));
        }
        parts.join(" | ")
    }
}

/// Phases are named in a file, and a terminal obeys what it reads.
fn printable(name: &str) -> String {
    let name = name.chars().take(NAME_SHOWN);
    name.map(|it| if it.is_control() { '\u{fffd}' } else { it })
        .collect()
}

fn bar(expected: Duration) -> ProgressBar {
    let length = expected.as_millis() as u64;
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    // A constant that is a template; without it the bar has its own look.
    if let Ok(style) =
        ProgressStyle::with_template("{elapsed_precise} {bar:24} {percent:>3} % {wide_msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// Characters of a phase's name.
const NAME_SHOWN: usize = 40;
/// Seconds between two lines where there is no terminal.
const PLAIN_EVERY: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(last: Moment) -> Progress<'static> {
        Progress {
            doing: "busy \u{1b}[2J",
            elapsed: Duration::from_secs(3),
            sessions: 10,
            wanted: 12,
            failures: 0,
            last,
            seconds: 2.0,
        }
    }

    #[test]
    fn a_line_has_what_happened() {
        assert_eq!(
            progress(Moment::default()).line(),
            "busy \u{fffd}[2J | 10 of 12 sessions"
        );
        let last = Moment {
            handshakes: 5,
            up: Traffic {
                packets: 2000,
                bytes: 2_500_000,
            },
            round_trips: 4,
            round_trip_sum_ns: 8_000_000,
            round_trip_max_ns: 3_500_000,
            ..Moment::default()
        };
        let mut progress = progress(last);
        progress.failures = 7;
        progress.doing = "storm";
        let expected = "storm | 10 of 12 sessions | 2.50 handshakes/s | up 10.0 Mbit/s, 1000 packets/s | \
                        round trip 2.00 ms, at most 3.50 | 7 failed";
        assert_eq!(progress.line(), expected);
    }

    #[test]
    fn plain_lines_come_every_few_seconds_and_quiet_ones_never() {
        let live = |every| Live {
            bar: None,
            every,
            shown: None,
        };
        let due = |mut live: Live| -> Vec<u64> { (0..12).filter(|it| live.is_due(*it)).collect() };
        assert_eq!(due(live(5)), [0, 5, 10]);
        assert_eq!(due(live(u64::MAX)), [0; 0]);
        let quiet = Live::new(Duration::from_secs(1), true);
        assert!(quiet.bar.is_none());
        assert_eq!(due(quiet), [0; 0]);
    }
}
