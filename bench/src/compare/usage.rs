//! Processor time: what a core was not idle for, and what a process used.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

use crate::failure::Failure;

/// Processor time up to a moment, or between two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// The core was not idle: programs, the kernel for them, interrupts. Without what the hypervisor took.
    pub(super) core: Duration,
    /// The process itself, all its threads, in user space and in the kernel.
    pub(super) process: Option<Duration>,
}

impl Usage {
    /// Up to now.
    pub(super) fn read(core: usize, process: Option<u32>) -> Result<Self, Failure> {
        let stat = |path: String| {
            fs::read_to_string(&path).map_err(|source| Failure::file(path.clone(), source))
        };
        let cores = stat("/proc/stat".to_owned())?;
        let process = process
            .map(|pid| stat(format!("/proc/{pid}/stat")))
            .transpose()?;
        Ok(Self {
            core: of_core(&cores, core).ok_or_else(|| unexpected(&cores))?,
            process: process
                .map(|text| of_process(&text).ok_or_else(|| unexpected(&text)))
                .transpose()?,
        })
    }

    /// What was used since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let both = self.process.zip(earlier.process);
        Self {
            core: self.core.saturating_sub(earlier.core),
            process: both.map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// A line `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`; the last two are
/// part of the first two.
fn of_core(stat: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core}");
    let mut words = stat
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next() == Some(&name)).then_some(words))?;
    let mut next = || words.next()?.parse::<u64>().ok();
    let [user, nice, system, _idle, _iowait, irq, softirq] = [
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
    ];
    Some(ticks(user + nice + system + irq + softirq))
}

/// Fields 14 and 15 of /proc/PID/stat; the second field is a name in parentheses that may hold anything.
fn of_process(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(ticks(next()? + next()?))
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / clock_ticks_per_second() as f64)
}

fn unexpected(said: &str) -> Failure {
    Failure::Unexpected {
        tool: "/proc",
        said: said.lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_with_all_but_idling_waiting_and_what_was_stolen() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\n\
                    cpu0 9 9 9 9 9 9 9 9 0 0\n\
                    cpu1 100 20 3000 77 88 400 50000 99 55 66\n\
                    intr 1 2 3\n";
        assert_eq!(of_core(stat, 1), Some(ticks(53_520)));
        assert_eq!(of_core(stat, 2), None);
    }

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "17 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 300 25 7 8 20 0 3";
        assert_eq!(of_process(stat), Some(ticks(325)));
        assert_eq!(of_process("17 (a"), None);
    }

    #[test]
    fn this_process_uses_its_core() {
        let pid = Some(std::process::id());
        let before = Usage::read(0, pid).unwrap();
        let mut sum = 0_u64;
        while Usage::read(0, pid).unwrap().since(&before).process == Some(Duration::ZERO) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.core > Duration::ZERO);
    }
}
