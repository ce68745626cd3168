//! Words to values, with a sentence for each word that is none.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::config::directive::Refusal;
use crate::config::draft::Source;
use crate::config::lexer::Line;

/// The argument at `index` as a whole number in `range`.
pub(super) fn number<T>(line: &Line, index: usize, range: RangeInclusive<T>) -> Result<T, Refusal>
where
    T: FromStr + PartialOrd + Display,
{
    let word = line.argument(index).unwrap_or_default();
    word.parse()
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            Refusal::because(format!(
                "`{word}` is not a whole number from {low} to {high}"
            ))
        })
}

/// The argument at `index` as a number in `range`, `None` when it is not written.
pub(super) fn optional<T>(
    line: &Line,
    index: usize,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Refusal>
where
    T: FromStr + PartialOrd + Display,
{
    line.argument(index)
        .map(|_| number(line, index, range))
        .transpose()
}

/// The argument at `index` as seconds in `range`.
pub(super) fn seconds(
    line: &Line,
    index: usize,
    range: RangeInclusive<u32>,
) -> Result<Duration, Refusal> {
    number(line, index, range).map(|seconds| Duration::from_secs(seconds.into()))
}

/// The argument at `index` as an IPv4 address.
pub(super) fn ipv4(line: &Line, index: usize) -> Result<Ipv4Addr, Refusal> {
    let word = line.argument(index).unwrap_or_default();
    word.parse()
        .map_err(|_| Refusal::because(format!("`{word}` is not an IPv4 address")))
}

/// The block of a line, or the file that its first argument names; `None` for the old form
/// `ca [inline]`, which stands beside a block.
pub(super) fn source(line: &Line) -> Option<Source> {
    match (&line.block, line.argument(0)) {
        (Some(block), _) => Some(Source::Block(block.clone())),
        (None, Some("[inline]")) | (None, None) => None,
        (None, Some(file)) => Some(Source::File(file.to_owned())),
    }
}

/// One year: no time of the protocol is longer.
pub(super) const YEAR: u32 = 365 * 24 * 3600;
