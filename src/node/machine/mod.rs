//! What a node does to its machine for a tunnel, over netlink: addresses of the device, and routes. A
//! client does it while it runs, a server at its start.

mod changes;
mod netlink;

pub(super) use self::changes::{Change, Leads};
pub(super) use self::netlink::{Netlink, Way, device_of, family_of, gateway_of};
