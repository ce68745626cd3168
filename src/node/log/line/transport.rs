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
