//! CLOCK_MONOTONIC, which all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine was started.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither part is negative since the machine was started.
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_time() {
        let before = monotonic_nanos();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(monotonic_nanos() - before >= 2_000_000);
    }
}
