//! The routes of a server's machine into its tunnel, set while the process may. They go with the
//! device.

use super::Starting;
use crate::node::event::{NodeEvent, TunnelEvent};
use crate::node::machine::{Change, Leads, Netlink};
use crate::node::settings::{Destination, TunnelRoute, Via};

impl Starting<'_> {
    /// Sets routes of which each leads into the device, or to a gateway behind it. Wire: as in 2.6 the
    /// server starts without one that is refused, and says so.
    pub(super) fn set_routes(&mut self, routes: &[TunnelRoute], table: Option<u32>, device: &str) {
        if routes.is_empty() {
            return;
        }
        let opened = Netlink::open().and_then(|mut netlink| {
            let index = netlink.device(device)?;
            Ok((netlink, index))
        });
        let (mut netlink, index) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.route_failed("the routes".to_owned(), &error),
        };
        for route in routes {
            let Destination::Network(network) = route.destination else {
                continue;
            };
            let leads = match route.via {
                Via::Gateway(gateway) => Leads::To(gateway, None),
                Via::Tunnel | Via::Machine => Leads::Into(index),
            };
            let change = Change::route(network, leads, route.metric).in_table(table);
            match (change.make(&mut netlink), &change) {
                (Ok(()), Change::Route(_, made)) => {
                    let made = TunnelEvent::RouteAdded(*made);
                    self.publish(NodeEvent::Tunnel(made));
                }
                (Ok(()), _) => {}
                (Err(error), change) => self.route_failed(change.to_string(), &error),
            }
        }
    }

    fn route_failed(&mut self, what: String, error: &std::io::Error) {
        self.publish(NodeEvent::Tunnel(TunnelEvent::StepFailed {
            step: format!("adding {what}").as_str().into(),
            why: error.to_string().as_str().into(),
        }));
    }
}
