//! Whether the server and its clients frame packets in the same way.

use crate::config::diagnostics::Severity;
use crate::config::directives::compression_meant;
use crate::config::draft::{Draft, Written};
use crate::config::settings::Compression;
use crate::wire::Framing;

/// How packets are framed. What is pushed is made to go with it, or remarked upon.
pub(super) fn compression(draft: &mut Draft) -> Compression {
    let own = draft.control.compression.clone();
    let mut compression = own
        .as_ref()
        .map_or_else(Compression::default, |own| own.value);
    let mut lines = std::mem::take(&mut draft.push);
    let mut pushes = false;
    for line in &mut lines {
        let Some(pushed) = pushed(&line.value) else {
            continue;
        };
        pushes = true;
        match (compression, pushed) {
            (Compression::Framed(Framing::Prefix), Compression::Framed(Framing::Prefix)) => {
                if line.value != NO_LZO {
                    let why = format!(
                        "`{NO_LZO}` is pushed: what is compressed gives away what is inside"
                    );
                    draft.remark_at(Severity::Warning, "push", &line.at, why, None);
                    NO_LZO.clone_into(&mut line.value);
                }
            }
            // In this form a packet that is not compressed has no frame.
            (Compression::Framed(Framing::None), Compression::Framed(Framing::V2)) => {
                compression = pushed;
            }
            (own, pushed) if own == pushed && own != Compression::Migrate => {}
            _ => {
                let why = "clients would frame packets in another way than the server";
                let instead =
                    Some("write the same in a line of its own, or remove this one".into());
                draft.remark_at(Severity::Error, "push", &line.at, why, instead);
            }
        }
    }
    // What is compressed gives away what is inside: clients are told not to, and opened all the same.
    if let (Compression::Framed(Framing::Prefix), false, Some(own)) = (compression, pushes, own) {
        let (value, at) = (NO_LZO.to_owned(), own.at);
        lines.push(Written { value, at });
    }
    draft.push = lines;
    compression
}

/// What a pushed option says about framing, if anything.
fn pushed(option: &str) -> Option<Compression> {
    let mut words = option.split_whitespace();
    match words.next()? {
        name @ ("comp-lzo" | "compress") => compression_meant(name, words.next()).ok(),
        _ => None,
    }
}

const NO_LZO: &str = "comp-lzo no";
