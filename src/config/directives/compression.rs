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
    match (line.argument(0), draft.role) {
        (Some("no" | "asym"), _) => Ok(()),
        (Some("yes"), Role::Server) => {
            draft.warn(line, "nothing is compressed that leaves");
            Ok(())
        }
        (Some(word), _) => Err(Refusal::because(format!("`{word}` is not served"))
            .instead("write `allow-compression no`")),
        (None, _) => Err(Refusal::because("it needs a word")),
    }
}

/// The framing that a line means, in the server's file or pushed to clients.
///
/// # Errors
/// The algorithm is none.
pub(in crate::config) fn meant(name: &str, word: Option<&str>) -> Result<Compression, Refusal> {
    let framing = match (name, word) {
        ("comp-lzo", None | Some("yes" | "no" | "adaptive")) | ("compress", Some("lzo")) => {
            Framing::Prefix
        }
        ("compress", None | Some("stub" | "lz4")) => Framing::Swap,
        ("compress", Some("stub-v2" | "lz4-v2")) => Framing::V2,
        ("compress", Some("migrate")) => return Ok(Compression::Migrate),
        (_, word) => {
            let word = word.unwrap_or_default();
            return Err(Refusal::because(format!("`{word}` is no algorithm")));
        }
    };
    Ok(Compression::Framed(framing))
}

fn warn_useless(draft: &mut Draft, line: &Line) {
    draft.warn(
        line,
        "only frames packets: nothing is compressed, since that gives away what is inside; \
         `compress migrate` does without for clients that can",
    );
}
