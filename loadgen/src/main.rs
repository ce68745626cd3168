//! Thousands of OpenVPN clients from one process, for any server.
//!
//! `loadgen --config client.ovpn` reads an ordinary client profile; every session is a full client,
//! made of the library's own session and data path. `loadgen lan` is the far side, behind the server.
//!
//! Under the name `ringway` it is ringway: its tests need a server of the very code that they test.

mod crowd;
mod descriptors;
mod engine;
mod failure;
mod options;
mod profile;
mod run;

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use loadgen::compare::compare;
use loadgen::html::page;
use loadgen::lan::{self, LanOptions};
use loadgen::merge::merge;
use loadgen::result::Report;
use loadgen::table::Measurements;

use self::failure::Failure;
use self::options::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Thousands of OpenVPN clients from one process, for any server.
#[derive(Debug, Parser)]
#[command(name = "loadgen", args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    load: Option<Options>,
    #[command(subcommand)]
    other: Option<Other>,
}

/// What else there is to do than to make load.
#[derive(Debug, Subcommand)]
enum Other {
    /// Count, echo and generate traffic on the LAN host behind the server
    Lan(LanOptions),
    /// Print the ratios of two reports as a Markdown table
    Compare {
        /// The report that is divided by
        a: PathBuf,
        /// The report that is divided
        b: PathBuf,
    },
    /// Make one report of those of several generators that loaded a server together
    Merge {
        /// Reports of disjoint sessions
        #[arg(required = true)]
        reports: Vec<PathBuf>,
        /// Where to write it; else it is printed
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the figures of all measurements that bench/load has left in a directory, as Markdown tables
    Table {
        /// The directory
        directory: PathBuf,
        /// The server that the others are divided by
        #[arg(long, value_name = "NAME", default_value = "openvpn")]
        against: String,
    },
    /// Draw a report as a page that stands alone
    Html {
        /// The report
        report: PathBuf,
        /// Where to write the page; else it is printed
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if is_called("ringway") {
        return ringway::cli::main();
    }
    let done = match CommandLine::parse() {
        CommandLine {
            other: Some(other), ..
        } => do_other(&other),
        CommandLine {
            load: Some(load), ..
        } => run::run(&load),
        // clap shows the help instead.
        CommandLine { .. } => Ok(ExitCode::FAILURE),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("loadgen: {failure}");
        ExitCode::FAILURE
    })
}

fn is_called(name: &str) -> bool {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program)
        .file_name()
        .is_some_and(|found| found == name)
}

fn do_other(other: &Other) -> Result<ExitCode, Failure> {
    match other {
        Other::Lan(options) => lan::run(options, &signals()?)?,
        Other::Compare { a, b } => {
            let (a, b) = (Report::read(a)?, Report::read(b)?);
            print(None, &compare(&a, &b))?;
        }
        Other::Merge { reports, output } => {
            let reports: Result<_, _> = reports.iter().map(|it| Report::read(it)).collect();
            let merged = merge(reports?)?;
            print(output.as_deref(), &merged.to_json())?;
        }
        Other::Table { directory, against } => {
            print(None, &Measurements::read(directory)?.table(against))?;
        }
        Other::Html { report, output } => {
            print(output.as_deref(), &page(&Report::read(report)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to a file, or to standard output if there is none.
pub(crate) fn print(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    let (path, done) = match file {
        Some(path) => (path, fs::write(path, text)),
        None => (
            Path::new("standard output"),
            stdout().write_all(text.as_bytes()),
        ),
    };
    done.map_err(|source| Failure::Output {
        path: path.to_owned(),
        source,
    })
}

/// Set by Ctrl-C and SIGTERM.
pub(crate) fn signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::Signals)?;
    }
    Ok(stop)
}
