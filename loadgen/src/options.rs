//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use loadgen::span::Span;

/// Thousands of OpenVPN clients from one process, for any server.
#[derive(Debug, Parser)]
#[command(name = "loadgen")]
pub(crate) struct Options {
    /// The client profile, as any OpenVPN client reads it
    #[arg(long, value_name = "FILE", required_unless_present = "profiles")]
    pub(crate) config: Option<PathBuf>,
    /// A directory of profiles (*.ovpn, *.conf), a client each
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(crate) profiles: Option<PathBuf>,
    /// How many sessions; of clients that come and leave, how many at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) sessions: u32,
    /// What they do: handshake, storm, bulk-up, bulk-down, bidirectional, imix, latency, churn,
    /// roam, reneg, idle, soak; several are joined by +, parameters follow a colon
    #[arg(
        long,
        value_name = "NAME[:PARAMETER=VALUE,...]",
        default_value = "handshake"
    )]
    pub(crate) scenario: String,
    /// How long, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) duration: Span,
    /// A scenario file (TOML) with phases, in place of the three above
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sessions", "scenario", "duration"])]
    pub(crate) plan: Option<PathBuf>,
    /// The cores to run on, such as 1,2 or 4-7 [default: the last one that this process may use]
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<String>,
    /// Where `loadgen lan` listens behind the server: an inner address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) lan: Option<SocketAddr>,
    /// Change to this directory before any file is read: names in a profile begin there
    #[arg(long, value_name = "DIR")]
    pub(crate) cd: Option<PathBuf>,
    /// Addresses to send from, in turn [default: the system's choice]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) from: Vec<IpAddr>,
    /// The number of the first session: generators beside one another have disjoint ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first: u32,
    /// The name to log in with; %d is the number of the session
    #[arg(long, value_name = "PATTERN")]
    pub(crate) user: Option<String>,
    /// The password, with the same %d
    #[arg(long, value_name = "PATTERN", requires = "user")]
    pub(crate) password: Option<String>,
    /// A file of logins, one a line: name, blank, password
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(crate) logins: Option<PathBuf>,
    /// The key of the profile's authority: each session gets a certificate of its own
    #[arg(long, value_name = "FILE", conflicts_with = "profiles")]
    pub(crate) ca_key: Option<PathBuf>,
    /// The names of those certificates
    #[arg(long, value_name = "PATTERN", default_value = "load%d")]
    pub(crate) name: String,
    /// So many sessions on one socket, which the server has to tell apart by their ids (the stock
    /// daemon does not); never for figures that are published
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) share_sockets: u32,
    /// From which everything random is drawn that is not a secret
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The part of all datagrams that is lost on the way, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) loss: f64,
    /// The part that comes twice
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) dup: f64,
    /// The part that is overtaken
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) reorder: f64,
    /// How long each one is on its way, in each direction
    #[arg(long, value_name = "TIME")]
    pub(crate) delay: Option<Span>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the report as a page in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The server's process on this machine: its processor time and memory are measured, too
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// The server's cores, such as 0 or 0-3 [default: those on which its process may run]
    #[arg(long, value_name = "LIST", requires = "server_pid")]
    pub(crate) server_cores: Option<String>,
    /// Say nothing before the result
    #[arg(long)]
    pub(crate) quiet: bool,
}

fn part(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err("a part is from 0 to 1: write 0.01 for one percent".to_owned()),
    }
}

/// The cores of a list such as `0,2` or `4-7`, of those that this process may use.
///
/// # Errors
/// What is wrong with the list, in a sentence.
pub(crate) fn cores(list: &str, usable: &[usize]) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for word in list.split(',') {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (Some(from), Some(to)) = (number(from), number(to)) else {
            return Err(format!("`{word}` is no core: write 1,2 or 4-7"));
        };
        for core in from..=to.min(from.saturating_add(CORES_MAX)) {
            if !usable.contains(&core) {
                return Err(format!("core {core} is none that this process may use"));
            }
            if cores.contains(&core) {
                return Err(format!("core {core} stands there twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// More than any machine has.
const CORES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn lists_of_cores_and_verdicts() {
        let usable = [0, 1, 4, 5, 6];
        for (list, expected) in [
            ("1", Ok(vec![1])),
            ("4-6,0", Ok(vec![4, 5, 6, 0])),
            ("", Err("`` is no core: write 1,2 or 4-7")),
            ("1,x", Err("`x` is no core: write 1,2 or 4-7")),
            ("2", Err("core 2 is none that this process may use")),
            ("1,0-1", Err("core 1 stands there twice")),
            (
                "0-99999999999",
                Err("core 2 is none that this process may use"),
            ),
        ] {
            assert_eq!(
                cores(list, &usable),
                expected.map_err(str::to_owned),
                "{list}"
            );
        }
    }

    #[test]
    fn parts_are_between_nothing_and_all() {
        for (text, expected) in [("0", Some(0.0)), ("0.01", Some(0.01)), ("1", Some(1.0))] {
            assert_eq!(part(text).ok(), expected);
        }
        for text in ["-0.1", "1.5", "1%", "nan"] {
            assert!(part(text).is_err(), "{text}");
        }
    }
}
