//! Floor 5: io_uring, sockets and the tun device.
//!
//! A shard has one [`Reactor`]; it is made, turned and dropped on the shard's thread. The sockets
//! and tun queues may be made elsewhere and handed to it. `unsafe` stands in this floor so that the
//! floors around it need none: what the kernel may read or write belongs to the reactor for as long
//! as it may.
//!
//! Invariant: no session and no key.

mod address;
mod completion;
mod control;
mod in_flight;
mod lending;
mod mailbox;
mod operations;
mod probe;
mod provided;
mod receive;
mod ring;
mod send;
mod steering;
mod tcp;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tun;
mod udp;
mod waker;
mod write;

pub use completion::{
    Completion, Datagram, Outgoing, QueueFull, Refused, Sent, SocketId, TunId, Written,
};
pub use lending::Lending;
pub use mailbox::{Receiver, Sender, mailbox};
pub use operations::{Reactor, ReactorConfig, ReactorCounters};
pub use probe::{Feature, Report, probe};
pub use ring::{Forbidden, RingError};
pub use steering::{
    Denial, SteeringError, TunSteering, can_update_without_capabilities, steer_datagrams,
};
pub use tcp::{TcpError, TcpListener, TcpStream};
pub use tun::{Tun, TunConfig, TunError, TunOffloads};
pub use udp::{Family, Listen, OtherFamily, PathMtu, Routing, UdpError, UdpSocket};
pub use waker::Waker;
