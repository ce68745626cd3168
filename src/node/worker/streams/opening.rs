//! The beginning of a connection, as long as it is not known whose it is: read step by step, so that the
//! kernel has nothing to do with it when it goes to somebody else.

use std::net::SocketAddr;

use crate::node::event::StreamRefusal;
use crate::node::settings::ProxySettings;
use crate::wire::{begins_session, proxy_header};

/// What is looked at before a connection's first packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct OpeningRules {
    /// A proxy says first whose it is.
    pub(in crate::node) proxy: Option<ProxySettings>,
    /// Who does not begin a session is passed on to a web server.
    pub(in crate::node) port_share: bool,
}

impl OpeningRules {
    /// Whether there is anything to look at.
    pub(super) fn is_needless(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a connection from this address is taken.
    pub(super) fn admit(&self, address: SocketAddr) -> bool {
        let proxy = self.proxy.as_ref();
        proxy.is_none_or(|proxy| proxy.trusts(address.ip()))
    }
}

/// What has come of a connection.
#[derive(Debug)]
pub(super) struct Opening {
    awaits_header: bool,
    port_share: bool,
    head: Vec<u8>,
}

/// Whose a connection is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// That can't be told yet.
    Open,
    /// A client's: these are the beginning of its packets, if there are some already.
    Client(Vec<u8>),
    /// Somebody's who does not speak the protocol, with all that has been read.
    Foreign(Vec<u8>),
    /// It does not come from a proxy.
    Refused(StreamRefusal),
}

/// What a proxy has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Who is at the other end, `None` for the proxy itself.
    pub(super) source: Option<SocketAddr>,
}

impl Opening {
    pub(super) fn new(rules: &OpeningRules) -> Self {
        Self {
            awaits_header: rules.proxy.is_some(),
            port_share: rules.port_share,
            head: Vec::new(),
        }
    }

    /// Whether it is not known who is at its other end.
    pub(super) const fn awaits_header(&self) -> bool {
        self.awaits_header
    }

    /// Takes what has come next.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Option<Named>, Verdict) {
        self.head.extend_from_slice(bytes);
        let mut named = None;
        if self.awaits_header {
            let header = match proxy_header(&self.head) {
                Ok(Some(header)) => header,
                Ok(None) => return (None, Verdict::Open),
                Err(bad) => return (None, Verdict::Refused(StreamRefusal::Header(bad))),
            };
            self.awaits_header = false;
            self.head.drain(..header.length);
            named = Some(Named {
                source: header.source,
            });
        }
        let begins = match self.port_share {
            true => begins_session(&self.head),
            false => Some(true),
        };
        let verdict = match begins {
            None => Verdict::Open,
            Some(true) => Verdict::Client(std::mem::take(&mut self.head)),
            Some(false) => Verdict::Foreign(std::mem::take(&mut self.head)),
        };
        (named, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::BadProxyHeader;

    /// Byte by byte, or at once.
    #[test]
    fn the_first_three_bytes_tell_whose_it_is_however_they_come() {
        let client = [0, 14, 0x38, 1, 2, 3];
        for (bytes, told_by) in [
            (&client[..], 3),
            (b"GET / HTTP/1.1", 2),
            (&[22, 3, 1, 2], 2),
        ] {
            let rules = OpeningRules {
                proxy: None,
                port_share: true,
            };
            let mut opening = Opening::new(&rules);
            for byte in &bytes[..told_by - 1] {
                assert_eq!(opening.take(&[*byte]), (None, Verdict::Open), "{bytes:?}");
            }
            let is_client = bytes == client;
            let verdict = |bytes: &[u8]| match is_client {
                true => Verdict::Client(bytes.to_vec()),
                false => Verdict::Foreign(bytes.to_vec()),
            };
            let told = opening.take(&bytes[told_by - 1..told_by]);
            assert_eq!(told, (None, verdict(&bytes[..told_by])));
            assert_eq!(Opening::new(&rules).take(bytes), (None, verdict(bytes)));
        }
    }

    fn behind_proxies(trusted: &[&str], port_share: bool) -> OpeningRules {
        let trusted = trusted.iter().map(|network| network.parse().unwrap());
        let trusted = trusted.collect();
        OpeningRules {
            proxy: Some(ProxySettings { trusted }),
            port_share,
        }
    }

    /// With what follows it in one receive, and cut anywhere.
    #[test]
    fn a_header_comes_first_and_once() {
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        let named = Some(Named {
            source: Some("192.0.2.7:4711".parse().unwrap()),
        });
        let client = Verdict::Client(vec![0, 14, 0x38]);
        let web = Verdict::Foreign(b"GET".to_vec());
        for (first, verdict, port_share) in [
            (&[0, 14, 0x38][..], &client, false),
            (&[0, 14, 0x38], &client, true),
            (b"GET", &web, true),
        ] {
            let bytes = [&header[..], first].concat();
            let rules = behind_proxies(&[], port_share);
            let mut opening = Opening::new(&rules);
            assert!(opening.awaits_header());
            let (said, told) = opening.take(&bytes);
            assert_eq!((said, &told), (named, verdict));
            for cut in 1..header.len() {
                let mut opening = Opening::new(&rules);
                assert_eq!(opening.take(&bytes[..cut]), (None, Verdict::Open));
                let (said, told) = opening.take(&bytes[cut..]);
                assert_eq!((said, &told), (named, verdict), "{cut}");
            }
            // A second one is no packet.
            let mut opening = Opening::new(&behind_proxies(&[], true));
            let (said, told) = opening.take(&[&header[..], header].concat());
            assert_eq!((said, told), (named, Verdict::Foreign(header.to_vec())));
        }
        let mut opening = Opening::new(&behind_proxies(&[], true));
        let refused = Verdict::Refused(StreamRefusal::Header(BadProxyHeader::Absent));
        assert_eq!(opening.take(&[0, 14, 0x38]), (None, refused));
    }

    #[test]
    fn who_is_no_proxy_is_not_admitted() {
        let rules = behind_proxies(&["10.0.0.0/24", "2001:db8::/32"], false);
        for (address, admitted) in [
            ("10.0.0.7:1", true),
            ("10.0.1.7:1", false),
            ("[2001:db8:1::1]:1", true),
            ("[2001:db9::1]:1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(rules.admit(address), admitted, "{address}");
            assert!(behind_proxies(&[], false).admit(address));
            assert!(OpeningRules::default().admit(address));
        }
    }
}
