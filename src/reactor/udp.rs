//! UDP sockets: made and bound here, read and written by a reactor.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A bound UDP socket, not blocking.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    family: Family,
    connected: bool,
    receives_super_packets: bool,
    sends_super_packets: bool,
}

/// Which packets a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6 and nothing else.
    V6,
    /// Both on one IPv6 socket.
    Dual,
}

/// How a socket is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Which packets it carries.
    pub family: Family,
    /// The one address it receives for; every address of the host if absent.
    pub address: Option<IpAddr>,
    /// The port; 0 for one that the system chooses.
    pub port: u16,
    /// Bytes of the kernel's send buffer; 0 for the system's default.
    pub send_buffer: usize,
    /// Bytes of the kernel's receive buffer; 0 for the system's default.
    pub receive_buffer: usize,
    /// Whether the kernel is to hand over several equal datagrams of one sender at once (`UDP_GRO`), if it
    /// can.
    pub receive_offload: bool,
    /// What decides on the way of its packets beside their addresses.
    pub routing: Routing,
}

/// What decides on the way of a socket's packets beside their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// The device, such as that of a VRF, by which alone its packets come and go (`SO_BINDTODEVICE`).
    pub device: Option<String>,
    /// The mark of what it sends, for the rules of the machine (`SO_MARK`, which needs `CAP_NET_ADMIN`).
    pub mark: Option<u32>,
}

impl Listen {
    /// What a socket of its family is bound to.
    ///
    /// # Errors
    /// The address is of the other family.
    pub(super) fn bind_address(&self) -> Result<SocketAddr, OtherFamily> {
        let ip = match (self.family, self.address) {
            (Family::V4, None) => Ipv4Addr::UNSPECIFIED.into(),
            (Family::V6 | Family::Dual, None) => Ipv6Addr::UNSPECIFIED.into(),
            (Family::V4, Some(IpAddr::V4(v4))) => v4.into(),
            (Family::V6 | Family::Dual, Some(IpAddr::V6(v6))) => v6.into(),
            (Family::Dual, Some(IpAddr::V4(v4))) => v4.to_ipv6_mapped().into(),
            (family @ (Family::V4 | Family::V6), Some(address)) => {
                return Err(OtherFamily { address, family });
            }
        };
        Ok(SocketAddr::new(ip, self.port))
    }
}

/// An address that no socket of the family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is no address for a socket of family {family:?}")]
pub struct OtherFamily {
    /// The address.
    pub address: IpAddr,
    /// The family.
    pub family: Family,
}

