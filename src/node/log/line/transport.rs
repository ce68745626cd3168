//! Lines about listeners, and about connections that are nobody's yet.

use super::{INFO, Page, WARNING};
use crate::node::event::{FamilyAddress, NodeEvent};
use crate::node::settings::ListenerTransport;

impl Page<'_> {
    /// What happened to a listener.
    pub(super) fn transport(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::ListenerBound { transport, address } => {
                let version = if address.is_ipv4() { "v4" } else { "v6" };
                let address = FamilyAddress(*address);
                if *transport == ListenerTransport::Udp {
                    let words = format_args!("UDP{version} link local (bound): {address}");
                    return self.say(INFO, words);
                }
                let words = format_args!("Listening for incoming TCP connection on {address}");
                self.say(INFO, words);
                let words = format_args!("TCP{version}_SERVER link local (bound): {address}");
                self.say(INFO, words);
            }
            NodeEvent::StreamAccepted { address } => {
                let address = FamilyAddress(*address);
                self.say(INFO, format_args!("TCP connection established with {address}"));
            }
            NodeEvent::StreamRefused { address, refusal } => {
                let address = FamilyAddress(*address);
                let words = format_args!("TCP connection closed: {refusal}: {address}");
                self.say(WARNING, words);
            }
            NodeEvent::StreamPassedOn { address, passed } => {
                let address = FamilyAddress(*address);
                let so = match passed {
                    true => "",
                    false => ", closed: too many are passed on to the web server",
                };
                let words = format_args!("Non-OpenVPN client protocol detected: {address}{so}");
                self.say(INFO, words);
            }
            NodeEvent::BadStreamLength {
                address,
                length,
                longest,
            } => self.say(
                WARNING,
                format_args!(
                    "WARNING: Bad encapsulated packet length from peer ({length}), which must be > 0 \
                     and <= {longest}: {}",
                    FamilyAddress(*address)
                ),
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;
    use crate::node::event::StreamRefusal;
    use crate::wire::BadProxyHeader;

    #[test]
    fn connections_over_tcp_are_told_in_the_words_of_openvpn() {
        check(vec![
            (
                NodeEvent::StreamAccepted {
                    address: "192.0.2.7:4711".parse().unwrap(),
                },
                vec![(1, "TCP connection established with [AF_INET]192.0.2.7:4711")],
            ),
            (
                NodeEvent::StreamRefused {
                    address: "192.0.2.7:4711".parse().unwrap(),
                    refusal: StreamRefusal::Untrusted,
                },
                vec![(
                    1,
                    "TCP connection closed: it is none of the proxies: [AF_INET]192.0.2.7:4711",
                )],
            ),
            (
                NodeEvent::StreamRefused {
                    address: "[2001:db8::7]:1".parse().unwrap(),
                    refusal: StreamRefusal::Header(BadProxyHeader::Absent),
                },
                vec![(
                    1,
                    "TCP connection closed: no PROXY header: [AF_INET6]2001:db8::7:1",
                )],
            ),
            (
                NodeEvent::StreamPassedOn {
                    address: "192.0.2.7:4711".parse().unwrap(),
                    passed: true,
                },
                vec![(
                    1,
                    "Non-OpenVPN client protocol detected: [AF_INET]192.0.2.7:4711",
                )],
            ),
            (
                NodeEvent::StreamPassedOn {
                    address: "192.0.2.7:4711".parse().unwrap(),
                    passed: false,
                },
                vec![(
                    1,
                    "Non-OpenVPN client protocol detected: [AF_INET]192.0.2.7:4711, closed: too many \
                 are passed on to the web server",
                )],
            ),
            (
                NodeEvent::BadStreamLength {
                    address: "192.0.2.7:4711".parse().unwrap(),
                    length: 18_245,
                    longest: 2048,
                },
                vec![(
                    1,
                    "WARNING: Bad encapsulated packet length from peer (18245), which must be > 0 and \
                 <= 2048: [AF_INET]192.0.2.7:4711",
                )],
            ),
        ]);
    }
}
