//! Floor 7: the OpenVPN configuration language.
//!
//! Two steps: what is written (words, lines, blocks), then [`settings::Settings`], valid by
//! construction. Between them stands one table of all directives that OpenVPN knows; `--help` and
//! docs/directives.md are made from it.
//!
//! Invariant: no running node.

mod assemble;
mod command_line;
pub mod diagnostics;
pub mod directive;
pub mod directives;
pub mod documentation;
mod draft;
pub mod lexer;
mod pki;

pub use crate::node::settings;

#[cfg(test)]
mod tests;

use std::path::Path;

use diagnostics::Diagnostics;
use draft::Draft;
use settings::{Settings, usable_cores};

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What to serve; `None` when `diagnostics` has errors.
    pub settings: Option<Settings>,
    /// Everything that was found, errors or not.
    pub diagnostics: Diagnostics,
}

/// Reads a command line of OpenVPN's form, without the program's name: `--directive value...`,
/// `--config FILE`, or one file. Relative names start from `directory`.
pub fn load(arguments: &[String], directory: &Path) -> Loaded {
    load_on(usable_cores(), arguments, directory)
}

/// Reads it for a process that may use these cores.
pub(crate) fn load_on(usable_cores: Vec<usize>, arguments: &[String], directory: &Path) -> Loaded {
    let mut draft = Draft {
        directory: directory.to_owned(),
        usable_cores,
        ..Draft::default()
    };
    for line in command_line::read(arguments, directory) {
        match line {
            Ok(line) => directive::apply(&mut draft, &line),
            Err(diagnostic) => {
                // Nothing can be said to be missing from what was not read.
                draft.incomplete |= diagnostic.directive != command_line::SYNTAX;
                draft.diagnostics.push(diagnostic);
            }
        }
    }
    let (settings, mut diagnostics) = assemble::assemble(draft);
    diagnostics.sort();
    Loaded {
        settings,
        diagnostics,
    }
}