/// The step at which a socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The address is of the other family.
    #[error(transparent)]
    Address(#[from] OtherFamily),
    /// No socket; for IPv6 usually because the system has it switched off.
    #[error("cannot make a UDP socket of family {family:?}: {source}")]
    Socket {
        /// The family.
        family: Family,
        /// What the system said.
        source: io::Error,
    },
    /// An option was refused.
    #[error("cannot set {option} on a UDP socket: {source}")]
    Option {
        /// The option, as the kernel calls it.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The address is not to be had.
    #[error("cannot bind UDP {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The peer's address was refused.
    #[error("cannot connect to UDP {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl UdpError {
    /// True when another socket has the address.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

impl UdpSocket {
    /// Makes a socket and binds it; nobody else has the address then.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn bind(listen: &Listen) -> Result<Self, UdpError> {
        Self::make(listen, false)
    }

    /// Treats datagrams that are too large for their way like this from now on.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn treat_path_mtu(&self, how: PathMtu) -> Result<(), UdpError> {
        let refused = |option| move |source| UdpError::Option { option, source };
        let (v4, v6) = match how {
            PathMtu::Ignored => (libc::IP_PMTUDISC_DONT, libc::IPV6_PMTUDISC_DONT),
            PathMtu::Minded => (libc::IP_PMTUDISC_WANT, libc::IPV6_PMTUDISC_WANT),
            PathMtu::Demanded => (libc::IP_PMTUDISC_DO, libc::IPV6_PMTUDISC_DO),
        };
        let socket = &self.socket;
        if self.family != Family::V6 {
            set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, v4)
                .map_err(refused("IP_MTU_DISCOVER"))?;
        }
        if self.family != Family::V4 {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, v6)
                .map_err(refused("IPV6_MTU_DISCOVER"))?;
        }
        Ok(())
    }

    fn make(listen: &Listen, join: bool) -> Result<Self, UdpError> {
        let family = listen.family;
        let address = listen.bind_address()?;
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(|source| UdpError::Socket { family, source })?;
        set_options(&socket, listen)?;
        if join {
            allow_joining(&socket)?;
        }
        socket
            .bind(&SockAddr::from(address))
            .map_err(|source| UdpError::Bind { address, source })?;
        let has = |option, value| set(&socket, libc::SOL_UDP, option, value).is_ok();
        Ok(Self {
            receives_super_packets: listen.receive_offload && has(libc::UDP_GRO, 1),
            // Zero is no length: each send says its own.
            sends_super_packets: has(libc::UDP_SEGMENT, 0),
            socket,
            family,
            connected: false,
        })
    }

    /// Makes `count` sockets for one address, the first of them a shard each in the order of the shards,
    /// between which the kernel shares what arrives. They are one whole: when one is closed, the kernel renumbers the others.
    ///
    /// The first is bound as the only one, and can be joined only then: so that a server finds the
    /// port in use when another has it, although that one could be joined too.
    ///
    /// # Errors
    ///
    /// The step that the system refused.
    pub fn bind_set(listen: &Listen, count: u16) -> Result<Vec<Self>, UdpError> {
        let first = Self::make(listen, false)?;
        if count <= 1 {
            return Ok(vec![first]);
        }
        allow_joining(&first.socket)?;
        let bound = first.local_address().map_err(|source| UdpError::Option {
            option: "the port",
            source,
        })?;
        let joining = Listen {
            port: bound.port(),
            ..listen.clone()
        };
        let mut set = vec![first];
        for _ in 1..count {
            set.push(Self::make(&joining, true)?);
        }
        Ok(set)
    }

    /// Ties the socket to one peer: it receives from nobody else, and sends without an address.
    ///
    /// # Errors
    ///
    /// There is no way to the address, or it is of the other family.
    pub fn connect(&mut self, address: SocketAddr) -> Result<(), UdpError> {
        let dressed = match (self.family, address) {
            (Family::Dual | Family::V6, SocketAddr::V4(v4)) => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            _ => address,
        };
        self.socket
            .connect(&SockAddr::from(dressed))
            .map_err(|source| UdpError::Connect { address, source })?;
        self.connected = true;
        // What it was sent to is known: each of its datagrams has the same path.
        self.forget_packet_info()
            .map_err(|source| UdpError::Option {
                option: "the end of packet information",
                source,
            })
    }

    fn forget_packet_info(&self) -> io::Result<()> {
        let (level, option) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            Family::V6 | Family::Dual => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        set(&self.socket, level, option, 0)
    }

    /// Makes the kernel's receive buffer as large as this, in bytes, unless it is larger. Without
    /// `CAP_NET_ADMIN` the system's bound (`net.core.rmem_max`) may leave it smaller.
    ///
    /// # Errors
    ///
    /// The system does not do it at all.
    pub fn widen_receive_buffer(&self, size: usize) -> Result<(), UdpError> {
        let option = "SO_RCVBUF";
        let refused = |source| UdpError::Option { option, source };
        // The kernel says twice what it was told.
        if self.socket.recv_buffer_size().map_err(refused)? / 2 >= size {
            return Ok(());
        }
        set_buffer(&self.socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, size).map_err(refused)
    }

    /// The same for the send buffer and `net.core.wmem_max`.
    ///
    /// # Errors
    ///
    /// The system does not do it at all.
    pub fn widen_send_buffer(&self, size: usize) -> Result<(), UdpError> {
        let option = "SO_SNDBUF";
        let refused = |source| UdpError::Option { option, source };
        if self.socket.send_buffer_size().map_err(refused)? / 2 >= size {
            return Ok(());
        }
        set_buffer(&self.socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, size).map_err(refused)
    }

    /// Makes the kernel's send buffer a quarter of what it is, but not smaller than `least` bytes.
    ///
    /// # Errors
    ///
    /// The system does not do it at all.
    pub fn quarter_send_buffer(&self, least: usize) -> Result<(), UdpError> {
        let option = "SO_SNDBUF";
        let refused = |source| UdpError::Option { option, source };
        let size = self.socket.send_buffer_size().map_err(refused)? / 2;
        let quarter = size.min((size / 4).max(least));
        self.socket.set_send_buffer_size(quarter).map_err(refused)
    }

    /// The address it is bound to, with the port that the system chose; never a v4-mapped one.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let bound = self.socket.local_addr()?.as_socket();
        bound
            .map(|bound| SocketAddr::new(bound.ip().to_canonical(), bound.port()))
            .ok_or_else(|| io::Error::other("the socket has no IP address"))
    }

    /// Datagrams that the kernel had to drop because the receive buffer was full, since the socket
    /// was made; it begins anew after 2^32.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn overflowed(&self) -> io::Result<u32> {
        let mut memory = [0_u32; MEMORY_VALUES];
        let mut size = size_of_val(&memory) as libc::socklen_t;
        // SAFETY: the descriptor is open for as long as `self` is borrowed, and the kernel writes at
        // most `size` bytes into `memory`, which lives until the call returns.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                (&raw mut memory).cast(),
                &raw mut size,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(memory[MEMORY_DROPS])
    }

    /// Which packets it carries.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether the kernel hands over several equal datagrams of one sender at once.
    pub fn receives_super_packets(&self) -> bool {
        self.receives_super_packets
    }

    /// Whether the kernel cuts a send into equal datagrams.
    pub fn sends_super_packets(&self) -> bool {
        self.sends_super_packets
    }

    /// Whether it is tied to one peer.
    pub fn is_connected(&self) -> bool {
        self.connected
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How a socket treats datagrams that are too large for their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtu {
    /// They are cut, and no way is asked how wide it is.
    Ignored,
    /// Each way is asked, and they are cut for it.
    Minded,
    /// Each way is asked, and they are refused.
    Demanded,
}

/// Everything but the path MTU discovery, which stays as the system has it unless it is asked for.
fn set_options(socket: &Socket, listen: &Listen) -> Result<(), UdpError> {
    let refused = |option| move |source| UdpError::Option { option, source };
    match listen.family {
        Family::V4 => {
            set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).map_err(refused("IP_PKTINFO"))?
        }
        Family::V6 | Family::Dual => {
            socket
                .set_only_v6(listen.family == Family::V6)
                .map_err(refused("IPV6_V6ONLY"))?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
                .map_err(refused("IPV6_RECVPKTINFO"))?;
        }
    }
    set_common(socket, listen).map_err(|(option, source)| refused(option)(source))
}

