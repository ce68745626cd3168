//! What the generator itself uses: it tells when it is the limit.

use std::time::Duration;

use loadgen::result::OwnCore;
use ringway::time::Monotonic;
use rustix::time::{ClockId, clock_gettime};

/// Processor time of the thread that has it.
#[derive(Debug)]
pub(super) struct OwnTime {
    core: usize,
    began: Duration,
    last: Duration,
    since: Monotonic,
    shares: Vec<f64>,
}

impl OwnTime {
    pub(super) fn new(core: usize, now: Monotonic) -> Self {
        let used = used();
        Self {
            core,
            began: used,
            last: used,
            since: now,
            shares: Vec::new(),
        }
    }

    /// Looks at it once in an interval; true then.
    pub(super) fn look(&mut self, now: Monotonic) -> bool {
        let passed = now.since(self.since);
        if passed < INTERVAL {
            return false;
        }
        let used = used();
        let share = (used - self.last).as_secs_f64() / passed.as_secs_f64();
        self.shares.push(share);
        (self.last, self.since) = (used, now);
        true
    }

    /// All of it. What is left of the last interval counts if it is long enough to tell.
    pub(super) fn finish(mut self, now: Monotonic) -> OwnCore {
        let passed = now.since(self.since);
        if passed > INTERVAL / 2 {
            let share = (used() - self.last).as_secs_f64() / passed.as_secs_f64();
            self.shares.push(share);
        }
        OwnCore {
            core: self.core,
            cpu_seconds: (used() - self.began).as_secs_f64(),
            shares: self.shares,
        }
    }
}

fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_one_that_waits_does_not() {
        let start = Monotonic::from_nanos(0);
        let mut own = OwnTime::new(3, start);
        assert!(!own.look(start + INTERVAL / 2));
        let before = used();
        while used() - before < Duration::from_millis(20) {}
        assert!(own.look(start + INTERVAL));
        assert!(own.look(start + INTERVAL * 2));
        let end = own.finish(start + INTERVAL * 2);
        assert_eq!((end.core, end.shares.len()), (3, 2));
        assert!(end.shares[0] >= 0.02 && end.cpu_seconds >= 0.02);
        assert!(end.shares[1] < end.shares[0], "{:?}", end.shares);
    }
}
