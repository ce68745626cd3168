//! Where cores wait for one another: a phase begins on all of them at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadgen::plan::Plan;
use loadgen::result::PhaseTime;
use ringway::time::Monotonic;

/// A gate before each phase.
#[derive(Debug)]
pub(super) struct Gates {
    gates: Vec<Gate>,
    cores: usize,
}

#[derive(Debug, Default)]
struct Gate {
    /// Cores that are ready.
    ready: AtomicUsize,
    begun: OnceLock<Monotonic>,
    /// Cores that have nothing left to do in the phase.
    done: AtomicUsize,
    /// When the last of them was done, before the phase's time was over.
    ended: OnceLock<Monotonic>,
}

impl Gates {
    pub(super) fn new(phases: usize, cores: usize) -> Self {
        Self {
            gates: std::iter::repeat_with(Gate::default).take(phases).collect(),
            cores,
        }
    }

    /// A core has what the phase begins with; each says so once.
    pub(super) fn filled(&self, phase: usize) {
        if let Some(gate) = self.gates.get(phase) {
            gate.ready.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// When the phase begins, once all cores are ready: so much later that all have seen it.
    pub(super) fn begin(&self, phase: usize, now: Monotonic) -> Option<Monotonic> {
        let gate = self.gates.get(phase)?;
        if gate.ready.load(Ordering::Acquire) < self.cores {
            return None;
        }
        Some(*gate.begun.get_or_init(|| now + NOTICE))
    }

    /// A core has nothing left to do in the phase; each says so once.
    pub(super) fn done(&self, phase: usize) {
        if let Some(gate) = self.gates.get(phase) {
            gate.done.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether no core has anything left to do in the phase.
    pub(super) fn is_over(&self, phase: usize, now: Monotonic) -> bool {
        let Some(gate) = self.gates.get(phase) else {
            return true;
        };
        let over = gate.done.load(Ordering::Acquire) >= self.cores;
        if over {
            gate.ended.get_or_init(|| now);
        }
        over
    }

    /// When the phases of a plan were, as far as they began, in a run from `begin` to `end`.
    pub(super) fn phases(&self, plan: &Plan, begin: Monotonic, end: Monotonic) -> Vec<PhaseTime> {
        let begun = plan.phases.iter().zip(&self.gates);
        begun
            .filter_map(|(phase, gate)| {
                let began = *gate.begun.get()?;
                let end = gate.ended.get().copied().unwrap_or(end);
                let length = phase.duration.duration().min(end.since(began));
                Some(PhaseTime {
                    name: phase.name.clone(),
                    began: began.since(begin).as_secs_f64(),
                    seconds: length.as_secs_f64(),
                })
            })
            .collect()
    }
}

/// Longer than any core sleeps.
const NOTICE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_when_the_last_core_is_ready_and_for_all_at_once() {
        let gates = Gates::new(2, 2);
        let [first, second, third] =
            [1, 2, 3].map(|nanos| Monotonic::from_nanos(nanos * 1_000_000_000));
        assert_eq!(gates.begin(0, first), None);
        gates.filled(0);
        assert_eq!(gates.begin(0, first), None);
        gates.filled(0);
        assert_eq!(gates.begin(0, second), Some(second + NOTICE));
        assert_eq!(gates.begin(0, third), Some(second + NOTICE));
        assert_eq!((gates.begin(1, third), gates.begin(2, third)), (None, None));

        let length = "10s".parse().unwrap();
        let plan = Plan::from_words("idle", 1, length).unwrap();
        let phases = gates.phases(&plan, first, third + NOTICE);
        assert_eq!(phases.len(), 1);
        assert_eq!((phases[0].began, phases[0].seconds), (1.1, 1.0));
    }

    #[test]
    fn a_phase_is_over_when_the_last_core_has_nothing_left_to_do() {
        let gates = Gates::new(1, 2);
        let [first, second, third] =
            [1, 2, 5].map(|nanos| Monotonic::from_nanos(nanos * 1_000_000_000));
        gates.filled(0);
        gates.filled(0);
        gates.begin(0, first);
        gates.done(0);
        assert!(!gates.is_over(0, first));
        gates.done(0);
        assert!(gates.is_over(0, second) && gates.is_over(0, third));
        let plan = Plan::from_words("storm", 1, "10s".parse().unwrap()).unwrap();
        let phases = gates.phases(&plan, first, third);
        assert!((phases[0].seconds - 0.9).abs() < 1e-9, "{phases:?}");
    }
}
