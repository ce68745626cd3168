//! Floor 7: the command line.
//!
//! Two forms: that of OpenVPN (`--config server.conf`, any directive as `--directive value`, or a
//! single file), which starts the server, and subcommands.
//!
//! Invariant: nothing on the data path.

mod check;
pub mod client;
mod daemon;
pub mod directory;
pub mod genkey;
mod login;
mod passwd;
pub mod pki;
pub mod quickstart;
mod run;
mod runtime;
mod script_helper;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::documentation;
use crate::random::SystemRandom;

/// Does what the words after the program's name say.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let [first, rest @ ..] = words.as_slice()
        && first == script_helper::NAME
    {
        return script_helper::run(rest);
    }
    match Form::of(&words) {
        Form::Empty => {
            eprint!("{}", help().render_long_help());
            ExitCode::FAILURE
        }
        Form::Directives => match genkey::GenkeyOptions::from_directives(&words) {
            Some(options) => make_key(options),
            None => run::run(&words),
        },
        Form::Subcommand => match Cli::from_arg_matches_or_exit().command {
            Command::Check {
                runtime,
                report,
                words,
            } => match (runtime, report) {
                (true, _) => runtime::check(&words),
                (false, true) => check::report(&words),
                (false, false) => check::check(&words),
            },
            Command::Reload { disruptive, words } => runtime::reload(disruptive, &words),
            Command::Quickstart(options) => match quickstart::run(&options) {
                Ok(words) => run::run(&words),
                Err(error) => run::fail(&error.to_string()),
            },
            Command::Genkey(options) => make_key(Ok(options)),
            Command::Passwd(options) => match passwd::run(&options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => run::fail(&error.to_string()),
            },
            Command::Client(command) => match client::run(&command) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => run::fail(&error.to_string()),
            },
        },
    }
}

fn make_key(options: Result<genkey::GenkeyOptions, genkey::GenkeyError>) -> ExitCode {
    match options.and_then(|options| genkey::run(&options, &mut SystemRandom)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::fail(&error.to_string()),
    }
}

/// A VPN server for stock OpenVPN clients: the configuration of an OpenVPN server, every core at
/// work.
///
/// `ringway server.conf` and `ringway --config server.conf` start the server; directives stand
/// before or after, as `--directive value`.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say all that is wrong with a configuration, and what this machine offers.
    Check {
        /// Print what the server that runs with this configuration has counted, instead; asks on
        /// the socket that `ringway-control` names.
        #[arg(long)]
        runtime: bool,
        /// Print which directives it uses and how often, instead: no values, no names of files.
        #[arg(long, conflicts_with = "runtime")]
        report: bool,
        /// The configuration file, or any words that start a server; with `--strict` obsolete lines are
        /// errors, with `--compat-legacy` lines that OpenVPN 2.6 refuses are translated.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Have a running server read its configuration again, as SIGHUP does, and say what came of it; asks on
    /// the socket that `ringway-control` names.
    Reload {
        /// Restart the server if the changes need that, which ends all sessions.
        #[arg(long)]
        disruptive: bool,
        /// The configuration file, or any words that start a server.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Make keys, certificates and configurations in a directory, and serve it; again, just serve it.
    Quickstart(quickstart::QuickstartOptions),
    /// Make a key of the control channel, or for tokens; `--genkey` makes it too, with OpenVPN's words.
    Genkey(genkey::GenkeyOptions),
    /// Set or remove the password of a user in a file of passwords.
    Passwd(passwd::PasswdOptions),
    /// Manage the clients of a directory that quickstart made.
    #[command(subcommand)]
    Client(client::ClientCommand),
}

impl Cli {
    fn from_arg_matches_or_exit() -> Self {
        use clap::FromArgMatches;
        let matches = help().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Which of the two forms some words have.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Empty,
    Directives,
    Subcommand,
}

impl Form {
    fn of(words: &[String]) -> Self {
        match words {
            [] => Self::Empty,
            [only] if only == "--help" || only == "--version" => Self::Subcommand,
            [first, ..] if first.starts_with("--") => Self::Directives,
            [only] if !only.starts_with('-') && !is_subcommand(only) => Self::Directives,
            // Directives after a file are refused, in the words of the configuration.
            [first, ..] if is_file(first) => Self::Directives,
            _ => Self::Subcommand,
        }
    }
}

fn is_subcommand(word: &str) -> bool {
    word == "help" || Cli::command().find_subcommand(word).is_some()
}

/// Whether a word can only be a file; no subcommand has a dot or a slash.
fn is_file(word: &str) -> bool {
    !word.starts_with('-') && word.contains(['.', '/'])
}

fn help() -> clap::Command {
    // The table of directives has lines of its own; nothing is wrapped.
    Cli::command()
        .term_width(0)
        .override_usage("ringway [--config] FILE\n       ringway --DIRECTIVE [VALUE...]...\n       ringway COMMAND")
        .after_long_help(format!(
            "Directives, each of which is a line of a file or an option with dashes:\n{}\n\
             docs/directives.md lists every directive of OpenVPN and what becomes of it.",
            documentation::help()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        help().debug_assert();
    }

    #[test]
    fn forms() {
        for (words, form) in [
            ("", Form::Empty),
            ("--config server.conf", Form::Directives),
            ("server.conf", Form::Directives),
            ("--port 1 --config server.conf", Form::Directives),
            ("--version", Form::Subcommand),
            ("--help", Form::Subcommand),
            ("-h", Form::Subcommand),
            ("help", Form::Subcommand),
            ("check", Form::Subcommand),
            ("check server.conf", Form::Subcommand),
            ("check --config server.conf", Form::Subcommand),
            ("server.conf more.conf", Form::Directives),
            ("server.conf --daemon", Form::Directives),
            ("etc/server --verb 4", Form::Directives),
            ("quickstrat --port 1195", Form::Subcommand),
            ("quickstart", Form::Subcommand),
            ("quickstart --port 1195", Form::Subcommand),
            ("client add anna", Form::Subcommand),
            ("genkey tls-crypt ta.key", Form::Subcommand),
            ("--genkey tls-crypt ta.key", Form::Directives),
        ] {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Form::of(&words), form, "{words:?}");
        }
    }

    #[test]
    fn check_takes_words_of_the_other_form() {
        let cli =
            Cli::try_parse_from(["ringway", "check", "--port", "1", "--config", "a"]).unwrap();
        let Command::Check {
            runtime,
            report,
            words,
        } = cli.command
        else {
            panic!("another command: {:?}", cli.command);
        };
        assert!(!runtime && !report);
        assert_eq!(words, ["--port", "1", "--config", "a"]);
        let cli = Cli::try_parse_from(["ringway", "check", "--runtime", "a"]).unwrap();
        assert!(
            matches!(cli.command, Command::Check { runtime: true, words, .. } if words == ["a"])
        );
    }
}
