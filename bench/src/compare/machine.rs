//! Where and of what a comparison was made.

use std::fs;
use std::path::Path;

use rustix::thread::sched_getaffinity;

use super::network::Cores;
use super::process::run;
use crate::failure::Failure;

/// What a figure carries with it.
pub(super) struct Machine {
    pub(super) commit: String,
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) kernel: String,
    /// Load average of the last minute when it began: a machine at rest has nearly none.
    pub(super) load: f64,
}

impl Machine {
    /// This one, now.
    pub(super) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let value_of = |line: &str| line.split_once(": ").map(|(_, value)| value.to_owned());
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor"));
        let load = read("/proc/loadavg");
        Self {
            commit: commit(),
            date: jiff::Zoned::now().date().to_string(),
            processor: format!(
                "{}, {} cores",
                model
                    .and_then(value_of)
                    .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
                processors.count()
            ),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }
}

/// The commit of the sources that this program was built from, if they are still there.
fn commit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    // Asked for on a stretch of files that belong to somebody else, git refuses.
    let git = ["git", "-C", &root, "-c", "safe.directory=*"];
    let describe = [
        "describe",
        "--always",
        "--dirty",
        "--abbrev=7",
        "--exclude=*",
    ];
    run(&[&git[..], &describe[..]].concat())
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The two cores of the comparison: the first two that this process may use, unless others are given.
pub(super) fn cores(given: Option<&[usize]>) -> Result<Cores, Failure> {
    let usable = sched_getaffinity(None)
        .map_err(|error| Failure::system("asking for the usable cores", error))?;
    let all: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|core| usable.is_set(*core))
        .collect();
    let cores = given.unwrap_or(&all);
    match *cores {
        [server, client, ..]
            if server != client && [server, client].iter().all(|core| all.contains(core)) =>
        {
            Ok(Cores { server, client })
        }
        _ => Err(Failure::Impossible(format!(
            "two cores are needed, one for each side; this process may use {all:?}"
        ))),
    }
}