/// Sets what sockets of any kind are told; if that is refused, which.
pub(super) fn set_common(
    socket: &Socket,
    listen: &Listen,
) -> Result<(), (&'static str, io::Error)> {
    set_buffers(socket, listen)?;
    if let Some(device) = &listen.routing.device {
        let bound = socket.bind_device(Some(device.as_bytes()));
        bound.map_err(|source| ("SO_BINDTODEVICE", source))?;
    }
    match listen.routing.mark {
        None => Ok(()),
        Some(mark) => socket.set_mark(mark).map_err(|source| ("SO_MARK", source)),
    }
}

/// Sets the sizes of the kernel's buffers, where they are said; if that is refused, which.
fn set_buffers(socket: &Socket, listen: &Listen) -> Result<(), (&'static str, io::Error)> {
    let (send, receive) = (listen.send_buffer, listen.receive_buffer);
    if send > 0 {
        set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send)
            .map_err(|source| ("SO_SNDBUF", source))?;
    }
    if receive > 0 {
        set_buffer(socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive)
            .map_err(|source| ("SO_RCVBUF", source))?;
    }
    Ok(())
}

/// Lets other sockets of this user that allow it too have the same address.
fn allow_joining(socket: &Socket) -> Result<(), UdpError> {
    socket
        .set_reuse_port(true)
        .map_err(|source| UdpError::Option {
            option: "SO_REUSEPORT",
            source,
        })
}

/// Above the system's bound with `CAP_NET_ADMIN`, up to it without.
fn set_buffer(socket: &Socket, forced: i32, bounded: i32, size: usize) -> io::Result<()> {
    let size = i32::try_from(size).unwrap_or(i32::MAX);
    set(socket, libc::SOL_SOCKET, forced, size)
        .or_else(|_| set(socket, libc::SOL_SOCKET, bounded, size))
}

pub(super) fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel reads
    // `size` bytes of `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What `SO_MEMINFO` tells: so many numbers, of which this one counts drops. See `SK_MEMINFO_VARS` and
