//! What a run measures: a [`Tally`] for each core while it lasts, and a [`Report`] of all at its end.

mod durations;
mod figures;
mod machine;
mod own_use;
mod report;
mod tally;

pub use durations::Durations;
pub use figures::{Better, Figure, three_digits};
pub use machine::{Machine, unix_seconds};
pub use own_use::{OwnCore, limits};
pub use report::{Ending, FarSide, PhaseTime, Report, ReportFault, SessionNumbers};
pub use tally::{Moment, Tally, Traffic};

#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::report::tests::sample;
}
