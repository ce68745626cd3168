//! Thousands of OpenVPN clients from one process, for any server.
//!
//! `loadgen --config client.ovpn` reads an ordinary client profile; every session is a full client,
//! made of the library's own session and data path.

mod crowd;
mod descriptors;
mod engine;
mod failure;
mod options;
mod profile;
mod run;

use std::process::ExitCode;

use clap::Parser;

use self::options::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run::run(&Options::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::FAILURE
        }
    }
}
