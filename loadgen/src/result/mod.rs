//! What a run measures: a [`Tally`] for each core while it lasts, and a [`Report`] of all at its end.

mod durations;
mod machine;
mod own_use;
mod report;
mod tally;

pub use durations::Durations;
pub use machine::{Machine, unix_seconds};
pub use own_use::{OwnCore, limits};
pub use report::{Ending, FarSide, PhaseTime, Report, ReportFault, SessionNumbers};
pub use tally::{Moment, Tally, Traffic};
