//! Measurements of ringway.
//!
//! - `bench compare`: beside its peers, through the kernel, in network namespaces
//! - `bench handshake`: a TLS handshake at the server, by the library alone
//! - `bench micro`: the parts of the data path alone, on one core
//! - `bench peers`: what is installed to compare with, and how to install the rest
//!
//! Under the name `ringway` it is ringway: a comparison runs the very code that it was built with.

mod compare;
mod failure;
mod handshake;
mod micro;
mod peers;
mod spread;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measurements of ringway.
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Command {
    /// Measure ringway beside its peers; needs root.
    Compare(compare::CompareOptions),
    /// Measure what a TLS handshake costs a server.
    Handshake(handshake::HandshakeOptions),
    /// Measure the parts of the data path alone.
    Micro(micro::MicroOptions),
    /// Say what is installed to compare with, and how to install the rest.
    Peers,
}

fn main() -> ExitCode {
    if is_called("ringway") {
        return ringway::cli::main();
    }
    let done = match Command::parse() {
        Command::Compare(options) => compare::run(&options),
        Command::Handshake(options) => handshake::run(&options),
        Command::Micro(options) => micro::run(&options),
        Command::Peers => {
            peers::print();
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn is_called(name: &str) -> bool {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program)
        .file_name()
        .is_some_and(|found| found == name)
}