/// `SK_MEMINFO_DROPS` in linux/sock_diag.h.
const MEMORY_VALUES: usize = 9;
const MEMORY_DROPS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::testing;

    fn listen(family: Family, address: Option<&str>) -> Listen {
        Listen {
            family,
            address: address.map(|text| text.parse().unwrap()),
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            receive_offload: false,
            routing: Routing::default(),
        }
    }

    #[test]
    fn addresses_fit_the_family() {
        for (family, address, expected) in [
            (Family::V4, None, Some("0.0.0.0:0")),
            (Family::V6, None, Some("[::]:0")),
            (Family::Dual, None, Some("[::]:0")),
            (Family::V4, Some("127.0.0.1"), Some("127.0.0.1:0")),
            (Family::V6, Some("::1"), Some("[::1]:0")),
            (
                Family::Dual,
                Some("127.0.0.1"),
                Some("[::ffff:127.0.0.1]:0"),
            ),
            (Family::V4, Some("::1"), None),
            (Family::V6, Some("127.0.0.1"), None),
        ] {
            let bound = listen(family, address).bind_address().ok();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(bound, expected, "{family:?} {address:?}");
        }
    }

    #[test]
    fn the_discovery_of_the_path_mtu_is_chosen() {
        let socket = UdpSocket::bind(&listen(Family::Dual, None)).unwrap();
        let option = |level, option| {
            let (mut value, mut size) = (-1_i32, 4);
            // SAFETY: the descriptor is open, and both places outlive the call.
            let result = unsafe {
                libc::getsockopt(
                    socket.socket.as_raw_fd(),
                    level,
                    option,
                    (&raw mut value).cast(),
                    &raw mut size,
                )
            };
            assert_eq!(result, 0);
            value
        };
        for (how, expected) in [
            (PathMtu::Ignored, 0),
            (PathMtu::Minded, 1),
            (PathMtu::Demanded, 2),
        ] {
            socket.treat_path_mtu(how).unwrap();
            let v4 = option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
            let v6 = option(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
            assert_eq!((v4, v6), (expected, expected), "{how:?}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = UdpSocket::bind(&listen(Family::V4, Some("127.0.0.1"))).unwrap();
        let port = first.local_address().unwrap().port();
        assert_ne!(port, 0);
        let mut again = listen(Family::V4, Some("127.0.0.1"));
        again.port = port;
        let error = UdpSocket::bind(&again).unwrap_err();
        assert!(matches!(&error, UdpError::Bind { source, .. }
            if source.kind() == io::ErrorKind::AddrInUse));
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot bind UDP 127.0.0.1:{port}: ")),
            "{text}"
        );

        let mapped = UdpSocket::bind(&listen(Family::Dual, Some("127.0.0.1"))).unwrap();
        let ip = mapped.local_address().unwrap().ip();
        assert_eq!(ip.to_string(), "127.0.0.1");
    }

    #[test]
    fn a_set_shares_one_port() {
        for family in [Family::V4, Family::V6, Family::Dual] {
            for count in [1, 2, 8] {
                let set = UdpSocket::bind_set(&listen(family, None), count).unwrap();
                assert_eq!(set.len(), usize::from(count));
                let addresses: Vec<_> = set.iter().map(|it| it.local_address().unwrap()).collect();
                assert_ne!(addresses[0].port(), 0);
                assert!(addresses.iter().all(|it| *it == addresses[0]));
            }
        }
    }

    #[test]
    fn a_set_never_joins_sockets_of_another_server() {
        let mut wanted = listen(Family::V4, Some("127.0.0.1"));
        for others in [1, 4] {
            wanted.port = 0;
            let first = UdpSocket::bind_set(&wanted, others).unwrap();
            wanted.port = first[0].local_address().unwrap().port();
            for count in [1, 4] {
                for family in [Family::V4, Family::Dual] {
                    let everywhere = Listen {
                        port: wanted.port,
                        ..listen(family, None)
                    };
                    let error = UdpSocket::bind_set(&everywhere, count).unwrap_err();
                    assert!(error.is_in_use(), "{count} after {others}: {error}");
                }
                let error = UdpSocket::bind_set(&wanted, count).unwrap_err();
                assert!(error.is_in_use(), "{count} after {others}: {error}");
            }
            drop(first);
            // A process that another test starts has a copy of the sockets for a moment.
            testing::eventually(|| UdpSocket::bind_set(&wanted, 4).is_ok());
        }
    }

    #[test]
    fn of_many_servers_that_start_at_once_one_has_the_port() {
        let mut wanted = listen(Family::V4, Some("127.0.0.1"));
        let free = UdpSocket::bind_set(&wanted, 1).unwrap();
        wanted.port = free[0].local_address().unwrap().port();
        drop(free);
        let mut successes = 0;
        for _ in 0..50 {
            let start = std::sync::Barrier::new(4);
            // Those that fail count, those that succeed are kept until all have tried.
            let served: Vec<_> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            UdpSocket::bind_set(&wanted, 4)
                        })
                    })
                    .collect();
                starts.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let served_now = served.iter().filter(|it| it.is_ok()).count();
            assert!(served_now <= 1, "{served_now} servers share a port");
            successes += served_now;
            for failure in served.into_iter().filter_map(Result::err) {
                assert!(failure.is_in_use(), "{failure}");
            }
        }
        // None is served in a round in which a process that another test starts has the last
        // round's sockets.
        assert!(successes > 0);
    }

    #[test]
    fn buffers_have_the_size_that_was_asked() {
        let mut wide = listen(Family::Dual, None);
        wide.send_buffer = 300_000;
        wide.receive_buffer = 400_000;
        let socket = UdpSocket::bind(&wide).unwrap();
        // The kernel doubles what it is told, for its own bookkeeping.
        assert_eq!(socket.socket.send_buffer_size().unwrap(), 600_000);
        assert_eq!(socket.socket.recv_buffer_size().unwrap(), 800_000);
        for (asked, size) in [(300_000, 800_000), (500_000, 1_000_000)] {
            socket.widen_receive_buffer(asked).unwrap();
            assert_eq!(socket.socket.recv_buffer_size().unwrap(), size);
        }
        for (asked, size) in [(200_000, 600_000), (350_000, 700_000)] {
            socket.widen_send_buffer(asked).unwrap();
            assert_eq!(socket.socket.send_buffer_size().unwrap(), size);
        }
        for (least, size) in [(50_000, 175_000), (50_000, 100_000), (70_000, 100_000)] {
            socket.quarter_send_buffer(least).unwrap();
            assert_eq!(socket.socket.send_buffer_size().unwrap(), size);
        }
        let plain = UdpSocket::bind(&listen(Family::Dual, None)).unwrap();
        assert_ne!(plain.socket.send_buffer_size().unwrap(), 600_000);
        assert!(!socket.socket.only_v6().unwrap());
        let v6 = UdpSocket::bind(&listen(Family::V6, None)).unwrap();
        assert!(v6.socket.only_v6().unwrap());
    }

    #[test]
    fn offloads_are_used_as_far_as_the_kernel_has_them() {
        for (refused, wanted, receives, sends) in [
            (None, true, true, true),
            (None, false, false, true),
            (Some(libc::UDP_GRO), true, false, true),
            (Some(libc::UDP_SEGMENT), true, true, false),
        ] {
            testing::in_own_thread(move || {
                if let Some(option) = refused {
                    testing::forbid_udp_option(option);
                }
                for family in [Family::V4, Family::V6, Family::Dual] {
                    let mut listen = listen(family, None);
                    listen.receive_offload = wanted;
                    let set = UdpSocket::bind_set(&listen, 2).unwrap();
                    for socket in set {
                        assert_eq!(socket.receives_super_packets(), receives, "{refused:?}");
                        assert_eq!(socket.sends_super_packets(), sends, "{refused:?}");
                    }
                }
            });
        }
    }

    #[test]
    fn what_the_kernel_drops_for_want_of_room_is_counted() {
        let mut narrow = listen(Family::V4, Some("127.0.0.1"));
        narrow.receive_buffer = 4_096;
        let socket = UdpSocket::bind(&narrow).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_address().unwrap()).unwrap();
        sender.send(&[1; 500]).unwrap();
        assert_eq!(socket.overflowed().unwrap(), 0);
        for _ in 0..200 {
            sender.send(&[1; 500]).unwrap();
        }
        let mut kept = 0;
        let mut bytes = [std::mem::MaybeUninit::uninit(); 600];
        while socket.socket.recv(&mut bytes).is_ok() {
            kept += 1;
        }
        assert!((1..200).contains(&kept), "{kept}");
        assert_eq!(socket.overflowed().unwrap(), 201 - kept);
    }
}
