//! Ctrl-C and SIGTERM: every wait looks for them, so that all that was made is taken down in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// Whether somebody wants the comparison to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on the two signals are remembered here and do nothing else.
    pub(super) fn catch() -> Result<Self, Failure> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.asked))
                .map_err(|source| Failure::system("catching signals", source))?;
        }
        Ok(interrupt)
    }

    /// Fails once a signal has come.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.asked.load(Ordering::Relaxed) {
            true => Err(Failure::Interrupted),
            false => Ok(()),
        }
    }

    /// Sleeps, unless a signal comes.
    pub(super) fn sleep(&self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TURN));
        }
    }
}

const TURN: Duration = Duration::from_millis(50);
