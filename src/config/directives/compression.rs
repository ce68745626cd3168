//! Framing for compression: `comp-lzo`, `compress`, and what is pushed of them.

use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::config::settings::Compression;
use crate::wire::{Framing, Role};

pub(super) fn comp_lzo(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let compression = meant("comp-lzo", line.argument(0))?;
    draft.control.compression = Written::new(compression, line);
    warn_useless(draft, line);
    Ok(())
}

pub(super) fn compress(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let compression = meant("compress", line.argument(0))?;
    draft.control.compression = Written::new(compression, line);
    if compression != Compression::Migrate {
        warn_useless(draft, line);
    }
    Ok(())
}

pub(super) fn allow_compression(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("no" | "asym") => Ok(()),
        Some("yes") => {
            draft.warn(line, "nothing is compressed that leaves");
            Ok(())
        }
        Some(word) => Err(Refusal::because(format!("`{word}` is not served"))
            .instead("write `allow-compression no`")),
        None => Err(Refusal::because("it needs a word")),
    }
}

/// The framing that a line means, in the server's file or pushed to clients.
///
/// # Errors
/// The algorithm is none.
pub(in crate::config) fn meant(name: &str, word: Option<&str>) -> Result<Compression, Refusal> {
    if (name, word) == ("compress", Some("migrate")) {
        return Ok(Compression::Migrate);
    }
    let framing = Framing::named(name, word).ok_or_else(|| {
        let word = word.unwrap_or_default();
        Refusal::because(format!("`{word}` is no algorithm"))
    })?;
    Ok(Compression::Framed(framing))
}

fn warn_useless(draft: &mut Draft, line: &Line) {
    let why = match draft.role {
        Role::Server => {
            "only frames packets: nothing is compressed, since that gives away what is inside; \
             `compress migrate` does without for clients that can"
        }
        Role::Client => {
            "only frames packets: nothing is compressed, since that gives away what is inside; it can be \
             removed if the server pushes what it wants, or has no such line"
        }
    };
    draft.warn(line, why);
}
