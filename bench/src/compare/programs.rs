//! The programs of the contenders: which are there, and what is said of those that are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::contender::Contender;
use crate::failure::Failure;
use crate::peers::find;

/// Where each contender's program is, or why it is not.
pub(super) struct Programs {
    found: Vec<(Contender, Result<PathBuf, String>)>,
}

impl Programs {
    /// Looks for the programs of `contenders`. `directory` gets a link by which this program runs as
    /// ringway, unless `given` is to be measured in its place.
    pub(super) fn find(
        contenders: &[Contender],
        given: Option<&Path>,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let mut wanted = contenders.to_vec();
        if wanted.contains(&Contender::StockClient) {
            wanted.extend([Contender::Ringway, Contender::OpenVpn]);
        }
        wanted.sort();
        wanted.dedup();
        let mut found = Vec::new();
        for contender in wanted {
            let path = match contender {
                Contender::NoVpn | Contender::StockClient => continue,
                Contender::Ringway => Ok(match given {
                    Some(given) => given.to_owned(),
                    None => link_to_this(directory)?,
                }),
                Contender::NullCipher => build_null_cipher(),
                Contender::OpenVpn => installed("openvpn"),
                Contender::Wireguard(peer) => {
                    installed("wg").and_then(|_| installed(peer.program()))
                }
            };
            found.push((contender, path));
        }
        Ok(Self { found })
    }

    /// The program of a contender.
    pub(super) fn path(&self, contender: Contender) -> Result<PathBuf, Failure> {
        let found = self.found.iter().find(|(found, _)| *found == contender);
        match found {
            Some((_, Ok(path))) => Ok(path.clone()),
            Some((_, Err(reason))) => Err(Failure::Impossible(reason.clone())),
            None => Err(Failure::Impossible("it was not looked for".to_owned())),
        }
    }

    /// Why a contender can't be measured at all.
    pub(super) fn missing(&self, contender: Contender) -> Option<String> {
        let programs: &[Contender] = match contender {
            Contender::NoVpn => &[],
            Contender::StockClient => &[Contender::Ringway, Contender::OpenVpn],
            _ => &[contender],
        };
        let mut failures = programs.iter().filter_map(|it| self.path(*it).err());
        failures.next().map(|failure| failure.to_string())
    }
}

fn installed(program: &str) -> Result<PathBuf, String> {
    find(program).ok_or_else(|| format!("{program} is not installed: see `bench peers`"))
}

/// This program under the name `ringway`, as which it is ringway: what is measured is what was built
/// together with the measurement.
fn link_to_this(directory: &Path) -> Result<PathBuf, Failure> {
    let this = this_program()?;
    let link = directory.join("ringway");
    std::os::unix::fs::symlink(this, &link).map_err(|source| Failure::file(&link, source))?;
    Ok(link)
}

/// Builds a ringway that copies instead of encrypting, in a target directory of its own.
fn build_null_cipher() -> Result<PathBuf, String> {
    let this = this_program().map_err(|failure| failure.to_string())?;
    let target = this.parent().and_then(Path::parent);
    let target = target.unwrap_or(Path::new("target")).join("null-cipher");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    eprintln!("building ringway with the null cipher; the first time this takes minutes");
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "ringway"])
        .args(["--bin", "ringway", "--features", "bench-null-cipher"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release/ringway")),
        Ok(status) => Err(format!("building it ended with {status}")),
        Err(error) => Err(format!("building it: {error}")),
    }
}

fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|source| Failure::system("finding this program", source))
}
