//! Lines about the files of a server that are read while it runs.

use super::{INFO, Page, WARNING};
use crate::node::event::{NodeEvent, Printable};

impl Page<'_> {
    /// What was found in a file.
    pub(super) fn file(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::Reloaded(report) => {
                for (warns, line) in report.lines() {
                    let level = if warns { WARNING } else { INFO };
                    self.say(level, format_args!("{}", Printable(&line)));
                }
            }
            NodeEvent::LeasesRead { names, faults } => {
                for fault in faults.iter() {
                    self.say(INFO, format_args!("{}", Printable(fault)));
                }
                let words =
                    format_args!("ifconfig_pool_read(), {names} clients have their addresses");
                self.say(INFO, words);
            }
            NodeEvent::RevocationsRead {
                file,
                count,
                is_directory,
            } => {
                let file = Printable(file);
                match is_directory {
                    true => self.say(
                        INFO,
                        format_args!("CRL: {count} certificates are revoked in {file}"),
                    ),
                    false => self.say(
                        INFO,
                        format_args!("CRL: loaded {count} CRLs from file {file}"),
                    ),
                }
            }
            NodeEvent::RevocationsUnreadable { file, why } => self.say(
                WARNING,
                format_args!(
                    "CRL: cannot read CRL from file {}: {}",
                    Printable(file),
                    Printable(why)
                ),
            ),
            NodeEvent::RevocationsEnd { file, left } => {
                let file = Printable(file);
                let when = match left.map(|left| left.as_secs() / DAY) {
                    Some(0) => "expires within a day: nobody can connect from then on".to_owned(),
                    Some(days) => {
                        format!("expires in {days} days: nobody can connect from then on")
                    }
                    None => "has expired: nobody can connect until there is a new one".to_owned(),
                };
                self.say(WARNING, format_args!("WARNING: the CRL {file} {when}"));
            }
            _ => {}
        }
    }
}

const DAY: u64 = 24 * 3600;
