//! What a proxy writes before the first byte of a connection that it passes on: whose it is.
//!
//! Wire: "The PROXY protocol", versions 1 and 2, of HAProxy's documentation. A line of text with two addresses and
//! two ports, or the same in binary with fields of any kind behind it, which are passed over. Written here and
//! not taken from a library, since the ones there are wait for the end of what can't be a header any more, and bound
//! no length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_V2_MAX;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes.
    pub length: usize,
    /// Who has connected to the proxy, never a v4-mapped address. `None` if it does not say: the connection is
    /// the proxy's own, as when it looks whether somebody is there, or of a kind that has no such address.
    pub source: Option<SocketAddr>,
}

/// Why bytes are not, and will not become, a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxyHeader {
    /// They begin otherwise.
    #[error("no PROXY header")]
    Absent,
    /// There is no end of it where one has to be.
    #[error("a PROXY header that is too long")]
    TooLong,
    /// Its content is none.
    #[error("a malformed PROXY header")]
    Malformed,
}

/// The header that `bytes` begin with; `None` if they end before it does.
///
/// # Errors
/// See [`BadProxyHeader`]; as early as it can be told.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    let begins = |start: &[u8]| start.iter().zip(bytes).all(|(one, other)| one == other);
    match (begins(V1_START), begins(V2_START)) {
        (true, _) => text(bytes),
        (_, true) => binary(bytes),
        _ => Err(BadProxyHeader::Absent),
    }
}

fn text(bytes: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    let line = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return match bytes.len() < V1_MAX {
            true => Ok(None),
            false => Err(BadProxyHeader::TooLong),
        };
    };
    let line = line.get(V1_START.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| BadProxyHeader::Malformed)?;
    Ok(Some(ProxyHeader {
        length: end + 2,
        source: source_of(line).ok_or(BadProxyHeader::Malformed)?,
    }))
}

/// What a line says of its source; `None` if it is none.
fn source_of(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Wire: whatever stands behind it is to be passed over.
        return Some(None);
    }
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let (source, _) = (address(words.next()?)?, address(words.next()?)?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    let is_whole = words.next().is_none();
    is_whole.then_some(Some(SocketAddr::new(source.to_canonical(), port)))
}

fn port(word: &str) -> Option<u16> {
    // `+1` would parse too.
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| is_number)
}

fn binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    if let Some(&command) = bytes.get(V2_START.len())
        && !matches!(command, V2_LOCAL | V2_PROXY)
    {
        return Err(BadProxyHeader::Malformed);
    }
    let Some([.., command, family, high, low]) = bytes.first_chunk::<V2_FIXED>() else {
        return Ok(None);
    };
    let behind = usize::from(u16::from_be_bytes([*high, *low]));
    if behind > PROXY_HEADER_V2_MAX {
        return Err(BadProxyHeader::TooLong);
    }
    let length = V2_FIXED + behind;
    let Some(content) = bytes.get(V2_FIXED..length) else {
        return Ok(None);
    };
    let source = match (*command, *family) {
        (V2_PROXY, V2_TCP4) => Some(addresses::<4>(content)?),
        (V2_PROXY, V2_TCP6) => Some(addresses::<16>(content)?),
        // Wire: of all others the connection's own address counts.
        _ => None,
    };
    Ok(Some(ProxyHeader { length, source }))
}

/// The source of two addresses of so many bytes, with two ports behind them.
fn addresses<const N: usize>(content: &[u8]) -> Result<SocketAddr, BadProxyHeader>
where
    [u8; N]: Into<IpAddr>,
{
    let source: Option<&[u8; N]> = content.first_chunk();
    let ports: Option<&[u8; 4]> = content.get(2 * N..).and_then(<[u8]>::first_chunk);
    let (Some(source), Some([high, low, ..])) = (source, ports) else {
        return Err(BadProxyHeader::Malformed);
    };
    let source: IpAddr = (*source).into();
    Ok(SocketAddr::new(
        source.to_canonical(),
        u16::from_be_bytes([*high, *low]),
    ))
}

