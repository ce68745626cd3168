//! Thousands of OpenVPN clients from one process, for any server.
//!
//! `loadgen --config client.ovpn` reads an ordinary client profile; every session is a full client,
//! made of the library's own session and data path.

mod failure;
mod options;
mod profile;

use std::process::ExitCode;

use clap::Parser;

use self::options::Options;
use self::profile::Profile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), failure::Failure> {
    let profile = Profile::read(&options.config)?;
    println!("{}: {profile}", options.config.display());
    Ok(())
}
