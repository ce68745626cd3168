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

/// The argument at `index` as a port in `range`: its number, or the name of its service.
pub(super) fn port(line: &Line, index: usize, range: RangeInclusive<u16>) -> Result<u16, Refusal> {
    let word = line.argument(index).unwrap_or_default();
    if word.is_empty() || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(line, index, range);
    }
    // Without the file, or with another alphabet in it, there are no names.
    let services = std::fs::read_to_string(SERVICES).unwrap_or_default();
    port_of_service(word, &services).ok_or_else(|| {
        Refusal::because(format!(
            "`{word}` is neither a port nor the name of a service in {SERVICES}"
        ))
    })
}

/// The port of the first service with this name, or this other name, in the format of `services(5)`.
fn port_of_service(name: &str, services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (service, port) = (words.next()?, words.next()?);
        let named = service == name || words.any(|other| other == name);
        let port = port.split('/').next().filter(|_| named)?;
        port.parse().ok()
    })
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

const SERVICES: &str = "/etc/services";

#[cfg(test)]
mod tests {
    use super::port_of_service;

    #[test]
    fn services_have_a_name_a_port_and_other_names() {
        let services = "# numbers\n\nopenvpn\t\t1194/tcp\nopenvpn 1194/udp\nhttps 443/tcp tls # of the web\nodd\nno x/udp\n";
        for (name, port) in [
            ("openvpn", Some(1194)),
            ("https", Some(443)),
            ("tls", Some(443)),
            ("web", None),
            ("odd", None),
            ("no", None),
            ("1194/tcp", None),
            ("", None),
        ] {
            assert_eq!(port_of_service(name, services), port, "{name}");
        }
    }
}
