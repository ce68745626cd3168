//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Thousands of OpenVPN clients from one process, for any server.
#[derive(Debug, Parser)]
#[command(name = "loadgen")]
pub(crate) struct Options {
    /// The client profile, as any OpenVPN client reads it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}
