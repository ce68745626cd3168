//! `bench compare`: ringway beside its peers, in four network namespaces on two cores.
//!
//! Each round brings up one contender after the other and measures all work through it, so that a
//! drift of the machine hits all alike; ratios are taken within a round. Contenders stand in another
//! order in each round.

mod contender;
mod counters;
mod flood;
mod interrupt;
mod iperf;
mod machine;
mod network;
mod process;
mod programs;
mod report;
mod results;
mod round_trip;
mod site;
mod usage;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::contender::{Contender, Tunnel};
use self::interrupt::Interrupt;
use self::machine::Machine;
use self::network::{Link, Network};
use self::programs::Programs;
use self::report::Report;
use self::results::{Key, Results};
use self::work::{Bench, Work};
use crate::failure::Failure;
use crate::peers::find;

/// What is compared, and how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareOptions {
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// These contenders alone, as in no-vpn,ringway,openvpn.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<String>,
    /// This work alone, by the beginnings of its names, as in tcp1,udp64-up,rtt.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    work: Vec<String>,
    /// These kinds of outer link alone.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    link: Vec<Link>,
    /// One round of a second, on the plain link, of the most important work.
    #[arg(long)]
    quick: bool,
    /// The cores of the server's and of the client's side; the first two by default.
    #[arg(
        long,
        value_name = "SERVER,CLIENT",
        value_delimiter = ',',
        num_args = 1
    )]
    cores: Option<Vec<usize>>,
    /// Write the results into this file, as JSON, and not behind the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this ringway, and not the one that was built with this program.
    #[arg(long, value_name = "PROGRAM")]
    ringway: Option<PathBuf>,
}

/// What the options come to.
struct Plan {
    rounds: usize,
    seconds: u64,
    contenders: Vec<Contender>,
    works: Vec<Work>,
    links: Vec<Link>,
}

/// Compares, and prints.
pub(crate) fn run(options: &CompareOptions) -> Result<(), Failure> {
    let plan = Plan::of(options)?;
    check_machine()?;
    let cores = machine::cores(options.cores.as_deref())?;
    let machine = Machine::look();
    let directory = tempfile::Builder::new().prefix("ringway-bench-").tempdir();
    let directory = directory.map_err(|source| Failure::system("a directory", source))?;
    site::write_configurations(directory.path(), cores)?;
    let given = options.ringway.as_deref();
    let given = given.map(Path::canonicalize).transpose();
    let given = given.map_err(|source| Failure::system("--ringway", source))?;
    let programs = Programs::find(&plan.contenders, given.as_deref(), directory.path())?;
    let interrupt = Interrupt::catch()?;
    let network = Network::new(cores)?;
    let bench = Bench {
        network: &network,
        directory: directory.path(),
        duration: Duration::from_secs(plan.seconds),
        interrupt: &interrupt,
    };
    let mut results = Results::default();
    let ended = plan.measure(&bench, &programs, &mut results);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let report = Report {
        results: &results,
        machine: &machine,
        command: &format!("cargo run --release -p bench -- {}", words.join(" ")),
        cores,
        rounds: plan.rounds,
        seconds: plan.seconds,
        links: &plan.links,
        works: &plan.works,
        contenders: &plan.contenders,
    };
    // What was measured before an interruption is shown, too.
    print!("{}", report.markdown());
    write_json(&report, options.json.as_deref())?;
    ended
}

impl Plan {
    fn of(options: &CompareOptions) -> Result<Self, Failure> {
        let quick = options.quick;
        let quickly: Vec<String> = QUICK_WORK.map(str::to_owned).to_vec();
        let work = match (options.work.as_slice(), quick) {
            ([], true) => &quickly,
            (given, _) => given,
        };
        let links = match (options.link.as_slice(), quick) {
            ([], true) => vec![Link::Whole],
            ([], false) => Link::ALL.to_vec(),
            (given, _) => given.to_vec(),
        };
        Ok(Self {
            rounds: if quick { 1 } else { options.rounds.into() },
            seconds: if quick { 1 } else { options.seconds.into() },
            contenders: select("--only", Contender::all(), &options.only, |it, word| {
                it.name() == word
            })?,
            works: select("--work", Work::all(), work, |it, word| {
                it.to_string().starts_with(word)
            })?,
            links,
        })
    }

