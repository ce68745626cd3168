//! What happened in a run, for who wants to know why it failed.

use std::collections::VecDeque;
use std::fmt::Arguments;

use ringway::time::Monotonic;

/// The last lines of a run that is told; nothing of others, which costs nothing.
pub(crate) struct Trace {
    lines: Option<VecDeque<String>>,
    start: Monotonic,
}

impl Trace {
    pub(crate) fn new(told: bool, start: Monotonic) -> Self {
        let lines = told.then(VecDeque::new);
        Self { lines, start }
    }

    pub(crate) fn note(&mut self, now: Monotonic, line: Arguments<'_>) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES {
            lines.pop_front();
        }
        let at = now.since(self.start).as_secs_f64();
        lines.push_back(format!("{at:>10.6} {line}"));
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for line in self.lines.iter().flatten() {
            eprintln!("{line}");
        }
    }
}

/// Enough for some ten simulated seconds.
const LINES: usize = 5_000;
