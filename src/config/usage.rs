//! Which directives a configuration uses, for those who want to tell us: names and counts, no values, no
//! names of files, and nothing of a line that is not known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{command_line, directives, modes};

/// A line for each directive of a command line and its files, with how often it stands there.
pub fn usage(arguments: &[String], directory: &Path) -> String {
    let (_, arguments) = modes::split(arguments);
    let (mut counts, mut unknown, mut unreadable) = (BTreeMap::new(), 0_usize, 0_usize);
    for line in command_line::read(&arguments, directory) {
        let Ok(line) = line else {
            unreadable += 1;
            continue;
        };
        let optional = line.name == "setenv" && line.argument(0) == Some("opt");
        let name = match line.argument(1) {
            Some(name) if optional => name,
            _ => &line.name,
        };
        match directives::find(name) {
            Some(directive) => *counts.entry(directive.name).or_insert(0_usize) += 1,
            None => unknown += 1,
        }
    }
    let mut text = String::new();
    let rest = [("(unknown)", unknown), ("(not readable)", unreadable)];
    let rest = rest.into_iter().filter(|(_, count)| *count > 0);
    for (name, count) in counts.into_iter().chain(rest) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name} {count}");
    }
    text
}
