//! Where and with what a run was made.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a figure carries with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// The model of the processor.
    pub processor: String,
    /// How many cores the machine has.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the last minute when the run began: a machine at rest has nearly none.
    pub load: Option<f64>,
    /// The commit of the generator's sources, if they are still where it was built.
    pub commit: Option<String>,
}

impl Machine {
    /// This one, now.
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let value_of = |line: &str| line.split_once(": ").map(|(_, value)| value.to_owned());
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor"));
        let load = read("/proc/loadavg");
        Self {
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            processor: model
                .and_then(value_of)
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: processors.count(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load: load.split(' ').next().and_then(|word| word.parse().ok()),
            commit: commit(),
        }
    }
}

/// Seconds since 1970, for the moment at which a run began.
pub fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn commit() -> Option<String> {
    // Asked for on a stretch of files that belong to somebody else, git refuses.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "describe", "--always", "--dirty"])
        .args(["--abbrev=7", "--exclude=*"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::look();
        assert!(machine.processors > 0 && !machine.processor.is_empty());
        assert!(machine.kernel.len() > "Linux ".len(), "{machine:?}");
        assert!(machine.load.is_some_and(|load| load >= 0.0));
        // 2020 is over.
        assert!(unix_seconds() > 1.6e9);
    }
}