    /// Measures everything in turns; what failed is noted, and the others go on.
    fn measure(
        &self,
        bench: &Bench<'_>,
        programs: &Programs,
        results: &mut Results,
    ) -> Result<(), Failure> {
        let mut contenders = Vec::new();
        for &contender in &self.contenders {
            match programs.missing(contender) {
                Some(reason) => self.fail(contender, &reason, results),
                None => contenders.push(contender),
            }
        }
        let steps = self.rounds * contenders.len() * self.links.len() * self.works.len();
        let progress = progress(steps as u64);
        for round in 0..self.rounds {
            let mut turns = contenders.clone();
            turns.rotate_left(round % contenders.len().max(1));
            for contender in turns {
                let begun = progress.position();
                progress.set_message(format!("round {}: {}", round + 1, contender.title()));
                match contender.start(bench, programs) {
                    Ok(mut tunnel) => {
                        let turn = Turn {
                            plan: self,
                            bench,
                            contender,
                            round,
                            progress: &progress,
                        };
                        let measured = turn.measure(&mut tunnel, results);
                        tunnel.stop(bench);
                        measured?;
                    }
                    Err(failure) => {
                        // A signal also ends the programs that were being started.
                        bench.interrupt.check()?;
                        self.fail(contender, &failure.to_string(), results);
                    }
                }
                progress.set_position(begun + (self.links.len() * self.works.len()) as u64);
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Notes that a contender failed at everything.
    fn fail(&self, contender: Contender, reason: &str, results: &mut Results) {
        for &link in &self.links {
            for &work in &self.works {
                let key = Key {
                    link,
                    work,
                    contender,
                };
                results.fail(key, reason);
            }
        }
    }
}

/// One contender's turn in one round.
struct Turn<'a> {
    plan: &'a Plan,
    bench: &'a Bench<'a>,
    contender: Contender,
    round: usize,
    progress: &'a ProgressBar,
}

impl Turn<'_> {
    fn measure(&self, tunnel: &mut Tunnel, results: &mut Results) -> Result<(), Failure> {
        let contender = self.contender;
        for &link in &self.plan.links {
            self.bench.network.set(link)?;
            for &work in &self.plan.works {
                let key = Key {
                    link,
                    work,
                    contender,
                };
                let (round, title) = (self.round + 1, contender.title());
                let message = format!("round {round}: {title}: {work}, {} link", link.name());
                self.progress.set_message(message);
                let measured = work.measure(self.bench, tunnel);
                self.bench.interrupt.check()?;
                match tunnel.check().and(measured) {
                    Ok(sample) => results.add(key, self.round, sample),
                    Err(failure) => {
                        let reason = format!("{failure}\n{}", tunnel.tails());
                        results.fail(key, &reason);
                    }
                }
                self.progress.inc(1);
            }
        }
        Ok(())
    }
}

/// Those of `all` that one of `words` means; all of them without words.
fn select<T: Copy>(
    option: &str,
    all: Vec<T>,
    words: &[String],
    means: impl Fn(T, &str) -> bool,
) -> Result<Vec<T>, Failure> {
    let unknown = words
        .iter()
        .find(|word| !all.iter().any(|it| means(*it, word)));
    match unknown {
        Some(word) => Err(Failure::Impossible(format!(
            "{option}: nothing is called '{word}'"
        ))),
        None if words.is_empty() => Ok(all),
        None => {
            let meant = |it: &T| words.iter().any(|word| means(*it, word));
            Ok(all.into_iter().filter(meant).collect())
        }
    }
}

/// Fails where a comparison can't be made at all.
fn check_machine() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        let said = "run it as root: it makes network namespaces and tun devices, and removes them";
        return Err(Failure::Impossible(said.to_owned()));
    }
    let missing: Vec<&str> = TOOLS
        .into_iter()
        .filter(|tool| find(tool).is_none())
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        _ => Err(Failure::Impossible(format!(
            "missing: {}; on Debian: apt-get install {DEBIAN}",
            missing.join(", ")
        ))),
    }
}

fn progress(steps: u64) -> ProgressBar {
    let progress = ProgressBar::new(steps);
    let template = "{wide_bar} {pos}/{len}, {eta} left\n{msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

fn write_json(report: &Report<'_>, file: Option<&Path>) -> Result<(), Failure> {
    let rows: Vec<String> = report.json().iter().map(|row| row.to_string()).collect();
    match file {
        Some(file) => {
            let text = format!("[\n{}\n]\n", rows.join(",\n"));
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).map_err(|source| Failure::file(folder, source))?;
            }
            std::fs::write(file, text).map_err(|source| Failure::file(file, source))
        }
        None => {
            println!("\n{}", rows.join("\n"));
            Ok(())
        }
    }
}

const QUICK_WORK: [&str; 5] = ["tcp1", "udp64-up", "udp1400-up", "rtt-idle", "tcp4-up"];

/// What every comparison needs, whoever is compared.
const TOOLS: [&str; 8] = [
    "ip", "ethtool", "iperf3", "ping", "setpriv", "sh", "sysctl", "taskset",
];
const DEBIAN: &str = "iproute2 ethtool iperf3 iputils-ping procps util-linux";
