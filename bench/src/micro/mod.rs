//! `bench micro`: the parts of the data path alone, on one core.

mod data_path;

use std::num::NonZeroUsize;

use crate::failure::Failure;

/// How much is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MicroOptions {
    /// Rounds, of which the least, the middle and the greatest are shown.
    #[arg(long, default_value = "15")]
    rounds: NonZeroUsize,
    /// Packets in a round.
    #[arg(long, default_value = "100000")]
    packets: NonZeroUsize,
}

/// Measures and prints.
pub(crate) fn run(options: &MicroOptions) -> Result<(), Failure> {
    data_path::print(options.rounds.get(), options.packets.get()).map_err(Failure::Impossible)
}
