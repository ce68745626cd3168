//! The way between this machine and a peer: where its datagrams come from and go to.

use std::net::{IpAddr, SocketAddr};

use crate::limits::FIRST_STREAM;

/// A peer's address and ours.
///
/// The reactor fills `remote` from the datagram's source with flow information zero, so that equal
/// addresses compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The address that the peer sent to; answers leave from it. `None` where the kernel did not
    /// say, as on a socket that is bound to one address.
    pub local: Option<LocalAddress>,
    /// The listener's socket, as the reactor numbers them; or the stream, which is this path's alone.
    pub socket: u16,
}

impl Path {
    /// Whether it is a stream, in which each packet stands behind its length.
    pub const fn is_stream(&self) -> bool {
        self.socket >= FIRST_STREAM
    }

    /// What a packet without a peer id is looked up by. The interface is left out: packets of one
    /// conversation may enter by several.
    pub(super) fn four_tuple(&self) -> FourTuple {
        FourTuple {
            remote: self.remote,
            local: self.local.map(|local| local.ip),
            socket: self.socket,
        }
    }
}

/// One of this machine's addresses, with the interface it was asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddress {
    /// The address; never v4-mapped.
    pub ip: IpAddr,
    /// The index of the interface it came in by. On the way out it counts for link-local addresses
    /// only: for others the routes decide, which may have changed since.
    pub interface: u32,
}

/// Both addresses and, by the socket, both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FourTuple {
    remote: SocketAddr,
    local: Option<IpAddr>,
    socket: u16,
}
