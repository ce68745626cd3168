//! What a client's own file says and brings about, as lines.

use super::{LEARN, MULTI_ERROR, PUSH, Page, WARNING, name};
use crate::node::event::{ClientEvent, ClientTag, Printable, ReleaseCause};

impl Page<'_> {
    pub(super) fn profile(&mut self, event: &ClientEvent) {
        use ClientEvent as E;
        match event {
            E::ProfileRead { file } => self.say(
                PUSH,
                format_args!(
                    "OPTIONS IMPORT: reading client specific options from: {}",
                    Printable(file)
                ),
            ),
            E::ProfileFault { line } | E::HookFailed { line } => {
                self.say(WARNING, format_args!("{}", Printable(line)))
            }
            E::PushRemoved { option } => {
                self.say(PUSH, format_args!("PUSH_REMOVE '{}'", Printable(option)));
            }
            E::OwnRouteOmitted { option } => self.say(
                PUSH,
                format_args!("REMOVE PUSH ROUTE: '{}'", Printable(option)),
            ),
            _ => {}
        }
    }

    pub(super) fn network(&mut self, client: &ClientTag, event: &ClientEvent) {
        match event {
            ClientEvent::NetworkLearned { network } => {
                self.say(
                    LEARN,
                    format_args!("MULTI: internal route {network} -> {client}"),
                );
                self.say(LEARN, format_args!("MULTI: Learn: {network} -> {client}"));
            }
            ClientEvent::RouteQuotaExceeded { max } => self.say(
                MULTI_ERROR,
                format_args!(
                    "MULTI ROUTE: route quota ({max}) exceeded for {client} \
                     (see --max-routes-per-client option)"
                ),
            ),
            _ => {}
        }
    }

    pub(super) fn replacing(&mut self, client: &ClientTag, cause: ReleaseCause) {
        match cause {
            ReleaseCause::Name => self.say(
                LEARN,
                format_args!(
                    "MULTI: new connection by client '{}' will cause previous active sessions by \
                     this client to be dropped.  Remember to use the --duplicate-cn option if you \
                     want multiple clients using the same certificate or username to concurrently \
                     connect.",
                    name(client)
                ),
            ),
            ReleaseCause::Address => self.say(
                MULTI_ERROR,
                format_args!(
                    "MULTI: the file of a client that connects now (--ifconfig-push or \
                     --ifconfig-ipv6-push) has the address of '{}', which is dropped",
                    name(client)
                ),
            ),
        }
    }
}
