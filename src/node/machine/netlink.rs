//! The kernel's addresses and routes, by questions and orders over a netlink socket. Each is
//! answered at once.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A netlink socket for addresses and routes.
pub(in crate::node) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// A socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no netlink, or a filter forbids it.
    pub(in crate::node) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The number of a device.
    ///
    /// # Errors
    /// There is no such device.
    pub(in crate::node) fn device(&mut self, name: &str) -> io::Result<u32> {
        let mut asked = LinkMessage::default();
        asked.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let answers = self.ask(RouteNetlinkMessage::GetLink(asked), NLM_F_ACK)?;
        let index = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
            _ => None,
        });
        index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Gives a device its MTU and brings it up.
    pub(in crate::node) fn bring_up(&mut self, device: u32, mtu: u16) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = device;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes = vec![LinkAttribute::Mtu(mtu.into())];
        self.order(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Adds an address, which must not be there.
    pub(in crate::node) fn add_address(&mut self, address: AddressMessage) -> io::Result<()> {
        self.order(RouteNetlinkMessage::NewAddress(address), NEW)
    }

    /// Removes an address.
    pub(in crate::node) fn remove_address(&mut self, address: AddressMessage) -> io::Result<()> {
        self.order(RouteNetlinkMessage::DelAddress(address), 0)
    }

    /// Adds a route, which must not be there.
    pub(in crate::node) fn add_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.order(RouteNetlinkMessage::NewRoute(route), NEW)
    }

    /// Removes a route.
    pub(in crate::node) fn remove_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.order(RouteNetlinkMessage::DelRoute(route), 0)
    }

    /// The default route of a family that is preferred, if there is one.
    pub(in crate::node) fn default_route(
        &mut self,
        family: AddressFamily,
    ) -> io::Result<Option<RouteMessage>> {
        let mut asked = RouteMessage::default();
        asked.header.address_family = family;
        let answers = self.ask(RouteNetlinkMessage::GetRoute(asked), NLM_F_DUMP)?;
        let routes = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        });
        let defaults = routes.filter(|route| {
            route.header.destination_prefix_length == 0
                && route.header.address_family == family
                && route.header.table == RouteHeader::RT_TABLE_MAIN
                && route.header.kind == netlink_packet_route::route::RouteType::Unicast
        });
        Ok(defaults.min_by_key(metric_of))
    }

    /// How packets to an address leave at the moment.
    ///
    /// # Errors
    /// There is no way there.
    pub(in crate::node) fn way_to(&mut self, address: IpAddr) -> io::Result<Way> {
        let mut asked = RouteMessage::default();
        let (family, bits) = family_of(address);
        asked.header.address_family = family;
        asked.header.destination_prefix_length = bits;
        asked.attributes = vec![RouteAttribute::Destination(address.into())];
        let answers = self.ask(RouteNetlinkMessage::GetRoute(asked), NLM_F_ACK)?;
        let route = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        });
        let route = route.ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH))?;
        Ok(Way {
            gateway: gateway_of(&route),
            device: device_of(&route),
        })
    }

    fn order(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// Sends a message and collects what is answered until the last answer.
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
                let length = (answer.header.length as usize).next_multiple_of(ALIGNMENT);
                rest = rest.get(length.max(ALIGNMENT)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(said) => match said.code {
                        None => return Ok(answers),
                        Some(code) => {
                            let code = code.get().saturating_neg();
                            return Err(io::Error::from_raw_os_error(code));
                        }
                    },
                    _ => {}
                }
            }
        }
    }
}

/// How packets leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Way {
    /// Through this gateway; `None` for a neighbour.
    pub(in crate::node) gateway: Option<IpAddr>,
    /// By this device.
    pub(in crate::node) device: Option<u32>,
}

/// The family of an address, and its bits.
pub(in crate::node) fn family_of(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

/// The gateway of a route.
pub(in crate::node) fn gateway_of(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some((*address).into()),
            _ => None,
        })
}

/// The device of a route.
pub(in crate::node) fn device_of(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

fn metric_of(route: &RouteMessage) -> u32 {
    let mut attributes = route.attributes.iter();
    let metric = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or(0)
}

/// Of what is not there yet.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// Wire: netlink messages begin at multiples of four bytes.
const ALIGNMENT: usize = 4;