const V1_START: &[u8] = b"PROXY ";
/// The longest line, its end included. Wire: as the document says.
const V1_MAX: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of the second form has: its start, a command, a family, and a length.
const V2_FIXED: usize = 16;
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
const V2_TCP4: u8 = 0x11;
const V2_TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        [V2_START, &[command, family], &length, content].concat()
    }

    fn whole(bytes: &[u8], source: Option<&str>) {
        let header = ProxyHeader {
            length: bytes.len(),
            source: source.map(|source| source.parse().unwrap()),
        };
        assert_eq!(proxy_header(bytes), Ok(Some(header)), "{bytes:?}");
        let more = [bytes, b"more"].concat();
        assert_eq!(proxy_header(&more), Ok(Some(header)), "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(proxy_header(&bytes[..end]), Ok(None), "{:?}", &bytes[..end]);
        }
    }

    #[test]
    fn headers_of_both_forms() {
        for (line, source) in [
            (
                "TCP4 192.0.2.7 198.51.100.1 4711 443",
                Some("192.0.2.7:4711"),
            ),
            ("TCP6 2001:db8::7 ::1 1 65535", Some("[2001:db8::7]:1")),
            ("TCP6 ::ffff:192.0.2.7 ::1 1 2", Some("192.0.2.7:1")),
            ("UNKNOWN", None),
            ("UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
        ] {
            whole(format!("PROXY {line}\r\n").as_bytes(), source);
        }
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187];
        let source = Some("192.0.2.7:4711");
        whole(&v2(0x21, 0x11, &v4), source);
        // With fields behind the addresses.
        whole(
            &v2(0x21, 0x11, &[&v4[..], &[4, 0, 3, 1, 2, 3]].concat()),
            source,
        );
        let v6: Vec<u8> = [
            Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]).octets(),
            Ipv6Addr::LOCALHOST.octets(),
        ]
        .concat();
        whole(
            &v2(0x21, 0x21, &[&v6[..], &[0, 1, 0, 2]].concat()),
            Some("[2001:db8::7]:1"),
        );
        // Its own, of no kind, and of kinds that have no such address.
        whole(&v2(0x20, 0x00, &[]), None);
        whole(&v2(0x20, 0x11, &v4), None);
        whole(&v2(0x21, 0x00, &[1, 2, 3]), None);
        whole(&v2(0x21, 0x12, &v4), None);
        whole(&v2(0x21, 0x31, &[0; 216]), None);
        whole(&v2(0x21, 0x00, &[0; PROXY_HEADER_V2_MAX]), None);
    }

    #[test]
    fn what_is_none_is_told_at_once() {
        use BadProxyHeader::{Absent, Malformed, TooLong};
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat();
        let mut long_v2 = v2(0x21, 0x11, &[]);
        long_v2[14..].copy_from_slice(&(PROXY_HEADER_V2_MAX as u16 + 1).to_be_bytes());
        for (bytes, bad) in [
            (&b"G"[..], Absent),
            (b"PROXX", Absent),
            (b"PROXYTCP4", Absent),
            (b"\r\n\r\n\r", Absent),
            (&[0, 14, 0x38], Absent),
            (b"PROXY \r\n", Malformed),
            (b"PROXY TCP4\r\n", Malformed),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Malformed),
            (b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n", Malformed),
            (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\xff\r\n", Malformed),
            (&long, TooLong),
            (&long_v2, TooLong),
            (&v2(0x11, 0x11, &[]), Malformed),
            (&v2(0x22, 0x11, &[]), Malformed),
            (&v2(0x21, 0x11, &[0; 11]), Malformed),
            (&v2(0x21, 0x21, &[0; 35]), Malformed),
        ] {
            assert_eq!(proxy_header(bytes), Err(bad), "{bytes:?}");
        }
    }

    proptest! {
        /// Whatever comes, more of it never takes back what was said, and a header lies within its bounds.
        #[test]
        fn more_bytes_change_no_verdict(
            start in prop::sample::select(vec![
                &b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24",
            ]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..300),
        ) {
            let bytes = [start, &rest].concat();
            let mut verdict = Ok(None);
            for end in 0..=bytes.len() {
                let now = proxy_header(&bytes[..end]);
                prop_assert!(verdict == Ok(None) || now == verdict);
                if let Ok(Some(header)) = now {
                    prop_assert!(header.length <= end);
                }
                verdict = now;
            }
        }
    }
}
